"""A mean is a product with the vector of 1/N: one call for what is written as a quotient and a sum."""

from __future__ import annotations

from typing import Any

import numpy as np

from martlet.compile.programs.cost import reduced_axes
from martlet.compile.programs.layout import new
from martlet.compile.programs.ops import OPS, OTHER, Op
from martlet.compile.programs.program import Node
from martlet.compile.rewriting.rewrite import reachable, readers, rewritten, with_operands

MEAN = "share_sum"  # Σ x · share, over all numbers of x
OPS[MEAN] = Op(MEAN, OTHER, lambda x, *, share: new((), x.dtype), lambda x, share: np.sum(x * share, dtype=x.dtype))


def with_means(outputs: list[Node]) -> list[Node]:
    """The outputs, in which Σ (x / n) is one operation."""
    nodes, reads = reachable(outputs), readers(outputs)
    changes: dict[Node, Node] = {}

    def visit(node: Node, operands: tuple[Any, ...]) -> Node:
        if node.name != "sum" or node.spec.shape != () or node.settings.get("dtype") is not None:
            return with_operands(node, operands)
        (inner,) = node.parents
        everything = len(reduced_axes(node)) == len(inner.spec.shape)
        if inner.name != "divide" or reads[inner] != 1 or not everything or inner.spec.dtype.itemsize < 4:
            return with_operands(node, operands)
        x, count = inner.operands
        if not isinstance(x, Node) or isinstance(count, Node) or not count or x.spec.dtype != inner.spec.dtype:
            return with_operands(node, operands)
        return Node(MEAN, (changes.get(x, x),), {"share": 1.0 / count}, node.spec, node.place)

    rewritten(nodes, visit, changes)
    return [changes[node] for node in outputs]
