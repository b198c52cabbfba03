"""Kills a training run at random moments, lets it go on from its checkpoint, and compares it with one left alone.

    python tests/killed.py 20 [numpy]

Each run is a process of its own, which gets SIGKILL while it trains, saves or begins, and is then started once more.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import martlet as mt

EPOCHS = 40


def train(checkpoint: Path, backend: str) -> tuple[Any, mt.History]:
    """With noise, statistics, moments, a schedule, a metric and a best epoch: all that a run carries with it."""
    rng = np.random.default_rng(8)
    x, t = rng.standard_normal((300, 6)).astype("float32"), rng.integers(0, 3, 300)
    model = mt.Sequential(
        mt.Affine.init(6, 32, rng),
        mt.BatchNorm.init(32),
        mt.Tanh(),
        mt.Dropout.init(0.2, rng),
        mt.Affine.init(32, 3, rng),
    )
    return mt.fit(
        model,
        x,
        t,
        loss=mt.SoftmaxWithLoss(label_smoothing=0.1),
        optimizer=mt.Adam(lr=0.01, amsgrad=True, schedule=mt.schedules.Cosine(steps=600, warmup=10)),
        epochs=EPOCHS,
        metrics=["accuracy"],
        validation=(x[:50], t[:50]),
        stop=mt.EarlyStopping(patience=50),
        checkpoint=checkpoint,
        resume=True,
        backend=backend,
    )


def arrays_of(model: Any, history: mt.History) -> dict[str, np.ndarray]:
    """Everything that a run gives back but the time it took, each array by its name."""
    found = {f"model {name}": x for name, x in zip(mt.names(model), mt.leaves(model), strict=True)}
    found |= {f"state {name}": x for name, x in zip(mt.names(history.state), mt.leaves(history.state), strict=True)}
    found = {name: mt.to_numpy(x) for name, x in found.items()}
    curves = {"loss": history.loss, "validation": history.validation_loss, "accuracy": history.metrics["accuracy"]}
    return found | {name: np.array(curve) for name, curve in curves.items()} | {"best": np.array(history.best_epoch)}


def child(checkpoint: Path, backend: str, result: Path) -> None:
    mt.Backend(backend)  # imported before anybody is killed
    print("begins", flush=True)
    model, history = train(checkpoint, backend)
    print("ends", flush=True)
    np.savez(result, **arrays_of(model, history))


def start(folder: Path, backend: str) -> subprocess.Popen[str]:
    """A process that trains, once it has imported all it needs."""
    command = [sys.executable, __file__, "child", str(folder / "run"), backend, str(folder / "result.npz")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def finish(folder: Path, backend: str) -> dict[str, np.ndarray]:
    with start(folder, backend) as process:
        assert process.wait() == 0
    with np.load(folder / "result.npz") as file:
        return dict(file)


def kill(kills: int, backend: str, folder: Path) -> int:
    """Kill that many runs, each at a moment of its own; give how many were in the midst of their epochs."""
    rng, midway = random.Random(backend), 0
    (folder / "alone").mkdir()
    with start(folder / "alone", backend) as process:
        begin = time.perf_counter()
        assert process.stdout is not None
        assert process.stdout.readline() == "ends\n"
        duration = time.perf_counter() - begin
    with np.load(folder / "alone" / "result.npz") as file:
        expected = dict(file)
    for i in range(kills):
        here = folder / str(i)
        here.mkdir()
        with start(here, backend) as process:
            time.sleep(rng.uniform(0.0, duration))
            process.send_signal(signal.SIGKILL)
        midway += (here / "run").exists() and 0 < mt.load_run(here / "run").epoch < EPOCHS
        found = finish(here, backend)
        assert found.keys() == expected.keys()
        for name, x in expected.items():
            assert found[name].dtype == x.dtype
            assert found[name].tobytes() == x.tobytes(), f"{name} differs after kill {i}"
    return midway


def main() -> None:
    if sys.argv[1] == "child":
        child(Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
        return
    kills, backend = int(sys.argv[1]), (sys.argv[2:] or ["numpy"])[0]
    with tempfile.TemporaryDirectory() as name:
        midway = kill(kills, backend, Path(name))
    print(f"losses, weights and state equal to the last bit to those of the run left alone; {midway} went on midway")


if __name__ == "__main__":
    main()
