"""The plain functions, at ordinary numbers and at the extremes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import Target, assert_close

import martlet as mt

extremes = np.array([-np.inf, -1e30, -745.0, -100.0, -30.0, -1.0, -0.0, 1.0, 30.0, 100.0, 1e30, np.inf])


def test_sigmoid_keeps_its_digits_in_both_tails(xp: Target) -> None:
    y = mt.to_numpy(xp.run(mt.sigmoid, xp.put(extremes)))
    # exp(x) / (1 + exp(x)), with Python's own exp, which has no array code in common with ours
    expected = [0.0 if x < -746 else math.exp(min(x, 0.0)) / (1.0 + math.exp(-abs(x))) for x in extremes]
    if xp.double == "float64":
        np.testing.assert_allclose(y, expected, rtol=1e-15, atol=0 if xp.name != "jax" else 5e-308)
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


def test_nan_is_not_hidden(xp: Target) -> None:
    x = xp.put(np.array([[np.nan, 1.0]]))
    assert np.isnan(mt.to_numpy(mt.sigmoid(x))[0, 0])
    assert np.isnan(mt.to_numpy(mt.softmax(x))).all()


def test_one_hot(xp: Target) -> None:
    rows = xp.run(lambda t: mt.one_hot(t, 3), xp.put(np.array([2, 0, 5], dtype=np.int64)))
    assert_close(rows, np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    assert str(rows.dtype).endswith("float32")


@pytest.mark.parametrize("function", [mt.sigmoid, mt.softmax])
@pytest.mark.parametrize("bad", [[1.0], 1.0, np.array([1]), np.array([1j]), np.array(["a"]), None])
def test_only_floating_point_arrays_are_taken(function: object, bad: object) -> None:
    with pytest.raises(TypeError, match="x must"):
        function(bad)  # type: ignore[operator]
