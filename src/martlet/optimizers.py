"""Optimizers: how a gradient becomes a better model.

    state = optimizer.init(model)                               once
    model, state = optimizer.update(model, grad, state)         every step

An optimizer is one rule for one array; this file applies it to every array that has a gradient.  All that
varies is in the state, as arrays: the step counter, the memories (velocity, moments), and the numbers
themselves (lr, momentum), so that a resumed run knows them and a new learning rate, set by
``replace(state, {"lr": 0.01})``, compiles nothing anew.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar, dataclass_transform

from martlet.backend import Array, as_backend, backend_of, describe, dtype_name, host, kind, namespace, one_device
from martlet.checks import check_number, check_place, check_same, owner_name
from martlet.functions import wide
from martlet.tree import Tree, Unlike, kept, learned, leaves, map_leaves, map_where, remake

M = TypeVar("M", bound=Tree)
Rule = Callable[..., tuple[Array, ...]]


class State(Tree):
    """What an optimizer carries from step to step.  Each optimizer has its own: ``Adam.State``."""

    step: Array = kept()


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Optimizer:
    """The base of every optimizer.  A new one declares its numbers and memories and writes ``rule``."""

    State: ClassVar[type[State]]
    memories: ClassVar[tuple[str, ...]] = ()
    numbers: ClassVar[tuple[str, ...]] = ()
    _arguments: ClassVar[tuple[str, ...]]  # of rule, after p, g and the memories
    _name: ClassVar[str]  # of update, in its errors

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclasses.dataclass(frozen=True, kw_only=True)(cls)
        cls.numbers = tuple(f.name for f in dataclasses.fields(cls) if f.type in ("float", float))  # type: ignore[arg-type]
        cls._name = f"{cls.__name__}.update"
        cls._arguments = tuple(inspect.signature(cls.rule).parameters)[3 + len(cls.memories) :]
        unknown = set(cls._arguments) - {"t", *cls.numbers}
        if unknown:
            raise TypeError(
                f"{cls.__name__}.rule takes {', '.join(sorted(unknown))}, which is no number of {cls.__name__}"
            )
        # The state's class follows from the optimizer's: a 0-d array per number, a tree per memory.
        annotations = {**dict.fromkeys(cls.numbers, Array), **dict.fromkeys(cls.memories, Any)}
        body = {
            "__annotations__": annotations,
            "__module__": cls.__module__,
            "__qualname__": f"{cls.__qualname__}.State",
        }
        body.update({name: kept() for name in cls.numbers})
        body["__doc__"] = f"What {cls.__name__} carries from step to step: {', '.join(('step', *annotations))}."
        cls.State = type("State", (State,), body)

    def rule(self, p: Array, g: Array, *memory_and_numbers: Array) -> tuple[Array, ...]:
        """One array's step: from parameter, gradient and memories to the new parameter and memories.

        After p, g and the memories a rule names, in any order, the optimizer's numbers that it needs, and
        ``t`` if it needs the number of this step, from 1.  They come as 0-d arrays of p's dtype.  Half
        precision comes here as float32, and its memories stay so.
        """
        raise NotImplementedError(f"{owner_name(self)} has no rule")

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
        fields: dict[str, Any] = {}
        for name in self.numbers:
            number = float(getattr(self, name))
            if abs(number) > float(host.finfo(width).max):
                raise ValueError(f"{owner_name(self)}.init: {name}={number:g} is too large for {width}")
            fields[name] = where.asarray(number, width)
        for name in self.memories:
            fields[name] = part and map_leaves(lambda p: namespace(p).zeros_like(wide(p)), part)
        return self.State(step=where.xp.zeros((), dtype=where.xp.int32, device=where.device), **fields)

    def update(self, model: M, grad: M | None, state: Any) -> tuple[M, Any]:
        """One step: the new model and the new state.  Nothing is changed in place.

        Where the gradient is None, model and memory stay as they are.  Raises TypeError for another
        optimizer's state or another model's gradient, ValueError where their arrays do not fit together.
        """
        if type(state) is not self.State:
            raise TypeError(
                f"{self._name}: state must come from {type(self).__name__}.init, got {type(state).__name__}"
            )
        if grad is not None and type(grad) is not type(model):
            raise TypeError(f"{self._name}: model is {describe(model)}, but grad is {describe(grad)}")
        step = state.step + 1
        if grad is None:
            return model, remake(state, {"step": step})
        dtype, rule, memories = None, self.rule, self.memories
        numbers: list[Array] = []
        slots: list[list[Array]] = []  # for each array that moves, its memories

        def one(p: Array, g: Array) -> Array:
            nonlocal dtype, rule, numbers
            if not (type(g) is type(p) in one_device and g.dtype is p.dtype and g.shape == p.shape):
                check_same(self._name, "a gradient", g, "its array", p)
            if p.dtype is not dtype:  # a model may hold arrays of several dtypes
                dtype = p.dtype
                rule, numbers = self._rule_for(p, state, step)
            if not memories:
                return rule(p, g, *numbers)[0]
            slot = next(waiting)
            for m in slot:
                check_same(self._name, "the state", m, "its array", wide(p))
            new, *slot[:] = rule(p, g, *slot, *numbers)
            return new

        try:
            if memories:
                slots = _beside(grad, [getattr(state, name) for name in memories])
                waiting = iter(slots)
            model = map_where(one, grad, model)
        except Unlike as error:
            raise ValueError(f"{self._name}: gradient, model and state must belong together: {error}") from None
        changes = {"step": step}
        for i, name in enumerate(memories):
            moved = iter([slot[i] for slot in slots])
            changes[name] = map_where(lambda m, g, moved=moved: next(moved), grad, getattr(state, name))  # type: ignore[misc]
        return model, remake(state, changes)

    def _rule_for(self, p: Array, state: Any, step: Array) -> tuple[Rule, list[Array]]:
        """The rule for arrays like ``p``, and its numbers in the dtype it computes in: a wider one would widen p."""
        xp, half = namespace(p), kind(p.dtype) == "half"
        dtype = xp.float32 if half else p.dtype
        numbers = []
        for name in self._arguments:
            x = step if name == "t" else getattr(state, name)
            check_place(self._name, "the state", x, "the model", p)
            numbers.append(x if x.dtype == dtype else xp.astype(x, dtype))
        return self._half_rule if half else self.rule, numbers

    def _half_rule(self, p: Array, g: Array, *memory_and_numbers: Array) -> tuple[Array, ...]:
        new, *after = self.rule(wide(p), wide(g), *memory_and_numbers)
        return namespace(p).astype(new, p.dtype), *after


class SGD(Optimizer):
    """p ← p - lr · g"""

    lr: float = 0.01

    def __post_init__(self) -> None:
        check_number(self, "lr", self.lr, 0.0)

    def rule(self, p, g, lr):
        return (p - lr * g,)


class Momentum(Optimizer):
    """v ← momentum · v - lr · g,  p ← p + v

    Polyak's heavy ball, as written by Sutskever et al., "On the importance of initialization and
    momentum in deep learning", 2013.
    """

    lr: float = 0.01
    momentum: float = 0.9

    memories = ("v",)

    def __post_init__(self) -> None:
        check_number(self, "lr", self.lr, 0.0)
        check_number(self, "momentum", self.momentum, 0.0, 1.0, open_high=True)

    def rule(self, p, g, v, lr, momentum):
        v = momentum * v - lr * g
        return p + v, v


class Adam(Optimizer):
    """m ← β₁ m + (1 - β₁) g,  v ← β₂ v + (1 - β₂) g²,  p ← p - lr · m̂ / (√v̂ + eps)

    with the corrections m̂ = m / (1 - β₁ᵗ) and v̂ = v / (1 - β₂ᵗ) for having begun at zero.
    Kingma and Ba, "Adam: a method for stochastic optimization", 2015, Algorithm 1.
    """

    lr: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    memories = ("m", "v")

    def __post_init__(self) -> None:
        check_number(self, "lr", self.lr, 0.0)
        check_number(self, "beta1", self.beta1, 0.0, 1.0, open_high=True)
        check_number(self, "beta2", self.beta2, 0.0, 1.0, open_high=True)
        check_number(self, "eps", self.eps, 0.0)

    def rule(self, p, g, m, v, t, lr, beta1, beta2, eps):
        m = beta1 * m + (1.0 - beta1) * g
        v = beta2 * v + (1.0 - beta2) * (g * g)
        root = namespace(p).sqrt(v / one_minus_power(beta2, t))
        return p - (lr / one_minus_power(beta1, t)) * m / (root + eps), m, v


def one_minus_power(beta: Array, t: Array) -> Array:
    """1 - βᵗ without cancellation: in float32 to 5e-8 instead of 1e-5 while βᵗ is near 1."""
    xp = namespace(beta)
    return -xp.expm1(t * xp.log(xp.maximum(beta, 1e-37)))


def _beside(grad: Any, memories: list[Any]) -> list[list[Array]]:
    """The memories of each array that has a gradient, in the order in which ``map_where`` meets them."""
    columns: list[list[Array]] = []

    def keep(m: Array, g: Array) -> Array:
        columns[-1].append(m)
        return m

    for memory in memories:
        columns.append([])
        map_where(keep, grad, memory)
    return [list(slot) for slot in zip(*columns, strict=True)]
