"""Small promises of the optimizers that nobody would miss until they are broken.

Each was found by planting a fault that no other test noticed: see mutation.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import affine
from conftest import Target, assert_close

import martlet as mt


def one_weight() -> mt.MatMul:
    return mt.MatMul(np.ones((1, 1)))


def elsewhere(device: str) -> mt.Backend:
    """A library that has two devices."""
    pytest.importorskip("array_api_strict")
    return mt.Backend("array_api_strict", device=device)


# ------------------------------------------------------------------------------------------- where a state is


@pytest.mark.parametrize("frozen", [False, True])
def test_a_state_lies_where_the_model_does(frozen: bool) -> None:
    """Even if the model learns nothing, the next one to use the state may."""
    layer: mt.Layer = mt.Affine.init(2, 2, np.random.default_rng(0), backend=elsewhere("device1"))
    state = mt.Adam().init(mt.Freeze(layer) if frozen else layer)
    assert {str(leaf.device) for leaf in mt.leaves(state)} == {str(mt.leaves(layer)[0].device)}


def assert_refused(here: mt.Layer, there: mt.Layer, words: str) -> None:
    for optimizer in (mt.SGD(), mt.SGD(transforms=(mt.L2(decay=0.1),))):
        with pytest.raises(TypeError, match=f"SGD.update: a gradient is {words}"):
            optimizer.update(there, here, optimizer.init(there))


def test_a_gradient_on_another_device_is_refused() -> None:
    here, there = (mt.MatMul(elsewhere(device).asarray(np.ones((2, 2)))) for device in ("CPU_DEVICE", "device1"))
    assert_refused(here, there, ".+CPU_DEVICE, but its array is .+device1")


def test_a_gradient_on_another_device_of_torch_is_refused() -> None:
    """Whose dtypes are single objects, so that a comparison of types and dtypes alone would let it pass."""
    torch = pytest.importorskip("torch")
    here, there = (mt.MatMul(torch.ones(2, 2, device=device)) for device in ("meta", "cpu"))
    assert_refused(here, there, ".+meta, but its array is .+cpu")


# ------------------------------------------------------------------------------ a rule of one's own


class Mean(mt.Optimizer):
    """m ← m + (g - m) / t,  p ← p - lr · m: down the mean of all gradients."""

    lr: float = 0.5

    memories = ("m",)

    def rule(self, p, g, m, lr, t):
        m = m + (g - m) / t
        return p - lr * m, m


def test_an_optimizer_of_ones_own_remembers_and_counts(xp: Target) -> None:
    """The class is made here, and not when the file is read."""

    class Mine(mt.Optimizer):
        lr: float = 0.5

        memories = ("m",)
        rule = Mean.rule

    model = xp.put(one_weight())
    state, expected, grads = Mine().init(model), 1.0, [4.0, -2.0, 1.0]
    for t in (1, 2, 3):
        model, state = Mine().update(model, model.gradient(W=xp.put(np.full((1, 1), grads[t - 1]))), state)
        expected -= 0.5 * float(np.mean(grads[:t]))
        assert float(mt.to_numpy(model.W)[0, 0]) == pytest.approx(expected, rel=1e-6)
    with pytest.raises(TypeError, match=r"Mine\.update: state must come from Mine\.init, got SGD\.State"):
        Mine().update(model, None, mt.SGD().init(model))


def test_a_rule_may_only_name_numbers_that_there_are() -> None:
    with pytest.raises(TypeError, match=r"^Lost\.rule takes mu, nu, which is no number of Lost$"):

        class Lost(mt.Optimizer):
            lr: float = 0.5

            def rule(self, p, g, nu, lr, mu):
                return (p,)


class Counting(mt.Optimizer):
    """Plain descent with a derived rate; ``derive`` writes down its calls."""

    lr: float = 0.5

    derived = ("rate",)
    calls: Any = ()

    def derive(self, t, numbers):
        self.calls.append(float(t))
        return (numbers["lr"] / t,)

    def rule(self, p, g, rate):
        return (p - rate * g,)


def test_what_is_derived_is_derived_once_for_all_arrays() -> None:
    model = mt.Sequential(affine(np.random.default_rng(0), 2, 2), affine(np.random.default_rng(1), 2, 2))
    optimizer = Counting(calls=[])
    state, now = optimizer.init(model), model
    for _ in range(2):
        now, state = optimizer.update(now, model, state)
    assert optimizer.calls == [1.0, 2.0]
    assert_close(mt.leaves(now), [p - (0.5 + 0.5 / 2) * p for p in mt.leaves(model)], rtol=1e-12)


def test_derive_must_give_every_number_that_it_promised() -> None:
    class Short(Counting):
        derived = ("rate", "other")

    optimizer = Short(calls=[])
    with pytest.raises(ValueError, match="zip"):
        optimizer.update(one_weight(), one_weight(), optimizer.init(one_weight()))


# ---------------------------------------------------------------------------------- memories and numbers


def test_centered_rmsprop_remembers_the_mean_of_the_gradient(xp: Target) -> None:
    model = xp.put(one_weight())
    optimizer = mt.RMSprop(decay=0.75, centered=True)
    _, state = optimizer.update(model, xp.put(mt.MatMul(np.full((1, 1), 8.0))), optimizer.init(model))
    assert float(mt.to_numpy(state.m.W)[0, 0]) == pytest.approx(2.0)


@pytest.mark.parametrize("optimizer", [mt.Adam(amsgrad=True), mt.RMSprop(centered=True), mt.Adam(), mt.RMSprop()])
def test_a_choice_does_not_matter_where_nothing_is_learned(optimizer: mt.Optimizer) -> None:
    model = mt.Freeze(one_weight())
    after, state = optimizer.update(model, None, optimizer.init(model))
    assert after is model
    assert int(state.step) == 1


def test_a_schedule_is_given_the_step_in_the_width_of_the_state() -> None:
    class Seen(mt.schedules.Schedule):
        def factor(self, n, state):
            assert n.dtype == np.float32
            return n + 1.0

    model = mt.MatMul(np.ones((1, 1), dtype="float32"))
    optimizer = mt.SGD(lr=0.5, schedule=Seen())
    after, _ = optimizer.update(model, model, optimizer.init(model))
    np.testing.assert_array_equal(after.W, [[0.5]])


def test_a_tiny_gradient_is_clipped_to_a_tinier_norm(xp: Target) -> None:
    """The squares of its numbers would be 0."""
    model = xp.put(mt.MatMul(np.ones((1, 2))), "float32")
    optimizer = mt.SGD(transforms=(mt.ClipByNorm(limit=1e-30),))
    grad = xp.put(mt.MatMul(np.array([[3e-30, 4e-30]])), "float32")
    clipped = optimizer.transforms[0].change(model, grad, optimizer.init(model).transforms[0])
    assert_close(clipped.W, np.array([[0.6e-30, 0.8e-30]]), rtol=1e-6)


@pytest.mark.parametrize(
    ("optimizer", "name"),
    [(mt.Momentum, "momentum"), (mt.RMSprop, "decay"), (mt.Adam, "beta1"), (mt.Adam, "beta2"), (mt.AdamW, "beta2")],
)
def test_a_memory_that_never_fades_is_refused(optimizer: Any, name: str) -> None:
    """With a share of 1 nothing new is ever learned, and Adam's corrections divide by zero."""
    with pytest.raises(ValueError, match=f"{name} must be finite, >= 0 and < 1, got 1"):
        optimizer(**{name: 1.0})
