"""The fast forms of a plan: the steps of training, but for the order of sums."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import LAYERS, LOSSES, OPTIMIZERS, LayerCase, LossCase, OptimizerCase, affine, network
from conftest import assert_close
from hypothesis import strategies as st
from properties.networks import drawn_task, tasks
from properties.strategies import for_all

import martlet as mt
from martlet.compile.numpy import NumpyStepper
from martlet.compile.plans.plan import Plan
from martlet.compile.plans.state import State
from martlet.compile.recorder.recording import record

EXACT = {"rtol": 1e-11, "atol": 1e-13}


def trained(model: Any, loss: Any, optimizer: Any, arrays: tuple[np.ndarray, ...], size: int, epochs: int = 2) -> Any:
    """Losses, model and state after some epochs of eager steps."""
    state, values, rng = optimizer.init(model), [], np.random.default_rng(5)
    for _ in range(epochs):
        order = rng.permutation(len(arrays[0]))
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            model, state, value = mt.train_step(model, loss, optimizer, state, *(a[rows] for a in arrays))
            values.append(float(value))
    return np.asarray(values), model, state


def replayed(model: Any, loss: Any, optimizer: Any, arrays: tuple[np.ndarray, ...], size: int, epochs: int = 2) -> Any:
    """The same by a stepper."""
    stepper = NumpyStepper(model, loss, optimizer, optimizer.init(model), arrays, size=size)
    values, rng = [], np.random.default_rng(5)
    for _ in range(epochs):
        stepper.shuffle(rng.permutation(len(arrays[0])))
        values += stepper.run(0, -(-len(arrays[0]) // size)).tolist()
    return np.asarray(values), *stepper.read()


def check(*given: Any, **tolerance: float) -> None:
    with np.errstate(all="ignore"):
        assert_close(replayed(*given), trained(*given), **(tolerance or EXACT))


def with_samples(x: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """As many samples like these as wanted."""
    if x.dtype.kind in "iu":
        return rng.integers(0, x.max() + 1, (count, *x.shape[1:]))
    return rng.standard_normal((count, *x.shape[1:]))


def simple(case: LayerCase) -> bool:
    """Whether a layer maps one array with samples in its rows to another."""
    rng = np.random.default_rng(0)
    x = case.x(rng)
    if isinstance(x, tuple) or x.shape[0] < 2:
        return False
    y = case.layer(rng).forward(x)[0]
    return not isinstance(y, tuple) and y.shape[0] == x.shape[0]


@pytest.mark.parametrize("case", [case for case in LAYERS if simple(case)], ids=lambda case: case.name)
def test_a_layer_is_trained_as_by_eager_steps(case: LayerCase) -> None:
    rng = np.random.default_rng(1)
    layer = case.layer(rng)
    x = with_samples(case.x(rng), 14, rng)
    t = rng.standard_normal((14, *layer.forward(x)[0].shape[1:]))
    check(layer, mt.MeanSquaredError(), mt.Momentum(lr=0.01), (x, t), 5)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", LOSSES, ids=lambda case: case.name)
def test_a_loss_is_trained_on_as_by_eager_steps(case: LossCase, weighted: bool, reduction: str) -> None:
    rng = np.random.default_rng(2)
    y = case.y(rng)
    repeated = np.concatenate([case.t(np.random.default_rng(seed)) for seed in range(3)])
    if y.ndim == 1:
        model, x = Scaled(np.array(0.7)), rng.standard_normal(len(repeated))
    else:
        model, x = affine(rng, 2, y.shape[1]), rng.standard_normal((len(repeated), 2))
    weight = (rng.uniform(0.5, 2.0, len(x)),) if weighted else ()
    check(model, case.loss(reduction), mt.SGD(lr=0.05), (x, repeated, *weight), max(len(y) - 1, 1))


class Scaled(mt.Layer):
    """y = a · x, with an array of no axes."""

    a: mt.Array

    def forward(self, x):
        return self.a * x, x

    def backward(self, cache, dout):
        return dout * self.a, self.gradient(a=mt.namespace(dout).sum(dout * cache))


@pytest.mark.parametrize("case", OPTIMIZERS, ids=lambda case: case.name)
def test_an_optimizer_trains_as_by_eager_steps(case: OptimizerCase) -> None:
    # Without BatchNorm: a bias before it has no gradient but rounding errors, which these would make large.
    rng = np.random.default_rng(3)
    x, t = rng.standard_normal((20, 3)), rng.integers(0, 2, 20)
    inner = mt.Sequential(affine(rng, 4, 4), mt.GELU(), mt.Dropout.init(0.3, rng))
    model = mt.Sequential(affine(rng, 3, 4), mt.Tanh(), mt.Freeze(affine(rng, 4, 4)), inner, affine(rng, 4, 2))
    check(model, mt.SoftmaxWithLoss(), case.optimizer(), (x, t), 6)


@for_all(60, size=st.integers(2, 20), **tasks)
def test_a_drawn_network_is_trained_as_by_eager_steps(
    words: list[int], sizes: tuple[int, int, int], loss: int, weighted: bool, seed: int, size: int
) -> None:
    model, kind, batch = drawn_task(words, sizes, loss, weighted, np.random.default_rng(seed))
    size = next(n for n in range(size, 22) if sizes[0] % n != 1)  # of one sample there are no statistics
    check(model, kind, mt.Momentum(lr=0.01), batch, size, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_narrower_floats_agree_to_their_last_digits(dtype: str) -> None:
    rng = np.random.default_rng(4)
    x, t = rng.standard_normal((20, 3)).astype(dtype), rng.integers(0, 2, 20)
    eps = float(np.finfo(dtype).eps)
    check(network(rng).to(dtype=dtype), mt.SoftmaxWithLoss(), mt.SGD(lr=0.1), (x, t), 6, rtol=200 * eps, atol=50 * eps)


def spiral_stepper(t: np.ndarray) -> NumpyStepper:
    rng = np.random.default_rng(6)
    model = mt.Sequential(affine(rng, 2, 10), mt.Sigmoid(), affine(rng, 10, 3))
    optimizer = mt.SGD(lr=0.5)
    x = rng.standard_normal((len(t), 2))
    return NumpyStepper(model, mt.SoftmaxWithLoss(), optimizer, optimizer.init(model), (x, t), size=30)


def test_labels_are_prepared_once_and_a_wrong_one_gives_nan() -> None:
    t = np.random.default_rng(7).integers(0, 3, 60)
    right, wrong = spiral_stepper(t), spiral_stepper(np.where(np.arange(60) == 40, 3, t))
    names = [getattr(function, "__name__", "") for function, *_ in right.plan.calls.calls]
    assert "equal" not in names
    assert np.isfinite(right.run(0, 2)).all()
    first, second = wrong.run(0, 2)
    assert np.isfinite(first)
    assert np.isnan(second)


def test_a_step_of_the_spiral_is_a_short_list_of_calls() -> None:
    # 5 products, 2 for the sums of loss and classes; the update of all arrays is 2 calls; no bias is added or summed.
    stepper = spiral_stepper(np.random.default_rng(7).integers(0, 3, 60))
    names = [getattr(function, "__name__", "") for function, *_ in stepper.plan.calls.calls]
    assert names.count("dot") == 7
    assert len(names) <= 32
    assert len(names) - stepper.plan.calls.commit == 1


# ------------------------------------------------------------------------------- what each rewrite may cost


def run_fast(function: Callable[..., Any], *arrays: np.ndarray) -> list[np.ndarray]:
    """The results of a function, by the fast forms of a plan."""
    plan = Plan(record(function, *arrays), [], State({}))
    for place, x in zip(plan.inputs, arrays, strict=True):
        place[...] = x
    plan.run()
    return plan.outputs


def exact_sum(terms: np.ndarray, axis: int | None) -> np.ndarray:
    """Sums without rounding errors but the last one, in float64."""
    if axis is None:
        return np.asarray(math.fsum(terms.ravel().tolist()))
    return np.asarray([math.fsum(line.tolist()) for line in np.moveaxis(terms, axis, -1)])


def assert_within_2_ulp_of_the_scale(found: np.ndarray, terms: np.ndarray, axis: int | None, dtype: str) -> None:
    """No further from Σ terms than 2 units in the last place of Σ |terms|."""
    scale = exact_sum(np.abs(terms), axis)
    error = np.abs(found.astype("float64") - exact_sum(terms, axis))
    assert np.all(error <= 2 * np.finfo(dtype).eps * scale)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize("shape", [(30, 3), (3, 30), (128, 10), (500, 33), (7, 128), (1, 5), (5, 1), (1, 1)])
def test_a_sum_is_right_in_its_last_digits(shape: tuple[int, int], axis: int | None, dtype: str) -> None:
    x = np.random.default_rng(8).standard_normal(shape).astype(dtype)
    for given in (x, np.asfortranarray(x)):
        for keepdims in (False, True):
            (found,) = run_fast(lambda x, k=keepdims: mt.namespace(x).sum(x * 1.5, axis=axis, keepdims=k), given)
            assert found.shape == np.sum(x, axis=axis, keepdims=keepdims).shape
            terms = (x * np.asarray(1.5, dtype)).astype("float64")
            assert_within_2_ulp_of_the_scale(found.reshape(-1), terms, axis, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(30,), (30, 3), (301, 7)])
def test_a_mean_is_right_in_its_last_digits(shape: tuple[int, ...], dtype: str) -> None:
    x = np.random.default_rng(9).standard_normal(shape).astype(dtype)
    (found,) = run_fast(lambda x: mt.namespace(x).sum(x / 7.0), x)
    assert_within_2_ulp_of_the_scale(found, x.astype("float64") / 7.0, None, dtype)


@pytest.mark.parametrize("shape", [(30, 2), (30, 3), (30, 4), (200, 32), (200, 33), (3, 7)])
@pytest.mark.parametrize("name", ["max", "min"])
def test_an_extreme_is_exact_and_knows_nan_and_infinity(name: str, shape: tuple[int, int]) -> None:
    x = np.random.default_rng(10).standard_normal(shape)
    x[0, 1], x[1, 0], x[2, 1] = np.nan, np.inf, -np.inf
    (found,) = run_fast(lambda x: getattr(mt.namespace(x), name)(x * 1.5, axis=1, keepdims=True), x)
    np.testing.assert_array_equal(found, getattr(np, name)(x * 1.5, axis=1, keepdims=True))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["maximum", "minimum"])
@pytest.mark.parametrize("shape", [(30, 3), (40, 50), (5,), (1,), ()])
def test_the_larger_of_an_array_and_a_number_is_exact(shape: tuple[int, ...], name: str, dtype: str) -> None:
    x = np.asarray(np.random.default_rng(11).standard_normal(shape), dtype)
    x.reshape(-1)[0] = np.nan
    (found,) = run_fast(lambda x: getattr(mt.namespace(x), name)(x, 0.25), x)
    np.testing.assert_array_equal(found, getattr(np, name)(x, np.asarray(0.25, dtype)))


@pytest.mark.parametrize("operator", [np.subtract, np.divide, np.add, np.greater])
@pytest.mark.parametrize("shape", [(30, 3), (40, 50), (100, 100)])
def test_a_row_or_a_column_beside_an_array_is_exact(shape: tuple[int, int], operator: np.ufunc) -> None:
    rng = np.random.default_rng(12)
    x, row, column = rng.standard_normal(shape), rng.standard_normal(shape[1]), rng.standard_normal((shape[0], 1))
    for other in (row, column):
        for swapped in (False, True):
            pair = (other, x) if swapped else (x, other)
            (found,) = run_fast(lambda a, b: getattr(mt.namespace(a), operator.__name__)(a * 1.5, b), *pair)
            np.testing.assert_array_equal(found, operator(pair[0] * 1.5, pair[1]))


def test_a_bias_beside_its_weights_is_added_by_the_product() -> None:
    rng = np.random.default_rng(13)
    model = mt.Sequential(affine(rng, 4, 5), mt.Tanh(), affine(rng, 5, 3)).to(dtype="float32")
    x, t = rng.standard_normal((20, 4)).astype("float32"), rng.integers(0, 3, 20)
    optimizer = mt.SGD(lr=1.0)
    stepper = NumpyStepper(model, mt.SoftmaxWithLoss(), optimizer, optimizer.init(model), (x, t), size=20)
    names = [getattr(function, "__name__", "") for function, *_ in stepper.plan.calls.calls]
    assert names.count("dot") == 5 + 2  # y, dW and db of two layers, and dx of one; the sums of classes and losses
    stepper.run(0, 1)
    after = stepper.read()[0]
    _, grad, _ = mt.gradient(model.to(dtype="float64"), mt.SoftmaxWithLoss(), x.astype("float64"), t)
    for before, now, slope in zip(mt.leaves(model), mt.leaves(after), mt.leaves(grad), strict=True):
        np.testing.assert_allclose(now, before - slope, rtol=1e-5, atol=1e-6)


def test_a_bias_that_stands_elsewhere_in_the_state_is_added_by_itself() -> None:
    """Its gradient is the sum of dout all the same."""
    rng = np.random.default_rng(14)
    layer = Twice(*rng.standard_normal((2, 3, 3)), rng.standard_normal(3))
    x, t = rng.standard_normal((12, 3)), rng.standard_normal((12, 3))
    check(layer, mt.MeanSquaredError(), mt.SGD(lr=0.05), (x, t), 4)


class Twice(mt.Layer):
    """y = x @ V + x @ W + b, of which V and b are not side by side."""

    V: mt.Array
    W: mt.Array
    b: mt.Array

    def forward(self, x):
        return (x @ self.V + self.b) + x @ self.W, x

    def backward(self, cache, dout):
        dV = cache.T @ dout
        db = mt.namespace(dout).sum(dout, axis=0)
        return dout @ (self.V + self.W).T, self.gradient(V=dV, W=cache.T @ dout, b=db)


def test_a_counter_that_nothing_else_reads_is_counted() -> None:
    rng = np.random.default_rng(15)
    model, optimizer = mt.Sequential(affine(rng, 3, 2), Counting(np.array(5))), mt.SGD(lr=0.1)
    x, t = rng.standard_normal((10, 3)), rng.standard_normal((10, 2))
    stepper = NumpyStepper(model, mt.MeanSquaredError(), optimizer, optimizer.init(model), (x, t), size=4)
    stepper.run(0, 3)
    after, state = stepper.read()
    assert int(state.step) == 3
    assert int(after[1].seen) == 5 + 3 * 2
    assert after[1].seen.dtype == model[1].seen.dtype
    written = {name for key in stepper.memory.blocks for name in key}
    assert not written & {"state.step", "model.1.seen"}


class Counting(mt.Layer):
    """y = x, and the number of batches, counted by twos."""

    seen: mt.Array = mt.kept()

    def forward(self, x):
        return x, None

    def backward(self, cache, dout):
        return dout, None

    def observe(self, cache):
        return Counting(self.seen + 2)


def test_a_plan_reads_as_the_calls_that_one_would_write() -> None:
    lines = str(spiral_stepper(np.random.default_rng(7).integers(0, 3, 60)).plan).splitlines()
    assert lines[0] == "def step():"
    assert [line.strip().split("(")[0].split(".")[-1] for line in lines[1:5]] == ["dot", "minimum", "exp", "add"]
    assert any("minimum(" in line and "out=" in line for line in lines)


def test_what_a_layer_keeps_of_its_batch_is_kept_though_the_next_one_takes_it() -> None:
    rng = np.random.default_rng(16)
    model = mt.Sequential(affine(rng, 3, 4), Keeping(np.zeros((6, 4))), affine(rng, 4, 2))
    x, t = rng.standard_normal((12, 3)), rng.standard_normal((12, 2))
    check(model, mt.MeanSquaredError(), mt.SGD(lr=0.05), (x, t), 6)


class Keeping(mt.Layer):
    """y = tanh(x), and the last of them."""

    last: mt.Array = mt.kept()

    def forward(self, x):
        y = mt.namespace(x).tanh(x)
        return y, y

    def backward(self, cache, dout):
        return dout * (1.0 - cache * cache), None

    def observe(self, cache):
        return Keeping(cache)
