"""Training: one step, one epoch, the loop."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from conftest import Target, assert_close, to_numpy

import martlet as mt


def small_problem(dtype: str = "float64") -> tuple[mt.Sequential, Any, Any]:
    rng = np.random.default_rng(5)
    model = mt.Sequential(mt.Affine.init(2, 6, rng, dtype=dtype), mt.Tanh(), mt.Affine.init(6, 3, rng, dtype=dtype))
    return model, *mt.datasets.spiral(10, dtype=dtype)


def test_gradient_is_forward_then_backward(xp: Target) -> None:
    model, x, t = map(xp.put, small_problem())
    loss = mt.SoftmaxWithLoss()
    value, grad, after = xp.run(lambda *given: mt.gradient(given[0], loss, *given[1:]), model, x, t)
    y, cache = model.forward(x)
    expected, loss_cache = loss.forward(y, t)
    assert_close(value, mt.to_numpy(expected), **xp.tolerance)
    assert_close(grad, to_numpy(model.backward(cache, loss.backward(loss_cache))[1]), **xp.tolerance)
    assert_close(after, to_numpy(model), rtol=0)
    assert grad[0].W.shape == (2, 6)


def test_a_step_is_gradient_and_update(xp: Target) -> None:
    model, x, t = map(xp.put, small_problem())
    loss, sgd = mt.SoftmaxWithLoss(), mt.SGD(lr=0.5)
    state = sgd.init(model)
    after, state_after, value = xp.run(
        lambda *given: mt.train_step(given[0], loss, sgd, *given[1:]), model, state, x, t
    )
    _, grad, _ = mt.gradient(model, loss, x, t)
    assert_close(after[2].W, mt.to_numpy(model[2].W) - 0.5 * mt.to_numpy(grad[2].W), **xp.tolerance)
    assert int(mt.to_numpy(state_after.step)) == 1
    assert value.shape == ()


@pytest.mark.parametrize("optimizer", [mt.SGD(lr=0.5), mt.Momentum(lr=0.1), mt.Adam(lr=0.01)], ids=repr)
def test_fifty_steps_have_the_losses_of_numpy(xp: Target, optimizer: mt.Optimizer) -> None:
    def losses(place: Any, compiled: Any) -> list[float]:
        model, x, t = map(place, small_problem())
        loss, state, found = mt.SoftmaxWithLoss(), optimizer.init(model), []
        step = compiled(lambda model, state, x, t: mt.train_step(model, loss, optimizer, state, x, t))
        for _ in range(50):
            model, state, value = step(model, state, x, t)
            found.append(float(mt.to_numpy(value)))
        return found

    expected = losses(lambda value: value, lambda function: function)
    assert expected[-1] < expected[0]
    tolerance = {"rtol": 1e-11} if xp.double == "float64" else {"rtol": 1e-4}
    np.testing.assert_allclose(losses(xp.put, xp.compile), expected, **tolerance)


# ------------------------------------------------------------------------------------------ batches


def test_batches_come_in_one_order_everywhere(xp: Target) -> None:
    x, t = np.arange(22.0).reshape(11, 2), np.arange(11)
    order = np.random.default_rng(3).permutation(11)
    found = list(mt.batches(xp.put(x), xp.put(t), 4, rng=np.random.default_rng(3)))
    assert [b[0].shape[0] for b in found] == [4, 4, 3]  # the short last batch
    np.testing.assert_array_equal(np.concatenate([mt.to_numpy(b[1]) for b in found]), order)
    np.testing.assert_array_equal(np.concatenate([mt.to_numpy(b[0]) for b in found]), x[order])


def test_without_a_generator_the_order_is_that_of_the_data(xp: Target) -> None:
    x, t, w = xp.put(np.arange(10.0).reshape(5, 2)), xp.put(np.arange(5)), xp.put(np.arange(5.0))
    found = list(mt.batches(x, t, 2, weight=w, last="drop"))
    assert [mt.to_numpy(b[2]).tolist() for b in found] == [[0.0, 1.0], [2.0, 3.0]]


# ---------------------------------------------------------------------------------------------- fit


def fit(model: mt.Layer, x: Any, t: Any, **changes: Any) -> tuple[mt.Layer, mt.History]:
    options = {"loss": mt.SoftmaxWithLoss(), "optimizer": mt.SGD(lr=0.5), "epochs": 3, "batch_size": 8}
    return mt.fit(model, x, t, **{**options, **changes})


@pytest.mark.eager
def test_fit_is_the_loop_written_out(xp: Target) -> None:
    model, x, t = small_problem()
    trained, history = fit(xp.put(model), x, t, seed=4)
    rng, loss, sgd = np.random.default_rng(4), mt.SoftmaxWithLoss(), mt.SGD(lr=0.5)
    state, losses = sgd.init(model), []
    for _ in range(3):
        values = []
        for batch_x, batch_t in mt.batches(x, t, 8, rng=rng):
            model, state, value = mt.train_step(model, loss, sgd, state, batch_x, batch_t)
            values.append((float(value), len(batch_t)))
        losses.append(np.average(*np.transpose(values)[:1], weights=np.transpose(values)[1]))
    assert_close(trained, model, **({"rtol": 1e-11} if xp.double == "float64" else {"rtol": 1e-3, "atol": 1e-5}))
    np.testing.assert_allclose(history.loss, losses, rtol=1e-11 if xp.double == "float64" else 1e-5)
    assert int(mt.to_numpy(history.state.step)) == 3 * 4
    assert len(history.seconds) == 3


@pytest.mark.eager
def test_fit_moves_data_and_model_to_the_backend(xp: Target) -> None:
    model, x, t = small_problem("float32")
    before = to_numpy(model)
    trained, history = fit(model, x, t, backend=xp.backend, validation=(x, t), metrics=["accuracy"])
    assert type(trained[0].W) is type(xp.asarray(x))
    assert_close(model, before, rtol=0)
    assert history.validation_metrics["accuracy"][-1] == mt.accuracy(trained, x, t) == history.metrics["accuracy"][-1]
    assert history.validation_loss[-1] == pytest.approx(mt.evaluate(trained, x, t, loss=mt.SoftmaxWithLoss())["loss"])
    expected = fit(small_problem("float32")[0], x, t)[1].loss
    np.testing.assert_allclose(history.loss, expected, rtol=1e-5)


@pytest.mark.eager
def test_training_goes_on_from_a_state(xp: Target) -> None:
    model, x, t = map(xp.put, small_problem())
    options = {"optimizer": mt.Momentum(lr=0.1), "shuffle": False}
    whole, history = fit(model, x, t, epochs=4, **options)
    half, first = fit(model, x, t, epochs=2, **options)
    rest, second = fit(half, x, t, epochs=2, state=first.state, **options)
    assert_close(rest, to_numpy(whole), rtol=0)
    assert first.loss + second.loss == history.loss


def test_a_state_with_other_numbers_is_not_used_silently() -> None:
    model, x, t = small_problem()
    _, history = fit(model, x, t)
    with pytest.raises(
        ValueError, match=r'state has lr=0\.5, but the optimizer lr=0\.1.*replace\(state, \{"lr": 0\.1\}\)'
    ):
        fit(model, x, t, optimizer=mt.SGD(lr=0.1), state=history.state)
    with pytest.raises(TypeError, match="state must come from Adam"):
        fit(model, x, t, optimizer=mt.Adam(), state=history.state)
    fit(model, x, t, optimizer=mt.SGD(lr=0.1), state=mt.replace(history.state, {"lr": 0.1}))
    with pytest.raises(ValueError, match=r'replace\(state, \{"lr": 0\.123456789\}\)'):
        fit(model, x, t, optimizer=mt.SGD(lr=0.123456789), state=history.state)
    fit(model, x, t, optimizer=mt.SGD(lr=0.123456789), state=mt.replace(history.state, {"lr": 0.123456789}))


@pytest.mark.eager
def test_weights_of_zero_leave_samples_out(xp: Target) -> None:
    model, x, t = small_problem()
    weight = (np.arange(30) < 20) * 1.0
    some, history = fit(xp.put(model), x, t, weight=weight, batch_size=30, shuffle=False)
    few, expected = fit(xp.put(model), x[:20], t[:20], batch_size=20, shuffle=False)
    assert_close(some, to_numpy(few), **({"rtol": 1e-9} if xp.double == "float64" else {"rtol": 1e-3, "atol": 1e-5}))
    np.testing.assert_allclose(history.loss, expected.loss, rtol=1e-9 if xp.double == "float64" else 1e-5)


def test_the_epochs_loss_counts_samples_or_adds_up() -> None:
    model, x, t = small_problem()
    frozen = mt.SGD(lr=0.0)
    mean, total = mt.SoftmaxWithLoss(), mt.SoftmaxWithLoss(reduction="sum")
    expected = float(mean.value(model.predict(x), t))
    assert fit(model, x, t, optimizer=frozen)[1].loss == pytest.approx([expected] * 3)
    assert fit(model, x, t, optimizer=frozen, loss=total)[1].loss == pytest.approx([30 * expected] * 3)
    weight = np.linspace(0.1, 2.0, 30)
    weighted = float(mean.value(model.predict(x), t, weight))
    assert fit(model, x, t, optimizer=frozen, weight=weight)[1].loss == pytest.approx([weighted] * 3)


def test_a_thousand_short_steps_are_all_counted() -> None:
    model, _, _ = small_problem()
    x, t = mt.datasets.spiral(400, dtype="float64")
    expected = float(mt.SoftmaxWithLoss().value(model.predict(x), t))
    assert fit(model, x, t, optimizer=mt.SGD(lr=0.0), batch_size=1, epochs=1)[1].loss == pytest.approx([expected])


def test_one_seed_one_curve_and_the_global_stream_is_not_touched() -> None:
    model, x, t = small_problem()
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    curves = [fit(model, x, t, seed=seed)[1].loss for seed in (7, 7, 8)]
    assert curves[0] == curves[1] != curves[2]
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_metrics_of_ones_own() -> None:
    model, x, t = small_problem()
    _, history = fit(model, x, t, metrics={"samples": lambda y, t: len(t), "accuracy": lambda y, t: 0.5})
    assert history.metrics == {"samples": [30.0] * 3, "accuracy": [0.5] * 3}


@pytest.mark.eager
def test_a_metric_cannot_write_into_the_data(xp: Target) -> None:
    model, x, t = map(xp.put, small_problem())

    def careless(y: Any, t: Any) -> float:
        t[0] = 7
        return 0.0

    with pytest.raises(ValueError, match="read-only"):
        mt.evaluate(model, x, t, metrics={"careless": careless})
    assert mt.to_numpy(t)[0] == 0


@pytest.mark.eager
def test_big_endian_data_is_trained_on_like_any_other(xp: Target) -> None:
    model, x, t = small_problem("float32")
    _, history = fit(xp.put(model, "float32"), x.astype(">f4"), t.astype(">i8"))
    assert history.loss == fit(xp.put(model, "float32"), x, t)[1].loss


def test_torch_records_no_gradients_of_its_own() -> None:
    torch = pytest.importorskip("torch")
    model, x, t = small_problem()
    model = mt.rebuild(model, [torch.tensor(a, requires_grad=True) for a in mt.leaves(model)])
    data = torch.tensor(x, requires_grad=True)
    trained, history = fit(model, data, t, validation=(data, t), metrics=["accuracy"], optimizer=mt.Momentum())
    arrays = mt.leaves(trained) + mt.leaves(history.state)
    assert not any(a.requires_grad for a in arrays)
    assert all(a.requires_grad for a in [*mt.leaves(model), data])  # what was given stays as it was
    assert mt.evaluate(model, data, t, metrics=["accuracy"])["accuracy"] == mt.accuracy(model, x, t)


def test_a_state_goes_to_the_models_width() -> None:
    model, x, t = small_problem("float32")
    half, history = fit(model, x, t, optimizer=mt.Momentum())
    trained, again = fit(half.to(dtype="float64"), x, t, optimizer=mt.Momentum(), state=history.state)
    assert {a.dtype for a in mt.leaves(trained)} == {a.dtype for a in mt.leaves(again.state.v)} == {np.dtype("float64")}


def test_no_epochs_give_back_a_copy() -> None:
    model, x, t = small_problem()
    same, history = fit(model, x, t, epochs=0)
    assert_close(same, model, rtol=0)
    assert history.loss == []
    assert same[0].W is not model[0].W


def test_a_bar_shows_progress(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tqdm")
    model, x, t = small_problem()
    _, history = fit(model, x, t, progress=True)
    shown = capsys.readouterr().err
    assert "12/12" in shown
    assert f"loss={history.loss[-1]:.4g}" in shown
    fit(model, x, t)
    assert capsys.readouterr().err == ""  # nobody is watching
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ImportError, match=r"martlet\[progress\]"):
        fit(model, x, t, progress=True)
    fit(model, x, t)


# ----------------------------------------------------------------------------------------- accuracy


@pytest.mark.eager
def test_accuracy_counts_the_right_answers(xp: Target) -> None:
    y = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    model = xp.put(mt.MatMul(np.eye(2)))
    assert mt.accuracy(model, y, np.array([1, 0, 0, 0])) == 0.75
    assert mt.accuracy(model, y, np.eye(2)[[1, 0, 0, 1]]) == 0.5
    one = xp.put(mt.MatMul(np.array([[-1.0], [1.0]])))
    assert mt.accuracy(one, y, np.array([[1.0], [0.0], [0.0], [0.0]])) == 0.75
    with pytest.raises(ValueError, match=r"accuracy: t has shape \(4,\), expected \(4, 1\)"):
        mt.accuracy(one, y, np.array([1, 0, 0, 0]))


@pytest.mark.eager
def test_a_sigmoid_divides_two_classes_at_a_half(xp: Target) -> None:
    """The lessons' XOR ends with a Sigmoid, whose outputs are all above zero."""
    x, t = np.array([[-2.0], [-1.0], [1.0], [2.0]]), np.array([[0.0], [0.0], [0.0], [1.0]])
    end = mt.Sequential(mt.Identity(), mt.Sequential(mt.MatMul(np.array([[1.0]])), mt.Freeze(mt.Sigmoid())))
    model = xp.put(end)
    assert mt.accuracy(model, x, t) == 0.75
    logits = xp.put(mt.Sequential(mt.Sigmoid(), mt.MatMul(np.array([[1.0]])), mt.Identity()))
    assert mt.accuracy(logits, x, t) == 0.25  # all above zero
    flat = mt.Sequential(*model, mt.Reshape(()), mt.Identity())  # (N, 1) as (N,)
    assert mt.accuracy(flat, x, t[:, 0]) == 0.75
    loss, sgd = mt.MeanSquaredError(), mt.SGD(lr=0.0)
    _, history = mt.fit(model, x, t, loss=loss, optimizer=sgd, epochs=1, metrics=["accuracy"], validation=(x, t))
    assert history.metrics == history.validation_metrics == {"accuracy": [0.75]}


@pytest.mark.parametrize("which", ["t", "validation"])
def test_targets_are_looked_at_to_the_last_row(which: str) -> None:
    """Before the first step, and not after the first epoch."""
    rng = np.random.default_rng(0)
    x, rows = rng.standard_normal((9, 2)), np.eye(3)[rng.integers(0, 3, 9)]
    several = np.concatenate([rows[:-1], [[1.0, 1.0, 0.0]]])
    t, held_out = (several, rows) if which == "t" else (rows, several)
    settings = {"loss": mt.MeanSquaredError(), "optimizer": mt.SGD(), "epochs": 2, "batch_size": 4}
    model = mt.MatMul(rng.standard_normal((2, 3)))
    mt.fit(model, x, t, validation=(x, held_out), **settings)
    steps: list[Any] = []

    class Noting(mt.Identity):
        def backward(self, cache, dout):
            steps.append(dout)
            return dout, None

    with pytest.raises(ValueError, match=r"accuracy: each row of t must add up to 1"):
        mt.fit(mt.Sequential(Noting(), model), x, t, validation=(x, held_out), metrics=["accuracy"], **settings)
    assert steps == []


class Counting(mt.Layer):
    """y = x, noting how many samples came together."""

    seen: list[int]

    def forward(self, x: Any) -> tuple[Any, Any]:
        self.seen.append(x.shape[0])
        return x, None

    def backward(self, cache: Any, dout: Any) -> tuple[Any, Any]:
        return dout, None


@pytest.mark.eager
def test_what_is_measured_is_computed_some_thousand_samples_at_a_time(xp: Target) -> None:
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((20_001, 2)), rng.integers(0, 3, 20_001)
    affine = xp.put(mt.Affine.init(2, 3, rng, dtype="float64"))
    model, loss = mt.Sequential(affine, Counting([])), xp.put(mt.SoftmaxWithLoss())
    y = to_numpy(affine.predict(xp.put(x)))
    found = mt.evaluate(model, x, t, loss=loss, metrics=["accuracy"])
    assert model[1].seen == [8192, 8192, 3617]
    assert found["loss"] == pytest.approx(float(mt.SoftmaxWithLoss().value(y, t)), rel=xp.tolerance["rtol"])
    assert found["accuracy"] == pytest.approx(np.mean(np.argmax(y, axis=1) == t), abs=1e-3)
    settings = {"loss": loss, "optimizer": mt.SGD(), "epochs": 1, "batch_size": 10_000, "metrics": ["accuracy"]}
    model[1].seen.clear()
    mt.fit(model, x, t, validation=(x, t), **settings)
    assert max(model[1].seen) == 10_000
