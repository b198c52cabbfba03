"""A schedule is a formula of the step number, so it is held against that formula, in Python's own floats.

The step number and the schedule's numbers are arrays in the optimizer's state: a run that is resumed knows
where it was, and one that is compiled need not be compiled again for another learning rate.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import affine
from conftest import Target, assert_close, to_numpy

import martlet as mt
from martlet.schedules import Constant, Cosine, Exponential, Schedule, Step


def after_warmup(warmup: float, factor: Callable[[float], float]) -> Callable[[int], float]:
    """The whole schedule: a straight line over the warm-up, then the factor, counted from there."""
    return lambda n: (n + 1) / warmup if n + 1 < warmup else factor(max(n - warmup, 0.0))


def half_wave(n: float, steps: float, end: float) -> float:
    return end + (1 - end) * (1 + math.cos(math.pi * n / steps)) / 2 if n < steps else end


SCHEDULES: dict[str, tuple[Schedule, Callable[[int], float]]] = {
    "Constant": (Constant(), lambda n: 1.0),
    "Constant, warm-up": (Constant(warmup=4), after_warmup(4, lambda n: 1.0)),
    "Constant, warm-up of one step": (Constant(warmup=1), lambda n: 1.0),
    "Constant, warm-up of half a step": (Constant(warmup=0.5), lambda n: 1.0),
    "Step": (Step(every=5), lambda n: 0.1 ** (n // 5)),
    "Step, warm-up": (Step(every=5, ratio=0.5, warmup=3), after_warmup(3, lambda n: 0.5 ** (n // 5))),
    "Step, to nothing": (Step(every=5, ratio=0.0), lambda n: 1.0 if n < 5 else 0.0),
    "Step, two and a half": (Step(every=2.5, ratio=0.9), lambda n: 0.9 ** math.floor(n / 2.5)),
    "Exponential": (Exponential(every=5), lambda n: 0.1 ** (n / 5)),
    "Exponential, warm-up": (Exponential(every=1, ratio=0.9, warmup=6), after_warmup(6, lambda n: 0.9**n)),
    "Cosine": (Cosine(steps=20), lambda n: half_wave(n, 20, 0.0)),
    "Cosine, warm-up": (Cosine(steps=20, warmup=5), after_warmup(5, lambda n: half_wave(n, 20, 0.0))),
    "Cosine, to a tenth": (Cosine(steps=12, warmup=2.5, end=0.1), after_warmup(2.5, lambda n: half_wave(n, 12, 0.1))),
    "Cosine, at once": (Cosine(steps=1, end=0.25), lambda n: 1.0 if n == 0 else 0.25),
}
MANY = [*range(28), 31, 100, 10_000, 2**23]


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_is_its_formula(xp: Target, name: str) -> None:
    schedule, formula = SCHEDULES[name]
    state = mt.SGD(schedule=schedule).init(xp.put(mt.MatMul(np.ones((1, 1))))).schedule
    at = xp.compile(lambda n, state: schedule.at(n, state))
    found = [float(mt.to_numpy(at(xp.asarray(np.asarray(float(n))), state))) for n in MANY]
    double = xp.double == "float64"
    np.testing.assert_allclose(found, [formula(n) for n in MANY], rtol=1e-12 if double else 2e-5, atol=1e-15)


def test_the_warm_up_reaches_the_full_rate_and_the_rest_begins_there() -> None:
    """The boundaries, in the words of the docstring: n is counted from 0, and so is what comes after the warm-up."""
    state = mt.SGD(schedule=Step(every=3, warmup=4)).init(mt.MatMul(np.ones((1, 1)))).schedule
    found = [float(Step(every=3, warmup=4).at(np.asarray(float(n)), state)) for n in range(11)]
    assert found == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.01])


def learning_rates(xp: Target, optimizer: mt.Optimizer, count: int, state: Any = None) -> list[float]:
    """What the optimizer multiplies a gradient of 1 with, step by step."""
    model = xp.put(mt.MatMul(np.zeros((1, 1))))
    state, found = optimizer.init(model) if state is None else state, []
    update = xp.compile(lambda *given: optimizer.update(*given))
    for _ in range(count):
        after, state = update(model, model.gradient(W=mt.namespace(model.W).ones_like(model.W)), state)
        found.append(-float(mt.to_numpy(after.W)[0, 0]))
    return found


@pytest.mark.parametrize("name", ["Step, warm-up", "Cosine, to a tenth"])
def test_an_optimizer_multiplies_its_rate_by_the_schedule(xp: Target, name: str) -> None:
    schedule, formula = SCHEDULES[name]
    found = learning_rates(xp, mt.SGD(lr=0.5, schedule=schedule), 20)
    np.testing.assert_allclose(
        found, [0.5 * formula(n) for n in range(20)], rtol=1e-12 if xp.double[-2:] == "64" else 1e-5
    )


# ------------------------------------------------------------------------------------- what is in the state


def test_the_numbers_are_in_the_state(xp: Target) -> None:
    optimizer = mt.Momentum(lr=0.5, schedule=Cosine(steps=10, warmup=2))
    state = optimizer.init(xp.put(mt.MatMul(np.zeros((1, 1)))))
    found = {name for name in mt.names(state) if name.startswith("schedule.")}
    assert found == {"schedule.warmup", "schedule.steps", "schedule.end"}
    assert [float(mt.to_numpy(x)) for x in (state.schedule.warmup, state.schedule.steps)] == [2.0, 10.0]
    assert state.schedule.steps.dtype == state.lr.dtype
    assert int(mt.to_numpy(state.step)) == 0


def test_what_is_replaced_in_the_state_is_what_counts(xp: Target) -> None:
    optimizer = mt.SGD(lr=0.5, schedule=Cosine(steps=10))
    state = optimizer.init(xp.put(mt.MatMul(np.zeros((1, 1)))))
    longer = mt.replace(state, {"schedule.steps": 40.0, "schedule.warmup": 4.0})
    expected = [0.5 * after_warmup(4, lambda n: half_wave(n, 40, 0.0))(n) for n in range(12)]
    tolerance = 1e-12 if xp.double == "float64" else 1e-5
    np.testing.assert_allclose(learning_rates(xp, optimizer, 12, longer), expected, rtol=tolerance)
    halfway = mt.replace(state, {"step": xp.asarray(np.asarray(5, dtype="int32"))})  # the counter too
    assert learning_rates(xp, optimizer, 1, halfway) == pytest.approx([0.25], rel=1e-6)


def test_a_resumed_run_goes_on_exactly(xp: Target) -> None:
    optimizer = mt.Adam(lr=0.1, schedule=Cosine(steps=15, warmup=4), transforms=(mt.ClipByNorm(limit=0.5),))
    rng = np.random.default_rng(0)
    model = xp.put(mt.Sequential(affine(rng, 2, 3), mt.Tanh(), affine(rng, 3, 2)))
    x, t = xp.put(rng.standard_normal((6, 2))), xp.put(rng.integers(0, 2, 6))
    step = xp.compile(lambda *given: mt.train_step(given[0], mt.SoftmaxWithLoss(), optimizer, *given[1:]))

    def train(model: Any, state: Any, steps: int) -> tuple[Any, Any]:
        for _ in range(steps):
            model, state, _ = step(model, state, x, t)
        return model, state

    whole = train(model, optimizer.init(model), 12)
    half, state = train(model, optimizer.init(model), 6)
    saved = pickle.loads(pickle.dumps(to_numpy((half, state))))  # as a file would hold it
    assert int(saved[1].step) == 6
    place = xp.backend.asarray
    resumed = train(half.to(xp.backend), mt.rebuild(state, map(place, mt.leaves(saved[1]))), 6)
    assert_close(resumed, to_numpy(whole), rtol=0)


def test_fit_goes_on_where_the_schedule_was(xp: Target) -> None:
    x, t = map(xp.put, mt.datasets.spiral(10, dtype="float64"))
    model = xp.put(mt.Sequential(affine(rng := np.random.default_rng(0), 2, 4), mt.Tanh(), affine(rng, 4, 3)))
    settings = {"loss": mt.SoftmaxWithLoss(), "batch_size": 10, "shuffle": False}
    optimizer = mt.Momentum(lr=0.5, schedule=Step(every=5, warmup=2))
    whole, history = mt.fit(model, x, t, optimizer=optimizer, epochs=4, **settings)
    half, first = mt.fit(model, x, t, optimizer=optimizer, epochs=2, **settings)
    resumed, second = mt.fit(half, x, t, optimizer=optimizer, epochs=2, state=first.state, **settings)
    assert first.loss + second.loss == history.loss
    assert_close(resumed, to_numpy(whole), rtol=0)
    changed = mt.Momentum(lr=0.5, schedule=Step(every=6, warmup=2))
    with pytest.raises(ValueError, match=r"the state has schedule\.every=5, but the optimizer schedule\.every=6"):
        mt.fit(half, x, t, optimizer=changed, epochs=1, state=first.state, **settings)


def test_another_rate_compiles_nothing_anew(xp: Target) -> None:
    if not xp.jit:
        pytest.skip("nothing is compiled here")
    optimizer = mt.Adam(schedule=Cosine(steps=10, warmup=2), transforms=(mt.ClipByNorm(limit=1.0),))
    model = xp.put(mt.MatMul(np.ones((2, 2))))
    traces = 0

    def update(*given: Any) -> Any:
        nonlocal traces
        traces += 1
        return optimizer.update(*given)

    compiled, state, moved = xp.compile(update), optimizer.init(model), []
    for changes in ({}, {"lr": 0.5}, {"schedule.warmup": 0.0, "schedule.steps": 99.0}, {"transforms.0.limit": 0.1}):
        state = mt.replace(state, changes)
        after, state = compiled(model, model, state)
        moved.append(float(mt.to_numpy(model.W - after.W)[0, 0]))
    assert len(set(moved)) == 4  # each had its effect
    assert traces == 1
