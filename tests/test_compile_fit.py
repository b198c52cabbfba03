"""Compiled or not, a function gives the same results and a run the same curve; and it says how it was taken."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import numpy as np
import pytest
from cases import LAYERS, LOSSES, OPTIMIZERS, LayerCase, LossCase, OptimizerCase, affine, batch_norm
from conftest import Target, assert_close, to_numpy
from hypothesis import strategies as st
from properties.networks import drawn_task, tasks
from properties.strategies import for_all
from test_laws import draw, draw_loss, draw_step, forward_backward, loss_and_slope
from test_stopping import fuse

import martlet as mt
from martlet.compile import choose, stepper
from martlet.compile.choose import COMPILERS
from martlet.compile.eager import EagerStepper

EXACT = {"rtol": 0.0, "atol": 0.0}
pytestmark = pytest.mark.eager


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling pays for however few steps."""
    for name, known in COMPILERS.items():
        monkeypatch.setitem(COMPILERS, name, known._replace(pays_from=0))


def near(xp: Target) -> dict[str, float]:
    return {"rtol": 1e-12, "atol": 1e-12} if xp.double == "float64" else {"rtol": 1e-4, "atol": 1e-5}


def nearly(xp: Target) -> dict[str, float]:
    """Where a network may make much of a rounding error."""
    return {"rtol": 1e-7, "atol": 1e-8} if xp.double == "float64" else {"rtol": 1e-2, "atol": 1e-2}


# -------------------------------------------------------------------------------- Backend.compile


@pytest.mark.parametrize("case", LAYERS, ids=lambda case: case.name)
def test_a_compiled_layer_gives_what_the_layer_gives(case: LayerCase, xp: Target) -> None:
    if xp.name == "jax":
        pytest.skip("every law of test_laws.py runs under jit, which is Backend.compile")
    layer, x, dout = map(xp.put, draw(case))
    there = xp.backend.compile(forward_backward)
    for _ in range(2):
        assert_close(there(layer, x, dout), to_numpy(forward_backward(layer, x, dout)), **xp.tolerance)


@pytest.mark.parametrize("case", LOSSES, ids=lambda case: case.name)
def test_a_compiled_loss_gives_what_the_loss_gives(case: LossCase, xp: Target) -> None:
    for weighted in (False, True):
        loss, y, t, weight, dout = map(xp.put, draw_loss(case, "mean"))
        given = (loss, y, t, weight if weighted else None, dout)
        assert_close(xp.backend.compile(loss_and_slope)(*given), to_numpy(loss_and_slope(*given)), **xp.tolerance)


@pytest.mark.parametrize("case", OPTIMIZERS, ids=lambda case: case.name)
def test_a_compiled_update_gives_what_the_update_gives(case: OptimizerCase, xp: Target) -> None:
    """And a new learning rate in the state takes effect."""
    optimizer, model, grad = draw_step(case)
    model, grad = xp.put(model), xp.put(grad)
    update = xp.backend.compile(lambda *given: optimizer.update(*given))
    state = optimizer.init(model)
    for lr in (0.5, 0.25):
        state = mt.replace(state, {"lr": lr})
        assert_close(update(model, grad, state), to_numpy(optimizer.update(model, grad, state)), **xp.tolerance)


def test_whatever_is_no_array_is_part_of_the_program(xp: Target) -> None:
    def scaled(trees: tuple[Any, ...], factor: float, names: list[str], nothing: None) -> dict[str, Any] | Any:
        layer, x = trees
        return [layer.predict(x) * factor, names, nothing, layer]

    there = xp.backend.compile(scaled)
    for slope, factor in ((0.1, 2.0), (0.1, -0.0), (0.1, 0.0), (0.3, 2.0), (0.1, 2)):
        given = ((mt.LeakyReLU(slope), xp.put(np.array([-1.0, 2.0]))), factor, ["a"], None)
        (y, *rest), (expected, *others) = there(*given), scaled(*given)
        np.testing.assert_array_equal(mt.to_numpy(y), mt.to_numpy(expected))
        assert math.copysign(1.0, mt.to_numpy(y)[1]) == math.copysign(1.0, mt.to_numpy(expected)[1])
        assert rest[:2] == others[:2]
        assert rest[2].slope == slope


@pytest.mark.parametrize("how", ["auto", True])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore:Skipping serialization")
def test_a_compiled_function_takes_its_arguments_by_name_too(xp: Target, how: Any) -> None:
    rng, optimizer = np.random.default_rng(0), mt.SGD(lr=0.5)
    model, loss = xp.put(mt.Sequential(affine(rng, 3, 2))), mt.SoftmaxWithLoss()
    x, t, weight = map(xp.put, (rng.standard_normal((4, 3)), np.array([0, 1, 1, 0]), rng.uniform(0.5, 2.0, 4)))
    state, step = optimizer.init(model), xp.backend.compile(mt.train_step, how)
    expected = to_numpy(mt.train_step(model, loss, optimizer, state, x, t, weight))
    assert_close(step(model, loss, optimizer, state, x, t, weight=weight), expected, **xp.tolerance)
    assert_close(step(model, loss, optimizer, t=t, weight=weight, state=state, x=x), expected, **xp.tolerance)


@pytest.mark.parametrize("how", ["auto", True])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore:Skipping serialization")
def test_a_verb_of_a_layers_can_be_compiled(xp: Target, how: Any) -> None:
    rng = np.random.default_rng(0)
    model, x = xp.put((mt.Sequential(affine(rng, 3, 2), mt.Tanh()), rng.standard_normal((4, 3))))
    assert_close(xp.backend.compile(model.predict, how)(x), to_numpy(model.predict(x)), **xp.tolerance)


def test_only_a_function_can_be_compiled(xp: Target) -> None:
    with pytest.raises(TypeError, match=r"^Backend.compile: function must be callable, got int 3"):
        xp.backend.compile(3)


def test_how_to_compile_is_one_of_three(xp: Target) -> None:
    for wrong in ("yes", 1, None, xp.put(np.ones(1))):
        with pytest.raises(ValueError, match=r'Backend.compile: how must be "auto", True or False, got'):
            xp.backend.compile(forward_backward, wrong)
    assert xp.backend.compile(forward_backward, False) is forward_backward


# ------------------------------------------------------------------------------------ the same curve


class Run(NamedTuple):
    """A model, data and what else ``fit`` takes; whatever can be carried from step to step is in one of them."""

    model: Callable[[np.random.Generator], mt.Layer]
    options: dict[str, Any]
    samples: int = 22


def noisy(rng: np.random.Generator) -> mt.Layer:
    return mt.Sequential(
        mt.MatMul(rng.standard_normal((3, 6))),
        batch_norm(rng, 6),
        mt.Tanh(),
        mt.Dropout.init(0.3, rng),
        affine(rng, 6, 3),
    )


def plain(rng: np.random.Generator) -> mt.Layer:
    return mt.Sequential(affine(rng, 3, 6), mt.Sigmoid(), mt.Freeze(affine(rng, 6, 6)), affine(rng, 6, 3))


CLIPPED = (mt.L2(decay=0.01), mt.ClipByNorm(limit=0.5))
RUNS = {
    "noise, statistics, schedule, clipping": Run(
        noisy, {"optimizer": mt.Adam(lr=0.05, schedule=mt.schedules.Cosine(steps=15, warmup=3), transforms=CLIPPED)}
    ),
    "weights of samples and of classes": Run(
        plain,
        {
            "optimizer": mt.Momentum(lr=0.1),
            "weight": np.linspace(0.0, 2.0, 22),
            "loss": mt.SoftmaxWithLoss(class_weight=np.array([0.5, 1.0, 2.0]), label_smoothing=0.1),
        },
    ),
    "a sum, without the last batch, unshuffled": Run(
        noisy,
        {
            "optimizer": mt.AdamW(lr=0.01, amsgrad=True),
            "loss": mt.SoftmaxWithLoss("sum"),
            "last": "drop",
            "shuffle": False,
        },
    ),
    "one short batch": Run(plain, {"optimizer": mt.RMSprop(lr=0.01, centered=True)}, samples=5),
    "whole batches": Run(plain, {"optimizer": mt.Nesterov(lr=0.1)}, samples=16),
}


def train(run: Run, xp: Target, **changes: Any) -> tuple[Any, mt.History]:
    rng = np.random.default_rng(3)
    model, x = run.model(rng), rng.standard_normal((run.samples, 3))
    t = rng.integers(0, 3, run.samples)
    options = {"loss": mt.SoftmaxWithLoss(), "epochs": 5, "batch_size": 8, "seed": 4} | run.options | changes
    return mt.fit(xp.put(model), xp.put(x), xp.put(t), **options)


@pytest.mark.parametrize("name", RUNS)
def test_on_and_off_have_one_curve(name: str, xp: Target, always: None) -> None:
    run = RUNS[name]
    found, history = train(run, xp)
    eagerly = name in list(RUNS)[:2] or xp.name != "jax"  # whose operations are compiled one by one then
    expected, past = train(run, xp if eagerly else Target("numpy"), compile=False)
    if xp.name in ("jax", "torch"):
        assert not history.compiled.startswith("eager")
    np.testing.assert_allclose(history.loss, past.loss, **near(xp))
    assert_close(found, to_numpy(expected), **near(xp))
    assert_close(history.state, to_numpy(past.state), **near(xp))


def test_one_curve_whoever_looks_at_it(xp: Target, always: None) -> None:
    """Short epochs are taken together where nobody looks between; that must not show."""
    run = RUNS["noise, statistics, schedule, clipping"]
    expected, past = train(run, xp, epochs=7)
    for looks in ({"hook": lambda *_: None}, {"stop": mt.EarlyStopping(patience=9)}, {"metrics": ["accuracy"]}):
        found, history = train(run, xp, epochs=7, **looks)
        assert history.loss == past.loss
        assert len(history.seconds) == len(past.seconds) == 7
        if "stop" not in looks:
            assert_close(found, to_numpy(expected), **EXACT)
    assert int(mt.to_numpy(past.state.step)) == 7 * 3


SMOOTH = [mt.SGD(lr=0.02), mt.Momentum(lr=0.01), mt.Nesterov(lr=0.01), mt.Adam(lr=0.01, eps=0.1), mt.AdamW(eps=0.1)]


@for_all(
    60,
    size=st.integers(2, 20),
    optimizer=st.sampled_from(SMOOTH),
    epochs=st.integers(1, 5),
    last=st.sampled_from(["keep", "drop"]),
    looks=st.booleans(),
    chunks=st.sampled_from([None, False, 2, 3]),
    **tasks,
)
def test_a_drawn_run_has_one_curve(
    words: list[int], sizes: tuple[int, int, int], loss: int, weighted: bool, seed: int, size: int,
    optimizer: mt.Optimizer, epochs: int, last: str, looks: bool, chunks: Any, xp: Target, always: None,
) -> None:  # fmt: skip
    task = drawn_task(words, sizes, loss, weighted, np.random.default_rng(seed))
    model, kind, (x, t, *weight) = xp.put(task)
    size = next(n for n in range(min(size, sizes[0]), 0, -1) if sizes[0] % n != 1 or last == "drop")
    options = {"loss": kind, "optimizer": optimizer, "epochs": epochs, "batch_size": size, "last": last, "seed": seed}
    options |= {"weight": weight[0] if weight else None, "validation": (x[:3, ...], t[:3, ...]) if looks else None}
    how = {"chunks": chunks, "threads": 2} if xp.name == "numpy" and chunks is not None else "auto"
    with np.errstate(all="ignore"):
        try:
            one, curve = mt.fit(model, x, t, **options, compile=False)
            other, again = mt.fit(model, x, t, **options, compile=how)
        except mt.NotFinite:
            hypothesis.reject()
        except ValueError as error:
            if "needs the whole batch" not in str(error):
                raise
            hypothesis.reject()
    hypothesis.assume(all(np.max(np.abs(a), initial=0.0) < 1e3 for a in mt.leaves(to_numpy(one))))  # no explosion
    assert_close(other, to_numpy(one), **nearly(xp))
    np.testing.assert_allclose(again.loss, curve.loss, **nearly(xp))
    np.testing.assert_allclose(again.validation_loss, curve.validation_loss, **nearly(xp))


def test_more_steps_than_are_read_at_a_time_have_one_curve(xp: Target, always: None) -> None:
    rng = np.random.default_rng(0)
    x = xp.put(rng.standard_normal((2201, 1)))
    given = (xp.put(mt.Sequential(affine(rng, 1, 1))), x, 2.0 * x)
    options = {"loss": mt.MeanSquaredError(), "optimizer": mt.SGD(lr=0.001), "batch_size": 2, "epochs": 2}
    found, history = mt.fit(*given, **options)
    given = to_numpy(given) if xp.name == "jax" else given  # where eager steps take long
    expected, past = mt.fit(*given, **options, compile=False)
    assert_close(found, to_numpy(expected), **near(xp))
    np.testing.assert_allclose(history.loss, past.loss, **near(xp))


# --------------------------------------------------------------------------------- what it says


@pytest.mark.parametrize("how", [False, "auto"])
def test_it_says_once_how_the_steps_are_taken(
    xp: Target, how: Any, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tqdm")
    with caplog.at_level(logging.INFO, logger="martlet"):
        _, history = train(RUNS["whole batches"], xp, compile=how, progress=True)
    words = history.compiled
    assert [(r.levelname, r.getMessage()) for r in caplog.records if r.name == "martlet"] == [("INFO", f"fit: {words}")]
    assert capsys.readouterr().err.count(words) == 1
    if how is False:
        assert words == "eager: as asked for"
    elif xp.name == "jax":
        assert words == "eager: 10 steps are too few for compiling to pay"
    elif xp.backend.name == "array_api_strict":
        assert words == "eager: there is no compiler for array_api_strict"
    seen: list[str] = []
    train(RUNS["whole batches"], xp, compile=how, hook=lambda epoch, model, past: seen.append(past.compiled))
    assert seen == [words] * 5


def test_what_cannot_be_compiled_is_told(xp: Target) -> None:
    if xp.backend.name != "array_api_strict":
        pytest.skip("has a compiler")
    with pytest.raises(ValueError, match=r"fit: compile=True: .* there is no compiler for array_api_strict"):
        train(RUNS["whole batches"], xp, compile=True)


class Broken(EagerStepper):
    """A compiler that fails."""

    error: Exception = ZeroDivisionError("of a compiler\nand more of it")

    def __init__(self, *given: Any, **settings: Any) -> None:
        raise self.error


def test_a_compiler_that_fails_is_told_and_done_without(xp: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = train(RUNS["whole batches"], xp, compile=False)[1].loss
    monkeypatch.setitem(COMPILERS, xp.backend.name, choose.Compiler(__name__, "Broken", 0))
    _, history = train(RUNS["whole batches"], xp)
    assert history.compiled == "eager: ZeroDivisionError: of a compiler"
    assert history.loss == expected
    with pytest.raises(ValueError, match=r"fit: compile=True: .* ZeroDivisionError: of a compiler$") as e:
        train(RUNS["whole batches"], xp, compile=True)
    assert isinstance(e.value.__cause__, ZeroDivisionError)


def test_where_a_compiled_step_has_no_room_an_eager_one_may_have(xp: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = train(RUNS["whole batches"], xp, compile=False)[1].loss
    monkeypatch.setitem(COMPILERS, xp.backend.name, choose.Compiler(__name__, "Broken", 0))
    monkeypatch.setattr(Broken, "error", MemoryError("Unable to allocate 2 GiB"))
    _, history = train(RUNS["whole batches"], xp)
    assert history.compiled == "eager: there is no room for a compiled step"
    assert history.loss == expected
    with pytest.raises(mt.OutOfMemory, match="nor does its half, its quarter"):  # it is compiled that it does not
        train(RUNS["whole batches"], xp, compile=True)


# ------------------------------------------------------------------------- a run that ends otherwise


@pytest.mark.parametrize(("after", "epoch", "step"), [(0, 1, 1), (2, 1, 3), (7, 3, 2), (8, 3, 3), (14, 5, 3)])
def test_a_nan_in_a_run_of_short_epochs(xp: Target, always: None, after: int, epoch: int, step: int) -> None:
    """The fuse burns through in one of the steps that were taken together."""
    if xp.name == "jax" and after != 7:
        pytest.skip("the steps are taken again eagerly: once is enough")
    good = Run(lambda rng: mt.Sequential(*noisy(rng), fuse(99)), RUNS["noise, statistics, schedule, clipping"].options)
    bad = Run(lambda rng: mt.Sequential(*noisy(rng), fuse(after)), good.options)
    models: list[Any] = []
    _, whole = train(good, xp, hook=lambda *given: models.append(given[1]))
    with pytest.raises(mt.NotFinite) as e:
        train(bad, xp)
    error = e.value
    assert (error.epoch, error.step, error.layer) == (epoch, step, "layer 5 (Fuse)")
    np.testing.assert_allclose(error.history.loss, whole.loss[: epoch - 1], **near(xp))
    assert len(error.history.seconds) == epoch - 1
    assert int(mt.to_numpy(error.history.state.step)) == after
    if step == 1 and epoch > 1:
        assert_close(mt.leaves(error.model), to_numpy(mt.leaves(models[epoch - 2])), **near(xp))


def test_a_compiled_run_that_is_resumed_comes_out_as_the_one_left_alone(
    xp: Target, always: None, tmp_path: Path
) -> None:
    run = RUNS["noise, statistics, schedule, clipping"]
    alone, past = train(run, xp, epochs=6, stop=mt.EarlyStopping(patience=9))

    class Interrupt(BaseException):
        pass

    def hook(epoch: int, *_: Any) -> None:
        if epoch == 4:
            raise Interrupt

    kept = {"epochs": 6, "checkpoint": tmp_path / "run", "stop": mt.EarlyStopping(patience=9)}
    with pytest.raises(Interrupt):
        train(run, xp, hook=hook, **kept)
    found, history = train(run, xp, resume=True, **kept)
    assert_close(found, to_numpy(alone), **EXACT)
    assert_close(history.state, to_numpy(past.state), **EXACT)
    assert history.loss == past.loss
    assert history.compiled == past.compiled


# --------------------------------------------------------------------------------------- the steppers


def steps(xp: Target, **changes: Any) -> tuple[Any, tuple[Any, ...]]:
    """A stepper for 20 samples in batches of 8, and all that it was given."""
    rng = np.random.default_rng(3)
    model, x, t = xp.put(noisy(rng)), xp.put(rng.standard_normal((20, 3))), xp.put(rng.integers(0, 3, 20))
    optimizer = mt.Adam(lr=0.05)
    given = (model, mt.SoftmaxWithLoss(), optimizer, optimizer.init(model), (x, t))
    return stepper(*given, size=8, **changes), given


@pytest.mark.parametrize("how", [False, "auto"])
def test_a_stepper_takes_the_steps_of_the_loop(xp: Target, how: Any) -> None:
    """In stretches, in orders of the host and of the device, with a short last batch."""
    found, (model, loss, optimizer, state, (x, t)) = steps(xp, how=how)
    before = to_numpy((model, state, x, t))
    seen = []
    for order in (None, np.arange(20)[::-1].copy(), xp.put(np.random.default_rng(1).permutation(20)), None):
        found.shuffle(order)
        losses = []
        for first, stop in ((0, 1), (1, 3)):
            values = found.run(first, stop)
            assert len(values) == stop - first
            losses += [float(mt.to_numpy(value)) for value in values]
            seen.append((found.read(), to_numpy(found.read())))
        rows = np.arange(20) if order is None else mt.to_numpy(order)
        expected = []
        for start in (0, 8, 16):
            some = xp.put(rows[start : start + 8])
            batch = [mt.namespace(a).take(a, some, axis=0) for a in (x, t)]
            model, state, value = mt.train_step(model, loss, optimizer, state, *batch)
            expected.append(float(mt.to_numpy(value)))
        np.testing.assert_allclose(losses, expected, **near(xp))
        assert_close(found.read(), to_numpy((model, state)), **near(xp))
    for now, then in seen:  # what was read stays as it was
        assert_close(now, then, **EXACT)
    given = steps(xp, how=how)[1]
    assert_close((given[0], given[3], *given[4]), before, **EXACT)


class Refusing(mt.Layer):
    """y = x, as many times as the number in the list says."""

    left: list[int]

    def forward(self, x):
        if not self.left[0]:
            raise RuntimeError("refused")
        self.left[0] -= 1
        return x, None

    def backward(self, cache, dout):
        return dout, None


@pytest.mark.parametrize("how", [False, "auto"])
def test_a_step_that_fails_leaves_the_stepper_whole(xp: Target, how: Any) -> None:
    left = [9]
    model, optimizer = xp.put(mt.Sequential(affine(np.random.default_rng(0), 3, 3), Refusing(left))), mt.Momentum()
    x, t = xp.put(np.ones((6, 3))), xp.put(np.zeros(6, dtype=int))
    found = stepper(model, mt.SoftmaxWithLoss(), optimizer, optimizer.init(model), (x, t), size=2, how=how)
    if not isinstance(found, EagerStepper):
        pytest.skip("a program does not come by the layers again")
    found.shuffle(None)
    found.run(0, 2)
    after_two = to_numpy(found.read())
    found.go_on_from(model, optimizer.init(model))
    left[0] = 2
    with pytest.raises(RuntimeError, match="refused"):
        found.run(0, 3)
    assert_close(found.read(), after_two, **EXACT)  # the model and the state of one and the same step
    left[0] = 9
    found.run(2, 3)
    assert int(mt.to_numpy(found.read()[1].step)) == 3


class Turning(mt.Layer):
    """y = x + Σ memory over its rows, and a memory that lies in memory the other way round after each batch."""

    memory: mt.Array = mt.kept()

    def forward(self, x):
        return x + self.memory.sum(axis=0), x

    def backward(self, cache, dout):
        return dout, None

    def observe(self, cache):
        return Turning(np.asfortranarray(self.memory * np.float32(0.9) + cache.mean()))


def test_eager_steps_go_on_from_the_memory_of_a_file(tmp_path: Path) -> None:
    """A sum may end in other digits where its terms lie otherwise in memory, as they do not in a file."""
    rng = np.random.default_rng(2)
    x, t = rng.standard_normal((64, 3)).astype("float32"), rng.integers(0, 3, 64)
    memory = rng.standard_normal((999, 3)).astype("float32")
    model = mt.Sequential(affine(rng, 3, 3).to(dtype="float32"), Turning(memory))

    def run(name: str, epochs: int) -> tuple[Any, mt.History]:
        options = {"optimizer": mt.SGD(lr=0.1), "epochs": epochs, "batch_size": 16, "compile": False}
        kept = {"checkpoint": tmp_path / name, "resume": True}
        return mt.fit(model, x, t, loss=mt.SoftmaxWithLoss(), **options, **kept)

    alone, past = run("alone", 4)
    run("resumed", 2)
    found, history = run("resumed", 4)
    assert history.loss == past.loss
    assert_close(found, to_numpy(alone), **EXACT)
