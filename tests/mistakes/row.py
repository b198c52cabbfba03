"""A row of the tables of mistakes, and what its call is given."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import Target, take_apart

import martlet as mt

EITHER = (TypeError, ValueError)


ARRAYS = {
    mt.BatchNorm: ("gamma", "beta", "mean", "variance"),
    mt.LayerNorm: ("gamma", "beta"),
    mt.Standardize: ("mean", "scale"),
}


class Given:
    """What the calls take, made where the test runs, and remembered: ``unchanged`` compares."""

    def __init__(self, xp: Target) -> None:
        self.xp = xp
        self.rng = np.random.default_rng(5)
        self.before: list[tuple[Any, Any]] = []
        self.figures = open_figures()

    def keep(self, value: Any) -> Any:
        self.before.append((value, snapshot(value)))
        return value

    def unchanged(self) -> bool:
        return self.figures == open_figures() and all(snapshot(value) == was for value, was in self.before)

    def x(self, *shape: int, dtype: str = "float32") -> Any:
        return self.place(self.rng.standard_normal(shape), dtype)

    def array(self, *numbers: Any, dtype: str = "float32") -> Any:
        """An array of these numbers: floats in the given width, integers and booleans as they are."""
        return self.place(np.array(numbers), dtype)

    def place(self, numbers: Any, dtype: str) -> Any:
        if dtype == "float64" and self.xp.double == "float32":
            pytest.skip("there is no float64 here")
        return self.keep(self.xp.asarray(numbers, dtype))

    def words(self, *numbers: int, dtype: str = "int32") -> Any:
        return self.cast(self.array(*numbers), dtype)

    def cast(self, x: Any, dtype: str) -> Any:
        here = mt.namespace(x)
        return self.keep(here.astype(x, getattr(here, "bool" if dtype == "bool" else dtype)))

    def foreign(self, x: Any) -> Any:
        """The same numbers in another library: NumPy, or on NumPy array-api-strict."""
        if self.xp.backend.name == "numpy":
            pytest.importorskip("array_api_strict")
        other = mt.Backend("array_api_strict" if self.xp.backend.name == "numpy" else "numpy")
        return self.keep(other.asarray(mt.to_numpy(x)))

    def elsewhere(self, x: Any) -> Any:
        """The same numbers on another device, where there are two."""
        if self.xp.backend.name != "array_api_strict":
            pytest.skip("there is one device here")
        return self.keep(mt.Backend("array_api_strict", device="CPU_DEVICE").asarray(mt.to_numpy(x)))

    @property
    def affine(self) -> mt.Affine:
        return self.keep(mt.Affine(self.x(3, 4), self.x(4)))

    @property
    def matmul(self) -> mt.MatMul:
        return self.keep(mt.MatMul(self.x(3, 4)))

    @property
    def model(self) -> mt.Sequential:
        return self.keep(mt.Sequential(mt.Affine(self.x(3, 4), self.x(4)), mt.Tanh(), mt.MatMul(self.x(4, 3))))

    @property
    def dropout(self) -> mt.Dropout:
        return self.keep(mt.Dropout(self.words(1, 2), self.words(0), 0.5))

    @property
    def batch_norm(self) -> mt.BatchNorm:
        return self.normalization(mt.BatchNorm)

    @property
    def layer_norm(self) -> mt.LayerNorm:
        return self.normalization(mt.LayerNorm)

    @property
    def standardize(self) -> mt.Standardize:
        return self.normalization(mt.Standardize)

    def normalization(self, kind: Any, **changes: Any) -> Any:
        """A layer of three channels, some of whose arrays are others."""
        arrays = {name: self.array(1.0, 2.0, 3.0) for name in ARRAYS[kind]}
        return self.keep(kind(**arrays | changes))

    @property
    def embedding(self) -> mt.Embedding:
        return self.keep(mt.Embedding(self.x(4, 3)))

    @property
    def reader(self) -> mt.Sequential:
        return self.keep(mt.Sequential(self.embedding, mt.Tanh()))

    @property
    def regression(self) -> mt.Sequential:
        return self.keep(mt.Sequential(mt.MatMul(self.x(3, 1))))

    @property
    def plane(self) -> mt.Sequential:
        return self.keep(mt.Sequential(mt.MatMul(self.x(2, 3))))

    @property
    def t(self) -> Any:
        return self.array(0, 1, 2, 0, 1, 2)

    def backward(self, layer: Any, x: Any, dout: Any) -> Any:
        return layer.backward(layer.forward(x)[1], dout)

    def scaled(self, loss: Any, dout: Any) -> Any:
        """Backward of a loss over 6 samples of 3 numbers."""
        return loss.backward(loss.forward(self.x(6, 3), self.x(6, 3))[1], dout)

    def softmax(self, t: Any, weight: Any = None, **settings: Any) -> Any:
        return mt.SoftmaxWithLoss(**settings).forward(self.x(6, 3), t, weight)

    def sigmoid(self, pos_weight: Any, *shape: int) -> Any:
        return mt.SigmoidWithLoss(pos_weight=pos_weight).forward(self.x(*shape), self.x(*shape))

    def gradient(self, **changes: Any) -> Any:
        call = {"model": self.model, "loss": mt.SoftmaxWithLoss(), "x": self.x(6, 3), "t": self.t} | changes
        return mt.gradient(**call)

    def step(self, **changes: Any) -> Any:
        model, optimizer = self.model, mt.Momentum()
        call = {"model": model, "loss": mt.SoftmaxWithLoss(), "optimizer": optimizer, "x": self.x(6, 3), "t": self.t}
        return mt.train_step(**call | {"state": self.keep(optimizer.init(model))} | changes)

    def update(self, optimizer: Any, model: Any, other: Any, state: Any = None) -> Any:
        """An update of the model with the gradient, or with the state, of another one."""
        x = self.x(6, 3)
        t = mt.namespace(x).zeros_like(other.predict(x))
        grad = self.keep(mt.gradient(other, mt.MeanSquaredError(), x, t)[1])
        return optimizer.update(model, grad, self.keep(optimizer.init(model) if state is None else state))

    def descend(self, optimizer: mt.Optimizer, model: Any, grad: Any) -> Any:
        return optimizer.update(model, grad, self.keep(optimizer.init(model)))

    def fit(self, **changes: Any) -> Any:
        call = {"model": self.model, "x": self.x(6, 3), "t": self.t, "loss": mt.SoftmaxWithLoss()}
        call |= {"optimizer": mt.Momentum(), "epochs": 1, "seed": self.keep(np.random.default_rng(0))} | changes
        return mt.fit(**call)

    def evaluate(self, **changes: Any) -> Any:
        call = {"model": self.model, "x": self.x(6, 3), "t": self.t, "loss": mt.SoftmaxWithLoss()} | changes
        return mt.evaluate(**call)

    def batches(self, **changes: Any) -> Any:
        call = {"x": self.x(6, 3), "t": self.t, "batch_size": 2, "rng": self.keep(np.random.default_rng(0))} | changes
        return list(mt.batches(**call))


def snapshot(value: Any) -> Any:
    """All there is to see of a value, to be compared later."""
    if isinstance(value, np.random.Generator):
        return value.bit_generator.state
    if isinstance(value, np.ndarray) and value.dtype.kind not in "biufc":
        return value.tolist()
    arrays = [mt.to_numpy(x) for x in take_apart(value)[0]]
    kind = repr(value) if isinstance(value, mt.Tree) else type(value)
    return kind, [(x.dtype, x.shape, x.tobytes()) for x in arrays]


def open_figures() -> list[int]:
    return sys.modules["matplotlib.pyplot"].get_fignums() if "matplotlib.pyplot" in sys.modules else []


def objects(*shape: int) -> np.ndarray:
    return np.full(shape, 1.0).astype(object)


def words_of(text: str) -> list[str]:
    """ "Affine x (5, 4) t[:, None]" -> ["Affine", "x", "(5, 4)", "t[:, None]"]"""
    return re.findall(r"[\w.]*\([^)]*\)|\w*\[[^]]*\]|\S+", text)


class Row(NamedTuple):
    """A bad call, what it raises, the words of its message, and where: backends whose names begin so."""

    name: str
    error: type[Exception] | tuple[type[Exception], ...]
    words: str
    call: Callable[[Given], Any]
    where: str = ""
