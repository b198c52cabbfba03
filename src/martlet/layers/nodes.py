"""The nodes of a computational graph: the plumbing that carries gradients where values went.

Several inputs are a tuple and so are several outputs; the gradients have the same arrangement.  Where the
forward copies, the backward sums, and the other way round.
"""

from __future__ import annotations

from dataclasses import KW_ONLY

from martlet.backend import Array, describe, namespace
from martlet.checks import check_count, check_dout, check_floating, check_same, complain_shape
from martlet.layer import Layer


def check_tuple(layer: Layer, name: str, value: object, length: int | None = None) -> None:
    """A tuple of two arrays or more (of exactly ``length``, if given)."""
    wanted = "two arrays or more" if length is None else f"{length} arrays"
    if not isinstance(value, tuple):
        raise TypeError(f"{type(layer).__name__}: {name} must be a tuple of {wanted}, got {describe(value)}")
    if len(value) != length if length is not None else len(value) < 2:
        raise ValueError(f"{type(layer).__name__}: {name} must be a tuple of {wanted}, got {len(value)}")


def total(layer: Layer, name: str, parts: tuple[Array, ...]) -> Array:
    """The sum of arrays that agree in shape, dtype, device and library."""
    first = parts[0]
    check_floating(layer, f"{name}[0]", first)
    result = first
    for i, part in enumerate(parts[1:], start=1):
        check_same(layer, f"{name}[{i}]", part, f"{name}[0]", first)
        result = result + part
    return result


class Add(Layer):
    """y = a + b (+ …);  every input receives dout.  x: a tuple of arrays of one shape."""

    def forward(self, x):
        check_tuple(self, "x", x)
        y = total(self, "x", x)
        return y, (len(x), y)

    def backward(self, cache, dout):
        count, y = cache
        check_same(self, "dout", dout, "the output", y)
        return (dout,) * count, None


class Multiply(Layer):
    """y = a · b,  da = dout · b,  db = dout · a.  x: a tuple of two arrays of one shape."""

    def forward(self, x):
        check_tuple(self, "x", x, 2)
        a, b = x
        check_floating(self, "x[0]", a)
        check_same(self, "x[1]", b, "x[0]", a)
        return a * b, x

    def backward(self, cache, dout):
        a, b = cache
        check_same(self, "dout", dout, "the output", a)
        return (dout * b, dout * a), None


class Branch(Layer):
    """y = (x, x, …), ``copies`` times;  dx = the sum of the douts."""

    copies: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count(self, "copies", self.copies)

    def forward(self, x):
        check_floating(self, "x", x)
        return (x,) * self.copies, x

    def backward(self, cache, dout):
        x = cache
        check_tuple(self, "dout", dout, self.copies)
        check_same(self, "dout[0]", dout[0], "the input", x)
        return total(self, "dout", dout), None


class Repeat(Layer):
    """y = x repeated ``times`` along ``axis``, where x has length 1;  dx = the sum of dout over that axis.

    Repeat(7): (1, D) -> (7, D).  This is what broadcasting does without saying so.
    """

    times: int
    _: KW_ONLY
    axis: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count(self, "times", self.times)
        check_count(self, "axis", self.axis, 0)

    def forward(self, x):
        check_floating(self, "x", x)
        if len(x.shape) <= self.axis or x.shape[self.axis] != 1:
            complain_shape(self, "x", x, f"length 1 along axis {self.axis}", "to repeat it")
        y = namespace(x).repeat(x, self.times, axis=self.axis)
        return y, y

    def backward(self, cache, dout):
        y = cache
        check_same(self, "dout", dout, "the output", y)
        return namespace(y).sum(dout, axis=self.axis, keepdims=True), None


class Sum(Layer):
    """y = Σ x along ``axis``, kept with length 1;  dx = dout repeated along that axis.

    Sum(): (N, D) -> (1, D).
    """

    _: KW_ONLY
    axis: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count(self, "axis", self.axis, 0)

    def forward(self, x):
        check_floating(self, "x", x)
        if len(x.shape) <= self.axis:
            complain_shape(self, "x", x, f"more than {self.axis} axes", f"to sum along axis {self.axis}")
        return namespace(x).sum(x, axis=self.axis, keepdims=True), x

    def backward(self, cache, dout):
        x = cache
        shape = tuple(1 if i == self.axis else n for i, n in enumerate(x.shape))
        check_dout(self, dout, shape, x)
        return namespace(x).repeat(dout, x.shape[self.axis], axis=self.axis), None
