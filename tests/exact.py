"""The yardstick: what a function is with forty digits, and how far from it a result lies.

A distance is counted in units in the last place (ulp) of the exact value: a result that is rounded as well as
can be is within half a unit.  The functions below are written in mpmath, from their definitions, and share no
code with the library.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath
import numpy as np
from mpmath import mpf

import martlet as mt

mpmath.mp.dps = 40

DIGITS = {
    "float64": (53, -1022, 700.0),
    "float32": (24, -126, 85.0),
}  # of the significand; the least exponent; no overflow


class Function(NamedTuple):
    """A function of the library, its definition, and the inputs at which the two are compared."""

    name: str
    inputs: str
    ours: Callable[..., Any]  # of arrays
    exact: Callable[..., Any]  # of numbers, or of the numbers of a row
    draw: Callable[[np.random.Generator, float], tuple[np.ndarray, ...]]  # the float is where exp overflows
    bound: float  # in units in the last place


class Distance(NamedTuple):
    """The result that is furthest from the exact value: how many ulp, and where."""

    ulp: float
    at: str


# -------------------------------------------------------------------------------------- definitions


def sigmoid(x: Any) -> Any:
    return 1 / (1 + mpmath.exp(-x))


def softplus(x: Any) -> Any:
    return mpmath.log1p(mpmath.exp(-abs(x))) + max(x, mpf(0))


def elu(x: Any) -> Any:
    return x if x > 0 else mpmath.expm1(x)


def gelu(x: Any) -> Any:
    return x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2


def softmax(row: list[Any]) -> list[Any]:
    top = max(row)
    exps = [mpmath.exp(x - top) for x in row]
    return [e / mpmath.fsum(exps) for e in exps]


def log_softmax(row: list[Any]) -> list[Any]:
    first = row.index(max(row))
    others = mpmath.fsum(mpmath.exp(x - row[first]) for i, x in enumerate(row) if i != first)
    return [x - row[first] - mpmath.log1p(others) for x in row]


def binary_cross_entropy(y: Any, t: Any) -> Any:
    return t * softplus(-y) + (1 - t) * softplus(y)


def cross_entropy(row: list[Any], label: Any) -> Any:
    return -log_softmax(row)[int(label)]


# --------------------------------------------------------------------------------------- the inputs


def ordinary(rng: np.random.Generator, far: float) -> tuple[np.ndarray, ...]:
    """Between -10 and 10, and close to 0."""
    return (np.concatenate([rng.uniform(-10.0, 10.0, 400), 0.1 * rng.standard_normal(100)]),)


def confident(rng: np.random.Generator, far: float) -> tuple[np.ndarray, ...]:
    """Wherever exp is neither 0 nor infinity, once more closer to 0, and tiny numbers."""
    tiny = np.exp(rng.uniform(-far, 0.0, 100)) * rng.choice([-1.0, 1.0], 100)
    return (np.concatenate([rng.uniform(-far, far, 300), rng.uniform(-20.0, 20.0, 200), tiny]),)


def below(rng: np.random.Generator, far: float) -> tuple[np.ndarray, ...]:
    """Where Φ is not yet 0."""
    return (rng.uniform(-37.0 if far > 100 else -12.5, 10.0, 400),)


def rows(width: int, scale: float) -> Callable[[np.random.Generator, float], tuple[np.ndarray, ...]]:
    """Logits of so many classes."""
    return lambda rng, far: (rng.standard_normal((600 // width, width)) * scale,)


def clear_rows(rng: np.random.Generator, far: float) -> tuple[np.ndarray, ...]:
    """Logits of which one stands far above the others."""
    logits = rng.standard_normal((150, 4))
    logits[np.arange(150), rng.integers(0, 4, 150)] += rng.uniform(
        5.0, 0.75 * far, 150
    )  # JAX has no numbers of 1e-309, which are lost beside 1e-295
    return (logits,)


def right_answers(rng: np.random.Generator, far: float) -> tuple[np.ndarray, ...]:
    """Logits whose sign is that of the target, which is 0 or 1 or close to it."""
    y = rng.uniform(-far, far, 400)
    doubt = np.where(rng.uniform(0.0, 1.0, 400) < 0.3, 2.0 ** -rng.integers(1, 20, 400), 0.0)
    return y, np.where(y > 0.0, 1.0 - doubt, doubt)


def any_answers(rng: np.random.Generator, far: float) -> tuple[np.ndarray, ...]:
    return rng.uniform(-10.0, 10.0, 400), rng.uniform(0.0, 1.0, 400)


def labelled(rng: np.random.Generator, far: float) -> tuple[np.ndarray, ...]:
    return rng.standard_normal((300, 5)) * 3.0, rng.integers(0, 5, 300)


def labelled_right(rng: np.random.Generator, far: float) -> tuple[np.ndarray, ...]:
    """The right class stands up to 40 above the others."""
    logits, t = rng.standard_normal((300, 4)), rng.integers(0, 4, 300)
    logits[np.arange(300), t] += rng.uniform(5.0, 36.0, 300)
    return logits, t


def layer(made: mt.Layer) -> Callable[..., Any]:
    return lambda x: made.predict(x)


def each(loss: type[mt.Loss]) -> Callable[..., Any]:
    return lambda y, t: loss("none").value(y, t)


FUNCTIONS = [
    Function("sigmoid", "-10 to 10", mt.sigmoid, sigmoid, ordinary, 4),
    Function("sigmoid", "to the ends of exp", mt.sigmoid, sigmoid, confident, 4),
    Function("tanh", "-10 to 10", layer(mt.Tanh()), mpmath.tanh, ordinary, 4),
    Function("tanh", "to the ends of exp", layer(mt.Tanh()), mpmath.tanh, confident, 4),
    Function("softplus", "-10 to 10", mt.softplus, softplus, ordinary, 4),
    Function("softplus", "to the ends of exp", mt.softplus, softplus, confident, 4),
    Function("softmax", "5 classes, σ = 3", mt.softmax, softmax, rows(5, 3.0), 4),
    Function("softmax", "5 classes, σ = 15", mt.softmax, softmax, rows(5, 15.0), 4),
    Function("softmax", "100 classes, σ = 3", mt.softmax, softmax, rows(100, 3.0), 6),
    Function("log-softmax", "5 classes, σ = 3", mt.log_softmax, log_softmax, rows(5, 3.0), 4),
    Function("log-softmax", "one class far above", mt.log_softmax, log_softmax, clear_rows, 16),
    Function("SiLU", "-10 to 10", layer(mt.SiLU()), lambda x: x * sigmoid(x), ordinary, 4),
    Function("SiLU", "to the ends of exp", layer(mt.SiLU()), lambda x: x * sigmoid(x), confident, 16),
    Function("ELU", "to the ends of exp", layer(mt.ELU()), elu, confident, 4),
    Function("GELU", "-10 to 10", layer(mt.GELU()), gelu, ordinary, 6),
    Function("GELU", "to where Φ is 0", layer(mt.GELU()), gelu, below, 6),
    Function("binary cross-entropy", "-10 to 10", each(mt.SigmoidWithLoss), binary_cross_entropy, any_answers, 4),
    Function(
        "binary cross-entropy", "right answers", each(mt.SigmoidWithLoss), binary_cross_entropy, right_answers, 16
    ),
    Function("cross-entropy", "5 classes, σ = 3", each(mt.SoftmaxWithLoss), cross_entropy, labelled, 4),
    Function(
        "cross-entropy", "right answers, to 40 above", each(mt.SoftmaxWithLoss), cross_entropy, labelled_right, 32
    ),
]

# XLA's own tanh is up to 7 units off between 10 and 20.  What a library calls tanh we do not write again.
EXCEPTIONS = {("jax", "tanh", "float64"): 8}


# ---------------------------------------------------------------------------------------- measuring


@functools.cache
def table(index: int, width: str) -> tuple[tuple[np.ndarray, ...], tuple[Any, ...]]:
    """The inputs of a row of FUNCTIONS, in this width, and its exact values."""
    function = FUNCTIONS[index]
    drawn = function.draw(np.random.default_rng(index), DIGITS[width][2])
    inputs = tuple(x.astype(width) if x.dtype.kind == "f" else x for x in drawn)
    numbers = [[numbers_of(row) for row in x] for x in inputs]
    values = [function.exact(*arguments) for arguments in zip(*numbers, strict=True)]
    return inputs, tuple(v for value in values for v in (value if isinstance(value, list) else [value]))


def numbers_of(row: Any) -> Any:
    """A number, or the numbers of a row, with forty digits: each float is an exact number."""
    return [mpf(float(x)) for x in row] if np.ndim(row) else mpf(float(row))


def distance(
    index: int, width: str, here: mt.Backend, run: Callable[..., Any] = lambda f, *a: f(*a), theirs: Any = None
) -> Distance:
    """How far the results of a row of FUNCTIONS are from the exact values at most, on this backend.

    Results too small for a normal number are left out: what becomes of them is the library's affair.
    ``theirs`` is a function of another library that takes the place of ours.
    """
    precision, least, _ = DIGITS[width]
    inputs, exact = table(index, width)
    arrays = [here.asarray(x, width if x.dtype.kind == "f" else None) for x in inputs]
    results = np.ravel(mt.to_numpy(run(theirs or FUNCTIONS[index].ours, *arrays)))
    assert len(results) == len(exact)
    worst = Distance(0.0, "")
    for got, value in zip(results.tolist(), exact, strict=True):
        exponent = mpmath.frexp(value)[1] - 1
        if value == 0 or exponent < least + 2:
            continue
        ulp = float(abs(got - value) * mpf(2) ** (precision - 1 - exponent))
        if not ulp <= worst.ulp:  # also where it is NaN
            worst = Distance(ulp, f"{float(value):.3g}")
    return worst
