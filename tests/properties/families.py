"""The layers and losses in whatever shapes they take: where cases.py has one input per row, here it is drawn.

A family makes its layer and an input for it, or its loss with outputs and targets, from a NumPy Generator and
``Sizes``: float64, on NumPy.  What is not true of every family is said in its row, and with which reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from cases import Rng, Tied, affine, away_from_zero, batch_norm, custom, network, residual_block, standardize
from conftest import Target

import martlet as mt


class Sizes(NamedTuple):
    """How many samples, and the lengths of the other axes: a family takes those that it needs."""

    n: int = 4
    d: int = 3
    h: int = 2
    k: int = 3
    axes: int = 1  # how many axes a sample has, where it may have any number of them

    @property
    def sample(self) -> tuple[int, ...]:
        return (self.d, self.h, self.k)[: self.axes]


@dataclass(frozen=True)
class LayerFamily:
    """A layer in every shape that it takes."""

    name: str
    draw: Callable[[Rng, Sizes], tuple[mt.Layer, Any]]  # the layer, and an input for it
    least: int = 0  # the fewest samples it takes
    together: str = ""  # why a row of y is not made from the same row of x alone
    exact: bool = False  # each number is rounded once, or added up in a fixed order: the same bits in every layout
    divides: bool = False  # which XLA does for one sample alone: several are multiplied by the reciprocal
    units: float = 100.0  # of the last place: by how much the order of its sums may change a result
    bounded: bool = False  # works element by element or row by row, and finite numbers stay finite

    def leeway(self, xp: Target) -> float:
        """By how many units of the last place the numbers of a sample may differ in two batches or two layouts."""
        if not self.exact:
            return self.units
        return 2.0 if self.divides and xp.name == "jax" else 0.0

    def fitting(self, sizes: Sizes) -> Sizes:
        return sizes._replace(n=max(sizes.n, self.least))


@dataclass(frozen=True)
class LossFamily:
    """A loss in every shape that it takes, given its reduction: the loss, outputs y and targets t."""

    name: str
    draw: Callable[[str, Rng, Sizes], tuple[mt.Loss, np.ndarray, np.ndarray]]
    labels: bool = False  # t names classes


def alone(layer: mt.Layer, x: Callable[..., Any] = lambda rng, shape: rng.standard_normal(shape)) -> Any:
    """A layer without sizes of its own, and an input whose samples have any number of axes."""
    return lambda rng, s: (layer, x(rng, (s.n, *s.sample)))


def apart(rng: Rng, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers that a difference quotient does not push over a kink at zero."""
    return away_from_zero(*shape)(rng)


def two(rng: Rng, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    return tuple(rng.standard_normal((2, *shape)))


def words(rng: Rng, s: Sizes) -> tuple[mt.Layer, np.ndarray]:
    return mt.Embedding(rng.standard_normal((s.d, s.h))), rng.integers(0, s.d, (s.n, *(s.k, s.h)[: s.axes]))


def with_rows(layer: Callable[[Rng, Sizes], mt.Layer]) -> Callable[[Rng, Sizes], tuple[mt.Layer, np.ndarray]]:
    """A layer for rows of ``d`` numbers."""
    return lambda rng, s: (layer(rng, s), rng.standard_normal((s.n, s.d)))


STATISTICS = "the statistics are those of the batch"
BY_PLACE = "the mask goes by the place in the batch"
OVER_ROWS = "the axis is that of the samples"

LAYERS = [
    LayerFamily("MatMul", with_rows(lambda rng, s: mt.MatMul(rng.standard_normal((s.d, s.h))))),
    LayerFamily("Affine", with_rows(lambda rng, s: affine(rng, s.d, s.h))),
    LayerFamily("Identity", alone(mt.Identity()), exact=True, bounded=True),
    LayerFamily("Sigmoid", alone(mt.Sigmoid()), bounded=True),
    LayerFamily("Tanh", alone(mt.Tanh()), bounded=True),
    LayerFamily("ReLU", alone(mt.ReLU(), apart), exact=True, bounded=True),
    LayerFamily("LeakyReLU", alone(mt.LeakyReLU(0.1), apart), exact=True, bounded=True),
    LayerFamily("ELU", alone(mt.ELU(1.5), apart), bounded=True),
    LayerFamily("Softplus", alone(mt.Softplus()), bounded=True),
    LayerFamily("SiLU", alone(mt.SiLU()), bounded=True),
    LayerFamily("GELU", alone(mt.GELU(), apart), bounded=True),
    LayerFamily("GELU, tanh", alone(mt.GELU(tanh=True)), bounded=True),
    LayerFamily("Softmax", lambda rng, s: (mt.Softmax(), rng.standard_normal((s.n, *s.sample, s.k))), bounded=True),
    LayerFamily(
        "LogSoftmax", lambda rng, s: (mt.LogSoftmax(), rng.standard_normal((s.n, *s.sample, s.k))), bounded=True
    ),
    LayerFamily(
        "Dropout",
        lambda rng, s: (mt.Dropout.init(0.4, rng), rng.standard_normal((s.n, *s.sample))),
        together=BY_PLACE,
        exact=True,
    ),
    LayerFamily(
        "BatchNorm",
        lambda rng, s: (batch_norm(rng, s.d, eps=0.1), rng.standard_normal((s.n, s.d, *(s.h, s.k)[: s.axes]))),
        least=2,
        together=STATISTICS,
    ),
    LayerFamily(
        "LayerNorm",
        lambda rng, s: (
            mt.LayerNorm(*rng.standard_normal((2, s.d)), eps=0.1),
            rng.standard_normal((s.n, *(s.h, s.k)[: s.axes], s.d)),
        ),
    ),
    LayerFamily(
        "LayerNorm, two axes",
        lambda rng, s: (
            mt.LayerNorm(*rng.standard_normal((2, s.h, s.d)), eps=0.1),
            rng.standard_normal((s.n, s.h, s.d)),
        ),
    ),
    LayerFamily(
        "Standardize",
        lambda rng, s: (standardize(rng, *s.sample), rng.standard_normal((s.n, *s.sample))),
        exact=True,
        divides=True,
    ),
    LayerFamily("Embedding", words, exact=True),
    LayerFamily("Flatten", alone(mt.Flatten()), exact=True, bounded=True),
    LayerFamily(
        "Reshape",
        lambda rng, s: (mt.Reshape((-1, s.d)), rng.standard_normal((s.n, s.h, s.d))),
        exact=True,
        bounded=True,
    ),
    LayerFamily("Add", alone(mt.Add(), two), exact=True),
    LayerFamily("Multiply", alone(mt.Multiply(), two), exact=True),
    LayerFamily("Branch", lambda rng, s: (mt.Branch(s.k), rng.standard_normal((s.n, *s.sample))), exact=True),
    LayerFamily(
        "Repeat", lambda rng, s: (mt.Repeat(s.h), rng.standard_normal((1, *s.sample))), together=OVER_ROWS, bounded=True
    ),
    LayerFamily("Repeat, axis 1", lambda rng, s: (mt.Repeat(s.h, axis=1), rng.standard_normal((s.n, 1, s.d)))),
    LayerFamily("Sum", alone(mt.Sum()), together=OVER_ROWS),
    LayerFamily("Sum, axis 1", lambda rng, s: (mt.Sum(axis=1), rng.standard_normal((s.n, s.d, *s.sample)))),
    LayerFamily(
        "Parallel",
        lambda rng, s: (mt.Parallel(affine(rng, s.d, s.h), mt.Sigmoid()), two(rng, (s.n, s.d))),
    ),
    LayerFamily(
        "Sequential",
        with_rows(
            lambda rng, s: mt.Sequential(affine(rng, s.d, s.h), mt.Tanh(), mt.MatMul(rng.standard_normal((s.h, s.k))))
        ),
    ),
    LayerFamily(
        "Freeze", with_rows(lambda rng, s: mt.Sequential(mt.Freeze(affine(rng, s.d, s.h)), affine(rng, s.h, s.k)))
    ),
    LayerFamily("a residual block", lambda rng, s: (residual_block(rng), rng.standard_normal((s.n, 3)))),
    LayerFamily(
        "the catalogue at work",
        lambda rng, s: (network(rng), rng.standard_normal((s.n, 3))),
        least=5,  # batch normalization of two rows is a step from -1 to 1
        together=f"{STATISTICS}, and {BY_PLACE}",
        units=1e6,  # two normalizations in a row magnify a rounding
    ),
    LayerFamily("tied weights", with_rows(lambda rng, s: Tied(rng.standard_normal((s.d, s.h))))),
    LayerFamily("a user's layer", lambda rng, s: (custom(rng), rng.standard_normal((s.n, 3)))),
]


def labelled(**settings: Any) -> Any:
    return lambda reduction, rng, s: (
        mt.SoftmaxWithLoss(reduction, **{name: make(rng, s) for name, make in settings.items()}),
        2.0 * rng.standard_normal((s.n, s.k)),
        rng.integers(0, s.k, s.n),
    )


def with_probabilities(**settings: Any) -> Any:
    return lambda reduction, rng, s: (
        mt.SoftmaxWithLoss(reduction, **{name: make(rng, s) for name, make in settings.items()}),
        2.0 * rng.standard_normal((s.n, s.k)),
        rng.dirichlet(np.ones(s.k), s.n),
    )


def shares(rng: Rng, s: Sizes) -> np.ndarray:
    """How much each class counts."""
    return rng.uniform(0.5, 2.0, s.k)


def smoothing(rng: Rng, s: Sizes) -> float:
    return float(rng.uniform(0.0, 0.5))


def regression(loss: Callable[[str], mt.Loss]) -> Any:
    return lambda reduction, rng, s: (loss(reduction), *two(rng, (s.n, *s.sample)))


def yes_or_no(weight: Callable[[Rng, Sizes], Any] = lambda rng, s: None) -> Any:
    return lambda reduction, rng, s: (
        mt.SigmoidWithLoss(reduction, pos_weight=weight(rng, s)),
        3.0 * rng.standard_normal((s.n, *s.sample)),
        rng.uniform(0.0, 1.0, (s.n, *s.sample)),
    )


LOSSES = [
    LossFamily("MeanSquaredError", regression(mt.MeanSquaredError)),
    LossFamily("Huber", regression(lambda reduction: mt.Huber(reduction, delta=0.7))),
    LossFamily("SigmoidWithLoss", yes_or_no()),
    LossFamily("SigmoidWithLoss, pos_weight", yes_or_no(lambda rng, s: np.asarray(rng.uniform(0.5, 3.0)))),
    LossFamily(
        "SigmoidWithLoss, one per column", yes_or_no(lambda rng, s: np.asarray(rng.uniform(0.5, 3.0, s.sample)))
    ),
    LossFamily("SoftmaxWithLoss, labels", labelled(), labels=True),
    LossFamily("SoftmaxWithLoss, rows", with_probabilities()),
    LossFamily("SoftmaxWithLoss, class weights", labelled(class_weight=shares), labels=True),
    LossFamily("SoftmaxWithLoss, class weights and rows", with_probabilities(class_weight=shares)),
    LossFamily("SoftmaxWithLoss, smoothed", labelled(label_smoothing=smoothing), labels=True),
    LossFamily(
        "SoftmaxWithLoss, smoothed, weights and rows",
        with_probabilities(label_smoothing=smoothing, class_weight=shares),
    ),
]
