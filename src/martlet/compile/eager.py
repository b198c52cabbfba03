"""Steps as they are written: one operation of the library after another.  What is compiled is held against this."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from martlet.backend import Array, backend_of
from martlet.batches import cut
from martlet.step import train_step


class CannotCompile(Exception):
    """Why a step cannot be compiled, in words that fit behind "because"."""


def reason_of(error: Exception) -> str:
    """What kept a compiler from compiling, in one line."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}".removeprefix("CannotCompile: ")


class Stepper:
    """Takes the steps of a training run.  It owns the model and the state, and what it was given stays as it is.

    Made of (model, loss, optimizer, state, arrays), with all samples in the arrays, and the keywords by which they are
    cut: size and last (see ``batches``).  words: how it takes the steps, in a short sentence.  whole, rest: how many
    whole batches an epoch has, and how many samples its short last one.  An exception, wherever it comes, leaves a
    model and a state that belong together.
    """

    words = ""

    def __init__(self, arrays: tuple[Any, ...], *, size: int, last: str = "keep") -> None:
        self.arrays, self.last = arrays, last
        self.count = int(arrays[0].shape[0])
        self.size = min(size, self.count) if last == "keep" else size
        self.whole, self.rest = self.count // self.size, self.count % self.size if last == "keep" else 0

    def shuffle(self, order: Array | None) -> None:
        """A new epoch: the numbers of all samples in the order in which they come; None is the order they have.

        The order is NumPy's, as it was drawn, or an array where the data is.
        """
        raise NotImplementedError

    def run(self, first: int, stop: int) -> Any:
        """Take the steps of these batches of the epoch, counted from 0: their losses, an array or a list of arrays."""
        raise NotImplementedError

    def epochs(self, orders: list[Array | None], steps: int) -> Any:
        """Take all steps of some epochs, so many of each: their losses, one epoch's after the other's."""
        losses: list[Any] = []
        for order in orders:
            self.shuffle(order)
            losses.extend(self.run(0, steps))  # not +=, which to an array is a sum
        return losses

    def read(self) -> tuple[Any, Any]:
        """The model and the state as they are now.  Nobody else writes to what is given here, now or later."""
        raise NotImplementedError

    def go_on_from(self, model: Any, state: Any) -> None:
        """What ``read`` gave, with the same numbers, may lie in memory in another order by now.

        Eager steps take it as it lies; the memory of a compiled step has an order of its own.
        """


class EagerStepper(Stepper):
    """``train_step`` for one batch after another, on any library."""

    def __init__(self, *given: Any, words: str = "eager", **cut: Any) -> None:
        model, self.loss, self.optimizer, state, arrays = given
        super().__init__(arrays, **cut)
        self.words = words
        self.step: Callable[..., tuple[Any, Any, Array]] = train_step
        self.now: tuple[Any, Any] = model, state
        self.order: Array | None = None

    def shuffle(self, order: Array | None) -> None:
        self.order = None if order is None else backend_of(self.arrays[0]).asarray(order)

    def run(self, first: int, stop: int) -> list[Array]:
        (model, state), loss, optimizer, step, values = self.now, self.loss, self.optimizer, self.step, []
        for batch in cut(self.arrays, self.order, self.size, self.last, first, stop):
            model, state, value = step(model, loss, optimizer, state, *batch)
            self.now = model, state  # the one before may go
            values.append(value)
        return values

    def read(self) -> tuple[Any, Any]:
        return self.now

    def go_on_from(self, model: Any, state: Any) -> None:
        self.now = model, state
