"""One size says little of the next: how does the time of a step grow with the batch, and with the width?"""

from __future__ import annotations

from typing import Any

from gpu.worker import Missing

from steps.peers import TORCH
from steps.turns import Say, compare, fleet
from steps.with_martlet import stepper
from steps.workloads import BATCHES, WIDTHS, Workload, with_batch, with_width

CURVES = ("compiled-numpy", "plain", *TORCH, "jax-scan")
STAND_IN = "eager-numpy"  # where there is nothing compiled


def sizes(quick: bool) -> dict[str, list[tuple[int, Workload]]]:
    batches, widths = ((64, 256), (32, 64)) if quick else (BATCHES, WIDTHS)
    return {"batch": [(n, with_batch(n)) for n in batches], "width": [(n, with_width(n)) for n in widths]}


def measure(quick: bool, block: float, rounds: int, say: Say) -> dict[str, Any]:
    """For each size, the minimum and the median of everybody."""
    try:
        stepper()
        peers = CURVES
    except Missing:
        peers = (STAND_IN, *CURVES[1:])
    seats = fleet(peer for peer in peers if not (quick and peer in TORCH[1:]))
    found: dict[str, Any] = {}
    try:
        for what, works in sizes(quick).items():
            found[what] = []
            for size, work in works:
                result = compare(seats, work, block, rounds, say)
                found[what].append({"size": size, **result})
    finally:
        for seat in seats.values():
            seat.stop()
    return found


def curves(points: list[dict[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    """Size and seconds of each curve; of PyTorch's optimizers the best at each size."""
    found: dict[str, list[tuple[int, float]]] = {}
    for point in points:
        seconds = {peer: entry["minimum"] for peer, entry in point["seconds"].items()}
        best = [seconds.pop(peer) for peer in TORCH if peer in seconds]
        if best:
            seconds["torch"] = min(best)
        for peer, value in seconds.items():
            found.setdefault(peer, []).append((point["size"], value))
    return found
