"""A number stands for something: the parts of the report, their time limits, and their stand-ins in a rehearsal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gpu import curves, kernels, memory, parity, scale, steps, suite
from gpu.worker import Budget, call

Wrong = Callable[[dict[str, Any]], str]  # what is wrong with what a part has found, or ""

QUIET = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # JAX would take three quarters of the device for itself
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # where parts run side by side, or rehearse
ON_CPU = {"JAX_PLATFORMS": "cpu"}


@dataclass(frozen=True)
class Part:
    """One part of the report: the module gpu.<name>, and within how many seconds it must be done."""

    name: str
    title: str
    seconds: float
    rehearsal_seconds: float
    stand_in: str
    wrong: Wrong
    least: float = 0.3  # of its time, with less of which it is not begun

    def run(self, rehearsal: bool, budget: Budget, out: str) -> dict[str, Any]:
        """What was found, its status (done, rehearsed, failed or skipped), and how long it took."""
        wanted = self.rehearsal_seconds if rehearsal else self.seconds
        limit = min(wanted, budget.left)
        about = {"title": self.title, "stand_in": self.stand_in if rehearsal else ""}
        if limit < self.least * wanted:
            return about | {
                "status": "skipped",
                "why": f"only {limit:.0f} s were left of the time for the whole report",
            }
        watch = Budget(limit)
        environment = QUIET | (ONE_THREAD if rehearsal or self.name in SIDE_BY_SIDE else {})
        environment |= ON_CPU if rehearsal else {}
        found = call(f"gpu.{self.name}", {"rehearsal": rehearsal, "out": out}, limit, environment)
        result = about | judge(found, self.wrong) | {"seconds": watch.spent}
        return result | {"status": "rehearsed"} if rehearsal and result["status"] == "done" else result


def judge(found: dict[str, Any], wrong: Wrong) -> dict[str, Any]:
    """A part's status, why it is not "done", and what it found."""
    error, short, missing = (found.pop(key, "") for key in ("error", "cut_short", "unavailable"))
    why = error.strip().splitlines()[-1] if error else short or missing
    status = "failed" if error or short else "skipped" if missing else "done"
    if found:
        try:
            mistake = wrong(found)
        except KeyError as key:  # it was stopped before it had noted this
            mistake = "" if why else f"nothing was noted of {key}"
        if mistake:
            status, why = "failed", "; ".join(filter(None, [mistake, why]))
    elif not why:
        status, why = "failed", "nothing was found"
    return {"status": status, "why": why, "error": error, "found": found}


PARTS = [
    Part(
        "suite",
        "The tests",
        180,
        45,
        "array-api-strict's devices device1 and no_float64 stand in for CuPy, and a part of the suite for all of it",
        suite.wrong,
    ),
    Part(
        "parity",
        "Parity with NumPy, row by row",
        90,
        60,
        "array-api-strict's devices device1 and no_float64 stand in for CuPy, which compute with NumPy, so that no "
        "difference is to be expected; for float16, which the standard lacks, PyTorch on the processor. "
        "CUPY_TF32=1 is set, and means nothing to them",
        parity.wrong,
    ),
    Part(
        "curves",
        "The same seed, the same curve",
        60,
        45,
        "array-api-strict's device1 stands in for CuPy; 40 epochs instead of 300",
        curves.wrong,
    ),
    Part(
        "memory",
        "Memory after fit",
        60,
        45,
        "NumPy stands in for CuPy, and Python's tracemalloc for CuPy's memory pool",
        memory.wrong,
    ),
    Part(
        "steps",
        "The time of a step",
        230,
        75,
        "PyTorch on one processor core stands in for CuPy, both under martlet and for the bare products; PyTorch's and "
        "JAX's own steps run there too; aot_eager, which compiles nothing, stands in for torch.compile's compiler; "
        "batches and the wide networks are cut down, and there are few repetitions",
        steps.wrong,
    ),
    Part(
        "kernels",
        "Kernels in a step",
        45,
        40,
        "PyTorch's operations on the processor, those inside others counted too, stand in for kernels, and PyTorch "
        "on the processor for CuPy; JAX's cannot be seen there",
        kernels.wrong,
    ),
    Part(
        "scale",
        "The spiral scaled up",
        65,
        30,
        "PyTorch on one processor core stands in for CuPy (where it is not installed, array-api-strict); a tiny grid",
        scale.wrong,
        least=0.7,
    ),
]

# Numbers do not depend on what else the machine does, so these run side by side; times do.
SIDE_BY_SIDE = ("suite", "parity", "curves", "memory")
