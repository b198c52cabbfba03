"""A program as one reads it: the arrays that come in, each layer's operations, and the arrays that go out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from martlet.compile.programs.cost import cost_of
from martlet.compile.programs.node import Node

if TYPE_CHECKING:
    from martlet.compile.programs.program import Program

# fmt: off
SYMBOLS = {
    "add": "+", "subtract": "-", "multiply": "*", "divide": "/", "matmul": "@", "pow": "**", "floor_divide": "//",
    "remainder": "%", "equal": "==", "not_equal": "!=", "less": "<", "less_equal": "<=", "greater": ">",
    "greater_equal": ">=", "bitwise_and": "&", "bitwise_or": "|", "bitwise_xor": "^",
}
# fmt: on


def draw(program: Program) -> str:
    """A line for each array, with its form; a heading for each verb of a layer, with its cost."""
    return "\n".join(_lines(program))


def _lines(program: Program) -> Iterator[str]:
    called = {node: node.settings["name"] for node in program.inputs}
    for node in program.inputs:
        yield _beside(called[node], node.spec)
    needed = set(program.needed)
    working = [node for node in program.nodes if node.op is not None]
    called |= {node: f"%{number}" for number, node in enumerate(working, 1)}
    for place, group in itertools.groupby(working, key=lambda node: node.place):
        nodes = list(group)
        yield f"# {place}: {cost_of(node for node in nodes if node in needed)}"
        for node in nodes:
            unused = "" if node in needed else "  # no result depends on it"
            yield _beside(f"{called[node]} = {_formula(node, called)}", node.spec) + unused
    names = program.names or [str(i) for i in range(len(program.outputs))]
    for name, node in zip(names, program.outputs, strict=True):
        yield f"result {name} = {called[node]}" if name else f"result {called[node]}"
    yield f"# all that is needed: {program.cost}"


def _formula(node: Node, called: dict[Node, str]) -> str:
    """An operation as one would type it."""
    operands = [called[o] if isinstance(o, Node) else repr(o) for o in node.operands]
    if node.name in SYMBOLS:
        return f" {SYMBOLS[node.name]} ".join(operands)
    if node.name == "getitem":
        return f"{operands[0]}[{_key(node.settings['key'])}]"
    if node.name == "matrix_transpose":
        return f"{operands[0]}.mT"
    said = {name: value for name, value in node.settings.items() if value is not None and value is not False}
    return f"{node.name}({', '.join(operands + [f'{name}={_short(value)}' for name, value in said.items()])})"


def _key(key: Any) -> str:
    if isinstance(key, tuple):
        return ", ".join(map(_key, key)) or "()"
    if isinstance(key, slice):
        ends = ["" if end is None else str(end) for end in (key.start, key.stop, key.step)]
        return ":".join(ends if ends[2] else ends[:2])
    return "..." if key is ... else repr(key)


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return str(value.tolist()) if value.size <= 6 else f"{value.size} numbers"
    return str(value) if isinstance(value, np.dtype) else repr(value)


def _beside(text: str, spec: object) -> str:
    return f"{text:38}  {spec}"
