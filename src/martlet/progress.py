"""What a training run says of itself: its losses, read from the device now and then, and a bar."""

from __future__ import annotations

import math
import sys
from typing import Any

from martlet.backend import Array, namespace, to_numpy
from martlet.functions import wide


class LossLog:
    """The losses of an epoch.  They stay on their device and are read a thousand at a time."""

    def __init__(self, reduction: str) -> None:
        self.reduction = reduction
        self.waiting: list[tuple[Array, Array | float]] = []
        self.sum = self.count = 0.0
        self.unit = 1.0  # of the sum: losses that are numbers may add up to none

    def add(self, value: Array, batch: tuple[Array, ...]) -> bool:
        """Note a batch's loss; True when it is time to read."""
        share: Array | float = float(batch[0].shape[0])
        if len(batch) == 3:
            share = namespace(batch[2]).sum(wide(batch[2]))
        self.waiting.append((value, 1.0 if self.reduction == "sum" else share))
        return len(self.waiting) >= 1000

    def read(self) -> list[float]:
        """Bring the waiting losses to the host in one transfer, count them, and give them back."""
        values = _to_floats([value for value, _ in self.waiting])
        shares = _to_floats([share for _, share in self.waiting])
        if all(map(math.isfinite, values)):  # else there is no sum, and the run is about to end
            if self.unit == 1.0 and max(map(abs, values), default=0.0) > 1e150:
                self.unit = 2.0**600  # a power of two, which rounds nothing
                self.sum /= self.unit
            self.sum += math.fsum(value / self.unit * share for value, share in zip(values, shares, strict=True))
            self.count += math.fsum(shares)
        self.waiting = []
        return values

    def result(self) -> float:
        """The mean loss, counted by samples; with reduction="sum", the sum."""
        return self.unit * (self.sum if self.reduction == "sum" else self.sum / self.count)


def _to_floats(numbers: list[Array | float]) -> list[float]:
    if not numbers or isinstance(numbers[0], float):
        return numbers
    xp = namespace(numbers[0])
    return [float(x) for x in to_numpy(xp.stack([xp.asarray(number) for number in numbers]))]


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
