"""The functions that networks are made of: array in, array out, and stable at the extremes.

Each runs on any array library that keeps the standard, in the dtype of its input.  Python numbers stand
beside arrays throughout, because a NumPy scalar would widen float32 to float64.
"""

from __future__ import annotations

import math
from types import ModuleType

from martlet.backend import Array, describe, device_of, dtype_name, float_width, kind, namespace
from martlet.checks import check_array, check_count, check_floating, complain_shape

FAR = 1000.0  # so far down exp(x), sigmoid(x) and Φ(x) are 0, also in float64


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


def softplus(x: Array, *, owner: object = "softplus") -> Array:
    """log(1 + exp(x)), element by element: a ReLU without the kink.

    Written as max(x, 0) + log1p(exp(-|x|)), it overflows nowhere and keeps its digits on both sides.
    """
    check_floating(owner, "x", x)
    xp = namespace(x)
    return xp.maximum(x, 0.0) + xp.log1p(xp.exp(-xp.abs(x)))


def clamp(x: Array, low: float | Array, high: float | Array) -> Array:
    """x, but nowhere less than low nor more than high.  (On CuPy the standard's own clip waits for the device.)"""
    xp = namespace(x)
    return xp.minimum(xp.maximum(x, low), high)


def softmax(x: Array, *, owner: object = "softmax") -> Array:
    """exp(x) / sum(exp(x)) over the last axis: each row becomes a probability distribution.

    Subtracting the row's maximum changes nothing in the quotient and keeps exp from overflowing.
    """
    _check_classes(owner, x)
    _, exps, others = _with_all_digits(namespace(x), wide(x))
    return narrow(exps / (1.0 + others), x)


def log_softmax(x: Array, *, owner: object = "log_softmax") -> Array:
    """x - log(sum(exp(x))) over the last axis: the logarithms of the softmax, without its underflow.

    It keeps the digits of a confident row: that of [36.8, 0, 0] begins with -2.1e-16, and not with 0.
    """
    _check_classes(owner, x)
    xp = namespace(x)
    scores = wide(x)
    top, _, others = _with_all_digits(xp, scores)
    return narrow(scores - top - xp.log1p(others), x)


def _check_classes(owner: object, x: Array) -> None:
    check_floating(owner, "x", x)
    if len(x.shape) == 0 or x.shape[-1] == 0:
        complain_shape(owner, "x", x, "(..., C)", "at least one class along the last axis")


def shifted_exp(xp: ModuleType, x: Array) -> tuple[Array, Array]:
    """z = x - max(x) over the last axis, and exp(z): what every kind of softmax begins with."""
    z = x - xp.max(x, axis=-1, keepdims=True)
    return z, xp.exp(z)


def beyond_one(xp: ModuleType, z: Array, exps: Array) -> Array:
    """Σ exp(z) - 1 over the last axis, from the two results of ``shifted_exp``, with the digits of a tiny sum.

    The largest entry of each row contributes exactly 1.  It is left out, and not added and taken away again.
    """
    largest = xp.astype(z == 0.0, z.dtype)
    return xp.sum(exps - largest, axis=-1, keepdims=True) + (xp.sum(largest, axis=-1, keepdims=True) - 1.0)


def _with_all_digits(xp: ModuleType, x: Array) -> tuple[Array, Array, Array]:
    """max(x) over the last axis, exp(x - max(x)) with all its digits, and their sum - 1.

    Rounding x - max(x) takes up to 4e-15 from a difference near -50, and with it 16 units in the last place of its
    exp.  What was taken is itself a number of the same width, which can be computed without an error: Knuth, "The
    art of computer programming", volume 2, section 4.2.2, theorem B.
    """
    top = xp.max(x, axis=-1, keepdims=True)
    near = xp.maximum(x, top - FAR - 1e-3 * xp.abs(top))  # finite, and the same as x wherever exp is not 0
    z = near - top
    subtracted = z - near
    taken = (near - (z - subtracted)) - (top + subtracted)
    exps = xp.exp(z)
    exps = exps + exps * taken
    return top, exps, beyond_one(xp, z, exps)


def is_class(xp: ModuleType, t: Array, classes: int) -> Array:
    """The (N, C) table of booleans that says which class each of the integer labels t (N,) names."""
    if dtype_name(t.dtype) not in ("int64", "int32"):  # what every library compares, and no number of classes overflows
        t = as_index(xp, t)
    return t[:, None] == xp.arange(classes, dtype=t.dtype, device=device_of(t))


def as_index(xp: ModuleType, t: Array) -> Array:
    """Integers in the type that indexes in this library."""
    return xp.astype(t, xp.__array_namespace_info__().default_dtypes()["indexing"])


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


def narrow(x: Array, like: Array) -> Array:
    """``x`` back in the dtype of ``like``: what undoes ``wide``."""
    return x if x.dtype == like.dtype else namespace(x).astype(x, like.dtype)


# (1 + √2 a) · exp(a²/2) · (1 - Φ(a)) as a polynomial in (a - 4) / (a + 4), lowest power first: the first 24 terms of
# its Chebyshev series, computed with 50 digits.  The mapping is that of Shepherd and Laframboise, "Chebyshev
# approximation of (1 + 2x) exp(x²) erfc(x) in 0 ≤ x < ∞", 1981.
_TAIL = (
    0.6284778787483127,
    -0.06617832190096784,
    -0.03172110114383102,
    0.07014920337528033,
    -0.058319238830993714,
    0.028883013432308716,
    -0.007284670737889754,
    -0.0006685374041770491,
    0.0010602671300104813,
    -0.00011467521237358457,
    -0.00013610948390316185,
    2.8134217248223506e-05,
    2.1053255302019217e-05,
    -4.511967463940736e-06,
    -3.9680410945886084e-06,
    4.898477683506069e-07,
    8.184072170422274e-07,
    2.0139766273626372e-08,
    -1.602205747502806e-07,
    -3.0299629751022965e-08,
    2.4857413578614233e-08,
    8.579404581508695e-09,
    -2.1660907342903973e-09,
    -1.0332861748795371e-09,
)
# The same from the first 11 terms, which is all that float32 can hold.
_TAIL_SINGLE = (
    0.6284778728113559,
    -0.06617813449462226,
    -0.031720667193836836,
    0.0701453777205384,
    -0.05832441102911126,
    0.028905107490288268,
    -0.007261871297489986,
    -0.0007216964042802919,
    0.0010137981236294986,
    -5.587807536806017e-05,
    -8.993512600198281e-05,
)


def normal(x: Array, *, owner: object = "normal") -> tuple[Array, Array]:
    """The standard normal distribution at x: Φ(x), the share that lies below, and its derivative, the density.

    The standard has no erf, and the libraries' own differ in their last digits; this one is the same text
    everywhere, and within 6 units in the last place out to where Φ(x) is 0.
    """
    check_floating(owner, "x", x)
    xp = namespace(x)
    a = xp.minimum(xp.abs(wide(x)), 40.0)
    mapped = (a - 4.0) / (a + 4.0)
    *lower, highest = _TAIL if dtype_name(a.dtype) == "float64" else _TAIL_SINGLE
    series = mapped * highest
    for coefficient in lower[:0:-1]:
        series = (series + coefficient) * mapped
    series = series + lower[0]
    # exp(-a²/2) by way of a number near a whose square is exact: rounding a² would cost the digits that a large
    # exponent magnifies.  Not as a product of two exps, which a compiler turns back into one.
    near = xp.floor(a * 64.0) / 64.0
    bell = xp.exp(-0.5 * near * near)
    bell = bell + bell * xp.expm1(-0.5 * (a - near) * (a + near))
    tail = bell * series / (1.0 + math.sqrt(2.0) * a)
    below, density = xp.where(x < 0.0, tail, 1.0 - tail), bell * (1.0 / math.sqrt(2.0 * math.pi))
    return narrow(below, x), narrow(density, x)
