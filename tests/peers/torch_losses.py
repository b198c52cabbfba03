"""Our losses beside those of torch.nn.functional: every reduction, the value and the gradient, in float64.

Where the two weigh differently the row says how one becomes the other: our mean of weighted samples is
Σ w·l / Σ w, and PyTorch divides by the number of losses in some of its losses.  Theirs is then their sum,
divided by our count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import martlet as mt
from peers.differences import Row, largest

LIMIT = 1e-12  # of the largest number in an array
RARE = np.array([0.25, 1.0, 4.0])


@dataclass(frozen=True)
class Case:
    """A loss of ours by its reduction, the name of torch's function, its settings, and outputs with targets.

    ``count(t, weight)``: what our mean divides the sum by, where PyTorch's mean divides by something else.
    """

    name: str
    ours: Callable[[str], mt.Loss]
    theirs: str
    targets: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
    shapes: tuple[tuple[int, ...], ...]
    settings: Callable[[Any], dict[str, Any]] = lambda torch: {}
    count: Callable[[np.ndarray, np.ndarray], float] | None = None
    weighted: bool = False

    def places(self, torch: Any) -> Iterator[tuple[str, Any, Any]]:
        """The value and dL/dy for every shape and reduction, with a random dL/dvalue."""
        for shape in self.shapes:
            for reduction in ("mean", "sum", "none"):
                rng = np.random.default_rng(0)
                y, t, weight = (
                    3.0 * rng.standard_normal(shape),
                    self.targets(rng, shape),
                    rng.uniform(0.1, 3.0, shape[0]),
                )
                loss = self.ours(reduction)
                value, cache = loss.forward(y, t, weight if self.weighted else None)
                dout = rng.uniform(0.5, 2.0, value.shape)
                their_y = torch.tensor(y, requires_grad=True)
                their_value = self.their_value(torch, their_y, t, weight, reduction)
                their_value.backward(torch.tensor(dout))
                yield f"the {reduction} of {shape}", value, their_value.detach()
                yield f"the gradient of the {reduction} of {shape}", loss.backward(cache, dout), their_y.grad

    def their_value(self, torch: Any, y: Any, t: np.ndarray, weight: np.ndarray, reduction: str) -> Any:
        function, settings = getattr(torch.nn.functional, self.theirs), self.settings(torch)
        if reduction == "mean" and self.count:
            return self.their_value(torch, y, t, weight, "sum") / self.count(t, weight)
        if self.weighted and self.theirs == "binary_cross_entropy_with_logits":
            settings["weight"] = torch.tensor(weight.reshape(-1, *[1] * (y.ndim - 1)))
        elif self.weighted:
            each = function(y, torch.tensor(t), reduction="none", **settings)
            each = each * torch.tensor(weight.reshape(-1, *[1] * (each.ndim - 1)))
            return each if reduction == "none" else each.sum()
        return function(y, torch.tensor(t), reduction=reduction, **settings)


def labels(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(0, shape[1], shape[0])


def rows(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.dirichlet(np.ones(shape[1]), shape[0])


def numbers(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_normal(shape)


def shares(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.uniform(0.0, 1.0, shape)


def answers(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(0, 2, shape) * 1.0


def weights(torch: Any) -> dict[str, Any]:
    return {"weight": torch.tensor(RARE)}


def smoothed(torch: Any) -> dict[str, Any]:
    return {"label_smoothing": 0.3}


def by_weight(t: np.ndarray, weight: np.ndarray) -> float:
    """Σ w over the samples, times the columns of each."""
    return float(weight.sum()) * (t.size / len(t))


TABLES, LINES, CLASSES = ((7, 3), (1, 1), (40, 2)), ((7,), (1,)), ((7, 3), (1, 3), (40, 3))
LOGITS = "binary_cross_entropy_with_logits"

CASES = [
    Case("MeanSquaredError", mt.MeanSquaredError, "mse_loss", numbers, (*TABLES, *LINES)),
    Case("MeanSquaredError, weights", mt.MeanSquaredError, "mse_loss", numbers, TABLES, count=by_weight, weighted=True),
    Case("Huber", mt.Huber, "huber_loss", numbers, (*TABLES, *LINES)),
    Case(
        "Huber, delta 0.7",
        partial(mt.Huber, delta=0.7),
        "huber_loss",
        numbers,
        (*TABLES, *LINES),
        lambda torch: {"delta": 0.7},
    ),
    Case("SigmoidWithLoss", mt.SigmoidWithLoss, LOGITS, answers, (*TABLES, *LINES)),
    Case("SigmoidWithLoss, shares", mt.SigmoidWithLoss, LOGITS, shares, (*TABLES, *LINES)),
    Case(
        "SigmoidWithLoss, weights",
        mt.SigmoidWithLoss,
        LOGITS,
        shares,
        (*TABLES, *LINES),
        count=by_weight,
        weighted=True,
    ),
    Case(
        "SigmoidWithLoss, a pos_weight per column",
        partial(mt.SigmoidWithLoss, pos_weight=RARE),
        LOGITS,
        shares,
        CLASSES,
        lambda torch: {"pos_weight": torch.tensor(RARE)},
    ),
    Case(
        "SigmoidWithLoss, one pos_weight, weights",
        partial(mt.SigmoidWithLoss, pos_weight=np.array(2.5)),
        LOGITS,
        answers,
        (*TABLES, *LINES),
        lambda torch: {"pos_weight": torch.tensor(2.5, dtype=torch.float64)},
        count=by_weight,
        weighted=True,
    ),
    Case("SoftmaxWithLoss", mt.SoftmaxWithLoss, "cross_entropy", labels, (*CLASSES, (5, 2), (3, 1))),
    Case("SoftmaxWithLoss, rows", mt.SoftmaxWithLoss, "cross_entropy", rows, (*CLASSES, (5, 2))),
    Case(
        "SoftmaxWithLoss, weights",
        mt.SoftmaxWithLoss,
        "cross_entropy",
        labels,
        CLASSES,
        count=lambda t, weight: weight.sum(),
        weighted=True,
    ),
    Case(
        "SoftmaxWithLoss, class weights",
        partial(mt.SoftmaxWithLoss, class_weight=RARE),
        "cross_entropy",
        labels,
        CLASSES,
        weights,
    ),
    Case(
        "SoftmaxWithLoss, class weights and rows",
        partial(mt.SoftmaxWithLoss, class_weight=RARE),
        "cross_entropy",
        rows,
        CLASSES,
        weights,
        count=lambda t, weight: (t @ RARE).sum(),
    ),
    Case(
        "SoftmaxWithLoss, class weights and weights",
        partial(mt.SoftmaxWithLoss, class_weight=RARE),
        "cross_entropy",
        labels,
        CLASSES,
        weights,
        count=lambda t, weight: weight @ RARE[t],
        weighted=True,
    ),
    Case(
        "SoftmaxWithLoss, smoothed",
        partial(mt.SoftmaxWithLoss, label_smoothing=0.3),
        "cross_entropy",
        labels,
        CLASSES,
        smoothed,
    ),
    Case(
        "SoftmaxWithLoss, smoothed rows",
        partial(mt.SoftmaxWithLoss, label_smoothing=0.3),
        "cross_entropy",
        rows,
        CLASSES,
        smoothed,
    ),
    Case(
        "SoftmaxWithLoss, smoothed, class weights",
        partial(mt.SoftmaxWithLoss, label_smoothing=0.3, class_weight=RARE),
        "cross_entropy",
        labels,
        CLASSES,
        lambda torch: {**smoothed(torch), **weights(torch)},
    ),
    Case(
        "SoftmaxWithLoss, smoothed rows, class weights",
        partial(mt.SoftmaxWithLoss, label_smoothing=0.3, class_weight=RARE),
        "cross_entropy",
        rows,
        CLASSES,
        lambda torch: {**smoothed(torch), **weights(torch)},
        count=lambda t, weight: (t @ RARE).sum(),
    ),
]


def compare(torch: Any, case: Case) -> Row:
    return largest(case.name, case.places(torch), LIMIT)
