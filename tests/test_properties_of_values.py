"""What comes back as it was: trees taken apart and rebuilt, arrays moved, batches put together again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import Target, to_numpy
from hypothesis import strategies as st
from properties.families import Sizes
from properties.nearness import assert_near, narrower
from properties.strategies import filled, for_all, seeds, streams, trees

import martlet as mt
from martlet.functions import one_hot
from martlet.noise import bits, chance
from martlet.tree import learned, map_leaves, named_leaves
from martlet.tree import sizes as tree_sizes


@for_all(150, tree=trees)
def test_a_tree_is_its_leaves_and_its_names(tree: mt.Layer) -> None:
    names, leaves = mt.names(tree), mt.leaves(tree)
    assert len(set(names)) == len(names) == len(leaves)
    assert_alike(mt.rebuild(tree, leaves), tree)
    assert_alike(mt.replace(tree, {}), tree)
    assert_alike(mt.replace(tree, dict(zip(names, leaves, strict=True))), tree)
    numbered = mt.rebuild(tree, [np.full(x.shape, i) for i, x in enumerate(leaves)])
    assert [int(x.reshape(-1)[0]) for x in mt.leaves(numbered)] == list(range(len(leaves)))
    assert mt.names(numbered) == names
    assert sum(tree_sizes(tree)) == sum(x.size for x in leaves)


@for_all(100, tree=trees, pick=st.integers(0, 99))
def test_replacing_one_leaves_the_others(tree: mt.Layer, pick: int) -> None:
    names = mt.names(tree)
    if not names:
        with pytest.raises(ValueError, match="has no array named"):
            mt.replace(tree, {"W": np.ones(1)})
        return
    name = names[pick % len(names)]
    new = np.asarray(named_leaves(tree)[name] + 1)
    after = mt.replace(tree, {name: new})
    assert [a is b for a, b in zip(mt.leaves(after), mt.leaves(tree), strict=True)] == [n != name for n in names]
    assert named_leaves(after)[name] is new
    assert type(after) is type(tree)


@for_all(100, tree=trees)
def test_what_is_learned_is_part_of_the_tree(tree: mt.Layer) -> None:
    part = learned(tree)
    if part is None:
        assert tree_sizes(tree)[0] == 0
        return
    assert type(part) is type(tree)
    found, every = named_leaves(part), named_leaves(tree)
    assert all(x is every[name] for name, x in found.items())
    assert list(found) == [name for name in every if name in found]  # in the same order
    kept = {name for name in every if name.split(".")[-1] in ("shift", "stream", "step") or "layer" in name.split(".")}
    assert set(every) - set(found) == kept
    assert_alike(learned(part), part)


def assert_alike(tree: Any, other: Any) -> None:
    """Two trees of the same structure around the very same arrays."""
    assert repr(tree) == repr(other)
    assert all(a is b for a, b in zip(mt.leaves(tree), mt.leaves(other), strict=True))


@pytest.mark.eager
@for_all(80, tree=trees, pick=st.integers(0, 5))
def test_moving_a_tree_keeps_its_values(xp: Target, tree: mt.Layer, pick: int) -> None:
    """There and back again, to the last bit; a narrower width rounds, and its numbers come back as they are."""
    here = tree.to(xp.backend, dtype=xp.double)
    assert_near(here.to("numpy", dtype="float64"), rounded(tree, xp.double), xp)
    width = narrower(xp)[pick % len(narrower(xp))]
    narrow = here.to(dtype=width)
    assert {mt.backend.dtype_name(x.dtype) for x in mt.leaves(narrow)} <= {width, "int32"}
    assert_near(narrow.to(dtype=xp.double).to(dtype=width), to_numpy(narrow), xp)
    if width != "bfloat16":  # which NumPy has not
        assert_near(narrow, rounded(tree, width), xp)
    assert mt.names(narrow) == mt.names(tree)
    for a, b in zip(mt.leaves(here), mt.leaves(here.to()), strict=True):
        assert a is not b


def rounded(tree: mt.Layer, width: str) -> mt.Layer:
    return map_leaves(lambda x: x.astype(width) if x.dtype.kind == "f" else x, tree)


@for_all(60, tree=trees)
def test_to_copies(tree: mt.Layer) -> None:
    for a, b in zip(mt.leaves(tree.to()), mt.leaves(tree), strict=True):
        assert not np.shares_memory(a, b)


# --------------------------------------------------------------------------------- data on its way


@pytest.mark.eager
@for_all(
    100,
    samples=st.sampled_from((7, 1, 2, 3, 4, 6, 12)),
    size=st.integers(1, 14),
    last=st.sampled_from(("keep", "drop")),
    seed=st.none() | seeds,
    weighted=st.booleans(),
)
def test_an_epoch_has_every_sample_once(
    xp: Target, samples: int, size: int, last: str, seed: int | None, weighted: bool
) -> None:
    """Each row of x with its own t and weight, in batches of the asked size, and at most one that is short."""
    number = np.arange(samples)
    x, t, weight = np.stack([number, -number], axis=1) * 1.0, number, number + 0.5
    given = tuple(map(xp.put, (x, t, weight if weighted else None)))
    rng = None if seed is None else np.random.default_rng(seed)
    epoch = [to_numpy(b) for b in mt.batches(*given[:2], size, rng=rng, weight=given[2], last=last)]
    lengths = [len(batch[0]) for batch in epoch]
    full, rest = divmod(samples, size)
    assert lengths == [size] * full + [rest] * (rest > 0 and last == "keep")
    order = np.concatenate([number[:0], *(batch[1] for batch in epoch)])
    assert set(order) <= set(number)
    assert len(set(order)) == len(order) == sum(lengths)
    expected = number if seed is None else np.random.default_rng(seed).permutation(samples)
    np.testing.assert_array_equal(order, expected[: len(order)])
    for batch in epoch:
        np.testing.assert_array_equal(batch[0], np.stack([batch[1], -batch[1]], axis=1))
        assert len(batch) == 2 + weighted
        assert not weighted or (batch[2] == batch[1] + 0.5).all()


@pytest.mark.eager
@for_all(60, seed=seeds, sizes=filled, dtype=st.sampled_from(("float32", "float16")), outside=st.integers(-3, 8))
def test_one_hot_says_which_class(xp: Target, seed: int, sizes: Sizes, dtype: str, outside: int) -> None:
    if xp.name.startswith("strict"):
        dtype = "float32"
    t = np.random.default_rng(seed).integers(0, sizes.k, sizes.n)
    rows = mt.to_numpy(one_hot(xp.put(t), sizes.k, dtype))
    np.testing.assert_array_equal(rows, np.eye(sizes.k)[t])
    assert rows.dtype == dtype
    other = mt.to_numpy(one_hot(xp.put(np.full(2, outside)), sizes.k, dtype))
    assert other.sum() == (2 if 0 <= outside < sizes.k else 0)


@pytest.mark.eager
@for_all(60, seed=seeds, sizes=filled, size=st.integers(-6, 6), level=st.floats(-1e3, 1e3))
def test_standardized_data_has_no_level_and_no_scale(
    xp: Target, seed: int, sizes: Sizes, size: int, level: float
) -> None:
    """And the inverse brings the data back; a constant column is only moved."""
    rng = np.random.default_rng(seed)
    spread = 10.0 ** (size / 2.0)
    x = level + spread * rng.standard_normal((sizes.n, *sizes.sample))
    if seed % 3 == 0:
        x[...] = x[:1]
    layer = mt.Standardize.from_data(xp.put(x))
    y = layer.predict(xp.put(x))
    back = mt.to_numpy(layer.inverse().predict(y))
    eps = float(np.finfo(xp.double).eps)
    lost = eps * (1.0 + np.abs(x).max())  # a rounding of the data, which the division magnifies
    np.testing.assert_allclose(back, x, rtol=0.0, atol=20 * lost)
    y, scale = mt.to_numpy(y), mt.to_numpy(layer.scale)
    np.testing.assert_allclose(y.mean(axis=0) * scale, np.zeros(y.shape[1:]), atol=20 * lost)
    if sizes.n == 1 or seed % 3 == 0:
        assert (scale == 1.0).all()
    else:
        np.testing.assert_allclose((y.std(axis=0) - 1.0) * scale, np.zeros(y.shape[1:]), atol=50 * lost)


@pytest.mark.eager
@for_all(80, key=streams, shape=st.lists(st.integers(1, 6), min_size=1, max_size=3), part=st.integers(0, 6))
def test_noise_for_a_part_is_part_of_the_noise(
    xp: Target, key: tuple[int, int, int], shape: list[int], part: int
) -> None:
    """It goes by position alone: not by how many rows there are, nor by the shape they have."""
    stream, step = (xp.put(np.array(numbers, dtype="int32")) for numbers in (key[:2], key[2:]))
    whole = mt.to_numpy(chance(stream, step, tuple(shape), 0.4))
    assert whole.shape == tuple(shape)
    rows = min(part, shape[0])
    np.testing.assert_array_equal(mt.to_numpy(chance(stream, step, (rows, *shape[1:]), 0.4)), whole[:rows])
    np.testing.assert_array_equal(mt.to_numpy(chance(stream, step, (whole.size,), 0.4)), whole.reshape(-1))
    np.testing.assert_array_equal(mt.to_numpy(bits(stream, step, rows)), mt.to_numpy(bits(stream, step, 9))[:rows])


@pytest.mark.eager
@for_all(60, key=streams, low=st.floats(0.0, 1.0), high=st.floats(0.0, 1.0))
def test_what_is_likelier_comes_more_often(xp: Target, key: tuple[int, int, int], low: float, high: float) -> None:
    """Each place that a low probability hits is hit by a higher one too; and 0 hits none."""
    stream, step = (xp.put(np.array(numbers, dtype="int32")) for numbers in (key[:2], key[2:]))
    few, many = (mt.to_numpy(chance(stream, step, (40,), p)) for p in sorted((low, high)))
    assert (many | ~few).all()
    assert not mt.to_numpy(chance(stream, step, (40,), 0.0)).any()
