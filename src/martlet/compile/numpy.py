"""NumPy: a function, or a training step for each size of batch, is recorded once, laid out as a plan, and replayed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from martlet.compile.plans.decide import laid_out
from martlet.compile.plans.plan import Plan
from martlet.compile.plans.state import State
from martlet.compile.recorder.recording import record
from martlet.compile.replay import Replay
from martlet.compile.structure import Lists, on_lists


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of trees, tuples and arrays as a plan, with its own results to the last bit.

    It is recorded anew for arguments of another structure.  Raises NotRecordable, with the line, for what cannot be.
    """
    return on_lists(function, replayed)


def replayed(lists: Lists) -> Lists:
    """A function of lists of arrays, recorded at its first call."""
    made: list[Plan] = []
    lock = threading.Lock()  # a plan has one memory

    def run(arrays: list[np.ndarray]) -> list[np.ndarray]:
        with lock:
            if not made:
                made.append(Plan(record(lists, arrays), [], State({}), exact=True))
            (plan,) = made
            for place, x in zip(plan.inputs, arrays, strict=True):
                place[...] = x
            plan.run()
            return [x.copy() for x in plan.outputs]

    return run


class NumpyStepper(Replay):
    """Steps on NumPy.  ``how`` may choose the rows of a chunk and the number of threads."""

    def __init__(self, *given: Any, how: Any = "auto", **cut: Any) -> None:
        super().__init__(*given, laid=lambda x: np.array(x, order="C"), **cut)
        self.memory = State(self.values())
        self.choices = dict(how) if isinstance(how, Mapping) else {}
        self.plan, words = self._plan(self.size, tables=True)
        self.short = self._plan(self.rest, tables=False)[0] if self.rest else None
        self.shuffle(None)
        self.words = f"{self.told(self.plan, self.plan.calls, 'NumPy')}; {words}"

    def _plan(self, rows: int, *, tables: bool) -> tuple[Plan, str]:
        settings = self.choices | {"samples": self.arrays, "tables": tables}
        return laid_out(self.program(rows), self.carried, self.memory, **settings)

    def shuffle(self, order: np.ndarray | None) -> None:
        self.order = np.arange(self.count) if order is None else order

    def run(self, first: int, stop: int) -> np.ndarray:
        losses = np.empty(stop - first, self.plan.outputs[0].dtype)
        self._run_into(losses, first)
        return losses

    def epochs(self, orders: list[np.ndarray | None], steps: int) -> np.ndarray:
        losses = np.empty((len(orders), steps), self.plan.outputs[0].dtype)
        for order, row in zip(orders, losses, strict=True):
            self.shuffle(order)
            self._run_into(row, 0)
        return losses.reshape(-1)

    def _run_into(self, losses: np.ndarray, first: int) -> None:
        """The steps of as many batches as there is room for losses, from this number on."""
        size, order, plan = self.size, self.order, self.plan
        step, value = plan.step, plan.outputs[0]
        whole = min(len(losses), self.whole - first)
        for i, rows in enumerate(order[first * size : (first + whole) * size].reshape(-1, size)):
            step(rows)
            losses[i] = value
        if whole < len(losses):
            assert self.short is not None
            self.short.step(order[self.whole * size :])
            losses[whole] = self.short.outputs[0]
