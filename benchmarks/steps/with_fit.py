"""What somebody types is ``fit``: how long does it take for a step, with everything that it does around it?"""

from __future__ import annotations

import inspect
import time
from typing import Any

import martlet as mt
from steps.peer import CHECKED
from steps.with_martlet import OnBackend
from steps.workloads import Workload

LONGER = 3  # than other turns: what counts is a difference of two


class Fit(OnBackend):
    """A call with many epochs minus a call with one, over the steps between: what happens once is not in it.

    Not "auto", which would not compile for the one epoch, and compiling would be in the difference.
    """

    def __init__(self, name: str, work: Workload) -> None:
        super().__init__(name, work)
        self.each = work.batches
        compiles = "compile" in inspect.signature(mt.fit).parameters
        self.settings: dict[str, Any] = {"compile": True} if compiles else {}
        self.words = "eager: fit does not compile yet"

    def fit(self, epochs: int) -> mt.History:
        settings = {"batch_size": self.work.batch, "seed": 0, "last": "drop", "progress": False} | self.settings
        given = {"loss": self.loss, "optimizer": self.optimizer, "epochs": epochs}
        history = mt.fit(self.model, self.x, self.t, **given, **settings)[1]
        self.words = getattr(history, "compiled", self.words)
        return history

    def run(self, first: int, stop: int) -> list[float]:
        return self.fit(1).loss

    def losses(self) -> list[float]:
        return self.fit(-(-CHECKED // self.each)).loss

    def begin(self, order: Any) -> None:
        """``fit`` draws its own orders, which are the same: the same generator, the same seed."""

    def settle(self, block: float) -> None:
        self.fit(1)
        self.epochs = max(1, round(LONGER * block / self.fit(2).seconds[-1]))

    def turn(self) -> tuple[float, ...]:
        seconds = []
        for epochs in (self.epochs + 1, 1):
            start = time.perf_counter()
            self.fit(epochs)
            seconds.append((time.perf_counter() - start) / (self.epochs * self.work.batches))
        return tuple(seconds)
