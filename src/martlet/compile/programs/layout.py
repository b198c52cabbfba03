"""The shape, dtype and memory order of an array that does not exist yet.

A recording computes nothing, but it must know in which order the numbers of each result would lie in memory, because
a sum adds them in that order: laid out otherwise, the last digits would differ from those of the eager step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


class Spec(NamedTuple):
    """What is known of an array before it is computed.  Strides are counted in elements, not in bytes."""

    shape: tuple[int, ...]
    dtype: np.dtype
    strides: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many numbers it has."""
        count = 1
        for length in self.shape:
            count *= length
        return count

    @property
    def nbytes(self) -> int:
        """How many bytes its numbers take."""
        return self.size * self.dtype.itemsize

    @property
    def dense(self) -> bool:
        """Whether its numbers fill a stretch of memory, in whichever order."""
        expected = 1
        for stride, length in sorted((abs(s), n) for s, n in zip(self.strides, self.shape, strict=True) if n != 1):
            if stride != expected:
                return self.size == 0
            expected *= length
        return True

    def lies_as(self, strides: Sequence[int]) -> bool:
        """Whether these strides lead to the same places: where an axis has one entry, no step is ever taken."""
        pairs = zip(self.shape, self.strides, strides, strict=True)
        return self.size == 0 or all(n == 1 or mine == other for n, mine, other in pairs)

    def __str__(self) -> str:
        if self.lies_as(row_by_row(self.shape)):
            order = ""
        elif self.lies_as(row_by_row(self.shape[::-1])[::-1]):
            order = ", by columns"
        else:
            order = ", in another order" if self.dense else ", a view"
        return f"{self.dtype.name} {self.shape}{order}"


def spec_of(array: np.ndarray) -> Spec:
    """What is to know of an array that does exist.  Raises ValueError where its strides cut numbers in two."""
    if any(stride % array.itemsize for stride in array.strides):
        raise ValueError("an array lies in memory at strides that are no multiple of its numbers; copy it first")
    return Spec(array.shape, array.dtype, tuple(stride // array.itemsize for stride in array.strides))


def row_by_row(shape: Sequence[int]) -> tuple[int, ...]:
    """The strides of an array whose last axis runs fastest."""
    strides, step = [], 1
    for length in reversed(shape):
        strides.append(step)
        step *= max(length, 1)
    return tuple(reversed(strides))


def new(shape: Sequence[int], dtype: np.dtype) -> Spec:
    """An array that lies row by row."""
    shape = tuple(map(int, shape))
    return Spec(shape, np.dtype(dtype), row_by_row(shape))


def in_order(shape: Sequence[int], dtype: np.dtype, axes: Sequence[int]) -> Spec:
    """An array that fills its memory with these axes from the slowest to the fastest."""
    strides, step = [0] * len(shape), 1
    for axis in reversed(axes):
        strides[axis] = step
        step *= max(shape[axis], 1)
    return Spec(tuple(shape), np.dtype(dtype), tuple(strides))


def axis_order(shape: Sequence[int], operands: Sequence[Spec]) -> list[int]:
    """The axes from the slowest to the fastest in which NumPy walks over some operands at once.

    Its rule, of ``npyiter_find_best_axis_ordering``: an insertion sort by the operands' strides, in which rows win
    where two of them disagree, and an axis that an operand repeats or that has one entry says nothing.
    """
    rank = len(shape)
    if rank < 2:
        return list(range(rank))
    table = []
    for spec in operands:
        missing = rank - len(spec.shape)
        strides = [0] * missing + [
            0 if length == 1 else abs(stride) for length, stride in zip(spec.shape, spec.strides, strict=True)
        ]
        table.append(strides)
    fastest_first = list(range(rank - 1, -1, -1))
    for i in range(1, rank):
        axis, place = fastest_first[i], i
        for j in range(i - 1, -1, -1):
            swap = _comes_before(axis, fastest_first[j], table)
            if swap is False:
                break
            if swap:
                place = j
        fastest_first.insert(place, fastest_first.pop(i))
    return fastest_first[::-1]


def _comes_before(axis: int, other: int, table: Sequence[Sequence[int]]) -> bool | None:
    """Whether one axis is faster than another; None where no operand says anything."""
    answer = None
    for strides in table:
        if strides[axis] and strides[other]:
            if strides[other] <= strides[axis]:
                answer = False
            elif answer is None:
                answer = True
    return answer


def like(shape: Sequence[int], dtype: np.dtype, operands: Sequence[Spec]) -> Spec:
    """A new array in the order that NumPy gives the result of these operands."""
    strides = row_by_row(shape)
    if all(spec.strides == strides for spec in operands if spec.strides):
        return Spec(tuple(shape), dtype, strides)  # which is most of them
    return in_order(shape, dtype, axis_order(shape, operands))


def copied_order(spec: Spec) -> list[int]:
    """The axes from the slowest to the fastest in which NumPy lays out the copy of an array, or another like it.

    Here an axis that is repeated has the stride 0, and is the fastest: unlike in ``axis_order``.
    """
    axes = list(range(len(spec.shape)))
    if spec.lies_as(row_by_row(spec.shape)):
        return axes
    return sorted(axes, key=lambda axis: -abs(spec.strides[axis]))


def copied(spec: Spec, dtype: np.dtype) -> Spec:
    """A copy of an array in its own order, in some dtype."""
    return in_order(spec.shape, dtype, copied_order(spec))


def joined_order(operands: Sequence[Spec]) -> list[int]:
    """The axes from the slowest to the fastest in which NumPy lays out arrays that are put together."""
    order = list(range(len(operands[0].shape)))
    for i in range(1, len(order)):
        axis, place = order[i], i
        for j in range(i - 1, -1, -1):
            other = order[j]
            told = [s for s in operands if s.shape[axis] != 1 and s.shape[other] != 1]
            if told and any(abs(s.strides[axis]) <= abs(s.strides[other]) for s in told):
                break
            if told:
                place = j
        order.insert(place, order.pop(i))
    return order


def view(spec: Spec, function: Callable[[np.ndarray], np.ndarray]) -> Spec:
    """What a view of an array looks like: the function is asked, and reads nothing.

    Raises ValueError where it cannot be a view.
    """
    memory = np.empty(1, dtype=spec.dtype)
    strides = tuple(stride * spec.dtype.itemsize for stride in spec.strides)
    nothing = np.lib.stride_tricks.as_strided(memory, spec.shape, strides, writeable=False)
    found = function(nothing)
    return Spec(found.shape, found.dtype, tuple(stride // spec.dtype.itemsize for stride in found.strides))


FEW = 32  # columns


def by_columns(spec: Spec) -> Spec:
    """The form in which an array of many rows and few columns lies column by column; others stay."""
    if len(spec.shape) == 2 and 1 < spec.shape[1] <= FEW and spec.shape[0] > spec.shape[1]:
        return in_order(spec.shape, spec.dtype, (1, 0))
    return spec
