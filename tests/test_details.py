"""Small promises of layers and losses that nobody would miss until they are broken.

Each was found by planting a fault that no other test noticed: see mutation.py.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from conftest import Target, assert_close

import martlet as mt
from martlet.layers.standardize import mean_and_deviation
from martlet.tree import remake

# ------------------------------------------------------------------------- where arrays begin, and as what


BEGINNINGS: dict[str, Callable[..., mt.Layer]] = {
    "MatMul": lambda rng, **to: mt.MatMul.init(3, 4, rng, **to),
    "Affine": lambda rng, **to: mt.Affine.init(3, 4, rng, **to),
    "Embedding": lambda rng, **to: mt.Embedding.init(3, 4, rng, **to),
    "BatchNorm": lambda rng, **to: mt.BatchNorm.init(3, **to),
    "LayerNorm": lambda rng, **to: mt.LayerNorm.init(3, **to),
    "Standardize": lambda rng, **to: mt.Standardize.from_data(rng.standard_normal((5, 3)), **to),
}


@pytest.mark.parametrize("name", BEGINNINGS)
def test_a_layer_begins_where_it_is_told_to_and_as_wide(name: str) -> None:
    """Everywhere but on the device that the library takes by itself."""
    pytest.importorskip("array_api_strict")
    there = mt.Backend("array_api_strict", device="device1")
    for dtype in ("float32", "float64"):
        layer = BEGINNINGS[name](np.random.default_rng(0), backend=there, dtype=dtype)
        assert {type(leaf).__module__.split(".")[0] for leaf in mt.leaves(layer)} == {"array_api_strict"}
        assert {str(leaf.device) for leaf in mt.leaves(layer)} == {str(there.asarray(np.zeros(1)).device)}
        assert {str(leaf.dtype).split(".")[-1] for leaf in mt.leaves(layer)} == {dtype}


def test_a_layer_made_from_data_lies_where_the_data_does() -> None:
    pytest.importorskip("array_api_strict")
    x = mt.Backend("array_api_strict", device="device1").asarray(np.ones((3, 2)))
    assert str(mt.Standardize.from_data(x).mean.device) == str(x.device)


def test_a_bias_begins_at_zero_and_weights_with_the_initializer() -> None:
    layer = mt.Affine.init(3, 4, np.random.default_rng(0), initializer=lambda shape, rng: np.full(shape, 7.0))
    np.testing.assert_array_equal(layer.W, np.full((3, 4), 7.0))
    np.testing.assert_array_equal(layer.b, np.zeros(4))


def test_the_rows_of_an_embedding_begin_standard_normal() -> None:
    layer = mt.Embedding.init(5, 3, np.random.default_rng(0), dtype="float64")
    np.testing.assert_array_equal(layer.W, np.random.default_rng(0).standard_normal((5, 3)))


# ------------------------------------------------------------------------------------------------ layers


def test_two_rows_are_a_batch(xp: Target) -> None:
    """Whatever they are, one lies as far above their mean as the other below."""
    layer = xp.put(mt.BatchNorm(np.ones(2), np.zeros(2), np.zeros(2), np.ones(2), momentum=1.0, eps=0.0))
    y, cache = xp.run(lambda layer, x: layer.forward(x), layer, xp.put(np.array([[1.0, 5.0], [3.0, -5.0]])))
    assert_close(y, np.array([[-1.0, 1.0], [1.0, -1.0]]), rtol=1e-6)
    assert_close(layer.observe(cache).variance, np.array([2.0, 50.0]), rtol=1e-6)  # over n - 1 = 1


def test_batch_norm_predicts_by_its_formula(xp: Target) -> None:
    layer = xp.put(mt.BatchNorm(*np.array([[3.0], [5.0], [1.0], [0.75]]), eps=0.25))
    assert_close(layer.predict(xp.put(np.array([[2.0], [0.0]]))), np.array([[8.0], [2.0]]), rtol=1e-6)


@pytest.mark.parametrize(("layer", "left"), [(mt.ReLU(), 0.0), (mt.LeakyReLU(0.5), 0.5), (mt.ELU(1.5), 1.5)], ids=repr)
def test_the_slope_at_a_kink_is_that_of_the_left(layer: mt.Layer, left: float, xp: Target) -> None:
    x = xp.put(np.zeros(2))
    _, cache = layer.forward(x)
    assert_close(layer.backward(cache, x + 1.0)[0], np.full(2, left), rtol=1e-6)


def test_each_layer_observes_a_cache_of_its_own() -> None:
    model = mt.Sequential(mt.Tanh(), mt.Tanh())
    _, cache = model.forward(np.ones((2, 3)))
    assert model.observe(cache) is model
    with pytest.raises(ValueError, match="zip"):
        model.observe(cache[:1])


def test_data_of_any_kind_is_standardized() -> None:
    """A single column, no columns, yes and no; a number by itself is not data."""
    layer = mt.Standardize.from_data(np.array([1.0, 3.0]))
    np.testing.assert_array_equal(layer.predict(np.array([1.0, 2.0, 3.0])), [-1.0, 0.0, 1.0])
    with pytest.raises(ValueError, match=r"x has shape \(\), expected \(N\)"):
        layer.predict(np.asarray(1.0))
    assert mt.Standardize.from_data(np.ones((5, 0))).mean.shape == (0,)
    answers = mt.Standardize.from_data(np.array([[True], [False], [True], [True]]))
    np.testing.assert_allclose([answers.mean[0], answers.scale[0]], [0.75, np.sqrt(0.75 * 0.25)], rtol=1e-6)


def test_columns_of_very_different_sizes_are_all_standardized() -> None:
    """Their squares fit into no float64, and beside the largest the smallest would be 0."""
    sizes = np.array([1e200, 1.0, 1e-200, 1e-290])
    x = sizes * np.array([[1.0], [-1.0], [3.0], [-3.0]])
    layer = mt.Standardize.from_data(x)
    np.testing.assert_allclose(layer.scale, sizes * np.sqrt(5.0), rtol=1e-14)
    np.testing.assert_allclose(layer.predict(x), np.outer([1, -1, 3, -3], np.ones(4)) / np.sqrt(5.0), rtol=1e-14)


def test_the_largest_number_of_a_width_is_a_mean() -> None:
    largest = np.finfo("float32").max
    layer = mt.Standardize.from_data(np.full((2, 1), largest))
    np.testing.assert_array_equal([layer.mean[0], layer.scale[0]], [largest, 1.0])


def test_a_column_that_only_rounding_moves_is_constant() -> None:
    x = np.array([[1.0, 1.0], [np.nextafter(1.0, 2.0), 2.0]])
    assert mean_and_deviation(x)[1].tolist() == [0.0, 0.5]
    np.testing.assert_array_equal(mt.Standardize.from_data(x).scale, [1.0, 0.5])


def test_data_in_bfloat16_is_standardized(xp: Target) -> None:
    here = xp.backend.xp
    if not hasattr(here, "bfloat16"):
        pytest.skip("there is no bfloat16 here")
    x = here.astype(xp.asarray(np.array([[2.0, 7.0], [6.0, 7.0]])), here.bfloat16)
    layer = mt.Standardize.from_data(x)
    assert layer.mean.dtype == layer.scale.dtype == x.dtype
    assert_close(
        tuple(here.astype(a, here.float32) for a in mt.leaves(layer)), (np.array([4.0, 7.0]), np.array([2.0, 1.0]))
    )
    with pytest.raises(ValueError, match="too large for bfloat16"):
        mt.Standardize.from_data(xp.asarray(np.full((2, 1), 1e39), None), dtype="bfloat16")


def test_an_embedding_where_words_cannot_be_read() -> None:
    """On another library than NumPy: the same rows and sums, and NaN for what names no row, at either end."""
    pytest.importorskip("array_api_strict")
    there = Target("strict-device1")
    W, words = np.random.default_rng(0).standard_normal((4, 3)), np.array([[0, 3], [1, 0], [3, 0]])
    layer = there.put(mt.Embedding(W))
    y, cache = layer.forward(there.put(words))
    assert_close(y, W[words], rtol=0)
    dout = np.random.default_rng(1).standard_normal((3, 2, 3))
    expected = np.eye(4)[words.ravel()].T @ dout.reshape(6, 3)
    assert_close(layer.backward(cache, there.put(dout))[1].W, expected, rtol=1e-12, atol=1e-12)
    wrong, _ = layer.forward(there.put(np.array([-1, 0, 3, 4])))
    np.testing.assert_array_equal(np.isnan(mt.to_numpy(wrong)).all(axis=1), [True, False, False, True])
    _, nothing = layer.forward(there.put(words[:0]))
    dW = layer.backward(nothing, there.put(dout[:0]))[1].W
    assert_close(dW, np.zeros((4, 3)), rtol=0)
    assert dW.device == layer.W.device


# ------------------------------------------------------------------------------------------------ losses


@pytest.mark.parametrize(
    ("rows", "good"),
    [
        ([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]], True),
        ([[0.5, 0.25, 0.2505], [0.5, 0.5, 0.0]], True),  # rounded, as a file holds them
        ([[0.5, 0.25, 0.26], [0.5, 0.5, 0.0]], False),
        ([[0.5, 0.5, 0.5], [0.5, 0.0, 0.0]], False),  # right on the whole
        ([[1.5, 0.0, -0.5], [0.5, 0.5, 0.0]], False),
        ([[-0.5, -0.25, -0.25], [0.5, 0.5, 0.0]], False),
    ],
    ids=["probabilities", "rounded", "more than 1", "1 on average", "less than 0", "-1"],
)
def test_rows_of_probabilities_add_up_to_1(rows: list[list[float]], good: bool) -> None:
    y = np.zeros((2, 3))
    if good:
        mt.SoftmaxWithLoss().check_targets(y, np.array(rows))
    else:
        with pytest.raises(ValueError, match="each row of t must be probabilities that add up to 1"):
            mt.SoftmaxWithLoss().check_targets(y, np.array(rows))


def test_a_class_may_count_for_nothing_but_not_all_of_them() -> None:
    mt.SoftmaxWithLoss(class_weight=np.array([0.0, 0.5, 0.25])).check_weights()
    for weight in ([0.0, 0.0], [-1.0, 1.0], [np.inf, 1.0], [np.nan, 1.0]):
        with pytest.raises(ValueError, match="class_weight must be finite and at least 0, and not all 0"):
            mt.SoftmaxWithLoss(class_weight=np.array(weight)).check_weights()


@pytest.mark.parametrize("kind", [mt.Sequential, mt.Parallel])
def test_a_network_that_comes_from_a_file_looks_at_its_layers(kind: type[mt.Layer]) -> None:
    """It is put together without __init__, which would have looked."""
    network = kind(mt.Tanh(), mt.Tanh())
    network.__post_init__()
    with pytest.raises(TypeError, match=f"^{kind.__name__}: layer 1 must be a Layer"):
        remake(network, {"layers": (mt.Tanh(), 3)}).__post_init__()
    with pytest.raises(TypeError, match=f"^{kind.__name__}: layers must be a tuple, got list"):
        remake(network, {"layers": [mt.Tanh()]}).__post_init__()
