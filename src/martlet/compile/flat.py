"""One array for many: parameters, memories and gradients side by side, so that one chain of operations updates them all.

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

from martlet.compile.layout import new, row_by_row
from martlet.compile.ops import ELEMENTWISE, OPS, Op
from martlet.compile.program import Node

PACK = "pack"  # arrays of any shapes, one after another in one flat array
OPS["pack"] = Op(
    "pack",
    PACK,
    lambda *a: new((sum(x.size for x in a),), a[0].dtype),
    lambda *a: np.concatenate([x.ravel() for x in a]),
)


@dataclass(frozen=True)
class Slot:
    """One array of the state: which leaf of the model it belongs to ("0.W"), as what ("model", "v"), before and after."""

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


class _Unlike(Exception):
    """An array that is neither the leaf's own nor shared by all leaves."""


def merge(slots: Sequence[Slot], alone: Container[str] = ()) -> tuple[list[Block], dict[Node, Node]]:
    """The blocks of a state, and what its old nodes become: a leaf before the step is a view of its block.

    alone: leaves whose arrays stay by themselves.
    """
    by_leaf: dict[str, list[Slot]] = {}
    for slot in slots:
        by_leaf.setdefault(slot.leaf, []).append(slot)
    groups: dict[Any, list[list[Slot]]] = {}
    for name, members in by_leaf.items():
        kind = None if name in alone else _kind(members)
        groups.setdefault(kind or name, []).append(members)
    blocks: list[Block] = []
    views: dict[Node, Node] = {}
    for group in groups.values():
        found = _merged(group)
        blocks += found
        for block in found:
            views |= _views(block)
    return blocks, views


def _kind(members: list[Slot]) -> Any:
    """What is done to a leaf, in a form that is equal for leaves to which the same is done; None if it stays alone."""
    shape = members[0].before.spec.shape
    if shape == () or any(slot.before.spec.shape != shape for slot in members):
        return None
    if any(slot.before.spec.strides != row_by_row(shape) or slot.after is slot.before for slot in members):
        return None
    own = {slot.before: slot.role for slot in members}
    memory: dict[Node, Any] = {}
    try:
        return tuple(
            (slot.role, slot.before.spec.dtype, _signature(slot.after, shape, own, memory)) for slot in members
        )
    except _Unlike:
        return None


def _signature(node: Any, shape: tuple[int, ...], own: dict[Node, str], memory: dict[Node, Any]) -> Any:
    if not isinstance(node, Node):
        return type(node), repr(node)
    if node in own:
        return "own", own[node]
    if node.spec.shape == ():
        return "shared", id(node)
    if node.spec.shape != shape:
        raise _Unlike
    if node not in memory:
        memory[node] = _operation(node, shape, own, memory)
    return memory[node]


def _operation(node: Node, shape: tuple[int, ...], own: dict[Node, str], memory: dict[Node, Any]) -> Any:
    if node.family == ELEMENTWISE and node.spec.strides == row_by_row(shape):
        try:
            inner = tuple(_signature(operand, shape, own, memory) for operand in node.operands)
            return node.name, repr(node.settings), inner
        except _Unlike:
            pass
    return "part", node.spec.dtype


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
    owns = [{slot.before for slot in members} for members in group]
    shapes = [members[0].before.spec.shape for members in group]
    builder = _Builder(flats, owns, shapes, total)
    return [Block(list(column), before[column], builder.flat(tuple(s.after for s in column))) for column in columns]


class _Builder:
    """Makes one operation on flat arrays of the same operation on each of several arrays."""

    def __init__(self, known: dict[Any, Node], owns: list[set[Node]], shapes: list[Any], total: int) -> None:
        self.known, self.owns, self.shapes, self.total = known, owns, shapes, total

    def flat(self, nodes: tuple[Any, ...]) -> Any:
        first = nodes[0]
        if not isinstance(first, Node) or (first.spec.shape == () and first not in self.owns[0]):
            return first
        if nodes not in self.known:
            self.known[nodes] = self._make(nodes)
        return self.known[nodes]

    def _make(self, nodes: tuple[Node, ...]) -> Node:
        first, spec = nodes[0], new((self.total,), nodes[0].spec.dtype)
        if all(self._is_elementwise(i, node) for i, node in enumerate(nodes)):
            operands = tuple(self.flat(row) for row in zip(*(node.operands for node in nodes), strict=True))
            return Node(first.name, operands, first.settings, spec, first.place)
        return Node(PACK, nodes, {}, spec, first.place)

    def _is_elementwise(self, i: int, node: Node) -> bool:
        own = dict.fromkeys(self.owns[i], "")
        return node not in own and _operation(node, self.shapes[i], own, {})[0] != "part"


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
