"""Functions that take notes, and compute nothing: they show the same numbers otherwise, or put them elsewhere."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from martlet.compile.recorder.noting import array_of, noted, shape_of
from martlet.compile.recorder.recorded import Recorded, axis_number, note
from martlet.compile.recorder.tape import refuse


@noted
def reshape(x: Any, /, shape: Any, *, copy: bool | None = None) -> Recorded:
    if copy is not None:
        refuse("reshape with copy; a recording copies where it has to")
    return note("reshape", x, shape=shape_of(shape))


@noted
def permute_dims(x: Any, /, axes: Any) -> Recorded:
    return note("permute_dims", x, axes=axis_number(axes))


@noted
def matrix_transpose(x: Any, /) -> Recorded:
    return note("matrix_transpose", x)


@noted
def expand_dims(x: Any, /, axis: Any) -> Recorded:
    return note("expand_dims", x, axis=axis_number(axis))


@noted
def squeeze(x: Any, /, axis: Any = None) -> Recorded:
    return note("squeeze", x, axis=axis_number(axis))


@noted
def moveaxis(x: Any, source: Any, destination: Any, /) -> Recorded:
    return note("moveaxis", x, source=axis_number(source), destination=axis_number(destination))


@noted
def broadcast_to(x: Any, /, shape: Any) -> Recorded:
    return note("broadcast_to", x, shape=shape_of(shape))


@noted
def broadcast_arrays(*arrays: Any) -> tuple[Recorded, ...]:
    shape = np.broadcast_shapes(*(array_of(x).shape for x in arrays))
    return tuple(x if x.shape == shape else broadcast_to(x, shape) for x in arrays)


@noted
def flip(x: Any, /, *, axis: Any = None) -> Recorded:
    if axis is None and not array_of(x).shape:
        return x[()]  # there is nothing to turn around
    return note("flip", x, axis=axis_number(axis))


@noted
def unstack(x: Any, /, *, axis: int = 0) -> tuple[Recorded, ...]:
    moved = moveaxis(x, axis, 0)
    return tuple(moved[i, ...] for i in range(moved.shape[0]))


@noted
def concat(arrays: Iterable[Any], /, *, axis: int | None = 0) -> Recorded:
    return note("concat", *arrays, axis=axis_number(axis))


@noted
def stack(arrays: Iterable[Any], /, *, axis: int = 0) -> Recorded:
    return note("stack", *arrays, axis=axis_number(axis))


@noted
def take(x: Any, indices: Any, /, *, axis: int | None = None) -> Recorded:
    return note("take", x, indices, axis=axis_number(axis))


@noted
def take_along_axis(x: Any, indices: Any, /, *, axis: int = -1) -> Recorded:
    return note("take_along_axis", x, indices, axis=axis_number(axis))


@noted
def repeat(x: Any, repeats: Any, /, *, axis: int | None = None) -> Recorded:
    if type(repeats) is not int:
        refuse("repeat with an array, and how long its result is depends on numbers; use one of Python's integers")
    return note("repeat", x, repeats=repeats, axis=axis_number(axis))


@noted
def tile(x: Any, repetitions: Any, /) -> Recorded:
    return note("tile", x, repetitions=shape_of(repetitions))


@noted
def roll(x: Any, /, shift: Any, *, axis: Any = None) -> Recorded:
    return note("roll", x, shift=axis_number(shift), axis=axis_number(axis))


@noted
def tril(x: Any, /, *, k: int = 0) -> Recorded:
    return _triangle(array_of(x), np.tri, k)


@noted
def triu(x: Any, /, *, k: int = 0) -> Recorded:
    return _triangle(array_of(x), lambda n, m, k: np.tri(n, m, k - 1) == 0, k)


def _triangle(x: Recorded, mask: Callable[..., Any], k: int) -> Recorded:
    if x.ndim < 2:
        raise ValueError(f"a triangle is of two axes or more, got shape {x.shape}")
    inside = note("constant", array=np.asarray(mask(*x.shape[-2:], operator.index(k)), dtype=bool))
    return note("where", inside, x, note("zeros", shape=(1,), dtype=x.dtype))


@noted
def meshgrid(*arrays: Any, indexing: str = "xy") -> tuple[Recorded, ...]:
    """NumPy's grids are copies; they are here too, so that they lie in memory as they would there."""
    if indexing not in ("xy", "ij"):
        raise ValueError(f'indexing must be "xy" or "ij", got {indexing!r}')
    rank, order = len(arrays), list(range(len(arrays)))
    if indexing == "xy" and rank > 1:
        order[:2] = 1, 0
    open_grids = [reshape(x, [-1 if j == i else 1 for j in order]) for i, x in enumerate(map(array_of, arrays))]
    return tuple(note("copy", x, order="C") for x in broadcast_arrays(*open_grids))
