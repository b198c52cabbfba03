"""What martlet promises of its speed, and whether it is kept: ratios of minima, of one run on one machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from steps.peers import OURS, PRODUCTS, TORCH

Minima = Mapping[str, Mapping[str, float]]  # of a workload, of a peer: seconds per step


class Goal(NamedTuple):
    """One peer takes at most so many times as long as the best of some others: a bound for each workload."""

    name: str
    peer: str
    others: tuple[str, ...]
    bounds: dict[str, float]


class Verdict(NamedTuple):
    goal: str
    where: str
    found: float | None  # None: it was not measured
    bound: float

    @property
    def holds(self) -> bool | None:
        return None if self.found is None else self.found <= self.bound


RATIOS = [
    Goal(
        "compiled / the lessons' plain NumPy",
        OURS,
        ("plain",),
        {"W2": 0.38, "W4": 0.43, "W5m": 0.70, "W5a": 0.70, "W6": 0.42},
    ),
    Goal(
        "compiled / the best PyTorch eager",
        OURS,
        TORCH,
        {"W2": 0.08, "W4": 0.30, "W5m": 1.02, "W5a": 1.12, "W6": 0.40},
    ),
    Goal(
        "compiled / the bare products",
        OURS,
        PRODUCTS,
        {"W4": 2.3, "W5m": 1.20, "W5a": 1.33, "W6": 1.25},
    ),
    Goal(
        "fit on JAX / hand-written jit + scan",
        "fit-jax",
        ("jax-scan",),
        {"W2": 1.1, "W4": 1.1, "W5m": 1.05, "W5a": 1.05, "W6": 1.05},
    ),
]
MEMORY, COMPILING, FIT = 60e6, 5e-3, 6e-6  # bytes at W6, seconds of W2, seconds that fit adds to a step of W2


def ratio(goal: Goal, seconds: Mapping[str, float]) -> float | None:
    """Of the peer to the best of the others; None where one of the two was not measured."""
    others = [seconds[other] for other in goal.others if other in seconds]
    return seconds[goal.peer] / min(others) if others and goal.peer in seconds else None


def overhead(seconds: Mapping[str, float]) -> float | None:
    """What fit adds to a compiled step, in seconds."""
    both = "fit-numpy" in seconds and OURS in seconds
    return seconds["fit-numpy"] - seconds[OURS] if both else None


def verdicts(minima: Minima, memory: Mapping[str, float], compiling: float | None) -> list[Verdict]:
    """On every goal.  ``memory``: bytes above the data at W6, of a peer; ``compiling``: seconds of the spiral step."""
    found = [
        Verdict(goal.name, work, ratio(goal, minima.get(work, {})), bound)
        for goal in RATIOS
        for work, bound in goal.bounds.items()
    ]
    found.append(Verdict("memory above the data", "W6", memory.get(OURS), MEMORY))
    found.append(Verdict("compiling", "W2", compiling, COMPILING))
    found.append(Verdict("fit adds", "W2", overhead(minima.get("W2", {})), FIT))
    return found


def minima_of(report: Mapping[str, Any]) -> Minima:
    """From what ``steps.py`` writes."""
    return {
        name: {peer: entry["minimum"] for peer, entry in work["seconds"].items()}
        for name, work in report.get("workloads", {}).items()
    }


def verdicts_of(report: Mapping[str, Any]) -> list[Verdict]:
    memory = report.get("memory", {}).get("bytes_above_the_data", {})
    compiling = report.get("start", {}).get("compiling", {}).get(OURS, {}).get("until_its_first_loss")
    return verdicts(minima_of(report), memory, compiling)
