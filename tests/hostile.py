"""What docs/checkpoints.md says of files from strangers and of killed processes, measured.

    python tests/hostile.py [--mutations 20000] [--kills 1000] [--resumes 20] [--write]

Every forgery of tests/forgeries.py is read, then files with random damage, half of them signed anew; then a
process that saves is killed, and one that trains.  ``--write`` puts the table into the page.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import tracemalloc
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from forgeries import BEFORE, FORGERIES, GOOD, NO_FILES, RUN, Forgery, joined, signed, taken_apart

import martlet as mt

PAGE = Path(__file__).parent.parent / "docs" / "checkpoints.md"
MEMORY = 64 * 2**20  # beyond four times the file
SECONDS, PER_BYTE = 1.0, 1 / 20e6


# ------------------------------------------------------------------------------------ what reading must not do


class Watch:
    """Notes what Python says that it does, while something is read: see ``sys.addaudithook``."""

    forbidden = ("exec", "compile", "import", "os.", "subprocess", "socket", "pickle", "marshal", "ctypes", "shutil")

    def __init__(self) -> None:
        self.path: str | None = None
        self.seen: list[str] = []
        sys.addaudithook(self.hear)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.path is None:
            return
        other = event == "open" and not isinstance(arguments[0], int) and os.fspath(arguments[0]) != self.path
        if other or event.startswith(self.forbidden):
            self.seen.append(f"{event}{arguments!r:.100}")

    def during(self, path: Path, read: Callable[[], Any]) -> list[str]:
        self.path, self.seen = str(path), []
        try:
            read()
        finally:
            self.path = None
        return self.seen


WATCH = Watch()


class Verdict(NamedTuple):
    """What is wrong with how a file was refused, or ""; and what the refusal cost."""

    problem: str
    memory: float  # the share of what was allowed
    seconds: float


def judge(forgery: Forgery, path: Path) -> Verdict:
    """Read a forged file, and see that it is refused for its own reason, at little cost, and without effect."""
    forgery.make(path)
    size = path.stat().st_size if path.is_file() else 0
    before = contents(path)
    said, seen, seconds = read_watched(path)
    peak = peak_of(path)
    problem = ""
    if f"load_run: {str(path)!r}: " not in said or forgery.words not in said or not said.isprintable():
        problem = f"it said: {said}"
    elif seen:
        problem = f"reading did more than to read: {seen}"
    elif contents(path) != before:
        problem = "something was changed"
    elif peak > 4 * size + MEMORY:
        problem = f"{peak:,} bytes of memory for {size:,}"
    elif seconds > SECONDS + size * PER_BYTE:
        problem = f"{seconds:.1f} s for {size:,} bytes"
    return Verdict(problem, peak / (4 * size + MEMORY), seconds)


def contents(path: Path) -> Any:
    """What stands in the file's folder, and in the file."""
    return sorted(os.listdir(path.parent)), path.read_bytes() if path.is_file() else None


def refusal(path: Path) -> str:
    try:
        mt.load_run(path)
    except mt.CheckpointError as error:
        return str(error)
    return "nothing"


def read_watched(path: Path) -> tuple[str, list[str], float]:
    found: list[str] = []
    start = time.process_time()
    seen = WATCH.during(path, lambda: found.append(refusal(path)))
    return found[0], seen, time.process_time() - start


def peak_of(path: Path) -> int:
    """The most memory that was in use at once, NumPy's included."""
    tracemalloc.start()
    refusal(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def warm_up(folder: Path) -> None:
    """Whatever is imported or made once."""
    for name, content in (("good", GOOD), ("run", RUN), ("bad", b"bad")):
        (folder / name).write_bytes(content)
        refusal(folder / name)
        (folder / name).unlink()


# -------------------------------------------------------------------------------------------- random damage

TOKENS = re.compile(rb'\d+\.?\d*(?:e-?\d+)?|\\?"[^"\\]*\\?"|true|false|null')
POOL = [b"0", b"1", b"-1", b"2", b"3", b"16", b"0.5", b"1e5", b"1e400", b"NaN", b"true", b"null", b"[]", b"{}", b'""']
POOL += [str(2**n + m).encode() for n in (31, 32, 53, 63, 64) for m in (-1, 0, 1)]
POOL += [f'"{word}"'.encode() for word in ("F32", "I32", "F16", "BF16", "BOOL", "U8", "0.W", "shape", "__metadata__")]
POOL += [b'\\"' + word + b'\\"' for word in (b"class", b"Tanh", b"Affine", b"array", b"own:Swish", b"layers", b"Adam")]
POOL += [b'{\\"class\\":\\"Tanh\\"}', b'{\\"float\\":\\"nan\\"}', b"[" * 300]


def damage(rng: random.Random, file: bytes) -> bytes:
    """The file with something wrong somewhere, and maybe with its SHA-256 and the length of its header set right."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        file = rng.choice((flip, flip, overwrite, remove, repeat, exchange, cut_off, retell, retell, retell))(rng, file)
    if rng.random() < 0.5:
        file = resized(file)
        file = signed(file)
    return file


def flip(rng: random.Random, file: bytes) -> bytes:
    place = rng.randrange(len(file) or 1)
    return file[:place] + bytes([file[place] ^ (1 << rng.randrange(8))]) + file[place + 1 :] if file else file


def overwrite(rng: random.Random, file: bytes) -> bytes:
    place = rng.randrange(len(file) + 1)
    return file[:place] + rng.randbytes(rng.randint(1, 9)) + file[place + rng.randint(0, 9) :]


def remove(rng: random.Random, file: bytes) -> bytes:
    place = rng.randrange(len(file) + 1)
    return file[:place] + file[place + rng.choice((1, 2, 8, 40)) :]


def repeat(rng: random.Random, file: bytes) -> bytes:
    start = rng.randrange(len(file) + 1)
    stop = start + rng.choice((1, 8, 60, 300))
    return file[:stop] + file[start:stop] + file[stop:]


def exchange(rng: random.Random, file: bytes) -> bytes:
    """Two pieces have each other's place."""
    a, b, c, d = sorted(rng.randrange(len(file) + 1) for _ in range(4))
    return file[:a] + file[c:d] + file[b:c] + file[a:b] + file[d:]


def cut_off(rng: random.Random, file: bytes) -> bytes:
    return file[: rng.randrange(len(file) + 1)]


def retell(rng: random.Random, file: bytes) -> bytes:
    """Another word in the header: one from the pool, or one that stands elsewhere."""
    words = list(TOKENS.finditer(file, 8 + len(BEFORE) + 64, 8 + int.from_bytes(file[:8], "little") % 2**40))
    if not words:
        return file
    old, new = rng.choice(words), rng.choice((rng.choice(POOL), rng.choice(words).group()))
    return file[: old.start()] + new + file[old.end() :]


def resized(file: bytes) -> bytes:
    """The length of the header such that the data is what it was, as a forger would have it."""
    end = file.rfind(b"]}}")
    return joined(file[8 : end + 3], file[end + 3 :].lstrip(b" ")) if end > 0 else file


def outcome(file: bytes, original: bytes, path: Path) -> str:
    """What becomes of a damaged file: "refused", "unharmed", or "another file", which holds what it says."""
    path.write_bytes(file)
    try:
        run = mt.load_run(path)
    except mt.CheckpointError as error:
        named = f"load_run: {str(path)!r}: " in str(error) and str(error).isprintable()
        return "refused" if named else f"refused without a name, or in words that could harm a terminal: {error!r}"
    if file == original:
        return "unharmed"
    assert signed(file) == file, "a change that nobody signed was not noticed"
    stored = plainly(file)
    place = "now/" if any(name.startswith("now/") for name in stored) else ""
    for name, x in zip(mt.names(run.model), mt.leaves(run.model), strict=True):
        there = stored[place + name]
        assert (x.shape, x.dtype, x.tobytes()) == (there.shape, there.dtype, there.tobytes())
    return "another file"


def plainly(file: bytes) -> dict[str, np.ndarray]:
    """The arrays of a file that is in order, as the layout has them."""
    kinds = {"F": "f", "I": "i", "U": "u"}
    table, _, data = taken_apart(file)
    found = {}
    for name, e in table.items():
        if name != "__metadata__":
            start, stop = e["data_offsets"]
            code = e["dtype"]
            kind = "?" if code == "BOOL" else "<u2" if code == "BF16" else f"<{kinds[code[0]]}{int(code[1:]) // 8}"
            x = np.frombuffer(data[start:stop], kind).reshape(e["shape"])
            found[name] = (x.astype("u4") << 16).view("f4") if code == "BF16" else x
    return found


def fuzz(count: int, folder: Path, seed: int = 0) -> Counter[str]:
    """Damage good files so many times, and count what becomes of them."""
    found: Counter[str] = Counter()
    for i in range(count):
        rng = random.Random(seed * 10**9 + i)
        original = rng.choice((GOOD, RUN))
        file = damage(rng, original)
        try:
            found[outcome(file, original, folder / "damaged")] += 1
        except Exception as error:
            raise AssertionError(f"mutation {i} of seed {seed}: {error!r}") from error
    return found


# --------------------------------------------------------------------------------- processes that are killed


def version(k: int) -> mt.Layer:
    """A model all of whose numbers are k."""
    return mt.Sequential(*(mt.Affine(np.full((100, 100), float(k)), np.full(100, float(k))) for _ in range(4)))


def save_on(path: Path, k: int, pipe: int) -> None:
    """Save one version after another, and say each time that it is done, until killed."""
    while True:
        k += 1
        mt.save(path, version(k))
        os.write(pipe, k.to_bytes(8, "little"))


def kill_savers(kills: int, folder: Path) -> tuple[int, int]:
    """Kill so many processes while they save; give how many versions were saved and how many kills hit a save.

    After each, the file is whole, and of the last version that was said to be done, or of the next.
    """
    path, rng, hits, last = folder / "model", random.Random(0), 0, 0
    mt.save(path, version(0))
    for _ in range(kills):
        done, say = os.pipe()
        child = os.fork()
        if child == 0:
            save_on(path, last, say)
        os.close(say)
        time.sleep(rng.uniform(0.0, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with open(done, "rb") as file:
            said = file.read()
        last = int.from_bytes(said[-8:], "little") if said else last
        found = {float(x.flat[0]) for x in mt.leaves(mt.load(path))}
        assert all((x == x.flat[0]).all() for x in mt.leaves(mt.load(path)))
        assert found in ({last}, {last + 1}), f"the file holds {found}, but {last} was saved"
        last = int(found.pop())
        hits += len(os.listdir(folder)) > 1
    mt.save(path, version(last))
    assert os.listdir(folder) == ["model"], "something was left behind"
    return last, hits


# ------------------------------------------------------------------------------------------- the table


def kill_runs(kills: int, backend: str) -> str:
    """What tests/killed.py says: it needs processes of its own."""
    command = [sys.executable, str(Path(__file__).with_name("killed.py")), str(kills), backend]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def table(mutations: int, kills: int, resumes: int, backends: list[str]) -> Iterator[str]:
    """The rows: what was done, how often, and what came of it."""
    yield f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}."
    yield ""
    yield "| what | how often | what came of it |"
    yield "| --- | --- | --- |"
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        folder = Path(name)
        warm_up(folder)
        verdicts = {forgery.what: judge(forgery, folder / f"{i}") for i, forgery in enumerate(FORGERIES + NO_FILES)}
        bad = {what: verdict.problem for what, verdict in verdicts.items() if verdict.problem}
        most = max(verdicts.values(), key=lambda v: v.memory).memory
        slowest = max(verdicts.values(), key=lambda v: v.seconds).seconds
        yield (
            f"| forged files | {len(verdicts)} | {len(verdicts) - len(bad)} refused for their own reason; at most "
            f"{most:.0%} of the memory allowed, and {slowest:.2f} s {json.dumps(bad) if bad else ''}|"
        )
    with tempfile.TemporaryDirectory() as name:
        found = fuzz(mutations, Path(name))
        yield (
            f"| random damage, half of it signed | {mutations:,} | {found['refused']:,} refused, "
            f"{found['unharmed']:,} not damaged at all, {found['another file']:,} signed files of something else, "
            "whose arrays are what they say |"
        )
    with tempfile.TemporaryDirectory() as name:
        versions, hits = kill_savers(kills, Path(name))
        yield (
            f"| `kill -9` of a process that saves | {kills:,} | nothing lost in {versions:,} saves; {hits:,} kills "
            "left a temporary file, and the next save removed it |"
        )
    for backend in backends:
        yield f"| `kill -9` of a training run, on {backend} | {resumes} | {kill_runs(resumes, backend)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=1_000)
    parser.add_argument("--resumes", type=int, default=20)
    parser.add_argument("--backends", nargs="+", default=["numpy"])
    parser.add_argument("--write", action="store_true", help="put the table into docs/checkpoints.md")
    chosen = parser.parse_args()
    warnings.simplefilter("error")
    lines = []
    for line in table(chosen.mutations, chosen.kills, chosen.resumes, chosen.backends):
        print(line, flush=True)
        lines.append(line)
    if chosen.write:
        begin, end = "<!-- begin: python tests/hostile.py -->", "<!-- end -->"
        page, found = PAGE.read_text(), re.compile(f"{re.escape(begin)}\n.*?{re.escape(end)}", re.DOTALL)
        PAGE.write_text(found.sub(lambda _: "\n".join([begin, "", *lines, "", end]), page))


if __name__ == "__main__":
    main()
