"""A plan is a step laid out for PyTorch: the state in memory of its own, and the calls that take it a step on.

It is NumPy's plan (see ``plan.py``) with PyTorch's calls.  Results are written into memory that is there already, on
whichever device, so views are taken once and a step allocates next to nothing; nothing in it waits for a device.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch

from martlet.compile.calls import Calls
from martlet.compile.flat import PACK, Block
from martlet.compile.layout import Spec, new
from martlet.compile.lower import Lowering
from martlet.compile.node import Node
from martlet.compile.ops import ELEMENTWISE, SOURCE, VIEW
from martlet.compile.plan import Plan
from martlet.compile.program import Program
from martlet.compile.rewrite import depends_on, reachable
from martlet.compile.torch_calls import (
    WITHOUT_OUT,
    Place,
    check_dtype,
    eager,
    elementwise,
    into,
    reduction,
    rows,
    same,
    shares,
)
from martlet.compile.torch_state import TorchState

copy: Callable[[torch.Tensor, torch.Tensor], Any] = torch.Tensor.copy_


def may_fail(node: Node) -> bool:
    """Whether its call takes memory, or can raise for the numbers that it meets."""
    return node.family not in (ELEMENTWISE, VIEW, SOURCE, PACK) and node.name != "copy"


class TorchLowering(Lowering):
    """Turns nodes into calls of PyTorch (see ``Lowering``, which settles where results live)."""

    same, shares = staticmethod(same), staticmethod(shares)
    copy = staticmethod(lambda out, x: (copy, out, x))

    def __init__(self, nodes: Sequence[Node], *, place: Place, **settings: Any) -> None:
        self.place = place
        self.buffer, self.array_in = place.buffer, place.array_in
        super().__init__(nodes, **settings)

    def has_form(self, array: torch.Tensor, spec: Spec) -> bool:
        alike = array.dtype == self.place.dtype(spec.dtype) and tuple(array.shape) == spec.shape
        return alike and spec.lies_as(array.stride())

    def form(self, node: Node) -> Spec:
        """How a result lies in memory; what is a view on NumPy, and here is none, lies row by row."""
        return new(node.spec.shape, node.spec.dtype) if node.family == VIEW else node.spec

    def _lower(self, node: Node) -> None:
        if node.family == SOURCE:
            self._place(node, self.place.made(node))
        else:
            super()._lower(node)

    def _view(self, node: Node) -> None:
        (parent,) = node.parents
        source = self.arrays[parent]
        see = eager(node.name, source, node.settings)
        seen = see(source)
        if node in self.targets or not shares(seen, source):
            out = self._new(node)
            if node.name == "reshape":
                self.call(copy, out.view(source.shape), source)
            else:
                self.call(into, see, [source], out)
        else:
            self._place(node, seen, self.root(parent))

    def _elementwise(self, node: Node) -> None:
        if node.name == "astype":
            (parent,) = node.parents
            self.call(copy, self._over(node, ()), self.arrays[parent])
            return
        if node.name in WITHOUT_OUT:
            self._copied(node, self._new(node))
            return
        function, operands = elementwise(node.name), self._operands(node)
        check_dtype(node, function, operands, self.place.dtype(node.spec.dtype))
        self.call(functools.partial(function, out=self._over(node, self._aligned(node))), *operands)

    def _operands(self, node: Node) -> list[Any]:
        """Arrays as they are, and Python's numbers as arrays (), in the dtype in which the operation computes."""
        if node.name == "pow":  # which is a product where the exponent is known to be 2
            return [self.arrays[o] if isinstance(o, Node) else o for o in node.operands]
        kinds: Sequence[Any] = [None, node.spec.dtype, node.spec.dtype]
        if node.name != "where":
            assert node.op is not None
            kinds = node.op.loop(*(o.spec if isinstance(o, Node) else o for o in node.operands))
        found = [
            self.arrays[o] if isinstance(o, Node) else self.place.number(o, kind, node.name)
            for o, kind in zip(node.operands, kinds, strict=False)
        ]
        # A number has its digits beside half precision only if it is the second: so it is where it is written x * 0.1.
        swaps = node.name in ("add", "multiply") and not isinstance(node.operands[0], Node)
        return found[::-1] if swaps else found

    def _reduction(self, node: Node) -> None:
        (x,) = node.parents
        array, out, dtype = self.arrays[x], self._new(node), node.settings.get("dtype")
        call = reduction(node, array, out, None if dtype is None else self.place.dtype(dtype))
        if call is None:
            self._copied(node, out)
        else:
            self.call(*call)

    def _product(self, node: Node) -> None:
        out = self._new(node)
        if node.name != "matmul":
            self._copied(node, out)
            return
        a, b = (self.arrays[parent] for parent in node.parents)
        function = torch.mm if a.ndim == b.ndim == 2 else torch.matmul
        self.call(functools.partial(function, out=out), a, b)

    def _other(self, node: Node) -> None:
        arrays, out = [self.arrays[parent] for parent in node.parents], self._new(node)
        if node.name == "copy":
            self.call(copy, out, arrays[0])
        elif node.name == "concat" and len({x.dtype for x in arrays}) == 1 and node.settings["axis"] is not None:
            self.call(functools.partial(torch.cat, out=out), arrays, node.settings["axis"])
        elif node.name == "take" and node.settings["axis"] is not None:
            self.call(rows, arrays[0], node.settings["axis"] % arrays[0].ndim, arrays[1], out)
        else:
            self._copied(node, out)

    def _copied(self, node: Node, out: torch.Tensor) -> None:
        operands = [self.arrays[o] if isinstance(o, Node) else o for o in node.operands]
        first = next(o for o in operands if isinstance(o, torch.Tensor))
        settings = {
            key: self.place.dtype(value) if key == "dtype" and value is not None else value
            for key, value in node.settings.items()
        }
        self.call(into, eager(node.name, first, settings), operands, out)


class TorchPlan(Plan):
    """A plan (see there) of PyTorch's calls.  What it makes and takes are arrays of the place of its state."""

    may_fail = staticmethod(may_fail)
    state: TorchState

    def __init__(
        self,
        program: Program,
        carried: Sequence[tuple[int, int, str, str]],
        state: TorchState,
        *,
        samples: Any = None,  # tensors
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
        still = TorchLowering(settled, place=place, given=given, keep=nodes)
        Calls(still.calls, 0).run()
        given |= {node: still.arrays[node] for node in nodes if node not in changing}
        body = [node for node in nodes if node in changing and node.op is not None]
        settings: dict[str, Any] = {"given": given, "targets": own, "replaces": replaces, "keep": [*ends, *own]}
        lowering = TorchLowering(body, place=place, **settings)
        self._scripts, self.pieces = True, None
        self.calls = Calls(lowering.calls, lowering.first_write, self.state.count)
        self.outputs = [lowering.arrays[node] for node in ends]

    def load(self, rows: Any) -> None:
        """Take a batch, by the numbers of its samples, which must be right."""
        for source, out in self.batches:
            torch.index_select(source, 0, rows, out=out)

    def rehearse(self, rows: torch.Tensor) -> None:
        """Take a step and take it back: what PyTorch cannot do, it refuses now."""
        self.load(rows)
        for part in (self.calls.calls[: self.calls.commit], self.calls.calls[self.calls.commit :]):
            Calls(part, 0).run()
        self.state.restore()
