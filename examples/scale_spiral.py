"""The spiral scaled up: how many points a second does each backend train on, and where does it overtake NumPy?

    python examples/scale_spiral.py                         every backend of this machine
    python examples/scale_spiral.py --out figures           ... and figures/scale_spiral.json and .png
    python examples/scale_spiral.py --backends numpy cupy torch:cuda --widths 128 1024 4096 --seconds 2

The network is 2 – H – H – 3 with tanh between, softmax cross-entropy and SGD, in float32; a batch is all the
points, up to --batch of them.  A step costs two things.  One is arithmetic, about 3 · batch · H² products, and
there the device that does the most of them a second wins.  The other is a fixed price for each of some fifty
operations, whatever their size, and there NumPy is hard to beat.  So there may be a size at which another
backend overtakes, and this script looks for it.  Steps are taken as ``fit`` takes them: compiled, where the library
has a compiler; with --eager as a loop of one's own takes them, one operation after another.

A number is the best of several blocks of steps after a warm-up: data and model are on the device
before the clock starts, nothing is read back, and the clock is read once the device has finished.  Run it on a
quiet machine: a neighbour on the same cores makes the threads of NumPy's products wait for each other, at worst
fifty times as long as the product takes.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.util
import itertools
import json
import os
import platform
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import martlet as mt
from martlet.backend import device_of
from martlet.compile import stepper
from martlet.plot import COLOURS, DASHES, MARKERS

Cell = tuple[int, int, str]  # points, hidden width, backend
AHEAD = 1.1  # a backend is ahead of NumPy where it is at least this many times as fast: less could be chance


@functools.lru_cache(maxsize=1)
def spiral(points: int) -> tuple[np.ndarray, np.ndarray]:
    """The points on the host, in random order, so that every batch meets all three arms."""
    rng = np.random.default_rng(0)
    x, t = mt.datasets.spiral(points // 3, classes=3, rng=rng)
    order = rng.permutation(points)
    return x[order], t[order]


def network(hidden: int, backend: mt.Backend) -> mt.Sequential:
    affine = functools.partial(mt.Affine.init, rng=np.random.default_rng(1), backend=backend)
    return mt.Sequential(affine(2, hidden), mt.Tanh(), affine(hidden, hidden), mt.Tanh(), affine(hidden, 3))


def seconds_per_step(
    points: int, hidden: int, backend: mt.Backend, batch: int, budget: float, *, eager: bool = False
) -> float:
    """The mean of the best block; a block of steps takes about a fifth of the budget."""
    x, t = map(backend.asarray, spiral(points))
    model, loss, optimizer = network(hidden, backend), mt.SoftmaxWithLoss(), mt.SGD(lr=0.1)
    how = {"size": batch, "last": "drop", "how": False if eager else "auto"}
    taken = stepper(model, loss, optimizer, optimizer.init(model), (x, t), **how)
    epoch, value = points // batch, None

    def block(steps: int) -> float:
        nonlocal value
        start = time.perf_counter()
        for left in range(steps, 0, -epoch):  # one epoch after another, and a part of the last one
            value = taken.run(0, min(epoch, left))[-1]
        backend.synchronize(value)
        return (time.perf_counter() - start) / steps

    block(2)  # the warm-up: kernels are compiled (on JAX, some again in the second step), pools and caches filled
    best = spent = block(1)
    while spent < budget:
        steps = max(1, round(budget / 5 / best))
        mean = block(steps)
        best, spent = min(best, mean), spent + mean * steps
    if not np.isfinite(mt.to_numpy(value)):
        raise ArithmeticError(f"the loss became {float(mt.to_numpy(value))}")
    return best


def release_memory(backend: mt.Backend) -> None:
    """Empty the library's pool of GPU memory: several share the device here, and none knows of the others."""
    if backend.name == "cupy":
        sys.modules["cupy"].get_default_memory_pool().free_all_blocks()
    elif backend.name == "torch":
        sys.modules["torch"].cuda.empty_cache()


def products_per_second(backend: mt.Backend, width: int = 2048) -> float:
    """The speed of a plain matrix product: no step will beat it by much."""
    a = backend.asarray(np.ones((width, width), dtype=np.float32))
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        backend.synchronize(a @ a)
        seconds.append(time.perf_counter() - start)
    return width**3 / min(seconds)


def check_size(points: int, hidden: int, batch: int, rate: float, grid: argparse.Namespace) -> None:
    """Refuse a cell that would not fit, or not finish."""
    data = 60 * points  # bytes: drawn in float64, shuffled, moved
    outputs = 6 * batch * hidden  # of both Tanh, dout before and after, two temporaries of Tanh.backward
    weights = 5 * hidden * hidden  # before and after, the gradient, lr · gradient, room for a transpose
    size = (data + 4 * (outputs + weights)) / 2**30
    if size > grid.memory:
        raise MemoryError(f"needs about {size:.1f} GiB, more than --memory {grid.memory:.1f}")
    seconds = 3 * batch * hidden * (hidden + 5) / rate  # forward, dx and dW
    if seconds > grid.longest:
        raise TimeoutError(f"a step takes at least {seconds:.1f} s, longer than --longest {grid.longest:g}")


def measure(grid: argparse.Namespace, backends: dict[str, mt.Backend]) -> dict[Cell, dict[str, Any]]:
    """For every cell its seconds per step and points per second, or the reason why it was skipped."""
    results: dict[Cell, dict[str, Any]] = {}
    rates: dict[str, float] = {}
    for cell in itertools.product(grid.points, grid.widths, backends):
        points, hidden, name = cell
        batch = min(points, grid.batch)
        show(f"{points:,} points, {hidden:,} hidden, {name}")
        try:
            rates[name] = rates.get(name) or products_per_second(backends[name])
            check_size(points, hidden, batch, rates[name], grid)
            seconds = seconds_per_step(points, hidden, backends[name], batch, grid.seconds, eager=grid.eager)
            results[cell] = {"seconds_per_step": seconds, "points_per_second": batch / seconds}
        except Exception as error:  # each library has its own "out of memory"; the other cells go on
            results[cell] = {"skipped": f"{type(error).__name__}: {error}".splitlines()[0]}
        with contextlib.suppress(RuntimeError):  # a device that is broken for good has been reported above
            release_memory(backends[name])
    show("")
    return results


def show(line: str) -> None:
    """A line that the next one overwrites, if somebody watches."""
    if sys.stderr.isatty():
        print(f"{line:<60}", end="\r", file=sys.stderr, flush=True)


def crossovers(speed: dict[Cell, float], grid: argparse.Namespace) -> list[dict[str, Any]]:
    """From how many points on each other backend is ahead of NumPy, at every larger number both finished too."""
    found = []
    for name, hidden in itertools.product([name for name in grid.backends if name != "numpy"], grid.widths):
        pairs = [(p, speed.get((p, hidden, "numpy")), speed.get((p, hidden, name))) for p in grid.points]
        ratios = {p: round(theirs / ours, 3) for p, ours, theirs in pairs if ours and theirs}
        behind = max((p for p in ratios if ratios[p] < AHEAD), default=0)
        start = min((p for p in ratios if p > behind), default=None)
        found.append({"backend": name, "hidden": hidden, "from_points": start, "times_numpy": ratios})
    return found


def print_report(results: dict[Cell, dict[str, Any]], grid: argparse.Namespace, found: list[dict[str, Any]]) -> None:
    columns = "".join(f"{name:>13}" for name in grid.backends)
    print(f"points per second\n{'points':>11}{'batch':>9}{'hidden':>8}{columns}  fastest")
    for points, hidden in itertools.product(grid.points, grid.widths):
        row = {name: results[points, hidden, name].get("points_per_second", 0.0) for name in grid.backends}
        words = "".join(f"{value:>13,.0f}" if value else f"{'skipped':>13}" for value in row.values())
        fastest = max(row, key=row.__getitem__) if any(row.values()) else "-"
        print(f"{points:>11,}{min(points, grid.batch):>9,}{hidden:>8,}{words}  {fastest}")
    for (points, hidden, name), result in results.items():
        if "skipped" in result:
            print(f"skipped: {points:,} points, {hidden:,} hidden, {name}: {result['skipped']}")
    if found:
        print(f"\nAhead of NumPy ({AHEAD} times its speed or more, there and at every larger size both finished):")
    for row in found:
        start, ratios = row["from_points"], row["times_numpy"].values()
        words = f"from {start:,} points on" if start else "never in this range" if ratios else "nothing to compare"
        span = f"({min(ratios):.2f} to {max(ratios):.2f} times NumPy)" if ratios else ""
        print(f"  {row['backend']:<12}{row['hidden']:>6,} hidden: {words:<27}{span}")


def draw(speed: dict[Cell, float], grid: argparse.Namespace, file: Path) -> None:
    """A panel per hidden width, and in it a line per backend."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.2 + 2.8 * len(grid.widths), 4.0), layout="constrained")
    panels = figure.subplots(1, len(grid.widths), sharex=True, sharey=True, squeeze=False)[0]
    for hidden, ax in zip(grid.widths, panels, strict=True):
        for i, name in enumerate(grid.backends):
            line = [(p, speed[p, hidden, name]) for p in grid.points if (p, hidden, name) in speed]
            style = {"color": COLOURS[i % 8], "marker": MARKERS[i % 8], "linestyle": DASHES[i % 4]}
            ax.loglog(*np.reshape(line, (-1, 2)).T, label=name, fillstyle="none", **style)
        if max(grid.points) > grid.batch:
            ax.axvline(grid.batch, color="0.6", linewidth=0.8, label=f"from here on in batches of {grid.batch:,}")
        ax.set_title(f"{hidden:,} hidden", fontsize="medium")
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(color="0.92")
    figure.supxlabel("points")
    figure.supylabel("points per second")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=7, frameon=False)
    figure.savefig(file, dpi=150)


def device_label(backend: mt.Backend) -> str:
    """What is printed on the box: the GPU's name, or the processor's."""
    device, library = device_of(backend.asarray([0.0])), sys.modules[backend.name]
    if backend.name == "cupy":
        return library.cuda.runtime.getDeviceProperties(device.id)["name"].decode()
    if backend.name == "torch" and device.type == "cuda":
        return library.cuda.get_device_name(device)
    if backend.name == "jax" and device.platform != "cpu":
        return device.device_kind
    return f"{of_linux('cpuinfo', 'model name.*: (.*)') or platform.machine()}, {os.cpu_count()} cores"


def of_linux(file: str, pattern: str) -> str | None:
    """What a file in /proc says; None on other systems."""
    path = Path("/proc", file)
    found = re.search(pattern, path.read_text()) if path.exists() else None
    return found and found[1]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers: dict[str, Any] = {"type": int, "nargs": "+", "metavar": "N"}
    free = int(of_linux("meminfo", r"MemAvailable:\s*(\d+)") or 8 * 2**20) / 2**20
    parser.add_argument("--points", **numbers, default=[300, 3_000, 30_000, 300_000, 3_000_000, 10_000_000])
    parser.add_argument("--widths", **numbers, default=[10, 128, 1024, 4096], help="of the hidden layers")
    parser.add_argument("--backends", nargs="+", metavar="NAME", help="such as numpy cupy torch torch:cuda jax")
    parser.add_argument("--batch", type=int, default=65_536, help="the most points in a step (default 65,536)")
    parser.add_argument("--seconds", type=float, default=1.0, help="for a cell of the table (default 1)")
    parser.add_argument("--longest", type=float, default=5.0, help="skip a cell whose step takes longer (default 5 s)")
    parser.add_argument("--memory", type=float, default=free / 2, help="GiB for a cell (default half of what is free)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write scale_spiral.json and scale_spiral.png there")
    parser.add_argument("--eager", action="store_true", help="steps as a loop of one's own takes them, not compiled")
    parser.add_argument("--quick", action="store_true", help="a tiny grid that takes seconds")
    grid = parser.parse_args(arguments)
    if grid.quick:
        grid.points, grid.widths, grid.seconds = [300, 30_000], [10, 64], 0.1
    if min(*grid.points, *grid.widths, grid.batch) < 3:
        parser.error("--points, --widths and --batch are at least 3")
    grid.points = sorted({points // 3 * 3 for points in grid.points})  # three equal arms
    grid.widths = sorted(set(grid.widths))
    if not grid.backends:
        grid.backends = [name for name in mt.available_backends() if name != "array_api_strict"]
        if "torch" in grid.backends and sys.modules["torch"].cuda.is_available():
            grid.backends.append("torch:cuda")  # unasked, PyTorch computes on the processor
    grid.backends = list(dict.fromkeys(grid.backends))
    return grid


def main(arguments: list[str] | None = None) -> None:
    # JAX would take three quarters of a GPU for itself as it starts, and leave the others to run out of memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    grid = parse(arguments)
    if grid.out and not importlib.util.find_spec("matplotlib"):  # better now than after minutes of measuring
        sys.exit('--out draws a picture with matplotlib: pip install "martlet[plot]"')
    backends = {name: mt.Backend(*name.split(":", 1)) for name in grid.backends}  # "torch:cuda": library, device
    about = {
        "date": time.strftime("%Y-%m-%d %H:%M %z"),
        "python": platform.python_version(),
        "versions": {"martlet": mt.__version__} | {b.name: b.lib.version() for b in backends.values()},
        "devices": {name: device_label(backend) for name, backend in backends.items()},
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "grid": {name: setting for name, setting in vars(grid).items() if name != "out"},
    }
    print(*(f"{name}: {about[name]}" for name in ("python", "versions", "devices", "load")), "", sep="\n")
    results = measure(grid, backends)
    speed = {cell: result["points_per_second"] for cell, result in results.items() if "skipped" not in result}
    found = crossovers(speed, grid) if "numpy" in backends else []
    print_report(results, grid, found)
    if grid.out:
        grid.out.mkdir(parents=True, exist_ok=True)
        cells = [{"points": p, "hidden": h, "backend": name} | result for (p, h, name), result in results.items()]
        record = about | {"cells": cells, "crossovers": found}
        (grid.out / "scale_spiral.json").write_text(json.dumps(record, indent=1) + "\n")
        draw(speed, grid, grid.out / "scale_spiral.png")
    if idle := set(backends) - {name for _, _, name in speed}:
        sys.exit(f"nothing was measured on {', '.join(sorted(idle))}")


if __name__ == "__main__":
    main()
