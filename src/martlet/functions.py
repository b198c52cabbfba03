"""The functions that networks are made of: array in, array out, and stable at the extremes.

Each runs on any array library that keeps the standard, in the dtype of its input.  Python numbers stand
beside arrays throughout, because a NumPy scalar would widen float32 to float64.
"""

from __future__ import annotations

from types import ModuleType

from martlet.backend import Array, describe, device_of, dtype_name, float_width, kind, namespace
from martlet.checks import check_array, check_count, check_floating, complain_shape


def sigmoid(x: Array, *, owner: object = "sigmoid") -> Array:
    """1 / (1 + exp(-x)), element by element.  ``owner`` is who complains about an x that is no array of floats.

    The textbook formula overflows at large negative x.  exp(x) / (1 + exp(x)) keeps its digits there, and
    would overflow at large positive x, where it has long been 1: it is so from x = 37.5 on in float64, from
    8.3 in float16, and exp is not asked for more than these need.
    """
    enough = 10.0 if check_floating(owner, "x", x) == "half" else 40.0
    xp = namespace(x)
    exps = xp.exp(xp.minimum(x, enough))
    return exps / (1.0 + exps)


def softmax(x: Array, *, owner: object = "softmax") -> Array:
    """exp(x) / sum(exp(x)) over the last axis: each row becomes a probability distribution.

    Subtracting the row's maximum changes nothing in the quotient and keeps exp from overflowing.
    """
    check_floating(owner, "x", x)
    if len(x.shape) == 0 or x.shape[-1] == 0:
        complain_shape(owner, "x", x, "(..., C)", "at least one class along the last axis")
    _, exps, total = shifted_exp(namespace(x), x)
    return exps / total


def shifted_exp(xp: ModuleType, x: Array) -> tuple[Array, Array, Array]:
    """z = x - max(x), exp(z) and sum(exp(z)) over the last axis: what every kind of softmax begins with."""
    z = x - xp.max(x, axis=-1, keepdims=True)
    exps = xp.exp(z)
    return z, exps, xp.sum(exps, axis=-1, keepdims=True)


def is_class(xp: ModuleType, t: Array, classes: int) -> Array:
    """The (N, C) table of booleans that says which class each of the integer labels t (N,) names."""
    if dtype_name(t.dtype) not in ("int64", "int32"):  # what every library compares, and no number of classes overflows
        t = xp.astype(t, xp.__array_namespace_info__().default_dtypes()["indexing"])
    return t[:, None] == xp.arange(classes, dtype=t.dtype, device=device_of(t))


def one_hot(t: Array, classes: int, dtype: str = "float32") -> Array:
    """Labels (N,) as rows (N, C) with a single 1.  A label outside 0 … C-1 gives a row of zeros."""
    check_array("one_hot", "t", t)
    check_count("one_hot", "classes", classes)
    if len(t.shape) != 1 or kind(t.dtype) != "integer":
        raise TypeError(f"one_hot: t must be integer labels of shape (N,), got {describe(t)}")
    xp = namespace(t)
    return xp.astype(is_class(xp, t, classes), getattr(xp, float_width(dtype)))


def wide(x: Array) -> Array:
    """``x`` in the width that sums are taken in: half precision becomes float32, the rest stays.

    A mean over 70,000 numbers around 1 is an ordinary number; their sum in float16 is infinity.
    """
    return namespace(x).astype(x, namespace(x).float32) if kind(x.dtype) == "half" else x
