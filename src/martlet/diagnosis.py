"""Where a number stopped being finite: the epoch, the step and the layer of the first NaN or infinity.

A training run does not look at every number while it goes; it reads its losses now and then.  When one of
them is not finite, the steps since the last good look are taken again, which a pure step allows, with every
layer looked at.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from martlet.backend import Array, is_floating, namespace, to_numpy
from martlet.layer import Layer
from martlet.loss import Loss
from martlet.optimizers import Optimizer
from martlet.step import gradient
from martlet.tree import Tree, is_tree, learned, leaves, named_leaves, remake, subtrees


class NotFinite(ArithmeticError):
    """A loss or a weight became infinite or NaN.

    epoch, step (both from 1; the step within the epoch), layer: where it was seen first.  model, history:
    as they were before that step, all finite.
    """

    def __init__(self, epoch: int, step: int, layer: str, what: str, model: Any, history: Any) -> None:
        super().__init__(f"fit: not finite at epoch {epoch}, step {step}, {layer}: {what}")
        self.epoch, self.step, self.layer = epoch, step, layer
        self.model, self.history = model, history


class Finding(NamedTuple):
    """The step (from 1, of those taken again), the layer, what was seen, and model and state before it."""

    step: int
    layer: str
    what: str
    model: Any
    state: Any


def is_finite(value: Any) -> bool:
    """Whether all floating-point numbers in an array, a tree or a tuple are finite."""
    return all_finite(_arrays(value))


def all_finite(arrays: Iterable[Array]) -> bool:
    """Whether all floating-point numbers in some arrays are finite, asked in one transfer from their device."""
    floats = [x for x in arrays if is_floating(x)]
    if not floats:
        return True
    xp = namespace(floats[0])
    return bool(to_numpy(xp.all(xp.stack([xp.all(xp.isfinite(x)) for x in floats]))))


def _arrays(value: Any) -> list[Array]:
    if value is None or isinstance(value, Tree):
        return leaves(value)
    if isinstance(value, tuple):
        return [x for item in value for x in _arrays(item)]
    return [value]


def explain(model: Any, state: Any, loss: Loss, optimizer: Optimizer, batches: Iterable[tuple[Array, ...]]) -> Finding:
    """Take the steps again from a good model, and say where the first number that is not finite comes from."""
    step = 0
    for step, (x, t, *weight) in enumerate(batches, start=1):
        seen: list[tuple[str, str]] = []
        value, grad, after = gradient(_watched(model, seen), loss, x, t, *weight)
        forward = [layer for layer, verb in seen if verb == "forward"]
        if not is_finite(x):
            return Finding(step, "the data", "x holds NaN or infinity", model, state)
        if forward:
            return Finding(step, forward[0], "its output is the first that is not finite", model, state)
        if not is_finite(value):
            return Finding(
                step, "the loss", f"it is {float(to_numpy(value))}, though the output is finite", model, state
            )
        _, grad, after = gradient(model, loss, x, t, *weight)
        backward = [layer for layer, verb in seen if verb == "backward"]
        if backward:
            return Finding(step, backward[0], "its gradient is the first that is not finite", model, state)
        new, new_state = optimizer.update(after, grad, state)
        for name, array in named_leaves(learned(new)).items():
            if not is_finite(array):
                what = f"the update makes {name} infinite or NaN from a finite gradient; a smaller lr may help"
                return Finding(step, _owner(model, name), what, model, state)
        model, state = new, new_state
    return Finding(step, "the model", "it came and went: the steps, taken again, were finite", model, state)


class Watch(Layer):
    """A layer that notes, in a list of everyone's, where it is the first to give something not finite."""

    layer: Layer
    name: str
    seen: list[tuple[str, str]]

    def forward(self, x):
        y, cache = self.layer.forward(x)
        self._look("forward", y)
        return y, cache

    def backward(self, cache, dout):
        dx, grad = self.layer.backward(cache, dout)
        self._look("backward", (dx, grad))
        return dx, grad

    def _look(self, verb: str, value: Any) -> None:
        if not any(verb == seen for _, seen in self.seen) and not is_finite(value):
            self.seen.append((self.name, verb))

    def observe(self, cache):
        return self

    def __getattr__(self, name: str) -> Any:  # a composite may read its layer's arrays
        return getattr(self.__dict__["layer"], name)


def _watched(tree: Any, seen: list[tuple[str, str]], path: str = "") -> Any:
    """The same model with a Watch around every layer of it."""
    if tree is None:
        return None
    if isinstance(tree, tuple):
        return tuple(_watched(item, seen, _join(path, str(i))) for i, item in enumerate(tree))
    changed = {
        name: _watched(value, seen, path if name == "layers" else _join(path, name))
        for name in tree._rest
        if is_tree(value := getattr(tree, name))
    }
    inner = remake(tree, changed)
    return Watch(inner, _label(tree, path), seen) if isinstance(tree, Layer) else inner


def _owner(model: Any, name: str) -> str:
    """The layer that an array belongs to, by the array's name."""
    path, tree = name.rpartition(".")[0], model
    for part in path.split(".") if path else ():
        tree = dict(subtrees(tree))[part]
    return _label(tree, path)


def _label(tree: Any, path: str) -> str:
    return f"layer {path} ({type(tree).__name__})" if path else f"the model ({type(tree).__name__})"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
