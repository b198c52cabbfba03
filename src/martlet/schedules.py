"""Schedules: how the learning rate changes from step to step, as a factor of the optimizer's lr.

    SGD(lr=0.1, schedule=schedules.Cosine(steps=3000, warmup=100))

A schedule is a formula of n, the number of steps that have been taken.  Its numbers are in the optimizer's
state, and so is n: a resumed run goes on where it stopped.  Lengths are counted in steps, that is batches.
"""

from __future__ import annotations

import math
from typing import Any

from martlet.backend import Array, namespace
from martlet.checks import check_number
from martlet.numbered import Numbered


class Schedule(Numbered):
    """The base of every schedule.  A new one declares its numbers and writes ``factor``.

    The first ``warmup`` steps lead up to the full learning rate in a straight line; ``factor`` counts
    its steps from there.
    """

    warmup: float = 0.0

    def __post_init__(self) -> None:
        check_number(self, "warmup", self.warmup, 0.0)

    def at(self, n: Array, state: Any) -> Array:
        """The factor of step n, counted from 0: n is a 0-d array of the state's dtype."""
        xp = namespace(n)
        ramp = xp.minimum((n + 1.0) / xp.maximum(state.warmup, 1.0), 1.0)
        return ramp * self.factor(xp.maximum(n - state.warmup, 0.0), state)

    def factor(self, n: Array, state: Any) -> Array:
        """The factor n steps after the warm-up."""
        raise NotImplementedError(f"{type(self).__name__} has no factor")


class Constant(Schedule):
    """1: nothing but the warm-up."""

    def factor(self, n, state):
        return namespace(n).ones_like(n)


class Step(Schedule):
    """ratio ^ ⌊n / every⌋: a staircase."""

    every: float
    ratio: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "every", self.every, 1.0)
        check_number(self, "ratio", self.ratio, 0.0)

    def factor(self, n, state):
        return state.ratio ** namespace(n).floor(n / state.every)


class Exponential(Step):
    """ratio ^ (n / every): the slope on which the staircase of Step stands."""

    def factor(self, n, state):
        return state.ratio ** (n / state.every)


class Cosine(Schedule):
    """end + (1 - end) · ½ (1 + cos(π n / steps)): half a wave from 1 down to ``end``, where it stays

    Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017, without restarts.
    """

    steps: float
    end: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "steps", self.steps, 1.0)
        check_number(self, "end", self.end, 0.0, 1.0)

    def factor(self, n, state):
        xp = namespace(n)
        wave = 0.5 * (1.0 + xp.cos(math.pi * xp.minimum(n / state.steps, 1.0)))
        return state.end + (1.0 - state.end) * wave
