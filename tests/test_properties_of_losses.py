"""What is true of every loss on every batch: how it adds up, how weights count, and which way its gradient points."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import Target, to_numpy
from hypothesis import strategies as st
from properties.families import LOSSES, LossFamily, Sizes
from properties.layouts import arrangements, assert_untouched, picks
from properties.nearness import assert_near, each, narrower, widened
from properties.strategies import anywhere, factors, filled, for_all, seeds

import martlet as mt

families = pytest.mark.parametrize("family", LOSSES, ids=lambda family: family.name)
softmax = pytest.mark.parametrize("family", [f for f in LOSSES if "Softmax" in f.name], ids=lambda family: family.name)


def draw(family: LossFamily, seed: int, sizes: Sizes, reduction: str = "mean") -> tuple[mt.Loss, Any, Any]:
    """The family's loss, outputs and targets."""
    return family.draw(reduction, np.random.default_rng(seed), sizes)


def weights(seed: int, n: int) -> np.ndarray:
    return np.random.default_rng(seed + 1).uniform(0.1, 3.0, n)


def slope(xp: Target, loss: mt.Loss, y: Any, t: Any, weight: Any = None, dout: Any = 1.0) -> tuple[Any, Any]:
    """The loss and its gradient, with NumPy's numbers in and out."""
    here = xp.put(loss)
    value, cache = here.forward(xp.put(y), xp.put(t), None if weight is None else xp.put(weight))
    return to_numpy((value, here.backward(cache, xp.put(dout) if isinstance(dout, np.ndarray) else dout)))


def test_every_loss_has_a_family() -> None:
    covered = {type(draw(family, 0, Sizes())[0]) for family in LOSSES}
    exported = (getattr(mt.layers, name) for name in mt.layers.__all__)
    assert {kind for kind in exported if issubclass(kind, mt.Loss)} <= covered


@pytest.mark.eager
@families
@for_all(40, seed=seeds, sizes=filled, weighted=st.booleans())
def test_the_reductions_add_up(family: LossFamily, xp: Target, seed: int, sizes: Sizes, weighted: bool) -> None:
    """The sum is that of all losses; the mean is the sum over the count, for which equal losses of 1 would count 1."""
    loss, y, t = draw(family, seed, sizes, "none")
    w = weights(seed, sizes.n) if weighted else None
    every, every_slope = slope(xp, loss, y, t, w, np.ones(loss.value(y, t).shape))
    total, total_slope = slope(xp, draw(family, seed, sizes, "sum")[0], y, t, w)
    mean, mean_slope = slope(xp, draw(family, seed, sizes, "mean")[0], y, t, w)
    assert_near(total, every.sum(), xp, 50)
    assert_near(total_slope, every_slope, xp, 10)
    count = counted(loss, t, sizes.n, w) * every[0].size
    assert_near(mean * count, total, xp, 50)
    assert_near(mean_slope * count, total_slope, xp, 50)


def counted(loss: mt.Loss, t: np.ndarray, samples: int, weight: np.ndarray | None) -> float:
    """For how many samples the batch counts: Σ w, where class weights are counts too."""
    w = np.ones(samples) if weight is None else weight
    shares = getattr(loss, "class_weight", None)
    if shares is not None:
        w = w * (shares[t] if t.ndim == 1 else t @ shares)
    return float(w.sum())


@pytest.mark.eager
@families
@for_all(30, seed=seeds, sizes=filled, times=st.floats(0.01, 100.0))
def test_only_the_ratios_of_weights_matter_in_a_mean(
    family: LossFamily, xp: Target, seed: int, sizes: Sizes, times: float
) -> None:
    loss, y, t = draw(family, seed, sizes)
    w = weights(seed, sizes.n)
    assert_near(slope(xp, loss, y, t, times * w), slope(xp, loss, y, t, w), xp, 50)
    assert_near(slope(xp, loss, y, t, np.full(sizes.n, times)), slope(xp, loss, y, t), xp, 50)


@pytest.mark.eager
@families
@for_all(30, seed=seeds, sizes=filled, reduction=st.sampled_from(("mean", "sum")))
def test_a_weight_is_how_often_a_sample_is_there(
    family: LossFamily, xp: Target, seed: int, sizes: Sizes, reduction: str
) -> None:
    """Three times is three samples, and none is as if the sample had been left out."""
    loss, y, t = draw(family, seed, sizes, reduction)
    times = np.random.default_rng(seed + 1).integers(0, 4, sizes.n)
    times[seed % sizes.n] = 2  # at least one is there
    rows = np.repeat(np.arange(sizes.n), times)
    value, dy = slope(xp, loss, y, t, times.astype("float64"))
    expected, dy_each = slope(xp, loss, y[rows], t[rows])
    together = np.zeros(y.shape)
    np.add.at(together, rows, dy_each)
    assert_near((value, dy), (expected, together), xp, 50)
    assert not dy[times == 0].any()


@pytest.mark.eager
@families
@for_all(40, seed=seeds, sizes=filled, reduction=st.sampled_from(("mean", "sum")), far=st.floats(0.1, 10.0))
def test_a_loss_is_convex_and_never_negative(
    family: LossFamily, xp: Target, seed: int, sizes: Sizes, reduction: str, far: float
) -> None:
    """It lies above each of its tangents: a wrong gradient, of whatever sign, would cut through it somewhere."""
    loss, y, t = draw(family, seed, sizes, reduction)
    rng = np.random.default_rng(seed + 2)
    w, z = rng.uniform(0.0, 2.0, sizes.n) + 0.01, y + far * rng.standard_normal(y.shape)
    at_y, dy = slope(xp, loss, y, t, w)
    at_z, dz = slope(xp, loss, z, t, w)
    small = 1e4 * np.finfo(xp.double).eps * (1.0 + at_y + at_z)
    assert min(at_y, at_z) >= -small
    assert at_z >= at_y + (dy * (z - y)).sum() - small
    assert at_y >= at_z + (dz * (y - z)).sum() - small


@pytest.mark.eager
@softmax
@for_all(30, seed=seeds, sizes=filled, weighted=st.booleans(), shift=st.floats(-100.0, 100.0))
def test_softmax_losses_know_differences_alone(
    family: LossFamily, xp: Target, seed: int, sizes: Sizes, weighted: bool, shift: float
) -> None:
    """Adding one number to a row of logits changes nothing, so a row of the gradient adds up to 0."""
    loss, y, t = draw(family, seed, sizes)
    w = weights(seed, sizes.n) if weighted else None
    found = slope(xp, loss, y, t, w)
    moved = y + shift * np.random.default_rng(seed).uniform(-1.0, 1.0, (sizes.n, 1))
    assert_near(slope(xp, loss, moved, t, w), found, xp, 500)
    assert_near(found[1].sum(axis=1), np.zeros(sizes.n), xp, 20)


@pytest.mark.eager
@pytest.mark.parametrize("family", [f for f in LOSSES if f.labels], ids=lambda family: family.name)
@for_all(30, seed=seeds, sizes=filled, weighted=st.booleans(), reduction=st.sampled_from(("mean", "sum")))
def test_labels_are_rows_with_a_single_one(
    family: LossFamily, xp: Target, seed: int, sizes: Sizes, weighted: bool, reduction: str
) -> None:
    loss, y, t = draw(family, seed, sizes, reduction)
    w = weights(seed, sizes.n) if weighted else None
    assert_near(slope(xp, loss, y, t, w), slope(xp, loss, y, np.eye(sizes.k)[t], w), xp, 50)


@pytest.mark.eager
@for_all(60, seed=seeds, sizes=filled, smoothing=st.floats(0.0, 0.9), weighted=st.booleans())
def test_smoothing_is_a_mixture_of_targets(
    xp: Target, seed: int, sizes: Sizes, smoothing: float, weighted: bool
) -> None:
    """(1 − ε) times the loss of the target, and ε times the mean of the losses that the classes would have."""
    rng = np.random.default_rng(seed)
    y, t = rng.standard_normal((sizes.n, sizes.k)), rng.integers(0, sizes.k, sizes.n)
    weight = rng.uniform(0.5, 2.0, sizes.k) if weighted else None

    def of(t: np.ndarray, **settings: float) -> Any:
        loss = mt.SoftmaxWithLoss("none", class_weight=weight, **settings)
        return slope(xp, loss, y, t, dout=np.ones(sizes.n))

    every = [of(np.full(sizes.n, c)) for c in range(sizes.k)]
    mixed = each(lambda *found: (1 - smoothing) * found[0] + smoothing * np.mean(found[1:], axis=0), of(t), *every)
    assert_near(of(t, label_smoothing=smoothing), mixed, xp, 50)


@pytest.mark.eager
@for_all(60, seed=seeds, sizes=filled, weight=st.floats(0.1, 5.0))
def test_yes_and_no_can_change_places(xp: Target, seed: int, sizes: Sizes, weight: float) -> None:
    """(y, t) → (−y, 1 − t) is the same loss and the opposite gradient; a pos_weight then counts the negatives."""
    rng = np.random.default_rng(seed)
    y, t = 3.0 * rng.standard_normal((sizes.n, sizes.d)), rng.integers(0, 2, (sizes.n, sizes.d)) * 1.0
    value, dy = slope(xp, mt.SigmoidWithLoss(), y, t)
    assert_near(slope(xp, mt.SigmoidWithLoss(), -y, 1.0 - t), (value, -dy), xp, 20)
    total = mt.SigmoidWithLoss("sum", pos_weight=np.asarray(weight))
    back = mt.SigmoidWithLoss("sum", pos_weight=np.asarray(1.0 / weight))
    value, dy = slope(xp, total, y, t)
    other, opposite = slope(xp, back, -y, 1.0 - t)
    assert_near((weight * other, -weight * opposite), (value, dy), xp, 100)


@pytest.mark.eager
@families
@for_all(20, seed=seeds, sizes=filled, picks=picks)
def test_the_layout_is_not_part_of_a_loss(
    family: LossFamily, xp: Target, seed: int, sizes: Sizes, picks: list[int]
) -> None:
    """y, t, weights, class weights and dout may lie in memory as they like, and stay as they are."""
    if xp.name == "jax":
        pytest.skip("JAX shows no layouts")
    loss, y, t = draw(family, seed, sizes, "none")
    own = mt.leaves(loss)
    arrays = [*own, y, t, weights(seed, sizes.n), np.random.default_rng(seed).standard_normal(loss.value(y, t).shape)]

    def of(*arrays: Any) -> Any:
        here = mt.rebuild(loss, arrays[: len(own)])
        *given, dout = arrays[len(own) :]
        value, cache = here.forward(*given)
        return value, here.backward(cache, dout)

    for laid in arrangements(xp, arrays, picks):
        assert_near(of(*[a.array for a in laid]), of(*[xp.put(a.numbers) for a in laid]), xp, 20)
        assert_untouched(laid)


@pytest.mark.eager
@families
@for_all(30, seed=seeds, sizes=filled, reduction=st.sampled_from(("mean", "sum", "none")), a=factors, b=factors)
def test_backward_of_a_loss_is_linear(
    family: LossFamily, xp: Target, seed: int, sizes: Sizes, reduction: str, a: float, b: float
) -> None:
    """A number and an array of that number are the same dout."""
    loss, y, t = draw(family, seed, sizes, reduction)
    w = weights(seed, sizes.n)
    shape = loss.value(y, t).shape
    first, second = (np.asarray(x) for x in np.random.default_rng(seed).standard_normal((2, *shape)))
    one, other, both = (slope(xp, loss, y, t, w, np.asarray(d))[1] for d in (first, second, a * first + b * second))
    assert_near(both, a * one + b * other, xp, 100)
    assert_near(slope(xp, loss, y, t, w, a)[1], slope(xp, loss, y, t, w, np.full(shape, a))[1], xp, 4)


@pytest.mark.eager
@families
@for_all(40, seed=seeds, sizes=filled)
def test_the_loss_of_finite_logits_is_finite(family: LossFamily, xp: Target, seed: int, sizes: Sizes) -> None:
    """However large: cross-entropies never overflow where one loss would not.  Squares do, and are left out."""
    if not family.name.startswith("S"):
        pytest.skip("the square of a large number is none")
    loss, y, t = draw(family, seed, sizes, "none")
    y = anywhere(xp.double, np.random.default_rng(seed + 1), y.shape) / 16.0  # differences, times weights
    value, dy = slope(xp, loss, y, t, dout=np.ones(loss.value(np.zeros(y.shape), t).shape))
    assert np.isfinite(value).all()
    assert np.isfinite(dy).all()


@pytest.mark.eager
@families
@for_all(30, seed=seeds, sizes=filled, reduction=st.sampled_from(("mean", "sum", "none")), pick=st.integers(0, 5))
def test_a_narrow_loss_is_the_wide_one_rounded(
    family: LossFamily, xp: Target, seed: int, sizes: Sizes, reduction: str, pick: int
) -> None:
    width = narrower(xp)[pick % len(narrower(xp))]
    loss, y, t = draw(family, seed, sizes, reduction)
    here, y, t, w = (xp.put(value, width) for value in (loss, y, t, weights(seed, sizes.n)))
    value, cache = here.forward(y, t, w)
    found = to_numpy((value, here.backward(cache)))
    wide = [widened(to_numpy(part)) for part in (y, t, w)]
    exact = mt.rebuild(here, [widened(mt.to_numpy(x)) for x in mt.leaves(here)])
    value, cache = exact.forward(*wide)
    assert_near(found, (value, exact.backward(cache)), xp, 40, width)
