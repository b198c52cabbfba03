"""Out of memory: which batch was too large, and which would fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from martlet.backend import Array, Backend, device_name, library_of


class OutOfMemory(MemoryError):
    """A training run did not fit into the device's memory.

    batch_size: what was tried; fits: the largest of its halves, quarters, … that was then tried and fitted,
    or None.  beside: "", or what there was no room for that is no step; then the batch itself fits.
    model, history: as they were after the last epoch that was finished.
    """

    def __init__(
        self, batch_size: int, fits: int | None, where: str, words: str, model: Any, history: Any, beside: str = ""
    ) -> None:
        advice = "nor does its half, its quarter, …" if fits is None else f"batch_size={fits} was tried then, and fits"
        if beside:
            advice = "no other batch size would help"
        super().__init__(
            f"fit: {beside or f'a step with batch_size={batch_size}'} does not fit into the memory of {where}: "
            f"{advice} ({words})"
        )
        self.batch_size, self.fits, self.where, self.words = batch_size, fits, where, words
        self.model, self.history, self.beside = model, history, beside

    def __reduce__(self) -> Any:
        given = self.batch_size, self.fits, self.where, self.words, self.model, self.history, self.beside
        return type(self), given


def is_out_of_memory(error: BaseException, x: Array) -> bool:
    """Whether an exception is how the library of ``x`` says that its device has no room."""
    return library_of(x).ran_out_of_memory(error)


def largest_that_fits(step: Callable[[int], Any], batch_size: int, x: Array) -> int | None:
    """Take a step with half as many samples, a quarter, …, until one fits; None if none does."""
    while batch_size > 1:
        batch_size //= 2
        try:
            step(batch_size)
        except ValueError:  # a layer wants more samples
            return None
        except Exception as error:
            if not is_out_of_memory(error, x):
                raise
            let_go(error)
        else:
            return batch_size
    return None


def let_go(error: BaseException | None) -> None:
    """Free an exception, and those behind it, of the frames that keep the arrays of a failed step alive."""
    while error is not None:
        error.__traceback__ = None
        error = error.__context__


def place_of(home: Backend) -> str:
    """A backend in words: ``cupy cuda:0``."""
    return home.name if home.device is None else f"{home.name} {device_name(home.device)}"
