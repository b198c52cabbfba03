"""A step replayed on PyTorch is the step as it is written there: every row of the tables, in three widths of floats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from cases import LAYERS, LOSSES, OPTIMIZERS, LayerCase, LossCase, OptimizerCase, affine, network
from test_laws import draw
from test_plan import NETWORKS

import martlet as mt
from martlet.compile.numpy import carried_of
from martlet.compile.recording import record
from martlet.tree import take_apart

pytestmark = pytest.mark.only("torch")

WIDTHS = ["float64", "float32", "bfloat16"]
widths = pytest.mark.parametrize("width", WIDTHS)


def to_torch(value: Any, width: str | None = None) -> Any:
    """A nest of arrays and trees on PyTorch, whose floats are of this width."""
    backend = mt.Backend("torch")
    arrays, build = take_apart(value)
    return build([backend.asarray(x, width if mt.backend.is_floating(x) else None) for x in arrays])


class Replayed:
    """The plan of a function, ``carried`` as Plan takes it; ``kept``: the numbers of the inputs that stay."""

    def __init__(self, function: Callable[..., Any], *arguments: Any, carried: Any, kept: Sequence[int] = ()) -> None:
        import torch

        from martlet.compile.torch_calls import Place
        from martlet.compile.torch_plan import TorchPlan, TorchState

        with torch.inference_mode():
            program = record(function, *arguments)
            self.carried, self.names = list(carried), [node.settings["name"] for node in program.inputs]
            arrays = take_apart(arguments)[0]
            mine = [i for i in range(len(arrays)) if i in {i for i, *_ in carried} or i in kept]
            half = torch.bfloat16 if torch.bfloat16 in {x.dtype for x in arrays} else torch.float16
            self.state = TorchState({self.names[i]: arrays[i] for i in mine}, Place(torch.device("cpu"), half))
            self.plan = TorchPlan(program, carried, self.state)
        self.data = [i for i in range(len(arrays)) if i not in mine]

    def step(self, *data: Any) -> list[Any]:
        """Copies of the results that are not carried."""
        import torch

        with torch.inference_mode():
            for place, array in zip(self.plan.inputs, data, strict=True):
                place.copy_(array)
            self.plan.run()
            return [x.clone() for x in self.plan.outputs]

    def state_now(self) -> list[Any]:
        """The carried arrays, in order."""
        now = self.state.read()
        return [now[self.names[i]] for i, *_ in self.carried]


def assert_near(got: Any, wanted: Any, what: str) -> None:
    """Equal in form, and nearly in numbers, by the scale of the largest: float64 to 1e-12, others to four units."""
    import torch

    assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape), what
    if not wanted.is_floating_point():
        assert torch.equal(got, wanted), what
        return
    got, wanted, eps = got.double(), wanted.double(), torch.finfo(wanted.dtype).eps
    assert torch.equal(got.isfinite(), wanted.isfinite()), what
    finite = wanted.isfinite()
    scale = float(wanted[finite].abs().max()) if finite.any() else 0.0
    tolerance = 1e-12 if eps < 1e-12 else 4 * eps
    assert float((got - wanted)[finite].abs().sum().clamp(max=1e300)) <= tolerance * scale * wanted.numel(), what
    assert bool(((got - wanted)[finite].abs() <= tolerance * scale).all()), what


def side_by_side(
    function: Callable[..., Any], *arguments: Any, carried: Any, kept: Sequence[int] = (), steps: int = 10
) -> Replayed:
    """Some steps of both, each on other data; AssertionError where they differ."""
    replayed = Replayed(function, *arguments, carried=carried, kept=kept)
    arrays, build = take_apart(arguments)
    given, moved = list(arrays), {i: o for i, o, *_ in replayed.carried}
    for number in range(steps):
        for i in replayed.data:
            given[i] = arrays[i].roll(number, 0) if arrays[i].ndim else arrays[i]
        expected = take_apart(function(*build(given)))[0]
        found = replayed.step(*(given[i] for i in replayed.data))
        results = [x for o, x in enumerate(expected) if o not in moved.values()]
        given = [expected[moved[i]] if i in moved else x for i, x in enumerate(given)]
        for got, wanted in zip(found, results, strict=True):
            assert_near(got, wanted, f"a result of step {number}")
        for got, (i, *_) in zip(replayed.state_now(), replayed.carried, strict=True):
            assert_near(got, given[i], f"{replayed.names[i]} after step {number}")
    return replayed


# ------------------------------------------------------------------------------------------ the tables


@widths
@pytest.mark.parametrize("case", LAYERS, ids=lambda case: case.name)
def test_every_layer_is_trained_as_it_is_eagerly(case: LayerCase, width: str) -> None:
    model, x, dout = to_torch(draw(case), width)
    optimizer = mt.Momentum(lr=0.1)
    state = to_torch(optimizer.init(model))  # which is NumPy's where the model has no arrays

    def step(model: mt.Layer, state: Any, x: Any, dout: Any) -> Any:
        y, cache = model.forward(x)
        dx, grad = model.backward(cache, dout)
        return (*optimizer.update(model.observe(cache), grad, state), y, dx)

    kept = range(len(take_apart((model, state))[0]))
    side_by_side(step, model, state, x, dout, carried=carried_of(model, (), state), kept=kept)


@widths
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("case", LOSSES, ids=lambda case: case.name)
def test_every_loss_is_brought_down_as_it_is_eagerly(
    case: LossCase, reduction: str, weighted: bool, width: str
) -> None:
    rng = np.random.default_rng(5)
    loss, y, t = to_torch((case.loss(reduction), case.y(rng), case.t(rng)), width)
    weight = to_torch(rng.uniform(0.5, 2.0, len(y)), width) if weighted else None

    def step(y: Any, loss: mt.Loss, t: Any, weight: Any) -> Any:
        value, cache = loss.forward(y, t, weight)
        return y - 0.1 * loss.backward(cache), value

    kept = range(1, 1 + len(mt.leaves(loss)))
    side_by_side(step, y, loss, t, weight, carried=[(0, 0, "model", "y")], kept=kept)


@widths
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("case", OPTIMIZERS, ids=lambda case: case.name)
def test_every_optimizer_trains_as_it_does_eagerly(case: OptimizerCase, name: str, width: str) -> None:
    rng = np.random.default_rng(3)
    model, loss, optimizer = to_torch(NETWORKS[name](rng), width), mt.SoftmaxWithLoss(), case.optimizer()
    x = rng.integers(0, 7, (6, 2)) if name == "words" else rng.standard_normal((6, 3))
    batch = to_torch((x, rng.integers(0, 2, 6)), width)
    state = optimizer.init(model)

    def step(model: Any, state: Any, x: Any, t: Any) -> Any:
        return mt.train_step(model, loss, optimizer, state, x, t)

    kept = range(len(take_apart((model, state))[0]))
    side_by_side(step, model, state, *batch, carried=carried_of(model, (), state), kept=kept)
