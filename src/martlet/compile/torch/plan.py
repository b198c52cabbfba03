"""A plan is a step laid out for PyTorch: the state in memory of its own, and the calls that take it a step on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch

from martlet.compile.plans.elsewhere import LoweringElsewhere, PlanElsewhere
from martlet.compile.plans.lower import Call
from martlet.compile.plans.standard import eager
from martlet.compile.programs.layout import Spec
from martlet.compile.programs.node import Node
from martlet.compile.torch.calls import (
    WITHOUT_OUT,
    check_dtype,
    elementwise,
    into,
    product,
    reduction,
    rows,
    same,
    shares,
)
from martlet.compile.torch.state import TorchState

copy: Callable[[torch.Tensor, torch.Tensor], Any] = torch.Tensor.copy_


class TorchLowering(LoweringElsewhere):
    """Turns nodes into calls of PyTorch."""

    same, shares = staticmethod(same), staticmethod(shares)
    copy = staticmethod(lambda out, x: (copy, out, x))

    def has_form(self, array: torch.Tensor, spec: Spec) -> bool:
        alike = array.dtype == self.place.dtype(spec.dtype) and tuple(array.shape) == spec.shape
        return alike and spec.lies_as(array.stride())

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

    def reduction(self, node: Node, x: torch.Tensor, out: torch.Tensor) -> Call | None:
        dtype = node.settings.get("dtype")
        return reduction(node, x, out, None if dtype is None else self.place.dtype(dtype))

    def matmul(self, a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> Call | None:
        return product(a, b, out)

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

    def into(self, node: Node, operands: list[Any], out: torch.Tensor) -> None:
        first = next(o for o in operands if isinstance(o, torch.Tensor))
        settings = {
            key: self.place.dtype(value) if key == "dtype" and value is not None else value
            for key, value in node.settings.items()
        }
        function = eager(node.name, first, settings)
        check_dtype(node, function, operands, out.dtype)
        self.call(into, function, operands, out)


class TorchPlan(PlanElsewhere):
    """A plan of PyTorch's calls."""

    lowering = TorchLowering
    state: TorchState

    def load(self, rows: Any) -> None:
        """Take a batch, by the numbers of its samples, which must be right."""
        for source, out in self.batches:
            torch.index_select(source, 0, rows, out=out)
