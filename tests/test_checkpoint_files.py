"""A file is the old one or the new one, whatever fails, and whoever is killed; and nobody else's file is touched."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import martlet as mt
from martlet.checkpoint import files
from martlet.checkpoint.files import replace_file, sweep

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links, permissions and locks as POSIX has them")


def model(number: float) -> mt.Affine:
    return mt.Affine(np.full((20, 30), number), np.full(30, number))


def number_in(path: Path) -> float:
    """The number that all of a model in a file are."""
    found = {float(x) for array in mt.leaves(mt.load(path)) for x in array.flat}
    assert len(found) == 1
    return found.pop()


class Failing:
    """Counts the calls by which a file is written, and lets one of them fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.fail_at: int | None = None
        for name in ("open", "write", "fsync", "replace", "fchmod", "close"):
            monkeypatch.setattr(os, name, self.instead_of(name, getattr(os, name)))

    def instead_of(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **how: Any) -> Any:
            self.calls.append(name)
            if len(self.calls) - 1 == self.fail_at:
                if name == "close":
                    real(*arguments)
                raise OSError(errno.ENOSPC, "no space left", "here")
            return real(*arguments, **how)

        return call

    def save(self, path: Path, what: mt.Layer, fail_at: int | None) -> None:
        self.calls, self.fail_at = [], fail_at
        try:
            mt.save(path, what)
        finally:
            self.fail_at = None


@pytest.mark.parametrize("there", [True, False], ids=["over an old file", "anew"])
def test_whichever_call_fails_the_file_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    path = tmp_path / "model"
    failing = Failing(monkeypatch)
    if there:
        mt.save(path, model(1.0))
    failing.save(path, model(1.0), None)
    calls = list(failing.calls)
    assert {"open", "write", "fsync", "replace"} <= set(calls)
    assert calls.count("fsync") == 2  # the file, and its folder
    assert calls.index("fsync") < calls.index("replace") < len(calls) - 1 - calls[::-1].index("fsync")
    for i, name in enumerate(calls):
        if not there:
            path.unlink(missing_ok=True)
        with pytest.raises(OSError, match="no space left"):
            failing.save(path, model(2.0), i)
        replaced = i > calls.index("replace")
        if replaced:
            assert number_in(path) == 2.0
            mt.save(path, model(1.0))
        elif there:
            assert number_in(path) == 1.0, name
        else:
            assert not path.exists()
        assert os.listdir(tmp_path) == ["model"] * path.exists(), f"{name} left something behind"


def test_a_write_may_take_only_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda number, data: write(number, data[:7]))
    mt.save(tmp_path / "model", model(1.0))
    assert number_in(tmp_path / "model") == 1.0


def test_a_system_that_gives_no_more_room_leaves_the_old_file(tmp_path: Path) -> None:
    """Not a fake: the process may write no file of more than 2,000 bytes."""
    path = tmp_path / "model"
    mt.save(path, model(1.0))
    before = path.read_bytes()
    program = f"""
import resource, numpy as np, martlet as mt
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    mt.save({str(path)!r}, mt.Affine(np.zeros((20, 30)), np.zeros(30)))
except OSError as error:
    print(error.errno)
"""
    environment = os.environ | {"PYTHONPATH": str(Path(mt.__file__).parent.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", program], check=True, env=environment, capture_output=True, text=True)
    assert int(done.stdout) == errno.EFBIG
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model"]


def test_an_interrupted_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model"
    mt.save(path, model(1.0))

    def interrupt(number: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        mt.save(path, model(2.0))
    assert (number_in(path), os.listdir(tmp_path)) == (1.0, ["model"])


# ------------------------------------------------------------------------------------- permissions, links


@pytest.fixture
def mask() -> Iterator[None]:
    old = os.umask(0o027)
    yield
    os.umask(old)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("mask")
@pytest.mark.parametrize("permissions", [0o600, 0o644, 0o664, 0o700])
def test_the_permissions_stay(tmp_path: Path, permissions: int) -> None:
    path = tmp_path / "model"
    mt.save(path, model(1.0))
    assert mode(path) == 0o640  # as any new file
    path.chmod(permissions)
    mt.save(path, model(2.0))
    assert (mode(path), number_in(path)) == (permissions, 2.0)


def test_what_is_secret_is_so_from_the_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model"
    mt.save(path, model(1.0))
    path.chmod(0o600)
    seen: list[int] = []
    write = os.write

    def look(number: int, data: Any) -> int:
        seen.append(stat.S_IMODE(os.fstat(number).st_mode))
        return write(number, data)

    monkeypatch.setattr(os, "write", look)
    mt.save(path, model(2.0))
    assert set(seen) == {0o600}


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root may do anything")
def test_no_permission_raises(tmp_path: Path) -> None:
    path = tmp_path / "model"
    mt.save(path, model(1.0))
    path.chmod(0o444)
    with pytest.raises(PermissionError, match="protected"):
        mt.save(path, model(2.0))
    path.chmod(0o644)
    tmp_path.chmod(0o555)
    with pytest.raises(PermissionError):
        mt.save(path, model(2.0))
    tmp_path.chmod(0o755)
    assert (number_in(path), os.listdir(tmp_path)) == (1.0, ["model"])


def test_a_protected_file_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the system would say it to whoever is not root."""
    path = tmp_path / "model"
    mt.save(path, model(1.0))
    monkeypatch.setattr(os, "access", lambda where, how: (where, how) != (str(path), os.W_OK))
    with pytest.raises(PermissionError, match="protected"):
        mt.save(path, model(2.0))
    assert (number_in(path), os.listdir(tmp_path)) == (1.0, ["model"])


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    (tmp_path / "link").symlink_to("there/model")
    mt.save(tmp_path / "link", model(1.0))  # which leads to nothing yet
    mt.save(tmp_path / "link", model(2.0))
    assert (tmp_path / "link").is_symlink()
    assert (number_in(there / "model"), number_in(tmp_path / "link")) == (2.0, 2.0)
    assert (os.listdir(there), sorted(os.listdir(tmp_path))) == (["model"], ["link", "there"])


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "circle"])
def test_what_is_no_ordinary_file_is_not_replaced(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model"
    make: dict[str, Callable[[], Any]] = {
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "device": lambda: path.symlink_to("/dev/null"),
        "circle": lambda: path.symlink_to(path),
    }
    make[kind]()
    before = os.lstat(path)
    with pytest.raises(OSError, match="no ordinary file"):
        mt.save(path, model(1.0))
    assert os.path.samestat(os.lstat(path), before)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert os.listdir(tmp_path) == ["model"]


def test_two_names_of_one_file_part_ways(tmp_path: Path) -> None:
    """A second name, a hard link, keeps the old bytes: a backup made so is one."""
    mt.save(tmp_path / "model", model(1.0))
    os.link(tmp_path / "model", tmp_path / "backup")
    mt.save(tmp_path / "model", model(2.0))
    assert (number_in(tmp_path / "model"), number_in(tmp_path / "backup")) == (2.0, 1.0)


def test_the_longest_name_that_there_can_be(tmp_path: Path) -> None:
    mt.save(tmp_path / ("n" * 255), model(1.0))
    assert os.listdir(tmp_path) == ["n" * 255]


# --------------------------------------------------------------------------------------------- leftovers


def left_behind(path: Path) -> Path:
    """What a process that was killed in the midst of a save has left beside a file."""
    number, temporary = files._create(str(path), 0o600)
    os.write(number, b"half of a mod")
    os.close(number)  # as the system does for who is killed
    return Path(temporary)


def test_the_next_save_sweeps_up_what_was_left_of_this_file(tmp_path: Path) -> None:
    mine, other = left_behind(tmp_path / "model"), left_behind(tmp_path / "other")
    mt.save(tmp_path / "model", model(1.0))
    assert not mine.exists()
    assert other.exists()
    mt.save(tmp_path / "other", model(1.0))
    assert sorted(os.listdir(tmp_path)) == ["model", "other"]


def test_nothing_is_swept_that_could_be_somebody_elses(tmp_path: Path) -> None:
    temporary = left_behind(tmp_path / "model")
    name = temporary.name
    kept = [
        tmp_path / name.replace(".saving", ".saved"),
        tmp_path / name.replace(".saving", ""),
        tmp_path / name.upper(),
        tmp_path / f"{name}.bak",
        tmp_path / f"my{name}",
        tmp_path / f"{name[:-7]}0.saving",
        tmp_path / ".martlet-0123456789abcdef-0123456789abcdef.saving",
        tmp_path / ".model.saving",
    ]
    for path in kept:
        path.write_text("precious")
    (tmp_path / "precious").write_text("precious")
    tricks = [tmp_path / f"{name[:-23]}{digit * 16}.saving" for digit in "1234"]
    tricks[0].symlink_to("precious")
    os.link(tmp_path / "precious", tricks[1])
    tricks[2].mkdir()
    os.mkfifo(tricks[3])
    mt.save(tmp_path / "model", model(1.0))
    assert not temporary.exists()
    assert all(path.read_text() == "precious" for path in (*kept, tmp_path / "precious"))
    assert all(os.path.lexists(path) for path in tricks)


def test_nothing_is_swept_that_somebody_is_writing(tmp_path: Path) -> None:
    """Two processes that save the same file: the second sweeps while the first is in the midst of it."""
    path = tmp_path / "model"
    program = f"""
import sys
from martlet.checkpoint.files import replace_file
def write(sink, amend):
    sink(b"half")
    print("midway", flush=True)
    sys.stdin.readline()
    sink(b" and half")
replace_file({str(path)!r}, write)
"""
    environment = os.environ | {"PYTHONPATH": str(Path(mt.__file__).parent.parent)}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "midway\n"
        assert len(os.listdir(tmp_path)) == 1
        sweep(str(path))
        mt.save(path, model(1.0))
        assert number_in(path) == 1.0
        assert len(os.listdir(tmp_path)) == 2
        other.communicate("\n")
        assert other.returncode == 0
    assert path.read_bytes() == b"half and half"
    assert os.listdir(tmp_path) == ["model"]


def test_a_temporary_that_was_swept_before_it_was_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, taken = files._lock, []

    def swept_first(number: int, wait: bool) -> bool:
        if wait and not taken:
            taken.extend(path.name for path in tmp_path.iterdir())
            for name in taken:
                (tmp_path / name).unlink()
        return lock(number, wait)

    monkeypatch.setattr(files, "_lock", swept_first)
    replace_file(tmp_path / "model", lambda sink, amend: sink(b"whole"))
    assert len(taken) == 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"model": b"whole"}


def test_where_files_cannot_be_locked_nothing_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(number: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "no locks here")

    left = left_behind(tmp_path / "model")
    monkeypatch.setattr("fcntl.flock", refuse)
    mt.save(tmp_path / "model", model(1.0))
    assert number_in(tmp_path / "model") == 1.0
    assert left.exists()


def test_processes_that_are_killed_while_they_save_lose_nothing(tmp_path: Path) -> None:
    """Twenty here, in a process that has no threads; ``python tests/hostile.py`` kills a thousand."""
    program = "import sys, pathlib, hostile; print(*hostile.kill_savers(20, pathlib.Path(sys.argv[1])))"
    places = [str(Path(mt.__file__).parent.parent), str(Path(__file__).parent)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
    versions, hits = map(int, done.stdout.split())
    assert versions > 0
    assert hits > 0
