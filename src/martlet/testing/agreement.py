"""One gradient beside another: which entries differ by more than rounding, and whether there is a derivative at all.

Rounding is not guessed but tried: with every number that goes in moved by a few units in its last place, a gradient
moves by about what rounding can do to it, entry by entry.  That is done only where two gradients differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from martlet.testing.differences import Differences, Function, nudged
from martlet.testing.report import KINK, OK, WRONG, ArrayCheck

TRIES, SAFETY = 5, 16.0
TINY = float(np.finfo(float).tiny)

Gradients = Callable[[list[np.ndarray], list[np.ndarray]], list[np.ndarray]]


class Expected(NamedTuple):
    """What an oracle says: the gradients, how wrong each entry may be, and how to ask it again."""

    values: list[np.ndarray]
    errors: list[np.ndarray]
    repeat: Gradients | None  # None: the errors have rounding in them


class Doubt(ValueError):
    """An oracle does not differentiate this forward: differences of the forward say something else."""


def compare(
    f: Function, names: list[str], got: list[np.ndarray], repeat: Gradients, expected: Expected, rtol: float
) -> tuple[ArrayCheck, ...]:
    """A row for each array.  ``repeat`` is backward with other numbers.  Raises Doubt where the oracle is wrong."""
    allowed = [rtol * np.abs(e) + 3.0 * error for e, error in zip(expected.values, expected.errors, strict=True)]
    if any(_off(*row).any() for row in zip(got, expected.values, allowed, strict=True)):
        for source in (repeat, expected.repeat):
            if source is not None:
                allowed = [a + SAFETY * noise for a, noise in zip(allowed, rounding(source, f), strict=True)]
    rows = zip(names, f.places, got, expected.values, allowed, strict=True)
    return tuple(_row(f, *row, expected.repeat is not None) for row in rows)


def rounding(gradients: Gradients, f: Function) -> list[np.ndarray]:
    """By how much gradients move when all that goes in moves by a few units in the last place."""
    rng = np.random.default_rng(1)
    with np.errstate(all="ignore"):
        still = gradients(f.arrays, f.dout)
        moved = [gradients(nudged(f.arrays, rng), nudged(f.dout, rng)) for _ in range(TRIES)]
        found = [np.max(np.abs(np.stack(xs) - x), axis=0) for x, *xs in zip(still, *moved, strict=True)]
    return [np.nan_to_num(x, nan=0.0, posinf=0.0) for x in found]


def _off(got: np.ndarray, expected: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Where two gradients differ by more than is allowed; two NaN, or two equal infinities, do not."""
    with np.errstate(invalid="ignore"):
        same = (got == expected) | (np.isnan(got) & np.isnan(expected))
        return ~same & ~(np.abs(got - expected) <= allowed)


def _row(
    f: Function, name: str, place: int, got: np.ndarray, expected: np.ndarray, allowed: np.ndarray, may_doubt: bool
) -> ArrayCheck:
    if got.size == 0:
        return ArrayCheck(name, got.shape, None, 0.0, 0.0, 0.0, OK)
    with np.errstate(all="ignore"):
        distance = np.where(got == expected, 0.0, np.abs(got - expected))
        excess = np.nan_to_num(distance / np.maximum(allowed, TINY), posinf=np.inf)
    excess = np.where(_off(got, expected, allowed) & ~(excess > 1.0), np.inf, excess)
    worst = np.unravel_index(int(np.argmax(excess)), got.shape)
    verdict, note = OK, _precision(expected, allowed)
    lost = np.isnan(got) & np.isnan(expected)
    if lost.any():  # which says nothing of the gradient
        verdict, note = KINK, f"{int(lost.sum())} of {got.size} entries are NaN in both, and say nothing"
    if lost.all():
        verdict, note = WRONG, "NaN in every entry, as is the derivative itself: nothing is known; take another x"
    for index in sorted(zip(*np.nonzero(excess > 1.0), strict=True), key=lambda i: -float(excess[i])):
        why, words = _explain(f, name, place, index, float(got[index]), float(expected[index]), may_doubt)
        if why == WRONG:
            verdict, note, worst = WRONG, pattern(got, expected), index
            break
        verdict, note = why, words if verdict == OK else note
    e, g, d = (float(x[worst]) for x in (expected, got, distance))
    error = d / abs(e) if e else 0.0 if verdict == OK else math.inf
    return ArrayCheck(name, got.shape, tuple(map(int, worst)), e, g, error, verdict, note)


def _explain(
    f: Function, name: str, place: int, index: tuple[int, ...], got: float, expected: float, may_doubt: bool
) -> tuple[str, str]:
    """Whose fault a difference is: backward's, a kink's, or the oracle's."""
    if math.isnan(expected) and not may_doubt:
        return KINK, "not differentiable here: forward is not finite beside it"
    differences = Differences(f)
    slopes = differences.kink(place, index)
    if slopes is not None and _between(got, *slopes):
        left, right = (slope + 0.0 for slope in slopes)  # no -0
        return KINK, f"not differentiable here: slope {left:.6g} to the left, {right:.6g} to the right"
    if may_doubt and slopes is None:
        value, error = differences.slope(place, index)
        differs = abs(value - expected) > 10.0 * error + 1e-5 * max(abs(value), abs(expected))
        if differs or (math.isnan(expected) and math.isfinite(value)):
            where = f"{name}[{', '.join(map(str, index))}]"
            raise Doubt(f"it gives {expected + 0.0:.6g} for {where}, where differences of the forward give {value:.6g}")
    return WRONG, ""


def _between(got: float, left: float, right: float) -> bool:
    slack = 0.01 * abs(right - left)  # the slopes are those of a small step
    return min(left, right) - slack <= got <= max(left, right) + slack


def _precision(expected: np.ndarray, allowed: np.ndarray) -> str:
    size = float(np.max(np.abs(expected)))
    room = float(np.max(allowed))
    if room > 0.1 * size:
        return "nothing but rounding"
    return f"known only to {room / size:.0e} of the largest" if room > 1e-6 * size else ""


def pattern(got: np.ndarray, expected: np.ndarray) -> str:
    """What a wrong gradient looks like, for whoever has to find the slip."""
    if not np.any(got):
        return "all zero"
    if got.ndim == 2 and got.shape[0] == got.shape[1] and got.size > 1 and np.allclose(got.T, expected, rtol=1e-6):
        return "the transpose of what it should be"
    large = np.abs(expected) > 1e-6 * np.max(np.abs(expected))
    ratios = got[large] / expected[large]
    if ratios.size > 1 and np.ptp(ratios) <= 1e-6 * abs(ratios[0]) and abs(ratios[0] - 1.0) > 1e-4:
        return f"{ratios[0]:.6g} times what it should be, everywhere"
    return ""
