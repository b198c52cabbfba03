"""Noise from a counter: random bits that are a function of (stream, step, position), equal on every backend.

A library's own generator has a state that must be changed, and numbers of its own.  Hashing the position of
an element instead needs no state, gives the same mask wherever it runs, to the last bit, and gives any part
of a batch without the rest.

The hash works on int32, the one integer type on which every library can shift and multiply; the products
wrap around, as they do on all of them.  ``tests/test_noise.py`` is the examination that it passes: uniform,
and uncorrelated between positions, steps and streams, also where these differ in one bit.
"""

from __future__ import annotations

from martlet.backend import Array, device_of, namespace


def bits(stream: Array, step: Array, count: int) -> Array:
    """``count`` int32 numbers, uniform over all 2³² values, for the positions 0, 1, 2, … of one step of a stream.

    stream: (2,) int32, which names a source of noise; step: (1,) int32.  Position i is hashed as
    mix(i · odd + start), an arithmetic progression of the step's own, so that two steps never see the
    same noise shifted.  Raises ValueError for a count of 2³¹ or more, which int32 cannot tell apart.
    """
    if count >= 2**31:
        raise ValueError(f"noise for {count} numbers at once; int32 positions allow up to {2**31 - 1}")
    xp = namespace(stream)
    first, second = stream[:1], stream[1:]  # not numbers but arrays of one: those wrap around without a warning
    start = mix(mix(step ^ first) + second)
    odd = mix(start ^ first) | 1
    return mix(xp.arange(count, dtype=xp.int32, device=device_of(stream)) * odd + start)


def mix(x: Array) -> Array:
    """A bijection of int32 in which each bit of the input reaches every bit of the output.

    The multipliers and shifts are Chris Wellons's "lowbias32", found by a search for the least bias.
    """
    x = x ^ ((x >> 16) & 0xFFFF)  # a shift of int32 repeats its sign; the mask takes it out again
    x = x * 0x7FEB352D
    x = x ^ ((x >> 15) & 0x1FFFF)
    x = x * (0x846CA68B - 2**32)
    return x ^ ((x >> 16) & 0xFFFF)


def chance(stream: Array, step: Array, shape: tuple[int, ...], probability: float) -> Array:
    """A table of booleans, each True with this probability, which is kept to 2⁻³²."""
    count = 1
    for length in shape:
        count *= length
    below = min(round(probability * 2**32) - 2**31, 2**31 - 1)
    return namespace(stream).reshape(bits(stream, step, count) < below, shape)
