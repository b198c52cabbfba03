"""What each operation of a record is on PyTorch: a function that writes its result where it is told to.

A call computes what the eager text computes there.  NumPy's dtypes, which a record follows, and PyTorch's differ
where integers meet floats and where a single number is wider than the array beside it; a step that does so is not
compiled.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from martlet.compile.eager import CannotCompile
from martlet.compile.programs.layout import Spec
from martlet.compile.programs.node import Node
from martlet.compile.programs.ops import ELEMENTWISE, axes_of

Function = Callable[..., Any]

OTHERWISE_NAMED: dict[str, Function] = {
    "bitwise_invert": torch.bitwise_not,
    "equal": torch.eq,
    "not_equal": torch.ne,
    "pow": torch.pow,
}
WITHOUT_OUT = {"conj", "isfinite", "isinf", "isnan", "positive"}  # which cannot be told where to write
ANYWHERE = {"add", "subtract", "multiply", "divide"}  # which take a number from any device
REDUCTIONS: dict[str, Function] = {
    "max": torch.amax, "min": torch.amin, "any": torch.any, "all": torch.all, "sum": torch.sum, "mean": torch.mean
}  # fmt: skip


class Place(NamedTuple):
    """Where a plan keeps its numbers: the device, and the half precision for which NumPy's float16 stands."""

    device: torch.device
    half: torch.dtype

    def dtype(self, dtype: np.dtype) -> torch.dtype:
        """PyTorch's dtype for NumPy's.  Raises CannotCompile where there is none."""
        found = self.half if dtype == np.float16 else getattr(torch, dtype.name, None)
        if not isinstance(found, torch.dtype):
            raise CannotCompile(f"PyTorch has no {dtype.name}")
        return found

    def buffer(self, nbytes: int) -> torch.Tensor:
        """Some bytes of memory."""
        return torch.empty(nbytes, dtype=torch.uint8, device=self.device)

    def array_in(self, memory: torch.Tensor, spec: Spec) -> torch.Tensor:
        """An array of this form in the first bytes of some memory."""
        return memory[: spec.nbytes].view(self.dtype(spec.dtype)).as_strided(spec.shape, spec.strides)

    def made(self, node: Node) -> torch.Tensor:
        """The array that an operation makes of nothing."""
        settings, kind = node.settings, node.spec.dtype.kind
        if kind == "f" and settings.get("dtype") is None:  # NumPy's is float64, PyTorch's what it is set to
            raise CannotCompile(f"an array of floats is made without dtype=, in {node.place}")
        if node.spec.dtype == np.float16 and node.name != "constant":  # whose digits are not those of bfloat16
            settings = settings | {"dtype": np.dtype("float32")}
        assert node.op is not None
        array = torch.as_tensor(np.ascontiguousarray(node.op.numpy(**settings)).reshape(node.spec.shape))
        return array.to(self.device, self.dtype(node.spec.dtype), copy=True)

    def number(self, value: Any, dtype: np.dtype, name: str) -> torch.Tensor:
        """One of Python's numbers as an array (), which costs an operation half the time of the number itself.

        Beside half precision it has the digits of float32, in which PyTorch computes; on another device than the
        processor only a number that stays on the processor keeps them.
        """
        half = dtype == np.float16
        wanted = torch.float32 if half else self.dtype(dtype)
        return torch.tensor(value, dtype=wanted, device="cpu" if half and name in ANYWHERE else self.device)


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two arrays are the same numbers in memory, seen in the same way."""
    return a.data_ptr() == b.data_ptr() and a.shape == b.shape and a.stride() == b.stride() and a.dtype == b.dtype


def shares(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two arrays may have memory in common."""
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


def into(function: Function, operands: list[Any], out: torch.Tensor) -> None:
    """A function that cannot be told where to write makes its result, which is copied."""
    out.copy_(function(*operands))


def rows(x: torch.Tensor, axis: int, numbers: torch.Tensor, out: torch.Tensor) -> None:
    """x at these places along an axis, of which -1 is the last; IndexError for one that there is not."""
    if numbers.ndim == 1 and x.device.type == "cpu":
        with contextlib.suppress(IndexError):  # it is by far the fastest, and knows no -1
            torch.index_select(x, axis, numbers, out=out)
            return
    torch.ops.aten.index.Tensor_out(x, [None] * axis + [numbers], out=out)


def elementwise(name: str) -> Function:
    """The function of an operation that makes one number of one number of each operand."""
    found: Function | None = OTHERWISE_NAMED.get(name) or getattr(torch, name, None)
    if found is None:
        raise CannotCompile(f"PyTorch has nothing for {name}")
    return found


def check_dtype(node: Node, function: Function, operands: list[Any], wanted: torch.dtype) -> None:
    """Raises CannotCompile where PyTorch's result is of another dtype than the record says."""
    arrays = [o for o in node.operands if isinstance(o, Node)]
    floats = [o for o in node.operands if type(o) is float]
    # An array of one number tells as much as a whole one, where the shape does not matter, and sooner than "meta".
    one = node.family == ELEMENTWISE
    small = [
        (torch.ones([1] * o.ndim, dtype=o.dtype) if one else o.to("meta")) if isinstance(o, torch.Tensor) else o
        for o in operands
    ]
    found = function(*small).dtype
    no_float = floats and wanted.is_floating_point and all(o.spec.dtype.kind != "f" for o in arrays)
    if found != wanted or no_float:
        raise CannotCompile(f"{node.name} gives {wanted} on NumPy and another dtype on PyTorch, in {node.place}")


def product(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> tuple[Any, ...]:
    """The call out = a @ b."""
    if not a.dtype == b.dtype == out.dtype:
        raise CannotCompile(f"{a.dtype} @ {b.dtype}: PyTorch multiplies arrays of one dtype")
    if (a.ndim, b.ndim) == (1, 2):  # for which torch.matmul would give ``out`` another form and take it back
        a, b = b.mT, a
    functions: dict[tuple[int, int], Function] = {(2, 2): torch.mm, (2, 1): torch.mv}
    function = functions.get((a.ndim, b.ndim), torch.matmul)
    return functools.partial(function, out=out), a, b


def reduction(node: Node, x: torch.Tensor, out: torch.Tensor, dtype: torch.dtype | None) -> tuple[Any, ...] | None:
    """The call of an operation over axes; None where PyTorch cannot be told where to write it."""
    axes, settings = axes_of(x.ndim, node.settings.get("axis")), dict(node.settings)
    keepdims = settings.pop("keepdims", False)
    if not axes and x.ndim:
        return None
    if node.name == "var":
        correction = settings.get("correction", 0)
        return functools.partial(torch.var, correction=correction, keepdim=keepdims, out=out), x, axes
    function = REDUCTIONS.get(node.name)
    if function is None:
        return None
    named = {"out": out} if dtype is None else {"dtype": dtype, "out": out}
    return functools.partial(function, **named), x, axes, keepdims
