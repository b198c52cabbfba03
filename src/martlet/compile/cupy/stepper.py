"""CuPy: a step is recorded once and replayed as few kernels, which are launched together as one CUDA graph.

The memory of a plan goes back to the streams for which it was taken, and those may use it at once.  So whoever lets go
of a plan waits for what it was last asked to do (``weakref.finalize``).
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

import cupy

from martlet.backend import Array, describe
from martlet.compile.cupy.calls import Place
from martlet.compile.cupy.plan import CupyPlan, CupyState, Epoch, sums
from martlet.compile.plans.calls import Calls
from martlet.compile.recorder.recorded import Recorded
from martlet.compile.recorder.recording import record
from martlet.compile.recorder.tape import refuse
from martlet.compile.replay import Replay
from martlet.compile.structure import Lists, on_lists


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of trees, tuples and arrays, replayed: its results, to rounding.

    It is recorded anew for arguments of another structure.  Raises NotRecordable, with the line, for what cannot be.
    """
    return on_lists(function, replayed)


def replayed(lists: Lists) -> Lists:
    """A function of lists of arrays, recorded at its first call on each device."""
    made: dict[int, CupyPlan] = {}
    ends: list[cupy.cuda.Event] = []
    lock = threading.Lock()  # a plan has one memory

    def run(arrays: list[Array]) -> list[Array]:
        for x in arrays:
            if type(x) is Recorded:
                refuse("a compiled function is called; call the function itself, it is recorded with the rest")
            if not isinstance(x, cupy.ndarray):
                raise TypeError(f"compiled for cupy: expected arrays of CuPy's, got {describe(x)}")
        places = sorted({x.device.id for x in arrays} or {cupy.cuda.Device().id})
        if len(places) > 1:
            names = " and ".join(f"cuda:{place}" for place in places)
            raise ValueError(f"compiled: all arrays must be on one device, got some on {names}")
        (device,) = places
        with lock, cupy.cuda.Device(device):
            if cupy.cuda.get_current_stream().is_capturing():  # nobody would know when the graph uses the memory
                raise RuntimeError(
                    "compiled: what was compiled has memory of its own, and cannot become a part of a CUDA graph of "
                    "yours; capture the function itself, before it is compiled"
                )
            if device not in made:
                plan = CupyPlan(record(lists, arrays), [], CupyState({}, Place()))
                plan.as_a_graph(lambda: sums(_results(plan, arrays)))
                made[device] = plan
                ends.append(plan.state.place.done)
            with made[device].state.place.turn():
                return [x.copy() for x in _results(made[device], arrays)]

    weakref.finalize(run, _wait_for, ends).atexit = False
    return run


def _wait_for(ends: list[cupy.cuda.Event]) -> None:
    for end in ends:
        end.synchronize()


def _results(plan: CupyPlan, arrays: list[Array]) -> list[Array]:
    for place, x in zip(plan.inputs, arrays, strict=True):
        place[...] = x
    plan.run()
    return plan.outputs


class CupyStepper(Replay):
    """Steps on CuPy.  Between two steps nothing is moved: where an epoch stands is known on the device."""

    def __init__(self, *given: Any, how: Any = "auto", **cut: Any) -> None:
        super().__init__(*given, laid=lambda x: cupy.asarray(x, order="C"), **cut)
        self.memory = CupyState(self.values(), Place())
        self.plan = CupyPlan(self.program(self.size), self.carried, self.memory, samples=self.arrays)
        self.epoch = Epoch(self.count, self.whole + bool(self.rest), self.plan.outputs[0].dtype)
        self.now: int | None = None  # that of the epoch, as far as it is known here
        kept = self._prepared(self.plan, 0)
        self.short = None
        if self.rest:
            self.short = CupyPlan(self.program(self.rest), self.carried, self.memory, samples=self.arrays)
            kept = self._prepared(self.short, self.whole) or kept
        together = f"one by one: {kept}" if kept else "in one CUDA graph"
        self.words = f"{self.told(self.plan, self.plan.single, 'CuPy')}, {together}"
        weakref.finalize(self, _wait_for, [self.memory.place.done]).atexit = False
        self.shuffle(None)

    def _prepared(self, plan: CupyPlan, number: int) -> str:
        """Make a plan ready to be run as the step of this number; what keeps it from being a graph, or ""."""
        plan.run_through(self.epoch, self.size)
        return plan.as_a_graph(lambda: self._rehearsed(plan, number))

    def _rehearsed(self, plan: CupyPlan, number: int) -> list[float]:
        """By how much the sum of each array changes in a step, which is taken back, and its loss."""
        changing = self.memory.blocks.values()
        before = sums(changing)
        self.epoch.now.fill(number)
        try:
            Calls(plan.calls.calls, 0).run()
            after, loss = sums(changing), float(self.epoch.losses[number])
        finally:
            self.memory.restore()
        return [*(b - a for a, b in zip(before, after, strict=True)), loss]

    def shuffle(self, order: Any) -> None:
        with self.memory.place.turn():
            self.epoch.order[...] = cupy.arange(self.count) if order is None else cupy.asarray(order)

    def run(self, first: int, stop: int) -> Array:
        with self.memory.place.turn():
            if first != self.now:
                self.epoch.now.fill(first)
            self.now = None
            for number in range(first, stop):
                plan = self.plan if number < self.whole or self.short is None else self.short
                plan.run()
            self.now = stop
            return self.epoch.losses[first:stop].copy()

    def read(self) -> tuple[Any, Any]:
        with self.memory.place.turn():
            return super().read()

    def epochs(self, orders: list[Array | None], steps: int) -> Array:
        found = []
        for order in orders:
            self.shuffle(order)
            found.append(self.run(0, steps))
        return cupy.concatenate(found)
