"""What is tried for portability: a layer with its four verbs, or a loss, and what goes in and comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from martlet.backend import describe
from martlet.checks import check_array
from martlet.layer import Layer
from martlet.loss import Loss
from martlet.testing.targets import Target, on_host
from martlet.tree import Tree, is_tree, subtrees, take_apart


def run_layer(layer: Any, x: Any, dout: Any) -> tuple[Any, ...]:
    """The four verbs, in the order of a training step."""
    y, cache = layer.forward(x)
    dx, grad = layer.backward(cache, dout)
    return y, dx, grad, layer.observe(cache), layer.predict(x)


def run_loss(loss: Any, y: Any, t: Any, weight: Any, dout: Any) -> tuple[Any, ...]:
    """A loss and its slope, of equal samples and of weighted ones."""
    value, cache = loss.forward(y, t)
    dy = loss.backward(cache, dout)
    weighted, cache = loss.forward(y, t, weight)
    return value, dy, weighted, loss.backward(cache, dout)


@dataclass
class Subject:
    """What is tried: its verbs, and what goes in (in NumPy's float64) and comes out, with the names of both.

    ``reference``: what NumPy gave in float64, by name, once it has given it.
    """

    verbs: str
    run: Callable[..., tuple[Any, ...]]
    takes: dict[str, Any]
    gives: tuple[str, ...]
    reference: dict[str, np.ndarray] | None = None

    def given(self) -> tuple[Any, ...]:
        """What goes in.  dout, where there is none, is drawn like the output, for which forward must run."""
        if self.takes["dout"] is None:
            layer, *inputs, _ = [value for name, value in self.takes.items() if name != "weight"]
            y = layer.forward(*inputs)[0]
            arrays, build = take_apart(y)
            if not arrays:
                raise TypeError(f"{type(layer).__name__}.forward must give an array and its cache, got {describe(y)}")
            rng = np.random.default_rng(0)
            self.takes["dout"] = build([_rounded(rng.standard_normal(a.shape)) for a in arrays])
        return tuple(self.takes.values())

    @property
    def classes(self) -> set[type]:
        """The classes of the layer, of those that it holds, and of all that these derive from."""
        return {cls for tree in trees_in(next(iter(self.takes.values()))) for cls in type(tree).__mro__}


def subject_of(owner: str, layer: Any, x: Any, t: Any, dout: Any) -> Subject:
    """What is to be tried, brought to NumPy, or the TypeError that says what cannot be."""
    if not isinstance(layer, Layer | Loss):
        hint = f"; write {layer.__name__}(...)" if isinstance(layer, type) else ""
        raise TypeError(f"{owner}: layer must be a martlet Layer or Loss, got {describe(layer)}{hint}")
    is_layer = isinstance(layer, Layer)
    if is_layer != (t is None):
        raise TypeError(f"{owner}: t is for a loss and its targets, got {describe(t)} with {type(layer).__name__}")
    inputs = {"x": x} if is_layer else {"y": x, "t": t}
    for name, value in (inputs if dout is None else inputs | {"dout": dout}).items():
        for array in value if is_layer and isinstance(value, tuple) else (value,):
            check_array(owner, name, array)
    layer, x, t, dout = (_rounded(on_host(value)) for value in (layer, x, t, dout))
    if is_layer:
        takes = {"layer": layer, "x": x, "dout": dout}
        return Subject(
            "forward, backward, observe, predict", run_layer, takes, ("y", "dx", "grad", "observe", "predict")
        )
    weight = _rounded(np.random.default_rng(1).uniform(0.5, 2.0, x.shape[:1]))
    takes = {"loss": layer, "y": x, "t": t, "weight": weight, "dout": dout}
    gives = ("value", "dy", "weighted value", "weighted dy")
    return Subject("forward and backward, without and with weights", run_loss, takes, gives)


def _rounded(value: Any) -> Any:
    """The same in float64 with numbers that float32 holds, so that both are given the same."""
    numpy = Target("numpy")
    return numpy.put(numpy.put(value, "float32"), "float64")


def trees_in(value: Any) -> Iterator[Tree]:
    """A tree and all that it holds, itself first; nothing of what is no tree."""
    if isinstance(value, Tree):
        yield value
    if is_tree(value):
        for _, child in subtrees(value):
            yield from trees_in(child)
