"""One epoch after another over some data: batches, steps, and what is measured."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from martlet.backend import Array, backend_of, describe, host, to_numpy
from martlet.batches import cut, draw_order, place_data
from martlet.checkpoint import Run
from martlet.compile import Stepper, stepper
from martlet.diagnosis import NotFinite, all_finite, any_nan, explain
from martlet.evaluation import Metric, check_metrics, measure, outputs
from martlet.history import copied
from martlet.layer import Layer
from martlet.loss import Loss
from martlet.progress import mean_loss, to_floats
from martlet.step import train_step
from martlet.tree import leaves, named_leaves

if TYPE_CHECKING:
    import numpy as np

LOOKED_AT = 1024  # rows of a batch, to see whether it fits: a large one would take the memory of an eager step
AT_A_TIME = 1000  # steps, after which the losses are read
SAMPLES = 1_000_000  # whose order is remembered, in several short epochs together, until the losses are read


class Loop:
    """What stays the same from epoch to epoch of a training run: the data, and how it is cut and measured."""

    def __init__(
        self,
        data: tuple[Any, Array, Array | None],
        size: int,
        last: str,
        metrics: Mapping[str, Metric],
        rng: np.random.Generator,
        shuffle: bool,
    ) -> None:
        self.arrays: tuple[Any, ...] = data if data[2] is not None else data[:2]
        self.size, self.last, self.metrics = size, last, metrics
        self.rng, self.shuffle = rng, shuffle
        self.count = int(data[0].shape[0])
        if last == "drop" and self.count < size:
            raise ValueError(f'fit: last="drop" leaves no batch: batch_size={size} is more than {self.count} samples')
        self.steps = self.count // size if last == "drop" else -(-self.count // size)
        self.shares = [float(min(size, self.count - i * size)) for i in range(self.steps)]  # of an epoch's loss
        self.held_out: tuple[Any, ...] | None = None
        self.watched: Callable[[Any], Iterable[Array]] = leaves
        self.stepper: Stepper | None = None
        self.how: Any = "auto"  # as in fit(compile=)
        self.together = 1  # as many epochs are taken at once
        self.beside = ""  # what is being done, or has failed, that is no step

    def check(self, now: Run, validation: Any) -> None:
        """Find out now what would go wrong in the midst of the first epoch."""
        model, loss = now.model, now.loss
        assert loss is not None
        x, t, *_ = self.arrays
        y = check_targets(model, loss, x, t, self.size)
        check_metrics("fit", model, self.metrics, y, t)
        model.forward(x[: min(self.size, self.count, LOOKED_AT), ...])
        rest = self.count % self.size
        if self.last == "keep" and rest and self.count > self.size:
            try:
                model.forward(x[: min(rest, LOOKED_AT), ...])
            except ValueError as error:
                raise ValueError(
                    f"fit: {self.count} samples in batches of {self.size} leave a last one of {rest}, and {error}; "
                    'last="drop" leaves it out'
                ) from None
        if not all_finite(leaves(model)):  # a kept mask may hold -inf
            sound = {name for name, x in named_leaves(model).items() if all_finite([x])}
            self.watched = lambda model: (x for name, x in named_leaves(model).items() if name in sound)
        with self.aside("the validation"):
            self.held_out = held_out(model, loss, self.metrics, validation, self.size)

    def settings(self) -> dict[str, Any]:
        """What a run must have been given, in words, to be the same run."""
        return {
            "x": shapes(self.arrays[:1]),
            "t": shapes(self.arrays[1:2]),
            "weight": shapes(self.arrays[2:]),
            "validation": None if self.held_out is None else shapes(self.held_out),
            "batch_size": self.size,
            "last": self.last,
            "shuffle": self.shuffle,
            "metrics": tuple(self.metrics),
        }

    @contextmanager
    def aside(self, words: str) -> Iterator[None]:
        """While something is done beside the steps, ``beside`` says what; if it fails, also afterwards."""
        self.beside = words
        yield
        self.beside = ""

    def try_size(self, now: Run, rows: int) -> None:
        """Steps with so many samples, for nothing but their use of memory."""
        self.stepper = None
        if self.how not in ("auto", False):
            self._stepper(now, rows, self.how).read()
            return
        model, state = now.model, now.state  # two steps, and not one, for a run keeps the model before them as well
        order = backend_of(self.arrays[0]).asarray(host.arange(self.count))
        for batch in cut(self.arrays, order, rows, "keep", 0, 2):
            model, state, _ = train_step(model, now.loss, now.optimizer, state, *batch)  # type: ignore[arg-type]

    def begin(self, now: Run, epochs: int, how: Any, bar: Any, *, each: bool) -> None:
        """Choose how the steps of the epochs that are left will be taken, and say so.

        each: somebody looks at the run after each epoch; else short ones are taken together.
        """
        self.together = 1 if each else max(1, min(AT_A_TIME // self.steps, SAMPLES // self.count))
        self.how = how
        self.stepper = self._stepper(now, self.size, how, steps=epochs * self.steps)
        now.history.compiled = words = self.stepper.words
        logging.getLogger("martlet").info("fit: %s", words)
        bar.write(words, file=sys.stderr)

    def _stepper(self, now: Run, size: int, how: Any, **settings: Any) -> Stepper:
        assert now.loss is not None
        assert now.optimizer is not None
        given = now.model, now.loss, now.optimizer, now.state, self.arrays
        return stepper(*given, size=size, last=self.last, how=how, together=self.together, **settings)

    def epochs(self, now: Run, bar: Any, most: int) -> Run:
        """The run after one more epoch or, of short ones, several, at most so many, all entered into the history.

        However they are cut, the losses are read a thousand at a time.
        """
        assert self.stepper is not None
        count = min(most, self.together)
        orders = [draw_order(self.arrays[0], self.rng if self.shuffle else None) for _ in range(count)]
        model, state, start = now.model, now.state, time.perf_counter()
        losses: list[float] = []
        self.stepper.go_on_from(model, state)
        if self.steps <= AT_A_TIME:
            looks = [[Stretch(order, 0, self.steps) for order in orders]]
        else:
            ends = ((first, min(first + AT_A_TIME, self.steps)) for first in range(0, self.steps, AT_A_TIME))
            looks = [[Stretch(orders[0], *end)] for end in ends]
        for stretches in looks:
            model, state, found = self.look(now, model, state, stretches)
            losses += found
            bar.update(len(found))
        means = [self.mean(now, order, losses[i * self.steps :]) for i, order in enumerate(orders)]
        seconds = (time.perf_counter() - start) / count
        bar.set_postfix(loss=f"{means[-1]:.4g}")
        here: dict[str, float] = {}
        there: dict[str, float] = {}
        if self.metrics:
            with self.aside(f"measuring the metrics of {self.count} samples"):
                here = measure("fit", model, None, self.metrics, *self.arrays[:2], least=self.size)
        if self.held_out is not None:
            with self.aside(f"measuring the validation of {self.held_out[0].shape[0]} samples"):
                there = measure("fit: validation", model, now.loss, self.metrics, *self.held_out, least=self.size)
        now.history.enter(means, seconds, here, there, state)
        return replace(now, model=model, state=state, epoch=now.epoch + count)

    def look(self, now: Run, model: Any, state: Any, stretches: list[Stretch]) -> tuple[Any, Any, list[float]]:
        """Take the steps of some whole epochs, or of a part of one, and look at what came of it.

        model, state: as they are now; given back are those after the steps, and all losses.  Raises NotFinite,
        with the epochs that were finished before in its history.
        """
        assert self.stepper is not None
        order, first, stop = stretches[0]
        if stop - first == self.steps:
            numbers = self.stepper.epochs([stretch.order for stretch in stretches], self.steps)
        else:
            if first == 0:
                self.stepper.shuffle(order)
            numbers = self.stepper.run(first, stop)
        losses = to_floats(numbers)
        after, state_after = self.stepper.read()
        if all(map(math.isfinite, losses)) and all_finite(self.watched(after)):
            return after, state_after, losses
        found = explain(model, state, now.loss, now.optimizer, chain.from_iterable(map(self.batches, stretches)))  # type: ignore[arg-type]
        finished, step = divmod(first + found.step - 1, self.steps)
        means = [self.mean(now, stretches[i].order, losses[i * self.steps :]) for i in range(finished)]
        past = now.history.first(now.epoch, None)
        past.enter(means, 0.0, {}, {}, copied(found.state))
        raise NotFinite(now.epoch + finished + 1, step + 1, found.layer, found.what, found.model, past)

    def mean(self, now: Run, order: np.ndarray | None, losses: list[float]) -> float:
        """The loss of an epoch, whose batches count by their samples or, where these have weights, by their sums.

        losses: of the epoch's batches; more may follow.
        """
        assert now.loss is not None
        shares = self.shares
        if len(self.arrays) == 3:
            weight = host.astype(to_numpy(self.arrays[2]), host.float64)
            weight = weight if order is None else weight[order]
            shares = [float(host.sum(weight[i * self.size : (i + 1) * self.size])) for i in range(self.steps)]
        return mean_loss(losses[: self.steps], shares, now.loss.reduction)

    def batches(self, stretch: Stretch) -> Iterable[tuple[Array, ...]]:
        order, x = stretch.order, self.arrays[0]
        order = None if order is None else backend_of(x).asarray(order)
        return cut(self.arrays, order, self.size, self.last, stretch.first, stretch.stop)


class Stretch(NamedTuple):
    """Some batches of an epoch, from number ``first`` on and before ``stop``, with the samples in this order."""

    order: np.ndarray | None
    first: int
    stop: int


def shapes(arrays: Iterable[Any]) -> tuple[Any, ...]:
    """The shape of each array; None for none."""
    return tuple(None if x is None else tuple(map(int, x.shape)) for x in arrays)


def check_targets(model: Layer, loss: Loss, x: Array, t: Array, batch_size: int) -> Array:
    """Read the targets here, once, and compare shapes on a first batch, whose output is given back."""
    loss.check_weights()
    rows = min(batch_size, x.shape[0], LOOKED_AT)
    y = model.predict(x[:rows, ...])
    loss.value(y, t[:rows, ...])
    loss.check_targets(y, t)
    return y


def held_out(
    model: Layer, loss: Loss, metrics: Mapping[str, Metric], validation: Any, batch_size: int
) -> tuple[Any, ...] | None:
    if validation is None:
        return None
    if not isinstance(validation, tuple) or len(validation) not in (2, 3):
        raise TypeError(f"fit: validation must be a tuple (x, t) or (x, t, weight), got {describe(validation)}")
    data = place_data("fit: validation", model, loss, *validation)
    x, t, _ = data
    check_metrics("fit: validation", model, metrics, check_targets(model, loss, x, t, batch_size), t)
    if not all_finite([x]) and any_nan(outputs(model, x, batch_size)):  # a layer may be there to fill gaps
        raise ValueError("fit: validation: x holds NaN or infinity, of which the model makes NaN")
    return data
