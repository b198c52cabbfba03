"""Which way a training run takes its steps: compiled where that can be done and pays, else eagerly, saying why."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

from martlet.backend import Backend, backend_of, describe
from martlet.compile.eager import EagerStepper, Stepper, reason_of
from martlet.layer import Layer
from martlet.loss import Loss
from martlet.memory import is_out_of_memory
from martlet.optimizers import Optimizer
from martlet.tree import leaves


class Compiler(NamedTuple):
    """How a library compiles: the module that knows it, what makes its steppers, and from how many steps it pays."""

    module: str
    stepper: str
    pays_from: float


COMPILERS = {
    "numpy": Compiler("martlet.compile.numpy", "NumpyStepper", 50),
    "jax": Compiler("martlet.compile.jax", "JaxStepper", 300),
    "torch": Compiler("martlet.compile.torch", "stepper", 50),
}


def check_how(owner: str, how: Any) -> None:
    """How to compile: as it pays, in any case, or not at all."""
    if how is not True and how is not False and not (isinstance(how, str) and how == "auto"):
        raise ValueError(f'{owner} must be "auto", True or False, got {describe(how)}')


def compiled(backend: Backend, function: Callable[..., Any], how: Any) -> Callable[..., Any]:
    """What ``Backend.compile`` gives: see there."""
    check_how("Backend.compile: how", how)
    compile_there = how and _part(backend.name, lambda known: "compiled")
    return compile_there(function, how) if compile_there else function


def stepper(
    model: Layer,
    loss: Loss,
    optimizer: Optimizer,
    state: Any,
    arrays: tuple[Any, ...],
    *,
    size: int,
    last: str = "keep",
    how: Any = "auto",
    steps: int | None = None,
) -> Stepper:
    """The stepper of a training run: it takes the steps of one epoch after another, and says in ``words`` how.

    arrays: (x, t) or (x, t, weight), all samples, where the model is.  size, last: see ``batches``.
    ``how="auto"`` compiles where the library has a compiler, the step can be compiled and, if it is known
    how many ``steps`` there will be, it pays; False never compiles, and True raises ValueError, with the
    reason, where it cannot.
    """
    check_how("stepper: how", how)
    given = (model, loss, optimizer, state, arrays)
    name = backend_of(leaves(model)[0]).name
    make = _part(name, lambda known: known.stepper)
    if how is False:
        reason = "as asked for"
    elif make is None:
        reason = f"there is no compiler for {name}"
    elif how == "auto" and steps is not None and steps < COMPILERS[name].pays_from:
        reason = f"{steps:,} steps are too few for compiling to pay"
    else:
        try:
            found: Stepper = make(*given, size=size, last=last, how=how)
            return found
        except Exception as error:
            if is_out_of_memory(error, arrays[0]):
                raise
            reason = reason_of(error)
            if how is True:
                raise ValueError(f"compile=True: the step cannot be compiled: {reason}") from error
    if how is True:
        raise ValueError(f"compile=True: the step cannot be compiled: {reason}")
    return EagerStepper(*given, size=size, last=last, words=f"eager: {reason}")


def _part(name: str, which: Callable[[Compiler], str]) -> Any:
    """A part of the module that compiles for a library, which is loaded when it is needed; None where there is none."""
    known = COMPILERS.get(name)
    return known and getattr(importlib.import_module(known.module), which(known), None)
