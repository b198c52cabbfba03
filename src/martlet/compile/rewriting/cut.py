"""Cutting a step: which of its values are totals of all rows, and the same operations for fewer rows.

What has no rows of its own but an entry for each sample (a noise's counter, a column of ones) is sliced as near to
where it is made as can be, so that a chunk never computes or holds more of it than its own share.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from martlet.compile.programs.layout import Spec, new
from martlet.compile.programs.node import Node
from martlet.compile.programs.ops import ELEMENTWISE, OPS, PRODUCT
from martlet.compile.rewriting.rewrite import depends_on, reachable
from martlet.compile.rewriting.rows import Found, NeedsWholeBatch, Rows, refuse, reshaped, rule

UNIFORM = ("zeros", "ones", "full")  # sources that are the same everywhere


class Split:
    """How a step is cut: where the rows are in each value that has some, and which values are totals of all of them.

    results: the nodes that are wanted.  data: the inputs that hold a sample in each row.  moving: the inputs that
    change from step to step.  ``early``: the totals that rows read again, and that are made of the data alone by
    additions and the like (the sum of the samples' weights): a first, cheap pass over the chunks makes them.
    Raises NeedsWholeBatch where the step cannot be cut.
    """

    def __init__(self, results: Iterable[Node], data: Iterable[Node], moving: Iterable[Node] = ()) -> None:
        self.results = list(results)
        self.nodes = reachable(self.results)
        self.count = _count(data)
        self.rows: dict[Node, Rows] = {node: Rows(0) for node in data if node.spec.shape}
        self.found: dict[Node, Found] = {}
        self.totals: dict[Node, str] = {}
        for node in self.nodes:
            given = [self.rows.get(o) if isinstance(o, Node) else None for o in node.operands]
            if any(given):
                self._add(node, rule(node, given))
        for node in self.results:
            if node in self.rows:
                refuse(node, "a result has an entry for each sample")
        self.early = self._early(set(moving))

    def _add(self, node: Node, found: Found) -> None:
        self.found[node] = found
        if found.rows is None:
            self.totals[node] = found.combine
        else:
            self.rows[node] = found.rows

    def _early(self, moving: set[Node]) -> list[Node]:
        """The totals that are read while rows are: by rows, or by another total."""
        behind = depends_on(self.nodes, set(self.totals))
        read = set(reachable(parent for node in self.found for parent in node.parents))
        early = [total for total in self.totals if total in read]
        for total in early:
            path = reachable([total])
            dear = [n for n in path if n in moving or (n.family == PRODUCT and (n in self.rows or n in self.totals))]
            if dear or any(parent in behind for parent in total.parents):
                after = depends_on(self.nodes, {total})
                reader = next(node for node in self.nodes if node in after and node in self.found and node is not total)
                also = "" if reader.place == total.place else f" in {reader.place}"
                refuse(total, f"its {total.name} over all samples is read by each of them again{also}")
        return early


def _count(data: Iterable[Node]) -> int:
    """How many samples there are."""
    counts = {node.settings["name"]: node.spec.shape[0] for node in data if node.spec.shape}
    if len(set(counts.values())) != 1 or min(counts.values()) < 2:
        raise NeedsWholeBatch(f"the batch cannot be cut: its arrays have these numbers of rows: {counts}")
    return next(iter(counts.values()))


def shortened(shape: tuple[int, ...], rows: Rows, count: int) -> tuple[int, ...]:
    """A shape with fewer rows."""
    return (*shape[: rows.axis], count * rows.each, *shape[rows.axis + 1 :])


class Part:
    """The operations that make some totals of a number of rows.

    nodes: in their order.  data: the inputs of the step, and the nodes that stand for the rows
    of them.  slices: the nodes that stand for rows of other values: (value, where its rows are, node).  whole: the
    values of the step that are read as they are.  totals: those of the step, and the nodes that make this part's share.
    """

    def __init__(self, split: Split, totals: Iterable[Node], count: int) -> None:
        self.split, self.count = split, count
        self.data: dict[Node, Node] = {}
        self.slices: list[tuple[Node, Rows, Node]] = []
        self._made: dict[Node, Node] = {}
        self._sliced: dict[tuple[Node, Rows], Node] = {}
        wanted = list(totals)
        for node in reachable(wanted):
            if node in split.found or node in split.rows:
                self._made[node] = self._make(node)
        self.totals = {total: self._made[total] for total in wanted}
        own = {*self._made.values(), *self._sliced.values()}
        self.nodes = [node for node in reachable(self.totals.values()) if node in own]
        read = dict.fromkeys(parent for node in self.nodes for parent in node.parents)
        self.whole = [node for node in read if node not in own]

    def _make(self, node: Node) -> Node:
        split = self.split
        if node.op is None:
            self.data[node] = self._input(node, split.rows[node])
            return self.data[node]
        found = split.found[node]
        operands: list[Any] = []
        for i, operand in enumerate(node.operands):
            cut = found.cuts[i] if found.cuts else None
            if isinstance(operand, Node) and operand in split.rows:
                operand = self._made[operand]
            elif cut is not None:
                operand = self._slice(operand, cut)
            operands.append(operand)
        name = "sum" if found.combine == "mean" else node.name
        made = self._like(node, tuple(operands), found.rows, name)
        if found.rows is None:  # a share of a total has the total's own form
            assert (made.spec.shape, made.spec.dtype) == (node.spec.shape, node.spec.dtype), node.place
        return made

    def _like(self, node: Node, operands: tuple[Any, ...], rows: Rows | None, name: str = "") -> Node:
        """The same operation on other operands."""
        settings, name = node.settings, name or node.name
        expected = node.spec.shape if rows is None else shortened(node.spec.shape, rows, self.count)
        if name in ("reshape", "broadcast_to"):
            settings = settings | {"shape": expected}
        spec = OPS[name].rule(*(o.spec if isinstance(o, Node) else o for o in operands), **settings)
        assert spec.shape == expected, node.place
        return Node(name, operands, settings, spec, node.place)

    def _input(self, node: Node, rows: Rows) -> Node:
        spec = new(shortened(node.spec.shape, rows, self.count), node.spec.dtype)
        return Node("input", (), {"name": node.settings.get("name", f"rows of {node.name}")}, spec, node.place)

    def _slice(self, node: Node, rows: Rows) -> Node:
        """This part's rows of a value that does not depend on the data."""
        if (node, rows) not in self._sliced:
            self._sliced[node, rows] = self._cut(node, rows)
        return self._sliced[node, rows]

    def _cut(self, node: Node, rows: Rows) -> Node:
        if node.family == ELEMENTWISE:
            return self._like(node, tuple(self._beside(o, node.spec, rows) for o in node.operands), rows)
        if node.name == "reshape":
            before = reshaped(node, rows, back=True)
            return self._like(node, (self._slice(node.parents[0], before),), rows)
        if node.name in UNIFORM:
            settings = node.settings | {"shape": shortened(node.spec.shape, rows, self.count)}
            return Node(node.name, (), settings, OPS[node.name].rule(**settings), node.place)
        found = self._input(node, rows)
        self.slices.append((node, rows, found))
        return found

    def _beside(self, operand: Any, result: Spec, rows: Rows) -> Any:
        if not isinstance(operand, Node):
            return operand
        axis = rows.axis - len(result.shape) + len(operand.spec.shape)
        full = axis >= 0 and operand.spec.shape[axis] == result.shape[rows.axis]
        return self._slice(operand, rows._replace(axis=axis)) if full else operand
