"""The training loop: gradient, update, repeat, and an account of what happened."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from martlet.backend import Array, Backend, backend_of, describe, dtype_name, generator, is_floating, to_numpy
from martlet.batches import check_batches, cut, draw_order, place_data, width_of
from martlet.checks import check_count, check_switch
from martlet.diagnosis import NotFinite, all_finite, explain
from martlet.evaluation import METRICS, Metric, apply, check_kinds, measure, named_metrics
from martlet.layer import Layer, check_observers
from martlet.layers.dropout import check_streams
from martlet.loss import Loss
from martlet.memory import OutOfMemory, is_out_of_memory, largest_that_fits, place_of
from martlet.optimizers import Optimizer
from martlet.progress import LossLog, progress_bar
from martlet.step import train_step
from martlet.stopping import Best, EarlyStopping
from martlet.tree import Tree, learned, leaves, map_leaves, named_leaves, rebuild

if TYPE_CHECKING:
    import numpy as np

L = TypeVar("L", bound=Layer)


@dataclass
class History:
    """What happened in a training run, one number per epoch, and what is needed to go on.

    loss: the mean loss of the epoch's batches, each measured before its step and counted by its samples
    (with sample weights, by their weight; with reduction="sum" it is the sum).  validation_loss,
    metrics, validation_metrics: measured after the epoch's last step.  seconds: the time that the
    epoch's steps took.  state: the optimizer's, after the last step of the model that was given back.
    best_epoch: with early stopping, the epoch (from 1) that the model is from.  stopped: why the run ended
    before its last epoch, or "".
    """

    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    metrics: dict[str, list[float]] = field(default_factory=dict)
    validation_metrics: dict[str, list[float]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    best_epoch: int | None = None
    stopped: str = ""
    state: Any = field(default=None, repr=False)

    def copy(self) -> History:
        """A history of its own, which can be written to without harm."""
        return History(
            loss=list(self.loss),
            validation_loss=list(self.validation_loss),
            metrics={name: list(curve) for name, curve in self.metrics.items()},
            validation_metrics={name: list(curve) for name, curve in self.validation_metrics.items()},
            seconds=list(self.seconds),
            best_epoch=self.best_epoch,
            stopped=self.stopped,
            state=copied(self.state),
        )


Hook = Callable[[int, Any, History], bool | None]


def fit(
    model: L,
    x: Any,
    t: Any,
    *,
    loss: Loss,
    optimizer: Optimizer,
    epochs: int,
    batch_size: int = 32,
    seed: int | np.random.Generator = 0,
    shuffle: bool = True,
    last: str = "keep",
    weight: Any = None,
    validation: tuple[Any, ...] | None = None,
    metrics: Iterable[str] | Mapping[str, Metric] = (),
    stop: EarlyStopping | None = None,
    hook: Hook | None = None,
    state: Any = None,
    backend: str | Backend | None = None,
    progress: bool | None = None,
) -> tuple[L, History]:
    """Train a model on data, and give back the trained model and what happened.

    With ``backend=`` the model and the data are moved there; without it, the data goes to the model.
    Data is cast to the model's dtype, which a Backend with a ``dtype`` changes.  (What was drawn in
    float32 keeps its digits then; for a float64 run, draw model and data with dtype="float64".)
    Nothing that is passed in changes.

    x: one sample per row; t: the targets that the loss expects.  ``seed`` begins a random generator of
    this run's own, which shuffles the data before each epoch; for ``last`` see ``batches``.  ``weight``:
    one per sample.  ``validation``: (x, t) or (x, t, weight), measured after each epoch.  ``metrics``:
    see ``evaluate``.  ``stop``: an EarlyStopping; the model of the best epoch is given back.  ``hook``: a
    function that is called after each epoch with its number (from 1) and copies of the model and the
    history so far; if it gives back True, the run ends there.  ``state``: an optimizer's state to go on
    from (``history.state``).  ``progress``: a bar on the terminal; None shows one where tqdm is installed
    and someone is watching.

    Raises ValueError or TypeError, before any step is taken, for what cannot be trained on, and
    NotFinite where a loss or a weight becomes infinite or NaN: it names the epoch, the step and the
    layer, and holds the model and the history from before that step.  Raises OutOfMemory where a step does
    not fit, with a batch size that does.  Ctrl-C ends the run at once and changes nothing; what is to outlive
    it, a hook keeps.
    """
    check_kinds("fit", model=model, loss=loss, optimizer=optimizer)
    if not leaves(learned(model)):
        raise ValueError("fit: the model has nothing to learn")
    check_count("fit", "epochs", epochs, 0)
    check_batches("fit", batch_size, last)
    check_switch("fit", "shuffle", shuffle)
    if progress is not None:
        check_switch("fit", "progress", progress)
    if hook is not None and not callable(hook):
        raise TypeError(f"fit: hook must be a function of (epoch, model, history), got {describe(hook)}")
    functions = named_metrics("fit", metrics)
    best = Best(stop, functions, validation is not None)
    rng = _generator(seed)
    model = model.to(backend)
    home = backend_of(leaves(model)[0])
    loss = loss.to(home, dtype=width_of(model))
    check_streams("fit", model)
    check_observers("fit", model)
    with home.active():
        data = place_data("fit", model, loss, x, t, weight)
        state = _starting_state(optimizer, model, state)
        run = _Run(loss, optimizer, data, batch_size, last, functions, History(state=state))
        try:
            run.check(model)
            run.held_out = _held_out(model, loss, validation, batch_size)
            with progress_bar(epochs * run.steps, progress) as bar:
                for epoch in range(1, epochs + 1):
                    model, state = run.epoch(epoch, model, state, draw_order(data[0], rng if shuffle else None), bar)
                    best.see(epoch, model, run.history)
                    if hook is not None and _asks_to_stop(hook(epoch, copied(model), run.history.copy())):
                        run.history.stopped = f"the hook ended the run after epoch {epoch}"
                    if best.waited_long_enough:
                        run.history.stopped = best.reason
                    if run.history.stopped:
                        break
        except Exception as error:
            if not is_out_of_memory(error, data[0]):
                raise
            words = f"{type(error).__name__}: {error}"
            error.__traceback__ = None  # which would keep the arrays of the failed step alive
            size = min(batch_size, run.count)
            fits = largest_that_fits(lambda rows: run.try_step(model, state, rows), size, data[0])
            raise OutOfMemory(size, fits, place_of(home), words, model, run.history) from None
    return best.model_of(model, run.history), run.history


class _Run:
    """What stays the same from epoch to epoch of a training run, and its history."""

    def __init__(
        self,
        loss: Loss,
        optimizer: Optimizer,
        data: tuple[Any, Array, Array | None],
        size: int,
        last: str,
        metrics: Mapping[str, Metric],
        history: History,
    ) -> None:
        self.loss, self.optimizer, self.metrics, self.history = loss, optimizer, metrics, history
        self.arrays: tuple[Any, ...] = data if data[2] is not None else data[:2]
        self.size, self.last = size, last
        self.count = int(data[0].shape[0])
        if last == "drop" and self.count < size:
            raise ValueError(f'fit: last="drop" leaves no batch: batch_size={size} is more than {self.count} samples')
        self.steps = self.count // size if last == "drop" else -(-self.count // size)
        self.held_out: tuple[Any, ...] | None = None
        self.watched: Callable[[Any], Iterable[Array]] = leaves

    def check(self, model: Layer) -> None:
        """Find out now what would go wrong in the midst of the first epoch."""
        x, t, *_ = self.arrays
        y = check_targets(model, self.loss, x, t, self.size)
        known = {name: function for name, function in self.metrics.items() if METRICS.get(name) is function}
        apply("fit", known, y, t[: y.shape[0], ...])
        model.forward(x[: min(self.size, self.count), ...])
        rest = self.count % self.size
        if self.last == "keep" and rest and self.count > self.size:
            try:
                model.forward(x[:rest, ...])
            except ValueError as error:
                raise ValueError(
                    f"fit: {self.count} samples in batches of {self.size} leave a last one of {rest}, and {error}; "
                    'last="drop" leaves it out'
                ) from None
        if not all_finite(leaves(model)):  # a kept mask may hold -inf
            sound = {name for name, x in named_leaves(model).items() if all_finite([x])}
            self.watched = lambda model: (x for name, x in named_leaves(model).items() if name in sound)

    def try_step(self, model: Any, state: Any, rows: int) -> None:
        """A step with so many samples, for nothing but its use of memory."""
        train_step(model, self.loss, self.optimizer, state, *(a[:rows, ...] for a in self.arrays))

    def epoch(self, epoch: int, model: L, state: Any, order: Array | None, bar: Any) -> tuple[L, Any]:
        """The model and the state after one epoch, which is entered into the history."""
        start = time.perf_counter()
        log = LossLog(self.loss.reduction)
        read, known_good = 0, (model, state)
        for step, batch in enumerate(self.batches(order), start=1):
            model, state, value = train_step(model, self.loss, self.optimizer, state, *batch)
            if log.add(value, batch) or step == self.steps:
                values = log.read()
                if not (all(map(math.isfinite, values)) and all_finite(self.watched(model))):
                    found = explain(*known_good, self.loss, self.optimizer, self.batches(order, read))
                    past = replace(self.history.copy(), state=found.state)
                    raise NotFinite(epoch, read + found.step, found.layer, found.what, found.model, past)
                bar.update(len(values))
                read, known_good = step, (model, state)
        loss, seconds = log.result(), time.perf_counter() - start
        bar.set_postfix(loss=f"{loss:.4g}")
        here = measure("fit", model, None, self.metrics, *self.arrays[:2]) if self.metrics else {}
        there = {}
        if self.held_out is not None:
            there = measure("fit: validation", model, self.loss, self.metrics, *self.held_out)
        self.history = _entered(self.history, loss, seconds, here, there, state)
        return model, state

    def batches(self, order: Array | None, first: int = 0) -> Iterable[tuple[Array, ...]]:
        return cut(self.arrays, order, self.size, self.last, first)


def _entered(
    history: History, loss: float, seconds: float, here: dict[str, float], there: dict[str, float], state: Any
) -> History:
    """The history after one more epoch: another one, so that an epoch is entered as a whole or not at all."""
    there = dict(there)
    held_out = [there.pop("loss")] if there else []
    return replace(
        history,
        loss=[*history.loss, loss],
        validation_loss=[*history.validation_loss, *held_out],
        metrics=_longer(history.metrics, here),
        validation_metrics=_longer(history.validation_metrics, there),
        seconds=[*history.seconds, seconds],
        state=state,
    )


def _longer(curves: dict[str, list[float]], found: dict[str, float]) -> dict[str, list[float]]:
    return {name: [*curves.get(name, ()), value] for name, value in found.items()}


def copied(tree: Any) -> Any:
    """A tree with memory of its own."""
    return None if tree is None else map_leaves(lambda x: backend_of(x).asarray(x, copy=True), tree)


def _asks_to_stop(answer: Any) -> bool:
    if answer is None or isinstance(answer, bool):
        return bool(answer)
    raise TypeError(f"fit: the hook must give back True (to end the run), False or None, got {describe(answer)}")


def check_targets(model: Layer, loss: Loss, x: Array, t: Array, batch_size: int) -> Array:
    """Read the targets here, once, and compare shapes on a first batch, whose output is given back."""
    loss.check_weights()
    rows = min(batch_size, x.shape[0])
    y = model.predict(x[:rows, ...])
    loss.value(y, t[:rows, ...])
    loss.check_targets(y, t)
    return y


def _held_out(model: Layer, loss: Loss, validation: Any, batch_size: int) -> tuple[Any, ...] | None:
    if validation is None:
        return None
    if not isinstance(validation, tuple) or len(validation) not in (2, 3):
        raise TypeError(f"fit: validation must be a tuple (x, t) or (x, t, weight), got {describe(validation)}")
    data = place_data("fit: validation", model, loss, *validation)
    check_targets(model, loss, *data[:2], batch_size)
    return data


def _generator(seed: Any) -> np.random.Generator:
    if hasattr(seed, "permutation") and not isinstance(seed, type | ModuleType):  # np.random is everyone's stream
        return seed
    if hasattr(seed, "permutation"):
        raise TypeError(f"fit: seed must be an integer or a Generator of one's own, got {describe(seed)}")
    check_count("fit", "seed", seed, 0, math.inf)
    return generator(seed)


def _starting_state(optimizer: Optimizer, model: Layer, state: Any) -> Any:
    """A new state, or a copy of the given one where the model is, if it is this optimizer's and this model's."""
    new = optimizer.init(model)
    if state is None:
        return new
    if type(state) is not optimizer.State:
        raise TypeError(f"fit: state must come from {type(optimizer).__name__}, got {type(state).__name__}")
    try:
        optimizer.check_state(state)
    except ValueError as error:
        raise ValueError(f"fit: {error}") from None
    numbers = optimizer.numbers_in(new)
    for name, kept in optimizer.numbers_in(state).items():
        has, asked = to_numpy(kept), to_numpy(numbers[name])
        if has != asked.astype(has.dtype):
            raise ValueError(
                f"fit: the state has {name}={has:g}, but the optimizer {name}={asked:g}; to go on with the "
                f'optimizer\'s: state=martlet.replace(state, {{"{name}": {asked:g}}})'
            )
    shapes, wanted = _shapes(state), _shapes(new)
    for name in wanted | shapes:
        if shapes.get(name) != wanted.get(name):
            raise ValueError(
                f"fit: state is of another model: {name} has shape {shapes.get(name, 'none')}, "
                f"expected {wanted.get(name, 'none')}"
            )
    home = backend_of(leaves(model)[0])
    pairs = zip(leaves(state), leaves(new), strict=True)
    return rebuild(
        state, [home.asarray(x, dtype_name(y.dtype) if is_floating(y) else None, copy=True) for x, y in pairs]
    )


def _shapes(tree: Tree) -> dict[str, tuple[int, ...]]:
    return {name: tuple(x.shape) for name, x in named_leaves(tree).items()}
