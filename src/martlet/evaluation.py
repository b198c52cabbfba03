"""How good a model is: its loss and other metrics on some data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from martlet.backend import Array, as_backend, backend_of, describe, host, is_array, kind, namespace, to_numpy
from martlet.batches import place_data, width_of
from martlet.checks import complain_shape
from martlet.layer import Layer
from martlet.layers import Dropout, Flatten, Freeze, Identity, Reshape, Sequential, Sigmoid
from martlet.loss import Loss
from martlet.optimizers import Optimizer
from martlet.tree import leaves

if TYPE_CHECKING:
    import numpy as np

Metric = Callable[[Array, Array], float]

ROWS = 8192  # samples, whose outputs are computed together: more of them take memory, and no less time

KEEP_VALUES = (Identity, Reshape, Flatten, Dropout)  # what a Sigmoid gives goes through them as it is

KINDS = {"model": Layer, "loss": Loss, "optimizer": Optimizer}


def check_kinds(owner: str, **given: Any) -> None:
    """A model, a loss and an optimizer are what they must be; the loss gives one number."""
    for name, value in given.items():
        if not isinstance(value, KINDS[name]):
            hint = f"; write {value.__name__}(...)" if isinstance(value, type) else ""
            raise TypeError(f"{owner}: {name} must be a martlet {KINDS[name].__name__}, got {describe(value)}{hint}")
    loss = given.get("loss")
    if loss is not None and loss.reduction == "none":
        raise ValueError(
            f'{owner}: the loss must be one number, but {type(loss).__name__} has reduction="none"; use "mean" or "sum"'
        )


def accuracy(model: Layer, x: Any, t: Any) -> float:
    """The share of samples that the model classifies right.

    With outputs (N, C), the class of the largest; with (N, 1) or (N,), the one class where they are above
    zero, as logits are, or above a half, where the model ends with a Sigmoid.  t: labels (N,), or shaped like
    the output (rows of probabilities; 0 and 1).  The data is moved to the model.
    """
    check_kinds("accuracy", model=model)
    x, t, _ = place_data("accuracy", model, None, x, t)
    return measure("accuracy", model, None, {"accuracy": _accuracy}, x, t)["accuracy"]


def _accuracy(y: np.ndarray, t: np.ndarray, boundary: float = 0.0) -> float:
    classes = y.shape[1] if y.ndim == 2 else 1
    if host.any(host.isnan(y)):
        return math.nan  # which names no class; argmax would give it one
    if classes > 1 and t.shape == y.shape[:1]:
        if kind(t.dtype) != "integer" or t.min() < 0 or t.max() >= classes:
            raise ValueError(
                f"accuracy: t must hold integer labels, 0 … {classes - 1}, got {t.dtype} from {t.min()} to {t.max()}"
            )
        right = host.argmax(y, axis=1) == t
    elif y.shape != t.shape:
        hint = "; write t[:, None]" if t.shape == y.shape[:1] else ""
        hint = "; write t[:, 0]" if t.shape == (len(y), 1) else hint
        complain_shape("accuracy", "t", t, tuple(y.shape), f"the shape of the output{hint}")
    elif classes > 1:
        _check_rows(t)
        right = host.argmax(y, axis=1) == host.argmax(t, axis=1)
    else:
        right = (y > boundary) == (t > 0.5)
    return float(host.mean(right))


def _check_rows(t: np.ndarray) -> None:
    if (host.abs(host.sum(t, axis=1, dtype="float64") - 1.0) > 0.01).any():
        raise ValueError(
            "accuracy: each row of t must add up to 1, the probabilities of one class each; for samples of "
            'several classes, or none, give a metric of your own: {"name": function of (y, t)}'
        )


def _mae(y: np.ndarray, t: np.ndarray) -> float:
    """The mean absolute error."""
    _check_regression("mae", y, t)
    return float(host.mean(host.abs(y.astype("float64") - t)))


def _r2(y: np.ndarray, t: np.ndarray) -> float:
    """The share of the targets' variance that the model explains: 1 - Σ (y - t)² / Σ (t - mean t)².

    The mean over the columns.  Of a column that does not vary nothing can be explained: 1 if it is hit
    exactly, else 0, as scikit-learn has it.
    """
    _check_regression("r2", y, t)
    y, t = y.astype("float64").reshape(len(y), -1), t.astype("float64").reshape(len(t), -1)
    left, all_ = ((y - t) ** 2).sum(axis=0), ((t - t.mean(axis=0)) ** 2).sum(axis=0)
    constant = all_ == 0
    shares = host.where(constant, left == 0, 1.0 - left / host.where(constant, 1.0, all_))
    return float(shares.mean()) if host.all(host.isfinite(left)) else math.nan


def _check_regression(name: str, y: np.ndarray, t: np.ndarray) -> None:
    if y.shape != t.shape:
        hint = "; write t[:, None]" if (*t.shape, 1) == y.shape else ""
        hint = "; write t[:, 0]" if t.shape == (*y.shape, 1) else hint
        complain_shape(name, "t", t, tuple(y.shape), f"the shape of the output{hint}")


METRICS: dict[str, Metric] = {"accuracy": _accuracy, "mae": _mae, "r2": _r2}


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

    A metric is a name ("accuracy", "mae", "r2"), or in a mapping a function of output and target, both
    NumPy arrays, that gives a number.  ``weight`` weighs the loss, not the metrics.  The outputs are computed
    some thousand samples at a time, so that much data takes little memory.
    """
    check_kinds("evaluate", model=model)
    if loss is not None:
        check_kinds("evaluate", loss=loss)
    functions = named_metrics("evaluate", metrics)
    if loss is not None and leaves(model):
        loss = loss.to(backend_of(leaves(model)[0]), dtype=width_of(model))
    x, t, weight = place_data("evaluate", model, loss, x, t, weight)
    return measure("evaluate", model, loss, functions, x, t, weight)


def measure(
    owner: str,
    model: Layer,
    loss: Loss | None,
    metrics: Mapping[str, Metric],
    x: Array,
    t: Array,
    weight: Array | None = None,
    *,
    least: int = ROWS,
) -> dict[str, float]:
    """The loss and the metrics on data that has been placed, each a number on the host."""
    found: dict[str, float] = {}
    with backend_of(x).active():
        y = outputs(model, x, least)
        if loss is not None:
            loss.check_weights()
            value = loss.value(y, t, weight)
            loss.check_targets(y, t)
            found["loss"] = float(to_numpy(value))
        return found | apply(owner, model, metrics, y, t)


def outputs(model: Layer, x: Array, least: int = ROWS) -> Any:
    """What the model predicts, computed for some thousand samples at a time, and at least for so many."""
    rows, count = max(least, ROWS), x.shape[0]
    if count <= rows:
        return model.predict(x)
    parts = [model.predict(x[start : min(start + rows, count), ...]) for start in range(0, count, rows)]
    return namespace(x).concat(parts, axis=0)


def boundary_of(model: Layer) -> float:
    """Where an output of one column divides two classes: at 0.5 if a Sigmoid gives it, and else at 0, as a logit."""
    while isinstance(model, Sequential | Freeze):
        inner = (model.layer,) if isinstance(model, Freeze) else model.layers
        model = next((layer for layer in reversed(inner) if not isinstance(layer, KEEP_VALUES)), Identity())
    return 0.5 if isinstance(model, Sigmoid) else 0.0


def check_metrics(owner: str, model: Layer, metrics: Mapping[str, Metric], y: Array, t: Array) -> None:
    """Find out now what martlet's own metrics would say of the targets; y: the output for the first of them."""
    known = {name: function for name, function in metrics.items() if METRICS.get(name) is function}
    apply(owner, model, known, y, t[: y.shape[0], ...])
    if "accuracy" in known and len(y.shape) == 2 and y.shape[1] > 1 and t.shape[1:] == y.shape[1:]:
        _check_rows(to_numpy(t))


def apply(owner: str, model: Layer, metrics: Mapping[str, Metric], y: Array, t: Array) -> dict[str, float]:
    """The metrics of some output of the model's."""
    if not metrics:
        return {}
    views = _read_only(y), _read_only(t)
    exact = {name: partial(f, boundary=boundary_of(model)) if f is _accuracy else f for name, f in metrics.items()}
    return {name: _number(owner, name, function(*views)) for name, function in exact.items()}


def _read_only(x: Array) -> np.ndarray:
    """An array on the host that cannot be written to: on the CPU its memory may be the user's own."""
    view = to_numpy(x).view()
    view.flags.writeable = False
    return view


def _number(owner: str, name: str, value: Any) -> float:
    try:
        number = as_backend("numpy").asarray(value, "float64")
        if number.shape == ():
            return float(number)
    except (TypeError, ValueError):  # no number at all
        pass
    raise TypeError(f"{owner}: the metric {name!r} must give a number, got {describe(value)}")


def named_metrics(owner: str, metrics: Iterable[str] | Mapping[str, Metric]) -> dict[str, Metric]:
    """The functions of the metrics that are asked for, by name."""
    known = metrics if isinstance(metrics, Mapping) else METRICS
    one = isinstance(metrics, str) or not isinstance(metrics, Iterable) or is_array(metrics)
    names: tuple[Any, ...] = (metrics,) if one else tuple(metrics)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(
                f'{owner}: metrics must be names or a mapping {{"name": function}}, got {describe(metrics)}'
            )
        if name == "loss":
            raise ValueError(f'{owner}: a metric cannot have the name "loss", under which the loss is given back')
        if name not in known:
            raise ValueError(
                f'{owner}: there is no metric {name!r}; known: {", ".join(METRICS)}; your own: {{"name": function}}'
            )
        if not callable(known[name]):
            raise TypeError(f"{owner}: the metric {name!r} must be a function of (y, t), got {describe(known[name])}")
    return {name: known[name] for name in names}
