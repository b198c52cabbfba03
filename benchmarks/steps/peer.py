"""An epoch is an order and a stretch of steps: whoever can do these two things can be compared.

A turn takes some steps and says how long one took.  It always begins an epoch, so that what somebody does once for all
of its batches, such as putting the data in order, is paid for by its steps; an epoch that would be too long for one
turn is cut short, and its beginning is charged by its share.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from steps.workloads import Workload

CHECKED = 20  # at least so many first steps must have given the same losses


class Peer:
    """One way to train.  A subclass says how to place its data, what to build, how to take a stretch of steps."""

    words = ""  # what it says of itself
    each = 1  # a loss that it gives is the mean of so many steps

    def __init__(self, work: Workload) -> None:
        self.work = work
        self.rng = np.random.default_rng(0)
        self.epochs, self.stretch = 1, work.batches

    # what a subclass does

    def place(self) -> None:
        """Bring the data to where it will be used: before the clock, and before memory is measured."""
        _, _, self.x, self.t = self.work.draw()

    def build(self) -> None:
        """Make the model, the optimizer and what else is needed; compile, where that is possible already."""

    def begin(self, order: np.ndarray) -> None:
        """A new epoch, which sees the samples in this order.  ``rows`` are those of each batch."""
        whole = self.work.batches * self.work.batch
        self.rows = order[:whole].reshape(self.work.batches, self.work.batch)

    def run(self, first: int, stop: int) -> Sequence[Any]:
        """Take the steps of these batches of the epoch, and give their losses, wherever they are."""
        raise NotImplementedError

    def wait(self) -> None:
        """Until everything that was asked for has been computed."""

    # what is done with it

    def start(self) -> None:
        self.begin(self.rng.permutation(self.work.samples))

    def losses(self) -> list[float]:
        """Of the first steps: of whole epochs, until there are enough."""
        found: list[float] = []
        while len(found) * self.each < CHECKED:
            self.start()
            found += [float(value) for value in self.run(0, self.work.batches)]
        return found

    def settle(self, block: float) -> None:
        """Warm up, and choose how many steps make a turn of about so many seconds."""
        self.epochs, self.stretch = 1, self.work.batches
        self.turn()
        while (once := min(self.turn()[0], self.turn()[0]) * self.work.batches) * self.epochs < block / 4:
            self.epochs *= 2
        self.epochs = max(1, round(block / once))
        if once > block:
            self.stretch = max(1, math.ceil(block / once * self.work.batches))
            self.turn()

    def turn(self) -> tuple[float, ...]:
        """Seconds per step; a second number is to be taken off, when each has been found over many turns."""
        start = time.perf_counter()
        if self.stretch == self.work.batches:
            for _ in range(self.epochs):
                self.start()
                self.run(0, self.stretch)
            self.wait()
            return ((time.perf_counter() - start) / (self.epochs * self.stretch),)
        self.start()
        self.wait()
        begun = time.perf_counter()
        self.run(0, self.stretch)
        self.wait()
        return ((begun - start) / self.work.batches + (time.perf_counter() - begun) / self.stretch,)
