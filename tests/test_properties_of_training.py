"""What is true of every optimizer on every tree, and of every run of fit: an update is a value, a run is its loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import OPTIMIZERS, OptimizerCase, affine, batch_norm
from conftest import Target, take_apart, to_numpy
from hypothesis import strategies as st
from properties.families import Sizes
from properties.layouts import arrangements, assert_untouched, picks
from properties.nearness import assert_near, each, narrower
from properties.strategies import arrays, filled, for_all, seeds, trees

import martlet as mt
from martlet.tree import learned

optimizers = pytest.mark.parametrize("case", OPTIMIZERS, ids=lambda case: case.name)
together = {"SGD, L2 and ClipByNorm, a cosine after a warm-up"}  # the norm is that of the whole gradient


def random_gradients(model: mt.Layer, seed: int, steps: int = 3) -> list[mt.Layer | None]:
    """A gradient for each step, for every array that is learned."""
    rng, part = np.random.default_rng(seed), learned(model)
    return [None if part is None else each(lambda p: rng.standard_normal(p.shape), part) for _ in range(steps)]


def updates(case: OptimizerCase, model: mt.Layer, grads: list[Any]) -> tuple[mt.Layer, Any]:
    """The model and the state after a step with each of the gradients."""
    optimizer = case.optimizer()
    state = optimizer.init(model)
    for grad in grads:
        model, state = optimizer.update(model, grad, state)
    return model, state


@pytest.mark.eager
@optimizers
@for_all(20, tree=trees, seed=seeds, picks=picks)
def test_an_update_is_a_value(case: OptimizerCase, xp: Target, tree: mt.Layer, seed: int, picks: list[int]) -> None:
    """Whatever the memory that model, gradient and state lie in: it is not written to, and does not show."""
    optimizer = case.optimizer()
    (grad,) = random_gradients(tree, seed, 1)
    _, state = updates(case, tree, random_gradients(tree, seed + 1, 2))
    arrays, build = take_apart((tree, grad, state))
    numbers = [np.asarray(x) for x in arrays]  # without axes NumPy's are scalars by now
    for laid in arrangements(xp, numbers, picks):
        after = optimizer.update(*build([a.array for a in laid]))
        expected = optimizer.update(*build([xp.put(a.numbers) for a in laid]))
        assert_near(after, expected, xp, 4 if case.name in together else 0)
        assert_untouched(laid)


@pytest.mark.eager
@optimizers
@for_all(30, leaves=st.lists(arrays, min_size=1, max_size=4), seed=seeds, cut=st.integers(0, 4))
def test_only_the_arrays_matter(case: OptimizerCase, xp: Target, leaves: list[np.ndarray], seed: int, cut: int) -> None:
    """Regrouped, the same arrays are given the same bits; in another order, and each by itself, they are too."""
    rng = np.random.default_rng(seed)
    layers = [mt.MatMul(xp.put(x)) for x in leaves]
    slopes = [[mt.MatMul(xp.put(rng.standard_normal(x.shape))) for x in leaves] for _ in range(3)]

    def moved(group: Any) -> list[np.ndarray]:
        after, _ = updates(case, group(layers), [group(row) for row in slopes])
        return to_numpy(tuple(mt.leaves(after)))

    flat = moved(lambda row: mt.Sequential(*row))
    nested = moved(lambda row: mt.Sequential(mt.Parallel(*row[:cut]), mt.Sequential(mt.Sequential(*row[cut:]))))
    assert_near(nested, flat, xp)
    opposite = moved(lambda row: mt.Sequential(*reversed(row)))
    assert_near(tuple(reversed(opposite)), flat, xp, 50 if case.name in together else 0)
    if case.name not in together:
        single = [moved(lambda row, i=i: row[i])[0] for i in range(len(layers))]
        assert_near(tuple(single), flat, xp)


@pytest.mark.eager
@optimizers
@for_all(30, tree=trees, seed=seeds, pick=st.integers(0, 5), still=st.booleans())
def test_an_update_keeps_type_width_and_what_is_not_learned(
    case: OptimizerCase, xp: Target, tree: mt.Layer, seed: int, pick: int, still: bool
) -> None:
    """Without a rate nothing moves, and only what is learned ever does."""
    width = (*narrower(xp), xp.double)[pick % (1 + len(narrower(xp)))]
    model = xp.put(tree, width)
    grads = [xp.put(grad, width) for grad in random_gradients(tree, seed)]
    optimizer = case.optimizer()
    state = optimizer.init(model)
    if still:
        state = mt.replace(state, {"lr": 0.0})
    after = model
    for grad in grads:
        after, state = optimizer.update(after, grad, state)
    assert type(after) is type(model)
    assert mt.names(after) == mt.names(model)
    part = learned(tree)
    moves = set() if part is None or still else set(mt.names(part))
    for name, old, new in zip(mt.names(model), mt.leaves(model), mt.leaves(after), strict=True):
        assert (new.dtype, new.shape) == (old.dtype, old.shape)
        assert name in moves or (mt.to_numpy(new) == mt.to_numpy(old)).all()
        assert np.isfinite(mt.to_numpy(new)).all()
    assert int(mt.to_numpy(state.step)) == 3


# ---------------------------------------------------------------------------------------------- fit


def small_model(rng: np.random.Generator, s: Sizes, noisy: bool) -> mt.Sequential:
    inner = [batch_norm(rng, s.h), mt.Dropout.init(0.3, rng)] if noisy else [mt.Freeze(affine(rng, s.h, s.h))]
    return mt.Sequential(affine(rng, s.d, s.h), *inner, mt.Tanh(), affine(rng, s.h, s.k))


@pytest.mark.eager
@for_all(
    30,
    seed=seeds,
    sizes=filled,
    case=st.sampled_from(OPTIMIZERS),
    batch_size=st.sampled_from((3, 2, 1, 5, 50)),
    last=st.sampled_from(("keep", "drop")),
    shuffle=st.booleans(),
    weighted=st.booleans(),
    labels=st.booleans(),
    noisy=st.booleans(),
)
def test_fit_is_the_loop_one_writes_by_hand(
    xp: Target, seed: int, sizes: Sizes, case: OptimizerCase, batch_size: int, last: str, **choice: bool
) -> None:
    """Step by step the same bits; again the same with the same seed; and nothing that it is given is written to."""
    samples = 2 * batch_size if sizes.n > 2 else batch_size  # batch normalization takes no batch of one
    samples += batch_size // 2 if last == "drop" or not choice["noisy"] else 0
    rng = np.random.default_rng(seed)
    model = small_model(rng, sizes, choice["noisy"] and batch_size > 1)
    x = rng.standard_normal((samples, sizes.d))
    t = rng.integers(0, sizes.k, samples) if choice["labels"] else rng.standard_normal((samples, sizes.k))
    weight = rng.uniform(0.5, 2.0, samples) if choice["weighted"] else None
    loss, optimizer = mt.SoftmaxWithLoss() if choice["labels"] else mt.MeanSquaredError(), case.optimizer()
    given = tuple(map(xp.put, (model, x, t, weight)))
    before = to_numpy(given)

    def run() -> tuple[Any, list[float]]:
        here, x, t, weight = given
        settings = {"epochs": 2, "batch_size": batch_size, "seed": seed, "last": last, "shuffle": choice["shuffle"]}
        trained, history = mt.fit(here, x, t, loss=loss, optimizer=optimizer, weight=weight, **settings)
        return (trained, history.state), history.loss

    trained, curve = run()
    assert_near(given, before, xp)
    if xp.name == "numpy":
        theirs = take_apart(given)[0]
        assert not any(np.shares_memory(mine, other) for mine in take_apart(trained)[0] for other in theirs)
    assert run()[1] == curve
    here, x, t, weight = given
    state, order, by_hand = optimizer.init(here), np.random.default_rng(seed), []
    for _ in range(2):
        values, shares = [], []
        rng_or_none = order if choice["shuffle"] else None
        for batch in mt.batches(x, t, batch_size, rng=rng_or_none, weight=weight, last=last):
            here, state, value = mt.train_step(here, loss, optimizer, state, *batch)
            values.append(float(mt.to_numpy(value)))
            shares.append(batch[0].shape[0] if weight is None else float(mt.to_numpy(batch[2]).sum()))
        by_hand.append(np.average(values, weights=shares))
    assert_near(trained, (here, state), xp)
    np.testing.assert_allclose(curve, by_hand, rtol=1e-12 if xp.double == "float64" else 1e-5)
