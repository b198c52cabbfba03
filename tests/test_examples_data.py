"""The examples on data: the lesson's losses, a fit as good as the noise allows, a gradient that arrives."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import Target

import martlet as mt

# ------------------------------------------------------------------------------------ breast cancer


def test_the_tumours_have_the_lessons_losses() -> None:
    """Lesson L4, as recomputed in plain NumPy float64; and the book's first loss, which clips p."""
    pytest.importorskip("sklearn")
    from breast_cancer import PRINTED_FIRST, REFERENCE, clipped_loss, full_batch, logistic_regression, stable_loss

    backend = mt.Backend("numpy", dtype="float64")
    data = mt.datasets.breast_cancer(backend=backend)
    seen, model = full_batch(logistic_regression(backend), *data.train, 10_000)
    assert REFERENCE == {1: 14.699879, 100: 0.111470, 1_000: 0.057953, 10_000: 0.043588}
    assert tuple(seen) == tuple(REFERENCE)
    for epoch, before in seen.items():
        assert stable_loss(before, *data.train) == pytest.approx(REFERENCE[epoch], abs=6e-7)
    assert PRINTED_FIRST == 13.0632
    assert clipped_loss(seen[1], *data.train) == pytest.approx(13.0632, abs=5e-5)
    assert mt.accuracy(model, *data.validation) == pytest.approx(89 / 91)


@pytest.mark.eager
def test_the_first_losses_are_the_lessons_everywhere(xp: Target) -> None:
    pytest.importorskip("sklearn")
    from breast_cancer import clipped_loss, full_batch, logistic_regression, stable_loss

    backend = mt.Backend(xp.backend.name, xp.backend.device, xp.double)
    train = mt.datasets.breast_cancer(backend=backend).train
    seen, _ = full_batch(logistic_regression(backend), *train, 100)
    digits = {"abs": 1e-6} if xp.double == "float64" else {"rel": 1e-5}
    assert stable_loss(seen[1], *train) == pytest.approx(14.699879, **digits)
    assert stable_loss(seen[100], *train) == pytest.approx(0.111470, **digits)
    if xp.double == "float64":  # 1 - 1e-10 is 1 in float32
        assert clipped_loss(seen[1], *train) == pytest.approx(13.0632, abs=5e-5)


def test_one_sample_at_a_time_is_one_loss_per_update() -> None:
    """364 rows are 364 updates in one epoch, or one; and the curve of full batch falls at every one of them.

    That it falls: w is 30 wide and each row has |x|² of 30 on average, so the loss has a curvature of at
    most λ / 4, with λ the largest eigenvalue of XᵀX / 364 (b included), and 0.1 is less than 2 / (λ / 4).
    """
    pytest.importorskip("sklearn")
    from breast_cancer import RATE, curve, logistic_regression

    backend = mt.Backend("numpy", dtype="float64")
    x, t = mt.datasets.breast_cancer(backend=backend).train
    model = logistic_regression(backend)
    smooth, noisy = curve(model, x, t, 364, 50), curve(model, x, t, 1, 1)
    assert (len(smooth), len(noisy)) == (50, 364)
    with_b = np.concatenate([x, np.ones((364, 1))], axis=1)
    assert np.linalg.eigvalsh(with_b.T @ with_b / 364)[-1] / 4 * RATE < 2.0
    assert (np.diff(smooth) < 0).all()
    assert (np.diff(noisy) > 0).any()


# --------------------------------------------------------------------------------------- regression


def test_the_pressure_is_fitted_as_well_as_its_noise_allows() -> None:
    """The curve without noise leaves 2 % of the variance (r² = 0.98); we ask for 0.9, and the runs give 0.98."""
    from regression import NOISE, experiment, train

    taught, validation, (x, t) = experiment(mt.Backend("numpy"))
    shipped, history = train(taught, validation)
    found = mt.evaluate(shipped, x, t, metrics=["mae", "r2"])
    assert found["r2"] > 0.9
    noise = NOISE * np.sqrt(2.0 / np.pi)  # the mean of |normal|
    assert 0.8 * noise < found["mae"] < 2.0 * noise  # in pascals; below the noise, it would have seen the readings
    assert 1 <= history.best_epoch <= len(history.loss) <= 200
    assert max(history.validation_loss) < 10.0  # while it learned, no number had the size of a pascal


@pytest.mark.eager
def test_readings_of_any_backend_go_in_and_pascals_come_out(xp: Target) -> None:
    from regression import experiment, train

    def predictions(backend: mt.Backend) -> np.ndarray:
        taught, validation, (x, t) = experiment(backend)
        shipped, _ = train(taught, validation, epochs=2)
        assert mt.backend_of(mt.leaves(shipped)[0]).name == mt.backend_of(t).name == backend.name
        return mt.to_numpy(shipped.predict(x))

    expected = predictions(mt.Backend("numpy"))
    assert 3e5 < expected.min() < expected.max() < 6e5
    np.testing.assert_allclose(predictions(xp.backend), expected, rtol=1e-4)


# ----------------------------------------------------------------------------------------- residual


def test_a_way_around_brings_the_gradient_to_the_first_layer() -> None:
    """Without one the norm of dL/dW is at most ‖x‖ √(2 / N) Π ‖W‖ / 4; with one it is a thousand times that.

    Each row of softmax - t is at most √2 long, and the mean divides by N; a Sigmoid has slopes of at most
    1/4, and an Affine layer makes a row at most ‖W‖ times longer, the largest singular value.
    """
    from residual import DEPTH, gradient_norms, network

    x, t = mt.datasets.spiral()
    plain, residual = network(False), network(True)
    for ours, theirs in zip(mt.leaves(plain), mt.leaves(residual), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    behind = [W for W in mt.leaves(plain) if W.ndim == 2][1:]
    assert len(behind) == DEPTH + 1
    shrinks = np.prod([np.linalg.norm(W, 2) / 4 for W in behind])
    bound = np.linalg.norm(x) * np.sqrt(2 / len(x)) * shrinks
    assert 0.0 < gradient_norms(plain, x, t)[0] <= bound
    assert gradient_norms(residual, x, t)[0] > 1000 * bound
