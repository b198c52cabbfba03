"""Who says what a gradient should be: the autograd of the library under test, or difference quotients.

Both differentiate the layer's own forward.  Autograd (torch, jax) is exact to rounding; where the library
has none, central differences on NumPy in float64 agree to about nine digits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from conftest import Target, take_apart, to_numpy

import martlet as mt


def products(y: Any, dout: Any) -> Any:
    """Σ y · dout: the number whose gradient is what backward gives for dout."""
    (ys, _), (douts, _) = take_apart(y), take_apart(dout)
    return sum(mt.namespace(a).sum(a * b) for a, b in zip(ys, douts, strict=True))


def expected_gradient(
    xp: Target, function: Callable[..., Any], arguments: tuple[Any, ...], dout: Any
) -> list[np.ndarray]:
    """The gradient of Σ function(*arguments) · dout for each floating-point array in the arguments.

    The arguments and dout are NumPy's, in float64.
    """
    if xp.name == "torch":
        return by_torch(xp, function, arguments, dout)
    if xp.name == "jax":
        return by_jax(xp, function, arguments, dout)
    return by_differences(function, arguments, dout)


def by_torch(xp: Target, function: Callable[..., Any], arguments: tuple[Any, ...], dout: Any) -> list[np.ndarray]:
    import torch

    arrays, build = take_apart(xp.put(arguments))
    for x in arrays:
        if x.dtype == torch.float64:
            x.requires_grad_()
    value = products(function(*build(arrays)), xp.put(dout))
    floats = [x for x in arrays if x.requires_grad]
    if not value.requires_grad:
        return [np.zeros(x.shape) for x in floats]
    grads = torch.autograd.grad(value, floats, allow_unused=True)
    return [np.zeros(x.shape) if g is None else g.numpy() for x, g in zip(floats, grads, strict=True)]


def by_jax(xp: Target, function: Callable[..., Any], arguments: tuple[Any, ...], dout: Any) -> list[np.ndarray]:
    import jax

    arrays, build = take_apart(xp.put(arguments))
    places = [i for i, x in enumerate(arrays) if x.dtype == np.float64]

    def value(floats: list[Any]) -> Any:
        changed = list(arrays)
        for place, x in zip(places, floats, strict=True):
            changed[place] = x
        return products(function(*build(changed)), xp.put(dout))

    return [np.asarray(g) for g in jax.grad(value)([arrays[i] for i in places])]


def by_differences(function: Callable[..., Any], arguments: tuple[Any, ...], dout: Any) -> list[np.ndarray]:
    arrays, build = take_apart(to_numpy(arguments))
    grads = []
    for x in arrays:
        if x.dtype != np.float64:
            continue
        grad = np.zeros(x.shape)
        for index in np.ndindex(x.shape):
            before, step = x[index], 1e-5
            x[index] = before + step
            above = products(function(*build(arrays)), dout)
            x[index] = before - step
            below = products(function(*build(arrays)), dout)
            x[index] = before
            grad[index] = (above - below) / (2 * step)
        grads.append(grad)
    return grads
