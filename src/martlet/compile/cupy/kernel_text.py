"""What a fused kernel says: a line of CUDA C++ for each of its operations, rounded as the operation by itself.

A line computes in the dtypes in which NumPy computes, and its result is rounded to its own before the next line reads
it.  With ``--fmad=false`` a product and a sum stay two operations, so fusing changes no bit of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from martlet.compile.cupy.fused import Group, sums_short_rows
from martlet.compile.programs.node import Node
from martlet.compile.programs.ops import ELEMENTWISE, REDUCTION, VIEW

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


# How a reduction along a row begins, and what each further number does to it.
ALONG = {
    "sum": ("0", "{0} + {1}"), "max": ("", "martlet_max({0}, {1})"), "min": ("", "martlet_min({0}, {1})"),
    "any": ("false", "{0} || {1}"), "all": ("true", "{0} && {1}"),
}  # fmt: skip


class Text(NamedTuple):
    """A kernel: what it is given, in order, and the text of its parameters, its results and its body.

    rows: how many threads there are, if each computes a row; None: one for each number of the result.
    """

    arguments: list[Any]
    inputs: str
    outputs: str
    body: str
    rows: int | None

    @property
    def preamble(self) -> str:
        """What stands before the kernel."""
        return (HALF if "float16" in self.body else "") + PREAMBLE


def can_be_fused(node: Node) -> bool:
    """Whether an operation is a line of a kernel."""
    dtypes = [node.spec.dtype, *(parent.spec.dtype for parent in node.parents)]
    if any(dtype.name not in C_NAMES for dtype in dtypes):
        return False
    if node.family != ELEMENTWISE:
        return node.name in ALONG and sums_short_rows(node)
    if any(dtype.name not in C_NAMES for dtype in _dtypes(node)):
        return False
    return node.name in ("where", "astype") or _is_square(node) or bool(_expression(node))


def text_of(group: Group) -> Text:
    """The kernel of a group."""
    return Writer(group).text()


class Writer:
    """Writes a kernel, line by line.  In one of rows, what has several numbers in a row is an array of the thread's."""

    def __init__(self, group: Group) -> None:
        self.group, self.by_rows = group, group.rows is not None
        self.arguments: list[Any] = []
        self.inputs: list[str] = []
        self.called: dict[Any, str] = {}  # what is given, by array or number
        self.computed: dict[Node, str] = {}

    def text(self) -> Text:
        lines: list[str] = []
        for i, node in enumerate(self.group.members):
            lines += self._lines(node, f"t{i}")
            self.computed[node] = f"t{i}"
        raw = "raw " if self.by_rows else ""
        results = self.group.results
        outputs = [f"{raw}{node.spec.dtype.name} out{i}" for i, node in enumerate(results)]
        lines += [self._loop(node, f"out{i}{self._place(node)} = {self._own(node)};") for i, node in enumerate(results)]
        return Text(self.arguments, ", ".join(self.inputs), ", ".join(outputs), "\n".join(lines), self.group.rows)

    def _lines(self, node: Node, name: str) -> list[str]:
        kind = C_NAMES[node.spec.dtype.name]
        if node.family == VIEW:
            return [f"const {kind} {name} = {self._operand(node, node.parents[0])};"]
        if node.family == REDUCTION:
            return self._along(node, name, kind)
        names = [self._operand(node, o, dtype) for o, dtype in zip(_read(node), _dtypes(node), strict=False)]
        line = _line(node, names, kind)
        if self._length(node) == 1:
            return [f"const {kind} {name} = {line};"]
        return [f"{kind} {name}[{self._length(node)}];", self._loop(node, f"{name}[j] = {line};")]

    def _along(self, node: Node, name: str, kind: str) -> list[str]:
        """A loop over a row, which is added up in float where it is half precision."""
        (row,) = node.parents
        sums = "float" if kind == "float16" else kind
        first, further = ALONG[node.name]
        so_far, number = f"along_{name}", f"({sums})({self._operand(row, row)})"
        begin = first or f"({sums})({self._operand(row, row, j='0')})"
        return [
            f"{sums} {so_far} = {begin};",
            self._loop(row, f"{so_far} = {further.format(so_far, number)};", start=0 if first else 1),
            f"const {kind} {name} = ({kind})({so_far});",
        ]

    def _loop(self, node: Node, line: str, start: int = 0) -> str:
        """A line for each number of a row."""
        length = self._length(node)
        return line if length == 1 else f"for (int j = {start}; j < {length}; ++j) {line}"

    def _length(self, node: Node) -> int:
        """How many numbers of it a thread computes."""
        return node.spec.shape[1] if self.by_rows and len(node.spec.shape) == 2 else 1

    def _own(self, node: Node, j: str = "j") -> str:
        """A number that was computed in this kernel."""
        return self.computed[node] + (f"[{j}]" if self._length(node) > 1 else "")

    def _place(self, node: Node) -> str:
        """Where a number of an array of this form lies, in a kernel of rows."""
        if not self.by_rows:
            return ""
        return f"[i * {self._length(node)} + j]" if self._length(node) > 1 else "[i]"

    def _operand(self, node: Node, operand: Any, dtype: np.dtype | None = None, j: str = "j") -> str:
        """A number of an operand, in column j: one that was computed, one of an array, or one of Python's."""
        if not isinstance(operand, Node):
            assert dtype is not None
            return self._argument(dtype.type(operand), dtype, (type(operand), repr(operand), dtype), "")
        if operand in self.computed:
            return self._own(operand, j)
        raw = "raw " if self.by_rows else ""
        return self._argument(operand, operand.spec.dtype, operand, raw) + self._seen(node, operand, j)

    def _seen(self, node: Node, operand: Node, j: str) -> str:
        """Which number of an array an operation reads that computes a number (i), or (i, j), of its own."""
        if not self.by_rows:
            return ""
        shape, own = operand.spec.shape, node.spec.shape
        if operand.spec.size == 1 and own[0] != 1:
            return "[0]"
        if len(shape) == 1 and len(own) == 2 and node.family == ELEMENTWISE:
            return f"[{j}]" if shape[0] > 1 else "[0]"
        if len(shape) == 2 and shape[1] > 1:
            return f"[i * {shape[1]} + {j}]" if shape[0] == own[0] else f"[{j}]"
        return "[i]" if shape else "[0]"

    def _argument(self, value: Any, dtype: np.dtype, key: Any, raw: str) -> str:
        if key not in self.called:
            self.called[key] = f"in{len(self.inputs)}"
            self.inputs.append(f"{raw}{dtype.name} {self.called[key]}")
            self.arguments.append(value)
        return self.called[key]


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
