"""Does the suite bite?  Every small change of the library that its tests do not notice must have a reason.

``python tests/mutation.py`` has mutmut plant some thousand faults, one at a time (a + for a -, a < for a <=, an
argument left out), and run against each the tests that come by its function.  It prints the score and the faults
that no test noticed, as Markdown, and fails if one of them has no reason in survivors.toml, or a reason there is
not needed any more.  ``[tool.mutmut]`` in pyproject.toml says what is changed, and which tests are run.

    python tests/mutation.py             everything anew: some ten minutes on two cores
    python tests/mutation.py --again     only what was not killed the last time, after tests have been written
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
VERDICTS = {0: "survived", 1: "killed", 3: "killed", 5: "no tests", 33: "no tests", None: "not run"}
VERDICTS |= dict.fromkeys((24, -24, 36, 152, 255), "timed out")
COLUMNS = ("killed", "timed out", "no tests", "survived")


class Mutant(NamedTuple):
    """One small change: its name at mutmut's, where it is, the line as it was and as it became, what came of it."""

    name: str
    where: str
    was: str
    now: str
    words: bool  # only the words of an error have changed
    verdict: str

    @property
    def file(self) -> str:
        return self.where.split()[0]


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


def reasons() -> dict[tuple[str, str, str], str]:
    """The reasons by the text of the change, which stays while mutmut's numbers shift."""
    entries = tomllib.loads((ROOT / "tests" / "survivors.toml").read_text())["survivor"]
    return {(e["where"], e["was"], now): e["reason"] for e in entries for now in e["now"]}


# ----------------------------------------------------------------------------------------- the report


def score(part: list[Mutant]) -> tuple[Counter[str], str]:
    """How many there are of each verdict, and the share that was noticed: a run that hangs is noticed too."""
    count = Counter(m.verdict for m in part)
    return count, f"{(count['killed'] + count['timed out']) / max(len(part), 1):.1%}"


def table(found: list[Mutant]) -> Iterator[str]:
    """The score of each file, of all, and of all but the words of errors."""
    yield f"| file | mutants | {' | '.join(COLUMNS)} | noticed |"
    yield f"|---|{'--:|' * (len(COLUMNS) + 2)}"
    parts = {f"`{file}`": [m for m in found if m.file == file] for file in sorted({m.file for m in found})}
    parts["**all**"] = found
    parts["**all but the words of errors**"] = [m for m in found if not m.words]
    for name, part in parts.items():
        count, noticed = score(part)
        yield f"| {name} | {len(part)} | {' | '.join(str(count[column]) for column in COLUMNS)} | {noticed} |"


def survivors(left: list[Mutant], known: dict[tuple[str, str, str], str]) -> Iterator[str]:
    yield "| where | the change that nobody noticed | why it need not be |"
    yield "|---|---|---|"
    for m in left:
        reason = known.get((m.where, m.was, m.now), "**no reason is known**")
        was, now = (code(text) for text in narrowed(m.was, m.now))
        yield f"| `{m.where}` | {was} → {now} | {reason.strip()} |"


def narrowed(was: str, now: str) -> tuple[str, str]:
    """Two lines, cut down to where they differ and a few words around it."""
    a, b = ([*re.findall(r"\w+|\s+|.", text)] for text in (was, now))
    front = same_at_the_front(a, b)
    back = same_at_the_front(a[front:][::-1], b[front:][::-1])
    start, rest = max(front - 8, 0), max(back - 8, 0)
    before, after = "…" if start else "", "…" if rest else ""
    return tuple(f"{before}{''.join(tokens[start : len(tokens) - rest])}{after}" for tokens in (a, b))  # type: ignore[return-value]


def code(text: str) -> str:
    text = text.replace("|", "\\|").strip()
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def missing(left: list[Mutant]) -> Iterator[str]:
    """Entries for survivors.toml, in which a reason is still to be written."""
    for where, was in dict.fromkeys((m.where, m.was) for m in left):
        now = "".join(f"  {quoted(m.now)},\n" for m in left if (m.where, m.was) == (where, was))
        yield f'[[survivor]]\nwhere = {quoted(where)}\nwas = {quoted(was)}\nnow = [\n{now}]\nreason = ""\n'


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # which is TOML too


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    choices = parser.add_mutually_exclusive_group()
    for option in ("again", "report", "missing"):
        choices.add_argument(f"--{option}", action="store_true")
    given = parser.parse_args()
    if given.again:
        run(*(m.name for m in mutants() if m.verdict != "killed"))
    elif not (given.report or given.missing):
        shutil.rmtree(MUTANTS, ignore_errors=True)  # mutmut keeps its verdicts, even if the tests have changed
        run()
    found = list(mutants())
    known, left = reasons(), [m for m in found if m.verdict not in ("killed", "timed out", "not run")]
    unknown = [m for m in left if (m.where, m.was, m.now) not in known]
    if given.missing:
        print("\n".join(missing(unknown)))
        return
    versions = f"mutmut {importlib.metadata.version('mutmut')}, NumPy {importlib.metadata.version('numpy')}"
    print(f"{versions}, Python {platform.python_version()}\n")
    print("\n".join(table(found)), end="\n\n")
    print("\n".join(survivors(left, known)), end="\n\n")
    idle = set(known) - {(m.where, m.was, m.now) for m in left}
    for where, was, now in sorted(idle):
        print(f"No longer needed: the reason for {where}: {was} → {now}")
    unfinished = sum(m.verdict == "not run" for m in found)
    print(f"{len(left)} survivors, {len(unknown)} of them without a reason; {unfinished} mutants were not run.")
    sys.exit(bool(unknown or idle or unfinished))


if __name__ == "__main__":
    main()
