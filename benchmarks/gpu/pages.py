"""A report is read from the top: what was measured, on what, whether all is well, and only then the numbers."""

from __future__ import annotations

from typing import Any

from gpu import sections
from gpu.markdown import code, folded, size, table
from gpu.steps_page import peer_name

MARKS = {"done": "✓ done", "rehearsed": "✓ rehearsed", "failed": "✗ failed", "skipped": "– skipped"}


def render(report: dict[str, Any]) -> str:
    """The whole page, from what is in report.json."""
    parts = report["parts"]
    pieces = [*opening(report), machine_table(report["machine"]), glance(parts)]
    gone = absent(parts)
    if gone:
        pieces += ["## Not here, and so not measured", "\n".join(f"- **{name}**: {why}" for name, why in gone.items())]
    for i, (name, part) in enumerate(parts.items(), start=1):
        pieces += section(i, name, part)
    pieces.append(f"*{report['seconds']:.0f} s in all. Every number is in report.json.*")
    return "\n\n".join(pieces) + "\n"


def opening(report: dict[str, Any]) -> list[str]:
    if not report["rehearsal"]:
        return ["# martlet on a GPU", f"Measured on **{report['machine']['device']['name']}**."]
    return [
        "> **This is a rehearsal: nothing here was measured on a GPU.** Stand-ins ran in the place of the GPU, named "
        f"in each part. The reason: {report['why']}",
        "# martlet on a GPU: a rehearsal of the report",
    ]


def machine_table(machine: dict[str, Any]) -> str:
    device = machine.get("device", {})
    rows = [("date", machine.get("date")), ("commit", machine.get("commit") or "unknown")]
    if device:
        memory = f"{size(device['memory_bytes'])}, {size(device['memory_free_bytes'])} of it free at the start"
        cuda = f"{device['cuda_runtime']} (the driver's: {device['cuda_driver']})"
        chip = f"{device['name']}, compute capability {device['compute_capability']}, "
        rows += [("device", f"{chip}{device['multiprocessors']} multiprocessors"), ("device memory", memory)]
        rows += [("NVIDIA driver", device["driver"] or "unknown"), ("CUDA runtime", cuda)]
    rows += [("processor", machine.get("processor")), ("system", machine.get("system"))]
    versions = {"python": machine.get("python")} | machine.get("versions", {})
    rows.append(("versions", ", ".join(f"{name} {number}" for name, number in versions.items())))
    return table(["the machine", ""], rows)


def glance(parts: dict[str, Any]) -> str:
    rows = [
        (i, part["title"], MARKS[part["status"]], brief(name, part), f"{part.get('seconds', 0.0):.0f} s")
        for i, (name, part) in enumerate(parts.items(), start=1)
    ]
    return "## At a glance\n\n" + table(["", "part", "", "in brief", "took"], rows)


def brief(name: str, part: dict[str, Any]) -> str:
    """One line on a part; where it is not done, why."""
    words = [part["why"]] if part["why"] else []
    if part.get("found"):
        try:
            words.append(sections.BRIEF[name](part["found"]))
        except Exception:  # it was stopped before it had come so far
            words.append("incomplete")
    return "; ".join(filter(None, words))


def section(number: int, name: str, part: dict[str, Any]) -> list[str]:
    pieces = [f"## {number}. {part['title']}"]
    if part.get("stand_in"):
        pieces.append(f"> Rehearsed: {part['stand_in']}.")
    if part["why"]:
        pieces.append(f"**{part['status'].capitalize()}:** {part['why']}")
    if part.get("found"):
        try:
            pieces += sections.SECTION[name](part["found"])
        except Exception as error:
            pieces.append(f"It is incomplete ({type(error).__name__}: {error}); what there is of it is in report.json.")
    if part.get("error"):
        pieces.append(folded("traceback", code(part["error"])))
    return pieces


def absent(parts: dict[str, Any]) -> dict[str, str]:
    """The peers that took no part at all, and why."""
    found: dict[str, str] = {}
    entries = [e for e in parts.get("steps", {}).get("found", {}).get("workloads", []) if "seconds" in e]
    for peer in sorted({peer for entry in entries for peer in entry["missing"]}):
        reasons = [entry["missing"].get(peer) for entry in entries if not (peer == "numpy" and entry["tf32"])]
        if all(reasons):
            found[peer_name(peer)] = reasons[0]
    for peer, why in parts.get("kernels", {}).get("found", {}).get("missing", {}).items():
        found.setdefault(f"kernels of {peer_name(peer)}", why)
    return found
