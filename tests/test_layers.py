"""Each layer as a reader of the lessons knows it: small numbers, worked out by hand."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from conftest import Target, assert_close

import martlet as mt

x = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])


def test_affine_is_a_product_and_a_sum(xp: Target) -> None:
    affine = xp.put(mt.Affine(np.array([[1.0, 0.0, 2.0], [0.0, 1.0, -1.0]]), np.array([10.0, 20.0, 30.0])))
    y, cache = affine.forward(xp.put(x))
    assert_close(y, np.array([[11.0, 22.0, 30.0], [13.0, 24.0, 32.0], [15.0, 26.0, 34.0]]))
    dx, grad = affine.backward(cache, xp.put(np.ones((3, 3))))
    assert_close(dx, np.array([[3.0, 0.0]] * 3))
    assert_close(grad.W, np.array([[9.0] * 3, [12.0] * 3]))
    assert_close(grad.b, np.array([3.0, 3.0, 3.0]))


def test_matmul_is_affine_without_bias(xp: Target) -> None:
    W = np.array([[1.0, -1.0], [2.0, 0.5]])
    matmul, affine = xp.put(mt.MatMul(W)), xp.put(mt.Affine(W, np.zeros(2)))
    assert_close(matmul.predict(xp.put(x)), affine.predict(xp.put(x)))


def test_sigmoid_at_zero(xp: Target) -> None:
    y, cache = mt.Sigmoid().forward(xp.put(np.zeros((1, 2))))
    assert_close(y, np.array([[0.5, 0.5]]))
    dx, grad = mt.Sigmoid().backward(cache, xp.put(np.array([[1.0, 4.0]])))
    assert_close(dx, np.array([[0.25, 1.0]]))
    assert grad is None


def test_relu_lets_the_positive_through(xp: Target) -> None:
    y, cache = mt.ReLU().forward(xp.put(np.array([[-1.0, 0.0, 2.0, np.nan]])))
    assert_close(y, np.array([[0.0, 0.0, 2.0, np.nan]]))  # NaN is not hidden
    dx, _ = mt.ReLU().backward(cache, xp.put(np.ones((1, 4))))
    assert_close(dx[:, :3], np.array([[0.0, 0.0, 1.0]]))


def test_softmax_rows_are_distributions(xp: Target) -> None:
    y = mt.Softmax().predict(xp.put(np.log(np.array([[1.0, 3.0], [1.0, 1.0]]))))
    assert_close(y, np.array([[0.25, 0.75], [0.5, 0.5]]), rtol=1e-6)


def test_the_nodes_of_the_graph(xp: Target) -> None:
    """The lesson's shapes: D = 8, N = 7.  Repeat and Sum are each other's backward."""
    rng = np.random.default_rng(0)
    row, rows = rng.standard_normal((1, 8)), rng.standard_normal((7, 8))
    repeated, cache = mt.Repeat(7).forward(xp.put(row))
    assert_close(repeated, np.repeat(row, 7, axis=0))
    assert_close(mt.Repeat(7).backward(cache, xp.put(rows))[0], rows.sum(axis=0, keepdims=True), rtol=1e-5)
    summed, cache = mt.Sum().forward(xp.put(rows))
    assert_close(summed, rows.sum(axis=0, keepdims=True), rtol=1e-5)
    assert_close(mt.Sum().backward(cache, xp.put(row))[0], np.repeat(row, 7, axis=0))


def test_add_multiply_branch(xp: Target) -> None:
    a, b = xp.put(np.array([2.0, 3.0])), xp.put(np.array([5.0, 7.0]))
    dout = xp.put(np.array([1.0, 10.0]))
    y, cache = mt.Add().forward((a, b))
    assert_close(y, np.array([7.0, 10.0]))
    assert_close(mt.Add().backward(cache, dout)[0], (np.array([1.0, 10.0]), np.array([1.0, 10.0])))
    y, cache = mt.Multiply().forward((a, b))
    assert_close(y, np.array([10.0, 21.0]))
    assert_close(mt.Multiply().backward(cache, dout)[0], (np.array([5.0, 70.0]), np.array([2.0, 30.0])))
    y, cache = mt.Branch(2).forward(a)
    assert_close(mt.Branch(2).backward(cache, (dout, b))[0], np.array([6.0, 17.0]))


def test_a_frozen_layer_passes_gradients_and_learns_nothing(xp: Target) -> None:
    affine = xp.put(mt.Affine(np.ones((2, 2)), np.zeros(2)))
    y, cache = mt.Freeze(affine).forward(xp.put(x))
    dx, grad = mt.Freeze(affine).backward(cache, y)
    assert_close(dx, affine.backward(cache, y)[0])
    assert grad is None


def test_freeze_lets_statistics_move_unless_told_not_to(xp: Target) -> None:
    from cases import Centred

    inner = xp.put(Centred(np.zeros(2)))
    _, cache = inner.forward(xp.put(x))
    assert_close(mt.Freeze(inner).observe(cache).layer.mean, np.array([0.3, 0.4]), rtol=1e-6)
    assert mt.Freeze(inner, statistics=True).observe(cache).layer is inner


def test_sequential_observes_through_its_layers(xp: Target) -> None:
    from cases import Centred

    model = xp.put(mt.Sequential(Centred(np.zeros(2)), mt.Tanh()))
    _, cache = model.forward(xp.put(x))
    after = model.observe(cache)
    assert_close(after[0].mean, np.array([0.3, 0.4]), rtol=1e-6)
    assert_close(model[0].mean, np.zeros(2))
    plain = mt.Sequential(mt.Tanh())
    assert plain.observe((None,)) is plain


# -------------------------------------------------------------------------------------- activations


def values_and_slopes(xp: Target, layer: mt.Layer, numbers: list[float]) -> tuple[Any, Any]:
    y, cache = layer.forward(xp.put(np.array([numbers])))
    dx, grad = layer.backward(cache, mt.namespace(y).ones_like(y))
    assert grad is None
    return mt.to_numpy(y)[0], mt.to_numpy(dx)[0]


def test_leaky_relu_lets_a_little_of_the_negative_through(xp: Target) -> None:
    y, dx = values_and_slopes(xp, mt.LeakyReLU(0.25), [-4.0, -0.0, 2.0])
    assert y.tolist() == [-1.0, 0.0, 2.0]
    assert dx.tolist() == [0.25, 0.25, 1.0]
    for slope, like in ((0.0, mt.ReLU()), (1.0, mt.Identity())):
        found = mt.LeakyReLU(slope).predict(xp.put(x - 3.0))
        np.testing.assert_array_equal(mt.to_numpy(found), mt.to_numpy(like.predict(xp.put(x - 3.0))))


def test_elu_levels_off(xp: Target) -> None:
    y, dx = values_and_slopes(xp, mt.ELU(2.0), [-1000.0, -1.0, -1e-20, 3.0])
    expected = [-2.0, 2.0 * math.expm1(-1.0), -2e-20, 3.0]  # exp(x) - 1, with its digits kept near 0
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=0)
    np.testing.assert_allclose(dx, [0.0, 2.0 / math.e, 2.0, 1.0], rtol=1e-6)


def test_softplus_is_a_relu_without_the_kink(xp: Target) -> None:
    y, dx = values_and_slopes(xp, mt.Softplus(), [-50.0, 0.0, 50.0])
    np.testing.assert_allclose(y, [math.exp(-50.0), math.log(2.0), 50.0], rtol=1e-6, atol=0)
    np.testing.assert_allclose(dx, [math.exp(-50.0), 0.5, 1.0], rtol=1e-6, atol=0)


def test_silu_is_x_times_its_sigmoid(xp: Target) -> None:
    y, dx = values_and_slopes(xp, mt.SiLU(), [0.0, 1.0, -1.0, -np.inf, np.inf])
    s = 1.0 / (1.0 + math.exp(-1.0))
    np.testing.assert_allclose(y, [0.0, s, s - 1.0, 0.0, np.inf], rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(dx, [0.5, s + s * (1 - s), 1 - s - s * (1 - s), 0.0, 1.0], rtol=1e-6, atol=1e-30)


def test_gelu_is_x_times_the_share_that_lies_below(xp: Target) -> None:
    numbers = [-5.0, -1.0, 0.0, 0.5, 3.0]
    y, dx = values_and_slopes(xp, mt.GELU(), numbers)
    below = [math.erfc(-v / math.sqrt(2.0)) / 2.0 for v in numbers]
    density = [math.exp(-v * v / 2.0) / math.sqrt(2.0 * math.pi) for v in numbers]
    tolerance = 1e-14 if xp.double == "float64" else 2e-6
    np.testing.assert_allclose(y, np.multiply(numbers, below), rtol=tolerance, atol=0)
    np.testing.assert_allclose(dx, np.add(below, np.multiply(numbers, density)), rtol=tolerance, atol=0)


@pytest.mark.parametrize(
    ("layer", "values", "slopes"),
    [
        (mt.Identity(), [-np.inf, np.inf], [1.0, 1.0]),
        (mt.Sigmoid(), [0.0, 1.0], [0.0, 0.0]),
        (mt.Tanh(), [-1.0, 1.0], [0.0, 0.0]),
        (mt.ReLU(), [0.0, np.inf], [0.0, 1.0]),
        (mt.LeakyReLU(0.5), [-np.inf, np.inf], [0.5, 1.0]),
        (mt.ELU(2.0), [-2.0, np.inf], [0.0, 1.0]),
        (mt.Softplus(), [0.0, np.inf], [0.0, 1.0]),
        (mt.SiLU(), [0.0, np.inf], [0.0, 1.0]),
        (mt.GELU(), [0.0, np.inf], [0.0, 1.0]),
        (mt.GELU(tanh=True), [0.0, np.inf], [0.0, 1.0]),
    ],
    ids=lambda part: repr(part) if isinstance(part, mt.Layer) else "",
)
def test_an_activation_at_infinity_is_its_limit(
    xp: Target, layer: mt.Layer, values: list[float], slopes: list[float]
) -> None:
    """Not the NaN that infinity times 0 would be."""
    y, dx = values_and_slopes(xp, layer, [-np.inf, np.inf])
    np.testing.assert_allclose(y, values, atol=1e-30)
    np.testing.assert_allclose(dx, slopes, atol=1e-30)


def test_the_tanh_of_gelu_is_an_approximation(xp: Target) -> None:
    near = np.linspace(-3.0, 3.0, 61)
    difference = mt.to_numpy(mt.GELU(tanh=True).predict(xp.put(near)) - mt.GELU().predict(xp.put(near)))
    assert 1e-4 < np.abs(difference).max() < 1e-3
    pair = [float(mt.to_numpy(mt.GELU(tanh=tanh).predict(xp.put(np.array([-4.0]))))[0]) for tanh in (True, False)]
    assert pair[0] / pair[1] == pytest.approx(0.55, abs=0.05)  # "half of what it should be", says its docstring


# ------------------------------------------------------------------------------------ normalization


def test_batch_norm_gives_each_column_mean_0_and_variance_1(xp: Target) -> None:
    layer = xp.put(mt.BatchNorm(np.array([1.0, 2.0]), np.array([0.0, 5.0]), np.zeros(2), np.ones(2), eps=0.0))
    y, cache = layer.forward(xp.put(x))  # columns 1, 3, 5 and 2, 4, 6: deviation √(8/3)
    root = math.sqrt(1.5)
    assert_close(y, np.array([[-root, 5 - 2 * root], [0.0, 5.0], [root, 5 + 2 * root]]), rtol=1e-6, atol=1e-6)
    after = layer.observe(cache)
    assert_close(after.mean, np.array([0.3, 0.4]), rtol=1e-6)  # a tenth of the way from 0 to 3 and 4
    assert_close(after.variance, np.array([0.9 + 0.4, 0.9 + 0.4]), rtol=1e-6)  # … and from 1 to the unbiased 4
    assert_close(layer.mean, np.zeros(2))
    expected = (x - np.array([0.3, 0.4])) / math.sqrt(1.3) * np.array([1.0, 2.0]) + np.array([0.0, 5.0])
    assert_close(after.predict(xp.put(x)), expected, rtol=1e-6)


def test_batch_norm_of_images_has_one_mean_per_channel(xp: Target) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 4, 5)) + np.arange(40.0).reshape(2, 1, 4, 5)  # which grows from place to place
    layer = xp.put(mt.BatchNorm.init(3, dtype="float64"))
    y = mt.to_numpy(xp.run(lambda layer, x: layer.forward(x)[0], layer, xp.put(x)))
    np.testing.assert_allclose(y.mean(axis=(0, 2, 3)), 0.0, atol=1e-6)
    np.testing.assert_allclose(y.var(axis=(0, 2, 3)), 1.0, rtol=1e-4)
    assert np.ptp(y.mean(axis=0)) > 1.0  # what differs from place to place still does


def test_batch_norm_does_not_predict_from_its_neighbours(xp: Target) -> None:
    layer = xp.put(mt.BatchNorm.init(2, dtype=xp.double))
    assert_close(layer.predict(xp.put(x[:1])), mt.to_numpy(layer.predict(xp.put(x)))[:1], rtol=1e-6)
    with pytest.raises(ValueError, match=r"BatchNorm: x has shape .* expected two rows or more"):
        layer.forward(xp.put(x[:1]))


def test_statistics_of_half_precision_do_not_overflow(xp: Target) -> None:
    """Numbers around 300: their squares, and the sum of 1,000 of them, are beyond float16's 65,504."""
    if xp.name.startswith("strict"):
        pytest.skip("the standard has no float16")
    rng = np.random.default_rng(0)
    numbers = (300.0 * rng.standard_normal((1000, 4))).astype("float16").astype("float64")
    for layer, axis in ((mt.BatchNorm.init(4, dtype="float16"), 0), (mt.LayerNorm.init(4, dtype="float16"), 1)):
        here = layer.to(xp.backend)
        y, cache = here.forward(xp.put(numbers, "float16"))
        expected = (numbers - numbers.mean(axis=axis, keepdims=True)) / numbers.std(axis=axis, keepdims=True)
        assert y.dtype == here.gamma.dtype
        np.testing.assert_allclose(mt.to_numpy(y), expected, rtol=2e-3, atol=2e-3)
        dx, grad = here.backward(cache, y)
        assert all(np.isfinite(mt.to_numpy(a)).all() for a in (dx, grad.gamma, grad.beta))
        assert float(mt.to_numpy(grad.gamma)[0]) == pytest.approx(np.sum(expected[:, 0] ** 2), rel=2e-3)


def test_the_running_variance_holds_where_float16_ends(xp: Target) -> None:
    """A variance of 90,000 is no float16, but the statistics may be wider than the layer."""
    if xp.name.startswith("strict"):
        pytest.skip("the standard has no float16")
    numbers = xp.put(np.array([[0.0], [600.0]] * 50), "float16")
    wide = xp.put(mt.BatchNorm(np.ones(1), np.zeros(1), np.zeros(1), np.ones(1), momentum=1.0), "float32")
    half = xp.put(mt.BatchNorm.init(1), "float16")
    layer = mt.replace(wide, {"gamma": half.gamma, "beta": half.beta})
    after = layer.observe(layer.forward(numbers)[1])
    assert_close(after.variance, np.array([90_000.0 * 100 / 99]), rtol=1e-5)
    assert_close(after.predict(numbers)[:2], np.array([[-1.0], [1.0]]), rtol=1e-2)


def test_layer_norm_gives_each_sample_mean_0_and_variance_1(xp: Target) -> None:
    layer = xp.put(mt.LayerNorm(np.array([1.0, 1.0, 2.0]), np.array([0.0, 10.0, 0.0]), eps=0.0))
    y = layer.predict(xp.put(np.array([[1.0, 3.0, 5.0], [-20.0, 0.0, 20.0]])))
    root = math.sqrt(1.5)
    assert_close(y, np.array([[-root, 10.0, 2 * root]] * 2), rtol=1e-6, atol=1e-6)


def test_standardize_has_the_mean_and_deviation_of_the_data(xp: Target) -> None:
    data = np.random.default_rng(0).standard_normal((50, 3)) * [1.0, 1e-3, 1e6] + [0.0, 5.0, -7e6]
    here = xp.put(data)
    layer = mt.Standardize.from_data(here)
    assert layer.mean.dtype == here.dtype
    y = mt.to_numpy(layer.predict(here)).astype("float64")
    np.testing.assert_allclose(y.mean(axis=0), np.zeros(3), atol=1e-11 if xp.double == "float64" else 1e-3)
    np.testing.assert_allclose(y.std(axis=0), np.ones(3), rtol=1e-11 if xp.double == "float64" else 1e-4)
    back = layer.inverse().predict(layer.predict(here))
    assert_close(back, mt.to_numpy(here), rtol=1e-13 if xp.double == "float64" else 2e-6, atol=1e-13)


@pytest.mark.parametrize("rows", [2, 1001, 1_000_000])
@pytest.mark.parametrize("constant", [0.0, 0.1, -7.0, 1e6 + 0.1])
def test_a_constant_column_is_moved_to_0_and_not_scaled(xp: Target, constant: float, rows: int) -> None:
    """Rounding leaves it with a deviation that is not quite 0, by which nothing may be divided."""
    here = xp.put(np.column_stack([np.full(rows, constant), np.arange(float(rows))]))
    layer = mt.Standardize.from_data(here)
    assert float(mt.to_numpy(layer.scale)[0]) == 1.0
    rounding = 1e-11 if xp.double == "float64" else 1e-6
    assert np.abs(mt.to_numpy(layer.predict(here))[:, 0]).max() <= rounding * abs(constant)


def test_standardize_moves_with_the_model_and_learns_nothing(xp: Target) -> None:
    counts = np.array([[0, 10], [2, 30]])  # integers become float32
    model = mt.Sequential(mt.Standardize.from_data(counts), mt.MatMul(np.ones((2, 1), "float32")))
    assert mt.names(model) == ("0.mean", "0.scale", "1.W")
    there = model.to(xp.backend)
    assert str(there[0].mean.dtype).endswith("float32")
    assert_close(there.predict(xp.put(counts * 1.0, "float32")), np.array([[-2.0], [2.0]]), rtol=1e-6)
    assert mt.Momentum().init(there).v[0] is None


# -------------------------------------------------------------------------------- words and shapes


def test_an_embedding_looks_words_up(xp: Target) -> None:
    W = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    layer, words = xp.put(mt.Embedding(W)), xp.put(np.array([[2, 0], [2, 2]]))
    y, cache = layer.forward(words)
    assert_close(y, np.array([[[5.0, 6.0], [1.0, 2.0]], [[5.0, 6.0], [5.0, 6.0]]]))
    dout = np.array([[[1.0, 10.0], [2.0, 20.0]], [[3.0, 30.0], [4.0, 40.0]]])
    dx, grad = layer.backward(cache, xp.put(dout))
    assert dx is None
    assert_close(grad.W, np.array([[2.0, 20.0], [0.0, 0.0], [8.0, 80.0]]))  # word 2 came three times, word 1 never


def test_the_gradient_of_an_embedding_is_that_of_one_hot_rows(xp: Target) -> None:
    rng = np.random.default_rng(0)
    words, dout = rng.zipf(1.5, 500) % 40, rng.standard_normal((500, 3))
    layer = xp.put(mt.Embedding(rng.standard_normal((40, 3))))
    found = xp.run(
        lambda layer, words, dout: layer.backward(layer.forward(words)[1], dout)[1], layer, *map(xp.put, (words, dout))
    )
    expected = np.eye(40)[words].T @ dout
    assert_close(
        found.W,
        expected,
        rtol=1e-12 if xp.double == "float64" else 1e-4,
        atol=1e-12 if xp.double == "float64" else 1e-4,
    )


def test_a_large_vocabulary_makes_no_one_hot_table() -> None:
    """50,000 words of 64 numbers, of which a batch has 4,096: the table takes 12.8 MB, one-hot rows 819 MB."""
    rng = np.random.default_rng(0)
    layer = mt.Embedding.init(50_000, 64, rng)
    words, dout = rng.integers(0, 50_000, 4096), rng.standard_normal((4096, 64), "float32")
    table = layer.W.nbytes
    tracemalloc.start()
    try:
        _, cache = layer.forward(words)
        _, grad = layer.backward(cache, dout)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert table == 12_800_000
    assert peak < 4 * table
    assert float(grad.W.sum(dtype="float64")) == pytest.approx(float(dout.sum(dtype="float64")), rel=1e-5)


def test_a_word_that_is_not_in_the_table_is_never_a_plausible_row(xp: Target) -> None:
    layer = xp.put(mt.Embedding(np.ones((3, 2))))
    for bad in (3, -1):
        words = xp.put(np.array([0, bad]))
        if xp.backend.name == "numpy":
            with pytest.raises(
                ValueError, match=f"x holds {min(0, bad)} to {max(0, bad)}, but W has 3 rows: words are 0 … 2"
            ):
                layer.forward(words)
            continue
        y = mt.to_numpy(xp.run(lambda layer, words: layer.forward(words)[0], layer, words))
        np.testing.assert_array_equal(y, [[1.0, 1.0], [np.nan, np.nan]])


def test_flatten_and_reshape_keep_the_order(xp: Target) -> None:
    images = np.arange(24.0).reshape(2, 3, 2, 2)
    y, cache = mt.Flatten().forward(xp.put(images))
    assert_close(y, np.arange(24.0).reshape(2, 12))
    assert_close(mt.Flatten().backward(cache, y)[0], images)
    for shape, full in (((3, 4), (2, 3, 4)), ((-1, 2), (2, 6, 2)), ((12,), (2, 12)), ((2, -1, 3), (2, 2, 2, 3))):
        back, cache = mt.Reshape(shape).forward(xp.put(images))
        assert_close(back, np.arange(24.0).reshape(full))
        assert_close(mt.Reshape(shape).backward(cache, back)[0], images)
    assert mt.Flatten().predict(xp.put(np.zeros((0, 3, 2)))).shape == (0, 6)
    with pytest.raises(ValueError, match=r"Reshape: x has shape \(2, 3, 2, 2\)"):
        mt.Reshape((5, -1)).forward(xp.put(images))


# ------------------------------------------------------------------------------------------- losses


def test_softmax_with_loss_of_even_odds(xp: Target) -> None:
    y, t = xp.put(np.zeros((2, 4))), xp.put(np.array([1, 3]))
    value, cache = mt.SoftmaxWithLoss().forward(y, t)
    assert_close(value, np.log(4.0), rtol=1e-6)
    dy = mt.SoftmaxWithLoss().backward(cache)
    expected = np.full((2, 4), 0.125)
    expected[0, 1] = expected[1, 3] = -0.375
    assert_close(dy, expected)


def test_a_confident_right_answer_costs_next_to_nothing(xp: Target) -> None:
    value = mt.SoftmaxWithLoss().value(xp.put(np.array([[20.0, 0.0]])), xp.put(np.array([0])))
    assert_close(value, np.log1p(np.exp(-20.0)), rtol=0, atol=1e-8)


def test_labels_and_one_hot_rows_are_the_same_target(xp: Target) -> None:
    y, t = xp.put(np.array([[1.0, 2.0, 3.0], [0.0, -1.0, 5.0]])), xp.put(np.array([2, 0]))
    rows = mt.one_hot(t, 3, xp.double)
    assert_close(mt.SoftmaxWithLoss().value(y, t), mt.SoftmaxWithLoss().value(y, rows), rtol=1e-6)


def test_a_class_that_is_masked_out_costs_nothing(xp: Target) -> None:
    y = xp.put(np.array([[0.0, -np.inf, 0.0]]))
    for t in (np.array([0]), np.array([[1.0, 0.0, 0.0]])):
        value, cache = mt.SoftmaxWithLoss().forward(y, xp.put(t))
        assert_close(value, np.log(2.0), rtol=1e-6)
        assert_close(mt.SoftmaxWithLoss().backward(cache), np.array([[-0.5, 0.0, 0.5]]), atol=1e-7)


def test_a_label_that_names_no_class_is_never_a_plausible_number(xp: Target) -> None:
    loss, y = mt.SoftmaxWithLoss(), xp.put(np.zeros((2, 3)))
    for bad in (3, -1):
        t = xp.put(np.array([0, bad]))
        if xp.backend.name == "numpy":
            with pytest.raises(ValueError, match=f"labels from {min(0, bad)} to {max(0, bad)}, but y has 3 columns"):
                loss.forward(y, t)
            continue
        value, dy = xp.run(lambda y, t: (lambda v: (v[0], loss.backward(v[1])))(loss.forward(y, t)), y, t)
        assert np.isnan(mt.to_numpy(value))
        assert np.isnan(mt.to_numpy(dy)[1]).all()


def test_binary_cross_entropy_keeps_its_digits(xp: Target) -> None:
    """A confident answer costs exp(-40) if right and 40 if wrong, never 0 or infinity."""
    y, t = np.array([[-40.0], [40.0], [40.0], [800.0]]), np.array([[0.0], [1.0], [0.0], [1.0]])
    each = mt.SigmoidWithLoss(reduction="none").value(xp.put(y), xp.put(t))
    assert_close(each, np.array([[np.exp(-40.0)], [np.exp(-40.0)], [40.0], [0.0]]), rtol=1e-6)


def test_the_lessons_half_squared_error(xp: Target) -> None:
    loss = mt.MeanSquaredError(reduction="sum")
    value, cache = loss.forward(xp.put(np.array([[0.5, 2.0]])), xp.put(np.array([[1.0, 1.0]])))
    assert_close(value, 1.25)
    assert_close(loss.backward(cache, 0.5), np.array([[-0.5, 1.0]]))
    assert_close(mt.MeanSquaredError().value(xp.put(x), xp.put(x + 2.0)), 4.0)


def test_a_batch_in_which_nothing_counts_costs_nothing(xp: Target) -> None:
    for loss, t in ((mt.SoftmaxWithLoss(), np.array([0, 1])), (mt.MeanSquaredError(), np.ones((2, 3)))):
        value, cache = loss.forward(xp.put(np.zeros((2, 3))), xp.put(t), xp.put(np.zeros(2)))
        assert_close(value, 0.0)
        assert_close(loss.backward(cache), np.zeros((2, 3)))


def test_a_mean_of_many_half_precision_losses_does_not_overflow(xp: Target) -> None:
    if xp.name.startswith("strict"):
        pytest.skip("the standard has no float16")
    y = xp.put(np.full((70_000, 1), 3.0), "float16")
    value, cache = mt.MeanSquaredError().forward(y, xp.put(np.zeros((70_000, 1)), "float16"))
    assert_close(value, np.float32(9.0), rtol=1e-5)  # CuPy adds 137 numbers one after the other
    assert mt.MeanSquaredError().backward(cache).dtype == y.dtype


def test_an_outlier_pulls_on_huber_no_harder_than_delta(xp: Target) -> None:
    y, t = xp.put(np.array([[0.5], [-3.0], [1e6]])), xp.put(np.zeros((3, 1)))
    value, cache = mt.Huber("none", delta=2.0).forward(y, t)
    assert_close(value, np.array([[0.125], [2.0 * (3.0 - 1.0)], [2.0 * (1e6 - 1.0)]]), rtol=1e-6)
    assert_close(mt.Huber("none", delta=2.0).backward(cache), np.array([[0.5], [-2.0], [2.0]]))


def test_huber_of_huge_numbers_overflows_nowhere() -> None:
    """pytest makes NumPy's warning an error: d² is not computed where d is clipped."""
    value, cache = mt.Huber().forward(np.array([[1e30]], "float32"), np.array([[-1e30]], "float32"))
    assert float(value) == pytest.approx(2e30)
    assert float(mt.Huber().backward(cache)[0, 0]) == 1.0


RARE = np.array([0.25, 1.0, 4.0])


def test_class_weights_count_a_sample_so_many_times(xp: Target) -> None:
    """A class of weight 3 is as good as three copies of each of its samples."""
    y, t = np.array([[1.0, 0.0], [0.5, 2.0]]), np.array([0, 1])
    weighted = xp.put(mt.SoftmaxWithLoss(class_weight=np.array([1.0, 3.0])))
    thrice = mt.SoftmaxWithLoss().value(xp.put(y[[0, 1, 1, 1]]), xp.put(t[[0, 1, 1, 1]]))
    assert_close(weighted.value(xp.put(y), xp.put(t)), mt.to_numpy(thrice), rtol=1e-6)


def test_a_smoothed_label_is_reached_at_finite_logits(xp: Target) -> None:
    """With ε = 0.3 and three classes the target is (0.8, 0.1, 0.1), and there the slope is 0."""
    loss = mt.SoftmaxWithLoss(label_smoothing=0.3)
    _, cache = loss.forward(xp.put(np.log(np.array([[0.8, 0.1, 0.1]]))), xp.put(np.array([0])))
    assert_close(loss.backward(cache), np.zeros((1, 3)), atol=1e-7)


def test_a_wrong_label_stays_wrong_beside_weights_and_smoothing(xp: Target) -> None:
    y, t = xp.put(np.zeros((2, 3))), xp.put(np.array([0, 3]))
    for loss in (mt.SoftmaxWithLoss(class_weight=RARE), mt.SoftmaxWithLoss(label_smoothing=0.3)):
        here = xp.put(loss)
        if xp.backend.name == "numpy":
            with pytest.raises(ValueError, match="labels from 0 to 3, but y has 3 columns"):
                here.forward(y, t)
        else:
            value, cache = here.forward(y, t)
            assert np.isnan(mt.to_numpy(value))
            assert np.isnan(mt.to_numpy(here.backward(cache))[1]).all()
