"""Each part of the report has a line in the summary and a section of its own: here is what they say."""

from __future__ import annotations

from typing import Any

from gpu.markdown import code, digits, folded, seconds, size, table, tiny
from gpu.parity_page import parity_brief, parity_section
from gpu.steps_page import peer_name, step_brief, step_section

Found = dict[str, Any]
# ------------------------------------------------------------------------------------------- the tests


def suite_brief(found: Found) -> str:
    runs = found["runs"].values()
    return ", ".join(f"{sum(run[key] for run in runs):,} {key}" for key in ("passed", "failed", "skipped"))


def suite_section(found: Found) -> list[str]:
    rows = [
        (
            f"`--backend {name}`",
            f"`{run['selection']}`" if run["selection"] else "all",
            run["passed"],
            run["failed"],
            run["skipped"],
        )
        for name, run in found["runs"].items()
    ]
    pieces = [table(["run", "tests", "passed", "failed", "skipped"], rows)]
    for name, run in found["runs"].items():
        for failure in run["failures"]:
            pieces.append(f"**{failure['test']}** ({name})\n\n{code(chr(10).join(failure['why']))}")
        if run["skip_reasons"]:
            reasons = [(count, reason) for reason, count in run["skip_reasons"].items()]
            pieces.append(folded(f"Why {run['skipped']} were skipped ({name})", table(["tests", "reason"], reasons)))
    return pieces


# ---------------------------------------------------------------------------------------------- curves


def curves_brief(found: Found) -> str:
    words = [f"{width}: {tiny(curve['to_numpy'])}" for width, curve in found["curves"].items()]
    return "the largest difference of a loss in " + "; ".join(words)


def curves_section(found: Found) -> list[str]:
    rows = [
        (
            *(width, tiny(c["to_numpy"]), tiny(c["to_numpy_float64"]), tiny(c["bound"])),
            *(f"{c['last_loss']:.9f}", f"{c['numpys_last_loss']:.9f}", seconds(c["seconds"])),
        )
        for width, c in found["curves"].items()
    ]
    header = ["width", "to NumPy's", "to NumPy's float64", "bound of this", "last loss", "NumPy's last loss", "took"]
    lead = (
        f"The lesson's spiral, {found['epochs']} epochs of ten steps: the largest difference between the loss curves."
    )
    return [lead, table(header, rows)]


# ---------------------------------------------------------------------------------------------- memory


def memory_brief(found: Found) -> str:
    return "; ".join(
        f"{way}: {size(entry['left'])} left after the model was deleted, {size(entry['peak'])} at most"
        for way, entry in found["ways"].items()
    )


def memory_section(found: Found) -> list[str]:
    named = {
        "before": "before",
        "peak": "at most, during `fit`",
        "after_fit": "after `fit`, the model and the optimizer's state held",
        "model_and_state": "their own bytes",
        "kept_beside_the_model": "held beyond these",
        "left": "left of it all when both are deleted",
    }
    ways = found["ways"].values()
    rows = [(words, *(size(entry[key]) for entry in ways)) for key, words in named.items()]
    return [f"{found['what']}; two epochs, after one that warms up.", table(["memory in use", *found["ways"]], rows)]


# --------------------------------------------------------------------------------------------- kernels


def kernels_brief(found: Found) -> str:
    counts = {name: per["W2"]["kernels"] for name, per in found.get("counts", {}).items() if "W2" in per}
    fewest = min(counts, key=counts.__getitem__, default="")
    names = dict.fromkeys([name for name in counts if name.startswith("martlet")] + [fewest] * bool(fewest))
    words = [f"{digits(counts[name])} {found['counted']} with {name}" for name in names]
    return "W2: " + ", ".join([f"{found['operations']['W2']['total']} array operations in martlet", *words])


def kernels_section(found: Found) -> list[str]:
    counts = found.get("counts", {})
    rows = []
    for work, operations in found["operations"].items():
        numbers = [counts[name].get(work) for name in counts]
        shown = [f"{digits(n['kernels'])} ({seconds(n['busy_seconds'])})" if n else "–" for n in numbers]
        rows.append((work, operations["total"], operations["host_reads"], *shown))
    pieces = [
        f"{found['counted'].capitalize()} in a step, and in brackets how long they took, by PyTorch's profiler; before "
        "them, what martlet asks for: operations on arrays, and numbers read by the host, counted without a device.",
        table(["", "array operations", "host reads", *counts], rows),
    ]
    launches = [
        (name, work, digits(n["launches"]), digits(n["copies_and_fills"]), "; ".join(n["most"]))
        for name, per in counts.items()
        for work, n in per.items()
    ]
    header = ["", "", "calls that launch", "copies and fills", "most frequent"]
    pieces.append(folded("Launches, copies and names", table(header, launches)))
    for what in ("missing", "failed"):
        for peer, why in found.get(what, {}).items():
            pieces.append(f"- {peer_name(peer)}, {what}: {why.strip().splitlines()[-1]}")
    return pieces


# ----------------------------------------------------------------------------------------------- scale


def scale_brief(found: Found) -> str:
    record = found["scale_spiral"]
    if not record:
        return "see the table"
    words = []
    for row in record["crossovers"]:
        start = row["from_points"]
        words.append(f"{row['hidden']:,} hidden: " + (f"from {start:,} points" if start else "never"))
    names = sorted({row["backend"] for row in record["crossovers"]})
    return f"{', '.join(names)} ahead of NumPy: " + "; ".join(words)


def scale_section(found: Found) -> list[str]:
    pieces = [f"`{found['command']}`", code(found["text"])]
    return pieces + ([f"![points per second]({found['picture']})"] if found.get("picture") else [])


BRIEF = {
    "suite": suite_brief,
    "parity": parity_brief,
    "curves": curves_brief,
    "memory": memory_brief,
    "steps": step_brief,
    "kernels": kernels_brief,
    "scale": scale_brief,
}
SECTION = {
    "suite": suite_section,
    "parity": parity_section,
    "curves": curves_section,
    "memory": memory_section,
    "steps": step_section,
    "kernels": kernels_section,
    "scale": scale_section,
}
