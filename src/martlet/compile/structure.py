"""What a program was made for: all that is known of its arguments but the numbers in their arrays.

A program may be used again where the structure is the same: the classes of the trees, their settings, where arrays
are and where None.  An outline is the arguments themselves with holes in the places of their arrays, so that a
program that is kept keeps no data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from numbers import Real
from typing import Any

from martlet.backend import is_array
from martlet.tree import Tree, map_leaves


class Hole:
    """Stands where an array was."""

    def __repr__(self) -> str:
        return "an array"


HOLE = Hole()


class Same:
    """A value that cannot be compared, such as a list: it is the same only as itself."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def structure(value: Any) -> Any:
    """A nest of trees, tuples, lists, arrays and whatever else, as something to be looked up by."""
    if isinstance(value, Tree):
        holes = tuple(getattr(value, name) is not None for name in value._leaves)
        return type(value), holes, tuple(structure(getattr(value, name)) for name in value._rest)
    if isinstance(value, tuple | list):
        return type(value), tuple(map(structure, value))
    if is_array(value):
        return HOLE
    if isinstance(value, Real):  # 0.0 and -0.0 are equal, and so are 1, 1.0 and True
        return type(value), repr(value)
    try:
        hash(value)
    except TypeError:
        return Same(value)
    return type(value), value


def forms(arrays: Iterable[Any]) -> tuple[Any, ...]:
    """The shape and the dtype of each array."""
    return tuple((tuple(x.shape), x.dtype) for x in arrays)


def outline(value: Any) -> Any:
    """The same nest with a hole in the place of every array."""
    if isinstance(value, Tree):
        return map_leaves(lambda _: HOLE, value)
    if isinstance(value, tuple | list):
        return type(value)(map(outline, value))
    return HOLE if is_array(value) else value


def filled(shape: Any, arrays: Iterable[Any]) -> Any:
    """An outline with arrays in its holes, in the order in which ``take_apart`` gives them."""
    return _fill(shape, iter(arrays))


def _fill(shape: Any, source: Iterator[Any]) -> Any:
    if isinstance(shape, Tree):
        return map_leaves(lambda _: next(source), shape)
    if isinstance(shape, tuple | list):
        return type(shape)(_fill(part, source) for part in shape)
    return next(source) if shape is HOLE else shape
