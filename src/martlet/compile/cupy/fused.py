"""Fusing: operations of one shape become one kernel, and with them what is summed along short rows.

On a device each operation by itself is a kernel, whose launch takes longer than the arithmetic of a small array, and
whose way through memory takes longer than that of a large one.  Here is which operations go together; what a kernel
says is in ``kernel_text.py``.  There are two forms.  A thread computes one number of each array, all of one shape; or
one row, in which a sum or a maximum along it is a loop: so a softmax and its loss are one kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any

from martlet.compile.programs.cost import reduced_axes
from martlet.compile.programs.node import Node
from martlet.compile.programs.ops import ELEMENTWISE, REDUCTION, VIEW

FUSED = "fused"
MOST = 40  # arrays that a kernel reads and writes: its arguments have 4 KB
SHORT = 16  # numbers in a row that one thread computes


class Group(Node):
    """Some operations, each after its operands, as one: its parents are what it reads.

    members: the operations; results: those of them that something else reads; rows: how many there are, if a thread
    computes a row, and else None.
    """

    __slots__ = ("members", "results", "rows")

    def __init__(self, members: Sequence[Node], results: Sequence[Node]) -> None:
        inside = set(members)
        reads = dict.fromkeys(parent for node in members for parent in node.parents if parent not in inside)
        super().__init__(FUSED, tuple(reads), {}, results[-1].spec, members[-1].place)
        self.members, self.results = list(members), list(results)
        alike = {node.spec.shape for node in members} == {self.spec.shape}
        plain = alike and all(node.family == ELEMENTWISE for node in members)
        self.rows = None if plain else self.spec.shape[0]

    @property
    def family(self) -> str:
        return FUSED


def sums_short_rows(node: Node) -> bool:
    """Whether it is a reduction that a thread can do by itself."""
    if node.family != REDUCTION:
        return False
    shape = node.parents[0].spec.shape
    return len(shape) == 2 and 0 < shape[1] <= SHORT and reduced_axes(node) == (1,)


def _is_column(node: Node) -> bool:
    """Whether it is a view that makes a column of a row of numbers, or the other way round."""
    if node.family != VIEW or node.name == "flip":
        return False
    shape, before = node.spec.shape, node.parents[0].spec.shape
    return (len(shape), len(before)) in ((1, 2), (2, 1)) and {shape, before} == {shape[:1], (*shape[:1], 1)}


def _domain(node: Node) -> Any:
    """What must be equal for two operations to be in one kernel: the number of short rows, or the shape."""
    shape = node.spec.shape
    if len(shape) == 1 or (len(shape) == 2 and 0 < shape[1] <= SHORT):
        return "rows", shape[0]
    return shape


class Arranged:
    """Finds the order and the groups: see ``arranged``."""

    def __init__(self, nodes: Sequence[Node], kept: Container[Node], fusible: Callable[[Node], bool]) -> None:
        self.nodes, self.kept, self.computed = nodes, kept, set(nodes)
        self.fuses: dict[Node, bool] = {}  # of what waits until it is asked for
        self.late: list[Node] = []  # sums of everything, which wait as well
        self.readers: dict[Node, set[Node]] = {}
        for node in nodes:
            for parent in node.parents:
                self.readers.setdefault(parent, set()).add(node)
            if node.family == VIEW:
                self.fuses[node] = _is_column(node) and self.fuses.get(node.parents[0], False)
            elif fusible(node):
                self.fuses[node] = True
            elif node.family == REDUCTION and node.spec.shape == ():
                self.late.append(node)
        self.found: list[Node] = []
        self.done: set[Node] = set()

    def all(self) -> list[Node]:
        """The nodes, some of them in groups."""
        for node in self.nodes:
            if node not in self.fuses and node not in self.late:
                self._emit(node.parents)
                self._add(node)
        self._emit(self.nodes)
        return self.found

    def _add(self, node: Node) -> None:
        self.found.append(node)
        self.done.add(node)

    def _emit(self, wanted: Iterable[Node]) -> None:
        """What is needed of what has waited, and the sums that can be made of it."""
        asked = self._asked_for(wanted)
        for total in [total for total in self.late if total not in self.done and total not in asked]:
            with_it = self._asked_for(total.parents)
            if with_it & asked and all(p in self.done | asked | with_it for n in with_it for p in self._made(n)):
                asked |= with_it | {total}
        for members in self._stages([node for node in self.nodes if node in asked]):
            if not self.fuses.get(members[0], False):
                for node in members:
                    self._add(node)
                continue
            for part in _parts(members):
                inside = set(part)
                outside = [node for node in part if node in self.kept or not self.readers.get(node, set()) <= inside]
                self.found.append(Group(part, outside))
                self.done |= inside

    def _made(self, node: Node) -> list[Node]:
        """The operands that are computed in this step."""
        return [parent for parent in node.parents if parent in self.computed]

    def _asked_for(self, wanted: Iterable[Node]) -> set[Node]:
        """What has waited and is now needed, and all that it needs."""
        found: set[Node] = set()
        ask = list(wanted)
        while ask:
            node = ask.pop()
            if (node in self.fuses or node in self.late) and node not in self.done and node not in found:
                found.add(node)
                ask += node.parents
        return found

    def _stages(self, nodes: Sequence[Node]) -> list[list[Node]]:
        """The nodes in groups, each of which depends on none after it: those of one kernel, or others.

        Each is as late as may be, so that an optimizer's memories are computed with the parameters, which need them;
        but not later than what it is made of, if that is there in an earlier kernel of its kind.
        """
        stage = dict.fromkeys(nodes, 0)
        for node in reversed(nodes):
            for parent in node.parents:
                if parent in stage:
                    stage[parent] = min(stage[parent], stage[node] - (not self._together(parent, node)))
        groups: dict[Any, list[Node]] = {}
        for node in nodes:
            parents = [parent for parent in node.parents if parent in stage]
            first = max((stage[p] + (not self._together(p, node)) for p in parents), default=stage[node])
            if any(self._together(p, node) and stage[p] == first for p in parents):
                stage[node] = first
            fused = self.fuses.get(node, False)
            groups.setdefault((stage[node], fused, _domain(node) if fused else ()), []).append(node)
        return [groups[key] for key in sorted(groups, key=lambda key: key[0])]

    def _together(self, parent: Node, node: Node) -> bool:
        if not (self.fuses.get(parent, False) and self.fuses.get(node, False)) or _domain(parent) != _domain(node):
            return False
        # Beside an array of two axes, one of one axis is a row and not a column of numbers.
        return len(parent.spec.shape) == len(node.spec.shape) or node.family != ELEMENTWISE


def arranged(nodes: Sequence[Node], kept: Container[Node], fusible: Callable[[Node], bool]) -> list[Node]:
    """The nodes with groups in the place of what is fused.  ``kept`` are read when all is done.

    An operation that can be fused waits until something that cannot asks for it: so 1 − y² is computed where it is
    multiplied, in the backward step, and not where y is, to lie in memory until then.  A sum of everything, as the
    loss is, waits for the kernel that has most of what it needs.
    """
    return Arranged(nodes, kept, fusible).all()


def _parts(members: list[Node]) -> list[list[Node]]:
    """A group cut where a kernel would have too many arguments."""
    parts: list[list[Node]] = [[]]
    arrays: set[Node] = set()
    for node in members:
        arrays |= {node, *node.parents}
        if len(arrays) > MOST and parts[-1]:
            parts.append([])
            arrays = {node, *node.parents}
        parts[-1].append(node)
    return parts
