"""One clear sentence per mistake: the checks that stand at the entrance of every verb.

A check is a comparison or two where all is well; the sentence, with the layer's name, what came and
what was expected, is only composed when it is needed.  Each begins with what that means for arrays of one
type that knows one device only, NumPy's, spelled out, because a small net spends its time on calls and not
on arithmetic; whatever does not pass there, be it right or wrong, is looked at closely.
"""

from __future__ import annotations

import functools
import inspect
import math
import operator
import re
import sys
import traceback
from collections.abc import Callable
from numbers import Real
from types import ModuleType
from typing import Any, NoReturn

from martlet.backend import (
    Array,
    alike,
    describe,
    device_of,
    is_array,
    keep_apart,
    kind,
    library_name,
    namespace,
    one_device,
)


def owner_name(owner: object) -> str:
    """How an error names who complains: the class of a layer, or a function's name as given."""
    return owner if isinstance(owner, str) else type(owner).__name__


def check_array(owner: object, name: str, x: Array) -> None:
    """``x`` is an array, and not a list, a number or an array of objects."""
    if not is_array(x):
        raise TypeError(
            f"{owner_name(owner)}: {name} must be an array, got {describe(x)}; "
            "to make one: martlet.Backend(...).asarray(...)"
        )
    if getattr(x.dtype, "kind", "f") in "OSU":
        raise TypeError(f"{owner_name(owner)}: {name} must hold numbers, got {describe(x)}")


def check_floating(owner: object, name: str, x: Array) -> str:
    """``x`` holds floating-point numbers: integers would be promoted silently, to another width each time.

    Returns their kind, "float" or "half", for those who take special care of half precision.
    """
    if type(x) in one_device and x.dtype.kind == "f":
        return "float" if x.dtype.itemsize > 2 else "half"
    try:
        found = kind(x.dtype)
        if found in ("float", "half") and is_array(x):
            return found
    except (AttributeError, TypeError):
        pass
    check_array(owner, name, x)
    raise TypeError(f"{owner_name(owner)}: {name} must hold floating-point numbers, got {describe(x)}")


def check_alike(owner: object, name: str, x: Array, other_name: str, other: Array) -> None:
    """Two arrays may meet: the same library, device and dtype.  Nothing is converted silently."""
    if type(x) is type(other) in one_device and x.dtype is other.dtype:
        return
    try:
        if alike(x, other):
            return
    except AttributeError:
        pass
    _explain_unlike(owner, name, x, other_name, other)


def _explain_unlike(owner: object, name: str, x: Array, other_name: str, other: Array) -> NoReturn:
    check_array(owner, name, x)
    check_array(owner, other_name, other)
    keep_apart(x, other)
    target = library_name(namespace(x))
    if namespace(x) is not namespace(other):
        advice = f'move one of them, for instance with model.to("{target}")'
    elif x.dtype != other.dtype:
        advice = "bring them to one dtype, for instance with model.to(dtype=...)"
    else:
        advice = "bring them to one device, for instance with model.to(device=...)"
    raise TypeError(f"{owner_name(owner)}: {name} is {describe(x)}, but {other_name} is {describe(other)}; {advice}")


def check_place(owner: object, name: str, x: Array, other_name: str, other: Array) -> None:
    """Two arrays are in one place, the same library and device; their dtypes may differ (labels, counters)."""
    if type(x) is type(other) in one_device:
        return
    check_array(owner, name, x)
    devices = device_of(x), device_of(other)
    keep_apart(x, other)
    if namespace(x) is not namespace(other) or (None not in devices and devices[0] != devices[1]):
        raise TypeError(
            f"{owner_name(owner)}: {name} is {describe(x)}, but {other_name} is {describe(other)}; move one of them"
        )


def check_same(owner: object, name: str, x: Array, other_name: str, other: Array) -> None:
    """``x`` is like ``other`` in everything but its values: shape, library, device and dtype."""
    if type(x) is type(other) in one_device and x.dtype is other.dtype and x.shape == other.shape:
        return
    check_alike(owner, name, x, other_name, other)
    if x.shape != other.shape:
        complain_shape(owner, name, x, tuple(other.shape), f"the shape of {other_name}")


NO_BIAS: Any = object()


def check_columns(owner: object, x: Array, W: Array, b: Array = NO_BIAS) -> None:
    """``x`` is (N, D), one sample per row, for weights (D, H) and, where there is one, a bias (H,)."""
    if type(x) is type(W) in one_device and x.dtype is W.dtype and x.ndim == W.ndim == 2 and x.dtype.kind == "f":
        if b is NO_BIAS:
            if x.shape[1] == W.shape[0]:
                return
        elif type(b) is type(W) and b.dtype is W.dtype and x.shape[1:] + b.shape == W.shape:
            return
    check_alike(owner, "x", x, "W", W)
    check_floating(owner, "x", x)
    if len(W.shape) != 2:
        complain_shape(owner, "W", W, "(D, H)", "one row per input, one column per output")
    if len(x.shape) != 2 or x.shape[1] != W.shape[0]:
        hint = "; one sample is x[None, :]" if len(x.shape) == 1 else ""
        complain_shape(
            owner, "x", x, f"(N, {W.shape[0]})", f"one sample per row, for W of shape {tuple(W.shape)}{hint}"
        )
    if b is not NO_BIAS:
        check_alike(owner, "b", b, "W", W)
        if b.shape != W.shape[1:]:
            complain_shape(owner, "b", b, tuple(W.shape[1:]), "one number per column of W")


def check_dout(owner: object, dout: Array, shape: tuple[int, ...], like: Array) -> None:
    """``dout`` has the shape of the layer's output: broadcasting would sum gradients that nobody asked for."""
    if type(dout) is type(like) in one_device and dout.dtype is like.dtype and dout.shape == shape:
        return
    check_alike(owner, "dout", dout, "the layer's own array", like)
    if dout.shape != shape:
        complain_shape(owner, "dout", dout, shape, "the shape of the output")


def complain_shape(owner: object, name: str, x: Array, expected: object, why: str) -> NoReturn:
    expected = tuple(expected) if isinstance(expected, tuple) else expected  # torch's own kind of tuple says so
    raise ValueError(f"{owner_name(owner)}: {name} has shape {tuple(x.shape)}, expected {expected} ({why})")


def check_number(
    owner: object,
    name: str,
    value: Any,
    low: float,
    high: float = math.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    """A hyper-parameter is one finite number in its range."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number:
        raise TypeError(f"{owner_name(owner)}: {name} must be a number, got {describe(value)}")
    try:
        number = float(value)
    except OverflowError:  # an integer that no float holds
        number = math.inf
    above = number > low if open_low else number >= low
    below = number < high if open_high else number <= high
    if not (math.isfinite(number) and above and below):
        floor = "" if low == -math.inf else f", {'>' if open_low else '>='} {low:g}"
        ceiling = "" if high == math.inf else f" and {'<' if open_high else '<='} {high:g}"
        raise ValueError(f"{owner_name(owner)}: {name} must be finite{floor}{ceiling}, got {value!r:.40}")


def check_switch(owner: object, name: str, value: Any) -> None:
    """A choice is True or False, and nothing that only counts as one of them."""
    if not isinstance(value, bool):
        raise TypeError(f"{owner_name(owner)}: {name} must be True or False, got {describe(value)}")


def check_count(owner: object, name: str, value: Any, low: int = 1, high: float = sys.maxsize) -> None:
    """A count is an integer of at least ``low``; True is not a count, and no axis is as long as ``high``."""
    try:
        count = operator.index(value)
    except TypeError:
        count = None
    if count is None or isinstance(value, bool):
        raise TypeError(f"{owner_name(owner)}: {name} must be an integer, got {describe(value)}")
    if count < low:
        raise ValueError(f"{owner_name(owner)}: {name} must be at least {low}, got {value!r:.40}")
    if count > high:
        raise ValueError(f"{owner_name(owner)}: {name} must be at most {high}, got a larger number")


def check_generator(owner: object, rng: Any, method: str = "standard_normal") -> None:
    """``rng`` draws: a NumPy Generator, or one of NumPy's legacy streams, which the lessons use."""
    if not hasattr(rng, method) or isinstance(rng, type | ModuleType):  # np.random itself is everyone's stream
        raise TypeError(
            f"{owner_name(owner)}: rng must be a NumPy Generator, such as np.random.default_rng(0), got {describe(rng)}"
        )


def reads_cache(backward: Callable[..., Any]) -> Callable[..., Any]:
    """A layer's backward, with a sentence about the cache where Python's own exception says that it is another's.

    Whether a cache is the right one is not asked, for that would cost more than many a layer.
    """

    @functools.wraps(backward)
    def wrapper(self: object, cache: Any, dout: Any) -> Any:
        try:
            found = backward(self, cache, dout)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            if _is_about_cache(error, backward, cache):
                complain_cache(self, cache, error)
            raise
        if isinstance(found, tuple | list) and len(found) == 2:
            return found
        complain_pair(self, "backward", "(dx, self.gradient(...)), or (dx, None) where nothing is learned", found)

    return wrapper


def gives_pair(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A layer's forward, which says so if it gives something else than an output and a cache."""

    @functools.wraps(forward)
    def wrapper(*given: Any, **named: Any) -> Any:  # a layer of one's own may hand its inner layers more than x
        found = forward(*given, **named)
        if isinstance(found, tuple | list) and len(found) == 2:
            return found
        complain_pair(given[0], "forward", "(y, cache)", found)

    return wrapper


def complain_pair(owner: object, verb: str, expected: str, found: Any) -> NoReturn:
    got = f"a {type(found).__name__} of {len(found)}" if isinstance(found, tuple | list) else describe(found)
    raise TypeError(f"{owner_name(owner)}.{verb} must give the pair {expected}, got {got}")


def complain_cache(owner: object, cache: Any, error: Exception) -> NoReturn:
    got = f"a tuple of {len(cache)}" if isinstance(cache, tuple) else describe(cache)
    raise TypeError(
        f"{owner_name(owner)}.backward: cache must be what forward gave for this batch, got {got} ({error})"
    ) from error


def _is_about_cache(error: Exception, backward: Any, cache: Any) -> bool:
    """Whether a backward failed, in a line of its own, because its cache is not made as it expects."""
    frames = traceback.extract_tb(error.__traceback__)
    if len(frames) != 2:  # the wrapper and backward: what failed further in has explained itself
        return False
    if isinstance(error, AttributeError):
        parts = cache if isinstance(cache, tuple) else ()
        return error.name is not None and any(error.obj is part for part in (cache, *parts))
    taken_apart = isinstance(error, LookupError) or re.search("unpack|subscript|iter", str(error)) is not None
    parameters = inspect.signature(backward).parameters
    return taken_apart and len(parameters) > 1 and list(parameters)[1] in (frames[1].line or "")
