"""Where arrays live: the only door to the array libraries, and to array_api_compat.

Everything else in martlet asks an array for its own namespace, ``namespace(x)``, and calls the Python
Array API standard on it.  Here is what that standard leaves out: finding a library by name, naming its
devices, bringing arrays in and out, and waiting for a device that works asynchronously.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from martlet.backend.arrays import (
    Array,
    alike,
    ask_where,
    device_of,
    dtype_name,
    host,
    is_array,
    is_floating,
    keep_apart,
    kind,
    meet,
    namespace,
    one_device,
)
from martlet.backend.libraries import LIBRARIES, BackendUnavailable, Library, device_name, library_name

__all__ = [
    "LIBRARIES",
    "Array",
    "Backend",
    "BackendUnavailable",
    "alike",
    "as_backend",
    "available_backends",
    "backend_of",
    "compilers",
    "describe",
    "device_name",
    "device_of",
    "dtype_name",
    "float_width",
    "generator",
    "host",
    "is_array",
    "is_floating",
    "keep_apart",
    "kind",
    "library_name",
    "meet",
    "namespace",
    "one_device",
    "survey",
    "to_numpy",
]

Function = Callable[..., Any]

compilers: list[Callable[[Backend, Function, Any], Function]] = []
"""Where ``martlet.compile``, which is above this, enters what ``Backend.compile`` asks."""


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
    lib: Library = field(init=False, repr=False, compare=False)
    xp: ModuleType = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or self.name not in LIBRARIES:
            raise ValueError(f"backend={self.name!r} is unknown; choose one of: {', '.join(LIBRARIES)}")
        library = LIBRARIES[self.name]
        xp = library.load()
        object.__setattr__(self, "lib", library)
        object.__setattr__(self, "xp", xp)
        if is_array(self.device):
            raise TypeError(f"device must be a name, or a device of the library's own, got {describe(self.device)}")
        if self.device is not None:
            object.__setattr__(self, "device", library.device(xp, self.device))
        if self.dtype is not None:
            object.__setattr__(self, "dtype", float_width(self.dtype))
            self._find_dtype(self.dtype)

    def _words(self) -> tuple[str, str | None, str | None]:
        """What makes an equal one: a device of CuPy's has no hash, and the namespace does not travel."""
        return self.name, None if self.device is None else device_name(self.device), self.dtype

    def __hash__(self) -> int:
        return hash(self._words())

    def __reduce__(self) -> Any:
        return Backend, self._words()

    def _find_dtype(self, name: str) -> Any:
        try:
            return self.lib.dtype(self.xp, name)
        except AttributeError:
            raise ValueError(f'dtype="{name}" does not exist on backend="{self.name}"') from None

    def asarray(self, x: Any, dtype: str | None = None, *, copy: bool = False) -> Array:
        """``x`` as an array of this backend, on its device.

        ``x`` may be a number, a (nested) list, or an array of any library.  ``dtype`` is a float width
        to cast to; without it, arrays keep theirs, and Python's floats get the Backend's, or float32.
        An array of this library that needs no change is returned as it is unless ``copy``; whatever
        comes from elsewhere is copied, so that no memory is shared between two libraries.  From one
        library to another on a GPU it goes by DLPack, and never through the host.

        Raises TypeError for what does not hold numbers, and ValueError for an unknown width and for
        integers that do not fit into this library's.
        """
        if isinstance(x, np.ma.MaskedArray):
            raise TypeError("expected numbers, got a masked array, which has gaps; fill them: x.filled(...)")
        width = None if dtype is None else float_width(dtype)
        is_new = not is_array(x)
        x = _plain(_from_lists(x) if is_new else x)
        if kind(x.dtype) == "other" and dtype_name(x.dtype) != "bool":
            raise TypeError(f"expected numbers, got an array of dtype {dtype_name(x.dtype)}")
        if width is None and is_new and is_floating(x):
            width = self.dtype or "float32"

        if namespace(x) is self.xp:
            x = self.lib.detach(x)
            if copy or (self.device is not None and device_of(x) != self.device):
                x = self.lib.copied(x, self.device)
            wanted = self._find_dtype(width) if width else x.dtype
            if x.dtype == wanted:
                return x
            with self.lib.active(device_of(x)):
                return self.xp.astype(x, wanted)

        if on_cuda(x) and self.lib.reaches_cuda(self.xp, self.device):
            source = library_of(x)
            with source.active(device_of(x)):  # whose current stream has made it
                x = source.detach(x)
                if dtype_name(x.dtype) == "bfloat16" and not hasattr(self.xp, "bfloat16"):
                    x = namespace(x).astype(x, namespace(x).float32)
                seen = self.xp.from_dlpack(x)  # from one library to another on the GPU
            there = self.asarray(seen, width, copy=True)
            self.lib.has_arrived(there)  # the other library does not know until when its array is read
            return there

        data = to_numpy(x)
        wanted = self._find_dtype(width or dtype_name(data.dtype))
        name = dtype_name(wanted)
        narrows = kind(data.dtype) == kind(wanted) == "integer" and data.dtype != name
        if narrows and (data.astype(name) != data).any():
            raise ValueError(f'integers from {data.min()} to {data.max()} do not fit {name} on backend="{self.name}"')
        if name != "bfloat16" and data.dtype != name:  # cast here: fewer bytes travel
            data = data.astype(name)
        elif not self.lib.copies:
            data = np.array(data, order="C")
        return self.xp.asarray(data, dtype=wanted, device=self.device)

    @property
    def index_dtype(self) -> Any:
        """The integer type that labels and indices have here: int64; int32 on JAX without 64 bits."""
        return self.xp.__array_namespace_info__().default_dtypes()["indexing"]

    def active(self) -> AbstractContextManager[Any]:
        """Within this context the library computes on this backend's device, where it has a current one."""
        return self.lib.active(self.device)

    def compile(self, function: Function, how: Any = "auto") -> Function:
        """A function of the same arguments and results that this library computes faster, where it can.

        ``function`` is a pure one of trees, arrays, tuples and None, or a verb of a layer (``model.predict``);
        whatever else it is given is part of the program, and another program is made for another value.
        JAX: its ``jit``.  NumPy and CuPy: recorded once and replayed.  PyTorch: its own eager operations, or
        ``torch.compile`` with ``how=True``.  Elsewhere, and with ``how=False``, it is the function itself.
        Nothing of what it is given is written to.
        """
        for compiler in compilers:
            function = compiler(self, function, how)
        return function

    def synchronize(self, *arrays: Array) -> None:
        """Wait until these arrays hold their values: what a stopwatch calls before it reads the time."""
        for x in arrays:
            if not is_array(x) or namespace(x) is not self.xp:
                raise TypeError(f"synchronize: expected arrays of {self.name}, got {describe(x)}")
        self.lib.synchronize(arrays)

    def to_numpy(self, x: Array) -> np.ndarray:
        """``x`` as a NumPy array on the host."""
        return to_numpy(x)


def on_cuda(x: Array) -> bool:
    """Whether an array says, by DLPack's numbering of devices, that it is in the memory of a CUDA device."""
    return hasattr(x, "__dlpack_device__") and int(x.__dlpack_device__()[0]) == 2


def _from_lists(x: Any) -> np.ndarray:
    try:
        return np.array(x)
    except (TypeError, ValueError):
        raise ValueError(f"asarray: x must be numbers in rows of one length, got {describe(x)}") from None


def _plain(x: Array) -> Array:
    """NumPy's scalars and memory maps as arrays like any other, in this machine's byte order."""
    if not isinstance(x, np.ndarray | np.generic):
        return x
    x = np.asarray(x)
    return x if x.dtype.isnative else x.astype(x.dtype.newbyteorder("="))


def generator(seed: int) -> np.random.Generator:
    """A random generator on the host.  What it draws is moved, so one seed gives the same numbers everywhere."""
    return np.random.default_rng(seed)


def float_width(dtype: Any) -> str:
    """The name of a floating-point dtype given as a name or as any library's own object."""
    try:
        name = dtype_name(dtype)
    except TypeError:  # a list or the like, which cannot be looked up
        name = ""
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
    library = library_of(x)
    return Backend(library.name, device=device_of(x))


def library_of(x: Array) -> Library:
    """The library an array comes from, be it one that is met here for the first time."""
    xp = namespace(x)
    ask_where(x)
    name = library_name(xp)
    if name not in LIBRARIES:
        LIBRARIES[name] = Library(name, module=xp.__name__, distributions=(name,), install=f"pip install {name}")
    return LIBRARIES[name]


def to_numpy(x: Array) -> np.ndarray:
    """An array of any library as a NumPy array on the host (NumPy's own are returned as they are)."""
    xp = namespace(x)
    if xp is host:
        return np.asarray(x)
    return library_of(x).to_numpy(x)


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


def describe(x: object) -> str:
    """What a value is, in the words of an error message: ``torch float32 array of shape (3, 2) on cpu``."""
    if not is_array(x):
        return f"{type(x).__name__} {' '.join(repr(x).split()):.60}" if not isinstance(x, ModuleType) else repr(x)
    device = device_of(x)
    place = "" if device is None else f" on {device_name(device)}"
    return f"{library_name(namespace(x))} {dtype_name(x.dtype)} array of shape {tuple(x.shape)}{place}"  # type: ignore[attr-defined]
