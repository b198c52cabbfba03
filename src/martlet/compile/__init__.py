"""Compiling: the one text of the layers as fast as a machine allows, library by library.

    program = record(train_step, model, loss, ...)  a function of arrays as a value: printed, counted, run again
    step = backend.compile(train_step)              any pure function of trees and arrays
    stepper(model, loss, optimizer, state, ...)     the steps of a training run, which ``fit`` takes

Nothing below knows a compiler, and nothing here knows a layer.  What is compiled computes what the eager text
computes; where a library has no compiler, or it does not pay, the text itself runs, and says so.
"""

from martlet.backend import compilers
from martlet.compile.choose import compiled, stepper
from martlet.compile.eager import CannotCompile, EagerStepper, Stepper
from martlet.compile.record import NotRecordable, Program, record

__all__ = ["CannotCompile", "EagerStepper", "NotRecordable", "Program", "Stepper", "compiled", "record", "stepper"]

compilers.append(compiled)
