"""A benchmark compares like with like, or nothing: the same arithmetic, a fair clock, and verdicts that are right."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))


# --------------------------------------------------------------------------- all peers take the same steps


def gap(peer: str, name: str) -> float:
    """How far a peer's losses are from those of martlet's eager step; a rehearsal's size will do."""
    from gpu.worker import Missing
    from steps.peers import find
    from steps.turns import disagreement
    from steps.workloads import WORKLOADS, smaller

    losses = {}
    for who in ("eager-numpy", peer):
        try:
            one = find(who)(smaller(WORKLOADS[name]))
        except Missing as why:
            pytest.skip(str(why))
        one.place()
        one.build()
        losses[who] = one.losses(), one.each
        assert len(losses[who][0]) * one.each >= 20
        assert losses[who][0][0] != losses[who][0][-1], "somebody who does not learn cannot be compared"
    return disagreement(losses)[peer]


@pytest.mark.parametrize("name", ["W1", "W2"])
@pytest.mark.parametrize("peer", ["plain", "sklearn", "fit-numpy", "compiled-numpy"])
def test_every_peer_on_numpy_computes_the_same_losses(peer: str, name: str) -> None:
    assert gap(peer, name) < 1e-5


@pytest.mark.parametrize("name", ["W3", "W3a", "W4", "W5m", "W5a"])
def test_the_lessons_layers_and_optimizers_compute_the_same_losses(name: str) -> None:
    assert gap("plain", name) < 1e-4


@pytest.mark.only("torch")
@pytest.mark.parametrize("name", ["W1", "W4", "W5m"])
@pytest.mark.parametrize("peer", ["torch-default", "torch-foreach", "torch-fused", "eager-torch", "compiled-torch"])
def test_every_peer_on_torch_computes_the_same_losses(peer: str, name: str) -> None:
    assert gap(peer, name) < 2e-4


@pytest.fixture
def single_width() -> Iterator[None]:
    """The suite runs JAX with 64 bits; the benchmark, like everybody else, without."""
    import jax

    jax.config.update("jax_enable_x64", False)
    yield
    jax.config.update("jax_enable_x64", True)


@pytest.mark.only("jax")
@pytest.mark.usefixtures("single_width")
@pytest.mark.parametrize("name", ["W1", "W4"])
@pytest.mark.parametrize("peer", ["jax-jit", "jax-scan", "eager-jax", "compiled-jax", "fit-jax"])
def test_every_peer_on_jax_computes_the_same_losses(peer: str, name: str) -> None:
    assert gap(peer, name) < 2e-4


def test_the_bare_products_are_those_of_a_step() -> None:
    from steps.products import Products

    rng = np.random.default_rng(0)
    x, W, V = (rng.standard_normal(shape) for shape in [(5, 2), (2, 4), (4, 3)])
    products = Products([W, V], x)
    products.forward_and_backward(x)
    h, y = x @ W, x @ W @ V  # and y and h stand for their own gradients
    for found, wanted in zip(products.outputs + products.grads, [h, y, x.T @ h, h.T @ y], strict=True):
        np.testing.assert_allclose(found, wanted)
    np.testing.assert_allclose(products.input_grads[1], y @ V.T)
    assert not products.input_grads[0].any()  # nobody needs it


def test_the_chunks_are_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    from steps import products
    from steps.workloads import with_batch

    pytest.importorskip("threadpoolctl")
    chunks = products.Chunks(with_batch(8192))
    chunks.place()
    chunks.build()
    seen: list[np.ndarray] = []
    monkeypatch.setattr(products.Products, "forward_and_backward", lambda self, x: seen.append(x.copy()))
    chunks.run(0, 1)
    chunks.limits.restore_original_limits()
    chunks.pool.shutdown()
    together = np.concatenate(sorted(seen, key=lambda x: tuple(x[0])))
    np.testing.assert_array_equal(np.sort(together, axis=0), np.sort(chunks.x[:8192], axis=0))


def test_losses_that_differ_are_found_also_where_one_knows_only_their_mean() -> None:
    from steps.turns import disagreement

    said = {
        "first": ([1.0, 3.0, 2.0, 4.0], 1),
        "same": ([2.0, 3.0], 2),
        "other": ([1.0, 3.0, 2.0, 5.0], 1),
        "mean": ([2.0, 3.3], 2),
        "lost": ([1.0, math.nan, 2.0, 4.0], 1),
        "mute": ([], 1),
    }
    found = disagreement(said)
    assert found == {"first": 0.0, "same": 0.0, "other": 0.25, "mean": pytest.approx(0.1), "lost": math.inf}
    reverse = disagreement({"same": said["same"], "other": said["other"]})  # the finer one is what others are held to
    assert reverse == {"same": pytest.approx(0.5 / 3.5), "other": 0.0}


def test_the_labels_cannot_be_learned_by_heart() -> None:
    from steps.workloads import WORKLOADS

    _, _, x, t = WORKLOADS["W4"].draw()
    half = len(x) // 2
    np.testing.assert_array_equal(x[:half], x[half:])
    assert 0.05 < np.mean(t[:half] == t[half:]) < 0.15  # one in ten, by chance
    assert WORKLOADS["W6"].samples == 999_000
    assert WORKLOADS["W6"].batches == 999_000 // 65_536


# ------------------------------------------------------------------------------------------- the clock


@pytest.mark.parametrize(("stretch", "epochs"), [(10, 1), (10, 3), (4, 1), (1, 1)])
def test_what_is_done_once_for_an_epoch_is_paid_for_by_its_steps(
    monkeypatch: pytest.MonkeyPatch, stretch: int, epochs: int
) -> None:
    from steps.peer import Peer
    from steps.workloads import WORKLOADS

    now = 0.0

    class Slow(Peer):
        def begin(self, order: np.ndarray) -> None:
            nonlocal now
            assert sorted(order) == list(range(300))
            now += 5.0

        def run(self, first: int, stop: int) -> list[float]:
            nonlocal now
            now += 2.0 * (stop - first)
            return []

    monkeypatch.setattr(time, "perf_counter", lambda: now)
    peer = Slow(WORKLOADS["W2"])
    peer.stretch, peer.epochs = stretch, epochs
    assert peer.turn() == (pytest.approx(5.0 / 10 + 2.0),)


@pytest.mark.parametrize(("step", "epochs", "stretch"), [(1e-3, 20, 10), (0.05, 1, 4), (1.0, 1, 1)])
def test_a_turn_is_about_as_long_as_it_was_asked_to_be(
    monkeypatch: pytest.MonkeyPatch, step: float, epochs: int, stretch: int
) -> None:
    from steps.peer import Peer
    from steps.workloads import WORKLOADS

    now = 0.0

    class Steady(Peer):
        def run(self, first: int, stop: int) -> list[float]:
            nonlocal now
            now += step * (stop - first)
            return []

    monkeypatch.setattr(time, "perf_counter", lambda: now)
    peer = Steady(WORKLOADS["W2"])
    peer.settle(0.2)
    assert (peer.epochs, peer.stretch) == (epochs, stretch)


def test_a_difference_is_taken_of_what_many_turns_found() -> None:
    from steps.turns import median, minimum

    assert minimum([(3.0,), (2.0,), (4.0,)]) == 2.0
    turns = [(9.0, 4.0), (8.0, 7.0), (12.0, 5.0)]  # a disturbed second number must not make anybody fast
    assert minimum(turns) == 8.0 - 4.0
    assert median(turns) == 9.0 - 5.0


# ------------------------------------------------------------------------------------------- the verdicts


def test_the_goals_are_judged() -> None:
    from steps.goals import RATIOS, verdicts

    times = {"compiled-numpy": 2.0, "plain": 8.0, "torch-default": 40.0, "torch-fused": 20.0, "torch-compile": 1.0}
    times |= {"products-whole": 1.9, "products-chunks": 1.0, "jax-scan": 1.0, "fit-jax": 1.05, "jax-jit": 0.1}
    times |= {"fit-numpy": 2.0 + 7e-6}
    found = {(v.goal, v.where): v for v in verdicts({"W2": times, "W4": times}, {"compiled-numpy": 61e6}, 4e-3)}
    plain, torch, bare, jax = (goal.name for goal in RATIOS)
    said = {key: (v.found, v.holds) for key, v in found.items() if v.found is not None}
    assert said == {
        (plain, "W2"): (0.25, True),
        (plain, "W4"): (0.25, True),
        (torch, "W2"): (0.1, False),  # of eager PyTorch, the best optimizer: 20
        (torch, "W4"): (0.1, True),
        (bare, "W4"): (2.0, True),  # the faster of the two ways
        (jax, "W2"): (1.05, True),
        (jax, "W4"): (1.05, True),
        ("memory above the data", "W6"): (61e6, False),
        ("compiling", "W2"): (4e-3, True),
        ("fit adds", "W2"): (pytest.approx(7e-6), False),
    }
    assert {v.holds for key, v in found.items() if key not in said} == {None}
    assert [len(goal.bounds) for goal in RATIOS] == [5, 5, 4, 5]


def test_what_was_not_measured_is_not_judged() -> None:
    from steps.goals import RATIOS, ratio, verdicts

    assert {v.holds for v in verdicts({}, {}, None)} == {None}
    assert ratio(RATIOS[0], {"plain": 1.0}) is None
    assert ratio(RATIOS[0], {"compiled-numpy": 1.0}) is None


def test_the_best_of_pytorch_is_drawn(tmp_path: Path) -> None:
    from steps.growth import curves
    from steps.picture import draw

    def point(size: int, **seconds: float) -> dict[str, Any]:
        return {"size": size, "seconds": {peer.replace("_", "-"): {"minimum": s} for peer, s in seconds.items()}}

    points = [
        point(64, plain=1e-4, torch_default=3e-4, torch_fused=4e-4),
        point(256, plain=2e-4, torch_default=9e-4, torch_fused=5e-4),
    ]
    assert curves(points) == {"plain": [(64, 1e-4), (256, 2e-4)], "torch": [(64, 3e-4), (256, 5e-4)]}
    for path in draw({"batch": points, "width": points}, tmp_path):
        assert path.read_bytes().startswith(b"\x89PNG")


# ------------------------------------------------------------------------------------------ the whole of it


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux says how large a process was")
def test_memory_above_the_data_is_that_of_the_step() -> None:
    from steps.memory import measure
    from steps.workloads import with_batch

    hidden = 16_384 * 128 * 4  # bytes of one array behind a layer
    found = measure(["plain"], with_batch(16_384), lambda words: None)
    assert found["left_out"] == {}
    assert 4 * hidden < found["bytes_above_the_data"]["plain"] < 14 * hidden  # two layers: x @ W, + b, tanh, dout


def test_a_run_from_its_command_to_its_file(tmp_path: Path) -> None:
    out = tmp_path / "steps.json"
    command = "--quick --only workloads --workloads W1 --peers eager-numpy plain products-whole products-chunks --out"
    done = subprocess.run(
        [sys.executable, str(FOLDER / "steps.py"), *command.split(), str(out)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text())
    found = report["workloads"]["W1"]
    assert set(found["seconds"]) == {"eager-numpy", "plain", "products-whole"}
    assert all(0 < entry["minimum"] <= entry["median"] for entry in found["seconds"].values())
    assert "not cut into chunks" in found["left_out"]["products-chunks"]
    assert found["failed"] == []
    assert report["rehearsal"]
    assert report["machine"]["versions"]["numpy"] == np.__version__
    assert "martlet eager, NumPy / it" in done.stdout
    assert "W1 turn 2/2 the lessons' plain NumPy" in done.stderr
    assert "not measured" in done.stdout
