"""Who takes part: the names, and where each peer is written down."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import NamedTuple

from gpu.worker import Missing

from steps.peer import Peer
from steps.workloads import Workload


class Entry(NamedTuple):
    """A peer as the tables call it, the module and the class that it is, and what the class is told."""

    name: str
    module: str
    kind: str
    told: tuple[str, ...] = ()


PEERS = {
    "eager-numpy": Entry("martlet eager, NumPy", "steps.with_martlet", "Eager", ("numpy",)),
    "eager-torch": Entry("martlet eager, torch", "steps.with_martlet", "Eager", ("torch",)),
    "eager-jax": Entry("martlet eager, JAX", "steps.with_martlet", "Eager", ("jax",)),
    "compiled-numpy": Entry("martlet compiled, NumPy", "steps.with_martlet", "Compiled", ("numpy",)),
    "compiled-torch": Entry("martlet compiled, torch", "steps.with_martlet", "Compiled", ("torch",)),
    "compiled-jax": Entry("martlet compiled, JAX", "steps.with_martlet", "Compiled", ("jax",)),
    "fit-numpy": Entry("martlet fit, NumPy", "steps.with_fit", "Fit", ("numpy",)),
    "fit-jax": Entry("martlet fit, JAX", "steps.with_fit", "Fit", ("jax",)),
    "plain": Entry("the lessons' plain NumPy", "steps.plain", "Plain"),
    "torch-default": Entry("PyTorch eager, default", "steps.with_torch", "Torch", ("default",)),
    "torch-foreach": Entry("PyTorch eager, foreach", "steps.with_torch", "Torch", ("foreach",)),
    "torch-fused": Entry("PyTorch eager, fused", "steps.with_torch", "Torch", ("fused",)),
    "torch-compile": Entry("torch.compile", "steps.with_torch", "Torch", ("compile",)),
    "jax-jit": Entry("JAX jit, a call per step", "steps.with_jax", "Jit"),
    "jax-scan": Entry("JAX jit + scan", "steps.with_jax", "Scan"),
    "sklearn": Entry("scikit-learn MLP", "steps.with_sklearn", "MLP"),
    "products-whole": Entry("bare products, whole", "steps.products", "Whole"),
    "products-chunks": Entry("bare products, chunks", "steps.products", "Chunks"),
}
OURS = "compiled-numpy"  # what the others are compared with
TORCH = ("torch-default", "torch-foreach", "torch-fused")
PRODUCTS = ("products-whole", "products-chunks")


def find(peer: str) -> Callable[[Workload], Peer]:
    """What makes the peer of that name; Missing, with the reason, where its library is not installed."""
    entry = PEERS[peer]
    try:
        kind = getattr(importlib.import_module(entry.module), entry.kind)
    except ImportError as error:
        raise Missing(str(error)) from None
    return functools.partial(kind, *entry.told)
