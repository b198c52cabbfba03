"""A report that nobody can run here must be right all the same: its judgements, its counts and its page."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import LAYERS, LOSSES, OPTIMIZERS
from conftest import BACKENDS, assert_close

import martlet as mt


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "benchmarks"))


# --------------------------------------------------------------------------------------------- parity


def test_a_difference_is_taken_over_the_whole_row() -> None:
    from gpu.parity import difference

    found, expected = [np.array([1.0, 2.5]), np.array([0.0])], [np.array([1.0, 2.0]), np.array([-4.0])]
    assert difference(found, expected) == [4.0, 1.0]
    assert difference(found[:1], expected[:1]) == [0.5, 0.25]
    assert difference([np.zeros((0, 3))], [np.zeros((0, 3))]) == [0.0, 0.0]


@pytest.mark.parametrize(
    ("found", "expected", "result"),
    [
        (math.nan, math.nan, [0.0, 0.0]),
        (math.inf, math.inf, [0.0, 0.0]),
        (math.nan, 1.0, ["inf", "inf"]),
        (math.inf, 1.0, ["inf", "inf"]),
        (1e-9, 0.0, [1e-9, "inf"]),
    ],
)
def test_what_is_not_finite_is_a_difference(found: float, expected: float, result: list[Any]) -> None:
    from gpu.parity import difference

    assert difference([np.array([found])], [np.array([expected])]) == result


def test_another_dtype_or_shape_is_no_parity() -> None:
    from gpu.parity import difference

    for other in (np.zeros(2, dtype=np.float32), np.zeros(3), np.zeros((2, 1))):
        with pytest.raises(ValueError, match="differ"):
            difference([other], [np.zeros(2)])


def test_parity_goes_through_every_row() -> None:
    from gpu.parity import ON_THE_DEVICE, REHEARSED, rows

    found = list(rows("numpy-readonly", "float32"))
    assert len(found) == len(LAYERS) + 3 * len(LOSSES) + len(OPTIMIZERS)
    assert [row for row in found if row["difference"] != [0.0, 0.0]] == []
    assert {target for _, target, _, _ in ON_THE_DEVICE + REHEARSED} <= set(BACKENDS)
    assert [column for column, *_ in ON_THE_DEVICE] == [column for column, *_ in REHEARSED]


def test_what_is_beyond_its_bound_is_named() -> None:
    from gpu.parity import beyond, wrong

    lines = [
        {"kind": "layer", "name": "Affine", "difference": {"float64": [1e-15, 1e-15], "float32": [0.1, 1e-3]}},
        {"kind": "loss", "name": "Huber", "difference": {"float64": "TypeError: no", "float16": [1e-3, "inf"]}},
    ]
    found = beyond(lines)
    assert [words.rsplit(":", 1)[0] for words in found] == [
        "layer Affine, float32",
        "loss Huber, float64: TypeError",
        "loss Huber, float16",
    ]
    assert wrong({"columns": {}, "beyond": found}).startswith("3 values")
    assert "float16 could not" in wrong({"columns": {"float16": {"error": "no"}, "float64": {}}, "beyond": []})
    assert wrong({"columns": {"float64": {}}, "beyond": []}) == ""


# ---------------------------------------------------------------------------------------------- suite

JUNIT = """<testsuites><testsuite name="pytest">
<testcase classname="tests.test_a" name="good" time="0.1" />
<testcase classname="tests.test_a" name="bad">
  <failure message="assert 1 == 2">def f():\n    assert 1 == 2</failure></testcase>
<testcase classname="tests.test_a" name="broken"><error message="no device">fixture</error></testcase>
<testcase classname="tests.test_a" name="left"><skipped message="no float16">where</skipped></testcase>
</testsuite></testsuites>"""


def test_the_suites_own_report_is_read() -> None:
    from gpu.suite import read_junit, wrong

    found = read_junit(JUNIT)
    assert [found[key] for key in ("tests", "passed", "failed", "skipped")] == [4, 1, 2, 1]
    assert [failure["test"] for failure in found["failures"]] == ["tests.test_a::bad", "tests.test_a::broken"]
    assert found["failures"][0]["why"][0] == "assert 1 == 2"
    assert found["skip_reasons"] == {"no float16": 1}
    good = {"passed": 3, "failed": 0, "interrupted": False, "status": 0}
    assert wrong({"runs": {"cupy": good}}) == ""
    for change in ({"failed": 1}, {"interrupted": True}, {"status": 3}, {"passed": 0}):
        assert wrong({"runs": {"other": good, "cupy": good | change}})


# ------------------------------------------------------------------------------------- step times, kernels


def test_the_operations_of_the_products_are_counted_by_hand() -> None:
    from gpu.workloads import SMALL

    spiral = next(work for work in SMALL if work.name == "W2")
    assert spiral.widths == (2, 10, 3)
    assert spiral.operations == 2 * 30 * ((2 * 10 + 10 * 3) + (2 * 10 + 10 * 3) + 10 * 3)


def test_every_peer_is_given_the_same_numbers() -> None:
    from gpu.workloads import SMALL, draw

    work = SMALL[1]
    once = work.draw()
    draw.cache_clear()
    for a, b in zip(once, work.draw(), strict=True):
        assert all((x == y).all() for x, y in zip(a, b, strict=True))


@pytest.mark.only("jax")
def test_jax_takes_the_same_steps_one_by_one_and_in_a_scan() -> None:
    from gpu.peers import Conditions
    from gpu.peers_jax import jitted
    from gpu.workloads import chosen

    work = next(work for work in chosen(True)[0] if work.name == "W2")
    one_by_one, scan = (
        [way.read(way.step(i)) for i in range(25)] for way in jitted(work, Conditions(True, False)).values()
    )
    assert len(set(scan)) > 20
    np.testing.assert_allclose(scan, one_by_one, rtol=1e-5)


def test_the_share_that_is_aimed_at_can_be_read() -> None:
    """85 % of the bare products' speed, and not 84.9."""
    from gpu.steps_page import ratio_rows

    seconds = {"martlet on CuPy, eager": {"minimum": 1.0}, "bare products, cuBLAS": {"minimum": 0.849}}
    (row,) = (line for line in ratio_rows([{"seconds": seconds, "operations": 1.0}]).splitlines() if "speed**" in line)
    assert "84.9 %" in row


def test_losses_that_differ_are_found() -> None:
    from gpu.steps import disagreement, wrong

    apart = disagreement({"martlet": [1.0, 0.5], "other": [1.0, 0.55], "lost": [1.0, math.nan]})
    assert apart == {"martlet": 0.0, "other": pytest.approx(0.1), "lost": 1e9}
    entry = {"workload": "W2", "failed": {"torch.compile": "no compiler"}, "disagree": []}
    assert wrong({"workloads": [entry]}) == ""  # another library's failure is not ours
    assert "W2" in wrong({"workloads": [entry | {"disagree": ["other"]}]})
    assert "W2" in wrong({"workloads": [entry | {"failed": {"martlet": "out of memory"}}]})


def test_a_trace_is_counted_by_step() -> None:
    from gpu.kernels import read_trace

    events = [
        *[{"ph": "X", "cat": "kernel", "name": "add", "dur": 3.0}] * 6,
        *[{"ph": "X", "cat": "kernel", "name": "gemm", "dur": 11.0}] * 2,
        *[{"ph": "X", "cat": "cuda_driver", "name": "cuLaunchKernel", "dur": 1.0}] * 6,
        *[{"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernelExC", "dur": 1.0}] * 2,
        {"ph": "X", "cat": "cuda_runtime", "name": "cudaDeviceSynchronize", "dur": 9.0},
        {"ph": "X", "cat": "gpu_memcpy", "name": "Memcpy DtoD", "dur": 1.0},
        {"ph": "f", "cat": "ac2g", "name": "ac2g"},
        {"ph": "M", "name": "process_name"},
    ]
    found = read_trace(events, "kernel", steps=2)
    assert found["kernels"] == 4
    assert found["busy_seconds"] == pytest.approx(20e-6)
    assert found["launches"] == 4
    assert found["copies_and_fills"] == 0.5
    assert found["most"] == {"add": 6, "gemm": 2}


@pytest.mark.parametrize("name", ["W1", "W2", "W4"])
def test_the_counting_library_computes_what_numpy_computes(name: str) -> None:
    from gpu import counting, peers
    from gpu.kernels import array_operations
    from gpu.workloads import SMALL

    work = next(work for work in SMALL if work.name == name)
    model, loss, optimizer = peers.martlet_model(work)
    _, _, x, t = work.draw()
    expected = mt.train_step(model, loss, optimizer, optimizer.init(model), x[0], t[0])
    here = mt.rebuild(model, [counting.CountedArray(a) for a in mt.leaves(model)])
    given = [counting.CountedArray(a[0]) for a in (x, t)]
    assert_close(mt.train_step(here, loss, optimizer, optimizer.init(here), *given), expected, rtol=1e-6)
    found = array_operations(work)
    layers = len(work.pairs)
    assert 3 * layers - 1 <= found["which"]["matmul"] <= 3 * layers  # forward, dW, and dx but perhaps the first
    assert found["total"] == sum(found["which"].values())
    assert found["host_reads"] == 0  # a step never waits for its device


# ------------------------------------------------------------------------------------ processes and time


def test_a_budget_is_spent_by_its_own_clock() -> None:
    from gpu.worker import Budget

    now = [100.0]
    budget = Budget(5.0, clock=lambda: now[0])
    now[0] = 103.0
    assert (budget.spent, budget.left) == (3.0, 2.0)
    now[0] = 200.0
    assert budget.left == 0.0


@pytest.mark.parametrize(
    ("then", "expected"),
    [
        ("", {}),
        ("raise ValueError('no')", {"error": "ValueError: no"}),
        ("raise Missing('no such thing')", {"unavailable": "no such thing"}),
        ("import os; print('last words', flush=True); os._exit(3)", {"error": "last words"}),
        ("import time; time.sleep(60)", {"cut_short": "stopped after"}),
    ],
)
def test_what_a_part_has_noted_survives_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: str, expected: dict[str, str]
) -> None:
    from gpu.worker import call

    measure = f"def measure(request, note):\n    note(seen=request['x'])\n    {then}\n"
    (tmp_path / "a_part.py").write_text(f"from gpu.worker import *\n{measure}serve(measure)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = call("a_part", {"x": 7}, seconds=1.0 if "sleep" in then else 20.0)
    assert found.pop("seen") == 7
    assert set(found) == set(expected)
    for key, words in expected.items():
        assert words in found[key].splitlines()[-1]


def test_a_part_is_judged() -> None:
    from gpu.parts import judge

    fine, bad = (lambda found: ""), (lambda found: "two tests failed")
    assert judge({"x": 1}, fine)["status"] == "done"
    assert judge({"x": 1}, bad)["status"] == "failed"
    assert judge({"x": 1, "error": "Traceback\nValueError: no"}, fine)["why"] == "ValueError: no"
    assert judge({"x": 1, "cut_short": "stopped after 5 s"}, fine)["status"] == "failed"
    assert judge({"unavailable": "not installed"}, bad)["status"] == "skipped"
    assert judge({}, fine)["status"] == "failed"
    assert judge({"x": 1}, lambda found: found["y"])["status"] == "failed"  # it ended, and noted half of it


# --------------------------------------------------------------------------------------------- the page


def test_numbers_are_written_to_be_read() -> None:
    from gpu.markdown import digits, rate, seconds, size, table, times, tiny

    assert [seconds(x) for x in (1.234e-5, 9.996e-4, 0.5, 12.34, None)] == [
        "12.3 µs",
        "1.00 ms",
        "500 ms",
        "12.3 s",
        "–",
    ]
    assert [size(x) for x in (512, 2048, 3.5 * 2**20, 141 * 2**30)] == ["512 B", "2.00 KiB", "3.50 MiB", "141 GiB"]
    assert [digits(x) for x in (0, 0.0123, 1.234, 56.78, 1234.5)] == ["0", "0.012", "1.23", "56.8", "1,230"]
    assert [tiny(x) for x in (0.0, 2.4e-16, "inf", "TypeError")] == ["0", "2e-16", "inf", "TypeError"]
    assert [times(x) for x in (0.5, 3.21, None)] == ["0.50 ×", "3.2 ×", "–"]
    assert [rate(x) for x in (2.5e9, 5e13)] == ["2.50 GFLOP/s", "50.0 TFLOP/s"]
    assert table(["name", "time"], [("a|b", "1.23 ms"), ("c", "–")]).splitlines() == [
        "| name | time |",
        "| --- | --: |",
        "| a\\|b | 1.23 ms |",
        "| c | – |",
    ]


STEPS = {
    "workloads": [
        {
            "workload": "W2",
            "what": "2-10-3",
            "tf32": False,
            "operations": 7800,
            "seconds": {
                "martlet on CuPy, eager": {"minimum": 9e-4, "median": 9e-4, "blocks": 3},
                "martlet on CuPy, compiled": {"minimum": 6e-4, "median": 7e-4, "blocks": 3},
                "martlet on NumPy": {"minimum": 1e-4, "median": 1e-4, "blocks": 3},
                "PyTorch eager, fused": {"minimum": 3e-4, "median": 3e-4, "blocks": 3},
                "PyTorch eager, default": {"minimum": 4e-4, "median": 4e-4, "blocks": 3},
                "bare products, cuBLAS": {"minimum": 1e-4, "median": 1e-4, "blocks": 3},
            },
            "missing": {"jax": "No module named 'jax'"},
            "failed": {},
            "losses_apart": {"martlet on CuPy, eager": 0.0, "PyTorch eager, fused": 1e-7},
            "disagree": [],
        }
    ]
}


@pytest.mark.parametrize("why", ["", "no device"])
def test_the_report_says_what_it_is(why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole program with canned answers for its parts."""
    import gpu_report
    from gpu import parts

    device = {"memory_bytes": 2**37, "memory_free_bytes": 2**37, "driver": "580", "cuda_runtime": "13.2"}
    device |= {"name": "H200", "compute_capability": "9.0", "multiprocessors": 132, "cuda_driver": "13.0"}
    monkeypatch.setattr(gpu_report, "call", lambda *_: {"no_device": why} if why else {"device": device})
    monkeypatch.delenv("MARTLET_REQUIRE_GPU", raising=False)
    answers: dict[str, Any] = {"gpu.steps": STEPS}
    monkeypatch.setattr(parts, "call", lambda module, *_: json.loads(json.dumps(answers.get(module, {"error": "no"}))))

    out = tmp_path / "report"
    command = ["--out", str(out), "--only"]
    assert gpu_report.main([*command, "steps"]) == 0
    report, page = json.loads((out / "report.json").read_text()), (out / "report.md").read_text()
    assert report["rehearsal"] == bool(why)
    assert report["parts"]["steps"]["status"] == ("rehearsed" if why else "done")
    assert bool(report["parts"]["steps"]["stand_in"]) == bool(why)
    assert ("nothing here was measured on a GPU" in page.splitlines()[0]) == bool(why)
    assert ("H200" in page) != bool(why)
    assert "- **JAX under jit**: No module named 'jax'" in page
    assert "| **best peer** | PyTorch eager, fused |" in page
    assert "| **martlet, eager / PyTorch, eager** | 3.0 × |" in page
    assert "| **martlet / PyTorch, eager** | 2.0 × |" in page
    assert "| **martlet / best peer** | 2.0 × |" in page
    assert "| **martlet / bare products** | 6.0 × |" in page
    assert gpu_report.main([*command, "steps", "memory"]) == 1
    assert "✗ failed" in (out / "report.md").read_text()
    assert gpu_report.main([*command, "memory"]) == 2
    if why:
        assert gpu_report.main([*command, "steps", "--require-gpu"]) == 2
