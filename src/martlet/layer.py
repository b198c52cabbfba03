"""A layer is a frozen tree of arrays with four verbs: forward, backward, predict, observe.

    y, cache = layer.forward(x)             training: the output, and what backward will need
    dx, grad = layer.backward(cache, dout)  dL/dx, and dL/dlayer as a layer of the same type
    y = layer.predict(x)                    inference: the output alone
    layer = layer.observe(cache)            the layer after having seen this batch

Here x and y are arrays with one sample per row, or tuples of such arrays; dout is dL/dy, shaped like y;
grad is None where there is nothing to learn.  No verb changes anything: what a layer has seen lies in the
cache, and what it becomes is returned.  A verb depends on its arguments alone, and not on Python's random
numbers, say: a run that is compiled calls it once, for all its steps (for noise, see ``Dropout``).
"""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

from martlet.backend import describe
from martlet.checks import gives_pair, reads_cache
from martlet.tree import Tree, is_tree, subtrees

L = TypeVar("L", bound="Layer")


class Layer(Tree):
    """The base of every layer.  A new one declares its arrays and writes forward and backward."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if inspect.isfunction(cls.__dict__.get("forward")):
            cls.forward = gives_pair(cls.forward)  # type: ignore[method-assign]
        if "backward" in cls.__dict__:
            cls.backward = reads_cache(cls.backward)  # type: ignore[method-assign]

    def forward(self, x: Any) -> tuple[Any, Any]:
        """The output for a batch, and the cache that backward needs."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self, cache: Any, dout: Any) -> tuple[Any, Any]:
        """From dL/dy to dL/dx and dL/dlayer.  The cache is the one that forward gave for this batch."""
        raise NotImplementedError(f"{type(self).__name__} has no backward")

    def predict(self, x: Any) -> Any:
        """The output at inference: forward without its cache, unless a layer says otherwise."""
        return self.forward(x)[0]

    def observe(self: L, cache: Any) -> L:
        """The layer after training on the batch of this cache: running statistics and noise counters move on."""
        return self

    @property
    def vocabulary(self) -> int | None:
        """How many words x may name, if it holds integers that name rows of a table: see ``Embedding``.

        None for a layer of floating-point numbers.  A network takes what the first of its layers takes.
        """
        first = next((child for _, child in subtrees(self)), None)
        return first.vocabulary if isinstance(first, Layer) else None

    def gradient(self: L, **parts: Any) -> L | None:
        """A layer of the same type that holds these gradients, and None everywhere else.

        ``self.gradient(W=x.T @ dout, b=...)``; None if every part is None.  Bypasses ``__init__``.
        """
        for part in parts.values():
            if part is not None and not (type(part) is tuple and _is_empty(part)):
                break
        else:
            return None
        grad = object.__new__(type(self))
        grad.__dict__.update(parts)
        if grad.__dict__.keys() != self.__dict__.keys():
            self._complete(grad.__dict__)
        return grad

    def _complete(self, fields: dict[str, Any]) -> None:
        """Fill in what a gradient was not given: the settings, and None for arrays and subtrees."""
        unknown = fields.keys() - self.__dict__.keys()
        if unknown:
            raise TypeError(f"{type(self).__name__}.gradient: there is no field named {', '.join(sorted(unknown))}")
        for name, value in self.__dict__.items():
            fields.setdefault(name, None if name in self._leaves or is_tree(value) else value)

    def _refusal(self, name: str, value: object) -> str:
        if not hasattr(self, "init"):
            return super()._refusal(name, value)
        takes = [p.name for p in inspect.signature(self.init).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
        sizes = [f"{v!r:.20}" for n in self._leaves if isinstance(v := getattr(self, n), int)]
        wanted = [name for name in takes if name != "rng"]
        given = sizes[: len(wanted)] if len(sizes) >= len(wanted) else wanted
        call = f"{type(self).__name__}.init({', '.join([*given, *(['rng'] if 'rng' in takes else [])])})"
        return f"{type(self).__name__} takes arrays, but {name} is {describe(value)}; to draw them: {call}"


def observed(layer: L, cache: Any) -> L:
    """The layer after having seen the batch of this cache, which must be a layer."""
    after = layer.observe(cache)
    if after is not layer and not isinstance(after, Layer):
        raise TypeError(f"{type(layer).__name__}.observe must give the layer, or a changed one, got {describe(after)}")
    return after


def check_observers(owner: str, model: Layer) -> None:
    """Whoever holds layers that learn from what they have seen must pass it on to them."""
    holds = [child for _, child in subtrees(model)]
    if isinstance(model, Layer) and type(model).observe is Layer.observe and any(map(_observes, holds)):
        raise TypeError(
            f"{owner}: {type(model).__name__} holds a layer that observes its batches, but has no observe of its own, "
            "in which to pass on the cache"
        )
    for child in holds:
        check_observers(owner, child)


def _observes(tree: Any) -> bool:
    """Whether a tree holds a layer with arrays that ``observe`` moves."""
    own = isinstance(tree, Layer) and type(tree).observe is not Layer.observe and not all(tree._leaves.values())
    return own or any(_observes(child) for _, child in subtrees(tree))


def _is_empty(parts: tuple[Any, ...]) -> bool:
    for part in parts:
        if type(part) is tuple:
            if not _is_empty(part):
                return False
        elif part is not None:
            return False
    return True
