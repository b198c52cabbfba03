"""PyTorch: eager steps with as little around them as possible, or ``torch.compile`` for those who ask for it.

martlet writes its gradients out, so what PyTorch does for an autograd of its own is left aside: in inference mode
a small step takes about a tenth less.  What a stepper gives away is free of that mode again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from martlet.backend import Array
from martlet.compile.eager import EagerStepper
from martlet.compile.structure import Lists, on_lists
from martlet.layer import Layer
from martlet.loss import Loss
from martlet.optimizers import Optimizer
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


class TorchStepper(EagerStepper):
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
    ) -> None:
        super().__init__(model, loss, optimizer, state, arrays, size=size, last=last)
        self.words = "PyTorch: eager steps in inference mode"
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
