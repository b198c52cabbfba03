"""A hundred rows of differences are summed up by the worst of them; the rest is there for who wants to know."""

from __future__ import annotations

from typing import Any

from gpu.markdown import code, folded, table, tiny

Found = dict[str, Any]


def worst(found: Found, column: str) -> tuple[str, str, str, int, int]:
    """Largest absolute and relative difference of a column, the row of the latter, and how many rows there are."""
    values = [(row, row["difference"][column]) for row in found["rows"] if column in row["difference"]]
    good = [(row, value) for row, value in values if not isinstance(value, str)]
    if not good:
        return "–", "–", "–", 0, len(values)
    row, value = max(good, key=lambda pair: float(pair[1][1]))
    absolute = max(float(value[0]) for _, value in good)
    where = f"{row['kind']} {row['name']}" if absolute else "–"
    return tiny(absolute), tiny(value[1]), where, len(good), len(values) - len(good)


def parity_brief(found: Found) -> str:
    words = [f"{column}: {worst(found, column)[1]}" for column in found["columns"]]
    return f"{len(found['rows'])} rows, the largest relative difference in " + "; ".join(words)


def parity_section(found: Found) -> list[str]:
    rows = []
    for column, about in found["columns"].items():
        absolute, relative, where, good, bad = worst(found, column)
        rows.append((column, about["target"], good, bad, absolute, relative, tiny(about["bound"]), where))
    header = ["width", "on", "rows", "in error", "largest absolute", "largest relative", "bound", "in the row"]
    pieces = [
        "The same numbers in the same width through every row of `tests/cases.py`, on NumPy and here: outputs, "
        "gradients, updated weights and states. A relative difference is in units of the row's largest number.",
        table(header, rows),
    ]
    for column, about in found["columns"].items():
        why = about.get("error") or about.get("unavailable") or about.get("cut_short")
        if why:
            pieces.append(f"**{column}** was not computed:\n\n{code(why)}")
    if found["beyond"]:
        more = [f"- and {len(found['beyond']) - 20} more"] if len(found["beyond"]) > 20 else []
        lines = [f"- {words}" for words in found["beyond"][:20]] + more
        pieces += ["Beyond the bound, or not computed:", "\n".join(lines)]
    cells = [
        (row["kind"], row["name"], *(cell(row["difference"].get(column)) for column in found["columns"]))
        for row in found["rows"]
    ]
    every = table(["", "row", *found["columns"]], cells)
    return [*pieces, folded(f"All {len(cells)} rows: largest absolute, largest relative difference", every)]


def cell(value: Any) -> str:
    if value is None or isinstance(value, str):
        return "–" if value is None else "error"
    return f"{tiny(value[0])}, {tiny(value[1])}"
