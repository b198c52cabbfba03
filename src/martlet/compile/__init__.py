"""Compiling: the one text of the layers as fast as a machine allows, library by library.

    program = record(train_step, model, loss, ...)  a function of arrays as a value: printed, counted, run again
    step = backend.compile(train_step)              any pure function of trees and arrays
    stepper(model, loss, optimizer, state, ...)     the steps of a training run, which ``fit`` takes

Nothing below knows a compiler, and nothing here knows a layer.  What is compiled computes what the eager text
computes; where a library has no compiler, or it does not pay, the text itself runs, and says so (``choose.py``).

A step goes through the folders in this order: ``recorder`` writes down a program (``programs`` says what that is),
``rewriting`` makes less work of it, ``plans`` lays it out in memory, and ``numpy.py``, ``torch`` or ``cupy`` takes it.
JAX (``jax.py``) records and compiles by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from martlet.backend import compilers
from martlet.compile.choose import compiled, stepper
from martlet.compile.eager import CannotCompile, EagerStepper, Stepper

if TYPE_CHECKING:
    from martlet.compile.recorder.recording import NotRecordable, Program, record

__all__ = ["CannotCompile", "EagerStepper", "NotRecordable", "Program", "Stepper", "compiled", "record", "stepper"]

compilers.append(compiled)


def __getattr__(name: str) -> Any:
    if name not in ("NotRecordable", "Program", "record"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # what records is loaded when something is recorded

    module = importlib.import_module("martlet.compile.recorder.recording")
    for each in ("NotRecordable", "Program", "record"):
        globals()[each] = getattr(module, each)
    return globals()[name]
