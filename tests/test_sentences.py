"""What an error says beside its sentence: who complains, about what, what came, and what was expected.

A row is what the message must be, … standing for any words, and a call that gives it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import LAYERS, LayerCase
from conftest import take_apart

import martlet as mt
from martlet.functions import softplus


@pytest.mark.parametrize("case", [case for case in LAYERS if case.checks_dout], ids=lambda case: case.name)
def test_a_refused_dout_is_told_what_it_should_be_like(case: LayerCase) -> None:
    """The layer that complains, both shapes, and whose shape it is."""
    rng = np.random.default_rng(7)
    layer, x = case.layer(rng), case.x(rng)
    y, cache = layer.forward(x)
    arrays, build = take_apart(y)
    with pytest.raises(ValueError, match="shape") as caught:
        layer.backward(cache, build([np.zeros((1, *a.shape)) for a in arrays]))
    sentence = r"(\w+): (dout|dout\[0\]) has shape (.+), expected (.+) \(the shape of the (output|input)\)"
    found = re.fullmatch(sentence, str(caught.value))
    assert found, str(caught.value)
    layer_name, name, came, wanted, like = found.groups()
    assert issubclass(getattr(mt, layer_name), mt.Layer)
    assert (name == "dout[0]") is (like == "input")
    assert came == str((1, *eval(wanted)))


def foreign(*shape: int) -> Any:
    """Ones that are not NumPy's."""
    return pytest.importorskip("array_api_strict").ones(shape)


class Normal:
    """It draws normal numbers, but no bytes."""

    standard_normal = np.random.default_rng(0).standard_normal


X, C = np.ones((2, 3)), np.ones(3)
SENTENCES: dict[str, Callable[[], Any]] = {
    "Add: x must be a tuple of two arrays or more, got 1": lambda: mt.Add().forward((X,)),
    "Multiply: x must be a tuple of 2 arrays, got 3": lambda: mt.Multiply().forward((X, X, X)),
    "Add: x[0] must hold floating-point numbers, got …": lambda: mt.Add().forward((X > 0, X > 0)),
    "Add: x[1] has shape (1, 3), expected (2, 3) (the shape of x[0])": lambda: mt.Add().forward((X, X[:1])),
    "Multiply: x[1] has shape (1, 3), expected (2, 3) (the shape of x[0])": lambda: mt.Multiply().forward((X, X[:1])),
    "Repeat: x must hold floating-point numbers, got …": lambda: mt.Repeat(2).forward(X > 0),
    "Repeat: x has shape (2, 3), expected length 1 along axis 0 (to repeat it)": lambda: mt.Repeat(2).forward(X),
    "Sum: x has shape (2, 3), expected more than 2 axes (to sum along axis 2)": lambda: mt.Sum(axis=2).forward(X),
    "BatchNorm: mean is array_api_strict …, but gamma is …": lambda: mt.BatchNorm(C, C, foreign(3), C).forward(X),
    "BatchNorm: variance is array_api_strict …, but gamma is …": lambda: mt.BatchNorm(C, C, C, foreign(3)).forward(X),
    "Dropout: stream must be an int32 array of shape (2,), …": lambda: mt.Dropout(C, C).forward(X),
    "Dropout.init: rng must be a NumPy Generator, …": lambda: mt.Dropout.init(0.5, Normal()),  # type: ignore[arg-type]
    "SoftmaxWithLoss: t has shape (3,), expected (2,) (one label per row of y)": lambda: mt.SoftmaxWithLoss().forward(
        X, np.array([0, 1, 2])
    ),
    "SoftmaxWithLoss: t has shape (2, 1), expected (2,) (one label per row of y; write t[:, 0])": (
        lambda: mt.SoftmaxWithLoss().forward(X, np.array([[0], [1]]))
    ),
    "SoftmaxWithLoss: …; rows of probabilities must be of y's dtype, not integers)": (
        lambda: mt.SoftmaxWithLoss().forward(X, np.eye(3, dtype=int)[:2])
    ),
    "SoftmaxWithLoss: t has shape (2, 2), expected (2, 3) or integer labels (N,) (rows of probabilities for y or …": (
        lambda: mt.SoftmaxWithLoss().forward(X, X[:, :2])
    ),
    "SoftmaxWithLoss: t is numpy float32 …, but y is numpy float64 …": (
        lambda: mt.SoftmaxWithLoss().forward(X, X.astype("float32"))
    ),
    "SigmoidWithLoss: pos_weight has shape (2,), expected () (one number, or one per column of y)": (
        lambda: mt.SigmoidWithLoss(pos_weight=C[:2]).forward(C, C)
    ),
    "MeanSquaredError: t has shape (3, 2), expected (2, 3) (the shape of y)": (
        lambda: mt.MeanSquaredError().forward(X, X.T.copy())
    ),
    "MeanSquaredError: t has shape (2,), expected (3,) (the shape of y)": lambda: mt.MeanSquaredError().forward(
        C, C[:2]
    ),
    "MeanSquaredError: t is numpy float32 …, but y is numpy float16 …": (
        lambda: mt.MeanSquaredError().forward(X.astype("float16"), X.astype("float32"))
    ),
    "MeanSquaredError: t must be an array, got …": lambda: mt.MeanSquaredError().forward(X.astype("float16"), [1.0]),
    "Reshape: x has shape (2, 3), expected (N, ...) with samples that fit (2, 2) (they hold 3 numbers)": (
        lambda: mt.Reshape((2, 2)).forward(X)
    ),
    "softplus: x must hold floating-point numbers, got …": lambda: softplus(X > 0),
    "MeanSquaredError.backward: cache must be what forward gave for this batch, got a tuple of 2 (not enough …": (
        lambda: mt.MeanSquaredError().backward((X, X))
    ),
    "MeanSquaredError: dout must be finite, got nan": (
        lambda: mt.MeanSquaredError().backward(mt.MeanSquaredError().forward(X, X, C[:2])[1], np.nan)
    ),
    "Parallel: cache must be a tuple of 2 arrays, got 3": (
        lambda: mt.Parallel(mt.Tanh(), mt.Tanh()).backward((X, X, X), (X, X))
    ),
    "Loss has no losses": lambda: mt.Loss().losses(X, X),
    "Loss has no slopes": lambda: mt.Loss().slopes(X),
    "Optimizer has no rule": lambda: mt.Optimizer().rule(X, X),
    "Schedule has no factor": lambda: mt.schedules.Schedule().factor(X, None),
    "Transform has no change": lambda: mt.Transform().change(None, None, None),
}


@pytest.mark.parametrize("sentence", SENTENCES)
def test_an_error_names_what_it_is_about(sentence: str) -> None:
    with pytest.raises((ValueError, TypeError, NotImplementedError)) as caught:
        SENTENCES[sentence]()
    assert re.fullmatch(".+".join(map(re.escape, sentence.split("…"))), str(caught.value)), str(caught.value)


@pytest.mark.parametrize("transforms", [(), (mt.L2(decay=0.1),)], ids=["plain", "transformed"])
def test_an_update_says_what_does_not_fit(transforms: tuple[mt.Transform, ...]) -> None:
    optimizer, model, wrong = mt.Momentum(transforms=transforms), mt.MatMul(np.ones((2, 3))), mt.MatMul(np.ones((1, 3)))
    with pytest.raises(ValueError, match=r"a gradient has shape \(1, 3\), expected \(2, 3\) \(the shape of its array"):
        optimizer.update(model, wrong, optimizer.init(model))
    with pytest.raises(ValueError, match=r"the state has shape \(1, 3\), expected \(2, 3\) \(the shape of its array"):
        optimizer.update(model, model, optimizer.init(wrong))
    pytest.importorskip("array_api_strict")
    elsewhere = optimizer.init(model.to("array_api_strict"))
    with pytest.raises(TypeError, match=r"^Momentum.update: the state is .+, but the model is "):
        optimizer.update(model, model, elsewhere)


@pytest.mark.parametrize(("has", "word"), [(True, "a"), (False, "no")])
def test_an_update_says_which_choice_the_state_was_made_with(has: bool, word: str) -> None:
    model = mt.MatMul(np.ones((1, 1)))
    expected = f"has {word} peak, so it was made with amsgrad={has}, but the optimizer has amsgrad={not has}"
    with pytest.raises(ValueError, match=expected):
        mt.Adam(amsgrad=not has).update(model, model, mt.Adam(amsgrad=has).init(model))
