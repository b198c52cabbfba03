"""A training step is a few widths, a batch and an optimizer; small ones cost calls, large ones arithmetic."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from dataclasses import dataclass

import numpy as np

Drawn = tuple[list[np.ndarray], list[np.ndarray], np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Workload:
    """A network, its batches and its optimizer.  One column of the table of step times."""

    name: str
    widths: tuple[int, ...]
    activation: str
    batch: int
    optimizer: str
    lr: float
    batches: int = 10
    on_numpy: bool = True  # whether NumPy is quick enough to take part

    @property
    def pairs(self) -> list[tuple[int, int]]:
        return list(itertools.pairwise(self.widths))

    @property
    def what(self) -> str:
        net = "-".join(f"{width:,}" for width in self.widths)
        return f"{net} {self.activation}, batch {self.batch:,}, {self.optimizer}"

    @property
    def operations(self) -> int:
        """Of the bare products, a multiplication and an addition counted as two: forward, dW, and dx but the first."""
        inside = sum(a * b for a, b in self.pairs[1:])
        return 2 * self.batch * (2 * sum(a * b for a, b in self.pairs) + inside)

    def draw(self) -> Drawn:
        """Weights, biases, batches of data, and their targets: the same for every peer, and not to be written to."""
        return draw(self)


@functools.lru_cache(maxsize=1)
def draw(work: Workload) -> Drawn:
    rng, f4 = np.random.default_rng(0), np.float32
    weights = [rng.standard_normal((a, b), dtype=f4) * f4(np.sqrt(1.0 / a)) for a, b in work.pairs]
    biases = [np.zeros(b, dtype=f4) for b in work.widths[1:]]
    x = rng.standard_normal((work.batches, work.batch, work.widths[0]), dtype=f4)
    if work.widths[-1] == 1:  # a column of 0 and 1
        return weights, biases, x, rng.integers(0, 2, (work.batches, work.batch, 1)).astype(f4)
    return weights, biases, x, rng.integers(0, work.widths[-1], (work.batches, work.batch))


def wide(width: int, batch: int = 4096) -> Workload:
    """Three products that are all arithmetic, and a narrow one to end with."""
    name = f"{width:,} wide"
    return Workload(name, (width,) * 4 + (10,), "relu", batch, "Momentum", 0.01, batches=3, on_numpy=False)


SMALL = [
    Workload("W1", (2, 3, 1), "tanh", 4, "SGD", 0.1),
    Workload("W2", (2, 10, 3), "sigmoid", 30, "SGD", 1.0),
    Workload("W3", (30, 10, 1), "sigmoid", 364, "SGD", 0.1),
    Workload("W4", (64, 128, 10), "relu", 128, "Adam", 0.001),
    Workload("W5m", (784, 1024, 1024, 10), "relu", 256, "Momentum", 0.01),
    Workload("W5a", (784, 1024, 1024, 10), "relu", 256, "Adam", 0.001),
    Workload("W6", (2, 128, 128, 3), "tanh", 65_536, "SGD", 0.1),
]
WIDE = [wide(4096), wide(8192)]


def chosen(rehearsal: bool) -> tuple[list[Workload], list[Workload]]:
    """The small ones and the wide ones; for a rehearsal on a processor, narrower and with smaller batches."""
    if not rehearsal:
        return SMALL, WIDE
    small = [dataclasses.replace(w, batch=min(w.batch, 64)) for w in SMALL]
    narrow = [wide(width, batch=128) for width in (128, 256)]
    return small, [
        dataclasses.replace(n, name=f"{n.widths[0]} for {w.name}") for n, w in zip(narrow, WIDE, strict=True)
    ]
