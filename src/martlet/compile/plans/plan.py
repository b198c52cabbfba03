"""A plan is a step laid out for NumPy: the state in memory of its own, and the calls that take it a step on."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Any

import numpy as np

from martlet.compile.plans.calls import Calls
from martlet.compile.plans.fast import Fast
from martlet.compile.plans.lower import Lowering, array_in, buffer, may_fail
from martlet.compile.plans.pieces import Pieces, Update
from martlet.compile.plans.script import ROWS, Script
from martlet.compile.plans.state import State
from martlet.compile.programs.layout import by_columns
from martlet.compile.programs.ops import SOURCE, VIEW
from martlet.compile.programs.program import Node, Program
from martlet.compile.rewriting.affine import AFFINE, SLOPES, augmented, folded
from martlet.compile.rewriting.flat import PACK, Block, Slot, merge
from martlet.compile.rewriting.labels import Labels, Table
from martlet.compile.rewriting.means import with_means
from martlet.compile.rewriting.rewrite import (
    copy_of,
    depends_on,
    reachable,
    readers,
    rewritten,
    share,
    with_operands,
    without_gaps,
)

SMALL = 2**20  # bytes of results


class Plan:
    """A program, some of whose inputs are its own results of the step before, as a list of calls.

    carried: for each array of the state the number of the input, of the output that it becomes, and the role and leaf
    that it is of (see ``Slot``).  state: where these live.  Inputs whose name has a value there but that are not
    carried stay as they are; the others are data, and are written into ``inputs`` before each step.  The outputs that
    are not carried are in ``outputs`` after it.

    exact: to the last bit what the function itself gives; else sums may be added in another order.  samples: for each
    data input all the samples that there are, of which ``load`` takes a batch; then ``inputs`` is of no use.  tables:
    whether what follows from labels alone is computed for all of them now.  threads: how many share a large update.
    """

    may_fail: Callable[[Node], bool] = staticmethod(may_fail)

    loads: Sequence[tuple[Any, int, np.ndarray]] = ()  # how a batch is taken from all samples

    def __init__(
        self,
        program: Program,
        carried: Sequence[tuple[int, int, str, str]],
        state: State,
        *,
        exact: bool = False,
        samples: Sequence[np.ndarray] | None = None,
        tables: bool = True,
        threads: int = 1,
    ) -> None:
        self.program, self.state, self.exact, self.threads = program, state, exact, threads
        self._scripts = False
        dense = without_gaps(program.nodes)
        inputs = [dense[node] for node in program.inputs]
        shared = share(dense.values())
        outputs = [shared[dense[node]] for node in program.outputs]
        slots = [Slot(leaf, role, inputs[i], outputs[o]) for i, o, role, leaf in carried]
        slots = [slot for slot in slots if slot.after is not slot.before]
        counters = [] if exact else [slot for slot in slots if only_counts(slot, outputs)]
        state.counts({slot.before.settings["name"]: slot.after.operands[1] for slot in counters})
        written = [slot for slot in slots if slot not in counters]
        blocks, views = merge(written)
        if alone := state.laid_out_otherwise(blocks):
            blocks, views = merge(written, alone)

        moving = {slot.before for slot in slots}
        fixed = [node for node in inputs if node not in moving and node.settings["name"] in state.values]
        self.data = [node for node in inputs if node not in moving and node not in fixed]
        taken = {o for _, o, _, _ in carried}
        wanted = [*(node for o, node in enumerate(outputs) if o not in taken), *(block.after for block in blocks)]
        new = rewritten(reachable(wanted), with_operands, dict(views))
        wanted = [new[node] for node in wanted]
        wanted, made = self._simplified(wanted, samples if tables else None)
        given = {node: state.stays(node.settings["name"], node.spec) for node in fixed}
        self._lay_out_data(wanted, made, samples)
        self._lay_out(wanted, blocks, given | self.arrays, made)

    def _simplified(
        self, wanted: list[Node], samples: Sequence[np.ndarray] | None
    ) -> tuple[list[Node], dict[Node, Table]]:
        """The program in fewer operations, and the tables that it reads."""
        made: dict[Node, Table] = {}
        if not self.exact:
            if samples is not None:
                wanted, made = without_labels(wanted, self.data, samples)
            wanted = with_means(folded(wanted))
        return wanted, made

    def _lay_out_data(self, wanted: list[Node], made: dict[Node, Table], samples: Sequence[np.ndarray] | None) -> None:
        """Memory for a batch, and the calls that take it from all samples."""
        self.arrays: dict[Node, Any] = {}
        self.ones: dict[Node, np.ndarray] = {}  # the same with a column of ones
        loads: list[tuple[Any, int, np.ndarray]] = []
        needs_ones = {node.operands[0] for node in reachable(wanted) if node.name in (AFFINE, SLOPES)}
        sources = {} if samples is None else dict(zip(self.data, samples, strict=True))
        sources |= {node: table.values for node, table in made.items()}
        read = set(reachable(wanted, set(made)))
        for node in [*self.data, *made]:
            if node in needs_ones:
                array, self.ones[node] = augmented(node.spec, buffer)
            else:
                array = array_in(buffer(node.spec.nbytes), by_columns(node.spec) if node in made else node.spec)
            self.arrays[node] = array
            if node in sources and node in read:
                if array.flags.c_contiguous:
                    loads.append((sources[node].take, 0, array))
                else:
                    loads.append((np.ascontiguousarray(sources[node].T).take, 1, array.T))
        self.loads = loads
        self.inputs = [self.arrays[node] for node in self.data]

    def _lay_out(self, wanted: list[Node], blocks: list[Block], given: dict[Node, np.ndarray], made: Any) -> None:
        """The calls: what stays the same is computed now, the rest in each step."""
        ends, own, replaces, nodes = self._in_order(wanted, blocks, given, set(made))
        # What is written into the state is written in each step, even where it is the same each time.
        changing = depends_on(nodes, {*replaces.values(), *self.arrays, *own})
        still = Lowering([n for n in nodes if n not in changing and n.op is not None], given=given, keep=nodes)
        Calls(still.calls, 0).run()
        given |= {node: still.arrays[node] for node in nodes if node not in changing}
        body = [node for node in nodes if node in changing and node.op is not None]
        self._lower(body, given, own, replaces, ends)

    def _lower(
        self,
        nodes: list[Node],
        given: dict[Node, np.ndarray],
        own: dict[Node, np.ndarray],
        replaces: dict[Node, Node],
        ends: list[Node],
    ) -> None:
        update = Update(nodes, targets=own, replaces=replaces, keep=ends)
        late = set(update.nodes)
        keep = [*ends, *own, *update.reads]
        settings: dict[str, Any] = {"given": given, "targets": own, "replaces": replaces, "keep": keep}
        body = [node for node in nodes if node not in late]
        lowering = Lowering(body, **settings) if self.exact else Fast(body, ones=self.ones, **settings)
        self.pieces = Pieces(update, lowering.arrays, self.threads) if late else None
        self._scripts = self._is_small(nodes) and self.pieces is None
        calls = [*lowering.calls, *(self.pieces.calls if self.pieces else ())]
        self.calls = Calls(calls, lowering.first_write, self.state.count)
        self.outputs = [lowering.arrays[node] for node in ends]

    def _run_pieces(self) -> None:
        assert self.pieces is not None
        self.pieces.prepare()
        self.calls.run()
        self.pieces.check()

    def _in_order(
        self,
        wanted: list[Node],
        blocks: list[Block],
        given: dict[Node, np.ndarray],
        known: set[Node],
        shared: Container[Node] = (),
    ) -> tuple[list[Node], dict[Node, np.ndarray], dict[Node, Node], list[Node]]:
        """The results; where the state is written, and instead of what; and all nodes up to those that are known.

        The numbers of ``shared`` are not those that are written into the state, but copied.
        """
        risky = [node for node in reachable(wanted, known) if self.may_fail(node)]
        before_risks = reachable(risky, known)
        results = len(wanted) - len(blocks)
        own: dict[Node, np.ndarray] = {}
        ends = [own_memory(node, own) for node in wanted[:results]]
        replaces: dict[Node, Node] = {}
        for block, node in zip(blocks, wanted[results:], strict=True):
            after = _formed(node, block)
            after = copy_of(after) if after in shared else own_memory(after, {*own, *before_risks})
            own[after] = given[block.before] = self.state.of(block)
            replaces[after] = block.before
        # The state last: what may fail has not failed by then, and what is read before is not in its way.
        return ends, own, replaces, reachable([*risky, *ends, *own], known)

    def load(self, rows: np.ndarray) -> None:
        """Take a batch, by the numbers of its samples, which must be right."""
        for take, axis, out in self.loads:
            take(rows, axis, out, "clip")

    def _is_small(self, body: list[Node]) -> bool:
        """Whether the time between the calls counts."""
        return not self.exact and sum(node.spec.nbytes for node in body) < SMALL

    @property
    def calls(self) -> Calls:
        """What a step is."""
        return self._calls

    @calls.setter
    def calls(self, calls: Calls) -> None:
        self._calls = calls
        self._run = calls.run
        vars(self).pop("step", None)
        if self._scripts:
            self._write_script(calls)

    def _write_script(self, calls: Calls) -> None:
        """What does not write the state, in which a Ctrl-C does no harm, becomes a script; then comes the rest."""
        loads = [(take, ROWS, axis, out, "clip") for take, axis, out in self.loads]
        compute = Script([*loads, *calls.calls[: calls.commit]]).function()
        write = Calls(calls.calls[calls.commit :], 0, self.state.count).run

        def run(*rows: np.ndarray) -> None:
            compute(*rows)
            write()

        if loads:
            vars(self)["step"] = run
        else:
            self._run = run

    def __str__(self) -> str:
        return Script(self.calls.calls).text

    def step(self, rows: np.ndarray) -> None:
        """One step with the samples of these numbers."""
        self.load(rows)
        self.run()

    def run(self) -> None:
        """One step.  ``inputs`` must have been written, or a batch loaded."""
        if self.pieces is None:
            self._run()
        else:
            self._run_pieces()


def without_labels(
    wanted: list[Node], data: Sequence[Node], samples: Sequence[np.ndarray]
) -> tuple[list[Node], dict[Node, Table]]:
    """A program without what follows from labels alone, and the tables of that."""
    made: dict[Node, Table] = {}
    for node, whole in zip(data, samples, strict=True):
        if node.spec.dtype.kind in "iu" and len(node.spec.shape) == 1:
            wanted = Labels(node, reachable(wanted), whole).simplified(wanted)
            made |= Labels(node, reachable(wanted), whole).tables(reachable(wanted))
    return wanted, made


def only_counts(slot: Slot, outputs: list[Node]) -> bool:
    """Whether an array is one integer that grows by the same number in each step, and that nothing else reads."""
    before, after = slot.before, slot.after
    if after.name != "add" or after.operands[0] is not before or type(after.operands[1]) is not int:
        return False
    if before.spec.shape != () or before.spec.dtype.kind != "i":
        return False
    reads = readers(outputs)
    return reads[before] == reads[after] == 1


def _formed(after: Node, block: Block) -> Node:
    """What a state becomes, in the memory order in which it is kept: sums and products depend on where they write."""
    before, spec = block.before.spec, after.spec
    if (spec.shape, spec.dtype) != (before.shape, before.dtype):
        names = ", ".join(slot.before.settings["name"] for slot in block.slots)
        raise ValueError(f"a state must keep its form from step to step: {names} is {before}, and becomes {spec}")
    return after if spec.lies_as(before.strides) else copy_of(after)


def own_memory(node: Node, taken: Container[Node]) -> Node:
    """A node with memory of its own: a copy of what is an input, a view, a pack, or needed in two places."""
    if node.op is None or node.family in (VIEW, SOURCE, PACK) or node in taken:
        return copy_of(node)
    return node
