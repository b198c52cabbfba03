"""The array libraries that have a name, each with the few things that the standard leaves out."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any

import numpy as np

from martlet.backend.arrays import Array, device_of, host, namespace


class BackendUnavailable(RuntimeError):
    """The array library that was asked for is not installed, or has no device to compute on."""


class Library:
    """One array library: where its namespace is, and what the standard leaves out."""

    copies = False  # whether an array made from NumPy's memory is always a copy of it

    def __init__(self, name: str, *, module: str, distributions: tuple[str, ...], install: str):
        self.name = name
        self.module = module
        self.distributions = distributions
        self.install = install

    def version(self) -> str | None:
        """The installed version, without importing the library; None where it is not installed."""
        from importlib import metadata  # which imports e-mail and sockets, for those who ask

        for distribution in self.distributions:
            try:
                return metadata.version(distribution)
            except metadata.PackageNotFoundError:
                pass
        return None

    def load(self) -> ModuleType:
        """Import the namespace.  Raises BackendUnavailable, saying what to type."""
        try:
            return importlib.import_module(self.module)
        except ImportError as error:
            raise BackendUnavailable(
                f'backend="{self.name}" cannot be imported ({error}); to install it: {self.install}'
            ) from error

    def devices(self, xp: ModuleType) -> list[Any]:
        """Every device the library can compute on."""
        return list(xp.__array_namespace_info__().devices())

    def device(self, xp: ModuleType, wanted: Any) -> Any:
        """The library's own device object for a name such as ``"cpu"`` or ``"cuda:1"``."""
        known = self.devices(xp)
        for device in known:
            if wanted == device or device_name(device) == str(wanted):
                return device
        names = ", ".join(map(device_name, known))
        raise ValueError(f'device={wanted!r} is not a device of backend="{self.name}", which has: {names}')

    def dtype(self, xp: ModuleType, name: str) -> Any:
        """The library's own dtype object of that name; AttributeError where it has none."""
        return getattr(xp, name)

    def to_numpy(self, x: Array) -> np.ndarray:
        return np.asarray(x)

    def detach(self, x: Array) -> Array:
        """The same numbers, free of what the library would record for gradients of its own."""
        return x

    def copied(self, x: Array, device: Any) -> Array:
        """The same numbers in memory of their own, on that device; None: where the library puts them."""
        import array_api_compat

        if device is not None and device_of(x) != device:
            return array_api_compat.to_device(x, device)
        return namespace(x).asarray(x, copy=True)

    def row_by_row(self, x: Array) -> Array:
        """The array itself, where its last axis runs fastest in memory, and else a copy in which it does."""
        return x

    def synchronize(self, arrays: Iterable[Array]) -> None:
        """Nothing to wait for: the library computes before it returns."""

    def has_arrived(self, x: Array) -> None:
        """Wait for an array that was copied just now."""
        self.synchronize([x])

    def active(self, device: Any) -> AbstractContextManager[Any]:
        """Nothing to enter: operations run where their arrays are."""
        return nullcontext()

    def reaches_cuda(self, xp: ModuleType, device: Any) -> bool:
        """Whether arrays on that device (None: the current one) are in the memory of a CUDA device."""
        return False

    def ran_out_of_memory(self, error: BaseException) -> bool:
        """Whether this exception is how the library says that there is no room."""
        return isinstance(error, MemoryError)


class _Numpy(Library):
    def load(self) -> ModuleType:
        return host

    def row_by_row(self, x: Array) -> Array:
        return np.asarray(x, order="C")


class _Strict(Library):
    def to_numpy(self, x: Array) -> np.ndarray:
        # Its simulated devices refuse NumPy's conversion, as a GPU would; DLPack copies from them.
        return np.from_dlpack(x)


class _Torch(Library):
    def devices(self, xp: ModuleType) -> list[Any]:
        # The standard's inquiry lists "meta", which holds no numbers, and asks each retired device type.
        import torch

        found = [torch.device("cpu")]
        found += [torch.device("cuda", i) for i in range(torch.cuda.device_count())]
        if torch.backends.mps.is_available():
            found.append(torch.device("mps", 0))
        return found

    def device(self, xp: ModuleType, wanted: Any) -> Any:
        # "cuda" means torch's current CUDA device, and an index means one of them.
        import torch

        if str(wanted) == "cuda" and torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        name = "mps:0" if str(wanted) == "mps" else wanted
        return super().device(xp, name)

    def to_numpy(self, x: Array) -> np.ndarray:
        import torch

        near = x.detach().cpu()
        if near.dtype == torch.bfloat16:  # NumPy has no bfloat16; float32 holds each of its values
            near = near.float()
        return np.asarray(near.numpy())

    def detach(self, x: Array) -> Array:
        return x.detach() if x.requires_grad else x

    def row_by_row(self, x: Array) -> Array:
        return x.contiguous()

    def reaches_cuda(self, xp: ModuleType, device: Any) -> bool:
        return device is not None and device.type == "cuda"

    def ran_out_of_memory(self, error: BaseException) -> bool:
        import torch

        on_the_host = isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
        return super().ran_out_of_memory(error) or isinstance(error, torch.OutOfMemoryError) or on_the_host

    def synchronize(self, arrays: Iterable[Array]) -> None:
        import torch

        for place in {x.device for x in arrays if x.is_cuda}:
            torch.cuda.synchronize(place)


class _Jax(Library):
    def devices(self, xp: ModuleType) -> list[Any]:
        import jax

        return list(jax.devices()) + [d for d in jax.devices("cpu") if d not in jax.devices()]

    def device(self, xp: ModuleType, wanted: Any) -> Any:
        # JAX numbers its devices; a bare platform name, "cpu" or "gpu", means the first of them.
        for device in self.devices(xp):
            if str(wanted) in (device.platform, "cuda" if device.platform == "gpu" else None):
                return device
        return super().device(xp, wanted)

    def dtype(self, xp: ModuleType, name: str) -> Any:
        import jax

        if name.endswith("64") and not jax.config.read("jax_enable_x64"):
            if name == "float64":
                raise ValueError(
                    'dtype="float64" on backend="jax" needs 64-bit mode, which is off: '
                    'jax.config.update("jax_enable_x64", True) before the first array is made'
                )
            name = name.replace("64", "32")  # labels and counters: JAX's own index type
        return super().dtype(xp, name)

    def synchronize(self, arrays: Iterable[Array]) -> None:
        for x in arrays:
            x.block_until_ready()

    def reaches_cuda(self, xp: ModuleType, device: Any) -> bool:
        platform = self.devices(xp)[0].platform if device is None else device.platform
        return bool(platform == "gpu")

    def ran_out_of_memory(self, error: BaseException) -> bool:
        # XLA's exceptions are RuntimeErrors that begin with the name of their status.
        on_the_device = isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" in str(error)
        return super().ran_out_of_memory(error) or on_the_device


class _Cupy(Library):
    copies = True

    def load(self) -> ModuleType:
        xp = super().load()
        import cupy

        try:
            count = cupy.cuda.runtime.getDeviceCount()
        except cupy.cuda.runtime.CUDARuntimeError as error:
            reason = str(error)
        else:
            reason = "" if count else "cudaGetDeviceCount found 0 devices"
        if reason:
            raise BackendUnavailable(
                f'backend="cupy": CuPy {cupy.__version__} is installed but finds no CUDA device '
                f"({reason}). It needs an NVIDIA GPU and its driver (check with: nvidia-smi); "
                'without them, use backend="numpy"'
            )
        return xp

    def device(self, xp: ModuleType, wanted: Any) -> Any:
        # "cuda" means CuPy's current device, and a number one of them.
        import cupy

        if wanted == "cuda":
            return cupy.cuda.Device()
        return super().device(xp, f"cuda:{wanted}" if isinstance(wanted, int) else wanted)

    def devices(self, xp: ModuleType) -> list[Any]:
        import cupy

        return [cupy.cuda.Device(i) for i in range(cupy.cuda.runtime.getDeviceCount())]

    def to_numpy(self, x: Array) -> np.ndarray:
        import cupy

        with x.device:  # whose current stream has made it
            return cupy.asnumpy(x)

    def copied(self, x: Array, device: Any) -> Array:
        # From one device to another a copy is in the stream of the second, which does not know what that of the first
        # still has to write there, nor that one until when it is read.
        import cupy

        current, here = cupy.cuda.get_current_stream, device or cupy.cuda.Device()
        if x.device == here:
            with here:
                return super().copied(x, here)
        with x.device:
            if not (x.flags.c_contiguous or x.flags.f_contiguous):  # CuPy sends only what lies in one piece
                x = x.copy()
            written = current().record()
        with here:
            current().wait_event(written)
            copy = super().copied(x, here)
            read = current().record()
        with x.device:
            current().wait_event(read)
        return copy

    def row_by_row(self, x: Array) -> Array:
        return x if x.flags.c_contiguous else x.copy(order="C")

    def synchronize(self, arrays: Iterable[Array]) -> None:
        import cupy

        for place in {x.device.id for x in arrays}:  # an array does not say which stream makes it
            cupy.cuda.Device(place).synchronize()

    def has_arrived(self, x: Array) -> None:
        import cupy

        with x.device:
            cupy.cuda.get_current_stream().synchronize()

    def ran_out_of_memory(self, error: BaseException) -> bool:
        # The pool's exception is a MemoryError; where there is no pool, and from the driver and cuBLAS, it is a status.
        import cupy
        from cupy_backends.cuda.libs import cublas

        no_room = {
            cupy.cuda.runtime.CUDARuntimeError: 2,  # cudaErrorMemoryAllocation
            cupy.cuda.driver.CUDADriverError: 2,  # CUDA_ERROR_OUT_OF_MEMORY
            cublas.CUBLASError: 3,  # CUBLAS_STATUS_ALLOC_FAILED
        }
        full = any(isinstance(error, kind) and error.status == status for kind, status in no_room.items())
        return super().ran_out_of_memory(error) or full

    def reaches_cuda(self, xp: ModuleType, device: Any) -> bool:
        return True

    def active(self, device: Any) -> AbstractContextManager[Any]:
        # CuPy's kernels run on the current device, wherever their arrays are; its stream there stays the user's.
        import cupy

        return nullcontext() if device is None else cupy.cuda.Device(device)


_CUPY_INSTALL = 'pip install "martlet[cupy]" for CUDA 13, pip install "martlet[cupy-cuda12]" for CUDA 12'

LIBRARIES: dict[str, Library] = {
    library.name: library
    for library in (
        _Numpy("numpy", module="numpy", distributions=("numpy",), install="pip install numpy"),
        _Cupy(
            "cupy",
            module="array_api_compat.cupy",
            distributions=("cupy-cuda13x", "cupy-cuda12x", "cupy"),
            install=_CUPY_INSTALL,
        ),
        _Torch(
            "torch",
            module="array_api_compat.torch",
            distributions=("torch",),
            install='pip install "martlet[torch]"',
        ),
        _Jax("jax", module="jax.numpy", distributions=("jax",), install='pip install "martlet[jax]"'),
        _Strict(
            "array_api_strict",
            module="array_api_strict",
            distributions=("array-api-strict",),
            install="pip install array-api-strict",
        ),
    )
}

_names = {library.module: library.name for library in LIBRARIES.values()}


def library_name(xp: ModuleType) -> str:
    """The name by which martlet calls a namespace: ``"torch"`` for array_api_compat.torch."""
    return _names.get(xp.__name__, xp.__name__.removeprefix("array_api_compat."))


def device_name(device: Any) -> str:
    """A device as one types it: ``cpu``, ``cuda:0``, ``device1``."""
    text = str(device)
    if text.startswith("<CUDA Device "):  # CuPy's own repr; the name that torch gives the same device
        return f"cuda:{int(device)}"
    if text.startswith("array_api_strict.Device("):
        return text.split("'")[1]
    return text
