"""A function of arrays as a value: recorded, printed, counted and run again.

program = martlet.compile.record(martlet.train_step, model, loss, optimizer, state, x, t)
print(program)
"""

from martlet.compile.record import NotRecordable, Program, record

__all__ = ["NotRecordable", "Program", "record"]
