"""A plan that is interrupted leaves its state whole: that of before the step, or that of after it.

Each call of a step fails in turn, before it does anything, as for want of memory; then after all that it does, as a
warning that is an error; and Ctrl-C is pressed for real.  What the state then is says its own counter.
"""

from __future__ import annotations

import _thread
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import affine, batch_norm
from planned import Planned, assert_same_bits

import martlet as mt
from martlet.compile.plans.calls import Calls
from martlet.compile.replay import carried_of
from martlet.tree import take_apart

SIMPLE = ("reduce", "dot", "__setitem__")
COSINE = mt.schedules.Cosine(steps=50, warmup=5)
OPTIMIZERS: dict[str, mt.Optimizer] = {
    "SGD": mt.SGD(),
    "Momentum": mt.Momentum(),
    "amsgrad": mt.Adam(amsgrad=True),
    "schedule": mt.AdamW(schedule=COSINE),
    "powers": mt.SGD(schedule=mt.schedules.Exponential(every=3)),
    "clipped": mt.Nesterov(transforms=(mt.L2(decay=0.1), mt.ClipByNorm(limit=0.1))),
}


def noisy(rng: np.random.Generator) -> mt.Layer:
    return mt.Sequential(
        mt.Embedding(rng.standard_normal((7, 2))), mt.Flatten(), batch_norm(rng, 4), mt.Dropout.init(0.5, rng),
        affine(rng, 4, 3), mt.Sigmoid(), mt.MatMul(rng.standard_normal((3, 2))),
    )  # fmt: skip


def training(
    name: str, exact: bool = True
) -> tuple[Planned, Callable[..., list[Any]], list[Any], tuple[np.ndarray, np.ndarray]]:
    """A plan, the step itself from leaves to leaves, the leaves it starts with, and a batch."""
    rng = np.random.default_rng(1)
    model, loss, optimizer = noisy(rng), mt.SoftmaxWithLoss(), OPTIMIZERS[name]
    state, x, t = optimizer.init(model), rng.integers(0, 7, (5, 2)), np.array([0, 1, 1, 0, 1])
    leaves, build = take_apart((model, state))

    def step(model: Any, state: Any, x: Any, t: Any) -> Any:
        return mt.train_step(model, loss, optimizer, state, x, t)

    def eagerly(leaves: list[Any]) -> list[Any]:
        return take_apart(step(*build(leaves), x, t)[:2])[0]

    kept = range(len(leaves))
    carried = carried_of(model, (), state)
    return Planned(step, model, state, x, t, carried=carried, kept=kept, exact=exact), eagerly, leaves, (x, t)


def permuting() -> tuple[Planned, Callable[..., list[Any]], list[Any], tuple[np.ndarray, ...]]:
    rng = np.random.default_rng(2)
    leaves: list[Any] = list(rng.standard_normal((4, 9, 9)))
    x = rng.integers(0, 9, 9)

    def step(a: Any, b: Any, c: Any, d: Any, x: Any) -> Any:
        return b, a.T - a, c * 0.5 + d, mt.namespace(x).take(a, x, axis=0) + c @ b

    def eagerly(leaves: list[Any]) -> list[Any]:
        return list(step(*leaves, x))

    carried = [(i, i, "model", str(i)) for i in range(4)]
    return Planned(step, *leaves, x, carried=carried), eagerly, leaves, (x,)


def turning() -> tuple[Planned, Callable[..., list[Any]], list[Any], tuple[np.ndarray, ...]]:
    """Two arrays that are read to the end before the first of them is written."""
    leaves: list[Any] = list(np.random.default_rng(3).standard_normal((2, 9, 9)))

    def step(a: Any, b: Any) -> Any:
        return a - a.T, b.T - b

    def eagerly(leaves: list[Any]) -> list[Any]:
        return list(step(*leaves))

    return Planned(step, *leaves, carried=[(i, i, f"role {i}", "0") for i in range(2)]), eagerly, leaves, ()


SETUPS: dict[str, Callable[[], Any]] = {"permuting": permuting, "turning": turning}
SETUPS |= {name: (lambda name=name: training(name)) for name in OPTIMIZERS}


def make(planned: Planned, calls: Calls) -> None:
    """Let a plan make these calls in its steps."""
    planned.plan._run = calls.run


def assert_state(planned: Planned, leaves: list[Any], what: str = "") -> None:
    for got, wanted in zip(planned.state_now(), leaves, strict=True):
        assert_same_bits(got, wanted, what)


def is_state(planned: Planned, leaves: list[Any]) -> bool:
    return all(
        np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in zip(planned.state_now(), leaves, strict=True)
    )


def replaced(calls: Calls, number: int, by: Callable[..., Any]) -> Calls:
    """The same calls, but for one: ``by`` gets its function and its arguments."""
    changed = list(calls.calls)
    function, *arguments = changed[number]
    changed[number] = (by, function, *arguments)
    return Calls(changed, calls.commit, calls.count)


def with_ctrl_c(calls: Calls, number: int) -> Calls:
    """The same calls, and before one of them somebody presses Ctrl-C."""
    changed = [*calls.calls[:number], (_thread.interrupt_main,), *calls.calls[number:]]
    return Calls(changed, calls.commit + (number <= calls.commit), calls.count)


class Once:
    """Fails the first time, before what it was asked to do, and does it from then on."""

    def __init__(self, error: BaseException, times: int = 1) -> None:
        self.error, self.left = error, times

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if self.left:
            self.left -= 1
            raise self.error
        return function(*arguments)


@pytest.mark.parametrize("error", [MemoryError("simulated"), KeyboardInterrupt(), IndexError("simulated")], ids=repr)
@pytest.mark.parametrize("name", SETUPS)
def test_whichever_call_fails_the_state_is_that_of_before_or_of_after(name: str, error: BaseException) -> None:
    planned, eagerly, before, batch = SETUPS[name]()
    whole, seen = planned.plan.calls, set()
    planned.step(*batch)
    before = eagerly(before)
    some = {*range(0, len(whole), 1 if isinstance(error, MemoryError) else 7), len(whole) - 1}
    for number in sorted(some):
        after = eagerly(before)
        make(planned, replaced(whole, number, Once(error)))
        with pytest.raises(type(error)):
            planned.plan.run()
        moved = number >= whole.commit
        seen.add(moved)
        assert_state(planned, after if moved else before, f"call {number}, {whole.calls[number][0]}")
        make(planned, whole)
        planned.plan.run()
        before = eagerly(after if moved else before)
        assert_state(planned, before, f"the step after call {number}")
    assert seen == {False, True}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_fast_plan_is_whole_too_and_counts_its_steps_with_its_state(name: str) -> None:
    planned, twin = training(name, exact=False)[0], training(name, exact=False)[0]
    batch, whole = training(name)[-1], planned.plan.calls
    make(planned, whole)  # the same calls, of which a small plan makes a script
    planned.step(*batch)
    twin.step(*batch)
    for number in {*range(0, len(whole), 5), *range(whole.commit, len(whole))}:
        for calls in (replaced(whole, number, Once(MemoryError())), with_ctrl_c(whole, number + 1)):
            make(planned, calls)
            with pytest.raises((MemoryError, KeyboardInterrupt)):
                planned.plan.run()
            make(planned, whole)
            if counted(planned) > counted(twin):
                twin.plan.run()
            assert_state(planned, twin.state_now(), f"call {number}, {whole.calls[number][0]}")
            planned.plan.run()
            twin.plan.run()
            assert counted(planned) == counted(twin)


@pytest.mark.parametrize("name", SETUPS)
def test_what_may_fail_for_its_numbers_comes_before_the_state_is_written(name: str) -> None:
    planned, _, _, _ = SETUPS[name]()
    calls = planned.plan.calls
    for function, *_ in calls.calls[calls.commit :]:
        bare = getattr(function, "func", function)
        assert isinstance(bare, np.ufunc) or bare in (np.copyto, np.matmul) or bare.__name__ in SIMPLE


@pytest.mark.parametrize("bad", [9, -10, 10**9])
def test_an_index_out_of_range_leaves_the_state_as_it_was(bad: int) -> None:
    planned, eagerly, before, (x,) = permuting()
    wrong = x.copy()
    wrong[-1] = bad
    for _ in range(3):
        with pytest.raises(IndexError):
            planned.step(wrong)
        assert_state(planned, before)
        planned.step(x)
        before = eagerly(before)
        assert_state(planned, before)


def test_an_index_that_comes_out_of_the_new_state_is_looked_at_before_that_is_written() -> None:
    def step(p: Any, n: Any, x: Any) -> Any:
        n = n + 1
        return p * 0.5, n, mt.namespace(x).take(x, n, axis=0)

    p, n, x = np.ones(3), np.array([0, 0]), np.arange(3.0)
    planned = Planned(step, p, n, x, carried=[(0, 0, "model", "p"), (1, 1, "model", "n")])
    assert planned.step(x)[0].tolist() == [1.0, 1.0]
    assert planned.step(x)[0].tolist() == [2.0, 2.0]
    with pytest.raises(IndexError):
        planned.step(x)
    assert [a.tolist() for a in planned.state_now()] == [[0.25] * 3, [2, 2]]


def test_a_warning_that_is_an_error_comes_after_the_numbers_and_they_are_not_made_again() -> None:
    """p doubles in place, until it overflows: that raises each time, and each time the step has been taken."""
    planned = Planned(lambda p, q: (p * 2.0, q + 1.0), *np.ones((2, 3)), carried=[(i, i, "m", str(i)) for i in (0, 1)])
    with np.errstate(all="raise"):
        for _ in range(1023):
            planned.step()
        for number in (1024, 1025):
            if number == 1024:
                with pytest.raises(FloatingPointError):
                    planned.step()
            else:
                planned.step()  # infinity doubled is no overflow
            p, q = planned.state_now()
            assert np.isinf(p).all()
            assert q.tolist() == [number + 1.0] * 3
    tiny = Planned(lambda p, q: (p * 0.75, q + 1.0), np.full(3, 1e-307), np.ones(3), carried=planned.carried)
    p, raised = np.full(3, 1e-307), 0
    for number in range(1, 60):
        with np.errstate(all="raise"):
            try:
                tiny.step()
            except FloatingPointError:
                raised += 1
        with np.errstate(all="ignore"):
            p = p * 0.75
        assert_same_bits(tiny.state_now()[0], p)
        assert_same_bits(tiny.state_now()[1], np.full(3, number + 1.0))
    assert raised > 20


def test_a_warning_that_is_an_error_may_come_again_on_the_way() -> None:
    """Each step the second call overflows, into memory of its own, after the first has written p."""

    def step(p: Any, q: Any) -> Any:
        return p * 0.5, mt.namespace(q).minimum(mt.namespace(q).exp(q), q + 1.0)

    planned = Planned(step, np.ones(3), np.full(3, 1000.0), carried=[(0, 0, "m", "p"), (1, 1, "m", "q")])
    for number in range(1, 5):
        with np.errstate(all="raise"), pytest.raises(FloatingPointError):
            planned.step()
        assert [a.tolist() for a in planned.state_now()] == [[0.5**number] * 3, [1000.0 + number] * 3]


def test_a_second_failure_on_the_way_is_made_up_for_too() -> None:
    planned, eagerly, before, batch = training("amsgrad")
    whole = planned.plan.calls
    for first in range(whole.commit, len(whole) - 1):
        calls = replaced(whole, first, Once(MemoryError("first")))
        make(planned, replaced(calls, len(whole) - 1, Once(MemoryError("second"))))
        for place, array in zip(planned.plan.inputs, batch, strict=True):
            place[...] = array
        with pytest.raises(MemoryError, match="first"):
            planned.plan.run()
        before = eagerly(before)
        assert_state(planned, before, f"call {first}")


def counted(planned: Planned) -> int:
    return int(planned.state.read()["state.step"])


@pytest.mark.parametrize("name", SETUPS)
def test_ctrl_c_within_any_call_is_noticed_before_or_after_the_step(name: str) -> None:
    """NumPy's copyto and dot ask a function of Python who is responsible, and there a Ctrl-C is noticed: no call of a
    step that has begun to change the state is left out for that, or made twice."""
    planned, eagerly, before, batch = SETUPS[name]()
    whole, seen = planned.plan.calls, []
    planned.step(*batch)
    before = eagerly(before)
    for number in sorted({*range(0, whole.commit, 5), *range(whole.commit, len(whole) + 1)}):
        after = eagerly(before)
        make(planned, with_ctrl_c(whole, number))
        with pytest.raises(KeyboardInterrupt):
            planned.plan.run()
        seen.append(is_state(planned, after))
        assert seen[-1] or is_state(planned, before), f"call {number}"
        before = after if seen[-1] else before
    assert all(seen[whole.commit - len(whole) :])


def run_until_ctrl_c(planned: Planned, delay: float) -> None:
    """Steps without end, and a Ctrl-C after so many seconds, which does not come before somebody waits for it."""
    signal.setitimer(signal.ITIMER_REAL, delay)
    while True:
        planned.plan.run()


def interrupt_often(planned: Planned, look: Callable[[], None] = lambda: None) -> None:
    """Steps without end, and a Ctrl-C after a few; twelve times."""
    before = signal.getsignal(signal.SIGALRM)
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        for delay in np.linspace(0.0002, 0.004, 12):
            with pytest.raises(KeyboardInterrupt):
                run_until_ctrl_c(planned, float(delay))
            look()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("name", ["SGD", "amsgrad", "clipped"])
def test_ctrl_c_by_a_real_signal_leaves_whole_steps(name: str) -> None:
    planned, eagerly, leaves, batch = training(name)
    planned.step(*batch)
    leaves, steps = eagerly(leaves), 1

    def look() -> None:
        nonlocal leaves, steps
        while steps < counted(planned):
            leaves, steps = eagerly(leaves), steps + 1
        assert_state(planned, leaves, f"{steps} steps")

    interrupt_often(planned, look)
    assert steps > 12


@pytest.mark.parametrize("name", ["SGD", "amsgrad", "clipped"])
def test_ctrl_c_by_a_real_signal_leaves_whole_steps_of_a_fast_plan(name: str) -> None:
    (planned, _, _, batch), twin = training(name, exact=False), training(name, exact=False)[0]
    planned.step(*batch)
    twin.step(*batch)
    interrupt_often(planned)
    while counted(twin) < counted(planned):
        twin.plan.run()
    assert_state(planned, twin.state_now(), f"{counted(twin)} steps")
    assert counted(twin) > 12
