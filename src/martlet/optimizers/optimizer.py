"""Optimizers: how a gradient becomes a better model.

    state = optimizer.init(model)                               once
    model, state = optimizer.update(model, grad, state)         every step

An optimizer is one rule for one array; this file applies it to every array that has a gradient.  All that
varies is in the state, as arrays: the step counter, the memories (velocity, moments), and the numbers
themselves (lr, momentum), so that a resumed run knows them and a new learning rate, set by
``replace(state, {"lr": 0.01})``, compiles nothing anew.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from itertools import zip_longest
from typing import Any, ClassVar, TypeVar

from martlet.backend import Array, as_backend, backend_of, describe, dtype_name, kind, namespace, one_device
from martlet.checks import check_place, check_same, owner_name
from martlet.functions import wide
from martlet.numbered import Numbered
from martlet.optimizers.transforms import Transform
from martlet.schedules import Schedule
from martlet.tree import Tree, Unlike, kept, learned, leaves, map_leaves, map_where, matching, named_leaves, remake

M = TypeVar("M", bound=Tree)
Rule = Callable[..., tuple[Array, ...]]


class Optimizer(Numbered):
    """The base of every optimizer.  A new one declares its numbers and memories and writes ``rule``.

    Every optimizer takes a ``schedule``, by which its lr is multiplied from step to step, and a tuple of
    ``transforms``, which change the gradient, in their order, before the rule sees it.

    Its numbers are those that ``init`` begins with.  ``update`` takes them from the state: for another lr from here
    on, write ``state = replace(state, {"lr": 0.01})``; another optimizer alone would change nothing.
    """

    schedule: Schedule | None = None
    transforms: tuple[Transform, ...] = ()

    memories: ClassVar[tuple[str, ...]] = ()
    optional: ClassVar[dict[str, str]] = {}  # a memory that only some need, and the setting that asks for it
    derived: ClassVar[tuple[str, ...]] = ()  # numbers of a step that ``derive`` makes, once for all arrays
    _arguments: ClassVar[tuple[str, ...]] = ()  # of rule, after p, g and the memories
    _name: ClassVar[str] = "Optimizer.update"  # of update, in its errors

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._name = f"{cls.__name__}.update"
        cls._arguments = tuple(inspect.signature(cls.rule).parameters)[3 + len(cls.memories) :]
        unknown = set(cls._arguments) - {"t", *cls.numbers, *cls.derived}
        if unknown:
            raise TypeError(
                f"{cls.__name__}.rule takes {', '.join(sorted(unknown))}, which is no number of {cls.__name__}"
            )

    @classmethod
    def _state_fields(cls) -> dict[str, Any]:
        arrays = {name: kept() for name in ("step", *cls.numbers)}
        return arrays | dict.fromkeys((*cls.memories, "schedule", "transforms"))

    def __post_init__(self) -> None:
        if self.schedule is not None and not isinstance(self.schedule, Schedule):
            raise TypeError(f"{owner_name(self)}: schedule must be a Schedule or None, got {describe(self.schedule)}")
        if self.schedule is not None and "lr" not in self.numbers:
            raise TypeError(f"{owner_name(self)}: there is no lr for a schedule to change")
        if not isinstance(self.transforms, tuple) or not all(isinstance(t, Transform) for t in self.transforms):
            raise TypeError(
                f"{owner_name(self)}: transforms must be a tuple of Transforms, such as (ClipByNorm(limit=1.0),), "
                f"got {describe(self.transforms)}"
            )

    def rule(self, p: Array, g: Array, *memory_and_numbers: Array) -> tuple[Array | None, ...]:
        """One array's step: from parameter, gradient and memories to the new parameter and memories.

        After p, g and the memories a rule names, in any order, the optimizer's numbers that it needs, its own
        or derived, and ``t`` if it needs the number of this step, from 1.  They come as 0-d arrays of p's
        dtype.  Half precision comes here as float32, and its memories stay so.  A memory not in use is None.
        """
        raise NotImplementedError(f"{owner_name(self)} has no rule")

    def derive(self, t: Array, numbers: dict[str, Array]) -> tuple[Array, ...]:
        """The ``derived`` numbers of step t, from the optimizer's own."""
        return ()

    def init(self, model: Tree) -> Any:
        """The state before the first step: memories of zeros, on the model's device.

        The numbers are kept in the widest dtype that the model learns in, and at least in float32.
        """
        if not isinstance(model, Tree):
            raise TypeError(f"{owner_name(self)}.init: model must be a Layer, got {describe(model)}")
        part = learned(model)
        arrays = leaves(part)
        somewhere = arrays or leaves(model)
        where = backend_of(somewhere[0]) if somewhere else as_backend(None)
        width = "float64" if "float64" in {dtype_name(p.dtype) for p in arrays} else "float32"

        def zeros(p: Array) -> Array:
            return namespace(p).zeros_like(wide(p))

        with where.active():
            fields: dict[str, Any] = dict(self.arrays(where, width))
            for name in self.memories:
                fields[name] = map_leaves(zeros, part) if part is not None and self._uses(name) else None
            fields["schedule"] = self.schedule and self.schedule.State(**self.schedule.arrays(where, width))
            fields["transforms"] = tuple(each.State(**each.arrays(where, width)) for each in self.transforms)
            return self.State(step=where.xp.zeros((), dtype=where.xp.int32, device=where.device), **fields)

    def _uses(self, memory: str) -> bool:
        return memory not in self.optional or getattr(self, self.optional[memory])

    def update(self, model: M, grad: M | None, state: Any) -> tuple[M, Any]:
        """One step: the new model and the new state.  Nothing is changed in place.

        Where the gradient is None, model and memory stay as they are.  Raises TypeError for another
        optimizer's state or another model's gradient, ValueError where their arrays do not fit together.
        """
        if type(state) is not self.State:
            raise TypeError(
                f"{self._name}: state must come from {type(self).__name__}.init, got {type(state).__qualname__}"
            )
        if self.optional or state.schedule is not self.schedule or state.transforms or self.transforms:
            self.check_state(state)
        if grad is not None and type(grad) is not type(model):
            raise TypeError(f"{self._name}: model is {describe(model)}, but grad is {describe(grad)}")
        step = state.step + 1
        if grad is None:
            return model, remake(state, {"step": step})
        dtype, rule = None, self.rule
        memories = [name for name in self.memories if self._uses(name)] if self.memories else ()
        numbers: list[Array] = []
        slots: list[list[Array | None]] = []  # for each array that moves, its memories

        def one(p: Array, g: Array) -> Array:
            nonlocal dtype, rule, numbers
            if not (type(g) is type(p) in one_device and g.dtype is p.dtype and g.shape == p.shape):
                check_same(self._name, "a gradient", g, "its array", p)
            if p.dtype is not dtype:  # a model may hold arrays of several dtypes
                dtype = p.dtype
                rule, numbers = self._rule_for(p, state, step)
            new: Any
            if memories:
                slot = next(waiting)
                for m in slot:
                    if m is not None:
                        check_same(self._name, "the state", m, "its array", wide(p))
                new, *slot[:] = rule(p, g, *slot, *numbers)
            else:
                new = rule(p, g, *numbers)[0]
            if new.shape != p.shape or new.dtype != p.dtype:
                self._check_new(new, p)
            return new

        try:
            if self.transforms:
                grad = self._transformed(model, grad, state)
            if memories:
                slots = self._slots(grad, state)
                waiting = iter(slots)
            model = map_where(one, grad, model)
        except Unlike as error:
            raise ValueError(f"{self._name}: gradient, model and state must belong together: {error}") from None
        changes = {"step": step}
        for i, name in enumerate(self.memories):
            if name in memories:
                moved = iter([slot[i] for slot in slots])
                changes[name] = map_where(lambda m, g, moved=moved: next(moved), grad, getattr(state, name))  # type: ignore[misc]
        return model, remake(state, changes)

    def _check_new(self, new: Array, p: Array) -> None:
        order = getattr(p.dtype, "newbyteorder", None)  # NumPy computes in this machine's
        if new.shape == p.shape and new.dtype == (p.dtype if order is None else order("=")):
            return
        raise ValueError(
            f"{type(self).__name__}.rule must give a tuple that begins with the new parameter, like the old one: "
            f"expected {describe(p)}, got {describe(new)}"
        )

    def _transformed(self, model: Any, grad: Any, state: Any) -> Any:
        """The gradient after all transforms, which may rely on it that each array is like the model's own."""
        for p, g in zip(matching(grad, model), leaves(grad), strict=True):
            check_same(self._name, "a gradient", g, "its array", p)
            for number in named_leaves(state.transforms).values():
                check_place(self._name, "the state", number, "the model", p)
        for transform, part in zip(self.transforms, state.transforms, strict=True):
            grad = transform.change(model, grad, part)
            if type(grad) is not type(model):
                name = type(transform).__name__
                raise TypeError(f"{name}.change must give a gradient of {type(model).__name__}, got {describe(grad)}")
        return grad

    def _slots(self, grad: Any, state: Any) -> list[list[Array | None]]:
        """The memories of each array that has a gradient, in the order in which ``map_where`` meets them."""
        places = leaves(grad)
        columns: list[list[Any]] = [
            matching(grad, getattr(state, name)) if self._uses(name) else [None] * len(places) for name in self.memories
        ]
        return [list(slot) for slot in zip(*columns, strict=True)]

    def _rule_for(self, p: Array, state: Any, step: Array) -> tuple[Rule, list[Array]]:
        """The rule for arrays like ``p``, and its numbers in the dtype it computes in: a wider one would widen p."""
        xp, half = namespace(p), kind(p.dtype) == "half"
        dtype = xp.float32 if half else p.dtype
        numbers = {}
        for name in ("t", *self.numbers) if self.derived else self._arguments:
            x = step if name == "t" else getattr(state, name)
            check_place(self._name, "the state", x, "the model", p)
            if name == "lr" and self.schedule is not None:
                x = x * self.schedule.at(xp.astype(state.step, x.dtype), state.schedule)
            numbers[name] = x if x.dtype == dtype else xp.astype(x, dtype)
        if self.derived:
            numbers |= zip(self.derived, self.derive(numbers["t"], numbers), strict=True)
        return self._half_rule if half else self.rule, [numbers[name] for name in self._arguments]

    def _half_rule(self, p: Array, g: Array, *memory_and_numbers: Array) -> tuple[Array | None, ...]:
        new, *after = self.rule(wide(p), wide(g), *memory_and_numbers)
        return namespace(p).astype(new, p.dtype), *after

    def check_state(self, state: Any) -> None:
        """The state was made for this optimizer's schedule, transforms and choices: ValueError if not."""
        parts: dict[str, tuple[Any, Any]] = {"schedule": (state.schedule, self.schedule)}
        parts |= {f"transforms.{i}": pair for i, pair in enumerate(zip_longest(state.transforms, self.transforms))}
        for name, (has, wanted) in parts.items():
            found = "none" if has is None else type(has).__qualname__
            expected = "none" if wanted is None else wanted.State.__qualname__
            if found != expected:
                raise ValueError(f"{self._name}: {name} of the state is {found}, of the optimizer {expected}")
        for name, setting in self.optional.items():
            has = getattr(state, name) is not None
            empty = all(getattr(state, other) is None for other in self.memories)  # of a model that learns nothing
            if has is not self._uses(name) and not empty:
                raise ValueError(
                    f"{self._name}: the state has {'a' if has else 'no'} {name}, so it was made with {setting}={has}, "
                    f"but the optimizer has {setting}={not has}"
                )

    def numbers_in(self, state: Any) -> dict[str, Array]:
        """Every number of a state, its schedule's and transforms' too, by the name that ``replace`` takes."""
        found = {name: getattr(state, name) for name in self.numbers}
        return found | named_leaves(state.schedule, "schedule.") | named_leaves(state.transforms, "transforms.")
