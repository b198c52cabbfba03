"""Does the suite bite?  Every small change of the library that its tests do not notice must have a reason.

``python tests/mutation.py`` has mutmut plant some thousand faults, one at a time (a + for a -, a < for a <=, an
argument left out), and run against each the tests that come by its function.  It prints the score and the faults
that no test noticed, as Markdown, and fails if one of them has no reason in survivors.toml, or a reason there is
not needed any more.  ``[tool.mutmut]`` in pyproject.toml says what is changed, and which tests are run.

What stands outside functions (defaults of fields, constants, the table of Φ) and properties mutmut leaves alone, and
a change in what runs while a class is made shows only in the classes that a test makes.

    python tests/mutation.py             everything anew: some fifteen minutes on two idle cores
    python tests/mutation.py --again     only functions that have changed, and what was not noticed the last time
    python tests/mutation.py --report    no run: what the last one found
    python tests/mutation.py --missing   the survivors without a reason, as they go into survivors.toml
"""

from __future__ import annotations

import argparse
import ast
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
MUTANTS = ROOT / "mutants"
REASONS = ROOT / "tests" / "survivors.toml"
VERDICTS = {0: "survived", 1: "killed", 3: "killed", 5: "no tests", 33: "no tests", None: "not run"}
VERDICTS |= dict.fromkeys((24, -24, 36, 152, 255), "timed out")
COLUMNS = ("killed", "timed out", "no tests", "survived")
Change = tuple[str, str, str]


class Mutant(NamedTuple):
    """One small change: its name at mutmut's, where it is, the line as it was and as it became, what came of it."""

    name: str
    where: str
    was: str
    now: str
    words: bool  # only the words of an error have changed
    verdict: str

    @property
    def change(self) -> Change:
        return self.where, self.was, self.now

    @property
    def noticed(self) -> bool:
        """By a test that failed, or because the tests ran for longer than they may."""
        return self.verdict in ("killed", "timed out")


# ------------------------------------------------------------------------------------------- the run


def run(*names: str) -> None:
    """Let mutmut run these mutants, or all; it forks a process per mutant, two at a time on two cores."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}  # the tests in one order
    environment.pop("PYTHONPATH", None)  # it would lead past the mutants
    command = [str(Path(sys.executable).with_name("mutmut")), "run", *names]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        sys.exit(f"mutmut could not run:\n{done.stdout[-5000:].decode(errors='replace')}")


# --------------------------------------------------------------------------------------- the findings


def mutants() -> Iterator[Mutant]:
    """What the last run found, file by file.  mutmut keeps a file's mutants as functions beside the original."""
    for meta in sorted(MUTANTS.rglob("*.py.meta")):
        source = meta.with_suffix("")
        text = source.read_text()
        lines, file = text.splitlines(), source.relative_to(MUTANTS / "src" / "martlet").as_posix()
        functions = {node.name: node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)}
        for name, code in json.loads(meta.read_text())["exit_code_by_key"].items():
            mangled = name.rpartition(".")[2]
            stem = mangled.rpartition("__mutmut_")[0]
            before, after = functions[f"{stem}__mutmut_orig"], functions[mangled]
            was, now = difference(*(lines[f.lineno - 1 : f.end_lineno] for f in (before, after)))
            where = f"{file} {stem.removeprefix('x_').removeprefix('xǁ').replace('ǁ', '.')}"
            yield Mutant(
                name, where, was, now, without_words(before) == without_words(after), VERDICTS.get(code, "crashed")
            )


def difference(before: list[str], after: list[str]) -> tuple[str, str]:
    """The lines in which two versions of a function differ, each as one line."""
    pair = [[re.sub(r"\bx[_ǁ]\S*__mutmut_\w+\(", "(", line).strip() for line in lines] for lines in (before, after)]
    same = same_at_the_front(*pair)
    pair = [lines[same:][::-1] for lines in pair]
    same = same_at_the_front(*pair)
    was, now = (" ".join(lines[same:][::-1]) for lines in pair)
    return was, now


def same_at_the_front(a: list[str], b: list[str]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def without_words(function: ast.FunctionDef) -> str:
    """A function without what its errors say: strings, or None in their place, in a ``raise`` or a call of a check."""
    for node in ast.walk(function):
        called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
        if isinstance(node, ast.Raise) or called.startswith(("check_", "complain_")):
            Wordless().visit(node)
    return ast.dump(ast.Module([*function.body, function.args], []))


class Wordless(ast.NodeTransformer):
    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return ast.Constant("") if node.value is None or isinstance(node.value, str) else node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.Constant:
        return ast.Constant("")


def reasons() -> dict[Change, str]:
    """The reasons by the text of the change, which stays while mutmut's numbers shift."""
    entries = tomllib.loads(REASONS.read_text())["survivor"]
    return {(e["where"], e["was"], now): e["reason"] for e in entries for now in e["now"]}


# ----------------------------------------------------------------------------------------- the report


def report(found: list[Mutant]) -> Iterator[str]:
    """The score, and every change that nobody noticed, as Markdown."""
    packages = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("mutmut", "numpy", "pytest"))
    yield f"Python {platform.python_version()}, {packages}. {len(found)} changes:"
    yield ""
    yield from scores(found)
    yield ""
    yield from survivors([m for m in found if not m.noticed], reasons())


def scores(found: list[Mutant]) -> Iterator[str]:
    """The score of each file, of all, and of all but the words of errors."""
    yield f"| file | changes | {' | '.join(COLUMNS)} | noticed |"
    yield f"|---|{'--:|' * (len(COLUMNS) + 2)}"
    files = {m.where.split()[0] for m in found}
    parts = {f"`{file}`": [m for m in found if m.where.startswith(f"{file} ")] for file in sorted(files)}
    parts |= {"all": found, "all but the words of errors": [m for m in found if not m.words]}
    for name, part in parts.items():
        count = Counter(m.verdict for m in part)
        columns = " | ".join(str(count[column]) for column in COLUMNS)
        yield f"| {name} | {len(part)} | {columns} | {sum(m.noticed for m in part) / max(len(part), 1):.1%} |"


def survivors(left: list[Mutant], known: dict[Change, str]) -> Iterator[str]:
    """A row for each, with the reason why it need not be noticed."""
    yield "| where | the change that nobody noticed | why it need not be |"
    yield "|---|---|---|"
    for m in left:
        was, now = (code(text) for text in narrowed(m.was, m.now))
        yield f"| `{m.where}` | {was} → {now} | {known.get(m.change, '**no reason is known**')} |"


def narrowed(was: str, now: str) -> Iterator[str]:
    """Two lines, cut down to where they differ and a few words around it."""
    pair = [re.findall(r"\w+|\s+|.", text) for text in (was, now)]
    front = same_at_the_front(*pair)
    back = same_at_the_front(*(tokens[front:][::-1] for tokens in pair))
    start, rest = max(front - 8, 0), max(back - 8, 0)
    for tokens in pair:
        yield f"{'…' if start else ''}{''.join(tokens[start : len(tokens) - rest])}{'…' if rest else ''}"


def code(text: str) -> str:
    text = text.replace("|", "\\|").strip()
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def entries(unknown: list[Mutant]) -> Iterator[str]:
    """What survivors.toml lacks: the reasons are still to be written."""
    for where, was in dict.fromkeys((m.where, m.was) for m in unknown):
        now = "".join(f"  {quoted(m.now)},\n" for m in unknown if (m.where, m.was) == (where, was))
        yield f'[[survivor]]\nwhere = {quoted(where)}\nwas = {quoted(was)}\nnow = [\n{now}]\nreason = ""\n'


def quoted(text: str) -> str:
    """A string in TOML: as it is, if it may be."""
    return json.dumps(text, ensure_ascii=False) if "'" in text or "\\" in text else f"'{text}'"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    choices = parser.add_mutually_exclusive_group()
    for option in ("again", "report", "missing"):
        choices.add_argument(f"--{option}", action="store_true")
    given = parser.parse_args()
    if given.again:
        run()  # which leaves alone what has a verdict
        run(*(m.name for m in mutants() if m.verdict != "killed"))
    elif not (given.report or given.missing):
        shutil.rmtree(MUTANTS, ignore_errors=True)  # mutmut keeps its verdicts, even if the tests have changed
        run()
    found, known = list(mutants()), reasons()
    unknown = [m for m in found if not m.noticed and m.change not in known]
    idle = set(known) - {m.change for m in found if not m.noticed}
    if given.missing:
        print(*entries(unknown), sep="\n")
        return
    print(*report(found), "", sep="\n")
    for where, was, now in sorted(idle):
        print(f"The reason is not needed any more for {where}: {was} → {now}")
    print(f"{sum(not m.noticed for m in found)} were not noticed; for {len(unknown)} of them no reason is known.")
    sys.exit(bool(unknown or idle))


if __name__ == "__main__":
    main()
