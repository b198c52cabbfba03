"""A large update in pieces is the update of the whole, to the last bit, and is never left half done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import OPTIMIZERS, OptimizerCase, affine
from conftest import take_apart
from test_chunks import Steps, interrupted, small

import martlet as mt
from martlet.compile.plans import pieces
from martlet.compile.plans.plan import Plan
from martlet.compile.plans.state import State
from martlet.compile.recorder.recording import record
from martlet.compile.replay import carried_of


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "LARGE", 8)
    monkeypatch.setattr(pieces, "PIECE", 7)
    monkeypatch.setattr(pieces, "SHARED", 7)


def plan_of(model: Any, optimizer: Any, x: np.ndarray, t: np.ndarray, **settings: Any) -> Plan:
    loss, state = mt.SoftmaxWithLoss(), optimizer.init(model)
    program = record(mt.train_step, model, loss, optimizer, state, x, t)
    names = [node.settings["name"] for node in program.inputs[:-2]]
    memory = State({n: np.array(a, order="C") for n, a in zip(names, take_apart((model, loss, state))[0], strict=True)})
    plan = Plan(program, carried_of(model, loss, state), memory, **settings)
    plan.inputs[0][...], plan.inputs[1][...] = x, t
    return plan


def network(rng: np.random.Generator) -> mt.Layer:
    return mt.Sequential(affine(rng, 3, 4), mt.Tanh(), affine(rng, 4, 3))


@pytest.mark.parametrize("case", OPTIMIZERS, ids=lambda case: case.name)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_optimizer_updates_to_the_bit(case: OptimizerCase, dtype: str) -> None:
    rng = np.random.default_rng(2)
    model, optimizer = network(rng).to(dtype=dtype), case.optimizer()
    x, t = rng.standard_normal((6, 3)).astype(dtype), rng.integers(0, 3, 6)
    plans = [plan_of(model, optimizer, x, t, exact=True, threads=threads) for threads in (1, 2, 3)]
    for plan in plans:
        assert plan.pieces is not None
    state = optimizer.init(model)
    for _ in range(3):
        for plan in plans:
            plan.run()
        model, state, _ = mt.train_step(model, mt.SoftmaxWithLoss(), optimizer, state, x, t)
    for plan in plans:
        found = plan.state.read()
        for a, b in zip(found.values(), take_apart((model, state))[0], strict=True):
            assert np.array_equal(a, b)


def test_small_updates_are_left_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    given = network(rng), mt.Adam(), rng.standard_normal((6, 3)), rng.integers(0, 3, 6)
    assert plan_of(*given).pieces is not None
    monkeypatch.setattr(pieces, "LARGE", 32)  # there are 31
    assert plan_of(*given).pieces is None


def updated(function: Callable[..., Any], **arrays: np.ndarray) -> Plan:
    """Two steps of a function that gives its own next arguments: pieces give the same."""
    carried = [(i, i, name, "all") for i, name in enumerate(arrays)]
    plan = Plan(record(function, *arrays.values()), carried, State(dict(arrays)), exact=True, threads=2)
    state: Any = list(arrays.values())
    for _ in range(2):
        plan.run()
        state = function(*state)
    for found, wanted in zip(plan.state.read().values(), state, strict=True):
        assert np.array_equal(found, wanted)
    return plan


def test_what_others_read_is_not_put_off() -> None:
    p, v = np.random.default_rng(3).standard_normal((2, 40))

    def summed(p: Any, v: Any) -> Any:  # the new numbers are read by another state
        return p - v * mt.namespace(p).sum(p - v), 0.9 * v + p

    def turned(p: Any, v: Any) -> Any:  # one becomes the other's old numbers, turned around
        return p - v, mt.namespace(p).flip(p)

    for function in (summed, turned, lambda p, v: (v * 2.0, p * 0.5), lambda p, v: (p - v * v[:1], v + p)):
        updated(function, p=p, v=v)
    assert updated(lambda p, v: (p - 0.1 * v, 0.9 * v + p), p=p, v=v).pieces is not None


def test_what_it_reads_is_not_replaced_before_it() -> None:
    p, v = np.random.default_rng(3).standard_normal((2, 40))
    s = np.asarray([2.0])
    updated(lambda p, v, s: (p - s[0, ...] * v, v * s[0, ...], s + 1.0), p=p, v=v, s=s)
    updated(lambda p, v, s: (p - s * v, v * s, s + 1.0), p=p, v=v, s=s.reshape(()))


def test_chunks_and_pieces_together() -> None:
    given = small(np.random.default_rng(8))
    first, *others = (Steps(*given, rows=7, threads=threads) for threads in (1, 2, 5))
    wanted = first.run()
    for other in others:
        assert other.plan.pieces is not None
        assert all(map(np.array_equal, other.run(), wanted))


def test_no_ctrl_c_tears_it() -> None:
    rng = np.random.default_rng(12)
    given = network(rng), mt.Adam(), rng.standard_normal((6, 3)), rng.integers(0, 3, 6)
    plan, undisturbed = (plan_of(*given, threads=2) for _ in range(2))
    known = [undisturbed.state.read()]
    for _ in range(62):
        undisturbed.run()
        known.append(undisturbed.state.read())
    now = 0
    for i in range(60):
        try:
            with interrupted(1e-5 * (1 + i)):
                plan.run()
        except KeyboardInterrupt:
            pass
        found = plan.state.read()
        same = [all(map(np.array_equal, found.values(), wanted.values())) for wanted in known[now : now + 2]]
        assert any(same)
        now += not same[0]
    assert now


@pytest.mark.parametrize("threads", [1, 2])
def test_what_overflows_is_raised_once_all_is_done(threads: int) -> None:
    p, v = np.ones((2, 40))
    p[-1] = 1e200  # in the last thread's piece
    program = record(lambda p, v: (p * p, v + p), p, v)
    carried = [(0, 0, "p", "all"), (1, 1, "v", "all")]
    plan = Plan(program, carried, State({"p": p, "v": v}), threads=threads)
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        plan.run()
    found = plan.state.read()
    assert np.array_equal(found["p"], [1.0] * 39 + [np.inf])
    assert np.array_equal(found["v"], v + p)
