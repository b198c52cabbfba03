"""Optimizers, held against their formulas worked out in Python."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
from cases import affine
from conftest import Target, assert_close, to_numpy

import martlet as mt
from martlet.optimizers.adaptive import one_minus_power


def run(xp: Target, optimizer: mt.Optimizer, grads: list[float]) -> list[float]:
    """The path of one weight that starts at 1."""
    model = xp.put(mt.MatMul(np.ones((1, 1))))
    state, path = optimizer.init(model), []
    for g in grads:
        model, state = optimizer.update(model, model.gradient(W=xp.put(np.full((1, 1), g))), state)
        path.append(float(mt.to_numpy(model.W)[0, 0]))
    return path


GRADS = [0.5, -1.0, 2.0, 0.25]


def test_sgd_goes_down_the_gradient(xp: Target) -> None:
    expected, p = [], 1.0
    for g in GRADS:
        p -= 0.1 * g
        expected.append(p)
    assert run(xp, mt.SGD(lr=0.1), GRADS) == pytest.approx(expected, rel=1e-6)


def test_momentum_remembers_its_velocity(xp: Target) -> None:
    expected, p, v = [], 1.0, 0.0
    for g in GRADS:
        v = 0.9 * v - 0.1 * g
        p += v
        expected.append(p)
    assert run(xp, mt.Momentum(lr=0.1), GRADS) == pytest.approx(expected, rel=1e-6)


def test_adam_follows_algorithm_1(xp: Target) -> None:
    expected, p, m, v = [], 1.0, 0.0, 0.0
    for t, g in enumerate(GRADS, start=1):
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g * g
        p -= 0.01 * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + 0.1)
        expected.append(p)
    assert run(xp, mt.Adam(lr=0.01, eps=0.1), GRADS) == pytest.approx(expected, rel=1e-5)


def test_adagrad_divides_by_all_that_it_has_seen(xp: Target) -> None:
    expected, p, h = [], 1.0, 0.0
    for g in GRADS:
        h += g * g
        p -= 0.1 * g / (math.sqrt(h) + 0.01)
        expected.append(p)
    assert run(xp, mt.AdaGrad(lr=0.1, eps=0.01), GRADS) == pytest.approx(expected, rel=1e-6)


def test_rmsprop_divides_by_what_it_has_seen_of_late(xp: Target) -> None:
    expected, p, v = [], 1.0, 0.0
    for g in GRADS:
        v = 0.8 * v + (1 - 0.8) * g * g
        p -= 0.1 * g / (math.sqrt(v) + 0.01)
        expected.append(p)
    assert run(xp, mt.RMSprop(lr=0.1, decay=0.8, eps=0.01), GRADS) == pytest.approx(expected, rel=1e-6)


def test_rmsprop_centered_divides_by_the_deviation(xp: Target) -> None:
    expected, p, v, m = [], 1.0, 0.0, 0.0
    for g in GRADS:
        v = 0.8 * v + (1 - 0.8) * g * g
        m = 0.8 * m + (1 - 0.8) * g
        p -= 0.1 * g / (math.sqrt(v - m * m) + 0.01)
        expected.append(p)
    found = run(xp, mt.RMSprop(lr=0.1, decay=0.8, eps=0.01, centered=True), GRADS)
    assert found == pytest.approx(expected, rel=1e-5)


def test_rmsprop_centered_takes_no_root_of_a_rounding_error(xp: Target) -> None:
    """The deviation of a constant gradient is 0, and v - m² lands on either side of it."""
    constant = np.random.default_rng(0).uniform(0.5, 2.0, (20, 20))
    model, grad = (xp.put(mt.MatMul(W), "float32") for W in (np.zeros((20, 20)), constant))
    optimizer = mt.RMSprop(lr=1e-10, decay=0.5, centered=True)
    state = optimizer.init(model)
    update = xp.compile(lambda *given: optimizer.update(*given))
    below = 0
    for _ in range(60):
        model, state = update(model, grad, state)
        below += int(np.sum(mt.to_numpy(state.v.W - state.m.W * state.m.W) < 0.0))
        assert np.isfinite(mt.to_numpy(model.W)).all()
    assert below > 0


def test_adamw_shrinks_the_weights_beside_adam(xp: Target) -> None:
    """The decay is taken from p, and neither m nor v see it."""
    expected, p, m, v = [], 1.0, 0.0, 0.0
    for t, g in enumerate(GRADS, start=1):
        p -= 0.01 * 0.5 * p
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g * g
        p -= 0.01 * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + 0.1)
        expected.append(p)
    assert run(xp, mt.AdamW(lr=0.01, eps=0.1, weight_decay=0.5), GRADS) == pytest.approx(expected, rel=1e-5)


def test_adamw_lets_biases_be(xp: Target) -> None:
    model = xp.put(mt.Affine(np.full((2, 2), 3.0), np.full(2, 3.0)))
    nothing = xp.put(mt.Affine(np.zeros((2, 2)), np.zeros(2)))
    for biases, b in ((True, 1.5), (False, 3.0)):
        optimizer = mt.AdamW(lr=1.0, weight_decay=0.5, biases=biases)
        after, _ = optimizer.update(model, nothing, optimizer.init(model))
        assert_close(after, mt.Affine(np.full((2, 2), 1.5), np.full(2, b)), rtol=1e-6)


def test_amsgrad_never_forgets_a_large_gradient(xp: Target) -> None:
    grads, expected, p, m, v, peak = [8.0, *GRADS], [], 1.0, 0.0, 0.0, 0.0
    for t, g in enumerate(grads, start=1):
        m = 0.9 * m + 0.1 * g
        v = 0.5 * v + 0.5 * g * g
        peak = max(peak, v)
        p -= 0.01 * (m / (1 - 0.9**t)) / (math.sqrt(peak / (1 - 0.5**t)) + 0.1)
        expected.append(p)
    assert peak == 32.0  # the first, and never reached again
    found = run(xp, mt.Adam(lr=0.01, eps=0.1, beta2=0.5, amsgrad=True), grads)
    assert found == pytest.approx(expected, rel=1e-5)


def nesterov_as_published(mu: float, lr: float, steps: int) -> list[float]:
    """v ← mu v - lr g(p + mu v),  p ← p + v: the places p + mu v, where the gradients are taken."""
    p, v, places = 1.0, 0.0, []
    for _ in range(steps):
        v = mu * v - lr * slope(p + mu * v)
        p += v
        places.append(p + mu * v)
    return places


def nesterov_as_it_circulates(mu: float, lr: float, steps: int) -> list[float]:
    """The same for q = p + mu v, with a slip that has been copied often: the new v where the old one belongs."""
    q, v, places = 1.0, 0.0, []
    for _ in range(steps):
        g = slope(q)
        v = mu * v - lr * g
        q += mu * mu * v - (1 + mu) * lr * g
        places.append(q)
    return places


def slope(p: Any) -> Any:
    """The gradient of ½ 3 (p - 2)²."""
    return 3.0 * (p - 2.0)


def test_nesterov_looks_ahead_as_published(xp: Target) -> None:
    """Sutskever et al., 2013, equations 3 and 4, simulated where they say it, not where ours computes it."""
    optimizer = mt.Nesterov(lr=0.05, momentum=0.8)
    model = xp.put(mt.MatMul(np.ones((1, 1))))
    state, places = optimizer.init(model), []
    for _ in range(30):
        model, state = optimizer.update(model, model.gradient(W=slope(model.W)), state)
        places.append(float(mt.to_numpy(model.W)[0, 0]))
    expected = nesterov_as_published(0.8, 0.05, 30)
    assert places == pytest.approx(expected, rel=1e-12 if xp.double == "float64" else 1e-5)
    wrong = nesterov_as_it_circulates(0.8, 0.05, 30)
    assert max(abs(a - b) for a, b in zip(places, wrong, strict=True)) > 0.1  # so the slip would be seen


def test_adams_first_step_has_the_length_of_its_learning_rate(xp: Target) -> None:
    for g in (1e-3, -7.0, 1e3):
        assert run(xp, mt.Adam(lr=0.01), [g])[0] == pytest.approx(1.0 - math.copysign(0.01, g), rel=1e-5)


def test_adams_correction_does_not_cancel(xp: Target) -> None:
    """In float32, 1 - 0.999**10 computed as written is off by some 1e-5 of itself."""
    beta = np.float32(0.999)
    for t in (1, 2, 10, 100, 10_000):
        found = xp.run(
            one_minus_power, xp.asarray(np.asarray(beta), "float32"), xp.asarray(np.asarray(float(t)), "float32")
        )
        exact = -math.expm1(t * math.log(float(beta)))
        assert float(mt.to_numpy(found)) == pytest.approx(exact, rel=1e-6)


def test_an_optimizer_of_ones_own(xp: Target) -> None:
    class SignSGD(mt.Optimizer):
        """p ← p - lr · sign(g)"""

        lr: float = 0.5

        def rule(self, p, g, lr):
            return (p - lr * mt.namespace(g).sign(g),)

    assert run(xp, SignSGD(), GRADS) == pytest.approx([0.5, 1.0, 0.5, 0.0])
    assert mt.names(SignSGD().init(mt.MatMul(np.ones((1, 1))))) == ("step", "lr")


def test_the_state_is_a_tree_of_arrays() -> None:
    model = mt.Sequential(affine(np.random.default_rng(0), 2, 2), mt.Freeze(affine(np.random.default_rng(0), 2, 2)))
    state = mt.Adam(lr=0.1).init(model)
    assert state.lr.dtype == np.float64  # as wide as the model learns in
    assert state.step.dtype == np.int32
    assert mt.names(state)[5:] == ("m.0.W", "m.0.b", "v.0.W", "v.0.b")  # no memory for what is frozen
    assert mt.SGD().init(mt.Sequential(mt.Tanh())).lr.dtype == np.float32
    assert mt.names(pickle.loads(pickle.dumps(state))) == mt.names(state)
    assert mt.SGD(lr=0.1) == mt.SGD(lr=0.1)
    assert repr(mt.Momentum(lr=0.5)) == "Momentum(lr=0.5, momentum=0.9)"


def test_a_wider_learning_rate_does_not_widen_the_weights(xp: Target) -> None:
    model = xp.put(mt.MatMul(np.ones((2, 2))), "float32")
    state = mt.SGD().init(model)
    if xp.double == "float64":
        state = mt.replace(state, {"lr": xp.put(np.asarray(0.1))})
    after, _ = mt.SGD().update(model, model, state)
    assert after.W.dtype == model.W.dtype


@pytest.mark.parametrize("optimizer", [mt.SGD, mt.Momentum, mt.Nesterov, mt.AdaGrad, mt.RMSprop, mt.Adam, mt.AdamW])
def test_positional_numbers_are_refused(optimizer: type[mt.Optimizer]) -> None:
    with pytest.raises(TypeError):
        optimizer(0.1)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "transforms",
    [(mt.L2(decay=0.1),), (mt.ClipByNorm(limit=1.0),), (mt.ClipByValue(limit=1.0), mt.L2(decay=0.1, biases=False))],
    ids=repr,
)
def test_a_fault_in_one_array_leaves_all_as_it_was(xp: Target, transforms: tuple[mt.Transform, ...]) -> None:
    """The first layer's gradient is right: nothing of it may have been applied when the second is found wrong."""
    rng = np.random.default_rng(0)
    model = xp.put(mt.Sequential(affine(rng, 2, 3), mt.Tanh(), affine(rng, 3, 2)))
    wrong = xp.put(mt.Sequential(affine(rng, 2, 3), mt.Tanh(), affine(rng, 3, 4)))
    optimizer = mt.Adam(transforms=transforms)
    state = optimizer.init(model)
    before = to_numpy((model, wrong, state))
    grad = model.gradient(layers=(wrong[0], None, wrong[2]))
    with pytest.raises(ValueError, match=r"a gradient has shape \(3, 4\), expected \(3, 2\)"):
        optimizer.update(model, grad, state)
    assert_close((model, wrong, state), before, rtol=0)
