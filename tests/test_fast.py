"""The fast forms of a plan: the steps of training, but for the order of sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import LAYERS, LOSSES, OPTIMIZERS, LayerCase, LossCase, OptimizerCase, affine, network
from conftest import assert_close

import martlet as mt
from martlet.compile.numpy import NumpyStepper

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
