"""A layer that works on NumPy is not yet one that works everywhere; here it is tried wherever it could fail.

    print(assert_portable(Swish(beta), x))

runs a layer's four verbs, or a loss, on every library at hand, and where they can be forced to show what
would go wrong on a GPU or under jit.  What is found wrong is named by its line, and so is what to write there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from martlet.backend import BackendUnavailable, describe
from martlet.layer import Layer
from martlet.loss import Loss
from martlet.testing.parity import aligned, in_short
from martlet.testing.subject import subject_of
from martlet.testing.targets import BACKENDS, Target
from martlet.testing.traps import Finding
from martlet.testing.trial import Trial

HOW = {
    "numpy": "as written",
    "numpy-readonly": "in read-only memory",
    "strict-device1": "no transfers, no masks",
    "strict-no_float64": "no float64, no masks",
    "torch": "as written",
    "jax": "as written",
    "jax, jit": "under jit",
    "cupy": "as written",
}
ONLY_JIT = "; nothing else here finds float(x) and `if x > 0:` in a step"


@dataclass(frozen=True)
class Row:
    """One trial: where, in which dtype, how far from NumPy's float64 (in units of its largest number), what is wrong.

    ``difference`` is None where there was nothing to compare.
    """

    place: str
    dtype: str
    difference: float | None
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Portability:
    """What ``assert_portable`` has tried, row by row, and the places that it could not try, with the reason."""

    subject: str
    verbs: str
    rows: tuple[Row, ...]
    left_out: dict[str, str]

    @property
    def findings(self) -> dict[Finding, list[Row]]:
        """Everything that is wrong, and the rows that found it; what has a line comes first.

        Complaints of one kind about one line are one finding, in the words of the first.
        """
        first: dict[Any, Finding] = {}
        found: dict[Finding, list[Row]] = {}
        for row in self.rows:
            for finding in row.findings:
                found.setdefault(first.setdefault(finding.kind, finding), []).append(row)
        return dict(sorted(found.items(), key=lambda item: not item[0].file))

    def __str__(self) -> str:
        return "\n".join([*(self._faults() if self.findings else self._table()), *self._absent()])

    def _table(self) -> Iterator[str]:
        yield f"{self.subject} is portable: {self.verbs}."
        yield ""
        head = ("place", "dtype", "how", "difference", "verdict")
        cells = [(r.place, r.dtype, HOW[r.place], in_short(r.difference or 0.0), "ok") for r in self.rows]
        yield from aligned([head, *cells])

    def _faults(self) -> Iterator[str]:
        bad = sum(bool(row.findings) for row in self.rows)
        yield f"{self.subject} is not portable: {bad} of {len(self.rows)} trials found fault with it."
        for finding, rows in self.findings.items():
            yield ""
            yield f"{_places(rows)}:"
            yield from (f"  {line}" for line in str(finding).splitlines())
        yield ""
        yield f"All is well on: {_places([row for row in self.rows if not row.findings]) or 'none'}"

    def _absent(self) -> Iterator[str]:
        if self.left_out:
            yield ""
        yield from (f"Not tried: {place}, {why}" for place, why in self.left_out.items())


def _places(rows: Iterable[Row]) -> str:
    """ "torch (float64, float32); jax (float32)" """
    widths: dict[str, list[str]] = {}
    for row in rows:
        widths.setdefault(row.place, []).append(row.dtype)
    return "; ".join(f"{place} ({', '.join(found)})" for place, found in widths.items())


class NotPortable(AssertionError):
    """A layer or loss fails, or gives something else, in at least one place.  ``report`` has it as data."""

    def __init__(self, report: Portability) -> None:
        super().__init__(str(report))
        self.report = report

    def __reduce__(self) -> Any:
        return type(self), (self.report,)


def assert_portable(
    layer: Layer | Loss, x: Any, t: Any = None, *, dout: Any = None, backends: Iterable[str] | None = None
) -> Portability:
    """Run a layer's forward, backward, observe and predict, or a loss with and without weights, everywhere.

    x: what the layer takes, an array (N, ...) or a tuple of arrays; of a loss, the outputs y (N, C), and then t:
    the targets.  Arrays of any library; they are copied.  ``dout``: shaped like the output; drawn if not given.
    ``backends``: some of numpy, numpy-readonly, strict-device1, strict-no_float64, torch, jax, cupy; all if not
    given, and those that are not installed are named in the report.  NumPy is always run, to compare with.

    Every place is tried in float64, where it has that, and in float32, with the same numbers: those that
    float32 holds.  On array-api-strict nothing may be transferred silently or have a shape that depends on
    values, which jit could not trace.  JAX has 64 bits here, whatever its setting is outside, and runs
    eagerly and under jit.

    Raises NotPortable where a verb fails, naming the line and what to write there; where results differ from NumPy's
    by more than rounding, or come in another dtype, library, device or structure; and where something that
    went in was changed.  TypeError or ValueError for arguments that no place could run.
    """
    subject = subject_of("assert_portable", layer, x, t, dout)
    names = [name for name in _chosen(backends) if name != "numpy"]
    left_out: dict[str, str] = {}
    rows = [_row(Trial(subject, Target("numpy"), width)) for width in ("float64", "float32")]
    for name in names:
        if subject.takes["dout"] is None:
            left_out[name] = "because forward does not even run on NumPy"
            continue
        try:
            targets = [Target(name), Target(name, jit=True)] if name == "jax" else [Target(name)]
        except (BackendUnavailable, ValueError) as error:  # array-api-strict before 2.6 lacks no_float64
            left_out[name] = str(error) + (ONLY_JIT if name == "jax" else "")
            continue
        for target in targets:
            widths = dict.fromkeys((target.double, "float32"))
            rows += [_row(Trial(subject, target, width)) for width in widths]
    report = Portability(type(layer).__name__, subject.verbs, tuple(rows), left_out)
    if report.findings:
        raise NotPortable(report)
    return report


def _row(trial: Trial) -> Row:
    """What one trial finds, with every setting of the libraries as it was afterwards."""
    with trial.target.active():
        findings, difference = trial.findings()
    return Row(trial.target.place, trial.width, difference, tuple(findings))


def _chosen(backends: Any) -> list[str]:
    if backends is None:
        return list(BACKENDS)
    if isinstance(backends, str) or not isinstance(backends, Iterable):
        raise TypeError(f"assert_portable: backends must be several names, got {describe(backends)}")
    names = list(backends)
    for name in names:
        if not isinstance(name, str) or name not in BACKENDS:
            raise ValueError(f"assert_portable: backends has {name!r}; choose some of: {', '.join(BACKENDS)}")
    return names
