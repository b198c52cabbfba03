"""What the result of an operation looks like that computes nothing: a view, a rearrangement, or made of numbers.

As in ``rules``, each takes the operands as Specs, and the settings, and gives a Spec.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index as axis_of

from martlet.compile.programs.layout import (
    Spec,
    copied,
    copied_order,
    in_order,
    joined_order,
    like,
    new,
    spec_of,
    view,
)
from martlet.compile.programs.rules import Rule, axes_of, sum_dtype

# ------------------------------------------------------------------------------------------------- views


def seen(numpy: Callable[..., Any]) -> Rule:
    """The rule of an operation that shows the same memory otherwise: NumPy's own function is asked."""
    return lambda x, **settings: view(x, lambda array: numpy(array, **settings))


def reshape(x: Spec, *, shape: tuple[int, ...]) -> Spec:
    if -1 in shape:
        others = math.prod(n for n in shape if n != -1)
        shape = tuple((x.size // others if others else 0) if n == -1 else n for n in shape)
    if math.prod(shape) != x.size or min(shape, default=0) < 0:
        raise ValueError(f"{x.size} numbers do not fit the shape {shape}")
    try:
        return view(x, lambda array: np.reshape(array, shape, copy=False))
    except ValueError:  # not as a view; NumPy copies, row by row
        return new(shape, x.dtype)


# ----------------------------------------------------------------------------------------------- sources


def filled(numpy: Callable[..., Any]) -> Rule:
    """The rule of what may be large: one number is made, to ask for its dtype."""

    def rule(*, shape: tuple[int, ...], order: Any = None, **settings: Any) -> Spec:
        return in_order(shape, numpy(shape=(), **settings).dtype, range(len(shape)) if order is None else order)

    return rule


def made(numpy: Callable[..., Any]) -> Rule:
    """The rule of what is made of numbers alone: it is made."""
    return lambda **settings: spec_of(numpy(**settings))


# ------------------------------------------------------------------------------------------------ others


def concat(*arrays: Spec, axis: int | None = 0) -> Spec:
    dtype = np.result_type(*(a.dtype for a in arrays))
    if axis is None:
        return new((sum(a.size for a in arrays),), dtype)
    shape = list(arrays[0].shape)
    axis = axis_of(axis, len(shape))
    if len({a.shape[:axis] + a.shape[axis + 1 :] for a in arrays}) > 1 or len({len(a.shape) for a in arrays}) > 1:
        raise ValueError(f"the shapes {', '.join(str(a.shape) for a in arrays)} do not fit together")
    shape[axis] = sum(a.shape[axis] for a in arrays)
    return in_order(shape, dtype, joined_order(arrays))


def stack(*arrays: Spec, axis: int = 0) -> Spec:
    if len({a.shape for a in arrays}) > 1:
        raise ValueError(f"the shapes {', '.join(str(a.shape) for a in arrays)} differ")
    return concat(*(view(a, lambda x: np.expand_dims(x, axis)) for a in arrays), axis=axis)


def take(x: Spec, indices: Spec, *, axis: int | None = None) -> Spec:
    if not np.can_cast(indices.dtype, np.intp):
        raise TypeError(f"indices must be integers, got {indices.dtype.name}")
    if axis is None:
        return new(indices.shape, x.dtype)
    axis = axis_of(axis, len(x.shape))
    return new((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.dtype)


def take_along_axis(x: Spec, indices: Spec, *, axis: int = -1) -> Spec:
    axis = axis_of(axis, len(x.shape))
    if indices.dtype.kind not in "iu":
        raise IndexError(f"indices must be integers, got {indices.dtype.name}")
    if len(x.shape) != len(indices.shape):
        raise ValueError(f"x has {len(x.shape)} axes and the indices have {len(indices.shape)}")
    rest = [(*s.shape[:axis], 1, *s.shape[axis + 1 :]) for s in (x, indices)]
    shape = np.broadcast_shapes(*rest)
    return like((*shape[:axis], indices.shape[axis], *shape[axis + 1 :]), x.dtype, [indices])


def rows(x: Spec, indices: Spec) -> Spec:
    """``x[indices]`` keeps the order of each row of x, or, where a row is one number, of the indices.

    ``take`` forgets both.
    """
    row, rank = Spec(x.shape[1:], x.dtype, x.strides[1:]), len(indices.shape)
    if row.size == 1:
        found = like(indices.shape, x.dtype, [indices])
        return Spec(found.shape + row.shape, x.dtype, found.strides + (1,) * len(row.shape))
    order = [*range(rank), *(rank + axis for axis in copied_order(row))]
    return in_order((*indices.shape, *row.shape), x.dtype, order)


def repeat(x: Spec, *, repeats: int, axis: int | None = None) -> Spec:
    if axis is None:
        return new((x.size * repeats,), x.dtype)
    axis = axis_of(axis, len(x.shape))
    return new(tuple(n * repeats if i == axis else n for i, n in enumerate(x.shape)), x.dtype)


def tile(x: Spec, *, repetitions: tuple[int, ...]) -> Spec:
    rank = max(len(x.shape), len(repetitions))
    x = view(x, lambda array: array[(None,) * (rank - array.ndim)])
    times = (1,) * (rank - len(repetitions)) + repetitions
    if all(k == 1 for k in times):
        return copied(x, x.dtype)
    return new([n * k for n, k in zip(x.shape, times, strict=True)], x.dtype)


def roll(x: Spec, *, shift: Any, axis: Any = None) -> Spec:
    axes_of(len(x.shape), axis)
    return new(x.shape, x.dtype) if axis is None else copied(x, x.dtype)


def sort(x: Spec, *, axis: int = -1, **settings: Any) -> Spec:
    axis_of(axis, len(x.shape))
    return copied(x, x.dtype)


def argsort(x: Spec, *, axis: int = -1, **settings: Any) -> Spec:
    axis_of(axis, len(x.shape))
    return new(x.shape, np.dtype(np.intp))


def searchsorted(x: Spec, values: Spec, *, side: str = "left") -> Spec:
    if len(x.shape) != 1:
        raise ValueError(f"the first array must have one axis, got shape {x.shape}")
    return new(values.shape, np.dtype(np.intp))


def cumulative(x: Spec, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Spec:
    if axis is None and len(x.shape) != 1:
        raise ValueError(f"axis must be given for an array of shape {x.shape}")
    axis = axis_of(0 if axis is None else axis, len(x.shape))
    kind = np.dtype(sum_dtype(x.dtype) if dtype is None else dtype)
    found = like(x.shape, kind, [x])
    if not include_initial:
        return found
    first = in_order([1 if i == axis else n for i, n in enumerate(x.shape)], kind, copied_order(found))
    return concat(first, found, axis=axis)


def copy(x: Spec, *, order: str = "K") -> Spec:
    return new(x.shape, x.dtype) if order == "C" else copied(x, x.dtype)
