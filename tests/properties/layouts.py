"""Ways to lay the same numbers out in memory, each within a larger block that a law can keep an eye on.

Views come from elsewhere all the time: a transposed table, every second row, a column read backwards, one row
broadcast to many.  None of that is an array's value, so none of it may show in a result.  The gaps between the
numbers are filled with NaN, so that whoever reads past a view is noticed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from conftest import Target
from hypothesis import strategies as st

import martlet as mt


class View(NamedTuple):
    """An array under test, and the whole of the memory that it is a view of."""

    array: Any
    block: Any


class Laid(NamedTuple):
    """A view, the numbers that it shows, and what all of its memory held at first: the last two are NumPy's."""

    array: Any
    block: Any
    numbers: np.ndarray
    before: np.ndarray


def plain(xp: Target, x: np.ndarray) -> View:
    array = xp.asarray(x)
    return View(array, array)


def backwards(xp: Target, x: np.ndarray) -> View:
    """Axes in the opposite order: Fortran's order in memory."""
    block = xp.asarray(np.ascontiguousarray(x.T) if x.ndim else x)
    order = tuple(reversed(range(x.ndim)))
    return View(xp.backend.xp.permute_dims(block, order), block)


def swapped(xp: Target, x: np.ndarray) -> View:
    """The first axis is the innermost in memory, the others keep their order."""
    if x.ndim == 0:
        return plain(xp, x)
    block = xp.asarray(np.ascontiguousarray(np.moveaxis(x, 0, -1)))
    return View(xp.backend.xp.permute_dims(block, (x.ndim - 1, *range(x.ndim - 1))), block)


def every_second(xp: Target, x: np.ndarray) -> View:
    return within(xp, x, tuple(2 * n for n in x.shape), slice(None, None, 2))


def inside(xp: Target, x: np.ndarray) -> View:
    """The middle of a larger array."""
    return within(xp, x, tuple(n + 2 for n in x.shape), slice(1, -1))


def reversed_axes(xp: Target, x: np.ndarray) -> View:
    """Negative strides along every axis."""
    whole = (..., *[slice(None, None, -1)] * x.ndim)
    block = xp.asarray(x[whole].copy())
    return View(block[whole], block)


def within(xp: Target, x: np.ndarray, shape: tuple[int, ...], part: slice) -> View:
    block = np.full(shape, np.nan if x.dtype.kind == "f" else 0, dtype=x.dtype)
    place = (..., *[part] * x.ndim)
    block[place] = x
    whole = xp.asarray(block)
    return View(whole[place], whole)


def read_only(xp: Target, x: np.ndarray) -> View:
    laid = plain(xp, x)
    laid.array.flags.writeable = False
    return laid


def unaligned(xp: Target, x: np.ndarray) -> View:
    """Numbers that begin at an odd address."""
    given = xp.asarray(x)
    block = np.frombuffer(b"\0" + given.tobytes() + b"\0", dtype="uint8").copy()
    return View(block[1:-1].view(given.dtype).reshape(x.shape), block)


def broadcast(xp: Target, x: np.ndarray) -> View:
    """One row for all, with a stride of zero.  The numbers must be those of ``constant``."""
    block = xp.asarray(x[:1] if x.ndim else x)
    return View(xp.backend.xp.broadcast_to(block, x.shape), block)


def constant(x: np.ndarray) -> np.ndarray:
    """As x, but each row is the first."""
    return np.broadcast_to(x[:1], x.shape).copy() if x.ndim else x


Layout = Callable[[Target, np.ndarray], View]
EVERYWHERE: tuple[Layout, ...] = (plain, backwards, swapped, every_second, inside, broadcast)
NOT_TORCH: tuple[Layout, ...] = (reversed_axes,)
NUMPY: tuple[Layout, ...] = (read_only, unaligned)


def layouts(xp: Target) -> tuple[Layout, ...]:
    """Those that the library has.  JAX lays arrays out as it pleases, and shows nobody."""
    if xp.name == "jax":
        return (plain,)
    found = EVERYWHERE if xp.name == "torch" else EVERYWHERE + NOT_TORCH
    return found + NUMPY if xp.name.startswith("numpy") else found


picks = st.lists(st.integers(0, 99), min_size=12, max_size=12)  # which layouts meet


def arrangements(xp: Target, arrays: list[np.ndarray], picks: list[int]) -> Iterator[list[Laid]]:
    """The arrays laid out again and again, so that each comes in every layout once.

    In the first arrangement each is in the layout that is picked for it, and in the others in the ones after that;
    where there are more arrays than picks, these begin again.
    """
    every = layouts(xp)
    for turn in range(len(every)):
        chosen = (every[(pick + turn) % len(every)] for pick in itertools.cycle(picks))
        yield [lay_out(xp, x, layout) for x, layout in zip(arrays, chosen, strict=False)]


def lay_out(xp: Target, x: np.ndarray, layout: Layout) -> Laid:
    numbers = constant(x) if layout is broadcast else x
    array, block = layout(xp, numbers)
    return Laid(array, block, numbers, np.array(mt.to_numpy(block)))


def assert_untouched(laid: list[Laid]) -> None:
    """Nothing was written: neither the numbers, nor what lies between and around them."""
    for each in laid:
        np.testing.assert_array_equal(mt.to_numpy(each.block), each.before)
