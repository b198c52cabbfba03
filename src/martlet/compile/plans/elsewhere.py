"""A plan for another library than NumPy: the same nodes, memory and state, with that library's calls.

It is NumPy's plan (see ``plan.py``).  Results are written into memory that is there already, on whichever device, so
views are taken once and a step allocates next to nothing; nothing in it waits for a device.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from martlet.compile.plans.calls import Calls
from martlet.compile.plans.lower import Call, Lowering
from martlet.compile.plans.plan import Plan
from martlet.compile.plans.standard import eager
from martlet.compile.plans.state import State
from martlet.compile.programs.layout import Spec, new
from martlet.compile.programs.node import Node
from martlet.compile.programs.ops import ELEMENTWISE, SOURCE, VIEW
from martlet.compile.programs.program import Program
from martlet.compile.rewriting.flat import PACK, Block
from martlet.compile.rewriting.rewrite import depends_on, reachable


def may_fail(node: Node) -> bool:
    """Whether its call takes memory, or can raise for the numbers that it meets."""
    return node.family not in (ELEMENTWISE, VIEW, SOURCE, PACK) and node.name != "copy"


class LoweringElsewhere(Lowering):
    """Turns nodes into calls of another library (see ``Lowering``, which settles where results live).

    place: where memory is taken, and what is asked of it.
    """

    def __init__(self, nodes: Sequence[Node], *, place: Any, **settings: Any) -> None:
        self.place = place
        self.buffer, self.array_in = place.buffer, place.array_in
        super().__init__(nodes, **settings)

    def form(self, node: Node) -> Spec:
        """How a result lies in memory; what is a view on NumPy, and here is none, lies row by row."""
        return new(node.spec.shape, node.spec.dtype) if node.family == VIEW else node.spec

    def into(self, node: Node, operands: list[Any], out: Any) -> None:
        """A call of the function itself, which cannot be told where to write: it makes its result, which is copied."""
        raise NotImplementedError

    def _lower(self, node: Node) -> None:
        if node.family == SOURCE:
            self._place(node, self.place.made(node))
        else:
            super()._lower(node)

    def _view(self, node: Node) -> None:
        (parent,) = node.parents
        source = self.arrays[parent]
        seen = eager(node.name, source, node.settings)(source)
        if node in self.targets or not self.shares(seen, source):
            out = self._new(node)
            if node.name == "reshape":
                self._reshaped(node, source, out)
            else:
                self.into(node, [source], out)
        else:
            self._place(node, seen, self.root(parent))

    def matmul(self, a: Any, b: Any, out: Any) -> Call | None:
        """The call of a product that is written where it is told to; None where the library has none."""
        raise NotImplementedError

    def reduction(self, node: Node, x: Any, out: Any) -> Call | None:
        """The call of an operation over axes that is written where it is told to; None where there is none."""
        raise NotImplementedError

    def _product(self, node: Node) -> None:
        out = self._new(node)
        a, b = (self.arrays[parent] for parent in node.parents)
        self._called(node, out, self.matmul(a, b, out) if node.name == "matmul" else None)

    def _reduction(self, node: Node) -> None:
        out = self._new(node)
        self._called(node, out, self.reduction(node, self.arrays[node.parents[0]], out))

    def _called(self, node: Node, out: Any, call: Call | None) -> None:
        if call is None:
            self._copied(node, out)
        else:
            self.call(*call)

    def _copied(self, node: Node, out: Any) -> None:
        self.into(node, [self.arrays[o] if isinstance(o, Node) else o for o in node.operands], out)


class StateElsewhere(State):
    """The memory of what a step changes (see ``State``), where a model is."""

    def __init__(self, values: dict[str, Any], place: Any) -> None:
        super().__init__(values)
        self.place = place

    def new(self, spec: Spec) -> Any:
        return self.place.array_in(self.place.buffer(spec.nbytes), spec)

    def restore(self) -> None:
        """All arrays as they were in the beginning."""
        for name, part in self._placed().items():
            part[...] = self.values[name]


class PlanElsewhere(Plan):
    """A plan (see there) of another library's calls.  What it makes and takes are arrays of the place of its state."""

    may_fail = staticmethod(may_fail)
    lowering: type[LoweringElsewhere]
    scripts = True  # whether the time between the calls counts
    state: StateElsewhere

    def __init__(
        self,
        program: Program,
        carried: Sequence[tuple[int, int, str, str]],
        state: StateElsewhere,
        *,
        samples: Any = None,
    ) -> None:
        super().__init__(program, carried, state, samples=samples, tables=False)

    def _simplified(self, wanted: list[Node], samples: Any) -> tuple[list[Node], dict[Node, Any]]:
        return wanted, {}

    def _lay_out_data(self, wanted: list[Node], made: Any, samples: Any) -> None:
        self.arrays = {node: self.state.new(node.spec) for node in self.data}
        self.inputs = [self.arrays[node] for node in self.data]
        read = set(reachable(wanted))
        sources = zip(self.data, samples or (), strict=False)
        self.batches = [(source, self.arrays[node]) for node, source in sources if node in read]

    def _lay_out(self, wanted: list[Node], blocks: list[Block], given: dict[Node, Any], made: Any) -> None:
        place = self.state.place
        ends, own, replaces, nodes = self._in_order(wanted, blocks, given, set())
        changing = depends_on(nodes, {*replaces.values(), *self.arrays, *own})
        settled = [node for node in nodes if node not in changing and node.op is not None]
        still = self.lowering(settled, place=place, given=given, keep=nodes)
        Calls(still.calls, 0).run()
        given |= {node: still.arrays[node] for node in nodes if node not in changing}
        body = [node for node in nodes if node in changing and node.op is not None]
        settings: dict[str, Any] = {"given": given, "targets": own, "replaces": replaces, "keep": [*ends, *own]}
        lowering = self.lowering(self._arranged(body, {*ends, *own}), place=place, **settings)
        self._scripts, self.pieces = self.scripts, None
        self.calls = Calls(lowering.calls, lowering.first_write, self.state.count)
        self.outputs = [lowering.arrays[node] for node in ends]

    def _arranged(self, nodes: list[Node], kept: Iterable[Node]) -> list[Node]:
        """The nodes in the order in which they are lowered.  ``kept`` are read after the step."""
        return nodes

    def rehearse(self) -> None:
        """Take a step, without counting it, and take it back: what the library cannot do, it refuses now."""
        for part in (self.calls.calls[: self.calls.commit], self.calls.calls[self.calls.commit :]):
            Calls(part, 0).run()
        self.state.restore()
