"""A step belongs to an epoch: data, more than one batch of it, in an order that is drawn anew each time.

The networks and batches are those of ``gpu/workloads.py``; here their data lies in one piece, for whoever trains takes
the rows of a batch out of it, and that is part of the step.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

from gpu import workloads as networks
from gpu.workloads import Drawn


@dataclass(frozen=True)
class Workload(networks.Workload):
    """A network, its optimizer and an epoch of its data: so many whole batches, and a rest that fills none."""

    rest: int = 0

    @property
    def samples(self) -> int:
        return self.batches * self.batch + self.rest

    def draw(self) -> Drawn:
        """Weights, biases, data and targets, one row per sample: the same for every peer, and not to be written to."""
        return draw(self)


@functools.lru_cache(maxsize=1)
def draw(work: Workload) -> Drawn:
    """Every point comes twice, with a label of its own each time, so that nobody can learn the labels by heart.

    Somebody who has learned them has gradients so small that a processor takes a hundred times as long with each, and
    who has taken more steps by then is not faster or slower, but elsewhere.
    """
    network = networks.Workload(work.name, work.widths, work.activation, work.batch, work.optimizer, work.lr)
    weights, biases, x, t = dataclasses.replace(network, batches=work.batches + bool(work.rest)).draw()
    networks.draw.cache_clear()  # the one copy of the data is ours
    x, t = x.reshape(-1, work.widths[0])[: work.samples], t.reshape(-1, *t.shape[2:])[: work.samples]
    half = work.samples // 2
    x[half : 2 * half] = x[:half]
    return weights, biases, x, t


def epochs_of(network: networks.Workload, batches: int = 10, rest: int = 0) -> Workload:
    fields = {field.name: getattr(network, field.name) for field in dataclasses.fields(network)}
    return Workload(**fields | {"batches": batches, "rest": rest})


SMALL = {network.name: network for network in networks.SMALL}
WORKLOADS = {
    "W1": epochs_of(SMALL["W1"]),
    "W2": epochs_of(SMALL["W2"]),
    "W3": epochs_of(SMALL["W3"]),
    "W3a": epochs_of(dataclasses.replace(SMALL["W3"], name="W3a", widths=(30, 1))),
    "W4": epochs_of(SMALL["W4"]),
    "W5m": epochs_of(SMALL["W5m"]),
    "W5a": epochs_of(SMALL["W5a"]),
    "W6": epochs_of(SMALL["W6"], batches=15, rest=999_000 - 15 * 65_536),
}


def with_batch(batch: int) -> Workload:
    """The network of the big spiral, with other batches."""
    return epochs_of(dataclasses.replace(SMALL["W6"], name=f"batch {batch:,}", batch=batch))


def with_width(width: int) -> Workload:
    """The network of the MNIST-sized step, with other widths."""
    widths = (784, width, width, 10)
    return epochs_of(dataclasses.replace(SMALL["W5m"], name=f"width {width:,}", widths=widths))


BATCHES, WIDTHS = (64, 256, 1024, 4096, 16_384, 65_536), (32, 64, 128, 256, 512, 1024, 2048)


def smaller(work: Workload) -> Workload:
    """For a rehearsal: an eighth of the width where it is wide, no more than 4,096 rows, and short epochs of those."""
    widths = tuple(width // 8 if width == 1024 else width for width in work.widths)
    if work.batch <= 4096:
        return dataclasses.replace(work, widths=widths)
    return dataclasses.replace(work, batch=4096, batches=4, rest=1000)
