"""The tests are the only part of a report that can say "wrong": the whole suite, on the device."""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import Any

from gpu.worker import ROOT, Budget, Note, environment, serve

FEW = ["tests/test_laws.py", "-k", "Affine or Softmax or Adam"]  # what a rehearsal runs
SECONDS = "MARTLET_SUITE_SECONDS"  # by which gpu/deadline.py is told its limit
PROCESSES = 8  # that test side by side at most
GRACE = 30.0  # seconds for the test that is running at the deadline, and for the report


def measure(request: dict[str, Any], note: Note) -> None:
    names = ["strict-device1", "strict-no_float64"] if request["rehearsal"] else ["cupy"]
    budget, runs = Budget(request["seconds"] - GRACE), {}
    for i, name in enumerate(names):
        selection = FEW if request["rehearsal"] else []
        runs[name] = run(name, selection, budget.left / (len(names) - i), Path(request["out"], "suite.txt"))
        note(runs=runs)


def run(backend: str, selection: list[str], seconds: float, log: Path) -> dict[str, Any]:
    """pytest in a process of its own, which stops after so many seconds and reports what it has done by then."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        options = ["-p", "gpu.deadline", "-p", "no:cacheprovider", f"--junitxml={report}", "-v", "--tb=short"]
        options += ["--continue-on-collection-errors"]  # a library for the tests is missing: the other files are run
        options += side_by_side()
        # What other packages hook into pytest may warn, and the suite makes an error of every warning.
        env = {SECONDS: f"{seconds:.0f}", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | (
            {} if selection else {"MARTLET_REQUIRE_GPU": "1", "JAX_PLATFORMS": "cpu"}
        )
        with log.open("a") as stream:
            status = subprocess.run(
                [sys.executable, "-m", "pytest", "--backend", backend, *options, *selection],
                cwd=ROOT,
                env=environment(**env),
                stdout=stream,
                stderr=stream,
            ).returncode
        if not report.exists():
            last = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise RuntimeError(f"pytest ended with status {status} and wrote no report:\n{last}")
        found = read_junit(report.read_text())
    return found | {"selection": shlex.join(selection), "interrupted": status == 2, "status": status}


def side_by_side() -> list[str]:
    """As many processes as there are cores to spare, where pytest-xdist is installed: most of the time goes into
    compiling kernels, which needs no device."""
    count = min(PROCESSES, (os.cpu_count() or 1) // 2)
    if count < 2 or importlib.util.find_spec("xdist") is None:
        return []
    return ["-p", "xdist.plugin", "-n", str(count)]


def read_junit(xml: str) -> dict[str, Any]:
    """Counts, what failed with the first lines of why, and the reasons of the skips, from a JUnit file."""
    cases = list(ElementTree.fromstring(xml).iter("testcase"))
    failures, reasons, skipped = [], Counter(), 0
    for case in cases:
        bad = [node for node in case if node.tag in ("failure", "error")]
        skips = [node for node in case if node.tag == "skipped"]
        if bad:
            lines = [*bad[0].attrib.get("message", "").splitlines(), *(bad[0].text or "").splitlines()]
            name = f"{case.attrib.get('classname', '')}::{case.attrib['name']}"
            failures.append({"test": name, "why": [line for line in lines if line.strip()][:4]})
        elif skips:
            skipped += 1
            reasons[skips[0].attrib.get("message", "")] += 1
    return {
        "tests": len(cases),
        "passed": len(cases) - len(failures) - skipped,
        "failed": len(failures),
        "skipped": skipped,
        "failures": failures[:50],
        "skip_reasons": dict(reasons.most_common()),
    }


def wrong(found: dict[str, Any]) -> str:
    """What is wrong with what was found, or "": a test failed, or not all of them were run."""
    runs = found["runs"].values()
    failed = sum(run["failed"] for run in runs)
    if failed:
        return f"{failed} test{'s' * (failed > 1)} failed"
    if any(run["interrupted"] for run in runs):
        return "not all tests could be run in time"
    return "pytest did not end well" if any(run["status"] or not run["passed"] for run in runs) else ""


if __name__ == "__main__":
    serve(measure)
