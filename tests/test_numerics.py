"""Digits: how far each function is from its exact value, what it gives at the ends, and what half precision keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import LOSSES, LossCase
from conftest import Target, assert_close
from exact import EXCEPTIONS, FUNCTIONS, distance

import martlet as mt

inf, nan = np.inf, np.nan


@pytest.mark.parametrize("width", ["float64", "float32"])
@pytest.mark.parametrize("index", range(len(FUNCTIONS)), ids=[f"{f.name}, {f.inputs}" for f in FUNCTIONS])
def test_the_last_digits_are_right(index: int, width: str, xp: Target) -> None:
    if width == "float64" and xp.double == "float32":
        pytest.skip("there is no float64 here")
    function = FUNCTIONS[index]
    bound = EXCEPTIONS.get((xp.backend.name, function.name, width), function.bound)
    furthest = distance(index, width, xp.backend, xp.run)
    assert furthest.ulp <= bound, f"{furthest.ulp:.2f} units in the last place at a result of {furthest.at}"


# ----------------------------------------------------------------------------------------- the ends

SMALL = 5e-324  # the smallest number above 0

ENDS = [
    (mt.Sigmoid(), [-inf, -0.0, inf], [0.0, 0.5, 1.0]),
    (mt.Tanh(), [-inf, -0.0, 0.0, inf, SMALL], [-1.0, -0.0, 0.0, 1.0, SMALL]),
    (mt.ReLU(), [-inf, -SMALL, inf, SMALL], [0.0, 0.0, inf, SMALL]),
    (mt.LeakyReLU(0.5), [-inf, inf, SMALL], [-inf, inf, SMALL]),
    (mt.ELU(), [-inf, inf, SMALL, -SMALL], [-1.0, inf, SMALL, -SMALL]),
    (mt.Softplus(), [-inf, -0.0, inf], [0.0, np.log(2.0), inf]),
    (mt.SiLU(), [-inf, -0.0, 0.0, inf], [0.0, -0.0, 0.0, inf]),
    (mt.GELU(), [-inf, -0.0, 0.0, inf], [0.0, -0.0, 0.0, inf]),
    (mt.GELU(tanh=True), [-inf, -0.0, 0.0, inf], [0.0, -0.0, 0.0, inf]),
    (mt.Softmax(), [-inf, -0.0, 0.0], [0.0, 0.5, 0.5]),
    (mt.Softmax(), [-1e308, -inf, 1e308], [0.0, 0.0, 1.0]),
    (mt.LogSoftmax(), [-inf, 7.0], [-inf, 0.0]),
    (mt.LogSoftmax(), [-1e307, 1e307], [-2e307, 0.0]),
]


@pytest.mark.parametrize(("layer", "x", "expected"), ENDS, ids=[f"{type(e[0]).__name__}{e[1]}" for e in ENDS])
def test_a_limit_is_reached(layer: mt.Layer, x: list[float], expected: list[float], xp: Target) -> None:
    """Without a warning; with the sign of zero where the function is odd there; subnormal numbers stay."""
    if xp.double == "float32" and max(abs(v) for v in x if np.isfinite(v)) > 1e38:
        pytest.skip("no such numbers in float32")
    y = mt.to_numpy(xp.run(lambda x: layer.predict(x), xp.put(np.array([x]))))[0]
    if xp.name == "jax" or xp.double == "float32":  # where a subnormal number of float64 is 0
        expected = [0.0 * v if abs(v) == SMALL else v for v in expected]
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=0)
    zeros = [i for i, v in enumerate(expected) if v == 0.0 and x[i] == 0.0]
    np.testing.assert_array_equal(np.signbit(y[zeros]), np.signbit(np.array(expected)[zeros]))


@pytest.mark.parametrize("layer", [layer for layer, x, _ in ENDS if len(x) != 2], ids=lambda x: type(x).__name__)
def test_nan_is_never_hidden(layer: mt.Layer, xp: Target) -> None:
    """What comes from NaN is NaN; the others are what they were."""
    x = np.array([[0.5, nan, -2.0], [1.0, 2.0, 3.0]])
    y, whole = (mt.to_numpy(xp.run(lambda x: layer.predict(x), xp.put(v))) for v in (x, np.nan_to_num(x)))
    touched = np.isnan(x).any(axis=1, keepdims=True) if isinstance(layer, mt.Softmax | mt.LogSoftmax) else np.isnan(x)
    np.testing.assert_array_equal(np.isnan(y), np.broadcast_to(touched, x.shape))
    np.testing.assert_array_equal(y[~np.isnan(y)], whole[~np.isnan(y)])


@pytest.mark.parametrize("case", LOSSES, ids=lambda case: case.name)
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_a_nan_among_the_outputs_makes_the_loss_nan(case: LossCase, reduction: str, xp: Target) -> None:
    rng = np.random.default_rng(3)
    y, t, loss = case.y(rng), case.t(rng), case.loss(reduction)
    y[0] = nan
    value, dy = xp.run(value_and_slope, xp.put(loss), xp.put(y), xp.put(t))
    bad = np.isnan(mt.to_numpy(value))
    assert np.all(bad[0] if reduction == "none" else bad)
    assert np.isnan(mt.to_numpy(dy)[0]).all()


def value_and_slope(loss: mt.Loss, y: Any, t: Any) -> tuple[Any, Any]:
    value, cache = loss.forward(y, t)
    return value, loss.backward(cache, mt.namespace(value).ones_like(value))


@pytest.mark.parametrize("pos_weight", [None, 3.0])
def test_binary_cross_entropy_at_infinite_logits(pos_weight: float | None, xp: Target) -> None:
    y = np.array([inf, -inf, inf, -inf, inf, -inf])
    t = np.array([1.0, 0.0, 0.0, 1.0, 0.5, 0.5])
    loss = mt.SigmoidWithLoss("none", pos_weight=None if pos_weight is None else np.array(pos_weight))
    value = xp.run(lambda loss, y, t: loss.value(y, t), xp.put(loss), xp.put(y), xp.put(t))
    assert mt.to_numpy(value).tolist() == [0.0, 0.0, inf, inf, inf, inf]


def test_a_logit_of_minus_infinity_excludes_a_class(xp: Target) -> None:
    """It costs nothing where the target is another class, and everything where it is that one."""
    y = np.array([[-inf, 1.0, 1.0], [-inf, 1.0, 1.0], [50.0, -inf, -inf]])
    t = np.array([1, 0, 0])
    for target in (t, np.eye(3)[t]):
        value, dy = xp.run(value_and_slope, mt.SoftmaxWithLoss("none"), xp.put(y), xp.put(target))
        assert_close(value, np.array([np.log(2.0), inf, 0.0]), rtol=1e-6)
        assert_close(dy, np.array([[0.0, -0.5, 0.5], [-1.0, 0.5, 0.5], [0.0, 0.0, 0.0]]), atol=1e-6)


def test_the_numbers_that_every_peer_loses(xp: Target) -> None:
    """Each is a tail of an exponential: e⁻⁴⁰, -2 e⁻³⁶·⁸, -10 Φ(-10)."""
    rtol = 4e-16 * 16 if xp.double == "float64" else 2e-6
    bce = xp.run(lambda y, t: mt.SigmoidWithLoss().value(y, t), xp.put(np.array([-40.0])), xp.put(np.array([0.0])))
    assert_close(bce, np.array(np.exp(-40.0)), rtol=rtol)
    row = xp.run(mt.log_softmax, xp.put(np.array([[36.8, 0.0, 0.0]])))
    assert_close(row[0, 0], np.array(-2.0 * np.exp(-36.8)), rtol=1e-15 if xp.double == "float64" else 2e-6)
    surprised = mt.SoftmaxWithLoss().value(xp.put(np.array([[36.8, 0.0, 0.0]])), xp.asarray(np.array([0])))
    assert_close(surprised, np.array(2.0 * np.exp(-36.8)), rtol=1e-15 if xp.double == "float64" else 2e-6)
    y = xp.run(lambda x: mt.GELU().predict(x), xp.put(np.array([-10.0])))
    assert_close(y, np.array([-7.619853024160526e-23]), rtol=rtol)  # math.erfc agrees to 13 digits


# ------------------------------------------------------------------------- half precision, and sums

MILLION = 1_000_000


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_a_mean_of_a_million_large_losses_does_not_overflow(dtype: str, xp: Target) -> None:
    """The largest losses there are: squares just below the end of float32 (float16: of half precision)."""
    try:
        error = xp.asarray(np.array([200.0 if dtype == "float16" else 1.75e19]), dtype)
    except ValueError as why_not:
        pytest.skip(str(why_not))
    library = mt.namespace(error)
    y = library.broadcast_to(error, (MILLION,))
    t = library.zeros_like(y)
    expected = float(mt.to_numpy(error)[0]) ** 2
    weight = library.ones_like(y)
    for loss, share in ((mt.MeanSquaredError(), 1.0), (mt.Huber(delta=1e30), 0.5)):
        value, cache = loss.forward(y, t)
        assert float(value) == pytest.approx(share * expected, rel=1e-3)
        assert float(loss.value(y, t, weight)) == pytest.approx(share * expected, rel=1e-3)
        assert loss.backward(cache).dtype == y.dtype


@pytest.mark.parametrize("case", LOSSES, ids=lambda case: case.name)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_half_precision_loses_nothing_but_its_inputs(case: LossCase, dtype: str, reduction: str, xp: Target) -> None:
    """The loss is that of the same numbers in float32, and its gradient that gradient, rounded."""
    rng = np.random.default_rng(5)
    y, t, loss = case.y(rng), case.t(rng), case.loss(reduction)
    try:
        given = tuple(xp.put(value, dtype) for value in (loss, y, t))
    except ValueError as why_not:
        pytest.skip(str(why_not))
    wide = tuple(xp.put(mt.to_numpy(v) if not isinstance(v, mt.Loss) else v, "float32") for v in given[1:])
    (value, dy), (expected, slope) = (
        xp.run(value_and_slope, *arguments) for arguments in (given, (given[0].to(dtype="float32"), *wide))
    )
    assert mt.to_numpy(value).dtype == np.float32
    assert_close(value, mt.to_numpy(expected), rtol=1e-6, atol=1e-7)
    assert dy.dtype == given[1].dtype
    spacing = 2.0**-8 if dtype == "bfloat16" else 2.0**-11
    np.testing.assert_allclose(mt.to_numpy(dy).astype("float32"), mt.to_numpy(slope), rtol=spacing, atol=1e-7)
