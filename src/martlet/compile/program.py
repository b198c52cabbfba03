"""A program is a recorded function: a list of operations on arrays, of which nothing is known but their form.

It can be printed, counted and run.  All else that compiling means is a transformation of it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from martlet.compile.layout import Spec
from martlet.compile.ops import ELEMENTWISE, OPS, PRODUCT, REDUCTION, SOURCE, VIEW, Op, axes_of


class Node:
    """One operation and its result: which row of the table, on which operands, with which settings, and for whom.

    Operands are other nodes or Python's numbers.  ``place`` says which layer asked for it, and in which verb.
    """

    __slots__ = ("name", "operands", "place", "settings", "spec")

    def __init__(self, name: str, operands: tuple[Any, ...], settings: dict[str, Any], spec: Spec, place: str) -> None:
        self.name = name
        self.operands = operands
        self.settings = settings
        self.spec = spec
        self.place = place

    @property
    def op(self) -> Op | None:
        """Its row of the table; None for an input."""
        return OPS.get(self.name)

    @property
    def family(self) -> str:
        row = OPS.get(self.name)
        return "input" if row is None else row.family

    @property
    def parents(self) -> list[Node]:
        """The operands that are arrays."""
        return [operand for operand in self.operands if isinstance(operand, Node)]

    def __repr__(self) -> str:
        return f"<{self.name}: {self.spec}>"


class Cost(NamedTuple):
    """What a program asks for: operations, floating-point operations, and bytes read and written."""

    operations: int
    flops: int
    nbytes: int

    def __str__(self) -> str:
        return f"{self.operations:,} operations, {self.flops:,} FLOPs, {self.nbytes:,} bytes moved"


class Program:
    """A recorded function of arrays.

    inputs: a node per array of the arguments, named after it; nodes: all operations, in the order in which they were
    recorded; outputs: the nodes of the results.  ``build`` puts arrays, in the order of the outputs, into the
    structure that the function gave back.
    """

    def __init__(
        self,
        inputs: Sequence[Node],
        nodes: Sequence[Node],
        outputs: Sequence[Node],
        build: Callable[[list[Any]], Any],
        names: Sequence[str] = (),
    ) -> None:
        self.inputs = list(inputs)
        self.nodes = list(nodes)
        self.outputs = list(outputs)
        self.build = build
        self.names = list(names)  # of the outputs

    def run(self, arrays: Iterable[np.ndarray]) -> list[Any]:
        """The results for some arrays, computed on NumPy operation by operation, as the function itself would."""
        found: dict[Node, Any] = dict(zip(self.inputs, arrays, strict=True))
        for node, result in self.steps(found):
            found[node] = result
        return [found[node] for node in self.outputs]

    def steps(self, found: dict[Node, Any]) -> Iterator[tuple[Node, Any]]:
        """Each operation with its result, computed from what was found so far."""
        for node in self.nodes:
            if node.op is not None and node not in found:
                operands = [found[o] if isinstance(o, Node) else o for o in node.operands]
                yield node, node.op.numpy(*operands, **node.settings)

    @property
    def needed(self) -> list[Node]:
        """The operations that a result depends on; a step computes more than it needs, the first layer's dx for one."""
        wanted, waiting = set(self.outputs), list(self.outputs)
        while waiting:
            for parent in waiting.pop().parents:
                if parent not in wanted:
                    wanted.add(parent)
                    waiting.append(parent)
        return [node for node in self.nodes if node in wanted and node.op is not None]

    @property
    def cost(self) -> Cost:
        """Of the operations that are needed."""
        nodes = [node for node in self.needed if node.family != SOURCE]
        return Cost(sum(node.family != VIEW for node in nodes), sum(map(flops, nodes)), sum(map(bytes_moved, nodes)))

    def count(self) -> Counter[str]:
        """How often each operation is needed."""
        return Counter(node.name for node in self.needed)

    def by_place(self) -> dict[str, Cost]:
        """What each layer's verbs ask for, in the order in which they were first called."""
        groups: dict[str, list[Node]] = {}
        for node in self.needed:
            if node.family != SOURCE:
                groups.setdefault(node.place, []).append(node)
        return {
            place: Cost(
                sum(node.family != VIEW for node in nodes), sum(map(flops, nodes)), sum(map(bytes_moved, nodes))
            )
            for place, nodes in groups.items()
        }

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        number = {node: f"%{i}" for i, node in enumerate(self.inputs)}
        for node in self.inputs:
            yield f"{number[node]} = {node.settings['name']}: {node.spec}"
        needed, place = set(self.needed), None
        for node in self.nodes:
            if node.op is None:
                continue
            number[node] = f"%{len(number)}"
            if node.place != place:
                place = node.place
                yield f"# {place}"
            words = [number[o] if isinstance(o, Node) else repr(o) for o in node.operands]
            words += [f"{name}={_short(value)}" for name, value in node.settings.items()]
            yield f"{number[node]} = {node.name}({', '.join(words)}): {node.spec}" + (
                "" if node in needed else "  # dead"
            )
        names = self.names or [""] * len(self.outputs)
        yield "return " + ", ".join(
            f"{n}={number[o]}" if n else number[o] for n, o in zip(names, self.outputs, strict=True)
        )
        yield f"# {self.cost}"


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype.name}{value.shape}"
    return str(value) if isinstance(value, np.dtype | type) else repr(value)


def flops(node: Node) -> int:
    """Additions and multiplications, and each function of a number counted as one."""
    if node.family == ELEMENTWISE:
        return node.spec.size if node.name not in ("astype", "where") else 0
    if node.family == REDUCTION:
        return node.parents[0].spec.size
    if node.name == "matmul":
        return 2 * node.spec.size * node.parents[0].spec.shape[-1]
    if node.family == PRODUCT:
        a, b = (parent.spec.size for parent in node.parents)
        return 2 * math.isqrt(a * b * node.spec.size)  # each number of a, b and the result stands in two of three axes
    return 0


def bytes_moved(node: Node) -> int:
    """What is read and written, if each operand comes from memory and each result goes there.  A view moves nothing."""
    if node.family in (VIEW, SOURCE) and not copies(node):
        return 0
    return node.spec.nbytes + sum(parent.spec.nbytes for parent in node.parents)


def copies(node: Node) -> bool:
    """Whether a reshape cannot be a view of its operand."""
    if node.name != "reshape" or not node.parents:
        return False
    source = node.parents[0].spec
    if source.size == 0:
        return False
    shape = node.spec.shape
    try:
        from martlet.compile.layout import view

        view(source, lambda array: np.reshape(array, shape, copy=False))
    except ValueError:
        return True
    return False


def reduced_axes(node: Node) -> tuple[int, ...]:
    """The axes that a reduction is over."""
    return axes_of(len(node.parents[0].spec.shape), node.settings.get("axis"))
