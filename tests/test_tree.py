"""Models as values: declared leaves, names, and changed copies."""

from __future__ import annotations

import numpy as np
import pytest

import martlet as mt
from martlet import Array
from martlet.tree import Unlike, learned, map_where, sizes


@pytest.fixture
def model() -> mt.Sequential:
    rng = np.random.default_rng(0)
    return mt.Sequential(mt.Affine.init(2, 3, rng), mt.Tanh(), mt.Sequential(mt.MatMul.init(3, 4, rng)))


def test_leaves_are_named_by_their_place(model: mt.Sequential) -> None:
    assert mt.names(model) == ("0.W", "0.b", "2.0.W")
    assert mt.leaves(model)[2] is model[2][0].W
    assert mt.names(mt.Freeze(model[0])) == ("layer.W", "layer.b")
    assert mt.names(mt.Parallel(model[0], model[1])) == ("0.W", "0.b")
    assert mt.names(mt.Adam().init(model))[:5] == ("step", "lr", "beta1", "beta2", "eps")
    assert mt.names(mt.Momentum().init(model))[-3:] == ("v.0.W", "v.0.b", "v.2.0.W")


def test_replace_gives_a_changed_copy(model: mt.Sequential) -> None:
    W = np.ones((2, 3), dtype=np.float32)
    new = mt.replace(model, {"0.W": W, "2.0.W": 2 * model[2][0].W})
    assert new[0].W is W
    assert new[0].b is model[0].b
    assert model[0].W is not W
    state = mt.SGD(lr=0.1).init(model)
    assert mt.replace(state, {"lr": 0.5}).lr == np.float32(0.5)
    assert mt.replace(state, {"lr": 0.5}).lr.dtype == np.float32


@pytest.mark.parametrize("name", ["W", "0", "0.X", "1.W", "3.W", "layers.0.W", "0.W.x", ""])
def test_replace_refuses_unknown_names(model: mt.Sequential, name: str) -> None:
    with pytest.raises((ValueError, TypeError), match="replace"):
        mt.replace(model, {name: np.ones(2)})


def test_rebuild_bypasses_init_and_keeps_the_type() -> None:
    class Strange(mt.Affine):
        def __init__(self) -> None:
            raise AssertionError("rebuild must not call this")

    strange = object.__new__(Strange)
    strange.__dict__.update(W=np.ones((1, 1)), b=np.ones(1))
    new = mt.rebuild(strange, [np.zeros((1, 1)), np.zeros(1)])
    assert type(new) is Strange
    assert new.W == 0.0
    assert type(new.gradient(W=new.W)) is Strange
    with pytest.raises(ValueError, match="has 2 arrays, got 3"):
        mt.rebuild(new, [1, 2, 3])


def test_what_is_learned_and_what_is_kept() -> None:
    class Norm(mt.Layer):
        gain: Array
        mean: Array = mt.kept()
        rate: float = 0.5

    norm = Norm(np.ones(3), np.zeros(3))
    assert sizes(norm) == (3, 3)
    assert mt.names(learned(norm)) == ("gain",)
    assert learned(mt.Freeze(norm)) is None
    assert learned(mt.Sequential(mt.Tanh())) is None
    grad = norm.gradient(gain=np.ones(3))
    assert type(grad) is Norm
    assert grad.mean is None
    assert grad.rate == 0.5
    assert norm.gradient(gain=None) is None
    with pytest.raises(TypeError, match="no field named gian"):
        norm.gradient(gian=np.ones(3))


def test_a_leaf_is_annotated_exactly_array() -> None:
    with pytest.raises(TypeError, match=r"Wrong\.W is annotated .*Array \| None"):

        class Wrong(mt.Layer):
            W: Array | None

    with pytest.raises(TypeError, match=r"Wrong\.weights is annotated"):

        class Wrong(mt.Layer):
            weights: list[Array]

    with pytest.raises(TypeError, match=r"Wrong\.W is annotated 'Alias'"):

        class Wrong(mt.Layer):
            W: Alias

    class Right(mt.Layer):
        W: mt.Array
        b: Array

    assert mt.names(Right(np.ones(1), np.ones(1))) == ("W", "b")


Alias = Array


def test_a_field_can_be_added_by_a_subclass() -> None:
    class Scaled(mt.MatMul):
        scale: Array

    layer = Scaled(np.ones((2, 2)), np.ones(2))
    assert mt.names(layer) == ("W", "scale")


def test_layers_say_how_to_draw_their_arrays() -> None:
    with pytest.raises(TypeError, match=r"Affine takes arrays.*Affine\.init\(2, 10, rng\)"):
        mt.Affine(2, 10)
    with pytest.raises(TypeError, match=r"MatMul takes arrays"):
        mt.MatMul([[1.0]])


def test_assigning_says_what_to_do_instead(model: mt.Sequential) -> None:
    with pytest.raises(AttributeError, match=r"martlet\.replace"):
        model[0].W = np.ones((2, 3))
    with pytest.raises(AttributeError, match="cannot be deleted"):
        del model[0].W


def test_printing_shows_the_tree(model: mt.Sequential) -> None:
    assert repr(model).splitlines() == [
        "Sequential(",
        "  0: Affine(W: (2, 3) float32, b: (3,) float32)",
        "  1: Tanh()",
        "  2: Sequential(",
        "    0: MatMul(W: (3, 4) float32)",
        "  )",
        ")  # 21 learned, 0 kept, on numpy cpu",
    ]
    assert repr(mt.Branch(3)) == "Branch(copies=3)"
    assert repr(mt.Sequential()) == "Sequential()"


def test_a_sequential_is_a_sequence_of_layers(model: mt.Sequential) -> None:
    assert len(model) == 3
    assert list(model) == [model[0], model[1], model[2]]
    assert isinstance(model[1:], mt.Sequential)
    assert model[1:][0] is model[1]
    assert model[-1] is model[2]


def test_a_guided_map_touches_only_what_has_a_gradient(model: mt.Sequential) -> None:
    grad = model.gradient(layers=(model[0].gradient(W=model[0].W), None, None))
    new = map_where(lambda p, g: p - g, grad, model)
    assert not new[0].W.any()
    assert model[0].W.any()
    assert new[0].b is model[0].b
    assert new[2] is model[2]
    with pytest.raises(Unlike, match="3 layers meets 2 layers"):
        map_where(lambda p, g: p, model, model[:2])
    with pytest.raises(Unlike, match="Affine meets Tanh"):
        map_where(lambda p, g: p, model[0], model[1])
    with pytest.raises(TypeError, match=r"Affine.backward must give self.gradient"):
        map_where(lambda p, g: p, model[0].W, model[0])


def test_a_tuple_of_trees_is_printed_by_name() -> None:
    optimizer = mt.SGD(lr=0.5, transforms=(mt.L2(decay=0.1), mt.ClipByNorm(limit=1.0)))
    assert repr(optimizer.init(mt.MatMul(np.ones((2, 3))))) == (
        "State(step: () int32, lr: () float64, schedule=None\n"
        "  transforms.0: State(decay: () float64)\n"
        "  transforms.1: State(limit: () float64)\n"
        ")  # 0 learned, 4 kept, on numpy cpu"
    )
