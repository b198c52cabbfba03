"""A batch in chunks of rows, on several threads: the step of the whole batch, whatever happens meanwhile."""

from __future__ import annotations

import functools
import importlib
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import hypothesis
import numpy as np
import pytest
from cases import CLASS_WEIGHT, LAYERS, LOSSES, OPTIMIZERS, LayerCase, LossCase, OptimizerCase, affine
from conftest import take_apart
from hypothesis import strategies as st
from properties.networks import drawn_task, tasks
from properties.programs import WHOLE, Written, numeric
from properties.strategies import for_all, seeds

import martlet as mt
from martlet.compile.plans.chunk import ChunkPlan
from martlet.compile.plans.state import State
from martlet.compile.plans.threads import blas, workers
from martlet.compile.recorder.recording import record
from martlet.compile.replay import carried_of
from martlet.compile.rewriting.rows import NeedsWholeBatch

ROWS = 25  # in chunks of two, more than there are lanes, and a ragged one


class Steps:
    """Steps of training in chunks."""

    def __init__(self, model: Any, loss: Any, optimizer: Any, *batch: np.ndarray, **settings: Any) -> None:
        state = optimizer.init(model)
        self.given = model, loss, optimizer, state
        names = list(mt.tree.named_leaves(model)), list(mt.tree.named_leaves(state)), list(mt.tree.named_leaves(loss))
        arrays = [np.array(x, order="C") for x in take_apart((model, state, loss))[0]]
        labels = [f"{kind}.{name}" for kind, own in zip(("model", "state", "loss"), names, strict=True) for name in own]
        self.memory = State(dict(zip(labels, arrays, strict=True)))
        program = record(mt.train_step, model, loss, optimizer, state, *batch)
        self.plan = ChunkPlan(program, carried_of(model, loss, state), self.memory, **settings)
        for place, x in zip(self.plan.inputs, batch, strict=False):
            place[...] = x

    def run(self, count: int = 3) -> Any:
        """Losses, and model and state in the end."""
        values = []
        for _ in range(count):
            self.plan.run()
            values.append(self.plan.outputs[0].copy())
        return [np.asarray(values), *self.read()]

    def read(self) -> list[np.ndarray]:
        now = list(self.memory.read().values())
        return now[: len(now) - len(take_apart(self.given[1])[0])]


def eager(model: Any, loss: Any, optimizer: Any, *batch: np.ndarray, count: int = 3) -> Any:
    state, values = optimizer.init(model), []
    for _ in range(count):
        model, state, value = mt.train_step(model, loss, optimizer, state, *batch)
        values.append(value)
    return [np.asarray(values), *take_apart((model, state))[0]]


def check(
    model: Any, loss: Any, optimizer: Any, *batch: np.ndarray,
    rows: int = 2, rtol: float = 1e-12, atol: float = 1e-13, **settings: Any,
) -> None:  # fmt: skip
    """Chunks train as the eager steps do, to the rounding of sums in another order."""
    with np.errstate(all="ignore"):
        found = Steps(model, loss, optimizer, *batch, rows=rows, **settings).run()
        wanted = eager(model, loss, optimizer, *batch)
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol * (1.0 + np.max(np.abs(b), initial=0.0)))


def more(x: np.ndarray, rng: np.random.Generator, count: int = ROWS) -> np.ndarray:
    """As many samples like these as wanted."""
    if x.dtype.kind in "iu":
        return rng.integers(0, x.max() + 1, (count, *x.shape[1:]))
    return rng.standard_normal((count, *x.shape[1:]))


def network(rng: np.random.Generator) -> mt.Layer:
    """With everything in it that a chunk can be wrong about, and no statistics."""
    return mt.Sequential(
        affine(rng, 3, 4),
        mt.GELU(),
        mt.Dropout.init(0.3, rng),
        mt.Freeze(mt.Sequential(affine(rng, 4, 4), mt.Dropout.init(0.3, rng))),
        mt.LayerNorm(*rng.standard_normal((2, 4))),
        affine(rng, 4, 3),
    )


# --------------------------------------------------------------------------------------- every row of the tables

LEFT_WHOLE = {  # and which of its operations is in the way
    "BatchNorm": "its sum over all samples is read by each of them again",
    "BatchNorm, images": "its sum over all samples is read by each of them again",
    "BatchNorm, one image": "its sum over all samples is read by each of them again",
    "the catalogue at work": "its sum over all samples is read by each of them again",
    "Embedding": "argsort goes along the samples",
    "Embedding, sentences": "argsort goes along the samples",
    "Embedding, one word": "argsort goes along the samples",
    "words, then Affine": "argsort goes along the samples",
}


def maps_rows(case: LayerCase) -> bool:
    """Whether a layer maps one array with samples in its rows to another."""
    rng = np.random.default_rng(0)
    x = case.x(rng)
    if isinstance(x, tuple) or x.shape[0] < 1:
        return False
    y = case.layer(rng).forward(x)[0]
    return not isinstance(y, tuple) and y.shape[0] == x.shape[0]


@pytest.mark.parametrize("case", [case for case in LAYERS if maps_rows(case)], ids=lambda case: case.name)
def test_every_layer_is_cut_right_or_left_whole(case: LayerCase) -> None:
    rng = np.random.default_rng(3)
    layer, x = case.layer(rng), more(case.x(rng), rng)
    given = layer, mt.MeanSquaredError(), mt.Momentum(lr=0.1), x, rng.standard_normal(layer.forward(x)[0].shape)
    if case.name in LEFT_WHOLE:
        with pytest.raises(NeedsWholeBatch, match=rf"\w+\)\.\w+ needs the whole batch: {LEFT_WHOLE[case.name]}"):
            check(*given)
    else:
        check(*given)


@pytest.mark.parametrize("case", LOSSES, ids=lambda case: case.name)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_every_loss_is_cut_right(case: LossCase, reduction: str) -> None:
    rng = np.random.default_rng(4)
    y, t = case.y(rng), case.t(rng)
    again = np.resize(np.arange(len(y)), ROWS)
    y, t = y[again] + 0.1 * rng.standard_normal((ROWS, *y.shape[1:])), t[again]
    model, loss = mt.Standardize(np.zeros(y.shape[1:]), np.ones(y.shape[1:])), case.loss(reduction)
    model = mt.Sequential(model, affine(rng, y.shape[1], y.shape[1])) if y.ndim == 2 else model
    check(model, loss, mt.SGD(lr=0.1), y, t)
    check(model, loss, mt.SGD(lr=0.1), y, t, rng.uniform(0.5, 2.0, ROWS), threads=2)


@pytest.mark.parametrize("case", OPTIMIZERS, ids=lambda case: case.name)
def test_every_optimizer_gets_the_gradient_of_the_whole_batch(case: OptimizerCase) -> None:
    rng = np.random.default_rng(5)
    x, t = rng.standard_normal((ROWS, 3)), rng.integers(0, 3, ROWS)
    check(network(rng), mt.SoftmaxWithLoss(), case.optimizer(), x, t, threads=2)


def test_a_batch_smaller_than_a_chunk_is_one() -> None:
    rng = np.random.default_rng(5)
    x, t = rng.standard_normal((ROWS, 3)), rng.integers(0, 3, ROWS)
    for rows in (ROWS, 100):
        check(network(rng), mt.SoftmaxWithLoss(), mt.Adam(), x, t, rows=rows, threads=3)


@for_all(
    400,
    words=st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=10),
    sizes=st.tuples(st.integers(2, 14), st.integers(1, 4), st.integers(0, 2)),
    form=st.integers(0, 5),
    pick=st.integers(0, 63),
    axis=st.integers(-1, 2),
    labels=st.booleans(),
    sampled=st.booleans(),
    rows=st.integers(1, 6),
    threads=st.integers(1, 2),
    seed=seeds,
)
def test_a_drawn_step_on_whole_numbers_is_cut_right_or_left_whole(
    words: list[int], sizes: tuple[int, int, int], form: int, pick: int, axis: int, labels: bool, sampled: bool,
    rows: int, threads: int, seed: int,
) -> None:  # fmt: skip
    """Sums of whole numbers are exact in any order."""
    rng, (count, columns, more) = np.random.default_rng(seed), sizes
    batch = {
        "x": rng.integers(0, 16, (count, columns, more) if more else (count, columns)).astype("float64"),
        "t": rng.integers(0, 4, count),
    }
    shape = [(columns,), (columns, columns), (), (1, columns), (columns, 2), (count,)][form]
    state, drawn = rng.integers(0, 16, shape).astype("float64"), Written(words, 0, (), [pick, 0], WHOLE)

    def step(state: Any, x: Any, t: Any) -> Any:
        xp = mt.namespace(x)
        one, other = drawn(state, t, x) if labels else drawn(state, x)
        total = xp.sum(numeric(one), axis=axis if 0 <= axis < one.ndim else None)
        if total.shape != state.shape:
            total = xp.sum(total)
        return (state + xp.astype(total, np.float64)) % 16, xp.sum(numeric(other))

    with np.errstate(all="ignore"):
        program, memory = record(step, state, batch["x"], batch["t"]), State({"state": state})
        data = [batch[node.settings["name"]] for node in program.inputs[1:]]
        settings = {"rows": rows, "threads": threads, "samples": data if sampled else None}
        try:
            plan = ChunkPlan(program, [(0, 0, "model", "state")], memory, **settings)
        except NeedsWholeBatch:
            hypothesis.reject()
        for number in range(3):
            order = np.roll(np.arange(count), number)
            if sampled:
                plan.load(order)
            for place, x in zip(plan.inputs, data, strict=not sampled):
                place[...] = x[order]
            plan.run()
            state, value = step(state, *(batch[name][order] for name in ("x", "t")))
            np.testing.assert_array_equal(memory.read()["state"], state)
            np.testing.assert_array_equal(plan.outputs[0], value)


@for_all(60, rows=st.integers(2, 6), threads=st.integers(1, 2), **tasks)
def test_a_drawn_network_is_cut_right_or_left_whole(
    words: list[int], sizes: tuple[int, int, int], loss: int, weighted: bool, seed: int, rows: int, threads: int
) -> None:
    model, kind, batch = drawn_task(words, sizes, loss, weighted, np.random.default_rng(seed))
    with suppress(NeedsWholeBatch):
        check(model, kind, mt.SGD(lr=0.01), *batch, rows=rows, threads=threads, rtol=1e-7, atol=1e-9)


def test_a_total_along_as_many_entries_as_there_are_samples_is_whole() -> None:
    """It is no sample's own, though it looks as if each had an entry of it."""
    x, t = np.arange(9.0).reshape(3, 3), np.arange(3.0)
    program = record(lambda s, x, t: (s + t @ (x.T @ x), mt.namespace(t).sum(t)), np.ones(3), x, t)
    with pytest.raises(NeedsWholeBatch, match="its matmul over all samples is read by each of them again"):
        ChunkPlan(program, [(0, 0, "model", "s")], State({"s": np.ones(3)}), rows=2)


def test_single_precision_differs_by_the_rounding_of_a_sum() -> None:
    rng = np.random.default_rng(6)
    x, t = rng.standard_normal((1000, 3)), rng.integers(0, 3, 1000)
    model = mt.Sequential(affine(rng, 3, 16), mt.Tanh(), affine(rng, 16, 3))
    wanted = eager(model, mt.SoftmaxWithLoss(), mt.SGD(lr=0.1), x, t, count=1)
    single = [a.astype("float32") if a.dtype.kind == "f" else a for a in (x, t)]
    narrow = Steps(model.to(dtype="float32"), mt.SoftmaxWithLoss(), mt.SGD(lr=0.1), *single, rows=64)
    for a, b in zip(narrow.run(1), wanted, strict=True):
        assert np.max(np.abs(a - b)) <= 4 * np.finfo("float32").eps * np.max(np.abs(b), initial=1.0)


def test_masks_are_those_of_the_whole_batch() -> None:
    """Each sample is a power of two of its own, so a sum over them tells which are there."""
    layer = mt.Dropout.init(0.5, np.random.default_rng(7))
    x = np.repeat(2.0 ** np.arange(ROWS)[:, None], 5, axis=1)

    def kept(layer: mt.Layer, x: Any) -> Any:
        return mt.namespace(x).sum(layer.forward(x)[0], axis=0)

    state = State({f"layer.{name}": leaf for name, leaf in mt.tree.named_leaves(layer).items()})
    plan = ChunkPlan(record(kept, layer, x), [], state, rows=3)
    plan.inputs[0][...] = x
    plan.run()
    assert np.array_equal(plan.outputs[0], kept(layer, x))
    assert len(set(plan.outputs[0])) == 5


def test_single_numbers_are_no_rows() -> None:
    x, scale = np.random.default_rng(7).standard_normal((ROWS, 3)), np.asarray(2.0)
    plan = ChunkPlan(record(lambda x, scale: mt.namespace(x).sum(x * scale, axis=0), x, scale), [], State({}), rows=4)
    for value in (2.0, -3.0):
        plan.inputs[0][...], plan.inputs[1][...] = x, value
        plan.run()
        np.testing.assert_allclose(plan.outputs[0], value * x.sum(axis=0), rtol=1e-13)


# --------------------------------------------------------------------------------- threads, and where rows are from


def small(rng: np.random.Generator, *, samples: int = ROWS) -> tuple[Any, ...]:
    x = rng.standard_normal((samples, 3)).astype("float32")
    clipped = mt.Adam(transforms=(mt.ClipByNorm(limit=0.5),))
    weight = rng.uniform(0.5, 2.0, samples).astype("float32")
    loss = mt.SoftmaxWithLoss(class_weight=CLASS_WEIGHT.astype("float32"))
    return network(rng).to(dtype="float32"), loss, clipped, x, rng.integers(0, 3, samples), weight


@pytest.mark.parametrize("samples", [10, 25, 200])
def test_no_number_of_threads_changes_a_bit(samples: int) -> None:
    given = small(np.random.default_rng(8), samples=samples)
    first, *others = (Steps(*given, rows=7, threads=threads).run() for threads in (1, 2, 3, 4, 9))
    for other in others:
        for a, b in zip(first, other, strict=True):
            assert np.array_equal(a, b)


def test_rows_come_from_all_samples_by_their_numbers() -> None:
    rng = np.random.default_rng(9)
    model, loss, optimizer, *samples = small(rng, samples=100)
    rows = rng.permutation(100)[:ROWS]
    batch = [a[rows] for a in samples]
    wanted = Steps(model, loss, optimizer, *batch, rows=4).run(1)
    for tables in (False, True):
        steps = Steps(model, loss, optimizer, *batch, samples=samples, tables=tables, rows=4, threads=2)
        assert steps.plan.inputs == []  # no batch is put together
        steps.plan.load(rows)
        for a, b in zip(steps.run(1), wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=3e-6, atol=1e-7)
        steps.plan.load(np.full(ROWS, 3))
        steps.plan.run()
        assert steps.plan.outputs[0] != wanted[0]  # another batch, and not the memory of the first


def test_errstate_is_that_of_the_caller() -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((ROWS, 3))
    x[22] = 1e200  # in chunk 11, lane 3, which is not the main thread's
    given = affine(rng, 3, 3), mt.MeanSquaredError(), mt.SGD(lr=0.0), x, -x
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        Steps(*given, rows=2, threads=2).plan.run()
    with np.errstate(all="ignore"):
        Steps(*given, rows=2, threads=2).plan.run()


# -------------------------------------------------------------------------------------------- what goes wrong


@contextmanager
def interrupted(after: float) -> Iterator[None]:
    """A Ctrl-C in the main thread after some seconds, if it is still at work here."""

    def handler(*ignored: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, after)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def test_a_ctrl_c_waits_for_all_workers() -> None:
    ended = []

    def slow() -> None:
        time.sleep(0.2)
        ended.append(True)

    with pytest.raises(KeyboardInterrupt), interrupted(0.05):
        workers.run([int, slow, slow])
    assert len(ended) == 2
    with pytest.raises(KeyboardInterrupt), interrupted(0.05):
        workers.run([functools.partial(time.sleep, 0.1), slow])
    assert len(ended) == 3


def test_what_a_worker_raises_is_raised_once_all_have_ended() -> None:
    ended = []

    def slow() -> None:
        time.sleep(0.1)
        ended.append(True)

    for jobs in ([int, functools.partial(int, "no number"), slow], [functools.partial(int, "no number"), slow]):
        with pytest.raises(ValueError, match="no number"):
            workers.run(jobs)
    assert len(ended) == 2


def hindered(steps: Steps, worker: int, *call: Any) -> Callable[[], None]:
    """Put a call into the midst of a worker's; gives the function that takes it out again."""
    (calls,) = steps.plan.passes[-1].jobs[worker].args
    place = len(calls) // 2
    calls.insert(place, call)
    return lambda: calls.pop(place)


@pytest.mark.parametrize("worker", [0, 1])
def test_a_step_that_fails_in_a_worker_has_not_begun(worker: int) -> None:
    given = small(np.random.default_rng(10))
    steps, undisturbed = (Steps(*given, rows=2, threads=2) for _ in range(2))
    steps.run(1), undisturbed.run(1)
    before = steps.read()
    mend = hindered(steps, worker, int, "no number")
    with pytest.raises(ValueError, match="no number"):
        steps.plan.run()
    assert all(map(np.array_equal, steps.read(), before))
    mend()
    assert all(map(np.array_equal, steps.run(2), undisturbed.run(2)))


@pytest.mark.parametrize("worker", [0, 1])
def test_a_ctrl_c_while_workers_are_at_it_leaves_the_state(worker: int) -> None:
    given = small(np.random.default_rng(11))
    steps, undisturbed = (Steps(*given, rows=2, threads=2) for _ in range(2))
    before = steps.read()
    mend = hindered(steps, worker, time.sleep, 0.2)
    with pytest.raises(KeyboardInterrupt), interrupted(0.05):
        steps.plan.run()
    assert all(map(np.array_equal, steps.read(), before))
    mend()
    assert all(map(np.array_equal, steps.run(2), undisturbed.run(2)))


def test_no_ctrl_c_tears_the_state() -> None:
    given = small(np.random.default_rng(12), samples=400)
    steps, undisturbed = (Steps(*given, rows=16, threads=2) for _ in range(2))
    known = [undisturbed.read()]
    while len(known) < 62:
        known.append(undisturbed.run(1)[1:])
    begin = time.perf_counter()
    steps.plan.run()
    length, now = time.perf_counter() - begin, 1
    for i in range(60):
        try:
            with interrupted(max(1e-5, length * i / 50)):
                steps.plan.run()
        except KeyboardInterrupt:
            pass
        found = steps.read()
        assert any(all(map(np.array_equal, found, wanted)) for wanted in known[now : now + 2])
        now += not all(map(np.array_equal, found, known[now]))


# -------------------------------------------------------------------------------------- threads and processes


def test_plans_share_their_workers() -> None:
    given = small(np.random.default_rng(13))
    for _ in range(3):
        Steps(*given, rows=2, threads=3).run(1)
    assert sum(thread.name == "martlet" for thread in threading.enumerate()) == len(workers.threads)
    workers.stop()
    assert not any(thread.name == "martlet" for thread in threading.enumerate())
    Steps(*given, rows=2, threads=3).run(1)
    assert len(workers.threads) == 2


def test_blas_has_one_thread_meanwhile() -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")
    rng = np.random.default_rng(14)
    steps = Steps(*small(rng), rows=2, threads=2)
    seen: list[int] = []

    def look() -> None:
        seen.extend(library.num_threads for library in blas.libraries)

    mend = [hindered(steps, worker, look) for worker in range(2)]
    with threadpoolctl.threadpool_limits(3, "blas"):
        steps.plan.run()
        assert seen
        assert set(seen) == {1}
        assert {library.num_threads for library in blas.libraries} == {3}
        mend[0]()
        hindered(steps, 0, int, "no number")
        with pytest.raises(ValueError, match="no number"):
            steps.plan.run()
        assert {library.num_threads for library in blas.libraries} == {3}


SCRIPT = """
import os, sys
sys.path[:0] = {path!r}
import numpy as np
from test_chunks import Steps, small
steps = Steps(*small(np.random.default_rng(1)), rows=2, threads=3)
steps.run(1)
{more}
"""


def run_script(more: str = "") -> str:
    text = SCRIPT.format(path=sys.path, more=textwrap.dedent(more))
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", text], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_no_thread_is_left_behind() -> None:
    assert run_script("print('end')") == "end\n"


@pytest.mark.skipif(sys.platform == "win32", reason="no fork there")
def test_a_forked_process_has_workers_of_its_own() -> None:
    text = """
    child = os.fork()
    found = steps.run(2)
    if child == 0:
        print(repr([x.tobytes() for x in found]), flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    print(repr([x.tobytes() for x in found]))
    """
    first, second = run_script(text).splitlines()
    assert first == second


def test_without_threadpoolctl_nothing_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(blas, "_libraries", None)
    monkeypatch.setattr(importlib, "import_module", missing)
    with blas.held():
        assert blas.libraries == []
