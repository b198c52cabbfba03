"""What do saving and loading cost?  martlet beside plain safetensors and the SHA-256 of the same bytes.

    python benchmarks/checkpoints.py [--megabytes 100] [--rounds 15] [--folder DIR] [--out FILE.json]

The three take turns, so that whatever else the machine does falls on all of them; the table gives medians, and
of the ratios the median over the rounds.  safetensors' file is brought to the disk too, as martlet's is.  The
bound is 1.3 times plain safetensors and the SHA-256 together; above it, the program ends with an error.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

import martlet as mt

BOUND = 1.3


def a_model(megabytes: float) -> mt.Sequential:
    """Ten layers of float32."""
    rng = np.random.default_rng(0)
    rows = round(megabytes * 1e6 / 10 / 4 / 2000)
    return mt.Sequential(*(mt.Affine.init(rows, 2000, rng) for _ in range(10)))


def rounds_of(rounds: int, **turns: Callable[[], Any]) -> dict[str, list[float]]:
    """How long each took in each round, in seconds; a first round, which warms up, does not count."""
    found: dict[str, list[float]] = {name: [] for name in turns}
    for i in range(rounds + 1):
        for name, turn in turns.items():
            start = time.perf_counter()
            result = turn()
            if i:
                found[name].append(time.perf_counter() - start)
            del result
    return found


def measure(megabytes: float, rounds: int, folder: Path) -> dict[str, Any]:
    model = a_model(megabytes)
    arrays = dict(zip(mt.names(model), mt.leaves(model), strict=True))
    ours, theirs = folder / "ours", folder / "theirs"

    def save_plain() -> None:
        save_file(arrays, theirs)
        with open(theirs, "rb+") as file:
            os.fsync(file.fileno())

    def digest() -> str:
        found = hashlib.sha256()
        for x in arrays.values():
            found.update(x)
        return found.hexdigest()

    times = rounds_of(
        rounds,
        sha256=digest,
        save_plain=save_plain,
        save=lambda: mt.save(ours, model),
        load_plain=lambda: load_file(theirs),
        load=lambda: mt.load(ours),
    )
    ratios = {}
    for name in ("save", "load"):
        columns = zip(times[name], times[f"{name}_plain"], times["sha256"], strict=True)
        ratios[name] = statistics.median(ours / (plain + sha) for ours, plain, sha in columns)
    seconds = {name: statistics.median(column) for name, column in times.items()}
    return {"megabytes": sum(x.nbytes for x in arrays.values()) / 1e6, "seconds": seconds, "ratios": ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=100.0)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--folder", type=Path, help="where the files are written (a temporary folder)")
    parser.add_argument("--out", type=Path, help="write the numbers to this JSON file")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        found = measure(chosen.megabytes, chosen.rounds, Path(name))
    versions = {name: version(name) for name in ("numpy", "safetensors")} | {"python": platform.python_version()}
    found |= {"machine": platform.machine(), "versions": versions}
    seconds = found["seconds"]
    print(f"{found['megabytes']:.0f} MB of float32, in milliseconds; SHA-256 alone: {seconds['sha256'] * 1e3:.0f}\n")
    print("| | martlet | plain safetensors | and its SHA-256 | ratio |\n| --- | --- | --- | --- | --- |")
    for what, ratio in found["ratios"].items():
        plain = seconds[f"{what}_plain"]
        row = (seconds[what], plain, plain + seconds["sha256"])
        print(f"| {what} | {' | '.join(f'{s * 1e3:.0f}' for s in row)} | {ratio:.2f} |")
    if chosen.out:
        chosen.out.write_text(json.dumps(found, indent=1) + "\n")
    if max(found["ratios"].values()) > BOUND:
        sys.exit(f"more than {BOUND} times as long")


if __name__ == "__main__":
    main()
