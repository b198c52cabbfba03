"""Ratios outlive machines: the table of step times ends with martlet's time as a multiple of the best peer's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpu.markdown import digits, folded, percent, rate, seconds, table, times

Entry = dict[str, Any]
NAMES = {
    "martlet": "martlet on the device",
    "numpy": "martlet on NumPy",
    "torch": "PyTorch, eager",
    "torch.compile": "torch.compile",
    "torch graphs": "torch.compile with CUDA graphs",
    "torch whole": "PyTorch's whole step in a CUDA graph",
    "jax": "JAX under jit",
    "products": "the bare products",
}


def peer_name(peer: str) -> str:
    return NAMES.get(peer, peer)


def column(entry: Entry) -> str:
    return entry["workload"] + (", TF32" if entry["tf32"] else "")


def fastest(entry: Entry, chosen: Callable[[str], bool]) -> float | None:
    """The fastest of the ways to take a step whose names are chosen."""
    return min((found["minimum"] for name, found in entry["seconds"].items() if chosen(name)), default=None)


def ours(entry: Entry) -> float | None:
    """The fastest step of martlet on the device."""
    return fastest(entry, lambda name: name.startswith("martlet on ") and name != "martlet on NumPy")


def eager(entry: Entry) -> float | None:
    """martlet's step on the device with nothing compiled."""
    return fastest(entry, lambda name: name.startswith("martlet on ") and name.endswith(", eager"))


def torch_eager(entry: Entry) -> float | None:
    """The fastest of PyTorch's eager steps."""
    return fastest(entry, lambda name: name.startswith("PyTorch eager"))


def products(entry: Entry) -> float | None:
    return next((found["minimum"] for name, found in entry["seconds"].items() if name.startswith("bare")), None)


def best_peer(entry: Entry) -> tuple[str, float] | None:
    """The fastest of the others that take the whole step."""
    others = {n: f["minimum"] for n, f in entry["seconds"].items() if not n.startswith(("martlet", "bare"))}
    return min(others.items(), key=lambda pair: pair[1]) if others else None


def ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one and other else None


def step_brief(found: dict[str, Any]) -> str:
    words = []
    for entry in found["workloads"]:
        if entry.get("seconds") and ours(entry) and best_peer(entry):
            words.append(f"{column(entry)} {times(ours(entry) / best_peer(entry)[1])}")
    return "martlet's time in units of the best peer's: " + ", ".join(words) if words else "nothing to compare"


def step_section(found: dict[str, Any]) -> list[str]:
    entries = found["workloads"]
    done = [entry for entry in entries if entry.get("seconds")]
    pieces = [
        "The fastest of several blocks of steps, float32; data and weights are on the device, nothing is read back, "
        "and the clock is read when the device has finished. The bare products are the forward product, dW and dx of "
        "every layer but the first layer's dx, which nobody needs; they are called one by one, so where they are small "
        "it is the calls that take the time, and a graph of many kernels may be faster. martlet's compiled steps and "
        "JAX's scan take an epoch in one go, PyTorch's and JAX's other ways are asked for each step; torch.compile "
        "leaves the optimizer outside its graphs. Where it says no more, martlet is its faster way.",
        "\n".join(f"- **{entry['workload']}**: {entry['what']}" for entry in entries if not entry["tf32"]),
    ]
    small = [entry for entry in done if entry["workload"].startswith("W")]
    large = [entry for entry in done if not entry["workload"].startswith("W")]
    for group in filter(None, (small, large)):
        pieces.append(times_table(group, "minimum") + "\n" + ratio_rows(group))
    medians = [times_table(group, "median") for group in (small, large) if group]
    pieces.append(folded("The same, medians of the blocks", "\n\n".join(medians)))
    if "bytes_per_second" in found.get("copy", {}):
        copy = found["copy"]
        speed = digits(copy["bytes_per_second"] / 1e9)
        pieces.append(f"Copying {copy['megabytes']:,} MiB: **{speed} GB/s**, bytes read and bytes written added.")
    elif found.get("copy"):
        pieces.append(f"The copy failed: {found['copy']['error']}")
    pieces.append(agreement(done))
    pieces.append("\n".join(notes(entries)))
    return pieces


def notes(entries: list[Entry]) -> list[str]:
    """Why a place in the table is empty, and how it was filled; each once, with its columns."""
    reasons: dict[str, list[str]] = {}
    for entry in entries:
        if "skipped" in entry:
            reasons.setdefault(entry["skipped"], []).append(column(entry))
        for peer, why in entry.get("missing", {}).items():
            reasons.setdefault(f"{peer_name(peer)}: {why}", []).append(column(entry))
        for peer, why in entry.get("failed", {}).items():
            reasons.setdefault(f"{peer_name(peer)} failed: {why.splitlines()[0]}", []).append(column(entry))
        for name, words in entry.get("told", {}).items():
            reasons.setdefault(f"{name}: {words}", []).append(column(entry))
    every = [column(entry) for entry in entries if "skipped" not in entry]
    return [f"- {why} ({'all' if at == every else ', '.join(at)})" for why, at in reasons.items()]


def names_of(group: list[Entry]) -> list[str]:
    return list(dict.fromkeys(name for entry in group for name in entry["seconds"]))


def times_table(group: list[Entry], which: str) -> str:
    rows = [
        (name, *(seconds(entry["seconds"].get(name, {}).get(which)) for entry in group)) for name in names_of(group)
    ]
    return table([which, *map(column, group)], rows)


def ratio_rows(group: list[Entry]) -> str:
    """The rows below the times, of the same table."""
    peers = [best_peer(entry) for entry in group]
    rows = [
        ("**best peer**", *(peer[0] if peer else "–" for peer in peers)),
        ("**martlet, eager / PyTorch, eager**", *(times(ratio(eager(e), torch_eager(e))) for e in group)),
        ("**martlet / PyTorch, eager**", *(times(ratio(ours(e), torch_eager(e))) for e in group)),
        ("**martlet / best peer**", *(times(ratio(ours(e), p and p[1])) for e, p in zip(group, peers, strict=True))),
        ("**martlet / bare products**", *(times(ratio(ours(entry), products(entry))) for entry in group)),
        ("**that is, of their speed**", *(percent(ratio(products(entry), ours(entry))) for entry in group)),
        ("**speed of the bare products**", *(rate(ratio(entry["operations"], products(entry))) for entry in group)),
    ]
    return "\n".join(table([""] * (len(group) + 1), rows).splitlines()[2:])


def agreement(done: list[Entry]) -> str:
    """One sentence on whether the peers computed the same losses."""
    wrong = [f"{name} at {column(entry)}" for entry in done for name in entry["disagree"]]
    apart = [gap for entry in done for gap in entry["losses_apart"].values()]
    if wrong:
        return f"**Other losses than martlet's, so not comparable:** {', '.join(wrong)}."
    return f"All peers computed the same losses in their first steps, to {max(apart, default=0.0):.0e} of them."
