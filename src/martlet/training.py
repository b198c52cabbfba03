"""Training: gradient, update, repeat.

``gradient`` and ``train_step`` are pure functions, and all there is to it; ``fit`` is the loop around them
that most people need.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
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
    is_floating,
    to_numpy,
)
from martlet.batches import batches, check_batches, place_data
from martlet.checks import check_count, check_switch
from martlet.evaluation import Metric, check_kinds, measure, named_metrics
from martlet.layer import Layer
from martlet.layers.losses import Loss
from martlet.optimizers import Optimizer
from martlet.progress import LossLog, progress_bar
from martlet.tree import Tree, learned, leaves, named_leaves, rebuild

if TYPE_CHECKING:
    import numpy as np

L = TypeVar("L", bound=Layer)


def gradient(model: L, loss: Loss, x: Any, t: Array, weight: Array | None = None) -> tuple[Array, L | None, L]:
    """Forward, then backward: the loss, dL/dmodel, and the model after having seen the batch.

    ``value, grad, model = gradient(model, loss, x, t)``; then ``grad[0].W`` is dL/dW of the first layer.
    x, t and weight must be on the model's device, in its dtype (``fit`` sees to that by itself).
    """
    if not (isinstance(model, Layer) and isinstance(loss, Loss) and loss.reduction != "none"):
        check_kinds("gradient", model=model, loss=loss)
    y, cache = model.forward(x)
    value, loss_cache = loss.forward(y, t, weight)
    _, grad = model.backward(cache, loss.backward(loss_cache))
    return value, grad, model.observe(cache)


def train_step(
    model: L, loss: Loss, optimizer: Optimizer, state: Any, x: Any, t: Array, weight: Array | None = None
) -> tuple[L, Any, Array]:
    """One step of training as a pure function: the new model, the new state, and the loss before the step."""
    if not isinstance(optimizer, Optimizer):
        check_kinds("train_step", model=model, loss=loss, optimizer=optimizer)
    value, grad, model = gradient(model, loss, x, t, weight)
    model, state = optimizer.update(model, grad, state)
    return model, state, value


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
    check_kinds("fit", model=model, loss=loss, optimizer=optimizer)
    if not leaves(learned(model)):
        raise ValueError("fit: the model has nothing to learn")
    check_count("fit", "epochs", epochs, 0)
    check_batches("fit", batch_size, last)
    check_switch("fit", "shuffle", shuffle)
    if progress is not None:
        check_switch("fit", "progress", progress)
    functions = named_metrics("fit", metrics)
    rng = _generator(seed)
    model = model.to(backend)
    loss = loss.to(backend_of(leaves(model)[0]))
    x, t, weight = place_data("fit", model, loss, x, t, weight)
    count = x.shape[0]
    _check_targets(model, loss, x, t, batch_size)
    if last == "drop" and count < batch_size:
        raise ValueError(f'fit: last="drop" leaves no batch: batch_size={batch_size} is more than {count} samples')
    held_out = _held_out(model, loss, validation, batch_size)
    state = _starting_state(optimizer, model, state)

    history = History(state=state)
    steps = count // batch_size if last == "drop" else -(-count // batch_size)
    with progress_bar(epochs * steps, progress) as bar:
        for _ in range(epochs):
            start = time.perf_counter()
            log = LossLog(loss.reduction)
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
                _append(history.metrics, measure("fit", model, None, functions, x, t))
            if held_out is not None:
                found = measure("fit: validation", model, loss, functions, *held_out)
                history.validation_loss.append(found.pop("loss"))
                _append(history.validation_metrics, found)
    return model, history


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
    x, t, _ = place_data("fit: validation", model, loss, *validation)
    _check_targets(model, loss, x, t, batch_size)
    return x, t


def _generator(seed: Any) -> np.random.Generator:
    if hasattr(seed, "permutation"):
        return seed
    check_count("fit", "seed", seed, 0)
    return generator(seed)


def _starting_state(optimizer: Optimizer, model: Layer, state: Any) -> Any:
    """A new state, or a copy of the given one where the model is, if it is this optimizer's and this model's."""
    new = optimizer.init(model)
    if state is None:
        return new
    if type(state) is not optimizer.State:
        raise TypeError(f"fit: state must come from {type(optimizer).__name__}, got {type(state).__name__}")
    for name in optimizer.numbers:
        kept, wanted = to_numpy(getattr(state, name)), getattr(optimizer, name)
        if kept != host.asarray(wanted, dtype=kept.dtype):
            raise ValueError(
                f"fit: the state has {name}={kept:g}, but the optimizer {name}={wanted:g}; to go on with the "
                f'optimizer\'s: state=martlet.replace(state, {{"{name}": {wanted:g}}})'
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


def _append(curves: dict[str, list[float]], found: dict[str, float]) -> None:
    for name, number in found.items():
        curves.setdefault(name, []).append(number)
