"""A plan gives what the function gives, to the last bit: for every row of the tables, and for drawn programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import LAYERS, LOSSES, OPTIMIZERS, LayerCase, LossCase, OptimizerCase, Residual, Tied, affine, network
from hypothesis import strategies as st
from planned import Planned, assert_same_bits, side_by_side, train_side_by_side
from properties.programs import WHOLE, Written, drawn_arrays
from properties.strategies import for_all, seeds
from test_laws import draw

import martlet as mt
from martlet.compile.replay import carried_of
from martlet.tree import take_apart

widths = pytest.mark.parametrize("width", ["float64", "float32", "float16"])


def narrowed(value: Any, width: str) -> Any:
    """A nest of arrays and trees whose floats are of this width."""
    arrays, build = take_apart(value)
    return build([x.astype(width) if x.dtype.kind == "f" else x for x in map(np.asarray, arrays)])


# ------------------------------------------------------------------------------------------ the tables


@widths
@pytest.mark.parametrize("case", LAYERS, ids=lambda case: case.name)
def test_every_layer_is_trained_as_it_is_eagerly(case: LayerCase, width: str) -> None:
    model, x, dout = narrowed(draw(case), width)
    optimizer = mt.Momentum(lr=0.1)
    state = optimizer.init(model)

    def step(model: mt.Layer, state: Any, x: Any, dout: Any) -> Any:
        y, cache = model.forward(x)
        dx, grad = model.backward(cache, dout)
        return (*optimizer.update(model.observe(cache), grad, state), y, dx)

    kept = range(len(take_apart((model, state))[0]))
    with np.errstate(over="ignore", invalid="ignore"):  # of float16, in both
        side_by_side(step, model, state, x, dout, carried=carried_of(model, (), state), kept=kept, steps=10)


@widths
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("case", LOSSES, ids=lambda case: case.name)
def test_every_loss_is_brought_down_as_it_is_eagerly(
    case: LossCase, reduction: str, weighted: bool, width: str
) -> None:
    rng = np.random.default_rng(5)
    loss, y, t = narrowed((case.loss(reduction), case.y(rng), case.t(rng)), width)
    weight = rng.uniform(0.5, 2.0, len(y)).astype(width) if weighted else None

    def step(y: Any, loss: mt.Loss, t: Any, weight: Any) -> Any:
        value, cache = loss.forward(y, t, weight)
        return y - 0.1 * loss.backward(cache), value

    kept = range(1, 1 + len(mt.leaves(loss)))
    side_by_side(step, y, loss, t, weight, carried=[(0, 0, "model", "y")], kept=kept, steps=10)


def words_of(rng: np.random.Generator) -> mt.Layer:
    table = mt.Embedding(rng.standard_normal((7, 2)))
    return mt.Sequential(table, mt.Flatten(), affine(rng, 4, 3), mt.Sigmoid(), affine(rng, 3, 2))


def deep_of(rng: np.random.Generator) -> mt.Layer:
    return mt.Sequential(
        affine(rng, 3, 4), mt.Tanh(), affine(rng, 4, 4), mt.ReLU(), Residual(affine(rng, 4, 4)),
        Tied(rng.standard_normal((4, 3))), mt.Freeze(affine(rng, 4, 4)), affine(rng, 4, 2),
    )  # fmt: skip


NETWORKS: dict[str, Callable[[np.random.Generator], mt.Layer]] = {"all": network, "words": words_of, "deep": deep_of}


@widths
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("case", OPTIMIZERS, ids=lambda case: case.name)
def test_every_optimizer_trains_as_it_does_eagerly(case: OptimizerCase, name: str, width: str) -> None:
    rng = np.random.default_rng(3)
    model = NETWORKS[name](rng).to(dtype=width)
    x = rng.integers(0, 7, (6, 2)) if name == "words" else rng.standard_normal((6, 3)).astype(width)
    weight = (rng.uniform(0.5, 2.0, 6).astype(width),) if name == "all" else ()
    train_side_by_side(model, mt.SoftmaxWithLoss(), case.optimizer(), x, rng.integers(0, 2, 6), *weight)


class Odd(mt.Layer):
    """Arrays of every form that a parameter can have; only an optimizer ever sees them."""

    a: mt.Array
    b: mt.Array
    c: mt.Array
    d: mt.Array
    e: mt.Array
    f: mt.Array
    g: mt.Array
    h: mt.Array
    kept: mt.Array = mt.kept()


def odd(rng: np.random.Generator) -> Odd:
    shapes = [(3, 4), (3, 4), (), (0, 3), (5,), (4, 3), (1,), ()]
    dtypes = ["float32", "float64", "float32", "float32", "float16", "float32", "float32", "float64"]
    arrays = [np.asarray(rng.standard_normal(s)).astype(d) for s, d in zip(shapes, dtypes, strict=True)]
    arrays[5] = np.asfortranarray(arrays[5])
    return Odd(*arrays, kept=np.arange(3))


@pytest.mark.parametrize("case", OPTIMIZERS, ids=lambda case: case.name)
def test_every_optimizer_updates_arrays_of_every_form_as_it_does_eagerly(case: OptimizerCase) -> None:
    rng = np.random.default_rng(4)
    optimizer, model = case.optimizer(), odd(rng)
    gradient = model.gradient(**dict(zip("abcdefgh", mt.leaves(odd(rng)), strict=False)))
    state = optimizer.init(model)

    def step(model: Any, state: Any, gradient: Any) -> Any:
        return optimizer.update(model, gradient, state)

    kept = range(len(take_apart((model, state))[0]))
    side_by_side(step, model, state, gradient, carried=carried_of(model, (), state), kept=kept, steps=10)


# ----------------------------------------------------------------------------------- what may change


def test_a_learning_rate_that_is_data_may_change_from_step_to_step() -> None:
    rng = np.random.default_rng(1)
    model, optimizer, loss = mt.Sequential(affine(rng, 3, 2)), mt.Adam(), mt.SoftmaxWithLoss()
    state = optimizer.init(model)

    def step(model: Any, state: Any, lr: Any, x: Any, t: Any) -> Any:
        return mt.train_step(model, loss, optimizer, mt.replace(state, {"lr": lr}), x, t)

    kept = range(len(take_apart((model, state))[0]))
    x, t = rng.standard_normal((6, 3)), rng.integers(0, 2, 6)
    carried = [c for c in carried_of(model, (), state) if c[2] != "lr"]
    assert len(carried) == len(kept) - 1
    planned = Planned(step, model, state, np.asarray(0.5), x, t, carried=carried, kept=kept)
    for lr in (0.5, 0.1, 0.0, 2.0):
        model, state, value = mt.train_step(model, loss, optimizer, mt.replace(state, {"lr": np.asarray(lr)}), x, t)
        assert_same_bits(planned.step(np.asarray(lr), x, t)[-1], value)
    now = planned.state.read()
    for name, array in zip(mt.names(model), mt.leaves(model), strict=True):
        assert_same_bits(now[f"model.{name}"], array, name)


@pytest.mark.parametrize("case", OPTIMIZERS, ids=lambda case: case.name)
def test_plans_for_several_sizes_of_batch_share_one_state(case: OptimizerCase) -> None:
    rng = np.random.default_rng(2)
    model, optimizer, loss = network(rng), case.optimizer(), mt.SoftmaxWithLoss()
    state, x, t = optimizer.init(model), rng.standard_normal((9, 3)), rng.integers(0, 2, 9)
    count = len(take_apart((model, state))[0])

    def step(model: Any, state: Any, x: Any, t: Any) -> Any:
        return mt.train_step(model, loss, optimizer, state, x, t)

    plans: dict[int, Planned] = {}
    shared: Any = None
    for size in (4, 9, 3, 4, 2, 9, 3):
        if size not in plans:  # also after some steps
            carried = carried_of(model, (), state)
            plans[size] = Planned(
                step, model, state, x[:size], t[:size], carried=carried, kept=range(count), state=shared
            )
            shared = plans[size].state
        found = plans[size].step(x[:size], t[:size])
        model, state, value = step(model, state, x[:size], t[:size])
        assert_same_bits(found[0], value)
        for got, wanted in zip(plans[size].state_now(), take_apart((model, state))[0], strict=True):
            assert_same_bits(got, wanted)


# ------------------------------------------------------------------------------------ drawn programs

word = st.integers(0, 2**31 - 1)


drawn = {
    "words": st.lists(word, min_size=1, max_size=12),
    "states": st.integers(1, 3),
    "more": st.integers(0, 2),
    "picks": st.tuples(*[st.integers(0, 63)] * 3),
    "results": st.lists(st.integers(0, 63), max_size=3),
    "paired": st.booleans(),
    "seed": seeds,
}


def carried_by(states: int, paired: bool) -> list[tuple[int, int, str, str]]:
    """Each by itself, or all of one leaf."""
    return [(i, i, f"role {i}", "0") if paired else (i, i, "model", str(i)) for i in range(states)]


@for_all(700, **drawn)
def test_a_drawn_program_gives_the_same_as_a_plan(
    words: list[int], states: int, more: int, picks: tuple[int, ...], results: list[int], paired: bool, seed: int
) -> None:
    program, arrays = Written(words, states, picks, results), drawn_arrays(seed, states + more)
    with np.errstate(all="ignore"):
        side_by_side(program, *arrays, carried=carried_by(states, paired))


@for_all(300, **drawn)
def test_a_fast_plan_of_a_drawn_program_gives_the_same_where_sums_are_exact(
    words: list[int], states: int, more: int, picks: tuple[int, ...], results: list[int], paired: bool, seed: int
) -> None:
    program = Written(words, states, picks, results, WHOLE)
    arrays = [np.round(x * 3) % 16 for x in drawn_arrays(seed, states + more) if x.dtype != "float16"]
    states = min(states, len(arrays))
    program.states = states
    if states:
        side_by_side(program, *arrays, carried=carried_by(states, paired), exact=False)
