"""What is checked, as one layer on the host in float64: a layer, a loss with its targets, or a model with its loss."""

from __future__ import annotations

from typing import Any

import numpy as np

from martlet.backend import Array, Backend, describe, is_floating
from martlet.checks import check_array
from martlet.layer import Layer
from martlet.layers import Sequential
from martlet.loss import Loss
from martlet.testing.differences import arrays_of, refill
from martlet.tree import kept, learned, map_leaves, named_leaves, replace

OWNER = "check_gradients"


class Against(Layer):
    """A loss with its targets, as a layer of y: so that a model with its loss is a Sequential."""

    loss: Loss
    t: Array = kept()
    weight: Array = kept(default=None)

    _learns = False
    input_name = "y"

    def forward(self, x):
        return self.loss.forward(x, self.t, self.weight)

    def backward(self, cache, dout):
        return self.loss.backward(cache, dout), None


def as_layer(subject: Layer | Loss, t: Any, weight: Any, loss: Any) -> Layer:
    """What is checked, as one layer: a layer, a loss with its targets, or both in a row."""
    if isinstance(subject, Loss) and loss is not None:
        raise TypeError(f"{OWNER}: loss= goes with a layer, but {type(subject).__name__} is a loss itself")
    judge = subject if isinstance(subject, Loss) else loss
    if judge is None:
        if t is not None or weight is not None:
            raise TypeError(f"{OWNER}: t and weight go with a loss; for a model with its loss, write loss=...")
        return lift_tree(subject)
    if not isinstance(judge, Loss):
        raise TypeError(f"{OWNER}: loss must be a loss, got {describe(judge)}")
    against = Against(lift_tree(judge), lift("t", t), None if weight is None else lift("weight", weight))
    return against if judge is subject else Sequential(lift_tree(subject), against)


def lift_tree(tree: Any) -> Any:
    return map_leaves(lambda x: lift(f"an array of {type(tree).__name__}", x), tree)


def lift(name: str, x: Any) -> Any:
    """A copy on the host, in float64; integers stay integers, and tuples tuples."""
    if isinstance(x, tuple):
        return tuple(lift(f"{name}[{i}]", part) for i, part in enumerate(x))
    check_array(OWNER, name, x)
    return Backend("numpy").asarray(x, "float64" if is_floating(x) else None, copy=True)


def draw(y: Any) -> Any:
    """A dout for this output: random, for one of ones would not see what adds up to 0; and 0 for an infinite output."""
    rng = np.random.default_rng(0)
    return refill(y, (np.where(np.isfinite(part), rng.standard_normal(part.shape), 0.0) for part in arrays_of(y)))


def like(y: Any, dout: Any) -> Any:
    """dout itself, if it is built like the output."""
    if shape_of(dout) != shape_of(y):
        raise ValueError(f"{OWNER}: dout has shape {shape_of(dout)}, expected {shape_of(y)} (the shape of the output)")
    return dout


def shape_of(y: Any) -> Any:
    return tuple(map(shape_of, y)) if isinstance(y, tuple) else tuple(y.shape)


def beside(layer: Layer, x: Any) -> tuple[Layer, Any]:
    """The layer and its input a little to the side: what it has learned, and x, moved by a thousandth."""
    rng = np.random.default_rng(3)

    def moved(a: np.ndarray) -> np.ndarray:
        size = float(np.sqrt(np.mean(a * a))) if a.size and a.dtype.kind == "f" else 0.0
        return a + 1e-3 * (size or 1.0) * rng.standard_normal(a.shape) if a.dtype.kind == "f" else a

    changes = {name: moved(a) for name, a in named_leaves(learned(layer)).items()}
    return replace(layer, changes), refill(x, (moved(a) for a in arrays_of(x)))
