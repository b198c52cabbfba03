"""The mistakes: each bad call raises what it should, says what is wrong, and leaves everything as it was.

The calls are rows of the tables in ``tests/mistakes/``.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import Target
from mistakes import TABLES
from mistakes.row import Given, Row, words_of

import martlet as mt

ROWS = [pytest.param(row, id=f"{table}: {row.name}") for table, rows in TABLES.items() for row in rows]


@pytest.mark.eager
@pytest.mark.parametrize("row", ROWS)
def test_a_bad_call_is_explained_and_changes_nothing(row: Row, xp: Target) -> None:
    if not xp.name.startswith(row.where):
        pytest.skip(f"only on {row.where}")
    given = Given(xp)
    with pytest.raises(row.error) as caught:
        row.call(given)
    assert not isinstance(caught.value, IndexError | KeyError | AssertionError | RecursionError)
    message = str(caught.value)
    missing = [word for word in words_of(row.words) if not re.search(rf"(?<!\w){re.escape(word)}(?!\w)", message)]
    assert not missing, message
    assert "torch.Size" not in message
    assert len(message) < 500
    assert given.unchanged()


# What has no mistake to make: it is given back, raised or derived from, takes nothing, or passes on whatever comes.
BLAMELESS = {
    *("Array", "History", "Split", "BackendUnavailable", "CheckpointError", "NotFinite", "OutOfMemory"),
    *("Layer", "Loss", "Optimizer", "Transform", "Tree", "Schedule", "Numbered"),
    *("available_backends", "zeros", "glorot", "he", "kept", "Identity"),
}
VERBS = {mt.Layer: ("forward", "backward"), mt.Loss: ("forward", "backward"), mt.Optimizer: ("init", "update")}


def public() -> dict[str, Any]:
    """Everything public that can be called, by its name; the modules' own functions and classes too."""
    found = {}
    for name in mt.__all__:
        thing = getattr(mt, name)
        inside = vars(thing) if isinstance(thing, ModuleType) else {}
        found |= {n: x for n, x in inside.items() if n[0] != "_" and getattr(x, "__module__", "") == thing.__name__}
        found[name] = thing
    return {name: thing for name, thing in found.items() if callable(thing) and name not in BLAMELESS}


def who_must_complain() -> set[str]:
    """The functions, the verbs of layers, losses and optimizers, and what the other classes are made with."""
    wanted = set()
    for name, thing in public().items():
        kind = next((kind for kind in VERBS if isinstance(thing, type) and issubclass(thing, kind)), None)
        made = "fastest" if thing is mt.Advice else "__post_init__"
        verbs = VERBS[kind] if kind else (made,)
        wanted |= {f"{name}.{verb}" for verb in verbs} if isinstance(thing, type) else {name}
    return wanted


def who_complains(row: Row, xp: Target) -> set[str]:
    """The functions and methods that the exception went through: "fit", "Affine.forward"."""
    try:
        with pytest.raises(row.error) as caught:
            row.call(Given(xp))
    except pytest.skip.Exception:  # it needs a second device
        return set()
    found = set()
    for frame, _ in traceback.walk_tb(caught.value.__traceback__):
        code, it = frame.f_code, frame.f_locals.get("self")
        found.add(code.co_name if it is None else f"{type(it).__name__}.{code.co_name}")
    return found


def test_everything_public_has_its_mistakes_in_the_tables() -> None:
    for library in ("array_api_strict", "matplotlib", "sklearn"):
        pytest.importorskip(library)
    xp, complained = Target("numpy"), set()
    for rows in TABLES.values():
        for row in rows:
            complained |= who_complains(row, xp) if xp.name.startswith(row.where) else set()
    assert sorted(who_must_complain() - complained) == []


class Slip(mt.Layer):
    """A layer whose author made mistakes of his own, of which the cache must not be accused."""

    what: str

    def forward(self, x):
        return x, (x, 1.0)

    def backward(self, cache, dout):
        x, scale = cache
        if self.what == "a word":
            return dout * self.scale, None
        if self.what == "a shape":
            return dout @ x, None
        first, second = dout[:, 0:1].shape, scale
        a, b, c = first
        return a + b + c, second


@pytest.mark.parametrize(
    ("what", "error", "words"),
    [
        ("a word", AttributeError, "'Slip' object has no attribute 'scale'"),
        ("a shape", ValueError, "matmul"),
        ("a length", ValueError, r"not enough values to unpack \(expected 3, got 2\)"),
    ],
)
def test_a_mistake_inside_a_layer_is_not_put_on_the_cache(what: str, error: type[Exception], words: str) -> None:
    layer = Slip(what)
    x = np.ones((5, 3))
    with pytest.raises(error, match=f"^{words}"):
        layer.backward(layer.forward(x)[1], x)


class Scale(mt.Layer):
    """y = x · s, whose author gives something else back than the verbs want."""

    s: mt.Array
    slip: str

    def forward(self, x):
        y = x * self.s
        return {"forward: y": y, "forward: three": (y, x, 1), "forward: nothing": None}.get(self.slip, (y, x))

    def backward(self, cache, dout):
        x = cache
        dx, grad = dout * self.s, self.gradient(s=(x * dout).sum())
        return {"backward: dx": dx, "backward: three": (dx, grad, 1), "backward: nothing": None}.get(
            self.slip, (dx, grad)
        )

    def observe(self, cache):
        return None if self.slip == "observe: nothing" else self


@pytest.mark.parametrize(
    ("slip", "words"),
    [
        ("forward: y", r"Scale.forward must give the pair \(y, cache\), got numpy float64 array of shape \(2, 1\)"),
        ("forward: three", r"Scale.forward must give the pair \(y, cache\), got a tuple of 3"),
        ("forward: nothing", r"Scale.forward must give the pair \(y, cache\), got NoneType"),
        ("backward: dx", r"Scale.backward must give the pair \(dx, self.gradient\(...\)\).* got numpy float64 array"),
        ("backward: three", r"Scale.backward must give the pair \(dx, self.gradient\(...\)\).* got a tuple of 3"),
        ("backward: nothing", r"Scale.backward must give the pair \(dx, self.gradient\(...\)\).* got NoneType"),
        ("observe: nothing", r"Scale.observe must give the layer, or a changed one, got NoneType"),
    ],
)
def test_what_a_verb_must_give_is_said(slip: str, words: str) -> None:
    """Of two rows, which come apart like a pair, too."""
    x, t = np.array([[1.0], [2.0]]), np.array([[1.0], [0.0]])
    layer, settings = Scale(np.array(2.0), slip), {"loss": mt.MeanSquaredError(), "optimizer": mt.SGD(), "epochs": 1}
    for model in (layer, mt.Sequential(layer)):
        with pytest.raises(TypeError, match=f"^{words}"):
            mt.fit(model, x, t, **settings)
        with pytest.raises(TypeError, match=f"^{words}"):
            mt.gradient(model, settings["loss"], x, t)
        if not slip.startswith("observe"):
            with pytest.raises(TypeError, match=f"^{words}"):
                mt.testing.check_gradients(model, x)


@pytest.mark.parametrize("given", ["mean", "three"])
def test_what_losses_must_give_is_said(given: str) -> None:
    class Square(mt.Loss):
        def losses(self, y, t):
            d = y - t
            return {"mean": ((d * d).mean(), d), "three": (d * d, d, d)}[given]

    words = r"Square.losses must give the pair \(losses, cache\), got a tuple of 3"
    words = words if given == "three" else r"Square.losses: what it gives has shape .* expected \(3, …\) \(one loss"
    with pytest.raises((TypeError, ValueError), match=f"^{words}"):
        Square().value(np.ones((3, 2)), np.zeros((3, 2)))


@pytest.mark.parametrize("given", ["no tuple", "another shape", "another dtype"])
def test_what_a_rule_must_give_is_said(given: str) -> None:
    class Plain(mt.Optimizer):
        lr: float = 0.1

        def rule(self, p, g, lr):
            new = p - lr * g
            wide = new.astype("float64")
            return {"no tuple": new, "another shape": (new[None],), "another dtype": (wide,)}[given]

    model = mt.MatMul(np.ones((2, 3), dtype="float32"))
    words = r"Plain.rule must give a tuple that begins with the new parameter, .* expected numpy float32 array of shape"
    with pytest.raises(ValueError, match=f"^{words}"):
        Plain().update(model, model, Plain().init(model))


def test_a_transform_must_give_a_gradient() -> None:
    class Nothing(mt.optimizers.transforms.Transform):
        def change(self, model, grad, state):
            return None

    model, sgd = mt.MatMul(np.ones((2, 3))), mt.SGD(transforms=(Nothing(),))
    with pytest.raises(TypeError, match=r"^Nothing.change must give a gradient of MatMul, got NoneType"):
        sgd.update(model, model, sgd.init(model))


def test_an_assignment_is_told_what_to_do_instead() -> None:
    class Own(mt.Layer):
        W: mt.Array

        def __init__(self, size):
            self.W = np.ones(size)

    layer = mt.MatMul(np.ones((2, 2)))
    with pytest.raises(AttributeError, match=r'martlet.replace\(model, \{"W": ...\}\)'):
        layer.W = np.zeros((2, 2))
    with pytest.raises(AttributeError, match=r"has no field x \(what a layer.s forward remembers .* is its cache"):
        layer.x = np.zeros((2, 2))
    with pytest.raises(AttributeError, match=r"make another one, LeakyReLU\(slope=..., ...\)"):
        mt.LeakyReLU().slope = 0.3
    with pytest.raises(AttributeError, match=r"the constructor that it has already, Own\(W=...\); .* such as init"):
        Own(3)


class Inner(mt.Layer):
    """y = x · s + shift: its forward takes more than x from a layer that knows it."""

    s: mt.Array

    def forward(self, x, shift=0.0):
        return x * self.s + shift, x

    def backward(self, cache, dout):
        return dout * self.s, self.gradient(s=(cache * dout).sum())


class Outer(Inner):
    def forward(self, x):
        return super().forward(x, shift=1.0)


class Named(NamedTuple):
    y: Any
    cache: Any


def test_a_pair_may_come_by_any_way() -> None:
    y, _ = Outer(np.array(2.0)).forward(np.ones(3))
    np.testing.assert_array_equal(y, [3.0, 3.0, 3.0])
    assert Inner(np.array(2.0)).forward(x=np.ones(3), shift=2.0)[0][0] == 4.0

    class Odd(mt.Layer):
        def forward(self, x):
            return Named(x, None)

        def backward(self, cache, dout):
            return [dout, None]

    x, t = np.array([[1.0], [2.0]]), np.array([[1.0], [0.0]])
    _, grad, _ = mt.gradient(mt.Sequential(Odd(), mt.MatMul(np.ones((1, 1)))), mt.MeanSquaredError(), x, t)
    assert grad[1].W.shape == (1, 1)


def test_losses_may_be_more_than_samples() -> None:
    class Twice(mt.Loss):
        def losses(self, y, t):
            return np.concatenate([y - t, y - t]), y

    assert Twice(reduction="sum").value(np.ones((3, 1)), np.zeros((3, 1))) == 6.0


def test_parameters_of_another_byte_order_may_move() -> None:
    model = mt.MatMul(np.ones((2, 3), dtype=">f4"))
    new, _ = mt.SGD(lr=1.0).update(model, model, mt.SGD(lr=1.0).init(model))
    np.testing.assert_array_equal(new.W, np.zeros((2, 3)))


def test_to_save_a_model_does_not_change_it(tmp_path: Path) -> None:
    class Doubling(mt.Layer):
        W: mt.Array

        def __post_init__(self):
            super().__post_init__()
            self.__dict__["W"] = self.W * 2

    layer = Doubling(np.ones(2))
    mt.save(tmp_path / "file", layer)
    np.testing.assert_array_equal(layer.W, [2.0, 2.0])


def test_a_gradient_is_not_saved_as_a_model(tmp_path: Path) -> None:
    """For it could not be loaded again, and the file that was there would be gone."""
    rng = np.random.default_rng(0)
    model = mt.Sequential(mt.Affine.init(2, 3, rng), mt.Tanh(), mt.Affine.init(3, 2, rng))
    mt.save(tmp_path / "file", model)
    x, t = rng.standard_normal((4, 2), dtype="float32"), np.array([0, 1, 1, 0])
    _, grad, _ = mt.gradient(model, mt.SoftmaxWithLoss(), x, t)
    with pytest.raises(TypeError, match="save: this could not be loaded again: Sequential: layer 1 must be a Layer"):
        mt.save(tmp_path / "file", grad)
    with pytest.raises(TypeError, match="save: this could not be loaded again: Sequential: layer 1 must be a Layer"):
        mt.save(tmp_path / "file", mt.Run(grad, loss=mt.SoftmaxWithLoss(), optimizer=mt.SGD()))
    assert mt.names(mt.load(tmp_path / "file")) == mt.names(model)


@pytest.mark.eager
def test_the_accuracy_of_nan_is_nan(xp: Target) -> None:
    given = Given(xp)
    x = given.array(*[[0.0, 0.0, 0.0]] * 5, [float("nan"), 0.0, 0.0])
    assert np.isnan(mt.accuracy(given.model, x, given.t))
    assert np.isnan(mt.accuracy(given.regression, x, given.array(*[[1.0]] * 6)))


@pytest.mark.parametrize("settings", ["", "class_weight", "label_smoothing"])
@pytest.mark.parametrize("label", [-1, 3, 1000])
def test_where_a_bad_label_is_not_read_it_makes_the_loss_nan(xp: Target, label: int, settings: str) -> None:
    if xp.backend.name == "numpy":
        pytest.skip("NumPy reads the labels, and raises")
    loss = mt.SoftmaxWithLoss(
        class_weight=xp.asarray(np.array([1.0, 2.0, 3.0])) if settings == "class_weight" else None,
        label_smoothing=0.1 if settings == "label_smoothing" else 0.0,
    )
    y, t = xp.asarray(np.ones((2, 3))), xp.asarray(np.array([0, label]))
    value, cache = xp.run(lambda y, t: loss.forward(y, t), y, t)
    assert np.isnan(mt.to_numpy(value))
    assert np.isnan(mt.to_numpy(loss.backward(cache))).any()


@pytest.mark.parametrize("word", [-1, 4, 1000])
def test_where_a_bad_word_is_not_read_its_row_is_nan(xp: Target, word: int) -> None:
    if xp.backend.name == "numpy":
        pytest.skip("NumPy reads the words, and raises")
    layer, x = xp.put(mt.Embedding(np.ones((4, 2)))), xp.asarray(np.array([[0, word], [3, 3]]))
    y = mt.to_numpy(xp.run(lambda layer, x: layer.predict(x), layer, x))
    np.testing.assert_array_equal(y, [[[1.0, 1.0], [np.nan, np.nan]], [[1.0, 1.0], [1.0, 1.0]]])


@pytest.mark.eager
@pytest.mark.parametrize("number", [np.float64(0.5), np.float32(0.5)], ids=repr)
def test_a_number_of_numpy_in_a_setting_widens_nothing(xp: Target, number: Any) -> None:
    given = Given(xp)
    x = given.x(5, 3)
    here, norm = x.dtype, given.batch_norm
    layers = [
        mt.LeakyReLU(number),
        mt.ELU(number),
        mt.Dropout.init(number, given.rng, backend=xp.backend),
        mt.BatchNorm(*mt.leaves(norm), momentum=number, eps=number),
        mt.LayerNorm(*mt.leaves(norm)[:2], eps=number),
    ]
    for layer in layers:
        y, cache = layer.forward(x)
        dx, grad = layer.backward(cache, y)
        after = [a.dtype for a in mt.leaves(layer.observe(cache))]
        assert {y.dtype, dx.dtype, *(a.dtype for a in mt.leaves(grad))} == {here}
        assert after == [a.dtype for a in mt.leaves(layer)]
    for loss, t in (
        (mt.Huber(delta=number), x),
        (mt.SoftmaxWithLoss(label_smoothing=number), given.array(0, 1, 2, 0, 1)),
    ):
        value, cache = loss.forward(x, t)
        assert {value.dtype, loss.backward(cache).dtype} == {here}


@pytest.mark.eager
@pytest.mark.parametrize("number", [np.float64(0.5), np.float32(0.5), np.int64(1)], ids=repr)
def test_a_number_of_numpy_is_no_mistake(xp: Target, number: Any) -> None:
    given = Given(xp)
    model = given.model
    optimizer = mt.SGD(lr=number)
    for state in (optimizer.init(model), mt.replace(mt.SGD().init(model), {"lr": number})):
        assert type(state.lr) is type(mt.leaves(model)[0])
        assert given.step(model=model, optimizer=optimizer, state=state)[0][0].W.dtype == model[0].W.dtype
    for reduction in ("mean", "sum"):
        assert given.scaled(mt.MeanSquaredError(reduction), number).dtype == model[0].W.dtype


@pytest.mark.eager
def test_a_number_of_numpy_is_a_pos_weight(xp: Target) -> None:
    """It goes to the model, as an array of one number does."""
    given = Given(xp)
    model, x, t = given.regression, given.x(6, 3), given.array(*[[1.0]] * 3, *[[0.0]] * 3)
    y = mt.to_numpy(model.predict(x)).astype("float64")
    positive = np.arange(6)[:, None] < 3
    by_formula = np.mean(np.where(positive, 3.0 * np.log1p(np.exp(-y)), np.log1p(np.exp(y))))
    for number in (np.float64(3.0), np.float32(3.0), np.array(3.0)):
        loss = mt.SigmoidWithLoss(pos_weight=number)
        assert mt.evaluate(model, x, t, loss=loss)["loss"] == pytest.approx(by_formula, rel=1e-5)
        _, history = given.fit(model=model, x=x, t=t, loss=loss, optimizer=mt.SGD(), batch_size=6)
        assert history.loss[0] == pytest.approx(by_formula, rel=1e-5)


@pytest.mark.eager
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("call", [Given.fit, Given.evaluate], ids=["fit", "evaluate"])
def test_an_infinite_class_weight_is_refused(xp: Target, call: Callable[..., Any]) -> None:
    given = Given(xp)
    with pytest.raises(ValueError, match="SoftmaxWithLoss: class_weight must be finite"):
        call(given, loss=mt.SoftmaxWithLoss(class_weight=given.array(1.0, float("inf"), 1.0)))


@pytest.mark.parametrize("number", [10**400, -(10**400)])
def test_a_number_of_400_digits_is_not_printed(number: int) -> None:
    with pytest.raises(ValueError, match="SGD: lr must be finite") as caught:
        mt.SGD(lr=number)
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize("layer", [lambda: mt.BatchNorm(3, 3, 3, 3), lambda: mt.LayerNorm(3, 3)])
def test_what_draws_nothing_is_advised_without_a_generator(layer: Callable[[], Any]) -> None:
    with pytest.raises(TypeError) as caught:
        layer()
    assert "rng" not in str(caught.value)


@pytest.mark.eager
@pytest.mark.parametrize(
    ("now", "then", "words"),
    [
        (mt.Adam(), mt.Adam(amsgrad=True), "has a peak.*amsgrad=True"),
        (mt.AdamW(), mt.AdamW(amsgrad=True), "has a peak.*amsgrad=True"),
        (mt.RMSprop(), mt.RMSprop(centered=True), "has a m.*centered=True"),
    ],
    ids=repr,
)
def test_a_state_with_a_memory_too_many_is_refused(
    xp: Target, now: mt.Optimizer, then: mt.Optimizer, words: str
) -> None:
    given = Given(xp)
    with pytest.raises(ValueError, match=words):
        given.update(now, model := given.model, model, then.init(model))
