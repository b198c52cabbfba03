"""The mistakes: each bad call raises what it should, says what is wrong, and leaves everything as it was.

A row is a call that cannot be right, the exception it must raise, and the words that the message must hold:
who complains, about which argument, and for a wrong shape what came and what was expected.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import pytest
from cases import Residual
from conftest import Target, take_apart

import martlet as mt

Alias = mt.Array
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


# ------------------------------------------------------------------------------- numbers in settings

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
ALL = range(len(NO_NUMBER))
SOME = (0, 2, 5)  # NaN, a negative number, a word: enough to see that there is a check, and where it begins
OPTIMIZER_KINDS = (mt.SGD, mt.Momentum, mt.Nesterov, mt.AdaGrad, mt.RMSprop, mt.Adam, mt.AdamW)


def no_numbers(
    make: Callable[..., Any], name: str, owner: str = "", which: Iterable[int] = SOME, **others: Any
) -> list[Row]:
    """A row for each thing that is no number and stands in the setting of this name."""
    owner = owner or make.__name__

    def call(value: Any, g: Given) -> Any:
        return make(**{name: value}, **others)

    return [
        Row(f"{owner}, {name}={value!r:.9}", error, f"{owner} {name} {words}", functools.partial(call, value))
        for value, error, words in map(NO_NUMBER.__getitem__, which)
    ]


def dropout(rate: Any) -> mt.Dropout:
    return mt.Dropout.init(rate, np.random.default_rng(0))


# fmt: off
SETTINGS = [
    *no_numbers(mt.LeakyReLU, "slope"),
    *no_numbers(mt.ELU, "alpha"),
    *no_numbers(dropout, "rate", "Dropout"),
    *no_numbers(mt.BatchNorm.init, "momentum", "BatchNorm", features=3),
    *no_numbers(mt.BatchNorm.init, "eps", "BatchNorm", features=3),
    *no_numbers(mt.LayerNorm.init, "eps", "LayerNorm", features=3),
    *no_numbers(mt.Huber, "delta"),
    *no_numbers(mt.SoftmaxWithLoss, "label_smoothing"),
    *no_numbers(mt.EarlyStopping, "least"),
    *no_numbers(mt.L2, "decay"),
    *no_numbers(mt.ClipByNorm, "limit"),
    *no_numbers(mt.ClipByValue, "limit"),
    *no_numbers(mt.schedules.Constant, "warmup"),
    *no_numbers(mt.schedules.Step, "ratio", every=10),
    *no_numbers(mt.schedules.Exponential, "ratio", every=10),
    *no_numbers(mt.schedules.Cosine, "end", steps=10),
    *(
        row
        for kind in OPTIMIZER_KINDS
        for name in kind.numbers
        for row in no_numbers(kind, name, which=ALL if kind in (mt.SGD, mt.Momentum, mt.Adam) else SOME)
    ),
    Row("LeakyReLU, slope=1.5", ValueError, "LeakyReLU slope 1 1.5", lambda g: mt.LeakyReLU(1.5)),
    Row("Dropout, rate=1", ValueError, "Dropout rate 1", lambda g: dropout(1)),
    Row("Dropout, rate=1.0", ValueError, "Dropout rate 1 1.0", lambda g: dropout(1.0)),
    Row("Dropout, rate=1.5", ValueError, "Dropout rate 1 1.5", lambda g: dropout(1.5)),
    Row("BatchNorm, momentum=1.5", ValueError, "BatchNorm momentum 1 1.5",
        lambda g: mt.BatchNorm.init(3, momentum=1.5)),
    Row("Huber, delta=0", ValueError, "Huber delta 0", lambda g: mt.Huber(delta=0)),
    Row("SoftmaxWithLoss, label_smoothing=1.0", ValueError, "SoftmaxWithLoss label_smoothing 1 1.0",
        lambda g: mt.SoftmaxWithLoss(label_smoothing=1.0)),
    Row("SoftmaxWithLoss, label_smoothing=2", ValueError, "SoftmaxWithLoss label_smoothing 1 2",
        lambda g: mt.SoftmaxWithLoss(label_smoothing=2)),
    Row("Momentum, momentum=1", ValueError, "Momentum momentum 1", lambda g: mt.Momentum(momentum=1.0)),
    Row("Nesterov, momentum=1.5", ValueError, "Nesterov momentum 1 1.5", lambda g: mt.Nesterov(momentum=1.5)),
    Row("RMSprop, decay=1", ValueError, "RMSprop decay 1", lambda g: mt.RMSprop(decay=1)),
    Row("Adam, beta1=1", ValueError, "Adam beta1 1", lambda g: mt.Adam(beta1=1)),
    Row("Adam, beta2=1.5", ValueError, "Adam beta2 1.5", lambda g: mt.Adam(beta2=1.5)),
    Row("AdamW, beta1=1.0", ValueError, "AdamW beta1 1 1.0", lambda g: mt.AdamW(beta1=1.0)),
    Row("ClipByNorm, limit=0", ValueError, "ClipByNorm limit 0", lambda g: mt.ClipByNorm(limit=0)),
    Row("ClipByValue, limit=0.0", ValueError, "ClipByValue limit 0 0.0", lambda g: mt.ClipByValue(limit=0.0)),
    Row("Step, every=0", ValueError, "Step every 1 0", lambda g: mt.schedules.Step(every=0)),
    Row("Step, every=0.5", ValueError, "Step every 1 0.5", lambda g: mt.schedules.Step(every=0.5)),
    Row("Exponential, every=-1", ValueError, "Exponential every 1 -1", lambda g: mt.schedules.Exponential(every=-1)),
    Row("Cosine, steps=0", ValueError, "Cosine steps 1 0", lambda g: mt.schedules.Cosine(steps=0)),
    Row("Cosine, steps=nan", ValueError, "Cosine steps finite nan",
        lambda g: mt.schedules.Cosine(steps=float("nan"))),
    Row("Cosine, steps='10'", TypeError, "Cosine steps number 10", lambda g: mt.schedules.Cosine(steps="10")),
    Row("Cosine, end=1.5", ValueError, "Cosine end 1 1.5", lambda g: mt.schedules.Cosine(steps=10, end=1.5)),
    Row("Cosine, warmup=-1", ValueError, "Cosine warmup 0 -1", lambda g: mt.schedules.Cosine(steps=10, warmup=-1)),
    Row("Adam, amsgrad=1", TypeError, "Adam amsgrad True False int", lambda g: mt.Adam(amsgrad=1)),
    Row("AdamW, amsgrad='no'", TypeError, "AdamW amsgrad True False no", lambda g: mt.AdamW(amsgrad="no")),
    Row("AdamW, biases=None", TypeError, "AdamW biases True False None", lambda g: mt.AdamW(biases=None)),
    Row("RMSprop, centered=np.True_", TypeError, "RMSprop centered True False bool",
        lambda g: mt.RMSprop(centered=np.True_)),
    Row("L2, biases=0", TypeError, "L2 biases True False int", lambda g: mt.L2(decay=0.1, biases=0)),
    Row("an array for a number", TypeError, "AdaGrad lr number array", lambda g: mt.AdaGrad(lr=g.x())),
    Row("an array of one number", TypeError, "LeakyReLU slope setting array", lambda g: mt.LeakyReLU(g.x())),
    Row("a class for a number", TypeError, "ELU alpha number type", lambda g: mt.ELU(float)),
    Row("a schedule for a number", TypeError, "SGD lr number Cosine",
        lambda g: mt.SGD(lr=mt.schedules.Cosine(steps=10))),
]
# fmt: on

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


class Unscheduled(mt.Optimizer):
    """p ← p - rate · g"""

    rate: float = 0.1

    def rule(self, p, g, rate):
        return (p - rate * g,)


class Deaf(mt.Layer):
    """y = f(x), whose author forgot observe."""

    f: mt.Layer

    def forward(self, x):
        return self.f.forward(x)

    def backward(self, cache, dout):
        dx, grad = self.f.backward(cache, dout)
        return dx, self.gradient(f=grad)


class Unwanted(mt.SGD):
    """An SGD whose steps are one too many."""

    def update(self, model, grad, state):
        raise AssertionError("a step was taken")


def before_a_step(g: Given, **changes: Any) -> Any:
    """A fit that must complain before its first step."""
    return g.fit(optimizer=Unwanted(), **changes)


def with_a_state(g: Given, optimizer: mt.Optimizer, W: Any) -> Any:
    """An update with the state of a model that lives somewhere else."""
    model = g.matmul
    return g.update(optimizer, model, model, optimizer.init(mt.MatMul(W)))


DECAYED = mt.SGD(transforms=(mt.L2(decay=0.1),))

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
    Row("Dropout of a rate", TypeError, "Dropout stream float Dropout.init", lambda g: mt.Dropout(0.5, g.rng)),
    Row("Dropout of a list", TypeError, "Dropout stream list", lambda g: mt.Dropout([1, 2], g.words(0))),
    Row("Dropout: rate and rng swapped", TypeError, "Dropout.init rng Generator float",
        lambda g: mt.Dropout.init(g.rng, 0.5)),
    Row("Dropout: rng 0", TypeError, "Dropout.init rng Generator default_rng(0)", lambda g: mt.Dropout.init(0.5, 0)),
    Row("Dropout: rng not called", TypeError, "Dropout.init rng",
        lambda g: mt.Dropout.init(0.5, np.random.default_rng)),
    Row("Dropout: backend", ValueError, "backend nope numpy", lambda g: mt.Dropout.init(0.5, g.rng, backend="nope")),
    Row("BatchNorm of sizes", TypeError, "BatchNorm gamma int BatchNorm.init(3)", lambda g: mt.BatchNorm(3, 3, 3, 3)),
    Row("BatchNorm: beta a list", TypeError, "BatchNorm beta list",
        lambda g: g.normalization(mt.BatchNorm, beta=[0.0] * 3)),
    Row("BatchNorm: variance 1.0", TypeError, "BatchNorm variance float",
        lambda g: g.normalization(mt.BatchNorm, variance=1.0)),
    Row("BatchNorm: mean objects", TypeError, "BatchNorm mean object",
        lambda g: g.normalization(mt.BatchNorm, mean=g.keep(objects(3)))),
    Row("BatchNorm: 0 features", ValueError, "BatchNorm.init features 1 0", lambda g: mt.BatchNorm.init(0)),
    Row("BatchNorm: -1 features", ValueError, "BatchNorm.init features 1 -1", lambda g: mt.BatchNorm.init(-1)),
    Row("BatchNorm: 2.0 features", TypeError, "BatchNorm.init features integer 2.0", lambda g: mt.BatchNorm.init(2.0)),
    Row("BatchNorm: True features", TypeError, "BatchNorm.init features integer True",
        lambda g: mt.BatchNorm.init(True)),
    Row("BatchNorm: features a shape", TypeError, "BatchNorm.init features integer tuple",
        lambda g: mt.BatchNorm.init((3,))),
    Row("BatchNorm: features an rng", TypeError, "BatchNorm.init features integer Generator",
        lambda g: mt.BatchNorm.init(g.rng)),
    Row("BatchNorm: dtype", ValueError, "dtype int32 float32", lambda g: mt.BatchNorm.init(3, dtype="int32")),
    Row("BatchNorm: backend", ValueError, "backend nope numpy", lambda g: mt.BatchNorm.init(3, backend="nope")),
    Row("LayerNorm of sizes", TypeError, "LayerNorm gamma int LayerNorm.init(3)", lambda g: mt.LayerNorm(3, 3)),
    Row("LayerNorm: eps in third place", TypeError, "LayerNorm positional",
        lambda g: mt.LayerNorm(g.x(3), g.x(3), 1e-5)),
    Row("LayerNorm: 0 features", ValueError, "LayerNorm.init features 1 0", lambda g: mt.LayerNorm.init(0)),
    Row("LayerNorm: features ()", ValueError, "LayerNorm.init features ()", lambda g: mt.LayerNorm.init(())),
    Row("LayerNorm: features (2, -1)", ValueError, "LayerNorm.init features 1 -1",
        lambda g: mt.LayerNorm.init((2, -1))),
    Row("LayerNorm: features (2.0,)", TypeError, "LayerNorm.init features integer 2.0",
        lambda g: mt.LayerNorm.init((2.0,))),
    Row("LayerNorm: features [3]", TypeError, "LayerNorm.init features integer list", lambda g: mt.LayerNorm.init([3])),
    Row("LayerNorm: features '3'", TypeError, "LayerNorm.init features integer str", lambda g: mt.LayerNorm.init("3")),
    Row("Standardize: mean a list", TypeError, "Standardize mean list",
        lambda g: g.normalization(mt.Standardize, mean=[0.0] * 3)),
    Row("Standardize: scale 1.0", TypeError, "Standardize scale float",
        lambda g: g.normalization(mt.Standardize, scale=1.0)),
    Row("from_data: a list", TypeError, "Standardize.from_data x array list",
        lambda g: mt.Standardize.from_data([[1.0, 2.0]])),
    Row("from_data: None", TypeError, "Standardize.from_data x array None", lambda g: mt.Standardize.from_data(None)),
    Row("from_data: data and targets", TypeError, "Standardize.from_data x array tuple",
        lambda g: mt.Standardize.from_data((g.x(6, 3), g.t))),
    Row("from_data: words", TypeError, "Standardize.from_data x numbers",
        lambda g: mt.Standardize.from_data(np.full((2, 3), "a"))),
    Row("from_data: objects", TypeError, "Standardize.from_data x numbers object",
        lambda g: mt.Standardize.from_data(g.keep(objects(2, 3)))),
    Row("from_data: complex", TypeError, "Standardize.from_data x real complex64",
        lambda g: mt.Standardize.from_data(g.cast(g.x(6, 3), "complex64"))),
    Row("from_data: dates", TypeError, "Standardize.from_data x real datetime64[D]",
        lambda g: mt.Standardize.from_data(np.array([["2020-01-01"], ["2020-01-03"]], dtype="datetime64[D]"))),
    Row("from_data: a mean too large", ValueError, "Standardize.from_data x mean float16",
        lambda g: mt.Standardize.from_data(g.keep(np.array([[0.0], [2e5]])), backend="numpy", dtype="float16")),
    Row("from_data: a deviation too large", ValueError, "Standardize.from_data x deviation float16",
        lambda g: mt.Standardize.from_data(g.keep(np.array([[-1e5], [1e5]])), backend="numpy", dtype="float16")),
    Row("from_data: masked", TypeError, "Standardize.from_data x MaskedArray",
        lambda g: mt.Standardize.from_data(np.ma.masked_array([[1.0], [2.0]], mask=[[True], [False]]))),
    Row("from_data: no samples", ValueError, "Standardize.from_data x (0, 3) row",
        lambda g: mt.Standardize.from_data(g.x(0, 3))),
    Row("from_data: a number", ValueError, "Standardize.from_data x () row", lambda g: mt.Standardize.from_data(g.x())),
    Row("from_data: NaN", ValueError, "Standardize.from_data x NaN",
        lambda g: mt.Standardize.from_data(g.array([1.0, float("nan")], [2.0, 3.0]))),
    Row("from_data: infinity", ValueError, "Standardize.from_data x infinity",
        lambda g: mt.Standardize.from_data(g.array([1.0, float("-inf")], [2.0, 3.0]))),
    Row("from_data: dtype", ValueError, "dtype int32 float32",
        lambda g: mt.Standardize.from_data(g.x(6, 3), dtype="int32")),
    Row("from_data: backend", ValueError, "backend nope numpy",
        lambda g: mt.Standardize.from_data(g.x(6, 3), backend="nope")),
    Row("Embedding of a size", TypeError, "Embedding W int Embedding.init", lambda g: mt.Embedding(4)),
    Row("Embedding of a list", TypeError, "Embedding W list", lambda g: mt.Embedding([[1.0]])),
    Row("Embedding: 0 words", ValueError, "Embedding.init size 1 0", lambda g: mt.Embedding.init(0, 3, g.rng)),
    Row("Embedding: -1 features", ValueError, "Embedding.init size 1 -1", lambda g: mt.Embedding.init(4, -1, g.rng)),
    Row("Embedding: 4.0 words", TypeError, "Embedding.init size integer 4.0",
        lambda g: mt.Embedding.init(4.0, 3, g.rng)),
    Row("Embedding: words a list", TypeError, "Embedding.init size integer list",
        lambda g: mt.Embedding.init(["the", "cat"], 3, g.rng)),
    Row("Embedding: rng first", TypeError, "Embedding.init size integer Generator",
        lambda g: mt.Embedding.init(g.rng, 4, 3)),
    Row("Embedding: rng None", TypeError, "Embedding.init rng Generator", lambda g: mt.Embedding.init(4, 3, None)),
    Row("Embedding: initializer not called", TypeError, "Embedding.init initializer normal()",
        lambda g: mt.Embedding.init(4, 3, g.rng, initializer=mt.initializers.normal)),
    Row("Embedding: dtype", ValueError, "dtype int64 float32",
        lambda g: mt.Embedding.init(4, 3, g.rng, dtype="int64")),
    Row("Reshape: -1 twice", ValueError, "Reshape -1 (-1, -1)", lambda g: mt.Reshape((-1, -1))),
    Row("Reshape: -2", ValueError, "Reshape shape -1 -2", lambda g: mt.Reshape((3, -2))),
    Row("Reshape: 2.0", TypeError, "Reshape shape integer 2.0", lambda g: mt.Reshape((2.0, 6))),
    Row("Reshape: True", TypeError, "Reshape shape integer True", lambda g: mt.Reshape((True,))),
    Row("Reshape: None", TypeError, "Reshape shape integer None", lambda g: mt.Reshape((None, 3))),
    Row("Reshape: a list", TypeError, "Reshape shape tuple list", lambda g: mt.Reshape([3, 4])),
    Row("Reshape: a number", TypeError, "Reshape shape tuple int", lambda g: mt.Reshape(12)),
    Row("Reshape: a word", TypeError, "Reshape shape tuple str", lambda g: mt.Reshape("12")),
    Row("GELU: tanh in first place", TypeError, "GELU positional", lambda g: mt.GELU(True)),
    Row("GELU: tanh a word", TypeError, "GELU tanh True False none", lambda g: mt.GELU(tanh="none")),
    Row("Freeze: statistics a word", TypeError, "Freeze statistics True False no",
        lambda g: mt.Freeze(g.affine, statistics="no")),
    *(
        Row(f"{owner}: rng {what}", TypeError, f"{owner} Generator {words}",
            lambda g, rng=rng, call=call: call(g, rng))
        for what, words, rng in (("a class", "type", np.random.Generator), ("everyone's stream", "module", np.random))
        for owner, call in (
            ("Affine.init", lambda g, rng: mt.Affine.init(2, 3, rng)),
            ("Embedding.init", lambda g, rng: mt.Embedding.init(2, 3, rng)),
            ("Dropout.init", lambda g, rng: mt.Dropout.init(0.5, rng)),
            ("batches", lambda g, rng: g.batches(rng=rng)),
            ("fit", lambda g, rng: g.fit(seed=rng)),
        )
    ),
    Row("GELU: another name", TypeError, "GELU approximate", lambda g: mt.GELU(approximate="tanh")),
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

# The layers that take any x of floats, or one of three channels, and whose dout is shaped like x.
CATALOGUE: dict[str, Callable[[Given], mt.Layer]] = {
    "LeakyReLU": lambda g: mt.LeakyReLU(),
    "ELU": lambda g: mt.ELU(),
    "Softplus": lambda g: mt.Softplus(),
    "SiLU": lambda g: mt.SiLU(),
    "GELU": lambda g: mt.GELU(),
    "LogSoftmax": lambda g: mt.LogSoftmax(),
    "Dropout": lambda g: g.dropout,
    "BatchNorm": lambda g: g.batch_norm,
    "LayerNorm": lambda g: g.layer_norm,
    "Standardize": lambda g: g.standardize,
}
NO_COUNTER: dict[str, tuple[type[Exception], str, Callable[[Given, int], Any]]] = {
    "floats": (ValueError, "int32 float32", lambda g, n: g.x(n)),
    "too long": (ValueError, "int32 (3,)", lambda g, n: g.words(0, 1, 2)),
    "of two axes": (ValueError, "int32 (1, 3)", lambda g, n: g.words(0, 1, 2)[None, :]),
    "of no axes": (ValueError, "int32 ()", lambda g, n: g.words(1)[0, ...]),
    "int64": (ValueError, "int32 int64", lambda g, n: g.words(*range(n), dtype="int64")),
    "None": (TypeError, "array None", lambda g, n: None),
}
NO_X: dict[str, tuple[str, Callable[[Given], Any]]] = {
    "integers": ("floating-point int64", lambda g: g.cast(g.x(5, 3), "int64")),
    "booleans": ("floating-point bool", lambda g: g.cast(g.x(5, 3), "bool")),
    "complex": ("floating-point complex64", lambda g: g.cast(g.x(5, 3), "complex64")),
    "a list": ("array list", lambda g: [[1.0, 2.0, 3.0]]),
    "a number": ("array float", lambda g: 1.0),
    "None": ("array None", lambda g: None),
    "a tuple": ("array tuple", lambda g: (g.x(5, 3), g.x(5, 3))),
    "objects": ("object", lambda g: g.keep(objects(5, 3))),
}
NO_DOUT: dict[str, tuple[type[Exception], str, Callable[[Given], Any]]] = {
    "(5, 1)": (ValueError, "(5, 1) (5, 3) output", lambda g: g.x(5, 1)),
    "(3,)": (ValueError, "(3,) (5, 3) output", lambda g: g.x(3)),
    "()": (ValueError, "() (5, 3) output", lambda g: g.x()[...]),
    "1.0": (TypeError, "array float", lambda g: 1.0),
    "None": (TypeError, "array None", lambda g: None),
    "integers": (TypeError, "int64 float32", lambda g: g.cast(g.x(5, 3), "int64")),
    "float64": (TypeError, "float64 float32", lambda g: g.x(5, 3, dtype="float64")),
    "of another library": (TypeError, "numpy", lambda g: g.foreign(g.x(5, 3))),
    "on another device": (TypeError, "CPU_DEVICE", lambda g: g.elsewhere(g.x(5, 3))),
}


def forwarded(layer: Callable[[Given], Any], x: Callable[[Given], Any]) -> Callable[[Given], Any]:
    return lambda g: layer(g).forward(x(g))


def predicted(layer: Callable[[Given], Any], x: Callable[[Given], Any]) -> Callable[[Given], Any]:
    return lambda g: layer(g).predict(x(g))


def counters(g: Given, name: str, make: Callable[[Given, int], Any]) -> mt.Dropout:
    """A Dropout, one of whose counters is not what it should be."""
    right = {"stream": g.words(1, 2), "step": g.words(0)}
    return mt.Dropout(**right | {name: make(g, right[name].shape[0])}, rate=0.5)


def gone_back(layer: Callable[[Given], Any], dout: Callable[[Given], Any]) -> Callable[[Given], Any]:
    return lambda g: g.backward(layer(g), g.x(5, 3), dout(g))


FORWARD = [
    *(
        Row(f"{name}: {what}{verb}", TypeError, f"{name} x {words}", call(layer, x))
        for name, layer in CATALOGUE.items()
        for what, (words, x) in NO_X.items()
        for verb, call in {"": forwarded, " in predict": predicted}.items()
        if verb == "" or name in ("Dropout", "BatchNorm")  # the others predict as they go forward
    ),
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
    Row("LogSoftmax: no axes", ValueError, "LogSoftmax x ()", lambda g: mt.LogSoftmax().forward(g.x())),
    Row("LogSoftmax: no classes", ValueError, "LogSoftmax x (5, 0)", lambda g: mt.LogSoftmax().forward(g.x(5, 0))),
    Row("GELU: np.matrix", TypeError, "GELU x matrix", lambda g: mt.GELU().forward(g.x(2, 2).view(np.matrix)), "numpy"),
    Row("Dropout: x of another library", TypeError, "Dropout stream x numpy",
        lambda g: g.dropout.forward(g.foreign(g.x(5, 3)))),
    Row("Dropout: x on another device", TypeError, "Dropout stream x CPU_DEVICE",
        lambda g: g.dropout.forward(g.elsewhere(g.x(5, 3)))),
    *(
        Row(f"Dropout: {name} {what}{place}", error, f"Dropout {name} {words}",
            lambda g, name=name, make=make, call=call: call(g, counters(g, name, make)))
        for name in ("stream", "step")
        for what, (error, words, make) in NO_COUNTER.items()
        for place, call in {"": lambda g, d: d.forward(g.x(5, 3)),
                            " in fit": lambda g, d: g.fit(model=mt.Sequential(d, g.model))}.items()
    ),
    Row("Dropout: step of another library", TypeError, "Dropout step x numpy int32",
        lambda g: counters(g, "step", lambda g, n: g.foreign(g.words(0))).forward(g.x(5, 3))),
    Row("Dropout: step on another device", TypeError, "Dropout step x CPU_DEVICE int32",
        lambda g: counters(g, "step", lambda g, n: g.elsewhere(g.words(0))).forward(g.x(5, 3))),
    Row("BatchNorm: channels", ValueError, "BatchNorm x (5, 4) (N, 3, ...)",
        lambda g: g.batch_norm.forward(g.x(5, 4))),
    Row("BatchNorm: channels in predict", ValueError, "BatchNorm x (5, 4) (N, 3, ...)",
        lambda g: g.batch_norm.predict(g.x(5, 4))),
    Row("BatchNorm: one column", ValueError, "BatchNorm x (5, 1) (N, 3, ...)",
        lambda g: g.batch_norm.forward(g.x(5, 1))),
    Row("BatchNorm: one sample", ValueError, "BatchNorm x (3,) (N, 3, ...)", lambda g: g.batch_norm.forward(g.x(3))),
    Row("BatchNorm: one sample in predict", ValueError, "BatchNorm x (3,) (N, 3, ...)",
        lambda g: g.batch_norm.predict(g.x(3))),
    Row("BatchNorm: no axes", ValueError, "BatchNorm x () (N, 3, ...)", lambda g: g.batch_norm.forward(g.x())),
    Row("BatchNorm: channels last", ValueError, "BatchNorm x (2, 4, 3) (N, 3, ...)",
        lambda g: g.batch_norm.forward(g.x(2, 4, 3))),
    Row("BatchNorm: one row", ValueError, "BatchNorm x (1, 3) two predict", lambda g: g.batch_norm.forward(g.x(1, 3))),
    Row("BatchNorm: no rows", ValueError, "BatchNorm x (0, 3) two", lambda g: g.batch_norm.forward(g.x(0, 3))),
    Row("BatchNorm: one pixel", ValueError, "BatchNorm x (1, 3, 1, 1) two",
        lambda g: g.batch_norm.forward(g.x(1, 3, 1, 1))),
    Row("BatchNorm: no pixels", ValueError, "BatchNorm x (5, 3, 0) two",
        lambda g: g.batch_norm.forward(g.x(5, 3, 0))),
    Row("LayerNorm: columns", ValueError, "LayerNorm x (5, 4) (N, ..., 3)", lambda g: g.layer_norm.forward(g.x(5, 4))),
    Row("LayerNorm: one column", ValueError, "LayerNorm x (5, 1) (N, ..., 3)",
        lambda g: g.layer_norm.forward(g.x(5, 1))),
    Row("LayerNorm: one sample", ValueError, "LayerNorm x (3,) (N, ..., 3)", lambda g: g.layer_norm.forward(g.x(3))),
    Row("LayerNorm: no axes", ValueError, "LayerNorm x () (N, ..., 3)", lambda g: g.layer_norm.forward(g.x())),
    Row("LayerNorm: axes swapped", ValueError, "LayerNorm x (5, 2, 4) (N, ..., 4, 2)",
        lambda g: mt.LayerNorm(g.x(4, 2), g.x(4, 2)).forward(g.x(5, 2, 4))),
    Row("Standardize: columns", ValueError, "Standardize x (5, 4) (N, 3)", lambda g: g.standardize.forward(g.x(5, 4))),
    Row("Standardize: one column", ValueError, "Standardize x (5, 1) (N, 3)",
        lambda g: g.standardize.forward(g.x(5, 1))),
    Row("Standardize: one sample", ValueError, "Standardize x (3,) (N, 3)", lambda g: g.standardize.predict(g.x(3))),
    Row("Standardize: three axes", ValueError, "Standardize x (5, 2, 3) (N, 3)",
        lambda g: g.standardize.forward(g.x(5, 2, 3))),
    *(
        Row(f"{kind.__name__}: x {what}", TypeError, f"{kind.__name__} x {first} {words}",
            lambda g, kind=kind, x=x: g.normalization(kind).forward(x(g)))
        for kind, (first, *_) in ARRAYS.items()
        for what, words, x in (
            ("float64", "float64 float32", lambda g: g.x(5, 3, dtype="float64")),
            ("of another library", "numpy", lambda g: g.foreign(g.x(5, 3))),
            ("on another device", "CPU_DEVICE", lambda g: g.elsewhere(g.x(5, 3))),
        )
    ),
    *(
        Row(f"{kind.__name__}: {name} {what}", error, f"{kind.__name__} {name} {words}",
            lambda g, kind=kind, name=name, x=x: g.normalization(kind, **{name: x(g)}).forward(g.x(5, 3)))
        for kind, (_, *others) in ARRAYS.items()
        for name in others
        for what, error, words, x in (
            ("(4,)", ValueError, "(4,) (3,)", lambda g: g.x(4)),
            ("(1,)", ValueError, "(1,) (3,)", lambda g: g.x(1)),
            ("()", ValueError, "() (3,)", lambda g: g.x()),
            ("(1, 3)", ValueError, "(1, 3) (3,)", lambda g: g.x(1, 3)),
            ("None", TypeError, "array None", lambda g: None),
            ("of another library", TypeError, "numpy", lambda g: g.foreign(g.x(3))),
            ("on another device", TypeError, "CPU_DEVICE", lambda g: g.elsewhere(g.x(3))),
        )
    ),
    Row("BatchNorm: gamma (4,)", ValueError, "BatchNorm x (5, 3) gamma",
        lambda g: g.normalization(mt.BatchNorm, gamma=g.x(4)).forward(g.x(5, 3))),
    *(
        Row(f"BatchNorm: gamma {shape}{verb}", ValueError, f"BatchNorm gamma {shape} (C,)",
            lambda g, shape=shape, call=call: call(
                lambda g: g.normalization(mt.BatchNorm, gamma=g.x(*shape)), lambda g: g.x(5, 3))(g))
        for shape in ((1, 3), (3, 1), ())
        for verb, call in {"": forwarded, " in predict": predicted}.items()
    ),
    *(
        Row(f"{kind.__name__}: {name} float64", TypeError, f"{kind.__name__} {name} float64 {other} float32",
            lambda g, kind=kind, name=name: g.normalization(
                kind, **{name: g.x(3, dtype="float64")}).forward(g.x(5, 3)))
        for kind, name, other in ((mt.BatchNorm, "beta", "gamma"), (mt.LayerNorm, "beta", "gamma"),
                                  (mt.Standardize, "scale", "mean"))
    ),
    *(
        Row(f"BatchNorm: {name} integers{verb}", TypeError, f"BatchNorm {name} floating-point int32",
            lambda g, name=name, call=call: call(
                lambda g: g.normalization(mt.BatchNorm, **{name: g.words(1, 1, 1)}), lambda g: g.x(5, 3))(g))
        for name in ("mean", "variance")
        for verb, call in {"": forwarded, " in predict": predicted}.items()
    ),
    Row("Standardize.inverse: scale float64", TypeError, "Standardize scale float64 mean float32",
        lambda g: g.normalization(mt.Standardize, scale=g.x(3, dtype="float64")).inverse()),
    Row("Standardize.inverse: scale (1,)", ValueError, "Standardize scale (1,) (3,) mean",
        lambda g: g.normalization(mt.Standardize, scale=g.x(1)).inverse()),
    Row("Standardize.inverse: scale of another library", TypeError, "Standardize scale mean numpy",
        lambda g: g.normalization(mt.Standardize, scale=g.foreign(g.x(3))).inverse()),
    Row("BatchNorm: gamma None", TypeError, "BatchNorm gamma array None",
        lambda g: g.normalization(mt.BatchNorm, gamma=None).forward(g.x(5, 3))),
    Row("BatchNorm: gamma integers", TypeError, "BatchNorm x float32 gamma int32",
        lambda g: g.normalization(mt.BatchNorm, gamma=g.words(1, 1, 1)).predict(g.x(5, 3))),
    Row("LayerNorm: gamma float64", TypeError, "LayerNorm x float32 gamma float64",
        lambda g: g.normalization(mt.LayerNorm, gamma=g.x(3, dtype="float64")).forward(g.x(5, 3))),
    Row("Standardize: mean float64", TypeError, "Standardize x float32 mean float64",
        lambda g: g.normalization(mt.Standardize, mean=g.x(3, dtype="float64")).predict(g.x(5, 3))),
    Row("Embedding: floats", TypeError, "Embedding x integers float32", lambda g: g.embedding.forward(g.x(5))),
    Row("Embedding: one-hot rows", TypeError, "Embedding x integers float32", lambda g: g.embedding.predict(g.x(5, 4))),
    Row("Embedding: booleans", TypeError, "Embedding x integers bool",
        lambda g: g.embedding.forward(g.cast(g.x(5), "bool"))),
    Row("Embedding: a list", TypeError, "Embedding x array list", lambda g: g.embedding.forward([0, 1])),
    Row("Embedding: a number", TypeError, "Embedding x array int", lambda g: g.embedding.predict(1)),
    Row("Embedding: None", TypeError, "Embedding x array None", lambda g: g.embedding.forward(None)),
    Row("Embedding: a tuple", TypeError, "Embedding x array tuple",
        lambda g: g.embedding.forward((g.words(0), g.words(1)))),
    Row("Embedding: no axes", ValueError, "Embedding x () (N, ...)",
        lambda g: g.embedding.forward(g.words(1, 2)[0, ...])),
    Row("Embedding: words of another library", TypeError, "Embedding x W numpy",
        lambda g: g.embedding.forward(g.foreign(g.words(0, 1)))),
    Row("Embedding: words on another device", TypeError, "Embedding x W CPU_DEVICE",
        lambda g: g.embedding.forward(g.elsewhere(g.words(0, 1)))),
    Row("Embedding: word 4 of 4", ValueError, "Embedding x 0 4 3",
        lambda g: g.embedding.forward(g.words(0, 4)), "numpy"),
    Row("Embedding: word -1", ValueError, "Embedding x -1", lambda g: g.embedding.predict(g.words(0, -1)), "numpy"),
    Row("Embedding: word 255 in a byte", ValueError, "Embedding x 255",
        lambda g: g.embedding.forward(g.words(0, 255, dtype="uint8")), "numpy"),
    Row("Embedding: W (4,)", ValueError, "Embedding W (4,) (V, D)",
        lambda g: mt.Embedding(g.x(4)).forward(g.words(0, 1))),
    Row("Embedding: W (4, 3, 2)", ValueError, "Embedding W (4, 3, 2) (V, D)",
        lambda g: mt.Embedding(g.x(4, 3, 2)).forward(g.words(0, 1))),
    *(
        Row(f"Embedding: W {what}{place}", error, f"Embedding W {words}",
            lambda g, W=W, call=call: call(g, mt.Embedding(W(g))))
        for what, error, words, W in (
            ("()", ValueError, "() (V, D)", lambda g: g.x()),
            ("(0, 3)", ValueError, "(0, 3) (V, D)", lambda g: g.x(0, 3)),
            ("None", TypeError, "array None", lambda g: None),
        )
        for place, call in {"": lambda g, layer: layer.forward(g.words(0, 1)),
                            " in predict": lambda g, layer: layer.predict(g.words(0, 1)),
                            " in fit": lambda g, layer: g.fit(model=mt.Sequential(layer, g.model), x=g.t)}.items()
    ),
    Row("Embedding: W integers", TypeError, "Embedding W floating-point int32",
        lambda g: mt.Embedding(g.cast(g.x(4, 3), "int32")).forward(g.words(0, 1))),
    Row("Embedding: in the middle", TypeError, "Embedding x integers float32",
        lambda g: mt.Sequential(mt.Tanh(), g.embedding).forward(g.x(5, 3))),
    Row("Reshape: too few", ValueError, "Reshape x (5, 10) (3, 4) 10",
        lambda g: mt.Reshape((3, 4)).forward(g.x(5, 10))),
    Row("Reshape: not divisible", ValueError, "Reshape x (5, 12) (5, -1)",
        lambda g: mt.Reshape((5, -1)).forward(g.x(5, 12))),
    Row("Reshape: the samples too", ValueError, "Reshape x (5, 12) (5, 12)",
        lambda g: mt.Reshape((5, 12)).forward(g.x(5, 12))),
    Row("Reshape: 0", ValueError, "Reshape x (5, 12) (0,)", lambda g: mt.Reshape((0,)).forward(g.x(5, 12))),
    Row("Reshape: 0 and -1", ValueError, "Reshape x (5, 12) (0, -1)",
        lambda g: mt.Reshape((0, -1)).forward(g.x(5, 12))),
    Row("Reshape: x ()", ValueError, "Reshape x () (N, ...)", lambda g: mt.Reshape((1,)).forward(g.x())),
    Row("Reshape: x a list", TypeError, "Reshape x array list", lambda g: mt.Reshape((1,)).forward([[1.0]])),
    Row("Reshape: x objects", TypeError, "Reshape x numbers object",
        lambda g: mt.Reshape((3,)).forward(g.keep(objects(5, 3)))),
    Row("Flatten: x ()", ValueError, "Flatten x () (N, ...)", lambda g: mt.Flatten().forward(g.x())),
    Row("Flatten: x a list", TypeError, "Flatten x array list", lambda g: mt.Flatten().forward([[1.0]])),
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
    *(
        Row(f"{name}: dout {what}", error, f"{name} dout {words}", gone_back(layer, dout))
        for name, layer in CATALOGUE.items()
        for what, (error, words, dout) in NO_DOUT.items()
    ),
    Row("Embedding: dout (2, 1)", ValueError, "Embedding dout (2, 1) (2, 3)",
        lambda g: g.backward(g.embedding, g.words(0, 1), g.x(2, 1))),
    Row("Embedding: dout (3,)", ValueError, "Embedding dout (3,) (2, 3)",
        lambda g: g.backward(g.embedding, g.words(0, 1), g.x(3))),
    Row("Embedding: dout (1, 2, 3)", ValueError, "Embedding dout (1, 2, 3) (2, 3)",
        lambda g: g.backward(g.embedding, g.words(0, 1), g.x(1, 2, 3))),
    Row("Embedding: dout None", TypeError, "Embedding dout array None",
        lambda g: g.backward(g.embedding, g.words(0, 1), None)),
    Row("Embedding: dout integers", TypeError, "Embedding dout int32 float32",
        lambda g: g.backward(g.embedding, g.words(0, 1), g.cast(g.x(2, 3), "int32"))),
    Row("Embedding: dout float64", TypeError, "Embedding dout float64 float32",
        lambda g: g.backward(g.embedding, g.words(0, 1), g.x(2, 3, dtype="float64"))),
    Row("Embedding: dout of another library", TypeError, "Embedding dout numpy",
        lambda g: g.backward(g.embedding, g.words(0, 1), g.foreign(g.x(2, 3)))),
    Row("Embedding: dout on another device", TypeError, "Embedding dout CPU_DEVICE",
        lambda g: g.backward(g.embedding, g.words(0, 1), g.elsewhere(g.x(2, 3)))),
    Row("Reshape: dout as it was", ValueError, "Reshape dout (5, 12) (5, 3, 4)",
        lambda g: g.backward(mt.Reshape((3, 4)), g.x(5, 12), g.x(5, 12))),
    Row("Reshape: dout (5, 4, 3)", ValueError, "Reshape dout (5, 4, 3) (5, 3, 4)",
        lambda g: g.backward(mt.Reshape((3, 4)), g.x(5, 12), g.x(5, 4, 3))),
    Row("Reshape: dout 1.0", TypeError, "Reshape dout array float",
        lambda g: g.backward(mt.Reshape((3, 4)), g.x(5, 12), 1.0)),
    Row("Reshape: dout float64", TypeError, "Reshape dout float64 float32",
        lambda g: g.backward(mt.Reshape((3, 4)), g.x(5, 12), g.x(5, 3, 4, dtype="float64"))),
    Row("Flatten: dout as x was", ValueError, "Flatten dout (5, 3, 4) (5, 12)",
        lambda g: g.backward(mt.Flatten(), g.x(5, 3, 4), g.x(5, 3, 4))),
    Row("Flatten: dout integers", TypeError, "Flatten dout int64 float32",
        lambda g: g.backward(mt.Flatten(), g.x(5, 3, 4), g.cast(g.x(5, 12), "int64"))),
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
    Row("Huber: (N, 1), (N,)", ValueError, "Huber t (5,) (5, 1) t[:, None]", lambda g: mse(g, (5, 1), (5,), mt.Huber)),
    Row("Huber: (N,), (N, 1)", ValueError, "Huber t (5, 1) (5,) t[:, 0]", lambda g: mse(g, (5,), (5, 1), mt.Huber)),
    Row("Huber: samples", ValueError, "Huber t (1, 2) (5, 2)", lambda g: mse(g, (5, 2), (1, 2), mt.Huber)),
    Row("Huber: no samples", ValueError, "Huber y (0, 2) sample", lambda g: mse(g, (0, 2), (0, 2), mt.Huber)),
    Row("Huber: no axes", ValueError, "Huber y () sample", lambda g: mse(g, (), (), mt.Huber)),
    Row("Huber: t integers", TypeError, "Huber t int32 y float32",
        lambda g: mt.Huber().forward(g.x(6), g.cast(g.t, "int32"))),
    Row("Huber: t float64", TypeError, "Huber t float64 y float32",
        lambda g: mt.Huber().forward(g.x(5), g.x(5, dtype="float64"))),
    Row("Huber: t of another library", TypeError, "Huber t y numpy",
        lambda g: mt.Huber().forward(g.x(5), g.foreign(g.x(5)))),
    Row("Huber: t on another device", TypeError, "Huber t y CPU_DEVICE",
        lambda g: mt.Huber().forward(g.x(5), g.elsewhere(g.x(5)))),
    Row("Huber: t a list", TypeError, "Huber t array list", lambda g: mt.Huber().forward(g.x(2), [1.0, 2.0])),
    Row("Huber: y integers", TypeError, "Huber y floating-point", lambda g: mt.Huber().forward(g.t, g.t)),
    Row("Huber: weight (6, 1)", ValueError, "Huber weight (6, 1) (6,)",
        lambda g: mt.Huber().forward(g.x(6), g.x(6), g.x(6, 1))),
    Row("Huber: dout (6,)", ValueError, "Huber dout (6,) ()", lambda g: g.scaled(mt.Huber(), g.x(6))),
    Row("Huber: delta in first place", ValueError, "Huber reduction mean sum none 1.0", lambda g: mt.Huber(1.0)),
    *(
        Row(f"class_weight {what}{for_what}", error, f"SoftmaxWithLoss class_weight {words}",
            lambda g, x=x, t=t: g.softmax(t(g), class_weight=x(g)))
        for for_what, t in (("", lambda g: g.t), (" for rows", lambda g: g.array(*[[0.5, 0.25, 0.25]] * 6)))
        for what, error, words, x in (
            ("(2,)", ValueError, "(2,) (3,)", lambda g: g.array(1.0, 2.0)),
            ("(4,)", ValueError, "(4,) (3,)", lambda g: g.array(1.0, 2.0, 3.0, 4.0)),
            ("(1,)", ValueError, "(1,) (3,)", lambda g: g.array(1.0)),
            ("(1, 3)", ValueError, "(1, 3) (3,)", lambda g: g.array([1.0, 2.0, 3.0])),
            ("(3, 1)", ValueError, "(3, 1) (3,)", lambda g: g.array([1.0], [2.0], [3.0])),
            ("one per sample", ValueError, "(6,) (3,)", lambda g: g.array(*[1.0] * 6)),
            ("integers", TypeError, "int32 float32", lambda g: g.words(1, 2, 3)),
            ("float64", TypeError, "float64 float32", lambda g: g.array(1.0, 2.0, 3.0, dtype="float64")),
            ("of another library", TypeError, "numpy", lambda g: g.foreign(g.array(1.0, 2.0, 3.0))),
            ("on another device", TypeError, "CPU_DEVICE", lambda g: g.elsewhere(g.array(1.0, 2.0, 3.0))),
        )
    ),
    Row("class_weight a list", TypeError, "SoftmaxWithLoss class_weight array list",
        lambda g: mt.SoftmaxWithLoss(class_weight=[1.0, 2.0, 3.0])),
    Row("class_weight a tuple", TypeError, "SoftmaxWithLoss class_weight array tuple",
        lambda g: mt.SoftmaxWithLoss(class_weight=(1.0, 2.0, 3.0))),
    Row("class_weight a dict", TypeError, "SoftmaxWithLoss class_weight array dict",
        lambda g: mt.SoftmaxWithLoss(class_weight={0: 1.0, 1: 2.0})),
    Row("class_weight a number", TypeError, "SoftmaxWithLoss class_weight array float",
        lambda g: mt.SoftmaxWithLoss(class_weight=2.0)),
    Row("class_weight a word", TypeError, "SoftmaxWithLoss class_weight array balanced",
        lambda g: mt.SoftmaxWithLoss(class_weight="balanced")),
    Row("class_weight objects", TypeError, "SoftmaxWithLoss class_weight object",
        lambda g: mt.SoftmaxWithLoss(class_weight=g.keep(objects(3)))),
    *(
        Row(f"{name} {what}", TypeError, f"{owner.__name__} {name} array {what.split()[1]}",
            lambda g, owner=owner, name=name, make=make: owner(**{name: make()}))
        for owner, name in ((mt.SoftmaxWithLoss, "class_weight"), (mt.SigmoidWithLoss, "pos_weight"))
        for what, make in (
            ("a set", lambda: {1.0, 2.0, 3.0}),
            ("a frozenset", lambda: frozenset((1.0, 2.0))),
            ("a function", lambda: lambda t: 1.0),
            ("a range", lambda: range(3)),
            ("a list_iterator", lambda: iter([1.0, 2.0, 3.0])),
            ("a generator", lambda: (1.0 for _ in range(3))),
            ("a map", lambda: map(float, range(3))),
        )
    ),
    Row("class_weight in second place", TypeError, "SoftmaxWithLoss positional",
        lambda g: mt.SoftmaxWithLoss("mean", g.x(3))),
    Row("class_weights", TypeError, "SoftmaxWithLoss class_weights",
        lambda g: mt.SoftmaxWithLoss(class_weights=g.x(3))),
    *(
        Row(f"{what}: {setting}", error, f"SoftmaxWithLoss t {words}",
            lambda g, t=t, make=make: g.softmax(t(g), **make(g)), where)
        for setting, make in (
            ("class_weight", lambda g: {"class_weight": g.array(1.0, 2.0, 3.0)}),
            ("label_smoothing", lambda g: {"label_smoothing": 0.1}),
        )
        for what, error, words, t, where in (
            ("label 3 of 3", ValueError, "3 2 labels", lambda g: g.array(0, 1, 2, 3, 1, 2), "numpy"),
            ("label -1", ValueError, "-1 labels", lambda g: g.array(0, 1, 2, -1, 1, 2), "numpy"),
            ("float labels", EITHER, "float32 integer", lambda g: g.cast(g.t, "float32"), ""),
            ("bool labels", EITHER, "bool integer", lambda g: g.cast(g.t, "bool"), ""),
            ("a column of labels", ValueError, "(6, 1) (6,) t[:, 0]", lambda g: g.t[:, None], ""),
            ("5 labels for 6", ValueError, "(5,) (6,)", lambda g: g.array(0, 1, 2, 0, 1), ""),
            ("one row for all", ValueError, "(1, 3) (6, 3)", lambda g: g.array([0.2, 0.3, 0.5]), ""),
            ("rows of 4 classes", ValueError, "(6, 4) (6, 3)", lambda g: g.x(6, 4), ""),
            ("rows float64", TypeError, "float64 float32", lambda g: g.x(6, 3, dtype="float64"), ""),
            ("one-hot integers", ValueError, "(6, 3) (6,) dtype", lambda g: g.array(*[[0, 1, 0]] * 6), ""),
            ("labels of another library", TypeError, "y numpy", lambda g: g.foreign(g.t), ""),
        )
    ),
    Row("pos_weight (1,)", ValueError, "SigmoidWithLoss pos_weight (1,) () (2,)",
        lambda g: g.sigmoid(g.array(2.0), 6, 2)),
    Row("pos_weight (3,)", ValueError, "SigmoidWithLoss pos_weight (3,) () (2,)", lambda g: g.sigmoid(g.x(3), 6, 2)),
    Row("pos_weight (6,)", ValueError, "SigmoidWithLoss pos_weight (6,) () (2,)", lambda g: g.sigmoid(g.x(6), 6, 2)),
    Row("pos_weight (1, 2)", ValueError, "SigmoidWithLoss pos_weight (1, 2)", lambda g: g.sigmoid(g.x(1, 2), 6, 2)),
    Row("pos_weight (6, 1)", ValueError, "SigmoidWithLoss pos_weight (6, 1)", lambda g: g.sigmoid(g.x(6, 1), 6, 2)),
    Row("pos_weight (6,) for y (6,)", ValueError, "SigmoidWithLoss pos_weight (6,) ()", lambda g: g.sigmoid(g.x(6), 6)),
    Row("pos_weight integers", TypeError, "SigmoidWithLoss pos_weight int32 y float32",
        lambda g: g.sigmoid(g.words(1, 2), 6, 2)),
    Row("pos_weight float64", TypeError, "SigmoidWithLoss pos_weight float64 y float32",
        lambda g: g.sigmoid(g.x(2, dtype="float64"), 6, 2)),
    Row("pos_weight of another library", TypeError, "SigmoidWithLoss pos_weight y numpy",
        lambda g: g.sigmoid(g.foreign(g.x(2)), 6, 2)),
    Row("pos_weight on another device", TypeError, "SigmoidWithLoss pos_weight y CPU_DEVICE",
        lambda g: g.sigmoid(g.elsewhere(g.x(2)), 6, 2)),
    Row("pos_weight a list", TypeError, "SigmoidWithLoss pos_weight array list",
        lambda g: mt.SigmoidWithLoss(pos_weight=[1.0, 2.0])),
    Row("pos_weight 3.0", TypeError, "SigmoidWithLoss pos_weight array float",
        lambda g: mt.SigmoidWithLoss(pos_weight=3.0)),
    Row("pos_weight in second place", TypeError, "SigmoidWithLoss positional",
        lambda g: mt.SigmoidWithLoss("mean", g.x(2))),
    Row("pos_weight: (N, 1), (N,)", ValueError, "SigmoidWithLoss t (6,) (6, 1) t[:, None]",
        lambda g: mt.SigmoidWithLoss(pos_weight=g.x(1)).forward(g.x(6, 1), g.x(6))),
    Row("reduction a list", ValueError, "Huber reduction mean sum none",
        lambda g: mt.Huber(["mean"])),
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

OPTIMIZERS = [
    Row("Adam, learning_rate", TypeError, "learning_rate", lambda g: mt.Adam(learning_rate=0.1)),
    *(
        Row(f"{kind.__name__}: lr without a name", TypeError, f"{kind.__name__} positional",
            lambda g, kind=kind: kind(0.1))
        for kind in OPTIMIZER_KINDS
    ),
    *(
        Row(f"schedule {what}", TypeError, f"Nesterov schedule Schedule {words}",
            lambda g, value=value: mt.Nesterov(schedule=value))
        for what, words, value in (
            ("a number", "float", 0.1),
            ("a function", "function", lambda n: 0.9**n),
            ("a class", "Constant", mt.schedules.Constant),
            ("a word", "cosine", "cosine"),
            ("a list", "list", [mt.schedules.Constant()]),
            ("an optimizer", "SGD", mt.SGD()),
        )
    ),
    *(
        Row(f"transforms {what}", TypeError, f"RMSprop transforms tuple {words}",
            lambda g, value=value: mt.RMSprop(transforms=value))
        for what, words, value in (
            ("a list", "list", [mt.L2(decay=0.1)]),
            ("a set", "set", {mt.ClipByNorm(limit=1.0)}),
            ("one alone", "L2", mt.L2(decay=0.1)),
            ("a class", "L2", mt.L2),
            ("classes", "L2", (mt.L2,)),
            ("None", "None", None),
            ("with None", "None", (None,)),
            ("a word", "l2", "l2"),
            ("functions", "function", (lambda g: g,)),
            ("schedules", "Constant", (mt.schedules.Constant(),)),
            ("in transforms", "L2", ((mt.L2(decay=0.1),),)),
        )
    ),
    Row("a schedule without an lr", TypeError, "Unscheduled lr schedule",
        lambda g: Unscheduled(schedule=mt.schedules.Constant())),
    Row("L2: decay without a name", TypeError, "L2 positional", lambda g: mt.L2(0.1)),
    Row("L2: no decay", TypeError, "L2 decay", lambda g: mt.L2()),
    Row("Cosine: no steps", TypeError, "Cosine steps", lambda g: mt.schedules.Cosine()),
    Row("Cosine: steps without a name", TypeError, "Cosine positional", lambda g: mt.schedules.Cosine(10)),
    Row("AdamW, decay", TypeError, "AdamW decay", lambda g: mt.AdamW(decay=0.1)),
    Row("schedule too long for the model", ValueError, "Cosine steps float32",
        lambda g: mt.SGD(schedule=mt.schedules.Cosine(steps=1e300)).init(g.model)),
    Row("decay too large for the model", ValueError, "L2 decay float32",
        lambda g: mt.SGD(transforms=(mt.L2(decay=1e300),)).init(g.model)),
    Row("eps too large for the model", ValueError, "AdaGrad.init eps float32",
        lambda g: mt.AdaGrad(eps=1e300).init(g.model)),
    *(
        Row(f"{kind.__name__}: another's state", TypeError, f"{kind.__name__}.update state {kind.__name__}.init",
            lambda g, kind=kind, other=other: g.update(kind(), m := g.model, m, other().init(m)))
        for kind, other in ((mt.Nesterov, mt.Momentum), (mt.AdaGrad, mt.SGD), (mt.RMSprop, mt.AdaGrad),
                            (mt.Adam, mt.AdamW), (mt.AdamW, mt.Adam))
    ),
    *(
        Row(f"{kind.__name__}: a state that would broadcast", ValueError, f"{kind.__name__}.update state (1, 4) (3, 4)",
            lambda g, kind=kind: g.update(kind(), m := g.matmul, m, kind().init(mt.MatMul(g.x(1, 4)))))
        for kind in (mt.Nesterov, mt.AdaGrad, mt.RMSprop, mt.AdamW)
    ),
    Row("a state without a peak", ValueError, "Adam.update state",
        lambda g: g.update(mt.Adam(amsgrad=True), m := g.model, m, mt.Adam().init(m))),
    *(
        Row(f"{kind.__name__}: a state of {what}", ValueError, f"{kind.__name__} {words}",
            lambda g, kind=kind, now=now, then=then: g.update(
                kind(**now), m := g.model, m, kind(**then).init(m)))
        for kind in (mt.SGD, mt.Adam)
        for what, words, now, then in (
            ("no schedule", "schedule state none optimizer Cosine.State",
             {"schedule": mt.schedules.Cosine(steps=9)}, {}),
            ("a schedule", "schedule state Cosine.State optimizer none",
             {}, {"schedule": mt.schedules.Cosine(steps=9)}),
            ("another schedule", "schedule state Step.State optimizer Exponential.State",
             {"schedule": mt.schedules.Exponential(every=9)}, {"schedule": mt.schedules.Step(every=9)}),
            ("no transforms", "transforms.0 state none optimizer L2.State", {"transforms": (mt.L2(decay=0.1),)}, {}),
            ("transforms", "transforms.0 state L2.State optimizer none", {}, {"transforms": (mt.L2(decay=0.1),)}),
            ("transforms in another order", "transforms.0 state ClipByNorm.State optimizer L2.State",
             {"transforms": (mt.L2(decay=0.1), mt.ClipByNorm(limit=1.0))},
             {"transforms": (mt.ClipByNorm(limit=1.0), mt.L2(decay=0.1))}),
        )
    ),
    Row("a state with a peak that a schedule's Adam does not keep", ValueError, "Adam state amsgrad=True peak",
        lambda g: g.update(mt.Adam(schedule=mt.schedules.Cosine(steps=9)), m := g.model, m,
                           mt.Adam(amsgrad=True, schedule=mt.schedules.Cosine(steps=9)).init(m))),
    Row("state with a peak, in fit", ValueError, "fit state amsgrad=True peak",
        lambda g: g.fit(optimizer=mt.Adam(), state=g.keep(mt.Adam(amsgrad=True).init(g.model)))),
    Row("a state without a mean", ValueError, "RMSprop.update state",
        lambda g: g.update(mt.RMSprop(centered=True), m := g.model, m, mt.RMSprop().init(m))),
    *(
        Row(f"{transform}: {what}", error, words, lambda g, transform=transform, call=call: call(
            g, mt.SGD(transforms=(transform,))))
        for transform in (mt.L2(decay=0.1), mt.ClipByNorm(limit=1.0), mt.ClipByValue(limit=1.0))
        for what, error, words, call in (
            ("another model's gradient", ValueError, "SGD.update gradient",
             lambda g, sgd: g.update(sgd, g.model, g.regression)),
            ("another layer's gradient", TypeError, "SGD.update Affine MatMul",
             lambda g, sgd: g.update(sgd, g.affine, g.matmul)),
            ("a gradient of other shapes", ValueError, "gradient (3, 4) (3, 2)",
             lambda g, sgd: g.update(sgd, mt.MatMul(g.x(3, 2)), g.matmul)),
            ("a gradient that would broadcast", ValueError, "gradient (3, 1) (3, 4)",
             lambda g, sgd: g.update(sgd, g.matmul, mt.MatMul(g.x(3, 1)))),
            ("a gradient of float64", TypeError, "gradient float64 float32",
             lambda g, sgd: g.descend(sgd, g.matmul, mt.MatMul(g.x(3, 4, dtype="float64")))),
            ("an array for a gradient", TypeError, "SGD.update grad MatMul",
             lambda g, sgd: g.descend(sgd, g.matmul, g.x(3, 4))),
            ("a gradient of another library", TypeError, "SGD.update gradient numpy",
             lambda g, sgd: g.descend(sgd, g.matmul, mt.MatMul(g.foreign(g.x(3, 4))))),
            ("a gradient on another device", TypeError, "SGD.update gradient CPU_DEVICE",
             lambda g, sgd: g.descend(sgd, g.matmul, mt.MatMul(g.elsewhere(g.x(3, 4))))),
            ("a state of another library", TypeError, "SGD.update state model numpy",
             lambda g, sgd: with_a_state(g, sgd, g.foreign(g.x(3, 4)))),
            ("a state on another device", TypeError, "SGD.update state model CPU_DEVICE",
             lambda g, sgd: with_a_state(g, sgd, g.elsewhere(g.x(3, 4)))),
        )
    ),
    Row("L2: a layer gives an array as its gradient", TypeError, "Raw gradient array",
        lambda g: g.step(model=(m := mt.Sequential(Raw(g.x(3, 3)))), optimizer=DECAYED, state=DECAYED.init(m))),
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
    Row("replace: lr (3,)", ValueError, "replace lr (3,) ()",
        lambda g: mt.replace(mt.SGD().init(g.affine), {"lr": g.x(3)})),
    Row("replace: lr (1,)", ValueError, "replace lr (1,) ()",
        lambda g: mt.replace(mt.SGD().init(g.affine), {"lr": g.x(1)})),
    Row("replace: step (2,)", ValueError, "replace step (2,) ()",
        lambda g: mt.replace(mt.SGD().init(g.affine), {"step": g.words(1, 2)})),
    Row("replace: unknown transform", ValueError, "replace transforms.1.limit transforms.0.decay",
        lambda g: mt.replace(DECAYED.init(g.affine), {"transforms.1.limit": 1.0})),
    Row("replace: a transform's number a string", TypeError, "replace transforms.0.limit array str",
        lambda g: mt.replace(mt.SGD(transforms=(mt.ClipByNorm(limit=1.0),)).init(g.affine),
                             {"transforms.0.limit": "1.0"})),
    Row("replace: a number of no schedule", ValueError, "replace schedule.steps lr",
        lambda g: mt.replace(mt.SGD().init(g.affine), {"schedule.steps": 10.0})),
    Row("replace: class_weight a list", TypeError, "replace class_weight array list",
        lambda g: mt.replace(mt.SoftmaxWithLoss(class_weight=g.x(3)), {"class_weight": [1.0, 2.0, 3.0]})),
    Row("replace: no class_weight", ValueError, "replace SoftmaxWithLoss class_weight none",
        lambda g: mt.replace(mt.SoftmaxWithLoss(), {"class_weight": g.x(3)})),
    Row("replace: a setting of Dropout", ValueError, "replace Dropout rate stream step",
        lambda g: mt.replace(g.dropout, {"rate": 0.1})),
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
    Row("gradient: class_weight (2,)", ValueError, "SoftmaxWithLoss class_weight (2,) (3,)",
        lambda g: g.gradient(loss=mt.SoftmaxWithLoss(class_weight=g.x(2)))),
    Row("gradient: class_weight of another library", TypeError, "SoftmaxWithLoss class_weight y numpy",
        lambda g: g.gradient(loss=mt.SoftmaxWithLoss(class_weight=g.foreign(g.x(3))))),
    Row("gradient: floats for words", TypeError, "Embedding x integers float32",
        lambda g: g.gradient(model=g.reader, x=g.x(6, 3))),
    Row("gradient: BatchNorm of one row", ValueError, "BatchNorm x (1, 3) two",
        lambda g: g.gradient(model=mt.Sequential(g.batch_norm), x=g.x(1, 3), t=g.array(0))),
    Row("train_step: class_weight (2,)", ValueError, "SoftmaxWithLoss class_weight (2,) (3,)",
        lambda g: g.step(loss=mt.SoftmaxWithLoss(class_weight=g.x(2)))),
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

STOPPING = [
    *(
        Row(f"patience {value!r}", error, f"EarlyStopping patience {words}",
            lambda g, value=value: mt.EarlyStopping(patience=value))
        for value, error, words in ((0, ValueError, "1 0"), (-1, ValueError, "1 -1"), (1.5, TypeError, "integer 1.5"),
                                    (True, TypeError, "integer True"), ("3", TypeError, "integer str"),
                                    (None, TypeError, "integer None"), (float("nan"), TypeError, "integer nan"))
    ),
    Row("patience in first place", TypeError, "EarlyStopping positional", lambda g: mt.EarlyStopping(5)),
    Row("watch None", TypeError, "EarlyStopping watch None", lambda g: mt.EarlyStopping(watch=None)),
    Row("watch a function", TypeError, "EarlyStopping watch metric function",
        lambda g: mt.EarlyStopping(watch=mt.accuracy)),
    Row("watch a list", TypeError, "EarlyStopping watch list", lambda g: mt.EarlyStopping(watch=["loss"])),
    Row("watch a metric of one's own, best unsaid", ValueError, "EarlyStopping best f1 lowest highest",
        lambda g: mt.EarlyStopping(watch="f1")),
    Row("watch validation_loss", ValueError, "EarlyStopping watch='loss' validation_loss",
        lambda g: mt.EarlyStopping(watch="validation_loss")),
    Row("best unknown", ValueError, "EarlyStopping best lowest highest max", lambda g: mt.EarlyStopping(best="max")),
    Row("best True", ValueError, "EarlyStopping best lowest highest True", lambda g: mt.EarlyStopping(best=True)),
    Row("best a list", ValueError, "EarlyStopping best lowest highest", lambda g: mt.EarlyStopping(best=["lowest"])),
    *(
        Row(f"stop {what}", TypeError, f"fit stop EarlyStopping {words}", lambda g, value=value: g.fit(stop=value))
        for what, words, value in (("a number", "int", 5), ("True", "True", True), ("a word", "loss", "loss"),
                                   ("a class", "type", mt.EarlyStopping), ("a dict", "dict", {"patience": 3}),
                                   ("a list", "list", [mt.EarlyStopping()]), ("a function", "function", lambda e: True))
    ),
    Row("stop watches what is not measured", ValueError, "fit stop accuracy loss",
        lambda g: g.fit(stop=mt.EarlyStopping(watch="accuracy"))),
    Row("stop watches another metric", ValueError, "fit stop mae loss accuracy",
        lambda g: g.fit(stop=mt.EarlyStopping(watch="mae"), metrics=["accuracy"])),
    Row("stop watches another's own metric", ValueError, "fit stop f1 loss f2",
        lambda g: g.fit(stop=mt.EarlyStopping(watch="f1", best="highest"), metrics={"f2": lambda y, t: 0.0})),
    *(
        Row(f"hook {what}", TypeError, f"fit hook function {words}", lambda g, value=value: g.fit(hook=value))
        for what, words, value in (("a number", "int", 1), ("True", "True", True), ("a word", "print", "print"),
                                   ("a list", "list", [print]), ("a stop", "EarlyStopping", mt.EarlyStopping()))
    ),
    *(
        Row(f"the hook gives {what}", TypeError, f"fit hook True {words}",
            lambda g, value=value: g.fit(hook=lambda *_: value, shuffle=False))
        for what, words, value in (("1", "int", 1), ("0", "int", 0), ("a word", "stop", "stop"), ("a list", "list", []),
                                   ("np.True_", "bool", np.True_), ("nan", "nan", float("nan")))
    ),
    Row("the hook gives an array", TypeError, "fit hook True array",
        lambda g: g.fit(hook=lambda *_: g.x(2), shuffle=False)),
    Row("the hook takes too little", TypeError, "2 3", lambda g: g.fit(hook=lambda e, m: None, shuffle=False)),
    Row("validation: weight (6, 1)", ValueError, "fit validation weight (6, 1) (6,)",
        lambda g: g.fit(validation=(g.x(6, 3), g.t, g.x(6, 1)))),
    Row("validation: weight ()", ValueError, "fit validation weight",
        lambda g: g.fit(validation=(g.x(6, 3), g.t, g.x()))),
    Row("validation: weight negative", ValueError, "fit validation weight 0",
        lambda g: g.fit(validation=(g.x(6, 3), g.t, g.array(*[1.0] * 5, -1.0)))),
    Row("validation: weight NaN", ValueError, "fit validation weight finite",
        lambda g: g.fit(validation=(g.x(6, 3), g.t, g.array(*[1.0] * 5, float("nan"))))),
    Row("validation: weight infinite", ValueError, "fit validation weight finite",
        lambda g: g.fit(validation=(g.x(6, 3), g.t, g.array(*[1.0] * 5, float("inf"))))),
    Row("validation: weight all zero", ValueError, "fit validation weight 0",
        lambda g: g.fit(validation=(g.x(6, 3), g.t, g.array(*[0.0] * 6)))),
    Row("validation: weight a list", TypeError, "fit validation weight array list",
        lambda g: g.fit(validation=(g.x(6, 3), g.t, [1.0] * 6))),
    Row("validation: weight a number", TypeError, "fit validation weight array float",
        lambda g: g.fit(validation=(g.x(6, 3), g.t, 1.0))),
    Row("validation: weight complex", TypeError, "fit validation weight complex64",
        lambda g: g.fit(validation=(g.x(6, 3), g.t, g.cast(g.x(6), "complex64")))),
    Row("validation: weight words", TypeError, "fit validation weight numbers",
        lambda g: g.fit(validation=(g.x(6, 3), g.t, np.full(6, "a")))),
    Row("validation: a list of two", TypeError, "fit validation tuple list",
        lambda g: g.fit(validation=[g.x(6, 3), g.t])),
    Row("validation: a share", TypeError, "fit validation tuple float", lambda g: g.fit(validation=0.2)),
    Row("validation: nothing", TypeError, "fit validation (x, t)", lambda g: g.fit(validation=())),
    Row("validation: x and t swapped", ValueError, "Affine x (6,) (N, 3)",
        lambda g: g.fit(validation=(g.t, g.x(6, 3)))),
    Row("validation: t None", TypeError, "fit validation t array None", lambda g: g.fit(validation=(g.x(6, 3), None))),
    *(
        Row(f"{what}: {name}", error, f"{name} x {words}", functools.partial(call, name, x))
        for what, error, words, x in (
            ("floats for words", TypeError, "integers Embedding float32", lambda g: g.x(6)),
            ("one-hot rows for words", TypeError, "integers Embedding float32", lambda g: g.x(6, 4)),
            ("booleans for words", TypeError, "integers Embedding bool", lambda g: g.cast(g.x(6), "bool")),
            ("word 4 of 4", ValueError, "0 4 3", lambda g: g.words(0, 1, 2, 3, 4, 0)),
            ("word -1", ValueError, "-1 4", lambda g: g.words(0, 1, 2, 3, -1, 0)),
            ("word 255 in a byte", ValueError, "255 4", lambda g: g.words(0, 1, 2, 3, 255, 0, dtype="uint8")),
            ("word 2⁶³", ValueError, "2⁶³", lambda g: g.keep(np.array([0, 1, 2, 3, 2**63, 0], dtype="uint64"))),
            ("word 2⁶⁴ - 1", ValueError, "2⁶³", lambda g: g.keep(np.array([0, 1, 2, 3, 2**64 - 1, 0], dtype="uint64"))),
            ("a list of words", TypeError, "array list", lambda g: [0, 1, 2, 0, 1, 2]),
            ("strings for words", TypeError, "numbers", lambda g: np.full(6, "cat")),
        )
        for name, call in {
            "fit": lambda name, x, g: g.fit(model=g.reader, x=x(g)),
            "validation": lambda name, x, g: g.fit(model=g.reader, x=g.t, validation=(x(g), g.t)),
            "evaluate": lambda name, x, g: g.evaluate(model=g.reader, x=x(g)),
            "accuracy": lambda name, x, g: mt.accuracy(g.reader, x(g), g.t),
        }.items()
    ),
    Row("Embedding: W (4,)", ValueError, "Embedding W (4,) (V, D)",
        lambda g: g.fit(model=mt.Sequential(mt.Embedding(g.x(4))), x=g.t)),
    Row("words and a bag of them", ValueError, "SoftmaxWithLoss y (6, 1, 3) (N, C)",
        lambda g: g.fit(model=g.reader, x=g.t[:, None])),
    Row("two Dropouts, one stream", ValueError, "fit Dropout 0 2 Dropout.init(rate, rng)",
        lambda g: g.fit(model=mt.Sequential(d := g.dropout, g.affine, d, g.keep(mt.MatMul(g.x(4, 3)))))),
    Row("class_weight (2,)", ValueError, "SoftmaxWithLoss class_weight (2,) (3,)",
        lambda g: g.fit(loss=mt.SoftmaxWithLoss(class_weight=g.array(1.0, 2.0)))),
    Row("class_weight (1, 3)", ValueError, "SoftmaxWithLoss class_weight (1, 3) (3,)",
        lambda g: g.fit(loss=mt.SoftmaxWithLoss(class_weight=g.array([1.0, 2.0, 3.0])))),
    *(
        Row(f"{name} {what} in {place}", ValueError, f"{owner.__name__} {name} finite 0",
            lambda g, owner=owner, name=name, t=t, numbers=numbers, call=call: call(
                g, loss=owner(**{name: g.array(*numbers)}), t=t(g)))
        for owner, name, t in (
            (mt.SoftmaxWithLoss, "class_weight", lambda g: g.t),
            (mt.SigmoidWithLoss, "pos_weight", lambda g: g.array(*[[0.0, 1.0, 1.0]] * 6)),
        )
        for what, numbers in (("negative", (1.0, -1.0, 1.0)), ("NaN", (1.0, float("nan"), 1.0)),
                              ("infinite", (1.0, float("inf"), 1.0)), ("all zero", (0.0, 0.0, 0.0)))
        if (name, what) != ("class_weight", "infinite")  # of which NumPy warns: below
        for place, call in {"fit": Given.fit, "evaluate": Given.evaluate}.items()
    ),
    Row("class_weight integers", TypeError, "SoftmaxWithLoss class_weight int32 float32",
        lambda g: g.fit(loss=mt.SoftmaxWithLoss(class_weight=g.words(1, 2, 3)))),
    Row("pos_weight (3,)", ValueError, "SigmoidWithLoss pos_weight (3,) () (1,)",
        lambda g: g.fit(model=g.regression, loss=mt.SigmoidWithLoss(pos_weight=g.x(3)), t=g.array(*[[1.0]] * 6))),
    Row("pos_weight: t 1.5", ValueError, "SigmoidWithLoss t 0 1 1.5",
        lambda g: g.fit(model=g.regression, loss=mt.SigmoidWithLoss(pos_weight=g.array(2.0)),
                        t=g.array(*[[1.5]] * 6))),
    Row("label_smoothing: label 3 of 3", ValueError, "SoftmaxWithLoss t 3 2 labels",
        lambda g: g.fit(loss=mt.SoftmaxWithLoss(label_smoothing=0.1), t=g.array(0, 1, 2, 0, 1, 3))),
    Row("label_smoothing: rows add up to 1.5", ValueError, "SoftmaxWithLoss t probabilities",
        lambda g: g.fit(loss=mt.SoftmaxWithLoss(label_smoothing=0.1), t=g.array(*[[0.5, 0.5, 0.5]] * 6))),
    Row("Huber: (N,) for (N, 1)", ValueError, "Huber t (6,) (6, 1) t[:, None]",
        lambda g: g.fit(model=g.regression, loss=mt.Huber(), t=g.x(6))),
    Row("Huber: t NaN", ValueError, "Huber t NaN",
        lambda g: g.fit(model=g.regression, loss=mt.Huber(), t=g.array(*[[float("nan")]] * 6))),
    Row("Huber: labels", ValueError, "Huber t (6,) (6, 3)", lambda g: g.fit(loss=mt.Huber())),
    *(
        Row(f"state of {what}", ValueError, f"fit state {words}",
            lambda g, now=now, then=then: g.fit(optimizer=mt.SGD(**now), state=g.keep(mt.SGD(**then).init(g.model))))
        for what, words, now, then in (
            ("no schedule", "schedule none Cosine.State", {"schedule": mt.schedules.Cosine(steps=9)}, {}),
            ("a schedule", "schedule Cosine.State none", {}, {"schedule": mt.schedules.Cosine(steps=9)}),
            ("another schedule", "schedule Step.State Exponential.State",
             {"schedule": mt.schedules.Exponential(every=9)}, {"schedule": mt.schedules.Step(every=9)}),
            ("another length of the schedule", "schedule.steps 8 9",
             {"schedule": mt.schedules.Cosine(steps=9)}, {"schedule": mt.schedules.Cosine(steps=8)}),
            ("no transforms", "transforms none L2.State", {"transforms": (mt.L2(decay=0.1),)}, {}),
            ("transforms", "transforms L2.State none", {}, {"transforms": (mt.L2(decay=0.1),)}),
            ("another decay", "transforms.0.decay 0.2 0.1",
             {"transforms": (mt.L2(decay=0.1),)}, {"transforms": (mt.L2(decay=0.2),)}),
            ("transforms in another order", "transforms ClipByNorm.State L2.State",
             {"transforms": (mt.L2(decay=0.1), mt.ClipByNorm(limit=1.0))},
             {"transforms": (mt.ClipByNorm(limit=1.0), mt.L2(decay=0.1))}),
        )
    ),
    Row("state without a peak", ValueError, "fit state peak amsgrad=False amsgrad=True",
        lambda g: g.fit(optimizer=mt.Adam(amsgrad=True), state=g.keep(mt.Adam().init(g.model)))),
    Row("state of Adam for AdamW", TypeError, "fit state AdamW",
        lambda g: g.fit(optimizer=mt.AdamW(), state=g.keep(mt.Adam().init(g.model)))),
    Row("loss and optimizer swapped", TypeError, "fit loss Loss SGD",
        lambda g: g.fit(loss=mt.SGD(), optimizer=mt.SoftmaxWithLoss())),
    Row("x and t swapped", ValueError, "Affine x (6,) (N, 3)", lambda g: g.fit(x=g.t, t=g.x(6, 3))),
    Row("weight (6, 1)", ValueError, "fit weight (6, 1) (6,)", lambda g: g.fit(weight=g.x(6, 1))),
    Row("weight a word", TypeError, "fit weight array balanced", lambda g: g.fit(weight="balanced")),
    *(
        Row(f"metric {name} of labels", ValueError, f"{name} t (6,) (6, 3)",
            functools.partial(before_a_step, metrics=name))
        for name in ("mae", "r2")
    ),
    Row("metrics mae of labels, with validation", ValueError, "mae t (6,) (6, 3)",
        lambda g: before_a_step(g, metrics=["accuracy", "mae"], validation=(g.x(6, 3), g.t))),
    Row("BatchNorm: a last batch of one", ValueError, 'fit BatchNorm 6 batches of 5 1 last="drop" (1, 3) two',
        lambda g: before_a_step(g, model=mt.Sequential(g.batch_norm, g.model), batch_size=5)),
    Row("BatchNorm: batches of one", ValueError, "BatchNorm x (1, 3) two",
        lambda g: before_a_step(g, model=mt.Sequential(g.batch_norm, g.model), batch_size=1, last="drop")),
    *(
        Row(f"a layer without observe holds {what}", TypeError, "fit Deaf observe",
            lambda g, inner=inner: before_a_step(g, model=mt.Sequential(Deaf(inner(g)), g.model)))
        for what, inner in (
            ("BatchNorm", lambda g: g.batch_norm),
            ("Dropout", lambda g: g.dropout),
            ("a network with one", lambda g: mt.Sequential(mt.Tanh(), mt.Freeze(g.dropout))),
            ("a composite with one", lambda g: Residual(g.batch_norm)),
        )
    ),
    Row("metrics None", TypeError, "fit metrics None", lambda g: g.fit(metrics=None)),
]

MEASURES = [
    *(
        Row(f"{name}: t {what}", ValueError, f"{name} t {words}",
            lambda g, name=name, model=model, t=t: g.evaluate(model=model(g), loss=None, t=t(g), metrics=name))
        for name in ("mae", "r2")
        for what, words, model, t in (
            ("(N,) for (N, 1)", "(6,) (6, 1) t[:, None]", lambda g: g.regression, lambda g: g.x(6)),
            ("(N, 2) for (N, 1)", "(6, 2) (6, 1)", lambda g: g.regression, lambda g: g.x(6, 2)),
            ("(N, 1) for (N,)", "(6, 1) (6,) t[:, 0]",
             lambda g: mt.Sequential(g.regression, mt.Reshape(())), lambda g: g.x(6, 1)),
            ("labels for (N, 3)", "(6,) (6, 3)", lambda g: g.model, lambda g: g.t),
        )
    ),
    Row("mae: t a list", TypeError, "evaluate t array list",
        lambda g: g.evaluate(model=g.regression, loss=None, t=[0.0] * 6, metrics="mae")),
    Row("r2: 5 targets for 6", ValueError, "evaluate samples x 6 t 5",
        lambda g: g.evaluate(model=g.regression, loss=None, t=g.x(5, 1), metrics="r2")),
    Row("r2: no samples", ValueError, "evaluate samples",
        lambda g: g.evaluate(model=g.regression, loss=None, x=g.x(0, 3), t=g.x(0, 1), metrics="r2")),
    Row("evaluate: metric R2", ValueError, "evaluate metric R2 accuracy mae r2", lambda g: g.evaluate(metrics="R2")),
    Row("evaluate: metrics None", TypeError, "evaluate metrics None", lambda g: g.evaluate(metrics=None)),
    Row("evaluate: a metric by name in a mapping", TypeError, "evaluate metric mae function str",
        lambda g: g.evaluate(metrics={"mae": "mae"})),
    Row("evaluate: functions without names", TypeError, "evaluate metrics mapping",
        lambda g: g.evaluate(metrics=(mt.accuracy,))),
    Row("evaluate: weight (6, 1)", ValueError, "evaluate weight (6, 1) (6,)", lambda g: g.evaluate(weight=g.x(6, 1))),
    Row("evaluate: weight NaN", ValueError, "evaluate weight finite",
        lambda g: g.evaluate(weight=g.array(*[1.0] * 5, float("nan")))),
    Row("evaluate: weight a list", TypeError, "evaluate weight array list", lambda g: g.evaluate(weight=[1.0] * 6)),
    Row("evaluate: class_weight (2,)", ValueError, "SoftmaxWithLoss class_weight (2,) (3,)",
        lambda g: g.evaluate(loss=mt.SoftmaxWithLoss(class_weight=g.array(1.0, 2.0)))),
    Row("evaluate: BatchNorm's channels", ValueError, "BatchNorm x (6, 4) (N, 3, ...)",
        lambda g: g.evaluate(model=mt.Sequential(g.batch_norm), x=g.x(6, 4))),
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
    "settings": SETTINGS,
    "creation": CREATION,
    "forward": FORWARD,
    "backward": BACKWARD,
    "functions": FUNCTIONS,
    "losses": LOSSES,
    "optimizers": OPTIMIZERS,
    "trees": TREES,
    "steps": STEPS,
    "fit": FIT,
    "stopping": STOPPING,
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
    assert "torch.Size" not in message
    assert len(message) < 500
    assert given.unchanged()


@pytest.mark.parametrize("settings", ["", "class_weight", "label_smoothing"])
@pytest.mark.parametrize("label", [-1, 3, 1000])
def test_where_a_bad_label_is_not_read_it_makes_the_loss_nan(xp: Target, label: int, settings: str) -> None:
    if xp.backend.name == "numpy":
        pytest.skip("NumPy reads the labels, and raises")
    loss = mt.SoftmaxWithLoss(
        class_weight=xp.asarray(np.array([1.0, 2.0, 3.0])) if settings == "class_weight" else None,
        label_smoothing=0.1 if settings == "label_smoothing" else 0.0,
    )
    y, t = xp.asarray(np.ones((2, 3))), xp.asarray(np.array([0, label]))
    value, cache = xp.run(lambda y, t: loss.forward(y, t), y, t)
    assert np.isnan(mt.to_numpy(value))
    assert np.isnan(mt.to_numpy(loss.backward(cache))).any()


@pytest.mark.parametrize("word", [-1, 4, 1000])
def test_where_a_bad_word_is_not_read_its_row_is_nan(xp: Target, word: int) -> None:
    if xp.backend.name == "numpy":
        pytest.skip("NumPy reads the words, and raises")
    layer, x = xp.put(mt.Embedding(np.ones((4, 2)))), xp.asarray(np.array([[0, word], [3, 3]]))
    y = mt.to_numpy(xp.run(lambda layer, x: layer.predict(x), layer, x))
    np.testing.assert_array_equal(y, [[[1.0, 1.0], [np.nan, np.nan]], [[1.0, 1.0], [1.0, 1.0]]])


@pytest.mark.eager
@pytest.mark.parametrize("number", [np.float64(0.5), np.float32(0.5)], ids=repr)
def test_a_number_of_numpy_in_a_setting_widens_nothing(xp: Target, number: Any) -> None:
    given = Given(xp)
    x = given.x(5, 3)
    here, norm = x.dtype, given.batch_norm
    layers = [
        mt.LeakyReLU(number),
        mt.ELU(number),
        mt.Dropout.init(number, given.rng, backend=xp.backend),
        mt.BatchNorm(*mt.leaves(norm), momentum=number, eps=number),
        mt.LayerNorm(*mt.leaves(norm)[:2], eps=number),
    ]
    for layer in layers:
        y, cache = layer.forward(x)
        dx, grad = layer.backward(cache, y)
        after = [a.dtype for a in mt.leaves(layer.observe(cache))]
        assert {y.dtype, dx.dtype, *(a.dtype for a in mt.leaves(grad))} == {here}
        assert after == [a.dtype for a in mt.leaves(layer)]
    for loss, t in (
        (mt.Huber(delta=number), x),
        (mt.SoftmaxWithLoss(label_smoothing=number), given.array(0, 1, 2, 0, 1)),
    ):
        value, cache = loss.forward(x, t)
        assert {value.dtype, loss.backward(cache).dtype} == {here}


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


@pytest.mark.eager
def test_a_number_of_numpy_is_a_pos_weight(xp: Target) -> None:
    """It goes to the model, as an array of one number does."""
    given = Given(xp)
    model, x, t = given.regression, given.x(6, 3), given.array(*[[1.0]] * 3, *[[0.0]] * 3)
    y = mt.to_numpy(model.predict(x)).astype("float64")
    positive = np.arange(6)[:, None] < 3
    by_formula = np.mean(np.where(positive, 3.0 * np.log1p(np.exp(-y)), np.log1p(np.exp(y))))
    for number in (np.float64(3.0), np.float32(3.0), np.array(3.0)):
        loss = mt.SigmoidWithLoss(pos_weight=number)
        assert mt.evaluate(model, x, t, loss=loss)["loss"] == pytest.approx(by_formula, rel=1e-5)
        _, history = given.fit(model=model, x=x, t=t, loss=loss, optimizer=mt.SGD(), batch_size=6)
        assert history.loss[0] == pytest.approx(by_formula, rel=1e-5)


@pytest.mark.eager
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("call", [Given.fit, Given.evaluate], ids=["fit", "evaluate"])
def test_an_infinite_class_weight_is_refused(xp: Target, call: Callable[..., Any]) -> None:
    given = Given(xp)
    with pytest.raises(ValueError, match="SoftmaxWithLoss: class_weight must be finite"):
        call(given, loss=mt.SoftmaxWithLoss(class_weight=given.array(1.0, float("inf"), 1.0)))


@pytest.mark.parametrize("number", [10**400, -(10**400)])
def test_a_number_of_400_digits_is_not_printed(number: int) -> None:
    with pytest.raises(ValueError, match="SGD: lr must be finite") as caught:
        mt.SGD(lr=number)
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize("layer", [lambda: mt.BatchNorm(3, 3, 3, 3), lambda: mt.LayerNorm(3, 3)])
def test_what_draws_nothing_is_advised_without_a_generator(layer: Callable[[], Any]) -> None:
    with pytest.raises(TypeError) as caught:
        layer()
    assert "rng" not in str(caught.value)


@pytest.mark.eager
@pytest.mark.parametrize(
    ("now", "then", "words"),
    [
        (mt.Adam(), mt.Adam(amsgrad=True), "has a peak.*amsgrad=True"),
        (mt.AdamW(), mt.AdamW(amsgrad=True), "has a peak.*amsgrad=True"),
        (mt.RMSprop(), mt.RMSprop(centered=True), "has a m.*centered=True"),
    ],
    ids=repr,
)
def test_a_state_with_a_memory_too_many_is_refused(
    xp: Target, now: mt.Optimizer, then: mt.Optimizer, words: str
) -> None:
    given = Given(xp)
    with pytest.raises(ValueError, match=words):
        given.update(now, model := given.model, model, then.init(model))
