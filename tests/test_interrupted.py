"""Interrupted: an allocation that fails, or a Ctrl-C, anywhere in a step leaves everything as it was.

A step is counted once and then taken again and again, and each time another one of its operations fails.  What
was passed in must be the same to the last bit, and the next step, undisturbed, must give what it would have given.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import numpy as np
import pytest
from cases import affine, batch_norm
from conftest import Target, take_apart

import martlet as mt

SOURCE = str(Path(mt.__file__).parent)
OPERATIONS = ("BINARY", "UNARY", "COMPARE", "CONTAINS", "CALL", "FOR_ITER", "STORE_SUBSCR")

Place = tuple[str, int, int]  # a file, a line of it, and which operation there (0 for a line without one)


class Watch:
    """Follows martlet's own code by operations, or by lines, and raises at the one of the given number."""

    def __init__(self, by: str, number: int = 0, error: type[BaseException] = MemoryError) -> None:
        self.by, self.number, self.error = by, number, error
        self.count = 0
        self.places: list[Place] = []

    @contextmanager
    def __call__(self) -> Iterator[None]:
        before = sys.gettrace()  # a debugger's, or that of coverage
        sys.settrace(self.enter)
        try:
            yield
        finally:
            sys.settrace(before)

    def enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(SOURCE):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = self.by == "operation", self.by == "line"
        found = operations(code)

        def follow(frame: FrameType, event: str, argument: Any) -> Any:
            if event == "line" or (event == "opcode" and frame.f_lasti in found):
                self.count += 1
                if self.count == self.number:
                    raise self.error("simulated")
                if not self.number:
                    operation = frame.f_lasti if event == "opcode" else int(frame.f_lineno in found.values())
                    self.places.append((code.co_filename, frame.f_lineno, operation))
            return follow

        return follow


_operations: dict[int, tuple[CodeType, dict[int, int]]] = {}


def operations(code: CodeType) -> dict[int, int]:
    """Where in a function's bytecode something is computed, called or taken, and so can fail; and the line of each."""
    if id(code) not in _operations:  # the hash of a code is that of all its constants, and slow
        every = [i for i in dis.get_instructions(code) if i.opname.startswith(OPERATIONS) and i.positions]
        _operations[id(code)] = code, {i.offset: i.positions.lineno or 0 for i in every if i.positions}
    return _operations[id(code)][1]


def places_of(call: Callable[[], Any], by: str) -> list[Place]:
    """Every place that a call passes, in order."""
    call()  # what is looked up once and remembered is no longer in the way
    watch = Watch(by)
    with watch():
        call()
    return watch.places


def interrupted(call: Callable[[], Any], by: str, number: int, error: type[BaseException]) -> BaseException:
    """What a call raises when it is interrupted at the place of this number, from 1."""
    watch = Watch(by, number, error)
    with pytest.raises(error) as caught, watch():
        call()
    return caught.value


def bits(value: Any) -> list[bytes]:
    return [np.asarray(mt.to_numpy(x)).tobytes() for x in take_apart(value)[0]]


# ------------------------------------------------------------------------------------------ one step


class Step(NamedTuple):
    """What train_step takes, made by a NumPy Generator."""

    model: mt.Layer
    loss: mt.Loss
    optimizer: mt.Optimizer
    t: np.ndarray
    weight: np.ndarray | None = None


def plain(rng: np.random.Generator) -> mt.Layer:
    return mt.Sequential(affine(rng, 3, 2), mt.Sigmoid())


def noisy(rng: np.random.Generator) -> mt.Layer:
    return mt.Sequential(batch_norm(rng, 3), mt.Dropout.init(0.5, rng), mt.MatMul(rng.standard_normal((3, 2))))


LABELS, NUMBERS = np.array([0, 1, 1, 0, 1]), np.linspace(0.0, 1.0, 10).reshape(5, 2)
CLIPPED = mt.Momentum(transforms=(mt.L2(decay=0.1), mt.ClipByNorm(limit=0.1)))
STEPS: dict[str, Callable[[np.random.Generator], Step]] = {
    "SGD, squared error": lambda rng: Step(plain(rng), mt.MeanSquaredError(), mt.SGD(), NUMBERS),
    "clipped, Huber": lambda rng: Step(plain(rng), mt.Huber(), CLIPPED, NUMBERS),
    "Adam, softmax": lambda rng: Step(noisy(rng), mt.SoftmaxWithLoss(), mt.Adam(), LABELS),
    "AdamW, weights, sigmoid": lambda rng: Step(
        noisy(rng), mt.SigmoidWithLoss(pos_weight=np.array([1.0, 2.0])), mt.AdamW(amsgrad=True), NUMBERS, np.ones(5)
    ),
}
BY = ["line", "operation"] if sys.version_info < (3, 12) else ["line"]  # later ones do not report each operation
STRIDE = {"numpy": 1, "torch": 11, "jax": 101}  # the text is the same everywhere, and only NumPy is quick


@pytest.mark.eager
@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("step", STEPS)
def test_wherever_a_step_fails_nothing_has_changed(step: str, by: str, xp: Target) -> None:
    rng = np.random.default_rng(1)
    given = STEPS[step](rng)
    model, loss, t, weight = map(xp.put, (given.model, given.loss, given.t, given.weight))
    x, state = xp.asarray(rng.standard_normal((5, 3))), given.optimizer.init(model)
    everything = (model, loss, state, x, t, weight)

    def call() -> Any:
        return mt.train_step(model, loss, given.optimizer, state, x, t, weight)

    places, before, expected = places_of(call, by), bits(everything), bits(call())
    assert len(places) > 200
    for number in range(1, len(places) + 1, STRIDE.get(xp.name, 61)):
        interrupted(call, by, number, MemoryError if by == "operation" else KeyboardInterrupt)
        assert bits(everything) == before, places[number - 1]
        assert bits(call()) == expected, places[number - 1]


# --------------------------------------------------------------------------------------- a whole run


class Run(NamedTuple):
    """A short training run, what is passed to it, and the models after each of its epochs."""

    call: Callable[[], Any]
    given: tuple[Any, ...]
    epochs: list[list[bytes]]


def short_run() -> Run:
    rng = np.random.default_rng(2)
    model, optimizer = mt.Sequential(affine(rng, 3, 2)), mt.Momentum()
    x, t, state = rng.standard_normal((5, 3)), np.array([0, 1, 1, 0, 1]), optimizer.init(model)
    epochs = [bits(model)]

    def call(**changes: Any) -> Any:
        settings = {"epochs": 2, "batch_size": 3, "metrics": ["accuracy"], "validation": (x, t), "state": state}
        return mt.fit(model, x, t, loss=mt.SoftmaxWithLoss(), optimizer=optimizer, **settings | changes)

    call(hook=lambda epoch, model, history: epochs.append(bits(model)))
    return Run(call, (model, x, t, state), epochs)


def ends_of(places: list[Place]) -> dict[int, Place]:
    """The first and the last time that each place is passed, by number."""
    first = {place: number for number, place in reversed(list(enumerate(places, start=1)))}
    last = {place: number for number, place in enumerate(places, start=1)}
    return {number: place for ends in (first, last) for place, number in ends.items()}


def test_ctrl_c_ends_a_run_and_changes_nothing() -> None:
    run = short_run()
    before, expected = bits(run.given), bits(run.call()[0])
    for number, place in ends_of(places_of(run.call, "line")).items():
        interrupted(run.call, "line", number, KeyboardInterrupt)
        assert bits(run.given) == before, place
    assert bits(run.call()[0]) == expected


def test_an_allocation_that_fails_in_a_run_is_out_of_memory_after_whole_epochs() -> None:
    run = short_run()
    before, expected, whole = bits(run.given), bits(run.call()[0]), set()
    for number, place in ends_of(places_of(run.call, "line")).items():
        if not place[-1]:  # nothing is allocated there
            continue
        error = interrupted(run.call, "line", number, MemoryError)
        assert bits(run.given) == before, place
        if isinstance(error, mt.OutOfMemory):  # not while the data is on its way
            history = error.history
            done = len(history.loss)
            whole.add(done)
            assert bits(error.model) == run.epochs[done], place
            assert int(history.state.step) == 2 * done, place
            for curve in (history.seconds, history.validation_loss, history.metrics.get("accuracy", [])):
                assert len(curve) == done, place
            assert (error.batch_size, error.fits) == (3, 3 if error.beside else 1)
    assert whole == {0, 1, 2}
    assert bits(run.call()[0]) == expected
