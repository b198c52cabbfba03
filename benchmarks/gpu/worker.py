"""Whatever may crash or hang runs in a process of its own: a broken part then costs nothing but itself.

A part is a module with a function ``measure(request, note)``.  ``call`` runs it elsewhere under a time limit
and gives back what it has noted by then, and, if it did not end well, why.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
Note = Callable[..., None]


class Budget:
    """So many seconds, counted by a clock that nobody sets."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.seconds = seconds
        self.start = clock()

    @property
    def spent(self) -> float:
        return self.clock() - self.start

    @property
    def left(self) -> float:
        return max(0.0, self.seconds - self.spent)


class Missing(Exception):
    """A library or a device that a measurement needs is not here."""


def environment(**changes: str) -> dict[str, str]:
    """This process's environment, in which this tree's martlet, tests and examples can be imported."""
    folders = [str(ROOT / name) for name in ("benchmarks", "src", "tests", "examples")]
    before = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([*folders, before] if before else folders)
    return os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"} | changes


def call(
    module: str, request: dict[str, Any], seconds: float, env: dict[str, str] | None = None, *, nested: bool = False
) -> dict[str, Any]:
    """What ``measure`` of a module noted; with "error" if it raised or died, "cut_short" if it was stopped.

    The process leads a group of its own, so that its children end with it; ``nested`` leaves it in this one's.
    """
    with tempfile.TemporaryDirectory() as folder:
        question, answer, log = (Path(folder, name) for name in ("question.json", "answer.json", "log.txt"))
        question.write_text(json.dumps(request | {"seconds": seconds}))
        command = [sys.executable, "-m", module, str(question), str(answer)]
        with log.open("w") as stream:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment(**(env or {})),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                process_group=None if nested else 0,
            )
            stopped = ""
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                stopped = f"stopped after {seconds:.0f} s"
            finally:
                end(process, group=not nested)
        found = json.loads(answer.read_text()) if answer.exists() else {}
        if stopped:
            found["cut_short"] = stopped
        elif process.returncode and "error" not in found:
            last = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            found["error"] = f"{module} ended with status {process.returncode}\n{last}"
        return found


def end(process: subprocess.Popen[Any], *, group: bool) -> None:
    """Stop a process, and the group that it leads, for good."""
    if group:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    elif process.poll() is None:
        process.kill()
    process.wait()


def serve(measure: Callable[[dict[str, Any], Note], None]) -> None:
    """The other side of ``call``: what a module does when it is run.  Each note is on disk at once."""
    question, answer = map(Path, sys.argv[1:])
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    found: dict[str, Any] = {}

    def note(**entries: Any) -> None:
        found.update(entries)
        fresh = answer.with_suffix(".new")
        fresh.write_text(json.dumps(found))
        fresh.replace(answer)  # in one step: whoever stops us finds a whole file

    try:
        measure(json.loads(question.read_text()), note)
    except Missing as reason:
        note(unavailable=str(reason))
    except Exception:
        note(error=traceback.format_exc())
        sys.exit(1)


def end_with(parent: int) -> None:
    """Nobody waits any longer for a process whose parent has gone: end it, and its group."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os.killpg(os.getpgid(0), signal.SIGKILL)
