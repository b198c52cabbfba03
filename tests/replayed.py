"""A function of trees taken twice on a library that has devices, as it stands and replayed, and both compared."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from cases import network as catalogue

import martlet as mt
from martlet.backend import library_of
from martlet.compile.recorder.recording import Program, record
from martlet.compile.replay import carried_of
from martlet.tree import take_apart

# How near a replayed step is to the eager one: in float64, and in units in the last place of what is narrower.
# A kernel of CuPy's adds up short rows in another order, and some steps make much of a rounding error.
BOUNDS = {"torch": (1e-12, 4), "cupy": (1e-10, 4096)}
LEAST = 0.1  # scale: a slope that is 0 is nothing but rounding errors
WIDTHS = {"torch": ("float64", "float32", "bfloat16"), "cupy": ("float64", "float32", "float16")}


def on(name: str, value: Any, width: str | None = None) -> Any:
    """A nest of arrays and trees on a library, whose floats are of this width."""
    backend = mt.Backend(name)
    arrays, build = take_apart(value)
    return build([backend.asarray(x, width if mt.backend.is_floating(x) else None) for x in arrays])


def entered(name: str) -> contextlib.AbstractContextManager[Any]:
    """The mode in which a library's plans compute."""
    if name != "torch":
        return contextlib.nullcontext()
    import torch

    return torch.inference_mode()


def place_of(name: str, arrays: list[Any]) -> Any:
    """Where a plan of a library keeps its numbers."""
    if name == "cupy":
        from martlet.compile.cupy.calls import Place as CupyPlace

        return CupyPlace()
    import torch

    from martlet.compile.torch.calls import Place as TorchPlace

    half = torch.bfloat16 if torch.bfloat16 in {x.dtype for x in arrays} else torch.float16
    return TorchPlace(torch.device("cpu"), half)


def plan_of(name: str, program: Program, carried: Any, values: dict[str, Any], place: Any) -> Any:
    """A plan, and the memory of what it changes."""
    if name == "cupy":
        from martlet.compile.cupy.plan import CupyPlan, CupyState

        state: Any = CupyState(values, place)
        return CupyPlan(program, carried, state), state
    from martlet.compile.torch.plan import TorchPlan
    from martlet.compile.torch.state import TorchState

    state = TorchState(values, place)
    return TorchPlan(program, carried, state), state


class Replayed:
    """The plan of a function, ``carried`` as Plan takes it; ``kept``: the numbers of the inputs that stay."""

    def __init__(self, function: Callable[..., Any], *arguments: Any, carried: Any, kept: Sequence[int] = ()) -> None:
        arrays = take_apart(arguments)[0]
        self.name = mt.backend_of(arrays[0]).name
        with entered(self.name):
            program = record(function, *arguments)
            self.carried, self.names = list(carried), [node.settings["name"] for node in program.inputs]
            mine = [i for i in range(len(arrays)) if i in {i for i, *_ in carried} or i in kept]
            values = {self.names[i]: arrays[i] for i in mine}
            self.plan, self.state = plan_of(self.name, program, carried, values, place_of(self.name, arrays))
        self.data = [i for i in range(len(arrays)) if i not in mine]

    def step(self, *data: Any) -> list[Any]:
        """Copies of the results that are not carried."""
        with entered(self.name):
            for place, array in zip(self.plan.inputs, data, strict=True):
                place[...] = array
            self.plan.run()
            return [self.state.copied(x) for x in self.plan.outputs]

    def state_now(self) -> list[Any]:
        """The carried arrays, in order."""
        now = self.state.read()
        return [now[self.names[i]] for i, *_ in self.carried]


def assert_near(got: Any, wanted: Any, what: str) -> None:
    """Equal in form, and nearly in numbers, by the scale of the largest: see BOUNDS."""
    assert (got.dtype, tuple(got.shape)) == (wanted.dtype, tuple(wanted.shape)), what
    width, (exact, units) = mt.backend.dtype_name(wanted.dtype), BOUNDS[mt.backend_of(wanted).name]
    got, wanted = mt.to_numpy(got), mt.to_numpy(wanted)
    if wanted.dtype.kind != "f":
        assert np.array_equal(got, wanted), what
        return
    eps = 2.0**-7 if width == "bfloat16" else float(np.finfo(width).eps)
    got, wanted = got.astype("float64"), wanted.astype("float64")
    finite = np.isfinite(wanted)
    assert np.array_equal(np.isfinite(got), finite), what
    scale = max(LEAST, float(np.abs(wanted[finite]).max()) if finite.any() else 0.0)
    tolerance = exact if width == "float64" else units * eps
    assert (np.abs(got - wanted)[finite] <= tolerance * scale).all(), what


def side_by_side(
    function: Callable[..., Any], *arguments: Any, carried: Any, kept: Sequence[int] = (), steps: int = 10
) -> Replayed:
    """Some steps of both, each on other data; AssertionError where they differ."""
    replayed = Replayed(function, *arguments, carried=carried, kept=kept)
    arrays, build = take_apart(arguments)
    given, moved = list(arrays), {i: o for i, o, *_ in replayed.carried}
    for number in range(steps):
        for i in replayed.data:
            given[i] = mt.namespace(arrays[i]).roll(arrays[i], number, axis=0) if arrays[i].ndim else arrays[i]
        expected = take_apart(function(*build(given)))[0]
        found = replayed.step(*(given[i] for i in replayed.data))
        results = [x for o, x in enumerate(expected) if o not in moved.values()]
        given = [expected[moved[i]] if i in moved else x for i, x in enumerate(given)]
        for got, wanted in zip(found, results, strict=True):
            assert_near(got, wanted, f"a result of step {number}")
        for got, (i, *_) in zip(replayed.state_now(), replayed.carried, strict=True):
            assert_near(got, given[i], f"{replayed.names[i]} after step {number}")
    return replayed


def train_side_by_side(model: Any, loss: Any, optimizer: Any, *batch: Any, steps: int = 10) -> Replayed:
    """Some steps of training, each on other data."""
    state = optimizer.init(model)

    def step(model: Any, state: Any, *batch: Any) -> Any:
        return mt.train_step(model, loss, optimizer, state, *batch)

    kept = range(len(take_apart((model, state))[0]))
    return side_by_side(step, model, state, *batch, carried=carried_of(model, (), state), kept=kept, steps=steps)


def laid_like(x: Any, y: np.ndarray) -> Any:
    """An array of two axes that lies by columns where NumPy's does."""
    if not y.flags.f_contiguous or y.flags.c_contiguous:
        return x
    turned = mt.namespace(x).permute_dims(x, tuple(range(x.ndim))[::-1])
    return mt.namespace(x).permute_dims(library_of(x).row_by_row(turned), tuple(range(x.ndim))[::-1])


def network(rng: np.random.Generator) -> mt.Layer:
    """Statistics, noise, and no bias before BatchNorm: its slope is nothing but rounding errors."""
    standardize, affine, *rest = catalogue(rng)
    return mt.Sequential(standardize, mt.MatMul(affine.W), *rest)


def training(
    name: str, device: str | None = None, optimizer: mt.Optimizer | None = None, samples: int = 23
) -> tuple[Any, ...]:
    """What a stepper is made of: a small network in float64, its loss, optimizer and state, and (x, t, weight)."""
    rng = np.random.default_rng(6)
    optimizer = optimizer or mt.Adam()
    model = on(name, network(rng), "float64")
    data = on(
        name, (rng.standard_normal((samples, 3)), rng.integers(0, 2, samples), rng.uniform(0.5, 2, samples)), "float64"
    )
    state = optimizer.init(model)
    if device is not None:
        model, state = (mt.rebuild(tree, [x.to(device) for x in mt.leaves(tree)]) for tree in (model, state))
        data = tuple(x.to(device) for x in data)
    return model, mt.SoftmaxWithLoss(), optimizer, state, data
