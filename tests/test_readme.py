"""What README.md prints is what works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import martlet as mt

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
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


def test_the_extras_that_it_names_exist() -> None:
    project = (Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8")
    for extra in set(re.findall(r"martlet\[([a-z0-9-]+)\]", README)):
        assert f"\n{extra} = [" in project


@pytest.mark.parametrize("name", re.findall(r"`mt\.([A-Za-z_]+)`", README))
def test_the_names_that_it_uses_exist(name: str) -> None:
    assert hasattr(mt, name)
