"""What an array is: its namespace, device and dtype, asked of the array itself and never of a switch."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import numpy as np

if TYPE_CHECKING:
    # The libraries' own array classes share no base and no protocol that mypy could check.
    Array: TypeAlias = Any
else:

    class Array:
        """An array of any library that keeps the Array API standard; the mark of a declared leaf."""


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
    if {"matrix", "MaskedArray"} & {base.__name__ for base in type(x).__mro__}:
        raise TypeError(f"expected a plain array, got {type(x).__name__}, whose arithmetic is its own")
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
    """The device an array is on; None where it is on none in particular.

    That is a value that jit traces, and a JAX array that was given no device: it follows the default one.
    Naming that device for the arrays made beside it would commit them to it, and JAX compiles a function
    for the two kinds apart.
    """
    if type(x) in one_device:
        return one_device[type(x)]
    if type(x) in _say_it:
        return x.device
    if namespace(x) is host:
        return "cpu"
    import array_api_compat

    device = array_api_compat.device(x)
    if device is None:  # a value that jit traces, which may not even be asked whether it is committed
        return None
    if not hasattr(x, "committed") and hasattr(x, "device") and x.device == device:
        _say_it.add(type(x))
    return device if getattr(x, "committed", True) else None


_say_it: set[type] = set()
"""The types whose arrays say themselves where they are: what else there is to ask takes as long as a small sum."""


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


# The types whose arrays all live in one place, so that no device needs to be compared, and that place.
one_device: dict[type, str] = {np.ndarray: "cpu"}


# The types whose arrays meet no others, and who explains it, given the other.
_apart: dict[type, Callable[[Array], NoReturn]] = {}


# The types whose arrays may not want to be asked which library's they are, and who says so.
_asked: dict[type, Callable[[], None]] = {}


def meet(
    kind: type, xp: ModuleType, place: str, refuse: Callable[[Array], NoReturn], asked: Callable[[], None]
) -> None:
    """Make a type of arrays known, by its namespace, the one place where all are, and who refuses all others.

    asked: is called when somebody wants to know where one is.
    """
    _namespaces[kind] = xp
    one_device[kind] = place
    _apart[kind] = refuse
    _asked[kind] = asked


def ask_where(x: Array) -> None:
    """Somebody wants to know the library of an array, which may refuse to tell."""
    if type(x) in _asked:
        _asked[type(x)]()


def keep_apart(x: Array, y: Array) -> None:
    """Let a type whose arrays meet no others explain it, if one of the two is of it."""
    for one, other in ((x, y), (y, x)):
        if type(one) in _apart and type(other) is not type(one):
            _apart[type(one)](other)


def alike(x: Array, y: Array) -> bool:
    """Whether two arrays may meet in one operation: the same library, dtype and device."""
    if type(x) is type(y) and x.dtype == y.dtype:
        return type(x) in one_device or _same_device(x, y)
    if not is_array(x) or not is_array(y) or namespace(x) is not namespace(y) or x.dtype != y.dtype:
        return False
    return _same_device(x, y)


def _same_device(x: Array, y: Array) -> bool:
    devices = device_of(x), device_of(y)
    return None in devices or bool(devices[0] == devices[1])
