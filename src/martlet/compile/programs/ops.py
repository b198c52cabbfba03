"""The table of operations: what each is, what its result looks like, and which of NumPy's functions it is.

A record is data over this table.  A row says to which family an operation belongs, how the shape, the dtype and the
memory order of its result follow from its operands, and how NumPy computes it eagerly.  All else, how it is laid
out in a plan, cut into rows or counted, depends on the family.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from martlet.backend import host
from martlet.compile.programs import arrangements, rules
from martlet.compile.programs.rules import Operand, Rule, axes_of, reduction, specs

__all__ = ["BINARY", "ELEMENTWISE", "OPS", "OTHER", "PRODUCT", "REDUCTION", "ROWS", "SOURCE", "UNARY", "VIEW"]
__all__ += ["Op", "Operand", "axes_of", "specs"]

# The families.  ELEMENTWISE: one number of each operand makes one of the result.  REDUCTION: over axes.  PRODUCT: of
# matrices.  VIEW: the same memory, seen otherwise, where it can be.  SOURCE: made of nothing.  OTHER: whatever else.
ELEMENTWISE, REDUCTION, PRODUCT, VIEW, SOURCE, OTHER = "elementwise", "reduction", "product", "view", "source", "other"


@dataclass(frozen=True)
class Op:
    """A row of the table.  ``rule(*operands, **settings)`` gives the Spec, ``numpy(*arrays, **settings)`` the array."""

    name: str
    family: str
    rule: Rule
    numpy: Callable[..., Any]
    ufunc: np.ufunc | None = None

    def loop(self, *operands: Operand) -> tuple[np.dtype, ...]:
        """The dtypes in which an elementwise operation computes: of each operand, and of the result."""
        assert self.ufunc is not None
        return rules.loop(self.ufunc, operands)


# ------------------------------------------------------------------- the elementwise functions, by their own names

# fmt: off
UNARY = [
    "abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "bitwise_invert", "ceil", "conj", "cos", "cosh", "exp",
    "expm1", "floor", "isfinite", "isinf", "isnan", "log", "log10", "log1p", "log2", "logical_not", "negative",
    "positive", "reciprocal", "round", "sign", "signbit", "sin", "sinh", "sqrt", "square", "tan", "tanh", "trunc",
]
BINARY = [
    "add", "atan2", "bitwise_and", "bitwise_left_shift", "bitwise_or", "bitwise_right_shift", "bitwise_xor",
    "copysign", "divide", "equal", "floor_divide", "greater", "greater_equal", "hypot", "less", "less_equal",
    "logaddexp", "logical_and", "logical_or", "logical_xor", "maximum", "minimum", "multiply", "nextafter",
    "not_equal", "pow", "remainder", "subtract",
]
# fmt: on


def _elementwise(name: str) -> Op:
    ufunc = np.rint if name == "round" else getattr(np, name)
    if name == "pow":  # the operator: x ** 2 is a square and not a power
        return Op(name, ELEMENTWISE, rules.power, operator.pow, ufunc)
    return Op(name, ELEMENTWISE, rules.elementwise(ufunc), ufunc, ufunc)


# --------------------------------------------------------------------------------------- NumPy, where it is called
# otherwise than the operation is


def _in_order(make: Callable[..., Any], shape: tuple[int, ...], order: Sequence[int] | None, *rest: Any) -> Any:
    """An array whose axes lie in memory in this order, from the slowest to the fastest; None is row by row."""
    if order is None:
        return make(shape, *rest)
    return make([shape[axis] for axis in order], *rest).transpose(np.argsort(order))


def zeros(shape: tuple[int, ...], dtype: Any = None, order: Any = None) -> Any:
    return _in_order(np.zeros, shape, order, dtype)


def ones(shape: tuple[int, ...], dtype: Any = None, order: Any = None) -> Any:
    return _in_order(np.ones, shape, order, dtype)


def full(shape: tuple[int, ...], fill_value: Any, dtype: Any = None, order: Any = None) -> Any:
    return _in_order(np.full, shape, order, fill_value, dtype)


def arange(start: Any, stop: Any, step: Any, dtype: Any = None) -> Any:
    return np.arange(start, stop, step, dtype=dtype)


def eye(n_rows: int, n_cols: int | None = None, k: int = 0, dtype: Any = None) -> Any:
    return np.eye(n_rows, n_cols, k=k, dtype=np.float64 if dtype is None else dtype)


def constant(array: np.ndarray, dtype: Any = None) -> np.ndarray:
    return array


def getitem(x: Any, key: Any) -> Any:
    return x[key]


def astype(x: Any, dtype: np.dtype) -> Any:
    return x.astype(dtype)


def concat(*arrays: Any, axis: int | None = 0) -> Any:
    return np.concatenate(arrays, axis=axis)


def stack(*arrays: Any, axis: int = 0) -> Any:
    return np.stack(arrays, axis=axis)


def tile(x: Any, repetitions: tuple[int, ...]) -> Any:
    return np.tile(x, repetitions)


def copy(x: Any, order: str = "K") -> Any:
    return x.copy(order=order)


def _same_dtype(dtype: np.dtype) -> np.dtype:
    return dtype


def _flag(dtype: np.dtype) -> Any:
    return np.bool_


def _index(dtype: np.dtype) -> Any:
    return np.intp


# ---------------------------------------------------------------------------------------------------- the table

ROWS = [
    *map(_elementwise, UNARY),
    *map(_elementwise, BINARY),
    Op("where", ELEMENTWISE, rules.where, np.where),
    Op("astype", ELEMENTWISE, rules.astype, astype),
    Op("sum", REDUCTION, reduction(rules.sum_dtype), host.sum),
    Op("prod", REDUCTION, reduction(rules.sum_dtype), np.prod),
    Op("max", REDUCTION, reduction(_same_dtype, of_nothing=False), host.max),
    Op("min", REDUCTION, reduction(_same_dtype, of_nothing=False), np.min),
    Op("mean", REDUCTION, reduction(rules.mean_dtype), np.mean),
    Op("var", REDUCTION, reduction(rules.var_dtype), np.var),
    Op("std", REDUCTION, reduction(rules.var_dtype), np.std),
    Op("any", REDUCTION, reduction(_flag), np.any),
    Op("all", REDUCTION, reduction(_flag), np.all),
    Op("argmax", REDUCTION, reduction(_index, of_nothing=False, by_rows=True), np.argmax),
    Op("argmin", REDUCTION, reduction(_index, of_nothing=False, by_rows=True), np.argmin),
    Op("count_nonzero", REDUCTION, rules.count_nonzero, np.count_nonzero),
    Op("matmul", PRODUCT, rules.matmul, np.matmul),
    Op("tensordot", PRODUCT, rules.tensordot, np.tensordot),
    Op("vecdot", PRODUCT, rules.vecdot, np.vecdot),
    Op("getitem", VIEW, arrangements.seen(getitem), getitem),
    Op("permute_dims", VIEW, arrangements.seen(np.permute_dims), np.permute_dims),
    Op("matrix_transpose", VIEW, arrangements.seen(np.matrix_transpose), np.matrix_transpose),
    Op("expand_dims", VIEW, arrangements.seen(np.expand_dims), np.expand_dims),
    Op("squeeze", VIEW, arrangements.seen(np.squeeze), np.squeeze),
    Op("moveaxis", VIEW, arrangements.seen(np.moveaxis), np.moveaxis),
    Op("broadcast_to", VIEW, arrangements.seen(np.broadcast_to), np.broadcast_to),
    Op("flip", VIEW, arrangements.seen(np.flip), np.flip),
    Op("reshape", VIEW, arrangements.reshape, np.reshape),
    Op("zeros", SOURCE, arrangements.filled(zeros), zeros),
    Op("ones", SOURCE, arrangements.filled(ones), ones),
    Op("full", SOURCE, arrangements.filled(full), full),
    Op("arange", SOURCE, arrangements.made(arange), arange),
    Op("linspace", SOURCE, arrangements.made(np.linspace), np.linspace),
    Op("eye", SOURCE, arrangements.made(eye), eye),
    Op("constant", SOURCE, arrangements.made(constant), constant),
    Op("clip", OTHER, rules.clip, np.clip),
    Op("concat", OTHER, arrangements.concat, concat),
    Op("stack", OTHER, arrangements.stack, stack),
    Op("take", OTHER, arrangements.take, np.take),
    Op("rows", OTHER, arrangements.rows, operator.getitem),
    Op("take_along_axis", OTHER, arrangements.take_along_axis, np.take_along_axis),
    Op("repeat", OTHER, arrangements.repeat, np.repeat),
    Op("tile", OTHER, arrangements.tile, tile),
    Op("roll", OTHER, arrangements.roll, np.roll),
    Op("sort", OTHER, arrangements.sort, np.sort),
    Op("argsort", OTHER, arrangements.argsort, np.argsort),
    Op("searchsorted", OTHER, arrangements.searchsorted, np.searchsorted),
    Op("cumulative_sum", OTHER, arrangements.cumulative, np.cumulative_sum),
    Op("cumulative_prod", OTHER, arrangements.cumulative, np.cumulative_prod),
    Op("copy", OTHER, arrangements.copy, copy),
]
OPS = {row.name: row for row in ROWS}
