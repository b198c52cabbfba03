"""A time means nothing without its machine: the processor, the libraries, and how many threads they may use."""

from __future__ import annotations

import os
import platform
import time
from typing import Any

from gpu.machine import commit, processor, version

LIBRARIES = ("martlet", "numpy", "torch", "jax", "jaxlib", "scikit-learn", "scipy", "threadpoolctl")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def describe() -> dict[str, Any]:
    import numpy as np

    import martlet as mt

    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "date": time.strftime("%Y-%m-%d %H:%M %z"),
        "commit": commit(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": f"{processor()}, {os.cpu_count()} cores",
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "blas": f"{blas['name']} {blas['version']}",
        "threads": {name: os.environ[name] for name in THREADS if name in os.environ},
        "versions": {name: found for name in LIBRARIES if (found := version(name))} | {"martlet": mt.__version__},
    }
