"""The data sets: the lesson's numbers bit for bit, and any others."""

from __future__ import annotations

import math
import sys

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


def test_the_tumours_are_scikit_learns_own_splits_and_scaling() -> None:
    """The two splits with random_state 42, then StandardScaler fitted on the training part."""
    pytest.importorskip("sklearn")
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    raw = load_breast_cancer()
    x_all, x_test, t_all, t_test = train_test_split(
        raw.data, raw.target, stratify=raw.target, test_size=0.2, random_state=42
    )
    x_train, x_val, t_train, t_val = train_test_split(x_all, t_all, stratify=t_all, test_size=0.2, random_state=42)
    scaler = StandardScaler().fit(x_train)
    data = mt.datasets.breast_cancer(dtype="float64")
    assert data == (data.train, data.validation, data.test)
    for (x, t), x_raw, labels in zip(data, (x_train, x_val, x_test), (t_train, t_val, t_test), strict=True):
        np.testing.assert_allclose(x, scaler.transform(x_raw), rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(t, labels[:, None])
        assert x.dtype == t.dtype == np.float64


def test_each_part_has_its_share_of_benign_tumours() -> None:
    """357 of the 569 are benign, says the data's own description."""
    pytest.importorskip("sklearn")
    data = mt.datasets.breast_cancer()
    assert [(x.shape, t.shape) for x, t in data] == [((n, 30), (n, 1)) for n in (364, 91, 114)]
    assert sum(t.sum() for _, t in data) == 357
    for x, t in data:
        assert set(np.unique(t)) == {0.0, 1.0}
        assert abs(t.sum() - len(t) * 357 / 569) < 1.0
        assert x.dtype == t.dtype == np.float32


def test_only_the_training_part_is_known_to_the_scaling() -> None:
    pytest.importorskip("sklearn")
    (x, _), (x_validation, _), (x_test, _) = mt.datasets.breast_cancer(dtype="float64")
    np.testing.assert_allclose(x.mean(axis=0), 0.0, atol=1e-13)
    np.testing.assert_allclose((x**2).mean(axis=0), 1.0, rtol=1e-13)  # the population's, not the sample's
    for other in (x_validation, x_test):
        assert np.abs(other.mean(axis=0)).max() > 1e-2
        assert np.abs(other.std(axis=0) - 1.0).max() > 1e-2


@pytest.mark.eager
def test_the_tumours_are_the_same_everywhere(xp: Target) -> None:
    pytest.importorskip("sklearn")
    for width in ("float32", xp.double):
        pairs = zip(
            mt.datasets.breast_cancer(backend=xp.backend, dtype=width),
            mt.datasets.breast_cancer(dtype=width),
            strict=True,
        )
        for (x, t), (expected, labels) in pairs:
            assert mt.backend_of(x).name == mt.backend_of(t).name == xp.backend.name
            np.testing.assert_array_equal(mt.to_numpy(x), expected)
            np.testing.assert_array_equal(mt.to_numpy(t), labels)
    logits = xp.put(mt.Affine(np.ones((30, 1)), np.zeros(1))).predict(x)
    assert math.isfinite(float(mt.to_numpy(mt.SigmoidWithLoss().value(logits, t))))  # t has the shape that it takes


def test_without_scikit_learn_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sklearn", "sklearn.datasets", "sklearn.model_selection"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r'breast_cancer needs scikit-learn: pip install "martlet\[examples\]"'):
        mt.datasets.breast_cancer()
