"""What operations ask of a machine: how many there are, how much they compute, how many bytes they move."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from martlet.compile.programs.layout import view
from martlet.compile.programs.node import Node
from martlet.compile.programs.ops import ELEMENTWISE, PRODUCT, REDUCTION, SOURCE, VIEW, axes_of


class Cost(NamedTuple):
    """Operations, floating-point operations, and bytes read and written.

    A view of an array is no operation: nothing is computed or moved.
    """

    operations: int
    flops: int
    nbytes: int

    def __str__(self) -> str:
        words = (self.operations, "operation"), (self.flops, "FLOP"), (self.nbytes, "byte")
        return ", ".join(f"{count:,} {word}{'s' * (count != 1)}" for count, word in words) + " moved"


def cost_of(nodes: Iterable[Node]) -> Cost:
    """The cost of some operations together.  What is made of numbers alone is made once, and costs nothing."""
    working = [node for node in nodes if node.family != SOURCE and (node.family != VIEW or copies(node))]
    return Cost(len(working), sum(map(flops, working)), sum(map(bytes_moved, working)))


def flops(node: Node) -> int:
    """Additions and multiplications, and each function of a number counted as one."""
    if node.family == ELEMENTWISE:
        return node.spec.size if node.name not in ("astype", "where") else 0
    if node.family == REDUCTION:
        return node.parents[0].spec.size
    if node.family == PRODUCT:
        return 2 * node.spec.size * _length_of_product(node)
    return 0


def _length_of_product(node: Node) -> int:
    """How many products are added up for each number of the result."""
    shape = node.parents[0].spec.shape
    axes = node.settings.get("axes", node.settings.get("axis", -1))
    if node.name != "tensordot":
        return shape[axes]
    summed = range(len(shape) - axes, len(shape)) if isinstance(axes, int) else axes_of(len(shape), axes[0])
    return math.prod(shape[axis] for axis in summed)


def bytes_moved(node: Node) -> int:
    """What is read and written, if each operand comes from memory and each result goes there.  A view moves nothing."""
    if node.family == SOURCE or (node.family == VIEW and not copies(node)):
        return 0
    return node.spec.nbytes + sum(parent.spec.nbytes for parent in node.parents)


def copies(node: Node) -> bool:
    """Whether a reshape cannot be a view of its operand."""
    if node.name != "reshape":
        return False
    shape = node.spec.shape
    try:
        view(node.parents[0].spec, lambda array: np.reshape(array, shape, copy=False))
    except ValueError:
        return True
    return False


def reduced_axes(node: Node) -> tuple[int, ...]:
    """The axes that a reduction is over."""
    return axes_of(len(node.parents[0].spec.shape), node.settings.get("axis"))
