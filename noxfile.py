"""The test matrix.  `nox` is what a change must pass; `nox -t all` adds the other libraries; `nox -l` lists.

MARTLET_REQUIRE_GPU=1 turns every skip for want of a CUDA device into a failure.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "venv"  # with pip: some machines keep their PyTorch where uv does not look
nox.options.reuse_venv = "yes"
nox.options.sessions = [
    "lint",
    "types",
    "tests(numpy)",
    "tests(numpy-readonly)",
    "tests(strict-device1)",
    "tests(strict-no_float64)",
    "tests(cupy)",
    "examples",
]

PROJECT = nox.project.load_toml("pyproject.toml")


def has_gpu() -> bool:
    """Whether there is an NVIDIA GPU and its driver."""
    nvidia_smi = shutil.which("nvidia-smi")
    return nvidia_smi is not None and subprocess.run([nvidia_smi, "-L"], capture_output=True).returncode == 0


# What a backend needs beside the test tools.  PyTorch comes first and by its exact version: the newest one may
# pull in gigabytes of CUDA.  CuPy without a GPU can be imported, and needs no CUDA libraries for that.
LIBRARIES = {
    "torch": ["torch==2.13.0"],
    "jax": ["jax>=0.5"],
    "cupy": ["cupy-cuda13x[ctk]>=14" if has_gpu() else "cupy-cuda13x>=14"],
}

# A process per core, which takes over what another one has not come to, and a thread per process: the arrays of the
# tests are small.
PARALLEL = ["-n", "auto", "--dist", "worksteal"]
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


installed: dict[object, dict[str, set[tuple[str, ...]]]] = {}
"""What has been installed in this run: for each Python, by place."""


def install(session: nox.Session, group: str, *libraries: list[str]) -> None:
    """These libraries, then martlet in place with a dependency group; nothing under --no-venv.

    What an earlier session has installed is found where it is, if nothing is there that was not asked for.
    """
    if isinstance(session.virtualenv, nox.virtualenv.PassthroughEnv):
        return
    script = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    here = str(session.run("python", "-c", script, silent=True, log=False)).strip()
    link = Path(here, "of_other_sessions.pth")
    link.unlink(missing_ok=True)  # of an earlier run, or pip would find there what it is to install here
    asked = [*map(tuple, filter(None, libraries)), ("-e", ".", *nox.project.dependency_groups(PROJECT, group))]
    places = installed.setdefault(session.python, {})
    links = []
    for packages in asked:
        there = [place for place, has in places.items() if packages in has and has <= set(asked)]
        if there:
            links.append(there[0])
            session.log(f"{' '.join(packages)}: in {there[0]}")
            continue
        # Python compiles what it imports, and that is a small part of what comes here.
        session.install("--no-compile", *packages)
        places.setdefault(here, set()).add(packages)
    link.write_text("".join(f"import site; site.addsitedir({place!r})\n" for place in links))


def run_pytest(session: nox.Session, backend: str, **environment: str) -> None:
    """Run the suite; where there is no device for it, end as skipped and say what was run."""
    report = Path(session.create_tmp()) / "report.xml"
    session.run(
        *("python", "-m", "pytest", "--backend", backend, *PARALLEL, "--junitxml", str(report), *session.posargs),
        env=ONE_THREAD | environment,
    )
    suite = ElementTree.parse(report).getroot().find("testsuite")
    assert suite is not None
    total, skipped = int(suite.attrib["tests"]), int(suite.attrib["skipped"])
    reasons = [node.attrib.get("message", "") for node in suite.iter("skipped")]
    missing = [reason for reason in reasons if "finds no CUDA device" in reason]
    if missing:
        session.skip(f"{total - skipped} tests that need no device passed, {len(missing)} skipped: {missing[0]}")


@nox.session
@nox.parametrize(
    "backend",
    [
        nox.param("numpy", id="numpy", tags=["default", "all"]),
        nox.param("cupy", id="cupy", tags=["default", "all"]),
        nox.param("numpy-readonly", id="numpy-readonly", tags=["default", "all"]),
        nox.param("strict-device1", id="strict-device1", tags=["default", "all"]),
        nox.param("strict-no_float64", id="strict-no_float64", tags=["default", "all"]),
        nox.param("torch", id="torch", tags=["rest", "all"]),
        nox.param("jax", id="jax", tags=["rest", "all"]),
    ],
)
def tests(session: nox.Session, backend: str) -> None:
    """The whole suite on one backend."""
    install(session, "test", LIBRARIES.get(backend, []))
    settings = {}
    if backend == "jax":  # what XLA has compiled, one process takes over from the other, and the next run from this one
        settings = {
            "JAX_COMPILATION_CACHE_DIR": str(Path(session.create_tmp()) / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
    run_pytest(session, backend, **settings)


@nox.session(tags=["rest", "all"])
def cupy_on_cpu(session: nox.Session) -> None:
    """The suite on CuPy itself without a GPU: its kernels are compiled for the processor (tests/cuda)."""
    if shutil.which("g++") is None:
        session.skip("g++ is needed to compile CuPy's kernels for the processor")
    headers = ["nvidia-cuda-runtime", "nvidia-cuda-crt", "nvidia-cuda-cccl", "nvidia-cuda-profiler-api"]
    install(session, "test", ["cupy-cuda13x==14.2.0", "Cython==3.2.4", *(f"{name}<13.1" for name in headers)])
    session.run("python", "tests/cuda/build.py")
    script = "import json, build; print(json.dumps(build.environment()))"
    found = session.run("python", "-c", script, env={"PYTHONPATH": "tests/cuda"}, silent=True)
    run_pytest(session, "cupy", MARTLET_REQUIRE_GPU="1", **json.loads(found))
    # Once more where each array has memory of its own, behind which a kernel that goes too far is stopped.
    fenced = json.loads(found) | {"PYTHONPATH": "tests/cuda"}
    few = ["tests/test_replayed.py", "-k", "every_layer or every_loss or every_operation or words"]
    command = ["python", "-m", "pytest", "-p", "unpooled", "--backend", "cupy", *PARALLEL]
    session.run(*command, *few, env=ONE_THREAD | fenced)
    # NVIDIA's own compiler, where CuPy does not find it, must take every kernel that martlet has written.
    folder = str(Path(session.create_tmp()) / "nvrtc")
    session.run("pip", "install", "--quiet", "--no-deps", "--target", folder, "nvidia-cuda-nvrtc<13.1", silent=True)
    session.run("python", "tests/cuda/compile_for_gpu.py", folder)
    session.run("python", "tests/faults.py", "cupy", env=json.loads(found))


def newer_python() -> str | None:
    """A Python newer than the oldest supported one that really starts, or None."""
    for version in ("3.14", "3.13", "3.12"):
        candidates = [
            shutil.which(f"python{version}"),
            *map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python")),
        ]
        for python in filter(None, candidates):
            if subprocess.run([python, "-c", "import venv, ssl"], capture_output=True).returncode == 0:
                return python
    return None


@nox.session(python=newer_python() or False, tags=["rest", "all"])
def newer(session: nox.Session) -> None:
    """The suite on NumPy with a newer Python, where one is found."""
    if session.python is False:
        session.skip("no Python newer than the one that runs nox was found")
    install(session, "test")
    run_pytest(session, "numpy")


@nox.session(tags=["default", "all"])
def lint(session: nox.Session) -> None:
    """Style: ruff."""
    install(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(tags=["default", "all"])
def types(session: nox.Session) -> None:
    """Types: mypy."""
    install(session, "types")
    session.run("mypy")


@nox.session(tags=["default", "all"])
def examples(session: nox.Session) -> None:
    """Every example runs, and draws its picture."""
    install(session, "test")
    out = Path(session.create_tmp())
    environment = {"MPLBACKEND": "agg", "PYTHONWARNINGS": "error"}
    for command in (
        ["spiral.py", "--plot", str(out / "spiral.png")],
        ["spiral.py", "--lesson"],
        ["spiral.py", "--backend", "array_api_strict", "--device", "device1", "--epochs", "5"],
        ["backprop_by_hand.py"],
        ["xor_loops.py"],
        ["xor.py", "--iterations", "2000", "--plot", str(out / "xor.png")],
        ["breast_cancer.py", "--plot", str(out / "breast_cancer.png")],
        ["regression.py", "--plot", str(out / "regression.png")],
        ["residual.py", "--plot", str(out / "residual.png")],
        ["graph_nodes.py"],
        ["custom_layer.py"],
        ["from_torch_to_numpy.py"],
        ["scale_spiral.py", "--quick", "--out", str(out)],
    ):
        session.run("python", str(Path("examples") / command[0]), *command[1:], env=environment)


@nox.session(tags=["rest", "all"])
def faults(session: nox.Session) -> None:
    """Planted faults, each of which a named test must catch; some of them only PyTorch or JAX shows."""
    install(session, "test", LIBRARIES["torch"], LIBRARIES["jax"])
    session.run("python", "tests/faults.py", "others")


@nox.session(default=False)
def coverage(session: nox.Session) -> None:
    """Lines and branches that the suite reaches on NumPy and array-api-strict: 95 % of them at least."""
    install(session, "test", LIBRARIES["torch"], LIBRARIES["jax"])
    session.install(*nox.project.dependency_groups(PROJECT, "coverage"))
    session.run("coverage", "erase")
    for backend in ("numpy", "strict-device1"):
        session.run("coverage", "run", "-m", "pytest", "-q", "--backend", backend, *PARALLEL, env=ONE_THREAD)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session(default=False)
def mutation(session: nox.Session) -> None:
    """Some five thousand small changes, each of which a test must notice or a reason excuse."""
    install(session, "test", ["mutmut==3.8.1"])
    session.run("python", "tests/mutation.py", *session.posargs)


@nox.session(default=False)
def hostile(session: nox.Session) -> None:
    """Forged files, random damage, killed processes: the full numbers of docs/checkpoints.md (-- --write)."""
    install(session, "test")
    session.run("python", "tests/hostile.py", *session.posargs)


@nox.session(default=False)
def gpu(session: nox.Session) -> None:
    """The suite on CuPy, then parity, speed and memory: a report (-- --out DIR).  Without a CUDA device it fails."""
    install(session, "test", LIBRARIES["cupy"])  # PyTorch and JAX take part where they are installed already
    session.env["MARTLET_REQUIRE_GPU"] = "1"
    bare = isinstance(session.virtualenv, nox.virtualenv.PassthroughEnv)
    session.run(sys.executable if bare else "python", "benchmarks/gpu_report.py", *session.posargs)
