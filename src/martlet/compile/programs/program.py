"""A program is a recorded function: a list of operations on arrays, of which nothing is known but their form.

It can be printed, counted and run.  All else that compiling means is a transformation of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from martlet.backend import describe, dtype_name
from martlet.compile.programs.cost import Cost, bytes_moved, copies, cost_of, flops, reduced_axes
from martlet.compile.programs.drawing import draw
from martlet.compile.programs.node import Node

__all__ = ["Cost", "Node", "Program", "bytes_moved", "copies", "flops", "reduced_axes"]


class Program:
    """A recorded function of arrays.

    inputs: a node per array of the arguments, named after it; nodes: all operations, in the order in which they were
    recorded, after the inputs; outputs: the nodes of the results, and names: what these are called.  ``run`` computes
    the results, and ``build`` puts them into the structure that the function gave back.  A program can be pickled.
    """

    def __init__(
        self,
        inputs: Sequence[Node],
        nodes: Sequence[Node],
        outputs: Sequence[Node],
        build: Callable[[Sequence[Any]], Any],
        names: Sequence[str] = (),
    ) -> None:
        self.inputs = list(inputs)
        self.nodes = list(nodes)
        self.outputs = list(outputs)
        self._build = build
        self.names = list(names)

    def build(self, results: Sequence[Any]) -> Any:
        """What the function gives back, with these results in it; ValueError for too few or too many."""
        if len(results) != len(self.outputs):
            raise ValueError(f"Program.build: expected {len(self.outputs)} results, got {len(results)}")
        return self._build(results)

    def run(self, arrays: Iterable[np.ndarray]) -> list[Any]:
        """The results for some arrays, computed on NumPy operation by operation, as the function itself would.

        arrays: NumPy's, one for each of the ``inputs``, in their order: the arrays of the arguments, one argument after
        the other, each as ``leaves`` gives them.  Raises TypeError and ValueError for what has another form than
        what was recorded.
        """
        given = list(arrays)
        if len(given) != len(self.inputs):
            names = ", ".join(str(node.settings["name"]) for node in self.inputs)
            raise ValueError(f"Program.run: expected {len(self.inputs)} arrays ({names}), got {len(given)}")
        for node, x in zip(self.inputs, given, strict=True):
            _check_form(node, x)
        found: dict[Node, Any] = dict(zip(self.inputs, given, strict=True))
        for node, result in self.steps(found):
            found[node] = result
        return [found[node] for node in self.outputs]

    def steps(self, found: dict[Node, Any]) -> Iterator[tuple[Node, Any]]:
        """Each operation with its result, computed from what was found so far."""
        for node in self.nodes:
            if node.op is not None and node not in found:
                operands = [found[o] if isinstance(o, Node) else o for o in node.operands]
                yield node, node.op.numpy(*operands, **node.settings)

    @property
    def needed(self) -> list[Node]:
        """The operations that a result depends on; a step computes more than it needs, the first layer's dx for one."""
        wanted, waiting = set(self.outputs), list(self.outputs)
        while waiting:
            for parent in waiting.pop().parents:
                if parent not in wanted:
                    wanted.add(parent)
                    waiting.append(parent)
        return [node for node in self.nodes if node in wanted and node.op is not None]

    @property
    def cost(self) -> Cost:
        """Of the operations that are needed."""
        return cost_of(self.needed)

    def by_place(self) -> dict[str, Cost]:
        """What each layer's verbs ask for, in the order in which they were first called."""
        groups: dict[str, list[Node]] = {}
        for node in self.needed:
            groups.setdefault(node.place, []).append(node)
        return {place: cost_of(nodes) for place, nodes in groups.items()}

    def count(self) -> Counter[str]:
        """How often each operation is needed."""
        return Counter(node.name for node in self.needed)

    def __str__(self) -> str:
        return draw(self)


def _check_form(node: Node, x: Any) -> None:
    """An array is of the form that an input was recorded with: what a step does may depend on it."""
    name, form = node.settings["name"], node.spec
    if not isinstance(x, np.ndarray | np.generic):
        raise TypeError(f"Program.run: {name} must be a NumPy array, got {describe(x)}")
    width = dtype_name(x.dtype.newbyteorder("="))
    if x.shape != form.shape or ("float16" if width == "bfloat16" else width) != form.dtype.name:  # which stands for it
        raise ValueError(
            f"Program.run: {name} is {describe(x)}, but was recorded as {form.dtype.name} of shape {form.shape}"
        )
