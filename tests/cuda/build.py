"""CuPy without a GPU: its own code, on a CUDA driver, compiler and BLAS whose device is the processor.

``python tests/cuda/build.py`` makes this virtual environment such a place, for good; ``nox -s cupy_on_cpu`` does it in
one of its own and runs the suite there.  All of CuPy is CuPy's: what it accepts and refuses, its dtypes, and its
kernels, of which g++ makes machine code.  Only NVIDIA's part is ours (device.cpp, kernel.h), and Thrust's sorting is
NumPy's.  It says nothing about a GPU's speed, and nothing about the last digits of its functions and sums.

Needs g++ and, from PyPI, CuPy of the version below, NVIDIA's headers and Cython; see the noxfile.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
HOME = Path(sys.prefix, "cuda_on_cpu")
PACKAGES = Path(sysconfig.get_paths()["purelib"])
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
VERSION = "14.2.0"  # of CuPy, whose source is taken where its binary has NVIDIA's runtime inside
# How a kernel is compiled.  Contracting a * b + c would give other digits than the two operations one by one.
FLAGS = (
    "-std=c++17 -O1 -fPIC -w -fpermissive -fno-strict-aliasing -ffp-contract=off "
    "-D__CUDACC_VER_MAJOR__=13 -D__CUDACC_VER_MINOR__=0"
)
# CuPy's loop over all elements, which a thread that is alone may take backwards: no element may need that another one
# is before it.
LOOP = """
#undef CUPY_FOR
#define CUPY_FOR(i, n) \\
  for (ptrdiff_t turn = ptrdiff_t(blockIdx.x) * blockDim.x + threadIdx.x, i; \\
       turn < (n) && (i = position.backwards ? (n) - 1 - turn : turn, true); \\
       turn += ptrdiff_t(blockDim.x) * gridDim.x)
"""
LIBRARIES = ["libcuda.so", "libcudart.so.13", "libcudart.so", "libnvrtc.so.13", "libcublas.so.13", "libcublasLt.so.13"]


def run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def source_of_cupy() -> bytes:
    """CuPy's source distribution, from PyPI."""
    index = "https://pypi.org/simple/cupy/"
    with urllib.request.urlopen(index) as page:
        links = re.findall(rf'href="([^"]*/cupy-{re.escape(VERSION)}\.tar\.gz)#sha256=(\w+)', page.read().decode())
    if not links:
        sys.exit(f"{index} has no source of CuPy {VERSION}")
    address, digest = links[0]
    with urllib.request.urlopen(urllib.parse.urljoin(index, address)) as file:
        data = file.read()
    if hashlib.sha256(data).hexdigest() != digest:
        sys.exit(f"{address} is not what PyPI says it is")
    return data


def headers() -> Path:
    """NVIDIA's headers, of the packages for CUDA 13."""
    found = PACKAGES / "nvidia" / "cu13" / "include"
    if not (found / "cuda_fp16.h").exists():
        sys.exit(f"no CUDA headers in {found}: pip install 'nvidia-cuda-runtime<14'")
    return found


def functions(pattern: str, *texts: str) -> set[str]:
    return {name for text in texts for name in re.findall(pattern, text)}


def build_driver(source: Path) -> None:
    """One library under the names of four.  What CuPy is linked to and never calls here says so when it is called."""
    lib, objects = HOME / "lib", HOME / "device.o"
    lib.mkdir(parents=True, exist_ok=True)
    run("g++", "-std=c++17", "-O3", "-fPIC", "-w", f"-I{headers()}", "-c", HERE / "device.cpp", "-o", objects)
    api = source / "cupy_backends" / "cuda" / "api"
    (blas,) = (PACKAGES / "cupy_backends" / "cuda" / "libs").glob("cublas.*.so")
    wanted = functions(r"\bU (cublas\w+)", run("nm", "-D", blas))
    wanted |= functions(r"\b(cuda[A-Z]\w*)\(", (api / "_runtime_extern.pxi").read_text())
    there = functions(r"\bT (\w+)", run("nm", objects))
    missing = HOME / "missing.c"
    missing.write_text("#include <stdio.h>\n" + "".join(map(without, sorted(wanted - there))))
    output = lib / "libcuda.so.1"
    run("g++", "-shared", "-w", "-fPIC", "-fpermissive", objects, missing, "-Wl,-soname,libcuda.so.1", "-o", output)
    for name in LIBRARIES:
        (lib / name).unlink(missing_ok=True)
        (lib / name).symlink_to(output.name)


def without(name: str) -> str:
    """A function that is missing, in C++."""
    return f'extern "C" int {name}(...) {{ fprintf(stderr, "there is no {name} on the processor\\n"); return 801; }}\n'


def build_runtime(source: Path) -> None:
    """CuPy's module of the CUDA runtime, linked to ours."""
    module = "cupy_backends.cuda.api.runtime"
    path = source / "cupy_backends" / "cuda" / "api" / "runtime"
    constants = "CUPY_USE_CUDA_PYTHON=False,CUPY_CUFFT_STATIC=False,CUPY_CYTHON_VERSION=3,CUPY_CUDA_VERSION=13000"
    directives = {"c_api_binop_methods": True, "binding": False, "freethreading_compatible": True}
    options = [part for name, value in directives.items() for part in ("-X", f"{name}={value}")]
    run(
        *(sys.executable, "-m", "cython", "--cplus", "-3", *options, "-E", f"{constants},CUPY_HIP_VERSION=0"),
        *("--module-name", module, f"{path}.pyx", "-o", f"{path}.cpp"),
        cwd=source,
    )
    target = (PACKAGES / Path(*module.split("."))).with_suffix(SUFFIX)
    python = sysconfig.get_paths()["include"]
    run(
        *("g++", "-O1", "-w", "-shared", "-fPIC", f"-I{headers()}", f"-I{python}", f"{path}.cpp"),
        *(f"-L{HOME / 'lib'}", "-lcudart", "-o", HOME / "runtime.so"),
        cwd=source,
    )
    shutil.copy(HOME / "runtime.so", target)


def build_header() -> None:
    """What stands before every kernel, compiled once, as it is most of its text: kernel.h and CuPy's own headers."""
    cupy, header = PACKAGES / "cupy" / "_core" / "include", HOME / "kernel.h"
    names = ("complex.cuh", "carray.cuh", "atomics.cuh", "math_constants.h")
    included = "".join(f"#include <cupy/{name}>\n" for name in names)
    header.write_text((HERE / "kernel.h").read_text() + included + LOOP)
    parts = [cupy / "cupy" / "_cccl" / part for part in ("cub", "thrust", "libcudacxx")]
    folders = [f"-I{folder}" for folder in (*parts, cupy, headers())]
    run("g++", *FLAGS.split(), *folders, "-x", "c++-header", header, "-o", f"{header}.gch")


def replace_sorting() -> None:
    cuda = PACKAGES / "cupy" / "cuda"
    for compiled in cuda.glob("thrust.*.so"):
        compiled.unlink()
    shutil.copy(HERE / "sorting.py", cuda / "thrust.py")


def environment(home: Path = HOME) -> dict[str, str]:
    """What a process needs in its environment to compute there."""
    return {
        "LD_LIBRARY_PATH": str(home / "lib"),
        "CUDA_ON_CPU_HOME": str(home),
        "CUDA_ON_CPU_FLAGS": FLAGS,
        "CUPY_CACHE_DIR": str(home / "cache"),
        "CUPY_CACHE_SAVE_CUDA_SOURCE": "1",  # for compile_for_gpu.py
        "CUPY_ACCELERATORS": "",  # CUB's kernels are machine code of a GPU's
    }


def main() -> None:
    if sys.prefix == sys.base_prefix:
        sys.exit("this changes the CuPy that is installed: run it in a virtual environment of its own")
    if shutil.which("g++") is None:
        sys.exit("g++ is needed")
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(source_of_cupy())) as archive:
            archive.extractall(folder, filter="data")
        source = Path(folder, f"cupy-{VERSION}")
        build_driver(source)
        build_runtime(source)
    build_header()
    replace_sorting()
    for folder in ("kernels", "cache"):  # what was compiled with another header
        shutil.rmtree(HOME / folder, ignore_errors=True)
    (HOME / "kernels").mkdir()
    os.environ |= environment()
    print(run(sys.executable, "-c", "import cupy; print('CuPy on the processor:', cupy.ones(3).sum())"), end="")


if __name__ == "__main__":
    main()
