"""What is in a file: a text that describes it, and arrays by name; a model's, and whatever else there is."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Mapping
from typing import Any

from martlet.backend import LIBRARIES, Array, Backend, describe, dtype_name, is_floating, library_of
from martlet.checkpoint.description import as_data, build, entry, own_classes
from martlet.checkpoint.layout import CheckpointError
from martlet.checkpoint.reading import parse, widened
from martlet.layer import Layer
from martlet.optimizers import Optimizer
from martlet.tree import leaves, map_leaves, named_leaves, names, rebuild, remake, subtrees

FORMAT = 1
CURVES_LIMIT = 1_000_000  # numbers: as a list each takes five times its eight bytes


def parts_of_model(model: Layer) -> tuple[dict[str, Array], str]:
    """A model's arrays, under the names of ``names(model)``, and the text that describes it."""
    own_classes(model)
    check_whole(model)
    return named_leaves(model), text_of(model, {"model": as_data(model)})


def check_whole(tree: Any) -> None:
    """Ask each class now what it would ask when the file is read: a gradient, say, lacks layers."""
    for _, child in subtrees(tree):
        check_whole(child)
    if isinstance(tree, tuple):
        return
    try:
        remake(tree, {}).__post_init__()  # of another one, for it may set what it checks
    except Exception as error:  # a class of the user's may raise anything
        raise TypeError(f"save: this could not be loaded again: {error}") from error


def text_of(model: Layer, data: dict[str, Any]) -> str:
    martlet = sys.modules["martlet"].__version__  # not by an import, which would go upwards
    libraries = {library.name: _version(library) for library in map(library_of, leaves(model)[:1])}
    versions = {"martlet": martlet, "numpy": _version(LIBRARIES["numpy"]), **libraries}
    return json.dumps({"format": FORMAT, "versions": versions, **data}, separators=(",", ":"))


@functools.cache
def _version(library: Any) -> str:
    return library.version() or "unknown"


class Parts:
    """What was read from a file: its description, and its arrays, each of which is taken once."""

    def __init__(
        self,
        description: str,
        arrays: dict[str, tuple[Any, str]],
        home: Backend,
        dtype: str | None,
        classes: Mapping[str, type],
    ) -> None:
        data = parse(description)
        if not isinstance(data, dict) or type(data.get("format")) is not int:
            raise CheckpointError("the description has no format number")
        if data["format"] != FORMAT:
            raise CheckpointError(f"its format is {data['format']}, and this martlet reads {FORMAT}; a newer one may")
        self.data, self.arrays, self.home, self.dtype, self.classes = data, arrays, home, dtype, classes
        self.numbers = 0  # in the curves

    def take(self, name: str) -> Array:
        """The array of that name, where and in the width in which it is wanted."""
        x, saved = self._pop(name)
        width = None
        if saved == "bfloat16":
            x, saved = widened(x), "float32" if self.home.name == "numpy" else saved  # NumPy has none
        if is_floating(x):
            width = self.dtype or saved
        try:
            return self.home.asarray(x, width)
        except ValueError as error:
            hint = ' (to cast it: dtype="float32")' if width == "float64" else ""  # which not every library has
            raise ValueError(f"load: {name}: {error}{hint}") from None

    def _pop(self, name: str) -> tuple[Any, str]:
        if name not in self.arrays:
            raise CheckpointError(f"entry {name!r:.80}: there is no such array, but the description speaks of it")
        return self.arrays.pop(name)

    def tree(self, data: Any, kind: type, prefix: str = "") -> Any:
        """The tree or optimizer that some data describes."""
        made = build(data, self.take, self.classes, prefix)
        if not isinstance(made, kind):
            raise CheckpointError(f"{entry(prefix)}: expected a {kind.__name__}, got {describe(made):.60}")
        return made

    def model(self) -> Layer:
        """The model that the run, if it is one, would give back."""
        return self.tree(self.data.get("model"), Layer)

    def state(self, optimizer: Optimizer | None, model: Layer, prefix: str) -> Any:
        """The optimizer's state: built as ``init`` builds one for that model, around the arrays of the file."""
        if optimizer is None:
            return None
        empty = map_leaves(lambda x: x[:0, ...] if x.shape else x, model)  # or init would make arrays for nothing
        try:
            new = optimizer.init(empty)
        except Exception as error:
            raise CheckpointError(f"{entry(prefix)}: there is no state for this model: {error}") from None
        places = named_leaves(model).items()
        shapes = {f"{memory}.{name}": x.shape for memory in optimizer.memories for name, x in places}
        arrays = [self.take(prefix + name) for name in names(new)]
        for name, x, like in zip(names(new), arrays, leaves(new), strict=True):
            shape = tuple(shapes.get(name, ()))
            if x.shape != shape or is_floating(x) != is_floating(like):
                raise CheckpointError(
                    f"entry {prefix + name!r:.80} is {describe(x)}, expected {dtype_name(like.dtype)} of shape {shape}"
                )
        return rebuild(new, arrays)

    def curve(self, name: str) -> list[float]:
        x, dtype = self._pop(name)
        if dtype != "float64" or len(x.shape) != 1:
            raise CheckpointError(f"entry {name!r:.80} is {describe(x)}, expected a row of float64")
        self.numbers += x.shape[0]
        if self.numbers > CURVES_LIMIT:
            raise CheckpointError(f"entry {name!r:.80}: the curves hold more than {CURVES_LIMIT:,} numbers")
        return [float(number) for number in x]

    def finish(self) -> None:
        """Nothing is left over."""
        if self.arrays:
            raise CheckpointError(f"entry {min(self.arrays)!r:.80}: the description does not speak of it")


def model_from(parts: Parts) -> Layer:
    """The model alone.  In a run's file, what has a slash in its name is the run's."""
    model = parts.model()
    if "run" in parts.data:
        parts.arrays = {name: x for name, x in parts.arrays.items() if "/" not in name}
    parts.finish()
    return model


def fields_of(data: Any, where: str, *wanted: str) -> dict[str, Any]:
    """An object of JSON that has at least these fields."""
    if not isinstance(data, dict) or not data.keys() >= set(wanted):
        raise CheckpointError(f"entry {where!r}: expected an object with {', '.join(wanted) or 'names'}")
    return data
