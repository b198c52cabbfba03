"""A good neighbour on a device: nothing is copied that need not be, nothing waits, and nobody's settings change."""

from __future__ import annotations

import contextlib
import gc
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import CLASS_WEIGHT, LAYERS, OPTIMIZERS, OptimizerCase, affine, network
from conftest import Target, to_numpy

import martlet as mt
from martlet import backend, keeping, loop
from martlet.backend import library_of, on_cuda

READS = {  # what makes the program wait for an array of the library, in the class of its arrays
    "array_api_strict": ("__bool__", "__int__", "__float__", "__index__", "__complex__", "__iter__"),
    "torch": ("__bool__", "__int__", "__float__", "__index__", "item", "cpu", "numpy", "tolist", "__array__"),
    "cupy": ("__bool__", "__int__", "__float__", "__index__", "item", "get", "tolist", "__array__"),
}


def nothing_is_read(xp: Target, x: Any) -> contextlib.AbstractContextManager[None]:
    """Within this context, reading a number of an array, and so waiting for its device, is an error."""
    if xp.backend.name not in READS:
        pytest.skip("reading is free on NumPy; on JAX the tests under jit show that nothing is read")
    return nothing_is_read_on(xp.backend.name, x)


@contextlib.contextmanager
def nothing_is_read_on(name: str, x: Any) -> Iterator[None]:
    """The same for the arrays of a library, of which x is one."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a number was read from the device")

    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for method in READS[name]:
            patch.setattr(type(x), method, refuse, raising=False)
        if name == "cupy":  # whose own guard sees some of what its compiled code reads, and is to go
            import cupyx

            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            stack.enter_context(getattr(cupyx, "allow_synchronize", contextlib.nullcontext)(False))
        yield


@pytest.mark.eager
@pytest.mark.parametrize("case", OPTIMIZERS, ids=lambda case: case.name)
def test_a_step_never_waits_for_the_device(case: OptimizerCase, xp: Target) -> None:
    rng = np.random.default_rng(0)
    model, x, t = xp.put(network(rng)), xp.put(rng.standard_normal((6, 3))), xp.put(rng.integers(0, 2, 6))
    optimizer, loss = case.optimizer(), xp.put(mt.SoftmaxWithLoss(class_weight=CLASS_WEIGHT[:2], label_smoothing=0.1))
    state = optimizer.init(model)
    with nothing_is_read(xp, x):
        for _ in range(2):
            model, state, value = mt.train_step(model, loss, optimizer, state, x, t)
    assert np.isfinite(to_numpy(value))


@pytest.mark.eager
def test_no_layer_waits_for_the_device(xp: Target) -> None:
    for case in LAYERS:
        rng = np.random.default_rng(0)
        layer, x = xp.put(case.layer(rng)), xp.put(case.x(rng))
        y, cache = layer.forward(x)
        with nothing_is_read(xp, xp.put(np.ones(1))):
            layer.forward(x)
            layer.backward(cache, y)
            layer.predict(x)
            layer.observe(cache)


@pytest.mark.eager
def test_the_guard_bites(xp: Target) -> None:
    x = xp.put(np.ones(3))
    with nothing_is_read(xp, x), pytest.raises(Exception, match=r"read from the device|[Ss]ynchron"):
        bool(mt.namespace(x).any(x > 0.0))


@pytest.mark.eager
def test_a_run_reads_as_often_however_many_steps_it_has(xp: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    x, t = map(xp.put, mt.datasets.spiral(20, dtype=xp.double))
    library = type(library_of(x))
    reads, read = [], library.to_numpy
    monkeypatch.setattr(library, "to_numpy", lambda self, x: reads.append(1) or read(self, x))

    def count(batch_size: int) -> int:
        reads.clear()
        model = xp.put(mt.Sequential(affine(np.random.default_rng(0), 2, 3)))
        mt.fit(model, x, t, loss=mt.SoftmaxWithLoss(), optimizer=mt.SGD(), epochs=3, batch_size=batch_size)
        return len(reads)

    assert count(2) == count(20)


@pytest.mark.eager
def test_arrays_of_the_library_go_in_and_out_as_they_are(xp: Target) -> None:
    x = xp.put(np.ones((2, 3)))
    assert xp.backend.asarray(x) is x
    y = xp.put(mt.Affine(np.ones((3, 2)), np.ones(2))).predict(x)
    assert type(y) is type(x)
    assert mt.backend_of(y) == mt.backend_of(x)


@pytest.mark.eager
def test_what_comes_out_is_open_to_dlpack(xp: Target) -> None:
    y = xp.put(mt.Affine(np.ones((3, 2)), np.ones(2))).predict(xp.put(np.ones((2, 3))))
    if on_cuda(y):
        torch = pytest.importorskip("torch")
        if not torch.cuda.is_available():
            pytest.skip("PyTorch sees no CUDA device")
        np.testing.assert_array_equal(torch.from_dlpack(y).cpu().numpy(), np.full((2, 2), 4.0))
    else:
        np.testing.assert_array_equal(np.from_dlpack(y), np.full((2, 2), 4.0))


@pytest.mark.eager
def test_a_torch_tensor_may_be_the_input(xp: Target) -> None:
    torch = pytest.importorskip("torch")
    device = "cuda" if xp.name == "cupy" and torch.cuda.is_available() else "cpu"
    x, t = mt.datasets.spiral(5, backend=mt.Backend("torch", device))
    model, _ = mt.fit(
        xp.put(mt.Sequential(affine(np.random.default_rng(0), 2, 3))),
        x,
        t,
        loss=mt.SoftmaxWithLoss(),
        optimizer=mt.SGD(),
        epochs=1,
    )
    assert mt.backend_of(model[0].W).name == xp.backend.name
    assert mt.accuracy(model, x, t) == mt.accuracy(model, mt.to_numpy(x), mt.to_numpy(t))


class OnTheGpu:
    """Stands in for a PyTorch tensor in CUDA memory: it says so, and cannot be read from the host."""

    requires_grad = True  # such a tensor does not let itself be exported

    def __init__(self, x: np.ndarray) -> None:
        self.x = x

    def detach(self) -> OnTheGpu:
        found = OnTheGpu(self.x)
        found.requires_grad = False
        return found

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, 0)

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise AssertionError("went through the host")


def test_from_one_library_to_another_on_a_gpu_goes_by_dlpack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a device the handing over is stood in for; that it is asked for, cast and copied is not."""
    pytest.importorskip("torch")
    import torch

    home = mt.Backend("torch")
    given, there = OnTheGpu(np.ones(3)), torch.ones(3, dtype=torch.float64)
    monkeypatch.setattr(backend, "is_array", lambda x: True)
    monkeypatch.setattr(backend, "kind", lambda dtype: "float")
    monkeypatch.setattr(OnTheGpu, "dtype", np.dtype("float64"), raising=False)
    monkeypatch.setattr(backend, "namespace", lambda x: home.xp if isinstance(x, torch.Tensor) else np)
    monkeypatch.setattr(type(home.lib), "reaches_cuda", lambda self, xp, device: True)
    monkeypatch.setattr(backend, "library_of", lambda x: home.lib)
    monkeypatch.setattr(backend, "device_of", lambda x: None)
    monkeypatch.setattr(home.xp, "from_dlpack", lambda x: there if x.x is given.x and not x.requires_grad else None)
    waited: list[Any] = []
    monkeypatch.setattr(type(home.lib), "synchronize", lambda self, arrays: waited.extend(arrays))
    found = home.asarray(given, "float32")
    assert waited[0] is found
    assert found.dtype == torch.float32
    assert found.data_ptr() != there.data_ptr()


def test_an_array_in_cuda_memory_is_told_by_dlpack() -> None:
    assert on_cuda(OnTheGpu(np.ones(3)))
    assert not on_cuda(np.ones(3))


def test_a_run_enters_its_device_and_leaves_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """CuPy computes on the current device, wherever the arrays are: a run makes its own current while it runs."""
    entered: list[Any] = []

    @contextlib.contextmanager
    def active(self: Any, device: Any) -> Iterator[None]:
        entered.append(device)
        yield
        entered.pop()

    x, t = mt.datasets.spiral(3)
    monkeypatch.setattr(type(library_of(x)), "active", active)
    model = mt.Sequential(affine(np.random.default_rng(0), 2, 3)).to(dtype="float32")
    inside: list[list[Any]] = []
    mt.fit(
        model,
        x,
        t,
        loss=mt.SoftmaxWithLoss(),
        optimizer=mt.SGD(),
        epochs=1,
        hook=lambda *_: inside.append(list(entered)),
    )
    assert inside == [["cpu"]]
    assert entered == []


def train_a_little(backend: mt.Backend) -> mt.Layer:
    x, t = mt.datasets.spiral(10)
    model, _ = mt.fit(
        mt.Sequential(affine(np.random.default_rng(0), 2, 3)).to(dtype="float32"),
        x,
        t,
        loss=mt.SoftmaxWithLoss(),
        optimizer=mt.Adam(),
        epochs=2,
        backend=backend,
    )
    return model


@pytest.mark.eager
def test_the_users_device_stream_and_memory_pool_stay(xp: Target) -> None:
    if xp.name != "cupy":
        pytest.skip("these are CuPy's")
    import cupy

    before = cupy.cuda.Device(), cupy.cuda.get_allocator()
    with cupy.cuda.Stream(non_blocking=True) as stream:
        model = train_a_little(xp.backend)
        assert cupy.cuda.get_current_stream() == stream
    assert (cupy.cuda.Device(), cupy.cuda.get_allocator()) == before
    expected = train_a_little(mt.Backend("numpy"))
    for ours, theirs in zip(mt.leaves(model), mt.leaves(expected), strict=True):
        np.testing.assert_allclose(mt.to_numpy(ours), theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.eager
def test_a_run_on_another_device_stays_there(xp: Target) -> None:
    devices = xp.backend.lib.devices(xp.backend.xp)
    if xp.name != "cupy" or len(devices) < 2:
        pytest.skip("needs two CUDA devices")
    import cupy

    before = cupy.cuda.Device()
    model = train_a_little(mt.Backend("cupy", device="cuda:1"))
    assert all(mt.backend_of(a).device == devices[1] for a in mt.leaves(model))
    assert cupy.cuda.Device() == before


# -------------------------------------------------------------------------------------- out of memory


class Small(mt.Layer):
    """y = x, on a device with room for so many rows, and an exception of the library's where there is none."""

    room: int
    error: Callable[[], Exception]
    calls: list[int]

    def forward(self, x: Any) -> tuple[Any, Any]:
        self.calls.append(x.shape[0])
        if x.shape[0] > self.room:
            raise self.error()
        return x, None

    def backward(self, cache: Any, dout: Any) -> tuple[Any, Any]:
        return dout, None

    def predict(self, x: Any) -> Any:
        return x


def no_room(name: str) -> Callable[[], Exception]:
    """How each library says that there is no room, as far as it can be said without a device."""
    if name == "torch":
        import torch

        return lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    if name == "jax":
        return lambda: RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 2147483648 bytes.")
    return lambda: MemoryError("Unable to allocate 2 GiB")  # CuPy's OutOfMemoryError is one too


@pytest.mark.eager
@pytest.mark.parametrize(("room", "fits"), [(9, 8), (5, 4), (1, 1), (0, None)])
def test_out_of_memory_says_what_would_fit(xp: Target, room: int, fits: int | None) -> None:
    model = mt.Sequential(Small(room, no_room(xp.backend.name), []), xp.put(affine(np.random.default_rng(0), 2, 3)))
    x, t = map(xp.put, mt.datasets.spiral(6, dtype=xp.double))
    before = to_numpy(model)
    with pytest.raises(mt.OutOfMemory, match=r"batch_size=16 does not fit into the memory of") as caught:
        mt.fit(model, x, t, loss=mt.SoftmaxWithLoss(), optimizer=mt.Adam(), epochs=2, batch_size=16)
    error = caught.value
    assert isinstance(error, MemoryError)
    assert (error.batch_size, error.fits) == (16, fits)
    assert ("nor does its half, its quarter" if fits is None else f"batch_size={fits} was tried") in str(error)
    for ours, was in zip(mt.leaves(error.model), mt.leaves(before), strict=True):
        np.testing.assert_array_equal(mt.to_numpy(ours), was)
    assert int(mt.to_numpy(error.history.state.step)) == 0


def test_what_is_beside_the_steps_may_not_fit_where_they_do(
    xp: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wide(Small):
        def predict(self, x: Any) -> Any:
            if x.shape[0] > self.room:
                raise self.error()
            return x

    affine_layer = xp.put(affine(np.random.default_rng(0), 2, 3))
    model = mt.Sequential(Wide(16, no_room(xp.backend.name), []), affine_layer)
    x, t = map(xp.put, mt.datasets.spiral(6, dtype=xp.double))
    given = {"loss": mt.SoftmaxWithLoss(), "optimizer": mt.SGD(), "epochs": 2, "batch_size": 16}
    save = keeping.save

    def full(number: int) -> Any:
        """A disk, or what writes to it, that has no room for the checkpoint of this number."""
        written: list[Any] = []

        def save_or_fail(*given: Any) -> None:
            written.append(given)
            if len(written) == number:
                raise MemoryError("Unable to allocate 2 GiB")
            save(*given)

        return save_or_fail

    more = tuple(xp.put(np.concatenate([mt.to_numpy(a)] * 2)) for a in (x, t))
    place_data = loop.place_data

    def no_place(owner: str, *given: Any) -> Any:
        if "validation" in owner:
            raise no_room(xp.backend.name)()
        return place_data(owner, *given)

    plain: dict[str, Any] = {"save": save, "place_data": place_data}
    cases: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
        ({"metrics": ["accuracy"]}, "measuring the metrics of 18 samples", {}),
        ({"validation": more}, "measuring the validation of 36 samples", {}),
        ({"checkpoint": tmp_path / "first"}, "the checkpoint", {"save": full(1)}),
        ({"checkpoint": tmp_path / "last", "every": 2}, "the checkpoint", {"save": full(2)}),
        ({"validation": more}, "the validation", {"place_data": no_place}),
    ]
    for settings, what, failing in cases:
        monkeypatch.setattr(keeping, "save", (plain | failing)["save"])
        monkeypatch.setattr(loop, "place_data", (plain | failing)["place_data"])
        words = f"fit: {what} does not fit into .*: no other batch size would help"
        with pytest.raises(mt.OutOfMemory, match=words) as no_room_for:
            mt.fit(affine_layer if "checkpoint" in settings else model, x, t, **given, **settings)
        assert (no_room_for.value.batch_size, no_room_for.value.fits, no_room_for.value.beside) == (16, 16, what)

    def hook(epoch: int, model: Any, history: Any) -> None:
        raise no_room(xp.backend.name)()

    with pytest.raises(Exception, match=r"memory|allocate") as caught:  # the hook's own
        mt.fit(affine_layer, x, t, **given, hook=hook)
    assert not isinstance(caught.value, mt.OutOfMemory)


def test_a_layer_that_wants_two_samples_does_not_hide_that_there_is_no_room() -> None:
    layers = mt.BatchNorm.init(2, dtype="float64"), Small(1, no_room("numpy"), [])
    model = mt.Sequential(*layers, affine(np.random.default_rng(0), 2, 3))
    x, t = mt.datasets.spiral(6, dtype="float64")
    with pytest.raises(mt.OutOfMemory, match="nor does its half, its quarter"):
        mt.fit(model, x, t, loss=mt.SoftmaxWithLoss(), optimizer=mt.SGD(), epochs=1, batch_size=8)


def test_out_of_memory_is_gone_once_it_is_handled() -> None:
    """With all that it held, and not when Python next looks for cycles."""
    model = mt.Sequential(Small(4, no_room("numpy"), []), affine(np.random.default_rng(0), 2, 3))
    x, t = mt.datasets.spiral(6, dtype="float64")
    gc.collect()
    gc.disable()
    try:
        try:
            mt.fit(model, x, t, loss=mt.SoftmaxWithLoss(), optimizer=mt.SGD(), epochs=1, batch_size=8)
        except mt.OutOfMemory as error:
            held = [weakref.ref(error.model), weakref.ref(error.model[1].W)]
        assert [each() for each in held] == [None, None]
    finally:
        gc.enable()


def test_another_exception_is_not_taken_for_one() -> None:
    model = mt.Sequential(Small(1, lambda: RuntimeError("another matter"), []), affine(np.random.default_rng(0), 2, 3))
    with pytest.raises(RuntimeError, match="another matter"):
        mt.fit(model, *mt.datasets.spiral(6), loss=mt.SoftmaxWithLoss(), optimizer=mt.SGD(), epochs=1)


def test_numpy_itself_runs_out_of_memory() -> None:
    """Not simulated: an array of 2⁵⁰ numbers, which no machine has room for."""

    class Wide(mt.Layer):
        def forward(self, x: Any) -> tuple[Any, Any]:
            return x + 0.0 * np.zeros((2**50 if x.shape[0] > 3 else 1,)).sum(), None

        def backward(self, cache: Any, dout: Any) -> tuple[Any, Any]:
            return dout, None

    model = mt.Sequential(Wide(), affine(np.random.default_rng(0), 2, 3))
    x, t = mt.datasets.spiral(6, dtype="float64")
    with pytest.raises(mt.OutOfMemory, match="batch_size=2 was tried then, and fits"):
        mt.fit(model, x, t, loss=mt.SoftmaxWithLoss(), optimizer=mt.SGD(), epochs=1, batch_size=8)
