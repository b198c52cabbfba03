"""How good a model is: its loss and other metrics on some data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from martlet.backend import Array, describe, namespace, to_numpy
from martlet.batches import check_samples, place_data
from martlet.checks import complain_shape
from martlet.layer import Layer
from martlet.layers.losses import Loss

Metric = Callable[[Array, Array], float]


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
    functions = named_metrics("evaluate", metrics)
    x, t, weight = place_data(model, loss, x, t, weight)
    check_samples("evaluate", x=x, t=t, weight=weight)
    return measure(model, loss, functions, x, t, weight)


def measure(
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


def named_metrics(owner: str, metrics: Iterable[str] | Mapping[str, Metric]) -> dict[str, Metric]:
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
