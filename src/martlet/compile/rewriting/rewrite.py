"""Rewriting: a program becomes another one that gives the same numbers with less work.

What nobody reads is dropped, what is computed twice is computed once.  Neither changes a bit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable
from typing import Any

import numpy as np

from martlet.compile.programs.layout import like
from martlet.compile.programs.ops import PRODUCT, VIEW
from martlet.compile.programs.program import Node

Visit = Callable[[Node, tuple[Any, ...]], Node]


def rewritten(nodes: Iterable[Node], visit: Visit, known: dict[Node, Node] | None = None) -> dict[Node, Node]:
    """What each node becomes: ``visit(node, operands)`` is asked, in order, with operands that have been rewritten."""
    found = {} if known is None else known
    for node in nodes:
        if node not in found:
            operands = tuple(found.get(o, o) if isinstance(o, Node) else o for o in node.operands)
            found[node] = visit(node, operands)
    return found


def with_operands(node: Node, operands: tuple[Any, ...]) -> Node:
    """The node itself, or one like it on other operands."""
    if all(new is old for new, old in zip(operands, node.operands, strict=True)):
        return node
    return Node(node.name, operands, node.settings, node.spec, node.place)


def copy_of(node: Node) -> Node:
    """The same numbers in memory of their own, in the order in which they are seen."""
    spec = node.spec
    return Node("copy", (node,), {}, like(spec.shape, spec.dtype, [spec]), node.place)


def without_gaps(nodes: Iterable[Node]) -> dict[Node, Node]:
    """The program for inputs without gaps: parts of larger arrays, and repeated ones, are copied on their way in."""

    def visit(node: Node, operands: tuple[Any, ...]) -> Node:
        spec = node.spec
        if node.op is not None:
            same = all(new is old for new, old in zip(operands, node.operands, strict=True))
            rule = node.op.rule
            spec = spec if same else rule(*(o.spec if isinstance(o, Node) else o for o in operands), **node.settings)
        elif not spec.dense or any(stride < 0 for stride in spec.strides):
            spec = like(spec.shape, spec.dtype, [spec])
        return node if spec is node.spec else Node(node.name, operands, node.settings, spec, node.place)

    return rewritten(nodes, visit)


def share(nodes: Iterable[Node]) -> dict[Node, Node]:
    """Common subexpressions: what asks the same of the same operands is one node.  x · 1.0 is x."""
    seen: dict[Any, Node] = {}

    def visit(node: Node, operands: tuple[Any, ...]) -> Node:
        if node.op is None:
            return node
        same = _same_as_operand(node, operands)
        if same is not None:
            return same
        operands = _apart(node, operands)
        key = (node.name, tuple(map(_key, operands)), tuple((k, _key(v)) for k, v in node.settings.items()))
        new = seen.get(key)
        if new is None:
            new = seen[key] = with_operands(node, operands)
        return new

    return rewritten(nodes, visit)


def _apart(node: Node, operands: tuple[Any, ...]) -> tuple[Any, ...]:
    """A product of two arrays that were computed twice, and now are one, still gets two.

    For A.T @ A, and only where it is the same memory, BLAS computes half and mirrors it, with other last digits.
    """
    if node.family != PRODUCT or memory_of(operands[0]) is not memory_of(operands[1]):
        return operands
    one = memory_of(node.operands[0]) is memory_of(node.operands[1])
    return operands if one else (operands[0], copy_of(operands[1]))


def memory_of(node: Node) -> Node:
    """The node whose memory an array is in: its own, or that of what it is a view of."""
    while node.family == VIEW:
        node = node.parents[0]
    return node


def _key(value: Any) -> Any:
    if isinstance(value, Node | np.ndarray):
        return id(value)
    if isinstance(value, tuple | list):
        return (type(value), tuple(map(_key, value)))
    if isinstance(value, slice):
        return ("slice", value.start, value.stop, value.step)
    # 1 and 1.0 and True are equal, and so are 0.0 and -0.0, but they are not the same.
    return (type(value), repr(value))


def _same_as_operand(node: Node, operands: tuple[Any, ...]) -> Node | None:
    """The operand that an operation gives back unchanged, to the last bit."""
    if node.name == "multiply" and len(operands) == 2:
        for one, x in (operands, operands[::-1]):
            if type(one) is float and one == 1.0 and isinstance(x, Node) and x.spec == node.spec:
                return x
    if node.name == "reshape" and isinstance(operands[0], Node) and operands[0].spec == node.spec:
        return operands[0]
    return None


def reachable(outputs: Iterable[Node], known: Container[Node] = ()) -> list[Node]:
    """The nodes that some results depend on, each after its operands; what is known depends on nothing."""
    order: list[Node] = []
    done: set[Node] = set()
    waiting: list[tuple[Node, bool]] = [(node, False) for node in reversed(list(outputs))]
    while waiting:
        node, expanded = waiting.pop()
        if expanded:
            order.append(node)
        elif node not in done:
            done.add(node)
            waiting.append((node, True))
            if node not in known:
                waiting += [(parent, False) for parent in reversed(node.parents) if parent not in done]
    return order


def readers(outputs: Iterable[Node]) -> Counter[Node]:
    """How often each node is read by what some results depend on; to be a result counts as well."""
    outputs = list(outputs)
    found = Counter(outputs)
    for node in reachable(outputs):
        found.update(node.parents)
    return found


def depends_on(nodes: Iterable[Node], sources: set[Node]) -> set[Node]:
    """The nodes that depend on some of these sources, and the sources themselves."""
    found = set(sources)
    for node in nodes:
        if any(parent in found for parent in node.parents):
            found.add(node)
    return found
