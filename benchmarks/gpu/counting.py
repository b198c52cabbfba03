"""The Array API standard lets anyone be an array library: this module is one, and it counts what is asked of it.

It computes with NumPy.  ``calls`` counts functions and operators, each of which is at least one kernel on a GPU;
views (a transpose, a new axis, a slice) are not counted, for they compute nothing.  ``READ`` counts the times that
Python asked for a number, for which a GPU would have to finish all its work.
"""

from __future__ import annotations

import operator
import sys
from collections import Counter
from typing import Any

import numpy as np

READ = "read by the host"
calls: Counter[str] = Counter()
FREE = {"reshape", "squeeze", "expand_dims", "permute_dims", "matrix_transpose", "broadcast_to", "asarray"}
FREE |= {"result_type", "can_cast", "finfo", "iinfo", "isdtype", "unstack", "broadcast_arrays"}


class CountedArray:
    """An array of this library."""

    device = "cpu"

    def __init__(self, data: Any) -> None:
        self.data = np.asarray(data)

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        return sys.modules[__name__]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        calls[READ] += 1
        return np.asarray(self.data, dtype)

    def __getattr__(self, name: str) -> Any:
        if name in ("shape", "dtype", "ndim", "size"):
            return getattr(self.data, name)
        if name in ("T", "mT"):
            return CountedArray(getattr(self.data, name))
        raise AttributeError(name)

    def __getitem__(self, key: Any) -> CountedArray:
        return CountedArray(self.data[plain(key)])

    def __bool__(self) -> bool:
        calls[READ] += 1
        return bool(self.data)

    def __float__(self) -> float:
        calls[READ] += 1
        return float(self.data)

    def __int__(self) -> int:
        calls[READ] += 1
        return int(self.data)

    __hash__ = None  # type: ignore[assignment]


def plain(value: Any) -> Any:
    """The same with NumPy's arrays in it."""
    if isinstance(value, CountedArray):
        return value.data
    if isinstance(value, tuple | list):
        return type(value)(map(plain, value))
    return value


def counted(name: str, function: Any) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        if name not in FREE:
            calls[name] += 1
        kwargs.pop("device", None)
        found = function(*map(plain, args), **{key: plain(value) for key, value in kwargs.items()})
        if isinstance(found, tuple | list):
            return tuple(map(CountedArray, found))
        return CountedArray(found) if isinstance(found, np.ndarray | np.generic) else found

    return call


BINARY = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_", "xor", "lshift", "rshift"]
for _name in BINARY:
    _function, _method = getattr(operator, _name), _name.rstrip("_")
    setattr(CountedArray, f"__{_method}__", counted(_method, _function))
    setattr(CountedArray, f"__r{_method}__", counted(_method, lambda x, y, f=_function: f(y, x)))
for _name in ["lt", "le", "eq", "ne", "gt", "ge", "neg", "abs", "invert"]:
    setattr(CountedArray, f"__{_name}__", counted(_name, getattr(operator, _name)))


def __getattr__(name: str) -> Any:
    """The functions of the namespace: NumPy's, counted."""
    if name.startswith("__") and name != "__array_namespace_info__":
        raise AttributeError(name)
    found = getattr(np, name)
    return counted(name, found) if callable(found) and not isinstance(found, type) and name[:2] != "__" else found
