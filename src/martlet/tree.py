"""A model is a value: a frozen tree of arrays, declared on its classes, taken apart and rebuilt by name.

A class that derives from Tree lists its fields as a dataclass does:

    W: Array                    a learned leaf: gradients and optimizers see it
    mean: Array = kept()        a kept leaf: it moves and saves with the model, but is not learned
    layers: tuple[Layer, ...]   a subtree: whatever holds a Tree, a tuple of them or None, found by value
    rate: float = 0.5           a setting: everything else

None in the place of a leaf or a subtree means "nothing here".  That is why a gradient can be a tree of the
model's own type, and why a layer without parameters needs no code for it.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from numbers import Real
from typing import Any, TypeVar, dataclass_transform

from martlet.backend import (
    Array,
    as_backend,
    backend_of,
    describe,
    device_name,
    device_of,
    dtype_name,
    float_width,
    is_array,
    is_floating,
    kind,
    library_name,
    namespace,
)

T = TypeVar("T", bound="Tree")


def kept(*, default: Any = dataclasses.MISSING) -> Any:
    """Declare a leaf that moves, copies and saves with the model but is not learned: ``mean: Array = kept()``.

    ``kept(default=None)`` is a leaf that need not be there.
    """
    return dataclasses.field(metadata={"kept": True}, default=default)


@dataclass_transform(frozen_default=True, eq_default=False, field_specifiers=(kept,))
class Tree:
    """A frozen dataclass of leaves, subtrees and settings.  Compare identity, not value (``==`` is ``is``)."""

    _learns: typing.ClassVar[bool] = True  # False on a class whose arrays are held still, whatever they are
    _leaves: typing.ClassVar[dict[str, bool]]  # leaf name -> is it learned?
    _rest: typing.ClassVar[tuple[str, ...]]  # subtrees and settings, told apart by value

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = inspect.get_annotations(cls)
        leaves = {name for name, annotation in own.items() if _marks_leaf(cls, name, annotation)}
        dataclasses.dataclass(frozen=True, eq=False, repr=False)(cls)
        for verb in ("__setattr__", "__delattr__"):  # Tree's own say what to do instead
            if verb in cls.__dict__:
                delattr(cls, verb)
        inherited = getattr(cls, "_leaves", {})
        fields = dataclasses.fields(cls)  # type: ignore[arg-type]
        cls._leaves = {
            f.name: "kept" not in f.metadata
            for f in fields
            if f.name in leaves or (f.name in inherited and f.name not in own)
        }
        cls._rest = tuple(f.name for f in fields if f.name not in cls._leaves)

    def __post_init__(self) -> None:
        for name in self._leaves:
            value = getattr(self, name)
            if not (value is None or _could_be_array(value)) or holds_objects(value):
                raise TypeError(self._refusal(name, value))
        for name in self._rest:
            value = getattr(self, name)
            if isinstance(value, Real) and is_array(value):  # a NumPy scalar, which would widen what it meets
                self.__dict__[name] = value.item()  # type: ignore[attr-defined]
            else:
                _check_setting(type(self).__name__, name, value)

    def _refusal(self, name: str, value: object) -> str:
        return f"{type(self).__name__}: {name} must be an array, got {describe(value)}"

    def __setattr__(self, name: str, value: object) -> None:
        owner = type(self).__name__
        if name not in self._leaves and name not in self._rest:
            advice = (
                f"it has no field {name} (what a layer's forward remembers for backward is its cache: return y, cache; "
                f"what it keeps is declared on the class: {name}: Array)"
            )
        elif name not in vars(self):
            advice = (
                f"its fields are set by the constructor that it has already, {owner}({name}=...); what computes them "
                "first is a classmethod, such as init"
            )
        elif name in self._leaves:
            advice = (
                f'make a changed copy: new = martlet.replace(model, {{"{name}": ...}}), with the names of '
                "martlet.names(model)"
            )
        else:
            advice = f"make another one, {owner}({name}=..., ...)"
        raise AttributeError(f"{owner} is a value and cannot be assigned to; {advice}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is a value: {name} cannot be deleted")

    def __repr__(self) -> str:
        return _draw(self)

    def to(self: T, backend: Any = None, *, device: Any = None, dtype: Any = None) -> T:
        """The same tree with its arrays copied to another library or device, or cast to another float width.

        ``model.to("cupy")``, ``model.to(device="cuda:1")``, ``model.to(dtype="float64")``.  Integer
        leaves (counters) keep their type.  Raises as ``martlet.Backend`` does.
        """
        arrays = leaves(self)
        target = backend_of(arrays[0]) if backend is None and arrays else as_backend(backend)
        if device is not None:
            target = dataclasses.replace(target, device=device)
        width = target.dtype if dtype is None else float_width(dtype)
        return map_leaves(lambda x: target.asarray(x, width if is_floating(x) else None, copy=True), self)


def _marks_leaf(cls: type, name: str, annotation: Any) -> bool:
    """Whether a field is a leaf: its annotation is exactly Array.  What only contains it is refused."""
    if (annotation is Array and annotation is not Any) or annotation in ("Array", "mt.Array"):
        return True
    resolved = annotation
    if isinstance(annotation, str):
        contains = re.search(r"\bArray\b", annotation) is not None
        try:
            resolved = eval(annotation, vars(sys.modules[cls.__module__]))
        except Exception:  # a name that only a type checker can resolve: not ours
            resolved = None
    else:
        contains = _contains_array(annotation)
    if contains or resolved is Array:
        raise TypeError(
            f"{cls.__name__}.{name} is annotated {annotation!r}; a leaf is annotated exactly "
            "Array or mt.Array, and several arrays are several fields or a tuple of layers"
        )
    return False


def _could_be_array(x: Any) -> bool:
    """Whether something has a shape and a dtype: an array, or what others put in its place while they compile."""
    return hasattr(x, "shape") and hasattr(x, "dtype") and not isinstance(x, type)


def holds_objects(x: Any) -> bool:
    """Whether an array holds Python objects or words, and not numbers."""
    return getattr(getattr(x, "dtype", None), "kind", "f") in "OSU"


def _check_setting(owner: str, name: str, value: Any) -> None:
    """Refuse arrays and layers where nothing would find them: they would never be learned, moved or saved."""
    if is_array(value):
        raise TypeError(
            f"{owner}: {name} is a setting, and no place for an array, got {describe(value)} "
            f"(to make it one, the class would declare {name}: Array, or {name}: Array = kept())"
        )
    if not isinstance(value, tuple | list | dict | set):
        return
    items = list(value.values()) if isinstance(value, dict) else list(value)
    trees = [isinstance(item, Tree) for item in items if item is not None]
    if any(trees) and not (isinstance(value, tuple) and all(trees)):
        raise TypeError(f"{owner}: {name} must be a tuple of layers and nothing else, got {describe(value)}")
    if any(is_array(item) for item in items if not isinstance(item, Real)):
        raise TypeError(f"{owner}: {name} holds arrays; give each a field of its own, annotated Array")


def _contains_array(annotation: Any) -> bool:
    return annotation is Array or any(map(_contains_array, typing.get_args(annotation)))


# ---------------------------------------------------------------------------------- walking over a tree


def is_tree(value: object) -> bool:
    """Whether a field's value is a subtree: a Tree, or a tuple that holds Trees and Nones only."""
    if isinstance(value, Tree):
        return True
    if isinstance(value, tuple):
        for item in value:
            if item is not None:
                return isinstance(item, Tree) or is_tree(item)
    return False


def subtrees(tree: Tree | tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    """The (name, value) of every child tree.  A tuple called ``layers`` adds no word to a name: "0", not "layers.0"."""
    if isinstance(tree, tuple):
        yield from ((str(i), item) for i, item in enumerate(tree) if item is not None)
        return
    for name in tree._rest:
        value = getattr(tree, name)
        if is_tree(value):
            if name == "layers" and isinstance(value, tuple):
                yield from subtrees(value)
            else:
                yield name, value


def named_leaves(tree: Tree | tuple[Any, ...] | None, prefix: str = "") -> dict[str, Array]:
    """Every array of a tree by its name, such as "0.W": learned and kept leaves, in the order of declaration."""
    if tree is None:
        return {}
    found = {}
    if isinstance(tree, Tree):
        found = {prefix + name: getattr(tree, name) for name in tree._leaves if getattr(tree, name) is not None}
    for name, child in subtrees(tree):
        found.update(named_leaves(child, f"{prefix}{name}."))
    return found


def names(tree: Tree) -> tuple[str, ...]:
    """The names of a tree's arrays, as ``replace`` takes them and a checkpoint writes them."""
    return tuple(named_leaves(_check_tree("names", tree)))


def leaves(tree: Tree | None) -> list[Array]:
    """The arrays of a tree, in the order of their names: what ``rebuild`` puts back.  None has none."""
    return [] if tree is None else list(named_leaves(_check_tree("leaves", tree)).values())


def rebuild(tree: T, arrays: Iterable[Array]) -> T:
    """The same tree around other arrays, given in the order of ``leaves``.  Bypasses ``__init__``."""
    if not isinstance(arrays, Iterable) or hasattr(arrays, "shape"):
        raise TypeError(f"rebuild: arrays must be a list of arrays, got {describe(arrays)}")
    wanted, given = len(leaves(tree)), list(arrays)
    if len(given) != wanted:
        raise ValueError(f"rebuild: {type(tree).__name__} has {wanted} arrays, got {len(given)}")
    source = iter(given)
    return map_leaves(lambda _: next(source), tree)


def map_leaves(function: Callable[[Array], Array], tree: T) -> T:
    """The same tree with ``function(leaf)`` in the place of every leaf."""
    return _map(function, tree)


def _map(function: Callable[[Array], Array], tree: Any) -> Any:
    if tree is None:
        return None
    if isinstance(tree, tuple):
        return tuple(_map(function, item) for item in tree)
    changed = {name: function(leaf) for name in tree._leaves if (leaf := getattr(tree, name)) is not None}
    changed.update((name, _map(function, value)) for name in tree._rest if is_tree(value := getattr(tree, name)))
    return remake(tree, changed)


def remake(tree: T, changed: Mapping[str, Any]) -> T:
    """The same tree with some fields exchanged, without ``__init__``: a subclass stays what it is."""
    new = object.__new__(type(tree))
    new.__dict__.update(tree.__dict__)
    new.__dict__.update(changed)
    return new


def replace(tree: T, changes: Mapping[str, Any]) -> T:
    """The same tree with other arrays under the given names: ``replace(model, {"0.W": W})``.

    The names are those of ``names(tree)``.  A Python number takes the place of a 0-d array:
    ``replace(state, {"lr": 0.01})``.  Raises ValueError for a name that the tree does not have and for a number
    that is not finite or does not fit; TypeError for what is not an array, and for an integer in the place of a
    floating-point number or the other way round.
    """
    arrays = named_leaves(_check_tree("replace", tree))
    if not isinstance(changes, Mapping):
        raise TypeError(f"replace: changes must be a mapping from names to arrays, got {describe(changes)}")
    for name, value in changes.items():
        if not isinstance(name, str):
            raise TypeError(f"replace: names are strings such as {next(iter(arrays), '0.W')!r}, got {describe(name)}")
        if name not in arrays:
            known = ", ".join(arrays) or "none"
            raise ValueError(f"replace: {type(tree).__name__} has no array named {name!r}; its names are: {known}")
        arrays[name] = _leaf_like(arrays[name], name, value)
    return rebuild(tree, arrays.values())


def _leaf_like(old: Array, name: str, value: Any) -> Array:
    if isinstance(value, Real) and not isinstance(value, bool) and old.shape == () and kind(old.dtype) != "other":
        return _number_like(old, name, value)
    if not is_array(value) or holds_objects(value):
        raise TypeError(f"replace: {name} must be an array, got {describe(value)}")
    if old.shape == () != value.shape:
        raise ValueError(f"replace: {name} has shape {tuple(value.shape)}, expected () (one number)")
    if old.shape == () and is_floating(value) is not is_floating(old):
        what = "a floating-point number" if is_floating(old) else "an integer"
        raise TypeError(f"replace: {name} must hold {what}, got {describe(value)}")
    return value


def _number_like(old: Array, name: str, value: Any) -> Array:
    """A Python number as a 0-d array like the old one, which must be able to hold it."""
    xp, number = namespace(old), float if is_floating(old) else int
    limits = xp.finfo(old.dtype) if number is float else xp.iinfo(old.dtype)
    if not number(limits.min) <= value <= number(limits.max):  # nor does NaN lie there
        raise ValueError(f"replace: {name} must be finite and fit {dtype_name(old.dtype)}, got {value!r:.40}")
    if number(value) != value and number is int:
        raise ValueError(f"replace: {name} must be an integer, got {value!r:.40}")
    return xp.asarray(number(value), dtype=old.dtype, device=device_of(old))


def take_apart(value: Any) -> tuple[list[Any], Callable[[list[Any]], Any]]:
    """The arrays in any nest of trees and tuples, and the function that puts others in their places."""
    if isinstance(value, Tree):
        return leaves(value), lambda arrays: rebuild(value, arrays)
    if isinstance(value, tuple | list):
        parts = [take_apart(item) for item in value]

        def build(arrays: list[Any]) -> Any:
            source = iter(arrays)
            return type(value)(make([next(source) for _ in inside]) for inside, make in parts)

        return [x for inside, _ in parts for x in inside], build
    if is_array(value):
        return [value], lambda arrays: arrays[0]
    return [], lambda arrays: value


def _check_tree(owner: str, tree: Any) -> Any:
    if not isinstance(tree, Tree):
        raise TypeError(f"{owner}: expected a tree (a layer, a loss or a state), got {describe(tree)}")
    return tree


# ----------------------------------------------------------------------- what is learned in a tree


def learned(tree: T) -> T | None:
    """The tree of a gradient's shape: learned leaves stay; None where there is nothing to learn."""
    return _learned(tree)


def _learned(tree: Any) -> Any:
    if isinstance(tree, tuple):
        items = tuple(_learned(item) for item in tree)
        return items if any(item is not None for item in items) else None
    if tree is None or not tree._learns:
        return None
    fields = {name: getattr(tree, name) if is_learned else None for name, is_learned in tree._leaves.items()}
    fields.update((name, _learned(value)) for name in tree._rest if is_tree(value := getattr(tree, name)))
    if all(value is None for value in fields.values()):
        return None
    return remake(tree, fields)


class Unlike(ValueError):
    """Two trees that should be built alike are not."""


def map_where(function: Callable[[Array, Array], Array], guide: Any, tree: Any) -> Any:
    """The tree with ``function(leaf, guide's leaf)`` in place of each leaf that the guide has; the rest stays.

    The guide is a tree of the same type with None here and there: a gradient.  Raises Unlike where the two
    are not built alike, TypeError where the guide is no tree.
    """
    kind = type(guide)
    if type(tree) is not kind or (kind is tuple and len(tree) != len(guide)):
        return _unlike(guide, tree)
    if kind is tuple:
        parts = list(tree)
        for i, part in enumerate(guide):
            if part is not None:
                parts[i] = map_where(function, part, tree[i])
        return tuple(parts)
    new, given = object.__new__(kind), guide.__dict__
    fields = new.__dict__
    fields.update(tree.__dict__)
    for name in kind._leaves:
        if given[name] is not None:
            fields[name] = function(fields[name], given[name])
    for name in kind._rest:
        part = given[name]
        if part is not None and (is_tree(part) or is_tree(fields[name])):
            fields[name] = map_where(function, part, fields[name])
    return new


def matching(guide: Any, tree: Any) -> list[Array]:
    """The tree's leaves in the places where the guide has one, in the order of the guide's ``leaves``."""
    found: list[Array] = []

    def keep(leaf: Array, _: Array) -> Array:
        found.append(leaf)
        return leaf

    map_where(keep, guide, tree)
    return found


def _unlike(guide: Any, tree: Any) -> None:
    """Explain why two trees do not fit; None if only because a memory is None where nothing has a gradient."""
    if not isinstance(guide, Tree | tuple):  # a bare array would be ignored, and its layer never learn
        name = type(tree).__name__
        raise TypeError(f"{name}.backward must give self.gradient(...) or None, not {describe(guide)}")
    if tree is not None or is_tree(_learned(guide)):
        raise Unlike(f"a gradient for {_shape(guide)} meets {_shape(tree)}")


def _shape(tree: Any) -> str:
    return f"{len(tree)} layers" if isinstance(tree, tuple) else type(tree).__name__


def sizes(tree: Tree) -> tuple[int, int]:
    """How many numbers are learned and how many are kept."""
    total = sum(map(_size, leaves(tree)))
    learned_total = sum(map(_size, leaves(learned(tree))))
    return learned_total, total - learned_total


def _size(x: Array) -> int:
    count = 1
    for length in x.shape:
        count *= length
    return count


# ----------------------------------------------------------------------------------- drawing a tree


def _draw(tree: Tree) -> str:
    arrays = leaves(tree)
    learned_total, kept_total = sizes(tree)
    lines = _lines(tree)
    if arrays and is_array(arrays[0]):
        place = f", on {library_name(namespace(arrays[0]))}"
        device = device_of(arrays[0])
        place += f" {device_name(device)}" if device is not None else ""
        lines[-1] += f"  # {learned_total:,} learned, {kept_total:,} kept{place}"
    return "\n".join(lines)


def _lines(tree: Any) -> list[str]:
    words = []
    for name in tree._leaves:
        leaf = getattr(tree, name)
        if leaf is not None:
            words.append(
                f"{name}: {tuple(leaf.shape)} {dtype_name(leaf.dtype)}"
                if hasattr(leaf, "shape")
                else f"{name}: {leaf!r}"
            )
    children = _opened(tree)
    for name in tree._rest:
        value = getattr(tree, name)
        if not is_tree(value) and not (name == "layers" and isinstance(value, tuple)):
            words.append(f"{name}={value!r}")
    head = f"{type(tree).__name__}({', '.join(words)}"
    if not children:
        return [head + ")"]
    lines = [head]
    for name, child in children:
        inner = _lines(child)
        lines.append(f"  {name}: {inner[0]}")
        lines += [f"  {line}" for line in inner[1:]]
    return [*lines, ")"]


def _opened(tree: Any) -> list[tuple[str, Tree]]:
    """The subtrees by name, where a tuple's are named after it and their place: "blocks.0"."""
    found: list[tuple[str, Tree]] = []
    for name, child in subtrees(tree):
        if isinstance(child, tuple):
            found += [(f"{name}.{inner}", part) for inner, part in _opened(child)]
        else:
            found.append((name, child))
    return found
