"""Training: gradient, update, repeat.

``gradient`` and ``train_step`` are pure functions, and all there is to it; ``batches`` cuts an epoch into
mini-batches in a seeded order; ``fit`` is the loop around them that most people need.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from martlet.backend import (
    Array,
    Backend,
    backend_of,
    describe,
    dtype_name,
    generator,
    host,
    is_array,
    is_floating,
    kind,
    namespace,
    to_numpy,
)
from martlet.checks import check_array, check_count, complain_shape
from martlet.layer import Layer
from martlet.layers.losses import Loss
from martlet.optimizers import Optimizer
from martlet.tree import learned, leaves

if TYPE_CHECKING:
    import numpy as np

L = TypeVar("L", bound=Layer)
Metric = Callable[[Array, Array], float]


# -------------------------------------------------------------------------------------- one step


def gradient(model: L, loss: Loss, x: Any, t: Array, weight: Array | None = None) -> tuple[Array, L | None, L]:
    """Forward, then backward: the loss, dL/dmodel, and the model after having seen the batch.

    ``value, grad, model = gradient(model, loss, x, t)``; then ``grad[0].W`` is dL/dW of the first layer.
    x, t and weight must be on the model's device, in its dtype (``fit`` sees to that by itself).
    """
    if loss.reduction == "none":
        raise ValueError(
            f'{type(loss).__name__}: a gradient needs one number; use reduction="mean" or "sum", not "none"'
        )
    y, cache = model.forward(x)
    value, loss_cache = loss.forward(y, t, weight)
    _, grad = model.backward(cache, loss.backward(loss_cache))
    return value, grad, model.observe(cache)


def train_step(
    model: L, loss: Loss, optimizer: Optimizer, state: Any, x: Any, t: Array, weight: Array | None = None
) -> tuple[L, Any, Array]:
    """One step of training as a pure function: the new model, the new state, and the loss before the step."""
    value, grad, model = gradient(model, loss, x, t, weight)
    model, state = optimizer.update(model, grad, state)
    return model, state, value


# ------------------------------------------------------------------------------------- one epoch


def batches(
    x: Array,
    t: Array,
    batch_size: int,
    *,
    rng: np.random.Generator | None = None,
    weight: Array | None = None,
    last: str = "keep",
) -> Iterator[tuple[Array, ...]]:
    """One epoch of mini-batches: (x, t), or (x, t, weight) where weights are given.

    ``rng`` shuffles: its ``permutation`` of the samples, drawn on the host, is the order on every
    backend.  Without it, the order is that of the data.  Where the number of samples is no multiple of
    ``batch_size``, the last batch is short (``last="keep"``; a mean loss is then the mean over fewer
    samples) or left out (``last="drop"``).
    """
    count = check_samples("batches", x=x, t=t, weight=weight)
    check_count("batches", "batch_size", batch_size)
    if last not in ("keep", "drop"):
        raise ValueError(f'batches: last must be "keep" or "drop", got {last!r}')
    if rng is not None and not hasattr(rng, "permutation"):
        raise TypeError(
            f"batches: rng must be a NumPy Generator, such as np.random.default_rng(0), got {describe(rng)}"
        )
    arrays = (x, t) if weight is None else (x, t, weight)
    order = None if rng is None else backend_of(x).asarray(rng.permutation(count))
    return _cut(arrays, order, count, batch_size, last)


def _cut(
    arrays: tuple[Array, ...], order: Array | None, count: int, size: int, last: str
) -> Iterator[tuple[Array, ...]]:
    stop = count - count % size if last == "drop" else count
    for start in range(0, stop, size):
        rows = slice(start, min(start + size, stop))
        if order is None:
            yield tuple(a[rows, ...] for a in arrays)
        else:
            yield tuple(namespace(a).take(a, order[rows], axis=0) for a in arrays)


def check_samples(owner: str, **arrays: Array | None) -> int:
    """The number of samples, which all of the given arrays must share; an empty set is an error."""
    counts = {}
    for name, array in arrays.items():
        if array is not None:
            check_array(owner, name, array)
            if len(array.shape) == 0:
                raise ValueError(f"{owner}: {name} is a single number, expected one row per sample")
            counts[name] = array.shape[0]
    if len(set(counts.values())) > 1:
        listing = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise ValueError(f"{owner}: the numbers of samples differ: {listing}")
    count = next(iter(counts.values()))
    if count == 0:
        raise ValueError(f"{owner}: there are no samples")
    return int(count)


# ------------------------------------------------------------------------------ metrics and evaluation


def accuracy(model: Layer, x: Any, t: Any) -> float:
    """The share of samples that the model classifies right.

    With outputs (N, C), the class of the largest; with (N, 1) or (N,), logits of one class, those above
    zero.  t: labels (N,), or shaped like the output (rows of probabilities; 0 and 1).  The data is moved
    to the model.
    """
    return evaluate(model, x, t, metrics=("accuracy",))["accuracy"]


def _accuracy(y: Array, t: Array) -> float:
    xp = namespace(y)
    if len(y.shape) == 2 and y.shape[1] > 1 and t.shape in (y.shape, y.shape[:1]):
        right = xp.argmax(y, axis=1) == (t if len(t.shape) == 1 else xp.argmax(t, axis=1))
    elif y.shape == t.shape:
        right = (y > 0) == (t > 0.5)
    else:
        complain_shape("accuracy", "t", t, tuple(y.shape), "the shape of the output")
    return int(xp.count_nonzero(right)) / right.size


METRICS: dict[str, Metric] = {"accuracy": _accuracy}


def evaluate(
    model: Layer,
    x: Any,
    t: Any,
    *,
    loss: Loss | None = None,
    metrics: Iterable[str] | Mapping[str, Metric] = (),
    weight: Any = None,
) -> dict[str, float]:
    """The loss, under "loss", and each metric of a model on some data, which is moved to the model.

    A metric is a name ("accuracy"), or in a mapping a function of output and target, both NumPy arrays,
    that gives a number.
    """
    functions = _named_metrics("evaluate", metrics)
    x, t, weight = _place(model, loss, x, t, weight)
    check_samples("evaluate", x=x, t=t, weight=weight)
    return _measure(model, loss, functions, x, t, weight)


def _measure(
    model: Layer, loss: Loss | None, metrics: Mapping[str, Metric], x: Array, t: Array, weight: Array | None = None
) -> dict[str, float]:
    y = model.predict(x)
    found: dict[str, float] = {}
    if loss is not None:
        value = loss.value(y, t, weight)
        loss.check_targets(y, t)
        found["loss"] = float(to_numpy(value))
    if metrics:
        host_y, host_t = to_numpy(y), to_numpy(t)
        found.update((name, float(function(host_y, host_t))) for name, function in metrics.items())
    return found


def _named_metrics(owner: str, metrics: Iterable[str] | Mapping[str, Metric]) -> dict[str, Metric]:
    if isinstance(metrics, str):
        metrics = (metrics,)
    named: dict[str, Metric] = dict(metrics) if isinstance(metrics, Mapping) else {}
    for name in () if isinstance(metrics, Mapping) else metrics:
        if name not in METRICS:
            raise ValueError(
                f'{owner}: there is no metric {name!r}; known: {", ".join(METRICS)}; your own: {{"name": function}}'
            )
        named[name] = METRICS[name]
    for name, function in named.items():
        if not callable(function):
            raise TypeError(f"{owner}: the metric {name!r} must be a function of (y, t), got {describe(function)}")
    return named


def _place(model: Layer, loss: Loss | None, x: Any, t: Any, weight: Any) -> tuple[Any, Array, Array | None]:
    """Data where the model is and in its dtype.  Labels stay integers, of the type that indexes there."""
    x, t = _check_data("x", x), _check_data("t", t)
    arrays = leaves(model)
    home = backend_of(arrays[0] if arrays else x)
    widths = [dtype_name(a.dtype) for a in arrays if is_floating(a)]
    width = widths[0] if widths else None
    x = home.asarray(x, width)
    if kind(t.dtype) == "integer" and len(t.shape) == 1 and (loss is None or loss.takes_labels):
        t = home.asarray(t)
        t = t if t.dtype == home.index_dtype else namespace(t).astype(t, home.index_dtype)
    else:
        t = home.asarray(t, width)
    if weight is not None:
        weight = home.asarray(_check_data("weight", weight), width)
        numbers = to_numpy(weight)
        if not (host.all(host.isfinite(numbers)) and host.all(numbers >= 0) and host.any(numbers > 0)):
            raise ValueError("weight must be finite and at least 0, and not 0 for every sample")
    return x, t, weight


def _check_data(name: str, value: Any) -> Any:
    if not is_array(value):
        raise TypeError(f"{name} must be an array, got {describe(value)}; for a list: np.asarray(...)")
    if kind(value.dtype) == "other" and dtype_name(value.dtype) != "bool":
        raise TypeError(f"{name} must hold numbers, got {describe(value)}")
    return value


# ---------------------------------------------------------------------------------------- the loop


@dataclass
class History:
    """What happened in a training run, one number per epoch, and what is needed to go on.

    loss: the mean loss of the epoch's batches, each measured before its step and counted by its samples
    (with sample weights, by their weight; with reduction="sum" it is the sum).  validation_loss,
    metrics, validation_metrics: measured after the epoch's last step.  seconds: the time that the
    epoch's steps took.  state: the optimizer's, after the last step.
    """

    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    metrics: dict[str, list[float]] = field(default_factory=dict)
    validation_metrics: dict[str, list[float]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    state: Any = field(default=None, repr=False)


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
    validation: tuple[Any, Any] | None = None,
    metrics: Iterable[str] | Mapping[str, Metric] = (),
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
    one per sample.  ``validation``: (x, t), measured after each epoch.  ``metrics``: see ``evaluate``.
    ``state``: an optimizer's state to go on from (``history.state``).  ``progress``: a bar on the
    terminal; None shows one where tqdm is installed and someone is watching.

    Raises ValueError or TypeError, before any step is taken, for what cannot be trained on.
    """
    _check_run(model, loss, optimizer)
    check_count("fit", "epochs", epochs, 0)
    check_count("fit", "batch_size", batch_size)
    functions = _named_metrics("fit", metrics)
    rng = _generator(seed)
    model = model.to(backend)
    loss = loss.to(backend_of(leaves(model)[0]))
    x, t, weight = _place(model, loss, x, t, weight)
    count = check_samples("fit", x=x, t=t, weight=weight)
    _check_targets(model, loss, x, t, batch_size)
    if last == "drop" and count < batch_size:
        raise ValueError(f'fit: last="drop" leaves no batch: batch_size={batch_size} is more than {count} samples')
    held_out = _held_out(model, loss, validation, batch_size)
    state = _starting_state(optimizer, model, state)

    history = History(state=state)
    steps = count // batch_size if last == "drop" else -(-count // batch_size)
    with _bar(epochs * steps, progress) as bar:
        for _ in range(epochs):
            start = time.perf_counter()
            log = _LossLog(loss.reduction)
            for batch in batches(x, t, batch_size, rng=rng if shuffle else None, weight=weight, last=last):
                model, state, value = train_step(model, loss, optimizer, state, *batch)
                if log.add(value, batch):
                    bar.update(log.read())
            bar.update(log.read())
            history.loss.append(log.result())
            history.seconds.append(time.perf_counter() - start)
            history.state = state
            bar.set_postfix(loss=f"{history.loss[-1]:.4g}")
            if functions:
                _append(history.metrics, _measure(model, None, functions, x, t))
            if held_out is not None:
                found = _measure(model, loss, functions, *held_out)
                history.validation_loss.append(found.pop("loss"))
                _append(history.validation_metrics, found)
    return model, history


class _LossLog:
    """The losses of an epoch.  They stay on their device and are read a thousand at a time."""

    def __init__(self, reduction: str) -> None:
        self.reduction = reduction
        self.waiting: list[tuple[Array, Array | float]] = []
        self.sum = self.count = 0.0

    def add(self, value: Array, batch: tuple[Array, ...]) -> bool:
        """Note a batch's loss; True when it is time to read."""
        share: Array | float = float(batch[0].shape[0])
        if len(batch) == 3:
            share = namespace(batch[2]).sum(batch[2])
        self.waiting.append((value, 1.0 if self.reduction == "sum" else share))
        return len(self.waiting) >= 1000

    def read(self) -> int:
        """Bring the waiting losses to the host in one transfer; gives back how many there were."""
        values = _to_floats([value for value, _ in self.waiting])
        shares = _to_floats([share for _, share in self.waiting])
        self.sum += math.fsum(value * share for value, share in zip(values, shares, strict=True))
        self.count += math.fsum(shares)
        self.waiting = []
        return len(values)

    def result(self) -> float:
        """The mean loss, counted by samples; with reduction="sum", the sum."""
        return self.sum if self.reduction == "sum" else self.sum / self.count


def _to_floats(numbers: list[Array | float]) -> list[float]:
    if not numbers or isinstance(numbers[0], float):
        return numbers
    xp = namespace(numbers[0])
    return [float(x) for x in to_numpy(xp.stack([xp.asarray(number) for number in numbers]))]


class _NoBar:
    """Stands in for tqdm where no bar is shown."""

    def __enter__(self) -> _NoBar:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def update(self, steps: int) -> None:
        pass

    def set_postfix(self, **words: str) -> None:
        pass


def _bar(steps: int, progress: bool | None) -> Any:
    if progress is False or (progress is None and not sys.stderr.isatty()):
        return _NoBar()
    try:
        from tqdm import tqdm
    except ImportError:
        if progress is None:
            return _NoBar()
        raise ImportError('progress=True needs tqdm: pip install "martlet[progress]"') from None
    return tqdm(total=steps, unit="step")


def _check_run(model: Any, loss: Any, optimizer: Any) -> None:
    for name, value, wanted in (("model", model, Layer), ("loss", loss, Loss), ("optimizer", optimizer, Optimizer)):
        if not isinstance(value, wanted):
            hint = f"; write {value.__name__}(...)" if isinstance(value, type) else ""
            raise TypeError(f"fit: {name} must be a martlet {wanted.__name__}, got {describe(value)}{hint}")
    if not leaves(learned(model)):
        raise ValueError("fit: the model has nothing to learn")
    if loss.reduction == "none":
        raise ValueError('fit: the loss must be one number; use reduction="mean" or "sum", not "none"')


def _check_targets(model: Layer, loss: Loss, x: Array, t: Array, batch_size: int) -> None:
    """Read the targets here, once, and compare shapes on a first batch, so that no step has to."""
    rows = min(batch_size, x.shape[0])
    y = model.predict(x[:rows, ...])
    loss.value(y, t[:rows, ...])
    loss.check_targets(y, t)


def _held_out(model: Layer, loss: Loss, validation: Any, batch_size: int) -> tuple[Array, Array] | None:
    if validation is None:
        return None
    if not isinstance(validation, tuple) or len(validation) != 2:
        raise TypeError(f"fit: validation must be a tuple (x, t), got {describe(validation)}")
    x, t, _ = _place(model, loss, *validation, None)
    check_samples("fit: validation", x=x, t=t)
    _check_targets(model, loss, x, t, batch_size)
    return x, t


def _generator(seed: Any) -> np.random.Generator:
    if hasattr(seed, "permutation"):
        return seed
    check_count("fit", "seed", seed, 0)
    return generator(seed)


def _starting_state(optimizer: Optimizer, model: Layer, state: Any) -> Any:
    """A new state, or a copy of the given one on the model's device, if it is this optimizer's."""
    if state is None:
        return optimizer.init(model)
    if type(state) is not optimizer.State:
        raise TypeError(f"fit: state must come from {type(optimizer).__name__}, got {type(state).__name__}")
    for name in optimizer.numbers:
        kept, wanted = to_numpy(getattr(state, name)), getattr(optimizer, name)
        if kept != host.asarray(wanted, dtype=kept.dtype):
            raise ValueError(
                f"fit: the state has {name}={kept:g}, but the optimizer {name}={wanted:g}; to go on with the "
                f'optimizer\'s: state=martlet.replace(state, {{"{name}": {wanted:g}}})'
            )
    return state.to(backend_of(leaves(model)[0]))


def _append(curves: dict[str, list[float]], found: dict[str, float]) -> None:
    for name, number in found.items():
        curves.setdefault(name, []).append(number)
