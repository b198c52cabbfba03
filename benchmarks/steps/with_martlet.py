"""martlet takes a step in two ways: as it is written, one array operation after another, and compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gpu.peers import martlet_model
from gpu.worker import Missing

import martlet as mt
from steps.peer import Peer
from steps.workloads import Workload


def stepper() -> Callable[..., Any]:
    """What makes compiled steps; Missing where there is nothing that does."""
    try:
        from martlet.compile import stepper
    except ImportError:
        raise Missing("martlet.compile is not there") from None
    return stepper


class OnBackend(Peer):
    """Data, model and state on one of the libraries."""

    def __init__(self, name: str, work: Workload) -> None:
        super().__init__(work)
        try:
            self.backend = mt.Backend(name)
        except mt.BackendUnavailable as error:
            raise Missing(str(error)) from None

    def place(self) -> None:
        _, _, x, t = self.work.draw()
        self.x, self.t = self.backend.asarray(x), self.backend.asarray(t)

    def build(self) -> None:
        model, self.loss, self.optimizer = martlet_model(self.work)
        self.model = model.to(self.backend)
        self.state = self.optimizer.init(self.model)


class Eager(OnBackend):
    """``train_step`` with all its checks, one call per batch."""

    def begin(self, order: np.ndarray) -> None:
        super().begin(self.backend.asarray(order))

    def run(self, first: int, stop: int) -> list[Any]:
        take, values = self.backend.xp.take, []
        for i in range(first, stop):
            x, t = take(self.x, self.rows[i, ...], axis=0), take(self.t, self.rows[i, ...], axis=0)
            self.model, self.state, value = mt.train_step(self.model, self.loss, self.optimizer, self.state, x, t)
            values.append(value)
        return values

    def wait(self) -> None:
        self.backend.synchronize(*mt.leaves(self.model))


class Compiled(OnBackend):
    """The same step, recorded or traced once."""

    def __init__(self, name: str, work: Workload) -> None:
        super().__init__(name, work)
        self.make = stepper()

    def build(self) -> None:
        super().build()
        given = (self.model, self.loss, self.optimizer, self.state, (self.x, self.t))
        self.stepper = self.make(*given, size=self.work.batch, last="drop", how="auto")
        self.words = str(self.stepper.words)
        self.values: Any = ()

    def begin(self, order: np.ndarray) -> None:
        self.stepper.shuffle(order)

    def run(self, first: int, stop: int) -> Any:
        self.values = self.stepper.run(first, stop)
        return self.values

    def wait(self) -> None:
        if self.backend.name == "jax":  # the only one of them that answers before it has computed
            import jax

            jax.block_until_ready(self.values)
