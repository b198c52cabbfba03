"""A launch costs microseconds whatever it computes, so small networks are as slow as their kernels are many.

Kernels are counted by CUPTI, which sees all that a process launches, whoever launches it.  PyTorch's profiler is
the way to it here, also for CuPy's and JAX's.  Beside them stands the number of array operations that martlet asks
for in a step, counted by an array library that does nothing else: it needs no device.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from gpu import peers
from gpu.worker import Budget, Missing, Note, call, serve
from gpu.workloads import Workload, chosen

PROFILED = ["martlet", "torch", "jax", "torch.compile"]
WARM_UP, STEPS = 4, 4
LAUNCH = re.compile(r"(Launch\w*Kernel|GraphLaunch)")


def measure(request: dict[str, Any], note: Note) -> None:
    small, _ = chosen(request["rehearsal"])
    if "peer" in request:
        note(counts=profile(request["peer"], small, peers.Conditions(request["rehearsal"], False), note))
        return
    budget = Budget(request["seconds"] - 3.0)
    counted = "operations on the processor" if request["rehearsal"] else "kernels"
    note(counted=counted, operations={work.name: array_operations(work) for work in small})
    found, missing, failed = {}, {}, {}
    for peer in PROFILED:
        if budget.left < 4.0:
            missing[peer] = f"no time was left of {budget.seconds:.0f} s"
            note(missing=missing)
            continue
        ask = {"rehearsal": request["rehearsal"], "peer": peer}
        answer = call("gpu.kernels", ask, budget.left, {"CUPY_TF32": "0"}, nested=True)
        if "unavailable" in answer:
            missing[peer] = answer["unavailable"]
        elif why := answer.get("error") or answer.get("cut_short"):
            failed[peer] = why
        for name, counts in answer.get("counts", {}).items():
            found[name] = counts
        note(counts=found, missing=missing, failed=failed)


def array_operations(work: Workload) -> dict[str, Any]:
    """How many operations on arrays a step of martlet is made of, and which."""
    import martlet as mt
    from gpu import counting

    model, loss, optimizer = peers.martlet_model(work)
    _, _, x, t = work.draw()
    model = mt.rebuild(model, [counting.CountedArray(a) for a in mt.leaves(model)])
    state, batch = optimizer.init(model), (counting.CountedArray(x[0]), counting.CountedArray(t[0]))
    model, state, _ = mt.train_step(model, loss, optimizer, state, *batch)
    counting.calls.clear()
    mt.train_step(model, loss, optimizer, state, *batch)
    reads = counting.calls.pop(counting.READ, 0)
    return {"total": counting.calls.total(), "host_reads": reads, "which": dict(counting.calls.most_common())}


def profile(peer: str, works: list[Workload], conditions: peers.Conditions, note: Note) -> dict[str, Any]:
    """Name -> workload -> what the profiler counted in a step."""
    try:
        import torch.profiler
    except ImportError as error:
        raise Missing(f"the profiler is PyTorch's: {error}") from None
    if conditions.rehearsal:
        activity, category = torch.profiler.ProfilerActivity.CPU, "cpu_op"
    else:
        activity, category = torch.profiler.ProfilerActivity.CUDA, "kernel"
        if not torch.cuda.is_available():
            raise Missing("the profiler is PyTorch's, which sees no CUDA device")
    make, found = peers.find(peer), {}
    for work in works:
        for name, (step, wait, _, together, _) in make(work, conditions).items():
            steps = max(STEPS, together)
            for i in range(max(WARM_UP, together)):
                step(i)
            wait()
            with torch.profiler.profile(activities=[activity]):  # the first one is slow, and may miss what comes first
                step(0)
                wait()
            with torch.profiler.profile(activities=[activity]) as profiler:
                for i in range(steps):
                    step(i)
                wait()
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder, "trace.json")
                profiler.export_chrome_trace(str(file))
                counts = read_trace(json.loads(file.read_text())["traceEvents"], category, steps)
            if counts["kernels"]:
                found.setdefault(name, {})[work.name] = counts
                note(counts=found)
    if not found:
        raise Missing("the profiler saw nothing of what it did")
    return found


def read_trace(events: list[dict[str, Any]], category: str, steps: int) -> dict[str, Any]:
    """Of a profiler's trace, per step: kernels, the seconds they ran, calls that launch, copies and fills."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        if event.get("ph", "X") == "X":
            kinds.setdefault(event.get("cat", ""), []).append(event)
    kernels = kinds.get(category, [])
    calls = kinds.get("cuda_runtime", []) + kinds.get("cuda_driver", [])
    moves = kinds.get("gpu_memcpy", []) + kinds.get("gpu_memset", [])
    return {
        "kernels": len(kernels) / steps,
        "busy_seconds": sum(event.get("dur", 0.0) for event in kernels) * 1e-6 / steps,
        "launches": sum(bool(LAUNCH.search(event["name"])) for event in calls) / steps,
        "copies_and_fills": len(moves) / steps,
        "most": dict(Counter(event["name"][:60] for event in kernels).most_common(5)),
    }


def wrong(found: dict[str, Any]) -> str:
    """What is wrong with what was found, or "": martlet's own kernels could not be counted."""
    return "martlet could not be profiled" if "martlet" in found.get("failed", {}) else ""


if __name__ == "__main__":
    serve(measure)
