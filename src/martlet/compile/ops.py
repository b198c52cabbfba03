"""The table of operations: what each is, what its result looks like, and which of NumPy's functions it is.

A record is data over this table.  A row says to which family an operation belongs, how the shape, the dtype and the
memory order of its result follow from its operands, and how NumPy computes it eagerly.  All else, how it is laid
out in a plan, cut into rows or counted, depends on the family.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from martlet.backend import host
from martlet.compile.layout import Spec, axis_order, in_order, like, new, view

Operand = Spec | int | float | bool  # an array, or one of Python's numbers beside it
Rule = Callable[..., Spec]

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
        kinds = tuple(o.dtype if isinstance(o, Spec) else type(o) for o in operands)
        return self.ufunc.resolve_dtypes((*kinds, None))


OPS: dict[str, Op] = {}


def _add(name: str, family: str, rule: Rule, numpy: Callable[..., Any], ufunc: np.ufunc | None = None) -> None:
    OPS[name] = Op(name, family, rule, numpy, ufunc)


def specs(operands: tuple[Operand, ...]) -> list[Spec]:
    """Those of the operands that are arrays."""
    return [o for o in operands if isinstance(o, Spec)]


# ------------------------------------------------------------------------------------------- elementwise

UNARY = [
    "abs",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "bitwise_invert",
    "ceil",
    "conj",
    "cos",
    "cosh",
    "exp",
    "expm1",
    "floor",
    "isfinite",
    "isinf",
    "isnan",
    "log",
    "log10",
    "log1p",
    "log2",
    "logical_not",
    "negative",
    "positive",
    "reciprocal",
    "round",
    "sign",
    "signbit",
    "sin",
    "sinh",
    "sqrt",
    "square",
    "tan",
    "tanh",
    "trunc",
]
BINARY = [
    "add",
    "atan2",
    "bitwise_and",
    "bitwise_left_shift",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "copysign",
    "divide",
    "equal",
    "floor_divide",
    "greater",
    "greater_equal",
    "hypot",
    "less",
    "less_equal",
    "logaddexp",
    "logical_and",
    "logical_or",
    "logical_xor",
    "maximum",
    "minimum",
    "multiply",
    "nextafter",
    "not_equal",
    "pow",
    "remainder",
    "subtract",
]


def _elementwise(name: str) -> None:
    ufunc = np.rint if name == "round" else getattr(np, name)

    def rule(*operands: Operand) -> Spec:
        arrays = specs(operands)
        shape = np.broadcast_shapes(*(spec.shape for spec in arrays))
        return like(shape, OPS[name].loop(*operands)[-1], arrays)

    # The operator, for x ** 2 is a square and not a power; the others are the same either way.
    _add(name, ELEMENTWISE, rule, operator.pow if name == "pow" else ufunc, ufunc)


for _name in (*UNARY, *BINARY):
    _elementwise(_name)


def _where(condition: Operand, x: Operand, y: Operand) -> Spec:
    arrays = specs((condition, x, y))
    kinds = [o.dtype if isinstance(o, Spec) else o for o in (x, y)]
    return like(np.broadcast_shapes(*(spec.shape for spec in arrays)), np.result_type(*kinds), arrays)


_add("where", ELEMENTWISE, _where, np.where)
_add("astype", ELEMENTWISE, lambda x, *, dtype: like(x.shape, dtype, [x]), lambda x, dtype: host.astype(x, dtype))


# -------------------------------------------------------------------------------------------- reductions


def axes_of(rank: int, axis: Any) -> tuple[int, ...]:
    """The axes that a reduction is over, counted from 0."""
    if axis is None:
        return tuple(range(rank))
    return tuple(int(a) % rank for a in (axis if isinstance(axis, tuple) else (axis,)))


def _reduced(x: Spec, dtype: np.dtype, axis: Any, keepdims: bool) -> Spec:
    over = axes_of(len(x.shape), axis)
    order = [a for a in axis_order(x.shape, [x]) if a not in over]
    if keepdims:
        shape = tuple(1 if a in over else n for a, n in enumerate(x.shape))
        return in_order(shape, dtype, [*over, *order])
    rest = [a for a in range(len(x.shape)) if a not in over]
    return in_order([x.shape[a] for a in rest], dtype, [rest.index(a) for a in order])


def _reduction(name: str, numpy: Callable[..., Any], dtype_of: Callable[[np.dtype], Any]) -> None:
    def rule(x: Spec, *, axis: Any = None, keepdims: bool = False, dtype: Any = None, **settings: Any) -> Spec:
        return _reduced(x, np.dtype(dtype_of(x.dtype) if dtype is None else dtype), axis, keepdims)

    _add(name, REDUCTION, rule, numpy)


def _sum_dtype(dtype: np.dtype) -> np.dtype:
    return np.add.reduce(np.zeros(1, dtype=dtype)).dtype


def _mean_dtype(dtype: np.dtype) -> np.dtype:
    return np.mean(np.zeros(1, dtype=dtype)).dtype


_reduction("sum", host.sum, _sum_dtype)
_reduction("prod", np.prod, _sum_dtype)
_reduction("max", host.max, lambda dtype: dtype)
_reduction("min", np.min, lambda dtype: dtype)
_reduction("mean", np.mean, _mean_dtype)
_reduction("var", np.var, _mean_dtype)
_reduction("std", np.std, _mean_dtype)
_reduction("any", np.any, lambda dtype: np.bool_)
_reduction("all", np.all, lambda dtype: np.bool_)
_reduction("argmax", np.argmax, lambda dtype: np.intp)
_reduction("argmin", np.argmin, lambda dtype: np.intp)
_reduction("count_nonzero", np.count_nonzero, lambda dtype: np.intp)


# ---------------------------------------------------------------------------------------------- products


def _matmul(a: Spec, b: Spec) -> Spec:
    if not a.shape or not b.shape:
        raise ValueError("matmul: an array of no axes has no product")
    left, right = a.shape if len(a.shape) > 1 else (1, *a.shape), b.shape if len(b.shape) > 1 else (*b.shape, 1)
    if left[-1] != right[-2]:
        raise ValueError(f"matmul: shapes {a.shape} and {b.shape} do not fit together")
    shape = [*np.broadcast_shapes(left[:-2], right[:-2]), left[-2], right[-1]]
    if len(b.shape) == 1:
        del shape[-1]
    if len(a.shape) == 1:
        del shape[-1 if len(b.shape) == 1 else -2]
    return new(shape, np.result_type(a.dtype, b.dtype))


def _tensordot(a: Spec, b: Spec, *, axes: Any = 2) -> Spec:
    if isinstance(axes, int):
        axes = (range(len(a.shape) - axes, len(a.shape)), range(axes))
    left, right = ([axis % len(x.shape) for axis in which] for x, which in zip((a, b), axes, strict=True))
    shape = [n for i, n in enumerate(a.shape) if i not in left] + [n for i, n in enumerate(b.shape) if i not in right]
    return new(shape, np.result_type(a.dtype, b.dtype))


def _vecdot(a: Spec, b: Spec, *, axis: int = -1) -> Spec:
    shape = list(np.broadcast_shapes(a.shape, b.shape))
    del shape[axis]
    return new(shape, np.result_type(a.dtype, b.dtype))


_add("matmul", PRODUCT, _matmul, np.matmul)
_add("tensordot", PRODUCT, _tensordot, np.tensordot)
_add("vecdot", PRODUCT, _vecdot, np.vecdot)


# ------------------------------------------------------------------------------------------------- views


def _view(name: str, numpy: Callable[..., Any]) -> None:
    _add(name, VIEW, lambda x, **settings: view(x, lambda array: numpy(array, **settings)), numpy)


def _reshape(x: Spec, *, shape: tuple[int, ...]) -> Spec:
    if -1 in shape:
        others = math.prod(n for n in shape if n != -1)
        shape = tuple(x.size // others if n == -1 else n for n in shape)
    if math.prod(shape) != x.size:
        raise ValueError(f"reshape: {x.size} numbers do not fit the shape {shape}")
    try:
        return view(x, lambda array: np.reshape(array, shape, copy=False))
    except ValueError:  # not as a view; NumPy copies, row by row
        return new(shape, x.dtype)


_view("getitem", lambda x, key: x[key])
_view("permute_dims", np.permute_dims)
_view("matrix_transpose", np.matrix_transpose)
_view("expand_dims", np.expand_dims)
_view("squeeze", np.squeeze)
_view("moveaxis", np.moveaxis)
_view("broadcast_to", np.broadcast_to)
_view("flip", np.flip)
_add("reshape", VIEW, _reshape, np.reshape)


# ----------------------------------------------------------------------------------------------- sources


def _source(name: str, numpy: Callable[..., Any]) -> None:
    """Made of numbers alone: computed when the plan is laid, once."""

    def rule(**settings: Any) -> Spec:
        if name in ("zeros", "ones", "full", "empty"):  # which may be large
            shape = settings["shape"]
            dtype = numpy(**(settings | {"shape": ()})).dtype
            return new((shape,) if isinstance(shape, int) else shape, dtype)
        if name == "constant":
            array = settings["array"]
            return Spec(array.shape, array.dtype, tuple(s // array.itemsize for s in array.strides))
        found = numpy(**settings)
        return new(found.shape, found.dtype)

    _add(name, SOURCE, rule, numpy)


_source("zeros", lambda shape, dtype=None: np.zeros(shape, dtype))
_source("ones", lambda shape, dtype=None: np.ones(shape, dtype))
_source("empty", lambda shape, dtype=None: np.zeros(shape, dtype))
_source("full", lambda shape, fill_value, dtype=None: np.full(shape, fill_value, dtype))
_source("arange", lambda start, stop, step, dtype=None: np.arange(start, stop, step, dtype=dtype))
_source("linspace", np.linspace)
_source("eye", lambda n_rows, n_cols=None, k=0, dtype=None: np.eye(n_rows, n_cols, k=k, dtype=dtype or np.float64))
_source("constant", lambda array: array)


# ------------------------------------------------------------------------------------------------ others


def _concat(*arrays: Spec, axis: int | None = 0) -> Spec:
    dtype = np.result_type(*(a.dtype for a in arrays))
    if axis is None:
        return new((sum(a.size for a in arrays),), dtype)
    shape = list(arrays[0].shape)
    axis %= len(shape)
    rest = {a.shape[:axis] + a.shape[axis + 1 :] for a in arrays}
    if len(rest) > 1:
        raise ValueError(f"concat: the shapes {', '.join(str(a.shape) for a in arrays)} do not fit together")
    shape[axis] = sum(a.shape[axis] for a in arrays)
    return like(shape, dtype, arrays)


def _stack(*arrays: Spec, axis: int = 0) -> Spec:
    if len({a.shape for a in arrays}) > 1:
        raise ValueError(f"stack: the shapes {', '.join(str(a.shape) for a in arrays)} differ")
    return _concat(*(view(a, lambda x: np.expand_dims(x, axis)) for a in arrays), axis=axis)


def _take(x: Spec, indices: Spec, *, axis: int | None = None) -> Spec:
    if axis is None:
        return new(indices.shape, x.dtype)
    axis %= len(x.shape)
    return new((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.dtype)


def _take_along_axis(x: Spec, indices: Spec, *, axis: int = -1) -> Spec:
    shape = list(
        np.broadcast_shapes(
            *((*s.shape[: axis % len(x.shape)], 1, *s.shape[axis % len(x.shape) + 1 :]) for s in (x, indices))
        )
    )
    shape[axis] = indices.shape[axis]
    return new(shape, x.dtype)


def _repeat(x: Spec, *, repeats: int, axis: int | None = None) -> Spec:
    if axis is None:
        return new((x.size * repeats,), x.dtype)
    return new(tuple(n * repeats if i == axis % len(x.shape) else n for i, n in enumerate(x.shape)), x.dtype)


def _tile(x: Spec, *, repetitions: tuple[int, ...]) -> Spec:
    rank = max(len(x.shape), len(repetitions))
    shape, times = (1,) * (rank - len(x.shape)) + x.shape, (1,) * (rank - len(repetitions)) + repetitions
    return new([n * k for n, k in zip(shape, times, strict=True)], x.dtype)


def _cumulative_sum(x: Spec, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Spec:
    axis = 0 if axis is None else axis
    shape = tuple(n + include_initial if i == axis % len(x.shape) else n for i, n in enumerate(x.shape))
    return new(shape, _sum_dtype(x.dtype) if dtype is None else dtype)


def _same(x: Spec, **settings: Any) -> Spec:
    return new(x.shape, x.dtype)


_add("concat", OTHER, _concat, lambda *arrays, axis=0: np.concatenate(arrays, axis=axis))
_add("stack", OTHER, _stack, lambda *arrays, axis=0: np.stack(arrays, axis=axis))
_add("take", OTHER, _take, lambda x, indices, axis=None: np.take(x, indices, axis=axis))
_add("take_along_axis", OTHER, _take_along_axis, lambda x, indices, axis=-1: np.take_along_axis(x, indices, axis=axis))
_add("repeat", OTHER, _repeat, np.repeat)
_add("tile", OTHER, _tile, lambda x, repetitions: np.tile(x, repetitions))
_add("roll", OTHER, _same, np.roll)
_add("sort", OTHER, _same, np.sort)
_add("argsort", OTHER, lambda x, **settings: new(x.shape, np.dtype(np.intp)), np.argsort)
_add(
    "searchsorted",
    OTHER,
    lambda x, values, *, side="left": new(values.shape, np.dtype(np.intp)),
    lambda x, values, side="left": np.searchsorted(x, values, side=side),
)
_add("cumulative_sum", OTHER, _cumulative_sum, np.cumulative_sum)
_add("copy", OTHER, lambda x: like(x.shape, x.dtype, [x]), lambda x: x.copy(order="K"))
