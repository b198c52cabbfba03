"""The door to the array libraries: finding them by name, and carrying arrays in and out."""

from __future__ import annotations

import builtins
import copy
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from conftest import Target, why_not

import martlet as mt
from martlet.backend import LIBRARIES, device_of, dtype_name, survey


@pytest.mark.eager
def test_a_backend_is_a_key_and_travels(xp: Target) -> None:
    """scikit-learn clones what it is given."""
    backend = mt.Backend(xp.backend.name, xp.backend.device, xp.double)
    assert {backend: 1}[mt.Backend(xp.backend.name, xp.backend.device, xp.double)] == 1
    for again in (pickle.loads(pickle.dumps(backend)), copy.deepcopy(backend)):
        assert again == backend
        assert again.xp is backend.xp


@pytest.mark.eager
@pytest.mark.parametrize("dtype", ["float32", "int32", "bool"])
def test_an_array_comes_back_as_it_went_in(xp: Target, dtype: str) -> None:
    x = np.arange(6).reshape(2, 3).astype(dtype)
    there = xp.backend.asarray(x)
    assert dtype_name(there.dtype) == dtype
    back = mt.to_numpy(there)
    assert back.dtype == x.dtype
    np.testing.assert_array_equal(back, x)


@pytest.mark.eager
def test_memory_is_never_shared_between_libraries(xp: Target) -> None:
    x = np.ones(3, dtype=np.float32)
    there = xp.backend.asarray(x, copy=xp.backend.name == "numpy")
    x[0] = 5.0
    np.testing.assert_array_equal(mt.to_numpy(there), [1.0, 1.0, 1.0])


@pytest.mark.eager
def test_views_of_any_layout_are_accepted(xp: Target) -> None:
    x = np.arange(12.0, dtype=np.float32).reshape(3, 4)
    for view in (x[::-1], x.T, x[:, ::2], np.asfortranarray(x)):
        np.testing.assert_array_equal(mt.to_numpy(xp.backend.asarray(view)), view)


@pytest.mark.eager
@pytest.mark.parametrize("dtype", [">f4", ">i4", "<f4"])
def test_bytes_in_any_order_are_accepted(xp: Target, dtype: str) -> None:
    x = np.arange(6).reshape(2, 3)
    there = xp.backend.asarray(x.astype(dtype))
    assert dtype_name(there.dtype) == {"f": "float32", "i": "int32"}[dtype[1]]
    np.testing.assert_array_equal(mt.to_numpy(there), x)


@pytest.mark.eager
def test_the_width_is_float32_unless_told_otherwise(xp: Target) -> None:
    rng = np.random.default_rng(0)
    where = mt.Backend(xp.backend.name, device=xp.backend.device)
    assert dtype_name(mt.Affine.init(2, 3, rng, backend=where).W.dtype) == "float32"
    assert dtype_name(xp.backend.asarray([1.0, 2.0]).dtype) == "float32"
    if xp.double == "float64":
        assert dtype_name(mt.Affine.init(2, 3, rng, backend=where, dtype="float64").b.dtype) == "float64"
        assert dtype_name(xp.backend.asarray(np.ones(2)).dtype) == "float64"
        wide = mt.Backend(xp.backend.name, device=xp.backend.device, dtype="float64")
        assert dtype_name(wide.asarray([1.0, 2.0]).dtype) == "float64"


@pytest.mark.eager
def test_arrays_are_made_on_the_device_that_was_asked_for(xp: Target) -> None:
    model = mt.Affine.init(2, 3, np.random.default_rng(0), backend=xp.backend)
    x, t = mt.datasets.spiral(5, backend=xp.backend)
    wanted = device_of(xp.asarray(np.ones(1)))
    assert all(device_of(array) == wanted for array in (model.W, model.b, x, t))


@pytest.mark.eager
def test_a_model_moves_there_and_back(xp: Target) -> None:
    model = mt.Sequential(mt.Affine.init(2, 3, np.random.default_rng(0)), mt.ReLU())
    there = model.to(xp.backend)
    assert device_of(there[0].W) == device_of(xp.asarray(np.ones(1)))
    back = there.to("numpy")
    np.testing.assert_array_equal(back[0].W, model[0].W)
    assert there.to(dtype="float16" if not xp.name.startswith("strict") else "float32")[0].W.shape == (2, 3)
    state = mt.Adam().init(there).to("numpy")
    assert state.step.dtype == np.int32  # a counter is not cast
    assert state.lr.dtype == np.float32


@pytest.mark.eager
def test_synchronize_waits_for_arrays(xp: Target) -> None:
    xp.backend.synchronize(xp.asarray(np.ones(3)))


def test_float64_is_not_narrowed_silently_on_jax() -> None:
    pytest.importorskip("jax")
    program = 'import martlet as mt, numpy as np; mt.Backend("jax").asarray(np.ones(2))'
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert 'jax.config.update("jax_enable_x64", True)' in result.stderr.splitlines()[-1]


def test_labels_do_not_wrap_around_silently_on_jax() -> None:
    pytest.importorskip("jax")
    program = """
import martlet as mt, numpy as np
x = mt.Backend("jax").asarray([[0.0, 1.0], [0.0, 1.0]])
print(mt.accuracy(mt.Tanh(), x, np.array([0, 1])))
mt.accuracy(mt.Tanh(), x, np.array([0, 2**32]))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.stdout.strip() == "0.5"
    assert "accuracy: t: integers from 0 to 4294967296 do not fit int32" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", ["nump", "", "cuda", 3, None])
def test_an_unknown_name_lists_the_known_ones(name: Any) -> None:
    with pytest.raises(ValueError, match="numpy, cupy, torch, jax, array_api_strict"):
        mt.Backend(name)


def test_an_unknown_device_or_dtype_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"device='cuda:7' is not a device .* has: cpu"):
        mt.Backend("numpy", device="cuda:7")
    with pytest.raises(ValueError, match="choose float16, bfloat16, float32 or float64"):
        mt.Backend("numpy", dtype="int32")
    with pytest.raises(ValueError, match="bfloat16"):
        mt.Backend("numpy", dtype="bfloat16")


@pytest.mark.parametrize("name", ["cupy", "torch", "jax", "array_api_strict"])
def test_a_missing_library_says_what_to_type(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, top = LIBRARIES[name].module, {"jax": "jax", "array_api_strict": "array_api_strict"}.get(name, name)
    for loaded in [m for m in sys.modules if m == module or m.split(".")[0] == top]:
        monkeypatch.delitem(sys.modules, loaded)
    real = builtins.__import__

    def without(wanted: str, *rest: Any) -> Any:
        if wanted.split(".")[0] == top:
            raise ModuleNotFoundError(f"No module named {top!r}", name=top)
        return real(wanted, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr("importlib.import_module", lambda wanted: without(wanted) if wanted == module else real(wanted))
    extra = {"cupy": 'pip install "martlet[cupy]"', "array_api_strict": "pip install array-api-strict"}
    with pytest.raises(mt.BackendUnavailable) as error:
        mt.Backend(name)
    assert extra.get(name, f'pip install "martlet[{name}]"') in str(error.value)
    assert f'backend="{name}"' in str(error.value)


@pytest.mark.every
def test_cupy_without_a_device_says_so(request: pytest.FixtureRequest) -> None:
    if LIBRARIES["cupy"].version() is None:
        pytest.skip("CuPy is not installed")
    reason = why_not("cupy")
    if not reason:
        pytest.skip("there is a CUDA device")
    assert "finds no CUDA device" in reason
    assert "nvidia-smi" in reason
    assert 'backend="numpy"' in reason


def test_the_table_has_a_row_for_every_library() -> None:
    rows = {name: why for name, _, _, why in survey()}
    assert list(rows) == list(LIBRARIES)
    assert rows["numpy"] == ""
    assert set(mt.available_backends()) == {name for name, why in rows.items() if not why}
    table = subprocess.run([sys.executable, "-m", "martlet"], capture_output=True, text=True, check=True).stdout
    assert table.splitlines()[0].split() == ["backend", "version", "devices", "usable"]
    assert len(table.splitlines()) == 1 + len(LIBRARIES)
    assert f"numpy             {np.__version__}" in table


def test_the_same_backend_is_equal() -> None:
    assert mt.Backend("numpy") == mt.Backend("numpy", device=None)
    assert mt.Backend("numpy", dtype="float64") != mt.Backend("numpy")
    assert mt.Backend("numpy", dtype=np.float64).dtype == "float64"
