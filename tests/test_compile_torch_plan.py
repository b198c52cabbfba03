"""What is PyTorch's own about a step that is replayed: its floats, its modes, its devices, and who interrupts it."""

from __future__ import annotations

import _thread
import re
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import Centred, affine
from replayed import Replayed, assert_near, on, training
from test_record_forms import CALLS

import martlet as mt
from martlet.compile import CannotCompile, stepper
from martlet.compile.plans.calls import Calls

pytestmark = pytest.mark.only("torch")


@pytest.mark.parametrize("name", ["asarray of a list", "ones", "linspace", "eye"])
def test_floats_of_no_dtype_are_not_compiled(name: str) -> None:
    import torch

    function, arrays = CALLS[name](np.random.default_rng(0))
    given = [torch.from_numpy(np.array(x, order="C")) for x in arrays]
    with pytest.raises(CannotCompile, match="without dtype="):
        Replayed(lambda *given: function(mt.namespace(given[0]), *given), *given, carried=[])


def mixed(x: Any) -> tuple[Any, Any]:
    """x in another dtype and x: NumPy joins int64 and float32 to float64, and PyTorch to float32."""
    return mt.namespace(x).astype(x, mt.namespace(x).int64), x


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: mixed(x)[0] @ x, "int64 @ .*float32: PyTorch multiplies arrays of one dtype"),
        (lambda x: mt.namespace(x).concat(mixed(x)), "concat gives .*float64 on NumPy and another dtype on PyTorch"),
        (lambda x: mt.namespace(x).tensordot(*mixed(x)), "tensordot gives .*float64 on NumPy"),
        (lambda x: mixed(x)[0] * x, "multiply gives .*float64 on NumPy"),
    ],
    ids=["matmul", "concat", "tensordot", "multiply"],
)
def test_two_dtypes_that_pytorch_joins_to_another_one_are_not_compiled(
    function: Callable[[Any], Any], reason: str
) -> None:
    x = on("torch", np.ones((3, 3)), "float32")
    with pytest.raises(CannotCompile, match=reason):
        Replayed(function, x, carried=[])


def test_what_is_read_is_open_to_autograd() -> None:
    taken = stepper(*training("torch"), size=5)
    taken.run(0, 3)
    assert not any(x.is_inference() for tree in taken.read() for x in mt.leaves(tree))


def test_a_step_reads_no_number_and_assumes_no_processor() -> None:
    """The device "meta" has no numbers: whoever asks for one, or brings an array of the processor, is found out."""
    from martlet.compile.torch.stepper import TorchStepper

    taken = TorchStepper(*training("torch", "meta"), size=5)
    taken.shuffle(np.random.default_rng(0).permutation(23))
    losses = taken.run(0, 5)
    assert (losses.device.type, tuple(losses.shape)) == ("meta", (5,))
    assert {x.device.type for tree in taken.read() for x in mt.leaves(tree)} == {"meta"}


class Asks(mt.Layer):
    """Does what cannot be recorded."""

    def forward(self, x: Any) -> tuple[Any, Any]:
        return (x if float(mt.namespace(x).sum(x)) > 1e9 else x * 2.0), None

    def backward(self, cache: Any, dout: Any) -> tuple[Any, Any]:
        return dout * 2.0, None


class Halves(mt.Layer):
    """Divides integers, which gives float64 on NumPy and float32 on PyTorch."""

    def forward(self, x: Any) -> tuple[Any, Any]:
        ones = mt.namespace(x).astype(x > 0.0, mt.namespace(x).int32)
        return x * (ones / (ones + 1)), x

    def backward(self, cache: Any, dout: Any) -> tuple[Any, Any]:
        return dout, None


@pytest.mark.parametrize(
    ("layer", "reason"), [(Asks(), "NotRecordable: .*float"), (Halves(), "divide gives .*float64")]
)
def test_what_cannot_be_replayed_is_taken_eagerly_saying_why(layer: mt.Layer, reason: str) -> None:
    model, loss, optimizer, _, data = training("torch")
    model = mt.Sequential(layer, *model)
    state = optimizer.init(model)
    taken = stepper(model, loss, optimizer, state, data, size=5)
    assert re.fullmatch(f"PyTorch: eager steps in inference mode: {reason}.*", taken.words)
    value = mt.train_step(model, loss, optimizer, state, *(x[:5] for x in data))[2]
    assert_near(taken.run(0, 1)[0], value, "the loss")


# ---------------------------------------------------------------------------------------- interruptions


class Once:
    """Fails the first time, and does it from then on."""

    def __init__(self, error: BaseException) -> None:
        self.errors = [error]

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if self.errors:
            raise self.errors.pop()
        return function(*arguments)


def run_and_wait(taken: Any) -> None:
    """One step, in which Ctrl-C arrives at the latest while nothing is done."""
    taken.run(0, 1)
    time.sleep(1)


def test_what_takes_memory_has_been_done_before_the_state_is_written() -> None:
    import torch

    _, loss, optimizer, _, data = training("torch")
    rng = np.random.default_rng(2)
    written_first = Centred(rng.standard_normal(3))
    model = on("torch", mt.Sequential(written_first, affine(rng, 3, 2)))
    calls = stepper(model, loss, optimizer, optimizer.init(model), data, size=5).plan.calls  # type: ignore[attr-defined]
    late = [getattr(function, "func", function) for function, *_ in calls.calls[calls.commit :]]
    simple = {torch.add, torch.subtract, torch.multiply, torch.divide, torch.sqrt, torch.negative, torch.expm1}
    assert late
    assert set(late) <= simple | {torch.Tensor.copy_}


def leaves_of(taken: Any) -> list[Any]:
    return [x for tree in taken.read() for x in mt.leaves(tree)]


@pytest.mark.parametrize("how", ["out of memory", "Ctrl-C"])
def test_wherever_a_step_is_interrupted_model_and_state_belong_together(how: str) -> None:
    """They are those of before the step or, once the first number of the state is written, those after it."""
    import torch

    given = training("torch", optimizer=mt.AdamW(schedule=mt.schedules.Cosine(steps=50, warmup=5)))
    before, after = (stepper(*given, size=5) for _ in range(2))
    after.run(0, 1)
    states = [leaves_of(before), leaves_of(after)]
    commit, seen = before.plan.calls.commit, set()
    count = len(before.plan.calls)
    for number in (*range(0, commit, 9), *range(commit, count)):
        taken = stepper(*given, size=5)
        calls, (function, *arguments) = list(taken.plan.calls.calls), taken.plan.calls.calls[number]
        if how == "Ctrl-C":
            calls.insert(number, (_thread.interrupt_main,))
        else:
            calls[number] = (Once(torch.OutOfMemoryError("simulated")), function, *arguments)
        taken.plan.calls = Calls(calls, commit + (how == "Ctrl-C" and number < commit), taken.plan.calls.count)
        with pytest.raises(KeyboardInterrupt if how == "Ctrl-C" else torch.OutOfMemoryError):
            run_and_wait(taken)
        which = [all(torch.equal(x, y) for x, y in zip(leaves_of(taken), state, strict=True)) for state in states]
        assert sum(which) == 1, f"torn at call {number} of {count}"
        seen.add(which[1])
        assert which[1] == (number >= commit)
    assert seen == {False, True}
