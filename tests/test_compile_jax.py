"""On JAX a stretch of steps is one program: traced once, for whatever learning rate, and whoever comes again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import affine, batch_norm
from conftest import Target, assert_close, to_numpy

import martlet as mt
from martlet.compile import stepper
from martlet.compile.structure import HOLE, outline, structure

pytestmark = [pytest.mark.eager, pytest.mark.only("jax")]

traces: list[tuple[int, ...]] = []


class Traced(mt.Layer):
    """y = x, and a note of each time that Python comes by, with the shape of x."""

    scale: float = 1.0

    def forward(self, x):
        traces.append(tuple(x.shape))
        return x * self.scale, None

    def backward(self, cache, dout):
        return dout * self.scale, None


def counted(function: Any) -> int:
    """How often Python comes by while something is done."""
    traces.clear()
    function()
    return len(traces)


def problem(xp: Target, samples: int = 22, scale: float = 1.0) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(1)
    model = mt.Sequential(affine(rng, 3, 6), Traced(scale), mt.Tanh(), affine(rng, 6, 3))
    return tuple(map(xp.put, (model, rng.standard_normal((samples, 3)), rng.integers(0, 3, samples))))


def fit(given: tuple[Any, Any, Any], **changes: Any) -> tuple[Any, mt.History]:
    options = {"loss": mt.SoftmaxWithLoss(), "optimizer": mt.Adam(lr=0.01), "epochs": 2, "batch_size": 8}
    return mt.fit(*given, **options | {"compile": True} | changes)


def eager_looks(given: tuple[Any, Any, Any], **changes: Any) -> int:
    """How often Python comes by before the first step."""
    return counted(lambda: fit(given, epochs=0, compile=False, **changes))


# -------------------------------------------------------------------------------- Backend.compile


def test_a_function_is_traced_once_for_a_structure(xp: Target) -> None:
    loss, optimizer = mt.SoftmaxWithLoss(), mt.SGD(lr=0.5)
    step = xp.backend.compile(mt.train_step)

    def call(lr: float = 0.5, samples: int = 6, scale: float = 1.0, sgd: mt.SGD = optimizer) -> Any:
        model, x, t = problem(xp, samples, scale)
        state = mt.replace(sgd.init(model), {"lr": lr})
        found, expected = step(model, loss, sgd, state, x, t), mt.train_step(model, loss, sgd, state, x, t)
        traces.pop()  # of the eager step
        assert_close(found, to_numpy(expected), **xp.tolerance)

    assert counted(call) == 1
    assert counted(call) == 0
    assert counted(lambda: call(lr=0.25)) == 0
    assert counted(lambda: call(samples=7)) == 1
    assert counted(lambda: call(scale=2.0)) == 1
    assert counted(lambda: call(sgd=mt.SGD(lr=0.5, transforms=(mt.ClipByNorm(limit=1.0),)))) == 1
    assert counted(lambda: call(samples=7)) == counted(lambda: call(scale=2.0)) == 0


def test_a_structure_is_all_but_the_numbers() -> None:
    rng = np.random.default_rng(0)
    one, other = (mt.Sequential(affine(rng, 2, 3), mt.LeakyReLU(0.1)) for _ in range(2))
    assert structure((one, [np.ones(3)])) == structure((other, [np.zeros(2)]))
    assert hash(structure(one)) == hash(structure(other))
    different = [
        one[1:],
        mt.Sequential(affine(rng, 2, 3), mt.LeakyReLU(0.2)),
        one.gradient(layers=(None, mt.LeakyReLU(0.1))),
        mt.Sequential(mt.MatMul(rng.standard_normal((2, 3))), mt.LeakyReLU(0.1)),
        (one,),
    ]
    assert len({structure(value) for value in [one, *different]}) == 6
    assert len({structure(value) for value in (0.0, -0.0, 0, False, "0", None, np.zeros(()), (), float("nan"))}) == 9
    assert structure(float("nan")) == structure(float("nan"))
    numbers = [1.0]
    assert structure(numbers) == structure([1.0])
    assert structure({"a": 1}) != structure({"a": 1})  # what cannot be looked up is the same as itself only
    assert all(leaf is HOLE for leaf in mt.leaves(outline(one)))


# ------------------------------------------------------------------------------------ training runs


def test_no_epoch_and_no_second_run_is_traced_again(xp: Target) -> None:
    given = problem(xp)
    looks = eager_looks(given)
    first = counted(lambda: fit(given, epochs=1)) - looks
    assert 1 <= first <= 4  # for the whole batches and the short one; JAX may look at the body of a loop twice
    assert counted(lambda: fit(given, epochs=5)) == looks
    fit(given, hook=lambda *_: None)  # takes one epoch at a time, and so has a program of its own
    assert counted(lambda: fit(given, hook=lambda *_: None, epochs=3)) == looks
    assert counted(lambda: fit(given, shuffle=False, seed=7)) == looks
    assert counted(lambda: fit(problem(xp), epochs=1)) == looks  # other arrays, made in the same way


def test_a_new_learning_rate_is_not_traced_and_takes_effect(xp: Target) -> None:
    given = problem(xp)
    looks = eager_looks(given)
    schedule = mt.schedules.Cosine(steps=20)
    transforms = (mt.ClipByNorm(limit=1.0),)
    _, history = fit(given, optimizer=mt.Adam(lr=0.5, schedule=schedule, transforms=transforms))
    other = mt.Adam(lr=0.25, schedule=mt.schedules.Cosine(steps=10), transforms=(mt.ClipByNorm(limit=0.5),))
    curves: list[list[float]] = []
    assert counted(lambda: curves.append(fit(given, optimizer=other)[1].loss)) == looks
    numpy_curve = fit(to_numpy(given), optimizer=other, compile=False)[1].loss
    np.testing.assert_allclose(curves[0], numpy_curve, rtol=1e-12)
    assert abs(curves[0][1] - history.loss[1]) > 1e-3
    state = mt.replace(mt.Adam(lr=0.5).init(given[0]), {"lr": 0.125})
    found, past = fit(given, optimizer=mt.Adam(lr=0.125), state=state)
    expected, numpy_past = fit(to_numpy(given), optimizer=mt.Adam(lr=0.125), compile=False)
    np.testing.assert_allclose(past.loss, numpy_past.loss, rtol=1e-12)
    assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_many_stretches_are_one_program(xp: Target) -> None:
    """Of 1,000 steps, of 1,000 and of 51; the last one is short."""
    given = problem(xp, samples=4101)
    looks = eager_looks(given, batch_size=2)
    assert counted(lambda: fit(given, epochs=1, batch_size=2)) - looks <= 4


def test_nothing_of_the_users_is_given_away(xp: Target) -> None:
    model, x, t = given = problem(xp)
    optimizer = mt.Adam(lr=0.01)
    state = optimizer.init(model)
    before = to_numpy((*given, state))
    trained, history = fit(given, state=state, optimizer=optimizer)
    again, _ = fit((trained, x, t), state=history.state, optimizer=optimizer)
    for tree in (model, state, trained, history.state, again):
        assert not any(a.is_deleted() for a in mt.leaves(tree))
    assert_close((*given, state), before, rtol=0)


# --------------------------------------------------------------------------- what cannot be compiled


class Reading(mt.Layer):
    """y = x, if its sum is more than some number, which has to be read."""

    def forward(self, x):
        return (x if float(mt.namespace(x).sum(x)) > -1e9 else -x), None

    def backward(self, cache, dout):
        return dout, None


class Counting(mt.Layer):
    """y = x + 0.1 n, where n is a setting, and another one after each batch."""

    n: int = 0

    def forward(self, x):
        return x + 0.1 * self.n, None

    def backward(self, cache, dout):
        return dout, None

    def observe(self, cache):
        return Counting(self.n + 1)


class Narrowing(mt.Layer):
    """y = x - mean, and a mean that is one number after the first batch."""

    mean: mt.Array = mt.kept()

    def forward(self, x):
        return x - self.mean, x

    def backward(self, cache, dout):
        return dout, None

    def observe(self, cache):
        return Narrowing(mt.namespace(cache).mean(cache))


class Naive(mt.SGD):
    """A rule that asks the optimizer, and not the state, for its rate."""

    def rule(self, p, g, lr):
        return (p - self.lr * g,)


@pytest.mark.parametrize(
    ("layer", "optimizer", "reason"),
    [
        (Reading, mt.SGD(), r"ConcretizationTypeError: "),
        (Counting, mt.SGD(), r"a step changes more of the model than the numbers in its arrays, such as a setting"),
        (lambda: Narrowing(np.zeros(6)), mt.SGD(), r"2\.mean is float64\(6,\) before a step, and float64\(\) after it"),
        (mt.Identity, Naive(), r"TypeError: unsupported operand type"),
    ],
)
def test_what_cannot_be_traced_runs_eagerly_with_the_reason(
    xp: Target, monkeypatch: pytest.MonkeyPatch, layer: Any, optimizer: mt.Optimizer, reason: str
) -> None:
    from martlet.compile.choose import COMPILERS

    monkeypatch.setitem(COMPILERS, "jax", COMPILERS["jax"]._replace(pays_from=0))
    model, x, t = problem(xp)
    given = xp.put(mt.Sequential(model[0], mt.Tanh(), layer(), model[3])), x, t
    with pytest.raises(ValueError, match=f"compile=True: the step cannot be compiled: {reason}"):
        fit(given, optimizer=optimizer)
    _, history = fit(given, optimizer=optimizer, compile="auto")
    assert history.compiled.startswith("eager: ")
    assert history.loss == pytest.approx(fit(to_numpy(given), optimizer=optimizer, compile=False)[1].loss, rel=1e-12)


def test_few_steps_do_not_pay(xp: Target) -> None:
    given = problem(xp)
    assert fit(given, compile="auto")[1].compiled == "eager: 6 steps are too few for compiling to pay"
    assert fit(given, compile="auto", epochs=100)[1].compiled == "JAX: one jit program per stretch of steps"


def test_statistics_and_half_precision_keep_their_types(xp: Target) -> None:
    """The loop of a program takes back what it gave: no array may have become wider, or weakly typed."""
    rng = np.random.default_rng(1)
    model = mt.Sequential(affine(rng, 3, 6), batch_norm(rng, 6), mt.Dropout.init(0.2, rng), affine(rng, 6, 3))
    model = xp.put(model, "float16")
    x, t = xp.put(rng.standard_normal((22, 3)), "float16"), xp.put(rng.integers(0, 3, 22))
    optimizer = mt.Adam()
    given = (model, mt.SoftmaxWithLoss(), optimizer, optimizer.init(model), (x, t))
    there = stepper(*given, size=8, how=True)
    there.shuffle(None)
    losses = there.run(0, 3)
    after = there.read()
    wanted = [(a.shape, a.dtype) for tree in (model, given[3]) for a in mt.leaves(tree)]
    assert [(a.shape, a.dtype) for tree in after for a in mt.leaves(tree)] == wanted
    here = stepper(*to_numpy(given[:2]), optimizer, *to_numpy(given[3:]), size=8, how=False)
    here.shuffle(None)
    np.testing.assert_allclose(mt.to_numpy(losses), here.run(0, 3), rtol=2e-3)
