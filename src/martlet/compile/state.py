"""The memory of what a step changes: parameters, memories, counters, block by block."""

from __future__ import annotations

import copy
import itertools

import numpy as np

from martlet.compile.flat import Block
from martlet.compile.layout import Spec
from martlet.compile.lower import array_in, buffer


class State:
    """The arrays that a step changes, each block of them in one piece of memory.

    ``values`` are their numbers at the beginning, by the name of the input.  Plans for batches of other sizes share it.
    """

    def __init__(self, values: dict[str, np.ndarray]) -> None:
        self.values = values
        self.blocks: dict[tuple[str, ...], np.ndarray] = {}
        self.parts: dict[str, np.ndarray] = {}  # of the blocks, by name
        self.counters: dict[str, int] = {}  # what no step writes, because it only grows by so much in each
        self._steps = itertools.count()
        # The last call of a step.  It is C's, so that a Ctrl-C comes before it or after it.
        self.tick = self._steps.__next__

    @property
    def steps(self) -> int:
        """How many steps have been taken."""
        taken: int = copy.copy(self._steps).__next__()
        return taken

    def of(self, block: Block) -> np.ndarray:
        """The memory of a block, with its numbers in it."""
        key = tuple(slot.before.settings["name"] for slot in block.slots)
        if key not in self.blocks:
            if self.parts.keys() & set(key):
                raise ValueError(f"the state of {', '.join(key)} is laid out otherwise by another plan")
            array = array_in(buffer(block.before.spec.nbytes), block.before.spec)
            for name, part in zip(key, self._parts(key, array), strict=True):
                part[...] = self.values[name]
                self.parts[name] = part
            self.blocks[key] = array
        return self.blocks[key]

    def _parts(self, key: tuple[str, ...], array: np.ndarray) -> list[np.ndarray]:
        if len(key) == 1:
            return [array]
        found, start = [], 0
        for name in key:
            stop = start + self.values[name].size
            found.append(array[start:stop].reshape(self.values[name].shape))
            start = stop
        return found

    def count(self, counters: dict[str, int]) -> None:
        """These integers grow by so much in each step, and no step writes them."""
        if self.counters and self.counters != counters:
            raise ValueError("the counters of the state are others in another plan")
        self.counters = counters

    def read(self) -> dict[str, np.ndarray]:
        """Copies of all arrays as they are now, by name."""
        now = {**self.values, **{name: part.copy() for name, part in self.parts.items()}}
        for name, growth in self.counters.items():
            start = self.values[name]
            now[name] = np.asarray(start + np.asarray(self.steps * growth).astype(start.dtype))
        return now


def filled(spec: Spec, values: np.ndarray) -> np.ndarray:
    """A new array of this form with these numbers."""
    array = array_in(buffer(spec.nbytes), spec)
    array[...] = values
    return array
