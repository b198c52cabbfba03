"""The lessons' own numbers, on every backend."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import Target

import martlet as mt


@pytest.mark.eager
def test_the_spiral_has_the_books_curve(xp: Target) -> None:
    """Reference: the book's settings in plain NumPy float64, whose log adds 1e-7; hence the 1e-6."""
    from spiral import REFERENCE, lesson

    if xp.double != "float64":
        pytest.skip("this device has no float64")
    losses, model = lesson(mt.Backend(xp.backend.name, xp.backend.device, "float64"))
    for epoch, expected in REFERENCE.items():
        assert losses[epoch - 1] == pytest.approx(expected, abs=1e-6)
    assert losses[299] == pytest.approx(0.1085495, abs=1e-6)
    x, t = mt.datasets.spiral(dtype="float64")
    assert mt.accuracy(model, x, t) == pytest.approx(0.970, abs=5e-4)
    assert mt.evaluate(model, x, t, loss=mt.SoftmaxWithLoss())["loss"] == pytest.approx(0.104050, abs=1e-6)
    if xp.backend.name != "numpy":
        np.testing.assert_allclose(losses, lesson(mt.Backend("numpy", dtype="float64"))[0], rtol=0, atol=1e-12)


@pytest.mark.eager
def test_the_spiral_in_float32_is_the_same_curve(xp: Target) -> None:
    from spiral import lesson

    epochs = 50 if xp.name == "jax" else 300  # JAX without jit takes a quarter of a minute for all of them
    losses, _ = lesson(mt.Backend(xp.backend.name, xp.backend.device, "float32"), epochs)
    exact, _ = lesson(mt.Backend("numpy", dtype="float64"), epochs)
    np.testing.assert_allclose(losses, exact, rtol=0, atol=1e-5)


def test_one_shuffled_epoch_is_one_curve_under_jit(xp: Target) -> None:
    """The lesson's first steps with the step compiled, where there is a compiler."""
    rng = np.random.RandomState(1984)
    x, t = map(xp.put, mt.datasets.spiral(rng=rng, dtype="float64"))
    model = xp.put(
        mt.Sequential(*[mt.Affine(0.01 * rng.randn(*shape), np.zeros(shape[1])) for shape in ((2, 10), (10, 3))])
    )
    model = mt.Sequential(model[0], mt.Sigmoid(), model[1])
    loss, sgd = mt.SoftmaxWithLoss(), mt.SGD(lr=1.0)
    step, state, values = xp.compile(lambda m, s, x, t: mt.train_step(m, loss, sgd, s, x, t)), sgd.init(model), []
    order = rng.permutation(300)
    for start in range(0, 300, 30):
        rows = xp.put(order[start : start + 30])
        take = mt.namespace(x).take
        model, state, value = step(model, state, take(x, rows, axis=0), take(t, rows, axis=0))
        values.append(float(mt.to_numpy(value)))
    assert np.mean(values) == pytest.approx(1.125606, abs=1e-6)


def test_backpropagation_by_hand() -> None:
    """Lesson L3: every printed number, and finite differences beside it."""
    import backprop_by_hand as lesson

    ours, differences = lesson.by_layers(), lesson.by_finite_differences()
    assert set(lesson.LESSON) <= set(ours)
    for name, printed in lesson.LESSON.items():
        if name != lesson.WRONG:
            np.testing.assert_allclose(ours[name], printed, rtol=0, atol=1e-8, err_msg=name)
    for name, number in differences.items():
        np.testing.assert_allclose(ours[name], number, rtol=0, atol=1e-8, err_msg=name)
    # the lesson's 0.0010990070941353347 is not the sum of the layer's delta; this is
    assert ours["sum of dL/db1"] == pytest.approx(0.00922377, abs=1e-8)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("h", [0.93702664, 0.96442881]),
        ("o", [0.86103399, 0.75879129]),
        ("L", 0.28217575),
        ("dL/do", [0.36103399, 0.65879129]),
        ("dL/dW2", [[0.04047892, 0.11298352], [0.04166268, 0.11628758]]),
        ("dL/dh", [0.12670084, 0.05093706]),
        ("dL/dW1", [[0.00747633, 0.00174744], [0.01495265, 0.00349488], [0.02242898, 0.00524232]]),
        ("dL/db2", [0.04319933, 0.12057664]),
        ("sum of dL/db2", 0.16377596),
        ("dL/db1", [0.00747633, 0.00174744]),
    ],
)
def test_the_numbers_of_lesson_3(name: str, expected: object) -> None:
    from backprop_by_hand import by_layers

    np.testing.assert_allclose(np.squeeze(by_layers()[name]), expected, rtol=0, atol=1e-8)


def test_a_users_layer_learns_the_spiral() -> None:
    from custom_layer import train

    losses, _ = train("numpy", epochs=60)
    assert losses[-1] < 0.5 < losses[0]
