"""A step replayed on PyTorch is the step as it is written there: every row of the tables, in three widths of floats."""

from __future__ import annotations

import _thread
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import hypothesis
import numpy as np
import pytest
from cases import LAYERS, LOSSES, OPTIMIZERS, Centred, LayerCase, LossCase, OptimizerCase, affine, network
from hypothesis import strategies as st
from properties.programs import Written, drawn_arrays
from properties.strategies import for_all, seeds
from test_laws import draw
from test_plan import NETWORKS
from test_record_forms import CALLS

import martlet as mt
from martlet.compile import CannotCompile, stepper
from martlet.compile.calls import Calls
from martlet.compile.node import Node
from martlet.compile.recording import Program, record
from martlet.compile.replay import carried_of
from martlet.tree import take_apart

pytestmark = pytest.mark.only("torch")

WIDTHS = ["float64", "float32", "bfloat16"]
widths = pytest.mark.parametrize("width", WIDTHS)


def to_torch(value: Any, width: str | None = None) -> Any:
    """A nest of arrays and trees on PyTorch, whose floats are of this width."""
    backend = mt.Backend("torch")
    arrays, build = take_apart(value)
    return build([backend.asarray(x, width if mt.backend.is_floating(x) else None) for x in arrays])


class Replayed:
    """The plan of a function, ``carried`` as Plan takes it; ``kept``: the numbers of the inputs that stay."""

    def __init__(self, function: Callable[..., Any], *arguments: Any, carried: Any, kept: Sequence[int] = ()) -> None:
        import torch

        from martlet.compile.torch_calls import Place
        from martlet.compile.torch_plan import TorchPlan
        from martlet.compile.torch_state import TorchState

        with torch.inference_mode():
            program = record(function, *arguments)
            self.carried, self.names = list(carried), [node.settings["name"] for node in program.inputs]
            arrays = take_apart(arguments)[0]
            mine = [i for i in range(len(arrays)) if i in {i for i, *_ in carried} or i in kept]
            half = torch.bfloat16 if torch.bfloat16 in {x.dtype for x in arrays} else torch.float16
            self.state = TorchState({self.names[i]: arrays[i] for i in mine}, Place(torch.device("cpu"), half))
            self.plan = TorchPlan(program, carried, self.state)
        self.data = [i for i in range(len(arrays)) if i not in mine]

    def step(self, *data: Any) -> list[Any]:
        """Copies of the results that are not carried."""
        import torch

        with torch.inference_mode():
            for place, array in zip(self.plan.inputs, data, strict=True):
                place.copy_(array)
            self.plan.run()
            return [x.clone() for x in self.plan.outputs]

    def state_now(self) -> list[Any]:
        """The carried arrays, in order."""
        now = self.state.read()
        return [now[self.names[i]] for i, *_ in self.carried]


def assert_near(got: Any, wanted: Any, what: str) -> None:
    """Equal in form, and nearly in numbers, by the scale of the largest: float64 to 1e-12, others to four units."""
    import torch

    assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape), what
    if not wanted.is_floating_point():
        assert torch.equal(got, wanted), what
        return
    got, wanted, eps = got.double(), wanted.double(), torch.finfo(wanted.dtype).eps
    assert torch.equal(got.isfinite(), wanted.isfinite()), what
    finite = wanted.isfinite()
    scale = float(wanted[finite].abs().max()) if finite.any() else 0.0
    tolerance = 1e-12 if eps < 1e-12 else 4 * eps
    assert float((got - wanted)[finite].abs().sum().clamp(max=1e300)) <= tolerance * scale * wanted.numel(), what
    assert bool(((got - wanted)[finite].abs() <= tolerance * scale).all()), what


def side_by_side(
    function: Callable[..., Any], *arguments: Any, carried: Any, kept: Sequence[int] = (), steps: int = 10
) -> Replayed:
    """Some steps of both, each on other data; AssertionError where they differ."""
    replayed = Replayed(function, *arguments, carried=carried, kept=kept)
    arrays, build = take_apart(arguments)
    given, moved = list(arrays), {i: o for i, o, *_ in replayed.carried}
    for number in range(steps):
        for i in replayed.data:
            given[i] = arrays[i].roll(number, 0) if arrays[i].ndim else arrays[i]
        expected = take_apart(function(*build(given)))[0]
        found = replayed.step(*(given[i] for i in replayed.data))
        results = [x for o, x in enumerate(expected) if o not in moved.values()]
        given = [expected[moved[i]] if i in moved else x for i, x in enumerate(given)]
        for got, wanted in zip(found, results, strict=True):
            assert_near(got, wanted, f"a result of step {number}")
        for got, (i, *_) in zip(replayed.state_now(), replayed.carried, strict=True):
            assert_near(got, given[i], f"{replayed.names[i]} after step {number}")
    return replayed


# ------------------------------------------------------------------------------------------ the tables


@widths
@pytest.mark.parametrize("case", LAYERS, ids=lambda case: case.name)
def test_every_layer_is_trained_as_it_is_eagerly(case: LayerCase, width: str) -> None:
    model, x, dout = to_torch(draw(case), width)
    optimizer = mt.Momentum(lr=0.1)
    state = to_torch(optimizer.init(model))  # which is NumPy's where the model has no arrays

    def step(model: mt.Layer, state: Any, x: Any, dout: Any) -> Any:
        y, cache = model.forward(x)
        dx, grad = model.backward(cache, dout)
        return (*optimizer.update(model.observe(cache), grad, state), y, dx)

    kept = range(len(take_apart((model, state))[0]))
    side_by_side(step, model, state, x, dout, carried=carried_of(model, (), state), kept=kept)


@widths
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("case", LOSSES, ids=lambda case: case.name)
def test_every_loss_is_brought_down_as_it_is_eagerly(
    case: LossCase, reduction: str, weighted: bool, width: str
) -> None:
    rng = np.random.default_rng(5)
    loss, y, t = to_torch((case.loss(reduction), case.y(rng), case.t(rng)), width)
    weight = to_torch(rng.uniform(0.5, 2.0, len(y)), width) if weighted else None

    def step(y: Any, loss: mt.Loss, t: Any, weight: Any) -> Any:
        value, cache = loss.forward(y, t, weight)
        return y - 0.1 * loss.backward(cache), value

    kept = range(1, 1 + len(mt.leaves(loss)))
    side_by_side(step, y, loss, t, weight, carried=[(0, 0, "model", "y")], kept=kept)


@widths
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("case", OPTIMIZERS, ids=lambda case: case.name)
def test_every_optimizer_trains_as_it_does_eagerly(case: OptimizerCase, name: str, width: str) -> None:
    rng = np.random.default_rng(3)
    model, loss, optimizer = to_torch(NETWORKS[name](rng), width), mt.SoftmaxWithLoss(), case.optimizer()
    x = rng.integers(0, 7, (6, 2)) if name == "words" else rng.standard_normal((6, 3))
    batch = to_torch((x, rng.integers(0, 2, 6)), width)
    state = optimizer.init(model)

    def step(model: Any, state: Any, x: Any, t: Any) -> Any:
        return mt.train_step(model, loss, optimizer, state, x, t)

    kept = range(len(take_apart((model, state))[0]))
    side_by_side(step, model, state, *batch, carried=carried_of(model, (), state), kept=kept)


# -------------------------------------------------------------------------------------- every operation

NOT_THE_SAME = {  # what PyTorch's own function takes otherwise, or gives in the float that it is set to
    "take": "numbers of no axis", "asarray of a list": "float32", "ones": "float32", "empty": "float32",
    "linspace": "float32", "eye": "float32",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(CALLS.keys() - NOT_THE_SAME))
def test_every_operation_is_that_of_the_eager_text(name: str) -> None:
    import torch

    compared = 0
    for seed in range(8):
        function, arrays = CALLS[name](np.random.default_rng(seed))
        given = [torch.from_numpy(np.array(x, order="C")) for x in arrays]

        def step(*given: Any, function: Any = function) -> Any:
            return function(mt.namespace(given[0]), *given)

        try:
            expected = take_apart(step(*given))[0]
        except (TypeError, ValueError):  # a dtype by its name, steps backwards: NumPy's alone
            continue
        for got, wanted in zip(Replayed(step, *given, carried=[]).step(*given), expected, strict=True):
            assert_near(got, wanted, name)
        compared += 1
    assert compared >= 2


@pytest.mark.parametrize("name", ["asarray of a list", "ones", "linspace", "eye"])
def test_floats_of_no_dtype_are_not_compiled(name: str) -> None:
    import torch

    function, arrays = CALLS[name](np.random.default_rng(0))
    given = [torch.from_numpy(np.array(x, order="C")) for x in arrays]
    with pytest.raises(CannotCompile, match="without dtype="):
        Replayed(lambda *given: function(mt.namespace(given[0]), *given), *given, carried=[])


def one_by_one(program: Program, arrays: list[Any]) -> list[Any]:
    """The results of a program, each operation in memory of its own, by the functions of the eager text."""
    import torch

    from martlet.compile.torch_calls import Place, eager

    place, found = Place(arrays[0].device, arrays[0].dtype), dict(zip(program.inputs, arrays, strict=True))
    for node in program.needed:
        operands = [found[o] if isinstance(o, Node) else o for o in node.operands]
        if node.op is not None and not operands:
            found[node] = place.made(node)
        elif node.op is not None:
            settings = node.settings | {k: place.dtype(v) for k, v in node.settings.items() if k == "dtype" and v}
            first = next(x for x in operands if hasattr(x, "untyped_storage"))
            function = torch.clone if node.name == "copy" else eager(node.name, first, settings)
            found[node] = function(*operands).clone()
    return [found[node] for node in program.outputs]


word = st.integers(0, 2**31 - 1)


@for_all(
    300,
    words=st.lists(word, min_size=1, max_size=12),
    states=st.integers(1, 3),
    picks=st.tuples(*[st.integers(0, 63)] * 3),
    results=st.lists(st.integers(0, 63), max_size=3),
    paired=st.booleans(),
    seed=seeds,
)
def test_no_result_of_a_drawn_program_is_overwritten_while_it_is_read(
    words: list[int], states: int, picks: tuple[int, ...], results: list[int], paired: bool, seed: int
) -> None:
    import torch

    written = Written(words, states, picks, results)
    drawn = [x.astype("float64") for x in drawn_arrays(seed, states + 1)]
    arrays = [torch.from_numpy(np.array(x, order="F" if x.flags.f_contiguous else "C")) for x in drawn]
    carried = [(i, i, f"role {i}", "0") if paired else (i, i, "model", str(i)) for i in range(states)]
    try:
        replayed = Replayed(written, *arrays, carried=carried)
    except (CannotCompile, ValueError):  # another dtype, or a step backwards
        hypothesis.reject()
    program = record(written, *arrays)
    for _ in range(3):
        with torch.inference_mode():
            expected = one_by_one(program, arrays)
        found = replayed.step(*arrays[states:])
        for got, wanted in zip([*replayed.state_now(), *found], expected, strict=True):
            assert got.dtype == wanted.dtype
            assert torch.allclose(got, wanted, rtol=1e-9, atol=1e-9, equal_nan=True)
        arrays = [*expected[:states], *arrays[states:]]


def test_what_is_read_turned_is_not_overwritten() -> None:
    """A sum that is multiplied with itself transposed, and a state that is taken from itself transposed."""
    import torch

    a, b, x = torch.tensor(np.random.default_rng(3).standard_normal((3, 9, 9)))

    def step(a: Any, b: Any, x: Any) -> Any:
        h = a + x
        return 0.1 * (h * h.mT), a.mT - a, b + h

    side_by_side(step, a, b, x, carried=[(0, 1, "model", "0"), (1, 0, "model", "1")], steps=4)


# -------------------------------------------------------------------------------------------- the stepper


def training(device: str = "cpu", optimizer: mt.Optimizer | None = None, samples: int = 23) -> tuple[Any, ...]:
    import torch

    rng = np.random.default_rng(6)
    optimizer = optimizer or mt.Adam()
    model = to_torch(network(rng), "float64")
    data = to_torch((rng.standard_normal((samples, 3)), rng.integers(0, 2, samples), rng.uniform(0.5, 2, samples)))
    data = tuple(x.double() if x.is_floating_point() else x for x in data)
    moved = [mt.rebuild(tree, [x.to(device) for x in mt.leaves(tree)]) for tree in (model, optimizer.init(model))]
    return moved[0], mt.SoftmaxWithLoss(), optimizer, moved[1], tuple(x.to(torch.device(device)) for x in data)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("last", ["keep", "drop"])
@pytest.mark.parametrize("case", OPTIMIZERS, ids=lambda case: case.name)
def test_some_epochs_of_a_stepper_are_those_of_train_step(case: OptimizerCase, last: str, weighted: bool) -> None:
    model, loss, optimizer, state, data = training(optimizer=case.optimizer())
    data = data if weighted else data[:2]
    taken = stepper(model, loss, optimizer, state, data, size=5, last=last)
    assert taken.words.startswith("compiled: ")
    rng, steps = np.random.default_rng(8), 4 + (last == "keep")
    for epoch in range(3):
        order = rng.permutation(23) if epoch else None
        taken.shuffle(order)
        found = [*taken.run(0, 2), *taken.run(2, steps)]
        for i in range(steps):
            chosen = slice(5 * i, 5 * i + 5) if order is None else order[5 * i : 5 * i + 5]
            model, state, value = mt.train_step(model, loss, optimizer, state, *(x[chosen] for x in data))
            assert_near(found[i], value, f"the loss of step {i} of epoch {epoch}")
    for tree, expected in zip(taken.read(), (model, state), strict=True):
        assert mt.names(tree) == mt.names(expected)
        for name, got, wanted in zip(mt.names(tree), mt.leaves(tree), mt.leaves(expected), strict=True):
            assert_near(got, wanted, name)


def test_what_is_read_is_the_readers_own() -> None:
    model, loss, optimizer, state, data = training()
    before = [x.clone() for x in (*mt.leaves(model), *mt.leaves(state))]
    taken = stepper(model, loss, optimizer, state, data, size=5)
    taken.run(0, 3)
    first = [x for tree in taken.read() for x in mt.leaves(tree)]
    kept = [x.clone() for x in first]
    taken.run(3, 5)
    assert all((x == y).all() for x, y in zip(first, kept, strict=True))
    assert not any(x.is_inference() for x in first)
    given = (*mt.leaves(model), *mt.leaves(state))
    assert all((x == y).all() for x, y in zip(given, before, strict=True)), "what was given stays as it is"


def test_a_step_reads_no_number_and_assumes_no_processor() -> None:
    """The device "meta" has no numbers: whoever asks for one, or brings an array of the processor, is found out."""
    from martlet.compile.torch import TorchStepper

    taken = TorchStepper(*training("meta"), size=5)
    taken.shuffle(np.random.default_rng(0).permutation(23))
    losses = taken.run(0, 5)
    assert (losses.device.type, tuple(losses.shape)) == ("meta", (5,))
    assert {x.device.type for tree in taken.read() for x in mt.leaves(tree)} == {"meta"}


def test_a_label_out_of_range_costs_nan() -> None:
    model, loss, optimizer, state, data = training()
    x, t = data[0], data[1].clone()
    t[7] = 2
    losses = stepper(model, loss, optimizer, state, (x, t), size=5).run(0, 2)
    assert losses.isnan().tolist() == [False, True]


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
    model, loss, optimizer, _, data = training()
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

    _, loss, optimizer, _, data = training()
    rng = np.random.default_rng(2)
    model = to_torch(mt.Sequential(Centred(rng.standard_normal(3)), affine(rng, 3, 2)))  # its first array is done first
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

    given = training(optimizer=mt.AdamW(schedule=mt.schedules.Cosine(steps=50, warmup=5)))
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
