"""Two libraries never agree to the last bit, so parity is a number: how far apart they are, row by row.

Every row of tests/cases.py (layers with their gradients, losses, optimizers) is computed by NumPy and by
the backend under test, from the same numbers in the same float width.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gpu.worker import Budget, Note, call, serve

# column, the suite's name of the target, float width, CUPY_TF32 (read once in a process, so a process for each)
ON_THE_DEVICE = [
    ("float64", "cupy", "float64", "0"),
    ("float32", "cupy", "float32", "0"),
    ("float32, TF32", "cupy", "float32", "1"),
    ("float16", "cupy", "float16", "0"),
]
REHEARSED = [
    ("float64", "strict-device1", "float64", "0"),
    ("float32", "strict-no_float64", "float32", "0"),
    ("float32, TF32", "strict-device1", "float32", "1"),
    ("float16", "torch", "float16", "0"),
]
RESERVED = 8.0  # seconds for each column that is still to come: the first ones compile the kernels
# The largest relative difference that is still called parity: some thousand units in the last place of float64,
# some hundred of float32, ten of TF32 (10 bits) and of float16.
BOUNDS = {"float64": 1e-12, "float32": 2e-5, "float32, TF32": 1e-2, "float16": 1e-2}


def measure(request: dict[str, Any], note: Note) -> None:
    if "column" in request:
        found = []
        for row in rows(request["target"], request["width"]):
            found.append(row)
            note(rows=found)
        return
    budget = Budget(request["seconds"] - 3.0)
    columns, table = {}, {}
    plan = REHEARSED if request["rehearsal"] else ON_THE_DEVICE
    for i, (column, target, width, tf32) in enumerate(plan):
        ask = {"column": column, "target": target, "width": width}
        limit = budget.left - RESERVED * (len(plan) - i - 1)
        found = call("gpu.parity", ask, limit, {"CUPY_TF32": tf32}, nested=True)
        columns[column] = {"target": target, "bound": BOUNDS[column]}
        columns[column] |= {key: found[key] for key in ("error", "unavailable", "cut_short") if key in found}
        for row in found.get("rows", []):
            table.setdefault((row["kind"], row["name"]), {})[column] = row["difference"]
        lines = [{"kind": kind, "name": name, "difference": found} for (kind, name), found in table.items()]
        note(columns=columns, rows=lines, beyond=beyond(lines))


def rows(target_name: str, width: str) -> Iterator[dict[str, Any]]:
    """Kind, name and difference (absolute and relative, or why there is none) of every row."""
    from conftest import Target, why_not

    from gpu.worker import Missing

    reason = why_not(target_name)
    if reason:
        raise Missing(reason)
    numpy, target = Target("numpy"), Target(target_name)
    for kind, name, given, function in rows_of_the_table():
        try:
            with np.errstate(all="ignore"):
                found, expected = (function(*where.put(given, width)) for where in (target, numpy))
            result: Any = difference(*map(arrays, (found, expected)))
        except Exception as error:
            result = f"{type(error).__name__}: {error}".splitlines()[0]
        yield {"kind": kind, "name": name, "difference": result}


def rows_of_the_table() -> Iterator[tuple[str, str, tuple[Any, ...], Callable[..., Any]]]:
    """What the laws of the suite compare: what is given, in float64 on NumPy, and the function of it."""
    import test_laws as laws

    def value_and_slope(loss: Any, y: Any, t: Any, weight: Any) -> tuple[Any, Any]:
        value, cache = loss.forward(y, t, weight)
        return value, loss.backward(cache)

    for case in laws.LAYERS:
        yield "layer", case.name, laws.draw(case), laws.forward_backward
    for case, reduction in itertools.product(laws.LOSSES, ("mean", "sum", "none")):
        yield "loss", f"{case.name}, {reduction}", laws.draw_loss(case, reduction)[:4], value_and_slope
    for case in laws.OPTIMIZERS:
        optimizer, model, grad = laws.draw_step(case)
        yield "optimizer", case.name, (model, grad), lambda *given, o=optimizer: laws.three_updates(o, *given)


def arrays(value: Any) -> list[np.ndarray]:
    from conftest import take_apart

    import martlet as mt

    return [mt.to_numpy(x) for x in take_apart(value)[0]]


def difference(found: list[np.ndarray], expected: list[np.ndarray]) -> list[float | str]:
    """Absolute and relative, as the library's own comparison takes it, in what JSON can hold: it has no infinity."""
    from martlet.testing import parity

    return [x if np.isfinite(x) else "inf" for x in parity.difference(found, expected)]


def beyond(lines: list[dict[str, Any]]) -> list[str]:
    """The rows that are further apart than the bound of their column, or could not be computed."""
    found = []
    for line, column in itertools.product(lines, BOUNDS):
        result = line["difference"].get(column, [0.0, 0.0])
        if isinstance(result, str) or float(result[1]) > BOUNDS[column]:
            why = result if isinstance(result, str) else f"{float(result[1]):.1e}"
            found.append(f"{line['kind']} {line['name']}, {column}: {why}")
    return found


def wrong(found: dict[str, Any]) -> str:
    """What is wrong with what was found, or ""."""
    lost = [column for column, about in found["columns"].items() if {"error", "cut_short"} & set(about)]
    words = [f"{', '.join(lost)} could not be computed"] if lost else []
    count = len(found.get("beyond", []))
    words += [f"{count} value{'s' * (count > 1)} further from NumPy's than the bound"] if count else []
    return "; ".join(words)


if __name__ == "__main__":
    serve(measure)
