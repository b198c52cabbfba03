"""The tables: a row per layer, loss and optimizer.  Every row meets every law of test_laws.py.

A row makes its objects from a NumPy Generator, in float64 on NumPy; the laws move them to the backend under
test.  To add a layer to the library is to add its row here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import martlet as mt

Rng = np.random.Generator


@dataclass(frozen=True)
class LayerCase:
    """A layer and an input for it."""

    name: str
    layer: Callable[[Rng], mt.Layer]
    x: Callable[[Rng], Any]
    checks_dout: bool = True
    predicts: bool = True  # predict gives what forward gives


@dataclass(frozen=True)
class LossCase:
    """A loss, given its reduction, and outputs y with targets t."""

    name: str
    loss: Callable[[str], mt.Loss]
    y: Callable[[Rng], np.ndarray]
    t: Callable[[Rng], np.ndarray]
    counts: Callable[[np.ndarray], np.ndarray] = lambda t: np.ones(len(t))  # for how much each sample counts in a mean


@dataclass(frozen=True)
class OptimizerCase:
    """An optimizer."""

    name: str
    optimizer: Callable[[], mt.Optimizer]


def normal(*shape: int) -> Callable[[Rng], np.ndarray]:
    return lambda rng: rng.standard_normal(shape)


def away_from_zero(*shape: int) -> Callable[[Rng], np.ndarray]:
    """Numbers that a difference quotient does not push over a kink at zero."""
    return lambda rng: rng.choice([-1.0, 1.0], shape) * rng.uniform(0.1, 2.0, shape)


def pair(*shape: int) -> Callable[[Rng], tuple[np.ndarray, np.ndarray]]:
    return lambda rng: (rng.standard_normal(shape), rng.standard_normal(shape))


def affine(rng: Rng, inputs: int, outputs: int) -> mt.Affine:
    """With a bias that is not zero, as it is after the first step."""
    return mt.Affine(rng.standard_normal((inputs, outputs)), rng.standard_normal(outputs))


class Tied(mt.Layer):
    """y = tanh(x @ W) @ W.T: one array used twice, its two gradients added."""

    W: mt.Array

    def forward(self, x):
        h = mt.namespace(x).tanh(x @ self.W)
        return h @ self.W.T, (x, h)

    def backward(self, cache, dout):
        x, h = cache
        dh = (dout @ self.W) * (1.0 - h * h)
        return dh @ self.W.T, self.gradient(W=x.T @ dh + dout.T @ h)


class Residual(mt.Layer):
    """y = x + f(x), with the inner layer as a field and not in a tuple."""

    f: mt.Layer

    def forward(self, x):
        y, cache = self.f.forward(x)
        return x + y, cache

    def backward(self, cache, dout):
        dx, grad = self.f.backward(cache, dout)
        return dout + dx, self.gradient(f=grad)

    def observe(self, cache):
        return Residual(self.f.observe(cache))


class Folded(mt.Layer):
    """The same layer for both halves of each row, which stand as rows of their own below each other meanwhile."""

    f: mt.Layer

    def forward(self, x):
        y, cache = self.f.forward(halves(x))
        return doubles(y), cache

    def backward(self, cache, dout):
        dx, grad = self.f.backward(cache, halves(dout))
        return doubles(dx), self.gradient(f=grad)

    def observe(self, cache):
        return Folded(self.f.observe(cache))


def halves(x: mt.Array) -> mt.Array:
    """(N, 2 k) as (2 N, k)."""
    return mt.namespace(x).reshape(x, (2 * x.shape[0], x.shape[1] // 2))


def doubles(x: mt.Array) -> mt.Array:
    """(2 N, k) as (N, 2 k)."""
    return mt.namespace(x).reshape(x, (x.shape[0] // 2, 2 * x.shape[1]))


class Centred(mt.Layer):
    """y = x - mean, with a kept array that observes its batches: a moving mean."""

    mean: mt.Array = mt.kept()

    def forward(self, x):
        return x - self.mean, x

    def backward(self, cache, dout):
        return dout, None

    def observe(self, cache):
        return mt.replace(self, {"mean": 0.9 * self.mean + 0.1 * mt.namespace(cache).mean(cache, axis=0)})


def custom(rng: Rng) -> mt.Layer:
    """The layer of examples/custom_layer.py, which a user wrote in ten lines."""
    from custom_layer import Swish

    return Swish(rng.standard_normal(3))


def words(most: int, *shape: int) -> Callable[[Rng], np.ndarray]:
    """Integers that name one of so many words; with more places than words, some come again."""
    return lambda rng: rng.integers(0, most, shape)


def batch_norm(rng: Rng, channels: int, **settings: float) -> mt.BatchNorm:
    """As it is in the middle of a training run."""
    gamma, beta, mean = rng.standard_normal((3, channels))
    return mt.BatchNorm(gamma, beta, mean, rng.uniform(0.5, 2.0, channels), **settings)


def standardize(rng: Rng, *shape: int) -> mt.Standardize:
    return mt.Standardize(rng.standard_normal(shape), rng.uniform(0.5, 2.0, shape))


def network(rng: Rng) -> mt.Layer:
    """The catalogue at work, with statistics and noise in the midst of it."""
    return mt.Sequential(
        standardize(rng, 3),
        affine(rng, 3, 4),
        batch_norm(rng, 4),
        mt.GELU(),
        mt.Dropout.init(0.3, rng),
        mt.Freeze(mt.Sequential(affine(rng, 4, 4), mt.Dropout.init(0.3, rng))),
        mt.LayerNorm(*rng.standard_normal((2, 4))),
        affine(rng, 4, 2),
    )


def residual_block(rng: Rng) -> mt.Layer:
    inner = mt.Sequential(affine(rng, 3, 5), mt.Tanh(), affine(rng, 5, 3))
    return mt.Sequential(mt.Branch(2), mt.Parallel(inner, mt.Identity()), mt.Add())


LAYERS = [
    LayerCase("MatMul", lambda rng: mt.MatMul(rng.standard_normal((3, 4))), normal(5, 3)),
    LayerCase("MatMul, one sample, one column", lambda rng: mt.MatMul(rng.standard_normal((3, 1))), normal(1, 3)),
    LayerCase("Affine", lambda rng: affine(rng, 3, 4), normal(5, 3)),
    LayerCase("Affine, sizes 1", lambda rng: affine(rng, 1, 1), normal(1, 1)),
    LayerCase("Affine, no samples", lambda rng: affine(rng, 3, 4), normal(0, 3)),
    LayerCase("Identity", lambda rng: mt.Identity(), normal(5, 3), checks_dout=False),
    LayerCase("Sigmoid", lambda rng: mt.Sigmoid(), normal(5, 3)),
    LayerCase("Sigmoid, 3 axes", lambda rng: mt.Sigmoid(), normal(2, 5, 3)),
    LayerCase("Tanh", lambda rng: mt.Tanh(), normal(5, 3)),
    LayerCase("ReLU", lambda rng: mt.ReLU(), away_from_zero(5, 3)),
    LayerCase("LeakyReLU", lambda rng: mt.LeakyReLU(0.1), away_from_zero(5, 3)),
    LayerCase("ELU", lambda rng: mt.ELU(1.5), away_from_zero(5, 3)),
    LayerCase("Softplus", lambda rng: mt.Softplus(), normal(5, 3)),
    LayerCase("SiLU", lambda rng: mt.SiLU(), normal(5, 3)),
    LayerCase("GELU", lambda rng: mt.GELU(), away_from_zero(5, 3)),
    LayerCase("GELU, tanh", lambda rng: mt.GELU(tanh=True), normal(5, 3)),
    LayerCase("Softmax", lambda rng: mt.Softmax(), normal(5, 3)),
    LayerCase("Softmax, 3 axes", lambda rng: mt.Softmax(), normal(2, 5, 3)),
    LayerCase("Softmax, one class", lambda rng: mt.Softmax(), normal(5, 1)),
    LayerCase("LogSoftmax", lambda rng: mt.LogSoftmax(), normal(5, 3)),
    LayerCase("LogSoftmax, one class", lambda rng: mt.LogSoftmax(), normal(2, 5, 1)),
    LayerCase("Dropout", lambda rng: mt.Dropout.init(0.4, rng), normal(5, 3), predicts=False),
    LayerCase("Dropout, 3 axes", lambda rng: mt.Dropout.init(0.4, rng), normal(2, 5, 3), predicts=False),
    LayerCase("Dropout of nothing", lambda rng: mt.Dropout.init(0.0, rng), normal(5, 3)),
    LayerCase("BatchNorm", lambda rng: batch_norm(rng, 3), normal(5, 3), predicts=False),
    LayerCase(
        "BatchNorm, images", lambda rng: batch_norm(rng, 3, momentum=0.3, eps=0.1), normal(2, 3, 2, 2), predicts=False
    ),
    LayerCase("BatchNorm, one image", lambda rng: batch_norm(rng, 2), normal(1, 2, 3, 1), predicts=False),
    LayerCase("LayerNorm", lambda rng: mt.LayerNorm(*rng.standard_normal((2, 3))), normal(5, 3)),
    LayerCase("LayerNorm, one sample", lambda rng: mt.LayerNorm(*rng.standard_normal((2, 3))), normal(1, 3)),
    LayerCase("LayerNorm, words", lambda rng: mt.LayerNorm(*rng.standard_normal((2, 3)), eps=0.1), normal(2, 5, 3)),
    LayerCase("LayerNorm, two axes", lambda rng: mt.LayerNorm(*rng.standard_normal((2, 4, 3))), normal(5, 4, 3)),
    LayerCase("Standardize", lambda rng: standardize(rng, 3), normal(5, 3)),
    LayerCase("Standardize, images", lambda rng: standardize(rng, 3, 2), normal(5, 3, 2)),
    LayerCase("Embedding", lambda rng: mt.Embedding(rng.standard_normal((4, 3))), words(4, 9)),
    LayerCase("Embedding, sentences", lambda rng: mt.Embedding(rng.standard_normal((7, 2))), words(7, 3, 2)),
    LayerCase("Embedding, one word", lambda rng: mt.Embedding(rng.standard_normal((1, 2))), words(1, 5)),
    LayerCase("Embedding, no samples", lambda rng: mt.Embedding(rng.standard_normal((4, 2))), words(4, 0, 2)),
    LayerCase("Flatten", lambda rng: mt.Flatten(), normal(5, 3, 2)),
    LayerCase("Flatten, no samples", lambda rng: mt.Flatten(), normal(0, 3, 2)),
    LayerCase("Reshape", lambda rng: mt.Reshape((3, 2)), normal(5, 6)),
    LayerCase("Reshape, what is left over", lambda rng: mt.Reshape((2, -1)), normal(5, 3, 4)),
    LayerCase(
        "words, then Affine",
        lambda rng: mt.Sequential(mt.Embedding(rng.standard_normal((7, 2))), mt.Flatten(), affine(rng, 4, 3)),
        words(7, 3, 2),
    ),
    LayerCase("the catalogue at work", network, normal(6, 3), predicts=False),
    LayerCase("Add", lambda rng: mt.Add(), pair(5, 3)),
    LayerCase("Add, three", lambda rng: mt.Add(), lambda rng: tuple(rng.standard_normal((3, 5, 2)))),
    LayerCase("Multiply", lambda rng: mt.Multiply(), pair(5, 3)),
    LayerCase("Branch", lambda rng: mt.Branch(3), normal(5, 3)),
    LayerCase("Repeat", lambda rng: mt.Repeat(7), normal(1, 8)),
    LayerCase("Repeat, axis 1", lambda rng: mt.Repeat(4, axis=1), normal(5, 1)),
    LayerCase("Sum", lambda rng: mt.Sum(), normal(7, 8)),
    LayerCase("Sum, axis 1", lambda rng: mt.Sum(axis=1), normal(7, 8)),
    LayerCase("Parallel", lambda rng: mt.Parallel(affine(rng, 3, 2), mt.Sigmoid()), pair(5, 3)),
    LayerCase(
        "Sequential", lambda rng: mt.Sequential(affine(rng, 3, 4), mt.Sigmoid(), affine(rng, 4, 2)), normal(5, 3)
    ),
    LayerCase("Sequential, empty", lambda rng: mt.Sequential(), normal(5, 3), checks_dout=False),
    LayerCase(
        "Sequential in Sequential", lambda rng: mt.Sequential(mt.Sequential(affine(rng, 3, 4)), mt.Tanh()), normal(5, 3)
    ),
    LayerCase("Freeze", lambda rng: mt.Freeze(affine(rng, 3, 4)), normal(5, 3)),
    LayerCase(
        "Freeze in Sequential", lambda rng: mt.Sequential(mt.Freeze(affine(rng, 3, 4)), affine(rng, 4, 2)), normal(5, 3)
    ),
    LayerCase("a residual block", residual_block, normal(5, 3)),
    LayerCase("tied weights", lambda rng: Tied(rng.standard_normal((3, 4))), normal(5, 3), checks_dout=False),
    LayerCase(
        "rows that are halved",
        lambda rng: mt.Sequential(affine(rng, 3, 4), Folded(mt.Sequential(affine(rng, 2, 3), mt.Tanh()))),
        normal(5, 3),
        checks_dout=False,
    ),
    LayerCase("a layer in a field", lambda rng: Residual(affine(rng, 3, 3)), normal(5, 3)),
    LayerCase(
        "a kept array", lambda rng: mt.Sequential(Centred(rng.standard_normal(3)), affine(rng, 3, 2)), normal(5, 3)
    ),
    LayerCase("a user's layer", custom, normal(5, 3), checks_dout=False),
]


def labels(*, samples: int, classes: int) -> Callable[[Rng], np.ndarray]:
    return lambda rng: rng.integers(0, classes, samples)


def probabilities(*, samples: int, classes: int) -> Callable[[Rng], np.ndarray]:
    return lambda rng: rng.dirichlet(np.ones(classes), samples)


CLASS_WEIGHT = np.array([0.5, 2.0, 1.25])

LOSSES = [
    LossCase("SoftmaxWithLoss, labels", mt.SoftmaxWithLoss, normal(5, 3), labels(samples=5, classes=3)),
    LossCase("SoftmaxWithLoss, rows", mt.SoftmaxWithLoss, normal(5, 3), probabilities(samples=5, classes=3)),
    LossCase("SoftmaxWithLoss, one sample", mt.SoftmaxWithLoss, normal(1, 4), labels(samples=1, classes=4)),
    LossCase(
        "SoftmaxWithLoss, class weights",
        lambda reduction: mt.SoftmaxWithLoss(reduction, class_weight=CLASS_WEIGHT),
        normal(5, 3),
        labels(samples=5, classes=3),
        counts=lambda t: CLASS_WEIGHT[t],
    ),
    LossCase(
        "SoftmaxWithLoss, class weights and rows",
        lambda reduction: mt.SoftmaxWithLoss(reduction, class_weight=CLASS_WEIGHT),
        normal(5, 3),
        probabilities(samples=5, classes=3),
        counts=lambda t: t @ CLASS_WEIGHT,
    ),
    LossCase(
        "SoftmaxWithLoss, smoothed",
        lambda reduction: mt.SoftmaxWithLoss(reduction, label_smoothing=0.2),
        normal(5, 3),
        labels(samples=5, classes=3),
    ),
    LossCase(
        "SoftmaxWithLoss, smoothed rows and class weights",
        lambda reduction: mt.SoftmaxWithLoss(reduction, label_smoothing=0.2, class_weight=CLASS_WEIGHT),
        normal(5, 3),
        probabilities(samples=5, classes=3),
        counts=lambda t: t @ CLASS_WEIGHT,
    ),
    LossCase(
        "SigmoidWithLoss, positives count more",
        lambda reduction: mt.SigmoidWithLoss(reduction, pos_weight=np.array([3.0, 0.5])),
        normal(5, 2),
        lambda rng: rng.uniform(0.0, 1.0, (5, 2)),
    ),
    LossCase(
        "SigmoidWithLoss, one pos_weight",
        lambda reduction: mt.SigmoidWithLoss(reduction, pos_weight=np.array(2.5)),
        normal(5),
        lambda rng: rng.integers(0, 2, 5) * 1.0,
    ),
    LossCase("Huber", mt.Huber, normal(5, 2), normal(5, 2)),
    LossCase("Huber, small delta", lambda reduction: mt.Huber(reduction, delta=0.3), normal(5), normal(5)),
    LossCase("SigmoidWithLoss", mt.SigmoidWithLoss, normal(5, 2), lambda rng: rng.uniform(0.0, 1.0, (5, 2))),
    LossCase("SigmoidWithLoss, one axis", mt.SigmoidWithLoss, normal(5), lambda rng: rng.integers(0, 2, 5) * 1.0),
    LossCase("MeanSquaredError", mt.MeanSquaredError, normal(5, 2), normal(5, 2)),
    LossCase("MeanSquaredError, one axis", mt.MeanSquaredError, normal(5), normal(5)),
]

OPTIMIZERS = [
    OptimizerCase("SGD", lambda: mt.SGD(lr=0.1)),
    OptimizerCase("Momentum", lambda: mt.Momentum(lr=0.1, momentum=0.8)),
    OptimizerCase("Adam", lambda: mt.Adam(lr=0.1)),
    OptimizerCase("Adam, no memory", lambda: mt.Adam(lr=0.1, beta1=0.0, beta2=0.0)),
    OptimizerCase("Nesterov", lambda: mt.Nesterov(lr=0.1, momentum=0.8)),
    OptimizerCase("AdaGrad", lambda: mt.AdaGrad(lr=0.1)),
    OptimizerCase("RMSprop", lambda: mt.RMSprop(lr=0.1)),
    OptimizerCase("RMSprop, centered", lambda: mt.RMSprop(lr=0.1, centered=True)),
    OptimizerCase("AdamW", lambda: mt.AdamW(lr=0.1, weight_decay=0.3)),
    OptimizerCase("AdamW, biases not decayed", lambda: mt.AdamW(lr=0.1, weight_decay=0.3, biases=False)),
    OptimizerCase("Adam, amsgrad", lambda: mt.Adam(lr=0.1, amsgrad=True)),
    OptimizerCase("AdamW, amsgrad", lambda: mt.AdamW(lr=0.1, weight_decay=0.3, amsgrad=True)),
    OptimizerCase(
        "SGD, L2 and ClipByNorm, a cosine after a warm-up",
        lambda: mt.SGD(
            lr=0.1,
            schedule=mt.schedules.Cosine(steps=5, warmup=2, end=0.1),
            transforms=(mt.L2(decay=0.1), mt.ClipByNorm(limit=0.5)),
        ),
    ),
    OptimizerCase(
        "Adam, ClipByValue, a staircase",
        lambda: mt.Adam(
            lr=0.1, schedule=mt.schedules.Step(every=2, ratio=0.5), transforms=(mt.ClipByValue(limit=0.05),)
        ),
    ),
    OptimizerCase(
        "Nesterov, L2 of the weights alone, an exponential",
        lambda: mt.Nesterov(
            lr=0.1, schedule=mt.schedules.Exponential(every=2), transforms=(mt.L2(decay=0.1, biases=False),)
        ),
    ),
]
