"""A program: counted by hand, printed for people to read, and run with other numbers."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import take_apart

import martlet as mt
from martlet.backend import namespace
from martlet.compile import Program, record
from martlet.compile.programs.layout import spec_of
from martlet.compile.programs.program import Cost


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape)


# -------------------------------------------------------------------------------------------- counted by hand


def test_affine_costs_what_its_formula_says() -> None:
    """x (5, 3), W (3, 4), b (4,), in eight bytes a number: y = x @ W + b, and its three gradients."""
    layer = mt.Affine(ones(3, 4), ones(4))
    forward = record(lambda layer, x: layer.forward(x)[0], layer, ones(5, 3))
    product = Cost(1, 2 * 5 * 3 * 4, 8 * (5 * 3 + 3 * 4 + 5 * 4))
    plus = Cost(1, 5 * 4, 8 * (5 * 4 + 4 + 5 * 4))
    assert forward.cost == tuple(map(sum, zip(product, plus, strict=True)))
    assert forward.cost == (2, 140, 728)
    backward = record(lambda layer, x, dout: layer.backward(x, dout), layer, ones(5, 3), ones(5, 4))
    dx, dW = 2 * 5 * 4 * 3, 2 * 3 * 5 * 4
    assert backward.cost == (3, dx + dW + 5 * 4, 8 * (20 + 12 + 15) + 8 * (15 + 20 + 12) + 8 * (20 + 4))
    assert backward.count() == {"matrix_transpose": 2, "matmul": 2, "sum": 1}


def test_softmax_costs_what_its_formula_says() -> None:
    """Over (5, 3): the maximum, the difference, exp, the sum and the quotient, fifteen each."""

    def textbook(x: Any) -> Any:
        xp = namespace(x)
        exps = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
        return exps / xp.sum(exps, axis=-1, keepdims=True)

    program = record(textbook, ones(5, 3).astype("float32"))
    assert program.count() == {"max": 1, "subtract": 1, "exp": 1, "sum": 1, "divide": 1}
    row, whole = 4 * 5, 4 * 15
    assert program.cost == (5, 5 * 15, 2 * (whole + row) + 2 * (2 * whole + row) + 2 * whole)


COSTS: dict[str, tuple[Callable[..., Any], list[np.ndarray], Cost]] = {
    "a stack of products": (lambda a, b: a @ b, [ones(7, 2, 3), ones(3, 4)], Cost(1, 7 * 2 * 2 * 3 * 4, 8 * 110)),
    "a vector": (lambda a, b: a @ b, [ones(2, 3), ones(3)], Cost(1, 2 * 2 * 3, 8 * 11)),
    "vecdot": (lambda a, b: namespace(a).vecdot(a, b), [ones(2, 3), ones(2, 3)], Cost(1, 2 * 2 * 3, 8 * 14)),
    "vecdot along rows": (
        lambda a, b: namespace(a).vecdot(a, b, axis=0), [ones(2, 3), ones(2, 3)], Cost(1, 2 * 3 * 2, 8 * 15)
    ),
    "tensordot": (
        lambda a, b: namespace(a).tensordot(a, b, axes=2), [ones(2, 3, 5), ones(3, 5, 7)], Cost(1, 2 * 14 * 15, 8 * 149)
    ),
    "tensordot of named axes": (
        lambda a, b: namespace(a).tensordot(a, b, axes=((-1,), (0,))), [ones(2, 3), ones(3, 4)], Cost(1, 48, 8 * 26)
    ),
    "an outer product": (
        lambda a, b: namespace(a).tensordot(a, b, axes=0), [ones(2), ones(3)], Cost(1, 2 * 6, 8 * 11)
    ),
    "a view": (lambda x: namespace(x).reshape(x[:, None, :], (6,)), [ones(2, 3)], Cost(0, 0, 0)),
    "a reshape that copies": (lambda x: namespace(x).reshape(x.T, (6,)), [ones(2, 3)], Cost(1, 0, 8 * 12)),
    "constants": (lambda x: x + namespace(x).arange(3), [ones(2, 3)], Cost(1, 6, 8 * 15)),
    "a cast and a choice": (
        lambda x: namespace(x).where(x > 0, x, namespace(x).astype(x, np.float32)), [ones(4)],
        Cost(3, 4, (32 + 4) + (32 + 16) + (4 + 32 + 16 + 32)),
    ),
    "a sum over one of three axes": (lambda x: namespace(x).sum(x, axis=1), [ones(2, 3, 4)], Cost(1, 24, 8 * 32)),
    "what no result depends on": (lambda x: (namespace(x).exp(x @ x), x)[1], [ones(3, 3)], Cost(0, 0, 0)),
    "joining": (lambda x: namespace(x).concat([x, x]), [ones(3)], Cost(1, 0, 8 * 12)),
    "nothing": (lambda x: x + x, [ones(0, 3)], Cost(1, 0, 0)),
}  # fmt: skip


@pytest.mark.parametrize("name", COSTS)
def test_a_cost_is_what_one_counts_by_hand(name: str) -> None:
    function, arrays, expected = COSTS[name]
    assert record(function, *arrays).cost == expected


def spiral(batch: int = 30) -> tuple[Program, tuple[Any, ...]]:
    rng = np.random.default_rng(0)
    model = mt.Sequential(mt.Affine.init(2, 10, rng), mt.Sigmoid(), mt.Affine.init(10, 3, rng))
    optimizer, (x, t) = mt.SGD(lr=1.0), mt.datasets.spiral()
    given = model, mt.SoftmaxWithLoss(), optimizer, optimizer.init(model), x[:batch], t[:batch]
    return record(mt.train_step, *given), given


def test_each_operation_knows_the_layer_and_the_verb_that_asked_for_it() -> None:
    program, _ = spiral()
    costs = program.by_place()
    assert list(costs) == [
        "layer 0 (Affine).forward",
        "layer 1 (Sigmoid).forward",
        "layer 2 (Affine).forward",
        "loss (SoftmaxWithLoss).forward",
        "loss (SoftmaxWithLoss).backward",
        "layer 2 (Affine).backward",
        "layer 1 (Sigmoid).backward",
        "layer 0 (Affine).backward",
        "optimizer (SGD).update",
    ]
    assert tuple(map(sum, zip(*costs.values(), strict=True))) == program.cost
    assert costs["layer 2 (Affine).forward"].flops == 30 * (2 * 10 * 3 + 3)
    # of the first layer's three gradients its dx is not needed
    assert costs["layer 0 (Affine).backward"].flops == 2 * 2 * 30 * 10 + 30 * 10
    assert costs["optimizer (SGD).update"].flops == 1 + 2 * (2 * 10 + 10 + 10 * 3 + 3)


def test_layers_within_layers_and_other_names_are_told_apart() -> None:
    inner = mt.Sequential(mt.Tanh(), mt.Freeze(mt.Sigmoid()))
    model = mt.Sequential(inner, mt.Tanh())
    assert list(record(lambda model, x: model.predict(x), model, ones(2)).by_place()) == [
        "layer 0.0 (Tanh).predict",
        "layer 0.1.layer (Sigmoid).predict",
        "layer 1 (Tanh).predict",
    ]
    assert list(
        record(lambda a, pair, x: pair[1].predict(a.predict(x)), mt.Tanh(), (inner, mt.ReLU()), ones(2)).by_place()
    ) == [
        "a (Tanh).predict",
        "pair.1 (ReLU).predict",
    ]
    assert list(record(lambda x: x + 1, ones(2)).by_place()) == ["the function"]


# ----------------------------------------------------------------------------------------- printed to be read


def test_a_program_reads_like_the_layers() -> None:
    def function(model: mt.Layer, x: Any) -> Any:
        y, cache = model.forward(x)
        _, grad = model.backward(cache, y[:, None, 0] * 2.0)
        return y, grad

    model = mt.Sequential(mt.Affine(ones(2, 1), ones(1)), mt.Tanh())
    lines = """\
model.0.W                               float64 (2, 1)
model.0.b                               float64 (1,)
x                                       float64 (3, 2)
# layer 0 (Affine).forward: 2 operations, 15 FLOPs, 144 bytes moved
%1 = x @ model.0.W                      float64 (3, 1)
%2 = %1 + model.0.b                     float64 (3, 1)
# layer 1 (Tanh).forward: 1 operation, 3 FLOPs, 48 bytes moved
%3 = tanh(%2)                           float64 (3, 1)
# the function: 1 operation, 3 FLOPs, 48 bytes moved
%4 = %3[:, None, 0]                     float64 (3, 1)
%5 = %4 * 2.0                           float64 (3, 1)
# layer 1 (Tanh).backward: 3 operations, 9 FLOPs, 192 bytes moved
%6 = %3 * %3                            float64 (3, 1)
%7 = 1.0 - %6                           float64 (3, 1)
%8 = %5 * %7                            float64 (3, 1)
# layer 0 (Affine).backward: 2 operations, 15 FLOPs, 120 bytes moved
%9 = model.0.W.mT                       float64 (1, 2)  # no result depends on it
%10 = %8 @ %9                           float64 (3, 2)  # no result depends on it
%11 = x.mT                              float64 (2, 3), by columns
%12 = %11 @ %8                          float64 (2, 1)
%13 = sum(%8, axis=0)                   float64 (1,)
result 0 = %3
result 1.0.W = %12
result 1.0.b = %13
# all that is needed: 9 operations, 45 FLOPs, 552 bytes moved"""
    assert str(record(function, model, ones(3, 2))) == lines


def test_settings_and_constants_are_printed_as_one_would_type_them() -> None:
    def function(x: Any) -> Any:
        xp = namespace(x)
        y = xp.asarray([1.0, 2.5]) + xp.asarray(list(range(2000)))[::1000] + xp.zeros(2, dtype=xp.float32)
        return xp.where(x[..., -1:] > y, xp.sum(x, axis=-1, keepdims=True), -1.0) ** 2

    text = str(record(function, ones(3, 2)))
    for line in (
        "constant(array=[1.0, 2.5]) ",
        "constant(array=2000 numbers) ",
        "%2[::1000] ",
        "zeros(shape=(2,), dtype=float32) ",
        "x[..., -1:] ",
        "sum(x, axis=-1, keepdims=True) ",
        "where(%8, %9, -1.0) ",
        "%10 ** 2 ",
        "\nresult %11\n",
    ):
        assert line in text, text


def test_the_memory_order_is_said_where_it_is_not_by_rows() -> None:
    x = np.zeros((2, 3, 4))
    forms = [x, x.T, x.transpose(1, 0, 2), x[:, ::2], x[:, :1, :], np.broadcast_to(x[:1], x.shape), x[:0].T]
    forms += [np.zeros((5, 1)).T, np.zeros((1, 5))[:, :, None], x[0, 0, 0]]
    said = [str(spec_of(form)).partition(")")[2] for form in forms]
    assert said == ["", ", by columns", ", in another order", ", a view", ", a view", ", a view", "", "", "", ""]
    assert str(spec_of(x)) == "float64 (2, 3, 4)"


def test_one_of_each_is_not_in_the_plural() -> None:
    assert str(Cost(1, 1, 1)) == "1 operation, 1 FLOP, 1 byte moved"
    assert str(Cost(1234, 0, 5_000_000)) == "1,234 operations, 0 FLOPs, 5,000,000 bytes moved"


# -------------------------------------------------------------------------------------- run with other numbers


def test_a_program_runs_with_other_numbers_of_the_same_form() -> None:
    program, given = spiral()
    model, loss, optimizer, state, x, t = given
    for _ in range(3):
        arrays = list(map(np.asarray, take_apart((model, loss, state, x, t))[0]))
        here = program.run(arrays)
        there = take_apart(mt.train_step(model, loss, optimizer, state, x, t))[0]
        assert [np.asarray(a).tobytes() for a in here] == [np.asarray(b).tobytes() for b in there]
        model, state, _ = program.build(list(map(np.asarray, here)))
        x, t = x[::-1].copy(), t[::-1].copy()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda given: given[:-1], ValueError, r"expected 8 arrays \(model.0.W, .*, x, t\), got 7"),
        (lambda given: [*given, given[-1]], ValueError, r"expected 8 arrays .* got 9"),
        (
            lambda given: [*given[:-2], *(np.concatenate([a, a]) for a in given[-2:])],
            ValueError,
            r"x is .* recorded as float32 of",
        ),
        (
            lambda given: [a.astype("float64") for a in given],
            ValueError,
            r"model.0.W is numpy float64 .* as float32 of",
        ),
        (lambda given: [a.tolist() for a in given], TypeError, r"model.0.W must be a NumPy array, got list"),
    ],
)
def test_a_program_takes_no_other_form(change: Any, error: type[Exception], words: str) -> None:
    """For a batch of another size it would divide the loss by the old one."""
    program, (model, loss, _, state, x, t) = spiral()
    given = list(map(np.asarray, take_apart((model, loss, state, x, t))[0]))
    with pytest.raises(error, match=f"^Program.run: {words}"):
        program.run(change(given))
    with pytest.raises(ValueError, match=r"^Program.build: expected \d+ results, got 1"):
        program.build(given[:1])


def test_a_program_comes_home_from_another_process() -> None:
    program, (model, loss, _, state, x, t) = spiral()
    given = list(map(np.asarray, take_apart((model, loss, state, x, t))[0]))
    again = pickle.loads(pickle.dumps(program))
    assert str(again) == str(program)
    here, there = (take_apart(each.build(each.run(given)))[0] for each in (program, again))
    assert [a.tobytes() for a in here] == [b.tobytes() for b in there]


def test_what_the_document_shows_is_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parent.parent / "docs" / "record.md").read_text(encoding="utf-8")
    program, shown, uses = re.findall(r"```(?:python)?\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(program, names)
    assert capsys.readouterr().out == shown
    arrays = take_apart((names["model"], names["optimizer"].init(names["model"]), names["x"][:30], names["t"][:30]))[0]
    names["arrays"] = list(map(np.asarray, arrays))
    exec(uses, names)
    assert names["value"] == names["loss"].value(names["model"].predict(names["x"][:30]), names["t"][:30])
