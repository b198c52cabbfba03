"""Which way a training run takes its steps: compiled where that can be done and pays, else eagerly, saying why."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from martlet.backend import Backend, backend_of, describe
from martlet.checks import check_count
from martlet.compile.eager import EagerStepper, Stepper, reason_of
from martlet.layer import Layer
from martlet.loss import Loss
from martlet.memory import is_out_of_memory
from martlet.optimizers import Optimizer
from martlet.tree import Tree, leaves


class Compiler(NamedTuple):
    """How a library compiles: the module that knows it, what makes its steppers, and from how many steps it pays.

    plans: whether the stepper wants to know of how many epochs it will be asked at once.  on_request: whether
    a function is compiled only for those who ask, because it takes long.
    """

    module: str
    stepper: str
    pays_from: float
    plans: bool = False
    on_request: bool = False


COMPILERS = {
    "numpy": Compiler("martlet.compile.numpy", "NumpyStepper", 50),
    "jax": Compiler("martlet.compile.jax", "JaxStepper", 300, plans=True),
    "cupy": Compiler("martlet.compile.cupy.stepper", "CupyStepper", 300),
    "torch": Compiler("martlet.compile.torch.stepper", "stepper", 50, on_request=True),
}


CHOICES = ("chunks", "threads")  # what can be said about a plan of NumPy's


def check_how(owner: str, how: Any) -> None:
    """How to compile: as it pays, in any case, or not at all."""
    if how is not True and how is not False and not (isinstance(how, str) and how == "auto"):
        raise ValueError(f'{owner} must be "auto", True or False, got {describe(how)}')


def check_choices(owner: str, how: Any) -> None:
    """How to compile, or the choices that would else be made: {"chunks": 1024, "threads": 2}."""
    if not isinstance(how, Mapping):
        check_how(owner, how)
        return
    for name, value in how.items():
        if name not in CHOICES:
            raise ValueError(f"{owner}: {name!r} is no choice; there are {' and '.join(CHOICES)}")
        if value is not None and not (name == "chunks" and value is False):
            check_count(owner, name, value)


def compiled(backend: Backend, function: Callable[..., Any], how: Any) -> Callable[..., Any]:
    """What ``Backend.compile`` gives: see there."""
    check_how("Backend.compile: how", how)
    if not callable(function):
        raise TypeError(f"Backend.compile: function must be callable, got {describe(function)}")
    known = COMPILERS.get(backend.name)
    if known is None or how is False or (known.on_request and how is not True):
        return function
    compile_there = _part(backend.name, "compiled")
    if not compile_there:
        return function
    owner = getattr(function, "__self__", None)
    if isinstance(owner, Tree):  # a verb of a layer's: the layer is an argument like the others
        verb: Any = function
        return functools.partial(compile_there(verb.__func__), owner)
    return compile_there(function)


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
    together: int = 1,
) -> Stepper:
    """The stepper of a training run: it takes the steps of one epoch after another, and says in ``words`` how.

    arrays: (x, t) or (x, t, weight), all samples, where the model is.  size, last: see ``batches``.
    ``how="auto"`` compiles where the library has a compiler, the step can be compiled, has room and, if it is known
    how many ``steps`` there will be, it pays; False never compiles, and True raises ValueError, with the
    reason, where it cannot.  ``together``: of how many epochs it will at most be asked at once.  On NumPy the rows
    of a chunk (False: the batch is left whole) and the number of threads can be chosen as well:
    ``how={"chunks": 1024, "threads": 2}``.
    """
    check_choices("stepper: how", how)
    given = (model, loss, optimizer, state, arrays)
    name = backend_of(leaves(model)[0]).name
    make = name in COMPILERS and _part(name, COMPILERS[name].stepper)
    if isinstance(how, Mapping) and name != "numpy":
        raise ValueError(f"fit: compile: chunks and threads are choices of NumPy's, and the model is on {name}")
    if how is False:
        reason = "as asked for"
    elif not make:
        reason = f"there is no compiler for {name}"
    elif how == "auto" and steps is not None and steps < COMPILERS[name].pays_from:
        reason = f"{steps:,} steps are too few for compiling to pay"
    else:
        try:
            plans = {"together": together} if COMPILERS[name].plans else {}
            found: Stepper = make(*given, size=size, last=last, how=how, **plans)
            return found
        except Exception as error:
            no_room = is_out_of_memory(error, arrays[0])
            if no_room and how != "auto":
                raise
            reason = "there is no room for a compiled step" if no_room else reason_of(error)
            if how != "auto":
                raise ValueError(f"fit: compile={how}: the step cannot be compiled: {reason}") from error
    if how is True:
        raise ValueError(f"fit: compile=True: the step cannot be compiled: {reason}")
    return EagerStepper(*given, size=size, last=last, words=f"eager: {reason}")


def _part(name: str, part: str) -> Any:
    """A part of the module that compiles for a library, which is loaded when it is needed; None if it has no such."""
    return getattr(importlib.import_module(COMPILERS[name].module), part, None)
