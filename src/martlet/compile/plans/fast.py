"""Fast forms: the same results by the calls that NumPy is quickest at, where only the order of a sum may change.

Measured on NumPy 2.4 (``benchmarks/``): a sum as a product with ones is two to fifty times faster than ``add.reduce``;
so are arrays of few columns that lie column by column, along which a row's maximum or a bias is a long loop and not
many short ones.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from martlet.compile.plans.lower import Lowering, array_in, buffer
from martlet.compile.programs.cost import reduced_axes
from martlet.compile.programs.layout import Spec, by_columns
from martlet.compile.programs.ops import VIEW
from martlet.compile.programs.program import Node
from martlet.compile.rewriting.affine import AFFINE, SLOPES, augmented
from martlet.compile.rewriting.labels import PICK
from martlet.compile.rewriting.means import MEAN

SMALL = 4096  # numbers: up to here a call costs more than its arithmetic
SPREAD = 2**22  # bytes: up to here a constant may become an array

_constants: weakref.WeakValueDictionary[Any, np.ndarray] = weakref.WeakValueDictionary()


def constant(value: Any, dtype: np.dtype, spec: Spec) -> np.ndarray:
    """An array that holds one number, shared by all who need it, and never written."""
    key = (repr(value), dtype, spec.shape, spec.strides)
    found = _constants.get(key)
    if found is None:
        found = array_in(buffer(spec.size * dtype.itemsize), spec._replace(dtype=dtype))
        found[...] = value
        found.flags.writeable = False
        _constants[key] = found
    return found


class Fast(Lowering):
    """A lowering that may reorder sums.  ``ones``: arrays that have been given a last column of ones, with it."""

    def __init__(
        self, nodes: Iterable[Node], *, ones: Mapping[Node, np.ndarray] | None = None, **settings: Any
    ) -> None:
        self.ones = dict(ones or {})
        nodes = list(nodes)
        targets = dict(settings.pop("targets", None) or {})
        for node in nodes:
            if node.name in (AFFINE, SLOPES) and node.operands[0] not in self.ones:
                x = node.operands[0]
                targets[x], self.ones[x] = augmented(x.spec, buffer)
        super().__init__(nodes, targets=targets, **settings)

    def form(self, node: Node) -> Spec:
        """Arrays of many rows and few columns that are computed lie column by column."""
        return node.spec if node.family == VIEW else by_columns(node.spec)

    def _ufunc(self, node: Node, operands: list[np.ndarray]) -> None:
        if node.name in ("maximum", "minimum"):
            operands = [
                x if isinstance(operand, Node) else self._spread(node, x)
                for operand, x in zip(node.operands, operands, strict=True)
            ]
        shorter = self._shorter(node, operands)
        if shorter is None:
            super()._ufunc(node, operands)
            return
        assert node.op is not None
        ufunc: Any = node.op.ufunc
        out = self._new(node)
        self.call(*self.copy(out, operands[shorter]))
        operands[shorter] = out
        if node.name in ("maximum", "minimum"):
            self.call(functools.partial(ufunc, out=out), *operands)
        else:
            self.call(ufunc, *operands, out)

    def _spread(self, node: Node, x: np.ndarray) -> np.ndarray:
        """A number as a whole array of it: the largest of two arrays is two to four times quicker than of one."""
        fits = node.spec.size > 1 and node.spec.nbytes <= SPREAD
        return constant(x.item(), x.dtype, self.form(node)) if fits else x

    def _shorter(self, node: Node, operands: list[np.ndarray]) -> int | None:
        """A row or column beside a small array, if there is one: copying it out first is quicker than broadcasting."""
        full = [i for i, x in enumerate(operands) if x.shape == node.spec.shape]
        rest = [i for i, x in enumerate(operands) if x.size > 1 and i not in full]
        if node.spec.size > SMALL or len(operands) != 2 or not len(full) == len(rest) == 1 or node in self.targets:
            return None
        return rest[0] if operands[rest[0]].dtype == node.spec.dtype else None

    def _other(self, node: Node) -> None:
        arrays = [self.arrays[parent] for parent in node.parents]
        if node.name == AFFINE:
            x, weights = self.ones[node.parents[0]], arrays[1]
            out = self._new(node)
            if out.flags.c_contiguous:
                self.call(x.dot, weights, out)
            else:
                self.call(weights.T.dot, x.T, out.T)
        elif node.name == SLOPES:
            self.call(self.ones[node.parents[0]].T.dot, arrays[1], self._new(node))
        elif node.name == PICK:
            self._pick(node, *arrays)
        elif node.name == MEAN:
            self._mean(node, arrays[0])
        else:
            super()._other(node)

    def _mean(self, node: Node, array: np.ndarray) -> None:
        flat = _in_one_piece(array)
        if flat is None:
            flat = np.empty(array.size, array.dtype)
            self.call(*self.copy(flat.reshape(array.shape), array))
        self.call(np.full(flat.shape, node.settings["share"], flat.dtype).dot, flat, self._new(node))

    def _pick(self, node: Node, z: np.ndarray, start: np.ndarray) -> None:
        if not z.T.flags.c_contiguous:
            columns = np.empty(z.T.shape, z.dtype)
            self.call(*self.copy(columns, z.T))
            z = columns.T
        index = np.empty(start.shape, np.intp)
        self.call(np.add, start, np.arange(len(z), dtype=start.dtype), index)
        self.call(z.T.reshape(-1).take, index, None, self._new(node), "clip")

    def _reduction(self, node: Node) -> None:
        (x,) = node.parents
        array = self.arrays[x]
        if array.size == 0 or node.settings.get("dtype") is not None:
            super()._reduction(node)
        elif node.name == "sum" and array.dtype.kind == "f" and array.dtype.itemsize >= 4:
            self._sum(node, array)
        elif node.name in ("max", "min") and array.dtype.kind == "f":
            self._extreme(node, array)
        else:
            super()._reduction(node)

    def _sum(self, node: Node, array: np.ndarray) -> None:
        """A sum is a product with ones, where the array is a matrix in one piece."""
        axes = reduced_axes(node)
        flat = _in_one_piece(array)
        if len(axes) == array.ndim and flat is not None:
            out = self._new(node)
            self.call(np.ones(array.size, array.dtype).dot, flat, out.reshape(()))
        elif array.ndim == 2 and len(axes) == 1 and flat is not None and min(array.shape) > 0:
            out = self._new(node).reshape(-1)
            ones = np.ones(array.shape[axes[0]], array.dtype)
            left, right = (ones, array) if axes[0] == 0 else (array, ones)
            self.call(left.dot, right, out)
        else:
            super()._reduction(node)

    def _extreme(self, node: Node, array: np.ndarray) -> None:
        """The largest or smallest of each row: for up to three columns that lie in one piece, column by column."""
        axes = reduced_axes(node)
        if array.ndim != 2 or axes != (1,) or not 2 <= array.shape[1] <= 3 or not array.T.flags.c_contiguous:
            super()._reduction(node)
            return
        ufunc = np.maximum if node.name == "max" else np.minimum
        out = self._new(node).reshape(-1)
        self.call(functools.partial(ufunc, out=out), array[:, 0], array[:, 1])
        for i in range(2, array.shape[1]):
            self.call(functools.partial(ufunc, out=out), out, array[:, i])


def _in_one_piece(array: np.ndarray) -> np.ndarray | None:
    """All numbers of an array in one dimension, in whichever order they lie; None where there are gaps."""
    if array.flags.c_contiguous:
        return array.reshape(-1)
    if array.flags.f_contiguous:
        return array.T.reshape(-1)
    return None
