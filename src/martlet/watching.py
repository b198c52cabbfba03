"""A model that is watched: the same layers, and somebody who stands beside each verb as it is called.

Whoever looks for the layer that went wrong needs nothing of the layers themselves: each is exchanged for one of a
class derived from its own, whose forward and backward go through a function of the watcher's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from martlet.layer import Layer
from martlet.tree import is_tree, remake


class Call(NamedTuple):
    """A verb that is about to be called: whose, where that layer stands ("1.f"; "" is the model), and with what."""

    inner: Layer  # of its own class, around layers that are watched
    path: str
    verb: str
    given: tuple[Any, ...]

    @property
    def layer(self) -> Layer:
        """The layer as nobody watches it."""
        plain: Layer = _unwatched(self.inner)
        return plain

    def run(self) -> tuple[Any, Any]:
        """Call it: what the layer would have given."""
        pair: tuple[Any, Any] = getattr(self.inner, self.verb)(*self.given)
        return pair


Around = Callable[[Call], tuple[Any, Any]]


def watched(tree: Any, around: Around, path: str = "") -> Any:
    """The same model, in which ``around(call)`` stands in for each layer's forward and backward.

    It gives back what ``call.run()`` gives.  Layers are found in fields and tuples, however deep.
    """
    if tree is None:
        return None
    if isinstance(tree, tuple):
        return tuple(watched(item, around, join(path, str(i))) for i, item in enumerate(tree))
    changed = {
        name: watched(value, around, path if name == "layers" and isinstance(value, tuple) else join(path, name))
        for name in tree._rest
        if is_tree(value := getattr(tree, name))
    }
    inner = remake(tree, changed)
    return _as(_watching(type(tree), path, around), inner) if isinstance(tree, Layer) else inner


def _watching(kind: type[Layer], path: str, around: Around) -> type[Layer]:
    """A class derived from the layer's own, so that whoever asks what it is gets the same answer.

    The verbs themselves run on a layer of the class itself: so the gradients that it makes are of that class.
    """

    def forward(self: Any, x: Any) -> tuple[Any, Any]:
        return around(Call(_as(kind, self), path, "forward", (x,)))

    def backward(self: Any, cache: Any, dout: Any) -> tuple[Any, Any]:
        return around(Call(_as(kind, self), path, "backward", (cache, dout)))

    names = {"forward": forward, "backward": backward, "__module__": kind.__module__, "_watches": kind}
    return type(kind.__name__, (kind,), names)


def _as(kind: type[Layer], layer: Layer) -> Layer:
    new: Layer = object.__new__(kind)
    new.__dict__.update(layer.__dict__)
    return new


def _unwatched(tree: Any) -> Any:
    if isinstance(tree, tuple):
        return tuple(_unwatched(item) for item in tree)
    if tree is None:
        return None
    plain = remake(tree, {name: _unwatched(part) for name in tree._rest if is_tree(part := getattr(tree, name))})
    return _as(tree._watches, plain) if hasattr(tree, "_watches") else plain


def label(tree: Any, path: str) -> str:
    """How a message names a layer: ``layer 1.f (Affine)``."""
    return f"layer {path} ({type(tree).__name__})" if path else f"the model ({type(tree).__name__})"


def join(path: str, name: str) -> str:
    """A name below another: ``1.f``."""
    return f"{path}.{name}" if path else name
