"""What a training run says of itself: its losses, and a bar."""

from __future__ import annotations

import math
import sys
from typing import Any

from martlet.backend import Array, host, namespace, to_numpy


class LossLog:
    """The losses of an epoch, each counted for as much as its batch."""

    def __init__(self, reduction: str) -> None:
        self.reduction = reduction
        self.sum = self.count = 0.0
        self.unit = 1.0  # of the sum: losses that are numbers may add up to none

    def add(self, values: list[float], shares: list[float]) -> None:
        """Count the losses of some batches, all of them finite, by their shares: samples, or sums of weights."""
        if self.unit == 1.0 and max(map(abs, values), default=0.0) > 1e150:
            self.unit = 2.0**600  # a power of two, which rounds nothing
            self.sum /= self.unit
        if self.reduction == "sum":
            shares = [1.0] * len(values)
        self.sum += math.fsum(value / self.unit * share for value, share in zip(values, shares, strict=True))
        self.count += math.fsum(shares)

    def result(self) -> float:
        """The mean loss, counted by samples; with reduction="sum", the sum."""
        return self.unit * (self.sum if self.reduction == "sum" else self.sum / self.count)


def to_floats(numbers: Array | list[Array]) -> list[float]:
    """Numbers of a device, an array of them or a list of arrays (), brought to the host in one transfer."""
    if isinstance(numbers, list):
        if all(namespace(number) is host for number in numbers):
            return list(map(float, numbers))
        numbers = namespace(numbers[0]).stack(numbers)
    found: list[float] = to_numpy(numbers).tolist()
    return found


class NoBar:
    """Stands in for tqdm where no bar is shown."""

    def __enter__(self) -> NoBar:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def update(self, steps: int) -> None:
        pass

    def set_postfix(self, **words: str) -> None:
        pass

    def write(self, words: str, file: Any) -> None:
        pass


def progress_bar(steps: int, progress: bool | None) -> Any:
    """A tqdm bar, if it is asked for (True) or if tqdm is installed and standard error is a terminal (None)."""
    if progress is False or (progress is None and not sys.stderr.isatty()):
        return NoBar()
    try:
        from tqdm import tqdm
    except ImportError:
        if progress is None:
            return NoBar()
        raise ImportError('progress=True needs tqdm: pip install "martlet[progress]"') from None
    return tqdm(total=steps, unit="step")
