"""What a program was made for: all that is known of its arguments but the numbers in their arrays.

A program may be used again where the structure is the same: the classes of the trees, their settings, where arrays
are and where None.  An outline is the arguments themselves with holes in the places of their arrays, so that a
program that is kept keeps no data.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

from martlet.backend import is_array
from martlet.numbered import Numbered
from martlet.tree import Tree, map_leaves, take_apart

PROGRAMS = 64  # that are kept of one kind, the last ones that were used


class Hole:
    """Stands where an array was."""

    def __repr__(self) -> str:
        return "an array"

    def __reduce__(self) -> str:
        return "HOLE"  # there is one, also in another process


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


def without_numbers(value: Any) -> Any:
    """An optimizer as its ``update`` knows it, which takes every number from the state: a hole in the place of each.

    So a program serves all learning rates, and a rule that reads ``self.lr`` all the same cannot be compiled.
    """
    if isinstance(value, tuple):
        return tuple(map(without_numbers, value))
    if not isinstance(value, Numbered):
        return value
    new = object.__new__(type(value))
    for name, part in vars(value).items():
        new.__dict__[name] = HOLE if name in value.numbers else without_numbers(part)
    return new


@dataclass(frozen=True)
class Made:
    """What a program is made for: what it is looked up by, and the outline of its arguments."""

    key: Any
    outline: Any = field(compare=False)
    sizes: tuple[int, ...] = ()


Lists = Callable[[list[Any]], list[Any]]


def on_lists(function: Callable[..., Any], compile_lists: Callable[[Lists], Lists]) -> Callable[..., Any]:
    """A function of trees, tuples and arrays, made of programs that take and give lists of arrays.

    There is one for every structure and forms of the arguments that come: ``compile_lists`` makes it of a function
    of such lists, which it calls with what stands for the arrays, at the latest when the program first runs.
    """

    @functools.lru_cache(maxsize=PROGRAMS)
    def program(made: Made) -> tuple[Lists, list[Any]]:
        results: list[Any] = []  # the outline of what the function gives, once it is known

        def lists(arrays: list[Any]) -> list[Any]:
            given, (_, names, _) = filled(made.outline, arrays), made.key
            plain = len(given) - len(names)
            result = function(*given[:plain], **dict(zip(names, given[plain:], strict=True)))
            results[:] = [outline(result)]
            return take_apart(result)[0]

        return compile_lists(lists), results

    def call(*arguments: Any, **named: Any) -> Any:
        names = tuple(sorted(named))
        arguments = *arguments, *(named[name] for name in names)
        arrays = take_apart(arguments)[0]
        run, results = program(Made((structure(arguments), names, forms(arrays)), outline(arguments)))
        found = run(arrays)
        return filled(results[0], found)

    return call
