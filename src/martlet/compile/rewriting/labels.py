"""Labels prepared once: what a step computes from its labels alone is the same in every epoch, so it is a table.

Beside the samples stands a table of what the step needs of them, a row per sample: their one-hot rows, say.  A batch
takes its rows from the table, as it takes its samples.  And what is true of every label, for instance that it names a
class, need not be asked again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from martlet.compile.programs.cost import reduced_axes
from martlet.compile.programs.layout import by_columns, new
from martlet.compile.programs.ops import ELEMENTWISE, OPS, OTHER, REDUCTION, SOURCE, VIEW, Op
from martlet.compile.programs.program import Node
from martlet.compile.rewriting.rewrite import reachable, rewritten, with_operands

PICK = "pick"  # of each row of z one number: that at t · N in the memory of N rows that lie by columns


def _pick(z: np.ndarray, start: np.ndarray) -> np.ndarray:
    return z.T.reshape(-1)[start + np.arange(len(z))]


OPS[PICK] = Op(PICK, OTHER, lambda z, start: new(start.shape, z.dtype), _pick)


def row_by_row_of(labels: Node, nodes: Iterable[Node]) -> set[Node]:
    """The nodes each of whose rows follows from the same row of some labels, and from nothing else."""
    found = {labels}
    rows = labels.spec.shape[0]
    for node in nodes:
        arrays = [p for p in node.parents if p.family != SOURCE]
        if not arrays or any(p not in found for p in arrays) or node.spec.shape[:1] != (rows,):
            continue
        rank = len(node.spec.shape)
        if node.family == ELEMENTWISE:
            sources = [p.spec.shape for p in node.parents if p.family == SOURCE]
            fits = all(len(shape) < rank or shape[0] == 1 for shape in sources)
            fits = fits and all(len(p.spec.shape) == rank for p in arrays)
        elif node.family == REDUCTION:
            fits = 0 not in reduced_axes(node)
        else:
            key = node.settings.get("key")
            fits = node.name == "getitem" and isinstance(key, tuple) and key[0] == slice(None)
        if fits:
            found.add(node)
    return found


class Table:
    """A value for every sample, computed from the labels of all of them, a batch's worth at a time."""

    def __init__(self, labels: Node, node: Node, whole: np.ndarray) -> None:
        order = [n for n in reachable([node]) if n is not labels]
        rows, count = labels.spec.shape[0], len(whole)
        narrow = by_columns(node.spec) is not node.spec  # and is read by columns
        self.values = np.empty((count, *node.spec.shape[1:]), node.spec.dtype, order="F" if narrow else "C")
        for start in range(0, count, rows):
            part = np.arange(start, start + rows) % count  # the last one is filled up, and cut
            found: dict[Node, Any] = {labels: whole[part]}
            for each in order:
                assert each.op is not None
                operands = [found[o] if isinstance(o, Node) else o for o in each.operands]
                found[each] = each.op.numpy(*operands, **each.settings)
            self.values[start : start + rows] = found[node][: count - start]


class Labels:
    """What a program does with its labels, given all the labels that there are."""

    def __init__(self, labels: Node, nodes: list[Node], whole: np.ndarray) -> None:
        self.labels, self.whole = labels, whole
        self.own = row_by_row_of(labels, nodes)

    def simplified(self, outputs: list[Node]) -> list[Node]:
        """The outputs, with what is true of every label taken for granted."""
        changes: dict[Node, Node] = {}

        def visit(node: Node, operands: tuple[Any, ...]) -> Node:
            if node.name == "where" and node.operands[0] in self.own and self._always(node.operands[0]):
                chosen = operands[1]
                if (
                    isinstance(chosen, Node)
                    and chosen.spec.shape == node.spec.shape
                    and chosen.spec.dtype == node.spec.dtype
                ):
                    return chosen
            picked = self._picked(node)
            if picked is not None:
                start = Node("multiply", (self.labels, node.spec.shape[0]), {}, self.labels.spec, node.place)
                return Node(PICK, (changes.get(picked, picked), start), {}, node.spec, node.place)
            return with_operands(node, operands)

        rewritten(reachable(outputs), visit, changes)
        return [changes[node] for node in outputs]

    def _always(self, condition: Node) -> bool:
        return bool(Table(self.labels, condition, self.whole).values.all())

    def _picked(self, node: Node) -> Node | None:
        """z, if a node is Σ over the classes of z where a class is the label, and of 0 elsewhere."""
        if node.name != "sum" or node.settings.get("axis") not in (1, (1,), -1) or node.settings.get("keepdims"):
            return None
        (inner,) = node.parents
        if inner.name != "where" or not all(isinstance(o, Node) for o in inner.operands):
            return None
        mask, z, rest = inner.operands
        is_zero = rest.name == "astype" and rest.operands[0] is mask
        if not (is_zero and self._is_one_hot(mask, z.spec.shape)):
            return None
        low, high = self.whole.min(), self.whole.max()
        return z if low >= 0 and high < z.spec.shape[1] and z.spec.shape == inner.spec.shape else None

    def _is_one_hot(self, mask: Node, shape: tuple[int, ...]) -> bool:
        """Whether a mask asks which of the classes 0, 1, 2, … a label is."""
        if mask.name != "equal" or mask.spec.shape != shape or not all(isinstance(o, Node) for o in mask.operands):
            return False
        for column, classes in (mask.operands, mask.operands[::-1]):
            is_column = column.name == "getitem" and column.operands[0] is self.labels
            counts = classes.name == "arange" and classes.settings["start"] == 0 and classes.settings["step"] == 1
            if is_column and counts and classes.spec.shape == shape[1:]:
                return True
        return False

    def tables(self, nodes: list[Node]) -> dict[Node, Table]:
        """A table for each value that the rest of the program reads, but not for the labels themselves."""
        own = row_by_row_of(self.labels, nodes)
        wanted = {
            parent
            for node in nodes
            if node not in own
            for parent in node.parents
            if parent in own and parent is not self.labels and parent.family != VIEW
        }
        return {node: Table(self.labels, node, self.whole) for node in nodes if node in wanted}
