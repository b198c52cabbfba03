"""Measures what docs/proof.md says: each table of that page is printed by ``python tests/proof.py SECTION``.

``python tests/proof.py`` lists the sections, ``--write`` puts what was measured into the page, in the place of
what stood there.  The numbers come from the functions that the tests assert bounds of.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import martlet as mt

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "proof.md"
sys.path.insert(0, str(ROOT / "examples"))  # as the tests have it: cases.py takes a layer from there
Row = tuple[Any, ...]
SECTIONS: dict[str, Callable[[], Iterator[str]]] = {}


def section(measure: Callable[[], Iterator[str]]) -> Callable[[], Iterator[str]]:
    """A function that gives the lines of a section of the page, under its own name."""
    SECTIONS[measure.__name__] = measure
    return measure


def table(header: Row, rows: Iterable[Row]) -> Iterator[str]:
    """The lines of a Markdown table."""
    for row in (header, ("---",) * len(header), *rows):
        yield f"| {' | '.join(map(str, row))} |"


def installed(*names: str) -> list[str]:
    """Those of these libraries that this machine has; the ones that it lacks are named on standard error."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        print(f"not installed, and left out: {', '.join(missing)}", file=sys.stderr)
    return [name for name in names if name not in missing]


def on_what(*packages: str) -> str:
    """The machine and the versions that a table was measured with."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("numpy", *packages))
    return f"{platform.machine()}, Python {platform.python_version()}, {versions}."


def jitted(function: Callable[..., Any], *arrays: Any) -> Any:
    import jax

    return jax.jit(function)(*arrays)


# ---------------------------------------------------------------------------------------- gradients


@section
def gradients() -> Iterator[str]:
    """Hand-written gradients beside each oracle's, for every row of tests/cases.py, in float64."""
    from cases import LAYERS, LOSSES
    from conftest import to_numpy
    from test_laws import draw, draw_loss

    from martlet.testing.lifted import as_layer
    from martlet.testing.oracles import differentiate
    from martlet.testing.parity import difference
    from martlet.testing.witness import Record

    oracles = [*installed("torch", "jax"), "differences"]
    subjects = [(case.name, *draw(case)) for case in LAYERS]
    for case in LOSSES:
        loss, y, t, weight, dout = draw_loss(case, "mean")
        subjects.append((f"{case.name}, weighted", as_layer(loss, t, weight, None), y, dout))
    rows = []
    for name, layer, x, dout in subjects:
        record = Record(layer, "", x, dout=dout)
        record.dx, record.grad = to_numpy(layer.backward(layer.forward(x)[1], dout))
        count = sum(g.size for g in record.gradients())
        if not count:
            continue
        found = []
        for oracle in oracles:
            found.append(difference(record.gradients(), differentiate(oracle, record.function()).values)[1])
        rows.append((name, count, *(f"{apart:.0e}" if apart else "0" for apart in found)))
    yield on_what(*oracles[:-1])
    yield ""
    yield from table(("layer or loss", "numbers differentiated", *oracles), rows)


# ------------------------------------------------------------------------------------------- digits


@section
def digits() -> Iterator[str]:
    """How far results are from the exact ones, in units in the last place, on each library."""
    from exact import EXCEPTIONS, FUNCTIONS, distance

    columns: dict[str, tuple[str, dict[str, Any]]] = {"NumPy": ("numpy", {})}
    if installed("torch"):
        columns["PyTorch"] = ("torch", {})
    if installed("jax"):
        columns |= {"JAX": ("jax", {}), "JAX, jit": ("jax", {"run": jitted})}
    yield on_what(*installed("torch", "jax"))
    yield ""
    rows = []
    for i, function in enumerate(FUNCTIONS):
        for width in ("float64", "float32"):
            found = [f"{distance(i, width, mt.Backend(name), **how).ulp:.1f}" for name, how in columns.values()]
            more = EXCEPTIONS.get(("jax", function.name, width))
            bound = f"{function.bound:g}" + (f", on JAX {more:g}" if more else "")
            rows.append((function.name, function.inputs, width, bound, *found))
    yield from table(("function", "inputs", "width", "bound", *columns), rows)


@section
def peers_digits() -> Iterator[str]:
    """The same distances of the libraries' own functions, in float64."""
    from exact import FUNCTIONS, distance

    theirs = {name: own_functions(name) for name in installed("torch", "jax", "scipy")}
    yield on_what(*theirs)
    yield ""
    rows = []
    for i, function in enumerate(FUNCTIONS):
        found = [f"{distance(i, 'float64', mt.Backend('numpy')).ulp:.1f}"]
        for library, functions in theirs.items():
            here = mt.Backend("numpy" if library == "scipy" else library)
            own = functions.get(function.name)
            found.append("–" if own is None else shown(distance(i, "float64", here, theirs=own).ulp))
        rows.append((function.name, function.inputs, *found))
    names = {"torch": "torch.nn.functional", "jax": "jax.nn", "scipy": "scipy.special"}
    yield from table(("function", "inputs", "martlet on NumPy", *(names[name] for name in theirs)), rows)


def shown(ulp: float) -> str:
    """Where all digits are lost, how many units that is says nothing more."""
    return f"{ulp:.1f}" if ulp < 1e4 else f"all lost ({ulp:.0e})" if np.isfinite(ulp) else "not a number"


def own_functions(library: str) -> dict[str, Callable[..., Any]]:
    """What a library itself offers for the functions of tests/exact.py."""
    if library == "torch":
        from torch.nn import functional as F

        return {
            "sigmoid": F.sigmoid,
            "tanh": F.tanh,
            "softplus": F.softplus,
            "softmax": lambda x: F.softmax(x, dim=-1),
            "log-softmax": lambda x: F.log_softmax(x, dim=-1),
            "SiLU": F.silu,
            "ELU": F.elu,
            "GELU": F.gelu,
            "binary cross-entropy": lambda y, t: F.binary_cross_entropy_with_logits(y, t, reduction="none"),
            "cross-entropy": lambda y, t: F.cross_entropy(y, t, reduction="none"),
        }
    if library == "jax":
        from jax import nn
        from jax import numpy as jnp

        return {
            "sigmoid": nn.sigmoid,
            "tanh": jnp.tanh,
            "softplus": nn.softplus,
            "softmax": nn.softmax,
            "log-softmax": nn.log_softmax,
            "SiLU": nn.silu,
            "ELU": nn.elu,
            "GELU": lambda x: nn.gelu(x, approximate=False),
        }
    from scipy import special

    return {
        "sigmoid": special.expit,
        "softmax": lambda x: special.softmax(x, axis=-1),
        "log-softmax": lambda x: special.log_softmax(x, axis=-1),
        "softplus": lambda x: np.logaddexp(x, 0.0),
        "GELU": lambda x: x * special.ndtr(x),
    }


# ------------------------------------------------------------------------------ the same curve everywhere


@section
def backends() -> Iterator[str]:
    """The lessons' spiral network trained from one seed on every backend of this machine."""
    rng = np.random.default_rng(0)
    model = mt.Sequential(mt.Affine.init(2, 10, rng), mt.Sigmoid(), mt.Affine.init(10, 3, rng))
    x, t = mt.datasets.spiral(dtype="float64")
    yield on_what(*installed("torch", "jax", "array_api_strict"))
    for dtype in ("float64", "float32"):
        compared = mt.testing.compare_backends(
            model, mt.SoftmaxWithLoss(), mt.SGD(lr=1.0), x, t, epochs=100, batch_size=30, dtype=dtype
        )
        yield ""
        yield from ("```", *str(compared).splitlines(), "```")


# ------------------------------------------------------------------------------------ other libraries


@section
def against() -> Iterator[str]:
    """The largest differences from other libraries, in units of the largest number that is compared."""
    from peers import TABLES

    for measure, (title, library) in TABLES.items():
        if not installed(library):
            continue
        package = {"sklearn": "scikit-learn"}.get(library, library)
        rows = measure()
        yield f"**{title}.** {measure.__doc__} {on_what(package)}"
        yield ""
        found = [(row.name, f"{row.difference:.1e}", row.where, f"{row.limit:.0e}") for row in rows]
        yield from table(("", "largest difference", "where", "allowed"), found)
        yield ""


# ------------------------------------------------------------------------------- does the suite bite?


@section
def faults() -> Iterator[str]:
    """Faults that people make, planted one at a time, and the test that caught each."""
    from faults import FAULTS, line

    command = [sys.executable, ROOT / "tests" / "faults.py"]  # in a process that has not loaded the library
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    rows = [(row.what, f"`{row.test}`", "yes" if line(row, "") in found else "**no**") for row in FAULTS]
    yield f"{sum(row[2] == 'yes' for row in rows)} of {len(rows)} were caught."
    yield ""
    yield from table(("fault", "test", "caught"), rows)


@section
def mutation() -> Iterator[str]:
    """What the last run of tests/mutation.py found."""
    from mutation import mutants, report

    found = list(mutants())
    if not found:
        sys.exit("there has been no run: python tests/mutation.py")
    yield from report(found)


@section
def coverage() -> Iterator[str]:
    """What the last run of `nox -s coverage` reached: only files in which something was not."""
    command = [sys.executable, "-m", "coverage", "report", "--format=markdown"]
    yield from subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


@section
def mistakes() -> Iterator[str]:
    """How many calls that cannot be right are in the tables of tests/mistakes/."""
    from mistakes import TABLES

    rows = [(name, len(found)) for name, found in TABLES.items()]
    yield from table(("family", "calls"), [*rows, ("**all**", sum(count for _, count in rows))])


# ------------------------------------------------------------------------------------------ the page


def write(name: str, lines: Iterable[str]) -> None:
    """Put the lines of a section into the page, between its two marks."""
    begin, end = f"<!-- begin: python tests/proof.py {name} -->", f"<!-- end: {name} -->"
    text = PAGE.read_text()
    found = re.compile(f"{re.escape(begin)}\n.*?{re.escape(end)}", re.DOTALL)
    if not found.search(text):
        sys.exit(f"{PAGE} has no place for {name}: it needs the lines {begin} and {end}")
    PAGE.write_text(found.sub(lambda _: "\n".join([begin, "", *lines, "", end]), text))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"one or more of: {', '.join(SECTIONS)}")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/proof.md")
    chosen = parser.parse_args()
    unknown = set(chosen.sections) - set(SECTIONS)
    if unknown or not chosen.sections:
        parser.error(f"choose from: {', '.join(SECTIONS)}")
    if installed("jax"):
        import jax

        jax.config.update("jax_enable_x64", True)
    for name in chosen.sections:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of peers that overflow
            lines = list(SECTIONS[name]())
        print(f"\n## {SECTIONS[name].__doc__}\n", *lines, sep="\n")
        if chosen.write:
            write(name, lines)


if __name__ == "__main__":
    main()
