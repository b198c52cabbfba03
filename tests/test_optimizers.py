"""Optimizers, held against their formulas worked out in Python and against torch.optim."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from cases import affine
from conftest import Target

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


@pytest.mark.parametrize("name", ["SGD", "Momentum", "Adam"])
def test_fifty_steps_beside_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    model = mt.Sequential(affine(rng, 3, 4), mt.Tanh(), affine(rng, 4, 2))
    params = [torch.tensor(p, requires_grad=True) for p in mt.leaves(model)]
    ours, theirs = {
        "SGD": (mt.SGD(lr=0.1), torch.optim.SGD(params, lr=0.1)),
        "Momentum": (mt.Momentum(lr=0.1, momentum=0.8), torch.optim.SGD(params, lr=0.1, momentum=0.8)),
        "Adam": (mt.Adam(lr=0.1), torch.optim.Adam(params, lr=0.1)),
    }[name]
    state = ours.init(model)
    for _ in range(50):
        grads = [rng.standard_normal(p.shape) for p in params]
        model, state = ours.update(model, mt.rebuild(model, grads), state)
        for p, g in zip(params, grads, strict=True):
            p.grad = torch.tensor(g)
        theirs.step()
    for ours_p, p in zip(mt.leaves(model), params, strict=True):
        np.testing.assert_allclose(ours_p, p.detach().numpy(), rtol=1e-11, atol=1e-11)


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


@pytest.mark.parametrize("optimizer", [mt.SGD, mt.Momentum, mt.Adam])
def test_positional_numbers_are_refused(optimizer: type[mt.Optimizer]) -> None:
    with pytest.raises(TypeError):
        optimizer(0.1)  # type: ignore[call-arg]
