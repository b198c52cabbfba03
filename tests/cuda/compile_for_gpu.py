"""What martlet writes for a GPU is compiled for one, by NVIDIA's own compiler, which needs no GPU for that.

``python tests/cuda/compile_for_gpu.py FOLDER`` takes each kernel of martlet's that a run of the suite has left in
CuPy's cache, and compiles it as CuPy would for an H100 or H200; FOLDER is where the package nvidia-cuda-nvrtc is, which
must not be found by CuPy.  The exit status is the number of kernels that were refused.
"""

from __future__ import annotations

import ctypes
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from build import HOME, PACKAGES, headers

ARCHITECTURE = "sm_90"
OURS = b"martlet_"  # begins the name of each kernel
compiler: ctypes.CDLL


def load(folder: str) -> None:
    """The compiler, for each process its own."""
    global compiler
    (builtins,), (main,) = (sorted(Path(folder).rglob(name)) for name in ("libnvrtc-builtins.so.*", "libnvrtc.so.*"))
    ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
    compiler = ctypes.CDLL(str(main))


def refused(source: bytes) -> str:
    """What the compiler says against a kernel; "" if it takes it without a word."""
    include = PACKAGES / "cupy" / "_core" / "include"
    folders = [include, *(include / "cupy" / "_cccl" / name for name in ("libcudacxx", "thrust", "cub")), headers()]
    words = ["-std=c++17", "--fmad=false", f"-arch={ARCHITECTURE}", "--device-as-default-execution-space"]
    options = [word.encode() for word in (*words, *(f"-I{folder}" for folder in folders))]
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    compiler.nvrtcCreateProgram(ctypes.byref(program), source, b"kernel.cu", 0, None, None)
    status = compiler.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    compiler.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    compiler.nvrtcGetProgramLog(program, log)
    compiler.nvrtcDestroyProgram(ctypes.byref(program))
    words_of_it = log.value.decode(errors="replace").strip()
    return words_of_it or ("" if status == 0 else f"status {status}")


def main() -> None:
    sources = [source for path in sorted((HOME / "cache").glob("*.cu")) if OURS in (source := path.read_bytes())]
    if not sources:
        sys.exit(f"no kernel of martlet's in {HOME / 'cache'}: run the suite first")
    with ProcessPoolExecutor(initializer=load, initargs=(sys.argv[1],)) as pool:
        complaints = [(source, why) for source, why in zip(sources, pool.map(refused, sources), strict=True) if why]
    for source, why in complaints[:5]:
        print(f"{source.decode()}\n{why}")
    print(f"{len(sources) - len(complaints)} of {len(sources)} kernels were compiled for {ARCHITECTURE} without a word")
    sys.exit(min(len(complaints), 100))


if __name__ == "__main__":
    main()
