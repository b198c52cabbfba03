"""The history of a training run: what was measured, epoch by epoch, and the state to go on from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from martlet.backend import backend_of
from martlet.tree import map_leaves


@dataclass
class History:
    """What happened in a training run, one number per epoch, and what is needed to go on.

    loss: the mean loss of the epoch's batches, each measured before its step and counted by its samples
    (with sample weights, by their weight; with reduction="sum" it is the sum).  validation_loss,
    metrics, validation_metrics: measured after the epoch's last step.  seconds: the time that the
    epoch's steps took; of short epochs that nobody looks between, the mean of those taken together.
    state: the optimizer's, after the last step of the model that was given back.  best_epoch: with early
    stopping, the epoch (from 1) that the model is from.  stopped: why the run ended before its last epoch,
    or "".  compiled: how its steps were taken, in words; it is not kept in checkpoints.
    """

    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    metrics: dict[str, list[float]] = field(default_factory=dict)
    validation_metrics: dict[str, list[float]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    best_epoch: int | None = None
    stopped: str = ""
    compiled: str = ""
    state: Any = field(default=None, repr=False)

    def enter(
        self, losses: list[float], seconds: float, here: dict[str, float], there: dict[str, float], state: Any
    ) -> None:
        """Enter some more epochs, of so many seconds each.

        here: the metrics of the data; there: the loss and the metrics of the validation data, if there is any:
        with either it is one epoch.
        """
        self.loss += losses
        self.seconds += [seconds] * len(losses)
        for name, value in here.items():
            self.metrics.setdefault(name, []).append(value)
        for name, value in there.items():
            curve = self.validation_loss if name == "loss" else self.validation_metrics.setdefault(name, [])
            curve.append(value)
        self.state = state

    def copy(self) -> History:
        """A history of its own, which can be written to without harm."""
        return self.first(len(self.loss), copied(self.state))

    def first(self, epochs: int, state: Any) -> History:
        """The history of the first epochs, after which this was the state; its curves are its own."""
        return History(
            loss=self.loss[:epochs],
            validation_loss=self.validation_loss[:epochs],
            metrics={name: curve[:epochs] for name, curve in self.metrics.items()},
            validation_metrics={name: curve[:epochs] for name, curve in self.validation_metrics.items()},
            seconds=self.seconds[:epochs],
            best_epoch=self.best_epoch,
            stopped=self.stopped,
            compiled=self.compiled,
            state=state,
        )


def copied(tree: Any) -> Any:
    """A tree with memory of its own."""
    return None if tree is None else map_leaves(lambda x: backend_of(x).asarray(x, copy=True), tree)
