"""A plan is a step laid out for NumPy: the state in memory of its own, and a flat list of calls that takes it a step on.

The list is walked through in C, between whose calls no signal is handled: Ctrl-C comes before a step or after it.
Where a call fails, the state is still the old one; or, once its first number has been written, the rest of the calls
is made up for, and it is the new one.  It is never torn.
"""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Container, Sequence
from itertools import starmap
from typing import Any

import numpy as np

from martlet.compile.flat import PACK, Block, Slot, merge
from martlet.compile.layout import Spec
from martlet.compile.lower import Call, Lowering, array_in, buffer, may_fail
from martlet.compile.ops import SOURCE, VIEW
from martlet.compile.program import Node, Program
from martlet.compile.rewrite import copy_of, depends_on, reachable, rewritten, share, with_operands, without_gaps


class Calls:
    """A flat list of calls, of which those from number ``commit`` on write the state."""

    def __init__(self, calls: Sequence[Call], commit: int) -> None:
        self.calls = list(calls)
        self.commit = commit
        # A Ctrl-C is noticed after the last of them, when all is done: a call that does nothing tells that apart.
        self._ended = [*self.calls, (int,)]

    def run(self) -> None:
        left = iter(self._ended)
        try:
            deque(starmap(operator.call, left), maxlen=0)
        except BaseException as error:
            failed = len(self.calls) - operator.length_hint(left)
            if failed >= self.commit:
                self._make_up(failed, error)
            raise

    def _make_up(self, failed: int, error: BaseException) -> None:
        """The rest of a step whose call of this number raised, once the state has begun to change."""
        with np.errstate(all="ignore"):
            while failed < len(self.calls):
                left = iter(self._ended[failed + self._has_written(failed, error) :])
                try:
                    deque(starmap(operator.call, left), maxlen=0)
                    return
                except BaseException as again:
                    before, failed, error = failed, len(self.calls) - operator.length_hint(left), again
                    if failed == before:  # the memory is really gone
                        raise

    def _has_written(self, number: int, error: BaseException) -> bool:
        """Whether a call that raised must not be made again: it has written over what it reads.

        Without memory, no call begins to write.  What else a ufunc raises (a warning that is an error, a Ctrl-C
        while a warning is shown) comes after its last number.
        """
        function, *arguments = self.calls[number]
        if isinstance(error, MemoryError) or not isinstance(function, np.ufunc):
            return False
        return any(np.may_share_memory(x, arguments[-1]) for x in arguments[:-1])

    def __len__(self) -> int:
        return len(self.calls)


class State:
    """The arrays that a step changes, each block of them in one piece of memory.

    ``values`` are their numbers at the beginning, by the name of the input.  Plans for batches of other sizes share it.
    """

    def __init__(self, values: dict[str, np.ndarray]) -> None:
        self.values = values
        self.blocks: dict[tuple[str, ...], np.ndarray] = {}

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
        return now


class Plan:
    """A program, some of whose inputs are its own results of the step before, as a list of calls.

    carried: for each array of the state the number of the input, of the output that it becomes, and the role and leaf
    that it is of (see ``Slot``).  state: where these live.  Inputs whose name has a value there but that are not carried
    stay as they are; the others are data, and are written into ``inputs`` before each step.  The outputs that are
    not carried are in ``outputs`` after it.
    """

    def __init__(
        self, program: Program, carried: Sequence[tuple[int, int, str, str]], state: State, *, exact: bool = False
    ) -> None:
        self.program, self.state = program, state
        dense = without_gaps(program.nodes)
        inputs = [dense[node] for node in program.inputs]
        shared = share(dense.values())
        outputs = [shared[dense[node]] for node in program.outputs]
        slots = [Slot(leaf, role, inputs[i], outputs[o]) for i, o, role, leaf in carried]
        fixed = {node for node in inputs if node.settings["name"] in state.values}
        fixed -= {slot.before for slot in slots if slot.after is not slot.before}
        blocks, views = merge([slot for slot in slots if slot.before not in fixed])
        taken = {o for _, o, _, _ in carried}
        results = [node for o, node in enumerate(outputs) if o not in taken]
        new = rewritten(reachable([*(b.after for b in blocks), *results]), with_operands, dict(views))
        given = {node: filled(node.spec, state.values[node.settings["name"]]) for node in fixed}
        self.data = [node for node in inputs if node not in fixed and node not in {s.before for s in slots}]
        self.inputs = [array_in(buffer(node.spec.nbytes), node.spec) for node in self.data]
        given |= dict(zip(self.data, self.inputs, strict=True))
        risky = [node for node in reachable(new.values()) if may_fail(node)]
        before_risks = set(reachable(risky))
        targets: dict[Node, np.ndarray] = {}
        replaces: dict[Node, Node] = {}
        for block in blocks:
            after = own_memory(_formed(new[block.after], block), {*targets, *before_risks})
            targets[after] = given[block.before] = state.of(block)
            replaces[after] = block.before
        wanted = [own_memory(new[node], targets) for node in results]
        # The state last: what may fail has not failed by then, and what is read before is not in its way.
        nodes = reachable([*risky, *wanted, *targets])
        # What is written into the state is written in each step, even where it is the same each time.
        moving = depends_on(nodes, {*replaces.values(), *self.data, *targets})
        still = Lowering([n for n in nodes if n not in moving and n.op is not None], given=given, keep=nodes)
        Calls(still.calls, 0).run()
        given |= {node: still.arrays[node] for node in nodes if node not in moving}
        body = Lowering(
            [node for node in nodes if node in moving and node.op is not None],
            given=given,
            targets=targets,
            replaces=replaces,
            keep=[*wanted, *targets],
        )
        self.calls = Calls(body.calls, body.first_write)
        self.outputs = [body.arrays[node] for node in wanted]

    def run(self) -> None:
        """One step.  ``inputs`` must have been written."""
        self.calls.run()


def filled(spec: Spec, values: np.ndarray) -> np.ndarray:
    """A new array of this form with these numbers."""
    array = array_in(buffer(spec.nbytes), spec)
    array[...] = values
    return array


def _formed(after: Node, block: Block) -> Node:
    """What a state becomes, in the memory order in which it is kept: sums and products depend on where they write."""
    before, spec = block.before.spec, after.spec
    if (spec.shape, spec.dtype) != (before.shape, before.dtype):
        names = ", ".join(slot.before.settings["name"] for slot in block.slots)
        raise ValueError(f"a state must keep its form from step to step: {names} is {before}, and becomes {spec}")
    alike = all(n <= 1 or a == b for n, a, b in zip(spec.shape, spec.strides, before.strides, strict=True))
    return after if alike else copy_of(after)


def own_memory(node: Node, taken: Container[Node]) -> Node:
    """A node with memory of its own: a copy of what is an input, a view, a pack, or needed in two places."""
    if node.op is None or node.family in (VIEW, SOURCE, PACK) or node in taken:
        return copy_of(node)
    return node
