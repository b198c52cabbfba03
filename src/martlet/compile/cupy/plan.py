"""A plan is a step laid out for CuPy: the state in memory of its own, and few kernels that take it a step on.

Elementwise operations are fused (see ``fused.py``), and the whole step, from the samples of the batch to its loss, is
captured into a CUDA graph: one call on the host, however many kernels it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import cupy
import numpy as np

from martlet.backend import LIBRARIES
from martlet.compile.cupy.calls import copy, end_step, into, kernel, product, reduction, same, sorting, take_batch
from martlet.compile.cupy.fused import Group, arranged
from martlet.compile.cupy.kernel_text import can_be_fused
from martlet.compile.eager import reason_of
from martlet.compile.plans.calls import Calls
from martlet.compile.plans.elsewhere import LoweringElsewhere, PlanElsewhere, StateElsewhere
from martlet.compile.plans.lower import Call
from martlet.compile.plans.standard import eager
from martlet.compile.programs.layout import Spec
from martlet.compile.programs.node import Node


class CupyState(StateElsewhere):
    """The memory of what a step changes (see ``State``), where a model is."""

    def copied(self, array: cupy.ndarray) -> cupy.ndarray:
        return array.copy(order="C")

    def counted(self, start: cupy.ndarray, growth: int) -> cupy.ndarray:
        return start + growth


class CupyLowering(LoweringElsewhere):
    """Turns nodes and groups of nodes into calls of CuPy."""

    same = staticmethod(same)
    shares = staticmethod(cupy.may_share_memory)
    copy = staticmethod(lambda out, x: (copy, out, x))
    group: Group | None = None  # that is being lowered

    def has_form(self, array: cupy.ndarray, spec: Spec) -> bool:
        strides = [stride // array.itemsize for stride in array.strides]
        return array.dtype == spec.dtype and array.shape == spec.shape and spec.lies_as(strides)

    def made_by(self, node: Node) -> list[Node]:
        return node.results if isinstance(node, Group) else [node]

    def into(self, node: Node, operands: list[Any], out: cupy.ndarray) -> None:
        first = next(o for o in operands if isinstance(o, cupy.ndarray))
        self.call(into, eager(node.name, first, node.settings), operands, out)

    def _reads(self, node: Node, root: Node) -> int:
        return super()._reads(node if self.group is None else self.group, root)

    def _lower(self, node: Node) -> None:
        if not isinstance(node, Group):
            super()._lower(node)
            return
        self.group = node
        compute, given = kernel(node)
        before = [self.arrays[x] if isinstance(x, Node) else x for x in given]
        aligned = self._aligned(node) if node.rows is None else []  # where threads read rows of each other's
        self.call(compute, *before, *[self._over(result, aligned) for result in node.results])
        self.group = None
        for parent in node.parents:
            self._release(parent)

    def _elementwise(self, node: Node) -> None:
        self._copied(node, self._new(node))

    def reduction(self, node: Node, x: cupy.ndarray, out: cupy.ndarray) -> Call | None:
        return reduction(node, x, out, self.place.blas)

    def matmul(self, a: cupy.ndarray, b: cupy.ndarray, out: cupy.ndarray) -> Call | None:
        return product(a, b, out, self.place.blas)

    def _other(self, node: Node) -> None:
        out = self._new(node)
        if node.name == "copy":
            self.call(*self.copy(out, self.arrays[node.parents[0]]))
        elif node.name in ("concat", "stack") and node.settings.get("axis", 0) is not None:
            self._joined(node, out)
        else:
            self._called(node, out, sorting(self.arrays[node.parents[0]], out) if node.name == "argsort" else None)

    def _joined(self, node: Node, out: cupy.ndarray) -> None:
        """Each array is copied to where it belongs: CuPy itself sends a table of many of them from the host."""
        axis = node.settings.get("axis", 0) % out.ndim
        before: tuple[slice, ...] = (slice(None),) * axis
        start = 0
        for parent in node.parents:
            x = self.arrays[parent]
            length = 1 if node.name == "stack" else x.shape[axis]
            there = out[(*before, slice(start, start + length))]
            self.call(*self.copy(there if node.name == "concat" else there.squeeze(axis), x))
            start += length


class CupyPlan(PlanElsewhere):
    """A plan of CuPy's calls.  single: all of them, one by one, also where ``calls`` is a graph of them."""

    lowering = CupyLowering
    scripts = False
    held: Sequence[Any] = ()  # memory that the graph writes to

    @property
    def single(self) -> Calls:
        return self.captured or self.calls

    captured: Calls | None = None  # of which a graph was made

    def _arranged(self, nodes: list[Node], kept: Iterable[Node]) -> list[Node]:
        return arranged(nodes, set(kept), can_be_fused)

    def run_through(self, epoch: Epoch, size: int) -> None:
        """Let a step take its batch from an epoch, whose batches have this size, and leave its loss there."""
        loads = [
            (take_batch, source, epoch.order, epoch.now, size, source[0].size, out) for source, out in self.batches
        ]
        ends = [(end_step, self.outputs[0], epoch.losses, epoch.now)]
        self.calls = Calls([*loads, *self.calls.calls, *ends], len(loads) + self.calls.commit, self.state.count)

    def as_a_graph(self, outcome: Callable[[], list[float]]) -> str:
        """Make one CUDA graph of all calls, if it gives the same outcome; else say why they stay single calls.

        outcome: runs the plan, and gives numbers that tell what came of it.  What CuPy compiles for a call is
        compiled here: while a stream is captured it could not be.
        """
        expected = outcome()
        try:
            self.capture()
            found = outcome(), outcome()  # twice: memory that is the graph's own may be in its way at the second launch
        except Exception as error:
            why = "cannot be captured" if self.captured is None else "cannot be launched as a graph"
            self._let_go_of_the_graph()
            if LIBRARIES["cupy"].ran_out_of_memory(error):
                raise
            return f"they {why}: {reason_of(error)}"
        if all(np.allclose(each, expected, rtol=0.05, atol=0.0, equal_nan=True) for each in found):
            return ""
        self._let_go_of_the_graph()
        return "as a graph they compute something else"

    def _let_go_of_the_graph(self) -> None:
        self.calls, self.captured, self.held = self.single, None, ()

    def capture(self) -> None:
        """Make one CUDA graph of all calls.  Raises what keeps them from being captured."""
        held: list[Any] = []
        user = cupy.cuda.get_allocator()

        def allocate(nbytes: int) -> Any:  # what is freed while capturing is still written to by the graph
            held.append(user(nbytes))
            return held[-1]

        stream = cupy.cuda.Stream(non_blocking=True)
        with cupy.cuda.using_allocator(allocate), stream:
            stream.begin_capture()
            try:
                for function, *arguments in self.calls.calls:
                    function(*arguments)
            finally:
                graph = stream.end_capture()
        self.held, self.captured = held, self.calls
        self.calls = Calls([(graph.launch,)], 0, self.state.count)


def sums(arrays: Iterable[cupy.ndarray]) -> list[float]:
    """The sum of each array."""
    return [float(x.sum(dtype=np.float64)) for x in arrays]


class Epoch:
    """Where the steps of an epoch stand, on the device: the order of the samples, the losses, and how many there are.

    steps: the most that an epoch has; dtype: that of the losses.
    """

    def __init__(self, count: int, steps: int, dtype: np.dtype) -> None:
        self.order = cupy.arange(count, dtype=np.int64)
        self.losses = cupy.zeros(steps, dtype=dtype)
        self.now = cupy.zeros(1, dtype=np.int64)
