"""Where arrays live: the one file that knows which array libraries exist, and the only door to them.

Everything else in martlet asks an array for its own namespace, ``namespace(x)``, and calls the Python
Array API standard on it.  Here is what that standard leaves out: finding a library by name, naming its
devices, bringing arrays in and out, and waiting for a device that works asynchronously.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    # The libraries' own array classes share no base and no protocol that mypy could check.
    Array: TypeAlias = Any
else:

    class Array:
        """An array of any library that keeps the Array API standard; the mark of a declared leaf."""


class BackendUnavailable(RuntimeError):
    """The array library that was asked for is not installed, or has no device to compute on."""


# --------------------------------------------------------------------------- from an array to its library


def _without_wrappers() -> ModuleType:
    """NumPy's own namespace, with sum, max and astype freed of the Python wrappers around them.

    On a small array the wrapper takes longer than the sum, and a training step has half a dozen of them.
    """

    def sum(x: Array, /, *, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Array:
        return np.add.reduce(x, axis, dtype, None, keepdims)  # type: ignore[call-overload]

    def max(x: Array, /, *, axis: Any = None, keepdims: bool = False) -> Array:
        return np.maximum.reduce(x, axis, None, None, keepdims)  # type: ignore[call-overload]

    def astype(x: Array, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Array:
        return x.astype(dtype, copy=copy)

    namespace = ModuleType("numpy", np.__doc__)
    vars(namespace).update(vars(np), sum=sum, max=max, astype=astype)
    return namespace


host = _without_wrappers()
"""NumPy, by name: where random numbers are drawn and results are read."""

_namespaces: dict[type, ModuleType] = {np.ndarray: host}


def namespace(x: Array) -> ModuleType:
    """The Array API namespace of an array: ``namespace(x).exp(x)`` runs wherever ``x`` lives.

    NumPy keeps the standard itself since 2.1, so no translation stands in between.  Raises TypeError
    for what is not an array.
    """
    try:
        return _namespaces[type(x)]
    except KeyError:
        return _namespaces.setdefault(type(x), _find_namespace(x))


def _find_namespace(x: Array) -> ModuleType:
    if isinstance(x, np.ndarray | np.generic):
        return host
    import array_api_compat

    try:
        xp: ModuleType = array_api_compat.array_namespace(x)
    except TypeError:
        raise TypeError(f"expected an array, got {type(x).__name__} {x!r:.60}") from None
    return xp


def is_array(x: object) -> bool:
    """Whether ``x`` is an array of a library that keeps the standard (a list or a number is not)."""
    if isinstance(x, str | int | float | list | tuple | dict | ModuleType | type) and type(x) not in _namespaces:
        return isinstance(x, np.generic)  # np.float64 is a float
    try:
        namespace(x)
    except TypeError:
        return False
    return True


def device_of(x: Array) -> Any:
    """The device an array is on; None for a value that jit traces, which is on none yet."""
    if namespace(x) is host:
        return "cpu"
    import array_api_compat

    return array_api_compat.device(x)


@functools.lru_cache(maxsize=None, typed=True)  # typed: dtypes of two libraries may have equal hashes
def dtype_name(dtype: Any) -> str:
    """``"float32"`` for the float32 of any library (torch writes ``torch.float32``)."""
    return str(getattr(dtype, "__name__", dtype)).rsplit(".", 1)[-1]


@functools.lru_cache(maxsize=None, typed=True)  # typed: dtypes of two libraries may have equal hashes
def kind(dtype: Any) -> str:
    """What a dtype holds: "half", "float", "integer" or "other" (booleans, complex numbers, objects)."""
    name = dtype_name(dtype)
    if name in ("float16", "bfloat16"):
        return "half"
    if name in ("float32", "float64"):
        return "float"
    return "integer" if name.lstrip("u") in ("int8", "int16", "int32", "int64") else "other"


def is_floating(x: Array) -> bool:
    """Whether an array holds real floating-point numbers, of half precision or more."""
    return kind(x.dtype) in ("float", "half")


# The types whose arrays all live in one place, so that no device needs to be compared.
one_device: set[type] = {np.ndarray}


def alike(x: Array, y: Array) -> bool:
    """Whether two arrays may meet in one operation: the same library, dtype and device."""
    if type(x) is type(y) and x.dtype == y.dtype:
        return type(x) in one_device or _same_device(x, y)
    if not is_array(x) or namespace(x) is not namespace(y) or x.dtype != y.dtype:
        return False
    return _same_device(x, y)


def _same_device(x: Array, y: Array) -> bool:
    devices = device_of(x), device_of(y)
    return None in devices or bool(devices[0] == devices[1])


def on_host(x: Array) -> bool:
    """Whether reading a value of ``x`` in Python is free: NumPy's arrays, and no other's."""
    return namespace(x) is host


def describe(x: object) -> str:
    """What a value is, in the words of an error message: ``torch float32 array of shape (3, 2) on cpu``."""
    if not is_array(x):
        return f"{type(x).__name__} {x!r:.60}" if not isinstance(x, ModuleType) else repr(x)
    device = device_of(x)
    place = "" if device is None else f" on {device_name(device)}"
    return f"{library_name(namespace(x))} {dtype_name(x.dtype)} array of shape {tuple(x.shape)}{place}"  # type: ignore[attr-defined]


# ------------------------------------------------------------------------------------- the libraries


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
        for distribution in self.distributions:
            try:
                return importlib.metadata.version(distribution)
            except importlib.metadata.PackageNotFoundError:
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

    def synchronize(self, arrays: Iterable[Array], device: Any) -> None:
        """Nothing to wait for: the library computes before it returns."""


class _Numpy(Library):
    def load(self) -> ModuleType:
        return host


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

    def synchronize(self, arrays: Iterable[Array], device: Any) -> None:
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()


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

    def synchronize(self, arrays: Iterable[Array], device: Any) -> None:
        for x in arrays:
            x.block_until_ready()


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

    def devices(self, xp: ModuleType) -> list[Any]:
        import cupy

        return [cupy.cuda.Device(i) for i in range(cupy.cuda.runtime.getDeviceCount())]

    def to_numpy(self, x: Array) -> np.ndarray:
        import cupy

        return cupy.asnumpy(x)

    def synchronize(self, arrays: Iterable[Array], device: Any) -> None:
        import cupy

        with cupy.cuda.Device(device):  # None: the user's current device
            cupy.cuda.get_current_stream().synchronize()


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


# --------------------------------------------------------------------------------------- the backend


@dataclass(frozen=True)
class Backend:
    """An array library, a device of it and a float width: where arrays are created or moved to.

    ``Backend("torch", device="cuda:0", dtype="float64")``.  Without ``device``, the library's current
    device; without ``dtype``, float32 for what is created, and no change for what is moved.

    Raises ValueError for an unknown name, device or dtype, and BackendUnavailable, with what to type,
    for a library that is not installed or has no device.
    """

    name: str
    device: Any = None
    dtype: Any = None
    library: Library = field(init=False, repr=False, compare=False)
    xp: ModuleType = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.name not in LIBRARIES:
            raise ValueError(f"backend={self.name!r} is unknown; choose one of: {', '.join(LIBRARIES)}")
        library = LIBRARIES[self.name]
        xp = library.load()
        object.__setattr__(self, "library", library)
        object.__setattr__(self, "xp", xp)
        if self.device is not None:
            object.__setattr__(self, "device", library.device(xp, self.device))
        if self.dtype is not None:
            object.__setattr__(self, "dtype", float_width(self.dtype))
            self._find_dtype(self.dtype)

    def _find_dtype(self, name: str) -> Any:
        try:
            return self.library.dtype(self.xp, name)
        except AttributeError:
            raise ValueError(f'dtype="{name}" does not exist on backend="{self.name}"') from None

    def asarray(self, x: Any, dtype: str | None = None, *, copy: bool = False) -> Array:
        """``x`` as an array of this backend, on its device.

        ``x`` may be a number, a (nested) list, or an array of any library.  Floating-point numbers
        get the width ``dtype``; without it, arrays keep theirs and Python numbers get float32.
        An array of this library that needs no change is returned as it is unless ``copy``; whatever
        comes from elsewhere is copied, so that no memory is shared between two libraries.
        """
        if is_array(x) and namespace(x) is self.xp:
            if copy:
                x = self.xp.asarray(x, copy=True)
            if self.device is not None and device_of(x) != self.device:
                import array_api_compat

                x = array_api_compat.to_device(x, self.device)
            wanted = self._find_dtype(dtype) if dtype else x.dtype
            return x if x.dtype == wanted else self.xp.astype(x, wanted)

        data = to_numpy(x) if is_array(x) else np.asarray(x)
        if data.dtype.kind not in "biuf" and dtype_name(data.dtype) != "bfloat16":
            raise TypeError(f"expected numbers, got an array of dtype {data.dtype}")
        if data.dtype.kind in "bi" and dtype is None:
            name = dtype_name(data.dtype)
        elif dtype is None and not is_array(x):
            name = "float32"
        else:
            name = dtype or dtype_name(data.dtype)
        if name != "bfloat16" and data.dtype != name:  # cast here: fewer bytes travel
            data = data.astype(name)
        elif not self.library.copies:
            data = np.array(data, order="C")
        return self.xp.asarray(data, dtype=self._find_dtype(name), device=self.device)

    @property
    def index_dtype(self) -> Any:
        """The integer type that labels and indices have here: int64; int32 on JAX without 64 bits."""
        return self.xp.__array_namespace_info__().default_dtypes()["indexing"]

    def synchronize(self, *arrays: Array) -> None:
        """Wait until these arrays hold their values: what a stopwatch calls before it reads the time."""
        self.library.synchronize(arrays, self.device)

    def to_numpy(self, x: Array) -> np.ndarray:
        """``x`` as a NumPy array on the host."""
        return to_numpy(x)


def generator(seed: int) -> np.random.Generator:
    """A random generator on the host.  What it draws is moved, so one seed gives the same numbers everywhere."""
    return np.random.default_rng(seed)


def float_width(dtype: Any) -> str:
    """The name of a floating-point dtype given as a name or as any library's own object."""
    name = dtype_name(dtype)
    if name not in ("float16", "bfloat16", "float32", "float64"):
        raise ValueError(f"dtype={dtype!r} is not a float width; choose float16, bfloat16, float32 or float64")
    return name


def as_backend(backend: str | Backend | None, dtype: Any = None) -> Backend:
    """A Backend from what users write: a name, a Backend, or None for NumPy."""
    if backend is None:
        backend = "numpy"
    if isinstance(backend, str):
        return Backend(backend, dtype=dtype)
    if not isinstance(backend, Backend):
        raise TypeError(f"backend must be a name or a martlet.Backend, got {describe(backend)}")
    return backend if dtype is None else Backend(backend.name, backend.device, dtype)


def backend_of(x: Array) -> Backend:
    """The backend an array lives on, whichever library it comes from: library and device, no dtype."""
    xp = namespace(x)
    name = library_name(xp)
    if name not in LIBRARIES:  # a library met for the first time, through an array of it
        LIBRARIES[name] = Library(name, module=xp.__name__, distributions=(name,), install=f"pip install {name}")
    return Backend(name, device=device_of(x))


def to_numpy(x: Array) -> np.ndarray:
    """An array of any library as a NumPy array on the host (NumPy's own are returned as they are)."""
    xp = namespace(x)
    if xp is host:
        return np.asarray(x)
    return backend_of(x).library.to_numpy(x)


def available_backends() -> tuple[str, ...]:
    """The names that ``backend=`` accepts on this machine, now.  Imports each library that is installed."""
    return tuple(name for name, *_, why_not in survey() if not why_not)


def survey() -> list[tuple[str, str, str, str]]:
    """A row per library: name, installed version, devices, and why it cannot be used (or "")."""
    rows = []
    for library in LIBRARIES.values():
        version = library.version()
        if version is None:
            rows.append((library.name, "-", "-", f"not installed: {library.install}"))
            continue
        try:
            xp = library.load()
            devices = ", ".join(map(device_name, library.devices(xp)))
            rows.append((library.name, version, devices, ""))
        except BackendUnavailable as error:
            rows.append((library.name, version, "none", str(error).split(": ", 1)[-1]))
    return rows
