"""A step as a flat list of calls, which is walked through in C.

Between its calls no signal is handled: Ctrl-C comes before a step or after it.  Where a call fails, the state is still
the old one; or, once its first number has been written, the rest of the calls is made up for, and it is the new one.
It is never torn.
"""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import starmap
from typing import Any

import numpy as np

from martlet.compile.plans.lower import Call


class Calls:
    """A flat list of calls, of which those from number ``commit`` on write the state; ``count`` counts the step."""

    def __init__(self, calls: Sequence[Call], commit: int, count: Callable[[], Any] = int) -> None:
        self.calls = list(calls)
        self.commit = commit
        self.count = count
        # A Ctrl-C is noticed after the last of them, when all is done: a call that does nothing tells that apart.
        self._ended = [*self.calls, (count,), (int,)]

    def run(self) -> None:
        left = iter(self._ended)
        try:
            deque(starmap(operator.call, left), maxlen=0)
        except BaseException as error:
            failed = self._failed(left)
            if failed >= self.commit:
                self._make_up(failed, error)
            raise

    def _failed(self, left: Iterator[Call]) -> int:
        """The number of the call that has raised, by those that are left."""
        return len(self._ended) - 1 - operator.length_hint(left)

    def _make_up(self, failed: int, error: BaseException) -> None:
        """The rest of a step whose call of this number raised, once the state has begun to change."""
        with np.errstate(all="ignore"):
            while failed < len(self._ended) - 1:
                left = iter(self._ended[failed + self._has_written(failed, error) :])
                try:
                    deque(starmap(operator.call, left), maxlen=0)
                    return
                except BaseException as again:
                    before, failed, error = failed, self._failed(left), again
                    if failed == before:  # the memory is really gone
                        raise

    def _has_written(self, number: int, error: BaseException) -> bool:
        """Whether a call that raised must not be made again: it has written over what it reads.

        Without memory, no call begins to write.  What else a ufunc raises (a warning that is an error, a Ctrl-C
        while a warning is shown) comes after its last number.
        """
        function, *arguments = self._ended[number]
        if isinstance(error, MemoryError) or not isinstance(function, np.ufunc):
            return False
        return any(np.may_share_memory(x, arguments[-1]) for x in arguments[:-1])

    def __len__(self) -> int:
        return len(self.calls)
