"""A large update in pieces: a stretch of each flat array goes through all operations while it is in the cache.

What an optimizer does to a block of parameters, memories and gradients, it does to each number by itself.  So a stretch
of some ten thousand numbers can take all of its operations at once, and several threads can share the stretches out:
memory is read and written once and not once for each operation, and no bit changes.
"""

from __future__ import annotations

import contextvars
from collections.abc import Iterable, Mapping, Sequence
from queue import SimpleQueue
from typing import Any

import numpy as np

from martlet.compile.plans.calls import Calls
from martlet.compile.plans.lower import Call, Lowering, Pool, may_fail
from martlet.compile.plans.threads import Job, workers
from martlet.compile.programs.layout import Spec, new
from martlet.compile.programs.node import Node
from martlet.compile.programs.ops import ELEMENTWISE
from martlet.compile.rewriting.rewrite import memory_of, with_operands

LARGE = 2**18  # numbers: smaller arrays stay in the cache anyway
PIECE = 2**15
SHARED = 2**17  # where threads work side by side: the longer their calls, the more rarely they wait for Python's lock


class Update:
    """The nodes of a plan that can be done in pieces: after all others, and read by nobody but each other.

    targets: the results that are written into the state, each with its memory; replaces: what each of them stands for
    from then on; keep: what else is read later.  ``nodes`` is empty where nothing is large enough.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        *,
        targets: Mapping[Node, np.ndarray],
        replaces: Mapping[Node, Node],
        keep: Iterable[Node],
    ) -> None:
        self.targets, self.replaces = targets, replaces
        others = set(keep).difference(targets)
        found = _closed({node for node in nodes if _is_part(node) and node not in others}, nodes)
        largest = max((node.spec.size for node in found), default=0)
        found = _closed({node for node in found if node.spec.size == largest}, nodes)
        self.nodes = [node for node in nodes if node in found]
        if not self._can_be_last():
            self.nodes = []
        self.reads = [node for node in _parents(self.nodes) if node not in found]

    def _can_be_last(self) -> bool:
        """Whether nothing that it reads has been overwritten by then."""
        own = {self.replaces[node] for node in self.nodes if node in self.replaces}
        lost = set(self.replaces.values()) - own
        return not any(memory_of(node) in lost for node in _parents(self.nodes))

    def calls(self, arrays: Mapping[Node, np.ndarray], start: int, stop: int, pool: Pool) -> list[Call]:
        """The calls for a stretch, with what it reads in these arrays."""
        form = new((stop - start,), self.nodes[0].spec.dtype)
        short: dict[Node, Node] = {}
        for node in self.reads:
            short[node] = _like(node, form) if node.spec.shape else node
        given = {short[node]: _part(arrays[node], start, stop) for node in self.reads}
        for node in self.nodes:
            operands = tuple(short.get(o, o) if isinstance(o, Node) else o for o in node.operands)
            short[node] = with_operands(_like(node, form), operands)
        targets = {short[node]: self.targets[node][start:stop] for node in self.nodes if node in self.targets}
        replaces = {short[node]: short[self.replaces[node]] for node in self._replacing()}
        body = [short[node] for node in self.nodes]
        return Lowering(body, given=given, targets=targets, replaces=replaces, keep=list(targets), pool=pool).calls

    def _replacing(self) -> list[Node]:
        """The results that replace what is read here: they must wait for its readers."""
        return [node for node in self.nodes if self.replaces.get(node) in set(self.reads)]


def _is_part(node: Node) -> bool:
    """Whether a node is a function of single numbers of large flat arrays."""
    spec = node.spec
    if node.family != ELEMENTWISE or may_fail(node) or len(spec.shape) != 1 or spec.size < LARGE:
        return False
    return all(parent.spec.shape in ((), spec.shape) for parent in node.parents)


def _closed(found: set[Node], nodes: Sequence[Node]) -> set[Node]:
    """Those of the nodes that only they themselves read."""
    for node in reversed(nodes):
        if node not in found:
            found.difference_update(node.parents)
    return found


def _parents(nodes: Iterable[Node]) -> list[Node]:
    return list(dict.fromkeys(parent for node in nodes for parent in node.parents))


def _like(node: Node, form: Spec) -> Node:
    """The node for fewer numbers."""
    return Node(node.name, node.operands, node.settings, form._replace(dtype=node.spec.dtype), node.place)


def _part(array: np.ndarray, start: int, stop: int) -> np.ndarray:
    return array[start:stop] if array.ndim else array


class Reused(Pool):
    """The memory of one piece after another."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[np.ndarray] = []

    def take(self, nbytes: int) -> np.ndarray:
        before, memory = self.nbytes, super().take(nbytes)
        if self.nbytes > before:
            self.made.append(memory)
        return memory

    def begin(self) -> None:
        self.free = list(self.made)


class Pieces:
    """An update on several threads, as calls that can stand at the end of a plan's, after it has begun to write.

    The calls start the workers, do the first thread's pieces and wait: no Ctrl-C and no error keeps it from its end.
    """

    def __init__(self, update: Update, arrays: Mapping[Node, np.ndarray], threads: int) -> None:
        size = update.nodes[0].spec.size
        threads = min(threads, -(-size // PIECE))
        most = PIECE if threads == 1 else SHARED
        length = -(-size // (threads * -(-size // (threads * most))))  # as many pieces for each of them
        starts = range(0, size, length)
        lists: list[list[Call]] = []
        for thread in range(threads):
            pool, calls = Reused(), []
            for start in starts[thread::threads]:
                pool.begin()
                calls += update.calls(arrays, start, min(start + length, size), pool)
            lists.append(calls)
        workers.start(threads - 1)
        self.others = [Other(Calls(calls, 0).run) for calls in lists[1:]]
        begin = [(queue.put, other.item) for queue, other in zip(workers.queues, self.others, strict=False)]
        self.calls: list[Call] = [*begin, *lists[0], *((other.wait,) for other in self.others)]

    def prepare(self) -> None:
        """To be called before the calls are."""
        workers.start(len(self.others))
        for other in self.others:
            other.context = contextvars.copy_context()
            other.outcomes.clear()

    def check(self) -> None:
        """To be called after them: raises what a worker has raised.  Its pieces are done nevertheless."""
        for other in self.others:
            if other.outcomes:
                raise other.outcomes.pop()


class Other:
    """What another thread does."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.context = contextvars.copy_context()
        self.outcomes: list[BaseException] = []
        ended: SimpleQueue[Any] = SimpleQueue()
        self.item = (self, None, ended)
        self.wait = ended.get

    def run(self, nothing: None) -> None:
        try:
            self.context.run(self.job)
        except BaseException as error:
            self.outcomes.append(error)
