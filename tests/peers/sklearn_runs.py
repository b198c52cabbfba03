"""Whole training runs beside scikit-learn's MLPClassifier and MLPRegressor: every epoch's loss, and the weights.

Both begin with the same weights, in float64, and take the same batches in the same order, the last of an epoch
smaller than the others.  What scikit-learn does its own way is said to ours, and not the other way round:

- its loss and its gradient add alpha / (2 n) Σ W² with n the samples of the batch, weights alone: L2 with
  decay alpha / n, and another decay for the last batch;
- its Adam adds epsilon to √v and not to √(v / (1 - β₂ᵗ)), which is ours with an eps of epsilon / √(1 - β₂ᵗ);
- its "invscaling" divides the rate by a power of the samples so far, epoch by epoch: a schedule below;
- its squared error is ½ d²: Huber's, with a delta that no error reaches.

Its velocity, v ← momentum · v - lr · g, is ours, Nesterov's too, and with a rate that changes.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from cases import affine

import martlet as mt
from peers.differences import Row, largest

EPOCHS, LIMIT = 60, 1e-9
SAMPLES, BATCH = 50, 16  # batches of 16, 16, 16 and 2


class InverseScaling(mt.schedules.Schedule):
    """1 / (samples · ⌊n / steps⌋ + 1) ^ power: scikit-learn's "invscaling", with so many steps per epoch."""

    steps: float
    samples: float
    power: float

    def factor(self, n, state):
        seen = mt.namespace(n).floor(n / state.steps) * state.samples
        return (seen + 1.0) ** -state.power


@dataclass(frozen=True)
class Case:
    """A run: scikit-learn's settings, and the optimizer of ours that does the same."""

    name: str
    optimizer: mt.Optimizer
    settings: dict[str, Any]
    classes: int = 3  # 2 are one column of logits; 0 is regression
    activation: str = "tanh"
    hidden: tuple[int, ...] = (5,)
    alpha: float = 0.0
    batch: int = BATCH
    numbers: Callable[[int, int], dict[str, float]] | None = field(default=None)  # of a step, and its samples


def with_decay(alpha: float) -> Callable[[int, int], dict[str, float]]:
    return lambda step, samples: {"transforms.0.decay": alpha / samples}


def with_eps(step: int, samples: int) -> dict[str, float]:
    return {"eps": 1e-8 / math.sqrt(1.0 - 0.999**step)}


def sgd(lr: float, momentum: float = 0.0, nesterov: bool = False, **settings: Any) -> dict[str, Any]:
    """The settings of scikit-learn's "sgd"."""
    return {
        "solver": "sgd",
        "learning_rate_init": lr,
        "momentum": momentum,
        "nesterovs_momentum": nesterov,
        **settings,
    }


DECAY = (mt.L2(decay=0.0, biases=False),)
INVERSE = InverseScaling(steps=math.ceil(SAMPLES / BATCH), samples=SAMPLES, power=0.2)
BY_SCALING = {"learning_rate": "invscaling", "power_t": 0.2}

CASES = [
    Case("SGD, three classes, tanh", mt.SGD(lr=0.3), sgd(0.3)),
    Case("SGD, three classes, relu, two hidden layers", mt.SGD(lr=0.1), sgd(0.1), activation="relu", hidden=(6, 4)),
    Case(
        "SGD, three classes, logistic, all samples at once", mt.SGD(lr=1.0), sgd(1.0), activation="logistic", batch=50
    ),
    Case(
        "SGD, two classes, relu, samples one by one", mt.SGD(lr=0.03), sgd(0.03), classes=2, activation="relu", batch=1
    ),
    Case("Momentum, three classes, tanh", mt.Momentum(lr=0.1), sgd(0.1, 0.9)),
    Case("Momentum, two classes, logistic", mt.Momentum(lr=0.1), sgd(0.1, 0.9), classes=2, activation="logistic"),
    Case("Nesterov, three classes, relu", mt.Nesterov(lr=0.05), sgd(0.05, 0.9, True), activation="relu"),
    Case("Nesterov, two classes, tanh", mt.Nesterov(lr=0.1), sgd(0.1, 0.9, True), classes=2),
    Case(
        "Nesterov, three classes, tanh, invscaling",
        mt.Nesterov(lr=0.2, schedule=INVERSE),
        sgd(0.2, 0.9, True, **BY_SCALING),
    ),
    Case(
        "SGD, three classes, tanh, alpha",
        mt.SGD(lr=0.3, transforms=DECAY),
        sgd(0.3),
        alpha=0.5,
        numbers=with_decay(0.5),
    ),
    Case(
        "Nesterov, two classes, relu, alpha",
        mt.Nesterov(lr=0.05, transforms=DECAY),
        sgd(0.05, 0.9, True),
        classes=2,
        activation="relu",
        alpha=0.5,
        numbers=with_decay(0.5),
    ),
    Case(
        "Adam, three classes, tanh", mt.Adam(lr=0.02), {"solver": "adam", "learning_rate_init": 0.02}, numbers=with_eps
    ),
    Case(
        "Adam, two classes, relu, alpha",
        mt.Adam(lr=0.02, transforms=DECAY),
        {"solver": "adam", "learning_rate_init": 0.02},
        classes=2,
        activation="relu",
        alpha=0.5,
        numbers=lambda step, samples: with_eps(step, samples) | with_decay(0.5)(step, samples),
    ),
    Case("Momentum, regression, tanh", mt.Momentum(lr=0.02), sgd(0.02, 0.9), classes=0),
]


def data(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Places in the plane, and the arm of a spiral that each is in, or the height of a saddle there."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((SAMPLES, 2))
    angle = np.arctan2(x[:, 1], x[:, 0]) + np.linalg.norm(x, axis=1)
    if case.classes == 0:
        return x, x[:, 0] * x[:, 1]
    return x, np.floor(angle / (2 * np.pi) * case.classes).astype("int64") % case.classes


def network(case: Case) -> mt.Sequential:
    rng, layer = np.random.default_rng(1), {"tanh": mt.Tanh, "relu": mt.ReLU, "logistic": mt.Sigmoid}[case.activation]
    widths = (2, *case.hidden, case.classes if case.classes > 2 else 1)
    layers: list[mt.Layer] = []
    for inputs, outputs in pairwise(widths):
        layers += [affine(rng, inputs, outputs), layer()]
    return mt.Sequential(*layers[:-1])


def weights(model: mt.Sequential) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(layer.W, layer.b) for layer in model if isinstance(layer, mt.Affine)]


def ours(case: Case, backend: mt.Backend | None = None) -> tuple[mt.Sequential, list[float]]:
    """The trained model and its losses: by ``fit``, or step by step where numbers change from step to step."""
    model, (x, t) = network(case), data(case)
    loss = {0: mt.Huber(delta=1e6), 2: mt.SigmoidWithLoss()}.get(case.classes, mt.SoftmaxWithLoss())
    t = t if case.classes > 2 else t[:, None].astype("float64")
    if case.numbers is None:
        settings = {"loss": loss, "optimizer": case.optimizer, "epochs": EPOCHS, "batch_size": case.batch}
        model, history = mt.fit(model, x, t, shuffle=False, backend=backend, **settings)
        return model, history.loss
    state, curve, step = case.optimizer.init(model), [], 0
    for _ in range(EPOCHS):
        total = 0.0
        for start in range(0, SAMPLES, case.batch):
            rows, step = slice(start, start + case.batch), step + 1
            samples = len(x[rows])
            penalty = case.alpha / 2 * sum(np.sum(W * W) for W, _ in weights(model))
            state = mt.replace(state, case.numbers(step, samples))
            model, state, value = mt.train_step(model, loss, case.optimizer, state, x[rows], t[rows])
            total += float(value) * samples + penalty
        curve.append(total / SAMPLES)
    return model, curve


def theirs(case: Case) -> Any:
    """scikit-learn's estimator after its run.

    It takes no weights to begin with, but goes on from those that it has.  So a first epoch, with steps too
    small to matter, makes their places, and is forgotten.
    """
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    x, t = data(case)
    network_of = MLPClassifier if case.classes else MLPRegressor
    common = {"hidden_layer_sizes": case.hidden, "activation": case.activation, "alpha": case.alpha, "tol": 0.0}
    common |= {"batch_size": case.batch, "shuffle": False, "n_iter_no_change": 10 * EPOCHS, "warm_start": True}
    estimator = network_of(**common, **{**case.settings, "learning_rate_init": 1e-300}, max_iter=1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says after so many epochs that it would go on
        estimator.fit(x, t)
        estimator.coefs_ = [W.copy() for W, _ in weights(network(case))]
        estimator.intercepts_ = [b.copy() for _, b in weights(network(case))]
        estimator.loss_curve_, estimator.t_ = [], 0
        estimator.set_params(max_iter=EPOCHS, learning_rate_init=case.settings["learning_rate_init"]).fit(x, t)
    return estimator


def places(case: Case, backend: mt.Backend | None) -> Iterator[tuple[str, Any, Any]]:
    (model, curve), estimator = ours(case, backend), theirs(case)
    for epoch, pair in enumerate(zip(curve, estimator.loss_curve_, strict=True), start=1):
        yield f"the loss of epoch {epoch}", *map(np.asarray, pair)
    for number, (W, b) in enumerate(weights(model)):
        yield f"W of layer {number}", W, estimator.coefs_[number]
        yield f"b of layer {number}", b, estimator.intercepts_[number]


def compare(case: Case, backend: mt.Backend | None = None) -> Row:
    """The row of a run; a backend takes those that ``fit`` can take."""
    return largest(case.name, places(case, backend), LIMIT)
