"""Clipping and decay change the gradient before any optimizer sees it, so here they are looked at by themselves.

What is expected is the formula of each, written out in NumPy in float64, where nothing overflows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import affine
from conftest import Target, assert_close, to_numpy

import martlet as mt


def network() -> mt.Sequential:
    rng = np.random.default_rng(0)
    return mt.Sequential(affine(rng, 2, 3), mt.Tanh(), affine(rng, 3, 2))


def gradient_of(model: mt.Sequential) -> mt.Sequential:
    """A gradient for the network."""
    rng = np.random.default_rng(1)
    return mt.rebuild(
        model.gradient(layers=(model[0], None, model[2])),
        [rng.standard_normal(p.shape) for p in mt.leaves(model)],
    )


def change(xp: Target, transform: mt.Transform, model: Any, grad: Any) -> Any:
    """The gradient that the optimizer would see."""
    state = mt.SGD(transforms=(transform,)).init(model).transforms[0]
    return xp.run(lambda *given: transform.change(*given), model, grad, state)


def one(xp: Target, transform: mt.Transform, numbers: list[float], dtype: str | None = None) -> np.ndarray:
    """The same for a single array with these numbers."""
    model = xp.put(mt.MatMul(np.ones((1, len(numbers)))), dtype)
    return mt.to_numpy(change(xp, transform, model, xp.put(mt.MatMul(np.array([numbers])), dtype)).W)[0]


def norm(tree: Any) -> float:
    """The norm over all arrays, by NumPy and in float64."""
    return float(np.linalg.norm(np.concatenate([mt.to_numpy(x).astype("float64").ravel() for x in mt.leaves(tree)])))


# ----------------------------------------------------------------------------------------- the formulas


@pytest.mark.parametrize("biases", [True, False])
def test_l2_adds_a_share_of_the_weights(xp: Target, biases: bool) -> None:
    model = network()
    grad = gradient_of(model)
    pairs = zip(mt.leaves(model), mt.leaves(grad), strict=True)
    expected = mt.rebuild(grad, [g + 0.3 * p if biases or p.ndim > 1 else g for p, g in pairs])
    found = change(xp, mt.L2(decay=0.3, biases=biases), xp.put(model), xp.put(grad))
    assert_close(found, expected, **xp.tolerance)
    assert type(found) is mt.Sequential
    assert found[1] is None


def test_l2_is_the_gradient_of_its_penalty() -> None:
    """½ decay Σ p², by central differences, which are exact for a parabola but for rounding."""
    W = np.random.default_rng(0).standard_normal((2, 2))
    zeros = mt.MatMul(np.zeros((2, 2)))
    found = change(Target("numpy"), mt.L2(decay=0.3), mt.MatMul(W), zeros).W
    for i in np.ndindex(2, 2):
        nudge = np.zeros((2, 2))
        nudge[i] = 0.5
        penalty = [0.5 * 0.3 * np.sum((W + sign * nudge) ** 2) for sign in (1, -1)]
        assert found[i] == pytest.approx(penalty[0] - penalty[1], rel=1e-12)


def test_clip_by_value_holds_each_number(xp: Target) -> None:
    numbers = [-np.inf, -3.0, -0.5, -0.4, 0.0, 0.5, 0.6, np.inf]
    found = one(xp, mt.ClipByValue(limit=0.5), numbers)
    np.testing.assert_array_equal(found, [-0.5, -0.5, -0.5, np.asarray(-0.4, xp.double), 0.0, 0.5, 0.5, 0.5])


@pytest.mark.parametrize("limit", [0.1, 1.0, 1e3])
def test_clip_by_norm_takes_all_arrays_together(xp: Target, limit: float) -> None:
    model = network()
    grad = gradient_of(model)
    size = norm(grad)
    assert all(norm(layer) < size for layer in grad if layer is not None)
    expected = mt.rebuild(grad, [g * min(1.0, limit / size) for g in mt.leaves(grad)])
    found = change(xp, mt.ClipByNorm(limit=limit), xp.put(model), xp.put(grad))
    assert_close(found, expected, **xp.tolerance)
    assert norm(found) == pytest.approx(min(limit, size), rel=1e-12 if xp.double == "float64" else 1e-6)


def test_clip_by_norm_leaves_a_short_gradient_to_the_last_bit(xp: Target) -> None:
    model = network()
    grad = gradient_of(model)
    assert_close(change(xp, mt.ClipByNorm(limit=100.0), xp.put(model), xp.put(grad)), to_numpy(xp.put(grad)), rtol=0)


# ---------------------------------------------------------------------------------------- the extremes


@pytest.mark.parametrize("size", [1e3, 1e30, 1e37])
def test_a_huge_gradient_is_clipped_to_the_limit(xp: Target, size: float) -> None:
    """Its squares overflow in float32, and so does the norm where the numbers are near the largest."""
    found = one(xp, mt.ClipByNorm(limit=2.0), [0.6 * size, 0.0, -0.8 * size, size], "float32")
    expected = 2.0 * np.array([0.6, 0.0, -0.8, 1.0]) / np.sqrt(2.0)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_array_equal(one(xp, mt.ClipByValue(limit=2.0), [size, -size], "float32"), [2.0, -2.0])


@pytest.mark.parametrize("limit", [1.0, 1e6])
@pytest.mark.parametrize("size", [0.0, 1e-20, 1e-33, 1e-37])
def test_a_tiny_gradient_stays_as_it_is(xp: Target, size: float, limit: float) -> None:
    """Nothing is divided by 0, and the limit in units of the gradient does not overflow."""
    for transform in (mt.ClipByNorm(limit=limit), mt.ClipByValue(limit=limit)):
        found = one(xp, transform, [size, -0.5 * size, 0.0], "float32")
        np.testing.assert_array_equal(found, np.array([size, -0.5 * size, 0.0], "float32"))


def test_nan_is_not_hidden(xp: Target) -> None:
    model = network()
    numbers = mt.leaves(gradient_of(model))
    numbers[0][0, 0] = np.nan
    grad = mt.rebuild(gradient_of(model), numbers)
    for transform in (mt.L2(decay=0.1), mt.ClipByValue(limit=1.0), mt.ClipByNorm(limit=1.0)):
        found = change(xp, transform, xp.put(model), xp.put(grad))
        assert np.isnan(mt.to_numpy(found[0].W)[0, 0])


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_width_is_kept(xp: Target, dtype: str) -> None:
    if dtype == "float16" and xp.name.startswith("strict"):
        pytest.skip("the standard has no float16")
    model, grad = xp.put(network(), dtype), xp.put(gradient_of(network()), dtype)
    for transform in (mt.L2(decay=0.1), mt.ClipByValue(limit=0.1), mt.ClipByNorm(limit=0.1)):
        found = change(xp, transform, model, grad)
        assert {g.dtype for g in mt.leaves(found)} == {p.dtype for p in mt.leaves(model)}


def test_the_norm_of_half_precision_does_not_overflow(xp: Target) -> None:
    """The squares of numbers beyond 255 do not fit into float16, and neither does a norm of 80,000."""
    if xp.name.startswith("strict"):
        pytest.skip("the standard has no float16")
    found = one(xp, mt.ClipByNorm(limit=5.0), [48_000.0, -64_000.0], "float16")
    np.testing.assert_allclose(found, [3.0, -4.0], rtol=2**-10)


# ------------------------------------------------------------------------------- in an optimizer's hands


def test_the_order_matters(xp: Target) -> None:
    """A weight of 1 and a gradient of 10: 10 + 0.5 clipped to 2, or 2 and then 0.5."""
    ones, grad = xp.put(mt.MatMul(np.ones((1, 1)))), xp.put(mt.MatMul(np.full((1, 1), 10.0)))
    decay, clip = mt.L2(decay=0.5), mt.ClipByNorm(limit=2.0)
    for transforms, expected in (((decay, clip), 1.0 - 2.0), ((clip, decay), 1.0 - 2.5)):
        optimizer = mt.SGD(lr=1.0, transforms=transforms)
        after, _ = optimizer.update(ones, grad, optimizer.init(ones))
        assert_close(after.W, np.array([[expected]]), rtol=1e-6)


def test_a_frozen_layer_is_neither_decayed_nor_counted(xp: Target) -> None:
    """Its weights of 1,000 get no share of the decay, and its missing gradient none of the norm."""
    frozen = mt.Freeze(mt.Affine(np.full((2, 2), 1e3), np.full(2, 1e3)))
    model = xp.put(mt.Sequential(frozen, mt.MatMul(np.ones((2, 1)))))
    optimizer = mt.SGD(lr=1.0, transforms=(mt.L2(decay=0.5), mt.ClipByNorm(limit=1.0)))
    grad = model.gradient(layers=(None, xp.put(mt.MatMul(np.array([[2.5], [3.5]])))))
    after, _ = optimizer.update(model, grad, optimizer.init(model))
    assert_close(after[0], to_numpy(model[0]), rtol=0)
    assert_close(after[1].W, np.array([[1.0 - 0.6], [1.0 - 0.8]]), rtol=1e-6)  # (3, 4), of norm 5, clipped to 1


def test_their_numbers_are_in_the_state(xp: Target) -> None:
    optimizer = mt.SGD(lr=1.0, transforms=(mt.L2(decay=0.5), mt.ClipByValue(limit=2.0)))
    model = xp.put(mt.MatMul(np.ones((1, 1))))
    state = optimizer.init(model)
    assert mt.names(state) == ("step", "lr", "transforms.0.decay", "transforms.1.limit")
    state = mt.replace(state, {"transforms.0.decay": 4.0, "transforms.1.limit": 3.0})
    for g, expected in ((-2.0, 1.0 - 2.0), (7.0, 1.0 - 3.0)):
        after, _ = optimizer.update(model, xp.put(mt.MatMul(np.full((1, 1), g))), state)
        assert_close(after.W, np.array([[expected]]), rtol=1e-6)


def test_a_transform_of_ones_own(xp: Target) -> None:
    class Scale(mt.Transform):
        """g ← by · g"""

        by: float = 3.0

        def change(self, model, grad, state):
            return mt.rebuild(grad, [g * state.by for g in mt.leaves(grad)])

    assert one(xp, Scale(by=2.0), [1.0, -4.0]).tolist() == [2.0, -8.0]
    assert repr(mt.SGD(transforms=(Scale(),))) == "SGD(lr=0.01, transforms=(Scale(by=3.0),))"
