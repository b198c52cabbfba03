"""What each operation of a record is on CuPy: a kernel, a product, a reduction that writes where it is told to."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import cupy
import numpy as np

from martlet.compile.cupy.fused import Group
from martlet.compile.cupy.kernel_text import text_of
from martlet.compile.plans.lower import Call
from martlet.compile.programs.layout import Spec
from martlet.compile.programs.node import Node
from martlet.compile.programs.ops import axes_of

Function = Callable[..., Any]

WORKSPACE = 32 * 2**20  # bytes: what NVIDIA advises for cuBLAS on Hopper and later, and an eighth before
TALL = 512  # rows, from which on their sum is a product with ones: CuPy sums a few columns with a few blocks of threads
FEW = 2**14  # numbers, up to which each is compared with all to sort them: a guess, no device has timed it

REDUCTIONS: dict[str, Function] = {
    "max": cupy.max, "min": cupy.min, "any": cupy.any, "all": cupy.all, "sum": cupy.sum, "mean": cupy.mean
}  # fmt: skip


# ------------------------------------------------------------------------------------------------ memory


class Place:
    """Where a plan keeps its numbers, and computes: CuPy's current device."""

    def __init__(self) -> None:
        self.blas = Blas()
        self.done = cupy.cuda.Event(disable_timing=True)  # with what was computed there last

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Use the memory in the current stream, after what another stream still has to do there."""
        stream = cupy.cuda.get_current_stream()
        stream.wait_event(self.done)
        try:
            yield
        finally:
            self.done.record(stream)

    @staticmethod
    def buffer(nbytes: int) -> cupy.ndarray:
        """Some bytes of memory."""
        return cupy.empty(nbytes, dtype=np.uint8)

    @staticmethod
    def array_in(memory: cupy.ndarray, spec: Spec) -> cupy.ndarray:
        """An array of this form in the first bytes of some memory."""
        strides = tuple(stride * spec.dtype.itemsize for stride in spec.strides)
        return cupy.ndarray(spec.shape, spec.dtype, memory.data, strides)

    @staticmethod
    def made(node: Node) -> cupy.ndarray:
        """The array that an operation makes of nothing."""
        assert node.op is not None
        return cupy.asarray(node.op.numpy(**node.settings))


def same(a: cupy.ndarray, b: cupy.ndarray) -> bool:
    """Whether two arrays are the same numbers in memory, seen in the same way."""
    return (a.data.ptr, a.shape, a.strides, a.dtype) == (b.data.ptr, b.shape, b.strides, b.dtype)


def copy(out: cupy.ndarray, x: cupy.ndarray) -> None:
    """All numbers of an array to another place, cast to what is there."""
    cupy.copyto(out, x, casting="unsafe")


def into(function: Function, operands: list[Any], out: cupy.ndarray) -> None:
    """A function that cannot be told where to write makes its result, which is copied."""
    copy(out, function(*operands))


# --------------------------------------------------------------------------------------------------- kernels


def kernel(group: Group) -> tuple[Function, list[Any]]:
    """The kernel of a group of operations, and what it is given before the results: nodes and numbers."""
    text = text_of(group)
    name = "martlet_" + "_".join(dict.fromkeys(node.name for node in group.members))[:60]
    settings = {"preamble": text.preamble, "options": ("--fmad=false",)}
    made = cupy.ElementwiseKernel(text.inputs, text.outputs, text.body, name, **settings)
    return made if text.rows is None else functools.partial(made, size=text.rows), text.arguments


# A batch: its samples are found by their place in the epoch, ``now`` of whose steps have been taken.
take_batch = cupy.ElementwiseKernel(
    "raw S source, raw int64 order, raw int64 now, int64 size, int64 width",
    "S out",
    "out = source[order[now[0] * size + i / width] * width + i % width]",
    "martlet_take_batch",
)
end_step = cupy.ElementwiseKernel(
    "T loss", "raw T losses, raw int64 now", "losses[now[0]] = loss; now[0] += 1", "martlet_end_step"
)


# The places of the numbers in their order, equal ones as they stand.  Each is compared with all: Thrust's sorting would
# wait for the stream, and so cannot be captured.
place_in_order = cupy.ElementwiseKernel(
    "T x, raw T all, int64 count",
    "raw int64 order",
    "long long before = 0; "
    "for (long long j = 0; j < count; j++) before += all[j] < x || (all[j] == x && j < i); "
    "order[before] = i",
    "martlet_place_in_order",
)


def sorting(x: cupy.ndarray, out: cupy.ndarray) -> Call | None:
    """The call of an argsort of few integers; None for another one."""
    if x.ndim != 1 or x.size > FEW or x.dtype.kind not in "iu" or out.dtype != np.int64:
        return None
    return place_in_order, x, x, x.size, out


# ---------------------------------------------------------------------------------------------------- reductions


def reduction(node: Node, x: cupy.ndarray, out: cupy.ndarray, blas: Blas) -> Call | None:
    """The call of an operation over axes; None where CuPy cannot be told where to write it."""
    function, axes = REDUCTIONS.get(node.name), axes_of(x.ndim, node.settings.get("axis"))
    if function is None or (not axes and x.ndim):
        return None
    keepdims, dtype = node.settings.get("keepdims", False), node.settings.get("dtype")
    tall = x.ndim == 2 and axes == (0,) and x.shape[0] >= TALL and x.shape[1] > 0 and x.dtype.char in "fd"
    if node.name == "sum" and tall and dtype in (None, x.dtype) and leading(x) is not None:
        ones = cupy.ones((1, x.shape[0]), dtype=x.dtype)
        return product(ones, x, out.reshape(1, -1), blas, exact=True)
    if node.name in ("sum", "mean"):
        return function, x, axes, dtype, out, keepdims
    return function, x, axes, out, keepdims


# ------------------------------------------------------------------------------------------------- products


class Blas:
    """cuBLAS, called past CuPy's own functions, which refuse while a graph is captured: cuBLAS itself does not.

    It is CuPy's handle, which is told its stream before each of CuPy's calls and so keeps nothing of ours.
    """

    def __init__(self) -> None:
        from cupy_backends.cuda.libs import cublas

        self.cublas = cublas
        self.set_stream, self.set_workspace, self.set_pointer_mode, self.gemm = _functions(cublas.__file__)

    @functools.cached_property
    def workspace(self) -> cupy.ndarray:
        """Taken for the first product."""
        is_new = int(cupy.cuda.Device().compute_capability) >= 90
        return cupy.empty(WORKSPACE if is_new else WORKSPACE // 8, dtype=np.uint8)

    def __call__(self, arguments: tuple[Any, ...], arrays: tuple[Any, ...]) -> None:
        """A product, on the current stream.  ``arrays`` are kept alive by being an argument."""
        handle = cupy.cuda.device.get_cublas_handle()
        self._check(self.set_stream(handle, cupy.cuda.get_current_stream().ptr))
        self._check(self.set_workspace(handle, self.workspace.data.ptr, self.workspace.nbytes))
        self._check(self.set_pointer_mode(handle, self.cublas.CUBLAS_POINTER_MODE_HOST))
        self._check(self.gemm(handle, *arguments))

    def _check(self, status: int) -> None:
        if status:
            raise self.cublas.CUBLASError(status)


@functools.cache
def _functions(file: str) -> tuple[Any, Any, Any, Any]:
    """What is called of cuBLAS, found in the library that is linked to it."""
    library = ctypes.CDLL(file)
    pointer: Any = ctypes.c_void_p
    number: Any = ctypes.c_int
    matrix: list[Any] = [pointer, number, number]  # where it is, its dtype, and the distance of its columns
    takes = {
        "cublasSetStream_v2": [pointer, pointer],
        "cublasSetWorkspace_v2": [pointer, pointer, ctypes.c_size_t],
        "cublasSetPointerMode_v2": [pointer, number],
        "cublasGemmEx": [pointer, *[number] * 5, pointer, *matrix, *matrix, pointer, *matrix, number, number],
    }
    for name, types in takes.items():
        getattr(library, name).argtypes = types
    stream, workspace, mode, gemm = (getattr(library, name) for name in takes)
    return stream, workspace, mode, gemm


def leading(x: cupy.ndarray) -> tuple[bool, int] | None:
    """Whether a matrix lies column by column, and the distance of its columns or rows; None if it lies otherwise."""
    rows, columns = (stride // x.itemsize for stride in x.strides)
    if (columns == 1 or x.shape[1] == 1) and (rows >= x.shape[1] or x.shape[0] == 1):
        return False, max(rows, x.shape[1])
    if (rows == 1 or x.shape[0] == 1) and (columns >= x.shape[0] or x.shape[1] == 1):
        return True, max(columns, x.shape[0])
    return None


def product(a: cupy.ndarray, b: cupy.ndarray, out: cupy.ndarray, blas: Blas, *, exact: bool = False) -> Call | None:
    """The call out = a @ b for matrices of one float dtype; None where cuBLAS has none.

    exact: not in TF32, whatever CUPY_TF32 says.
    """
    fits = a.ndim == b.ndim == 2 and a.dtype == b.dtype == out.dtype and a.dtype.char in "efd"
    if not fits or 0 in (*a.shape, *b.shape) or not out.flags.c_contiguous:
        return None
    left, right = leading(a), leading(b)
    if left is None or right is None:
        return None
    runtime, cublas = cupy.cuda.runtime, blas.cublas
    kind = {"e": runtime.CUDA_R_16F, "f": runtime.CUDA_R_32F, "d": runtime.CUDA_R_64F}[a.dtype.char]
    compute = cublas.CUBLAS_COMPUTE_64F if a.dtype.char == "d" else cublas.CUBLAS_COMPUTE_32F
    if a.dtype.char == "f" and not exact and os.environ.get("CUPY_TF32", "0") not in ("", "0"):
        compute = cublas.CUBLAS_COMPUTE_32F_FAST_TF32
    number = ctypes.c_double if a.dtype.char == "d" else ctypes.c_float
    one, zero = number(1.0), number(0.0)
    (m, k), n = a.shape, b.shape[1]
    # cuBLAS counts by columns: what lies row by row is, to it, the transpose, and outᵀ = bᵀ @ aᵀ.
    arguments = (
        *(int(right[0]), int(left[0]), n, m, k, ctypes.addressof(one)),
        *(b.data.ptr, kind, right[1], a.data.ptr, kind, left[1], ctypes.addressof(zero)),
        *(out.data.ptr, kind, n, compute, cublas.CUBLAS_GEMM_DEFAULT),
    )
    return blas, arguments, (a, b, out, one, zero, blas.workspace)  # taken now: a graph must not allocate it
