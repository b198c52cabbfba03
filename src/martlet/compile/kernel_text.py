"""What a fused kernel says: a line of CUDA C++ for each of its operations, rounded as the operation by itself.

A line computes in the dtypes in which NumPy computes, and its result is rounded to its own before the next line reads
it.  With ``--fmad=false`` a product and a sum stay two operations, so fusing changes no bit.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from martlet.compile.fused import Group
from martlet.compile.node import Node
from martlet.compile.ops import ELEMENTWISE

C_NAMES = {
    "bool": "bool", "int8": "signed char", "int16": "short", "int32": "int", "int64": "long long",
    "uint8": "unsigned char", "uint16": "unsigned short", "uint32": "unsigned int", "uint64": "unsigned long long",
    "float16": "float16", "float32": "float", "float64": "double",
}  # fmt: skip

ANY = {  # of floats and integers
    "add": "{0} + {1}", "subtract": "{0} - {1}", "multiply": "{0} * {1}", "negative": "-{0}", "square": "{0} * {0}",
    "equal": "{0} == {1}", "not_equal": "{0} != {1}", "less": "{0} < {1}", "less_equal": "{0} <= {1}",
    "greater": "{0} > {1}", "greater_equal": "{0} >= {1}", "positive": "{0}",
    "maximum": "martlet_max({0}, {1})", "minimum": "martlet_min({0}, {1})",
}  # fmt: skip
FLOATS = {
    "divide": "{0} / {1}", "reciprocal": "1 / {0}", "abs": "fabs({0})", "isnan": "{0} != {0}",
    "isfinite": "{0} - {0} == 0", "isinf": "{0} == {0} && {0} - {0} != 0",
} | {name: f"{name}({{0}})" for name in (
    "ceil", "cos", "cosh", "exp", "expm1", "floor", "log", "log10", "log1p", "log2", "sin", "sinh", "sqrt", "tan",
    "tanh", "trunc",
)}  # fmt: skip
BITS = {
    "bitwise_and": "{0} & {1}", "bitwise_or": "{0} | {1}", "bitwise_xor": "{0} ^ {1}", "bitwise_invert": "~{0}",
    "bitwise_right_shift": "{0} >> {1}", "bitwise_left_shift": "{0} << {1}", "abs": "{0} < 0 ? -{0} : {0}",
}  # fmt: skip
FLAGS = {
    "logical_and": "{0} && {1}", "logical_or": "{0} || {1}", "logical_xor": "{0} != {1}", "logical_not": "!{0}",
    "equal": "{0} == {1}", "not_equal": "{0} != {1}", "bitwise_and": "{0} && {1}", "bitwise_or": "{0} || {1}",
    "bitwise_xor": "{0} != {1}", "bitwise_invert": "!{0}",
}  # fmt: skip

HALF = "#include <cupy/float16.cuh>\n"
PREAMBLE = """
template <class T> __device__ T martlet_max(T a, T b) { return a != a ? a : b != b ? b : a < b ? b : a; }
template <class T> __device__ T martlet_min(T a, T b) { return a != a ? a : b != b ? b : b < a ? b : a; }
"""


class Text(NamedTuple):
    """A kernel: what it is given, in order, and the text of its parameters, its results and its body."""

    arguments: list[Any]
    inputs: str
    outputs: str
    body: str

    @property
    def preamble(self) -> str:
        """What stands before the kernel."""
        return (HALF if "float16" in self.body else "") + PREAMBLE


def can_be_fused(node: Node) -> bool:
    """Whether an operation is a line of a kernel."""
    if node.family != ELEMENTWISE or any(dtype.name not in C_NAMES for dtype in (node.spec.dtype, *_dtypes(node))):
        return False
    return node.name in ("where", "astype") or _is_square(node) or bool(_expression(node))


def text_of(group: Group) -> Text:
    """The kernel of a group."""
    arguments: list[Any] = []
    inputs: list[str] = []
    called: dict[Any, str] = {}

    def argument(value: Any, dtype: np.dtype, key: Any) -> str:
        if key not in called:
            called[key] = f"in{len(inputs)}"
            inputs.append(f"{dtype.name} {called[key]}")
            arguments.append(value)
        return called[key]

    lines = []
    for i, node in enumerate(group.members):
        names = []
        for operand, dtype in zip(_read(node), _dtypes(node), strict=False):
            if isinstance(operand, Node):
                name = called[operand] if operand in called else argument(operand, operand.spec.dtype, operand)
            else:
                name = argument(dtype.type(operand), dtype, (type(operand), repr(operand), dtype))
            names.append(name)
        kind = C_NAMES[node.spec.dtype.name]
        lines.append(f"const {kind} t{i} = {_line(node, names, kind)};")
        called[node] = f"t{i}"
    outputs = [f"{node.spec.dtype.name} out{i}" for i, node in enumerate(group.results)]
    lines += [f"out{i} = {called[node]};" for i, node in enumerate(group.results)]
    return Text(arguments, ", ".join(inputs), ", ".join(outputs), "\n".join(lines))


def _line(node: Node, names: list[str], kind: str) -> str:
    casts = [_cast(name, dtype) for name, dtype in zip(names, _dtypes(node), strict=False)]
    if node.name == "where":
        return f"{casts[0]} ? {casts[1]} : {casts[2]}"
    if node.name == "astype":
        return f"({kind})({names[0]})"
    template = "{0} * {0}" if _is_square(node) else _expression(node)
    return f"({kind})({template.format(*casts)})"


def _cast(name: str, dtype: np.dtype) -> str:
    """A value in the type in which an operation computes; half precision computes in float."""
    return f"(float)({name})" if dtype == np.float16 else f"({C_NAMES[dtype.name]})({name})"


def _expression(node: Node) -> str:
    """The formula of an operation on one kind of numbers; "" where there is none."""
    kinds = {dtype.kind for dtype in _dtypes(node)}
    table = {"f": ANY | FLOATS, "b": FLAGS, "i": ANY | BITS, "u": ANY | BITS}[kinds.pop()]
    return "" if kinds else table.get(node.name, "")


def _read(node: Node) -> tuple[Any, ...]:
    """The operands that a line names."""
    return node.operands[:1] if _is_square(node) else node.operands


def _is_square(node: Node) -> bool:
    return node.name == "pow" and type(node.operands[1]) in (int, float) and node.operands[1] == 2


def _dtypes(node: Node) -> list[np.dtype]:
    """The dtypes in which an operation takes its operands."""
    specs = [o.spec if isinstance(o, Node) else o for o in node.operands]
    if node.name == "where":
        return [np.dtype(bool), node.spec.dtype, node.spec.dtype]
    if node.name == "astype":
        return [node.operands[0].spec.dtype]
    assert node.op is not None
    return list(node.op.loop(*specs)[:-1])
