"""Small promises that no law makes and nobody would miss until they are broken.

Each was found by planting a fault that no other test noticed: see mutation.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import LAYERS, LayerCase, affine
from conftest import Target, assert_close, take_apart

import martlet as mt
from martlet.functions import softplus
from martlet.layers.standardize import mean_and_deviation


def row_of_ones() -> Any:
    return mt.MatMul(np.ones((1, 1)))


# ------------------------------------------------------------------------- where arrays begin, and as what


BEGINNINGS: dict[str, Callable[..., mt.Layer]] = {
    "MatMul": lambda rng, **to: mt.MatMul.init(3, 4, rng, **to),
    "Affine": lambda rng, **to: mt.Affine.init(3, 4, rng, **to),
    "Embedding": lambda rng, **to: mt.Embedding.init(3, 4, rng, **to),
    "BatchNorm": lambda rng, **to: mt.BatchNorm.init(3, **to),
    "LayerNorm": lambda rng, **to: mt.LayerNorm.init(3, **to),
    "Standardize": lambda rng, **to: mt.Standardize.from_data(rng.standard_normal((5, 3)), **to),
}


@pytest.mark.parametrize("name", BEGINNINGS)
def test_a_layer_begins_where_it_is_told_to_and_as_wide(name: str) -> None:
    """Everywhere but on the device that the library takes by itself."""
    pytest.importorskip("array_api_strict")
    there = mt.Backend("array_api_strict", device="device1")
    for dtype in ("float32", "float64"):
        layer = BEGINNINGS[name](np.random.default_rng(0), backend=there, dtype=dtype)
        assert {type(leaf).__module__.split(".")[0] for leaf in mt.leaves(layer)} == {"array_api_strict"}
        assert {str(leaf.device) for leaf in mt.leaves(layer)} == {str(there.asarray(np.zeros(1)).device)}
        assert {str(leaf.dtype).split(".")[-1] for leaf in mt.leaves(layer)} == {dtype}


def test_a_layer_made_from_data_lies_where_the_data_does() -> None:
    pytest.importorskip("array_api_strict")
    x = mt.Backend("array_api_strict", device="device1").asarray(np.ones((3, 2)))
    assert str(mt.Standardize.from_data(x).mean.device) == str(x.device)


def test_a_bias_begins_at_zero_and_weights_with_the_initializer() -> None:
    layer = mt.Affine.init(3, 4, np.random.default_rng(0), initializer=lambda shape, rng: np.full(shape, 7.0))
    np.testing.assert_array_equal(layer.W, np.full((3, 4), 7.0))
    np.testing.assert_array_equal(layer.b, np.zeros(4))


def test_the_rows_of_an_embedding_begin_standard_normal() -> None:
    layer = mt.Embedding.init(5, 3, np.random.default_rng(0), dtype="float64")
    np.testing.assert_array_equal(layer.W, np.random.default_rng(0).standard_normal((5, 3)))


# ------------------------------------------------------------------------------------------- optimizers


@pytest.mark.parametrize("frozen", [False, True])
def test_a_state_lies_where_the_model_does(frozen: bool) -> None:
    """Even if the model learns nothing, the next one to use the state may."""
    pytest.importorskip("array_api_strict")
    there = mt.Backend("array_api_strict", device="device1")
    layer: mt.Layer = mt.Affine.init(2, 2, np.random.default_rng(0), backend=there)
    state = mt.Adam().init(mt.Freeze(layer) if frozen else layer)
    assert {str(leaf.device) for leaf in mt.leaves(state)} == {str(mt.leaves(layer)[0].device)}


def test_a_gradient_on_another_device_is_refused() -> None:
    pytest.importorskip("array_api_strict")
    here, there = (
        mt.MatMul(mt.Backend("array_api_strict", device=name).asarray(X)) for name in ("CPU_DEVICE", "device1")
    )
    for optimizer in (mt.SGD(), mt.SGD(transforms=(mt.L2(decay=0.1),))):
        with pytest.raises(TypeError, match=r"SGD.update: a gradient is .+CPU_DEVICE, but its array is .+device1"):
            optimizer.update(there, here, optimizer.init(there))


class Mean(mt.Optimizer):
    """m ← m + (g - m) / t,  p ← p - lr · m: down the mean of all gradients."""

    lr: float = 0.5

    memories = ("m",)

    def rule(self, p, g, m, lr, t):
        m = m + (g - m) / t
        return p - lr * m, m


def test_an_optimizer_of_ones_own_remembers_and_counts(xp: Target) -> None:
    """The class is made here, and not when the file is read."""

    class Mine(mt.Optimizer):
        lr: float = 0.5

        memories = ("m",)
        rule = Mean.rule

    model = xp.put(row_of_ones())
    state, expected, grads = Mine().init(model), 1.0, [4.0, -2.0, 1.0]
    for t in (1, 2, 3):
        model, state = Mine().update(model, model.gradient(W=xp.put(np.full((1, 1), grads[t - 1]))), state)
        expected -= 0.5 * float(np.mean(grads[:t]))
        assert float(mt.to_numpy(model.W)[0, 0]) == pytest.approx(expected, rel=1e-6)
    with pytest.raises(TypeError, match=r"Mine\.update: state must come from Mine\.init, got SGD\.State"):
        Mine().update(model, None, mt.SGD().init(model))


def test_a_rule_may_only_name_numbers_that_there_are() -> None:
    with pytest.raises(TypeError, match=r"^Lost\.rule takes mu, nu, which is no number of Lost$"):

        class Lost(mt.Optimizer):
            lr: float = 0.5

            def rule(self, p, g, nu, lr, mu):
                return (p,)


class Counting(mt.Optimizer):
    """Plain descent with a derived rate; ``derive`` writes down its calls."""

    lr: float = 0.5

    derived = ("rate",)
    calls: Any = ()

    def derive(self, t, numbers):
        self.calls.append(float(t))
        return (numbers["lr"] / t,)

    def rule(self, p, g, rate):
        return (p - rate * g,)


def test_what_is_derived_is_derived_once_for_all_arrays() -> None:
    model = mt.Sequential(affine(np.random.default_rng(0), 2, 2), affine(np.random.default_rng(1), 2, 2))
    optimizer = Counting(calls=[])
    state, now = optimizer.init(model), model
    for _ in range(2):
        now, state = optimizer.update(now, model, state)
    assert optimizer.calls == [1.0, 2.0]
    assert_close(mt.leaves(now), [p - (0.5 + 0.5 / 2) * p for p in mt.leaves(model)], rtol=1e-12)


def test_derive_must_give_every_number_that_it_promised() -> None:
    class Short(Counting):
        derived = ("rate", "other")

    optimizer = Short(calls=[])
    with pytest.raises(ValueError, match="zip"):
        optimizer.update(row_of_ones(), row_of_ones(), optimizer.init(row_of_ones()))


def test_centered_rmsprop_remembers_the_mean_of_the_gradient(xp: Target) -> None:
    model = xp.put(row_of_ones())
    optimizer = mt.RMSprop(decay=0.75, centered=True)
    _, state = optimizer.update(model, xp.put(mt.MatMul(np.full((1, 1), 8.0))), optimizer.init(model))
    assert float(mt.to_numpy(state.m.W)[0, 0]) == pytest.approx(2.0)


@pytest.mark.parametrize("optimizer", [mt.Adam(amsgrad=True), mt.RMSprop(centered=True), mt.Adam(), mt.RMSprop()])
def test_a_choice_does_not_matter_where_nothing_is_learned(optimizer: mt.Optimizer) -> None:
    model = mt.Freeze(row_of_ones())
    after, state = optimizer.update(model, None, optimizer.init(model))
    assert after is model
    assert int(state.step) == 1


def test_a_schedule_is_given_the_step_in_the_width_of_the_state() -> None:
    class Seen(mt.schedules.Schedule):
        def factor(self, n, state):
            assert n.dtype == np.float32
            return n + 1.0

    model = mt.MatMul(np.ones((1, 1), dtype="float32"))
    optimizer = mt.SGD(lr=0.5, schedule=Seen())
    after, _ = optimizer.update(model, model, optimizer.init(model))
    np.testing.assert_array_equal(after.W, [[0.5]])


def test_a_tiny_gradient_is_clipped_to_a_tinier_norm(xp: Target) -> None:
    """The squares of its numbers would be 0."""
    model = xp.put(mt.MatMul(np.ones((1, 2))), "float32")
    optimizer = mt.SGD(transforms=(mt.ClipByNorm(limit=1e-30),))
    grad = xp.put(mt.MatMul(np.array([[3e-30, 4e-30]])), "float32")
    clipped = optimizer.transforms[0].change(model, grad, optimizer.init(model).transforms[0])
    assert_close(clipped.W, np.array([[0.6e-30, 0.8e-30]]), rtol=1e-6)


@pytest.mark.parametrize(
    ("optimizer", "name"),
    [(mt.Momentum, "momentum"), (mt.RMSprop, "decay"), (mt.Adam, "beta1"), (mt.Adam, "beta2"), (mt.AdamW, "beta2")],
)
def test_a_memory_that_never_fades_is_refused(optimizer: Any, name: str) -> None:
    """With a share of 1 nothing new is ever learned, and Adam's corrections divide by zero."""
    with pytest.raises(ValueError, match=f"{name} must be finite, >= 0 and < 1, got 1"):
        optimizer(**{name: 1.0})


# ------------------------------------------------------------------------------------------------ layers


def test_two_rows_are_a_batch(xp: Target) -> None:
    """Whatever they are, one lies as far above their mean as the other below."""
    layer = xp.put(mt.BatchNorm(np.ones(2), np.zeros(2), np.zeros(2), np.ones(2), momentum=1.0, eps=0.0))
    y, cache = xp.run(lambda layer, x: layer.forward(x), layer, xp.put(np.array([[1.0, 5.0], [3.0, -5.0]])))
    assert_close(y, np.array([[-1.0, 1.0], [1.0, -1.0]]), rtol=1e-6)
    assert_close(layer.observe(cache).variance, np.array([2.0, 50.0]), rtol=1e-6)  # over n - 1 = 1


def test_batch_norm_predicts_by_its_formula(xp: Target) -> None:
    layer = xp.put(mt.BatchNorm(*np.array([[3.0], [5.0], [1.0], [0.75]]), eps=0.25))
    assert_close(layer.predict(xp.put(np.array([[2.0], [0.0]]))), np.array([[8.0], [2.0]]), rtol=1e-6)


@pytest.mark.parametrize(("layer", "left"), [(mt.ReLU(), 0.0), (mt.LeakyReLU(0.5), 0.5), (mt.ELU(1.5), 1.5)], ids=repr)
def test_the_slope_at_a_kink_is_that_of_the_left(layer: mt.Layer, left: float, xp: Target) -> None:
    x = xp.put(np.zeros(2))
    _, cache = layer.forward(x)
    assert_close(layer.backward(cache, x + 1.0)[0], np.full(2, left), rtol=1e-6)


def test_data_of_any_kind_is_standardized() -> None:
    """A single column, no columns, yes and no; a number by itself is not data."""
    layer = mt.Standardize.from_data(np.array([1.0, 3.0]))
    np.testing.assert_array_equal(layer.predict(np.array([1.0, 2.0, 3.0])), [-1.0, 0.0, 1.0])
    with pytest.raises(ValueError, match=r"x has shape \(\), expected \(N\)"):
        layer.predict(np.asarray(1.0))
    assert mt.Standardize.from_data(np.ones((5, 0))).mean.shape == (0,)
    answers = mt.Standardize.from_data(np.array([[True], [False], [True], [True]]))
    np.testing.assert_allclose([answers.mean[0], answers.scale[0]], [0.75, np.sqrt(0.75 * 0.25)], rtol=1e-6)


def test_columns_of_very_different_sizes_are_all_standardized() -> None:
    """Their squares fit into no float64, and beside the largest the smallest would be 0."""
    sizes = np.array([1e200, 1.0, 1e-200, 1e-290])
    x = sizes * np.array([[1.0], [-1.0], [3.0], [-3.0]])
    layer = mt.Standardize.from_data(x)
    np.testing.assert_allclose(layer.scale, sizes * np.sqrt(5.0), rtol=1e-14)
    np.testing.assert_allclose(layer.predict(x), np.outer([1, -1, 3, -3], np.ones(4)) / np.sqrt(5.0), rtol=1e-14)


def test_the_largest_number_of_a_width_is_a_mean() -> None:
    largest = np.finfo("float32").max
    layer = mt.Standardize.from_data(np.full((2, 1), largest))
    np.testing.assert_array_equal([layer.mean[0], layer.scale[0]], [largest, 1.0])


def test_a_column_that_only_rounding_moves_is_constant() -> None:
    x = np.array([[1.0, 1.0], [np.nextafter(1.0, 2.0), 2.0]])
    assert mean_and_deviation(x)[1].tolist() == [0.0, 0.5]
    np.testing.assert_array_equal(mt.Standardize.from_data(x).scale, [1.0, 0.5])


def test_data_in_bfloat16_is_standardized(xp: Target) -> None:
    here = xp.backend.xp
    if not hasattr(here, "bfloat16"):
        pytest.skip("there is no bfloat16 here")
    x = here.astype(xp.asarray(np.array([[2.0, 7.0], [6.0, 7.0]])), here.bfloat16)
    layer = mt.Standardize.from_data(x)
    assert layer.mean.dtype == layer.scale.dtype == x.dtype
    assert_close(
        tuple(here.astype(a, here.float32) for a in mt.leaves(layer)), (np.array([4.0, 7.0]), np.array([2.0, 1.0]))
    )
    with pytest.raises(ValueError, match="too large for bfloat16"):
        mt.Standardize.from_data(xp.asarray(np.full((2, 1), 1e39), None), dtype="bfloat16")


def test_an_embedding_where_words_cannot_be_read() -> None:
    """On another library than NumPy: the same rows and sums, and NaN for what names no row, at either end."""
    pytest.importorskip("array_api_strict")
    there = Target("strict-device1")
    W, words = np.random.default_rng(0).standard_normal((4, 3)), np.array([[0, 3], [1, 0], [3, 0]])
    layer = there.put(mt.Embedding(W))
    y, cache = layer.forward(there.put(words))
    assert_close(y, W[words], rtol=0)
    dout = np.random.default_rng(1).standard_normal((3, 2, 3))
    expected = np.eye(4)[words.ravel()].T @ dout.reshape(6, 3)
    assert_close(layer.backward(cache, there.put(dout))[1].W, expected, rtol=1e-12, atol=1e-12)
    wrong, _ = layer.forward(there.put(np.array([-1, 0, 3, 4])))
    np.testing.assert_array_equal(np.isnan(mt.to_numpy(wrong)).all(axis=1), [True, False, False, True])
    _, nothing = layer.forward(there.put(words[:0]))
    dW = layer.backward(nothing, there.put(dout[:0]))[1].W
    assert_close(dW, np.zeros((4, 3)), rtol=0)
    assert dW.device == layer.W.device


# ------------------------------------------------------------------------------------------------ losses


@pytest.mark.parametrize(
    ("rows", "good"),
    [
        ([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]], True),
        ([[0.5, 0.25, 0.2505], [0.5, 0.5, 0.0]], True),  # rounded, as a file holds them
        ([[0.5, 0.25, 0.26], [0.5, 0.5, 0.0]], False),
        ([[0.5, 0.5, 0.5], [0.5, 0.0, 0.0]], False),  # right on the whole
        ([[1.5, 0.0, -0.5], [0.5, 0.5, 0.0]], False),
        ([[-0.5, -0.25, -0.25], [0.5, 0.5, 0.0]], False),
    ],
    ids=["probabilities", "rounded", "more than 1", "1 on average", "less than 0", "-1"],
)
def test_rows_of_probabilities_add_up_to_1(rows: list[list[float]], good: bool) -> None:
    y = np.zeros((2, 3))
    if good:
        mt.SoftmaxWithLoss().check_targets(y, np.array(rows))
    else:
        with pytest.raises(ValueError, match="each row of t must be probabilities that add up to 1"):
            mt.SoftmaxWithLoss().check_targets(y, np.array(rows))


def test_a_class_may_count_for_nothing_but_not_all_of_them() -> None:
    mt.SoftmaxWithLoss(class_weight=np.array([0.0, 0.5, 0.25])).check_weights()
    for weight in ([0.0, 0.0], [-1.0, 1.0], [np.inf, 1.0], [np.nan, 1.0]):
        with pytest.raises(ValueError, match="class_weight must be finite and at least 0, and not all 0"):
            mt.SoftmaxWithLoss(class_weight=np.array(weight)).check_weights()


# ------------------------------------------------------------------- what an error says beside its sentence


@pytest.mark.parametrize("case", [case for case in LAYERS if case.checks_dout], ids=lambda case: case.name)
def test_a_refused_dout_is_told_what_it_should_be_like(case: LayerCase) -> None:
    """The layer that complains, both shapes, and whose shape it is."""
    rng = np.random.default_rng(7)
    layer, x = case.layer(rng), case.x(rng)
    y, cache = layer.forward(x)
    arrays, build = take_apart(y)
    with pytest.raises(ValueError, match="shape") as caught:
        layer.backward(cache, build([np.zeros((1, *a.shape)) for a in arrays]))
    sentence = r"(\w+): (dout|dout\[0\]) has shape (.+), expected (.+) \(the shape of the (output|input)\)"
    found = re.fullmatch(sentence, str(caught.value))
    assert found, str(caught.value)
    layer_name, name, came, wanted, like = found.groups()
    assert issubclass(getattr(mt, layer_name), mt.Layer)
    assert (name == "dout[0]") is (like == "input")
    assert came == str((1, *eval(wanted)))


def foreign(*shape: int) -> Any:
    """Ones that are not NumPy's."""
    return pytest.importorskip("array_api_strict").ones(shape)


class Normal:
    """It draws normal numbers, but no bytes."""

    standard_normal = np.random.default_rng(0).standard_normal


X, C = np.ones((2, 3)), np.ones(3)
SENTENCES: dict[str, Callable[[], Any]] = {
    "Add: x must be a tuple of two arrays or more, got 1": lambda: mt.Add().forward((X,)),
    "Multiply: x must be a tuple of 2 arrays, got 3": lambda: mt.Multiply().forward((X, X, X)),
    "Add: x[0] must hold floating-point numbers, got …": lambda: mt.Add().forward((X > 0, X > 0)),
    "Add: x[1] has shape (1, 3), expected (2, 3) (the shape of x[0])": lambda: mt.Add().forward((X, X[:1])),
    "Multiply: x[1] has shape (1, 3), expected (2, 3) (the shape of x[0])": lambda: mt.Multiply().forward((X, X[:1])),
    "Repeat: x must hold floating-point numbers, got …": lambda: mt.Repeat(2).forward(X > 0),
    "Repeat: x has shape (2, 3), expected length 1 along axis 0 (to repeat it)": lambda: mt.Repeat(2).forward(X),
    "Sum: x has shape (2, 3), expected more than 2 axes (to sum along axis 2)": lambda: mt.Sum(axis=2).forward(X),
    "BatchNorm: mean is array_api_strict …, but gamma is …": lambda: mt.BatchNorm(C, C, foreign(3), C).forward(X),
    "BatchNorm: variance is array_api_strict …, but gamma is …": lambda: mt.BatchNorm(C, C, C, foreign(3)).forward(X),
    "Dropout: stream must be an int32 array of shape (2,), …": lambda: mt.Dropout(C, C).forward(X),
    "Dropout.init: rng must be a NumPy Generator, …": lambda: mt.Dropout.init(0.5, Normal()),  # type: ignore[arg-type]
    "SoftmaxWithLoss: t has shape (3,), expected (2,) (one label per row of y)": lambda: mt.SoftmaxWithLoss().forward(
        X, np.array([0, 1, 2])
    ),
    "SoftmaxWithLoss: t has shape (2, 1), expected (2,) (one label per row of y; write t[:, 0])": (
        lambda: mt.SoftmaxWithLoss().forward(X, np.array([[0], [1]]))
    ),
    "SoftmaxWithLoss: …; rows of probabilities must be of y's dtype, not integers)": (
        lambda: mt.SoftmaxWithLoss().forward(X, np.eye(3, dtype=int)[:2])
    ),
    "SoftmaxWithLoss: t has shape (2, 2), expected (2, 3) or integer labels (N,) (rows of probabilities for y or …": (
        lambda: mt.SoftmaxWithLoss().forward(X, X[:, :2])
    ),
    "SoftmaxWithLoss: t is numpy float32 …, but y is numpy float64 …": (
        lambda: mt.SoftmaxWithLoss().forward(X, X.astype("float32"))
    ),
    "SigmoidWithLoss: pos_weight has shape (2,), expected () (one number, or one per column of y)": (
        lambda: mt.SigmoidWithLoss(pos_weight=C[:2]).forward(C, C)
    ),
    "MeanSquaredError: t has shape (3, 2), expected (2, 3) (the shape of y)": (
        lambda: mt.MeanSquaredError().forward(X, X.T.copy())
    ),
    "MeanSquaredError: t has shape (2,), expected (3,) (the shape of y)": lambda: mt.MeanSquaredError().forward(
        C, C[:2]
    ),
    "MeanSquaredError: t is numpy float32 …, but y is numpy float16 …": (
        lambda: mt.MeanSquaredError().forward(X.astype("float16"), X.astype("float32"))
    ),
    "MeanSquaredError: t must be an array, got …": lambda: mt.MeanSquaredError().forward(X.astype("float16"), [1.0]),
    "Reshape: x has shape (2, 3), expected (N, ...) with samples that fit (2, 2) (they hold 3 numbers)": (
        lambda: mt.Reshape((2, 2)).forward(X)
    ),
    "softplus: x must hold floating-point numbers, got …": lambda: softplus(X > 0),
    "Loss has no losses": lambda: mt.Loss().losses(X, X),
    "Loss has no slopes": lambda: mt.Loss().slopes(X),
    "Optimizer has no rule": lambda: mt.Optimizer().rule(X, X),
    "Schedule has no factor": lambda: mt.schedules.Schedule().factor(X, None),
    "Transform has no change": lambda: mt.Transform().change(None, None, None),
}


@pytest.mark.parametrize("sentence", SENTENCES)
def test_an_error_names_what_it_is_about(sentence: str) -> None:
    with pytest.raises((ValueError, TypeError, NotImplementedError)) as caught:
        SENTENCES[sentence]()
    assert re.fullmatch(".+".join(map(re.escape, sentence.split("…"))), str(caught.value)), str(caught.value)


@pytest.mark.parametrize("transforms", [(), (mt.L2(decay=0.1),)], ids=["plain", "transformed"])
def test_an_update_says_what_does_not_fit(transforms: tuple[mt.Transform, ...]) -> None:
    optimizer, model, wrong = mt.Momentum(transforms=transforms), mt.MatMul(np.ones((2, 3))), mt.MatMul(np.ones((1, 3)))
    with pytest.raises(ValueError, match=r"a gradient has shape \(1, 3\), expected \(2, 3\) \(the shape of its array"):
        optimizer.update(model, wrong, optimizer.init(model))
    with pytest.raises(ValueError, match=r"the state has shape \(1, 3\), expected \(2, 3\) \(the shape of its array"):
        optimizer.update(model, model, optimizer.init(wrong))
    pytest.importorskip("array_api_strict")
    elsewhere = optimizer.init(model.to("array_api_strict"))
    with pytest.raises(TypeError, match=r"^Momentum.update: the state is .+, but the model is "):
        optimizer.update(model, model, elsewhere)


@pytest.mark.parametrize(("has", "word"), [(True, "a"), (False, "no")])
def test_an_update_says_which_choice_the_state_was_made_with(has: bool, word: str) -> None:
    model = row_of_ones()
    expected = f"has {word} peak, so it was made with amsgrad={has}, but the optimizer has amsgrad={not has}"
    with pytest.raises(ValueError, match=expected):
        mt.Adam(amsgrad=not has).update(model, model, mt.Adam(amsgrad=has).init(model))
