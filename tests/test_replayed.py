"""A step replayed elsewhere than on NumPy is the step as it is written there: every row, in three widths of floats."""

from __future__ import annotations

from typing import Any

import hypothesis
import numpy as np
import pytest
from cases import LAYERS, LOSSES, OPTIMIZERS, LayerCase, LossCase, OptimizerCase
from conftest import why_not
from hypothesis import strategies as st
from properties.networks import drawn_task, tasks
from properties.programs import Written, drawn_arrays
from properties.strategies import for_all, seeds
from replayed import (
    WIDTHS,
    Replayed,
    assert_near,
    entered,
    laid_like,
    network,
    on,
    place_of,
    side_by_side,
    train_side_by_side,
    training,
)
from test_laws import draw
from test_plan import deep_of, words_of
from test_record_forms import CALLS

import martlet as mt
from martlet.compile import CannotCompile, stepper
from martlet.compile.plans.standard import eager
from martlet.compile.programs.node import Node
from martlet.compile.programs.ops import PRODUCT, REDUCTION
from martlet.compile.recorder.recording import Program, record
from martlet.compile.replay import carried_of
from martlet.tree import take_apart

pytestmark = pytest.mark.only("torch", "cupy")

NETWORKS = {"all": network, "words": words_of, "deep": deep_of}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "width" in metafunc.fixturenames:
        metafunc.parametrize("width", WIDTHS.get(metafunc.config.getoption("--backend"), ["float64"]))


@pytest.fixture
def there(request: pytest.FixtureRequest) -> str:
    """The library under test."""
    name = request.config.getoption("--backend")
    if reason := why_not(name):
        pytest.skip(reason)
    return str(name)


# ------------------------------------------------------------------------------------------ the tables


@pytest.mark.parametrize("case", LAYERS, ids=lambda case: case.name)
def test_every_layer_is_trained_as_it_is_eagerly(case: LayerCase, width: str, there: str) -> None:
    model, x, dout = on(there, draw(case), width)
    optimizer = mt.Momentum(lr=0.1)
    state = on(there, optimizer.init(model))  # which is NumPy's where the model has no arrays

    def step(model: mt.Layer, state: Any, x: Any, dout: Any) -> Any:
        y, cache = model.forward(x)
        dx, grad = model.backward(cache, dout)
        return (*optimizer.update(model.observe(cache), grad, state), y, dx)

    kept = range(len(take_apart((model, state))[0]))
    side_by_side(step, model, state, x, dout, carried=carried_of(model, (), state), kept=kept)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("case", LOSSES, ids=lambda case: case.name)
def test_every_loss_is_brought_down_as_it_is_eagerly(
    case: LossCase, reduction: str, weighted: bool, width: str, there: str
) -> None:
    rng = np.random.default_rng(5)
    loss, y, t = on(there, (case.loss(reduction), case.y(rng), case.t(rng)), width)
    weight = on(there, rng.uniform(0.5, 2.0, len(y)), width) if weighted else None

    def step(y: Any, loss: mt.Loss, t: Any, weight: Any) -> Any:
        value, cache = loss.forward(y, t, weight)
        return y - 0.1 * loss.backward(cache), value

    kept = range(1, 1 + len(mt.leaves(loss)))
    side_by_side(step, y, loss, t, weight, carried=[(0, 0, "model", "y")], kept=kept)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("case", OPTIMIZERS, ids=lambda case: case.name)
def test_every_optimizer_trains_as_it_does_eagerly(case: OptimizerCase, name: str, width: str, there: str) -> None:
    rng = np.random.default_rng(3)
    model, loss, optimizer = on(there, NETWORKS[name](rng), width), mt.SoftmaxWithLoss(), case.optimizer()
    x = rng.integers(0, 7, (6, 2)) if name == "words" else rng.standard_normal((6, 3))
    batch = on(there, (x, rng.integers(0, 2, 6)), width)
    train_side_by_side(model, loss, optimizer, *batch)


# -------------------------------------------------------------------------------------- every operation

NOT_THE_SAME = {  # what a library's own function takes otherwise, or gives in the float that it is set to
    "torch": {"take", "asarray of a list", "ones", "empty", "linspace", "eye"},
    "cupy": {"empty"},
}


@pytest.mark.parametrize("name", sorted(CALLS))
def test_every_operation_is_that_of_the_eager_text(name: str, there: str) -> None:
    if name in NOT_THE_SAME[there]:
        pytest.skip("is not the same there")
    compared = 0
    for seed in range(8):
        function, arrays = CALLS[name](np.random.default_rng(seed))
        given = [mt.Backend(there).asarray(np.array(x, order="C")) for x in arrays]

        def step(*given: Any, function: Any = function) -> Any:
            return function(mt.namespace(given[0]), *given)

        try:
            expected = take_apart(step(*given))[0]
        except (TypeError, ValueError, NotImplementedError, AttributeError):  # a dtype by its name: NumPy's alone
            continue
        for got, wanted in zip(Replayed(step, *given, carried=[]).step(*given), expected, strict=True):
            assert_near(got, wanted, name)
        compared += 1
    assert compared >= 2


SIDES = [((5,), (5,)), ((1,), (1, 1)), ((5,), (5, 3)), ((3, 5), (5,)), ((2, 3, 5), (5,)), ((5,), (2, 5, 3)),
         ((2, 3, 5), (5, 4)), ((3, 5), (2, 5, 4)), ((2, 3, 5), (2, 5, 4))]  # fmt: skip


@pytest.mark.parametrize(("a", "b"), SIDES, ids=str)
def test_a_product_of_any_number_of_axes_is_that_of_the_eager_text(
    a: tuple[int, ...], b: tuple[int, ...], there: str
) -> None:
    rng = np.random.default_rng(4)
    sides = on(there, (rng.standard_normal(a), rng.standard_normal(b)), "float64")
    side_by_side(lambda a, b: a @ b, *sides, carried=[])


def one_by_one(name: str, program: Program, arrays: list[Any]) -> list[Any]:
    """The results of a program, each operation in memory of its own, by the functions of the eager text."""
    place, found = place_of(name, arrays), dict(zip(program.inputs, arrays, strict=True))
    home = mt.Backend(name)
    own = home.xp.asarray
    for node in program.needed:
        operands = [found[o] if isinstance(o, Node) else o for o in node.operands]
        if node.op is not None and not operands:
            found[node] = place.made(node)
        elif node.op is not None:
            settings = {
                k: home.lib.dtype(home.xp, v.name) if k == "dtype" and v else v for k, v in node.settings.items()
            }
            first = next(x for x in operands if hasattr(x, "shape"))
            function = own if node.name == "copy" else eager(node.name, first, settings)
            found[node] = own(function(*operands), copy=True)
    return [found[node] for node in program.outputs]


def adds_up_roughly(node: Node) -> bool:
    """Whether its digits depend on how a library orders a sum, and are so few that a program may make much of that."""
    adds = node.family in (PRODUCT, REDUCTION) or node.name == "cumulative_sum"
    return adds and node.spec.dtype in (np.float16, np.float32)


word = st.integers(0, 2**31 - 1)


def test_no_result_of_a_drawn_program_is_overwritten_while_it_is_read(there: str) -> None:
    @for_all(
        100 if there == "cupy" else 300,  # whose kernels are compiled for each program anew
        words=st.lists(word, min_size=1, max_size=12),
        states=st.integers(1, 3),
        picks=st.tuples(*[st.integers(0, 63)] * 3),
        results=st.lists(st.integers(0, 63), max_size=3),
        paired=st.booleans(),
        seed=seeds,
    )
    def law(words: list[int], states: int, picks: tuple[int, ...], results: list[int], paired: bool, seed: int) -> None:
        written = Written(words, states, picks, results)
        drawn = [x.astype("float64") for x in drawn_arrays(seed, states + 1)]
        arrays = [laid_like(mt.Backend(there).asarray(x), x) for x in drawn]
        carried = [(i, i, f"role {i}", "0") if paired else (i, i, "model", str(i)) for i in range(states)]
        try:
            replayed = Replayed(written, *arrays, carried=carried)
        except (CannotCompile, ValueError):  # another dtype, or a step backwards
            hypothesis.reject()
        program = record(written, *arrays)
        hypothesis.assume(not any(adds_up_roughly(node) for node in program.needed))
        for _ in range(3):
            with entered(there):
                expected = one_by_one(there, program, arrays)
            found = replayed.step(*arrays[states:])
            for got, wanted in zip([*replayed.state_now(), *found], expected, strict=True):
                assert got.dtype == wanted.dtype
                np.testing.assert_allclose(mt.to_numpy(got), mt.to_numpy(wanted), rtol=1e-9, atol=1e-9)
            arrays = [*replayed.state_now(), *arrays[states:]]

    law()


def test_a_drawn_network_is_trained_as_by_eager_steps(there: str) -> None:
    @for_all(20 if there == "cupy" else 60, **tasks)
    def law(words: list[int], sizes: tuple[int, int, int], loss: int, weighted: bool, seed: int) -> None:
        task = drawn_task(words, sizes, loss, weighted, np.random.default_rng(seed))
        model, kind, batch = on(there, task, "float64")
        train_side_by_side(model, kind, mt.Momentum(lr=0.01), *batch, steps=3)

    law()


@pytest.mark.parametrize("read", [False, True], ids=["only written", "read too"])
def test_a_state_that_lies_by_columns_becomes_a_reshape(read: bool, there: str) -> None:
    a, x = np.asfortranarray(np.ones((9, 4))), np.random.default_rng(3).standard_normal((4, 9))
    state, data = (laid_like(mt.Backend(there).asarray(y), y) for y in (a, x))

    def step(a: Any, x: Any) -> Any:
        return mt.namespace(x).reshape(x, (9, 4)), *([a * 2.0] if read else [])

    side_by_side(step, state, data, carried=[(0, 0, "model", "0")], steps=3)


def test_what_is_read_turned_is_not_overwritten(there: str) -> None:
    """A sum that is multiplied with itself transposed, and a state that is taken from itself transposed."""
    a, b, x = on(there, tuple(np.random.default_rng(3).standard_normal((3, 9, 9))), "float64")

    def step(a: Any, b: Any, x: Any) -> Any:
        h = a + x
        return 0.1 * (h * h.mT), a.mT - a, b + h

    side_by_side(step, a, b, x, carried=[(0, 1, "model", "0"), (1, 0, "model", "1")], steps=4)


# -------------------------------------------------------------------------------------------- the stepper


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("last", ["keep", "drop"])
@pytest.mark.parametrize("case", OPTIMIZERS, ids=lambda case: case.name)
def test_some_epochs_of_a_stepper_are_those_of_train_step(
    case: OptimizerCase, last: str, weighted: bool, there: str
) -> None:
    model, loss, optimizer, state, data = training(there, optimizer=case.optimizer())
    data = data if weighted else data[:2]
    taken = stepper(model, loss, optimizer, state, data, size=5, last=last)
    assert taken.words.startswith("compiled: ")
    rng, steps = np.random.default_rng(8), 4 + (last == "keep")
    for epoch in range(3):
        order = rng.permutation(23) if epoch else None
        taken.shuffle(order)
        found = [*taken.run(0, 2), *taken.run(2, steps)]
        for i in range(steps):
            chosen = on(there, (np.arange(23) if order is None else order)[5 * i : 5 * i + 5])
            model, state, value = mt.train_step(model, loss, optimizer, state, *(x[chosen] for x in data))
            assert_near(found[i], value, f"the loss of step {i} of epoch {epoch}")
    for tree, expected in zip(taken.read(), (model, state), strict=True):
        assert mt.names(tree) == mt.names(expected)
        for name, got, wanted in zip(mt.names(tree), mt.leaves(tree), mt.leaves(expected), strict=True):
            assert_near(got, wanted, name)


def test_what_is_read_is_the_readers_own(there: str) -> None:
    model, loss, optimizer, state, data = training(there)
    before = [np.array(mt.to_numpy(x)) for x in (*mt.leaves(model), *mt.leaves(state))]
    taken = stepper(model, loss, optimizer, state, data, size=5)
    taken.run(0, 3)
    first = [x for tree in taken.read() for x in mt.leaves(tree)]
    kept = [np.array(mt.to_numpy(x)) for x in first]
    taken.run(3, 5)
    assert all(np.array_equal(mt.to_numpy(x), y) for x, y in zip(first, kept, strict=True))
    given = (*mt.leaves(model), *mt.leaves(state))
    same = all(np.array_equal(mt.to_numpy(x), y) for x, y in zip(given, before, strict=True))
    assert same, "what was given stays as it is"


def test_a_label_out_of_range_costs_nan(there: str) -> None:
    model, loss, optimizer, state, data = training(there)
    t = np.array(mt.to_numpy(data[1]))
    t[7] = 2
    losses = stepper(model, loss, optimizer, state, (data[0], on(there, t)), size=5).run(0, 2)
    assert [bool(np.isnan(mt.to_numpy(x))) for x in losses] == [False, True]
