"""Rows: which values of a step belong to single samples, and where a number is made of all of them.

The samples of a batch do not know of each other on their way forward and back; they meet where gradients, losses and
statistics are added up.  So a batch can be cut into chunks, whose sums are added, unless a sample reads what all of
them have made: then the step needs the whole batch.  This is found out from the record, operation by operation.
An operation without a rule here is never cut.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, NoReturn

from martlet.compile.programs.cost import reduced_axes
from martlet.compile.programs.layout import Spec, view
from martlet.compile.programs.node import Node
from martlet.compile.programs.ops import ELEMENTWISE, PRODUCT, REDUCTION, VIEW
from martlet.compile.rewriting.means import MEAN


class NeedsWholeBatch(ValueError):
    """A step cannot be cut into rows.  The message says which layer is in the way, and why."""


class Rows(NamedTuple):
    """The axis along which the samples lie, and how many entries of it belong to each: more than one once flattened."""

    axis: int
    each: int = 1


class Found(NamedTuple):
    """What becomes of the rows in an operation.

    rows: where they are in its result; None if it is a total, made of all of them.  combine: the function that makes
    one total of those of two chunks ("mean": the sums are added, and divided at the end).  cuts: for each operand that
    has no rows of its own but an entry for each sample, where they are; it is sliced.
    """

    rows: Rows | None
    combine: str = ""
    cuts: tuple[Rows | None, ...] = ()


# How the totals of two chunks become one.
COMBINED = {
    "sum": "add",
    "count_nonzero": "add",
    "mean": "mean",
    "prod": "multiply",
    "max": "maximum",
    "min": "minimum",
    "any": "logical_or",
    "all": "logical_and",
}


def refuse(node: Node, why: str) -> NoReturn:
    raise NeedsWholeBatch(f"{node.place} needs the whole batch: {why}")


# ------------------------------------------------------------------------------------------------- the rules


def rule(node: Node, given: Sequence[Rows | None]) -> Found:
    """What an operation does with the rows of its operands, some of which have some.  Raises NeedsWholeBatch."""
    if node.family == ELEMENTWISE or node.name in ("clip", "copy"):
        return _beside(node, given, len(node.spec.shape))
    if node.family == REDUCTION:
        return _reduction(node, given)
    if node.family == PRODUCT:
        return _product(node, given)
    if node.name == "reshape":
        return Found(reshaped(node, given[0]))
    if node.family == VIEW:
        return _view(node, given)
    found = OTHERS.get(node.name)
    if found is None:
        refuse(node, f"nothing is known about the rows of {node.name}")
    return found(node, given)


def _shapes(node: Node) -> list[tuple[int, ...]]:
    return [o.spec.shape if isinstance(o, Node) else () for o in node.operands]


def _beside(node: Node, given: Sequence[Rows | None], rank: int, along: int | None = None) -> Found:
    """Operands that lie beside each other, their last axes over each other; ``along``: an axis that is walked along."""
    shapes = _shapes(node)
    places = {r.axis + rank - len(s): r.each for r, s in zip(given, shapes, strict=True) if r is not None}
    if len(places) > 1:
        refuse(node, f"{node.name} lets the samples meet each other")
    ((axis, each),) = places.items()
    if axis == along:
        refuse(node, f"{node.name} goes along the samples")
    full = max(s[axis - rank + len(s)] for s, r in zip(shapes, given, strict=True) if r is not None)
    cuts = []
    for shape, rows in zip(shapes, given, strict=True):
        own = axis - rank + len(shape)
        cuts.append(Rows(own, each) if rows is None and own >= 0 and shape[own] == full else None)
    return Found(Rows(axis, each), cuts=tuple(cuts))


def _reduction(node: Node, given: Sequence[Rows | None]) -> Found:
    (rows,) = given
    assert rows is not None
    over = reduced_axes(node)
    if rows.axis not in over:
        return Found(rows if node.settings.get("keepdims") else rows._replace(axis=_left(rows.axis, over)))
    half = node.name == "mean" and node.spec.dtype.itemsize < 4
    if node.name not in COMBINED or half:
        refuse(node, f"{node.name} over the samples cannot be put together from parts")
    return Found(None, COMBINED[node.name])


def _left(axis: int, removed: Iterable[int]) -> int:
    """The number of an axis once others are gone."""
    return axis - sum(a < axis for a in removed)


def _product(node: Node, given: Sequence[Rows | None]) -> Found:
    """A product of matrices as a sum over letters: c of "bmc, bcn -> bmn"."""
    *letters, result = LETTERS[node.name](node)
    found = {names[r.axis] for names, r in zip(letters, given, strict=True) if r is not None}
    if len(found) > 1:
        refuse(node, f"{node.name} lets the samples meet each other")
    (letter,) = found
    each = next(r.each for r in given if r is not None)
    full = max(s[names.index(letter)] for s, names in zip(_shapes(node), letters, strict=True) if letter in names)
    cuts = tuple(
        Rows(names.index(letter), each)
        if rows is None and letter in names and shape[names.index(letter)] == full
        else None
        for names, rows, shape in zip(letters, given, _shapes(node), strict=True)
    )
    if letter in result:
        return Found(Rows(result.index(letter), each), cuts=cuts)
    return Found(None, "add", cuts)


def _letters_of_matmul(node: Node) -> tuple[list[Any], ...]:
    a, b = (len(shape) for shape in _shapes(node))
    left = [*range(2 - a, 0), "m", "c"] if a > 1 else ["c"]
    right = [*range(2 - b, 0), "c", "n"] if b > 1 else ["c"]
    batch = [*range(2 - max(a, b), 0)]
    return left, right, [*batch, *left[-2:-1], *right[-1:]] if b > 1 else [*batch, *left[-2:-1]]


def _letters_of_tensordot(node: Node) -> tuple[list[Any], ...]:
    a, b = (len(shape) for shape in _shapes(node))
    axes = node.settings.get("axes", 2)
    if isinstance(axes, int):
        axes = (range(a - axes, a), range(axes))
    over = [[axis % rank for axis in which] for which, rank in zip(axes, (a, b), strict=True)]
    left: list[Any] = [("sum", over[0].index(i)) if i in over[0] else ("left", i) for i in range(a)]
    right: list[Any] = [("sum", over[1].index(i)) if i in over[1] else ("right", i) for i in range(b)]
    return left, right, [name for name in (*left, *right) if name[0] != "sum"]


def _letters_of_vecdot(node: Node) -> tuple[list[Any], ...]:
    axis, left, right = node.settings.get("axis", -1), *map(len, _shapes(node))
    names: list[list[Any]] = [[*range(1 - rank, 0)] for rank in (left, right)]
    longest = max(names, key=len).copy()
    for own, rank in zip(names, (left, right), strict=True):
        own.insert(axis % rank, "sum")
    return (*names, longest)


LETTERS: dict[str, Callable[[Node], tuple[list[Any], ...]]] = {
    "matmul": _letters_of_matmul,
    "tensordot": _letters_of_tensordot,
    "vecdot": _letters_of_vecdot,
}


def reshaped(node: Node, rows: Rows | None, back: bool = False) -> Rows:
    """Where the rows are after a reshape: as many numbers stand before them and behind them as did.

    ``back``: they are known in the result, and asked for in the operand.
    """
    assert rows is not None
    before, after = node.parents[0].spec.shape, node.spec.shape
    if back:
        before, after = after, before
    count = before[rows.axis] // rows.each
    ahead, behind = math.prod(before[: rows.axis]), math.prod(before[rows.axis :])
    for axis, length in enumerate(after):
        same = math.prod(after[:axis]) == ahead and math.prod(after[axis:]) == behind
        if same and length and length % count == 0:
            return Rows(axis, length // count)
    refuse(node, f"a reshape from {before} to {after} does not keep the samples apart")


def _view(node: Node, given: Sequence[Rows | None]) -> Found:
    """The view is taken of an array that steps along its rows alone, and shows where they went."""
    (rows,) = given
    assert rows is not None
    assert node.op is not None
    spec, op = node.parents[0].spec, node.op
    steps = tuple(int(axis == rows.axis) for axis in range(len(spec.shape)))
    seen = view(Spec(spec.shape, spec.dtype, steps), lambda array: op.numpy(array, **node.settings))
    where = [axis for axis, step in enumerate(seen.strides) if step]
    if len(where) != 1 or seen.strides[where[0]] != 1 or seen.shape[where[0]] != spec.shape[rows.axis]:
        refuse(node, f"{node.name} picks some of the samples, or turns their order")
    return Found(rows._replace(axis=where[0]))


# ----------------------------------------------------------------------------------------- all other operations


def _take(node: Node, given: Sequence[Rows | None]) -> Found:
    (x, _), (table, indices) = _shapes(node), given
    axis = node.settings.get("axis")
    if table is None:
        assert indices is not None
        return Found(indices._replace(axis=indices.axis + (0 if axis is None else axis % len(x))))
    if indices is not None or axis is None or table.axis == axis % len(x):
        refuse(node, "take picks among the samples")
    more = len(node.operands[1].spec.shape) - 1
    return Found(table._replace(axis=table.axis + (more if table.axis > axis % len(x) else 0)))


def _take_along_axis(node: Node, given: Sequence[Rows | None]) -> Found:
    rank = len(node.spec.shape)
    return _beside(node, given, rank, node.settings.get("axis", -1) % rank)


def _concat(node: Node, given: Sequence[Rows | None]) -> Found:
    axis, rank = node.settings.get("axis", 0), len(_shapes(node)[0])
    if axis is None:
        refuse(node, "concat flattens the samples")
    return _beside(node, given, rank, axis % rank)


def _stack(node: Node, given: Sequence[Rows | None]) -> Found:
    rank = len(node.spec.shape)
    found = _beside(node, given, rank - 1)
    assert found.rows is not None
    new = node.settings.get("axis", 0) % rank
    return found._replace(rows=found.rows._replace(axis=found.rows.axis + (found.rows.axis >= new)))


def _repeat(node: Node, given: Sequence[Rows | None]) -> Found:
    (rows,), axis, rank = given, node.settings.get("axis"), len(_shapes(node)[0])
    assert rows is not None
    if axis is None:
        if rows.axis:
            refuse(node, "repeat flattens the samples")
        return Found(Rows(0, node.spec.shape[0] * rows.each // _shapes(node)[0][0]))
    return Found(rows._replace(each=rows.each * node.settings["repeats"]) if axis % rank == rows.axis else rows)


def _tile(node: Node, given: Sequence[Rows | None]) -> Found:
    (rows,), (shape,) = given, _shapes(node)
    assert rows is not None
    axis = rows.axis + len(node.spec.shape) - len(shape)
    if node.spec.shape[axis] != shape[rows.axis]:
        refuse(node, "tile goes through the samples several times")
    return Found(rows._replace(axis=axis))


def _along(node: Node, given: Sequence[Rows | None]) -> Found:
    """An operation along one axis, or several, which may be any but that of the rows."""
    (rows,), rank = given, len(node.spec.shape)
    assert rows is not None
    axis = node.settings.get("axis", -1 if node.name in ("sort", "argsort") else None)
    if axis is None or rows.axis in {a % rank for a in (axis if isinstance(axis, tuple) else (axis,))}:
        refuse(node, f"{node.name} goes along the samples")
    return Found(rows)


def _searchsorted(node: Node, given: Sequence[Rows | None]) -> Found:
    table, values = given
    if table is not None:
        refuse(node, "searchsorted searches among the samples")
    return Found(values)


def _share_sum(node: Node, given: Sequence[Rows | None]) -> Found:
    return Found(None, "add")


OTHERS: dict[str, Callable[[Node, Sequence[Rows | None]], Found]] = {
    "take": _take,
    "take_along_axis": _take_along_axis,
    "concat": _concat,
    "stack": _stack,
    "repeat": _repeat,
    "tile": _tile,
    "roll": _along,
    "sort": _along,
    "argsort": _along,
    "cumulative_sum": _along,
    "cumulative_prod": _along,
    "searchsorted": _searchsorted,
    MEAN: _share_sum,
}
