"""Peers take turns: each sits in a process of its own, and takes some steps when it is asked to.

So whatever else the machine does falls on all of them.  Nobody is timed whose first losses are not those of the others.
"""

from __future__ import annotations

import contextlib
import gc
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from gpu.fleet import Gone, Seat
from gpu.peers import Conditions
from gpu.worker import Missing

from steps.peer import Peer
from steps.peers import PEERS, find
from steps.workloads import Workload

RTOL = {"SGD": 2e-4, "Momentum": 2e-4, "Adam": 1e-3}  # how closely losses must agree: Adam makes large what is small
LONGEST_START, LONGEST_TURN = 300.0, 120.0  # seconds
PAUSE = 0.25  # of a turn, before it: until the threads of whoever had the last one no longer spin, waiting for more
Say = Callable[[str], None]


class Table:
    """The peer's side: what it is asked."""

    def __init__(self, name: str, conditions: Conditions) -> None:
        self.name = name
        self.peer: Peer | None = None
        self.pause = 0.0

    def prepare(self, work: Workload) -> dict[str, Any]:
        self.peer = None  # the last workload's memory can be used again
        gc.collect()
        self.peer = find(self.name)(work)
        self.peer.place()
        self.peer.build()
        return {"losses": self.peer.losses(), "each": self.peer.each, "words": self.peer.words}

    def settle(self, block: float) -> None:
        assert self.peer is not None
        self.peer.settle(block)
        self.pause = PAUSE * block

    def turn(self) -> tuple[float, ...]:
        assert self.peer is not None
        time.sleep(self.pause)
        return self.peer.turn()


def fleet(peers: Iterable[str]) -> dict[str, Seat]:
    return {peer: Seat(peer, Conditions(rehearsal=False, tf32=False), Table) for peer in peers}


def compare(seats: dict[str, Seat], work: Workload, block: float, rounds: int, say: Say) -> dict[str, Any]:
    """One workload: everybody gets ready, the losses are compared, then turn by turn a block of steps each."""
    out: dict[str, str] = {}  # who is not timed, and why
    failed: list[str] = []  # those of them who should have been
    answers = ask_all(seats, work, out, failed, say)
    gaps = disagreement({peer: (answer["losses"], answer["each"]) for peer, answer in answers.items()})
    for peer in [peer for peer, gap in gaps.items() if not gap <= RTOL[work.optimizer]]:
        failed.append(peer)
        out[peer] = f"other losses than {PEERS[next(iter(gaps))].name}: {gaps[peer]:.0e} of them apart"
    turns: dict[str, list[tuple[float, ...]]] = {peer: [] for peer in answers if peer not in out}
    for turn in range(-1, rounds):  # the first is for the warm-up, and for finding the number of steps
        for peer in list(turns):
            try:
                seats[peer].ask(*(("turn",) if turn >= 0 else ("settle", block)))
                answer = seats[peer].answer(LONGEST_TURN)
            except (Gone, RuntimeError) as error:
                out[peer] = str(error)
                failed.append(peer)
                del turns[peer]
                continue
            if turn >= 0:
                turns[peer].append(answer)
                say(f"{work.name} turn {turn + 1}/{rounds} {PEERS[peer].name}: {minimum([answer]) * 1e6:,.1f} µs")
    return {
        "what": work.what,
        "seconds": {peer: {"minimum": minimum(t), "median": median(t), "turns": t} for peer, t in turns.items() if t},
        "left_out": out,
        "failed": failed,
        "losses_apart": gaps,
        "words": {peer: answer["words"] for peer, answer in answers.items() if answer["words"]},
    }


def ask_all(
    seats: dict[str, Seat], work: Workload, out: dict[str, str], failed: list[str], say: Say
) -> dict[str, dict[str, Any]]:
    """All get ready at once: libraries are loaded and steps compiled, but nothing is timed.  Who cannot, is out."""
    answers = {}
    for seat in seats.values():
        with contextlib.suppress(Gone):  # its answer will say so
            seat.ask("prepare", work)
    for peer, seat in seats.items():
        try:
            answers[peer] = seat.answer(LONGEST_START)
            say(f"{work.name} {PEERS[peer].name} is ready")
            continue
        except Missing as why:
            out[peer] = str(why)
        except (Gone, RuntimeError) as error:
            out[peer] = str(error)
            failed.append(peer)
        say(f"{work.name} {PEERS[peer].name} is left out: {reason(out[peer])}")
    return answers


def reason(words: str) -> str:
    """The first line of it, as long as a line should be."""
    return words.strip().partition("\n")[0][:150]


def minimum(turns: list[tuple[float, ...]]) -> float:
    """Of what was measured; where something is to be taken off, the minimum of that."""
    return _over(min, turns)


def median(turns: list[tuple[float, ...]]) -> float:
    return _over(statistics.median, turns)


def _over(which: Callable[[Any], float], turns: list[tuple[float, ...]]) -> float:
    first, *rest = (which(column) for column in zip(*turns, strict=True))
    return first - sum(rest)


def disagreement(losses: dict[str, tuple[list[float], int]]) -> dict[str, float]:
    """How far each peer's losses are from the first peer's, relative to them; infinite where one is not finite.

    With the losses stands of how many steps each is the mean.  A peer without losses cannot disagree.
    """
    said = {peer: (np.asarray(values), each) for peer, (values, each) in losses.items() if values}
    finest = min(each for _, each in said.values()) if said else 1
    reference = next((values for values, each in said.values() if each == finest), None)
    gaps: dict[str, float] = {}
    for peer, (values, each) in said.items():
        assert reference is not None
        wanted = reference[: len(values) * each // finest].reshape(len(values), -1).mean(axis=1)
        gap = float(np.max(np.abs(values - wanted) / np.abs(wanted)))
        gaps[peer] = gap if np.isfinite(gap) else float("inf")
    return gaps
