"""Arrays to which the same is done lie side by side, and one chain of operations is done to all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import affine, batch_norm
from planned import Planned, side_by_side

import martlet as mt
from martlet.compile.recorder.recording import record
from martlet.compile.replay import carried_of
from martlet.compile.rewriting.flat import PACK, Slot, merge
from martlet.compile.rewriting.rewrite import reachable, share
from martlet.tree import take_apart

RNG = np.random.default_rng(5)
P, Q, R = RNG.standard_normal((3, 2)), RNG.standard_normal(4), RNG.standard_normal((2, 2, 2))


def ns(x: Any) -> Any:
    return mt.namespace(x)


def groups(step: Callable[..., Any], *arrays: Any, alone: tuple[str, ...] = ()) -> list[list[str]]:
    """The names of the leaves that lie side by side, where each array is a leaf, and that the numbers stay the same."""
    carried = [(i, i, "p", str(i)) for i in range(len(arrays))]
    side_by_side(step, *arrays, carried=carried, steps=4)
    program = record(step, *arrays)
    same = share(program.nodes)
    slots = [Slot(leaf, role, program.inputs[i], same[program.outputs[o]]) for i, o, role, leaf in carried]
    blocks, views = merge([s for s in slots if s.after is not s.before], alone)
    for block in blocks:
        assert block.offsets[-1] == block.before.spec.size == block.after.spec.size
        assert all((slot.before in views) == (len(block.slots) > 1) for slot in block.slots)
    return [[slot.leaf for slot in block.slots] for block in blocks]


@pytest.mark.parametrize(
    "step",
    [
        lambda p, q, r: (p * 0.5, q * 0.5, r * 0.5),
        lambda p, q, r: (p - ns(p).tanh(p) * 0.1, q - ns(p).tanh(q) * 0.1, r - ns(p).tanh(r) * 0.1),
        lambda p, q, r: tuple(ns(x).where(x > 0.0, x * 0.5, x + 1.0) for x in (p, q, r)),
        lambda p, q, r: tuple(x - 0.1 * ns(x).reshape(q[:1] + 1.0, ()) for x in (p, q, r)),
        lambda p, q, r: tuple(ns(x).astype(ns(x).astype(x, np.float32) * 3.0, np.float64) for x in (p, q, r)),
        lambda p, q, r: tuple(x * ns(p).sum(p * p) + ns(p).max(p) for x in (p, q, r)),
    ],
)  # fmt: skip
def test_equal_chains_become_one(step: Callable[..., Any]) -> None:
    assert groups(step, P, Q, R) == [["0", "1", "2"]]


def test_gradients_of_every_kind_are_parts_of_one() -> None:
    def step(p: Any, q: Any, r: Any) -> Any:
        g = [p @ (p.T @ p), ns(p).sum(q * ns(p).ones((3, 4)), axis=0), ns(p).roll(r, 1, axis=0)]
        return p - 0.1 * g[0], q - 0.1 * g[1], r - 0.1 * g[2]

    assert groups(step, P, Q, R) == [["0", "1", "2"]]
    shared = RNG.standard_normal((3, 3))  # one gradient of two leaves, and a leaf that is the other's gradient
    assert groups(lambda p, q: (p - 0.1 * (p @ q), q - 0.1 * (p @ q)), shared, shared + 1.0) == [["0", "1"]]
    assert groups(lambda p, q: (p - 0.1 * q, q - 0.1 * p), shared, shared + 1.0) == [["0", "1"]]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (lambda p, q, r: (p * 0.5, q * 0.25, r * 0.5), [["0", "2"], ["1"]]),
        (lambda p, q, r: (p * 0.0, q * -0.0, r * 0.0), [["0", "2"], ["1"]]),
        (lambda p, q, r: (p + 1, q + 1.0, r + 1), [["0", "2"], ["1"]]),
        (
            lambda p, q, r: (p - 0.1 * ns(p).flip(p), q - 0.1 * q, r - 0.1 * ns(r).moveaxis(r, 0, -1)),
            [["0"], ["1"], ["2"]],
        ),
        (lambda p, q, r: (p - 1.0, 1.0 - q, r - 1.0), [["0", "2"], ["1"]]),
        (lambda p, q, r: (p - p * p, q - q, r - r * r), [["0", "2"], ["1"]]),
        (lambda p, q, r: (p + p * 0.5, q * 0.5 + q, r + r * 0.5), [["0", "2"], ["1"]]),
        (lambda p, q, r: (p, q * 0.5, r * 0.5), [["1", "2"]]),
        (lambda p, q, r: (p * p[:1, :1], q * 0.5, r * 0.5), [["0"], ["1", "2"]]),
        (lambda p, q, r: (p * ns(p).sum(p), q * ns(p).sum(q), r * ns(p).sum(p)), [["0", "2"], ["1"]]),
    ],
)
def test_unlike_chains_stay_apart(step: Callable[..., Any], expected: list[list[str]]) -> None:
    assert groups(step, P, Q, R) == expected


def test_forms_that_stay_apart() -> None:
    def step(*arrays: Any) -> Any:
        return tuple(x - 0.5 * ns(x).tanh(x) for x in arrays)

    single, half = Q.astype("float32"), P.astype("float16")
    assert groups(step, P, single, Q, half) == [["0", "2"], ["1"], ["3"]]
    assert groups(step, P, np.asarray(1.5), np.asarray(2.5), Q) == [["0", "3"], ["1"], ["2"]]
    assert groups(step, P, np.asfortranarray(P), Q, np.asfortranarray(P[:, :1])) == [["0", "2"], ["1"], ["3"]]
    assert ["0", "2"] in [[x for x in group if x != "1"] for group in groups(step, P, np.zeros((0, 3)), Q)]
    assert sorted(x for group in groups(step, np.zeros((0, 3)), np.zeros(0)) for x in group) == ["0", "1"]
    assert groups(step, P) == [["0"]]
    assert groups(step, P, P, P) == [["0", "1", "2"]]
    assert groups(step, P, Q, R, alone=("1",)) == [["0", "2"], ["1"]]


def test_memories_of_a_leaf_lie_beside_those_of_others_in_the_same_role() -> None:
    def step(p: Any, v: Any, q: Any, w: Any) -> Any:
        return p - 0.1 * v, 0.9 * v + p, q - 0.1 * w, 0.9 * w + q

    carried = [(0, 0, "model", "a"), (1, 1, "v", "a"), (2, 2, "model", "b"), (3, 3, "v", "b")]
    planned = side_by_side(step, P, P * 2.0, Q, Q * 2.0, carried=carried, steps=5)
    assert list(planned.state.blocks) == [("p", "q"), ("v", "w")]
    crossed = [(0, 0, "model", "a"), (1, 1, "v", "a"), (2, 2, "v", "b"), (3, 3, "model", "b")]
    other = side_by_side(step, P, P * 2.0, Q, Q * 2.0, carried=crossed, steps=5)
    assert all(len(key) == 1 for key in other.state.blocks)  # what p is to v, q is not to w

    def turned(p: Any, v: Any, q: Any, w: Any) -> Any:
        return p - 0.1 * v, 0.9 * v + p, w - 0.1 * q, 0.9 * w + q

    other = side_by_side(turned, P, P * 2.0, Q, Q * 2.0, carried=carried, steps=5)
    assert all(len(key) == 1 for key in other.state.blocks)


def updating(model: Any, optimizer: mt.Optimizer) -> Planned:
    state = optimizer.init(model)

    def step(model: Any, state: Any, gradient: Any) -> Any:
        return optimizer.update(model, gradient, state)

    carried, kept = carried_of(model, (), state), range(len(take_apart((model, state))[0]))
    return side_by_side(step, model, state, model, carried=carried, kept=kept)


def blocks_of(planned: Planned, role: str) -> list[int]:
    """How many arrays lie in each block of a role."""
    return sorted(len(key) for key in planned.state.blocks if key[0].startswith(role))


def ten(rng: np.random.Generator) -> mt.Sequential:
    return mt.Sequential(*(affine(rng, 3 + i, 4 + i) for i in range(10)))


def test_ten_layers_of_adam_are_four_arrays() -> None:
    planned = updating(ten(np.random.default_rng(1)), mt.Adam(amsgrad=True))
    for role in ("model.", "state.m.", "state.v.", "state.peak."):
        assert blocks_of(planned, role) == [20], role


def test_biases_that_do_not_decay_are_a_second_array() -> None:
    planned = updating(ten(np.random.default_rng(1)), mt.AdamW(weight_decay=0.1, biases=False))
    assert blocks_of(planned, "model.") == blocks_of(planned, "state.m.") == [10, 10]


def test_what_is_frozen_is_not_in_it_and_a_layer_with_one_array_is() -> None:
    rng = np.random.default_rng(1)
    model: Any = mt.Sequential(affine(rng, 3, 4), mt.Freeze(affine(rng, 4, 4)), mt.MatMul(rng.standard_normal((4, 2))))
    optimizer, loss = mt.Momentum(), mt.MeanSquaredError()
    state = optimizer.init(model)

    def step(model: Any, state: Any, x: Any, t: Any) -> Any:
        return mt.train_step(model, loss, optimizer, state, x, t)

    x, t = rng.standard_normal((5, 3)), rng.standard_normal((5, 2))
    carried, kept = carried_of(model, (), state), range(len(take_apart((model, state))[0]))
    planned = side_by_side(step, model, state, x, t, carried=carried, kept=kept)
    assert blocks_of(planned, "model.") == blocks_of(planned, "state.v.") == [3]


def test_running_statistics_lie_beside_each_other_and_not_among_the_parameters() -> None:
    rng = np.random.default_rng(1)
    model = mt.Sequential(batch_norm(rng, 3), affine(rng, 3, 3), batch_norm(rng, 3))
    optimizer, loss = mt.SGD(), mt.MeanSquaredError()
    state = optimizer.init(model)

    def step(model: Any, state: Any, x: Any) -> Any:
        return mt.train_step(model, loss, optimizer, state, x, x)

    carried, kept = carried_of(model, (), state), range(len(take_apart((model, state))[0]))
    planned = side_by_side(step, model, state, rng.standard_normal((5, 3)), carried=carried, kept=kept)
    sides = [{name.rsplit(".", 1)[-1] for name in key} for key in planned.state.blocks]
    assert {"gamma", "beta", "W", "b"} in sides
    assert all(side <= {"gamma", "beta", "W", "b"} or side <= {"mean", "variance", "step"} for side in sides)


def test_the_gradients_are_computed_where_they_will_be_read() -> None:
    """No array is copied to be beside another: each product and each sum writes its own part of one array."""
    rng = np.random.default_rng(1)
    model: Any = mt.Sequential(affine(rng, 3, 4), mt.Tanh(), affine(rng, 4, 2))
    optimizer, loss = mt.SGD(), mt.MeanSquaredError()
    state = optimizer.init(model)
    x, t = rng.standard_normal((5, 3)), rng.standard_normal((5, 2))
    planned = Planned(
        lambda m, s, x, t: mt.train_step(m, loss, optimizer, s, x, t), model, state, x, t,
        carried=carried_of(model, (), state), kept=range(len(take_apart((model, state))[0])),
    )  # fmt: skip
    calls = [(getattr(function, "func", function), out) for function, out, *_ in planned.plan.calls.calls]
    assert [out for function, out in calls if function is np.copyto and out.size > 1] == []


@pytest.mark.parametrize("length", [40, 2000])
def test_chains_may_be_long_and_double(length: int) -> None:
    """As many signs as operations: written out, x + x of x + x … would be 2⁴⁰ words."""

    def step(p: Any, q: Any) -> Any:
        for _ in range(length):
            p, q = (p + p) * 0.5, (q + q) * 0.5
        return p * 0.5, q * 0.5

    program = record(step, P, Q)
    slots = [Slot(str(i), "p", program.inputs[i], program.outputs[i]) for i in range(2)]
    (block,), _ = merge(slots)
    assert len(block.slots) == 2
    assert len(reachable([block.after])) == 2 * length + 2
    assert PACK not in {node.name for node in reachable([block.after])}
