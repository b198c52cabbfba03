"""How weights begin: an initializer turns a shape (D, H) and a NumPy Generator into float64 numbers.

They are drawn on the host and moved, so that one seed gives the same weights on every backend.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from martlet.backend import Array, Backend, as_backend, describe, host
from martlet.checks import check_count, check_generator, check_number

if TYPE_CHECKING:
    import numpy as np

Initializer = Callable[[tuple[int, ...], Any], Any]


def zeros() -> Initializer:
    """All zeros: the usual start of a bias."""
    return lambda shape, rng: host.zeros(shape)


def normal(std: float = 0.01) -> Initializer:
    """Normal numbers of mean 0 and the given standard deviation; 0.01 is the lessons' choice."""
    check_number("normal", "std", std, 0.0)
    return lambda shape, rng: std * rng.standard_normal(shape)


def glorot() -> Initializer:
    """Normal with variance 2 / (D + H): keeps signals the same size forward and backward (tanh, sigmoid).

    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010.
    """
    return lambda shape, rng: math.sqrt(2.0 / (shape[0] + shape[-1])) * rng.standard_normal(shape)


def he() -> Initializer:
    """Normal with variance 2 / D: makes up for the half that a ReLU cuts away.

    He et al., "Delving deep into rectifiers", 2015.
    """
    return lambda shape, rng: math.sqrt(2.0 / shape[0]) * rng.standard_normal(shape)


def draw(
    owner: str,
    shape: tuple[int, ...],
    rng: np.random.Generator,
    initializer: Initializer | None = None,
    backend: str | Backend | None = None,
    dtype: str | None = None,
) -> Array:
    """An array of the given shape on a backend, drawn by the initializer (Glorot's unless given)."""
    for count in shape:
        check_count(f"{owner}.init", "a size", count)
    check_generator(f"{owner}.init", rng)
    if initializer is None:
        initializer = glorot()
    if not callable(initializer):
        raise TypeError(f"{owner}.init: initializer must be a function of (shape, rng), got {describe(initializer)}")
    name = getattr(initializer, "__name__", "")
    if globals().get(name) is initializer:  # initializers.he where initializers.he() was meant
        raise TypeError(f"{owner}.init: initializer is the function {name} itself; write initializers.{name}()")
    numbers = host.asarray(initializer(shape, rng))
    if numbers.dtype.kind not in "fiu":
        raise TypeError(f"{owner}.init: the initializer must give numbers, got an array of {numbers.dtype}")
    if numbers.shape != shape:
        raise ValueError(f"{owner}.init: the initializer gave shape {numbers.shape}, expected {shape}")
    target = as_backend(backend, dtype)
    return target.asarray(numbers, target.dtype or "float32")
