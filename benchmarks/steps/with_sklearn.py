"""scikit-learn's MLPClassifier trains on NumPy too; one call of its ``partial_fit`` takes a whole stretch of steps.

Its weights are set to everybody's, its penalty is off and it shuffles nothing, so that it does the same arithmetic.
Its Adam does not quite, and its losses are then not compared.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gpu.worker import Missing
from sklearn.neural_network import MLPClassifier

from steps.peer import Peer
from steps.workloads import Workload

SOLVERS: dict[str, dict[str, Any]] = {
    "SGD": {"solver": "sgd", "momentum": 0.0},
    "Momentum": {"solver": "sgd", "momentum": 0.9, "nesterovs_momentum": False},
    "Adam": {"solver": "adam"},
}


class MLP(Peer):
    def __init__(self, work: Workload) -> None:
        super().__init__(work)
        self.each = work.batches
        if len(work.widths) < 3:
            raise Missing("an MLPClassifier has a hidden layer")
        if work.optimizer == "Adam":
            self.words = "its Adam adds eps before it corrects the second moment: its losses are not compared"

    def place(self) -> None:
        _, _, x, t = self.work.draw()
        self.x, self.t = x, t.reshape(-1).astype(np.int64)

    def build(self) -> None:
        work = self.work
        weights, biases, _, _ = work.draw()
        self.model = MLPClassifier(
            work.widths[1:-1],
            activation={"sigmoid": "logistic"}.get(work.activation, work.activation),
            learning_rate_init=work.lr,
            alpha=0.0,
            batch_size=work.batch,
            shuffle=False,
            **SOLVERS[work.optimizer],
        )
        classes = np.arange(max(2, work.widths[-1]))
        self.model.partial_fit(self.x[: work.batch], self.t[: work.batch], classes=classes)  # makes the arrays
        for mine, given in zip(self.model.coefs_ + self.model.intercepts_, weights + biases, strict=True):
            mine[...] = given
        del self.model._optimizer  # with its memory of that step

    def losses(self) -> list[float]:
        found = super().losses()
        return [] if self.work.optimizer == "Adam" else found

    def run(self, first: int, stop: int) -> list[float]:
        rows = self.rows[first:stop].reshape(-1)
        self.model.partial_fit(self.x[rows], self.t[rows])
        return [self.model.loss_]
