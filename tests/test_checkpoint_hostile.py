"""Files from strangers: each forgery is refused for its own reason, at little cost, and without effect."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from forgeries import FORGERIES, GOOD, NO_FILES, RUN, Forgery, Harmful, a_model, put
from hostile import WATCH, fuzz, judge, warm_up

import martlet as mt


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    warm_up(tmp_path)
    return tmp_path


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.what)
def test_a_forged_file_is_refused(forgery: Forgery, folder: Path) -> None:
    assert judge(forgery, folder / "forged").problem == ""


@pytest.mark.skipif(os.name == "nt", reason="pipes and links as POSIX has them")
@pytest.mark.parametrize("forgery", NO_FILES, ids=lambda forgery: forgery.what)
def test_what_is_no_file_is_refused(forgery: Forgery, folder: Path) -> None:
    assert judge(forgery, folder / "forged").problem == ""


def test_a_name_is_no_way_in_either(folder: Path) -> None:
    """Escapes for a terminal, and whatever a shell would do with it."""
    for name in ("\x1b[2J\x07", "$(touch harm)", "a\nb", "|touch harm", "n" * 250, "\u202egnp.model"):
        path = folder / name
        path.write_bytes(b"bad")
        with pytest.raises(mt.CheckpointError) as caught:
            mt.load(path)
        assert repr(str(path)) in str(caught.value)
        assert "\x1b" not in str(caught.value)
        path.unlink()
    assert os.listdir(folder) == []
    for name in ("gone", "n" * 300, "loop"):
        if name == "loop":
            (folder / name).symlink_to(name)
        with pytest.raises(OSError, match=name[:20]):
            mt.load(folder / name)


def test_the_watch_sees_what_it_must_not(folder: Path) -> None:
    """What the forgeries are watched with does notice a command, an import and another file."""
    assert any("os.system" in event for event in WATCH.during(folder, lambda: pickle.loads(pickle.dumps(Harmful()))))
    assert (folder / "harm").exists()
    assert WATCH.during(folder, lambda: (folder / "harm").read_bytes())
    assert WATCH.during(folder / "harm", (folder / "harm").read_bytes) == []
    assert WATCH.during(folder, lambda: eval("1"))
    assert judge(Forgery("a good file", put(GOOD), ""), folder / "good").problem == "it said: nothing"
    assert "it said" in judge(Forgery("another reason", put(GOOD[:9]), "no such words"), folder / "good").problem


def test_random_damage_is_never_taken_for_the_file_that_it_was(tmp_path: Path) -> None:
    """A thousand here; ``python tests/hostile.py`` makes twenty thousand."""
    found = fuzz(1_000, tmp_path, seed=1)
    assert found["refused"] > 900
    assert found["another file"] > 0  # of those that were signed anew, some say what can be
    assert found.keys() <= {"refused", "another file", "unharmed"}


def test_a_run_that_a_stranger_has_spoiled_changes_nothing(folder: Path) -> None:
    """``fit`` reads it before it begins: the model, the generator, the file and the folder stay as they were."""
    rng = np.random.default_rng(7)
    x, t = np.zeros((12, 2), dtype="float32"), np.zeros(12, dtype="int64")
    model, before = a_model(), rng.bit_generator.state
    arrays = [x.tobytes() for x in mt.leaves(model)]
    path, options = folder / "run", {"loss": mt.SoftmaxWithLoss(), "optimizer": mt.SGD()}
    for forgery in (f for f in FORGERIES if "run" in f.what or "generator" in f.what or "epoch" in f.what):
        forgery.make(path)
        content = path.read_bytes()
        with pytest.raises(mt.CheckpointError):
            mt.fit(model, x, t, epochs=9, seed=rng, checkpoint=path, resume=True, **options)
        assert (path.read_bytes(), os.listdir(folder)) == (content, ["run"])
        assert rng.bit_generator.state == before
        assert [x.tobytes() for x in mt.leaves(model)] == arrays


def test_the_good_files_are_good(tmp_path: Path) -> None:
    (tmp_path / "run").write_bytes(RUN)
    run = mt.load_run(tmp_path / "run")
    assert run.best is not None
    assert run.best.epoch < run.epoch
    model = mt.load(tmp_path / "run")
    assert [x.tobytes() for x in mt.leaves(model)] == [x.tobytes() for x in mt.leaves(run.best.model)]
