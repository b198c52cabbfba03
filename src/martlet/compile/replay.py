"""Steppers that replay plans: what those of NumPy and of PyTorch have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from martlet.backend import Array
from martlet.compile.eager import Stepper
from martlet.compile.plans.calls import Calls
from martlet.compile.programs.program import Program
from martlet.compile.recorder.recording import record
from martlet.step import train_step
from martlet.tree import map_leaves, named_leaves, take_apart


class Replay(Stepper):
    """Replays a plan for each batch, and another one for a short last batch.  Both write the same ``memory``, a State.

    laid: a leaf as the plans keep it, so that the step is recorded as it will be taken.
    """

    memory: Any

    def __init__(self, *given: Any, laid: Callable[[Array], Array], **cut: Any) -> None:
        model, loss, optimizer, state, arrays = given
        super().__init__(arrays, **cut)
        model, state = (map_leaves(laid, tree) for tree in (model, state))
        self.given = model, loss, optimizer, state
        self.carried = carried_of(model, loss, state)

    def values(self) -> dict[str, Array]:
        """The arrays of model, state and loss, by the names that a record gives them."""
        model, loss, _, state = self.given
        named = {"model": model, "state": state, "loss": loss}
        return {f"{what}.{name}": x for what, tree in named.items() for name, x in named_leaves(tree).items()}

    def program(self, rows: int) -> Program:
        """A step with so many samples."""
        model, loss, optimizer, state = self.given
        return record(train_step, model, loss, optimizer, state, *(a[:rows] for a in self.arrays))

    @staticmethod
    def told(plan: Any, calls: Calls, library: str) -> str:
        """What was made of a step, in words."""
        operations = plan.program.cost.operations
        return f"compiled: {operations} operations recorded, replayed as {len(calls)} calls of {library}"

    def read(self) -> tuple[Any, Any]:
        model, _, _, state = self.given
        now = iter(self.memory.read().values())  # in the order of ``values``
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
