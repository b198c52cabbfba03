"""Where to run: a step timed on every backend, because small networks are slower on a GPU.

What a step costs is, for a small network, the calling of its operations, and on a GPU each call costs more.
From which size on a device pays cannot be known but by measuring, on the machine at hand.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from martlet.backend import (
    Backend,
    BackendUnavailable,
    as_backend,
    available_backends,
    backend_of,
    describe,
    host,
    namespace,
    to_numpy,
)
from martlet.batches import place_data, width_of
from martlet.checks import check_count, check_number
from martlet.compile import stepper
from martlet.evaluation import check_kinds
from martlet.layer import Layer
from martlet.loss import Loss
from martlet.memory import is_out_of_memory, place_of
from martlet.optimizers import Optimizer
from martlet.tree import leaves

TOGETHER = 4  # steps that are timed as one, for on some libraries a run of steps is one call


@dataclass(frozen=True)
class Advice:
    """The seconds of a training step, by backend and batch size, and why a backend was left out.

    ``print(advice)`` shows the table; ``advice.fastest(1024)`` names the best backend for a batch.
    """

    seconds: dict[str, dict[int, float]]
    left_out: dict[str, str]

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """The batch sizes that were timed, in order."""
        return tuple(sorted({size for times in self.seconds.values() for size in times}))

    def fastest(self, batch_size: int) -> str:
        """The backend with the shortest step for a batch size that was timed."""
        times = {name: found[batch_size] for name, found in self.seconds.items() if batch_size in found}
        if not times:
            raise ValueError(f"Advice: batch_size={batch_size} was not timed; these were: {self.batch_sizes}")
        return min(times, key=lambda name: times[name])

    def changes(self) -> list[tuple[int, str]]:
        """The batch sizes from which on another backend is the fastest, smallest first."""
        found: list[tuple[int, str]] = []
        for size in self.batch_sizes:
            name = self.fastest(size)
            if not found or found[-1][1] != name:
                found.append((size, name))
        return found

    def __str__(self) -> str:
        names = list(self.seconds)
        width = max([10, *map(len, names)])
        lines = ["batch size  " + "  ".join(f"{name:>{width}}" for name in names) + "   fastest"]
        for size in self.batch_sizes:
            times = [self.seconds[name].get(size) for name in names]
            cells = ["no room" if seconds is None else readable(seconds) for seconds in times]
            lines.append(
                f"{size:>10,}  " + "  ".join(f"{cell:>{width}}" for cell in cells) + f"   {self.fastest(size)}"
            )
        (_, first), *others = self.changes()
        lines.append("")
        lines.append(f"Time per training step.  For small batches: {first}.")
        lines += [f"From a batch of {size:,} on: {name}." for size, name in others]
        lines += [f"Left out: {name}, {why}" for name, why in self.left_out.items()]
        return "\n".join(lines)


def where_to_run(
    model: Layer,
    loss: Loss,
    optimizer: Optimizer,
    x: Any,
    t: Any,
    *,
    batch_sizes: Iterable[int] = (32, 1024, 32_768),
    backends: Iterable[str | Backend] | None = None,
    seconds: float = 0.3,
) -> Advice:
    """Time a training step on every usable backend, compiled as ``fit`` would, and say which is fastest.

    x, t: some samples; where there are fewer than a batch needs, they come again.  ``backends``: names or
    Backends; without it, all that this machine has but array_api_strict, which is for testing.
    ``seconds``: how long to repeat four steps in a row, after twice to warm up; the shortest time counts.  A batch
    that does not fit into a device's memory is left out there.  Nothing that is passed in changes.
    """
    check_kinds("where_to_run", model=model, loss=loss, optimizer=optimizer)
    sizes = _sizes(batch_sizes)
    wanted_backends = None if backends is None else _several("backends", "names", backends)
    check_number("where_to_run", "seconds", seconds, 0.0)
    place_data("where_to_run", model, loss, x, t)  # complains of what cannot be trained on
    found: dict[str, dict[int, float]] = {}
    left_out: dict[str, str] = {}
    if wanted_backends is None:
        wanted_backends = [name for name in available_backends() if name != "array_api_strict"]
    for wanted in wanted_backends:
        try:
            home = as_backend(wanted)
        except BackendUnavailable as error:
            left_out[str(wanted)] = str(error)
            continue
        times: dict[int, float] = {}
        for size in sizes:
            seconds_there = _time(home, model, loss, optimizer, x, t, size, seconds)
            if seconds_there is None:
                break
            times[size] = seconds_there
        if times:
            found[place_of(home)] = times
        else:
            left_out[place_of(home)] = f"a batch of {sizes[0]:,} does not fit into its memory"
    if not found:
        raise BackendUnavailable(f"where_to_run: none of the backends can be used: {left_out}")
    return Advice(found, left_out)


def _several(name: str, what: str, values: Any) -> list[Any]:
    if isinstance(values, str | bytes) or not isinstance(values, Iterable) or getattr(values, "shape", None) == ():
        raise TypeError(f"where_to_run: {name} must be several {what}, got {describe(values)}")
    return list(values)


def _sizes(batch_sizes: Any) -> list[int]:
    sizes = _several("batch_sizes", "integers", batch_sizes)
    if not sizes:
        raise ValueError("where_to_run: batch_sizes is empty")
    for size in sizes:
        check_count("where_to_run", "a batch size", size)
    return sorted(set(sizes))


def _time(
    home: Backend, model: Layer, loss: Loss, optimizer: Optimizer, x: Any, t: Any, size: int, seconds: float
) -> float | None:
    """The shortest of several steps on a backend, in seconds; None where the batch does not fit."""
    model = model.to(home)
    somewhere = leaves(model)[0] if leaves(model) else home.asarray(0.0)
    with home.active():
        try:
            loss = loss.to(backend_of(somewhere), dtype=width_of(model))
            rows = host.arange(size) % x.shape[0]
            x, t, _ = place_data("where_to_run", model, loss, *(_take(a, rows) for a in (x, t)))
            given = (model, loss, optimizer, optimizer.init(model), (x, t))
            steps, shortest = stepper(*given, size=size, together=TOGETHER), float("inf")
            stop = None
            for count in range(1_000_000):
                start = time.perf_counter()
                losses = steps.epochs([None] * TOGETHER, 1)
                home.synchronize(*(losses if isinstance(losses, list) else [losses]))
                end = time.perf_counter()
                if count == 1:  # twice to warm up
                    stop = end + seconds
                elif stop is not None:
                    shortest = min(shortest, (end - start) / TOGETHER)
                    if end > stop and count >= 4:
                        break
        except Exception as error:
            if not is_out_of_memory(error, somewhere):
                raise
            return None
    return shortest


def _take(a: Any, rows: Any) -> Any:
    return namespace(to_numpy(a)).take(to_numpy(a), rows, axis=0)


def readable(seconds: float) -> str:
    """Three digits and a unit."""
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * scale >= 1.0:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"
