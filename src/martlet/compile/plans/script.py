"""The calls of a plan as a Python function of one line each: what one would write by hand.

A small network spends its time between the calls, and nothing comes between two lines but the interpreter.
``print(plan)`` shows the lines.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from martlet.compile.plans.lower import Call

ROWS = np.empty(0, np.intp)  # stands for the numbers of a batch's samples


class Script:
    """The lines, and the function that runs them.  Where a call has ROWS, it gets the function's argument."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self.names: dict[int, str] = {id(ROWS): "rows"}
        self.values: dict[str, Any] = {}
        self.lines = [self._line(call) for call in calls]
        given = "rows" if any(argument is ROWS for call in calls for argument in call) else ""
        self.text = "\n".join([f"def step({given}):", *(f"    {line}" for line in self.lines), "    return"])

    def function(self) -> Callable[..., None]:
        found: dict[str, Any] = dict(self.values)
        exec(compile(self.text, "<a plan>", "exec"), found)
        step: Callable[..., None] = found["step"]
        return step

    def _line(self, call: Call) -> str:
        function, *arguments = call
        keywords: dict[str, Any] = {}
        while isinstance(function, functools.partial):
            arguments = [*function.args, *arguments]
            keywords = {**function.keywords, **keywords}
            function = function.func
        owner, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
        if isinstance(owner, np.ndarray) and name == "__setitem__":
            return f"{self._word(owner)}[{self._word(arguments[0])}] = {self._word(arguments[1])}"
        words = [self._word(argument) for argument in arguments]
        words += [f"{name}={self._word(value)}" for name, value in keywords.items()]
        if isinstance(owner, np.ndarray) and name in ("dot", "take"):
            return f"{self._word(owner)}.{name}({', '.join(words)})"
        return f"{self._name(function, _named(function))}({', '.join(words)})"

    def _word(self, value: Any) -> str:
        if value is ...:
            return "..."
        if value is None or isinstance(value, bool | int | str):
            return repr(value)
        if isinstance(value, tuple) and all(isinstance(item, int) for item in value):
            return repr(value)
        return self._name(value, "a" if isinstance(value, np.ndarray) else "c")

    def _name(self, value: Any, stem: str) -> str:
        """One name for one object, which is kept, so that no other can have its id."""
        name = self.names.get(id(value))
        if name is None:
            name, count = stem, 1
            while name in self.values or name == "rows":
                name, count = f"{stem}_{count}", count + 1
            self.names[id(value)] = name
            self.values[name] = value
        return name


def _named(function: Callable[..., Any]) -> str:
    """What a line calls a function: a ufunc by its name, its reduction add_reduce."""
    owner = getattr(function, "__self__", None)
    name = getattr(function, "__name__", "call").strip("<>_") or "call"
    if isinstance(owner, np.ufunc):
        return f"{owner.__name__}_{name}"
    return name if name.isidentifier() and name != "lambda" else "call"
