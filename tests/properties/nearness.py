"""How near two results are: in units of the last place of the largest number, for a sum knows no better."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from conftest import Target, take_apart

import martlet as mt


def assert_near(got: Any, wanted: Any, xp: Target, units: float = 0.0, width: str | None = None) -> None:
    """The same structure and numbers; these to so many units in the last place of each array's largest, or of 1."""
    (here, _), (there, _) = take_apart(got), take_apart(wanted)
    assert len(here) == len(there)
    eps = epsilon(width or xp.double)
    for a, b in zip(map(mt.to_numpy, here), map(mt.to_numpy, there), strict=True):
        assert a.shape == b.shape
        scale = 1.0 + np.max(np.abs(b.astype("float64")), initial=0.0)
        np.testing.assert_allclose(a.astype("float64"), b.astype("float64"), rtol=0.0, atol=units * eps * scale)


def epsilon(width: str) -> float:
    """The distance from 1 to the next number."""
    return 2.0**-7 if width == "bfloat16" else float(np.finfo(width).eps)


def each(function: Any, *values: Any) -> Any:
    """The function of corresponding arrays in nests of one structure."""
    parts = [take_apart(value)[0] for value in values]
    return take_apart(values[0])[1]([function(*row) for row in zip(*parts, strict=True)])


def narrower(xp: Target) -> tuple[str, ...]:
    """The widths below float64 that the library under test computes in."""
    found = ["float32"]
    for width in ("float16", "bfloat16"):
        with contextlib.suppress(ValueError):
            found.append(mt.Backend(xp.backend.name, xp.backend.device, width).dtype)
    return tuple(found)


def widened(x: np.ndarray) -> np.ndarray:
    """The same numbers in float64; integers stay."""
    return x if x.dtype.kind in "iu" else x.astype("float64")  # JAX's bfloat16 is no float to NumPy
