"""A plan is a step laid out for NumPy: the state in memory of its own, and a flat list of calls that takes it a step on.

The list is walked through in C, between whose calls no signal is handled: Ctrl-C comes before a step or after it.
Where a call fails, the state is still the old one; or, once its first number has been written, the rest of the calls
is made up for, and it is the new one.  It is never torn.
"""

from __future__ import annotations

import functools
import operator
from collections import Counter, deque
from collections.abc import Sequence
from itertools import starmap
from typing import Any

import numpy as np

from martlet.compile.affine import AFFINE, SLOPES, augmented, folded
from martlet.compile.fast import Fast, by_columns
from martlet.compile.flat import PACK, Block, Slot, merge
from martlet.compile.labels import Labels, Table
from martlet.compile.lower import Call, Lowering, array_in, buffer
from martlet.compile.ops import SOURCE, VIEW
from martlet.compile.program import Node, Program
from martlet.compile.rewrite import copy_of, depends_on, reachable, rewritten, share, with_operands


class Calls:
    """A flat list of calls, of which those from number ``commit`` on write the state."""

    def __init__(self, calls: Sequence[Call], commit: int) -> None:
        self.calls = list(calls)
        self.commit = commit

    def run(self) -> None:
        left = iter(self.calls)
        try:
            deque(starmap(operator.call, left), maxlen=0)
        except BaseException:
            failed = len(self.calls) - operator.length_hint(left) - 1
            if failed >= self.commit:
                # A call that fails has not begun to write, for its memory is there: it can be made again.
                deque(starmap(operator.call, self.calls[failed:]), maxlen=0)
            raise

    def __len__(self) -> int:
        return len(self.calls)


class State:
    """The arrays that a step changes, each block of them in one piece of memory.

    ``values`` are their numbers at the beginning, by the name of the input.  Plans for batches of other sizes share it.
    """

    def __init__(self, values: dict[str, np.ndarray]) -> None:
        self.values = values
        self.blocks: dict[tuple[str, ...], np.ndarray] = {}
        self.steps = 0
        self.counters: dict[str, int] = {}  # what is not written in each step, but by how much it grows

    def count(self, counters: dict[str, int]) -> None:
        """These integers grow by so much in each step."""
        self.counters = counters

    def of(self, block: Block) -> np.ndarray:
        """The memory of a block, with its numbers in it."""
        key = tuple(slot.before.settings["name"] for slot in block.slots)
        if key not in self.blocks:
            array = array_in(buffer(block.before.spec.nbytes), block.before.spec)
            for name, part in self._parts(key, array):
                part[...] = self.values[name]
            self.blocks[key] = array
        return self.blocks[key]

    def _parts(self, key: tuple[str, ...], array: np.ndarray) -> list[tuple[str, np.ndarray]]:
        if len(key) == 1:
            return [(key[0], array)]
        found, start = [], 0
        for name in key:
            shape, stop = self.values[name].shape, start + self.values[name].size
            found.append((name, array[start:stop].reshape(shape)))
            start = stop
        return found

    def read(self) -> dict[str, np.ndarray]:
        """Copies of all arrays as they are now, by name."""
        now = dict(self.values)
        for key, array in self.blocks.items():
            now.update((name, part.copy()) for name, part in self._parts(key, array))
        for name, step in self.counters.items():
            grown = self.steps * step
            now[name] = np.asarray(self.values[name] + np.asarray(grown).astype(self.values[name].dtype))
        return now


class Plan:
    """A program, some of whose inputs are its own results of the step before, as a list of calls.

    carried: for each array of the state the number of the input, of the output that it becomes, and the role and leaf
    that it is of (see ``Slot``).  state: where these live.  Inputs whose name has a value there but that are not
    carried stay as they are; the others are data, and are written into ``inputs`` before each step.  The outputs that
    are not carried are in ``outputs`` after it.

    exact: to the last bit what the function itself gives; else sums may be added in another order.  whole: for each
    data input all the samples that there are, of which ``load`` takes a batch; then ``inputs`` is of no use.  tables:
    whether what follows from labels alone is computed for all of them now.
    """

    def __init__(
        self,
        program: Program,
        carried: Sequence[tuple[int, int, str, str]],
        state: State,
        *,
        exact: bool = False,
        whole: Sequence[np.ndarray] | None = None,
        tables: bool = True,
    ) -> None:
        self.program, self.state = program, state
        shared = share(program.nodes)
        outputs = [shared[node] for node in program.outputs]
        slots = [Slot(leaf, role, program.inputs[i], outputs[o]) for i, o, role, leaf in carried]
        for slot in slots:
            if slot.after.spec[:2] != slot.before.spec[:2]:
                raise ValueError(
                    f"{slot.before.settings['name']} is {slot.before.spec} before the step and {slot.after.spec} after it"
                )
        slots = [slot for slot in slots if slot.after is not slot.before]
        readers = Counter(parent for node in reachable(outputs) for parent in node.parents)
        counters = [] if exact else [slot for slot in slots if counts(slot, readers, outputs)]
        state.count({slot.before.settings["name"]: slot.after.operands[1] for slot in counters})
        slots = [slot for slot in slots if slot not in counters]
        moving = {slot.before for slot in [*slots, *counters]}
        fixed = [node for node in program.inputs if node not in moving and node.settings["name"] in state.values]
        data = [node for node in program.inputs if node not in moving and node not in fixed]
        blocks, views = merge(slots)
        taken = {o for _, o, _, _ in carried}
        # The results first: what is read before the state is written cannot be in its way.
        results = [node for o, node in enumerate(outputs) if o not in taken]
        wanted = [*results, *(block.after for block in blocks)]
        new = rewritten(reachable(wanted), with_operands, dict(views))
        wanted = [new[node] for node in wanted]
        found: dict[Node, Table] = {}
        if not exact:
            for node, samples in zip(data, whole or (), strict=whole is not None):
                if tables and node.spec.dtype.kind in "iu" and len(node.spec.shape) == 1:
                    wanted = Labels(node, reachable(wanted), samples).simplified(wanted)
                    found |= Labels(node, reachable(wanted), samples).tables(reachable(wanted))
            wanted = folded(wanted)
        given = {node: np.array(state.values[node.settings["name"]], order="C") for node in fixed}
        ones = self._lay_out_data(data, found, wanted, whole, exact)
        given |= self.arrays
        own: dict[Node, np.ndarray] = {}
        ends = [own_memory(node, own) for node in wanted[: len(results)]]
        replaces: dict[Node, Node] = {}
        for block, node in zip(blocks, wanted[len(results) :], strict=True):
            after = own_memory(node, own)
            own[after] = given[block.before] = state.of(block)
            replaces[after] = block.before
        nodes = reachable([*ends, *own], set(found))
        # What is written into the state is written in each step, even where it is the same each time.
        changing = depends_on(nodes, {*replaces.values(), *self.arrays, *own})
        still = Lowering([n for n in nodes if n not in changing and n.op is not None], given=given, keep=nodes)
        Calls(still.calls, 0).run()
        given |= {node: still.arrays[node] for node in nodes if node not in changing}
        body = (Lowering if exact else functools.partial(Fast, ones=ones))(
            [node for node in nodes if node in changing and node.op is not None],
            given=given,
            targets=own,
            replaces=replaces,
            keep=[*ends, *own],
        )
        self.calls = Calls(body.calls, body.first_write)
        self.outputs = [body.arrays[node] for node in ends]

    def _lay_out_data(
        self, data: list[Node], tables: dict[Node, Table], wanted: list[Node], whole: Any, exact: bool
    ) -> dict[Node, np.ndarray]:
        """Memory for a batch, and the calls that take it from all samples; gives back what has a column of ones."""
        self.arrays: dict[Node, np.ndarray] = {}
        self.loads: list[tuple[Any, int, np.ndarray]] = []
        ones: dict[Node, np.ndarray] = {}
        needs_ones = {node.operands[0] for node in reachable(wanted) if node.name in (AFFINE, SLOPES)}
        samples = dict(zip(data, whole, strict=True)) if whole is not None else {}
        samples |= {node: table.values for node, table in tables.items()}
        below = set(reachable(wanted, set(tables)))
        self.inputs = []
        for node in [*data, *tables]:
            if node in needs_ones:
                array, ones[node] = augmented(node.spec, buffer)
            else:
                array = array_in(
                    buffer(node.spec.nbytes), node.spec if exact or node in data else by_columns(node.spec)
                )
            self.arrays[node] = array
            if node in data:
                self.inputs.append(array)
            if node in samples and node in below:
                if array.flags.c_contiguous:
                    self.loads.append((samples[node].take, 0, array))
                else:
                    self.loads.append((np.ascontiguousarray(samples[node].T).take, 1, array.T))
        return ones

    def load(self, rows: np.ndarray) -> None:
        """Take a batch, by the numbers of its samples, which must be right."""
        for take, axis, out in self.loads:
            take(rows, axis, out, "clip")

    def run(self) -> None:
        """One step.  ``inputs`` must have been written, or a batch loaded."""
        self.calls.run()
        self.state.steps += 1


def counts(slot: Slot, readers: Counter[Node], outputs: list[Node]) -> bool:
    """Whether an array is one integer that grows by the same number in each step, and that nothing else reads."""
    before, after = slot.before, slot.after
    return (
        after.name == "add"
        and after.operands[0] is before
        and type(after.operands[1]) is int
        and before.spec.shape == ()
        and before.spec.dtype.kind == "i"
        and readers[before] == 1
        and readers[after] == 0
        and outputs.count(after) == 1
    )


def own_memory(node: Node, taken: dict[Node, Any]) -> Node:
    """A node with memory of its own: a copy of what is an input, a view, a pack, or wanted in two places."""
    if node.op is None or node.family in (VIEW, SOURCE, PACK) or node in taken:
        return copy_of(node)
    return node
