"""Each layer as a reader of the lessons knows it: small numbers, worked out by hand."""

from __future__ import annotations

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
    assert_close(value, np.float32(9.0))
    assert mt.MeanSquaredError().backward(cache).dtype == y.dtype
