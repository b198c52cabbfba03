"""Whole training runs beside scikit-learn's: the table of sklearn_runs.py, a test per row."""

from __future__ import annotations

from dataclasses import replace

import pytest
from conftest import Target
from peers.sklearn_runs import CASES, DECAY, Case, compare, ours, with_decay

import martlet as mt


@pytest.fixture(autouse=True)
def _sklearn() -> None:
    pytest.importorskip("sklearn")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_run_of_sixty_epochs(case: Case) -> None:
    row = compare(case)
    assert row.agrees, row


@pytest.mark.eager
def test_fit_takes_the_same_run_on_every_backend(xp: Target) -> None:
    if xp.double != "float64":
        pytest.skip("scikit-learn's run is in float64")
    (case,) = (case for case in CASES if case.name == "Momentum, three classes, tanh")
    row = compare(case, xp.backend)
    assert row.agrees, row


def test_a_loop_of_steps_is_what_fit_does() -> None:
    """The rows whose numbers change from step to step leave ``fit`` and are none the worse for it."""
    case = Case("with a decay of 0", mt.SGD(lr=0.3, transforms=DECAY), {})
    (by_fit, curve), (by_steps, losses) = ours(case), ours(replace(case, numbers=with_decay(0.0)))
    assert losses == pytest.approx(curve, rel=1e-13)
    for a, b in zip(mt.leaves(by_fit), mt.leaves(by_steps), strict=True):
        assert a == pytest.approx(b, rel=1e-12)
