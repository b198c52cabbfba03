"""What goes wrong when a step is laid out in memory that is written again and again: a test for each way that was seen.

Each is a function of a few lines, taken as a plan and as itself over three steps, and compared to the last bit.
"""

from __future__ import annotations

import tracemalloc
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import affine
from planned import Planned, assert_same_bits, side_by_side, train_side_by_side

import martlet as mt
from martlet.compile.plans.plan import Plan
from martlet.compile.plans.state import State
from martlet.compile.programs.program import Node
from martlet.compile.recorder.recording import NotRecordable, record
from martlet.compile.replay import carried_of
from martlet.compile.rewriting.rewrite import memory_of, reachable, share
from martlet.tree import take_apart

RNG = np.random.default_rng(8)
A, B, C = RNG.standard_normal((3, 9, 9))


def ns(x: Any) -> Any:
    return mt.namespace(x)


def states(count: int) -> list[tuple[int, int, str, str]]:
    """The first arguments are carried, each by itself."""
    return [(i, i, "model", str(i)) for i in range(count)]


def check(function: Callable[..., Any], *arrays: Any, carried: int = 1, **settings: Any) -> Planned:
    return side_by_side(function, *arrays, carried=states(carried), **settings)


# ----------------------------------------------------------------------------------- numbers beside arrays


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int32", "int64"])
def test_a_number_takes_the_dtype_of_the_arrays_beside_it(dtype: str) -> None:
    x = np.arange(-4, 5).astype(dtype)  # x > 0.5 is not x > True, and 0.1 is not the float32 next to it

    def step(p: Any, x: Any) -> Any:
        f = ns(x).astype(x, np.float64)
        return p * 0.1, x > 0.5, x + 1, ns(x).where(x > 1, x, 2), 2 - x, f * 0.1, ns(x).maximum(x, 1), x != 0

    check(step, A, x)


def test_a_learning_rate_of_another_width_does_not_widen_anything() -> None:
    model = mt.Sequential(affine(np.random.default_rng(1), 3, 2)).to(dtype="float32")
    x, t = RNG.standard_normal((4, 3)).astype("float32"), np.array([0, 1, 1, 0])
    planned = train_side_by_side(model, mt.SoftmaxWithLoss(), mt.Momentum(lr=np.float64(0.1)), x, t)
    assert {a.dtype.name for name, a in planned.state.read().items() if name.startswith("model")} == {"float32"}


def test_nothing_warns() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # NumPy deprecates maximum(a, b, out), and warns where its numbers wrap around
        check(
            lambda p, n: (ns(p).maximum(p, -p), ns(p).minimum(p, 0.0), n * 0x45D9F3B), A, np.arange(5, dtype=np.int32)
        )
        check(lambda n, p: (n * 0x45D9F3B + 12345, p * 1), np.asarray(2**30 + 1, np.int32), A)


def test_the_noise_of_dropout_moves_on_as_it_does_eagerly() -> None:
    rng = np.random.default_rng(2)
    model = mt.Sequential(affine(rng, 3, 8), mt.Dropout.init(0.5, rng), affine(rng, 8, 2))
    train_side_by_side(model, mt.MeanSquaredError(), mt.SGD(), rng.standard_normal((5, 3)), rng.standard_normal((5, 2)))


@pytest.mark.parametrize("power", [3, 2.5, -1, 0.5])
def test_a_power_of_one_number_is_that_of_numpys_numbers(power: float) -> None:
    for value in np.random.default_rng(3).uniform(0.1, 3.0, 40):  # where both differ in one case of twenty
        check(lambda p, x: (p + 1.0, (p * 1.0) ** power, x[0] ** power, 3.0 ** (x[1] * 1.0)), value, value + A[0] ** 2)


def test_one_number_of_an_array_is_read_in_each_step() -> None:
    check(lambda p, x: (p + x[3, 4], x[0, 0] * 2.0, p[1, 2]), A, B)


# -------------------------------------------------------------------------------------- memory order


@pytest.mark.parametrize("shape", [(9, 9), (17, 200), (200, 17)])
def test_a_sum_is_in_the_order_of_the_memory(shape: tuple[int, int]) -> None:
    x = np.random.default_rng(4).standard_normal(shape).astype("float32")

    def step(p: Any, x: Any) -> Any:
        y = x.T * 2.0
        mixed = ns(x).tanh(x.T) + ns(x).exp(ns(x).reshape(x, x.T.shape))  # rows win, whichever of both is overwritten
        sums = [ns(x).sum(a, axis=axis) for a in (y, x, y[::2, ...], -y.T, mixed) for axis in (0, 1, None)]
        flat = ns(x).reshape(y, (-1,))
        return (p * 0.5, *sums, ns(x).sum(flat), flat, ns(x).sum(ns(x).reshape(y, (-1, 1)), axis=0))

    check(step, A, x)
    check(step, A, np.asfortranarray(x))


def test_a_state_is_summed_and_multiplied_in_the_order_of_the_eager_step() -> None:
    a, b = np.random.default_rng(5).standard_normal((2, 33, 33)).astype("float32")
    check(lambda p, b: (b @ b.T, p.T @ b), np.asfortranarray(a), b)
    check(lambda p, b: (b @ (b + 1.0), ns(p).sum(p, axis=0)), np.asfortranarray(a), b)


@pytest.mark.parametrize("size", [9, 40, 130])
def test_a_product_of_equal_arrays_is_not_one_with_itself(size: int) -> None:
    x = np.random.default_rng(6).standard_normal((size, size + 3)).astype("float32")

    def step(p: Any, x: Any) -> Any:  # BLAS takes a.T @ a for symmetric, if it is the same memory, and only then
        y = x + 1.0
        return p * 0.5, (x + 1.0).T @ (x + 1.0), y.T @ y, (x - 2.0) @ (x - 2.0).T, y @ y.T

    check(step, A, x)


def test_equal_arrays_stay_two_where_they_are_multiplied_with_each_other() -> None:
    """On some processors BLAS has the same digits either way, so the operands themselves are looked at."""

    def step(x: Any) -> Any:
        y = x + 1.0
        return (x + 1.0).T @ (x + 1.0), y.T @ y

    program = record(step, np.ones((3, 4)))
    shared = share(program.nodes)
    products = [shared[node] for node in program.outputs]
    one = [memory_of(node.operands[0]) is memory_of(node.operands[1]) for node in products]
    assert one == [False, True]


@pytest.mark.parametrize("size", [4, 40, 130])
def test_products_of_parts_and_of_every_form(size: int) -> None:
    a, b = np.random.default_rng(7).standard_normal((2, size, size)).astype("float32")

    def step(p: Any, a: Any, b: Any) -> Any:
        parts = [a, a.T, a[::2, ...], a[:1, ...], a[..., :1]]
        if np.lib.NumpyVersion(np.__version__) >= "2.3.0":  # older ones give a matrix that lies backwards to no BLAS
            parts.append(a[..., ::-1])
        return (p * 0.5, *(x @ y for x in parts for y in (*parts, b, b[0]) if x.shape[-1] == y.shape[0]))

    check(step, A, a, b)


def test_a_copying_reshape_is_copied_row_by_row_in_each_step() -> None:
    def step(p: Any, x: Any) -> Any:
        return ns(p).reshape(p.T, (9, 9)) + ns(p).reshape(ns(p).reshape(p.T, (81,)), (9, 9)), ns(x).reshape(
            x.T, (3, -1)
        )

    check(step, A, B)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_reshape_that_is_to_lie_by_columns_is_written_there(order: Any, exact: bool) -> None:
    """What is written through ``out.reshape`` is lost where that is a copy of ``out``."""

    def step(p: Any, x: Any) -> Any:
        return ns(x).reshape(x, (9, 4)), ns(x).reshape(x + 1.0, (18, 2)) * 2.0

    p, x = np.ones((9, 4), order="F"), np.array(np.arange(36.0).reshape(4, 9), order=order)
    side_by_side(step, p, x, carried=[(0, 0, "model", "0")], exact=exact)


# --------------------------------------------------------------------------- what becomes of the state


@pytest.mark.parametrize(
    "step",
    [
        lambda a, b, c: (b, a, c * 0.5),
        lambda a, b, c: (b, c, a),
        lambda a, b, c: (b, a * 0.5 + b, c),
        lambda a, b, c: (b * 2.0, c * 0.5, a - 1.0),
        lambda a, b, c: (a + b, a + b, c),
        lambda a, b, c: (a, a, a),
        lambda a, b, c: (c, c, c * 0.5),
        lambda a, b, c: (b.T, a.T, c.T),
        lambda a, b, c: (a.T, b[::-1, ...], c[..., ::-1]),
        lambda a, b, c: (a - a.T, b.T - b, c + c[::-1, ...]),
        lambda a, b, c: (b - a.T, a - b.T, c.T * 0.5),
        lambda a, b, c: (a @ a, b @ b.T, c @ a),
        lambda a, b, c: (a @ b, b @ a, a.T @ a),
        lambda a, b, c: (ns(a).zeros_like(a), a, b),
        lambda a, b, c: (ns(a).zeros_like(a) + 2.0, ns(a).ones_like(a), b + a),
        lambda a, b, c: (ns(a).where(a.T > 0.0, b, a.T), ns(a).where(b > 0.0, b.T, b), ns(a).where(c, a, c.T)),
        lambda a, b, c: (ns(a).concat([b[1:, ...], a[:1, ...]]), ns(a).roll(b, 1, axis=0), ns(a).flip(c, axis=1)),
        lambda a, b, c: (ns(a).broadcast_to(b[0], (9, 9)), ns(a).broadcast_to(a[:, :1], (9, 9)), c),
        lambda a, b, c: (ns(a).reshape(a.T, (9, 9)), ns(a).reshape(b, (9, 9)), ns(a).sort(c, axis=0)),
    ],
)
@pytest.mark.parametrize("paired", [False, True])
def test_a_state_may_become_anything_of_its_form(step: Callable[..., Any], paired: bool) -> None:
    """Permuted, rotated, twice the same, an argument, a view, a transpose, itself transposed, a constant."""
    carried = [(i, i, f"role {i}", "0") if paired else (i, i, "model", str(i)) for i in range(3)]

    def both(a: Any, b: Any, c: Any) -> Any:
        return (*step(a, b, c), a, ns(a).sum(b), c.T)  # also where the old ones are results

    for function in (step, both):
        side_by_side(function, A, B, C, carried=carried, steps=4)


def test_a_mask_that_is_the_state_it_chooses() -> None:
    check(lambda m, x: (ns(m).where(m.T, x > 0.0, m.T), ns(m).where(m, x, 0.0)), A > 0.0, B)
    check(lambda m, x: (ns(m).where(m, x > 0.0, m), ns(m).where(m, m, x > 0.0)), A > 0.0, B)


def test_a_condition_need_not_be_a_truth_value() -> None:
    check(lambda p, x: (ns(p).where(x, p, x), ns(p).where(ns(x).astype(x, np.int32), p, 1.0)), A, B)


def test_a_value_is_read_after_its_buffer_was_claimed() -> None:
    def step(p: Any, x: Any) -> Any:
        y = x * 2.0
        z = y + 1.0  # over y, if nobody reads it any more
        late = y[::2, ...]
        w = ns(x).tanh(z)
        return p - w, late * 3.0, z.T, ns(x).sum(y.T, axis=0), w - w.T

    check(step, A, B)


def test_a_loss_may_be_an_array_of_the_state() -> None:
    def step(p: Any, best: Any, x: Any) -> Any:
        value = ns(p).sum((p - x) ** 2)
        best = ns(p).minimum(best, value)
        return p * 0.9, best, best, value, best

    check(step, A, np.asarray(np.inf), B, carried=2)


def test_one_array_given_twice_is_two() -> None:
    """Two leaves start as the same array, and are updated each by itself."""
    W = RNG.standard_normal((3, 3))
    model = mt.Sequential(mt.MatMul(W), mt.Tanh(), mt.MatMul(W))
    x = RNG.standard_normal((4, 3))
    train_side_by_side(model, mt.MeanSquaredError(), mt.Adam(lr=0.1), x, x)
    assert mt.leaves(model)[0] is mt.leaves(model)[1]


@pytest.mark.parametrize("kind", ["wider", "another shape"])
def test_a_state_that_changes_its_form_is_refused(kind: str) -> None:
    step = (lambda p, x: (p * x,)) if kind == "wider" else (lambda p, x: (ns(p).sum(p * x, axis=0),))
    p = A.astype("float32") if kind == "wider" else A
    with pytest.raises(ValueError, match="must keep its form from step to step: p is"):
        Planned(step, p, B, carried=states(1))


def test_plans_that_keep_and_change_the_same_array_are_refused() -> None:
    one = Planned(lambda p, q: (p + q, q), A, B, carried=states(2))
    for wrong in (lambda p, q: (p, q), lambda p, q: (p + q, q * 2.0)):
        with pytest.raises(ValueError, match="plans with one state must change the same of it"):
            Planned(wrong, A, B, carried=states(2), state=one.state)


def test_plans_that_would_lay_a_state_out_otherwise_share_it_all_the_same() -> None:
    """In one both are updated alike, in the other each in its way."""
    steps = [lambda p, q: (p * 0.5, q * 0.5, p), lambda p, q: (p * 0.9, q + 1.0, p), lambda p, q: (p + 2.0, q + 2.0, q)]
    for order in ([0, 1, 2, 0], [1, 0, 2, 1], [2, 2, 1, 0]):
        given, shared = [A, B], None
        for k in order:
            planned = Planned(steps[k], A, B, carried=states(2), state=shared)
            shared = planned.state
            found, (*given, value) = planned.step(), steps[k](*given)
            assert_same_bits(found[0], value)
            for got, wanted in zip(planned.state_now(), given, strict=True):
                assert_same_bits(got, wanted)


# ---------------------------------------------------------------------------- what goes in and comes out


def test_inputs_may_be_read_only_and_have_gaps() -> None:
    wide = RNG.standard_normal((18, 27))
    given = [
        wide[::2, ::3],
        wide[::-2, :9],
        np.broadcast_to(A[0], (9, 9)),
        wide[:9, 1:10].T,
        A.astype(">f8").astype("f8"),
    ]
    for p in given:
        for x in given:
            p, x = p.view(), x.view()
            p.flags.writeable = x.flags.writeable = False
            check(lambda p, x: (p * 0.5 + x, ns(x).sum(x), x[::2, ...], ns(x).sum(p.T, axis=0), x @ p), p, x)


def test_what_a_plan_gets_it_never_writes() -> None:
    model, optimizer, loss = mt.Sequential(affine(np.random.default_rng(1), 3, 2)), mt.Adam(), mt.SoftmaxWithLoss()
    state, x, t = optimizer.init(model), RNG.standard_normal((4, 3)), np.array([0, 1, 1, 0])
    arrays = take_apart((model, state, x, t))[0]
    before = [np.array(a) for a in arrays]
    for a in arrays:
        if isinstance(a, np.ndarray):
            a.flags.writeable = False
    planned = Planned(
        lambda m, s, x, t: mt.train_step(m, loss, optimizer, s, x, t), model, state, x, t,
        carried=carried_of(model, (), state), kept=range(len(arrays) - 2),
    )  # fmt: skip
    for place, array in zip(planned.plan.inputs, (x, t), strict=True):
        place[...] = array
    planned.plan.run()
    planned.plan.run()
    for place, array in zip(planned.plan.inputs, (x, t), strict=True):
        assert_same_bits(place, array)
    for a, b in zip(arrays, before, strict=True):
        assert_same_bits(a, b)


def test_what_a_state_gives_is_a_copy() -> None:
    planned = Planned(lambda p, q: (p * 0.5, q, p), A, B, carried=states(2))
    first = planned.state.read()
    kept = {name: x.copy() for name, x in first.items()}
    planned.step()
    for name, x in first.items():
        assert_same_bits(x, kept[name])
        x[...] = np.nan
    assert_same_bits(planned.state.read()["p"], A * 0.5)
    assert_same_bits(planned.state.read()["q"], B)
    assert not np.isnan(B).any()


def test_an_array_that_is_no_argument_is_refused_with_its_line() -> None:
    with pytest.raises(
        NotRecordable, match=r"no argument .*shape \(9, 9\).*pass it in.*test_plan_hazards.py:\d+.*p \* B"
    ):
        Planned(lambda p: (p * B,), A, carried=states(1))


# --------------------------------------------------------------------------------------------- memory


def big_step(rows: int) -> tuple[Callable[..., Any], list[Any], Any]:
    rng = np.random.default_rng(1)
    model: Any = mt.Sequential(
        affine(rng, 2, 128), mt.ReLU(), affine(rng, 128, 128), mt.ReLU(), affine(rng, 128, 3)
    ).to(dtype="float32")  # fmt: skip
    optimizer, loss = mt.Momentum(), mt.SoftmaxWithLoss()
    state = optimizer.init(model)
    x, t = np.broadcast_to(np.float32(1.0), (rows, 2)), np.broadcast_to(np.int64(1), (rows,))
    return (
        lambda m, s, x, t: mt.train_step(m, loss, optimizer, s, x, t),
        [model, state, x, t],
        carried_of(model, (), state),
    )


def most_alive(order: list[Node], outputs: list[Node]) -> int:
    """The most bytes that are alive at once, if each result is computed in this order, a view costs nothing, and an
    elementwise result is written over an operand of its form that is not read any more."""
    memory = {}
    for node in order:
        memory[node] = memory[node.parents[0]] if node.family == "view" else node
    last = {memory[node]: i for i, node in enumerate(order)}
    last |= {memory[p]: i for i, node in enumerate(order) for p in node.parents}
    last |= {memory[node]: len(order) for node in outputs}
    alive = most = 0
    for i, node in enumerate(order):
        if node.op is not None and memory[node] is node:
            alive += node.spec.nbytes
        ending = {memory[p] for p in (*node.parents, node) if last[memory[p]] == i and memory[p].op is not None}
        over = node.family == "elementwise" and any(end.spec == node.spec for end in ending - {node})
        most = max(most, alive - over * node.spec.nbytes)
        alive -= sum(end.spec.nbytes for end in ending)
    return most


def test_recording_takes_no_memory_and_a_plan_takes_that_of_what_is_alive() -> None:
    rows = 65_536
    step, arguments, carried = big_step(rows)
    tracemalloc.start()
    try:
        program = record(step, *arguments)
        recording = tracemalloc.get_traced_memory()[1]
        assert recording < 8 * rows  # not two columns of float32
        arrays = take_apart(arguments)[0]
        names = [node.settings["name"] for node in program.inputs]
        state = State({n: np.asarray(a) for n, a in zip(names[:-2], arrays[:-2], strict=True)})
        tracemalloc.reset_peak()
        plan = Plan(program, carried, state, exact=True)
        laying = tracemalloc.get_traced_memory()[1]
        order = reachable(program.outputs)
        every = sum(n.spec.nbytes for n in order if n.op is not None and n.family != "view")
        alive = most_alive(order, program.outputs)
        data = sum(x.nbytes for x in plan.inputs)
        assert laying - data < 1.05 * alive
        assert alive < 0.5 * every
    finally:
        tracemalloc.stop()


def test_a_step_allocates_nothing() -> None:
    rng = np.random.default_rng(1)
    model = mt.Sequential(affine(rng, 2, 128), mt.Tanh(), affine(rng, 128, 128), mt.ReLU(), affine(rng, 128, 2))
    x, t = rng.standard_normal((2, 4096, 2))
    planned = train_side_by_side(model, mt.MeanSquaredError(), mt.AdamW(amsgrad=True), x, t, steps=2)
    planned.plan.run()
    tracemalloc.start()
    try:
        for _ in range(3):
            planned.plan.run()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100_000  # NumPy's own buffers of 8,192 numbers; each of the larger arrays here has 4 MB


# --------------------------------------------------------------------------------------- what is counted


def calls_of(planned: Planned) -> list[str]:
    functions = [function for function, *_ in planned.plan.calls.calls]
    return [getattr(getattr(f, "func", f), "__name__", str(f)) for f in functions]


def test_nothing_is_computed_that_nobody_reads() -> None:
    """A step of three layers has three products forward, and five backward: nobody needs the dx of the first."""
    step, arguments, carried = big_step(64)
    planned = Planned(step, *arguments, carried=carried, kept=range(len(take_apart(arguments)[0]) - 2))
    names = calls_of(planned)
    assert names.count("dot") + names.count("matmul") == 8
    unread = Planned(lambda p, x: ((x @ x, ns(x).exp(x) + 1.0, p * 0.5)[2],), A, B, carried=states(1))
    assert calls_of(unread) == ["multiply"]


def test_an_optimizer_is_as_many_calls_for_ten_layers_as_for_one() -> None:
    optimizer, counts = mt.Adam(), set()
    for layers in (1, 3, 10):
        rng = np.random.default_rng(1)
        model = mt.Sequential(*(affine(rng, 3 + i, 4 + i) for i in range(layers)))
        state = optimizer.init(model)
        kept = range(len(take_apart((model, state))[0]))

        def step(model: Any, state: Any, gradient: Any) -> Any:
            return optimizer.update(model, gradient, state)

        planned = Planned(step, model, state, model, carried=carried_of(model, (), state), kept=kept)
        counts.add(len(planned.plan.calls) - 2 * layers)  # the gradients, which are data here, are laid side by side
    assert len(counts) == 1
    assert counts.pop() < 40


@pytest.mark.parametrize(
    ("sizes", "activation", "optimizer", "most"),
    [((2, 10, 3), mt.Sigmoid(), mt.SGD(lr=1.0), 42), ((64, 128, 10), mt.ReLU(), mt.Adam(), 60)],
    ids=["the spiral", "the digits"],
)
def test_an_exact_step_is_a_short_list_of_calls(
    sizes: tuple[int, int, int], activation: mt.Layer, optimizer: mt.Optimizer, most: int
) -> None:
    rng = np.random.default_rng(1)
    model = mt.Sequential(affine(rng, *sizes[:2]), activation, affine(rng, *sizes[1:]))
    x, t = rng.standard_normal((30, sizes[0])), rng.integers(0, sizes[2], 30)
    names = calls_of(train_side_by_side(model, mt.SoftmaxWithLoss(), optimizer, x, t, steps=2))
    assert names.count("dot") == 5  # two forward, three backward: nobody reads the dx of the first layer
    assert len(names) <= most
