"""A figure without its machine means nothing: the device, the driver, the libraries and the commit."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from gpu.worker import ROOT, Note, serve

LIBRARIES = ["numpy", "array-api-compat", "cupy-cuda13x", "cupy-cuda12x", "torch", "triton", "jax", "jaxlib"]
LIBRARIES += ["array-api-strict", "pytest", "nvidia-cublas", "nvidia-cuda-nvrtc", "nvidia-cuda-runtime"]


def measure(request: dict[str, Any], note: Note) -> None:
    import martlet as mt

    note(
        date=time.strftime("%Y-%m-%d %H:%M %z"),
        commit=commit(),
        python=platform.python_version(),
        system=platform.platform(),
        processor=f"{processor()}, {os.cpu_count()} cores",
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        versions={"martlet": mt.__version__} | {name: v for name in LIBRARIES if (v := version(name))},
    )
    try:
        mt.Backend("cupy")
    except mt.BackendUnavailable as error:
        note(no_device=str(error))
    else:
        note(device=device())


def device() -> dict[str, Any]:
    """What CuPy and the driver say of the first device."""
    import cupy

    runtime = cupy.cuda.runtime
    properties = runtime.getDeviceProperties(0)
    free, total = runtime.memGetInfo()
    return {
        "name": properties["name"].decode(),
        "compute_capability": f"{properties['major']}.{properties['minor']}",
        "multiprocessors": properties["multiProcessorCount"],
        "memory_bytes": total,
        "memory_free_bytes": free,
        "cuda_driver": readable(runtime.driverGetVersion()),
        "cuda_runtime": readable(runtime.runtimeGetVersion()),
        "driver": output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader").partition("\n")[0],
    }


def readable(number: int) -> str:
    """CUDA writes version 13.2 as 13020."""
    return f"{number // 1000}.{number % 1000 // 10}"


def version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def output(*command: str) -> str:
    """What a command prints; "" where there is no such command or it fails."""
    if not shutil.which(command[0]):
        return ""
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    return done.stdout.strip() if done.returncode == 0 else ""


def commit() -> str:
    """The commit, and whether files differ from it; outside a repository, what MARTLET_COMMIT says."""
    if told := os.environ.get("MARTLET_COMMIT"):
        return told
    name = output("git", "rev-parse", "--short", "HEAD")
    return name + " with changes" if name and output("git", "status", "--porcelain") else name


def processor() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name.*: (.*)", info.read_text()) if info.exists() else None
    return found[1] if found else platform.machine()


if __name__ == "__main__":
    serve(measure)
