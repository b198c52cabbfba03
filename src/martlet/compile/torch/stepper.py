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
from martlet.compile.replay import Replay
from martlet.compile.structure import Lists, on_lists
from martlet.compile.torch.calls import Place
from martlet.compile.torch.plan import TorchPlan
from martlet.compile.torch.state import TorchState
from martlet.memory import is_out_of_memory
from martlet.tree import map_leaves


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


class TorchStepper(Replay):
    """Steps on PyTorch, in inference mode."""

    def __init__(self, *given: Any, **cut: Any) -> None:
        super().__init__(*given, laid=lambda x: x.detach().contiguous(), **cut)
        values, device = self.values(), self.arrays[0].device
        dtypes = {x.dtype for x in (*values.values(), *self.arrays)}
        half = torch.bfloat16 if torch.bfloat16 in dtypes else torch.float16
        self.unshuffled = torch.arange(self.count, device=device)
        with torch.inference_mode():
            self.memory = TorchState(values, Place(device, half))
            self.plan = self._plan(self.size)
            self.short = self._plan(self.rest) if self.rest else None
        self.shuffle(None)
        self.words = self.told(self.plan, self.plan.calls, "PyTorch")

    def _plan(self, rows: int) -> TorchPlan:
        plan = TorchPlan(self.program(rows), self.carried, self.memory, samples=self.arrays)
        plan.load(self.unshuffled[:rows])
        plan.rehearse()
        return plan

    def shuffle(self, order: Any) -> None:
        self.order = self.unshuffled if order is None else torch.as_tensor(order, device=self.unshuffled.device)
        self.rows = self.order.split(self.size)

    def run(self, first: int, stop: int) -> Array:
        with torch.inference_mode():
            losses = torch.empty(stop - first, dtype=self.plan.outputs[0].dtype, device=self.unshuffled.device)
            for rows, place in zip(self.rows[first:stop], losses.unbind(), strict=True):
                plan = self.plan if first < self.whole or self.short is None else self.short
                plan.load(rows)
                plan.run()
                place.copy_(plan.outputs[0])
                first += 1
        return losses


class InferenceStepper(EagerStepper):
    """``train_step`` for one batch after another, in inference mode."""

    def __init__(self, *given: Any, how: Any = "auto", reason: str = "", **cut: Any) -> None:
        super().__init__(*given, words=f"PyTorch: eager steps in inference mode: {reason}", **cut)
        if how is True:
            self.words = "PyTorch: torch.compile, one program per step"
            self.step = compiled(self.step)
        model, loss, optimizer, state, arrays = given
        sizes = (self.size, self.rest) if how is True else (self.size,)
        with torch.inference_mode():  # a step that is forgotten: a layer with an autograd of its own finds none here
            for rows in filter(None, sizes):
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


def stepper(*given: Any, how: Any = "auto", **cut: Any) -> Stepper:
    """The stepper of a training run; with ``how=True`` by ``torch.compile``.

    What cannot be recorded, or is not the same on PyTorch, is taken eagerly, in inference mode, saying why.
    """
    if how is True:
        return InferenceStepper(*given, how=how, **cut)
    try:
        return TorchStepper(*given, **cut)
    except Exception as error:
        if is_out_of_memory(error, given[-1][0]):
            raise
        return InferenceStepper(*given, reason=reason_of(error), **cut)
