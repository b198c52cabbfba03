"""Recording: what a function of trees does is written down, and doing it step by step gives the function's own bits."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from cases import LAYERS, LOSSES, OPTIMIZERS, LayerCase, LossCase, OptimizerCase, network
from conftest import take_apart, to_numpy
from recording import faithful
from test_laws import draw, draw_loss, draw_step

import martlet as mt
from martlet.compile import NotRecordable, record

layers = pytest.mark.parametrize("case", LAYERS, ids=lambda case: case.name)
losses = pytest.mark.parametrize("case", LOSSES, ids=lambda case: case.name)
optimizers = pytest.mark.parametrize("case", OPTIMIZERS, ids=lambda case: case.name)
widths = pytest.mark.parametrize("width", ["float64", "float32", "float16"])


def cast(value: Any, width: str) -> Any:
    """A nest of trees and arrays in another float width; labels and counters stay as they are."""
    arrays, build = take_apart(value)
    return build([x.astype(width) if x.dtype.kind == "f" else x for x in map(np.asarray, arrays)])


def all_verbs(layer: mt.Layer, x: Any, dout: Any) -> Any:
    y, cache = layer.forward(x)
    dx, grad = layer.backward(cache, dout)
    return y, dx, grad, layer.observe(cache), layer.predict(x)


# ------------------------------------------------------------------------------------------- the tables


@layers
@widths
def test_a_layer_is_recorded_as_it_computes(case: LayerCase, width: str) -> None:
    faithful(all_verbs, *(cast(value, width) for value in draw(case)))


@losses
@widths
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_a_loss_is_recorded_as_it_computes(case: LossCase, width: str, reduction: str, weighted: bool) -> None:
    def both(loss: mt.Loss, y: Any, t: Any, weight: Any, dout: Any) -> Any:
        value, cache = loss.forward(y, t, weight)
        return value, loss.backward(cache, dout)

    loss, y, t, weight, dout = draw_loss(case, reduction)
    loss, y, t, weight = cast((loss, y, t, weight if weighted else None), width)
    dout = np.asarray(dout, loss.value(y, t, weight).dtype) if reduction == "none" else float(dout)
    faithful(both, loss, y, t, weight, dout)


@optimizers
@widths
@pytest.mark.parametrize("steps", [0, 3])
def test_an_update_is_recorded_as_it_computes(case: OptimizerCase, width: str, steps: int) -> None:
    """The first, whose memories are empty, and a later one."""
    optimizer, model, grad = draw_step(case)
    model, grad = cast((model, grad), width)
    state = optimizer.init(model)
    for _ in range(steps):
        model, state = optimizer.update(model, grad, state)
    state = mt.rebuild(state, map(np.asarray, mt.leaves(state)))
    program = faithful(optimizer.update, model, grad, state)
    assert {node.place for node in program.nodes if node.op is not None} == {"the function"}


def clipped_adam() -> mt.Optimizer:
    return mt.Adam(lr=0.1, schedule=mt.schedules.Cosine(steps=9, warmup=2), transforms=(mt.ClipByNorm(limit=0.5),))


class Reader(mt.Layer):
    """Words and numbers, side by side: an Embedding beside the catalogue."""

    words: mt.Layer
    rest: mt.Layer

    def forward(self, x):
        numbers, words = x
        y, words_cache = self.words.forward(words)
        z, rest_cache = self.rest.forward(mt.namespace(y).concat([numbers, y], axis=1))
        return z, (words_cache, rest_cache, numbers.shape[1])

    def backward(self, cache, dout):
        words_cache, rest_cache, n = cache
        dx, rest = self.rest.backward(rest_cache, dout)
        _, words = self.words.backward(words_cache, dx[:, n:])
        return (dx[:, :n], None), self.gradient(words=words, rest=rest)

    def observe(self, cache):
        return Reader(self.words, self.rest.observe(cache[1]))


@widths
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_a_whole_step_is_recorded_as_it_computes(width: str, weighted: bool) -> None:
    rng = np.random.default_rng(3)
    model = cast(Reader(mt.Embedding(rng.standard_normal((5, 1))), network(rng)), width)
    x = rng.standard_normal((6, 2)).astype(width), rng.integers(0, 5, 6)
    optimizer, loss, t = clipped_adam(), mt.SoftmaxWithLoss(label_smoothing=0.1), rng.integers(0, 2, 6)
    weight = rng.uniform(0.5, 2.0, 6).astype(width) if weighted else None
    state = optimizer.init(model)
    for _ in range(3):
        program = faithful(mt.train_step, model, loss, optimizer, state, x, t, weight)
        after = mt.train_step(model, loss, optimizer, state, x, t, weight)
        arrays = map(np.asarray, take_apart((model, loss, state, x, t, weight))[0])
        here, there = to_numpy(program.build(program.run(arrays))), to_numpy(after)
        assert [x.tobytes() for x in take_apart(here)[0]] == [x.tobytes() for x in take_apart(there)[0]]
        model, state = after[0], mt.rebuild(after[1], map(np.asarray, mt.leaves(after[1])))


# --------------------------------------------------- layers of a test's own, which do what no layer of the library does


class Recurrence(mt.Layer):
    """y[:, i] = Σ over j <= i of x[:, j] · gain, forwards and backwards in time, and the step before beside it.

    x: (N, T, D) -> (N, T, 3D): joined from a cumulative sum, one that runs from the end, and x one step later.
    """

    gain: mt.Array

    def forward(self, x):
        xp = mt.namespace(x)
        ahead = xp.cumulative_sum(x * self.gain, axis=1)
        back = xp.flip(xp.cumulative_sum(xp.flip(x, axis=1), axis=1), axis=1)
        late = xp.concat([xp.zeros_like(x[:, :1, :]), xp.roll(x, 1, axis=1)[:, 1:, :]], axis=1)
        return xp.concat([ahead, back, late], axis=-1), x

    def backward(self, cache, dout):
        x, xp = cache, mt.namespace(dout)
        ahead, back, late = (dout[..., i * x.shape[-1] : (i + 1) * x.shape[-1]] for i in range(3))
        dsum = xp.flip(xp.cumulative_sum(xp.flip(ahead, axis=1), axis=1), axis=1)
        dlate = xp.concat([late[:, 1:, :], xp.zeros_like(late[:, :1, :])], axis=1)
        dx = dsum * self.gain + xp.cumulative_sum(back, axis=1) + dlate
        return dx, self.gradient(gain=xp.sum(dsum * x, axis=(0, 1)))


class Ranked(mt.Layer):
    """The numbers of each row in order, as far as they stand out from the others, through a bilinear form.

    y[n, h] = Σ over i, j of z[n, i] A[h, i, j] z[n, j],  where z is the sorted row, minus mean, over deviation.
    """

    A: mt.Array

    def forward(self, x):
        xp = mt.namespace(x)
        order = xp.argsort(x, axis=-1)
        z = xp.take_along_axis(x, order, axis=-1)
        spread = xp.sqrt(xp.var(x, axis=-1, keepdims=True) + 1.0)
        z = (z - xp.mean(x, axis=-1, keepdims=True)) / spread
        form = xp.tensordot(z, self.A, axes=([1], [1]))  # (N, H, J)
        return xp.vecdot(form, z[:, None, :]), (z, form, spread, order)

    def backward(self, cache, dout):
        z, form, spread, order = cache
        xp = mt.namespace(dout)
        outer = z[:, :, None] * z[:, None, :]
        dz = xp.sum(dout[:, :, None] * form, axis=1) + xp.tensordot(
            dout[:, :, None] * z[:, None, :], self.A, axes=((1, 2), (0, 2))
        )
        inner = xp.mean(dz * z, axis=-1, keepdims=True)
        dsorted = (dz - xp.mean(dz, axis=-1, keepdims=True) - z * inner) / spread
        dx = xp.take_along_axis(dsorted, xp.argsort(order, axis=-1), axis=-1)
        return dx, self.gradient(A=xp.tensordot(dout, outer, axes=((0,), (0,))))


class Mixed(mt.Layer):
    """y = x, its axes exchanged and each slice along an axis weighed by a setting, several times over.

    x: (N, D, E) -> (N, E, D).
    """

    bias: mt.Array
    weights: tuple[float, ...] = (1.0, 0.5)
    rounds: int = 2

    def forward(self, x):
        xp = mt.namespace(x)
        y = xp.permute_dims(x, (0, 2, 1))
        for _ in range(self.rounds):
            for axis in (1, -1):
                slices = xp.unstack(y, axis=axis)
                y = xp.stack([self.weights[i % 2] * part for i, part in enumerate(slices)], axis=axis)
        bias = xp.broadcast_to(self.bias[None, :, None], y.shape)
        return xp.squeeze(xp.expand_dims(y, axis=2), axis=2) + xp.moveaxis(xp.moveaxis(bias, 0, 2), 2, 0), x.shape

    def backward(self, cache, dout):
        xp = mt.namespace(dout)
        dx = dout
        for axis in (1, 2):
            scale = [self.weights[i % 2] ** self.rounds for i in range(dout.shape[axis])]
            factors = xp.reshape(xp.asarray(scale, dtype=dout.dtype), (-1, 1) if axis == 1 else (1, -1))
            dx = dx * factors
        return dx.mT, self.gradient(bias=xp.sum(xp.sum(dout, axis=-1), axis=0))


OWN: dict[str, tuple[Any, tuple[int, ...]]] = {
    "along time": (lambda rng: Recurrence(rng.standard_normal(3)), (2, 5, 3)),
    "sorted": (lambda rng: Ranked(rng.standard_normal((4, 5, 5))), (6, 5)),
    "axes": (lambda rng: Mixed(rng.standard_normal(4), (0.5, 2.0), rounds=3), (5, 3, 4)),
}


@pytest.mark.parametrize("name", OWN)
@widths
def test_a_layer_that_the_library_has_not_is_recorded(name: str, width: str) -> None:
    make, shape = OWN[name]
    rng = np.random.default_rng(5)
    layer, x = cast((make(rng), rng.standard_normal(shape)), width)
    faithful(all_verbs, layer, x, rng.standard_normal(layer.predict(x).shape).astype(width))
    # ... and within a network, before a loss and an optimizer
    head = mt.Sequential(layer, mt.Flatten(), mt.Affine.init(layer.predict(x)[0].size, 2, rng).to(dtype=width))
    optimizer, t = clipped_adam(), rng.integers(0, 2, shape[0])
    program = faithful(mt.train_step, head, mt.SoftmaxWithLoss(), optimizer, optimizer.init(head), x, t)
    assert f"layer 0 ({type(layer).__name__}).forward" in program.by_place()


@pytest.mark.parametrize("name", OWN)
def test_the_layers_of_this_file_are_right(name: str) -> None:
    make, shape = OWN[name]
    rng = np.random.default_rng(5)
    assert mt.testing.check_gradients(make(rng), rng.standard_normal(shape)).ok


# ------------------------------------------------------------------------------------ what a recording is


def test_nothing_is_computed_and_nothing_is_changed() -> None:
    """Arrays of NaN and of nothing at all are as good as any."""
    model = mt.Sequential(mt.Affine(np.full((2, 3), np.nan), np.full(3, np.nan)), mt.Sigmoid())
    x = np.broadcast_to(np.array(np.nan), (10**9, 2))  # a computed row of it would take 24 GB
    program = record(lambda model, x: model.predict(x), model, x)
    assert program.outputs[0].spec.shape == (10**9, 3)


def test_the_memory_order_of_the_arguments_counts() -> None:
    x = np.arange(12.0).reshape(3, 4)
    by_rows, by_columns = (record(lambda x: mt.namespace(x).exp(x), a) for a in (x, np.asfortranarray(x)))
    assert by_rows.outputs[0].spec.strides == (4, 1)
    assert by_columns.outputs[0].spec.strides == (1, 3)


@pytest.mark.parametrize("library", ["torch", "jax", "array_api_strict"])
def test_the_form_of_any_librarys_arrays_will_do(library: str) -> None:
    pytest.importorskip(library)
    x = mt.Backend(library).asarray(np.ones((3, 2), "float32"))
    program = record(mt.Sequential(mt.Tanh()).forward, x)
    assert str(program.outputs[0].spec) == "float32 (3, 2)"


def test_what_goes_through_a_step_unchanged_is_an_input() -> None:
    program = record(lambda a, b: (b, a, b), np.ones(2), np.ones(3))
    assert program.outputs == [program.inputs[1], program.inputs[0], program.inputs[1]]
    assert program.needed == []
    one, two = np.arange(2.0), np.arange(3.0)
    assert all(map(np.array_equal, program.run([one, two]), [two, one, two]))


def test_results_keep_their_structure() -> None:
    def function(model: mt.Layer, x: Any) -> Any:
        return [model, (x, None, 3.0)], "a word"

    model = mt.Sequential(mt.Affine(np.ones((2, 1)), np.ones(1)))
    program = record(function, model, np.ones(2))
    (same, (x, nothing, number)), word = program.build(["W", "b", "x"])
    assert (same[0].W, same[0].b, x, nothing, number, word) == ("W", "b", "x", None, 3.0, "a word")
    assert program.names == ["0.0.0.W", "0.0.0.b", "0.1.0"]


def test_a_model_of_settings_and_python_loops_is_unrolled() -> None:
    def function(x: Any, times: int) -> Any:
        for _ in range(times):
            x = x + 1.0 if x.ndim == 1 and len(x) < 5 else x
        return x

    assert record(function, np.ones(2), 3).count() == {"add": 3}
    assert record(function, np.ones(9), 3).count() == {}


def test_the_steps_of_the_spiral_are_recorded_in_a_millisecond() -> None:
    """Five times as long is still good here, where other tests run beside this one."""
    rng = np.random.default_rng(0)
    model = mt.Sequential(mt.Affine.init(2, 10, rng), mt.Sigmoid(), mt.Affine.init(10, 3, rng))
    optimizer, (x, t) = mt.SGD(lr=1.0), mt.datasets.spiral()
    given = model, mt.SoftmaxWithLoss(), optimizer, optimizer.init(model), x[:30], t[:30]
    took = []
    for _ in range(20):
        begin = time.perf_counter()
        record(mt.train_step, *given)
        took.append(time.perf_counter() - begin)
    assert min(took) < 5e-3


def test_a_dict_is_no_nest_of_arrays() -> None:
    with pytest.raises(NotRecordable, match="a dict"):
        record(lambda x: {"loss": x}, np.ones(2))


def test_a_dtype_that_is_equal_but_another_object_is_the_same() -> None:
    own = np.dtype("float64")
    other = own.newbyteorder("<").newbyteorder("=")
    x = np.ones(3)
    assert record(lambda x: x * 2.0, x.astype(other)).inputs[0].spec.dtype is own
    assert record(lambda x: x * 2.0, x.astype(">f8")).inputs[0].spec.dtype is own
