"""A number is read fastest with three digits and the unit that suits it: the small change of a Markdown page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

NUMBER = re.compile(r"-?\d[\d.,]*\S*( \S{1,8})?( \S+\))?$|–$|error$|inf$")  # with its unit, and one in brackets


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table, columns of numbers aligned to the right."""
    rows = [tuple(map(str, row)) for row in rows]
    columns = list(zip(*rows, strict=True)) or [()] * len(header)
    marks = ["--:" if column and all(map(NUMBER.match, column)) else "---" for column in columns]
    return "\n".join(line(cells) for cells in [header, marks, *rows])


def line(cells: Sequence[Any]) -> str:
    return "| " + " | ".join(map(escape, cells)) + " |"


def escape(cell: Any) -> str:
    return str(cell).replace("|", "\\|").replace("\n", " ")


def seconds(value: float | None) -> str:
    """12.3 µs, 1.23 ms, 12.3 s; a dash for None."""
    if value is None:
        return "–"
    factor, unit = (1e6, "µs") if value < 999.5e-6 else (1e3, "ms") if value < 0.9995 else (1.0, "s")
    return f"{digits(value * factor)} {unit}"


def digits(value: float, count: int = 3) -> str:
    """Three significant digits without an exponent: 0, 0.123, 1.23, 12.3, 123, 1,230."""
    if value == 0:
        return "0"
    value = float(f"{value:.{count}g}")  # 0.9996 is 1.00, and not 1.000
    whole = len(str(int(abs(value)))) if abs(value) >= 1 else 0
    return f"{value:,.{max(0, count - whole)}f}"


def times(value: float | None) -> str:
    """A ratio: 3.2 ×"""
    return "–" if value is None else f"{digits(value, 2)} ×"


def percent(share: float | None) -> str:
    """A share: 84.9 %"""
    return "–" if share is None else f"{digits(100.0 * share)} %"


def size(count: float) -> str:
    """Bytes: 12.3 MiB"""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1000 or unit == "GiB":
            break
        count /= 1024
    return f"{count:.0f} B" if unit == "B" else f"{digits(count)} {unit}"


def rate(value: float | None) -> str:
    """Operations per second: 12.3 GFLOP/s, 12.3 TFLOP/s"""
    if value is None:
        return "–"
    return f"{digits(value / 1e9)} GFLOP/s" if value < 1e12 else f"{digits(value / 1e12)} TFLOP/s"


def tiny(value: Any) -> str:
    """A difference: 0, 1e-16, inf; text as it is."""
    try:
        number = float(value)
    except ValueError:
        return str(value)
    return "0" if number == 0 else f"{number:.0e}".replace("e-0", "e-").replace("e+0", "e+")


def folded(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"


def code(text: str) -> str:
    return f"```text\n{text.strip()}\n```"
