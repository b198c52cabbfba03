"""The same curve everywhere: one model trained from one seed on every backend, and how far apart the runs end.

Rounding grows from step to step, so a whole training run is a harder comparison than any one layer.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from martlet.advice import readable
from martlet.backend import (
    Backend,
    BackendUnavailable,
    as_backend,
    describe,
    device_name,
    float_width,
    is_floating,
    survey,
)
from martlet.batches import check_batches, place_data
from martlet.checks import check_count
from martlet.evaluation import check_kinds
from martlet.layer import Layer
from martlet.loss import Loss
from martlet.memory import place_of
from martlet.optimizers import Optimizer
from martlet.testing.parity import aligned, difference, in_short
from martlet.testing.targets import exact_jax, on_host
from martlet.training import fit
from martlet.tree import leaves


@dataclass(frozen=True)
class Run:
    """One backend's run beside the reference's.

    ``loss``: the largest difference of the loss curve; ``parameters``: that of the trained model's floats, and
    ``relative`` the same in units of the largest of them; ``seconds``: a step's time, the median over the epochs
    after the first, in which there may be compiling (None where there is no other).  ``error``: what ended the run,
    or "", and then there are no numbers.
    """

    backend: str
    loss: float | None = None
    parameters: float | None = None
    relative: float | None = None
    seconds: float | None = None
    error: str = ""


@dataclass(frozen=True)
class Comparison:
    """The runs, the reference first, and why a backend was left out.  ``print(comparison)`` shows the table."""

    rows: tuple[Run, ...]
    left_out: dict[str, str]
    epochs: int
    dtype: str

    @property
    def reference(self) -> str:
        """The backend that the others are compared with."""
        return self.rows[0].backend

    def __str__(self) -> str:
        head = ("backend", "loss curve", "parameters", "relative", "time per step")
        lines = aligned([head, *map(_cells, self.rows)])
        length = f"{self.epochs} epoch{'s' * (self.epochs > 1)}"
        lines += ["", f"Largest differences from {self.reference} after {length} in {self.dtype}."]
        lines += [f"Failed: {row.backend}, {row.error}" for row in self.rows if row.error]
        lines += [f"Left out: {name}, {why}" for name, why in self.left_out.items()]
        return "\n".join(lines)


def _cells(run: Run) -> tuple[str, ...]:
    numbers = ("-" if n is None else in_short(n) for n in (run.loss, run.parameters, run.relative))
    return run.backend, *numbers, "-" if run.seconds is None else readable(run.seconds)


def compare_backends(
    model: Layer,
    loss: Loss,
    optimizer: Optimizer,
    x: Any,
    t: Any,
    *,
    backends: Iterable[str | Backend] | None = None,
    epochs: int = 10,
    batch_size: int = 32,
    seed: int = 0,
    dtype: Any = "float64",
) -> Comparison:
    """Train a model with ``fit`` on each backend, and say how far the runs are apart and what a step takes.

    x: one sample per row; t: the targets that the loss expects.  ``backends``: names or Backends, of which the
    first usable one is the reference; without it, all that this machine has, NumPy first.  ``dtype``: the width
    that every run computes in; float64 shows what rounding hides in float32.  JAX has 64 bits here, whatever its
    setting is outside, and full float32 products.  Nothing that is passed in changes.

    A run that fails where the reference does not is a row that says so.  What cannot be trained on raises
    ValueError or TypeError, as ``fit`` does; where no backend can be used, BackendUnavailable.
    """
    owner = "compare_backends"
    check_kinds(owner, model=model, loss=loss, optimizer=optimizer)
    check_count(owner, "epochs", epochs)
    check_batches(owner, batch_size, "keep")
    check_count(owner, "seed", seed, 0)
    width = float_width(dtype)
    place_data(owner, model, loss, x, t)  # complains of what cannot be trained on
    homes, left_out = _usable(backends, width)
    rows: list[Run] = []
    expected: tuple[list[np.ndarray], list[np.ndarray]] | None = None
    for home in homes:
        try:
            place, curve, floats, seconds = _train(home, model, loss, optimizer, x, t, epochs, batch_size, seed)
        except Exception as error:
            if expected is None:
                raise
            rows.append(Run(place_of(home), error=f"{type(error).__name__}: {error}".splitlines()[0]))
            continue
        expected = expected or (curve, floats)
        apart, (gap, relative) = difference(curve, expected[0])[0], difference(floats, expected[1])
        rows.append(Run(place, apart, gap, relative, seconds))
    return Comparison(tuple(rows), left_out, epochs, width)


def _usable(backends: Any, width: str) -> tuple[list[Backend], dict[str, str]]:
    """The backends, computing in that width, and why others are left out."""
    if isinstance(backends, str | Backend) or not isinstance(backends, Iterable | None):
        raise TypeError(f"compare_backends: backends must be several names or Backends, got {describe(backends)}")
    left_out = {}
    if backends is None:
        known = survey()
        left_out = {name: why for name, *_, why in known if why}
        backends = [name for name, *_ in known if name not in left_out]
    homes = []
    for wanted in backends:
        try:
            found = as_backend(wanted)
            with exact_jax(found):
                homes.append(Backend(found.name, found.device, width))
        except BackendUnavailable as error:
            left_out[str(wanted)] = str(error)
    if not homes:
        raise BackendUnavailable(f"compare_backends: none of the backends can be used: {left_out}")
    return homes, left_out


def _train(
    home: Backend, model: Layer, loss: Loss, optimizer: Optimizer, x: Any, t: Any, epochs: int, size: int, seed: int
) -> tuple[str, list[np.ndarray], list[np.ndarray], float | None]:
    """Where it was trained, the loss curve, the trained model's floats on the host, and the seconds of a step."""
    with exact_jax(home):
        options: dict[str, Any] = {"epochs": epochs, "batch_size": size, "seed": seed, "progress": False}
        trained, history = fit(model, x, t, loss=loss, optimizer=optimizer, backend=home, **options)
        floats = [a for a in leaves(trained) if is_floating(a)]
        place = f"{home.name} {device_name(floats[0].device)}"
        arrays = on_host(floats)
    steps = -(-x.shape[0] // size)
    later = [seconds / steps for seconds in history.seconds[1:]]
    return place, [np.asarray(history.loss)], arrays, statistics.median(later) if later else None
