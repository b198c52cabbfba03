"""A plan that takes its batch in chunks of rows: each passes through the whole network while it is in the cache.

Gradients and losses are sums over rows, so those of the chunks are added up: chunk k goes to lane k mod 8, and at the
end the lanes are added in their order.  Several threads share out the lanes.  So neither the number of threads nor
their pace changes a bit.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import starmap
from operator import call
from typing import Any

import numpy as np

from martlet.compile.plans.calls import Calls
from martlet.compile.plans.fast import Fast
from martlet.compile.plans.lower import Call, Lowering, array_in, buffer
from martlet.compile.plans.plan import Plan, own_memory, without_labels
from martlet.compile.plans.state import State
from martlet.compile.plans.threads import blas, workers
from martlet.compile.programs.layout import by_columns, new
from martlet.compile.programs.node import Node
from martlet.compile.programs.program import Program
from martlet.compile.rewriting.cut import Part, Split
from martlet.compile.rewriting.flat import Block
from martlet.compile.rewriting.labels import Table
from martlet.compile.rewriting.means import with_means
from martlet.compile.rewriting.rewrite import depends_on, reachable
from martlet.compile.rewriting.rows import Rows

LANES = 8  # more threads than these have nothing to do


class ChunkPlan(Plan):
    """A plan (see there) whose batch is taken in chunks of so many ``rows``, by so many ``threads``.

    With ``samples`` no batch is ever put together: each chunk takes its rows from all samples, by the numbers that were
    given to ``load``.  Sums are added in another order than in the whole.  Raises NeedsWholeBatch where the step
    cannot be cut.
    """

    def __init__(
        self,
        program: Program,
        carried: Sequence[tuple[int, int, str, str]],
        state: State,
        *,
        rows: int,
        threads: int = 1,
        samples: Sequence[np.ndarray] | None = None,
        tables: bool = True,
    ) -> None:
        self.rows, self.tables = rows, tables
        super().__init__(program, carried, state, samples=samples, tables=False, threads=threads)

    def _simplified(self, wanted: list[Node], samples: Any) -> tuple[list[Node], dict[Node, Table]]:
        return with_means(wanted), {}

    def _lay_out_data(self, wanted: list[Node], made: Any, samples: Sequence[np.ndarray] | None) -> None:
        self.arrays: dict[Node, np.ndarray] = {}
        self.ones: dict[Node, np.ndarray] = {}
        self.samples = samples
        self.index = None if samples is None else np.zeros(self.data[0].spec.shape[0], np.intp)
        self.inputs = [array_in(buffer(node.spec.nbytes), node.spec) for node in self.data] if samples is None else []
        self.sources = dict(zip(self.data, self.inputs if samples is None else samples, strict=True))

    def _lay_out(self, wanted: list[Node], blocks: list[Block], given: dict[Node, np.ndarray], made: Any) -> None:
        moving = [block.before for block in blocks]
        split = Split(wanted, self.data, moving)
        single = {node: self.sources[node] for node in self.data if not node.spec.shape}
        known = given | single | {block.before: self.state.of(block) for block in blocks}
        self.changing = {*moving, *single}
        late = [total for total in split.totals if total not in split.early]
        self.passes = [Pass(self, split, totals, known) for totals in (split.early, late) if totals]
        totals = set(split.totals)
        ends, own, replaces, nodes = self._in_order(wanted, blocks, known, totals, totals)
        nodes = self._settled(nodes, known, own)
        self._lower(nodes, known, own, replaces, ends)

    def _settled(self, nodes: list[Node], known: dict[Node, np.ndarray], written: Iterable[Node] = ()) -> list[Node]:
        """Computes now what stays the same in every step; what is left of the nodes."""
        changing = depends_on(nodes, {*self.changing, *written})
        still = Lowering([n for n in nodes if n not in changing and n.op is not None], given=known, keep=nodes)
        Calls(still.calls, 0).run()
        known |= {node: still.arrays[node] for node in nodes if node not in changing}
        return [node for node in nodes if node in changing and node.op is not None]

    def load(self, rows: np.ndarray) -> None:
        """Say of which samples the batch is; they are read when it runs."""
        assert self.index is not None
        self.index[...] = rows

    def run(self) -> None:
        with blas.held():
            for each in self.passes:
                each.run()
        super().run()


class Pass:
    """All chunks on their way to some totals: the calls before them, each worker's, and those that add up the lanes.

    ``known``: the arrays of what is known before the pass; the totals are added to it.
    """

    def __init__(self, plan: ChunkPlan, split: Split, totals: list[Node], known: dict[Node, np.ndarray]) -> None:
        self.plan, self.split = plan, split
        starts = range(0, split.count, plan.rows)
        self.chunks = [(start, min(start + plan.rows, split.count)) for start in starts]
        self.sums = Sums(split, totals, min(LANES, len(self.chunks)))
        self.parts = {stop - start: Part(split, totals, stop - start) for start, stop in self.chunks}
        read = dict.fromkeys(node for part in self.parts.values() for node in [*part.whole, *_sliced(part)])
        nodes = plan._settled(reachable(read, known), known)
        lowering = Lowering(nodes, given=known, keep=list(read))
        self.before = Calls(lowering.calls, 0)
        self.read = {node: lowering.arrays[node] for node in read}
        self.prepared = {count: self._prepared(part) for count, part in self.parts.items()}
        count = min(plan.threads, self.sums.lanes)
        jobs = [self._calls_of(worker, count) for worker in range(count)]
        self.jobs = [functools.partial(_walk, calls) for calls in jobs]
        known |= self.sums.totals
        plan.changing |= set(self.sums.totals)

    def run(self) -> None:
        self.before.run()
        workers.run(self.jobs)
        _walk(self.sums.calls)

    def _prepared(self, part: Part) -> tuple[list[Node], dict[Node, Table]]:
        """The nodes that a part's totals come from, and the tables of labels that they read."""
        wanted, plan = list(part.totals.values()), self.plan
        if plan.samples is None or not plan.tables or part.count < plan.rows:
            return wanted, {}
        places = [(part.data[node], source) for node, source in plan.sources.items() if node in part.data]
        return without_labels(wanted, *zip(*places, strict=True)) if places else (wanted, {})

    def _calls_of(self, worker: int, count: int) -> list[Call]:
        """One worker's calls: in its own memory, for the chunks of its lanes."""
        share, calls = self.sums.share(), []
        bodies: dict[int, Body] = {}
        for number, (start, stop) in enumerate(self.chunks):
            if number % LANES % count == worker:
                if stop - start not in bodies:
                    bodies[stop - start] = Body(self, self.parts[stop - start], share)
                body = bodies[stop - start]
                calls += [*body.loads(start, stop), *body.calls, *self.sums.add(share, number)]
        return calls


class Body:
    """The calls of a chunk in one worker's memory, and those that take its rows there."""

    def __init__(self, owner: Pass, part: Part, share: Sequence[np.ndarray]) -> None:
        self.owner, self.part = owner, part
        wanted, tables = owner.prepared[part.count]
        self.sources = {own: owner.plan.sources[node] for node, own in part.data.items()}
        self.sources |= {node: table.values for node, table in tables.items()}
        inputs = [*self.sources, *(own for _, _, own in part.slices)]
        forms = {node: by_columns(node.spec) if node in tables else node.spec for node in inputs}
        self.arrays = {node: array_in(buffer(spec.nbytes), spec) for node, spec in forms.items()}
        targets: dict[Node, np.ndarray] = {}
        for total, node in zip(part.totals, wanted, strict=True):
            targets[own_memory(node, targets)] = owner.sums.place(total, share)
        given = owner.read | self.arrays
        nodes = [node for node in reachable(targets, given) if node.op is not None]
        self.read = {parent for node in nodes if node not in given for parent in node.parents}
        self.calls = Fast(nodes, given=given, targets=targets, keep=list(targets)).calls

    def loads(self, start: int, stop: int) -> list[Call]:
        found: list[Call] = []
        for node, source in self.sources.items():
            if node in self.read:
                found.append(self._taken(source, slice(start, stop), self.arrays[node]))
        for node, rows, own in self.part.slices:
            at = slice(start * rows.each, stop * rows.each)
            found.append(self._sliced(node, rows, at, self.arrays[own]))
        return found

    def _taken(self, source: np.ndarray, at: slice, out: np.ndarray) -> Call:
        index = self.owner.plan.index
        if index is None:
            return out.__setitem__, ..., source[at]
        if out.flags.c_contiguous:
            return source.take, index[at], 0, out, "clip"
        return self._columns(source).take, index[at], 1, out.T, "clip"

    def _columns(self, source: np.ndarray) -> np.ndarray:
        """A table by columns, made once for all chunks and workers."""
        known = self.owner.plan.__dict__.setdefault("columns", {})
        if id(source) not in known:
            known[id(source)] = (source, np.ascontiguousarray(source.T))
        return known[id(source)][1]

    def _sliced(self, node: Node, rows: Rows, at: slice, out: np.ndarray) -> Call:
        if _counts(node):
            start, step = node.settings["start"], node.settings["step"]
            first = np.arange(start, start + out.size * step, step, dtype=out.dtype)
            return np.add, first, np.asarray(at.start * step, dtype=out.dtype), out
        return out.__setitem__, ..., self.owner.read[node][(slice(None),) * rows.axis + (at,)]


class Sums:
    """The lanes: for each way of adding, and each dtype, a row of numbers per lane, with a place for each total."""

    def __init__(self, split: Split, totals: Sequence[Node], lanes: int) -> None:
        self.lanes = lanes
        self.groups: list[tuple[np.ufunc, np.ndarray]] = []
        self.places: dict[Node, tuple[int, int]] = {}
        kinds: dict[Any, list[Node]] = {}
        for total in totals:
            kinds.setdefault((split.totals[total].replace("mean", "add"), total.spec.dtype), []).append(total)
        for (combine, dtype), members in kinds.items():
            size, step = 0, 64 // dtype.itemsize  # each begins at a cache line
            for total in members:
                self.places[total] = len(self.groups), size
                size += -(-total.spec.size // step) * step
            lines = _zeros((lanes, size), dtype)
            self.groups.append((getattr(np, combine), lines))
        whole = self.share()
        self.totals = {total: self.place(total, whole) for total in totals}
        self.calls: list[Call] = [
            (ufunc.reduce, lines, 0, None, out) for (ufunc, lines), out in zip(self.groups, whole, strict=True)
        ]
        for total in totals:
            if split.totals[total] == "mean":
                array, count = self.totals[total], total.parents[0].spec.size // total.spec.size
                self.calls.append((np.divide, array, np.asarray(count, array.dtype), array))

    def share(self) -> list[np.ndarray]:
        """Memory for the totals of one chunk."""
        return [_zeros((lines.shape[1],), lines.dtype) for _, lines in self.groups]

    def place(self, total: Node, share: Sequence[np.ndarray]) -> np.ndarray:
        group, start = self.places[total]
        return share[group][start : start + total.spec.size].reshape(total.spec.shape)

    def add(self, share: Sequence[np.ndarray], number: int) -> list[Call]:
        """The calls that bring the share of a chunk into its lane; the lane's first is what it begins with."""
        calls: list[Call] = []
        for (ufunc, lines), array in zip(self.groups, share, strict=True):
            lane = lines[number % LANES]
            if number < LANES:
                calls.append((lane.__setitem__, ..., array))
            else:
                calls.append((functools.partial(ufunc, out=lane), lane, array))
        return calls


def _zeros(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    spec = new(shape, dtype)
    array = array_in(buffer(spec.nbytes), spec)
    array[...] = 0
    return array


def _counts(node: Node) -> bool:
    """Whether a value is 0, 1, 2, … or the like, in integers, of which any stretch can be computed."""
    return node.name == "arange" and node.spec.dtype.kind in "iu" and type(node.settings["step"]) is int


def _sliced(part: Part) -> list[Node]:
    """The values of which a part needs rows that it does not count out by itself."""
    return [node for node, _, _ in part.slices if not _counts(node)]


def _walk(calls: Iterable[Call]) -> None:
    deque(starmap(call, calls), maxlen=0)
