"""What can be wrong with a gradient before one looks at its numbers, a sentence each.

dx is built like x, with None for integers; the layer's gradient is of the layer's own type, with an array
for every learned leaf, like that leaf, and None everywhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from martlet.backend import describe, dtype_name, is_array, is_floating, library_name, namespace
from martlet.testing.differences import arrays_of
from martlet.tree import is_tree, learned, named_leaves


def like_x(name: str, x: Any, dx: Any) -> Iterator[str]:
    """The complaints about dx; ``name`` is what it is called."""
    if not any(map(is_floating, arrays_of(x))):
        if arrays_of(dx) or not isinstance(dx, tuple | None):
            yield f"{name} must be None, for integers have no derivative, got {_words(dx)}"
    elif not isinstance(x, tuple):
        yield from _like_array(name, x, dx)
    elif not isinstance(dx, tuple) or len(dx) != len(x):
        yield f"{name} must be a tuple of {len(x)}, as {name[1:]} is, got {_words(dx)}"
    else:
        for i, (part, d) in enumerate(zip(x, dx, strict=True)):
            yield from like_x(f"{name}[{i}]", part, d)


def like_layer(tree: Any, grad: Any, path: str = "") -> Iterator[str]:
    """The complaints about the gradient of a layer, or of a part of it that stands at a path ("0.")."""
    if grad is None:
        yield from (f"the gradient of {path}{name} is missing" for name in named_leaves(learned(tree)))
    elif not isinstance(grad, type(tree)) or (isinstance(tree, tuple) and len(grad) != len(tree)):
        where, kind = path.rstrip(".") or "the layer", type(tree).__name__
        yield f"the gradient of {where} must be {kind}'s own self.gradient(...), got {_words(grad)}"
    elif isinstance(tree, tuple):
        for i, (part, d) in enumerate(zip(tree, grad, strict=True)):
            if part is not None:
                yield from like_layer(part, d, f"{path}{i}.")
    elif not tree._learns:
        yield from (f"there is a gradient of {path}{name}, which is held still" for name in named_leaves(grad))
    else:
        yield from _like_fields(tree, grad, path)


def _like_fields(tree: Any, grad: Any, path: str) -> Iterator[str]:
    for name, is_learned in tree._leaves.items():
        leaf, d = getattr(tree, name), getattr(grad, name, None)
        if is_learned and leaf is not None:
            yield from _like_array(f"the gradient of {path}{name}", leaf, d)
        elif d is not None:
            why = "is kept and not learned" if leaf is not None else "is not there"
            yield f"there is a gradient of {path}{name}, which {why}"
    for name in tree._rest:
        if is_tree(part := getattr(tree, name)):
            below = path if name == "layers" and isinstance(part, tuple) else f"{path}{name}."
            yield from like_layer(part, getattr(grad, name, None), below)


def _like_array(name: str, x: Any, dx: Any) -> Iterator[str]:
    if dx is None:
        yield f"{name} is missing"
    elif not is_array(dx) or namespace(dx) is not namespace(x):
        yield f"{name} must be an array of {library_name(namespace(x))}, got {_words(dx)}"
    elif dx.shape != x.shape:
        yield f"{name} has shape {tuple(dx.shape)}, expected {tuple(x.shape)}"
    elif dx.dtype != x.dtype:
        yield f"{name} is {dtype_name(dx.dtype)}, expected {dtype_name(x.dtype)}"


def _words(value: Any) -> str:
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return "None" if value is None else describe(value).splitlines()[0]
