"""Early stopping: end a run when it no longer gets better, and give back the best model that there was."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from martlet.backend import describe
from martlet.checks import check_count, check_number

LOWEST_IS_BEST = {"loss": True, "mae": True, "accuracy": False, "r2": False}


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """Stop when ``watch`` has not become better for ``patience`` epochs.

    watch: "loss", or the name of one of the run's metrics; of the validation data where there is any,
    else of the training data.  best: "lowest" or "highest", for metrics of one's own; martlet's are known.
    least: an improvement must be larger than this to count.
    """

    patience: int = 10
    watch: str = "loss"
    best: str | None = None
    least: float = 0.0

    def __post_init__(self) -> None:
        check_count(self, "patience", self.patience)
        check_number(self, "least", self.least, 0.0)
        if not isinstance(self.watch, str):
            raise TypeError(f'EarlyStopping: watch must be "loss" or a metric\'s name, got {describe(self.watch)}')
        if not (self.best is None or (isinstance(self.best, str) and self.best in ("lowest", "highest"))):
            raise ValueError(f'EarlyStopping: best must be "lowest" or "highest", got {self.best!r}')
        if self.watch.startswith("validation_"):
            name = self.watch.removeprefix("validation_")
            raise ValueError(
                f"EarlyStopping: write watch={name!r}, not {self.watch!r}; validation data, if given, is watched"
            )
        if self.best is None and self.watch not in LOWEST_IS_BEST:
            raise ValueError(
                f'EarlyStopping: best must say if the best {self.watch!r} is the "lowest" or the "highest"'
            )

    @property
    def lowest_is_best(self) -> bool:
        return LOWEST_IS_BEST[self.watch] if self.best is None else self.best == "lowest"


class Found(NamedTuple):
    """The best epoch of a run so far (from 1), and the model and the state that it left."""

    epoch: int
    model: Any
    state: Any


class Best:
    """Looks for the best epoch of a run.  A model is a value, so keeping it costs nothing but its memory."""

    def __init__(self, stop: EarlyStopping | None, metrics: Mapping[str, Any], validated: bool) -> None:
        if stop is not None and not isinstance(stop, EarlyStopping):
            raise TypeError(f"fit: stop must be a martlet.EarlyStopping, got {describe(stop)}")
        if stop is not None and stop.watch != "loss" and stop.watch not in metrics:
            raise ValueError(
                f"fit: stop watches {stop.watch!r}, but this run measures (metrics=): {', '.join(['loss', *metrics])}"
            )
        self.stop = stop
        self.validated = validated
        self.score = math.inf
        self.waited = 0
        self.found: Found | None = None

    def see(self, epoch: int, model: Any, history: Any) -> None:
        """Take note of an epoch."""
        if self.stop is None:
            return
        losses = history.validation_loss if self.validated else history.loss
        metrics = history.validation_metrics if self.validated else history.metrics
        score = (losses if self.stop.watch == "loss" else metrics[self.stop.watch])[epoch - 1]
        score = score if self.stop.lowest_is_best else -score
        self.waited += 1
        if self.found is None or score < self.score - self.stop.least:
            self.score, self.waited = score, 0
            self.found = Found(epoch, model, history.state)
            if math.isnan(score):  # nothing is worse
                self.score = math.inf

    def see_again(self, found: Found | None, epochs: int, history: Any) -> bool:
        """Take note of the epochs of a run that is resumed, whose best was found before; False if it is not theirs."""
        for epoch in range(1, epochs + 1):
            self.see(epoch, None, history)
        mine, self.found = self.found, found
        return (mine and mine.epoch) == (found and found.epoch)

    def settings(self) -> dict[str, Any]:
        """What decides which epoch is the best, in words."""
        stop = self.stop
        return {"stop": None if stop is None else (stop.watch, stop.lowest_is_best, float(stop.least))}

    @property
    def waited_long_enough(self) -> bool:
        return self.stop is not None and self.waited >= self.stop.patience

    @property
    def reason(self) -> str:
        assert self.stop is not None
        assert self.found is not None
        return (
            f"{self.stop.watch} was best after epoch {self.found.epoch}, and not better in {self.waited} epochs since"
        )

    def model_of(self, model: Any, history: Any) -> Any:
        """The model to give back: the best one, with its state in the history; without a stop, the last one."""
        if self.found is None:
            return model
        history.best_epoch, best, history.state = self.found
        return best
