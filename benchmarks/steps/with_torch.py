"""PyTorch's eager step with each of its optimizers, and compiled: the comparison is with the fastest of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gpu.peers_torch import trainer

from steps.peer import Peer
from steps.workloads import Workload

# What the optimizer is told, and what torch.compile is told, or None.
WAYS: dict[str, tuple[dict[str, Any], dict[str, Any] | None]] = {
    "default": ({}, None),
    "foreach": ({"foreach": True}, None),
    "fused": ({"fused": True}, None),
    "compile": ({"fused": True}, {}),
}


class Torch(Peer):
    def __init__(self, way: str, work: Workload) -> None:
        super().__init__(work)
        self.way = way

    def place(self) -> None:
        _, _, x, t = self.work.draw()
        self.x, self.t = torch.from_numpy(x), torch.from_numpy(t)

    def build(self) -> None:
        torch._dynamo.reset()  # it would refuse to compile one function for ever more networks
        how, compile = WAYS[self.way]
        self.step = trainer(self.work, "cpu", how, compile)

    def begin(self, order: np.ndarray) -> None:
        super().begin(order)
        self.rows = torch.from_numpy(self.rows).unbind()

    def run(self, first: int, stop: int) -> list[Any]:
        select = torch.Tensor.index_select
        return [self.step(select(self.x, 0, rows), select(self.t, 0, rows)) for rows in self.rows[first:stop]]
