"""The memory of what a step changes, on whichever device of PyTorch's the model is."""

from __future__ import annotations

import torch

from martlet.compile.plans.elsewhere import StateElsewhere


class TorchState(StateElsewhere):
    """What leaves it is an array like any other, though steps are taken in inference mode."""

    def copied(self, array: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode(False):
            return array.clone(memory_format=torch.contiguous_format)

    def counted(self, start: torch.Tensor, growth: int) -> torch.Tensor:
        with torch.inference_mode(False):
            return self.copied(start) + growth
