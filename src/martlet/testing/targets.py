"""Where a layer can be tried: every library, and the places that stand in for what one does not have at hand.

NumPy comes in two kinds (plain, and read-only memory, which catches hidden writes) and array-api-strict on
two simulated devices, which stand in for a GPU: `device1` refuses every implicit transfer, `no_float64` has
no float64.  On JAX a function can run eagerly and under jit.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

from martlet.backend import Backend, to_numpy
from martlet.tree import take_apart

BACKENDS = {
    "numpy": ("numpy", None),
    "numpy-readonly": ("numpy", None),
    "strict-device1": ("array_api_strict", "device1"),
    "strict-no_float64": ("array_api_strict", "no_float64"),
    "torch": ("torch", None),
    "jax": ("jax", None),
    "cupy": ("cupy", None),
}


class Target:
    """Where something is tried: a backend, and for JAX whether under jit."""

    def __init__(self, name: str, jit: bool = False) -> None:
        self.name = name
        self.jit = jit
        library, device = BACKENDS[name]
        self.backend = Backend(library, device=device)
        self.double = "float32" if name == "strict-no_float64" else "float64"

    @property
    def place(self) -> str:
        """Where it is, in words."""
        return f"{self.name}, jit" if self.jit else self.name

    @contextmanager
    def active(self) -> Iterator[None]:
        """Within it JAX has 64 bits and array-api-strict refuses what jit could not trace; then all is as before."""
        with self.backend.active(), exact_jax(self.backend), traceable(self.backend):
            yield

    @property
    def tolerance(self) -> dict[str, float]:
        """How closely two libraries agree in the widest dtype there is here."""
        return {"rtol": 1e-12, "atol": 1e-14} if self.double == "float64" else {"rtol": 2e-5, "atol": 1e-6}

    def asarray(self, x: Any, dtype: str | None = None) -> Any:
        """A NumPy array here: floats in the given width (the widest one if None), integers as they are."""
        host = np.asarray(x)
        array = self.backend.asarray(host, (dtype or self.double) if host.dtype.kind == "f" else None, copy=True)
        if self.name == "numpy-readonly":
            array.flags.writeable = False
        return array

    def put(self, value: Any, dtype: str | None = None) -> Any:
        """A tree, a tuple or an array of NumPy's, here."""
        arrays, build = take_apart(value)
        return build([self.asarray(x, dtype) for x in arrays])

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function itself, or under jit one that is traced, with every array of its arguments."""
        return self.backend.compile(function) if self.jit else function

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call the function once: eagerly, or under jit."""
        return self.compile(function)(*arguments)


@contextmanager
def exact_jax(backend: Backend) -> Iterator[None]:
    """Within it JAX has 64 bits and computes products in full float32; other libraries need nothing.

    Its settings are the thread's own within these contexts, and afterwards what they were.
    """
    if backend.name != "jax":
        yield
        return
    import jax

    newer = hasattr(jax, "enable_x64")  # JAX had it elsewhere before 0.8
    enable_x64 = jax.enable_x64 if newer else importlib.import_module("jax.experimental").enable_x64
    with enable_x64(True), jax.default_matmul_precision("float32"):
        yield


def traceable(backend: Backend) -> Any:
    """Within it array-api-strict refuses what jit could not trace: shapes that depend on values."""
    if backend.name != "array_api_strict":
        return nullcontext()
    from array_api_strict import ArrayAPIStrictFlags

    return ArrayAPIStrictFlags(boolean_indexing=False, data_dependent_shapes=False)


def on_host(value: Any) -> Any:
    """A tree, a tuple or an array of any library, with NumPy's arrays of their own memory in it."""
    arrays, build = take_apart(value)
    return build([np.array(to_numpy(x)) for x in arrays])
