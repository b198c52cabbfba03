"""Several streams and several devices: what one of them still has to do, whoever needs it waits for.

On a device a missing wait is a wrong number now and then.  Where the processor stands in for one (tests/cuda), a stream
does nothing before something waits for it, or bits of it at random, and a missing wait is a wrong number soon.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import affine
from conftest import assert_close, why_not
from replayed import training

import martlet as mt
from martlet.compile import stepper
from martlet.evaluation import METRICS

pytestmark = pytest.mark.only("cupy")

THERE = "cuda:1"


@pytest.fixture
def streams() -> Any:
    if reason := why_not("cupy"):
        pytest.skip(reason)
    import cupy

    return [cupy.cuda.Stream(non_blocking=True) for _ in range(30)]


@pytest.fixture
def two_devices(streams: Any) -> Any:
    """A stream for the first of two devices."""
    if len(mt.Backend("cupy").lib.devices(mt.Backend("cupy").xp)) < 2:
        pytest.skip("needs two CUDA devices")
    return streams[0]


def network() -> mt.Layer:
    return mt.Sequential(affine(np.random.default_rng(0), 2, 4), mt.Tanh(), affine(np.random.default_rng(1), 4, 3))


SETTINGS = {"loss": mt.SoftmaxWithLoss(), "optimizer": mt.Adam(), "epochs": 5, "batch_size": 8}


def check_run(found: Any, expected: Any) -> None:
    (model, history), (model_there, history_there) = expected, found
    np.testing.assert_allclose(history_there.loss, history.loss, rtol=1e-9)
    assert_close(model_there, model, rtol=1e-7, atol=1e-9)


# ---------------------------------------------------------------------------------------------------- streams


def test_an_array_of_another_stream_is_waited_for(streams: Any) -> None:
    """An array does not say which stream makes it."""
    import cupy

    for stream in streams:
        with stream:
            x = cupy.ones(1000) * 2.0
            made = stream.record()
        mt.Backend("cupy").synchronize(x)
        assert made.done


@pytest.mark.parametrize("how", [True, False], ids=["compiled", "eager"])
def test_a_hook_may_leave_another_device(two_devices: Any, how: bool) -> None:
    import cupy

    x, t = mt.datasets.spiral(8, dtype="float64")
    settings = SETTINGS | {"compile": how, "backend": "cupy"}
    expected = mt.fit(network(), x, t, **settings)
    try:
        found = mt.fit(network(), x, t, hook=lambda *_: cupy.cuda.Device(1).use() and None, **settings)
    finally:
        cupy.cuda.Device(0).use()
    check_run(found, expected)


def test_a_compiled_function_may_be_called_in_another_stream_each_time(streams: Any) -> None:
    """It has one memory, in which two calls must not be at the same time."""
    import cupy

    function = mt.Backend("cupy").compile(lambda x: 2 * x + 1)
    for i in range(20):
        found = []
        for stream, number in zip(streams[:2], (i, i + 100), strict=True):
            with stream:
                found.append(function(cupy.full(5, float(number))))
        for stream, number, y in zip(streams[:2], (i, i + 100), found, strict=True):
            with stream:
                np.testing.assert_array_equal(mt.to_numpy(y), np.full(5, 2.0 * number + 1))


def test_the_memory_of_a_compiled_function_is_not_given_back_before_its_last_call_is_over(streams: Any) -> None:
    """Memory goes back to the stream that it was taken for, which may use it at once."""
    import cupy

    first, second, *_ = streams
    for _ in range(10):
        function = mt.Backend("cupy").compile(lambda x: 2 * x + 1)
        with first:
            mt.to_numpy(function(cupy.full(1000, 1.0)))
        with second:
            late = function(cupy.full(1000, 5.0))
        del function
        gc.collect()
        with first:
            others = [cupy.full(1000, 7.0) for _ in range(10)]
            first.synchronize()
        with second:
            np.testing.assert_array_equal(mt.to_numpy(late), np.full(1000, 11.0))
        with first:
            for other in others:
                np.testing.assert_array_equal(mt.to_numpy(other), np.full(1000, 7.0))


def test_a_stepper_may_be_used_in_another_stream_each_time(streams: Any) -> None:
    one, other = (stepper(*training("cupy"), size=5) for _ in range(2))
    orders = [np.random.default_rng(i).permutation(23) for i in range(6)]
    for order in orders:
        one.shuffle(order)
        one.run(0, 5)
    left = iter(streams)
    for order in orders:
        with next(left):
            other.shuffle(order)
        with next(left):
            other.run(0, 5)
    with next(left) as stream:
        read = other.read()
    with next(left):
        other.run(0, 5)
        mt.to_numpy(other.run(0, 5))
    with stream:
        assert_close(read, one.read(), rtol=0)


def test_the_memory_of_a_stepper_is_not_given_back_before_its_last_step_is_over(streams: Any) -> None:
    import cupy

    first, second, *_ = streams  # ones, where the number of a step or of a sample is expected, are such numbers
    for _ in range(5):
        with first:
            taken = stepper(*training("cupy", samples=200), size=5)
            first.synchronize()
        with second:
            taken.run(0, 30)
        del taken
        gc.collect()
        with first:
            others = [cupy.full(size, 1) for size in (1, 4, 16, 64, 64, 64, 256) for _ in range(8)]
            first.synchronize()
        second.synchronize()
        with first:
            for other in others:
                np.testing.assert_array_equal(mt.to_numpy(other), np.full(other.size, 1))


@pytest.mark.parametrize("compile", [True, False])
def test_a_run_may_go_on_in_another_stream_after_each_epoch(streams: Any, compile: bool) -> None:
    import cupy

    data = mt.datasets.spiral(10, dtype="float64")
    expected: list[mt.Layer] = []
    one = mt.fit(network(), *data, **SETTINGS, hook=lambda epoch, model, history: expected.append(model))
    found: list[tuple[Any, mt.Layer]] = []

    def go_on(epoch: int, model: mt.Layer, history: mt.History) -> None:
        found.append((cupy.cuda.get_current_stream(), model))
        streams[epoch].use()

    before = cupy.cuda.get_current_stream()
    try:
        other = mt.fit(network(), *data, **SETTINGS, backend="cupy", compile=compile, hook=go_on)
    finally:
        before.use()
    cupy.cuda.Device().synchronize()
    check_run(other, one)
    for model, (stream, there) in zip(expected, found, strict=True):
        with stream:
            assert_close(there, model, rtol=1e-7, atol=1e-9)


# ---------------------------------------------------------------------------------------------------- devices


@pytest.mark.parametrize("own", [False, True], ids=["everyone's stream", "a stream of one's own"])
@pytest.mark.parametrize("compile", [True, False])
def test_a_run_on_another_device_waits_for_its_data(two_devices: Any, compile: bool, own: bool) -> None:
    import cupy

    data = mt.datasets.spiral(10, dtype="float64")
    with two_devices if own else cupy.cuda.Stream.null:
        model, x, t = network().to("cupy"), *(1 * cupy.asarray(a) for a in data)
        found = mt.fit(model, x, t, **SETTINGS, backend=mt.Backend("cupy", device=THERE), compile=compile)
    check_run(found, mt.fit(network(), *data, **SETTINGS))


def test_what_goes_to_another_device_is_made_first(two_devices: Any) -> None:
    import cupy

    there = mt.Backend("cupy", device=THERE)
    for i in range(20):
        with two_devices:
            y = there.asarray(cupy.full(1000, float(i)))
        np.testing.assert_array_equal(mt.to_numpy(y), np.full(1000, float(i)))


def test_what_goes_to_another_device_may_be_overwritten_at_once(two_devices: Any) -> None:
    import cupy

    there = mt.Backend("cupy", device=THERE)
    for i in range(20):
        with two_devices:
            x = cupy.full(1000, float(i))
            y = there.asarray(x)
            x.fill(-1.0)
            two_devices.synchronize()
        np.testing.assert_array_equal(mt.to_numpy(y), np.full(1000, float(i)))


SEEN: dict[str, Callable[[Any], Any]] = {
    "whole": lambda x: x,
    "turned": lambda x: x.T,
    "every other column": lambda x: x[:, ::2],
    "backwards": lambda x: x[::-1],
}


@pytest.mark.parametrize("width", [None, "float64", "float16"])
@pytest.mark.parametrize("seen", SEEN)
def test_every_form_of_array_goes_to_another_device(two_devices: Any, seen: str, width: str | None) -> None:
    import cupy

    whole = np.arange(12.0, dtype="float32").reshape(3, 4)
    there, see = mt.Backend("cupy", device=THERE), SEEN[seen]
    found = there.asarray(see(cupy.asarray(whole)), width)
    assert (found.device, found.dtype) == (there.device, np.dtype(width or "float32"))
    np.testing.assert_array_equal(mt.to_numpy(found), see(whole))
    again = mt.Affine(found.reshape(-1, 1), found.reshape(-1)[:1]).to(device=THERE).W  # a copy, made where it is
    assert again.device == there.device
    assert again.data.ptr != found.data.ptr


@pytest.mark.parametrize("own", [False, True], ids=["everyone's stream", "a stream of one's own"])
def test_a_model_is_judged_where_it_is(two_devices: Any, own: bool) -> None:
    import cupy

    data, on_the_host = mt.datasets.spiral(10, dtype="float64"), network()
    loss, functions = mt.SoftmaxWithLoss(), {"accuracy": METRICS["accuracy"], "last": lambda y, t: y[-1, -1]}
    with two_devices if own else cupy.cuda.Stream.null:
        model = on_the_host.to(mt.Backend("cupy", device=THERE))
        assert mt.accuracy(model, *data) == mt.accuracy(on_the_host, *data)
        here, there = (mt.evaluate(m, *data, loss=loss, metrics=functions) for m in (on_the_host, model))
        assert there == pytest.approx(here, rel=1e-9)
        pytest.importorskip("matplotlib").use("agg")
        mt.plot.decision_boundary(model, *data)


def test_what_another_device_still_makes_is_waited_for_when_it_is_read(two_devices: Any) -> None:
    import cupy

    there = mt.Backend("cupy", device=THERE)
    for _ in range(10):
        with there.active():
            cupy.cuda.Stream(non_blocking=True).use()
            x = cupy.arange(12.0).reshape(3, 4) + 1
        try:
            with two_devices:
                np.testing.assert_array_equal(mt.to_numpy(x.T), np.arange(1.0, 13.0).reshape(3, 4).T)
            with there.active():
                x += 1
                last = cupy.cuda.get_current_stream().record()
            mt.Backend("cupy").synchronize(x)
            assert last.done
        finally:
            with there.active():
                cupy.cuda.Stream.null.use()


def test_a_run_of_noise_on_another_device_begins_when_its_streams_are_there(two_devices: Any) -> None:
    rng, data = np.random.default_rng(0), mt.datasets.spiral(10, dtype="float64")
    model = mt.Sequential(mt.Dropout.init(0.5, rng), affine(rng, 2, 4), mt.Dropout.init(0.5, rng), affine(rng, 4, 3))
    with two_devices:
        found = mt.fit(model, *data, **SETTINGS, backend=mt.Backend("cupy", device=THERE))
    check_run(found, mt.fit(model, *data, **SETTINGS))


def test_a_compiled_function_computes_where_its_arrays_are(two_devices: Any) -> None:
    import cupy

    there = mt.Backend("cupy", device=THERE)
    function = there.compile(lambda x, y: 2 * x + y)
    x = there.asarray(np.arange(5.0))
    assert function(x, x).device == there.device
    np.testing.assert_array_equal(mt.to_numpy(function(x, x)), 3 * np.arange(5.0))
    with pytest.raises(ValueError, match="one device, got some on cuda:0 and cuda:1"):
        function(x, cupy.zeros(5))


def test_an_optimizer_remembers_where_the_model_is(two_devices: Any) -> None:
    there = mt.Backend("cupy", device=THERE)
    state = mt.Adam(schedule=mt.schedules.Cosine(steps=10)).init(network().to(there))
    assert {x.device.id for x in mt.leaves(state)} == {there.device.id}
