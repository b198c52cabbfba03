"""The laws: what holds for every row of cases.py, on every backend."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from cases import LAYERS, LOSSES, OPTIMIZERS, LayerCase, LossCase, OptimizerCase, affine
from conftest import Target, assert_close, take_apart, to_numpy

import martlet as mt
from martlet.testing.lifted import Against
from martlet.testing.oracles import differentiate
from martlet.testing.structure import like_layer, like_x
from martlet.testing.witness import Record, in_places

layers = pytest.mark.parametrize("case", LAYERS, ids=lambda case: case.name)
losses = pytest.mark.parametrize("case", LOSSES, ids=lambda case: case.name)
optimizers = pytest.mark.parametrize("case", OPTIMIZERS, ids=lambda case: case.name)
reductions = pytest.mark.parametrize("reduction", ["mean", "sum", "none"])


def draw(case: LayerCase) -> tuple[mt.Layer, Any, Any]:
    """The row's layer and input, and a dout shaped like its output: NumPy, float64."""
    rng = np.random.default_rng(7)
    layer, x = case.layer(rng), case.x(rng)
    arrays, build = take_apart(layer.forward(x)[0])
    return layer, x, build([rng.standard_normal(y.shape) for y in arrays])


def forward_backward(layer: mt.Layer, x: Any, dout: Any) -> tuple[Any, Any, Any]:
    y, cache = layer.forward(x)
    dx, grad = layer.backward(cache, dout)
    return y, dx, grad


# ------------------------------------------------------------------------------------------- layers


def assert_derivative(xp: Target, layer: mt.Layer, x: Any, dout: Any, dx: Any, grad: Any) -> None:
    """dx and grad are what an oracle says of this forward: the library's own autograd, if it has one.

    layer, x and dout are NumPy's in float64.
    """
    record = Record(layer, "", x, dout=dout)
    own = xp.name in ("torch", "jax")
    expected = differentiate(xp.name if own else "differences", record.function())
    found = in_places(layer, *to_numpy((dx, grad)))
    rows = zip(record.names(), found, expected.values, expected.errors, strict=True)
    for name, got, value, error in rows:
        rtol, atol = (1e-10, 1e-12) if own else (1e-8, 1e-12 + 3.0 * error)
        if xp.double == "float32":
            rtol, atol = 2e-5, 2e-6
        assert got.shape == value.shape
        assert np.all(np.abs(got - value) <= rtol * np.abs(value) + atol), name


@layers
def test_backward_is_the_derivative_of_forward(case: LayerCase, xp: Target) -> None:
    layer, x, dout = draw(case)
    here, there = xp.put(layer), xp.put(x)
    _, dx, grad = xp.run(forward_backward, here, there, xp.put(dout))
    assert [*like_x("dx", there, dx), *like_layer(here, grad)] == []
    assert_derivative(xp, layer, x, dout, dx, grad)


@layers
def test_numbers_are_those_of_numpy(case: LayerCase, xp: Target) -> None:
    layer, x, dout = draw(case)
    here = xp.run(forward_backward, *map(xp.put, (layer, x, dout)))
    assert_close(here, forward_backward(layer, x, dout), **xp.tolerance)


@layers
def test_what_goes_in_stays_as_it_is(case: LayerCase, xp: Target) -> None:
    given = tuple(map(xp.put, draw(case)))
    before = to_numpy(given)
    xp.run(forward_backward, *given)
    assert_close(given, before, rtol=0)


@layers
def test_the_gradient_has_the_type_of_the_layer(case: LayerCase, xp: Target) -> None:
    layer, x, dout = map(xp.put, draw(case))
    _, _, grad = xp.run(forward_backward, layer, x, dout)
    if grad is None:
        return
    assert type(grad) is type(layer)
    arrays = dict(zip(mt.names(layer), mt.leaves(layer), strict=True))
    for name, g in zip(mt.names(grad), mt.leaves(grad), strict=True):
        assert g.shape == arrays[name].shape
        assert g.dtype == arrays[name].dtype


@layers
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_width_of_the_numbers_is_kept(case: LayerCase, xp: Target, dtype: str) -> None:
    if dtype == "float16" and xp.name.startswith("strict"):
        pytest.skip("the standard has no float16")
    layer, x, dout = (xp.put(value, dtype) for value in draw(case))
    arrays, _ = take_apart(xp.run(forward_backward, layer, x, dout))
    wanted = xp.asarray(np.zeros(1), dtype).dtype
    assert [a.dtype for a in arrays] == [wanted] * len(arrays)


@layers
def test_predict_is_forward_without_the_cache(case: LayerCase, xp: Target) -> None:
    if not case.predicts:
        pytest.skip("draws noise or takes statistics of the batch")
    layer, x, _ = map(xp.put, draw(case))
    y, _ = xp.run(lambda layer, x: layer.forward(x), layer, x)
    assert_close(xp.run(lambda layer, x: layer.predict(x), layer, x), y, rtol=0)


@layers
def test_predict_has_the_numbers_of_numpy(case: LayerCase, xp: Target) -> None:
    layer, x, _ = draw(case)
    assert_close(xp.run(lambda *a: a[0].predict(a[1]), xp.put(layer), xp.put(x)), layer.predict(x), **xp.tolerance)


@layers
def test_observe_gives_a_layer_of_the_same_kind(case: LayerCase, xp: Target) -> None:
    def observed(layer: mt.Layer, x: Any) -> mt.Layer:
        return layer.observe(layer.forward(x)[1])

    layer, x, _ = draw(case)
    after = xp.run(observed, xp.put(layer), xp.put(x))
    assert_close(after, observed(layer, x), **xp.tolerance)
    assert type(after) is type(layer)
    assert mt.names(after) == mt.names(layer)
    assert [a.shape for a in mt.leaves(after)] == [a.shape for a in mt.leaves(layer)]


@layers
def test_a_dout_of_another_shape_is_refused(case: LayerCase, xp: Target) -> None:
    layer, x, dout = map(xp.put, draw(case))
    arrays, build = take_apart(dout)
    if not case.checks_dout:
        pytest.skip("passes any dout on, or is a test's own layer")
    wrong = build([a[None, ...] for a in arrays])
    _, cache = layer.forward(x)
    with pytest.raises(ValueError, match="shape"):
        layer.backward(cache, wrong)


@layers
def test_a_layer_is_a_value(case: LayerCase) -> None:
    layer, x, _ = draw(case)
    y = layer.predict(x)
    for twin in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer), mt.rebuild(layer, mt.leaves(layer))):
        assert type(twin) is type(layer)
        assert repr(twin) == repr(layer)
        assert_close(twin.predict(x), y, rtol=0)
    for name in mt.names(layer):
        assert name in mt.names(mt.replace(layer, {name: np.zeros(2)}))
    with pytest.raises(AttributeError, match="is a value"):
        layer.anything = 1


# ------------------------------------------------------------------------------------------- losses


def draw_loss(case: LossCase, reduction: str) -> tuple[mt.Loss, np.ndarray, np.ndarray, np.ndarray, Any]:
    rng = np.random.default_rng(11)
    y, t = case.y(rng), case.t(rng)
    loss, weight = case.loss(reduction), rng.uniform(0.5, 2.0, y.shape[0])
    dout = rng.standard_normal(loss.value(y, t).shape)
    return loss, y, t, weight, dout


def loss_and_slope(loss: mt.Loss, y: Any, t: Any, weight: Any, dout: Any) -> tuple[Any, Any]:
    value, cache = loss.forward(y, t, weight)
    return value, loss.backward(cache, dout)


@losses
@reductions
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_a_loss_is_differentiated_right(case: LossCase, xp: Target, reduction: str, weighted: bool) -> None:
    loss, y, t, weight, dout = draw_loss(case, reduction)
    w = weight if weighted else None
    _, dy = xp.run(loss_and_slope, *map(xp.put, (loss, y, t, w, dout)))
    assert_derivative(xp, Against(loss, t, w), y, np.asarray(dout), dy, None)


@losses
@reductions
def test_a_loss_has_the_numbers_of_numpy(case: LossCase, xp: Target, reduction: str) -> None:
    given = draw_loss(case, reduction)
    assert_close(xp.run(loss_and_slope, *map(xp.put, given)), loss_and_slope(*given), **xp.tolerance)


@losses
@reductions
def test_a_loss_changes_nothing_and_keeps_the_width(case: LossCase, xp: Target, reduction: str) -> None:
    given = tuple(xp.put(value, "float32") for value in draw_loss(case, reduction))
    before = to_numpy(given)
    value, dy = xp.run(loss_and_slope, *given)
    assert_close(given, before, rtol=0)
    assert value.dtype == dy.dtype == given[1].dtype


@losses
def test_weights_make_a_weighted_mean(case: LossCase, xp: Target) -> None:
    loss, y, t, weight, _ = draw_loss(case, "mean")
    each = to_numpy(case.loss("none").value(y, t))
    total = weight @ (each if each.ndim == 1 else each.mean(axis=1))
    here = xp.put(loss)
    value = xp.run(lambda *a: here.value(*a), *map(xp.put, (y, t, weight)))
    assert_close(value, total / (weight @ case.counts(t)), **xp.tolerance)
    ones = np.ones_like(weight)
    assert_close(here.value(*map(xp.put, (y, t, ones))), here.value(*map(xp.put, (y, t))), **xp.tolerance)


@losses
def test_a_loss_of_nothing_is_refused(case: LossCase, xp: Target) -> None:
    loss, y, t, _, _ = draw_loss(case, "mean")
    with pytest.raises(ValueError, match="at least one sample"):
        xp.put(loss).forward(xp.put(y[:0]), xp.put(t[:0]))


# --------------------------------------------------------------------------------------- optimizers


def draw_step(case: OptimizerCase) -> tuple[mt.Optimizer, mt.Layer, mt.Layer | None]:
    """An optimizer, a model with a frozen and a parameterless part, and a gradient for it."""
    rng = np.random.default_rng(3)
    model = mt.Sequential(affine(rng, 2, 3), mt.Tanh(), mt.Freeze(affine(rng, 3, 3)), affine(rng, 3, 2))
    x, t = rng.standard_normal((6, 2)), rng.integers(0, 2, 6)
    return case.optimizer(), model, mt.gradient(model, mt.SoftmaxWithLoss(), x, t)[1]


def three_updates(optimizer: mt.Optimizer, model: mt.Layer, grad: mt.Layer | None) -> tuple[mt.Layer, Any]:
    state = optimizer.init(model)
    for _ in range(3):
        model, state = optimizer.update(model, grad, state)
    return model, state


@optimizers
def test_updates_have_the_numbers_of_numpy(case: OptimizerCase, xp: Target) -> None:
    optimizer, model, grad = draw_step(case)
    here = xp.run(lambda model, grad: three_updates(optimizer, model, grad), xp.put(model), xp.put(grad))
    assert_close(here, three_updates(optimizer, model, grad), **xp.tolerance)


@optimizers
def test_an_update_changes_nothing_in_place(case: OptimizerCase, xp: Target) -> None:
    optimizer, model, grad = draw_step(case)
    model, grad = xp.put(model), xp.put(grad)
    state = optimizer.init(model)
    before = to_numpy((model, grad, state))
    after, state_after = xp.run(lambda *given: optimizer.update(*given), model, grad, state)
    assert_close((model, grad, state), before, rtol=0)
    assert int(mt.to_numpy(state_after.step)) == 1
    assert_close(after[2], model[2], rtol=0)  # the frozen part
    assert np.all(mt.to_numpy(after[0].W) != mt.to_numpy(model[0].W))


@optimizers
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_an_update_keeps_the_width(case: OptimizerCase, xp: Target, dtype: str) -> None:
    if dtype == "float16" and xp.name.startswith("strict"):
        pytest.skip("the standard has no float16")
    optimizer, model, grad = draw_step(case)
    model, grad = xp.put(model, dtype), xp.put(grad, dtype)
    after, _ = xp.run(lambda model, grad: three_updates(optimizer, model, grad), model, grad)
    assert {a.dtype for a in mt.leaves(after)} == {a.dtype for a in mt.leaves(model)}
    assert all(np.isfinite(mt.to_numpy(a)).all() for a in mt.leaves(after))


@optimizers
def test_the_numbers_are_read_from_the_state(case: OptimizerCase, xp: Target) -> None:
    optimizer, model, grad = draw_step(case)
    model, grad = xp.put(model), xp.put(grad)
    state = mt.replace(optimizer.init(model), {"lr": 0.0})
    after, _ = xp.run(lambda *given: optimizer.update(*given), model, grad, state)
    assert_close(after, model, rtol=0)


@optimizers
def test_without_gradient_everything_stays(case: OptimizerCase, xp: Target) -> None:
    optimizer, model, _ = draw_step(case)
    model = xp.put(model)
    after, state = xp.run(lambda model: optimizer.update(model, None, optimizer.init(model)), model)
    assert_close(after, model, rtol=0)
    assert int(mt.to_numpy(state.step)) == 1
