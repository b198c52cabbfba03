"""Functions that take notes: those of the Array API, as NumPy has them, for arrays without numbers.

Each takes what NumPy's function of that name takes by the standard, with the same defaults, and notes an operation
of the table, or several.  Here are those that compute; ``rearranging`` and ``creating`` have the others.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from martlet.compile.programs.layout import copied
from martlet.compile.programs.ops import BINARY, UNARY
from martlet.compile.recorder.recorded import Recorded, axis_number, note, refuse_concrete
from martlet.compile.recorder.tape import refuse

NOTED: dict[str, Callable[..., Any]] = {}


def noted(function: Callable[..., Any]) -> Callable[..., Any]:
    """Put a function into the namespace, under its name."""
    NOTED[function.__name__.strip("_")] = function
    return function


def _named(name: str, function: Callable[..., Any]) -> None:
    function.__name__ = function.__qualname__ = name
    NOTED[name] = function


def _unary(name: str) -> Callable[..., Any]:
    return lambda x, /: note(name, x)


def _binary(name: str) -> Callable[..., Any]:
    return lambda x, y, /: note(name, x, y)


for _name in UNARY:
    _named(_name, _unary(_name))
for _name in BINARY:
    _named(_name, _binary(_name))


def array_of(x: Any) -> Recorded:
    """An array of the recording, and nothing else."""
    if type(x) is not Recorded:
        refuse_concrete(x)
    return x


def copy_of(x: Recorded) -> Recorded:
    """A copy of an array in its own order, or the array itself where nobody could tell the two apart."""
    return x if x.node.spec.lies_as(copied(x.node.spec, x.dtype).strides) else note("copy", x)


def shape_of(shape: Any) -> tuple[int, ...]:
    return tuple(map(operator.index, shape)) if isinstance(shape, tuple | list) else (operator.index(shape),)


def dtype_of(dtype: Any) -> np.dtype | None:
    return None if dtype is None else np.dtype(dtype)


# ----------------------------------------------------------------------------------- one number of one number


@noted
def round(x: Any, /) -> Recorded:
    return copy_of(x) if array_of(x).dtype.kind in "iu" else note("round", x)


@noted
def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Recorded:
    dtype = np.dtype(dtype)
    if dtype != array_of(x).dtype:
        return note("astype", x, dtype=dtype)
    return copy_of(x) if copy else x


@noted
def where(condition: Any, x: Any, y: Any, /) -> Recorded:
    return note("where", condition, x, y)


@noted
def clip(x: Any, /, min: Any = None, max: Any = None) -> Recorded:
    if min is None and max is None:
        return note("positive", x)
    if min is not None and max is not None:
        return note("clip", x, min, max)
    return note("maximum", x, min) if max is None else note("minimum", x, max)


# --------------------------------------------------------------------------------------------- along axes


def _reduction(name: str, *takes: str) -> None:
    """A function over axes, and which settings it takes beside axis and keepdims."""

    def function(x: Any, /, *, axis: Any = None, keepdims: bool = False, **settings: Any) -> Recorded:
        unknown = settings.keys() - set(takes)
        if unknown:
            raise TypeError(f"{name} takes no setting {', '.join(sorted(unknown))} in a recording")
        if "dtype" in settings:
            settings["dtype"] = dtype_of(settings["dtype"])
        given = {key: value for key, value in settings.items() if value is not None}
        return note(name, x, axis=axis_number(axis), keepdims=bool(keepdims), **given)

    _named(name, function)


_reduction("sum", "dtype")
_reduction("prod", "dtype")
_reduction("mean")
_reduction("var", "correction")
_reduction("std", "correction")
for _name in ("max", "min", "any", "all", "argmax", "argmin"):
    _reduction(_name)


@noted
def count_nonzero(x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Recorded:
    if axis is None and not keepdims and not isinstance(np.count_nonzero(0), np.generic):
        refuse("count_nonzero of all axes, which this NumPy gives as one of Python's numbers; use sum(x != 0)")
    return note("count_nonzero", x, axis=axis_number(axis), keepdims=bool(keepdims))


@noted
def cumulative_sum(x: Any, /, *, axis: Any = None, dtype: Any = None, include_initial: bool = False) -> Recorded:
    return note("cumulative_sum", x, axis=axis_number(axis), dtype=dtype_of(dtype), include_initial=include_initial)


@noted
def cumulative_prod(x: Any, /, *, axis: Any = None, dtype: Any = None, include_initial: bool = False) -> Recorded:
    return note("cumulative_prod", x, axis=axis_number(axis), dtype=dtype_of(dtype), include_initial=include_initial)


@noted
def diff(x: Any, /, *, n: int = 1, axis: int = -1) -> Recorded:
    axis = np.lib.array_utils.normalize_axis_index(axis, array_of(x).ndim)
    for _ in range(n):
        after, before = (x[(slice(None),) * axis + (part,)] for part in (slice(1, None), slice(None, -1)))
        x = after != before if x.dtype.kind == "b" else after - before
    return x


@noted
def sort(x: Any, /, *, axis: int = -1, stable: bool | None = None) -> Recorded:
    return note("sort", x, axis=axis_number(axis), **_sorting(stable))


@noted
def argsort(x: Any, /, *, axis: int = -1, stable: bool | None = None) -> Recorded:
    return note("argsort", x, axis=axis_number(axis), **_sorting(stable))


def _sorting(stable: bool | None) -> dict[str, str]:
    """NumPy's sorting keeps equals in their order only if it is asked to."""
    return {"kind": "stable"} if stable else {}


@noted
def searchsorted(x: Any, values: Any, /, *, side: str = "left", sorter: Any = None) -> Recorded:
    if sorter is not None:
        refuse("searchsorted with a sorter; sort the array first")
    return note("searchsorted", x, values, side=side)


# ------------------------------------------------------------------------------------------------ products


@noted
def matmul(a: Any, b: Any, /) -> Recorded:
    return note("matmul", a, b)


@noted
def tensordot(a: Any, b: Any, /, *, axes: Any = 2) -> Recorded:
    pairs = axes if isinstance(axes, int) else tuple(tuple(map(operator.index, which)) for which in axes)
    return note("tensordot", a, b, axes=pairs)


@noted
def vecdot(a: Any, b: Any, /, *, axis: int = -1) -> Recorded:
    return note("vecdot", a, b, axis=axis_number(axis))
