"""What a training run borrows it gives back: the memory in use before, during and after ``fit``, and without its model.

CuPy keeps what it has acquired in a pool.  ``used`` is what arrays hold of it now; what the pool has acquired in all
is the most that they ever held at once, rounded up.
"""

from __future__ import annotations

import gc
import itertools
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

from gpu.worker import Note, serve

WIDTHS, BATCH, SAMPLES = (784, 1024, 1024, 10), 256, 4096


def measure(request: dict[str, Any], note: Note) -> None:
    import martlet as mt

    used, peak, slack = host_meter() if request["rehearsal"] else device_meter()
    backend = mt.Backend("numpy" if request["rehearsal"] else "cupy")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((SAMPLES, WIDTHS[0]), dtype=np.float32)
    t = rng.integers(0, WIDTHS[-1], SAMPLES)

    def run(epochs: int, how: bool) -> tuple[Any, Any]:
        layers: list[mt.Layer] = []
        for inputs, outputs in itertools.pairwise(WIDTHS):
            layers += [mt.Affine.init(inputs, outputs, np.random.default_rng(1)), mt.ReLU()]
        settings = {"loss": mt.SoftmaxWithLoss(), "optimizer": mt.Adam(), "batch_size": BATCH, "compile": how}
        return mt.fit(mt.Sequential(*layers[:-1]), x, t, epochs=epochs, backend=backend, progress=False, **settings)

    ways: dict[str, dict[str, Any]] = {}
    for way, how in {"eager": False, "compiled": True}.items():
        run(1, how)  # what the library keeps for good, such as a workspace for products, is there before we begin
        gc.collect()
        before = used()
        peak()
        model, history = run(2, how)
        most = peak()
        gc.collect()
        after = used()
        wanted = sum(a.nbytes for tree in (model, history.state) for a in mt.leaves(tree))
        del model, history
        gc.collect()
        left = used() - before
        ways[way] = {
            "before": before,
            "peak": most,
            "after_fit": after,
            "model_and_state": wanted,
            "kept_beside_the_model": after - before - wanted,
            "left": left,
            "returned": left <= slack,
        }
        note(
            on=backend.name,
            what=f"{'-'.join(map(str, WIDTHS))}, Adam, float32, {SAMPLES:,} samples in batches of {BATCH}",
            ways=ways,
        )


Meter = Callable[[], int]


def device_meter() -> tuple[Meter, Meter, int]:
    """The bytes in use, the most since the last time one asked, and how many may stay."""
    import cupy

    pool = cupy.get_default_memory_pool()

    def peak() -> int:
        most = pool.total_bytes()
        pool.free_all_blocks()
        return most

    return pool.used_bytes, peak, 0


def host_meter() -> tuple[Meter, Meter, int]:
    """NumPy tells Python's tracemalloc of its arrays.  A few Python objects may stay."""
    tracemalloc.start()

    def peak() -> int:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        return most

    return lambda: tracemalloc.get_traced_memory()[0], peak, 2**16


def wrong(found: dict[str, Any]) -> str:
    """What is wrong with what was found, or ""."""
    kept = {way: entry["left"] for way, entry in found["ways"].items() if not entry["returned"]}
    return "; ".join(f"{way}: {left:,} bytes were not given back" for way, left in kept.items())


if __name__ == "__main__":
    serve(measure)
