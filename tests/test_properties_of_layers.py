"""What is true of every layer in every shape, memory layout and direction: laws over examples that are drawn.

test_laws.py asks each layer about one input; here the input is whatever hypothesis comes up with.  How many
examples there are, and how to have more of them, is said in properties/strategies.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import Target, take_apart, to_numpy
from hypothesis import strategies as st
from properties.families import LAYERS, LayerFamily, Sizes
from properties.layouts import arrangements, assert_untouched, picks
from properties.nearness import assert_near, each, epsilon, narrower, widened
from properties.strategies import anywhere, factors, for_all, seeds, sizes

import martlet as mt
from martlet.testing.oracles import differentiate
from martlet.testing.witness import Record, in_places
from martlet.tree import learned, named_leaves, subtrees

families = pytest.mark.parametrize("family", LAYERS, ids=lambda family: family.name)


def draw(family: LayerFamily, seed: int, sizes: Sizes) -> tuple[mt.Layer, Any, Any]:
    """The family's layer and input, and a dout shaped like its output: NumPy, float64."""
    rng = np.random.default_rng(seed)
    layer, x = family.draw(rng, family.fitting(sizes))
    arrays, build = take_apart(layer.forward(x)[0])
    return layer, x, build([rng.standard_normal(y.shape) for y in arrays])


def forward_backward(layer: mt.Layer, x: Any, dout: Any) -> tuple[Any, Any, Any]:
    y, cache = layer.forward(x)
    return y, *layer.backward(cache, dout)


def test_every_layer_has_a_family() -> None:
    covered: set[type] = set()
    for family in LAYERS:
        waiting: list[Any] = [family.draw(np.random.default_rng(0), Sizes())[0]]
        while waiting:
            layer = waiting.pop()
            covered.add(type(layer))
            waiting += [child for _, child in subtrees(layer)]
    exported = (getattr(mt.layers, name) for name in mt.layers.__all__)
    assert {kind for kind in exported if issubclass(kind, mt.Layer)} <= covered


@pytest.mark.eager
@families
@for_all(20, seed=seeds, sizes=sizes, picks=picks)
def test_the_layout_is_not_part_of_the_value(
    family: LayerFamily, xp: Target, seed: int, sizes: Sizes, picks: list[int]
) -> None:
    """Nor is the memory around a view, or under it, written to."""
    if xp.name == "jax":
        pytest.skip("JAX shows no layouts")
    arrays, build = take_apart(draw(family, seed, sizes))
    for laid in arrangements(xp, arrays, picks):
        found = forward_backward(*build([a.array for a in laid]))
        expected = forward_backward(*xp.put(build([a.numbers for a in laid])))
        assert_near(found, expected, xp, family.leeway(xp))
        assert_untouched(laid)


@families
@for_all(30, seed=seeds, sizes=sizes, a=factors, b=factors)
def test_backward_is_linear(family: LayerFamily, xp: Target, seed: int, sizes: Sizes, a: float, b: float) -> None:
    """And it may be called again: the cache is not used up."""
    layer, x, first = draw(family, seed, sizes)
    rng = np.random.default_rng(seed + 1)
    second = each(lambda d: rng.standard_normal(d.shape), first)
    both = each(lambda d, e: a * d + b * e, first, second)

    def three(layer: mt.Layer, x: Any, *douts: Any) -> Any:
        _, cache = layer.forward(x)
        return tuple(layer.backward(cache, dout) for dout in douts)

    one, other, together = xp.run(three, *map(xp.put, (layer, x, first, second, both)))
    assert_near(together, each(lambda d, e: a * d + b * e, one, other), xp, 2 * family.units)


@pytest.mark.eager
@families
@for_all(30, seed=seeds, sizes=sizes, cut=st.integers(2, 99))
def test_rows_are_alone(family: LayerFamily, xp: Target, seed: int, sizes: Sizes, cut: int) -> None:
    """A batch in another order gives its outputs in that order, a batch in two gives both, and gradients add up."""
    if family.together:
        pytest.skip(family.together)
    layer, x, dout = draw(family, seed, sizes)
    here, units = xp.put(layer), family.leeway(xp)
    whole = y, dx, grad = to_numpy(forward_backward(here, xp.put(x), xp.put(dout)))
    order = np.random.default_rng(seed + 1).permutation(sizes.n)

    def of(rows: Any) -> Any:
        return to_numpy(forward_backward(here, *(xp.put(each(lambda v: v[rows], part)) for part in (x, dout))))

    *moved, same = of(order)
    assert_near(tuple(moved), each(lambda v: v[order], (y, dx)), xp, units)
    assert_near(same, grad, xp, 100)
    half = cut % (sizes.n + 1)
    first, second = of(slice(None, half)), of(slice(half, None))
    assert_near(each(lambda *two: np.concatenate(two), first[:2], second[:2]), whole[:2], xp, units)
    assert_near(each(np.add, first[2], second[2]), grad, xp, 100)


@pytest.mark.eager
@families
@for_all(30, seed=seeds, sizes=sizes)
def test_backward_is_the_slope_in_every_direction(family: LayerFamily, xp: Target, seed: int, sizes: Sizes) -> None:
    """Against autograd array by array, to rounding; without one, along a random direction in x and all parameters."""
    layer, x, dout = draw(family, seed, sizes)
    _, dx, grad = to_numpy(forward_backward(*map(xp.put, (layer, x, dout))))
    found = named_leaves(grad)
    assert set(found) == set(named_leaves(learned(layer)))
    if xp.name in ("torch", "jax"):
        record = Record(layer, "", x, dout=dout)
        expected = differentiate(xp.name, record.function()).values
        for slope, wanted in zip(in_places(layer, dx, grad), expected, strict=True):
            assert_near(slope, wanted, xp, 10 * family.units)
        return
    slopes = [found.get(name) for name in mt.names(layer)]  # None: not learned
    slopes += [None] * len(take_apart(x)[0]) if dx is None else take_apart(dx)[0]
    rng = np.random.default_rng(seed + 1)
    way = [None if slope is None else rng.uniform(-1.0, 1.0, slope.shape) for slope in slopes]
    got = sum(float((s * v).sum()) for s, v in zip(slopes, way, strict=True) if s is not None)
    size = 1.0 + sum(float(np.abs(s).sum()) for s in slopes if s is not None)
    rounding = 1e-11 if xp.double == "float64" else 2e-7
    steps = (1e-3, 1e-5) if family.units > 100.0 else (1e-3,)  # a kink inside a network may lie within the larger one
    assert any(abs(got - slope_along(way, layer, x, dout, h)) <= rounding * size * family.units for h in steps)


def slope_along(way: list[Any], layer: mt.Layer, x: Any, dout: Any, step: float) -> float:
    """How Σ y · dout changes as the arrays of layer and x go that way: from difference quotients, in float64."""
    arrays, build = take_apart((layer, x))
    douts, _ = take_apart(dout)

    def at(step: float) -> Any:
        moved, there = build([a if v is None else a + step * v for a, v in zip(arrays, way, strict=True)])
        return sum(float((y * d).sum()) for y, d in zip(take_apart(moved.forward(there)[0])[0], douts, strict=True))

    def quotient(step: float) -> float:
        return float((at(step) - at(-step)) / (2.0 * step))

    return (4.0 * quotient(step) - quotient(2.0 * step)) / 3.0  # Richardson: the error is of the fourth order


@pytest.mark.eager
@families
@for_all(30, seed=seeds, sizes=sizes, pick=st.integers(0, 5))
def test_a_narrow_result_is_the_wide_one_rounded(
    family: LayerFamily, xp: Target, seed: int, sizes: Sizes, pick: int
) -> None:
    if family.units > 100:
        pytest.skip("it magnifies a rounding too much")
    width = narrower(xp)[pick % len(narrower(xp))]
    given = xp.put(draw(family, seed, sizes), width)
    found = to_numpy(forward_backward(*given))
    assert_near(found, forward_backward(*each(widened, to_numpy(given))), xp, 40, width)


@pytest.mark.eager
@pytest.mark.parametrize("family", [f for f in LAYERS if f.bounded], ids=lambda family: family.name)
@for_all(40, seed=seeds, sizes=sizes, pick=st.integers(0, 11))
def test_finite_numbers_stay_finite(family: LayerFamily, xp: Target, seed: int, sizes: Sizes, pick: int) -> None:
    """However large or small: nothing overflows, no warning is given, and a row among others is what it is alone."""
    widths = (xp.double, *narrower(xp))
    width = widths[pick % len(widths)]
    layer, x, dout = draw(family, seed, sizes)
    within = 0.25 if "oftmax" in family.name else 1.0  # whose numbers are differences
    x = each(lambda a: within * anywhere(width, np.random.default_rng(seed + 1), a.shape), x)
    y, dx, _ = to_numpy(forward_backward(*(xp.put(value, width) for value in (layer, x, dout))))
    for value in (y, dx):
        assert np.isfinite(value.astype("float64")).all()
    if sizes.n and not family.together:
        row = slice(seed % sizes.n, seed % sizes.n + 1)
        y_alone, dx_alone, _ = to_numpy(forward_backward(*(xp.put(v, width) for v in (layer, x[row], dout[row]))))
        tiny = 8 * float(np.finfo(y.dtype).tiny) if y.dtype.kind == "f" else 1e-37
        rtol = 8 * epsilon(width)
        np.testing.assert_allclose(widened(y_alone), widened(y[row]), rtol=rtol, atol=tiny)
        assert_near(dx_alone, dx[row], xp, 50, width)
