"""Transformations of the gradient, on its way to the optimizer's rule: decay and clipping.

    SGD(lr=0.1, transforms=(L2(decay=0.01), ClipByNorm(limit=1.0)))

They are applied in the order in which they stand.  Like an optimizer's, their numbers are in the state:
``replace(state, {"transforms.1.limit": 0.5})``.
"""

from __future__ import annotations

from typing import Any, TypeVar

from martlet.backend import Array, namespace
from martlet.checks import check_number, check_switch, owner_name
from martlet.functions import clamp, narrow, wide
from martlet.numbered import Numbered
from martlet.tree import Tree, leaves, map_leaves, matching, rebuild

G = TypeVar("G", bound=Tree)


class Transform(Numbered):
    """The base of every transformation.  A new one declares its numbers and writes ``change``."""

    def change(self, model: Any, grad: G, state: Any) -> G:
        """The gradient that the optimizer is to see.  ``state`` holds the numbers as 0-d arrays.

        The optimizer has seen to it that each array of the gradient is like the model's own.
        """
        raise NotImplementedError(f"{owner_name(self)} has no change")


class L2(Transform):
    """g ← g + decay · p, the gradient of a penalty ½ decay Σ p² on the loss

    ``biases=False`` lets arrays of fewer than two axes be: biases, and the gamma and beta of normalizations.
    With Adam, whose steps do not grow with the gradient, AdamW decays more evenly.
    """

    decay: float
    biases: bool = True

    def __post_init__(self) -> None:
        check_number(self, "decay", self.decay, 0.0)
        check_switch(self, "biases", self.biases)

    def change(self, model, grad, state):
        def one(p: Array, g: Array) -> Array:
            return g if is_bias(p) and not self.biases else g + narrow(state.decay, p) * p

        pairs = zip(matching(grad, model), leaves(grad), strict=True)
        return rebuild(grad, [one(p, g) for p, g in pairs])


class ClipByValue(Transform):
    """g ← g, but nowhere less than -limit nor more than limit"""

    limit: float

    def __post_init__(self) -> None:
        check_number(self, "limit", self.limit, 0.0, open_low=True)

    def change(self, model, grad, state):
        return map_leaves(lambda g: clamp(g, -narrow(state.limit, g), narrow(state.limit, g)), grad)


class ClipByNorm(Transform):
    """g ← g · min(1, limit / ‖g‖), where ‖g‖ is the norm of the whole gradient, all its arrays together

    The direction stays.  Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural
    networks", 2013.
    """

    limit: float

    def __post_init__(self) -> None:
        check_number(self, "limit", self.limit, 0.0, open_low=True)

    def change(self, model, grad, state):
        arrays = [wide(g) for g in leaves(grad) if 0 not in g.shape]
        if not arrays:
            return grad
        xp = namespace(state.limit)
        # In units of the largest entry: the squares of the gradient that most needs clipping would overflow.
        largest = xp.max(xp.stack([narrow(xp.max(xp.abs(g)), state.limit) for g in arrays]))
        unit = xp.where(largest > 0.0, largest, 1.0)
        squares = [xp.sum((g / narrow(unit, g)) ** 2) for g in arrays]
        norm = xp.sqrt(xp.sum(xp.stack([narrow(square, state.limit) for square in squares])))
        both = xp.maximum(unit, state.limit)  # so that neither quotient overflows
        long, scale = norm * (unit / both) > state.limit / both, state.limit / xp.maximum(norm, 1.0)

        def clip(g: Array) -> Array:
            return narrow(xp.where(long, wide(g) / narrow(unit, wide(g)) * narrow(scale, wide(g)), wide(g)), g)

        return map_leaves(clip, grad)


def is_bias(p: Array) -> bool:
    """Whether an array is, by its fewer than two axes, a bias or the scale of a normalization."""
    return len(p.shape) < 2
