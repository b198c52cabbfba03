"""Corners that few runs come to: what is left out, what is missing, what went wrong twice."""

from __future__ import annotations

import math
import pickle
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import affine
from conftest import Target, assert_close

import martlet as mt

LABELS = np.array([0, 1, 1, 0, 1, 0])


def data() -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(4).standard_normal((6, 3)), LABELS


class Greedy(mt.Layer):
    """y = x, for no more than ``most`` samples at once; ``error`` is raised for more."""

    most: int
    error: type[Exception] = MemoryError

    def forward(self, x):
        if x.shape[0] > self.most:
            raise self.error("no room")
        return x, None

    def backward(self, cache, dout):
        return dout, None


class Moody(mt.Layer):
    """y = x, but NaN the one time that ``calls`` has grown to three: no function of its input at all."""

    calls: Any

    def forward(self, x):
        self.calls.count += 1
        return (x * math.nan if self.calls.count == 3 else x), None

    def backward(self, cache, dout):
        return dout, None


class Calls:
    count = 0


class Deep(mt.Layer):
    """Layers in tuples of tuples: y = f(x) for the one layer that there is."""

    rows: tuple[Any, ...]

    def forward(self, x):
        return self.rows[0][0].forward(x)

    def backward(self, cache, dout):
        dx, grad = self.rows[0][0].backward(cache, dout)
        return dx, self.gradient(rows=((grad,),))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mt.Layer().forward(1), "Layer has no forward"),
        (lambda: mt.Layer().backward(1, 1), "Layer has no backward"),
        (lambda: mt.Loss().forward(np.ones(2), np.ones(2)), "Loss has no losses"),
        (lambda: mt.Loss().slopes(None), "Loss has no slopes"),
        (lambda: mt.Optimizer().rule(1, 1), "Optimizer has no rule"),
        (lambda: mt.Transform().change(1, 1, 1), "Transform has no change"),
        (lambda: mt.schedules.Schedule().factor(1, 1), "Schedule has no factor"),
    ],
)
def test_what_is_there_to_be_written_says_what_is_missing(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(NotImplementedError, match=words):
        call()


@pytest.mark.parametrize(("initializer", "variance"), [("he", 2.0 / 300), ("glorot", 2.0 / 500), ("normal", 1e-4)])
def test_initializers_have_the_variance_of_their_papers(initializer: str, variance: float) -> None:
    W = getattr(mt.initializers, initializer)()((300, 200), np.random.default_rng(0))
    assert W.var() == pytest.approx(variance, rel=0.03)  # its standard error is √(2 / 60,000), 0.6 %
    assert abs(W.mean()) < 5 * math.sqrt(variance / 60_000)


def test_gradients_in_tuples_of_tuples() -> None:
    rng = np.random.default_rng(0)
    layer, x, dout = affine(rng, 3, 2), rng.standard_normal((5, 3)), rng.standard_normal((5, 2))
    deep = Deep(((layer,),))
    assert_close(deep.backward(deep.forward(x)[1], dout)[1], layer.backward(x, dout)[1], rtol=0)
    nothing = Deep(((mt.Tanh(),),))
    assert nothing.backward(nothing.forward(x)[1], x)[1] is None


def test_an_annotation_that_only_a_type_checker_knows_is_a_setting() -> None:
    fields = {"__annotations__": {"names": "list[Unheard]"}, "__module__": __name__}
    layer: Any = type("Mine", (mt.Layer,), fields)(["a"])
    assert mt.names(layer) == ()
    assert layer.names == ["a"]


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint64"])
def test_labels_of_any_width_are_the_same_labels(dtype: str, xp: Target) -> None:
    """More classes than a byte can count: 44 and 300 are the same byte."""
    rng = np.random.default_rng(0)
    labels = np.array([0, 44, 127])
    y, wide, narrow = map(xp.asarray, (rng.standard_normal((3, 301)), labels, labels.astype(dtype)))
    loss = mt.SoftmaxWithLoss()
    expected = xp.run(lambda y, t: loss.value(y, t), y, wide)
    assert_close(xp.run(lambda y, t: loss.value(y, t), y, narrow), mt.to_numpy(expected), rtol=0)


# ------------------------------------------------------------------------------------------ no room


def test_out_of_memory_comes_home_from_another_process() -> None:
    x, t = data()
    with pytest.raises(mt.OutOfMemory) as caught:
        fit_with(Greedy(2), x, t)
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert (again.batch_size, again.fits) == (4, 2)
    assert_close(again.model, caught.value.model, rtol=0)


def fit_with(layer: mt.Layer, x: Any, t: Any, **settings: Any) -> Any:
    model = mt.Sequential(affine(np.random.default_rng(0), 3, 2), layer)
    given = {"loss": mt.SoftmaxWithLoss(), "optimizer": mt.SGD(), "epochs": 1, "batch_size": 4, "last": "drop"}
    return mt.fit(model, x, t, **given | settings)


def test_another_error_while_looking_for_a_batch_that_fits_is_not_hidden() -> None:
    x, t = data()
    errors = iter([MemoryError("first"), KeyError("second")])

    class Fickle(Greedy):
        def forward(self, x):
            if x.shape[0] > 1:
                raise next(errors)
            return x, None

    with pytest.raises(KeyError, match="second"):
        fit_with(Fickle(1), x, t)


@pytest.mark.eager
def test_where_a_batch_has_no_room_the_table_ends(xp: Target) -> None:
    x, t = map(xp.asarray, data())
    layer = xp.put(affine(np.random.default_rng(0), 3, 2))

    def where(most: int, error: type[Exception] = MemoryError) -> mt.Advice:
        model = mt.Sequential(layer, Greedy(most, error))
        home = mt.Backend(xp.backend.name, xp.backend.device, xp.double)
        times = {"batch_sizes": (2, 8), "backends": [home], "seconds": 0.0}
        return mt.where_to_run(model, mt.SoftmaxWithLoss(), mt.SGD(), x, t, **times)

    assert where(4).batch_sizes == (2,)
    with pytest.raises(mt.BackendUnavailable, match="a batch of 2 does not fit into its memory"):
        where(1)
    with pytest.raises(RuntimeError, match="no room"):
        where(1, RuntimeError)


# ------------------------------------------------------------------------------ what is not repeated


def test_a_nan_that_does_not_come_again_is_called_so() -> None:
    x, t = data()
    calls = Calls()
    with pytest.raises(mt.NotFinite, match="it came and went: the steps, taken again, were finite"):
        fit_with(Moody(calls), x, t)


def test_without_tqdm_there_is_no_bar_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    x, t = data()
    assert len(fit_with(mt.Identity(), x, t)[1].loss) == 1
    with pytest.raises(ImportError, match=r"martlet\[progress\]"):
        fit_with(mt.Identity(), x, t, progress=True)


@pytest.mark.eager
def test_a_backend_waits_for_its_own_arrays_only(xp: Target) -> None:
    xp.backend.synchronize(xp.asarray(np.ones(2)))
    with pytest.raises(TypeError, match=f"synchronize: expected arrays of {xp.backend.name}, got list"):
        xp.backend.synchronize([1.0])
    np.testing.assert_array_equal(xp.backend.to_numpy(xp.asarray(np.ones(2))), np.ones(2))


def test_a_seed_may_have_128_bits() -> None:
    x, t = data()
    losses = [fit_with(mt.Identity(), x, t, seed=seed)[1].loss for seed in (2**127 + 1, 2**127 + 1, 2**127 + 2)]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.eager
def test_a_model_moves_from_one_device_of_a_library_to_another(xp: Target) -> None:
    if xp.backend.name != "array_api_strict":
        pytest.skip("there is one device here")
    model = xp.put(affine(np.random.default_rng(0), 3, 2), "float32")
    there = model.to(device="CPU_DEVICE")
    assert {str(mt.backend_of(x).device) for x in mt.leaves(there)} == {"array_api_strict.Device('CPU_DEVICE')"}
    assert_close(there, model, rtol=0)
