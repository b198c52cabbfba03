"""Trees as data: a class by its bare name, its settings as JSON, and the word "array" where an array belongs.

    {"class": "Sequential", "layers": [{"class": "Affine", "W": "array", "b": "array"}, {"class": "Sigmoid"}]}

A file names classes, and never says where code is to be found: the names are those of the library's own
classes, and of those that whoever loads the file has handed over.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

from martlet import layers, optimizers, schedules
from martlet.backend import Array, describe, is_array
from martlet.checkpoint.layout import CheckpointError
from martlet.layer import Layer
from martlet.loss import Loss
from martlet.numbered import Numbered
from martlet.optimizers import Optimizer, Transform
from martlet.schedules import Schedule
from martlet.tree import Tree

OWN = "own:"  # stands before the name of a class that is not the library's; no class of Python's has a colon
DEEPEST = 100  # a layer in a tuple of layers is two deeper
WORDS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


@functools.cache
def known_classes() -> dict[str, type]:
    """Every class that a file may name without being told more."""
    bases = {Layer, Loss, Numbered, Optimizer, Transform, Schedule}
    places = (layers, optimizers, schedules)
    found = [value for place in places for value in vars(place).values() if isinstance(value, type)]
    return {kind.__name__: kind for kind in found if issubclass(kind, Tree | Numbered) and kind not in bases}


def class_name(kind: type) -> str:
    """The name under which a file knows a class: ``Affine``, or ``own:Swish``."""
    name = kind.__qualname__.rpartition("<locals>.")[2]
    return name if known_classes().get(name) is kind else OWN + name


def own_classes(*values: Any, found: dict[str, type] | None = None) -> dict[str, type]:
    """The classes in some trees and optimizers that are not the library's, by name, as ``build`` takes them.

    Raises ValueError where two have one name.
    """
    found = {} if found is None else found
    for value in values:
        if isinstance(value, tuple):
            own_classes(*value, found=found)
        elif isinstance(value, Tree | Numbered):
            name = class_name(type(value))
            if name.startswith(OWN) and found.setdefault(name.removeprefix(OWN), type(value)) is not type(value):
                raise ValueError(f"save: two classes are named {name.removeprefix(OWN)}; a file cannot tell them apart")
            own_classes(*(getattr(value, field.name) for field in dataclasses.fields(value)), found=found)  # type: ignore[arg-type]
    return found


# ------------------------------------------------------------------------------------ from a tree to data


def as_data(value: Any, where: str = "", depth: int = 0) -> Any:
    """What JSON can hold of a tree, an optimizer or a setting.  Raises TypeError, naming the field, for the rest."""
    if depth > DEEPEST:
        raise ValueError(f"save: {where} is nested more than {DEEPEST} deep")
    if isinstance(value, Real) and is_array(value):
        value = value.item()  # type: ignore[attr-defined]
    if value is None or type(value) in (bool, str):
        return value
    if type(value) is int and -(2**63) <= value < 2**63:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": str(value)}
    if type(value) is tuple:
        return [as_data(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value)]
    if not isinstance(value, Tree | Numbered):
        raise TypeError(
            f"save: {where} is {describe(value)}; a file holds settings that are numbers, words, True, False, None, "
            "or tuples of them"
        )
    name = type(value).__name__
    data: dict[str, Any] = {"class": class_name(type(value))}
    for field in dataclasses.fields(value):  # type: ignore[arg-type]
        part = getattr(value, field.name)
        if isinstance(value, Tree) and field.name in value._leaves:
            data[field.name] = None if part is None else "array"
        else:
            data[field.name] = as_data(part, f"{name}.{field.name}", depth + 1)
    return data


# ------------------------------------------------------------------------------------ from data to a tree


def build(data: Any, take: Callable[[str], Array], classes: Mapping[str, type], name: str = "", depth: int = 0) -> Any:
    """The tree, optimizer or setting that ``as_data`` was given.  ``take`` gives the array of a name.

    ``name`` is what its arrays' names begin with.  Raises CheckpointError for what no ``as_data`` gives.
    """
    if depth > DEEPEST:
        raise CheckpointError(f"{entry(name)}: nested more than {DEEPEST} deep")
    if isinstance(data, list):
        return tuple(build(item, take, classes, f"{name}{i}.", depth + 1) for i, item in enumerate(data))
    if not isinstance(data, dict):
        return data
    if data.keys() == {"float"} and isinstance(data["float"], str) and data["float"] in WORDS:
        return WORDS[data["float"]]
    kind = _find(data.get("class"), classes, name)
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        if field.name not in data:
            fields[field.name] = _default(field, kind, name)
        elif issubclass(kind, Tree) and field.name in kind._leaves:
            fields[field.name] = _leaf(data[field.name], take, name + field.name)
        else:
            # The field called layers adds no word to a name: see ``subtrees``.
            flat = field.name == "layers" and isinstance(data[field.name], list)
            inner = name if flat else f"{name}{field.name}."
            fields[field.name] = build(data[field.name], take, classes, inner, depth + 1)
    unknown = data.keys() - fields.keys() - {"class"}
    if unknown:
        raise _error(name, kind, f"there is no field {min(unknown)!r:.80}")
    return _make(kind, fields, name)


def _make(kind: type, fields: dict[str, Any], name: str) -> Any:
    """The object with these fields, after whatever its class checks in ``__post_init__``."""
    made: Any = object.__new__(kind)
    made.__dict__.update(fields)
    try:
        getattr(made, "__post_init__", lambda: None)()
    except Exception as error:  # a class of the user's may raise anything
        raise _error(name, kind, f"{error}") from None
    return made


def _leaf(word: Any, take: Callable[[str], Array], name: str) -> Array | None:
    if word is None:
        return None
    if word != "array":
        raise CheckpointError(f'entry {name!r:.80}: an array is described as "array" or null, got {word!r:.40}')
    return take(name)


def _default(field: Any, kind: type, name: str) -> Any:
    """What a field is in a file from before there was one: its default."""
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    raise _error(name, kind, f"its {field.name} is missing")


def _find(name: Any, classes: Mapping[str, type], where: str) -> type:
    """The class of a name, among the library's or the user's own."""
    if not isinstance(name, str):
        raise CheckpointError(f"{entry(where)}: an object must name its class, got {name!r:.40}")
    own = name.removeprefix(OWN)
    kind = known_classes().get(name) if own == name else classes.get(own)
    if kind is None and own == name:
        raise CheckpointError(f"{entry(where)}: this martlet knows no class {name!r:.80}")
    if kind is None:
        short = f"{own!r:.80}"
        raise CheckpointError(
            f"{entry(where)}: the class {short} is not martlet's; if you trust the file, hand over your own: "
            f"layers={{{short}: {own if own.isidentifier() else '...':.80}}}"
        )
    return kind


def _error(name: str, kind: type, what: str) -> CheckpointError:
    return CheckpointError(f"{entry(name)} ({kind.__name__}): {what:.300}")


def entry(name: str) -> str:
    """What an error says of where it is: the part of the file's tree whose arrays' names begin so."""
    return f"entry {name.rstrip('./')!r:.80}" if name else "the model"


def check_classes(owner: str, given: Any) -> dict[str, type]:
    """The user's own classes, by the names that a file may call them.  Raises TypeError for what is no such mapping."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise TypeError(f'{owner}: layers must be a mapping such as {{"Swish": Swish}}, got {describe(given)}')
    for name, kind in given.items():
        if not isinstance(name, str) or not (isinstance(kind, type) and issubclass(kind, Tree | Numbered)):
            raise TypeError(f"{owner}: layers must map names to classes of layers, got {name!r:.40}: {describe(kind)}")
    return dict(given)
