"""The XOR lessons: one training written in several ways is one training, and its gradient is the loss's slope."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import xor
import xor_loops
from conftest import Target, assert_close

import martlet as mt

Weights = tuple[np.ndarray, ...]
X, T = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), np.array([0.0, 1.0, 1.0, 0.0])


def draw(hidden: int, seed: int = 0) -> Weights:
    """W1, b1, W2, b2 with biases that are not zero, so that a forgotten one shows."""
    rng = np.random.default_rng(seed)
    return tuple(rng.standard_normal(shape) for shape in ((2, hidden), (hidden,), (hidden, 1), (1,)))


def in_columns(weights: Weights) -> Weights:
    W1, b1, W2, b2 = weights
    return W1, b1[:, None], W2, b2[:, None]


def slopes(loss: Callable[[Weights], float], weights: Weights, step: float = 1e-5) -> Weights:
    """The central finite differences of a loss, array by array."""
    found = tuple(map(np.zeros_like, weights))
    for k, w in enumerate(weights):
        for place in np.ndindex(w.shape):
            nudge = np.zeros_like(w)
            nudge[place] = step
            up, down = ((*weights[:k], w + sign * nudge, *weights[k + 1 :]) for sign in (1, -1))
            found[k][place] = (loss(up) - loss(down)) / (2 * step)
    return found


def cross_entropy(hidden_values: np.ndarray, W2: np.ndarray, b2: np.ndarray) -> float:
    """The textbook's, from probabilities."""
    a = 1 / (1 + np.exp(-(hidden_values @ W2 + b2)[:, 0]))
    return float(-np.mean(T * np.log(a) + (1 - T) * np.log(1 - a)))


# ------------------------------------------------------------------------------------------ L0, three forms


@pytest.mark.parametrize("hidden", [1, 3, 4])
def test_the_three_forms_are_one_training(hidden: int) -> None:
    first, *others = (form(draw(hidden), 100) for form in xor_loops.FORMS)
    assert len(others) == 2
    for costs, weights in others:
        np.testing.assert_allclose(costs, first[0], rtol=0, atol=1e-12)
        assert_close(weights, first[1], rtol=0, atol=1e-12)
    assert len(first[0]) == 100
    assert first[0][-1] < first[0][0]
    assert xor_loops.largest_difference([first, *others]) <= xor_loops.TOLERANCE == 1e-12


@pytest.mark.parametrize("form", xor_loops.FORMS)
def test_the_first_cost_is_the_cross_entropy_of_the_start(form: Callable) -> None:
    W1, b1, W2, b2 = draw(3)
    costs, _ = form((W1, b1, W2, b2), 1)
    assert costs == pytest.approx([cross_entropy(np.tanh(X @ W1 + b1), W2, b2)], abs=1e-14)


@pytest.mark.parametrize("form", xor_loops.FORMS)
def test_one_step_follows_the_finite_differences_of_its_own_cost(form: Callable) -> None:
    before = draw(3)
    _, after = form(before, 1)
    gradient = tuple((w - new) / xor_loops.LR for w, new in zip(before, after, strict=True))
    assert_close(gradient, slopes(lambda weights: form(weights, 1)[0][0], before), rtol=0, atol=1e-9)


@pytest.mark.parametrize("form", xor_loops.FORMS)
@pytest.mark.parametrize("logit", [1000.0, -1000.0])
def test_a_confident_mistake_costs_its_logit(form: Callable, logit: float) -> None:
    """Every answer is sigmoid(±1000): two of the four are wrong by 1000, and two cost nothing."""
    weights = np.ones((2, 3)), np.zeros(3), np.zeros((3, 1)), np.array([logit])
    costs, after = form(weights, 1)
    assert costs == [500.0]
    assert all(np.isfinite(w).all() for w in after)
    assert after[3] == pytest.approx(logit - math.copysign(0.5, logit))  # the mean of a - t is ±1/2


@pytest.mark.parametrize("form", xor_loops.FORMS)
def test_the_start_weights_stay_for_the_next_form(form: Callable) -> None:
    weights, kept = draw(3), draw(3)
    form(weights, 3)
    assert_close(weights, kept, rtol=0, atol=0)


@pytest.mark.parametrize("form", xor_loops.FORMS)
def test_samples_that_are_there_twice_change_nothing(form: Callable) -> None:
    costs, weights = form(draw(3), 5)
    again, same = form(draw(3), 5, np.tile(xor_loops.x, (2, 1)), np.tile(xor_loops.t, (2, 1)))
    np.testing.assert_allclose(again, costs, rtol=0, atol=1e-12)
    assert_close(same, weights, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("nudge", "status"), [(0.0, 0), (1e-9, 1)])
def test_the_exit_status_says_whether_the_forms_agree(
    monkeypatch: pytest.MonkeyPatch, nudge: float, status: int
) -> None:
    def slightly_wrong(weights: Weights, epochs: int) -> tuple[list[float], Weights]:
        costs, after = xor_loops.by_batch(weights, epochs)
        return costs, (after[0] + nudge, *after[1:])

    monkeypatch.setattr(xor_loops, "FORMS", (xor_loops.by_loops, slightly_wrong))
    monkeypatch.setattr(xor_loops, "microseconds", lambda *_: 0.0)
    monkeypatch.setattr("sys.argv", ["xor_loops.py", "--epochs", "3"])
    assert xor_loops.main() == status


# ---------------------------------------------------------------------------------------- L2, columns and rows


@pytest.mark.parametrize(("hidden", "seed"), [(2, 0), (2, 4), (5, 1)])
def test_columns_and_rows_are_one_run(hidden: int, seed: int) -> None:
    weights = in_columns(draw(hidden, seed))
    losses, (W1, B1, W2, B2) = xor.lesson(weights, 500, lr=0.5)
    ours, model = xor.rows(weights, 500, mt.SGD(lr=0.5))
    assert len(losses) == len(ours) == 500
    np.testing.assert_allclose(ours, losses, rtol=0, atol=1e-12)
    assert_close(tuple(mt.leaves(model)), (W1, B1[:, 0], W2, B2[:, 0]), rtol=0, atol=1e-12)


def test_the_columns_loss_is_the_cross_entropy_and_its_step_the_slope() -> None:
    before = in_columns(draw(2))
    losses, after = xor.lesson(before, 1, lr=1.0)
    hidden_values = 1 / (1 + np.exp(-(X @ before[0] + before[1][:, 0])))
    assert losses == pytest.approx([cross_entropy(hidden_values, before[2], before[3][0])], abs=1e-14)
    gradient = tuple(w - new for w, new in zip(before, after, strict=True))
    assert_close(gradient, slopes(lambda weights: xor.lesson(weights, 1)[0][0], before), rtol=0, atol=1e-9)


def test_the_kept_losses_are_every_so_many() -> None:
    full, _ = xor.rows(xor.start(0), 25, mt.Adam(lr=0.01))
    kept, _ = xor.rows(xor.start(0), 25, mt.Adam(lr=0.01), every=10)
    assert kept == full[::10]


def test_the_plateau_is_two_answers_known_and_two_at_one_half() -> None:
    y = np.array([[-1000.0], [0.0], [1000.0], [0.0]])
    assert float(mt.SigmoidWithLoss().forward(y, T[:, None])[0]) == pytest.approx(xor.PLATEAU, abs=1e-15)


def test_of_several_starts_one_learns_xor() -> None:
    runs = [xor.rows(xor.start(seed), 1000, mt.SGD(lr=1.0)) for seed in (3, 4)]
    losses, model = min(runs, key=lambda run: run[0][-1])
    assert losses[-1] < 0.05
    assert mt.accuracy(model, X, T[:, None]) == 1.0


@pytest.mark.eager
def test_rows_run_on_every_library(xp: Target) -> None:
    if xp.double != "float64":
        pytest.skip("this device has no float64")
    home = mt.Backend(xp.backend.name, xp.backend.device, "float64")
    weights = xor.start(4)
    losses, model = xor.rows(weights, 20, mt.SGD(lr=1.0), backend=home)
    np.testing.assert_allclose(losses, xor.lesson(weights, 20, lr=1.0)[0], rtol=0, atol=1e-12)
    assert mt.backend_of(model[0].W).name == xp.backend.name
    assert len(xor.answers(model).split()) == 4
