"""Whether backward is the derivative of forward, and if not, which layer is to blame.

    check_gradients(layer, x)                     every layer of your own deserves it
    check_gradients(loss, y, t)
    check_gradients(model, x, t, loss=loss)

Forward and backward run on NumPy in float64, and an oracle differentiates the same forward.  Where the two
disagree, every layer inside is looked at on the x and dout that it really got: one that is wrong makes the
gradients of all before it wrong, so that an array's name says little.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from martlet.backend import Array, describe
from martlet.checks import check_number
from martlet.layer import Layer
from martlet.layers import Sequential
from martlet.loss import Loss
from martlet.testing.agreement import Doubt, compare
from martlet.testing.lifted import OWNER, Against, as_layer, beside, draw, lift, like
from martlet.testing.oracles import ORACLES, differentiate
from martlet.testing.report import KINK, WRONG, GradientReport, WrongGradient
from martlet.testing.witness import Record, Witness
from martlet.watching import label, watched


def check_gradients(
    subject: Layer | Loss,
    x: Any,
    t: Array | None = None,
    weight: Array | None = None,
    *,
    loss: Loss | None = None,
    dout: Any = None,
    oracle: str = "auto",
    rtol: float = 1e-8,
) -> GradientReport:
    """Compare the hand-written backward with the derivative of the forward.  Changes nothing.

    subject: a layer, with x its input; a loss, with y in the place of x, t and perhaps weight; or a whole
    model with ``loss=``.  x: an array of any library, or a tuple of them; integers (words) have no
    derivative.  All of it is copied to the host and to float64 first: a gradient is judged as a formula,
    whatever the width it is used in.  ``dout``, shaped like the output, is drawn from a fixed seed.

    oracle: "torch" or "jax", whose autograd is exact to rounding; "differences", which take some ten
    forwards per entry; "auto" is the first of these that is installed and can differentiate this forward.
    rtol: the relative error that an entry may have, beside rounding.  1e-6 in one entry is found.

    Returns a report, to be printed.  Raises WrongGradient, which carries it, where a gradient is missing,
    misshapen or wrong, or where a verb writes into what it was given; BackendUnavailable for an oracle that is
    not installed; ValueError for one that does not see all of this forward; and whatever the verbs raise.
    """
    check_number(OWNER, "rtol", rtol, 0.0)
    if oracle not in ("auto", *ORACLES):
        raise ValueError(f"{OWNER}: oracle must be one of auto, {', '.join(ORACLES)}, got {oracle!r:.40}")
    if not isinstance(subject, Layer | Loss):
        raise TypeError(f"{OWNER}: expected a layer or a loss, got {describe(subject)}")
    layer = as_layer(subject, t, weight, loss)
    return _Check(layer, loss is not None, ORACLES if oracle == "auto" else (oracle,), rtol).run(lift("x", x), dout)


class _Check:
    """One check: what is looked at, which oracles are asked in turn, and how closely."""

    def __init__(
        self, layer: Layer, with_loss: bool, oracles: tuple[str, ...], rtol: float, *, moved: bool = False
    ) -> None:
        self.layer, self.with_loss, self.oracles, self.rtol, self.moved = layer, with_loss, oracles, rtol, moved

    def run(self, x: Any, dout: Any) -> GradientReport:
        """The report.  Raises WrongGradient."""
        witness = Witness()
        model = watched(self.layer, witness)
        y, cache = model.forward(x)
        dout = draw(y) if dout is None else like(y, lift("dout", dout))
        try:
            model.backward(cache, dout)
        except Exception as error:  # perhaps because of what another layer, which had finished, gave
            report = self.blame(witness.records)
            if report.ok:
                raise
            raise WrongGradient(report) from error
        report = self.conclude(witness.records)
        if not report.ok:
            raise WrongGradient(report)
        return report

    def conclude(self, records: list[Record]) -> GradientReport:
        """The whole by itself; and where that is wrong, the first of the layers that is."""
        *inside, whole = records
        if any(record.problems for record in records):
            return self.blame(records)
        report = self.judge(whole)
        if report.ok:
            return report
        found = self.blame(inside)
        if not found.ok:
            return replace(report, culprit=found.culprit, inner=found.inner)
        if not found.kinks:
            return replace(report, culprit=report.subject, inner=report)
        if not self.moved:  # the layers are right, but one is on a kink: so the whole is judged beside it
            self.judge_beside(whole, found.subject)
        note = f"not differentiable here: see {found.subject}"
        rows = [replace(row, verdict=KINK, note=note) if row.verdict == WRONG else row for row in report.arrays]
        return replace(report, arrays=tuple(rows))

    def judge_beside(self, whole: Record, on_kink: str) -> None:
        """Raises WrongGradient if it is wrong a little to the side, too, where there should be no kink."""
        layer, x = beside(self.layer, whole.x)
        try:
            _Check(layer, self.with_loss, self.oracles, self.rtol, moved=True).run(x, whole.dout)
        except WrongGradient as wrong:
            note = f"At the x given, {on_kink} has no derivative: x and the model are moved by a thousandth here."
            raise WrongGradient(replace(wrong.report, note=note)) from None

    def blame(self, records: list[Record]) -> GradientReport:
        """A report that names the first record that is wrong; else that of the first layer on a kink, if any.

        A layer that holds one on a kink has no derivative either, or, where kinks cancel, one that no
        product of slopes gives: it is not blamed.
        """
        whole = GradientReport(self.name("", self.layer), "")
        kinks: list[tuple[Record, GradientReport]] = []
        for record in records:  # an inner layer comes before the one that holds it
            if not record.finished and not record.problems:
                continue
            inner = self.judge(record)
            excused = not inner.problems and any(record.holds(other) for other, _ in kinks)
            if not inner.ok and not excused:
                return replace(whole, oracle=inner.oracle, culprit=inner.subject, inner=inner)
            if inner.kinks:
                kinks.append((record, inner))
        return kinks[0][1] if kinks else whole

    def judge(self, record: Record) -> GradientReport:
        """A layer by itself: its gradients beside those of the first oracle that can differentiate its forward."""
        name, why_not = self.name(record.path, record.layer), dict[str, str]()
        if record.problems:
            return GradientReport(name, "", problems=tuple(record.problems))
        if not record.is_repeatable():
            return GradientReport(name, "", problems=("forward gives another output when it is called again",))
        f, names, got = record.function(), record.names(), record.gradients()
        if self.with_loss and not record.path:  # the model is the first of two
            names = [n.removeprefix("0.") for n in names]
        *others, last = self.oracles
        for oracle in others:
            try:
                rows = compare(f, names, got, record.repeat, differentiate(oracle, f), self.rtol)
                return GradientReport(name, oracle, rows, why_not=why_not)
            except Exception as error:
                why_not[oracle] = f"{error}".splitlines()[0] or type(error).__name__
        try:
            rows = compare(f, names, got, record.repeat, differentiate(last, f), self.rtol)
        except Doubt as doubt:
            raise ValueError(f'{OWNER}: oracle="{last}" does not see all of this forward: {doubt}') from None
        return GradientReport(name, last, rows, why_not=why_not)

    def name(self, path: str, layer: Layer) -> str:
        """How the report calls a layer."""
        kind = type(layer).__name__
        if isinstance(layer, Against):
            loss = type(layer.loss).__name__
            return f"the loss ({loss})" if path else loss
        if isinstance(layer, Sequential) and self.with_loss and not path:
            model, against = layer
            return f"{type(model).__name__} with {self.name('', against)}"
        if self.with_loss:
            return label(layer, path[2:])
        return label(layer, path) if path else kind
