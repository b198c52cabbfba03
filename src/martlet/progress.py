"""What a training run says of itself: its losses, and a bar."""

from __future__ import annotations

import math
import sys
from typing import Any

from martlet.backend import Array, host, namespace, to_numpy


def mean_loss(values: list[float], shares: list[float], reduction: str) -> float:
    """The mean of an epoch's losses, all of them finite, counted by their shares; with reduction="sum", the sum."""
    if reduction == "sum":
        shares = [1.0] * len(values)
    unit = 2.0**600 if max(map(abs, values)) > 1e150 else 1.0  # a power of two, which rounds nothing
    total = math.fsum(value / unit * share for value, share in zip(values, shares, strict=True))
    return unit * (total if reduction == "sum" else total / math.fsum(shares))


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
