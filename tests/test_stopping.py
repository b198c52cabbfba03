"""A run that ends before its last epoch: early, by a hook, or at a NaN; and what it leaves to go on from.

A step is a pure function, so every claim about a run can be proved by taking its steps again by hand.
"""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from cases import Centred, Residual, affine, batch_norm
from conftest import Target, assert_close, to_numpy

import martlet as mt

EXACT = {"rtol": 0.0, "atol": 0.0}
pytestmark = pytest.mark.eager


def labelled(samples: int = 24, dtype: str = "float64") -> tuple[np.ndarray, np.ndarray]:
    """Three classes that overlap, so that a network learns the training data by heart."""
    rng = np.random.default_rng(3)
    t = rng.integers(0, 3, samples)
    return (rng.standard_normal((samples, 3)) + 0.7 * np.eye(3)[t]).astype(dtype), t


def network() -> mt.Sequential:
    """With noise, statistics and a kept array: everything that a run carries from step to step."""
    rng = np.random.default_rng(8)
    return mt.Sequential(
        Centred(rng.standard_normal(3)),
        affine(rng, 3, 8),
        batch_norm(rng, 8),
        mt.Tanh(),
        mt.Dropout.init(0.2, rng),
        affine(rng, 8, 3),
    )


def plain() -> mt.Sequential:
    rng = np.random.default_rng(8)
    return mt.Sequential(affine(rng, 3, 8), mt.Tanh(), affine(rng, 8, 3))


def fit(model: mt.Layer, x: Any, t: Any, **changes: Any) -> tuple[Any, mt.History]:
    options = {"loss": mt.SoftmaxWithLoss(), "optimizer": mt.Adam(lr=0.05), "epochs": 3, "batch_size": 8}
    return mt.fit(model, x, t, **{**options, **changes})


def by_hand(
    model: Any, x: Any, t: Any, epochs: int, optimizer: mt.Optimizer, loss: mt.Loss | None = None
) -> Iterator[tuple[int, int, Any, Any, float, Any, Any]]:
    """The steps of an unshuffled run: epoch, step, model and state before it, the loss, model and state after it."""
    loss, state = loss or mt.SoftmaxWithLoss(), optimizer.init(model)
    for epoch in range(1, epochs + 1):
        for step, batch in enumerate(mt.batches(x, t, 8), start=1):
            before = model, state
            model, state, value = mt.train_step(model, loss, optimizer, state, *batch)
            yield epoch, step, *before, float(mt.to_numpy(value)), model, state


def is_finite(tree: Any) -> bool:
    return all(np.isfinite(mt.to_numpy(a)).all() for a in mt.leaves(tree))


def tolerance(xp: Target, rtol: float = 1e-12) -> dict[str, float]:
    return {"rtol": rtol, "atol": rtol} if xp.double == "float64" else {"rtol": 1e-4, "atol": 1e-5}


# ---------------------------------------------------------------------------------- the best epoch


def test_the_model_that_is_given_back_has_the_lowest_validation_loss(xp: Target) -> None:
    model, (x, t), held_out = xp.put(network()), xp.put(labelled()), xp.put(labelled(40))
    stop = mt.EarlyStopping(patience=3)
    best, history = fit(model, x, t, epochs=40, validation=held_out, stop=stop, optimizer=mt.Adam(lr=0.2))
    assert len(history.validation_loss) < 40  # it did stop
    lowest = min(history.validation_loss)
    assert mt.evaluate(best, *held_out, loss=mt.SoftmaxWithLoss())["loss"] == lowest
    assert history.best_epoch == history.validation_loss.index(lowest) + 1 == len(history.loss) - 3
    assert history.stopped == f"loss was best after epoch {history.best_epoch}, and not better in 3 epochs since"
    assert lowest < history.validation_loss[-1]


def test_the_run_goes_on_from_the_best_epoch_as_if_it_had_ended_there(xp: Target) -> None:
    """The state that is given back is that of the best model, with its noise, statistics, moments and schedule."""
    optimizer = mt.Adam(
        lr=0.2,
        amsgrad=True,
        schedule=mt.schedules.Cosine(steps=200, warmup=4),
        transforms=(mt.L2(decay=0.001), mt.ClipByNorm(limit=5.0)),
    )
    model, (x, t), held_out = xp.put(network()), xp.put(labelled()), xp.put(labelled(40))
    options = {"optimizer": optimizer, "shuffle": False, "compile": False}  # so that all digits are those of by_hand
    stop = mt.EarlyStopping(patience=3)
    best, history = fit(model, x, t, epochs=40, validation=held_out, stop=stop, **options)
    assert history.best_epoch is not None
    assert 1 < history.best_epoch < len(history.loss)
    rest, more = fit(best, x, t, epochs=2, state=history.state, **options)

    steps = list(by_hand(model, x, t, history.best_epoch + 2, optimizer))
    (_, _, _, _, _, then, state_then), *later = [s for s in steps if s[0] >= history.best_epoch][2:]
    assert_close(best, to_numpy(then), **EXACT)
    assert_close(history.state, to_numpy(state_then), **EXACT)
    assert len(later) == 6
    assert_close(rest, to_numpy(later[-1][5]), **EXACT)
    assert_close(more.state, to_numpy(later[-1][6]), **EXACT)
    np.testing.assert_allclose(more.loss, [np.mean([s[4] for s in later[i : i + 3]]) for i in (0, 3)], rtol=1e-6)


def scripted(scores: list[float]) -> dict[str, Callable[..., float]]:
    """A metric that gives these numbers, one per epoch."""
    source = iter(scores)
    return {"score": lambda y, t: next(source)}


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("best", "scores", "patience", "least", "epochs", "best_epoch"),
    [
        ("lowest", [3, 2, 1, 2, 1, 0, 0], 2, 0.0, 5, 3),  # as good as the best is not better
        ("lowest", [3, 2, 1, 2, 1, 0, 0], 3, 0.0, 7, 6),
        ("highest", [3, 2, 1, 2, 1, 0, 0], 2, 0.0, 3, 1),
        ("highest", [1, 2, 2, 3, 3, 3, 3], 2, 0.0, 6, 4),
        ("lowest", [4, 3, 2, 1], 1, 0.0, 4, 4),  # patience 1 bears no epoch that is not better
        ("lowest", [1, 1, 0, 0], 1, 0.0, 2, 1),
        ("lowest", [4, 3.6, 3.2, 2.8, 2.4], 3, 0.75, 5, 5),  # small steps add up: 3.2, then 2.4
        ("lowest", [4, 3.5, 3.25, 3], 2, 1.0, 3, 1),  # the improvement must be larger than least
        ("lowest", [4, 3], 1, 1.0, 2, 1),
        ("highest", [0.5, 0.75, 1.25, 1.25], 3, 0.5, 4, 3),
        ("lowest", [NAN, 5, 6, NAN, 4], 3, 0.0, 5, 5),  # nothing is worse than NaN, first or later
        ("highest", [NAN, -5, NAN, -4, NAN], 2, 0.0, 5, 4),
        ("lowest", [2, NAN, NAN, 1], 2, 0.0, 3, 1),
        ("highest", [NAN, -INF, 1, INF, 1], 2, 0.0, 5, 4),
        ("lowest", [INF, 2, INF, INF, 1], 2, 0.0, 4, 2),
    ],
)
def test_patience_is_counted_from_the_best_epoch(
    best: str, scores: list[float], patience: int, least: float, epochs: int, best_epoch: int
) -> None:
    stop = mt.EarlyStopping(patience=patience, watch="score", best=best, least=least)
    models: list[mt.Layer] = []
    found, history = fit(
        plain(), *labelled(), epochs=len(scores), stop=stop, metrics=scripted(scores), optimizer=mt.SGD(lr=0.1)
    )
    again = fit(
        plain(), *labelled(), epochs=len(scores), optimizer=mt.SGD(lr=0.1), hook=lambda e, m, h: models.append(m)
    )[1]
    assert len(history.loss) == epochs
    assert history.best_epoch == best_epoch
    assert history.loss == again.loss[:epochs]
    assert_close(found, models[best_epoch - 1], **EXACT)
    assert int(history.state.step) == 3 * best_epoch
    waited = epochs - best_epoch
    if waited == patience:
        assert history.stopped == f"score was best after epoch {best_epoch}, and not better in {waited} epochs since"
    else:
        assert history.stopped == ""


def test_without_validation_the_training_data_is_watched(xp: Target) -> None:
    model, (x, t) = xp.put(plain()), xp.put(labelled())
    _, history = fit(model, x, t, epochs=30, stop=mt.EarlyStopping(patience=2), optimizer=mt.SGD(lr=8.0))
    assert history.best_epoch == int(np.argmin(history.loss)) + 1 == len(history.loss) - 2
    accuracy = mt.EarlyStopping(patience=2, watch="accuracy")
    best, history = fit(model, x, t, epochs=30, stop=accuracy, metrics=["accuracy"], optimizer=mt.SGD(lr=2.0))
    highest = max(history.metrics["accuracy"])
    assert history.best_epoch == history.metrics["accuracy"].index(highest) + 1
    assert mt.accuracy(best, x, t) == highest


def test_with_validation_the_metric_of_the_validation_data_is_watched(xp: Target) -> None:
    model, (x, t), held_out = xp.put(plain()), xp.put(labelled()), xp.put(labelled(40))
    stop = mt.EarlyStopping(patience=4, watch="accuracy")
    best, history = fit(
        model, x, t, epochs=30, stop=stop, metrics=["accuracy"], validation=held_out, optimizer=mt.SGD(lr=2.0)
    )
    highest = max(history.validation_metrics["accuracy"])
    assert history.best_epoch == history.validation_metrics["accuracy"].index(highest) + 1
    assert history.best_epoch != int(np.argmax(history.metrics["accuracy"])) + 1
    assert mt.accuracy(best, *held_out) == highest


def test_a_run_to_its_last_epoch_gives_back_the_best_model_too() -> None:
    scores = [3.0, 1.0, 2.0]
    stop = mt.EarlyStopping(watch="score", best="lowest")
    found, history = fit(plain(), *labelled(), stop=stop, metrics=scripted(scores))
    short = fit(plain(), *labelled(), epochs=2)[0]
    assert (history.best_epoch, history.stopped, history.metrics["score"]) == (2, "", scores)
    assert_close(found, short, **EXACT)


def test_without_a_stop_the_last_model_is_given_back() -> None:
    found, history = fit(plain(), *labelled(), metrics=scripted([1.0, 2.0, 3.0]))
    assert history.best_epoch is None
    assert history.stopped == ""
    assert history.metrics["score"] == [1.0, 2.0, 3.0]
    assert int(history.state.step) == 9
    assert not np.array_equal(found[0].W, fit(plain(), *labelled(), epochs=2)[0][0].W)


# ---------------------------------------------------------------------------------------- the hook


def overwrite(tree: Any) -> int:
    """Write zeros into every array that can be written to, and count them."""
    written = 0
    for array in mt.leaves(tree):
        try:
            array[...] = 0
        except (TypeError, ValueError):  # JAX's arrays never can be
            continue
        written += 1
    return written


def test_a_hook_is_given_copies(xp: Target) -> None:
    model, (x, t), held_out = xp.put(network()), xp.put(labelled()), xp.put(labelled(40))
    options = {"validation": held_out, "metrics": ["accuracy"], "stop": mt.EarlyStopping(patience=9)}
    written = []

    def vandal(epoch: int, model: Any, history: mt.History) -> None:
        written.append(overwrite(model) + overwrite(history.state))
        for curve in (history.loss, history.validation_loss, history.seconds, *history.metrics.values()):
            curve.clear()
        history.metrics.clear()
        history.validation_metrics["accuracy"][:] = [0.0]
        history.stopped, history.state, history.best_epoch = "sabotage", None, 17

    left_alone, expected = fit(model, x, t, **options)
    found, history = fit(model, x, t, hook=vandal, **options)
    assert written[0] > 0 or xp.name == "jax"
    assert len(written) == 3
    assert_close(found, to_numpy(left_alone), **EXACT)
    assert_close(history.state, to_numpy(expected.state), **EXACT)
    for name in ("loss", "validation_loss", "metrics", "validation_metrics", "best_epoch", "stopped"):
        assert getattr(history, name) == getattr(expected, name)
    assert len(history.seconds) == 3


def test_a_hook_sees_each_epoch_as_it_was(xp: Target) -> None:
    model, (x, t) = xp.put(network()), xp.put(labelled())
    seen: list[tuple[int, Any, mt.History]] = []
    final, history = fit(model, x, t, shuffle=False, hook=lambda *given: seen.append(given))
    assert [epoch for epoch, _, _ in seen] == [1, 2, 3]
    ends = [s for s in by_hand(model, x, t, 3, mt.Adam(lr=0.05)) if s[1] == 3]
    for (epoch, then, past), (_, _, _, _, _, after, state_after) in zip(seen, ends, strict=True):
        assert_close(then, to_numpy(after), **EXACT)
        assert_close(past.state, to_numpy(state_after), **EXACT)
        assert past.loss == history.loss[:epoch]
    assert_close(final, to_numpy(seen[-1][1]), **EXACT)


@pytest.mark.parametrize("truth", [bool, np.bool_])
def test_a_hook_ends_the_run_with_true(xp: Target, truth: Any) -> None:
    """Python's, or that of a comparison of NumPy's numbers."""
    model, (x, t) = xp.put(network()), xp.put(labelled())
    found, history = fit(model, x, t, epochs=9, hook=lambda epoch, *_: truth(epoch == 2))
    expected, short = fit(model, x, t, epochs=2)
    assert history.stopped == "the hook ended the run after epoch 2"
    assert history.loss == short.loss
    assert_close(found, to_numpy(expected), **EXACT)
    assert_close(history.state, to_numpy(short.state), **EXACT)


def test_when_a_hook_ends_the_run_the_best_model_is_given_back() -> None:
    options = {"epochs": 9, "stop": mt.EarlyStopping(watch="score", best="highest")}
    found, history = fit(
        plain(), *labelled(), metrics=scripted([1, 3, 2]), hook=lambda epoch, *_: epoch == 3, **options
    )
    assert history.stopped == "the hook ended the run after epoch 3"
    assert history.best_epoch == 2
    assert_close(found, fit(plain(), *labelled(), epochs=2)[0], **EXACT)


@pytest.mark.parametrize("error", [KeyError("mine"), StopIteration(), KeyboardInterrupt()], ids=repr)
def test_what_a_hook_raises_comes_out_as_it_is(error: BaseException) -> None:
    def angry(epoch: int, model: Any, history: mt.History) -> None:
        if epoch == 2:
            raise error

    with pytest.raises(type(error)) as caught:
        fit(plain(), *labelled(), hook=angry)
    assert caught.value is error


# ----------------------------------------------------------------------------- where a NaN came from


class Fuse(mt.Layer):
    """y = x, until so many batches have been observed: then NaN, in forward or in backward."""

    seen: mt.Array = mt.kept()
    batches: int = 5
    burns_forward: bool = True

    def burn(self, seen: Any, x: Any) -> Any:
        xp = mt.namespace(x)
        return xp.where(seen >= self.batches, xp.nan, x)

    def forward(self, x):
        return (self.burn(self.seen, x) if self.burns_forward else x), self.seen

    def backward(self, cache, dout):
        return (dout if self.burns_forward else self.burn(cache, dout)), None

    def observe(self, cache):
        return mt.replace(self, {"seen": self.seen + 1})


def fuse(batches: int, forward: bool = True) -> Fuse:
    return Fuse(np.zeros((1,), dtype="int32"), batches, forward)


def assert_from_before(
    xp: Target, error: mt.NotFinite, model: Any, x: Any, t: Any, optimizer: mt.Optimizer, loss: mt.Loss | None = None
) -> None:
    """The error names the first bad step of the run by hand, and holds what was there before it."""
    steps = by_hand(model, x, t, error.epoch + 1, optimizer, loss=loss)
    epoch, step, before, state, *_ = next(s for s in steps if not (math.isfinite(s[4]) and is_finite(s[5])))
    assert (error.epoch, error.step) == (epoch, step)
    assert_close(error.model, to_numpy(before), **EXACT)
    assert_close(error.history.state, to_numpy(state), **EXACT)
    assert is_finite(error.model)
    assert is_finite(error.history.state)
    assert len(error.history.loss) == epoch - 1
    assert all(map(math.isfinite, error.history.loss))


def with_a_fuse(forward: bool) -> mt.Sequential:
    """The network, whose fuse burns through at the 6th of 3 steps per epoch, deep inside."""
    inner = mt.Sequential(fuse(5, forward), mt.Identity())
    return mt.Sequential(*network()[:-1], mt.Branch(2), mt.Parallel(inner, mt.Identity()), mt.Add(), network()[-1])


@pytest.mark.parametrize(
    ("forward", "verb"), [(True, "its output"), (False, "its gradient")], ids=["forward", "backward"]
)
def test_a_layer_that_gives_nan_is_found(xp: Target, forward: bool, verb: str) -> None:
    model, (x, t), adam = xp.put(with_a_fuse(forward)), xp.put(labelled()), mt.Adam(lr=0.05)
    with pytest.raises(mt.NotFinite, match=rf"fit: not finite at epoch 2, step 3, layer 6\.0\.0 \(Fuse\): {verb}") as e:
        fit(model, x, t, shuffle=False)
    assert (e.value.epoch, e.value.step, e.value.layer) == (2, 3, "layer 6.0.0 (Fuse)")
    assert_from_before(xp, e.value, model, x, t, adam)


def test_a_single_layer_is_a_model_too(xp: Target) -> None:
    class Burning(mt.MatMul):
        """y = x @ W, and a gradient that is NaN from the beginning."""

        def backward(self, cache, dout):
            return dout, self.gradient(W=mt.namespace(dout).full_like(self.W, mt.namespace(dout).nan))

    model, (x, t) = xp.put(Burning(np.eye(3))), xp.put(labelled())
    with pytest.raises(mt.NotFinite, match=r"epoch 1, step 1, the model \(Burning\): its gradient") as e:
        fit(model, x, t, shuffle=False)
    assert_from_before(xp, e.value, model, x, t, mt.Adam(lr=0.05))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_last_step_of_a_run_is_looked_at_too(xp: Target) -> None:
    """Its loss is finite, and no later one would tell that its update was not."""
    x, t = xp.put(labelled(8), "float32")
    model = xp.put(mt.Sequential(affine(np.random.default_rng(0), 3, 3)), "float32")
    with pytest.raises(mt.NotFinite, match=r"epoch 1, step 1, layer 0 \(Affine\): the update makes 0\.W"):
        fit(model, 10.0 * x, t, epochs=1, optimizer=mt.SGD(lr=3e38))


def test_a_layer_in_a_field_is_named_by_its_field(xp: Target) -> None:
    x, t = xp.put(labelled())
    model = xp.put(mt.Sequential(mt.Freeze(fuse(1)), Residual(mt.Sequential(affine(np.random.default_rng(0), 3, 3)))))
    with pytest.raises(mt.NotFinite, match=r"epoch 1, step 2, layer 0\.layer \(Fuse\)"):
        fit(model, x, t, loss=mt.SoftmaxWithLoss(reduction="sum"))
    model = xp.put(mt.Sequential(Residual(mt.Sequential(affine(np.random.default_rng(0), 3, 3), fuse(0, False)))))
    with pytest.raises(mt.NotFinite, match=r"epoch 1, step 1, layer 0\.f\.1 \(Fuse\): its gradient"):
        fit(model, x, t)


@pytest.mark.parametrize("batches", [999, 1080])
def test_more_steps_than_are_read_at_a_time(xp: Target, batches: int) -> None:
    """Losses are read a thousand at a time; the step is still the right one, at that reading and after it."""
    if batches == 999 and xp.backend.name != "numpy":
        pytest.skip("a thousand steps are taken again: once is enough")
    rng = np.random.default_rng(0)
    model = xp.put(mt.Sequential(affine(rng, 1, 1), fuse(batches)))
    x = xp.put(rng.standard_normal((1100, 1)))
    options = {"loss": mt.MeanSquaredError(), "optimizer": mt.SGD(lr=0.01), "batch_size": 1, "shuffle": False}
    with pytest.raises(mt.NotFinite, match=rf"epoch 1, step {batches + 1}, layer 1 \(Fuse\)") as e:
        fit(model, x, 2.0 * x, **options)
    assert e.value.history.loss == []
    short, history = fit(model, x[:batches, ...], 2.0 * x[:batches, ...], **{**options, "epochs": 1})
    assert_close(e.value.model, to_numpy(short), **EXACT)
    assert_close(e.value.history.state, to_numpy(history.state), **EXACT)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy says that it overflows
@pytest.mark.parametrize("optimizer", [mt.SGD(lr=20.0), mt.Momentum(lr=5.0), mt.Nesterov(lr=5.0)], ids=repr)
def test_a_run_that_diverges_is_given_back_from_before_it_did(xp: Target, optimizer: mt.Optimizer) -> None:
    """Each step makes the weights larger by a factor, until a loss overflows: in float32 after a dozen of them."""
    rng = np.random.default_rng(4)
    model = xp.put(mt.Sequential(Centred(np.zeros(3)), affine(rng, 3, 2)), "float32")
    x, t = xp.put(rng.standard_normal((24, 3)), "float32"), xp.put(rng.standard_normal((24, 2)), "float32")
    options = {"loss": mt.MeanSquaredError(), "optimizer": optimizer, "shuffle": False}
    with pytest.raises(mt.NotFinite, match=r"the loss: it is inf, though the output is finite|layer 1 \(Affine\)") as e:
        fit(model, x, t, epochs=100, **options)
    assert e.value.epoch > 1
    assert_from_before(xp, e.value, model, x, t, optimizer, mt.MeanSquaredError())


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_step_that_is_too_long_names_the_weight(xp: Target) -> None:
    """And from what is given back one can go on, with shorter steps."""
    rng = np.random.default_rng(4)
    model = xp.put(mt.Sequential(mt.Identity(), affine(rng, 3, 2)), "float32")
    x, t = xp.put(10.0 * rng.standard_normal((24, 3)), "float32"), xp.put(rng.standard_normal((24, 2)), "float32")
    options = {"loss": mt.MeanSquaredError(), "shuffle": False}
    huge, small = mt.SGD(lr=3e38), mt.SGD(lr=1e-4)
    with pytest.raises(mt.NotFinite, match=r"epoch 1, step 1, layer 1 \(Affine\): the update makes 1\.W infinite") as e:
        fit(model, x, t, optimizer=huge, **options)
    assert_from_before(xp, e.value, model, x, t, huge, mt.MeanSquaredError())
    state = mt.replace(e.value.history.state, {"lr": 1e-4})
    found, history = fit(e.value.model, x, t, optimizer=small, state=state, **options)
    assert_close(found, to_numpy(fit(model, x, t, optimizer=small, **options)[0]), **EXACT)
    assert history.loss[-1] < history.loss[0]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy says what it does with infinity
@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_nan_in_the_data_is_named(xp: Target, number: float) -> None:
    (x, t), model = labelled(), xp.put(plain())
    x[17, 1] = number
    with pytest.raises(mt.NotFinite, match=r"fit: not finite at epoch 1, step 3, the data: x holds NaN") as e:
        fit(model, xp.put(x), xp.put(t), shuffle=False)
    assert e.value.layer == "the data"
    good = xp.put(x[:16]), xp.put(t[:16])
    assert_close(e.value.model, to_numpy(fit(model, *good, epochs=1, shuffle=False)[0]), **EXACT)
    order = np.random.default_rng(6).permutation(24)  # shuffled, it comes where the generator puts it
    step = int(np.flatnonzero(order == 17)[0]) // 8 + 1
    with pytest.raises(mt.NotFinite, match=rf"epoch 1, step {step}, the data"):
        fit(model, xp.put(x), xp.put(t), seed=6)


def test_nothing_that_was_passed_in_changes_when_a_run_fails(xp: Target) -> None:
    given = model, (x, t) = xp.put(with_a_fuse(True)), xp.put(labelled())
    state = mt.Adam(lr=0.05).init(model)
    before = to_numpy((*given, state))
    with pytest.raises(mt.NotFinite) as e:
        fit(model, x, t, state=state)
    overwrite(e.value.model)
    overwrite(e.value.history.state)
    assert_close((*given, state), before, **EXACT)


def test_a_long_way_down_is_no_nan(xp: Target) -> None:
    """Losses that are large, and a frozen layer, are nothing to complain about."""
    model, (x, t) = (
        xp.put(mt.Sequential(mt.Freeze(plain()), affine(np.random.default_rng(0), 3, 3))),
        xp.put(labelled()),
    )
    _, history = fit(model, 1e6 * x, t, loss=mt.SoftmaxWithLoss(reduction="sum"), optimizer=mt.SGD(lr=0.0))
    assert len(history.loss) == 3


# -------------------------------------------------------------------------------------- warm starts


def test_two_runs_of_five_epochs_are_one_of_ten(xp: Target) -> None:
    """With one generator and the state handed on: the order, the noise, the moments and the schedule go on."""
    model, (x, t), held_out = xp.put(network()), xp.put(labelled()), xp.put(labelled(40))
    optimizer = mt.AdamW(
        lr=0.05, schedule=mt.schedules.Step(every=7, ratio=0.5), transforms=(mt.ClipByValue(limit=0.5),)
    )
    options = {"optimizer": optimizer, "validation": held_out, "metrics": ["accuracy"], "last": "drop", "batch_size": 7}
    whole, expected = fit(model, x, t, epochs=10, seed=np.random.default_rng(9), **options)
    rng = np.random.default_rng(9)
    half, first = fit(model, x, t, epochs=5, seed=rng, **options)
    found, second = fit(half, x, t, epochs=5, seed=rng, state=first.state, **options)
    assert_close(found, to_numpy(whole), **EXACT)
    assert_close(second.state, to_numpy(expected.state), **EXACT)
    assert first.loss + second.loss == expected.loss
    assert first.validation_loss + second.validation_loss == expected.validation_loss
    assert first.metrics["accuracy"] + second.metrics["accuracy"] == expected.metrics["accuracy"]


# -------------------------------------------------------------------------------- weights of samples


@pytest.mark.parametrize(
    "loss",
    [
        mt.SoftmaxWithLoss(),
        mt.SoftmaxWithLoss(reduction="sum", label_smoothing=0.1),
        mt.SoftmaxWithLoss(class_weight=np.array([0.5, 2.0, 1.25])),
    ],
    ids=["mean", "sum, smoothed", "class weights"],
)
def test_a_weight_of_three_is_a_sample_that_comes_three_times(xp: Target, loss: mt.Loss) -> None:
    """The validation data's weights too.  (Not with BatchNorm, which sees rows and no weights.)"""
    (x, t), (vx, vt) = labelled(), labelled(40)
    rng = np.random.default_rng(1)
    w, vw = rng.integers(0, 4, 24), rng.integers(0, 4, 40)
    options = {"loss": loss, "optimizer": mt.Momentum(lr=0.02), "shuffle": False, "epochs": 4}
    found, history = fit(
        xp.put(plain()), x, t, weight=w, batch_size=24, validation=(vx, vt, vw.astype("float32")), **options
    )
    repeated = np.repeat(vx, vw, axis=0), np.repeat(vt, vw)
    expected, plain_history = fit(
        xp.put(plain()), np.repeat(x, w, axis=0), np.repeat(t, w), batch_size=w.sum(), validation=repeated, **options
    )
    assert_close(found, to_numpy(expected), **tolerance(xp))
    for name in ("loss", "validation_loss"):
        np.testing.assert_allclose(getattr(history, name), getattr(plain_history, name), **tolerance(xp))
    assert history.loss[-1] < history.loss[0]


def test_a_validation_weight_is_that_of_evaluate(xp: Target) -> None:
    (x, t), weight = labelled(), np.linspace(0.0, 2.0, 24)
    model, history = fit(xp.put(plain()), x, t, validation=(x, t, weight), metrics=["accuracy"])
    loss = mt.SoftmaxWithLoss(reduction="none")
    losses = mt.to_numpy(loss.value(model.predict(xp.put(x)), xp.put(t)))
    np.testing.assert_allclose(history.validation_loss[-1], np.average(losses, weights=weight), **tolerance(xp))
    assert history.validation_loss[-1] == mt.evaluate(model, x, t, loss=mt.SoftmaxWithLoss(), weight=weight)["loss"]
    assert history.validation_metrics["accuracy"][-1] == mt.accuracy(model, x, t)  # weights weigh no metric


# --------------------------------------------------------------------- words, noise and statistics


class Witness(mt.Layer):
    """The inner layer, and a list in which it notes what comes to it."""

    layer: mt.Layer
    seen: list[str]

    def forward(self, x):
        self.seen.append(str(x.dtype))
        return self.layer.forward(x)

    def backward(self, cache, dout):
        dx, grad = self.layer.backward(cache, dout)
        return dx, self.gradient(layer=grad)


def sentences() -> tuple[np.ndarray, np.ndarray]:
    """Sentences of three words out of 250, and the class of each, which one of its words decides."""
    rng = np.random.default_rng(2)
    words = rng.integers(0, 250, (30, 3))
    words[:2] = [[0, 249, 128], [127, 255 - 6, 200]]
    return words, words[:, 0] % 3


def reader(dtype: str = "float64") -> mt.Sequential:
    rng = np.random.default_rng(7)
    return mt.Sequential(mt.Embedding.init(250, 4, rng, dtype=dtype), mt.Flatten(), affine(rng, 12, 3).to(dtype=dtype))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "int64"])
def test_words_stay_integers(xp: Target, dtype: str) -> None:
    """Also those of a byte beyond 127; and the dtype they come in, and where from, changes nothing."""
    (x, t), seen = sentences(), []
    model = xp.put(reader())
    witness = mt.Sequential(Witness(model[0], seen), *model[1:])
    sgd = mt.SGD(lr=0.5)
    found, history = fit(witness, x.astype(dtype), t, optimizer=sgd, validation=(x.astype(dtype), t))
    assert seen
    assert all("int" in name for name in seen)
    here = xp.backend.asarray(x.astype(dtype))
    other, same = fit(model, here, t, optimizer=sgd, validation=(here, t))
    assert_close(mt.leaves(found), to_numpy(mt.leaves(other)), **EXACT)
    assert history.loss == same.loss
    expected, numpy_history = fit(reader(), x, t, optimizer=sgd, validation=(x, t))
    assert_close(other, expected, **tolerance(xp))
    np.testing.assert_allclose(same.validation_loss, numpy_history.validation_loss, **tolerance(xp))
    assert same.validation_loss[-1] < same.validation_loss[0]
    assert mt.accuracy(other, x.astype(dtype), t) == mt.accuracy(expected, x, t)


def test_only_the_words_that_were_read_are_learned(xp: Target) -> None:
    x, t = sentences()
    model = xp.put(reader())
    found, _ = fit(model, x, t, optimizer=mt.SGD(lr=0.5))
    moved = (mt.to_numpy(found[0].W) != mt.to_numpy(model[0].W)).any(axis=1)
    np.testing.assert_array_equal(np.flatnonzero(moved), np.unique(x))


def test_dropout_counts_its_steps_and_is_silent_at_validation(xp: Target) -> None:
    rng = np.random.default_rng(0)
    model = xp.put(mt.Sequential(affine(rng, 3, 8), mt.Dropout.init(0.5, rng), affine(rng, 8, 3)))
    (x, t), held_out = xp.put(labelled()), xp.put(labelled(40))
    found, history = fit(model, x, t, epochs=4, validation=held_out)
    assert mt.to_numpy(found[1].step).tolist() == [4 * 3]
    np.testing.assert_array_equal(mt.to_numpy(found[1].stream), mt.to_numpy(model[1].stream))
    silent = mt.Sequential(found[0], found[2])
    assert history.validation_loss[-1] == mt.evaluate(silent, *held_out, loss=mt.SoftmaxWithLoss())["loss"]
    unseen, _ = fit(model, x, t, epochs=4)
    assert_close(unseen, to_numpy(found), **EXACT)  # looking at the validation data draws no noise


def test_batch_norm_keeps_the_running_statistics_of_the_batches(xp: Target) -> None:
    """Held against the formula, in NumPy: a moving mean, and a moving variance that is unbiased."""
    x, t = labelled()
    momentum, rng = 0.2, np.random.default_rng(11)
    norm = mt.BatchNorm.init(3, momentum=momentum, dtype="float64")
    model = xp.put(mt.Sequential(norm, affine(np.random.default_rng(0), 3, 3)))
    found, _ = fit(model, x, t, seed=11, validation=(x[:5] + 9.0, t[:5]), last="drop", batch_size=7)
    mean, variance = np.zeros(3), np.ones(3)
    for _ in range(3):
        order = rng.permutation(24)
        for start in (0, 7, 14):
            batch = x[order[start : start + 7]]
            mean += momentum * (batch.mean(axis=0) - mean)
            variance += momentum * (batch.var(axis=0, ddof=1) - variance)
    np.testing.assert_allclose(mt.to_numpy(found[0].mean), mean, **tolerance(xp))
    np.testing.assert_allclose(mt.to_numpy(found[0].variance), variance, **tolerance(xp))


def test_a_model_of_half_precision_learns(xp: Target) -> None:
    """Beside the same model in float32, to the three digits that float16 has; its memories are float32."""
    if xp.backend.name == "array_api_strict":
        pytest.skip("array-api-strict has no float16")
    x, t = labelled()
    model = xp.put(mt.Sequential(*plain()[:2], mt.LayerNorm.init(8, dtype="float64"), plain()[2]))
    loss = mt.SoftmaxWithLoss(class_weight=np.array([0.5, 2.0, 1.25]))
    options = {"epochs": 20, "loss": loss, "optimizer": mt.Adam(lr=0.02), "validation": (x, t, np.ones(24))}
    _, expected = fit(model.to(dtype="float32"), x, t, **options)
    found, history = fit(model.to(dtype="float16"), x, t, **options)
    assert {mt.to_numpy(a).dtype for a in mt.leaves(found)} == {np.dtype("float16")}
    assert {mt.to_numpy(a).dtype for a in mt.leaves(history.state)} == {np.dtype("float32"), np.dtype("int32")}
    np.testing.assert_allclose(history.loss, expected.loss, rtol=0.02)
    np.testing.assert_allclose(history.validation_loss, expected.validation_loss, rtol=0.02)
    assert history.loss[-1] < 0.7 * history.loss[0]


# ------------------------------------------------------------------------------ the loss's own arrays


def test_a_loss_goes_to_the_model(xp: Target) -> None:
    """Class weights of NumPy's, in float64, for a float32 model wherever it is; the loss that was given stays."""
    (x, t), counts = labelled(dtype="float32"), np.array([0.5, 2.0, 1.25])
    loss = mt.SoftmaxWithLoss(class_weight=counts)
    model = xp.put(plain(), "float32")
    there = mt.SoftmaxWithLoss(class_weight=xp.asarray(counts, "float32"))
    found, history = fit(model, x, t, loss=loss, validation=(x, t))
    expected, same = fit(model, x, t, loss=there, validation=(x, t))
    assert_close(found, to_numpy(expected), **EXACT)
    assert (history.loss, history.validation_loss) == (same.loss, same.validation_loss)
    assert loss.class_weight is counts
    assert found[0].W.dtype == model[0].W.dtype

    y = mt.to_numpy(found.predict(xp.asarray(x, "float32"))).astype("float64")
    losses = np.log(np.exp(y).sum(axis=1)) - y[np.arange(24), t]
    by_formula = np.average(losses, weights=counts[t])
    assert mt.evaluate(found, x, t, loss=loss)["loss"] == pytest.approx(by_formula, rel=1e-5)
    assert history.validation_loss[-1] == pytest.approx(by_formula, rel=1e-5)


def test_a_pos_weight_goes_to_the_model(xp: Target) -> None:
    (x, t), pos_weight = labelled(dtype="float32"), np.array(3.0)
    targets = (t == 1)[:, None].astype("float32")
    loss = mt.SigmoidWithLoss(pos_weight=pos_weight)
    model = xp.put(mt.Sequential(affine(np.random.default_rng(0), 3, 1)), "float32")
    found, _ = fit(model, x, targets, loss=loss)
    y = mt.to_numpy(found.predict(xp.asarray(x, "float32"))).astype("float64")
    by_formula = np.mean(3.0 * targets * np.log1p(np.exp(-y)) + (1.0 - targets) * np.log1p(np.exp(y)))
    assert mt.evaluate(found, x, targets, loss=loss)["loss"] == pytest.approx(by_formula, rel=1e-5)
    assert loss.pos_weight is pos_weight


# ------------------------------------------------------- what is no fault, and what is somebody else's


class Mask(mt.Layer):
    """y = x + mask, where -inf excludes a class."""

    mask: mt.Array = mt.kept()

    def forward(self, x):
        return x + self.mask, None

    def backward(self, cache, dout):
        return dout, None


def masked(*more: mt.Layer, before: mt.Layer | None = None) -> mt.Sequential:
    """A network that may not answer with class 1, and what follows."""
    return mt.Sequential(*plain(), before or mt.Identity(), Mask(np.array([0.0, -INF, 0.0])), *more)


def two_classes() -> tuple[np.ndarray, np.ndarray]:
    x, t = labelled()
    return x, np.where(t == 1, 0, t)


def test_a_mask_of_infinity_is_no_fault(xp: Target) -> None:
    model, (x, t) = xp.put(masked()), xp.put(two_classes())
    found, history = fit(model, x, t, validation=(x, t), metrics=["accuracy"])
    assert history.loss[-1] < history.loss[0]
    np.testing.assert_array_equal(mt.to_numpy(found[4].mask), [0.0, -INF, 0.0])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("model", "layer"),
    [
        pytest.param(lambda: masked(before=fuse(5)), "layer 3 (Fuse)", id="forward, before it"),
        pytest.param(lambda: masked(before=fuse(5, False)), "layer 3 (Fuse)", id="backward, before it"),
        pytest.param(lambda: masked(fuse(5)), "layer 5 (Fuse)", id="forward, after it"),
        pytest.param(lambda: masked(fuse(5, False)), "layer 5 (Fuse)", id="backward, after it"),
    ],
)
def test_a_mask_of_infinity_is_not_blamed_for_another_layer(
    xp: Target, model: Callable[[], mt.Layer], layer: str
) -> None:
    with pytest.raises(mt.NotFinite) as e:
        fit(xp.put(model()), *xp.put(two_classes()), shuffle=False)
    assert (e.value.epoch, e.value.step, e.value.layer) == (2, 3, layer)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_mask_of_infinity_is_not_blamed_for_an_update(xp: Target) -> None:
    (x, t), model = xp.put(two_classes(), "float32"), xp.put(masked(), "float32")
    with pytest.raises(mt.NotFinite, match=r"epoch 1, step 1, layer \d \(Affine\): the update makes"):
        fit(model, x, t, optimizer=mt.SGD(lr=3e38), loss=mt.SoftmaxWithLoss(reduction="sum"))


class Ageing(mt.Layer):
    """y = x, and a memory that becomes NaN with so many batches."""

    memory: mt.Array = mt.kept()
    seen: mt.Array = mt.kept()
    batches: int = 5

    def forward(self, x):
        return x, None

    def backward(self, cache, dout):
        return dout, None

    def observe(self, cache):
        xp = mt.namespace(self.memory)
        seen = self.seen + 1
        return mt.replace(self, {"seen": seen, "memory": xp.where(seen >= self.batches, xp.nan, self.memory)})


@pytest.mark.parametrize(("batches", "epoch", "step"), [(1, 1, 1), (5, 2, 2), (6, 2, 3), (9, 3, 3)])
def test_a_kept_array_that_becomes_nan_is_reported_at_once(xp: Target, batches: int, epoch: int, step: int) -> None:
    """Although no loss has seen it yet, and in the last of three epochs of three steps none would."""
    inner = Ageing(np.zeros(2), np.zeros((1,), dtype="int32"), batches)
    model, (x, t) = xp.put(mt.Sequential(plain(), Residual(inner))), xp.put(labelled())
    words = r"layer 1\.f \(Ageing\): what it keeps of the batches, 1\.f\.memory, is no longer finite"
    with pytest.raises(mt.NotFinite, match=words) as e:
        fit(model, x, t, shuffle=False)
    assert (e.value.epoch, e.value.step, e.value.layer) == (epoch, step, "layer 1.f (Ageing)")
    assert_from_before(xp, e.value, model, x, t, mt.Adam(lr=0.05))


def test_a_kept_array_may_be_infinite_from_the_start(xp: Target) -> None:
    """Then it may stay so; what is learned is looked at all the same."""
    inner = Ageing(np.array([-INF]), np.zeros((1,), dtype="int32"), 99)
    model, (x, t) = xp.put(mt.Sequential(*plain(), inner)), xp.put(labelled())
    found, _ = fit(model, x, t)
    assert mt.to_numpy(found[3].memory).tolist() == [-INF]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_running_variance_that_overflows_is_reported(xp: Target) -> None:
    """The batch's own variance is infinite too, its x̂ 0, and the loss finite: only what is kept tells."""
    norm = mt.BatchNorm.init(3)
    model = xp.put(mt.Sequential(norm, affine(np.random.default_rng(0), 3, 3)), "float32")
    x, t = labelled(dtype="float32")
    with pytest.raises(mt.NotFinite, match=r"epoch 1, step 1, layer 0 \(BatchNorm\): what it keeps.*0\.variance"):
        fit(model, *xp.put((x * np.float32(1e25), t), "float32"))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_running_variance_that_overflows_is_reported_beside_a_mask(xp: Target) -> None:
    x, t = two_classes()
    model = xp.put(mt.Sequential(mt.BatchNorm.init(3), masked()), "float32")
    with pytest.raises(mt.NotFinite, match=r"layer 0 \(BatchNorm\)"):
        fit(model, *xp.put((x.astype("float32") * np.float32(1e25), t), "float32"))


class Chain(mt.Layer):
    """The layers of a Sequential one after another, as its own loops have it."""

    body: mt.Sequential

    def forward(self, x):
        caches = []
        for layer in self.body:
            x, cache = layer.forward(x)
            caches.append(cache)
        assert len(self.body) == len(caches)
        return x, tuple(caches)

    def backward(self, cache, dout):
        grads = []
        for i in reversed(range(len(self.body))):
            dout, grad = self.body[i].backward(cache[i], dout)
            grads.append(grad)
        return dout, self.gradient(body=self.body.gradient(layers=tuple(reversed(grads))))

    def observe(self, cache):
        return Chain(self.body.observe(cache))


class Chosen(mt.Layer):
    """y = f(x), with f of one of two kinds, and forward and backward that ask which."""

    f: mt.Layer

    def forward(self, x):
        if isinstance(self.f, mt.Affine):
            return x @ self.f.W + self.f.b, x
        return self.f.forward(x)

    def backward(self, cache, dout):
        if not isinstance(self.f, mt.Affine):
            raise TypeError("Chosen: f must be an Affine")
        xp = mt.namespace(dout)
        return dout @ self.f.W.T, self.gradient(f=self.f.gradient(W=cache.T @ dout, b=xp.sum(dout, axis=0)))


class Reader(mt.Layer):
    """y = x @ W, with the weights of a frozen layer."""

    inner: mt.Freeze

    def forward(self, x):
        return x @ self.inner.layer.W, None

    def backward(self, cache, dout):
        return dout @ self.inner.layer.W.T, None


@pytest.mark.parametrize("forward", [True, False], ids=["forward", "backward"])
@pytest.mark.parametrize(
    "composite",
    [
        lambda rng: Chain(mt.Sequential(affine(rng, 3, 3), mt.Tanh())),
        lambda rng: Chosen(affine(rng, 3, 3)),
        lambda rng: Reader(mt.Freeze(mt.MatMul(rng.standard_normal((3, 3))))),
    ],
    ids=["iterates", "asks for the class", "reads through Freeze"],
)
def test_layers_that_look_into_their_layers_are_watched_too(
    xp: Target, composite: Callable[[np.random.Generator], mt.Layer], forward: bool
) -> None:
    """When the steps are taken again, each layer must find in its fields what it found there before."""
    layer, bad = composite(np.random.default_rng(0)), fuse(5, forward)
    model, (x, t) = xp.put(mt.Sequential(plain(), layer, bad, mt.Identity())), xp.put(labelled())
    with pytest.raises(mt.NotFinite) as e:
        fit(model, x, t, shuffle=False)
    assert (e.value.epoch, e.value.step, e.value.layer) == (2, 3, "layer 2 (Fuse)")
    assert_from_before(xp, e.value, model, x, t, mt.Adam(lr=0.05))


def test_a_fault_inside_a_layer_that_iterates_is_found_inside_it(xp: Target) -> None:
    rng = np.random.default_rng(0)
    model, (x, t) = xp.put(Chain(mt.Sequential(affine(rng, 3, 3), fuse(2), mt.Tanh()))), xp.put(labelled())
    with pytest.raises(mt.NotFinite, match=r"epoch 1, step 3, layer body\.1 \(Fuse\): its output"):
        fit(model, x, t, shuffle=False)


@pytest.mark.parametrize("copied", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
def test_an_error_survives_its_journey(copied: Callable[[mt.NotFinite], mt.NotFinite]) -> None:
    """From a worker process, say."""
    with pytest.raises(mt.NotFinite) as e:
        fit(mt.Sequential(*plain(), fuse(5)), *labelled(), shuffle=False)
    there = copied(e.value)
    assert type(there) is mt.NotFinite
    assert str(there) == str(e.value)
    assert (there.epoch, there.step, there.layer) == (2, 3, "layer 3 (Fuse)")
    assert_close(there.model, e.value.model, **EXACT)
    assert_close(there.history.state, e.value.history.state, **EXACT)
    assert there.history.loss == e.value.history.loss


# ------------------------------------------------------------------------------ losses without end


class Scripted(mt.Loss):
    """The targets themselves are the losses, whatever the output."""

    def losses(self, y, t):
        return t, y

    def slopes(self, cache):
        return mt.namespace(cache).zeros_like(cache)


HUGE = 1.7e308


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("losses", [[INF, -INF, 0.0], [-INF, 1.0, INF], [1.0, INF, INF], [1.0, 2.0, NAN]], ids=repr)
def test_losses_that_have_no_sum_end_the_run(losses: list[float], reduction: str) -> None:
    class Unread(Scripted):
        def check_targets(self, y, t):
            pass

    x, t = np.ones((3, 1)), np.array(losses)[:, None]
    options = {"loss": Unread(reduction), "batch_size": 1, "shuffle": False}
    step = 1 + [math.isfinite(loss) for loss in losses].index(False)
    with pytest.raises(mt.NotFinite, match=rf"epoch 1, step {step}, the loss"):
        fit(mt.Sequential(mt.MatMul(np.ones((1, 1)))), x, t, **options)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("losses", "reduction", "expected"),
    [
        ([HUGE, -1.0, 1.0], "mean", HUGE / 3),
        ([HUGE, -HUGE, 3.0], "mean", 1.0),
        ([HUGE, -HUGE, 3.0], "sum", 3.0),
        pytest.param([HUGE, HUGE, HUGE], "mean", HUGE),
        pytest.param([HUGE, HUGE, -HUGE], "sum", HUGE),
        pytest.param([HUGE, HUGE, HUGE], "sum", INF),
    ],
)
def test_large_losses_have_a_mean(losses: list[float], reduction: str, expected: float) -> None:
    """A mean of finite numbers lies between them; a sum that no float64 holds is infinite, and nothing else."""
    x, t = np.ones((3, 1)), np.array(losses)[:, None]
    options = {"loss": Scripted(reduction), "batch_size": 1, "epochs": 1, "shuffle": False}
    _, history = fit(mt.Sequential(mt.MatMul(np.ones((1, 1)))), x, t, **options)
    assert history.loss == [pytest.approx(expected, rel=1e-15)]


# ----------------------------------------------------------------------------- before the first step


def test_the_hook_sees_the_epoch_in_which_patience_ends() -> None:
    seen = []
    stop = mt.EarlyStopping(patience=2, watch="score", best="lowest")
    _, history = fit(
        plain(), *labelled(), epochs=9, stop=stop, metrics=scripted([2, 1, 3, 4, 5]), hook=lambda *g: seen.append(g)
    )
    assert [epoch for epoch, _, _ in seen] == [1, 2, 3, 4]
    assert seen[-1][2].metrics["score"] == [2.0, 1.0, 3.0, 4.0]
    assert history.stopped == "score was best after epoch 2, and not better in 2 epochs since"
    assert history.best_epoch == 2


def test_batch_norm_refuses_a_last_batch_of_one_before_it_begins(xp: Target) -> None:
    model, (x, t) = xp.put(network()), xp.put(labelled(25))
    rng = np.random.default_rng(5)
    before = rng.bit_generator.state
    with pytest.raises(ValueError, match=r'25 samples in batches of 8 .* 1, and BatchNorm.*last="drop"'):
        fit(model, x, t, seed=rng)
    assert rng.bit_generator.state == before
    _, history = fit(model, x, t, seed=rng, last="drop")
    assert int(mt.to_numpy(history.state.step)) == 9
    assert rng.bit_generator.state != before
    assert len(fit(xp.put(plain()), x, t)[1].loss) == 3  # without BatchNorm a batch of one is a batch


def test_what_passes_on_the_cache_may_hold_any_layer(xp: Target) -> None:
    rng = np.random.default_rng(1)
    model = mt.Sequential(
        mt.Branch(2),
        mt.Parallel(mt.Dropout.init(0.5, rng), mt.Sequential(batch_norm(rng, 3))),
        mt.Add(),
        mt.Freeze(mt.Sequential(mt.Dropout.init(0.5, rng), batch_norm(rng, 3))),
        Residual(batch_norm(rng, 3)),
        mt.Freeze(Chosen(affine(rng, 3, 3))),  # which holds nothing that observes
        affine(rng, 3, 3),
    )
    found, _ = fit(xp.put(model), *xp.put(labelled()))
    for name in ("1.0.step", "1.1.0.mean", "3.layer.0.step", "3.layer.1.mean", "4.f.variance"):
        arrays = [mt.to_numpy(dict(zip(mt.names(m), mt.leaves(m), strict=True))[name]) for m in (model, found)]
        assert not np.array_equal(*arrays), name


# ------------------------------------------------------------------------------ a metric of numbers


@pytest.mark.parametrize("where", ["t", "y"])
@pytest.mark.parametrize("varies", [True, False])
def test_r2_of_nan_is_nan(where: str, varies: bool) -> None:
    y, t = np.arange(6.0)[:, None], (np.arange(6.0) if varies else np.ones(6))[:, None]
    (y if where == "y" else t)[2] = NAN
    assert math.isnan(mt.evaluate(mt.Identity(), y, t, metrics="r2")["r2"])


def test_r2_is_that_of_scikit_learn(xp: Target) -> None:
    """Also of a constant column: 1 where it is hit exactly, else 0."""
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    t = np.column_stack([rng.standard_normal((7, 2)), np.full(7, 3.0), np.full(7, -2.0)])
    y = t + np.column_stack([rng.standard_normal((7, 2)), np.zeros(7), np.r_[0.5, np.zeros(6)]])
    for columns in (slice(0, 4), slice(0, 2), slice(2, 3), slice(3, 4)):
        score = mt.evaluate(mt.Identity(), *xp.put((y[:, columns], t[:, columns])), metrics="r2")["r2"]
        assert score == pytest.approx(metrics.r2_score(t[:, columns], y[:, columns]), **tolerance_of(xp))
    assert mt.evaluate(mt.Identity(), *xp.put((t[:, 2:3], t[:, 2:3])), metrics="r2")["r2"] == 1.0


def tolerance_of(xp: Target) -> dict[str, float]:
    """The same tolerance, as pytest calls it."""
    return {"rel": tolerance(xp)["rtol"], "abs": tolerance(xp)["atol"]}


# -------------------------------------------------------------------------------- nothing to clip


@pytest.mark.parametrize("transform", [mt.ClipByNorm(limit=1.0), mt.ClipByValue(limit=1.0)], ids=repr)
def test_a_model_of_empty_arrays_has_nothing_to_clip(xp: Target, transform: Any) -> None:
    model = xp.put(mt.MatMul(np.ones((0, 3))))
    optimizer = mt.SGD(transforms=(transform,))
    after, state = optimizer.update(model, model, optimizer.init(model))
    assert after.W.shape == (0, 3)
    assert int(mt.to_numpy(state.step)) == 1


def test_an_empty_array_beside_others_changes_no_norm(xp: Target) -> None:
    optimizer = mt.SGD(lr=1.0, transforms=(mt.ClipByNorm(limit=1.0),))
    model = xp.put(mt.Sequential(mt.MatMul(np.ones((0, 3))), mt.MatMul(np.array([[3.0], [4.0]]))))
    after, _ = optimizer.update(model, model, optimizer.init(model))
    np.testing.assert_allclose(mt.to_numpy(after[1].W), [[3.0 - 0.6], [4.0 - 0.8]], **tolerance(xp))
