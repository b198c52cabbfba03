"""What is CuPy's own about a step that is replayed: its kernels, its graph, the host that does not wait, its memory."""

from __future__ import annotations

import _thread
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from cases import affine
from conftest import why_not
from replayed import Replayed, on, side_by_side, training
from test_neighbour import nothing_is_read_on
from test_plan import words_of

import martlet as mt
from martlet.compile import stepper
from martlet.compile.choose import COMPILERS
from martlet.compile.plans.calls import Calls

pytestmark = pytest.mark.only("cupy")


@pytest.fixture(autouse=True)
def device() -> None:
    if reason := why_not("cupy"):
        pytest.skip(reason)


def bits(taken: Any) -> list[bytes]:
    return [mt.to_numpy(x).tobytes() for tree in taken.read() for x in mt.leaves(tree)]


def test_a_step_is_one_graph_of_few_kernels() -> None:
    taken = stepper(*training("cupy"), size=5)
    assert taken.words.endswith("calls of CuPy, in one CUDA graph")
    operations = taken.plan.program.cost.operations  # type: ignore[attr-defined]
    assert len(taken.plan.single) < operations / 3  # type: ignore[attr-defined]
    assert len(taken.plan.calls) == 1  # type: ignore[attr-defined]


def test_a_step_on_words_is_one_graph_too() -> None:
    """An embedding sorts its words."""
    rng, optimizer = np.random.default_rng(0), mt.Adam()
    model, *data = on("cupy", (words_of(rng), rng.integers(0, 7, (23, 2)), rng.integers(0, 2, 23)))
    taken = stepper(model, mt.SoftmaxWithLoss(), optimizer, optimizer.init(model), data, size=5)
    assert taken.words.endswith("calls of CuPy, in one CUDA graph")


@pytest.mark.parametrize("few", [100, 10], ids=["compared", "sorted"])
@pytest.mark.parametrize("count", [0, 1, 30, 100])
@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
def test_integers_are_placed_in_order_equal_ones_as_they_stand(
    dtype: str, count: int, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from martlet.compile.cupy import calls

    monkeypatch.setattr(calls, "FEW", few)
    x = np.random.default_rng(count).integers(0, 9, 2 * count).astype(dtype)[::2]
    replayed = Replayed(lambda x: mt.namespace(x).argsort(x), on("cupy", x), carried=[])
    (found,) = replayed.step(on("cupy", x[::-1].copy()))
    np.testing.assert_array_equal(mt.to_numpy(found), np.argsort(x[::-1], stable=True))


def test_a_graph_computes_what_its_calls_compute() -> None:
    graph, calls = (stepper(*training("cupy"), size=5) for _ in range(2))
    calls.plan.calls, calls.short.calls = calls.plan.single, calls.short.single  # type: ignore[attr-defined]
    for order in (None, np.random.default_rng(0).permutation(23)):
        losses = []
        for taken in (graph, calls):
            taken.shuffle(order)
            losses.append(mt.to_numpy(taken.run(0, 5)).tobytes())
        assert losses[0] == losses[1]
    assert bits(graph) == bits(calls)


def test_fused_or_not_every_bit_is_the_same() -> None:
    """Without a matrix product and a sum, whose order of adding is the library's own, nothing may differ."""
    rng = np.random.default_rng(0)
    model = on("cupy", mt.Sequential(mt.Standardize(rng.standard_normal(3), rng.uniform(1, 2, 3)), mt.SiLU(), mt.ELU()))

    def step(x: Any, model: Any) -> Any:
        y, cache = model.forward(x)
        return x - 0.1 * model.backward(cache, y)[0]

    x = on("cupy", rng.standard_normal((7, 3)), "float32")
    model = model.to("cupy", dtype="float32")
    replayed = Replayed(step, x, model, carried=[(0, 0, "model", "x")], kept=[1, 2])
    for _ in range(3):
        replayed.step()
        x = step(x, model)
        assert mt.to_numpy(replayed.state_now()[0]).tobytes() == mt.to_numpy(x).tobytes()


def test_an_epoch_may_be_taken_in_any_stretches() -> None:
    one, many = (stepper(*training("cupy"), size=5) for _ in range(2))
    order = np.random.default_rng(1).permutation(23)
    for taken in (one, many):
        taken.shuffle(order)
    whole = mt.to_numpy(one.run(0, 5))
    parts = [mt.to_numpy(many.run(*ends)) for ends in ((0, 1), (1, 4), (4, 5))]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    assert bits(one) == bits(many)
    one.run(2, 3)  # and back again
    many.run(2, 3)
    assert bits(one) == bits(many)


def test_no_step_waits_for_the_device() -> None:
    taken = stepper(*training("cupy"), size=5)
    order = on("cupy", np.random.default_rng(0).permutation(23))
    with nothing_is_read_on("cupy", order):
        taken.epochs([order, None], 5)


def test_what_cannot_be_captured_is_replayed_call_by_call(monkeypatch: pytest.MonkeyPatch) -> None:
    import cupy

    def refuse(*_: Any) -> None:
        raise RuntimeError("no graphs here")

    expected = stepper(*training("cupy"), size=5)
    monkeypatch.setattr(cupy.cuda.Stream, "begin_capture", refuse)
    taken = stepper(*training("cupy"), size=5)
    assert taken.words.endswith("calls of CuPy, one by one: they cannot be captured: RuntimeError: no graphs here")
    np.testing.assert_array_equal(mt.to_numpy(taken.run(0, 5)), mt.to_numpy(expected.run(0, 5)))
    assert bits(taken) == bits(expected)


def test_a_graph_that_computes_something_else_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    from martlet.compile.cupy.plan import CupyPlan

    capture = CupyPlan.capture

    def lose_a_call(self: Any) -> None:
        calls, *update = self.calls.calls[:-2], self.calls.calls[-1]
        complete, self.calls = self.calls, Calls([*calls, *update], self.calls.commit, self.calls.count)
        capture(self)
        self.captured = complete

    expected = stepper(*training("cupy"), size=5)
    monkeypatch.setattr(CupyPlan, "capture", lose_a_call)
    taken = stepper(*training("cupy"), size=5)
    assert taken.words.endswith("one by one: as a graph they compute something else")
    taken.run(0, 5)
    expected.run(0, 5)
    assert bits(taken) == bits(expected)


def test_what_a_stepper_took_it_gives_back() -> None:
    import gc

    import cupy

    given = training("cupy")
    pool = cupy.get_default_memory_pool()
    stepper(*given, size=5).run(0, 5)  # what the library keeps for good is there before we begin
    gc.collect()
    before = pool.used_bytes()
    taken = stepper(*given, size=5)
    taken.run(0, 5)
    assert pool.used_bytes() > before
    del taken
    gc.collect()
    assert pool.used_bytes() == before


def test_memory_that_a_graph_writes_to_is_nobody_elses() -> None:
    """A call that cannot write where it is told to takes memory while it is captured; later arrays must not get it."""
    import cupy

    class Turns(mt.Layer):
        def forward(self, x: Any) -> tuple[Any, Any]:
            xp = mt.namespace(x)
            return xp.cumulative_sum(x, axis=1) * xp.atan2(x, x + 1.0), None

        def backward(self, cache: Any, dout: Any) -> tuple[Any, Any]:
            return dout, None

    model, loss, optimizer, _, data = training("cupy")
    model = mt.Sequential(*model, Turns())
    runs = []
    for busy in (False, True):
        taken: Any = stepper(model, loss, optimizer, optimizer.init(model), data, size=5)
        assert len(taken.plan.held) > 1  # what the two give, and what they need on the way
        others = []
        if busy:
            cupy.get_default_memory_pool().free_all_blocks()
            others = [cupy.full(n, 7.0) for n in (*range(1, 400, 9), 2**18, 2**18)]
        runs.append(mt.to_numpy(taken.run(0, 5)))
        assert all(bool((x == 7.0).all()) for x in others)
    np.testing.assert_array_equal(*runs)


@pytest.mark.parametrize("width", ["float64", "float32", "float16"])
@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True), (True, True)])
def test_a_product_is_that_of_the_library_however_its_matrices_lie(turned: tuple[bool, bool], width: str) -> None:
    import cupy

    from martlet.compile.cupy.calls import Place, product

    blas, rng = Place().blas, np.random.default_rng(0)
    for m, k, n in ((3, 4, 5), (1, 4, 5), (3, 1, 5), (3, 4, 1), (1, 1, 1), (7, 1, 1), (1, 9, 1)):
        a, b = cupy.asarray(rng.standard_normal((m, k)), width), cupy.asarray(rng.standard_normal((k, n)), width)
        a, b = (cupy.asfortranarray(x) if turn else x for x, turn in zip((a, b), turned, strict=True))
        out = cupy.full((m, n), cupy.nan, dtype=width)
        call = product(a, b, out, blas)
        assert call is not None
        function, *arguments = call
        function(*arguments)
        expected = mt.to_numpy(a).astype("float64") @ mt.to_numpy(b).astype("float64")
        np.testing.assert_allclose(mt.to_numpy(out), expected, rtol=0, atol=8 * k * np.finfo(width).eps)


def test_parts_of_a_wider_matrix_are_multiplied_where_they_lie() -> None:
    import cupy

    from martlet.compile.cupy.calls import Place, product

    wide = cupy.asarray(np.random.default_rng(0).standard_normal((6, 9)))
    out = cupy.empty((6, 6))
    for a, b in ((wide[:, 2:5], wide.T[1:4]), (wide[:, :4], wide[:4, :6]), (wide.T[:6, :3], wide[:3, 3:])):
        call = product(a, b, out, Place().blas)
        assert call is not None
        call[0](*call[1:])
        np.testing.assert_allclose(mt.to_numpy(out), mt.to_numpy(a) @ mt.to_numpy(b), rtol=1e-12)
    assert product(wide[:, ::2], wide[:5], cupy.empty((6, 9)), Place().blas) is None


def test_the_sum_of_many_rows_is_a_product_with_ones() -> None:
    x = on("cupy", np.random.default_rng(0).standard_normal((600, 5)))

    def step(x: Any) -> Any:
        xp = mt.namespace(x)
        return xp.sum(x, axis=0), xp.sum(x, axis=0, keepdims=True), xp.sum(x * x, axis=1)

    replayed = side_by_side(step, x, carried=[], steps=2)
    assert [type(function).__name__ for function, *_ in replayed.plan.calls.calls].count("Blas") == 2


def test_rows_of_each_form_are_told_apart() -> None:
    """Five by five, so that nothing but its form tells a row that all share from a column of numbers."""
    rng = np.random.default_rng(0)
    x, column = on("cupy", (rng.standard_normal((5, 5)), rng.standard_normal((5, 1))))
    row, other = on("cupy", tuple(rng.standard_normal((2, 5))))

    def step(x: Any, row: Any, column: Any, other: Any) -> Any:
        xp = mt.namespace(x)
        shifted = x * row + column - xp.max(x - 9.0, axis=1, keepdims=True)
        sums = xp.sum(shifted, axis=1)
        return sums * other, shifted / sums[:, None], xp.any(shifted > 1.0, axis=1), xp.min(x, axis=1) + row[0]

    side_by_side(step, x, row, column, other, carried=[], steps=3)


# ---------------------------------------------------------------------------------------- interruptions


def run_and_wait(taken: Any) -> None:
    """One step, in which Ctrl-C arrives at the latest while nothing is done."""
    taken.run(0, 1)
    time.sleep(1)


def fail_once(error: BaseException, function: Callable[..., Any]) -> Callable[..., Any]:
    errors = [error]

    def call(*arguments: Any) -> Any:
        if errors:
            raise errors.pop()
        return function(*arguments)

    return call


@pytest.mark.parametrize("graph", [True, False], ids=["graph", "calls"])
@pytest.mark.parametrize("how", ["out of memory", "Ctrl-C"])
def test_wherever_a_step_is_interrupted_model_and_state_belong_together(how: str, graph: bool) -> None:
    """They are those of before the step or, once the first number of the state is written, those after it."""
    given = training("cupy", optimizer=mt.AdamW(schedule=mt.schedules.Cosine(steps=50, warmup=5)))
    before, after = (stepper(*given, size=5) for _ in range(2))
    after.run(0, 1)
    states = [bits(before), bits(after)]
    assert states[0] != states[1]
    calls = after.plan.calls if graph else after.plan.single  # type: ignore[attr-defined]
    commit, error = calls.commit, KeyboardInterrupt if how == "Ctrl-C" else MemoryError
    for number in range(0, len(calls), 1 if graph else 5):
        taken: Any = stepper(*given, size=5)
        mine = taken.plan.calls if graph else taken.plan.single
        changed = list(mine.calls)
        if how == "Ctrl-C":
            changed.insert(number, (_thread.interrupt_main,))
        else:
            changed[number] = (fail_once(MemoryError("simulated"), changed[number][0]), *changed[number][1:])
        taken.plan.calls = Calls(changed, commit + (how == "Ctrl-C" and number < commit), mine.count)
        with pytest.raises(error):
            run_and_wait(taken)
        taken.plan.calls = mine
        which = [bits(taken) == state for state in states]
        assert sum(which) == 1, f"torn at call {number} of {len(calls)}"
        late = number >= commit
        assert which[1] == late or (how == "Ctrl-C" and not late)  # which is noticed where Python runs next
        taken.run(0, 1)  # and it goes on


# ---------------------------------------------------------------------------------------- out of memory


@pytest.fixture
def little_room() -> Iterator[Any]:
    """A pool that gives no more than 8 MiB; in the one that is there, others may have left large pieces."""
    import cupy

    pool = cupy.cuda.MemoryPool()
    pool.set_limit(size=8 * 2**20)
    with cupy.cuda.using_allocator(pool.malloc):
        yield pool


@pytest.mark.usefixtures("little_room")
@pytest.mark.parametrize("how", [False, "auto"], ids=["eager", "compiled"])
def test_the_device_itself_runs_out_of_memory(how: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not simulated: eight million numbers after a layer, and room for two million of them."""
    rng = np.random.default_rng(0)
    model = mt.Sequential(mt.Affine.init(2, 2048, rng), mt.Tanh(), mt.Affine.init(2048, 2, rng))
    x, t = rng.standard_normal((4096, 2), dtype="float32"), rng.integers(0, 2, 4096)
    given = {"loss": mt.SoftmaxWithLoss(), "optimizer": mt.Adam(), "epochs": 1, "backend": "cupy", "compile": how}
    monkeypatch.setitem(COMPILERS, "cupy", COMPILERS["cupy"]._replace(pays_from=0))
    with pytest.raises(mt.OutOfMemory, match="does not fit into the memory of cupy cuda:0") as caught:
        mt.fit(model, x, t, batch_size=4096, **given)
    assert caught.value.batch_size == 4096
    assert caught.value.fits in (128, 256, 512)
    for ours, was in zip(mt.leaves(caught.value.model), mt.leaves(model), strict=True):
        np.testing.assert_array_equal(mt.to_numpy(ours), was)
    _, history = mt.fit(model, x, t, batch_size=caught.value.fits, **given)
    words = "there is no room for a compiled step" if how else "as asked for"  # cuBLAS alone is given 32 MiB
    assert history.compiled == f"eager: {words}"
    assert np.isfinite(history.loss[-1])


@pytest.mark.parametrize("epochs", [1, 2])
def test_the_batch_that_is_said_to_fit_does_where_the_model_is_most_of_it(epochs: int, little_room: Any) -> None:
    """Its weights take 1 MiB, and a run has several of them at once."""
    import gc

    rng = np.random.default_rng(0)
    model = mt.Sequential(mt.Affine.init(256, 1024, rng), mt.Tanh(), mt.Affine.init(1024, 2, rng))
    x, t = rng.standard_normal((1024, 256), dtype="float32"), rng.integers(0, 2, 1024)
    given = {"loss": mt.SoftmaxWithLoss(), "optimizer": mt.SGD(), "backend": "cupy", "compile": False}
    with pytest.raises(mt.OutOfMemory) as caught:
        mt.fit(model, x, t, batch_size=1024, epochs=epochs, **given)
    fits = caught.value.fits
    assert fits is not None
    del caught
    gc.collect()
    little_room.free_all_blocks()
    mt.fit(model, x, t, batch_size=fits, epochs=2, **given)


def test_without_a_pool_out_of_memory_is_a_status() -> None:
    import cupy

    class Full(mt.Layer):
        def forward(self, x: Any) -> Any:
            if x.shape[0] > 8:
                raise cupy.cuda.runtime.CUDARuntimeError(2)
            return x, None

        def backward(self, cache: Any, dout: Any) -> Any:
            return dout, None

    model, x, t = on("cupy", (mt.Sequential(Full(), *training("cupy")[0]), *training("numpy")[4][:2]))
    with pytest.raises(mt.OutOfMemory, match="batch_size=8 was tried then, and fits"):
        mt.fit(model, x, t, loss=mt.SoftmaxWithLoss(), optimizer=mt.SGD(), epochs=1, batch_size=16)


def test_who_handles_out_of_memory_has_the_memory_of_the_run(little_room: Any) -> None:
    x, t = np.zeros((4096, 64), dtype="float32"), np.zeros(4096, dtype="int64")
    model = mt.Sequential(mt.Affine.init(64, 2048, np.random.default_rng(0)))
    try:
        mt.fit(model, x, t, loss=mt.SoftmaxWithLoss(), optimizer=mt.SGD(), epochs=1, batch_size=4096, backend="cupy")
    except mt.OutOfMemory as error:
        held = sum(leaf.nbytes for leaf in mt.leaves(error.model))
        assert little_room.used_bytes() < held + 2**16  # the data alone takes 2**20
    else:
        pytest.fail("there was room")


def test_memory_is_given_back_as_a_run_or_a_function_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not when Python next looks for cycles, of which other libraries on the device know nothing."""
    import gc

    import cupy

    model, loss, optimizer, _, data = training("cupy")
    monkeypatch.setitem(COMPILERS, "cupy", COMPILERS["cupy"]._replace(pays_from=0))
    settings = {"loss": loss, "optimizer": optimizer, "epochs": 2, "batch_size": 5}
    compiled = mt.Backend("cupy").compile(lambda x: x @ x)
    gc.collect()
    gc.disable()
    try:
        before = cupy.get_default_memory_pool().used_bytes()
        x, t = data[:2]
        assert mt.fit(model, x, t, **settings)[1].compiled.endswith("in one CUDA graph")
        compiled(cupy.ones((2, 2)))
        del compiled
        assert cupy.get_default_memory_pool().used_bytes() - before < 2**16  # cuBLAS alone was given 2**25
    finally:
        gc.enable()


def test_cublas_has_memory_only_where_there_are_products() -> None:
    import cupy

    before = cupy.get_default_memory_pool().used_bytes()
    compiled = mt.Backend("cupy").compile(lambda x: mt.namespace(x).exp(x))
    for count in range(1, 5):
        compiled(cupy.ones(count))
    assert cupy.get_default_memory_pool().used_bytes() - before < 2**16


# ------------------------------------------------------------------------------------------ what goes in


def test_many_arrays_are_joined_within_a_graph() -> None:
    """More than eight of them CuPy joins by a table, which it sends from the host."""
    model, loss, _, _, data = training("cupy")
    deep = mt.Sequential(*on("cupy", tuple(affine(np.random.default_rng(i), 3, 3) for i in range(6))), *model)
    optimizer = mt.SGD(lr=0.1, transforms=(mt.ClipByNorm(limit=0.5),))
    taken = stepper(deep, loss, optimizer, optimizer.init(deep), data, size=5)
    assert taken.words.endswith("in one CUDA graph")


def test_what_is_compiled_is_no_part_of_a_graph_of_the_users() -> None:
    import cupy

    compiled = mt.Backend("cupy").compile(lambda x: 2.0 * x)
    x = cupy.ones(3)
    for _ in range(2):  # before it is compiled, and after
        with cupy.cuda.Stream(non_blocking=True) as stream:
            stream.begin_capture()
            try:
                with pytest.raises(RuntimeError, match="compiled: what was compiled has memory of its own"):
                    compiled(x)
            finally:
                stream.end_capture()
        np.testing.assert_array_equal(mt.to_numpy(compiled(x)), [2.0, 2.0, 2.0])


def test_a_compiled_function_takes_arrays_of_cupys_alone() -> None:
    import cupy

    compiled = mt.Backend("cupy").compile(lambda x: 2.0 * x)
    with pytest.raises(TypeError, match=r"compiled for cupy: expected arrays of CuPy's, got numpy float64 array"):
        compiled(np.ones(3))
    with pytest.raises(mt.compile.NotRecordable, match="call the function itself"):
        mt.Backend("cupy").compile(lambda x: compiled(x) + 1.0)(cupy.ones(3))


def test_a_graph_that_runs_only_once_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that was taken in it, of an allocator that knows streams, would still be there at the second launch."""
    import cupy

    launched: list[Any] = []
    launch = cupy.cuda.graph.Graph.launch

    class Once:
        def __init__(self, graph: Any) -> None:
            self.graph = graph

        def launch(self) -> None:
            launched.append(self)
            if launched.count(self) > 1:
                raise cupy.cuda.runtime.CUDARuntimeError(1)
            launch(self.graph)

    end = cupy.cuda.Stream.end_capture
    monkeypatch.setattr(cupy.cuda.Stream, "end_capture", lambda self: Once(end(self)))
    expected = stepper(*training("cupy"), size=5, how=False)
    taken = stepper(*training("cupy"), size=5)
    assert "one by one: they cannot be launched as a graph: CUDARuntimeError" in taken.words
    for each in (expected, taken):
        each.epochs([None], 1)
    side_by_side = zip(mt.leaves(taken.read()[0]), mt.leaves(expected.read()[0]), strict=True)
    for ours, theirs in side_by_side:
        np.testing.assert_allclose(mt.to_numpy(ours), mt.to_numpy(theirs), rtol=1e-9)
