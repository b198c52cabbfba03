"""How long a step takes says little alone: beside it stand its peers, and the bare products it cannot go without.

Every peer starts from the same weights and sees the same batches in float32, and the losses of its first steps are
compared with martlet's before anything is timed.
"""

from __future__ import annotations

import itertools
import statistics
from typing import Any

import numpy as np

from gpu.fleet import Gone, Late, Seat
from gpu.peers import PEERS, Conditions
from gpu.worker import Budget, Missing, Note, serve
from gpu.workloads import Workload, chosen

AGREE = {False: 5e-4, True: 2e-3}  # how closely losses agree, relative to them: in float32, and with TF32
LONGEST_START = 60.0  # seconds in which a peer must have imported, compiled and warmed up


def measure(request: dict[str, Any], note: Note) -> None:
    rehearsal = request["rehearsal"]
    block, rounds, megabytes = (0.005, 3, 64) if rehearsal else (0.04, 15, 1024)
    budget = Budget(request["seconds"] - 10.0)
    small, wide = chosen(rehearsal)
    columns = [(w.name, False) for w in small + wide] + [(w.name, True) for w in wide]
    todo = in_order_of_interest(small, wide)
    fleets = {tf32: {peer: Seat(peer, Conditions(rehearsal, tf32)) for peer in PEERS} for tf32 in (False, True)}
    tables: list[dict[str, Any]] = []
    for i, (work, tf32) in enumerate(todo):
        entry = {"workload": work.name, "what": work.what, "tf32": tf32, "operations": work.operations}
        if budget.left < (1.0 if rehearsal else 5.0):
            entry["skipped"] = f"no time was left of {budget.seconds:.0f} s"
        else:
            share = Budget(1.5 * budget.left / (len(todo) - i))
            entry |= compare(list(fleets[tf32].values()), work, tf32, block, rounds, share, budget)
        tables.append(entry)
        note(workloads=sorted(tables, key=lambda entry: columns.index((entry["workload"], entry["tf32"]))))
    try:
        seat = fleets[False]["products"]
        seat.ask("copy", megabytes)
        note(
            copy={
                "on": "PyTorch, CPU" if rehearsal else "CuPy",
                "bytes_per_second": seat.answer(8.0),
                "megabytes": megabytes,
            }
        )
    except (Gone, Missing, RuntimeError) as error:
        note(copy={"error": str(error)})
    for seat in itertools.chain(*map(dict.values, fleets.values())):
        seat.stop()


def in_order_of_interest(small: list[Workload], wide: list[Workload]) -> list[tuple[Workload, bool]]:
    """Should time run out, then on what would be missed least.  The second of each pair is whether TF32 is used."""
    first = [work for work in small if work.name in ("W2", "W5a", "W6")]
    rest = [work for work in small if work not in first]
    return [(w, False) for w in first + wide] + [(w, True) for w in wide] + [(w, False) for w in rest]


def compare(
    seats: list[Seat], work: Workload, tf32: bool, block: float, rounds: int, share: Budget, budget: Budget
) -> dict[str, Any]:
    """One workload: losses compared, then turn by turn a block of steps each, until the rounds or its time are over."""
    missing: dict[str, str] = {}
    failed: dict[str, str] = {}
    ready: list[tuple[Seat, str]] = []
    losses: dict[str, list[float]] = {}
    limit = min(LONGEST_START, budget.left)
    start = Budget(limit)
    for seat in seats:  # all at once: this is where the time goes, and nothing is timed yet
        try:
            seat.ask("prepare", work, block)
        except Gone as error:
            failed[seat.peer] = str(error)
    for seat in [seat for seat in seats if seat.peer not in failed]:
        try:
            for name, values in seat.answer(start.left).items():
                ready.append((seat, name))
                if values is not None:
                    losses[name] = values
        except Late:
            where = missing if limit < LONGEST_START else failed  # for want of time, or because it is slow
            where[seat.peer] = f"was not ready after {limit:.0f} s"
        except Missing as reason:
            missing[seat.peer] = str(reason)
        except (Gone, RuntimeError) as error:
            failed[seat.peer] = str(error)
    told = told_by(list(dict.fromkeys(seat for seat, _ in ready)))
    times: dict[str, list[float]] = {name: [] for _, name in ready}
    for turn in range(rounds):
        if budget.left == 0.0 or (turn >= 2 and share.left == 0.0):
            break
        for seat, name in list(ready):
            try:
                seat.ask("time", name)
                times[name].append(seat.answer(max(5.0, budget.left)))
            except (Gone, RuntimeError) as error:
                failed[seat.peer] = f"{name}: {error}"
                ready = [pair for pair in ready if pair[0] is not seat]
                break  # the other ways of this peer are gone with it
    found = {name: summary(seconds) for name, seconds in times.items() if seconds}
    apart = disagreement(losses)
    wrong = [name for name, gap in apart.items() if not gap <= AGREE[tf32]]
    entry: dict[str, Any] = {"seconds": found, "missing": missing, "failed": failed, "told": told}
    return entry | {"losses_apart": apart, "disagree": wrong}


def told_by(seats: list[Seat]) -> dict[str, str]:
    """How the ways to take a step take it, in words, where they have some."""
    told: dict[str, str] = {}
    for seat in seats:
        try:
            seat.ask("told")
            told |= seat.answer(5.0)
        except (Gone, RuntimeError):  # the turns will find out
            pass
    return told


def summary(seconds: list[float]) -> dict[str, Any]:
    return {"minimum": min(seconds), "median": statistics.median(seconds), "blocks": len(seconds)}


def disagreement(losses: dict[str, list[float]]) -> dict[str, float]:
    """How far each peer's first losses are from the first peer's, relative to them; 1e9 where one is not finite."""
    if not losses:
        return {}
    first = np.asarray(next(iter(losses.values())))
    apart = {name: float(np.max(np.abs(np.asarray(values) - first) / np.abs(first))) for name, values in losses.items()}
    return {name: gap if np.isfinite(gap) else 1e9 for name, gap in apart.items()}


def wrong(found: dict[str, Any]) -> str:
    """What is wrong with what was found, or "": martlet failed, or two peers computed different losses.

    Another library's failure is named in the table, and is not ours.
    """
    words = []
    for entry in found["workloads"]:
        words += [
            f"{entry['workload']}: {peer} failed" for peer in ("martlet", "numpy") if peer in entry.get("failed", {})
        ]
        words += [f"{entry['workload']}: {name} has other losses" for name in entry.get("disagree", [])]
    return "; ".join(words)


if __name__ == "__main__":
    serve(measure)
