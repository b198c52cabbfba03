"""Two libraries never agree to the last bit, so parity is a number: how far apart their results are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# The largest relative difference that is still called parity: some thousand units in the last place of float64,
# some hundred of float32.
BOUNDS = {"float64": 1e-12, "float32": 2e-5}


def difference(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> tuple[float, float]:
    """The largest absolute difference, and the same in units of the largest number that is expected.

    Not of each array's own: what should be zero, such as the gradient of a bias before BatchNorm, is all rounding.
    Equal infinities, and NaN where NaN is expected, are no difference; any other NaN is an infinite one.
    Raises ValueError where shapes or dtypes differ.
    """
    if [(a.shape, a.dtype) for a in found] != [(b.shape, b.dtype) for b in expected]:
        raise ValueError("shapes or dtypes differ")
    gap = max((float(np.max(_gaps(a, b), initial=0.0)) for a, b in zip(found, expected, strict=True)), default=0.0)
    size = scale(expected)
    return gap, gap / size if size else np.inf if gap else 0.0


def scale(expected: Sequence[np.ndarray]) -> float:
    """The largest finite number in all of these arrays."""
    return max((float(np.max(np.abs(b), where=np.isfinite(b), initial=0.0)) for b in expected), default=0.0)


def worst(found: np.ndarray, expected: np.ndarray) -> tuple[int, ...]:
    """The index of the entry that is furthest off."""
    return tuple(int(i) for i in np.unravel_index(np.argmax(_gaps(found, expected)), found.shape))


def _gaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(invalid="ignore"):
        gaps = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    return np.where(np.isnan(gaps), np.inf, gaps)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table: every column as wide as its widest cell, numbers to the right and words to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    numbers = [all(cell[:1].isdigit() or cell == "-" for cell in column[1:]) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(
            f"{cell:>{w}}" if right else f"{cell:<{w}}" for cell, w, right in zip(row, widths, numbers, strict=True)
        )
        for row in rows
    )
    return [line.rstrip() for line in lines]


def in_short(number: float) -> str:
    """A difference with two digits."""
    return "0" if number == 0.0 else "infinite" if number == np.inf else f"{number:.1e}"
