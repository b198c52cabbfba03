"""Shapes: layers that lay the same numbers out anew, sample by sample."""

from __future__ import annotations

from typing import Any

from martlet.backend import describe, namespace
from martlet.checks import check_array, check_count, check_dout, complain_shape
from martlet.layer import Layer


class Reshape(Layer):
    """y = each sample of x in the given shape,  dx = each row of dout in the shape it had

    Reshape((3, 4)): (N, 12) -> (N, 3, 4).  One length may be -1, and is then what is left over.
    """

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.shape, tuple):
            raise TypeError(f"Reshape: shape must be a tuple of lengths, got {describe(self.shape)}")
        for count in self.shape:
            check_count(self, "a length of shape", count, -1)
        if sum(count == -1 for count in self.shape) > 1:
            raise ValueError(f"Reshape: only one length may be -1, got {self.shape}")

    def forward(self, x):
        shape = fill_in(self, x, self.shape)
        return namespace(x).reshape(x, shape), (x, shape)

    def backward(self, cache, dout):
        x, shape = cache
        check_dout(self, dout, shape, x)
        return namespace(x).reshape(dout, x.shape), None


class Flatten(Layer):
    """y = each sample of x as one row,  dx = each row of dout in the shape it had

    (N, C, H, W) -> (N, C·H·W).
    """

    def forward(self, x):
        shape = fill_in(self, x, (-1,))
        return namespace(x).reshape(x, shape), (x, shape)

    def backward(self, cache, dout):
        x, shape = cache
        check_dout(self, dout, shape, x)
        return namespace(x).reshape(dout, x.shape), None


def fill_in(owner: Layer, x: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the output, its -1 worked out from the size of one sample of x, which need not exist."""
    check_array(owner, "x", x)
    if len(x.shape) == 0:
        complain_shape(owner, "x", x, "(N, ...)", "one sample per row")
    numbers = product(x.shape[1:])
    given = product(n for n in shape if n != -1)
    left = numbers // given if given else 0
    full = tuple(left if n == -1 else n for n in shape)
    if product(full) != numbers:
        complain_shape(owner, "x", x, f"(N, ...) with samples that fit {shape}", f"they hold {numbers} numbers")
    return (int(x.shape[0]), *full)


def product(lengths: Any) -> int:
    total = 1
    for n in lengths:
        total *= int(n)
    return total
