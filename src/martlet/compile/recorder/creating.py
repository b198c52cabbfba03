"""Functions that take notes, and make arrays of numbers that are there: zeros, ranges, what a list holds."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from martlet.backend import is_array
from martlet.compile.programs.layout import Spec, copied_order
from martlet.compile.recorder.noting import array_of, astype, dtype_of, noted, shape_of
from martlet.compile.recorder.rearranging import stack
from martlet.compile.recorder.recorded import Recorded, note, refuse_concrete
from martlet.compile.recorder.tape import refuse


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
