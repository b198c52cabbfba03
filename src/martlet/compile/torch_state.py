"""The memory of what a step changes, on whichever device of PyTorch's the model is."""

from __future__ import annotations

import torch

from martlet.compile.layout import Spec
from martlet.compile.state import State
from martlet.compile.torch_calls import Place


class TorchState(State):
    """The memory of what a step changes (see ``State``), where a model is."""

    def __init__(self, values: dict[str, torch.Tensor], place: Place) -> None:
        super().__init__(values)
        self.place = place

    def new(self, spec: Spec) -> torch.Tensor:
        return self.place.array_in(self.place.buffer(spec.nbytes), spec)

    def restore(self) -> None:
        """All arrays as they were in the beginning."""
        for name, part in self._placed().items():
            part.copy_(self.values[name])

    def copied(self, array: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode(False):  # what leaves a plan is an array like any other
            return array.clone(memory_format=torch.contiguous_format)

    def counted(self, start: torch.Tensor, growth: int) -> torch.Tensor:
        with torch.inference_mode(False):
            return self.copied(start) + growth
