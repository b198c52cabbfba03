"""The memory of what a step changes: parameters, memories, counters, block by block."""

from __future__ import annotations

import math
import operator
import sys
from typing import Any

import numpy as np

from martlet.compile.plans.lower import array_in, buffer
from martlet.compile.programs.layout import Spec
from martlet.compile.rewriting.flat import Block


class State:
    """The arrays that a step changes, each block of them in one piece of memory.

    ``values`` are their numbers at the beginning, by the name of the input.  Plans for batches of other sizes share it.
    """

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values
        self._kept: set[str] = set()  # what some plan takes as it was
        self.blocks: dict[tuple[str, ...], Any] = {}
        self._ahead = iter(range(sys.maxsize))
        self.count = self._ahead.__next__  # the last call of a step
        self.counters: dict[str, int] = {}  # what no step writes, because it only grows by so much in each

    @property
    def steps(self) -> int:
        """How many steps have been taken."""
        return sys.maxsize - operator.length_hint(self._ahead)

    def counts(self, counters: dict[str, int]) -> None:
        """These integers grow by so much in each step, and no step writes them."""
        if self.counters not in ({}, counters):
            raise ValueError("plans with one state must count the same of it")
        self.counters = counters

    def of(self, block: Block) -> Any:
        """The memory of a block, with its numbers in it."""
        key = names_of(block)
        if key not in self.blocks:
            placed = self._placed()
            if len(key) == 1 and key[0] in placed:
                return placed[key[0]]
            if wrong := self._kept.intersection(key):
                raise ValueError(f"plans with one state must change the same of it; another one keeps {wrong.pop()}")
            array = self.new(block.before.spec)
            for name, part in self._parts(key, array):
                part[...] = self.values[name]
            self.blocks[key] = array
        return self.blocks[key]

    def stays(self, name: str, spec: Spec) -> Any:
        """A copy of an array that a plan reads and does not change; no other one may."""
        if name in self._placed():
            raise ValueError(f"plans with one state must change the same of it; another one changes {name}")
        self._kept.add(name)
        array = self.new(spec)
        array[...] = self.values[name]
        return array

    def laid_out_otherwise(self, blocks: list[Block]) -> set[str]:
        """The leaves of those blocks whose arrays have been laid out by an earlier plan, and not side by side."""
        placed = self._placed()
        return {
            slot.leaf
            for block in blocks
            if (key := names_of(block)) not in self.blocks and len(key) > 1 and not placed.keys().isdisjoint(key)
            for slot in block.slots
        }

    def _placed(self) -> dict[str, Any]:
        return {name: part for key, array in self.blocks.items() for name, part in self._parts(key, array)}

    def _parts(self, key: tuple[str, ...], array: Any) -> list[tuple[str, Any]]:
        if len(key) == 1:
            return [(key[0], array)]
        found, start = [], 0
        for name in key:
            shape = self.values[name].shape
            stop = start + math.prod(shape)
            found.append((name, array[start:stop].reshape(shape)))
            start = stop
        return found

    def read(self) -> dict[str, Any]:
        """Copies of all arrays as they are now, by name."""
        now = {name: self.copied(part) for name, part in (self.values | self._placed()).items()}
        for name, growth in self.counters.items():
            now[name] = self.counted(self.values[name], self.steps * growth)
        return now

    # How NumPy does it.  Another library has its own answers.

    def new(self, spec: Spec) -> Any:
        """An array of this form."""
        return array_in(buffer(spec.nbytes), spec)

    def copied(self, array: Any) -> Any:
        return array.copy()

    def counted(self, start: Any, growth: int) -> Any:
        """An integer (), so much later."""
        return np.asarray(start + np.asarray(growth).astype(start.dtype))


def names_of(block: Block) -> tuple[str, ...]:
    return tuple(slot.before.settings["name"] for slot in block.slots)
