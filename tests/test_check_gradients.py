"""check_gradients finds what is wrong, names the layer, and complains about nothing that is right.

On the sessions of torch and JAX the oracle is their autograd, on all others it is differences.
"""

from __future__ import annotations

import copy
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from cases import LAYERS, LOSSES, LayerCase, LossCase, Residual, affine
from conftest import Target, to_numpy

import martlet as mt
from martlet.testing import WrongGradient, check_gradients

pytestmark = pytest.mark.eager

Rng = np.random.Generator


def oracle(xp: Target) -> str:
    return xp.name if xp.name in ("torch", "jax") else "differences"


def missing(name: str) -> bool:
    return name not in mt.available_backends()


def failing(xp: Target, *given: Any, **settings: Any) -> Any:
    """The report of a check that must fail.  It prints without complaint."""
    with pytest.raises(WrongGradient) as e:
        check_gradients(*map(xp.put, given), oracle=oracle(xp), **settings)
    assert str(e.value) == str(e.value.report)
    assert not e.value.report.ok
    return e.value.report


# ------------------------------------------------------------------------------ what is right, passes


@pytest.mark.parametrize("case", LAYERS, ids=lambda case: case.name)
def test_every_layer_passes(case: LayerCase, xp: Target) -> None:
    rng = np.random.default_rng(21)
    layer, x = case.layer(rng), case.x(rng)
    report = check_gradients(xp.put(layer), xp.put(x), oracle=oracle(xp))
    assert report.ok
    assert report.oracle == oracle(xp)
    assert report.kinks == ()


@pytest.mark.parametrize("case", LOSSES, ids=lambda case: case.name)
def test_every_loss_passes(case: LossCase, xp: Target) -> None:
    rng = np.random.default_rng(22)
    y, t = case.y(rng), case.t(rng)
    weight = rng.uniform(0.5, 2.0, y.shape[0])
    for reduction in ("mean", "none"):
        report = check_gradients(*map(xp.put, (case.loss(reduction), y, t, weight)), oracle=oracle(xp))
        assert [row.name for row in report.arrays] == ["y"]
    assert report.ok


@pytest.mark.parametrize("size", [1e6, 1e-6])
@pytest.mark.parametrize("case", LAYERS[::3], ids=lambda case: case.name)
def test_huge_and_small_inputs_raise_no_false_alarm(case: LayerCase, size: float, xp: Target) -> None:
    if xp.double == "float32":
        pytest.skip("numbers of this size are the same in float32, once lifted")

    def scaled(x: Any) -> Any:
        return tuple(map(scaled, x)) if isinstance(x, tuple) else x * size if x.dtype.kind == "f" else x

    rng = np.random.default_rng(23)
    layer, x = case.layer(rng), scaled(case.x(rng))
    assert check_gradients(xp.put(layer), xp.put(x), oracle=oracle(xp)).ok


def test_what_rounding_hides_is_seen_with_a_larger_step() -> None:
    """y = 2e-4 x + 1: at x = 1e-12 a step in proportion to x moves nothing."""
    layer, x = mt.Affine(np.array([[2e-4]]), np.array([1.0])), np.array([[1e-12]])
    row, *_ = check_gradients(layer, x, dout=np.array([[1.0]]), oracle="differences").arrays
    assert (row.name, row.got) == ("x", 2e-4)
    assert row.expected == pytest.approx(2e-4, rel=1e-4)


def spiral(xp: Target, dtype: str | None = None) -> tuple[mt.Layer, Any, Any]:
    rng = np.random.default_rng(0)
    x, t = mt.datasets.spiral(5, dtype="float64")
    model = mt.Sequential(affine(rng, 2, 10), mt.Sigmoid(), affine(rng, 10, 3))
    return xp.put(model, dtype), xp.put(x, dtype), xp.put(t)


def test_a_model_with_its_loss(xp: Target) -> None:
    model, x, t = spiral(xp)
    before = to_numpy((model, x, t))
    report = check_gradients(model, x, t, loss=mt.SoftmaxWithLoss(), oracle=oracle(xp))
    assert [row.name for row in report.arrays] == ["x", "0.W", "0.b", "2.W", "2.b"]
    assert [row.shape for row in report.arrays] == [(15, 2), (2, 10), (10,), (10, 3), (3,)]
    assert report.subject == "Sequential with SoftmaxWithLoss"
    for now, was in zip(mt.leaves(model), mt.leaves(before[0]), strict=True):
        np.testing.assert_array_equal(mt.to_numpy(now), was)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_narrow_model_is_judged_in_float64(xp: Target, dtype: str) -> None:
    if dtype == "float16" and xp.name.startswith("strict"):
        pytest.skip("the standard has no float16")
    model, x, t = spiral(xp, dtype)
    report = check_gradients(model, x, t, loss=mt.SoftmaxWithLoss(), oracle=oracle(xp))
    assert max(row.error for row in report.arrays) < 1e-8  # in float32 it would be 1e-6


class Masked(mt.Layer):
    """Logits that a mask of -inf excludes."""

    mask: mt.Array = mt.kept()

    def forward(self, x):
        return x + self.mask, None

    def backward(self, cache, dout):
        return dout, None


@pytest.mark.parametrize("following", [mt.Softmax(), mt.Identity()], ids=["Softmax", "Identity"])
def test_an_infinity_that_is_meant_to_be_there(following: mt.Layer, xp: Target) -> None:
    rng = np.random.default_rng(13)
    model = mt.Sequential(affine(rng, 3, 4), Masked(np.array([0.0, -np.inf, 0.0, 0.0])), following)
    assert check_gradients(xp.put(model), xp.put(rng.standard_normal((5, 3))), oracle=oracle(xp)).ok


def test_a_dout_of_ones_is_the_gradient_of_the_sum(xp: Target) -> None:
    rng = np.random.default_rng(1)
    layer, x = affine(rng, 3, 2), rng.standard_normal((4, 3))
    report = check_gradients(*map(xp.put, (layer, x)), dout=xp.put(np.ones((4, 2))), oracle=oracle(xp))
    row = report.arrays[-1]
    assert (row.name, row.got) == ("b", 4.0)
    assert row.expected == pytest.approx(4.0, rel=1e-9)


# ---------------------------------------------------------------------------- what is wrong, is named


class MeanBias(mt.Affine):
    """db is a mean and no sum."""

    def backward(self, cache, dout):
        dx, grad = super().backward(cache, dout)
        return dx, mt.replace(grad, {"b": grad.b / dout.shape[0]})


class NotTransposed(mt.Affine):
    """dx = dout @ W, which on a square W has the right shape."""

    def backward(self, cache, dout):
        return dout @ self.W, super().backward(cache, dout)[1]


class OtherWay(mt.MatMul):
    """dW is transposed."""

    def backward(self, cache, dout):
        dx, grad = super().backward(cache, dout)
        return dx, self.gradient(W=grad.W.T)


class Wrote(mt.Layer):
    """y = 2 x, made in the place of x."""

    def forward(self, x):
        x *= 2.0
        return x, None

    def backward(self, cache, dout):
        return 2.0 * dout, None


class WroteDout(mt.Identity):
    def backward(self, cache, dout):
        dout *= 1.0 + 1e-15  # which no comparison of numbers would see
        return dout, None


class WroteItself(mt.MatMul):
    def forward(self, x):
        y = super().forward(x)
        self.W[0, 0] = 0.0
        return y


class WrongLeaf(mt.Affine):
    """dW is given as that of b, and db not at all."""

    def backward(self, cache, dout):
        dx, grad = super().backward(cache, dout)
        return dx, self.gradient(b=grad.W)


class LearnsStatistics(mt.BatchNorm):
    def backward(self, cache, dout):
        dx, grad = super().backward(cache, dout)
        return dx, self.gradient(gamma=grad.gamma, beta=grad.beta, mean=grad.beta)


class Narrow(mt.MatMul):
    def backward(self, cache, dout):
        dx, grad = super().backward(cache, dout)
        return dx, self.gradient(W=grad.W.astype("float32"))


class Bare(mt.MatMul):
    """Gives the array, and no layer that holds it."""

    def backward(self, cache, dout):
        dx, grad = super().backward(cache, dout)
        return dx, grad.W


class OneForTwo(mt.Add):
    def backward(self, cache, dout):
        return dout, None


class Slopes(mt.Embedding):
    """Gives a dx for words."""

    def backward(self, cache, dout):
        return dout, super().backward(cache, dout)[1]


class Thawed(mt.Freeze):
    def backward(self, cache, dout):
        dx, grad = self.layer.backward(cache, dout)
        return dx, self.gradient(layer=grad)


class ForgotTheSkip(Residual):
    """dx is that of f alone: the layer inside is right."""

    def backward(self, cache, dout):
        return self.f.backward(cache, dout)[0], self.gradient(f=self.f.backward(cache, dout)[1])


class Dropped(mt.Sigmoid):
    """dx loses its last row, on which the layer before it will stumble."""

    def backward(self, cache, dout):
        dx, grad = super().backward(cache, dout)
        return dx[:-1, ...], grad


class Silent(mt.Tanh):
    def backward(self, cache, dout):
        return 0.0 * dout, None


class Flat(mt.Softmax):
    """Has no slope, as a softmax has none when all its outputs are pulled alike."""

    def backward(self, cache, dout):
        return 0.0 * dout, None


def mean_bias(rng: Rng, inputs: int, outputs: int) -> mt.Layer:
    return MeanBias(rng.standard_normal((inputs, outputs)), rng.standard_normal(outputs))


def deep(rng: Rng) -> mt.Layer:
    body = mt.Sequential(affine(rng, 4, 4), mt.Tanh(), mean_bias(rng, 4, 4))
    return mt.Sequential(affine(rng, 3, 4), mt.Branch(2), mt.Parallel(body, mt.Identity()), mt.Add())


class Planted(NamedTuple):
    """A wrong layer, its input, and what the report must say: who, which arrays, in which words."""

    layer: Callable[[Rng], mt.Layer]
    shape: tuple[int, ...]
    culprit: str
    wrong: tuple[str, ...] = ()
    words: str = ""


PLANTED = {
    "a mean of a bias": Planted(lambda rng: mean_bias(rng, 3, 4), (5, 3), "MeanBias", ("b",), "0.2 times what it"),
    "W for W.T": Planted(
        lambda rng: NotTransposed(rng.standard_normal((3, 3)), rng.standard_normal(3)), (5, 3), "NotTransposed", ("x",)
    ),
    "dW.T for dW": Planted(
        lambda rng: OtherWay(rng.standard_normal((3, 3))), (5, 3), "OtherWay", ("W",), "the transpose of what"
    ),
    "no gradient": Planted(lambda rng: Silent(), (5, 3), "Silent", ("x",), "all zero"),
    "what a dout of ones would not show": Planted(lambda rng: Flat(), (5, 3), "Flat", ("x",), "all zero"),
    "writes into x": Planted(lambda rng: Wrote(), (5, 3), "Wrote", words="forward writes into x"),
    "writes into a layer's output": Planted(
        lambda rng: mt.Sequential(affine(rng, 3, 2), Wrote()), (5, 3), "layer 1 (Wrote)", words="forward writes into x"
    ),
    "writes into dout": Planted(lambda rng: WroteDout(), (5, 3), "WroteDout", words="backward writes into dout"),
    "writes into W": Planted(
        lambda rng: WroteItself(rng.standard_normal((3, 2))), (5, 3), "WroteItself", words="forward writes into W"
    ),
    "the wrong leaf": Planted(
        lambda rng: WrongLeaf(rng.standard_normal((3, 4)), rng.standard_normal(4)),
        (5, 3),
        "WrongLeaf",
        words="the gradient of W is missing; the gradient of b has shape (3, 4), expected (4,)",
    ),
    "a gradient for statistics": Planted(
        lambda rng: LearnsStatistics(*rng.standard_normal((3, 3)), np.ones(3)),
        (5, 3),
        "LearnsStatistics",
        words="there is a gradient of mean, which is kept and not learned",
    ),
    "a gradient for what is held still": Planted(
        lambda rng: Thawed(affine(rng, 3, 2)),
        (5, 3),
        "Thawed",
        words="there is a gradient of layer.W, which is held still",
    ),
    "a narrower gradient": Planted(
        lambda rng: Narrow(rng.standard_normal((3, 2))),
        (5, 3),
        "Narrow",
        words="the gradient of W is float32, expected float64",
    ),
    "a bare array": Planted(
        lambda rng: mt.Sequential(mt.Tanh(), Bare(rng.standard_normal((3, 2)))),
        (5, 3),
        "layer 1 (Bare)",
        words="the gradient of the layer must be Bare's own self.gradient(...), got numpy float64 array",
    ),
    "one dx for two inputs": Planted(
        lambda rng: mt.Sequential(mt.Branch(2), OneForTwo()),
        (5, 3),
        "layer 1 (OneForTwo)",
        words="dx must be a tuple of 2, as x is, got numpy float64 array of shape (5, 3) on cpu",
    ),
    "a dx that the next layer refuses": Planted(
        lambda rng: mt.Sequential(affine(rng, 3, 4), Dropped()),
        (5, 3),
        "layer 1 (Dropped)",
        words="dx has shape (4, 4), expected (5, 4)",
    ),
    "deep inside": Planted(deep, (5, 3), "layer 2.0.2 (MeanBias)", ("b",)),
    "in a field": Planted(
        lambda rng: mt.Sequential(affine(rng, 2, 3), Residual(mean_bias(rng, 3, 3))),
        (5, 2),
        "layer 1.f (MeanBias)",
        ("b",),
    ),
    "in a layer held still": Planted(
        lambda rng: mt.Sequential(
            affine(rng, 2, 3), mt.Freeze(NotTransposed(rng.standard_normal((3, 3)), rng.standard_normal(3)))
        ),
        (5, 2),
        "layer 1.layer (NotTransposed)",
        ("x",),
    ),
    "a composite itself": Planted(
        lambda rng: mt.Sequential(mt.Tanh(), ForgotTheSkip(mt.Tanh())), (5, 3), "layer 1 (ForgotTheSkip)", ("x",)
    ),
    "the first of two": Planted(
        lambda rng: mt.Sequential(mt.Tanh(), Silent(), mean_bias(rng, 3, 2)), (5, 3), "layer 1 (Silent)", ("x",)
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found_and_named(name: str, xp: Target) -> None:
    planted = PLANTED[name]
    rng = np.random.default_rng(2)
    report = failing(xp, planted.layer(rng), rng.standard_normal(planted.shape))
    assert report.culprit == planted.culprit
    assert report.inner.wrong == planted.wrong
    assert str(report).startswith(f"{planted.culprit}: ")
    assert planted.words in str(report)


def test_words_have_no_slope(xp: Target) -> None:
    rng = np.random.default_rng(3)
    report = failing(xp, Slopes(rng.standard_normal((4, 2))), rng.integers(0, 4, 5))
    assert "dx must be None, for integers have no derivative, got numpy float64 array of shape (5, 2)" in str(report)


def test_words_beside_numbers(xp: Target) -> None:
    rng = np.random.default_rng(11)
    layer = mt.Parallel(mt.Embedding(rng.standard_normal((4, 2))), mean_bias(rng, 3, 2))
    report = failing(xp, layer, (rng.integers(0, 4, 5), rng.standard_normal((5, 3))))
    assert [row.name for row in report.arrays] == ["x[1]", "0.W", "1.W", "1.b"]
    assert (report.culprit, report.inner.wrong) == ("layer 1 (MeanBias)", ("b",))


class Noisy(mt.Layer):
    """Draws a mask of its own at each call, where Dropout has a counter."""

    rng: Any = None

    def forward(self, x):
        mask = mt.backend_of(x).asarray(self.rng.integers(0, 2, x.shape) * 1.0, "float64")
        return x * mask, mask

    def backward(self, cache, dout):
        return dout * cache, None


def test_noise_from_outside_is_no_function(xp: Target) -> None:
    report = failing(xp, mt.Sequential(mt.Tanh(), Noisy(np.random.default_rng(12))), np.ones((4, 5)))
    assert str(report) == "layer 1 (Noisy): forward gives another output when it is called again"


class Off(mt.Layer):
    """The layer inside, with a relative error of 1e-6 in one entry of one gradient."""

    inner: mt.Layer
    array: str = "x"
    entry: tuple[int, ...] = ()

    def forward(self, x):
        return self.inner.forward(x)

    def backward(self, cache, dout):
        dx, grad = self.inner.backward(cache, dout)
        if self.array == "x":
            return self.off(dx), self.gradient(inner=grad)
        arrays = dict(zip(mt.names(grad), mt.leaves(grad), strict=True))
        return dx, self.gradient(inner=mt.replace(grad, {self.array: self.off(arrays[self.array])}))

    def off(self, gradient: np.ndarray) -> np.ndarray:
        gradient = gradient.copy()
        gradient[self.entry] *= 1.0 + 1e-6
        return gradient


def test_a_millionth_in_one_entry_is_found(xp: Target) -> None:
    """In every array of a network, once in its smallest entry and once in its largest."""
    rng = np.random.default_rng(4)
    layer = mt.Sequential(affine(rng, 3, 4), mt.Tanh(), mt.LayerNorm(*rng.standard_normal((2, 4))), affine(rng, 4, 2))
    x, dout = rng.standard_normal((5, 3)), rng.standard_normal((5, 2))
    dx, grad = layer.backward(layer.forward(x)[1], dout)
    gradients = {"x": dx, **dict(zip(mt.names(grad), mt.leaves(grad), strict=True))}
    assert len(gradients) == 7
    for name, g in gradients.items():
        for place in (np.argmin(np.abs(g)), np.argmax(np.abs(g))):
            entry = tuple(map(int, np.unravel_index(place, g.shape)))
            report = failing(xp, Off(layer, name, entry), x, dout=xp.put(dout))
            assert report.culprit == "Off"
            assert report.wrong == (name if name == "x" else f"inner.{name}",)
            row = next(row for row in report.arrays if row.verdict == "WRONG")
            assert row.index == entry
            assert row.error == pytest.approx(1e-6, rel=0.1)


class Doubled(mt.MeanSquaredError):
    def slopes(self, cache):
        return 2.0 * super().slopes(cache)


def test_the_loss_may_be_to_blame(xp: Target) -> None:
    rng = np.random.default_rng(5)
    model, x, t = affine(rng, 3, 2), rng.standard_normal((5, 3)), rng.standard_normal((5, 2))
    report = failing(xp, model, x, t, loss=Doubled())
    assert report.culprit == "the loss (Doubled)"
    assert report.inner.wrong == ("y",)
    assert report.wrong == ("x", "W", "b")
    assert "2 times what it should be" in str(report)
    assert "What follows from it in Affine with Doubled:" in str(report)
    report = failing(xp, Doubled(), x, x + 1.0)
    assert (report.culprit, report.wrong) == ("Doubled", ("y",))


def test_in_a_model_with_its_loss_a_layer_has_its_own_name(xp: Target) -> None:
    model, x, t = spiral(xp)
    wrong = mt.Sequential(model[0], Silent(), model[2])
    report = failing(xp, to_numpy(wrong), to_numpy(x), to_numpy(t), loss=mt.SoftmaxWithLoss())
    assert report.culprit == "layer 1 (Silent)"
    assert report.wrong == ("x", "0.W", "0.b")
    report = failing(xp, Silent(), np.ones((15, 3)), to_numpy(t), loss=mt.SoftmaxWithLoss())
    assert report.culprit == "the model (Silent)"


def test_what_backward_raises_by_itself_comes_through(xp: Target) -> None:
    class Broken(mt.Identity):
        def backward(self, cache, dout):
            raise KeyError("W")

    with pytest.raises(KeyError, match="W"):
        check_gradients(xp.put(mt.Sequential(mt.Tanh(), Broken())), xp.put(np.ones((2, 3))), oracle=oracle(xp))


def test_a_layer_used_twice(xp: Target) -> None:
    """Its two calls are told apart, though both have the cache None."""

    class Twice(mt.Layer):
        f: mt.Layer

        def forward(self, x):
            y, first = self.f.forward(x)
            y, second = self.f.forward(y[:, :2])
            return y, (first, second, x)

        def backward(self, cache, dout):
            dy, _ = self.f.backward(cache[1], dout)
            x = mt.namespace(dy).zeros_like(cache[2])
            x[:, :2] = dy
            return self.f.backward(cache[0], x)[0], self.gradient(f=None)

    class Half(mt.Identity):
        def forward(self, x):
            return 0.5 * x, None

    rng = np.random.default_rng(6)
    with pytest.raises(WrongGradient) as e:
        check_gradients(Twice(Half()), rng.standard_normal((2, 3)), oracle=oracle(xp))
    assert e.value.report.culprit == "layer f (Half)"
    assert e.value.report.inner.arrays[0].shape == (2, 3)


# ------------------------------------------------------------------------------------------- kinks


def test_a_kink_is_called_a_kink(xp: Target) -> None:
    x = np.array([[0.0, 1.0, -1.0]])
    report = check_gradients(mt.ReLU(), xp.put(x), dout=xp.put(np.array([[2.0, 3.0, 4.0]])), oracle=oracle(xp))
    (row,) = report.arrays
    assert (row.verdict, row.index) == ("kink", (0, 0))
    assert row.note == "not differentiable here: slope 0 to the left, 2 to the right"
    assert report.ok
    assert report.kinks == ("x",)
    assert "wherever there is one" in str(report)


def test_at_a_kink_a_slope_lies_between_both_sides(xp: Target) -> None:
    class Steep(mt.ReLU):
        def backward(self, cache, dout):
            return dout * ((cache > 0.0) + 1.5 * (cache == 0.0)), None

    x = np.array([[0.0, 1.0, 2.0]])
    assert failing(xp, Steep(), x).wrong == ("x",)


class Root(mt.Layer):
    """y = √x, which ends at 0, with a slope that is infinite."""

    def forward(self, x):
        y = mt.namespace(x).sqrt(x)
        return y, y

    def backward(self, cache, dout):
        with np.errstate(divide="ignore"):
            return 0.5 * dout / cache, None


def test_where_forward_ends_there_is_no_slope_to_compare(xp: Target) -> None:
    x, ones = np.array([[0.0, 1.0, 4.0]]), np.ones((1, 3))
    report = check_gradients(Root(), xp.put(x), dout=xp.put(ones), oracle=oracle(xp))
    assert report.ok
    assert report.kinks == (("x",) if oracle(xp) == "differences" else ())


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_what_is_nan_everywhere_says_nothing() -> None:
    class Root(mt.Layer):
        def forward(self, x):
            return mt.namespace(x).sqrt(x), x

        def backward(self, cache, dout):
            return 3.0 * dout / mt.namespace(cache).sqrt(cache), None  # six times too large

    with pytest.raises(WrongGradient, match="NaN in every entry, as is the derivative itself: nothing is known"):
        mt.testing.check_gradients(Root(), np.full((2, 2), -1.0))

    class Half(Root):
        def backward(self, cache, dout):
            return 0.5 * dout / mt.namespace(cache).sqrt(cache), None

    report = mt.testing.check_gradients(Half(), np.array([[-1.0, 2.0]]))
    assert report.kinks == ("x",)
    assert "1 of 2 entries are NaN in both" in str(report)


@pytest.mark.skipif(missing("torch"), reason="torch is not installed")
def test_an_autograd_that_gives_nan_is_not_believed() -> None:
    """Where a branch that is not taken has an infinite slope, autograd says 0 · ∞."""

    class Kept(Root):
        def forward(self, x):
            xp = mt.namespace(x)
            return xp.where(x > 0.0, xp.sqrt(x * xp.astype(x > 0.0, x.dtype)), 0.0), x

        def backward(self, cache, dout):
            return np.where(cache > 0.0, 0.5 * dout / np.sqrt(np.where(cache > 0.0, cache, 1.0)), 0.0), None

    x = np.array([[-1.0, 1.0, 4.0]])
    report = check_gradients(Kept(), x)
    assert report.ok
    assert report.oracle == "differences"
    assert "it gives nan for x[0, 0], where differences of the forward give 0" in report.why_not["torch"]


@pytest.mark.parametrize("skip", [Residual, ForgotTheSkip])
def test_a_kink_excuses_nobody_else(xp: Target, skip: type[Residual]) -> None:
    """Rows of zeros and a bias of zeros put a ReLU on its kink, and what is before it sees a sum of kinks."""
    rng = np.random.default_rng(7)
    hidden = mt.Affine(rng.standard_normal((2, 4)), np.zeros(4))
    model = skip(mt.Sequential(hidden, mt.ReLU(), affine(rng, 4, 2)))
    x = np.concatenate([np.zeros((2, 2)), rng.standard_normal((3, 2))])
    if skip is Residual:
        report = check_gradients(xp.put(model), xp.put(x), oracle=oracle(xp))
        assert report.ok
        assert "x" in report.kinks
        assert "not differentiable here" in str(report)
    else:
        report = failing(xp, model, x)
        assert (report.culprit, report.inner.wrong) == ("ForgotTheSkip", ("x",))
        assert "At the x given, layer f.1 (ReLU) has no derivative" in str(report)


# ----------------------------------------------------------------------------------------- oracles


class OnTheHost(mt.Layer):
    """tanh by NumPy alone, which no autograd follows."""

    def forward(self, x):
        y = np.tanh(x)
        return y, y

    def backward(self, cache, dout):
        return dout * (1.0 - cache * cache), None


class Detached(OnTheHost):
    """tanh by way of the host and back: autograd sees a constant, and does not complain."""

    def forward(self, x):
        y = mt.backend_of(x).asarray(np.tanh(mt.to_numpy(x))) + 0.0 * x
        return y, y


def test_code_for_numpy_alone_is_judged_by_differences() -> None:
    x = np.random.default_rng(8).standard_normal((2, 3))
    report = check_gradients(OnTheHost(), x)
    assert report.oracle == "differences"
    assert list(report.why_not) == ["torch", "jax"]
    assert all(report.why_not.values())
    assert "Not by torch: " in str(report)


@pytest.mark.skipif(missing("torch"), reason="torch is not installed")
def test_an_oracle_that_does_not_see_the_forward_is_not_believed() -> None:
    x = np.random.default_rng(9).standard_normal((2, 3))
    report = check_gradients(Detached(), x)
    assert report.oracle == "differences"
    assert re.match(r"it gives 0 for x\[\d, \d\], where differences of the forward give ", report.why_not["torch"])
    with pytest.raises(ValueError, match='oracle="torch" does not see all of this forward: it gives 0 for x'):
        check_gradients(Detached(), x, oracle="torch")


def run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


MISSING = """
import sys

class Missing:
    def find_spec(self, name, *_):
        if name.split(".")[0] in ("torch", "jax"):
            raise ImportError(f"no {name} here")

sys.meta_path.insert(0, Missing())
"""

SPIRAL = """
import numpy as np
import martlet as mt
x, t = mt.datasets.spiral(5)
rng = np.random.default_rng(0)
model = mt.Sequential(mt.Affine.init(2, 10, rng), mt.Sigmoid(), mt.Affine.init(10, 3, rng))
"""


def test_neither_torch_nor_jax_is_needed() -> None:
    program = (
        MISSING
        + SPIRAL
        + "report = mt.testing.check_gradients(model, x, t, loss=mt.SoftmaxWithLoss())\n"
        + "print(report.oracle, *report.why_not, max(row.error for row in report.arrays) < 1e-7)\n"
        + "print(report.why_not['torch'])\n"
    )
    first, second = run(program).splitlines()
    assert first == "differences torch jax True"
    assert second.startswith('backend="torch" cannot be imported')
    assert "pip install" in second


@pytest.mark.skipif(missing("jax"), reason="jax is not installed")
def test_jax_keeps_its_32_bits() -> None:
    program = (
        SPIRAL
        + "report = mt.testing.check_gradients(model, x, t, loss=mt.SoftmaxWithLoss(), oracle='jax')\n"
        + "import jax\n"
        + "print(jax.config.jax_enable_x64, jax.numpy.ones(1).dtype, max(r.error for r in report.arrays) < 1e-12)\n"
    )
    assert run(program) == "False float32 True"


@pytest.mark.skipif(missing("torch"), reason="torch is not installed")
def test_torch_keeps_its_modes_and_they_do_not_matter() -> None:
    import torch

    layer, x = mt.Tanh(), torch.ones((2, 3), requires_grad=True)
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            assert check_gradients(layer, x, oracle="torch").arrays[0].expected != 0.0
            assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() is torch.float32
    assert x.grad is None


def test_an_oracle_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "array_api_compat.torch", None)
    with pytest.raises(mt.BackendUnavailable, match='backend="torch" cannot be imported'):
        check_gradients(mt.Tanh(), np.ones((2, 3)), oracle="torch")


# ------------------------------------------------------------------------------- text, and mistakes


def test_the_text_of_a_report() -> None:
    """dW = x.T @ dout = 3 and db = 1 + 1 for x = (1, 2) and dout of ones; the layer says a mean."""
    layer, x = mt.Sequential(MeanBias(np.array([[0.5]]), np.array([0.0]))), np.array([[1.0], [2.0]])
    with pytest.raises(WrongGradient) as e:
        check_gradients(layer, x, dout=np.ones((2, 1)), oracle="differences")
    text = [re.sub(r"  +", "  ", line) for line in str(e.value).splitlines()]
    assert text[0] == (
        "layer 0 (MeanBias): backward is not the derivative of forward: wrong for b (by differences, in float64)"
    )
    assert text[1] == "array  shape  worst entry  expected  got  relative error"
    assert re.fullmatch(r"x  \(2, 1\)  \(\d, 0\)  0\.5  0\.5  \S+  ok", text[2])
    assert re.fullmatch(r"W  \(1, 1\)  \(0, 0\)  3  3  \S+  ok", text[3])
    assert re.fullmatch(r"b  \(1,\)  \(0,\)  2  1  5\.0e-01  WRONG", text[4])
    assert text[5:7] == ["", "What follows from it in Sequential:"]
    assert re.fullmatch(r"0\.b  \(1,\)  \(0,\)  2  1  5\.0e-01  WRONG", text[-1])


def test_a_bias_before_batch_normalization_has_no_gradient_but_rounding(xp: Target) -> None:
    rng = np.random.default_rng(10)
    norm = mt.BatchNorm(np.ones(4), np.zeros(4), np.zeros(4), np.ones(4))
    model = mt.Sequential(affine(rng, 3, 4), norm, mt.Tanh())
    report = check_gradients(xp.put(model), xp.put(rng.standard_normal((6, 3))), oracle=oracle(xp))
    row = next(row for row in report.arrays if row.name == "0.b")
    assert (row.verdict, row.note) == ("ok", "nothing but rounding")


@pytest.mark.parametrize("copied", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
def test_the_exception_survives_its_journey(copied: Callable[[WrongGradient], WrongGradient]) -> None:
    with pytest.raises(WrongGradient) as e:
        check_gradients(Silent(), np.ones((2, 3)), oracle="differences")
    there = copied(e.value)
    assert type(there) is WrongGradient
    assert str(there) == str(e.value)
    assert there.report.culprit == "Silent"


X = np.ones((2, 3))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: check_gradients(mt.Tanh, X), TypeError, "expected a layer or a loss"),
        (lambda: check_gradients(mt.Tanh(), [1.0]), TypeError, "x must be an array, got list"),
        (lambda: check_gradients(mt.Add(), (X, [1.0])), TypeError, r"x\[1\] must be an array"),
        (lambda: check_gradients(mt.Tanh(), X, X), TypeError, "t and weight go with a loss"),
        (lambda: check_gradients(mt.MeanSquaredError(), X), TypeError, "t must be an array, got NoneType"),
        (lambda: check_gradients(mt.MeanSquaredError(), X, X, loss=mt.Huber()), TypeError, "is a loss itself"),
        (lambda: check_gradients(mt.Tanh(), X, X, loss=mt.Tanh()), TypeError, "loss must be a loss, got Tanh"),
        (lambda: check_gradients(mt.Tanh(), X, oracle="sympy"), ValueError, "oracle must be one of auto, torch, jax"),
        (lambda: check_gradients(mt.Tanh(), X, rtol=-1.0), ValueError, "rtol must be finite, >= 0, got -1.0"),
        (lambda: check_gradients(mt.Tanh(), X, dout=X[0]), ValueError, r"dout has shape \(3,\), expected \(2, 3\)"),
        (lambda: check_gradients(mt.Branch(2), X, dout=X), ValueError, r"dout has shape \(2, 3\), expected \(\(2, 3\)"),
    ],
)  # fmt: skip
def test_a_call_that_cannot_be_right(call: Callable[[], Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=f"check_gradients: .*{words}"):
        call()
