"""What is computed twice is computed once, and nothing else is taken for the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from planned import assert_same_bits

import martlet as mt
from martlet.compile.programs.program import Node
from martlet.compile.recorder.recording import record
from martlet.compile.rewriting.rewrite import (
    copy_of,
    depends_on,
    reachable,
    rewritten,
    share,
    with_operands,
    without_gaps,
)

X = np.random.default_rng(1).standard_normal((4, 4))
Y = np.random.default_rng(2).standard_normal((4, 4))


def ns(x: Any) -> Any:
    return mt.namespace(x)


def shared(function: Callable[..., Any], *arrays: np.ndarray) -> list[Node]:
    """The results of a function, after what is the same has been made one; they give what the function gives."""
    program = record(function, *arrays)
    same = share(program.nodes)
    outputs = [same[node] for node in program.outputs]
    found = dict(zip(program.inputs, arrays, strict=True))
    for node in reachable(outputs):
        if node.op is not None:
            operands = [found[o] if isinstance(o, Node) else o for o in node.operands]
            found[node] = node.op.numpy(*operands, **node.settings)
    for node, wanted in zip(outputs, program.run(arrays), strict=True):
        assert_same_bits(found[node], wanted)
    return outputs


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (x + 1.0, x + 1.0),
        lambda x: ((x + 1.0) * 2.0, (x + 1.0) * 2.0),
        lambda x: (ns(x).sum(x, axis=0), ns(x).sum(x, axis=0)),
        lambda x: (x.T[::2, ...], x.T[::2, ...]),
        lambda x: (x @ x.T, x @ x.T),
        lambda x: (ns(x).zeros((2, 3)), ns(x).zeros((2, 3))),
        lambda x: (ns(x).astype(x, np.float32), ns(x).astype(x, np.float32)),
        lambda x: (x, x * 1.0),
        lambda x: (x, 1.0 * x),
        lambda x: (x, ns(x).reshape(x, (4, 4))),
        lambda x: (x + 1.0, (x * 1.0) + 1.0),
    ],
)
def test_the_same_is_computed_once(function: Callable[..., Any]) -> None:
    one, other = shared(function, X)
    assert one is other


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (x * 0.0, x * -0.0),
        lambda x: (x + 0.0, x + -0.0),
        lambda x: (x * 2, x * 2.0),
        lambda x: (ns(x).astype(x, np.int8) * 1, ns(x).astype(x, np.int8) * 1.0),
        lambda x: (x, x * -1.0),
        lambda x: (x, x + 1.0),
        lambda x: (x, x / 1.0 - 0.0),
        lambda x: (x - 1.0, 1.0 - x),
        lambda x: (ns(x).sum(x, axis=0), ns(x).sum(x, axis=1)),
        lambda x: (ns(x).sum(x, axis=0), ns(x).sum(x, axis=0, keepdims=True)),
        lambda x: (ns(x).sum(x, axis=0), ns(x).sum(x, axis=0, dtype=np.float32)),
        lambda x: (ns(x).sum(x), ns(x).max(x)),
        lambda x: (ns(x).astype(x, np.float32), ns(x).astype(x, np.float16)),
        lambda x: (x[0, ...], x[:1, ...]),
        lambda x: (x[::2, ...], x[::-2, ...]),
        lambda x: (x[None, ...], x[..., None]),
        lambda x: (ns(x).asarray([1.0, 2.0]), ns(x).asarray([1.0, 3.0])),
        lambda x: (ns(x).full((2,), 0.0), ns(x).full((2,), -0.0)),
        lambda x: (ns(x).full((2,), 1), ns(x).full((2,), True)),
        lambda x: (ns(x).full((2,), 1), ns(x).full((2,), 1.0)),
        lambda x: (ns(x).zeros((2, 3)), ns(x).zeros((3, 2))),
        lambda x: (x, ns(x).reshape(x, (2, 8))),
        lambda x: (ns(x).reshape(x, (4, 4)), ns(x).reshape(x.T, (4, 4))),
        lambda x: (ns(x).where(x > 0.0, x, 0.0), ns(x).where(x > 0.0, x, -0.0)),
        lambda x: (x.T, x.T * 1.0 + 0.0),
    ],
)
def test_what_is_not_the_same_stays_two(function: Callable[..., Any]) -> None:
    one, other = shared(function, X)
    assert one is not other


def test_a_product_of_two_that_became_one_gets_a_copy_and_one_with_itself_does_not() -> None:
    product, itself = shared(lambda x: ((x + 1.0).T @ (x + 1.0), (x - 1.0).T @ (x + 1.0)), X)
    assert [o.name for o in product.parents] == ["matrix_transpose", "copy"]
    assert [o.name for o in itself.parents] == ["matrix_transpose", "add"]

    def step(x: Any) -> Any:
        y = x + 1.0
        return (y.T @ y,)

    assert [o.name for o in shared(step, X)[0].parents] == ["matrix_transpose", "add"]


def test_a_new_operand_makes_a_new_node_and_the_old_one_stays() -> None:
    program = record(lambda x, y: (ns(x).exp(x) + y, y * 2.0), X, Y)
    x, y = program.inputs
    become = rewritten(program.nodes, with_operands, {x: y})
    one, other = (become[node] for node in program.outputs)
    assert one is not program.outputs[0]
    assert one.parents[0].parents == [y]
    assert (one.spec, one.place, one.settings) == (program.outputs[0].spec, program.outputs[0].place, {})
    assert other is program.outputs[1]
    assert program.outputs[0].parents[0].parents == [x]


def test_what_can_be_reached_comes_after_its_operands_and_once() -> None:
    program = record(lambda x, y: (ns(x).exp(x) @ (x + y), ns(x).log(y)), X, Y)
    order = reachable(program.outputs[:1])
    assert {node.name for node in order} == {"input", "exp", "add", "matmul"}
    assert len(set(order)) == len(order) == 5
    for i, node in enumerate(order):
        assert all(parent in order[:i] for parent in node.parents)
    assert {n.name for n in depends_on(program.nodes, {program.inputs[1]})} == {"input", "add", "matmul", "log"}
    known = {node for node in order if node.name == "add"}
    assert {node.name for node in reachable(program.outputs[:1], known)} == {"input", "exp", "add", "matmul"}
    assert program.inputs[1] not in reachable(program.outputs[:1], known)


def test_a_chain_may_be_long() -> None:
    def long(x: Any) -> Any:
        for _ in range(3000):
            x = x * 0.5
        return (x,)

    assert len(reachable(shared(long, X))) == 3001


def test_a_copy_has_no_gaps_and_keeps_the_order() -> None:
    wide = np.zeros((6, 8))
    cases = [wide[::2, ::2], wide[::-1], wide.T, wide[:, ::-1].T, wide[2]]
    for array in cases:
        (node,) = record(lambda x: (x,), array).outputs
        copy = copy_of(node)
        strides = tuple(s // 8 for s in array.copy(order="K").strides)
        assert (copy.spec.shape, copy.spec.strides) == (array.shape, strides)
        assert copy.spec.dense
    assert copy_of(record(lambda x: (ns(x).broadcast_to(x, (3, 8)),), wide[0]).outputs[0]).spec.dense


def test_inputs_without_gaps_stay_and_others_are_laid_out_anew() -> None:
    def step(x: Any, y: Any) -> Any:
        return x + y, x.T, ns(x).reshape(y, (-1,)), ns(x).sum(y, axis=0)

    program = record(step, X, Y)
    assert all(new is old for old, new in without_gaps(program.nodes).items())
    wide = np.random.default_rng(3).standard_normal((8, 12))
    gaps = wide[::2, ::-3]
    program, dense = record(step, X, gaps), record(step, X, gaps.copy(order="K"))
    new = without_gaps(program.nodes)
    assert [new[n].spec for n in program.nodes] == [n.spec for n in dense.nodes]
    assert new[program.outputs[1]] is program.outputs[1]
