"""Rounding errors grow from step to step, so a whole training run is a harder comparison than any one layer.

The lesson's spiral, every random number of it, on NumPy and on the device: the same seed, the same curve?
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from gpu.worker import Note, serve

BOUNDS = {"float64": 1e-12, "float32": 1e-5}  # those of tests/test_lessons.py, on the loss itself


def measure(request: dict[str, Any], note: Note) -> None:
    from spiral import lesson

    import martlet as mt

    name, device = ("array_api_strict", "device1") if request["rehearsal"] else ("cupy", None)
    epochs, found = (40 if request["rehearsal"] else 300), {}
    exact, _ = lesson(mt.Backend("numpy", dtype="float64"), epochs)
    for width, bound in BOUNDS.items():
        start = time.perf_counter()
        losses, _ = lesson(mt.Backend(name, device, width), epochs)
        seconds = time.perf_counter() - start
        numpys, _ = lesson(mt.Backend("numpy", dtype=width), epochs)
        found[width] = {
            "to_numpy": largest(losses, numpys),
            "to_numpy_float64": largest(losses, exact),
            "bound": bound,
            "seconds": seconds,
            "last_loss": losses[-1],
            "numpys_last_loss": numpys[-1],
        }
        note(on=f"{name} {device or ''}".strip(), epochs=epochs, curves=found)


def largest(losses: list[float], others: list[float]) -> float:
    """The largest difference between two curves; NaN if one holds NaN."""
    return float(np.max(np.abs(np.asarray(losses) - np.asarray(others))))


def wrong(found: dict[str, Any]) -> str:
    """What is wrong with what was found, or "": a curve is further from NumPy's float64 than the suite allows."""
    far = [width for width, curve in found["curves"].items() if not curve["to_numpy_float64"] <= curve["bound"]]
    return f"{' and '.join(far)}: another curve than NumPy's" if far else ""


if __name__ == "__main__":
    serve(measure)
