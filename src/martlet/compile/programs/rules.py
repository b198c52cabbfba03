"""What the result of an operation looks like: its shape, dtype and memory order, from those of its operands.

A rule takes the operands, as Specs or as Python's numbers, and the settings of an operation, and gives a Spec.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from martlet.compile.programs.layout import (
    Spec,
    axis_order,
    copied,
    in_order,
    like,
    new,
    view,
)

Operand = Spec | int | float | bool  # an array, or one of Python's numbers beside it
Rule = Callable[..., Spec]
FLAG = np.dtype(bool)  # that of True and False, too, of whose type NumPy does not know that it is a number's


def specs(operands: tuple[Operand, ...]) -> list[Spec]:
    """Those of the operands that are arrays."""
    return [o for o in operands if isinstance(o, Spec)]


# ------------------------------------------------------------------------------------------- elementwise


def loop(ufunc: np.ufunc, operands: tuple[Operand, ...]) -> tuple[np.dtype, ...]:
    """The dtypes in which an elementwise operation computes: of each operand, and of the result."""
    kinds = [o.dtype if isinstance(o, Spec) else FLAG if type(o) is bool else type(o) for o in operands]
    return ufunc.resolve_dtypes((*kinds, None))


def elementwise(ufunc: np.ufunc) -> Rule:
    """The rule of an operation that makes one number of one number of each operand."""

    def rule(*operands: Operand) -> Spec:
        arrays = specs(operands)
        kinds = loop(ufunc, operands)
        for operand, kind in zip(operands, kinds, strict=False):
            if type(operand) is int and kind.kind in "iu" and kinds[-1].kind != "b":
                kind.type(operand)  # which raises OverflowError where it does not fit
        shape = arrays[0].shape if len(arrays) == 1 else np.broadcast_shapes(*(spec.shape for spec in arrays))
        return like(shape, kinds[-1], arrays)

    return rule


def power(x: Operand, y: Operand) -> Spec:
    """NumPy gives ``flags ** 2`` in eight bits and ``np.pow(flags, 2)`` in 64; the standard has neither."""
    if any(spec.dtype.kind == "b" for spec in specs((x, y))):
        raise TypeError("there are no powers of booleans; astype makes numbers of them")
    found = _power(x, y)
    if type(y) is int and y < 0 and found.dtype.kind in "iu":
        raise ValueError(f"integers to the power of {y} are no integers; astype makes floating-point numbers of them")
    return found


_power = elementwise(np.power)


def where(condition: Operand, x: Operand, y: Operand) -> Spec:
    arrays = specs((condition, x, y))
    # Which of Python's numbers fit beside which dtype is NumPy's to say, and differs between its versions.
    dtype = np.where(True, *(np.zeros((), o.dtype) if isinstance(o, Spec) else o for o in (x, y))).dtype
    return like(np.broadcast_shapes(*(spec.shape for spec in arrays)), dtype, arrays)


def clip(x: Operand, low: Operand, high: Operand) -> Spec:
    arrays = specs((x, low, high))
    kinds = [o.dtype if isinstance(o, Spec) else o for o in (x, low, high)]
    return like(np.broadcast_shapes(*(spec.shape for spec in arrays)), np.result_type(*kinds), arrays)


def astype(x: Spec, *, dtype: np.dtype) -> Spec:
    return copied(x, dtype)


# -------------------------------------------------------------------------------------------- reductions


def axes_of(rank: int, axis: Any) -> tuple[int, ...]:
    """The axes that a reduction is over, counted from 0."""
    return tuple(range(rank)) if axis is None else normalize_axis_tuple(axis, rank)


def reduction(dtype_of: Callable[[np.dtype], Any], *, of_nothing: bool = True, by_rows: bool = False) -> Rule:
    """The rule of an operation over axes.  of_nothing: it has a value for no numbers; by_rows: it forgets the order."""

    def rule(x: Spec, *, axis: Any = None, keepdims: bool = False, dtype: Any = None, **settings: Any) -> Spec:
        over = axes_of(len(x.shape), axis)
        kind = np.dtype(dtype_of(x.dtype) if dtype is None else dtype)
        found = _reduced(x, kind, over, keepdims)
        if not of_nothing and found.size and not x.size:
            raise ValueError(f"shape {x.shape} has no numbers along axis {axis}, and nothing has no such value")
        return new(found.shape, kind) if by_rows else found

    return rule


def _reduced(x: Spec, dtype: np.dtype, over: tuple[int, ...], keepdims: bool) -> Spec:
    order = [a for a in axis_order(x.shape, [x]) if a not in over]
    if keepdims:
        shape = tuple(1 if a in over else n for a, n in enumerate(x.shape))
        return in_order(shape, dtype, [*over, *order])
    rest = [a for a in range(len(x.shape)) if a not in over]
    return in_order([x.shape[a] for a in rest], dtype, [rest.index(a) for a in order])


def count_nonzero(x: Spec, *, axis: Any = None, keepdims: bool = False) -> Spec:
    """NumPy makes flags of the numbers, and sums these."""
    flags = x if x.dtype.kind == "b" else copied(x, FLAG)
    return _reduced(flags, np.dtype(np.intp), axes_of(len(x.shape), axis), keepdims)


def sum_dtype(dtype: np.dtype) -> np.dtype:
    return np.add.reduce(np.zeros(1, dtype=dtype)).dtype


def mean_dtype(dtype: np.dtype) -> np.dtype:
    return np.mean(np.zeros(1, dtype=dtype)).dtype


def var_dtype(dtype: np.dtype) -> np.dtype:
    return np.var(np.zeros(1, dtype=dtype)).dtype


# ---------------------------------------------------------------------------------------------- products


def _stacked(a: Spec, b: Spec, cores: tuple[int, int], core: tuple[int, ...], dtype: np.dtype) -> Spec:
    """Many products at once: the stacks keep the order of the operands, each product lies row by row in it."""
    outer = [
        Spec(s.shape[: len(s.shape) - n], s.dtype, s.strides[: len(s.shape) - n])
        for s, n in zip((a, b), cores, strict=True)
    ]
    shape = np.broadcast_shapes(*(s.shape for s in outer))
    order = axis_order(shape, outer)
    return in_order((*shape, *core), dtype, [*order, *range(len(shape), len(shape) + len(core))])


def matmul(a: Spec, b: Spec) -> Spec:
    if not a.shape or not b.shape:
        raise ValueError("an array of no axes has no product")
    row, column = len(a.shape) == 1, len(b.shape) == 1
    inner = b.shape[0] if column else b.shape[-2]
    if a.shape[-1] != inner:
        raise ValueError(f"shapes {a.shape} and {b.shape} do not fit together")
    core = (() if row else (a.shape[-2],)) + (() if column else (b.shape[-1],))
    return _stacked(a, b, (2 - row, 2 - column), core, np.matmul.resolve_dtypes((a.dtype, b.dtype, None))[-1])


def tensordot(a: Spec, b: Spec, *, axes: Any = 2) -> Spec:
    if isinstance(axes, int):
        axes = (range(len(a.shape) - axes, len(a.shape)), range(axes))
    left, right = (normalize_axis_tuple(which, len(x.shape)) for x, which in zip((a, b), axes, strict=True))
    if [a.shape[i] for i in left] != [b.shape[i] for i in right]:
        raise ValueError(f"shapes {a.shape} and {b.shape} do not fit together along the axes {left} and {right}")
    shape = [n for i, n in enumerate(a.shape) if i not in left] + [n for i, n in enumerate(b.shape) if i not in right]
    return new(shape, np.result_type(a.dtype, b.dtype))


def vecdot(a: Spec, b: Spec, *, axis: int = -1) -> Spec:
    a, b = (view(x, lambda array: np.moveaxis(array, axis, -1)) for x in (a, b))
    if a.shape[-1] != b.shape[-1]:
        raise ValueError(f"lengths {a.shape[-1]} and {b.shape[-1]} differ along axis {axis}")
    return _stacked(a, b, (1, 1), (), np.vecdot.resolve_dtypes((a.dtype, b.dtype, None))[-1])
