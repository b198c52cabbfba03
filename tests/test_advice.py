"""Where to run: the table, its words, and what it is measured on."""

from __future__ import annotations

import numpy as np
import pytest
from cases import affine
from conftest import Target, to_numpy

import martlet as mt

TIMES = {"numpy cpu": {8: 1e-5, 64: 2e-4, 512: 2e-3}, "cupy cuda:0": {8: 1e-3, 64: 1e-3, 512: 1.1e-3}}


def test_the_fastest_changes_with_the_batch() -> None:
    advice = mt.Advice(TIMES, {"jax": "not installed"})
    assert [advice.fastest(size) for size in advice.batch_sizes] == ["numpy cpu", "numpy cpu", "cupy cuda:0"]
    assert advice.changes() == [(8, "numpy cpu"), (512, "cupy cuda:0")]
    text = str(advice)
    assert "For small batches: numpy cpu." in text
    assert "From a batch of 512 on: cupy cuda:0." in text
    assert "Left out: jax, not installed" in text
    assert "10 µs" in text
    assert "1.1 ms" in text
    with pytest.raises(ValueError, match="batch_size=7 was not timed"):
        advice.fastest(7)


def test_a_batch_that_did_not_fit_is_shown_as_such() -> None:
    advice = mt.Advice({"numpy": {8: 1.0, 64: 2.0}, "torch": {8: 0.5}}, {})
    assert advice.changes() == [(8, "torch"), (64, "numpy")]
    assert "no room" in str(advice)


@pytest.mark.eager
def test_each_backend_is_timed_and_nothing_changes(xp: Target) -> None:
    model = xp.put(mt.Sequential(affine(np.random.default_rng(0), 2, 3)))
    x, t = map(xp.put, mt.datasets.spiral(5, dtype=xp.double))
    before = to_numpy((model, x, t))
    advice = mt.where_to_run(
        model,
        mt.SoftmaxWithLoss(),
        mt.Adam(),
        x,
        t,
        batch_sizes=(40, 4),  # 15 samples: the larger batch sees some of them again
        backends=["numpy", mt.Backend(xp.backend.name, xp.backend.device, xp.double)],
        seconds=0.0,
    )
    assert advice.batch_sizes == (4, 40)
    assert all(0.0 < seconds < 60.0 for times in advice.seconds.values() for seconds in times.values())
    assert len(advice.seconds) == (1 if xp.backend.name == "numpy" else 2)
    for now, was in zip(mt.leaves(model), mt.leaves(before[0]), strict=True):
        np.testing.assert_array_equal(mt.to_numpy(now), was)


def test_a_backend_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from martlet.backend import LIBRARIES

    def missing() -> None:
        raise mt.BackendUnavailable('backend="cupy" finds no CUDA device')

    monkeypatch.setattr(LIBRARIES["cupy"], "load", missing)
    call = (mt.MatMul(np.ones((2, 3))), mt.SoftmaxWithLoss(), mt.SGD(), *mt.datasets.spiral(3))
    advice = mt.where_to_run(*call, batch_sizes=[4], backends=["cupy", "numpy"], seconds=0.0)
    assert advice.left_out == {"cupy": 'backend="cupy" finds no CUDA device'}
    with pytest.raises(mt.BackendUnavailable, match="none of the backends can be used"):
        mt.where_to_run(*call, batch_sizes=[4], backends=["cupy"], seconds=0.0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_sizes": 32}, "batch_sizes"),
        ({"batch_sizes": ()}, "batch_sizes"),
        ({"batch_sizes": (0,)}, "batch size"),
        ({"batch_sizes": (1.5,)}, "batch size"),
        ({"backends": ["nunpy"]}, "nunpy"),
        ({"seconds": -1.0}, "seconds"),
    ],
)
def test_bad_calls_are_explained(changes: dict, words: str) -> None:
    call = (mt.MatMul(np.ones((2, 3))), mt.SoftmaxWithLoss(), mt.SGD(), *mt.datasets.spiral(3))
    with pytest.raises((TypeError, ValueError), match=words):
        mt.where_to_run(*call, **changes)
