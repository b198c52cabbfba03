"""What README.md prints is what works."""

from __future__ import annotations

import operator
import re
from pathlib import Path

import numpy as np
import pytest

import martlet as mt

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
TABLE = README.split("## What there is")[1].split("A longer program")[0].splitlines()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_short_program_and_the_loop_by_hand_run(capsys: pytest.CaptureFixture[str]) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    short, by_hand = BLOCKS[1], BLOCKS[2]
    names: dict = {}
    exec(short, names)
    loss, accuracy = map(float, capsys.readouterr().out.split())
    assert loss < 0.2
    assert accuracy > 0.9
    exec(by_hand.replace("range(300)", "range(3)"), names)
    assert names["grad"][0].W.shape == (2, 10)
    pyplot.close("all")


def test_the_affine_that_it_shows_is_affine() -> None:
    names = {"Layer": mt.Layer, "Array": mt.Array, "namespace": mt.namespace, "__name__": __name__}
    exec(BLOCKS[3], names)
    x, t = mt.datasets.spiral(5)
    W, b = x[:2], x[2]
    shown, ours = names["Affine"](W, b), mt.Affine(W, b)
    for layer in (shown, ours):
        _, grad, _ = mt.gradient(layer, mt.SoftmaxWithLoss(), x[t < 2], t[t < 2])
        assert mt.names(grad) == ("W", "b")
    y, cache = shown.forward(x)
    assert (y == ours.predict(x)).all()
    assert (shown.backward(cache, y)[1].W == ours.backward(cache, y)[1].W).all()


def test_the_longer_program_runs() -> None:
    x, t = mt.datasets.spiral()
    held_out = mt.datasets.spiral(rng=np.random.default_rng(1))
    names = {"mt": mt, "rng": np.random.default_rng(0), "x": x, "t": t}
    exec(BLOCKS[4], names | dict(zip(("x_held_out", "t_held_out"), held_out, strict=True)), names)
    history = names["history"]
    assert min(history.validation_loss) == history.validation_loss[history.best_epoch - 1]
    assert mt.accuracy(names["model"], *held_out) > 0.8


@pytest.mark.parametrize("name", sorted({name for row in TABLE for name in re.findall(r"`([A-Za-z_0-9.]+)`", row)}))
def test_what_the_catalogue_lists_exists(name: str) -> None:
    if name == "pos_weight":
        assert mt.SigmoidWithLoss().pos_weight is None
    else:
        assert operator.attrgetter(name)(mt) is not None


def test_the_extras_that_it_names_exist() -> None:
    project = (Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8")
    for extra in set(re.findall(r"martlet\[([a-z0-9-]+)\]", README)):
        assert f"\n{extra} = [" in project


@pytest.mark.parametrize("name", re.findall(r"`mt\.([A-Za-z_]+)`", README))
def test_the_names_that_it_uses_exist(name: str) -> None:
    assert hasattr(mt, name)


def test_the_two_calls_that_tell_whether_a_layer_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    exec(BLOCKS[-1], {"mt": mt, "layer": mt.Sigmoid(), "x": np.array([[0.5, -1.0]])})
    assert "backward is the derivative of forward" in capsys.readouterr().out
