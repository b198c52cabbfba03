"""Numbers and choices that no setting can be."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import martlet as mt
from mistakes.row import Given, Row

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
