"""How long does a step of training take, beside everything that could take it instead?

    python benchmarks/steps.py                                    everything: about 20 minutes on two quiet cores
    python benchmarks/steps.py --quick                            a rehearsal with small sizes, under a minute
    python benchmarks/steps.py --workloads W2 W6 --rounds 30      some of the workloads, more turns
    python benchmarks/steps.py --only workloads --peers compiled-numpy plain torch-fused
    python benchmarks/steps.py --out benchmarks/results/steps-DATE.json --plot DIR

Each peer has a process of its own, and they take turns.  All begin with the same weights and see the same batches, in
float32; the losses of their first 20 steps are compared before anything is timed.  A step takes its rows out of the
data, and epochs are shuffled, for everybody alike; only the bare products take no rows.  The tables give the minimum
and the median of the turns, and ratios of minima.  Peers that cannot take part are named, with the reason.

Threads are as the libraries choose, or as OMP_NUM_THREADS says; the results name it.

Exit status: 1 if something of martlet failed, or two peers computed different losses.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steps import growth, machine, memory, page, picture, start
from steps.peers import OURS, PEERS
from steps.progress import progress
from steps.turns import compare, fleet
from steps.workloads import WORKLOADS, smaller

PARTS = ("workloads", "memory", "start", "growth")
SLOW = {"torch-foreach", "torch-fused", "torch-compile", "eager-jax", "eager-torch", "fit-jax"}  # not for a rehearsal
COMPILING = ["compiled-numpy", "compiled-torch", "compiled-jax"]


def main(arguments: list[str] | None = None) -> int:
    chosen = parse(arguments)
    say, quick = progress(), chosen.quick
    rounds, block = chosen.rounds or (2 if quick else 15), 0.01 if quick else 0.2
    peers = chosen.peers or [peer for peer in PEERS if not (quick and peer in SLOW)]
    report: dict[str, Any] = {"rehearsal": quick, "rounds": rounds, "block": block, "machine": machine.describe()}
    works = {name: smaller(WORKLOADS[name]) if quick else WORKLOADS[name] for name in chosen.workloads}

    def add(name: str, found: Any, text: str) -> None:
        report[name] = found
        print(f"{text}\n", flush=True)
        if chosen.out:  # after each part, so that whoever stops us still has a file
            chosen.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")

    if "workloads" in chosen.only:
        found: dict[str, Any] = {}
        seats = fleet(peers)
        for name, work in works.items():
            found[name] = compare(seats, work, block, rounds, say)
            add("workloads", found, page.workload_page(name, found[name]))
        for seat in seats.values():
            seat.stop()
    if "memory" in chosen.only:
        some = [peer for peer in peers if not peer.startswith("products") and not (quick and peer not in growth.CURVES)]
        weighed = memory.measure(some, smaller(WORKLOADS["W6"]) if quick else WORKLOADS["W6"], say)
        add("memory", weighed, page.memory_page(weighed))
    if "start" in chosen.only:
        times = 3 if quick else 15
        compiled = start.compiling(
            [peer for peer in COMPILING if peer in peers and not (quick and peer != OURS)], times, say
        )
        waited = {"imports": start.imports(times, say), "compiling": compiled}
        add("start", waited, page.start_page(waited))
    if "growth" in chosen.only:
        grown = growth.measure(quick, block, max(2, rounds // 3), say)
        add("growth", grown, page.growth_page(grown))
        if chosen.plot:
            print("drawn:", *picture.draw(grown, chosen.plot))
    print(page.goals_page(report))
    return 1 if wrong(report) else 0


def wrong(report: Mapping[str, Any]) -> bool:
    """Whether something of martlet failed, or somebody had other losses; another library's failure is its own."""
    works = [
        *report.get("workloads", {}).values(),
        *(p for points in report.get("growth", {}).values() for p in points),
    ]
    failed = [(peer, work["left_out"][peer]) for work in works for peer in work["failed"]]
    return any(peer.startswith(("eager", "compiled", "fit")) or "other losses" in why for peer, why in failed)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), metavar="W")
    parser.add_argument("--peers", nargs="+", choices=PEERS, metavar="PEER", help=", ".join(PEERS))
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, help="turns of each peer (default 15; a rehearsal 2)")
    parser.add_argument("--quick", action="store_true", help="a rehearsal: small sizes, few turns, fewer peers")
    parser.add_argument("--out", type=Path, help="write everything to this JSON file")
    parser.add_argument("--plot", type=Path, metavar="DIR", help="draw how time grows, as PNG, into this folder")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
