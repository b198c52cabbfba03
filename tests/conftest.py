"""One suite for every backend: `pytest --backend torch` runs each test that asks for `xp` on PyTorch.

NumPy comes in two kinds (plain, and read-only memory, which catches hidden writes) and array-api-strict on
two simulated devices, which stand in for a GPU.  On JAX each test runs twice, eagerly and under jit.
"""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np
import pytest

import martlet as mt
from martlet.testing.targets import BACKENDS, Target
from martlet.testing.targets import on_host as to_numpy
from martlet.tree import take_apart

__all__ = ["BACKENDS", "Target", "assert_close", "take_apart", "to_numpy"]


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
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what it runs in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)  # for some tests press Ctrl-C
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


TESTS = pytest.StashKey[int]()  # how many have been run by this process
JAX_FORGETS_AFTER = 200  # tests


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """JAX keeps a megabyte of each program it has compiled, and the more it keeps the longer the next one takes."""
    tests = item.session.stash[TESTS] = item.session.stash.get(TESTS, 0) + 1
    if tests % JAX_FORGETS_AFTER == 0 and item.config.getoption("--backend") == "jax":
        import jax

        jax.clear_caches()


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
