"""One suite for every backend: `pytest --backend torch` runs each test that asks for `xp` on PyTorch.

NumPy comes in two kinds (plain, and read-only memory, which catches hidden writes) and array-api-strict on
two simulated devices, which stand in for a GPU: `device1` refuses every implicit transfer, `no_float64` has
no float64.  On JAX each test runs twice, eagerly and under jit.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import martlet as mt
from martlet.tree import Tree

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
    """Where a test runs: a backend, and for JAX whether under jit."""

    def __init__(self, name: str, jit: bool = False) -> None:
        self.name = name
        self.jit = jit
        library, device = BACKENDS[name]
        self.backend = mt.Backend(library, device=device)
        self.double = "float32" if name == "strict-no_float64" else "float64"

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
        """The function itself, or under jit one that is traced at its first call, with every array traced.

        Later calls must have arguments of the same structure.
        """
        if not self.jit:
            return function
        import jax

        built: dict[str, Callable[[list[Any]], Any]] = {}

        def traced(arrays: list[Any]) -> list[Any]:
            out, built["out"] = take_apart(function(*built["in"](arrays)))
            return out

        jitted = jax.jit(traced)

        def call(*arguments: Any) -> Any:
            arrays, build = take_apart(arguments)
            built.setdefault("in", build)
            out = jitted(arrays)
            return built["out"](out)

        return call

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call the function once: eagerly, or under jit."""
        return self.compile(function)(*arguments)


def take_apart(value: Any) -> tuple[list[Any], Callable[[list[Any]], Any]]:
    """The arrays in any nest of trees and tuples, and the function that puts others in their places."""
    if isinstance(value, Tree):
        return mt.leaves(value), lambda arrays: mt.rebuild(value, arrays)
    if isinstance(value, tuple | list):
        parts = [take_apart(item) for item in value]

        def build(arrays: list[Any]) -> Any:
            source = iter(arrays)
            return type(value)(make([next(source) for _ in inside]) for inside, make in parts)

        return [x for inside, _ in parts for x in inside], build
    if is_array(value):
        return [value], lambda arrays: arrays[0]
    return [], lambda arrays: value


def is_array(value: Any) -> bool:
    try:
        mt.namespace(value)
    except TypeError:
        return False
    return True


def to_numpy(value: Any) -> Any:
    """A tree, a tuple or an array of any library, with NumPy's arrays in it."""
    arrays, build = take_apart(value)
    return build([np.array(mt.to_numpy(x)) for x in arrays])


def assert_close(actual: Any, expected: Any, **tolerance: float) -> None:
    """Two nests of arrays have the same structure and nearly the same numbers."""
    if isinstance(expected, float):
        expected = np.asarray(expected)
    (got, _), (wanted, _) = take_apart(actual), take_apart(expected)
    assert len(got) == len(wanted)
    for a, b in zip(got, wanted, strict=True):
        a, b = mt.to_numpy(a), mt.to_numpy(b)
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, **tolerance)


# --------------------------------------------------------------------------------------- the options


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--backend", choices=BACKENDS, default="numpy", help="where tests that ask for xp run")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--backend") == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)
        jax.config.update("jax_default_matmul_precision", "float32")
        jax.config.update("jax_disable_most_optimizations", True)  # compiling takes longer than computing here


def why_not(backend: str) -> str:
    """Why a backend cannot be used here, or ""."""
    library, device = BACKENDS[backend]
    try:
        mt.Backend(library, device=device)
    except mt.BackendUnavailable as error:
        return str(error)
    return ""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "xp" in metafunc.fixturenames:
        modes = ["eager", "jit"] if metafunc.config.getoption("--backend") == "jax" else ["eager"]
        if metafunc.definition.get_closest_marker("eager"):
            modes = ["eager"]
        metafunc.parametrize("xp", modes, indirect=True, ids=modes)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The tests without `xp` say nothing about a backend: they run once, with NumPy's unless they are marked."""
    backend = config.getoption("--backend")

    def belongs(item: pytest.Item) -> bool:
        if only := item.get_closest_marker("only"):
            return backend in only.args
        return backend == "numpy" or "xp" in getattr(item, "fixturenames", ()) or bool(item.get_closest_marker("every"))

    chosen = [item for item in items if belongs(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(chosen)])
    items[:] = chosen


@pytest.fixture
def xp(request: pytest.FixtureRequest) -> Target:
    """The backend under test, chosen by --backend."""
    name = request.config.getoption("--backend")
    reason = why_not(name)
    if reason:
        if os.environ.get("MARTLET_REQUIRE_GPU") == "1":
            pytest.fail(f"MARTLET_REQUIRE_GPU=1, but {reason}")
        pytest.skip(reason)
    return Target(name, jit=request.param == "jit")
