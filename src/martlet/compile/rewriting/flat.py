"""One array for many: parameters, memories and gradients side by side, and one chain of operations updates them all.

An optimizer's rule does the same to every array of a model.  Where the recorded operations say so, the arrays of one
dtype are laid into one flat array each (all parameters, all velocities, all gradients), and the equal chains over
them become one chain.  An element is computed from the same numbers by the same operations, so no bit changes.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from martlet.compile.programs.layout import new, row_by_row
from martlet.compile.programs.ops import ELEMENTWISE, OPS, Op
from martlet.compile.programs.program import Node

PACK = "pack"  # arrays of any shapes, one after another in one flat array
OPS["pack"] = Op(
    "pack",
    PACK,
    lambda *a: new((sum(x.size for x in a),), a[0].dtype),
    lambda *a: np.concatenate([x.ravel() for x in a]),
)


@dataclass(frozen=True)
class Slot:
    """One array of the state: which leaf of the model it is of ("0.W"), as what ("model", "v"), before and after."""

    leaf: str
    role: str
    before: Node
    after: Node


@dataclass
class Block:
    """A stretch of the state in one array: the slots in it, one after another, and its node before and after."""

    slots: list[Slot]
    before: Node
    after: Node

    @property
    def offsets(self) -> list[int]:
        return [0, *itertools.accumulate(slot.before.spec.size for slot in self.slots)]


def merge(slots: Sequence[Slot], alone: Container[str] = ()) -> tuple[list[Block], dict[Node, Node]]:
    """The blocks of a state, and what its old nodes become: a leaf before the step is a view of its block.

    alone: leaves whose arrays stay by themselves.
    """
    by_leaf: dict[str, list[Slot]] = {}
    for slot in slots:
        by_leaf.setdefault(slot.leaf, []).append(slot)
    groups: dict[Any, list[list[Slot]]] = {}
    table: dict[Any, Any] = {}
    for name, members in by_leaf.items():
        kind = None if name in alone else _kind(members, table)
        groups.setdefault(kind or name, []).append(members)
    blocks: list[Block] = []
    views: dict[Node, Node] = {}
    for group in groups.values():
        found = _merged(group)
        blocks += found
        for block in found:
            views |= _views(block)
    return blocks, views


def _kind(members: list[Slot], table: dict[Any, Any]) -> Any:
    """What is done to a leaf, in a form that is equal for leaves to which the same is done; None if it stays alone."""
    shape = members[0].before.spec.shape
    if shape == () or any(node.spec.shape != shape for slot in members for node in (slot.before, slot.after)):
        return None
    if any(slot.before.spec.strides != row_by_row(shape) or slot.after is slot.before for slot in members):
        return None
    own = {slot.before: slot.role for slot in members}
    signs = _signs([slot.after for slot in members], shape, own, table)
    return tuple((slot.role, slot.before.spec.dtype, signs[slot.after]) for slot in members)


def _signs(afters: list[Node], shape: tuple[int, ...], own: dict[Node, str], table: dict[Any, Any]) -> dict[Node, Any]:
    """A sign for each node of a leaf's chains: equal where the same is computed from a leaf's own arrays and parts.

    ``table`` has a number for each such computation: written out, it would double with each x + x.
    """
    signs: dict[Node, Any] = {node: ("own", role) for node, role in own.items()}
    waiting = list(afters)
    while waiting:
        node = waiting[-1]
        chain = _is_chain(node, shape)
        missing = [p for p in node.parents if chain and p.spec.shape == shape and p not in signs]
        if node not in signs and missing:
            waiting += missing
            continue
        waiting.pop()
        if node not in signs:
            inner = tuple(
                signs.get(o, ("shared", id(o))) if isinstance(o, Node) else (type(o), repr(o)) for o in node.operands
            )
            key = (node.name, repr(node.settings), inner) if chain else ("part", node.spec.dtype)
            signs[node] = table.setdefault(key, len(table))
    return signs


def _is_chain(node: Node, shape: tuple[int, ...]) -> bool:
    """Whether each number of a result comes from one number of each array of the leaf's shape, and from shared ones."""
    return (
        node.family == ELEMENTWISE
        and node.spec.strides == row_by_row(shape)
        and all(parent.spec.shape in ((), shape) for parent in node.parents)
    )


def _merged(group: list[list[Slot]]) -> list[Block]:
    """One block for each role of a group of leaves.  A leaf that is alone keeps its arrays as they are."""
    if len(group) == 1:
        return [Block([slot], slot.before, slot.after) for slot in group[0]]
    columns = list(zip(*group, strict=True))
    total = sum(members[0].before.spec.size for members in group)
    before = {}
    for column in columns:
        spec = new((total,), column[0].before.spec.dtype)
        before[column] = Node("input", (), {"name": f"{column[0].role}: {len(group)} arrays"}, spec, "the state")
    flats = {tuple(slot.before for slot in column): node for column, node in before.items()}
    shapes = [members[0].before.spec.shape for members in group]
    builder = _Builder(flats, shapes, total)
    return [Block(list(column), before[column], builder.flat(tuple(s.after for s in column))) for column in columns]


class _Builder:
    """Makes one operation on flat arrays of the same operation on each of several arrays."""

    def __init__(self, known: dict[Any, Node], shapes: list[Any], total: int) -> None:
        self.known, self.shapes, self.total = known, shapes, total

    def flat(self, nodes: tuple[Node, ...]) -> Node:
        """One node for a row of nodes, one of each leaf."""
        waiting = [nodes]
        while waiting:
            row = waiting[-1]
            inner = self._operands(row)
            missing = [r for r in inner if isinstance(r, tuple) and r not in self.known]
            if row not in self.known and missing:
                waiting += missing
                continue
            waiting.pop()
            if row not in self.known:
                self.known[row] = self._make(row, tuple(self.known[r] if isinstance(r, tuple) else r for r in inner))
        return self.known[nodes]

    def _operands(self, row: tuple[Node, ...]) -> list[Any]:
        """The operands of a row: again rows, and what they share."""
        if not all(map(_is_chain, row, self.shapes)):
            return []
        columns = zip(*(node.operands for node in row), strict=True)
        return [c if isinstance(c[0], Node) and c[0].spec.shape != () else c[0] for c in columns]

    def _make(self, row: tuple[Node, ...], operands: tuple[Any, ...]) -> Node:
        first, spec = row[0], new((self.total,), row[0].spec.dtype)
        if operands:
            return Node(first.name, operands, first.settings, spec, first.place)
        return Node(PACK, row, {}, spec, first.place)


def _views(block: Block) -> dict[Node, Node]:
    if block.before is block.slots[0].before:
        return {}
    found = {}
    for slot, start, stop in zip(block.slots, block.offsets, block.offsets[1:], strict=False):
        spec = slot.before.spec
        part = Node(
            "getitem", (block.before,), {"key": slice(start, stop)}, new((stop - start,), spec.dtype), "the state"
        )
        found[slot.before] = Node("reshape", (part,), {"shape": spec.shape}, spec, "the state")
    return found


def parts(packs: Iterable[Node]) -> dict[Node, tuple[Node, int, int]]:
    """Where in a pack each of its parts lies: the pack, and from which number to which."""
    found: dict[Node, tuple[Node, int, int]] = {}
    for pack in packs:
        start = 0
        for parent in pack.parents:
            stop = start + parent.spec.size
            found.setdefault(parent, (pack, start, stop))
            start = stop
    return found
