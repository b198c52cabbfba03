"""Peers share one device, so they take turns: each sits in a process of its own and works when it is asked to.

A process for each, because every library keeps the memory it has acquired; turns, because whatever else the machine
does should fall on all of them.
"""

from __future__ import annotations

import multiprocessing
import os
import time
import traceback
from typing import Any

from gpu import peers
from gpu.worker import Missing
from gpu.workloads import Workload

FIRST_STEPS = 6  # whose losses all peers must agree on


class Gone(Exception):
    """A peer's process has died."""


class Late(Gone):
    """A peer did not answer in time, and was stopped."""


class Seat:
    """One peer's process, which is started when it is first asked, and anew after it was lost."""

    def __init__(self, peer: str, conditions: peers.Conditions, table: type[Any] | None = None) -> None:
        self.peer = peer
        self.conditions = conditions
        self.table = table or Table
        self.process: Any = None

    def ask(self, *request: Any) -> None:
        if self.process is None:
            self._start()
        try:
            self.pipe.send(request)
        except OSError:
            self.stop()
            raise Gone("its process has died") from None

    def answer(self, seconds: float) -> Any:
        """What it answers; Missing or Gone, with the reason, if it cannot."""
        try:
            if not self.pipe.poll(max(0.0, seconds)):
                self.stop()
                raise Late(f"did not answer within {seconds:.0f} s")
            kind, found = self.pipe.recv()
        except (EOFError, OSError):
            self.stop()
            raise Gone("its process has died") from None
        if kind == "answer":
            return found
        raise (Missing if kind == "missing" else RuntimeError)(found)

    def _start(self) -> None:
        os.environ["CUPY_TF32"] = "1" if self.conditions.tf32 else "0"  # CuPy reads it once, so it must be there first
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(self.table, self.peer, self.conditions, theirs), daemon=True)
        self.process.start()
        theirs.close()  # so that a peer that dies is an EOFError here and not a silence

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.pipe.close()
            self.process = None


def serve(kind: type[Any], peer: str, conditions: peers.Conditions, pipe: Any) -> None:
    """The peer's process: a table of some kind answers requests until the pipe is closed."""
    table = kind(peer, conditions)
    while True:
        try:
            request, *arguments = pipe.recv()
        except EOFError:
            return
        try:
            answer = ("answer", getattr(table, request)(*arguments))
        except Missing as reason:
            answer = ("missing", str(reason))
        except Exception as error:
            last = traceback.format_exc().strip().splitlines()[-6:]
            answer = ("error", f"{type(error).__name__}: {error}"[:500] + "\n" + "\n".join(last))
        pipe.send(answer)


class Table:
    """What a peer is asked: to prepare a workload, to time a block of steps, to copy."""

    def __init__(self, peer: str, conditions: peers.Conditions) -> None:
        self.conditions = conditions
        self.peer = peer
        self.runners: dict[str, peers.Runner] = {}
        self.steps: dict[str, int] = {}

    def prepare(self, work: Workload, block: float) -> dict[str, list[float] | None]:
        """Build and warm up: the first losses of each way to take a step.  A block will take so many seconds."""
        self.runners = {}  # the last workload's memory can be used again
        self.runners = peers.find(self.peer)(work, self.conditions)
        losses = {}
        for name, (step, _, read, together, _) in self.runners.items():
            values = (
                [step(i) for i in range(FIRST_STEPS)] if read is None else [read(step(i)) for i in range(FIRST_STEPS)]
            )
            losses[name] = None if read is None else values
            self.steps[name] = max(2, together)
            once = self.time(name)
            while once * self.steps[name] < block / 4 and self.steps[name] < 10_000:
                self.steps[name] *= 2
                once = self.time(name)
            self.steps[name] = max(1, round(block / once / together)) * together
        return losses

    def told(self) -> dict[str, str]:
        return {name: runner.words for name, runner in self.runners.items() if runner.words}

    def time(self, name: str) -> float:
        """Seconds per step of one block."""
        step, wait, *_ = self.runners[name]
        wait()
        start = time.perf_counter()
        for i in range(self.steps[name]):
            step(i)
        wait()
        return (time.perf_counter() - start) / self.steps[name]

    def copy(self, megabytes: int) -> float:
        return peers.copy_bandwidth(self.conditions, megabytes)
