"""The device that the processor stands in for is unkind: what goes wrong on a GPU now and then goes wrong there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from conftest import why_not

pytestmark = pytest.mark.only("cupy")

ROUNDS = 30


@pytest.fixture
def cupy() -> Any:
    if "CUDA_ON_CPU_HOME" not in os.environ:
        pytest.skip("CuPy's device, if there is one, is no stand-in")
    if reason := why_not("cupy"):
        pytest.skip(reason)
    import cupy

    return cupy


def test_a_stream_that_is_not_waited_for_has_not_begun(cupy: Any) -> None:
    """Sometimes it has, so that two streams get in each other's way."""
    one, other = (cupy.cuda.Stream(non_blocking=True) for _ in range(2))
    seen = set()
    for _ in range(ROUNDS):
        with one:
            x = cupy.zeros(3)
            one.synchronize()
            x += 1
        with other:
            seen.add(float(x.sum()))
        one.synchronize()
        assert float(x.sum()) == 3.0
    assert seen == {0.0, 3.0}


def test_an_event_is_waited_for(cupy: Any) -> None:
    one, other = (cupy.cuda.Stream(non_blocking=True) for _ in range(2))
    for _ in range(ROUNDS):
        with one:
            x = cupy.zeros(3) + 1
            made = one.record()
        with other:
            other.wait_event(made)
            assert float(x.sum()) == 3.0


def test_everyones_stream_waits_for_all_and_all_for_it(cupy: Any) -> None:
    """But for those that were made to stay apart."""
    for _ in range(ROUNDS):
        with cupy.cuda.Stream():
            x = cupy.zeros(3) + 1
        x = x + 1
        with cupy.cuda.Stream():
            assert float(x.sum()) == 6.0


def test_elements_come_in_any_order(cupy: Any) -> None:
    """A kernel that reads what another thread of it writes."""
    shift = cupy.ElementwiseKernel("raw T x, int64 n", "T y", "y = x[i + 1 < n ? i + 1 : i]", "shift")
    seen = set()
    for _ in range(ROUNDS):
        x = cupy.arange(4.0)
        shift(x, 4, x)
        seen.add(tuple(cupy.asnumpy(x)))
    assert len(seen) == 2


@pytest.mark.parametrize("waits", [True, False])
def test_the_threads_of_a_block_come_in_any_order(cupy: Any, waits: bool) -> None:
    kernel = cupy.RawKernel(
        """
        extern "C" __global__ void turned(const double* x, double* y) {
            __shared__ double all[64];
            all[threadIdx.x] = x[threadIdx.x];
            %s
            y[threadIdx.x] = all[63 - threadIdx.x];
        }
        """
        % ("__syncthreads();" if waits else ""),
        "turned",
    )
    x = cupy.arange(64.0)
    right = []
    for _ in range(ROUNDS):
        y = cupy.empty(64)
        kernel((1,), (64,), (x, y))
        right.append(bool((y == x[::-1]).all()))
    assert all(right) == waits


@pytest.mark.parametrize("reach", [0, 8])
def test_a_kernel_that_goes_too_far_is_stopped(cupy: Any, reach: int) -> None:
    program = f"""
import unpooled, cupy
x = cupy.zeros(100)
read = cupy.ElementwiseKernel("raw T x, int64 reach", "T y", "y = x[i + reach]", "read")
cupy.asnumpy(read(x, {reach}, cupy.empty(100)))
"""
    paths = os.pathsep.join([os.path.join(os.path.dirname(__file__), "cuda"), os.environ.get("PYTHONPATH", "")])
    run = subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": paths})
    assert run.returncode == (-signal.SIGSEGV if reach else 0)


def test_what_a_capture_forbids(cupy: Any) -> None:
    runtime = cupy.cuda.runtime

    def captured(blocking: bool, forbidden: Any) -> None:
        stream = cupy.cuda.Stream(non_blocking=not blocking)
        with stream:
            stream.begin_capture()
            try:
                forbidden(stream)
            finally:
                stream.end_capture()

    refused = pytest.raises(runtime.CUDARuntimeError)
    x = cupy.zeros(3)
    with refused:
        captured(False, lambda stream: runtime.streamSynchronize(stream.ptr))
    with refused:  # the stream that everyone has would have to wait for what is only written down
        captured(True, lambda stream: runtime.memsetAsync(x.data.ptr, 0, x.nbytes, 0))
    captured(False, lambda stream: runtime.memsetAsync(x.data.ptr, 0, x.nbytes, 0))
    with refused:
        captured(False, lambda stream: runtime.memcpyAsync(np.empty(3).ctypes.data, x.data.ptr, 24, 2, stream.ptr))
