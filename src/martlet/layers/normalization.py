"""Normalization: numbers brought to mean 0 and variance 1, over the batch or over the sample.

Statistics of half precision are taken in float32: the squares of numbers beyond 255 do not fit into float16.
"""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Self

from martlet.backend import Array, Backend, as_backend, host, namespace
from martlet.checks import (
    check_alike,
    check_count,
    check_dout,
    check_floating,
    check_number,
    check_place,
    check_same,
    complain_shape,
)
from martlet.functions import narrow, wide
from martlet.layer import Layer
from martlet.tree import kept, remake


class BatchNorm(Layer):
    """y = gamma · x̂ + beta,  x̂ = (x - mean) / √(variance + eps),  with the mean and variance of the batch

    x: (N, C), or (N, C, …) with one mean for each of the C channels; gamma, beta: (C,).  ``predict``
    uses the running mean and variance, which ``observe`` moves towards those of each batch by the share
    ``momentum``; the running variance is the unbiased one.  Raises ValueError where a channel has fewer
    than two numbers: the variance of one number is 0.

    A bias before it changes nothing: its gradient is rounding, of which Adam makes steps as large as any, and the
    running mean follows them.  So let a MatMul come before it, and not an Affine.

    Ioffe and Szegedy, "Batch normalization: accelerating deep network training by reducing internal
    covariate shift", 2015.
    """

    gamma: Array
    beta: Array
    mean: Array = kept()
    variance: Array = kept()
    _: KW_ONLY
    momentum: float = 0.1
    eps: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "momentum", self.momentum, 0.0, 1.0)
        check_number(self, "eps", self.eps, 0.0)

    def forward(self, x):
        axes = self._check(x)
        if length(x, axes) < 2:
            complain_shape(self, "x", x, "two rows or more", "the variance of one number is 0; predict takes one row")
        x_hat, scale, mean, variance = normalize(wide(x), axes, self.eps)
        y = channels(wide(self.gamma), x) * x_hat + channels(wide(self.beta), x)
        return narrow(y, x), (x_hat, scale, mean, variance)

    def backward(self, cache, dout):
        x_hat, scale, _, _ = cache
        check_dout(self, dout, x_hat.shape, self.gamma)
        xp, axes, wide_dout = namespace(dout), other_axes(dout), wide(dout)
        dx = normalize_backward(channels(wide(self.gamma), dout) * wide_dout, x_hat, scale, axes)
        dgamma, dbeta = xp.sum(wide_dout * x_hat, axis=axes), xp.sum(wide_dout, axis=axes)
        return narrow(dx, dout), self.gradient(gamma=narrow(dgamma, dout), beta=narrow(dbeta, dout))

    def predict(self, x):
        self._check(x)
        scale = wide(self.gamma) / namespace(x).sqrt(wide(self.variance) + self.eps)
        y = (wide(x) - channels(wide(self.mean), x)) * channels(scale, x) + channels(wide(self.beta), x)
        return narrow(y, x)

    def observe(self, cache):
        x_hat, _, mean, variance = cache
        count = length(x_hat, other_axes(x_hat))
        return remake(
            self,
            {
                "mean": self._towards(self.mean, mean),
                "variance": self._towards(self.variance, variance * (count / (count - 1))),
            },
        )

    def _towards(self, old: Array, new: Array) -> Array:
        new = namespace(old).reshape(new, old.shape)
        return narrow((1.0 - self.momentum) * wide(old) + self.momentum * new, old)

    def _check(self, x: Array) -> tuple[int, ...]:
        """x fits the channels; gives back all axes but theirs."""
        check_floating(self, "x", x)
        check_alike(self, "x", x, "gamma", self.gamma)
        if len(self.gamma.shape) != 1:
            complain_shape(self, "gamma", self.gamma, "(C,)", "one number per channel")
        if len(x.shape) < 2 or x.shape[1:2] != self.gamma.shape:
            complain_shape(self, "x", x, f"(N, {self.gamma.shape[0]}, ...)", "one gamma per channel")
        check_same(self, "beta", self.beta, "gamma", self.gamma)
        for name in ("mean", "variance"):  # which may be wider than what is learned
            statistic = getattr(self, name)
            check_floating(self, name, statistic)
            check_place(self, name, statistic, "gamma", self.gamma)
            if statistic.shape != self.gamma.shape:
                complain_shape(self, name, statistic, self.gamma.shape, "one number per channel")
        return other_axes(x)

    @classmethod
    def init(
        cls,
        features: int,
        *,
        momentum: float = 0.1,
        eps: float = 1e-5,
        backend: str | Backend | None = None,
        dtype: str | None = None,
    ) -> Self:
        """gamma and the running variance begin at 1, beta and the running mean at 0."""
        check_count(f"{cls.__name__}.init", "features", features)
        ones, zeros = ones_and_zeros((features,), backend, dtype)
        return cls(ones, zeros, zeros, ones, momentum=momentum, eps=eps)


class LayerNorm(Layer):
    """y = gamma · x̂ + beta,  x̂ = (x - mean) / √(variance + eps),  with the mean and variance of each sample

    x: (N, …, D); gamma, beta: (D,).  With gamma of several axes, the statistics are over as many axes of x.
    No statistics are kept, and ``predict`` is ``forward``.
    Ba, Kiros and Hinton, "Layer normalization", 2016.
    """

    gamma: Array
    beta: Array
    _: KW_ONLY
    eps: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "eps", self.eps, 0.0)

    def forward(self, x):
        check_floating(self, "x", x)
        check_alike(self, "x", x, "gamma", self.gamma)
        check_same(self, "beta", self.beta, "gamma", self.gamma)
        rank = len(self.gamma.shape)
        if len(x.shape) <= rank or x.shape[-rank:] != self.gamma.shape:
            expected = f"(N, ..., {', '.join(map(str, self.gamma.shape))})"
            complain_shape(self, "x", x, expected, "one gamma for each number of a sample")
        x_hat, scale, _, _ = normalize(wide(x), last_axes(x, rank), self.eps)
        return narrow(wide(self.gamma) * x_hat + wide(self.beta), x), (x_hat, scale)

    def backward(self, cache, dout):
        x_hat, scale = cache
        check_dout(self, dout, x_hat.shape, self.gamma)
        xp, rank, wide_dout = namespace(dout), len(self.gamma.shape), wide(dout)
        dx = normalize_backward(wide(self.gamma) * wide_dout, x_hat, scale, last_axes(dout, rank))
        samples = tuple(range(len(dout.shape) - rank))
        dgamma, dbeta = xp.sum(wide_dout * x_hat, axis=samples), xp.sum(wide_dout, axis=samples)
        return narrow(dx, dout), self.gradient(gamma=narrow(dgamma, dout), beta=narrow(dbeta, dout))

    @classmethod
    def init(
        cls,
        features: int | tuple[int, ...],
        *,
        eps: float = 1e-5,
        backend: str | Backend | None = None,
        dtype: str | None = None,
    ) -> Self:
        """gamma begins at 1, beta at 0; ``features`` is the length of the last axis, or the last lengths."""
        shape = features if isinstance(features, tuple) else (features,)
        if not shape:
            raise ValueError(f"{cls.__name__}.init: features must be a length or a tuple of them, got ()")
        for count in shape:
            check_count(f"{cls.__name__}.init", "features", count)
        return cls(*ones_and_zeros(shape, backend, dtype), eps=eps)


# ------------------------------------------------------------------------------------ what they share


def normalize(x: Array, axes: tuple[int, ...], eps: float) -> tuple[Array, Array, Array, Array]:
    """x̂ = (x - mean) / √(variance + eps) over some axes; 1 / √(variance + eps); the mean; the variance."""
    xp, count = namespace(x), length(x, axes)
    mean = xp.sum(x, axis=axes, keepdims=True) / count
    centred = x - mean
    variance = xp.sum(centred * centred, axis=axes, keepdims=True) / count
    scale = 1.0 / xp.sqrt(variance + eps)
    return centred * scale, scale, mean, variance


def normalize_backward(dout: Array, x_hat: Array, scale: Array, axes: tuple[int, ...]) -> Array:
    """dL/dx from dL/dx̂: what is left of dout without its mean and without its part along x̂, scaled.

    Both are taken away because the mean and the variance follow each number that they are made of.
    """
    xp, count = namespace(dout), length(dout, axes)
    mean = xp.sum(dout, axis=axes, keepdims=True) / count
    along = xp.sum(dout * x_hat, axis=axes, keepdims=True) / count
    return (dout - mean - along * x_hat) * scale


def length(x: Array, axes: tuple[int, ...]) -> int:
    """How many numbers there are along some axes together."""
    count = 1
    for axis in axes:
        count *= x.shape[axis]
    return count


def other_axes(x: Array) -> tuple[int, ...]:
    """All axes but that of the channels, which is the second."""
    return (0, *range(2, len(x.shape)))


def last_axes(x: Array, rank: int) -> tuple[int, ...]:
    """The last ``rank`` axes."""
    return tuple(range(len(x.shape) - rank, len(x.shape)))


def channels(v: Array, x: Array) -> Array:
    """One number per channel, (C,), ready to meet x of shape (N, C, …)."""
    return v[(slice(None), *[None] * (len(x.shape) - 2))]


def ones_and_zeros(shape: tuple[int, ...], backend: str | Backend | None, dtype: str | None) -> tuple[Array, Array]:
    """What gamma and beta begin as."""
    target = as_backend(backend, dtype)
    width = target.dtype or "float32"
    return target.asarray(host.ones(shape), width), target.asarray(host.zeros(shape), width)
