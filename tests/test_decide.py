"""Chunks or the whole batch: what is decided from the record, and the sentence that says so."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from cases import affine, batch_norm
from conftest import assert_close, take_apart

import martlet as mt
from martlet.compile.numpy import NumpyStepper
from martlet.compile.plans import decide
from martlet.compile.plans.chunk import ChunkPlan
from martlet.compile.plans.state import State
from martlet.compile.plans.threads import blas
from martlet.compile.recorder.recording import record
from martlet.compile.replay import carried_of
from martlet.compile.rewriting.rows import NeedsWholeBatch


def decided(model: Any, rows: int, *, inputs: int = 2, classes: int = 3, **settings: Any) -> tuple[Any, str]:
    loss, optimizer = mt.SoftmaxWithLoss(), mt.SGD(lr=0.1)
    state = optimizer.init(model)
    program = record(
        mt.train_step, model, loss, optimizer, state, np.zeros((rows, inputs), "float32"), np.zeros(rows, int)
    )
    names = [node.settings["name"] for node in program.inputs[:-2]]
    memory = State(dict(zip(names, take_apart((model, loss, state))[0], strict=True)))
    return decide.laid_out(program, carried_of(model, loss, state), memory, **settings)


def tanhs(*sizes: int) -> mt.Layer:
    rng, layers = np.random.default_rng(0), []
    for a, b in itertools.pairwise(sizes):
        layers += [affine(rng, a, b), mt.Tanh()]
    return mt.Sequential(*layers[:-1]).to(dtype="float32")


def test_a_large_batch_of_a_narrow_network_is_cut() -> None:
    plan, words = decided(tanhs(2, 128, 128, 3), 65_536, threads=2)
    assert isinstance(plan, ChunkPlan)
    assert words.startswith("the batch is taken in 32 chunks of 2,048 rows on 2 threads: each row computes ")


def test_chunks_of_wider_rows_are_shorter() -> None:
    rows = [decided(tanhs(2, width, width, 3), 20_000)[0].rows for width in (16, 64, 256)]
    assert rows == sorted(rows, reverse=True)
    assert len(set(rows)) > 1


@pytest.mark.parametrize(
    ("model", "rows", "why"),
    [
        (tanhs(2, 10, 3), 300, "it is small (300 rows)"),
        (tanhs(2, 10, 3), 4_000, "it is small (4,000 rows, and a chunk would have 4,096)"),
        (tanhs(2, 1024, 1024, 3), 8_192, "nearly all of its work are products of large matrices"),
        (
            mt.Sequential(affine(np.random.default_rng(0), 2, 3), batch_norm(np.random.default_rng(0), 3)).to(
                dtype="float32"
            ),
            50_000,
            "layer 1 (BatchNorm).forward needs the whole batch: its sum over all samples is read by each of them again",
        ),
    ],
    ids=["a batch of few", "a batch of few chunks", "large products", "statistics"],
)
def test_what_is_left_whole(model: Any, rows: int, why: str) -> None:
    plan, words = decided(model, rows)
    assert not isinstance(plan, ChunkPlan)
    assert words.startswith(f"the batch is left whole: {why}")


def test_whoever_asks_decides() -> None:
    plan, words = decided(tanhs(2, 128, 128, 3), 65_536, chunks=False)
    assert not isinstance(plan, ChunkPlan)
    assert words == "the batch is left whole: as asked for"
    plan, words = decided(tanhs(2, 5, 3), 30, chunks=8, threads=1)
    assert plan.rows == 8
    assert words == "the batch is taken in 4 chunks of 8 rows on 1 thread: as asked for"
    with pytest.raises(NeedsWholeBatch, match="BatchNorm"):
        decided(mt.Sequential(batch_norm(np.random.default_rng(0), 3)).to(dtype="float32"), 30, inputs=3, chunks=8)


def test_a_run_in_chunks_is_the_run_of_whole_batches() -> None:
    rng = np.random.default_rng(6)
    model = mt.Sequential(affine(rng, 2, 5), mt.Dropout.init(0.2, rng), mt.Tanh(), affine(rng, 5, 3))
    given = model, mt.SoftmaxWithLoss(), mt.Adam(), mt.Adam().init(model)
    data = rng.standard_normal((25, 2)), rng.integers(0, 3, 25)  # two batches of 12, and one of 1
    whole, cut = (NumpyStepper(*given, data, size=12, how={"chunks": chunks, "threads": 2}) for chunks in (False, 5))
    assert "left whole: as asked for" in whole.words
    assert "3 chunks of 5 rows on 2 threads" in cut.words
    for _ in range(2):
        order = rng.permutation(25)
        whole.shuffle(order)
        cut.shuffle(order)
        np.testing.assert_allclose(cut.run(0, 3), whole.run(0, 3), rtol=1e-12)
    assert_close(cut.read(), whole.read(), rtol=1e-11, atol=1e-13)


def test_without_threadpoolctl_one_thread_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "_libraries", [])
    monkeypatch.setattr(decide, "cores", lambda: 4)
    plan, words = decided(tanhs(2, 5, 3), 30, chunks=8)
    assert plan.threads == 1
    assert "on 1 thread (threadpoolctl, which keeps BLAS from using others, is not installed" in words


def test_a_small_step_does_not_ask_how_many_threads_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """That takes longer than to lay it out."""
    monkeypatch.setattr(blas, "_libraries", None)
    decided(tanhs(2, 10, 3), 30)
    assert blas._libraries is None
