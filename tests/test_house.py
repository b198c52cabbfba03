"""The house keeps its order: who may import whom, and what `import martlet` loads."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import BACKENDS

from martlet.backend import LIBRARIES

SOURCE = Path(__file__).parent.parent / "src" / "martlet"

# An import goes only downwards: from a line of this table to a line above it.
LADDER = [
    ["backend.arrays"],
    ["backend.libraries"],
    ["backend"],
    ["checks"],
    ["tree", "functions", "noise"],
    ["layer", "loss", "initializers"],
    [
        "layers.linear",
        "layers.activations",
        "layers.softmax",
        "layers.nodes",
        "layers.shapes",
        "layers.normalization",
        "layers.dropout",
        "layers.embedding",
        "layers.losses",
    ],
    ["layers.sequential", "layers.standardize", "watching"],
    ["layers"],
    ["checkpoint.torch_in", "checkpoint.torch_out", "checkpoint.sklearn_in"],
    ["numbered"],
    ["schedules", "optimizers.transforms"],
    ["optimizers.optimizer"],
    ["optimizers.descent", "optimizers.adaptive"],
    ["optimizers", "datasets", "batches", "progress", "memory"],
    ["evaluation", "history", "stopping"],
    ["checkpoint.layout"],
    ["checkpoint.reading", "checkpoint.description", "checkpoint.generators"],
    ["checkpoint.files", "checkpoint.parts"],
    ["checkpoint.run"],
    ["checkpoint.same"],
    ["checkpoint"],
    ["step"],
    ["compile.structure", "compile.eager"],
    ["compile.choose"],
    ["compile.programs"],
    ["compile.programs.layout"],
    ["compile.programs.rules"],
    ["compile.programs.arrangements"],
    ["compile.programs.ops"],
    ["compile.programs.node"],
    ["compile.programs.cost"],
    ["compile.programs.drawing"],
    ["compile.programs.program"],
    ["compile.recorder"],
    ["compile.recorder.tape"],
    ["compile.recorder.recorded"],
    ["compile.recorder.noting"],
    ["compile.recorder.rearranging"],
    ["compile.recorder.creating"],
    ["compile.recorder.namespace"],
    ["compile.recorder.recording"],
    ["compile.rewriting"],
    ["compile.rewriting.rewrite"],
    ["compile.rewriting.flat", "compile.rewriting.labels", "compile.rewriting.means"],
    ["compile.rewriting.affine", "compile.rewriting.rows"],
    ["compile.rewriting.cut"],
    ["compile.plans"],
    ["compile.plans.threads", "compile.plans.standard"],
    ["compile.plans.lower"],
    ["compile.plans.fast", "compile.plans.calls", "compile.plans.script", "compile.plans.state"],
    ["compile.plans.pieces"],
    ["compile.plans.plan"],
    ["compile.plans.chunk", "compile.plans.elsewhere"],
    ["compile.plans.decide"],
    ["compile.replay"],
    ["compile.numpy", "compile.jax"],
    ["compile.torch"],
    ["compile.torch.calls"],
    ["compile.torch.state"],
    ["compile.torch.plan"],
    ["compile.torch.stepper"],
    ["compile.cupy"],
    ["compile.cupy.fused"],
    ["compile.cupy.kernel_text"],
    ["compile.cupy.calls"],
    ["compile.cupy.plan"],
    ["compile.cupy.stepper"],
    ["compile"],
    ["diagnosis"],
    ["keeping", "loop"],
    ["training", "advice", "plot"],
    ["testing.report", "testing.differences", "testing.targets", "testing.parity", "testing.traps"],
    ["testing.lifted", "testing.subject"],
    ["testing.agreement", "testing.structure", "testing.trial"],
    ["testing.oracles", "testing.witness"],
    ["testing.gradients", "testing.portable", "testing.comparison"],
    ["testing"],
    [""],  # martlet itself
    ["__main__"],
]
MAY_IMPORT_ARRAY_LIBRARIES = {"backend", "compile", "testing", "checkpoint", "datasets", "plot", "sklearn"}
ARRAY_LIBRARIES = {"numpy", "cupy", "torch", "jax", "array_api_compat", "array_api_strict", "array_api_extra", "dask"}


def modules() -> dict[str, ast.Module]:
    found = {}
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = ast.parse(path.read_text())
    return found


def imports(tree: ast.AST) -> list[str]:
    """The modules that a file imports at run time, at whatever depth: what only mypy sees does not count."""
    found = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            found += [name for part in node.orelse for name in imports(part)]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            known = [
                name for name in submodules if (SOURCE.parent / Path(*name.split("."))).with_suffix(".py").exists()
            ]
            found += known or [node.module]
        else:
            found += imports(node)
    return found


def is_module(name: str) -> bool:
    path = SOURCE.parent / Path(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def test_no_import_climbs_the_ladder() -> None:
    rung = {name: number for number, names in enumerate(LADDER) for name in names}
    files = modules()
    assert set(files) == set(rung), "every module has a place on the ladder"
    for name, tree in files.items():
        for imported in imports(tree):
            if imported.split(".")[0] == "martlet":
                target = imported.removeprefix("martlet").removeprefix(".")
                assert rung[target] < rung[name], f"{name or 'martlet'} imports {target}"


def test_only_these_import_array_libraries() -> None:
    for name, tree in modules().items():
        libraries = {imported.split(".")[0] for imported in imports(tree)} & ARRAY_LIBRARIES
        house = name.split(".")[0]
        assert not libraries or house in MAY_IMPORT_ARRAY_LIBRARIES, f"{name} imports {libraries}"
        assert "array_api_compat" not in libraries or house == "backend", f"{name} has a door of its own"


def test_importing_martlet_loads_no_library_but_numpy() -> None:
    unwanted = {
        "cupy",
        "torch",
        "jax",
        "array_api_strict",
        "array_api_extra",
        "array_api_compat.numpy",
        "tqdm",
        "matplotlib",
        "sklearn",
    }
    program = "import sys, martlet; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not unwanted & set(loaded)
    assert "numpy" in loaded


def standard_calls() -> dict[str, set[str]]:
    """Every function of a namespace that the library calls, `xp.exp` or `namespace(x).sum`, with its keywords."""
    found: dict[str, set[str]] = {}
    for name, tree in modules().items():
        for node in ast.walk(tree):
            function = node.func if isinstance(node, ast.Call) else node
            if isinstance(function, ast.Attribute) and not name.startswith("backend"):
                owner = ast.unparse(function.value)
                if owner == "xp" or owner.startswith("namespace("):
                    keywords = [k.arg for k in node.keywords if k.arg] if isinstance(node, ast.Call) else []
                    found.setdefault(function.attr, set()).update(keywords)
    found.pop("__array_namespace_info__")
    return found


@pytest.mark.every
def test_every_function_that_we_call_exists_in_the_library(request: pytest.FixtureRequest) -> None:
    """Without a device CuPy can be imported all the same, so this is checked for it on every machine."""
    library = LIBRARIES[BACKENDS[request.config.getoption("--backend")][0]]
    if library.version() is None:
        pytest.skip(f"{library.name} is not installed: {library.install}")
    namespace = importlib.import_module(library.module)
    calls = standard_calls()
    assert {"axis", "keepdims"} <= calls["sum"]
    assert {name for name in calls if not hasattr(namespace, name)} == set()
    for name, keywords in calls.items():
        try:
            parameters = inspect.signature(getattr(namespace, name)).parameters
        except (TypeError, ValueError):  # a dtype, or a function written in C
            continue
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            assert keywords <= set(parameters), f"{library.name}.{name}"
