"""The data sets: the lesson's numbers bit for bit, and any others."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import Target

import martlet as mt


def test_the_spiral_is_the_lessons_bit_for_bit() -> None:
    """The lesson's loop, one point at a time."""
    x, t = mt.datasets.spiral(dtype="float64")
    rng = np.random.RandomState(1984)
    for j in range(3):
        for i in range(100):
            rate = i / 100
            theta = j * 4.0 + 4.0 * rate + rng.randn() * 0.2
            assert x[100 * j + i, 0] == rate * np.sin(theta)
            assert x[100 * j + i, 1] == rate * np.cos(theta)
            assert t[100 * j + i] == j
    assert rng.randn() == _next_of_the_stream()


def _next_of_the_stream() -> float:
    rng = np.random.RandomState(1984)
    mt.datasets.spiral(rng=rng)
    return rng.randn()


def test_any_number_of_points_and_arms() -> None:
    x, t = mt.datasets.spiral(7, 5, noise=0.0, rng=np.random.default_rng(0), dtype="float64")
    assert x.shape == (35, 2)
    assert np.bincount(t).tolist() == [7] * 5
    np.testing.assert_allclose(np.hypot(*x.T), np.tile(np.arange(7) / 7, 5), atol=1e-15)
    angle = math.atan2(x[9, 0], x[9, 1])  # point 2 of arm 1
    assert angle == pytest.approx(4.0 + 4.0 * 2 / 7 - 2 * math.pi)


def test_a_seed_gives_one_spiral_everywhere(xp: Target) -> None:
    x, t = mt.datasets.spiral(20, rng=np.random.default_rng(2), backend=xp.backend)
    expected, labels = mt.datasets.spiral(20, rng=np.random.default_rng(2))
    np.testing.assert_array_equal(mt.to_numpy(x), expected)
    np.testing.assert_array_equal(mt.to_numpy(t), labels)
    assert not np.array_equal(expected, mt.datasets.spiral(20, rng=np.random.default_rng(3))[0])


def test_xor_is_exclusive_or() -> None:
    x, t = mt.datasets.xor()
    for (a, b), (c,) in zip(x, t, strict=True):
        assert bool(c) == (bool(a) != bool(b))
    assert len({tuple(row) for row in x}) == 4
    assert x.dtype == t.dtype == np.float32
