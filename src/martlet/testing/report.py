"""What a check of gradients has found: a row per array, and the first layer that is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OK, WRONG, KINK = "ok", "WRONG", "kink"


@dataclass(frozen=True)
class ArrayCheck:
    """One array's gradient, and of its entries the one that is furthest off.

    verdict: "ok"; "WRONG"; or "kink", where forward has no derivative and backward gives a slope between those on
    both sides, or where both are NaN.  NaN in every entry is "WRONG", for nothing could be compared.
    ``error`` is relative to ``expected``.
    """

    name: str
    shape: tuple[int, ...]
    index: tuple[int, ...] | None  # None: the array has no entries
    expected: float
    got: float
    error: float
    verdict: str
    note: str = ""


@dataclass(frozen=True)
class GradientReport:
    """The gradients of a layer, a loss or a model with its loss, beside those of an oracle.

    ``print(report)`` shows the table.  ``problems``: what is wrong with a gradient before one looks at its
    numbers.  ``culprit``: the innermost layer that is wrong by itself, on the x and dout that it really
    got, and ``inner`` what was found in it.  ``why_not``: the oracles that could not be used, and why.
    """

    subject: str
    oracle: str
    arrays: tuple[ArrayCheck, ...] = ()
    problems: tuple[str, ...] = ()
    culprit: str = ""
    inner: GradientReport | None = None
    why_not: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.culprit and not self.problems and not self.wrong

    @property
    def wrong(self) -> tuple[str, ...]:
        """The names of the arrays whose gradients are wrong."""
        return tuple(row.name for row in self.arrays if row.verdict == WRONG)

    @property
    def kinks(self) -> tuple[str, ...]:
        """The names of the arrays at which forward has no derivative in some entry."""
        return tuple(row.name for row in self.arrays if row.verdict == KINK)

    def __str__(self) -> str:
        lines = [self.headline()]
        first = self.inner or self
        lines += _table(first.arrays)
        if self.inner is not None and self.arrays and self.culprit != self.subject:
            lines += ["", f"What follows from it in {self.subject}:", *_table(self.arrays)]
        lines += [self.note] if self.note else []
        lines += [f"Not by {name}: {why}" for name, why in self.why_not.items()]
        return "\n".join(lines)

    def headline(self) -> str:
        """The finding in a sentence."""
        first = self.inner or self
        who = self.culprit or self.subject
        if first.problems:
            return f"{who}: {'; '.join(first.problems)}"
        verb = "is not" if first.wrong else "is"
        where = " wherever there is one" if first.kinks and first.ok else ""
        where = f": wrong for {', '.join(first.wrong)}" if first.wrong else where
        return f"{who}: backward {verb} the derivative of forward{where} (by {first.oracle}, in float64)"


class WrongGradient(AssertionError):
    """A hand-written gradient is wrong.  ``report`` says where: its ``culprit`` is the first layer to look at."""

    def __init__(self, report: GradientReport) -> None:
        super().__init__(str(report))
        self.report = report

    def __reduce__(self) -> Any:  # so that it comes home from another process
        return type(self), (self.report,)


def _table(arrays: tuple[ArrayCheck, ...]) -> list[str]:
    if not arrays:
        return []
    rows = [("array", "shape", "worst entry", "expected", "got", "relative error", "")]
    for a in arrays:
        numbers = (
            ("-", "-", "-")
            if a.index is None
            else (f"{a.expected + 0.0:.10g}", f"{a.got + 0.0:.10g}", f"{a.error:.1e}")
        )
        where = "-" if a.index is None else str(a.index)
        rows.append((a.name, str(a.shape), where, *numbers, f"{a.verdict}{': ' if a.note else ''}{a.note}"))
    widths = [max(len(row[i]) for row in rows) for i in range(6)]
    return [
        "  ".join(
            [cell.ljust(w) if i < 3 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row[:6], widths, strict=True))]
            + [row[6]]
        ).rstrip()
        for row in rows
    ]
