"""A function of trees taken twice, as it stands and as a plan, and both compared to the last bit.

A plan keeps each array in the memory order in which it was recorded, so the function gets its arguments in that
order too, at each step: sums follow it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

import martlet as mt
from martlet.compile.plans.plan import Plan, State
from martlet.compile.programs.layout import Spec, like
from martlet.compile.recorder.recording import record
from martlet.compile.replay import carried_of
from martlet.tree import take_apart

Carried = Sequence[tuple[int, int, str, str]]


class Planned:
    """The plan of a function, ``carried`` as Plan takes it, and the state it lives on.

    kept: the numbers of the inputs that stay; state: another plan's, to share it.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        carried: Carried,
        kept: Iterable[int] = (),
        state: State | None = None,
        exact: bool = True,
    ) -> None:
        program = record(function, *arguments)
        self.carried, self.names = list(carried), [node.settings["name"] for node in program.inputs]
        arrays = take_apart(arguments)[0]
        mine = [i for i in range(len(arrays)) if i in {i for i, *_ in carried} or i in set(kept)]
        self.state = state or State({self.names[i]: np.asarray(arrays[i]) for i in mine})
        self.plan = Plan(program, carried, self.state, exact=exact)
        self.orders = [node.spec for node in program.inputs]
        self.data = [i for i in range(len(arrays)) if i not in mine]

    def step(self, *data: np.ndarray) -> list[np.ndarray]:
        """Copies of the results that are not carried."""
        for place, array in zip(self.plan.inputs, data, strict=True):
            place[...] = array
        self.plan.run()
        return [np.array(x) for x in self.plan.outputs]

    def state_now(self) -> list[np.ndarray]:
        """The carried arrays, in order."""
        now = self.state.read()
        return [now[self.names[i]] for i, *_ in self.carried]


def side_by_side(
    function: Callable[..., Any],
    *arguments: Any,
    carried: Carried,
    kept: Iterable[int] = (),
    steps: int = 3,
    exact: bool = True,
    batches: Callable[[int, np.ndarray], np.ndarray] = lambda i, x: np.roll(x, i, axis=0) if x.ndim else x,
) -> Planned:
    """Some steps of both, each on other data; AssertionError where a bit differs, or a number if it is not exact."""
    planned, compare = Planned(function, *arguments, carried=carried, kept=kept, exact=exact), assert_same_bits
    if not exact:
        compare = assert_equal
    arrays, build = take_apart(arguments)
    given, moved = list(arrays), {i: o for i, o, *_ in planned.carried}
    for number in range(steps):
        for i in planned.data:
            given[i] = batches(number, np.asarray(arrays[i]))
        given = [in_order(x, spec) for x, spec in zip(given, planned.orders, strict=True)]
        expected = take_apart(function(*build(given)))[0]
        found = planned.step(*(given[i] for i in planned.data))
        results = [x for o, x in enumerate(expected) if o not in moved.values()]
        given = [expected[moved[i]] if i in moved else x for i, x in enumerate(given)]
        for got, wanted in zip(found, results, strict=True):
            compare(got, wanted, f"a result of step {number}")
        for got, (i, *_) in zip(planned.state_now(), planned.carried, strict=True):
            compare(got, given[i], f"{planned.names[i]} after step {number}")
    return planned


def train_side_by_side(
    model: mt.Layer, loss: mt.Loss, optimizer: mt.Optimizer, *batch: Any, steps: int = 10, **settings: Any
) -> Planned:
    """Ten steps of training, each on other data."""
    state = optimizer.init(model)
    sizes = [len(take_apart(tree)[0]) for tree in (model, loss)]

    def step(model: Any, loss: Any, state: Any, *batch: Any) -> Any:
        return mt.train_step(model, loss, optimizer, state, *batch)

    kept = range(sizes[0], sum(sizes))
    carried = carried_of(model, loss, state)
    return side_by_side(step, model, loss, state, *batch, carried=carried, kept=kept, steps=steps, **settings)


def in_order(x: Any, spec: Spec) -> np.ndarray:
    """The array in a memory order, without gaps."""
    dense = like(spec.shape, spec.dtype, [spec])
    memory = np.empty(max(dense.size, 1), dtype=spec.dtype)
    strides = tuple(stride * spec.dtype.itemsize for stride in dense.strides)
    array = np.ndarray(dense.shape, dense.dtype, memory, 0, strides)
    array[...] = x
    return array


def assert_same_bits(got: Any, wanted: Any, what: str = "") -> None:
    """Equal in form and in every bit; any NaN is like any other."""
    got, wanted = np.asarray(got), np.asarray(wanted)
    assert got.shape == wanted.shape, what
    assert got.dtype == wanted.dtype, what
    number = got == got
    assert np.array_equal(number, wanted == wanted), what
    same = np.where(number, got, 0).tobytes() == np.where(number, wanted, 0).tobytes()
    assert same, f"{what}: {np.sum(got != wanted)} of {got.size} differ"


def assert_equal(got: Any, wanted: Any, what: str = "") -> None:
    """Equal in form and as numbers: 0.0 is -0.0."""
    assert_same_bits(np.asarray(got) + 0.0, np.asarray(wanted) + 0.0, what)
