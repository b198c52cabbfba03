"""One command says all that can be said of martlet on a GPU: is it right, is it fast, does it clean up?

    python benchmarks/gpu_report.py --out DIR                all of it: under 9 minutes on one GPU, no network
    python benchmarks/gpu_report.py --out DIR --only steps   one part (suite parity curves memory steps kernels scale)
    python benchmarks/gpu_report.py --out DIR --rehearse     a rehearsal, on any machine, in under 3 minutes

DIR receives report.json, report.md, suite.txt (what pytest printed) and scale_spiral.png.  Where there is no
CuPy or no CUDA device, everything is rehearsed with stand-ins, and every part of the report says what stood in for
what; --require-gpu, or MARTLET_REQUIRE_GPU=1, makes it fail instead.  Peers that are not installed are named.

Exit status: 0 all is well, 1 a part or a test failed, 2 nothing could be measured.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from gpu import pages
from gpu.parts import PARTS, SIDE_BY_SIDE, Part
from gpu.worker import Budget, call

MINUTES = {False: 8.8, True: 2.8}  # of a measurement, and of a rehearsal


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    budget = Budget(0.0)
    machine = call("gpu.machine", {}, 150.0)  # the first import of all may be slow
    why = machine.get("no_device") or machine.get("error") or machine.get("cut_short") or ""
    why = why.strip().splitlines()[-1] if why else ""
    if why and options.require_gpu and not options.rehearse:
        print(f"a GPU is required, but {why}", file=sys.stderr)
        return 2
    if options.rehearse:
        why = "--rehearse asked for it"
    budget.seconds = 60.0 * (options.minutes or MINUTES[bool(why)])
    report: dict[str, Any] = {"rehearsal": bool(why), "why": why, "machine": machine, "parts": {}}
    out = options.out
    out.mkdir(parents=True, exist_ok=True)
    (out / "suite.txt").unlink(missing_ok=True)
    print("A REHEARSAL, nothing is measured on a GPU:" if why else "Measuring on", why or machine["device"]["name"])

    writing = threading.Lock()

    def run(part: Part) -> None:
        result = part.run(bool(why), budget, str(out.resolve()))
        line = f"{part.name:<8}{result['status']:<11}{pages.brief(part.name, result)}"
        print(f"[{budget.spent:4.0f} s] {line}", flush=True)
        with writing:
            report["parts"][part.name] = result
            write(report, out, budget)  # after each, so that whoever stops us still has a report

    chosen = [part for part in PARTS if part.name in options.only]
    threads = [threading.Thread(target=run, args=(part,), daemon=True) for part in chosen if part.name in SIDE_BY_SIDE]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for part in chosen:
        if part.name not in SIDE_BY_SIDE:
            run(part)
    print(f"{out / 'report.md'} and {out / 'report.json'}: {budget.spent:.0f} s in all")
    return exit_status(report)


def write(report: dict[str, Any], out: Path, budget: Budget) -> None:
    order = [part.name for part in PARTS]
    report["parts"] = dict(sorted(report["parts"].items(), key=lambda pair: order.index(pair[0])))
    report["seconds"] = budget.spent
    (out / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (out / "report.md").write_text(pages.render(report), encoding="utf-8")


def exit_status(report: dict[str, Any]) -> int:
    statuses = [part["status"] for part in report["parts"].values()]
    if not any(part.get("found") for part in report["parts"].values()):
        return 2
    return 1 if "failed" in statuses else 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [part.name for part in PARTS]
    parser.add_argument("--out", type=Path, default=Path("gpu-report"), metavar="DIR", help="default: gpu-report")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="PART", help=", ".join(names))
    parser.add_argument("--minutes", type=float, help="for everything (default 8.8; a rehearsal 2.8)")
    parser.add_argument("--rehearse", action="store_true", help="use the stand-ins even where there is a GPU")
    required = os.environ.get("MARTLET_REQUIRE_GPU") == "1"
    parser.add_argument("--require-gpu", action="store_true", default=required, help="fail where there is no GPU")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
