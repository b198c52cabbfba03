"""A derivative by differences: a quotient at ever smaller steps, extrapolated to the step 0.

It needs nothing but the forward itself, and says how far it can be trusted: what the extrapolations differ by, and
what rounding may have made of the quotients.  It alone sees a kink.
Ridders, "Accurate computation of F'(x) and F'(x) F''(x)", 1982.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from martlet.backend import Array, is_array


class Function(NamedTuple):
    """What is differentiated: ``run(arrays)`` gives y, and Σ y · dout is the number, for the arrays in ``places``."""

    run: Callable[[list[Array]], Any]
    arrays: list[np.ndarray]
    places: list[int]
    dout: list[np.ndarray]


def arrays_of(value: Any) -> list[Array]:
    """The arrays in a nest of tuples, in order."""
    if isinstance(value, tuple | list):
        return [x for item in value for x in arrays_of(item)]
    return [value] if is_array(value) else []


def refill(value: Any, source: Iterator[Any]) -> Any:
    """The same nest of tuples around the next arrays of a source."""
    if isinstance(value, tuple | list):
        return tuple(refill(item, source) for item in value)
    return next(source) if is_array(value) else value


# The first step, as a share of the entry and of its array's size, how often it may be halved, how often in vain (with
# a kink at a thousandth of the step it takes ten halvings until it is out of the way), and how often made larger.
FIRST, HALVINGS, PATIENCE, LARGER = 0.05, 30, 12, 4
GOOD = 1e-9  # the relative error at which a slope is known well enough
EPS, ULPS = float(np.finfo(float).eps), 4.0


class Slope(NamedTuple):
    """A derivative by differences, and how wrong it may be."""

    value: float
    error: float


class Place(NamedTuple):
    """An entry of one of the arrays, the first step to take there, and how far the quotient's numerator is off."""

    array: int
    entry: tuple[int, ...]
    step: float
    rounding: float


def by_differences(f: Function) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The slope for each entry on its own, and the error of each."""
    differences, values, errors = Differences(f), [], []
    for array in f.places:
        shape = f.arrays[array].shape
        slopes = [differences.slope(array, index) for index in np.ndindex(shape)]
        values.append(np.array([s.value for s in slopes]).reshape(shape))
        errors.append(np.array([s.error for s in slopes]).reshape(shape))
    return values, errors


def nudged(arrays: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """The arrays with every number moved by a few units in its last place."""
    factors = (1.0 + ULPS * EPS * rng.standard_normal(x.shape) for x in arrays)
    return [x * factor if x.dtype.kind == "f" else x for x, factor in zip(arrays, factors, strict=True)]


class Differences:
    """The slopes of one function.  What rounding does to its outputs is tried once, by moving what goes in."""

    def __init__(self, f: Function) -> None:
        self.f = f
        self.y = self._outputs(f.arrays)
        rng = np.random.default_rng(2)
        others = [self._outputs(nudged(f.arrays, rng)) for _ in range(3)]
        with np.errstate(all="ignore"):
            moved = [np.max(np.abs(np.stack(ys) - y), axis=0) for y, *ys in zip(self.y, *others, strict=True)]
            noise = [EPS * np.abs(y) + m / ULPS for y, m in zip(self.y, moved, strict=True)]
            self.noise = [np.nan_to_num(n * d, nan=0.0, posinf=0.0) for n, d in zip(noise, f.dout, strict=True)]

    def slope(self, array: int, entry: tuple[int, ...]) -> Slope:
        """The derivative for one entry, by the step at which the extrapolations agree best.

        A first step that is so small that rounding is all one sees is made larger.
        """
        place = self._place(array, entry)
        best = self._extrapolated(place)
        for _ in range(LARGER):
            if best.error <= 1e-7 * abs(best.value):
                break
            place = place._replace(step=30.0 * place.step)
            best = min(best, self._extrapolated(place), key=lambda s: s.error)
        return best

    def kink(self, array: int, entry: tuple[int, ...]) -> tuple[float, float] | None:
        """The slopes to the left and to the right of an entry that has no derivative; None where it has one.

        Where it has one, the two sides differ by the second derivative times the step, and the less the
        smaller the step.  At a kink they go on to differ.
        """
        place = self._place(array, entry)
        left, right = self._sides(place, place.step / 16.0)
        wide = abs(right - left)
        left, right = self._sides(place, place.step / 256.0)
        narrow, size = abs(right - left), max(abs(left), abs(right))
        is_kink = narrow > 0.5 * wide and narrow > 1e-6 * size and narrow > 20.0 * place.rounding * 256.0 / place.step
        return (left, right) if is_kink else None

    def _place(self, array: int, entry: tuple[int, ...]) -> Place:
        x = self.f.arrays[array]
        size = max(abs(float(x[entry])), float(np.sqrt(np.mean(x * x)))) or 1.0
        far = [self._moved(array, entry, step)[0] for step in (max(size, 1.0), -max(size, 1.0))]
        total = 0.0  # over the outputs that depend on the entry: the others are the same to the last bit
        for y, noise, above, below in zip(self.y, self.noise, *far, strict=True):
            total += float(np.sum(np.square(noise[(above != y) | (below != y)])))
        return Place(array, entry, FIRST * size, 4.0 * math.sqrt(total))

    def _extrapolated(self, place: Place) -> Slope:
        row: list[float] = []
        best, since = Slope(math.nan, math.inf), 0  # what it stays where forward is not finite
        step = place.step
        for _ in range(HALVINGS):
            above, below = (self._moved(place.array, place.entry, s) for s in (step, -step))
            new, power, rounding = [self._quotient(above, below)], 4.0, place.rounding / step
            for older in row:  # each column cancels the next even power of the step
                better = new[-1] + (new[-1] - older) / (power - 1.0)
                error = max(abs(better - new[-1]), abs(better - older)) + rounding
                if error <= best.error:
                    best, since = Slope(better, error), -1
                new.append(better)
                power *= 4.0
            row, step, since = new[:7], step / 2.0, since + 1
            if best.error <= max(GOOD * abs(best.value), 2.0 * rounding) or since > PATIENCE:
                break
        return best

    def _sides(self, place: Place, step: float) -> tuple[float, float]:
        """The quotients to the left and to the right of an entry."""
        left, right = (self._moved(place.array, place.entry, s) for s in (-step, step))
        return self._quotient(left, (self.y, 0.0)), self._quotient(right, (self.y, 0.0))

    def _quotient(self, above: tuple[list[np.ndarray], float], below: tuple[list[np.ndarray], float]) -> float:
        """Σ (above - below) · dout / width.  Outputs that did not move add nothing, be they infinite."""
        total = 0.0
        with np.errstate(all="ignore"):
            for a, b, dout in zip(above[0], below[0], self.f.dout, strict=True):
                total += float(np.sum(np.where(a == b, 0.0, a - b) * dout))
        return total / (above[1] - below[1])

    def _moved(self, array: int, entry: tuple[int, ...], step: float) -> tuple[list[np.ndarray], float]:
        """The outputs with one entry moved, and how far it moved: by the step, rounded."""
        arrays = list(self.f.arrays)
        x = arrays[array] = arrays[array].copy()
        before = float(x[entry])
        x[entry] = before + step
        return self._outputs(arrays), float(x[entry]) - before

    def _outputs(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        with np.errstate(all="ignore"):
            return [np.asarray(y) for y in arrays_of(self.f.run(arrays))]
