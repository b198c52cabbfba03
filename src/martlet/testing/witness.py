"""A witness of one forward and backward: what each layer got and gave, and what it did that no layer may."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from martlet.backend import is_floating
from martlet.layer import Layer
from martlet.testing.differences import Function, arrays_of, refill
from martlet.testing.structure import like_layer, like_x
from martlet.tree import learned, named_leaves, rebuild
from martlet.watching import Call


@dataclass(eq=False)
class Record:
    """A layer that was called: where it stands, its x and dout, and what backward gave."""

    layer: Layer
    path: str
    x: Any
    cache: Any = None
    y: Any = None
    input: str = "x"  # what x is called: a loss's is y
    problems: list[str] = field(default_factory=list)
    finished: bool = False
    dout: Any = None
    dx: Any = None
    grad: Any = None

    def function(self) -> Function:
        """y as a function of the layer's arrays and x, to be differentiated where backward has gradients."""
        own, part = named_leaves(self.layer), named_leaves(learned(self.layer))
        inputs = arrays_of(self.x)
        places = [len(own) + i for i, x in enumerate(inputs) if is_floating(x)]
        places += [i for i, name in enumerate(own) if name in part]

        def run(arrays: list[Any]) -> Any:
            layer = rebuild(self.layer, arrays[: len(own)])
            return layer.forward(refill(self.x, iter(arrays[len(own) :])))[0]

        return Function(run, [*own.values(), *inputs], places, arrays_of(self.dout))

    def holds(self, other: Record) -> bool:
        """Whether the other's layer is inside this one."""
        return self.path != other.path and (not self.path or other.path.startswith(f"{self.path}."))

    def is_repeatable(self) -> bool:
        """Whether forward, called again, gives the same but for rounding: else no oracle can speak of it."""
        f = self.function()
        pairs = zip(arrays_of(f.run(f.arrays)), arrays_of(self.y), strict=True)
        return all(np.allclose(a, b, rtol=1e-6, atol=1e-6 * _largest(b), equal_nan=True) for a, b in pairs)

    def names(self) -> list[str]:
        """The names of the arrays in the function's places: x[0], x[1], 0.W, …"""
        inputs = [name for name, x in _named(self.input, self.x) if is_floating(x)]
        return inputs + list(named_leaves(learned(self.layer)))

    def gradients(self) -> list[np.ndarray]:
        """What backward gave, in the order of the function's places."""
        return in_places(self.layer, self.dx, self.grad)

    def repeat(self, arrays: list[np.ndarray], dout: list[np.ndarray]) -> list[np.ndarray]:
        """What backward gives with other numbers in the function's arrays."""
        own = len(named_leaves(self.layer))
        layer = rebuild(self.layer, arrays[:own])
        _, cache = layer.forward(refill(self.x, iter(arrays[own:])))
        return in_places(layer, *layer.backward(cache, refill(self.dout, iter(dout))))


def in_places(layer: Layer, dx: Any, grad: Any) -> list[np.ndarray]:
    """dx and a gradient as a list: first the inputs, then the learned leaves."""
    given = named_leaves(grad)
    return [np.asarray(g) for g in [*arrays_of(dx), *(given[name] for name in named_leaves(learned(layer)))]]


def _largest(y: np.ndarray) -> float:
    return float(np.max(np.abs(y), initial=0.0, where=np.isfinite(y)))


def _named(name: str, x: Any) -> list[tuple[str, Any]]:
    if isinstance(x, tuple):
        return [pair for i, part in enumerate(x) for pair in _named(f"{name}[{i}]", part)]
    return [(name, x)]


class Witness:
    """Stands beside the verbs of a watched model, and keeps a record of each layer, inner ones first."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def __call__(self, call: Call) -> tuple[Any, Any]:
        given, own = call.given[-1], named_leaves(call.layer)  # given: x, or dout
        before, own_before = copy(given), [np.array(x) for x in own.values()]
        result = call.run()
        if call.verb == "forward":
            name = getattr(call.layer, "input_name", "x")
            record = Record(call.layer, call.path, before, result[1], copy(result[0]), name)
            self.records.append(record)
        else:
            record = self._record(call)
            self._finish(record, before, *result)
        name = record.input if call.verb == "forward" else "dout"
        pairs = [(name, *pair) for pair in zip(arrays_of(given), arrays_of(before), strict=True)]
        pairs += [(n, x, old) for (n, x), old in zip(own.items(), own_before, strict=True)]
        written = {n: None for n, now, old in pairs if not same([now], [old])}
        record.problems += [f"{call.verb} writes into {n}" for n in written]
        return result

    def _finish(self, record: Record, dout: Any, dx: Any, grad: Any) -> None:
        record.problems += like_x(f"d{record.input}", record.x, dx)
        record.problems += like_layer(record.layer, grad)
        record.finished, record.dout = True, dout
        if not record.problems:
            record.dx, record.grad = copy(dx), grad

    def _record(self, call: Call) -> Record:
        """The forward that belongs to a backward: the last one of this layer that is open, and with this cache.

        One that has had its backward already gets another record: backward may be called twice.
        """
        mine = [r for r in reversed(self.records) if r.path == call.path]
        mine = [r for r in mine if r.cache is call.given[0]] or mine
        if not mine:
            raise RuntimeError(f"{type(call.layer).__name__}: backward is called, but forward never was")
        found = next((r for r in mine if not r.finished), None)
        if found is None:
            found = replace(mine[0], problems=[], finished=False)
            self.records.insert(self.records.index(mine[0]), found)
        return found


def same(here: list[np.ndarray], there: list[np.ndarray]) -> bool:
    """Whether two lists of arrays are the same to the last bit."""
    return all(a.tobytes() == b.tobytes() for a, b in zip(here, there, strict=True))


def copy(value: Any) -> Any:
    """The same nest of tuples around copies of its arrays."""
    return refill(value, (np.array(x) for x in arrays_of(value)))
