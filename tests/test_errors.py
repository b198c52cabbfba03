"""The mistakes: each bad call raises what it should, says what is wrong, and leaves everything as it was.

A row is a call that cannot be right, the exception it must raise, and the words that the message must hold:
who complains, about which argument, and for a wrong shape what came and what was expected.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import Target, take_apart

import martlet as mt

Alias = mt.Array
EITHER = (TypeError, ValueError)


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
        if dtype == "float64" and self.xp.double == "float32":
            pytest.skip("there is no float64 here")
        return self.keep(self.xp.asarray(self.rng.standard_normal(shape), dtype))

    def array(self, *numbers: Any, dtype: str = "float32") -> Any:
        """An array of these numbers: floats in the given width, integers and booleans as they are."""
        return self.keep(self.xp.asarray(np.array(numbers), dtype))

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

    def softmax(self, t: Any, weight: Any = None) -> Any:
        return mt.SoftmaxWithLoss().forward(self.x(6, 3), t, weight)

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


# -------------------------------------------------------------------------- making layers and networks


def declare(annotation: str) -> Callable[[Given], Any]:
    """Create a class of layers with a field W so annotated."""
    return lambda g: type("Mine", (mt.Layer,), {"__annotations__": {"W": annotation}, "__module__": __name__})


class Several(mt.Layer):
    """Its field is no leaf: what it may hold are layers, a tuple of them, or a setting."""

    parts: Any


class Raw(mt.Layer):
    """y = x @ W, whose backward gives dW as it is, and not in a layer."""

    W: mt.Array

    def forward(self, x):
        return x @ self.W, x

    def backward(self, cache, dout):
        return dout @ self.W.T, cache.T @ dout


# fmt: off
CREATION = [
    Row("a size for an array", TypeError, "Affine W Affine.init(2, 10, rng)", lambda g: mt.Affine(2, 10)),
    Row("a size for one array", TypeError, "MatMul W MatMul.init", lambda g: mt.MatMul(3)),
    Row("a list for W", TypeError, "Affine W list Affine.init", lambda g: mt.Affine([[1.0]], [1.0])),
    Row("a list for b", TypeError, "Affine b list", lambda g: mt.Affine(g.x(3, 1), [1.0])),
    Row("a string for W", TypeError, "MatMul W str", lambda g: mt.MatMul("W")),
    Row("objects for W", TypeError, "MatMul W object", lambda g: mt.MatMul(g.keep(objects(3, 4)))),
    Row("no rng", TypeError, "Affine.init rng Generator default_rng(0)", lambda g: mt.Affine.init(2, 3, 0)),
    Row("rng None", TypeError, "MatMul.init rng Generator default_rng(0)", lambda g: mt.MatMul.init(2, 3, None)),
    Row("rng not called", TypeError, "Affine.init rng", lambda g: mt.Affine.init(2, 3, np.random.default_rng)),
    Row("size 0", ValueError, "Affine.init size 1 0", lambda g: mt.Affine.init(0, 3, g.rng)),
    Row("size -1", ValueError, "Affine.init size 1 -1", lambda g: mt.Affine.init(2, -1, g.rng)),
    Row("size 2.0", TypeError, "Affine.init size integer 2.0", lambda g: mt.Affine.init(2.0, 3, g.rng)),
    Row("size True", TypeError, "MatMul.init size integer True", lambda g: mt.MatMul.init(True, 3, g.rng)),
    Row("size str", TypeError, "MatMul.init size integer str", lambda g: mt.MatMul.init("2", 3, g.rng)),
    Row("initializer str", TypeError, "Affine.init initializer he",
        lambda g: mt.Affine.init(2, 3, g.rng, initializer="he")),
    Row("initializer not called", TypeError, "Affine.init initializer he()",
        lambda g: mt.Affine.init(2, 3, g.rng, initializer=mt.initializers.he)),
    Row("initializer of another shape", ValueError, "MatMul.init initializer (3, 2) (2, 3)",
        lambda g: mt.MatMul.init(2, 3, g.rng, initializer=lambda shape, rng: np.zeros((3, 2)))),
    Row("initializer of words", TypeError, "MatMul.init initializer numbers",
        lambda g: mt.MatMul.init(2, 3, g.rng, initializer=lambda shape, rng: np.full(shape, "a"))),
    Row("init on an unknown backend", ValueError, "backend nope numpy",
        lambda g: mt.Affine.init(2, 3, g.rng, backend="nope")),
    Row("init on a module", TypeError, "backend name", lambda g: mt.Affine.init(2, 3, g.rng, backend=np)),
    Row("init of integers", ValueError, "dtype int32 float32", lambda g: mt.Affine.init(2, 3, g.rng, dtype="int32")),
    Row("init of float", ValueError, "dtype float float32", lambda g: mt.MatMul.init(2, 3, g.rng, dtype=float)),
    Row("init of a list", EITHER, "dtype float32", lambda g: mt.MatMul.init(2, 3, g.rng, dtype=["float32"])),
    Row("Sequential of a class", TypeError, "Sequential 1 Layer ReLU(...)", lambda g: mt.Sequential(g.affine, mt.ReLU)),
    Row("Sequential of a function", TypeError, "Sequential 0 Layer tanh", lambda g: mt.Sequential(np.tanh)),
    Row("Sequential of a list", TypeError, "Sequential 0 Layer list", lambda g: mt.Sequential([g.affine, mt.ReLU()])),
    Row("Sequential of a loss", TypeError, "Sequential 1 Layer",
        lambda g: mt.Sequential(g.affine, mt.SoftmaxWithLoss())),
    Row("Sequential of None", TypeError, "Sequential 0 Layer None", lambda g: mt.Sequential(None)),
    Row("Parallel of a class", TypeError, "Parallel 0 Layer Tanh(...)", lambda g: mt.Parallel(mt.Tanh, mt.Tanh())),
    Row("Freeze of a class", TypeError, "Freeze Layer Tanh(...)", lambda g: mt.Freeze(mt.Tanh)),
    Row("Freeze of an array", TypeError, "Freeze Layer array", lambda g: mt.Freeze(g.x(2, 3))),
    Row("Branch(0)", ValueError, "Branch copies 1 0", lambda g: mt.Branch(0)),
    Row("Branch(True)", TypeError, "Branch copies integer True", lambda g: mt.Branch(True)),
    Row("Branch(1.5)", TypeError, "Branch copies integer 1.5", lambda g: mt.Branch(1.5)),
    Row("Repeat(-1)", ValueError, "Repeat times 1 -1", lambda g: mt.Repeat(-1)),
    Row("Repeat(None)", TypeError, "Repeat times integer None", lambda g: mt.Repeat(None)),
    Row("Repeat, axis -1", ValueError, "Repeat axis 0 -1", lambda g: mt.Repeat(2, axis=-1)),
    Row("Sum, axis -1", ValueError, "Sum axis 0 -1", lambda g: mt.Sum(axis=-1)),
    Row("Sum, axis None", TypeError, "Sum axis integer None", lambda g: mt.Sum(axis=None)),
    Row("annotated Array | None", TypeError, "Mine.W Array None exactly", declare("mt.Array | None")),
    Row("annotated list[Array]", TypeError, "Mine.W list[mt.Array] exactly", declare("list[mt.Array]")),
    Row("annotated tuple[Array, ...]", TypeError, "Mine.W exactly", declare("tuple[mt.Array, ...]")),
    Row("annotated with an alias", TypeError, "Mine.W Alias exactly", declare("Alias")),
    Row("annotated Optional", TypeError, "Mine.W exactly", lambda g: declare(mt.Array | None)(g)),
    Row("a list of layers in a field", TypeError, "Several parts tuple", lambda g: Several([g.affine, mt.Tanh()])),
    Row("a dict of layers in a field", TypeError, "Several parts tuple", lambda g: Several({"a": g.affine})),
    Row("an array in a setting", TypeError, "Several parts Array", lambda g: Several(g.x(2, 3))),
    Row("arrays in a setting", TypeError, "Several parts Array", lambda g: Several((g.x(2, 3), g.x(2, 3)))),
    Row("a tuple of layers and arrays", TypeError, "Several parts", lambda g: Several((g.affine, g.x(2, 3)))),
    Row("assigning to a layer", AttributeError, "Affine value martlet.replace W", lambda g: setattr(g.affine, "W", 1)),
    Row("a new name on a layer", AttributeError, "Sequential value", lambda g: setattr(g.model, "grads", [])),
    Row("deleting from a layer", AttributeError, "Affine value b", lambda g: delattr(g.affine, "b")),
    Row("assigning to an optimizer", AttributeError, "lr", lambda g: setattr(mt.SGD(), "lr", 1.0)),
    Row("a gradient for no field", TypeError, "Affine.gradient dW", lambda g: g.affine.gradient(dW=g.x(3, 4))),
    Row("normal, std -1", ValueError, "normal std 0 -1", lambda g: mt.initializers.normal(-1.0)),
    Row("normal, std nan", ValueError, "normal std finite nan", lambda g: mt.initializers.normal(float("nan"))),
    Row("normal, std inf", ValueError, "normal std finite inf", lambda g: mt.initializers.normal(float("inf"))),
    Row("normal, std True", TypeError, "normal std number True", lambda g: mt.initializers.normal(True)),
    Row("normal, std str", TypeError, "normal std number", lambda g: mt.initializers.normal("0.01")),
    Row("normal, std a shape", TypeError, "normal std number tuple", lambda g: mt.initializers.normal((2, 3))),
]

# ----------------------------------------------------------------------------------------- the verbs

FORWARD = [
    Row("MatMul: columns", ValueError, "MatMul x (5, 4) (N, 3)", lambda g: g.matmul.forward(g.x(5, 4))),
    Row("MatMul: columns in predict", ValueError, "MatMul x (5, 4) (N, 3)", lambda g: g.matmul.predict(g.x(5, 4))),
    Row("MatMul: one sample", ValueError, "MatMul x (3,) (N, 3) x[None, :]", lambda g: g.matmul.forward(g.x(3))),
    Row("MatMul: three axes", ValueError, "MatMul x (2, 5, 3) (N, 3)", lambda g: g.matmul.forward(g.x(2, 5, 3))),
    Row("MatMul: no axes", ValueError, "MatMul x () (N, 3)", lambda g: g.matmul.forward(g.x())),
    Row("MatMul: W (3,)", ValueError, "MatMul W (3,) (D, H)", lambda g: mt.MatMul(g.x(3)).forward(g.x(5, 3))),
    Row("MatMul: W ()", ValueError, "MatMul W () (D, H)", lambda g: mt.MatMul(g.x()).forward(g.x(5, 3))),
    Row("MatMul: W (2, 3, 4)", ValueError, "MatMul W (2, 3, 4)", lambda g: mt.MatMul(g.x(2, 3, 4)).forward(g.x(5, 3))),
    Row("Affine: columns", ValueError, "Affine x (5, 4) (N, 3)", lambda g: g.affine.forward(g.x(5, 4))),
    Row("Affine: b (3,)", ValueError, "Affine b (3,) (4,)", lambda g: mt.Affine(g.x(3, 4), g.x(3)).forward(g.x(5, 3))),
    Row("Affine: b (1, 4)", ValueError, "Affine b (1, 4) (4,)",
        lambda g: mt.Affine(g.x(3, 4), g.x(1, 4)).forward(g.x(5, 3))),
    Row("Affine: b (1,)", ValueError, "Affine b (1,) (4,)", lambda g: mt.Affine(g.x(3, 4), g.x(1)).forward(g.x(5, 3))),
    Row("Affine: b None", TypeError, "Affine b None", lambda g: mt.Affine(g.x(3, 4), None).forward(g.x(5, 3))),
    Row("Affine: W None", TypeError, "Affine W None", lambda g: mt.Affine(None, g.x(4)).forward(g.x(5, 3))),
    Row("Affine: W float64", TypeError, "Affine W float64",
        lambda g: mt.Affine(g.x(3, 4, dtype="float64"), g.x(4)).forward(g.x(5, 3))),
    Row("Affine: b float64", TypeError, "Affine b float64 float32",
        lambda g: mt.Affine(g.x(3, 4), g.x(4, dtype="float64")).forward(g.x(5, 3))),
    Row("Affine: x a list", TypeError, "Affine x array list", lambda g: g.affine.forward([[1.0, 2.0, 3.0]])),
    Row("Affine: x a number", TypeError, "Affine x array float", lambda g: g.affine.forward(1.0)),
    Row("Affine: x None", TypeError, "Affine x array None", lambda g: g.affine.forward(None)),
    Row("Affine: x a tuple", TypeError, "Affine x array tuple", lambda g: g.affine.forward((g.x(5, 3), g.x(5, 3)))),
    Row("Affine: x objects", TypeError, "Affine x object", lambda g: g.affine.forward(g.keep(objects(5, 3)))),
    Row("Affine: x words", TypeError, "Affine x", lambda g: g.affine.forward(g.keep(np.full((5, 3), "a")))),
    Row("Affine: x integers", TypeError, "Affine x int64 W float32",
        lambda g: g.affine.forward(g.cast(g.x(5, 3), "int64"))),
    Row("Affine: x booleans", TypeError, "Affine x bool W float32",
        lambda g: g.affine.forward(g.cast(g.x(5, 3), "bool"))),
    Row("Affine: x float64", TypeError, "Affine x float64 W float32",
        lambda g: g.affine.forward(g.x(5, 3, dtype="float64"))),
    Row("Affine: x complex", TypeError, "Affine x complex64 W",
        lambda g: g.affine.forward(g.cast(g.x(5, 3), "complex64"))),
    Row("Affine: x of another library", TypeError, "Affine x W numpy move",
        lambda g: g.affine.forward(g.foreign(g.x(5, 3)))),
    Row("Affine: x on another device", TypeError, "Affine x W device CPU_DEVICE",
        lambda g: g.affine.forward(g.elsewhere(g.x(5, 3)))),
    Row("Affine: b on another device", TypeError, "Affine b W",
        lambda g: mt.Affine(g.x(3, 4), g.elsewhere(g.x(4))).forward(g.x(5, 3))),
    Row("MatMul of integers", TypeError, "MatMul floating-point int64",
        lambda g: mt.MatMul(g.cast(g.x(3, 4), "int64")).forward(g.cast(g.x(5, 3), "int64"))),
    Row("MatMul of complex numbers", TypeError, "MatMul floating-point complex64",
        lambda g: mt.MatMul(g.cast(g.x(3, 4), "complex64")).forward(g.cast(g.x(5, 3), "complex64"))),
    Row("Sigmoid: integers", TypeError, "Sigmoid x floating-point", lambda g: mt.Sigmoid().forward(g.t)),
    Row("Sigmoid: np.matrix", TypeError, "Sigmoid x matrix",
        lambda g: mt.Sigmoid().forward(g.x(2, 2).view(np.matrix)), "numpy"),
    Row("Sigmoid: masked", TypeError, "Sigmoid x MaskedArray",
        lambda g: mt.Sigmoid().forward(np.ma.masked_array(g.x(2), mask=[True, False])), "numpy"),
    Row("Sigmoid: a list", TypeError, "Sigmoid x array list", lambda g: mt.Sigmoid().forward([1.0])),
    Row("Tanh: integers", TypeError, "Tanh x floating-point", lambda g: mt.Tanh().forward(g.t)),
    Row("Tanh: complex", TypeError, "Tanh x floating-point complex64",
        lambda g: mt.Tanh().forward(g.cast(g.x(2), "complex64"))),
    Row("ReLU: booleans", TypeError, "ReLU x floating-point bool", lambda g: mt.ReLU().forward(g.cast(g.x(5), "bool"))),
    Row("ReLU: a number", TypeError, "ReLU x array float", lambda g: mt.ReLU().forward(1.0)),
    Row("Softmax: integers", TypeError, "Softmax x floating-point", lambda g: mt.Softmax().forward(g.t)),
    Row("Softmax: no axes", ValueError, "Softmax x ()", lambda g: mt.Softmax().forward(g.x())),
    Row("Softmax: no classes", ValueError, "Softmax x (5, 0)", lambda g: mt.Softmax().forward(g.x(5, 0))),
    Row("Add: an array", TypeError, "Add x tuple", lambda g: mt.Add().forward(g.x(5, 3))),
    Row("Add: a list", TypeError, "Add x tuple list", lambda g: mt.Add().forward([g.x(5, 3), g.x(5, 3)])),
    Row("Add: one array", ValueError, "Add x tuple 1", lambda g: mt.Add().forward((g.x(5, 3),))),
    Row("Add: shapes", ValueError, "Add x[1] (3,) (5, 3)", lambda g: mt.Add().forward((g.x(5, 3), g.x(3)))),
    Row("Add: shapes of the third", ValueError, "Add x[2] (5, 1) (5, 3)",
        lambda g: mt.Add().forward((g.x(5, 3), g.x(5, 3), g.x(5, 1)))),
    Row("Add: dtypes", TypeError, "Add x[1] float64 x[0] float32",
        lambda g: mt.Add().forward((g.x(5, 3), g.x(5, 3, dtype="float64")))),
    Row("Add: libraries", TypeError, "Add x[1] x[0] numpy",
        lambda g: mt.Add().forward((g.x(5, 3), g.foreign(g.x(5, 3))))),
    Row("Add: devices", TypeError, "Add x[1] x[0] CPU_DEVICE",
        lambda g: mt.Add().forward((g.x(5, 3), g.elsewhere(g.x(5, 3))))),
    Row("Add: a number", TypeError, "Add x[1] array", lambda g: mt.Add().forward((g.x(5, 3), 1.0))),
    Row("Multiply: three", ValueError, "Multiply x tuple 2 3",
        lambda g: mt.Multiply().forward((g.x(5), g.x(5), g.x(5)))),
    Row("Multiply: shapes", ValueError, "Multiply x[1] (5, 1) (5, 3)",
        lambda g: mt.Multiply().forward((g.x(5, 3), g.x(5, 1)))),
    Row("Multiply: integers", TypeError, "Multiply x[0] floating-point", lambda g: mt.Multiply().forward((g.t, g.t))),
    Row("Branch: a list", TypeError, "Branch x array list", lambda g: mt.Branch(2).forward([1.0])),
    Row("Branch: integers", TypeError, "Branch x floating-point", lambda g: mt.Branch(2).forward(g.t)),
    Row("Repeat: length 2", ValueError, "Repeat x (2, 3) 1 axis 0", lambda g: mt.Repeat(7).forward(g.x(2, 3))),
    Row("Repeat: no such axis", ValueError, "Repeat x (1, 3) axis 2",
        lambda g: mt.Repeat(7, axis=2).forward(g.x(1, 3))),
    Row("Sum: no such axis", ValueError, "Sum x (5, 3) axis 2", lambda g: mt.Sum(axis=2).forward(g.x(5, 3))),
    Row("Sum: integers", TypeError, "Sum x floating-point", lambda g: mt.Sum().forward(g.t)),
    Row("Sum: a list", TypeError, "Sum x array list", lambda g: mt.Sum().forward([[1.0]])),
    Row("Parallel: an array", TypeError, "Parallel x tuple",
        lambda g: mt.Parallel(g.affine, mt.Tanh()).forward(g.x(5, 3))),
    Row("Parallel: three for two", ValueError, "Parallel x 2 3",
        lambda g: mt.Parallel(mt.Tanh(), mt.Tanh()).forward((g.x(5),) * 3)),
    Row("Parallel: predict of one", ValueError, "Parallel x 2 1",
        lambda g: mt.Parallel(mt.Tanh(), mt.Tanh()).predict((g.x(5),))),
    Row("Sequential: in the middle", ValueError, "MatMul x (5, 4) (N, 3)",
        lambda g: mt.Sequential(g.affine, g.matmul).forward(g.x(5, 3))),
    Row("Freeze: columns", ValueError, "Affine x (5, 4) (N, 3)", lambda g: mt.Freeze(g.affine).forward(g.x(5, 4))),
]

BACKWARD = [
    Row("MatMul: dout (5, 1)", ValueError, "MatMul dout (5, 1) (5, 4)",
        lambda g: g.backward(g.matmul, g.x(5, 3), g.x(5, 1))),
    Row("Affine: dout (4,)", ValueError, "Affine dout (4,) (5, 4)", lambda g: g.backward(g.affine, g.x(5, 3), g.x(4))),
    Row("Affine: dout (1, 4)", ValueError, "Affine dout (1, 4) (5, 4)",
        lambda g: g.backward(g.affine, g.x(5, 3), g.x(1, 4))),
    Row("Affine: dout 1.0", TypeError, "Affine dout array float", lambda g: g.backward(g.affine, g.x(5, 3), 1.0)),
    Row("Affine: dout None", TypeError, "Affine dout array None", lambda g: g.backward(g.affine, g.x(5, 3), None)),
    Row("Affine: dout float64", TypeError, "Affine dout float64",
        lambda g: g.backward(g.affine, g.x(5, 3), g.x(5, 4, dtype="float64"))),
    Row("Affine: dout of another library", TypeError, "Affine dout numpy",
        lambda g: g.backward(g.affine, g.x(5, 3), g.foreign(g.x(5, 4)))),
    Row("Affine: dout on another device", TypeError, "Affine dout CPU_DEVICE",
        lambda g: g.backward(g.affine, g.x(5, 3), g.elsewhere(g.x(5, 4)))),
    Row("Sigmoid: dout (5, 1)", ValueError, "Sigmoid dout (5, 1) (5, 3)",
        lambda g: g.backward(mt.Sigmoid(), g.x(5, 3), g.x(5, 1))),
    Row("Tanh: dout (3,)", ValueError, "Tanh dout (3,) (5, 3)", lambda g: g.backward(mt.Tanh(), g.x(5, 3), g.x(3))),
    Row("Tanh: dout a list", TypeError, "Tanh dout array list", lambda g: g.backward(mt.Tanh(), g.x(5), [1.0] * 5)),
    Row("ReLU: dout 1.0", TypeError, "ReLU dout array float", lambda g: g.backward(mt.ReLU(), g.x(5, 3), 1.0)),
    Row("ReLU: dout integers", TypeError, "ReLU dout int64",
        lambda g: g.backward(mt.ReLU(), g.x(6), g.cast(g.t, "int64"))),
    Row("Softmax: dout (5, 1)", ValueError, "Softmax dout (5, 1) (5, 3)",
        lambda g: g.backward(mt.Softmax(), g.x(5, 3), g.x(5, 1))),
    Row("Add: dout (1, 3)", ValueError, "Add dout (1, 3) (5, 3)",
        lambda g: g.backward(mt.Add(), (g.x(5, 3),) * 2, g.x(1, 3))),
    Row("Multiply: dout ()", ValueError, "Multiply dout () (5,)",
        lambda g: g.backward(mt.Multiply(), (g.x(5), g.x(5)), g.x())),
    Row("Branch: dout an array", TypeError, "Branch dout tuple 2", lambda g: g.backward(mt.Branch(), g.x(5), g.x(5))),
    Row("Branch: three for two", ValueError, "Branch dout tuple 2 3",
        lambda g: g.backward(mt.Branch(), g.x(5), (g.x(5),) * 3)),
    Row("Branch: dout shapes", ValueError, "Branch dout[1] (1,) (5,)",
        lambda g: g.backward(mt.Branch(), g.x(5), (g.x(5), g.x(1)))),
    Row("Repeat: dout (1, 3)", ValueError, "Repeat dout (1, 3) (7, 3)",
        lambda g: g.backward(mt.Repeat(7), g.x(1, 3), g.x(1, 3))),
    Row("Sum: dout (3,)", ValueError, "Sum dout (3,) (1, 3)", lambda g: g.backward(mt.Sum(), g.x(5, 3), g.x(3))),
    Row("Sum: dout (5, 3)", ValueError, "Sum dout (5, 3) (1, 3)", lambda g: g.backward(mt.Sum(), g.x(5, 3), g.x(5, 3))),
    Row("Parallel: one for two", ValueError, "Parallel dout 2 1",
        lambda g: g.backward(mt.Parallel(mt.Tanh(), mt.Tanh()), (g.x(5),) * 2, (g.x(5),))),
    Row("Sequential: dout (6, 4)", ValueError, "MatMul dout (6, 4) (6, 3)",
        lambda g: g.backward(g.model, g.x(6, 3), g.x(6, 4))),
    Row("Freeze: dout (5, 3)", ValueError, "Affine dout (5, 3) (5, 4)",
        lambda g: g.backward(mt.Freeze(g.affine), g.x(5, 3), g.x(5, 3))),
]

FUNCTIONS = [
    Row("sigmoid of a list", TypeError, "sigmoid x array list", lambda g: mt.sigmoid([1.0])),
    Row("sigmoid of integers", TypeError, "sigmoid x floating-point", lambda g: mt.sigmoid(g.t)),
    Row("softmax of booleans", TypeError, "softmax x floating-point bool",
        lambda g: mt.softmax(g.cast(g.x(5), "bool"))),
    Row("softmax of a number", ValueError, "softmax x ()", lambda g: mt.softmax(g.x())),
    Row("softmax of no classes", ValueError, "softmax x (5, 0)", lambda g: mt.softmax(g.x(5, 0))),
    Row("one_hot of floats", TypeError, "one_hot t integer float32", lambda g: mt.one_hot(g.x(5), 3)),
    Row("one_hot of booleans", TypeError, "one_hot t integer bool", lambda g: mt.one_hot(g.cast(g.x(5), "bool"), 3)),
    Row("one_hot of a column", TypeError, "one_hot t (3, 1) (N,)", lambda g: mt.one_hot(g.array([0], [1], [2]), 3)),
    Row("one_hot of a list", TypeError, "one_hot t array list", lambda g: mt.one_hot([0, 1], 3)),
    Row("one_hot, 0 classes", ValueError, "one_hot classes 1 0", lambda g: mt.one_hot(g.t, 0)),
    Row("one_hot, 3.0 classes", TypeError, "one_hot classes integer 3.0", lambda g: mt.one_hot(g.t, 3.0)),
    Row("one_hot of int32", ValueError, "dtype int32", lambda g: mt.one_hot(g.t, 3, "int32")),
    Row("namespace of a list", TypeError, "array list", lambda g: mt.namespace([1.0])),
    Row("to_numpy of a list", TypeError, "array list", lambda g: mt.to_numpy([1.0])),
    Row("to_numpy of None", TypeError, "array None", lambda g: mt.to_numpy(None)),
]

# ----------------------------------------------------------------------------------------- the losses


def mse(g: Given, y: tuple[int, ...], t: tuple[int, ...], loss: type[mt.Loss] = mt.MeanSquaredError) -> Any:
    return loss().forward(g.x(*y), g.x(*t))


LOSSES = [
    Row("MSE: (N, 1), (N,)", ValueError, "MeanSquaredError t (5,) (5, 1) t[:, None]", lambda g: mse(g, (5, 1), (5,))),
    Row("MSE: (N,), (N, 1)", ValueError, "MeanSquaredError t (5, 1) (5,) t[:, 0]", lambda g: mse(g, (5,), (5, 1))),
    Row("MSE: columns", ValueError, "MeanSquaredError t (5, 3) (5, 2)", lambda g: mse(g, (5, 2), (5, 3))),
    Row("MSE: samples", ValueError, "MeanSquaredError t (1, 2) (5, 2)", lambda g: mse(g, (5, 2), (1, 2))),
    Row("MSE: no samples", ValueError, "MeanSquaredError y (0, 2) sample", lambda g: mse(g, (0, 2), (0, 2))),
    Row("MSE: no axes", ValueError, "MeanSquaredError y () sample", lambda g: mse(g, (), ())),
    Row("MSE: no columns", ValueError, "MeanSquaredError y (5, 0) column", lambda g: mse(g, (5, 0), (5, 0))),
    Row("MSE: t float64", TypeError, "MeanSquaredError t float64 y float32",
        lambda g: mt.MeanSquaredError().forward(g.x(5), g.x(5, dtype="float64"))),
    Row("MSE: t integers", TypeError, "MeanSquaredError t int32 y float32",
        lambda g: mt.MeanSquaredError().forward(g.x(6), g.cast(g.t, "int32"))),
    Row("MSE: t a list", TypeError, "MeanSquaredError t array list",
        lambda g: mt.MeanSquaredError().forward(g.x(2), [1.0, 2.0])),
    Row("MSE: t None", TypeError, "MeanSquaredError t array None",
        lambda g: mt.MeanSquaredError().forward(g.x(2), None)),
    Row("MSE: y a list", TypeError, "MeanSquaredError y array list",
        lambda g: mt.MeanSquaredError().forward([1.0], g.x(1))),
    Row("MSE: y integers", TypeError, "MeanSquaredError y floating-point",
        lambda g: mt.MeanSquaredError().forward(g.t, g.t)),
    Row("MSE: y a tuple", TypeError, "MeanSquaredError y array tuple",
        lambda g: mt.MeanSquaredError().value((g.x(5), g.x(5)), g.x(5))),
    Row("MSE: t of another library", TypeError, "MeanSquaredError t y numpy",
        lambda g: mt.MeanSquaredError().forward(g.x(5), g.foreign(g.x(5)))),
    Row("MSE: t on another device", TypeError, "MeanSquaredError t y",
        lambda g: mt.MeanSquaredError().forward(g.x(5), g.elsewhere(g.x(5)))),
    Row("sigmoid: (N, 1), (N,)", ValueError, "SigmoidWithLoss t (5,) (5, 1) t[:, None]",
        lambda g: mse(g, (5, 1), (5,), mt.SigmoidWithLoss)),
    Row("sigmoid: (N,), (N, 1)", ValueError, "SigmoidWithLoss t (5, 1) (5,)",
        lambda g: mse(g, (5,), (5, 1), mt.SigmoidWithLoss)),
    Row("softmax: y (N,)", ValueError, "SoftmaxWithLoss y (6,) (N, C)",
        lambda g: mt.SoftmaxWithLoss().forward(g.x(6), g.t)),
    Row("softmax: y (2, 3, 4)", ValueError, "SoftmaxWithLoss y (2, 3, 4) (N, C)",
        lambda g: mt.SoftmaxWithLoss().forward(g.x(2, 3, 4), g.array(0, 1))),
    Row("softmax: y (0, 3)", ValueError, "SoftmaxWithLoss y (0, 3) sample",
        lambda g: mt.SoftmaxWithLoss().forward(g.x(0, 3), g.x(0, 3))),
    Row("softmax: 5 labels for 6", ValueError, "SoftmaxWithLoss t (5,) (6,)",
        lambda g: g.softmax(g.array(0, 1, 2, 0, 1))),
    Row("softmax: a column of labels", ValueError, "SoftmaxWithLoss t (6, 1) (6,) t[:, 0]",
        lambda g: g.softmax(g.t[:, None])),
    Row("softmax: float labels", EITHER, "SoftmaxWithLoss t float32 integer",
        lambda g: g.softmax(g.cast(g.t, "float32"))),
    Row("softmax: bool labels", EITHER, "SoftmaxWithLoss t bool integer", lambda g: g.softmax(g.cast(g.t, "bool"))),
    Row("softmax: one-hot integers", ValueError, "SoftmaxWithLoss t (6, 3) (6,) dtype",
        lambda g: g.softmax(g.array(*[[0, 1, 0]] * 6))),
    Row("softmax: one-hot booleans", TypeError, "SoftmaxWithLoss t bool float32",
        lambda g: g.softmax(g.array(*[[False, True, False]] * 6))),
    Row("softmax: rows of 4 classes", ValueError, "SoftmaxWithLoss t (6, 4) (6, 3)", lambda g: g.softmax(g.x(6, 4))),
    Row("softmax: rows float64", TypeError, "SoftmaxWithLoss t float64 float32",
        lambda g: g.softmax(g.x(6, 3, dtype="float64"))),
    Row("softmax: label 3 of 3", ValueError, "SoftmaxWithLoss t 3 2 labels",
        lambda g: g.softmax(g.array(0, 1, 2, 3, 1, 2)), "numpy"),
    Row("softmax: label -1", ValueError, "SoftmaxWithLoss t -1 labels",
        lambda g: g.softmax(g.array(0, -1, 2, 0, 1, 2)), "numpy"),
    Row("softmax: t a list", TypeError, "SoftmaxWithLoss t array list", lambda g: g.softmax([0, 1, 2, 0, 1, 2])),
    Row("softmax: t None", TypeError, "SoftmaxWithLoss t array None", lambda g: g.softmax(None)),
    Row("softmax: labels of another library", TypeError, "SoftmaxWithLoss t y numpy",
        lambda g: g.softmax(g.foreign(g.t))),
    Row("softmax: labels on another device", TypeError, "SoftmaxWithLoss t y CPU_DEVICE",
        lambda g: g.softmax(g.elsewhere(g.t))),
    Row("softmax: t objects", TypeError, "SoftmaxWithLoss t", lambda g: g.softmax(g.keep(objects(6)))),
    Row("weight (6, 1)", ValueError, "SoftmaxWithLoss weight (6, 1) (6,)", lambda g: g.softmax(g.t, g.x(6, 1))),
    Row("weight (1,)", ValueError, "SoftmaxWithLoss weight (1,) (6,)", lambda g: g.softmax(g.t, g.x(1))),
    Row("weight ()", ValueError, "SoftmaxWithLoss weight () (6,)", lambda g: g.softmax(g.t, g.x())),
    Row("weight a number", TypeError, "SoftmaxWithLoss weight array float", lambda g: g.softmax(g.t, 2.0)),
    Row("weight a list", TypeError, "SoftmaxWithLoss weight array list", lambda g: g.softmax(g.t, [1.0] * 6)),
    Row("weight integers", TypeError, "SoftmaxWithLoss weight int64 float32",
        lambda g: g.softmax(g.t, g.cast(g.t, "int64"))),
    Row("weight float64", TypeError, "SoftmaxWithLoss weight float64 float32",
        lambda g: g.softmax(g.t, g.x(6, dtype="float64"))),
    Row("weight of another library", TypeError, "SoftmaxWithLoss weight y numpy",
        lambda g: g.softmax(g.t, g.foreign(g.x(6)))),
    Row("weight on another device", TypeError, "SoftmaxWithLoss weight y",
        lambda g: g.softmax(g.t, g.elsewhere(g.x(6)))),
    Row("reduction unknown", ValueError, "MeanSquaredError reduction mean sum none average",
        lambda g: mt.MeanSquaredError("average")),
    Row("reduction None", ValueError, "SoftmaxWithLoss reduction mean None",
        lambda g: mt.SoftmaxWithLoss(reduction=None)),
    Row("dout (5,) for 6 losses", ValueError, "SoftmaxWithLoss dout (5,) (6,)",
        lambda g: (loss := mt.SoftmaxWithLoss("none")).backward(loss.forward(g.x(6, 3), g.t)[1], g.x(5))),
    Row("dout (6, 1) for (6, 3)", ValueError, "MeanSquaredError dout (6, 1) (6, 3)",
        lambda g: g.scaled(mt.MeanSquaredError("none"), g.x(6, 1))),
    Row("dout (6,) for a mean", ValueError, "MeanSquaredError dout (6,) ()",
        lambda g: g.scaled(mt.MeanSquaredError(), g.x(6))),
    Row("dout a list", TypeError, "MeanSquaredError dout list", lambda g: g.scaled(mt.MeanSquaredError(), [1.0])),
    Row("dout None", TypeError, "MeanSquaredError dout None", lambda g: g.scaled(mt.MeanSquaredError(), None)),
    Row("dout of another library", TypeError, "MeanSquaredError dout",
        lambda g: g.scaled(mt.MeanSquaredError("none"), g.foreign(g.x(6, 3)))),
    Row("dout on another device", TypeError, "MeanSquaredError dout",
        lambda g: g.scaled(mt.MeanSquaredError("none"), g.elsewhere(g.x(6, 3)))),
]

# ------------------------------------------------------------------------------ optimizers and trees

NUMBERS = [(kind, name) for kind in (mt.SGD, mt.Momentum, mt.Adam) for name in kind.numbers]
NO_NUMBER: list[tuple[Any, type[Exception], str]] = [
    (float("nan"), ValueError, "finite nan"),
    (float("inf"), ValueError, "finite inf"),
    (-0.1, ValueError, "0 -0.1"),
    (10**400, ValueError, "finite"),
    (True, TypeError, "number True"),
    ("0.1", TypeError, "number 0.1"),
    (None, TypeError, "number None"),
    (1j, TypeError, "number 1j"),
    ([0.1], TypeError, "number list"),
]

OPTIMIZERS = [
    *(
        Row(
            f"{kind.__name__}, {name}={value!r:.9}",
            error,
            f"{kind.__name__} {name} {words}",
            functools.partial(lambda make, g: make(), functools.partial(kind, **{name: value})),
        )
        for kind, name in NUMBERS
        for value, error, words in NO_NUMBER
    ),
    Row("Momentum, momentum=1", ValueError, "Momentum momentum 1", lambda g: mt.Momentum(momentum=1.0)),
    Row("Adam, beta1=1", ValueError, "Adam beta1 1", lambda g: mt.Adam(beta1=1)),
    Row("Adam, beta2=1.5", ValueError, "Adam beta2 1.5", lambda g: mt.Adam(beta2=1.5)),
    Row("Adam, learning_rate", TypeError, "learning_rate", lambda g: mt.Adam(learning_rate=0.1)),
    Row("too large for the model", ValueError, "SGD.init lr float32", lambda g: mt.SGD(lr=1e300).init(g.model)),
    Row("init of a class", TypeError, "SGD.init model Layer", lambda g: mt.SGD().init(mt.Affine)),
    Row("init of None", TypeError, "Adam.init model Layer None", lambda g: mt.Adam().init(None)),
    Row("init of a list of arrays", TypeError, "Adam.init model Layer list", lambda g: mt.Adam().init([g.x(2, 3)])),
    Row("another optimizer's state", TypeError, "Adam.update state Adam.init",
        lambda g: g.update(mt.Adam(), m := g.model, m, mt.SGD().init(m))),
    Row("state None", TypeError, "SGD.update state SGD.init", lambda g: mt.SGD().update(g.affine, g.affine, None)),
    Row("state a class", TypeError, "SGD.update state SGD.init",
        lambda g: mt.SGD().update(g.affine, g.affine, mt.SGD.State)),
    Row("another model's gradient", ValueError, "SGD.update gradient",
        lambda g: g.update(mt.SGD(), g.model, g.regression)),
    Row("another layer's gradient", TypeError, "SGD.update Affine MatMul",
        lambda g: g.update(mt.SGD(), g.affine, g.matmul)),
    Row("a gradient of other shapes", ValueError, "SGD.update gradient (3, 4) (3, 2)",
        lambda g: g.update(mt.SGD(), mt.MatMul(g.x(3, 2)), g.matmul)),
    Row("a gradient that would broadcast", ValueError, "Adam.update gradient (3, 1) (3, 4)",
        lambda g: g.update(mt.Adam(), g.matmul, mt.MatMul(g.x(3, 1)))),
    Row("a gradient of float64", TypeError, "SGD.update gradient float64 float32",
        lambda g: mt.SGD().update(m := g.matmul, mt.MatMul(g.x(3, 4, dtype="float64")), mt.SGD().init(m))),
    Row("a gradient of another library", TypeError, "SGD.update gradient numpy",
        lambda g: mt.SGD().update(m := g.matmul, mt.MatMul(g.foreign(g.x(3, 4))), mt.SGD().init(m))),
    Row("a gradient on another device", TypeError, "SGD.update gradient",
        lambda g: mt.SGD().update(m := g.matmul, mt.MatMul(g.elsewhere(g.x(3, 4))), mt.SGD().init(m))),
    Row("an array for a gradient", TypeError, "SGD.update grad MatMul",
        lambda g: mt.SGD().update(m := g.matmul, g.x(3, 4), mt.SGD().init(m))),
    Row("the state of other shapes", ValueError, "Momentum.update state (3, 2) (3, 4)",
        lambda g: g.update(mt.Momentum(), m := g.matmul, m, mt.Momentum().init(mt.MatMul(g.x(3, 2))))),
    Row("a state that would broadcast", ValueError, "Momentum.update state (1, 4) (3, 4)",
        lambda g: g.update(mt.Momentum(), m := g.matmul, m, mt.Momentum().init(mt.MatMul(g.x(1, 4))))),
    Row("the state of another model", ValueError, "Adam.update state",
        lambda g: g.update(mt.Adam(), m := g.model, m, mt.Adam().init(g.regression))),
    Row("the state of another layer", ValueError, "Adam.update state",
        lambda g: g.update(mt.Adam(), m := g.affine, m, mt.Adam().init(g.matmul))),
    Row("the state of a frozen model", ValueError, "Adam.update state",
        lambda g: g.update(mt.Adam(), m := g.matmul, m, mt.Adam().init(mt.Freeze(g.matmul)))),
    Row("the state in another library", TypeError, "Momentum.update state",
        lambda g: g.update(mt.Momentum(), m := g.matmul, m, mt.Momentum().init(mt.MatMul(g.foreign(g.x(3, 4)))))),
    Row("the state on another device", TypeError, "SGD.update state model",
        lambda g: g.update(mt.SGD(), m := g.matmul, m, mt.SGD().init(mt.MatMul(g.elsewhere(g.x(3, 4)))))),
    Row("the state of a wider model", TypeError, "Momentum.update state float64",
        lambda g: g.update(mt.Momentum(), m := g.matmul, m, mt.Momentum().init(mt.MatMul(g.x(3, 4, dtype="float64"))))),
]

TREES = [
    Row("replace: unknown name", ValueError, "replace Sequential 3.W 0.W 0.b 2.W",
        lambda g: mt.replace(g.model, {"3.W": g.x(3, 4)})),
    Row("replace: unknown leaf", ValueError, "replace Sequential 0.c 0.W",
        lambda g: mt.replace(g.model, {"0.c": g.x(3, 4)})),
    Row("replace: in a leaf", ValueError, "replace Affine W.x W b", lambda g: mt.replace(g.affine, {"W.x": g.x(3, 4)})),
    Row("replace: empty name", ValueError, "replace Affine W b", lambda g: mt.replace(g.affine, {"": g.x(3, 4)})),
    Row("replace: a number for a name", TypeError, "replace names int", lambda g: mt.replace(g.model, {0: g.affine})),
    Row("replace: a list", TypeError, "replace 0.W array list", lambda g: mt.replace(g.model, {"0.W": [[1.0]]})),
    Row("replace: a number", TypeError, "replace W array float", lambda g: mt.replace(g.affine, {"W": 1.0})),
    Row("replace: a layer", ValueError, "replace Sequential 2 0.W", lambda g: mt.replace(g.model, {"2": mt.Tanh()})),
    Row("replace: objects", TypeError, "replace W object",
        lambda g: mt.replace(g.affine, {"W": g.keep(objects(3, 4))})),
    Row("replace: a setting", ValueError, "replace Branch copies", lambda g: mt.replace(mt.Branch(2), {"copies": 3})),
    Row("replace: two names", EITHER, "replace changes", lambda g: mt.replace(g.affine, ("W", "b"))),
    Row("replace: an optimizer", TypeError, "replace tree SGD", lambda g: mt.replace(mt.SGD(), {"lr": 0.1})),
    Row("replace: unknown number", ValueError, "replace State learning_rate lr",
        lambda g: mt.replace(mt.SGD().init(g.affine), {"learning_rate": 0.1})),
    Row("replace: lr True", TypeError, "replace lr array True",
        lambda g: mt.replace(mt.SGD().init(g.affine), {"lr": True})),
    Row("replace: lr a string", TypeError, "replace lr array",
        lambda g: mt.replace(mt.SGD().init(g.affine), {"lr": "0.1"})),
    Row("rebuild: too few", ValueError, "rebuild arrays", lambda g: mt.rebuild(g.affine, [g.x(3, 4)])),
    Row("rebuild: too many", ValueError, "rebuild arrays", lambda g: mt.rebuild(g.matmul, [g.x(3, 4), g.x(4)])),
    Row("names of a list", TypeError, "tree list", lambda g: mt.names([g.affine])),
    Row("leaves of an array", TypeError, "tree array", lambda g: mt.leaves(g.x(3, 4))),
    Row("leaves of a class", TypeError, "tree Affine", lambda g: mt.leaves(mt.Affine)),
    Row("to an unknown backend", ValueError, "backend nope numpy", lambda g: g.model.to("nope")),
    Row("to a module", TypeError, "backend name", lambda g: g.model.to(np)),
    Row("to an unknown device", ValueError, "device mars", lambda g: g.model.to(device="mars")),
    Row("to int32", ValueError, "dtype int32 float32", lambda g: g.model.to(dtype="int32")),
    Row("to float99", ValueError, "dtype float99 float32", lambda g: g.model.to(dtype="float99")),
    Row("Backend: unknown", ValueError, "backend nope numpy torch", lambda g: mt.Backend("nope")),
    Row("Backend: None", EITHER, "backend None numpy", lambda g: mt.Backend(None)),
    Row("Backend: a list", EITHER, "backend numpy", lambda g: mt.Backend(["numpy"])),
    Row("Backend: device", ValueError, "device mars", lambda g: mt.Backend(g.xp.backend.name, device="mars")),
    Row("Backend: dtype", ValueError, "dtype int64 float32", lambda g: mt.Backend(g.xp.backend.name, dtype="int64")),
    Row("asarray of a string", TypeError, "numbers", lambda g: g.xp.backend.asarray("one")),
    Row("asarray of None", TypeError, "numbers", lambda g: g.xp.backend.asarray(None)),
    Row("asarray of objects", TypeError, "numbers object", lambda g: g.xp.backend.asarray(g.keep(objects(2)))),
    Row("asarray of complex", TypeError, "numbers complex128", lambda g: g.xp.backend.asarray([1j])),
    Row("asarray of float99", ValueError, "dtype float99", lambda g: g.xp.backend.asarray([1.0], "float99")),
    Row("asarray of uneven rows", ValueError, "shape", lambda g: g.xp.backend.asarray([[1.0], [1.0, 2.0]])),
]

# ------------------------------------------------------------------------------------------ training

STEPS = [
    Row("gradient: none", ValueError, "SoftmaxWithLoss gradient reduction none",
        lambda g: g.gradient(loss=mt.SoftmaxWithLoss("none"))),
    Row("gradient: model a class", TypeError, "gradient model Layer", lambda g: g.gradient(model=mt.Sigmoid)),
    Row("gradient: model None", TypeError, "gradient model Layer None", lambda g: g.gradient(model=None)),
    Row("gradient: loss a class", TypeError, "gradient loss Loss SoftmaxWithLoss(...)",
        lambda g: g.gradient(loss=mt.SoftmaxWithLoss)),
    Row("gradient: loss a layer", TypeError, "gradient loss Loss Softmax", lambda g: g.gradient(loss=mt.Softmax())),
    Row("gradient: loss a function", TypeError, "gradient loss Loss", lambda g: g.gradient(loss=lambda y, t: y)),
    Row("gradient: x float64", TypeError, "Affine x float64 W float32",
        lambda g: g.gradient(x=g.x(6, 3, dtype="float64"))),
    Row("gradient: x integers", TypeError, "Affine x int64 W float32",
        lambda g: g.gradient(x=g.cast(g.x(6, 3), "int64"))),
    Row("gradient: x of another library", TypeError, "Affine x W numpy", lambda g: g.gradient(x=g.foreign(g.x(6, 3)))),
    Row("gradient: x on another device", TypeError, "Affine x W CPU_DEVICE",
        lambda g: g.gradient(x=g.elsewhere(g.x(6, 3)))),
    Row("gradient: t of another library", TypeError, "SoftmaxWithLoss t numpy", lambda g: g.gradient(t=g.foreign(g.t))),
    Row("gradient: weight (5,)", ValueError, "SoftmaxWithLoss weight (5,) (6,)", lambda g: g.gradient(weight=g.x(5))),
    Row("train_step: none", ValueError, "SoftmaxWithLoss reduction none",
        lambda g: g.step(loss=mt.SoftmaxWithLoss("none"))),
    Row("train_step: optimizer a class", TypeError, "train_step optimizer Optimizer SGD(...)",
        lambda g: g.step(optimizer=mt.SGD)),
    Row("train_step: state None", TypeError, "Momentum.update state Momentum.init", lambda g: g.step(state=None)),
    Row("train_step: another optimizer's state", TypeError, "Momentum.update state Momentum.init",
        lambda g: g.step(state=mt.Adam().init(g.model))),
    Row("train_step: another model's state", ValueError, "Momentum.update state",
        lambda g: g.step(state=mt.Momentum().init(g.regression))),
    Row("train_step: a layer gives an array as its gradient", TypeError, "Raw gradient array",
        lambda g: g.step(model=(m := mt.Sequential(Raw(g.x(3, 3)))), state=mt.Momentum().init(m))),
    Row("train_step: x columns", ValueError, "Affine x (6, 4) (N, 3)", lambda g: g.step(x=g.x(6, 4))),
]

FIT = [
    Row("model a class", TypeError, "fit model Layer Affine(...)", lambda g: g.fit(model=mt.Affine)),
    Row("model a list", TypeError, "fit model Layer list", lambda g: g.fit(model=[g.affine])),
    Row("model learns nothing", ValueError, "fit model learn", lambda g: g.fit(model=mt.Sequential(mt.Tanh()))),
    Row("model frozen", ValueError, "fit model learn", lambda g: g.fit(model=mt.Freeze(g.model))),
    Row("loss a class", TypeError, "fit loss Loss SoftmaxWithLoss(...)", lambda g: g.fit(loss=mt.SoftmaxWithLoss)),
    Row("loss a name", TypeError, "fit loss Loss mse", lambda g: g.fit(loss="mse")),
    Row("loss none", ValueError, "fit loss reduction none", lambda g: g.fit(loss=mt.SoftmaxWithLoss("none"))),
    Row("optimizer a class", TypeError, "fit optimizer Optimizer SGD(...)", lambda g: g.fit(optimizer=mt.SGD)),
    Row("optimizer a name", TypeError, "fit optimizer Optimizer adam", lambda g: g.fit(optimizer="adam")),
    Row("epochs -1", ValueError, "fit epochs 0 -1", lambda g: g.fit(epochs=-1)),
    Row("epochs 1.0", TypeError, "fit epochs integer 1.0", lambda g: g.fit(epochs=1.0)),
    Row("epochs True", TypeError, "fit epochs integer True", lambda g: g.fit(epochs=True)),
    Row("epochs None", TypeError, "fit epochs integer None", lambda g: g.fit(epochs=None)),
    Row("batch_size 0", ValueError, "fit batch_size 1 0", lambda g: g.fit(batch_size=0)),
    Row("batch_size -1", ValueError, "fit batch_size 1 -1", lambda g: g.fit(batch_size=-1)),
    Row("batch_size 2.0", TypeError, "fit batch_size integer 2.0", lambda g: g.fit(batch_size=2.0)),
    Row("batch_size True", TypeError, "fit batch_size integer True", lambda g: g.fit(batch_size=True)),
    Row("batch_size None", TypeError, "fit batch_size integer None", lambda g: g.fit(batch_size=None)),
    Row("seed -1", ValueError, "fit seed 0 -1", lambda g: g.fit(seed=-1)),
    Row("seed 1.5", TypeError, "fit seed integer 1.5", lambda g: g.fit(seed=1.5)),
    Row("seed None", TypeError, "fit seed integer None", lambda g: g.fit(seed=None)),
    Row("shuffle a word", TypeError, "fit shuffle no", lambda g: g.fit(shuffle="no")),
    Row("progress a word", TypeError, "fit progress no", lambda g: g.fit(progress="no")),
    Row("last unknown", ValueError, "last keep drop nope", lambda g: g.fit(last="nope")),
    Row("last leaves nothing", ValueError, "fit last batch_size 7 6", lambda g: g.fit(last="drop", batch_size=7)),
    Row("x a list", TypeError, "fit x array list", lambda g: g.fit(x=[[1.0, 2.0, 3.0]])),
    Row("x None", TypeError, "fit x array None", lambda g: g.fit(x=None)),
    Row("x objects", TypeError, "fit x numbers object", lambda g: g.fit(x=g.keep(objects(6, 3)))),
    Row("x words", TypeError, "fit x numbers", lambda g: g.fit(x=g.keep(np.full((6, 3), "a")))),
    Row("x complex", TypeError, "fit x numbers complex64", lambda g: g.fit(x=g.cast(g.x(6, 3), "complex64"))),
    Row("x columns", ValueError, "Affine x (6, 4) (N, 3)", lambda g: g.fit(x=g.x(6, 4))),
    Row("x one axis", ValueError, "Affine x (6,) (N, 3)", lambda g: g.fit(x=g.x(6))),
    Row("x a single number", ValueError, "fit x", lambda g: g.fit(x=g.x())),
    Row("no samples", ValueError, "fit samples", lambda g: g.fit(x=g.x(0, 3), t=g.cast(g.x(0), "int32"))),
    Row("5 targets for 6", ValueError, "fit samples x 6 t 5", lambda g: g.fit(t=g.array(0, 1, 2, 0, 1))),
    Row("t a list", TypeError, "fit t array list", lambda g: g.fit(t=[0, 1, 2, 0, 1, 2])),
    Row("t words", TypeError, "fit t numbers", lambda g: g.fit(t=g.keep(np.full(6, "a")))),
    Row("label 3 of 3", ValueError, "SoftmaxWithLoss t 3 2 labels", lambda g: g.fit(t=g.array(0, 1, 2, 0, 1, 3))),
    Row("label -1", ValueError, "SoftmaxWithLoss t -1 labels", lambda g: g.fit(t=g.array(-1, 1, 2, 0, 1, 2))),
    Row("a bad label in a later batch", ValueError, "SoftmaxWithLoss t 3 labels",
        lambda g: g.fit(t=g.array(0, 1, 2, 0, 1, 3), batch_size=2)),
    Row("float labels", EITHER, "SoftmaxWithLoss t (6,) integer", lambda g: g.fit(t=g.cast(g.t, "float32"))),
    Row("bool labels", EITHER, "SoftmaxWithLoss t bool integer", lambda g: g.fit(t=g.cast(g.t, "bool"))),
    Row("label 2³²", ValueError, "SoftmaxWithLoss t labels",
        lambda g: g.fit(t=g.keep(np.array([0, 1, 2, 0, 1, 2**32])))),
    Row("a column of labels", ValueError, "SoftmaxWithLoss t (6, 1) (6,) t[:, 0]", lambda g: g.fit(t=g.t[:, None])),
    Row("rows that are no probabilities", ValueError, "SoftmaxWithLoss t probabilities 1",
        lambda g: g.fit(t=g.array(*[[1.0, 1.0, 0.0]] * 6))),
    Row("rows with a negative number", ValueError, "SoftmaxWithLoss t probabilities",
        lambda g: g.fit(t=g.array(*[[2.0, -1.0, 0.0]] * 6))),
    Row("rows with NaN", ValueError, "SoftmaxWithLoss t NaN",
        lambda g: g.fit(t=g.array(*[[float("nan"), 0.0, 1.0]] * 6))),
    Row("(N,) for (N, 1)", ValueError, "MeanSquaredError t (6,) (6, 1) t[:, None]",
        lambda g: g.fit(model=g.regression, loss=mt.MeanSquaredError(), t=g.x(6))),
    Row("t with NaN", ValueError, "MeanSquaredError t NaN",
        lambda g: g.fit(model=g.regression, loss=mt.MeanSquaredError(), t=g.array(*[[float("nan")]] * 6))),
    Row("t not in 0 … 1", ValueError, "SigmoidWithLoss t 0 1 2",
        lambda g: g.fit(model=g.regression, loss=mt.SigmoidWithLoss(), t=g.array(*[[2.0]] * 6))),
    Row("weight (6, 1)", ValueError, "weight (6, 1) (6,)",
        lambda g: g.fit(weight=g.cast(g.array(*[[1.0]] * 6), "float32"))),
    Row("weight (5,)", ValueError, "fit samples weight 5", lambda g: g.fit(weight=g.array(*[1.0] * 5))),
    Row("weight a list", TypeError, "fit weight array list", lambda g: g.fit(weight=[1.0] * 6)),
    Row("weight words", TypeError, "fit weight numbers", lambda g: g.fit(weight=g.keep(np.full(6, "a")))),
    Row("weight NaN", ValueError, "fit weight finite", lambda g: g.fit(weight=g.array(*[1.0] * 5, float("nan")))),
    Row("weight inf", ValueError, "fit weight finite", lambda g: g.fit(weight=g.array(*[1.0] * 5, float("inf")))),
    Row("weight negative", ValueError, "fit weight 0", lambda g: g.fit(weight=g.array(*[1.0] * 5, -1.0))),
    Row("weight all zero", ValueError, "fit weight 0", lambda g: g.fit(weight=g.array(*[0.0] * 6))),
    Row("validation an array", TypeError, "fit validation (x, t)", lambda g: g.fit(validation=g.x(6, 3))),
    Row("validation of four", TypeError, "fit validation (x, t, weight)",
        lambda g: g.fit(validation=(g.x(6, 3), g.t, g.x(6), g.x(6)))),
    Row("validation: weights missing", ValueError, "fit validation weight 5 6",
        lambda g: g.fit(validation=(g.x(6, 3), g.t, g.x(5)))),
    Row("validation of a list", TypeError, "validation x array list",
        lambda g: g.fit(validation=([[1.0, 2.0, 3.0]], g.t))),
    Row("validation: no samples", ValueError, "fit validation samples",
        lambda g: g.fit(validation=(g.x(0, 3), g.cast(g.x(0), "int32")))),
    Row("validation: samples", ValueError, "fit validation samples x 5 t 6",
        lambda g: g.fit(validation=(g.x(5, 3), g.t))),
    Row("validation: columns", ValueError, "Affine x (6, 4) (N, 3)", lambda g: g.fit(validation=(g.x(6, 4), g.t))),
    Row("validation: labels", ValueError, "SoftmaxWithLoss t 3 labels",
        lambda g: g.fit(validation=(g.x(6, 3), g.array(0, 1, 2, 0, 1, 3)))),
    Row("metric unknown", ValueError, "fit metric nope accuracy", lambda g: g.fit(metrics=("nope",))),
    Row("metric a number", TypeError, "fit metric error function", lambda g: g.fit(metrics={"error": 1})),
    Row("metric named loss", ValueError, "fit metric loss",
        lambda g: g.fit(metrics={"loss": lambda y, t: 0.0}, validation=(g.x(6, 3), g.t))),
    Row("metrics a number", TypeError, "fit metrics", lambda g: g.fit(metrics=1)),
    Row("metrics a function", TypeError, "fit metrics function", lambda g: g.fit(metrics=lambda y, t: 0.0)),
    Row("backend unknown", ValueError, "backend nope numpy", lambda g: g.fit(backend="nope")),
    Row("backend a module", TypeError, "backend name", lambda g: g.fit(backend=np)),
    Row("state of another optimizer", TypeError, "fit state Momentum",
        lambda g: g.fit(state=g.keep(mt.SGD().init(g.model)))),
    Row("state a class", TypeError, "fit state Momentum", lambda g: g.fit(state=mt.Momentum.State)),
    Row("state a history", TypeError, "fit state Momentum History", lambda g: g.fit(state=mt.History())),
    Row("state of another model", ValueError, "fit state model",
        lambda g: g.fit(state=g.keep(mt.Momentum().init(g.regression)))),
    Row("state of other shapes", ValueError, "fit state model (3, 1) (3, 3)",
        lambda g: g.fit(model=mt.Sequential(mt.MatMul(g.x(3, 3))), state=g.keep(mt.Momentum().init(g.regression)))),
    Row("state with another lr", ValueError, "fit state lr 0.5 0.01",
        lambda g: g.fit(state=g.keep(mt.Momentum(lr=0.5).init(g.model)))),
    Row("state with another momentum", ValueError, "fit state momentum 0.5 0.9",
        lambda g: g.fit(state=g.keep(mt.Momentum(momentum=0.5).init(g.model)))),
]

MEASURES = [
    Row("evaluate: model a class", TypeError, "evaluate model Layer", lambda g: g.evaluate(model=mt.Tanh)),
    Row("evaluate: loss a class", TypeError, "evaluate loss Loss", lambda g: g.evaluate(loss=mt.SoftmaxWithLoss)),
    Row("evaluate: loss none", ValueError, "evaluate loss reduction none",
        lambda g: g.evaluate(loss=mt.SoftmaxWithLoss("none"))),
    Row("evaluate: no samples", ValueError, "evaluate samples",
        lambda g: g.evaluate(x=g.x(0, 3), t=g.cast(g.x(0), "int32"))),
    Row("evaluate: samples", ValueError, "evaluate samples x 5 t 6", lambda g: g.evaluate(x=g.x(5, 3))),
    Row("evaluate: x a list", TypeError, "evaluate x array list", lambda g: g.evaluate(x=[[1.0, 2.0, 3.0]])),
    Row("evaluate: t None", TypeError, "evaluate t array None", lambda g: g.evaluate(t=None)),
    Row("evaluate: columns", ValueError, "Affine x (6, 4) (N, 3)", lambda g: g.evaluate(x=g.x(6, 4))),
    Row("evaluate: label 3 of 3", ValueError, "SoftmaxWithLoss t 3 labels",
        lambda g: g.evaluate(t=g.array(0, 1, 2, 0, 1, 3))),
    Row("evaluate: label -1", ValueError, "SoftmaxWithLoss t -1 labels",
        lambda g: g.evaluate(t=g.array(0, 1, 2, 0, 1, -1))),
    Row("evaluate: float labels", EITHER, "SoftmaxWithLoss t (6,) integer",
        lambda g: g.evaluate(t=g.cast(g.t, "float32"))),
    Row("evaluate: (N,) for (N, 1)", ValueError, "MeanSquaredError t (6,) (6, 1) t[:, None]",
        lambda g: g.evaluate(model=g.regression, loss=mt.MeanSquaredError(), t=g.x(6))),
    Row("evaluate: metric unknown", ValueError, "evaluate metric nope accuracy", lambda g: g.evaluate(metrics="nope")),
    Row("evaluate: metric a number", TypeError, "evaluate metric error function",
        lambda g: g.evaluate(metrics={"error": 0.1})),
    Row("evaluate: metric named loss", ValueError, "evaluate metric loss",
        lambda g: g.evaluate(metrics={"loss": lambda y, t: 0.0})),
    Row("evaluate: metric gives None", TypeError, "evaluate metric mine number None",
        lambda g: g.evaluate(metrics={"mine": lambda y, t: None})),
    Row("evaluate: metric gives many", TypeError, "evaluate metric mine number",
        lambda g: g.evaluate(metrics={"mine": lambda y, t: t + 1.0})),
    Row("evaluate: weight negative", ValueError, "evaluate weight 0",
        lambda g: g.evaluate(weight=g.array(*[1.0] * 5, -1.0))),
    Row("evaluate: weight (5,)", ValueError, "evaluate samples weight 5",
        lambda g: g.evaluate(weight=g.array(*[1.0] * 5))),
    Row("accuracy: no samples", ValueError, "accuracy samples",
        lambda g: mt.accuracy(g.model, g.x(0, 3), g.cast(g.x(0), "int32"))),
    Row("accuracy: samples", ValueError, "accuracy samples x 6 t 5",
        lambda g: mt.accuracy(g.model, g.x(6, 3), g.array(0, 1, 2, 0, 1))),
    Row("accuracy: a list", TypeError, "accuracy t array list",
        lambda g: mt.accuracy(g.model, g.x(6, 3), [0, 1, 2, 0, 1, 2])),
    Row("accuracy: label 3 of 3", ValueError, "accuracy t 3 labels",
        lambda g: mt.accuracy(g.model, g.x(6, 3), g.array(0, 1, 2, 0, 1, 3))),
    Row("accuracy: label -1", ValueError, "accuracy t -1 labels",
        lambda g: mt.accuracy(g.model, g.x(6, 3), g.array(0, 1, 2, 0, 1, -1))),
    Row("accuracy: float labels", EITHER, "accuracy t integer", lambda g: mt.accuracy(g.model, g.x(6, 3), g.x(6))),
    Row("accuracy: a column for (N, C)", ValueError, "accuracy t (6, 1) (6, 3)",
        lambda g: mt.accuracy(g.model, g.x(6, 3), g.t[:, None])),
    Row("accuracy: (N,) for (N, 1)", ValueError, "accuracy t (6,) (6, 1) t[:, None]",
        lambda g: mt.accuracy(g.regression, g.x(6, 3), g.t)),
    Row("accuracy: model a class", TypeError, "accuracy model Layer", lambda g: mt.accuracy(mt.Tanh, g.x(6, 3), g.t)),
    Row("batches: samples", ValueError, "batches samples x 5 t 6", lambda g: g.batches(x=g.x(5, 3))),
    Row("batches: no samples", ValueError, "batches samples", lambda g: g.batches(x=g.x(0, 3), t=g.x(0))),
    Row("batches: a number", ValueError, "batches x row", lambda g: g.batches(x=g.x())),
    Row("batches: a list", TypeError, "batches x array list", lambda g: g.batches(x=[1.0, 2.0])),
    Row("batches: weight samples", ValueError, "batches samples weight 5", lambda g: g.batches(weight=g.x(5))),
    Row("batches: batch_size 0", ValueError, "batches batch_size 1 0", lambda g: g.batches(batch_size=0)),
    Row("batches: batch_size -2", ValueError, "batches batch_size 1 -2", lambda g: g.batches(batch_size=-2)),
    Row("batches: batch_size 2.0", TypeError, "batches batch_size integer 2.0", lambda g: g.batches(batch_size=2.0)),
    Row("batches: batch_size True", TypeError, "batches batch_size integer True", lambda g: g.batches(batch_size=True)),
    Row("batches: rng 0", TypeError, "batches rng Generator default_rng(0)", lambda g: g.batches(rng=0)),
    Row("batches: last unknown", ValueError, "batches last keep drop nope", lambda g: g.batches(last="nope")),
    Row("batches: libraries", TypeError, "batches t x numpy", lambda g: g.batches(t=g.foreign(g.t))),
    Row("batches: devices", TypeError, "batches t x CPU_DEVICE", lambda g: g.batches(t=g.elsewhere(g.t))),
    Row("batches: weight's library", TypeError, "batches weight x numpy",
        lambda g: g.batches(weight=g.foreign(g.x(6)))),
]

# ------------------------------------------------------------------------------- data and pictures


def boundary(g: Given, **changes: Any) -> Any:
    pytest.importorskip("matplotlib").use("Agg")
    return mt.plot.decision_boundary(**{"model": g.plane, "x": g.x(6, 2), "t": g.t, "resolution": 5} | changes)


def curve(history: Any) -> Callable[[Given], Any]:
    def draw(g: Given) -> Any:
        pytest.importorskip("matplotlib").use("Agg")
        return mt.plot.loss_curve(history)

    return draw


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

# fmt: on
TABLES = {
    "creation": CREATION,
    "forward": FORWARD,
    "backward": BACKWARD,
    "functions": FUNCTIONS,
    "losses": LOSSES,
    "optimizers": OPTIMIZERS,
    "trees": TREES,
    "steps": STEPS,
    "fit": FIT,
    "measures": MEASURES,
    "pictures": PICTURES,
}
ROWS = [pytest.param(row, id=f"{table}: {row.name}") for table, rows in TABLES.items() for row in rows]


@pytest.mark.eager
@pytest.mark.parametrize("row", ROWS)
def test_a_bad_call_is_explained_and_changes_nothing(row: Row, xp: Target) -> None:
    if not xp.name.startswith(row.where):
        pytest.skip(f"only on {row.where}")
    given = Given(xp)
    with pytest.raises(row.error) as caught:
        row.call(given)
    assert not isinstance(caught.value, IndexError | KeyError | AssertionError | RecursionError)
    message = str(caught.value)
    missing = [word for word in words_of(row.words) if not re.search(rf"(?<!\w){re.escape(word)}(?!\w)", message)]
    assert not missing, message
    assert given.unchanged()


@pytest.mark.parametrize("label", [-1, 3, 1000])
def test_where_a_bad_label_is_not_read_it_makes_the_loss_nan(xp: Target, label: int) -> None:
    if xp.backend.name == "numpy":
        pytest.skip("NumPy reads the labels, and raises")
    loss, y, t = mt.SoftmaxWithLoss(), xp.asarray(np.ones((2, 3))), xp.asarray(np.array([0, label]))
    value, cache = xp.run(lambda y, t: loss.forward(y, t), y, t)
    assert np.isnan(mt.to_numpy(value))
    assert np.isnan(mt.to_numpy(loss.backward(cache))).any()


@pytest.mark.eager
@pytest.mark.parametrize("number", [np.float64(0.5), np.float32(0.5), np.int64(1)], ids=repr)
def test_a_number_of_numpy_is_no_mistake(xp: Target, number: Any) -> None:
    given = Given(xp)
    model = given.model
    optimizer = mt.SGD(lr=number)
    for state in (optimizer.init(model), mt.replace(mt.SGD().init(model), {"lr": number})):
        assert type(state.lr) is type(mt.leaves(model)[0])
        assert given.step(model=model, optimizer=optimizer, state=state)[0][0].W.dtype == model[0].W.dtype
    for reduction in ("mean", "sum"):
        assert given.scaled(mt.MeanSquaredError(reduction), number).dtype == model[0].W.dtype
