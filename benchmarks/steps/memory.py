"""The memory of a step is what it takes beyond the data: the most that the process ever held, less what it held before.

Each peer gets a process of its own.  A tiny net is trained there first, so that the library has loaded what it loads
when it is first used; then the data is put where it will be used, what is free is given back to the system, and the
resident set is read and its peak set back to it.  Building the step, compiling it and two short epochs come after that.
"""

from __future__ import annotations

import ctypes
import gc
import re
import resource
from pathlib import Path
from typing import Any

from gpu.fleet import Gone, Seat
from gpu.peers import Conditions
from gpu.worker import Missing

from steps.peers import PEERS, find
from steps.turns import LONGEST_START, Say
from steps.workloads import WORKLOADS, Workload

STEPS = 3  # in each of the two epochs; fit takes whole ones


class Scale:
    def __init__(self, name: str, conditions: Conditions) -> None:
        self.name = name

    def weigh(self, work: Workload) -> int:
        """Bytes above the data."""
        if not Path("/proc/self/status").exists():
            raise Missing("only Linux says how large a process is, and was")
        small = find(self.name)(WORKLOADS["W2"])
        small.place()
        small.build()
        small.start()
        small.run(0, STEPS)
        small.wait()
        peer = find(self.name)(work)
        peer.place()
        work.draw()  # which is in memory, whether the library shares it or not
        del small
        gc.collect()
        give_back()
        before = resident("VmRSS")
        peer.build()
        for _ in range(2):
            peer.start()
            peer.run(0, STEPS)
            peer.wait()
        return max(0, resident("VmHWM") - before)


def give_back() -> None:
    """Free pages go back to the system, where the C library can do that, and the peak begins here."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > resident("VmRSS") + 2**20:
            raise Missing("the peak of the memory cannot be set back here") from None


def resident(which: str) -> int:
    """VmRSS, the bytes in memory now, or VmHWM, the most there ever were."""
    found = re.search(rf"{which}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def measure(peers: list[str], work: Workload, say: Say) -> dict[str, Any]:
    found: dict[str, int] = {}
    out: dict[str, str] = {}
    for peer in peers:
        seat = Seat(peer, Conditions(rehearsal=False, tf32=False), Scale)
        try:
            seat.ask("weigh", work)
            found[peer] = seat.answer(LONGEST_START)
            say(f"memory of {PEERS[peer].name}: {found[peer] / 1e6:.0f} MB")
        except (Missing, Gone, RuntimeError) as error:
            out[peer] = str(error)
        seat.stop()
    return {"what": work.what, "bytes_above_the_data": found, "left_out": out}
