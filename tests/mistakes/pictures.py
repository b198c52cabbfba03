"""Data sets and pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import martlet as mt
from mistakes.row import Given, Row


def tumours(**changes: Any) -> Any:
    pytest.importorskip("sklearn")
    return mt.datasets.breast_cancer(**changes)


def boundary(g: Given, **changes: Any) -> Any:
    pytest.importorskip("matplotlib").use("Agg")
    return mt.plot.decision_boundary(**{"model": g.plane, "x": g.x(6, 2), "t": g.t, "resolution": 5} | changes)


def curve(history: Any) -> Callable[[Given], Any]:
    def draw(g: Given) -> Any:
        pytest.importorskip("matplotlib").use("Agg")
        return mt.plot.loss_curve(history)

    return draw


# fmt: off
PICTURES = [
    Row("spiral: points 0", ValueError, "spiral points 1 0", lambda g: mt.datasets.spiral(0)),
    Row("spiral: points 10.0", TypeError, "spiral points integer 10.0", lambda g: mt.datasets.spiral(10.0)),
    Row("spiral: points True", TypeError, "spiral points integer True", lambda g: mt.datasets.spiral(True)),
    Row("spiral: classes -3", ValueError, "spiral classes 1 -3", lambda g: mt.datasets.spiral(10, -3)),
    Row("spiral: classes None", TypeError, "spiral classes integer None", lambda g: mt.datasets.spiral(10, None)),
    Row("spiral: noise -1", ValueError, "spiral noise 0 -1", lambda g: mt.datasets.spiral(10, noise=-1.0)),
    Row("spiral: noise nan", ValueError, "spiral noise finite nan",
        lambda g: mt.datasets.spiral(10, noise=float("nan"))),
    Row("spiral: noise str", TypeError, "spiral noise number", lambda g: mt.datasets.spiral(10, noise="0.2")),
    Row("spiral: rng 0", TypeError, "spiral rng Generator default_rng(0)", lambda g: mt.datasets.spiral(10, rng=0)),
    Row("spiral: backend", ValueError, "backend nope numpy", lambda g: mt.datasets.spiral(10, backend="nope")),
    Row("spiral: dtype", ValueError, "dtype int32 float32", lambda g: mt.datasets.spiral(10, dtype="int32")),
    Row("xor: backend", ValueError, "backend nope numpy", lambda g: mt.datasets.xor(backend="nope")),
    Row("xor: backend a module", TypeError, "backend name", lambda g: mt.datasets.xor(backend=np)),
    Row("xor: dtype", ValueError, "dtype int32 float32", lambda g: mt.datasets.xor(dtype="int32")),
    Row("breast_cancer: backend", ValueError, "backend nope numpy", lambda g: tumours(backend="nope")),
    Row("breast_cancer: dtype", ValueError, "dtype int32 float32", lambda g: tumours(dtype="int32")),
    Row("loss_curve: no epochs", ValueError, "loss_curve loss", curve([])),
    Row("loss_curve: an empty history", ValueError, "loss_curve loss", curve(mt.History())),
    Row("loss_curve: a number", ValueError, "loss_curve loss list float", curve(0.5)),
    Row("loss_curve: None", ValueError, "loss_curve loss list None", curve(None)),
    Row("loss_curve: two axes", ValueError, "loss_curve loss list", curve([[1.0, 2.0]])),
    Row("loss_curve: uneven lists", ValueError, "loss_curve loss list", curve([[1.0], [1.0, 2.0]])),
    Row("loss_curve: no runs", ValueError, "loss_curve loss", curve({})),
    Row("loss_curve: an empty run", ValueError, "loss_curve first list", curve({"first": []})),
    Row("loss_curve: a name", ValueError, "loss_curve loss list", curve("losses.txt")),
    Row("loss_curve: words", ValueError, "loss_curve loss list", curve(["high", "low"])),
    Row("boundary: three columns", ValueError, "decision_boundary x (6, 3) (N, 2)", lambda g: boundary(g, x=g.x(6, 3))),
    Row("boundary: x a list", TypeError, "decision_boundary x array list", lambda g: boundary(g, x=[[1.0, 2.0]])),
    Row("boundary: t a list", TypeError, "decision_boundary t array list", lambda g: boundary(g, t=[0, 1, 2, 0, 1, 2])),
    Row("boundary: t words", TypeError, "decision_boundary t numbers", lambda g: boundary(g, t=np.full(6, "a"))),
    Row("boundary: t with NaN", ValueError, "decision_boundary t labels",
        lambda g: boundary(g, t=g.array(*[float("nan")] * 6))),
    Row("boundary: label -1", ValueError, "decision_boundary t labels -1", lambda g: boundary(g, t=g.array(*[-1] * 6))),
    Row("boundary: 5 labels for 6", ValueError, "decision_boundary t (5,) (6,)",
        lambda g: boundary(g, t=g.array(0, 1, 2, 0, 1))),
    Row("boundary: no samples", ValueError, "decision_boundary samples",
        lambda g: boundary(g, x=g.x(0, 2), t=g.cast(g.x(0), "int32"))),
    Row("boundary: x with NaN", ValueError, "decision_boundary x finite",
        lambda g: boundary(g, x=g.array(*[[float("nan"), 1.0]] * 6))),
    Row("boundary: resolution 0", ValueError, "decision_boundary resolution 0", lambda g: boundary(g, resolution=0)),
    Row("boundary: resolution 9.5", TypeError, "decision_boundary resolution integer 9.5",
        lambda g: boundary(g, resolution=9.5)),
    Row("boundary: model of 3 inputs", ValueError, "MatMul x (25, 2) (N, 3)",
        lambda g: boundary(g, model=mt.Sequential(g.matmul))),
    Row("boundary: model a class", TypeError, "decision_boundary model Layer", lambda g: boundary(g, model=mt.Tanh)),
]
