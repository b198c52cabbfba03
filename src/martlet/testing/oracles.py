"""Who says what a gradient should be: the autograd of another library, or differences of the forward itself.

Each oracle differentiates Σ y · dout, where y is what a layer's own forward makes of its arrays, in float64.
PyTorch and JAX are exact to rounding; differences need no library but NumPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from martlet.backend import Array, Backend, namespace
from martlet.testing.agreement import Expected
from martlet.testing.differences import Function, arrays_of, by_differences
from martlet.testing.targets import exact_jax

# ---------------------------------------------------------------------------------------- autograd


def by_torch(f: Function) -> list[np.ndarray]:
    """PyTorch's autograd, on the CPU, whatever modes the caller has set."""
    backend = Backend("torch", device="cpu")
    import torch

    with torch.inference_mode(False), torch.enable_grad():
        arrays = [backend.asarray(x, copy=True) for x in f.arrays]
        wanted = [arrays[place].requires_grad_() for place in f.places]
        value = _total(f, arrays, backend)
        if not wanted or not getattr(value, "requires_grad", False):
            return [np.zeros(x.shape) for x in wanted]
        slopes = torch.autograd.grad(value, wanted, allow_unused=True)
    return [np.zeros(x.shape) if s is None else s.numpy() for x, s in zip(wanted, slopes, strict=True)]


def by_jax(f: Function) -> list[np.ndarray]:
    """JAX's autograd.  Its 64 bits are switched on for this calculation only."""
    backend = Backend("jax")
    import jax

    with exact_jax(backend):
        arrays = [backend.asarray(x) for x in f.arrays]

        def value(wanted: list[Any]) -> Any:
            given = list(arrays)
            for place, x in zip(f.places, wanted, strict=True):
                given[place] = x
            return _total(f, given, backend)

        slopes = jax.grad(value)([arrays[place] for place in f.places]) if f.places else []
        return [np.array(s) for s in slopes]


def _total(f: Function, arrays: list[Array], backend: Backend) -> Any:
    total: Any = backend.asarray(np.zeros(()))
    for y, dout in zip(arrays_of(f.run(arrays)), f.dout, strict=True):
        total = total + namespace(y).sum(y * backend.asarray(dout))
    return total


# ---------------------------------------------------------------------------------- all the oracles

ORACLES = ("torch", "jax", "differences")


def differentiate(oracle: str, f: Function) -> Expected:
    """The derivatives by one of the ORACLES, and how wrong each may be: by autograd, not beyond rounding."""
    if oracle == "differences":
        return Expected(*by_differences(f), None)
    by = by_torch if oracle == "torch" else by_jax
    values = by(f)
    return Expected(
        values, [np.zeros(x.shape) for x in values], lambda arrays, dout: by(f._replace(arrays=arrays, dout=dout))
    )
