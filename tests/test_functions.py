"""The plain functions, at ordinary numbers and at the extremes."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from conftest import Target, assert_close

import martlet as mt
from martlet.functions import normal

extremes = np.array([-np.inf, -1e30, -745.0, -100.0, -30.0, -1.0, -0.0, 1.0, 30.0, 100.0, 1e30, np.inf])


def test_sigmoid_keeps_its_digits_in_both_tails(xp: Target) -> None:
    y = mt.to_numpy(xp.run(mt.sigmoid, xp.put(extremes)))
    # exp(x) / (1 + exp(x)), with Python's own exp, which has no array code in common with ours
    expected = [0.0 if x < -746 else math.exp(min(x, 0.0)) / (1.0 + math.exp(-abs(x))) for x in extremes]
    if xp.double == "float64":
        least = {"jax": 5e-308, "cupy": 5e-324}  # JAX flushes the smallest numbers to 0, and CUDA's exp(-745) is 0
        np.testing.assert_allclose(y, expected, rtol=1e-15, atol=least.get(xp.name, 0.0))
    else:
        np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-37)


def test_sigmoid_is_odd_around_one_half(xp: Target) -> None:
    x = xp.put(np.linspace(-20.0, 20.0, 101))
    assert_close(mt.sigmoid(x) + mt.sigmoid(-x), np.ones(101), rtol=1e-6)


def test_softmax_does_not_overflow(xp: Target) -> None:
    y = xp.run(mt.softmax, xp.put(np.array([[1e4, 1e4, -np.inf], [-1e4, 0.0, 0.0]])))
    assert_close(y, np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]]))


def test_softmax_does_not_see_a_shift(xp: Target) -> None:
    x = np.random.default_rng(0).standard_normal((4, 5))
    assert_close(mt.softmax(xp.put(x)), mt.to_numpy(mt.softmax(xp.put(x + 3.0))), rtol=1e-4)


def test_softplus_keeps_its_digits_in_both_tails(xp: Target) -> None:
    y = mt.to_numpy(xp.run(mt.softplus, xp.put(extremes)))
    # log(1 + exp(x)) in Python's own floats; where x is large, log(1 + exp(-x)) is what lies above the line y = x
    expected = [x + math.log1p(math.exp(-x)) if x > 0.0 else math.log1p(math.exp(x)) for x in extremes.tolist()]
    if xp.double == "float64":
        np.testing.assert_allclose(y, expected, rtol=4e-16, atol=5e-324 if xp.name != "jax" else 5e-308)
    else:
        np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-37)


def test_softplus_is_the_integral_of_sigmoid(xp: Target) -> None:
    """softplus(x) - softplus(-x) is x, whatever x is."""
    x = np.linspace(-50.0, 50.0, 101)
    assert_close(mt.softplus(xp.put(x)) - mt.softplus(xp.put(-x)), x, rtol=1e-6, atol=1e-12)


def test_log_softmax_keeps_the_digits_of_a_confident_row(xp: Target) -> None:
    """With e⁻ᵃ for each of two others, the first entry is -log(1 + 2 e⁻ᵃ): -2.08e-16 at a = 36.8, and not 0."""
    for a in (0.0, 1.0, 10.0, 36.8, 80.0):
        y = mt.to_numpy(xp.run(mt.log_softmax, xp.put(np.array([[a, 0.0, 0.0]]))))[0]
        first = -math.log1p(2.0 * math.exp(-a))
        tolerance = 4e-16 if xp.double == "float64" else 2e-6
        np.testing.assert_allclose(y, [first, first - a, first - a], rtol=tolerance)
    assert -2.0 * math.exp(-36.8) == pytest.approx(-2.08e-16, rel=1e-3)


def test_log_softmax_is_the_logarithm_of_softmax(xp: Target) -> None:
    x = np.random.default_rng(0).standard_normal((2, 4, 5))
    expected = np.array([[[v - math.log(sum(map(math.exp, row))) for v in row] for row in table] for table in x])
    assert_close(xp.run(mt.log_softmax, xp.put(x)), expected, **xp.tolerance)


def test_log_softmax_at_the_extremes(xp: Target) -> None:
    x = np.array([[1e4, 1e4, 0.0], [-1e4, 0.0, -np.inf], [-np.inf, -1.0, -1.0], [7.0, -np.inf, -np.inf]])
    expected = [
        [-math.log(2), -math.log(2), -1e4 - math.log(2)],
        [-1e4, 0.0, -np.inf],
        [-np.inf, -math.log(2), -math.log(2)],
    ]
    assert_close(xp.run(mt.log_softmax, xp.put(x)), np.array([*expected, [0.0, -np.inf, -np.inf]]), rtol=1e-6)


def distribution(x: float) -> tuple[float, float]:
    """Φ(x) and φ(x) for x <= 0, from the series Φ(x) = ½ + φ(x) (x + x³/3 + x⁵/15 + …), with 400 digits."""
    with localcontext() as context:
        context.prec = 400
        z, pi = Decimal(x), 16 * arctan(5) - 4 * arctan(239)  # Machin's formula
        density = (-z * z / 2).exp() / (2 * pi).sqrt()
        total, term, odd = Decimal(0), z, 1
        while abs(term) > Decimal(10) ** -380:
            total, odd = total + term, odd + 2
            term *= z * z / odd
        return float(Decimal("0.5") + density * total), float(density)


def arctan(n: int) -> Decimal:
    """The arc tangent of 1 / n."""
    total, term, odd = Decimal(0), Decimal(1) / n, 1
    while abs(term) > Decimal(10) ** -400:
        total, term, odd = total + term / odd, -term / (n * n), odd + 2
    return total


def test_the_series_is_the_normal_distribution() -> None:
    """The yardstick itself, held against what Python knows."""
    assert distribution(-10.0)[0] == pytest.approx(math.erfc(10.0 / math.sqrt(2.0)) / 2.0, rel=1e-13)
    assert distribution(-1.0)[0] == pytest.approx(math.erfc(math.sqrt(0.5)) / 2.0, rel=1e-15)
    assert distribution(0.0) == pytest.approx((0.5, 1.0 / math.sqrt(2.0 * math.pi)), rel=1e-15)


def test_normal_keeps_its_digits_out_to_where_it_is_zero(xp: Target) -> None:
    """ "Within 6 units in the last place", where Φ(x) is no subnormal number."""
    end = -37.0 if xp.double == "float64" else -12.9
    rng = np.random.default_rng(0)  # of no round numbers, whose squares would be exact
    x = np.concatenate([rng.uniform(end, 0.0, 75), rng.uniform(-1.0, 0.0, 10), [-1e-3, 0.0, end]])
    if xp.double == "float32":
        x = x.astype("float32").astype("float64")
    below, density = map(mt.to_numpy, xp.run(normal, xp.put(x)))
    expected = np.array([distribution(v) for v in x.tolist()])
    unit = np.finfo(xp.double).eps
    np.testing.assert_allclose(below, expected[:, 0], rtol=6 * unit)
    np.testing.assert_allclose(density, expected[:, 1], rtol=6 * unit)
    above, mirrored = map(mt.to_numpy, xp.run(normal, xp.put(-x)))
    np.testing.assert_allclose(above, 1.0 - expected[:, 0], rtol=6 * unit)
    np.testing.assert_array_equal(mirrored, density)


def test_normal_at_the_extremes(xp: Target) -> None:
    below, density = xp.run(normal, xp.put(np.array([-np.inf, -1e30, 1e30, np.inf])))
    assert_close(below, np.array([0.0, 0.0, 1.0, 1.0]), rtol=0)
    assert_close(density, np.zeros(4), rtol=0)


def test_nan_is_not_hidden(xp: Target) -> None:
    x = xp.put(np.array([[np.nan, 1.0]]))
    for function in (mt.sigmoid, mt.softplus, lambda x: normal(x)[0], lambda x: normal(x)[1]):
        assert np.isnan(mt.to_numpy(function(x))).tolist() == [[True, False]]
    for function in (mt.softmax, mt.log_softmax):
        assert np.isnan(mt.to_numpy(function(x))).all()


ACTIVATIONS = [
    mt.Identity(),
    mt.Sigmoid(),
    mt.Tanh(),
    mt.ReLU(),
    mt.LeakyReLU(0.01),
    mt.ELU(),
    mt.ELU(2.0),
    mt.Softplus(),
    mt.SiLU(),
    mt.GELU(),
    mt.GELU(tanh=True),
    mt.Softmax(),
    mt.LogSoftmax(),
]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("layer", ACTIVATIONS, ids=repr)
def test_no_finite_number_is_too_large_for_an_activation(layer: mt.Layer, dtype: str) -> None:
    """Out to the largest number there is, without a warning, which pytest makes an error, and without NaN."""
    info = np.finfo(dtype)
    sizes = [
        0.0,
        info.smallest_subnormal,
        info.tiny,
        info.eps,
        1.0,
        9.0,
        11.0,
        39.0,
        41.0,
        300.0,
        info.max / 2,
        info.max,
    ]
    x = np.array([[sign * size, 0.0] for size in sizes for sign in (1, -1)], dtype)
    y, cache = layer.forward(x)
    dx, _ = layer.backward(cache, np.ones_like(y))
    assert y.dtype == dx.dtype == dtype
    assert np.isfinite(y).all()
    assert np.isfinite(dx).all()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_row_from_end_to_end_of_the_numbers(dtype: str) -> None:
    largest = np.finfo(dtype).max
    whole = largest if dtype == "float16" else largest / 2  # beyond, the difference of two floats is infinite
    for layer, half, expected in (
        (mt.LogSoftmax(), largest / 2, [[0.0, -largest]]),
        (mt.Softmax(), whole, [[1.0, 0.0]]),
    ):
        y, cache = layer.forward(np.array([[half, -half]], dtype))
        dx, _ = layer.backward(cache, np.array([[1.0, 0.0]], dtype))
        np.testing.assert_array_equal(y, expected)
        np.testing.assert_array_equal(dx, [[0.0, 0.0]])


def test_one_hot(xp: Target) -> None:
    rows = xp.run(lambda t: mt.one_hot(t, 3), xp.put(np.array([2, 0, 5], dtype=np.int64)))
    assert_close(rows, np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    assert str(rows.dtype).endswith("float32")


@pytest.mark.parametrize("function", [mt.sigmoid, mt.softmax, mt.softplus, mt.log_softmax, normal])
@pytest.mark.parametrize("bad", [[1.0], 1.0, np.array([1]), np.array([1j]), np.array(["a"]), None])
def test_only_floating_point_arrays_are_taken(function: object, bad: object) -> None:
    with pytest.raises(TypeError, match="x must"):
        function(bad)  # type: ignore[operator]
