"""Before the first step somebody waits: for the import, and for the step to be compiled."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import Any

from gpu.fleet import Gone, Seat
from gpu.peers import Conditions
from gpu.worker import Missing

from steps.peers import OURS, find
from steps.turns import LONGEST_START, Say
from steps.workloads import WORKLOADS

IMPORTS = {"Python alone": "pass", "numpy": "import numpy", "martlet": "import martlet"}


def imports(times: int, say: Say) -> dict[str, float]:
    """The median seconds of a Python that imports this and ends, in turns; the first turn reads a cold disk."""
    seconds: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for turn in range(times + 1):
        for name, program in IMPORTS.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], check=True)
            if turn:
                seconds[name].append(time.perf_counter() - start)
    found = {name: statistics.median(column) for name, column in seconds.items()}
    say(f"import numpy {found['numpy'] * 1e3:.0f} ms, martlet {found['martlet'] * 1e3:.0f} ms")
    return found


class Stopwatch:
    def __init__(self, name: str, conditions: Conditions) -> None:
        self.name = name

    def compile(self, times: int) -> dict[str, Any]:
        """Seconds until the spiral's step is built, and until it has given its first loss, each time anew."""
        peer = find(self.name)(WORKLOADS["W2"])
        peer.place()
        built, ready, later = [], [], []
        for _ in range(times):
            start = time.perf_counter()
            peer.build()
            built.append(time.perf_counter() - start)
            peer.start()
            peer.run(0, 1)
            peer.wait()
            ready.append(time.perf_counter() - start)
            start = time.perf_counter()
            peer.start()
            peer.run(0, 1)
            peer.wait()
            later.append(time.perf_counter() - start)
        typical = statistics.median(later)
        return {
            "built": statistics.median(built),
            "until_its_first_loss": statistics.median(ready) - typical,
            "very_first": ready[0] - typical,
        }


def compiling(peers: list[str], times: int, say: Say) -> dict[str, Any]:
    """For the compiled peers, each in a process of its own: medians, and the very first time in a process."""
    found: dict[str, Any] = {}
    for peer in peers:
        seat = Seat(peer, Conditions(rehearsal=False, tf32=False), Stopwatch)
        try:
            seat.ask("compile", times if peer == OURS else 3)
            found[peer] = seat.answer(LONGEST_START)
            say(f"{peer}: W2 is compiled in {found[peer]['until_its_first_loss'] * 1e3:.1f} ms")
        except (Missing, Gone, RuntimeError) as error:
            found[peer] = {"left_out": str(error)}
        seat.stop()
    return found
