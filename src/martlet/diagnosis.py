"""Where a number stopped being finite: the epoch, the step and the layer of the first NaN or infinity.

A training run does not look at every number while it goes; it reads its losses now and then.  When one of
them is not finite, the steps since the last good look are taken again, which a pure step allows, and in the one
that was bad every layer is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from martlet.backend import Array, is_floating, namespace, to_numpy
from martlet.layer import Layer
from martlet.loss import Loss
from martlet.optimizers import Optimizer
from martlet.step import gradient
from martlet.tree import Tree, is_tree, leaves, named_leaves, remake, subtrees


class NotFinite(ArithmeticError):
    """A loss or a weight became infinite or NaN.

    epoch, step (both from 1; the step within the epoch), layer: where it was seen first.  model, history:
    as they were before that step, all finite.
    """

    def __init__(self, epoch: int, step: int, layer: str, what: str, model: Any, history: Any) -> None:
        super().__init__(f"fit: not finite at epoch {epoch}, step {step}, {layer}: {what}")
        self.epoch, self.step, self.layer, self.what = epoch, step, layer, what
        self.model, self.history = model, history

    def __reduce__(self) -> Any:  # so that it comes home from another process
        return type(self), (self.epoch, self.step, self.layer, self.what, self.model, self.history)


class Finding(NamedTuple):
    """The step (from 1, of those taken again), the layer, what was seen, and model and state before it."""

    step: int
    layer: str
    what: str
    model: Any
    state: Any


class Seen(NamedTuple):
    """A layer that gave something not finite, going forward or backward."""

    layer: str
    verb: str
    is_nan: bool


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


def any_nan(value: Any) -> bool:
    """Whether there is a NaN in an array, a tree or a tuple."""
    return any(bool(to_numpy(namespace(x).any(namespace(x).isnan(x)))) for x in _arrays(value) if is_floating(x))


def _arrays(value: Any) -> list[Array]:
    if value is None or isinstance(value, Tree):
        return leaves(value)
    if isinstance(value, tuple):
        return [x for item in value for x in _arrays(item)]
    return [value]


def explain(model: Any, state: Any, loss: Loss, optimizer: Optimizer, batches: Iterable[tuple[Array, ...]]) -> Finding:
    """Take the steps again from a good model, and say where the first number that is not finite comes from."""
    sound = named_leaves(model).keys() - _not_finite(model).keys()  # a mask of -inf, say, is meant to be there
    step, expected, source = 0, None, iter(batches)
    for step, batch in enumerate(source, start=1):
        value, grad, after = gradient(model, loss, *batch)
        new, new_state = optimizer.update(after, grad, state)
        broken = [name for name in _not_finite(new) if name in sound]
        if broken or not is_finite(value):
            if expected is None and (other := next(source, None)) is not None:
                expected = _infinite(model, loss, other)
            layer, what = _first(model, loss, after, expected or set(), broken, value, batch)
            return Finding(step, layer, what, model, state)
        expected = _infinite(model, loss, batch) if expected is None else expected
        model, state = new, new_state
    return Finding(step, "the model", "it came and went: the steps, taken again, were finite", model, state)


def _not_finite(model: Any) -> dict[str, Array]:
    return {name: x for name, x in named_leaves(model).items() if not is_finite(x)}


def _infinite(model: Any, loss: Loss, batch: tuple[Array, ...]) -> set[str]:
    """The layers whose output holds an infinity even where all is well: a mask of -inf, and what follows it."""
    seen: list[Seen] = []
    value, _, _ = gradient(_watched(model, seen), loss, *batch)
    return {each.layer for each in seen if each.verb == "forward"} if is_finite(value) else set()


def _first(
    model: Any, loss: Loss, after: Any, expected: set[str], broken: list[str], value: Array, batch: tuple[Array, ...]
) -> tuple[str, str]:
    """Who was first in a step that is known to be bad, and with what."""
    seen: list[Seen] = []
    if not is_finite(batch[0]):
        return "the data", "x holds NaN or infinity"
    gradient(_watched(model, seen), loss, *batch)
    for each in seen:
        if each.verb == "forward" and (each.is_nan or each.layer not in expected):
            return each.layer, "its output is the first that is not finite"
    if not is_finite(value):
        return "the loss", f"it is {float(to_numpy(value))}, though the output is finite{' or masked' * bool(expected)}"
    for each in seen:
        if each.verb == "backward":
            return each.layer, "its gradient is the first that is not finite"
    for name in _not_finite(after):
        if name in broken:
            return _owner(model, name), f"what it keeps of the batches, {name}, is no longer finite"
    what = f"the update makes {broken[0]} infinite or NaN from a finite gradient; a smaller lr may help"
    return _owner(model, broken[0]), what


def _watched(tree: Any, seen: list[Seen], path: str = "") -> Any:
    """The same model, in which each layer notes when it gives something that is not finite."""
    if tree is None:
        return None
    if isinstance(tree, tuple):
        return tuple(_watched(item, seen, _join(path, str(i))) for i, item in enumerate(tree))
    changed = {
        name: _watched(value, seen, path if name == "layers" and isinstance(value, tuple) else _join(path, name))
        for name in tree._rest
        if is_tree(value := getattr(tree, name))
    }
    inner = remake(tree, changed)
    return _watch(inner, _label(tree, path), seen) if isinstance(tree, Layer) else inner


def _watch(layer: Layer, label: str, seen: list[Seen]) -> Layer:
    """The layer as one of a class derived from its own, so that whoever asks what it is gets the same answer."""
    kind = type(layer)

    def forward(self: Any, x: Any) -> tuple[Any, Any]:
        y, cache = kind.forward(self, x)
        if not is_finite(y):
            seen.append(Seen(label, "forward", any_nan(y)))
        return y, cache

    def backward(self: Any, cache: Any, dout: Any) -> tuple[Any, Any]:
        dx, grad = kind.backward(self, cache, dout)
        if not is_finite((dx, grad)):
            seen.append(Seen(label, "backward", any_nan((dx, grad))))
        return dx, grad

    names = {"forward": forward, "backward": backward, "__module__": kind.__module__}
    new: Layer = object.__new__(type(kind.__name__, (kind,), names))
    new.__dict__.update(layer.__dict__)
    return new


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
