"""One curve everywhere, and a comparison that sees where it is not."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from conftest import Target, assert_close, to_numpy

import martlet as mt
from martlet.testing import Comparison, compare_backends
from martlet.testing.comparison import Run
from martlet.testing.parity import aligned, difference, in_short, worst

X, T = mt.datasets.spiral(10, dtype="float64")


def spiral() -> mt.Layer:
    rng = np.random.default_rng(0)
    return mt.Sequential(
        mt.Affine.init(2, 10, rng, dtype="float64"), mt.Sigmoid(), mt.Affine.init(10, 3, rng, dtype="float64")
    )


def compared(model: mt.Layer | None = None, **settings: Any) -> Comparison:
    model = spiral() if model is None else model
    return compare_backends(model, mt.SoftmaxWithLoss(), mt.SGD(lr=1.0), X, T, **{"epochs": 3, **settings})


@pytest.mark.eager
def test_the_spiral_is_the_same_everywhere(xp: Target) -> None:
    x, t = mt.datasets.spiral(dtype="float64")
    given = spiral(), x, t
    before = to_numpy(given)
    here = mt.Backend(xp.backend.name, xp.backend.device)
    comparison = compare_backends(
        given[0],
        mt.SoftmaxWithLoss(),
        mt.Adam(lr=0.03),
        *given[1:],
        backends=["numpy", here],
        epochs=20,
        batch_size=30,
        dtype=xp.double,
    )
    reference, row = comparison.rows
    bound = 1e-12 if xp.double == "float64" else 1e-5
    assert (reference.loss, reference.parameters, reference.relative) == (0.0, 0.0, 0.0)
    assert row.error == ""
    assert row.loss < bound
    assert row.relative < bound
    assert 0.0 < row.seconds < 60.0
    assert comparison.reference == "numpy cpu"
    assert row.backend.startswith(xp.backend.name)
    if xp.backend.device is not None:
        assert row.backend.endswith(xp.name.split("-")[1])
    assert_close(given, before, rtol=0)


def test_without_names_every_backend_of_the_machine_is_compared() -> None:
    comparison = compared()
    names = [row.backend.split()[0] for row in comparison.rows]
    assert names == list(mt.available_backends())
    assert names[0] == "numpy"
    assert all(row.relative < 1e-12 for row in comparison.rows)
    assert not set(names) & set(comparison.left_out)
    assert set(names) | set(comparison.left_out) == set(mt.backend.LIBRARIES)


class Bent(mt.Layer):
    """The identity, but in one library, where the gradient is a millionth too long."""

    def forward(self, x):
        return x, None

    def backward(self, cache, dout):
        is_strict = mt.namespace(dout).__name__ == "array_api_strict"
        return dout * (1.000001 if is_strict else 1.0), None


def test_a_layer_that_is_wrong_on_one_library_shows_up_there_alone() -> None:
    pytest.importorskip("array_api_strict")
    bent = mt.Sequential(*spiral()[:2], Bent(), *spiral()[2:])
    comparison = compared(bent, backends=["numpy", "array_api_strict", mt.Backend("numpy")])
    zero, wrong, again = comparison.rows
    assert (zero.parameters, again.parameters, again.loss) == (0.0, 0.0, 0.0)
    assert 1e-9 < wrong.relative < 1e-4
    assert 1e-9 < wrong.loss < 1e-4


class Sums(mt.Layer):
    """The identity, by a method that not every library's arrays have."""

    def forward(self, x):
        return x + 0.0 * x.sum(), None

    def backward(self, cache, dout):
        return dout, None


def test_a_run_that_fails_is_a_row_that_says_so() -> None:
    pytest.importorskip("array_api_strict")
    model = mt.Sequential(*spiral(), Sums())
    comparison = compared(model, backends=["numpy", "array_api_strict"])
    assert comparison.rows[1] == Run("array_api_strict", error="AttributeError: 'Array' object has no attribute 'sum'")
    assert "Failed: array_api_strict, AttributeError" in str(comparison)
    with pytest.raises(AttributeError, match="sum"):  # nothing to compare with
        compared(model, backends=["array_api_strict", "numpy"])


def test_the_differences_are_those_of_two_runs_of_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second run is given another seed, so that there is something to compare."""
    runs = []

    def seeded(*args: Any, seed: int, **settings: Any) -> Any:
        runs.append(mt.fit(*args, seed=seed + len(runs), **settings))
        return runs[-1]

    monkeypatch.setattr("martlet.testing.comparison.fit", seeded)
    comparison = compared(backends=["numpy", "numpy"], seed=3, batch_size=7)
    expected = [
        mt.fit(spiral(), X, T, loss=mt.SoftmaxWithLoss(), optimizer=mt.SGD(lr=1.0), epochs=3, batch_size=7, seed=seed)
        for seed in (3, 4)
    ]
    (model, history), (other, others) = expected
    gaps = [np.max(np.abs(a - b)) for a, b in zip(mt.leaves(model), mt.leaves(other), strict=True)]
    largest = max(np.max(np.abs(a)) for a in mt.leaves(model))
    row = comparison.rows[1]
    assert row.loss == np.max(np.abs(np.subtract(history.loss, others.loss))) > 0.0
    assert row.parameters == max(gaps)
    assert row.relative == max(gaps) / largest


@pytest.mark.every
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_jax_needs_no_64_bits_outside(dtype: str) -> None:
    jax = pytest.importorskip("jax")
    before = jax.config.jax_enable_x64, jax.config.jax_default_matmul_precision
    jax.config.update("jax_enable_x64", False)
    try:
        comparison = compared(backends=["numpy", "jax"], dtype=dtype)
        assert jax.config.jax_enable_x64 is False
        assert jax.config.jax_default_matmul_precision == before[1]
        assert jax.numpy.ones(1).dtype == "float32"
    finally:
        jax.config.update("jax_enable_x64", before[0])
    assert comparison.rows[1].error == ""
    bound = {"float64": 1e-12, "float32": 1e-5}[dtype]
    assert comparison.rows[1].relative < bound
    assert comparison.dtype == dtype


def test_the_first_epoch_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """45 samples in batches of 10 are 5 steps; of the epochs after the first the median counts."""
    real = mt.fit

    def slow(*args: Any, **settings: Any) -> Any:
        model, history = real(*args, **settings)
        return model, dataclasses.replace(history, seconds=[100.0, 1.0, 4.0, 2.0][: settings["epochs"]])

    monkeypatch.setattr("martlet.testing.comparison.fit", slow)
    call = spiral(), mt.SoftmaxWithLoss(), mt.SGD(lr=1.0), *mt.datasets.spiral(15, dtype="float64")
    assert compare_backends(*call, backends=["numpy"], epochs=4, batch_size=10).rows[0].seconds == 0.4
    once = compare_backends(*call, backends=["numpy"], epochs=1, batch_size=10)
    assert once.rows[0].seconds is None
    assert "after 1 epoch in float64" in str(once)


def test_the_comparison_is_a_table() -> None:
    rows = (Run("numpy cpu", 0.0, 0.0, 0.0, 51e-6), Run("torch cuda:0", 2.2e-16, 1.3e-15, 4e-16, 1.9e-3))
    comparison = Comparison((*rows, Run("jax cpu:0", error="TypeError: no")), {"cupy": "not installed"}, 20, "float64")
    assert str(comparison).splitlines() == [
        "backend       loss curve  parameters  relative  time per step",
        "numpy cpu              0           0         0          51 µs",
        "torch cuda:0     2.2e-16     1.3e-15   4.0e-16         1.9 ms",
        "jax cpu:0              -           -         -              -",
        "",
        "Largest differences from numpy cpu after 20 epochs in float64.",
        "Failed: jax cpu:0, TypeError: no",
        "Left out: cupy, not installed",
    ]
    with pytest.raises(dataclasses.FrozenInstanceError):
        comparison.dtype = "float32"  # type: ignore[misc]


def test_a_backend_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise mt.BackendUnavailable('backend="cupy": it has no device')

    monkeypatch.setattr(mt.backend.LIBRARIES["cupy"], "load", missing)
    comparison = compared(backends=["cupy", "numpy"])
    assert comparison.left_out == {"cupy": 'backend="cupy": it has no device'}
    assert comparison.reference == "numpy cpu"
    assert "Left out: cupy, " in str(comparison)
    with pytest.raises(mt.BackendUnavailable, match="none of the backends can be used"):
        compared(backends=["cupy"])


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"model": mt.Affine}, TypeError, "model must be a martlet Layer"),
        ({"loss": mt.Tanh()}, TypeError, "loss must be a martlet Loss"),
        ({"loss": mt.SoftmaxWithLoss("none")}, ValueError, 'reduction="none"'),
        ({"optimizer": 0.1}, TypeError, "optimizer must be a martlet Optimizer"),
        ({"x": [[1.0, 2.0]]}, TypeError, "x must be an array"),
        ({"t": T[:3]}, ValueError, "numbers of samples differ: x has 30, t has 3"),
        ({"epochs": 0}, ValueError, "epochs must be at least 1, got 0"),
        ({"epochs": 2.0}, TypeError, "epochs must be an integer"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
        ({"seed": np.random.default_rng(0)}, TypeError, "seed must be an integer"),
        ({"backends": "torch"}, TypeError, "backends must be several names or Backends"),
        ({"backends": 3}, TypeError, "backends must be several names or Backends"),
        ({"backends": [3]}, TypeError, "backend must be a name or a martlet.Backend"),
        ({"backends": ["nunpy"]}, ValueError, "nunpy"),
        ({"dtype": "float8"}, ValueError, "dtype='float8' is not a float width"),
    ],
)
def test_bad_calls_are_explained(changes: dict[str, Any], error: type[Exception], words: str) -> None:
    given = {"model": spiral(), "loss": mt.SoftmaxWithLoss(), "optimizer": mt.SGD(lr=1.0), "x": X, "t": T, **changes}
    with pytest.raises(error, match=words):
        compare_backends(**given)


# ------------------------------------------------------------------------------------- the differences


def test_the_worst_entry_is_the_furthest_off() -> None:
    a, b = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 2.5], [3.1, 4.0]])
    assert worst(a, b) == (0, 1)
    assert worst(np.array([np.nan, 0.0, 9.0]), np.array([np.nan, 1.0, 9.0])) == (1,)
    assert worst(np.array([5.0, np.nan]), np.array([0.0, 0.0])) == (1,)
    assert worst(np.array(2.0), np.array(1.0)) == ()


def test_of_nothing_nothing_differs() -> None:
    assert difference([], []) == (0.0, 0.0)
    assert [in_short(0.0), in_short(np.inf), in_short(1.26e-7)] == ["0", "infinite", "1.3e-07"]
    assert aligned([("a", "n"), ("bb", "10"), ("c", "-")]) == ["a    n", "bb  10", "c    -"]
