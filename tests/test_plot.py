"""Pictures: what is drawn, not how it looks."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from conftest import Target

import martlet as mt

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
from matplotlib.figure import Figure  # noqa: E402


@pytest.fixture
def ax():
    return Figure().subplots()


def test_the_loss_curve_starts_at_epoch_1(ax) -> None:
    history = mt.History(loss=[3.0, 2.0, 1.0], validation_loss=[4.0, 3.0, 2.5])
    assert mt.plot.loss_curve(history, ax=ax) is ax
    training, validation = ax.get_lines()
    assert training.get_xdata().tolist() == [1, 2, 3]
    assert list(training.get_ydata()) == [3.0, 2.0, 1.0]
    assert list(validation.get_ydata()) == [4.0, 3.0, 2.5]
    assert training.get_linestyle() != validation.get_linestyle()  # to be told apart without colour
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "loss")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["training loss", "validation loss"]


def test_runs_are_compared_by_name(ax) -> None:
    mt.plot.loss_curve({"SGD": [2.0, 1.0], "Adam": mt.History(loss=[1.0])}, ax=ax, log=True)
    assert [line.get_label() for line in ax.get_lines()] == ["SGD", "Adam"]
    assert ax.get_yscale() == "log"


@pytest.mark.eager
def test_the_boundary_runs_where_the_decision_changes(xp: Target) -> None:
    """A model of one class boundary at x1 = 0.5, on any backend."""
    ax = Figure().subplots()
    model = xp.put(mt.Affine(np.array([[-1.0, 1.0], [0.0, 0.0]]), np.array([0.5, -0.5])))
    x = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    assert mt.plot.decision_boundary(model, x, np.array([0, 1, 0, 0]), ax=ax, resolution=101) is ax
    lines = [c for c in ax.collections if type(c).__name__ == "QuadContourSet"]
    corners = np.concatenate([path.vertices for line in lines for path in line.get_paths()])
    np.testing.assert_allclose(corners[:, 0], 0.5, atol=0.02)
    ringed = ax.collections[-1].get_offsets()
    assert ringed.tolist() == [[1.0, 1.0]]  # the one sample that the model gets wrong
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("$x_1$", "$x_2$")


def test_one_logit_is_two_classes(ax) -> None:
    model = mt.Affine(np.array([[1.0], [0.0]]), np.array([-0.5]))
    x, t = np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[0.0], [1.0]])
    mt.plot.decision_boundary(model, x, t, ax=ax, resolution=20)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["class 0", "class 1"]


def test_without_matplotlib_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"martlet\[plot\]"):
        mt.plot.loss_curve([1.0])
