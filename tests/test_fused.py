"""What is fused into one kernel: no operation is lost, done twice, or moved before what it reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import LAYERS, LOSSES, OPTIMIZERS, LayerCase, LossCase, OptimizerCase, network
from hypothesis import strategies as st
from properties.programs import Written, drawn_arrays
from properties.strategies import for_all, seeds
from test_laws import draw, forward_backward

import martlet as mt
from martlet.compile.cupy.fused import MOST, SHORT, Group, arranged
from martlet.compile.cupy.kernel_text import can_be_fused, text_of
from martlet.compile.programs.ops import ELEMENTWISE
from martlet.compile.recorder.recording import Program, record


def groups_of(program: Program) -> list[Any]:
    """The program in the order in which it would be lowered, checked: each node once, after what it reads."""
    nodes = program.needed
    found = arranged(nodes, set(program.outputs), can_be_fused)
    known, done = set(program.inputs), []
    for node in found:
        assert set(node.parents) <= known, "an operation comes before what it reads"
        members = node.members if isinstance(node, Group) else [node]
        inside = set(known)
        for member in members:
            assert set(member.parents) <= inside, "within a kernel, a line comes before what it reads"
            if isinstance(node, Group) and node.rows is None:
                assert member.spec.shape == node.spec.shape
            elif isinstance(node, Group):
                assert member.spec.shape[0] == node.rows
            inside.add(member)
        known |= set(node.results if isinstance(node, Group) else [node])
        done += members
    assert len(done) == len(set(done)) == len(nodes)
    assert set(program.outputs) <= known
    return found


@pytest.mark.parametrize("case", LAYERS, ids=lambda case: case.name)
def test_every_layer_is_all_there_after_fusing(case: LayerCase) -> None:
    groups_of(record(forward_backward, *draw(case)))


@pytest.mark.parametrize("case", LOSSES, ids=lambda case: case.name)
def test_every_loss_is_all_there_after_fusing(case: LossCase) -> None:
    rng = np.random.default_rng(0)
    loss, y, t = case.loss("mean"), case.y(rng), case.t(rng)
    groups_of(record(lambda loss, y, t: loss.backward(loss.forward(y, t)[1]), loss, y, t))


@pytest.mark.parametrize("case", OPTIMIZERS, ids=lambda case: case.name)
def test_every_step_is_all_there_after_fusing(case: OptimizerCase) -> None:
    rng, optimizer = np.random.default_rng(0), case.optimizer()
    model = network(rng)
    batch = rng.standard_normal((6, 3)), rng.integers(0, 2, 6)
    groups_of(record(mt.train_step, model, mt.SoftmaxWithLoss(), optimizer, optimizer.init(model), *batch))


@for_all(
    200,
    words=st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=20),
    results=st.lists(st.integers(0, 63), max_size=3),
    seed=seeds,
)
def test_a_drawn_program_is_all_there_after_fusing(words: list[int], results: list[int], seed: int) -> None:
    arrays = drawn_arrays(seed, 3)
    groups_of(record(Written(words, 2, (0, 1, 2), results), *arrays))


def test_a_derivative_waits_for_the_backward_step() -> None:
    """dout · (1 − y²) is one kernel that reads y; 1 − y² is not computed where y is, to lie in memory until then."""

    def step(x: Any, W: Any) -> Any:
        xp = mt.namespace(x)
        y = xp.tanh(x)
        dout = (y @ W) @ W.T
        return dout * (1.0 - y * y)

    found = groups_of(record(step, np.ones((4, 3)), np.ones((3, 2))))
    kernels = [[m.name for m in node.members] for node in found if isinstance(node, Group)]
    assert kernels == [["tanh"], ["multiply", "subtract", "multiply"]]


def test_softmax_and_its_loss_are_one_kernel_of_rows() -> None:
    """From the scores of a batch to the slopes, and to the loss of each sample, whose mean is one sum more."""
    loss = mt.SoftmaxWithLoss()

    def step(scores: Any, b: Any, t: Any) -> Any:
        value, cache = loss.forward(scores + b, t)
        return loss.backward(cache) @ scores.T, value

    given = np.ones((6, 3), "float32"), np.ones(3, "float32"), np.zeros(6, dtype=np.int64)
    found = groups_of(record(step, *given))
    (group,) = [node for node in found if isinstance(node, Group)]
    assert group.rows == 6
    assert {"any", "max", "sum"} <= {node.name for node in group.members}
    assert [node.spec.shape for node in group.results] == [(6,), (6, 3)]
    rest = [node.name for node in found if not isinstance(node, Group) and node.family != "view"]
    assert sorted(rest) == ["arange", "matmul", "sum"]


def test_a_sum_in_half_precision_is_added_up_in_float_and_rounded_once() -> None:
    def step(x: Any) -> Any:
        xp = mt.namespace(x)
        return x - xp.sum(x, axis=1, keepdims=True)

    (group,) = groups_of(record(step, np.ones((5, 3), "float16")))
    lines = text_of(group).body.splitlines()
    assert lines[:3] == [
        "float along_t0 = 0;",
        "for (int j = 0; j < 3; ++j) along_t0 = along_t0 + (float)(in0[i * 3 + j]);",
        "const float16 t0 = (float16)(along_t0);",
    ]


def test_long_rows_are_not_one_threads() -> None:
    def step(x: Any) -> Any:
        xp = mt.namespace(x)
        return xp.exp(x - xp.max(x, axis=1, keepdims=True))

    for columns, kernels in ((SHORT, 1), (SHORT + 1, 1)):
        found = groups_of(record(step, np.ones((5, columns))))
        groups = [node for node in found if isinstance(node, Group)]
        assert len(groups) == kernels
        assert (groups[0].rows is None) == (columns > SHORT)
        assert len(found) == (1 if columns <= SHORT else 2)


def test_beside_a_matrix_a_row_is_no_column() -> None:
    """Three by three: x + s adds s[j] to column j, and a sum over each row is s[i]."""

    def step(x: Any) -> Any:
        return x + mt.namespace(x).sum(x, axis=1)

    assert len(groups_of(record(step, np.ones((3, 3))))) == 2


def test_a_kernel_has_no_more_arguments_than_it_may() -> None:
    def step(*arrays: Any) -> Any:
        return tuple(a + 1.0 for a in arrays)

    found = groups_of(record(step, *(np.ones(3) for _ in range(50))))
    assert len(found) == 3
    for group in found:
        assert len(group.parents) + len(group.results) <= MOST


def test_what_a_kernel_says() -> None:
    """Sigmoid in half precision: each line is computed in float, and rounded before the next one reads it."""
    sigmoid = mt.Sigmoid()
    program = record(lambda x: sigmoid.predict(x) * 2.0, np.ones((2, 3), "float16"))
    (group,) = groups_of(program)
    text = text_of(group)
    assert text.inputs.startswith("float16 in0")
    assert text.outputs == "float16 out0"
    *lines, last = text.body.splitlines()
    assert len(lines) == len(group.members)
    for i, line in enumerate(lines):
        assert line.startswith(f"const float16 t{i} = (float16)(")
    assert last == f"out0 = t{len(lines) - 1};"
    assert "float16.cuh" in text.preamble


def test_what_is_no_line_of_a_kernel_stays_an_operation() -> None:
    def step(x: Any, n: Any) -> Any:
        xp = mt.namespace(x)
        return xp.atan2(x, x), n // 2, x**3, xp.sign(x), x**2, n + 1

    program = record(step, np.ones(3), np.ones(3, dtype=np.int64))
    fused = {node.name for node in program.needed if node.family == ELEMENTWISE and can_be_fused(node)}
    assert fused == {"pow", "add"}
    assert [node.operands[1] for node in program.needed if node.name == "pow" and can_be_fused(node)] == [2]


def test_the_same_number_is_one_argument_and_an_integer_is_no_float() -> None:
    program = record(lambda x, n: (x * 2.0 + 2.0, n * 2), np.ones(3), np.ones(3, dtype=np.int64))
    (group,) = [node for node in groups_of(program) if isinstance(node, Group)]
    text = text_of(group)
    numbers = [value for value in text.arguments if isinstance(value, np.generic)]
    assert sorted(map(repr, numbers)) == ["np.float64(2.0)", "np.int64(2)"]
