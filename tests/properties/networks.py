"""Networks that hypothesis writes: a list of numbers, each of which is read as a layer for what the last one gives.

Whatever the numbers are, the network is valid: it maps some columns to others, whose number it has chosen itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from cases import Centred, Folded, Residual, Tied, batch_norm, standardize
from hypothesis import strategies as st

import martlet as mt
from properties.strategies import seeds

Rng = np.random.Generator
MOST = 7  # columns
Block = Callable[[Rng, int, int], tuple[mt.Layer, int]]


def matrix(rng: Rng, rows: int, columns: int) -> np.ndarray:
    """Weights that keep numbers at the size that they have."""
    return rng.standard_normal((rows, columns)) / np.sqrt(rows)


def affine(rng: Rng, inputs: int, n: int) -> tuple[mt.Layer, int]:
    outputs = 1 + n % MOST
    return mt.Affine(matrix(rng, inputs, outputs), rng.standard_normal(outputs)), outputs


def square(rng: Rng, columns: int) -> mt.Layer:
    return mt.Affine(matrix(rng, columns, columns), rng.standard_normal(columns))


def matmul(rng: Rng, inputs: int, n: int) -> tuple[mt.Layer, int]:
    outputs = 1 + n % MOST
    return mt.MatMul(matrix(rng, inputs, outputs)), outputs


def elementwise(rng: Rng, columns: int, n: int) -> tuple[mt.Layer, int]:
    kinds = [
        mt.Tanh,
        mt.Sigmoid,
        mt.SiLU,
        mt.Softplus,
        mt.GELU,
        mt.ReLU,
        mt.ELU,
        mt.Identity,
        mt.Softmax,
        mt.LogSoftmax,
    ]
    return kinds[n % len(kinds)](), columns


def normalized(rng: Rng, columns: int, n: int) -> tuple[mt.Layer, int]:
    kinds: list[Callable[[], mt.Layer]] = [
        lambda: mt.LayerNorm(*rng.standard_normal((2, columns))),
        lambda: standardize(rng, columns),
        lambda: Centred(rng.standard_normal(columns)),
        lambda: batch_norm(rng, columns),
    ]
    return kinds[n % 4](), columns


def noisy(rng: Rng, columns: int, n: int) -> tuple[mt.Layer, int]:
    return mt.Dropout.init((0.0, 0.3, 0.5)[n % 3], rng), columns


def around(rng: Rng, columns: int, n: int) -> tuple[mt.Layer, int]:
    """A layer that has others in it."""
    inner = square(rng, columns)
    kinds: list[Callable[[], mt.Layer]] = [
        lambda: Residual(inner),
        lambda: mt.Freeze(inner),
        lambda: mt.Freeze(mt.Sequential(inner, mt.Dropout.init(0.3, rng))),
        lambda: mt.Sequential(mt.Branch(2), mt.Parallel(inner, mt.Tanh()), mt.Add()),
        lambda: mt.Sequential(mt.Branch(2), mt.Parallel(inner, mt.Sigmoid()), mt.Multiply()),
        lambda: mt.Sequential(mt.Branch(3), mt.Parallel(inner, mt.Identity(), mt.Identity()), mt.Add()),
        lambda: Residual(mt.Sequential()),
    ]
    return kinds[n % len(kinds)](), columns


def arranged(rng: Rng, columns: int, n: int) -> tuple[mt.Layer, int]:
    """More axes, or more rows, in the midst of it."""
    by = next(k for k in (2 + n % 3, 3, 2, 1) if columns % k == 0)
    outputs = columns
    inner: list[mt.Layer] = [mt.Tanh(), mt.Softmax(), mt.LayerNorm(*rng.standard_normal((2, by))), mt.Identity()]
    layer: mt.Layer = mt.Sequential(mt.Reshape((columns // by, by)), inner[n // 3 % 4], mt.Flatten())
    if n % 2 and columns % 2 == 0:
        inside, half = affine(rng, columns // 2, n // 3 % 3)
        layer, outputs = Folded(inside), 2 * half
    return layer, outputs


def summed(rng: Rng, columns: int, n: int) -> tuple[mt.Layer, int]:
    """One column, or one that stands several times."""
    if n % 2:
        return mt.Sum(axis=1), 1
    return mt.Sequential(mt.Sum(axis=1), mt.Repeat(1 + n % MOST, axis=1)), 1 + n % MOST


def tied(rng: Rng, columns: int, n: int) -> tuple[mt.Layer, int]:
    return Tied(matrix(rng, columns, 1 + n % MOST)), columns


BLOCKS: list[Block] = [
    affine,
    affine,
    matmul,
    elementwise,
    elementwise,
    normalized,
    noisy,
    around,
    arranged,
    summed,
    tied,
]


def drawn_network(words: Sequence[int], columns: int, outputs: int, rng: Rng) -> mt.Sequential:
    """The layers that the words say, and a last one that gives so many outputs."""
    layers = []
    for word in words:
        layer, columns = BLOCKS[word % len(BLOCKS)](rng, columns, word // len(BLOCKS))
        layers.append(layer)
    return mt.Sequential(*layers, mt.Affine(matrix(rng, columns, outputs), rng.standard_normal(outputs)))


def drawn_task(
    words: Sequence[int], sizes: tuple[int, int, int], loss: int, weighted: bool, rng: Rng
) -> tuple[mt.Layer, mt.Loss, tuple[np.ndarray, ...]]:
    """A network, a loss and a batch: (x, t), or (x, t, weight).  sizes: samples, columns and outputs."""
    count, columns, outputs = sizes
    kinds: list[tuple[mt.Loss, Callable[[], Any]]] = [
        (mt.SoftmaxWithLoss(), lambda: rng.integers(0, outputs, count)),
        (mt.MeanSquaredError(), lambda: rng.standard_normal((count, outputs))),
        (mt.Huber(), lambda: rng.standard_normal((count, outputs))),
        (mt.SigmoidWithLoss(), lambda: rng.integers(0, 2, (count, outputs)).astype("float64")),
    ]
    model, (kind, t) = drawn_network(words, columns, outputs, rng), kinds[loss]
    weight = (rng.uniform(0.5, 2.0, count),) if weighted else ()
    return model, kind, (rng.standard_normal((count, columns)), t(), *weight)


tasks: dict[str, st.SearchStrategy[Any]] = {
    "words": st.lists(st.integers(0, 2**20), min_size=1, max_size=7),
    "sizes": st.tuples(st.integers(4, 20), st.integers(1, 6), st.integers(1, 4)),
    "loss": st.integers(0, 3),
    "weighted": st.booleans(),
    "seed": seeds,
}
