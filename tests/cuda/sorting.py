"""CuPy's sorting on the processor: NumPy's, in the memory of the device, which is the processor's.  For build.py."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

available = True


def get_build_version() -> int:
    return 0


def _wait() -> None:
    """Wait for the stream, as Thrust does, which is why it cannot be captured."""
    from cupy.cuda import get_current_stream

    if get_current_stream().is_capturing():
        raise RuntimeError("cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing")
    get_current_stream().synchronize()


def _array(dtype: Any, place: int, shape: Any) -> np.ndarray:
    """The array that lies at an address."""
    dtype, count = np.dtype(dtype), int(np.prod(shape))
    memory = (ctypes.c_char * (count * dtype.itemsize)).from_address(place) if count else b""
    return np.frombuffer(memory, dtype).reshape(shape)


def sort(dtype: Any, data: int, keys: int, shape: Any) -> None:
    _wait()
    _array(dtype, data, shape).sort(axis=-1, kind="stable")


def argsort(dtype: Any, order: int, data: int, keys: int, shape: Any) -> None:
    _wait()
    x, found = _array(dtype, data, shape), _array(np.intp, order, shape)
    found[...] = np.argsort(x, axis=-1, kind="stable")
    x[...] = np.take_along_axis(x, found, -1)


def lexsort(dtype: Any, order: int, keys: int, count: int, length: int) -> None:
    _wait()
    _array(np.intp, order, (length,))[...] = np.lexsort(_array(dtype, keys, (count, length)))
