"""The memory of what a step changes: parameters, memories, counters, block by block."""

from __future__ import annotations

import operator
import sys

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
        self._ahead = iter(range(sys.maxsize))
        self.count = self._ahead.__next__  # the last call of a step
        self.counters: dict[str, int] = {}  # what no step writes, because it only grows by so much in each

    @property
    def steps(self) -> int:
        """How many steps have been taken."""
        return sys.maxsize - operator.length_hint(self._ahead)

    def of(self, block: Block) -> np.ndarray:
        """The memory of a block, with its numbers in it."""
        key = tuple(slot.before.settings["name"] for slot in block.slots)
        if key not in self.blocks:
            array = array_in(buffer(block.before.spec.nbytes), block.before.spec)
            for name, part in self._parts(key, array):
                part[...] = self.values[name]
            self.blocks[key] = array
        return self.blocks[key]

    def _parts(self, key: tuple[str, ...], array: np.ndarray) -> list[tuple[str, np.ndarray]]:
        if len(key) == 1:
            return [(key[0], array)]
        found, start = [], 0
        for name in key:
            shape, stop = self.values[name].shape, start + self.values[name].size
            found.append((name, array[start:stop].reshape(shape)))
            start = stop
        return found

    def read(self) -> dict[str, np.ndarray]:
        """Copies of all arrays as they are now, by name."""
        now = dict(self.values)
        for key, array in self.blocks.items():
            now.update((name, part.copy()) for name, part in self._parts(key, array))
        for name, growth in self.counters.items():
            start = self.values[name]
            now[name] = np.asarray(start + np.asarray(self.steps * growth).astype(start.dtype))
        return now


def filled(spec: Spec, values: np.ndarray) -> np.ndarray:
    """A new array of this form with these numbers."""
    array = array_in(buffer(spec.nbytes), spec)
    array[...] = values
    return array
