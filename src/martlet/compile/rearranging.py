"""Functions that take notes, and compute nothing: they show numbers otherwise, put them elsewhere, or make them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from martlet.backend import is_array
from martlet.compile.layout import Spec, copied_order
from martlet.compile.noting import array_of, astype, dtype_of, noted, shape_of
from martlet.compile.recorded import Recorded, axis_number, note, refuse_concrete
from martlet.compile.tape import refuse


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
    return note("where", inside, x, zeros(1, dtype=x.dtype))


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


# -------------------------------------------------------------------------------------------- made of nothing


@noted
def asarray(x: Any, /, *, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Recorded:
    if type(x) is Recorded:
        return astype(x, x.dtype if dtype is None else dtype, copy=bool(copy))
    if is_array(x):
        refuse_concrete(x)
    if isinstance(x, list | tuple) and any(type(item) is Recorded for item in x):
        found = stack([asarray(item) for item in x])
        return found if dtype is None else astype(found, dtype)
    _refuse_arrays_in(x)
    return note("constant", array=np.array(x, dtype=dtype), **({} if dtype is None else {"dtype": np.dtype(dtype)}))


def _refuse_arrays_in(x: Any) -> None:
    for item in x if isinstance(x, list | tuple) else ():
        if is_array(item):
            refuse_concrete(item)
        _refuse_arrays_in(item)


@noted
def zeros(shape: Any, *, dtype: Any = None, device: Any = None) -> Recorded:
    return note("zeros", shape=shape_of(shape), dtype=dtype_of(dtype))


@noted
def ones(shape: Any, *, dtype: Any = None, device: Any = None) -> Recorded:
    return note("ones", shape=shape_of(shape), dtype=dtype_of(dtype))


@noted
def full(shape: Any, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Recorded:
    return note("full", shape=shape_of(shape), fill_value=_number(fill_value), dtype=dtype_of(dtype))


@noted
def zeros_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Recorded:
    return note("zeros", **_as(x, dtype))


@noted
def ones_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Recorded:
    return note("ones", **_as(x, dtype))


@noted
def full_like(x: Any, /, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Recorded:
    return note("full", fill_value=_number(fill_value), **_as(x, dtype))


def _as(x: Any, dtype: Any) -> dict[str, Any]:
    """Shape, dtype and, if it is not row by row, the order of the axes of an array that is made like another."""
    spec: Spec = array_of(x).node.spec
    order = copied_order(spec)
    named = {"shape": spec.shape, "dtype": spec.dtype if dtype is None else np.dtype(dtype)}
    return named if order == sorted(order) else named | {"order": tuple(order)}


def _number(value: Any) -> Any:
    if type(value) is Recorded:
        refuse("full takes one of Python's numbers; broadcast_to(x, shape) repeats an array")
    if is_array(value):
        refuse_concrete(value)
    return value


def _end(value: Any) -> Any:
    """Where a range begins or ends, or its step: a number that is there."""
    if type(value) is Recorded or isinstance(value, np.integer):
        return operator.index(value)
    return _number(value)


@noted
def arange(start: Any, /, stop: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None) -> Recorded:
    start, stop, step = map(_end, (start, stop, step))
    if stop is None:
        start, stop = 0, start
    return note("arange", start=start, stop=stop, step=step, dtype=dtype_of(dtype))


@noted
def linspace(
    start: Any, stop: Any, /, num: int, *, dtype: Any = None, device: Any = None, endpoint: bool = True
) -> Recorded:
    return note(
        "linspace",
        start=_end(start),
        stop=_end(stop),
        num=operator.index(num),
        dtype=dtype_of(dtype),
        endpoint=endpoint,
    )


@noted
def eye(n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: Any = None, device: Any = None) -> Recorded:
    return note("eye", n_rows=n_rows, n_cols=n_cols, k=k, dtype=dtype_of(dtype))
