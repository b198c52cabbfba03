"""Fusing: elementwise operations of one shape become one kernel, which reads and writes memory once.

On a device each operation by itself is a kernel, whose launch takes longer than the arithmetic of a small array, and
whose way through memory takes longer than that of a large one.  Here is which operations go together; what a kernel
says is in ``kernel_text.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence

from martlet.compile.node import Node
from martlet.compile.ops import VIEW

FUSED = "fused"
MOST = 40  # arrays that a kernel reads and writes: its arguments have 4 KB


class Group(Node):
    """Some elementwise operations of one shape, each after its operands, as one: its parents are what it reads.

    members: the operations; results: those of them that something else reads.
    """

    __slots__ = ("members", "results")

    def __init__(self, members: Sequence[Node], results: Sequence[Node]) -> None:
        inside = set(members)
        reads = dict.fromkeys(parent for node in members for parent in node.parents if parent not in inside)
        super().__init__(FUSED, tuple(reads), {}, results[-1].spec, members[-1].place)
        self.members, self.results = list(members), list(results)

    @property
    def family(self) -> str:
        return FUSED


def arranged(nodes: Sequence[Node], kept: Container[Node], fusible: Callable[[Node], bool]) -> list[Node]:
    """The nodes with groups in the place of what is fused.  ``kept`` are read when all is done.

    An operation that can be fused waits until something that cannot asks for it: so 1 − y² is computed where it is
    multiplied, in the backward step, and not where y is, to lie in memory until then.
    """
    waiting = {node: fusible(node) for node in nodes if node.family == VIEW or fusible(node)}
    readers: dict[Node, set[Node]] = {}
    for node in nodes:
        for parent in node.parents:
            readers.setdefault(parent, set()).add(node)
    found: list[Node] = []
    done: set[Node] = set()

    def emit(wanted: Iterable[Node]) -> None:
        asked = _asked_for(wanted, waiting, done)
        done.update(asked)
        for members in _stages([node for node in nodes if node in asked], waiting):
            if not waiting[members[0]]:
                found.extend(members)
                continue
            for part in _parts(members):
                inside = set(part)
                results = [node for node in part if node in kept or not readers.get(node, set()) <= inside]
                found.append(Group(part, results))

    for node in nodes:
        if node not in waiting:
            emit(node.parents)
            found.append(node)
    emit(node for node in nodes if node in waiting)
    return found


def _asked_for(wanted: Iterable[Node], waiting: Container[Node], done: Container[Node]) -> set[Node]:
    """What has waited and is now needed, and all that it needs."""
    found: set[Node] = set()
    ask = list(wanted)
    while ask:
        node = ask.pop()
        if node in waiting and node not in done and node not in found:
            found.add(node)
            ask += node.parents
    return found


def _stages(nodes: Sequence[Node], fuses: dict[Node, bool]) -> list[list[Node]]:
    """The nodes in groups, each of which depends on none after it: fused ones of one shape, or views."""
    stage: dict[Node, int] = {}
    groups: dict[tuple[int, bool, tuple[int, ...]], list[Node]] = {}
    for node in nodes:
        stage[node] = max((stage[p] + (not _together(p, node, fuses)) for p in node.parents if p in stage), default=0)
        shape = node.spec.shape if fuses[node] else ()
        groups.setdefault((stage[node], fuses[node], shape), []).append(node)
    return [groups[key] for key in sorted(groups, key=lambda key: key[0])]


def _together(parent: Node, node: Node, fuses: dict[Node, bool]) -> bool:
    return fuses[parent] and fuses[node] and parent.spec.shape == node.spec.shape


def _parts(members: list[Node]) -> list[list[Node]]:
    """A group cut where a kernel would have too many arguments."""
    parts: list[list[Node]] = [[]]
    arrays: set[Node] = set()
    for node in members:
        arrays |= {node, *node.parents}
        if len(arrays) > MOST and parts[-1]:
            parts.append([])
            arrays = {node, *node.parents}
        parts[-1].append(node)
    return parts
