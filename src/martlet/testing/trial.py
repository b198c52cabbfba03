"""One trial: a layer or a loss run in one place and one dtype, and everything about the results looked at.

A crash is the smaller trouble.  What is worse comes out silently: a wider dtype, another library's array,
a changed input, a number that is another one elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from martlet.backend import (
    Array,
    describe,
    device_name,
    device_of,
    dtype_name,
    is_array,
    is_floating,
    library_name,
    namespace,
    to_numpy,
)
from martlet.testing.parity import BOUNDS, difference, scale, worst
from martlet.testing.subject import Subject, trees_in
from martlet.testing.targets import Target, on_host
from martlet.testing.traps import ELSEWHERE, IN_PLACE, NUMPYS, WIDE, Finding, found_in
from martlet.tree import Tree, named_leaves

STAYS = "a layer is a value: what it has seen goes into the cache, and what it becomes comes from observe"


@dataclass(frozen=True)
class Trial:
    """A subject, a place and a float width."""

    subject: Subject
    target: Target
    width: str

    def findings(self) -> tuple[list[Finding], float | None]:
        """All that is wrong here, and how far the numbers are from NumPy's in float64."""
        try:
            given = dict(zip(self.subject.takes, self.target.put(self.subject.given(), self.width), strict=True))
            before, fields = on_host(tuple(given.values())), _fields_of(given)
            results = self.target.run(self.subject.run, *given.values())
        except Exception as error:
            return [found_in(error, self.subject.classes)], None
        found = _named(dict(zip(self.subject.gives, results, strict=True)))
        faults = [Finding(f"{name} is {describe(a)}, and no array") for name, a in found.items() if not is_array(a)]
        if faults:
            return faults, None
        here = {name: np.array(to_numpy(a)) for name, a in found.items()}
        faults += _changed(given, dict(zip(given, before, strict=True)), fields)
        if self.subject.reference is None and self.is_reference and not faults:
            self.subject.reference = here
        expected = here if self.subject.reference is None else self.subject.reference
        faults += [*_misbuilt(given, results), *self._misplaced(found, expected)]
        return faults + list(self._apart(here, expected)), self._distance(here, expected)

    @property
    def is_reference(self) -> bool:
        """Whether the others are compared with this one."""
        return self.target.name == "numpy" and self.width == "float64"

    def _misplaced(self, found: dict[str, Any], expected: dict[str, np.ndarray]) -> Iterator[Finding]:
        """What has come out in another structure, library, device or dtype than it should have."""
        if list(found) != list(expected):
            yield Finding(f"gives {', '.join(found)}, but on NumPy {', '.join(expected)}")
        reasons: dict[tuple[str, str], list[str]] = {}
        for name, a in found.items():
            if reason := name in expected and self._reason(a, expected[name]):
                reasons.setdefault(reason, []).append(name)
        for (what, advice), names in reasons.items():
            yield Finding(f"{', '.join(names)}: {what}", advice)

    def _reason(self, a: Array, b: np.ndarray) -> tuple[str, str] | None:
        """Why an array is not as it should be, and what to write; b is NumPy's."""
        backend, device = self.target.backend, device_of(a)
        wanted = self.width if is_floating(b) else dtype_name(b.dtype)
        if namespace(a) is not backend.xp:
            return f"of {library_name(namespace(a))}, but what went in was of {backend.name}", NUMPYS
        if None not in (device, backend.device) and device != backend.device:
            return f"on {device_name(device)}, but what went in was on {device_name(backend.device)}", ELSEWHERE
        if dtype_name(a.dtype) != wanted:
            return f"{dtype_name(a.dtype)}, but what went in was {self.width}", WIDE if wanted == "float32" else ""
        if tuple(a.shape) != b.shape:
            return f"of shape {tuple(a.shape)}, but on NumPy {b.shape}", ""
        return None

    def _distance(self, here: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
        """How far all floats are from NumPy's, in units of the largest of those."""
        return difference(*_floats(here, expected))[1]

    def _apart(self, here: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> Iterator[Finding]:
        """The arrays that are further from NumPy's than rounding explains, by the entry that is furthest off."""
        allowed = BOUNDS[self.width] * scale(_floats(here, expected)[1])
        for name, b in expected.items():
            if name not in here or here[name].shape != b.shape:
                continue
            a = here[name].astype(b.dtype)
            if difference([a], [b])[0] > (allowed if is_floating(b) else 0.0):
                place = worst(a, b)
                index = f"[{', '.join(map(str, place))}]" if place else ""
                digits = 17 if self.width == "float64" else 9
                yield Finding(f"{name}{index} is {a[place]:.{digits}g}, but on NumPy {b[place]:.{digits}g}")


def _floats(here: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The arrays of floats that both have in one shape, in float64: counters would be the scale of everything."""
    names = [n for n, b in expected.items() if n in here and here[n].shape == b.shape and is_floating(b)]
    return [here[n].astype(expected[n].dtype) for n in names], [expected[n] for n in names]


def _changed(given: dict[str, Any], before: dict[str, Any], fields: dict[str, Any]) -> Iterator[Finding]:
    """What went in and is not as it was: an array written into, or a layer given a field or another setting."""
    was = _named(before)
    for name, array in _named(given).items():
        if not np.array_equal(to_numpy(array), was[name], equal_nan=is_floating(array)):
            yield Finding(f"{name} was changed", IN_PLACE)
    for name, value in _fields_of(given).items():
        if name not in fields or value != fields[name]:
            yield Finding(f"{name} was changed", STAYS)


def _fields_of(given: dict[str, Any]) -> dict[str, Any]:
    """What stands in a tree's objects: for each field, which object it is and, of a setting, how it is written."""
    found = {}
    for owner, value in given.items():
        for number, tree in enumerate(trees_in(value)):
            for name, part in vars(tree).items():
                words = "" if is_array(part) or isinstance(part, Tree) else repr(part)
                found[f"{owner}.{number}.{name}"] = (id(part), words)
    return found


def _misbuilt(given: dict[str, Any], results: tuple[Any, ...]) -> Iterator[Finding]:
    """What is not built as it must be: a gradient like its layer, dx like x, the observed layer like the layer."""
    first, second = list(given.values())[:2]
    slope = results[1]
    if slope is not None and _shapes_of(slope) != _shapes_of(second):
        yield Finding(f"backward gives {_built(slope)}, but what went in was {_built(second)}")
    if "layer" not in given:
        return
    grad, after = results[2:4]
    if type(after) is not type(first) or _shapes_of(after) != _shapes_of(first):
        yield Finding(f"observe gives {_built(after)}, but the layer is {_built(first)}")
    if grad is None:
        return
    if type(grad) is not type(first) or not _shapes_of(grad).items() <= _shapes_of(first).items():
        yield Finding(f"backward gives {_built(grad)} as gradient, but the layer is {_built(first)}")


def _named(values: dict[str, Any]) -> dict[str, Any]:
    """Every array by its name: "y", "y.1" of a tuple, "grad.0.W" of a tree.  None has none."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Tree):
            found |= {f"{name}.{leaf}": a for leaf, a in named_leaves(value).items()}
        elif isinstance(value, tuple | list):
            found |= _named({f"{name}.{i}": item for i, item in enumerate(value)})
        elif value is not None:
            found[name] = value
    return found


def _shapes_of(value: Any) -> dict[str, tuple[int, ...]]:
    return {name.removeprefix("."): tuple(a.shape) for name, a in _named({"": value}).items()}


def _built(value: Any) -> str:
    """How a value is built, in words: ``Affine (W (3, 4), b (4,))``, ``(5, 3)``."""
    if is_array(value):
        return str(tuple(value.shape))
    parts = ", ".join(f"{name} {shape}" for name, shape in _shapes_of(value).items())
    return f"{type(value).__name__} ({parts})"
