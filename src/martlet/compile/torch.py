"""PyTorch: a step is recorded once and replayed as calls of PyTorch; or ``torch.compile``, for those who ask for it.

martlet writes its gradients out, so what PyTorch does for an autograd of its own is left aside: all steps are taken in
inference mode.  What a stepper gives away is free of that mode again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from martlet.backend import Array
from martlet.compile.eager import EagerStepper, Stepper, reason_of
from martlet.compile.numpy import carried_of
from martlet.compile.recording import record
from martlet.compile.structure import Lists, on_lists
from martlet.compile.torch_calls import Place
from martlet.compile.torch_plan import TorchPlan
from martlet.compile.torch_state import TorchState
from martlet.layer import Layer
from martlet.loss import Loss
from martlet.memory import is_out_of_memory
from martlet.optimizers import Optimizer
from martlet.step import train_step
from martlet.tree import map_leaves, named_leaves


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The operations of a function under ``torch.compile``, which takes its time."""
    return on_lists(function, graph)


def graph(lists: Lists) -> Lists:
    """The operations of a function, noted at its first call: PyTorch's compiler need not read the layers' Python."""
    from torch.fx.experimental.proxy_tensor import make_fx  # which takes its time to import

    made: list[Lists] = []

    def run(arrays: list[Array]) -> list[Array]:
        if not made:
            made.append(torch.compile(make_fx(lists, tracing_mode="fake")(arrays), dynamic=False))
        return made[0](arrays)

    return run


class TorchStepper(Stepper):
    """Replays a plan for each batch, and another one for a short last batch.  Both write the same state."""

    def __init__(
        self,
        model: Layer,
        loss: Loss,
        optimizer: Optimizer,
        state: Any,
        arrays: tuple[Any, ...],
        *,
        size: int,
        last: str = "keep",
    ) -> None:
        model, state = (map_leaves(lambda x: x.detach().contiguous(), tree) for tree in (model, state))
        self.given = model, loss, optimizer, state
        self.arrays, self.count = arrays, int(arrays[0].shape[0])
        self.size = min(size, self.count)
        named = {"model": model, "state": state, "loss": loss}
        values = {f"{what}.{name}": x for what, tree in named.items() for name, x in named_leaves(tree).items()}
        dtypes = {x.dtype for x in (*values.values(), *arrays)}
        half = torch.bfloat16 if torch.bfloat16 in dtypes else torch.float16
        self.unshuffled = torch.arange(self.count, device=arrays[0].device)
        with torch.inference_mode():
            self.memory = TorchState(values, Place(arrays[0].device, half))
            self.plan = self._plan(self.size)
            rest = self.count % self.size if last == "keep" else 0
            self.short = self._plan(rest) if rest else None
        self.shuffle(None)
        calls, operations = len(self.plan.calls), self.plan.program.cost.operations
        self.words = f"compiled: {operations} operations recorded, replayed as {calls} calls of PyTorch"

    def _plan(self, rows: int) -> TorchPlan:
        model, loss, optimizer, state = self.given
        program = record(train_step, model, loss, optimizer, state, *(a[:rows] for a in self.arrays))
        plan = TorchPlan(program, carried_of(model, loss, state), self.memory, samples=self.arrays)
        plan.rehearse(self.unshuffled[:rows])
        return plan

    def shuffle(self, order: Any) -> None:
        self.order = self.unshuffled if order is None else torch.as_tensor(order, device=self.unshuffled.device)
        self.rows = self.order.split(self.size)

    def run(self, first: int, stop: int) -> Array:
        with torch.inference_mode():
            losses = torch.empty(stop - first, dtype=self.plan.outputs[0].dtype, device=self.unshuffled.device)
            whole = self.count // self.size
            for rows, place in zip(self.rows[first:stop], losses.unbind(), strict=True):
                plan = self.plan if first < whole or self.short is None else self.short
                plan.load(rows)
                plan.run()
                place.copy_(plan.outputs[0])
                first += 1
        return losses

    def read(self) -> tuple[Any, Any]:
        model, _, _, state = self.given
        now = iter(self.memory.read().values())
        model, state = (map_leaves(lambda _: next(now), tree) for tree in (model, state))
        return model, state


class InferenceStepper(EagerStepper):
    """``train_step`` for one batch after another, in inference mode."""

    def __init__(
        self,
        model: Layer,
        loss: Loss,
        optimizer: Optimizer,
        state: Any,
        arrays: tuple[Any, ...],
        *,
        size: int,
        last: str = "keep",
        how: Any = "auto",
        reason: str = "",
    ) -> None:
        super().__init__(model, loss, optimizer, state, arrays, size=size, last=last)
        self.words = f"PyTorch: eager steps in inference mode: {reason}"
        if how is True:
            self.words = "PyTorch: torch.compile, one program per step"
            self.step = compiled(self.step)
        count = arrays[0].shape[0]
        sizes = (min(size, count), count % size if how is True and last == "keep" else 0)
        with torch.inference_mode():  # a step that is forgotten: a layer with an autograd of its own finds none here
            for rows in filter(None, dict.fromkeys(sizes)):
                self.step(model, loss, optimizer, state, *(a[:rows, ...] for a in arrays))

    def shuffle(self, order: Array | None) -> None:
        with torch.inference_mode():
            super().shuffle(order)

    def run(self, first: int, stop: int) -> list[Array]:
        with torch.inference_mode():
            return super().run(first, stop)

    def read(self) -> tuple[Any, Any]:
        with torch.inference_mode(False):
            model, state = (map_leaves(lambda x: x.clone() if x.is_inference() else x, tree) for tree in self.now)
        return model, state


def stepper(*given: Any, size: int, last: str = "keep", how: Any = "auto") -> Stepper:
    """The stepper of a training run; with ``how=True`` by ``torch.compile``.

    What cannot be recorded, or is not the same on PyTorch, is taken eagerly, in inference mode, saying why.
    """
    if how is True:
        return InferenceStepper(*given, size=size, last=last, how=how)
    try:
        return TorchStepper(*given, size=size, last=last)
    except Exception as error:
        if is_out_of_memory(error, given[-1][0]):
            raise
        return InferenceStepper(*given, size=size, last=last, reason=reason_of(error))
