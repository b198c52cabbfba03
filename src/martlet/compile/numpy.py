"""NumPy: a function, or a training step for each size of batch, is recorded once, laid out as a plan, and replayed."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from martlet.compile.decide import laid_out
from martlet.compile.eager import Stepper
from martlet.compile.plan import Plan
from martlet.compile.recording import record
from martlet.compile.state import State
from martlet.compile.structure import forms, structure
from martlet.step import train_step
from martlet.tree import map_leaves, named_leaves, take_apart

PLANS = 64  # that are kept, the last ones that were used


def compiled(function: Callable[..., Any], how: Any = "auto") -> Callable[..., Any]:
    """A function of trees, tuples and arrays as a plan, with its own results to the last bit.

    It is recorded anew for arguments of another structure.  Raises NotRecordable, with the line, for what cannot be.
    """
    lock = threading.Lock()  # a plan has one memory

    @functools.lru_cache(maxsize=PLANS)
    def plan_for(made: Made) -> Plan:
        return Plan(record(function, *made.arguments()), [], State({}), exact=True)

    def call(*arguments: Any) -> Any:
        arrays = take_apart(arguments)[0]
        with lock:
            plan = plan_for(Made(arguments, arrays))
            for place, x in zip(plan.inputs, arrays, strict=True):
                place[...] = x
            plan.run()
            return plan.program.build([x.copy() for x in plan.outputs])

    return call


class Made:
    """What a plan is made for.  It keeps the arguments only until the plan is there."""

    def __init__(self, arguments: tuple[Any, ...], arrays: list[Any]) -> None:
        self.key = structure(arguments), forms(arrays)
        self._arguments = arguments

    def arguments(self) -> tuple[Any, ...]:
        found, self._arguments = self._arguments, ()
        return found

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Made) and self.key == other.key


class NumpyStepper(Stepper):
    """Replays a plan for each batch, and another one for a short last batch.  Both write the same state."""

    def __init__(
        self,
        model: Any,
        loss: Any,
        optimizer: Any,
        state: Any,
        arrays: tuple[np.ndarray, ...],
        *,
        size: int,
        last: str = "keep",
        how: Any = "auto",
    ) -> None:
        # Row by row, as the plan keeps them: the step is recorded as it will be taken.
        model, state = (map_leaves(lambda x: np.array(x, order="C"), tree) for tree in (model, state))
        self.given = model, loss, optimizer, state
        self.arrays = arrays
        self.count = len(arrays[0])
        self.size, self.last = min(size, self.count), last
        values = {f"model.{name}": x for name, x in named_leaves(model).items()}
        values |= {f"state.{name}": x for name, x in named_leaves(state).items()}
        values |= {f"loss.{name}": x for name, x in named_leaves(loss).items()}
        self.memory = State(values)
        self.choices = dict(how) if isinstance(how, Mapping) else {}
        self.plan, words = self._plan(self.size, tables=True)
        rest = self.count % self.size if last == "keep" else 0
        self.short = self._plan(rest, tables=False)[0] if rest else None
        self.order = np.arange(self.count)
        calls, operations = len(self.plan.calls), self.plan.program.cost.operations
        self.words = f"compiled: {operations} operations recorded, replayed as {calls} calls of NumPy; {words}"

    def _plan(self, rows: int, *, tables: bool) -> tuple[Plan, str]:
        model, loss, optimizer, state = self.given
        program = record(train_step, model, loss, optimizer, state, *(a[:rows] for a in self.arrays))
        settings = self.choices | {"samples": self.arrays, "tables": tables}
        return laid_out(program, carried_of(model, loss, state), self.memory, **settings)

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
        load, run, value = plan.load, plan.run, plan.outputs[0]
        whole = min(len(losses), self.count // size - first)
        for i in range(whole):
            start = (first + i) * size
            load(order[start : start + size])
            run()
            losses[i] = value
        if whole < len(losses):
            assert self.short is not None
            self.short.load(order[self.count // size * size :])
            self.short.run()
            losses[whole] = self.short.outputs[0]

    def read(self) -> tuple[Any, Any]:
        model, _, _, state = self.given
        now = iter(self.memory.read().values())
        model, state = (map_leaves(lambda _: next(now), tree) for tree in (model, state))
        return model, state


def carried_of(model: Any, loss: Any, state: Any) -> list[tuple[int, int, str, str]]:
    """What a training step carries from step to step: model and state, by number of input and output, role and leaf."""
    names, kept = list(named_leaves(model)), list(named_leaves(state))
    between = len(take_apart(loss)[0])
    found = [(i, i, "model", name) for i, name in enumerate(names)]
    for i, name in enumerate(kept, start=len(names)):
        role, _, leaf = name.partition(".")
        found.append((i + between, i, role, leaf) if leaf in names else (i + between, i, name, name))
    return found
