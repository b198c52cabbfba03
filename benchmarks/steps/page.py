"""Times for whoever has this machine, ratios for all others: what ``steps.py`` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpu.markdown import digits, seconds, table

from steps.goals import Verdict, verdicts_of
from steps.growth import STAND_IN, curves
from steps.peers import OURS, PEERS
from steps.turns import reason

WORDS = {True: "holds", False: "**does not hold**", None: "not measured"}


def peer_name(peer: str) -> str:
    return PEERS[peer].name if peer in PEERS else "the best PyTorch eager"


def workload_page(name: str, found: Mapping[str, Any]) -> str:
    """A table of times and ratios, who was left out, and what the peers say of themselves."""
    times = found["seconds"]
    base = next((peer for peer in (OURS, STAND_IN) if peer in times), None)
    header = ["", "minimum", "median", f"{PEERS[base].name} / it" if base else "–"]
    rows = []
    for peer, entry in times.items():
        over = digits(times[base]["minimum"] / entry["minimum"]) if base and entry["minimum"] > 0 else "–"
        rows.append((peer_name(peer), seconds(entry["minimum"]), seconds(entry["median"]), over))
    gap = max(found["losses_apart"].values(), default=0.0)
    lines = [f"## {name}: {found['what']}", "", table(header, rows), ""]
    lines.append(f"Losses of the first steps: at most {gap:.0e} of them apart.")
    lines += [f"- {peer_name(peer)}: {reason(words)}" for peer, words in found["words"].items()]
    lines += [f"- {peer_name(peer)} is left out: {reason(why)}" for peer, why in found["left_out"].items()]
    return "\n".join(lines)


def memory_page(found: Mapping[str, Any]) -> str:
    pairs = sorted(found["bytes_above_the_data"].items(), key=lambda pair: pair[1])
    rows = [(peer_name(peer), f"{count / 1e6:.0f} MB") for peer, count in pairs]
    lines = ["## Peak memory above the data", "", found["what"], "", table(["", "above the data"], rows)]
    return "\n".join(lines + [f"- {peer_name(p)} is left out: {reason(why)}" for p, why in found["left_out"].items()])


def start_page(found: Mapping[str, Any]) -> str:
    lines = ["## Before the first step", ""]
    rows = [(name, f"{value * 1e3:.0f} ms") for name, value in found["imports"].items()]
    lines += [table(["import, and end", "median"], rows), ""]
    rows = []
    for peer, entry in found["compiling"].items():
        if "left_out" in entry:
            lines.append(f"- {peer_name(peer)} is left out: {reason(entry['left_out'])}")
        else:
            rows.append(
                (peer_name(peer), *(seconds(entry[key]) for key in ("built", "until_its_first_loss", "very_first")))
            )
    header = ["compiling W2", "built", "until its first loss", "the first time in a process"]
    return "\n".join([*lines, *([table(header, rows)] if rows else [])])


def growth_page(found: Mapping[str, Any]) -> str:
    lines = []
    for what, points in found.items():
        lines += [f"## Time of a step by {what}", ""]
        columns = curves(points)
        rows = [
            (peer_name(peer), *(seconds(dict(curve).get(point["size"])) for point in points))
            for peer, curve in columns.items()
        ]
        lines += [table([what, *(f"{point['size']:,}" for point in points)], rows), ""]
    return "\n".join(lines)


def goals_page(report: Mapping[str, Any]) -> str:
    """Each goal, what was found, and whether it holds."""
    rows = [
        (v.goal, v.where, written(v, v.found), f"≤ {written(v, v.bound)}", WORDS[v.holds]) for v in verdicts_of(report)
    ]
    title = "## Goals" + (", in a rehearsal, where they mean nothing" if report["rehearsal"] else "")
    return "\n".join([title, "", table(["", "at", "found", "goal", ""], rows)])


def written(verdict: Verdict, value: float | None) -> str:
    if value is None:
        return "–"
    if verdict.goal.startswith("memory"):
        return f"{value / 1e6:.0f} MB"
    return f"{value:.2f}" if "/" in verdict.goal else seconds(value) if value > 0 else f"{value * 1e6:.1f} µs"
