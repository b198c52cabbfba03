"""Standardize: the data's own mean and deviation as the first layer of a model, so that nobody forgets them."""

from __future__ import annotations

from typing import Any, Self

from martlet.backend import (
    Array,
    Backend,
    as_backend,
    backend_of,
    describe,
    dtype_name,
    float_width,
    host,
    is_floating,
    kind,
    to_numpy,
)
from martlet.checks import check_alike, check_array, check_dout, check_floating, check_same, complain_shape
from martlet.layer import Layer
from martlet.tree import kept, remake


class Standardize(Layer):
    """y = (x - mean) / scale,  dx = dout / scale:  each column of the data with mean 0 and standard deviation 1

    mean, scale: (D,) or the shape of a sample.  They are kept, not learned, and so move and save with the
    model: ``Sequential(Standardize.from_data(x), Affine.init(...), ...)`` takes the data as it was measured.
    """

    mean: Array = kept()
    scale: Array = kept()

    def forward(self, x):
        check_floating(self, "x", x)
        check_alike(self, "x", x, "mean", self.mean)
        check_same(self, "scale", self.scale, "mean", self.mean)
        if len(x.shape) == 0 or x.shape[1:] != self.mean.shape:
            expected = f"({', '.join(map(str, ('N', *self.mean.shape)))})"
            complain_shape(self, "x", x, expected, "one mean for each number of a sample")
        return (x - self.mean) / self.scale, x

    def backward(self, cache, dout):
        x = cache
        check_dout(self, dout, x.shape, x)
        return dout / self.scale, None

    def inverse(self) -> Self:
        """The layer that undoes this one: x = y · scale + mean, for targets that were standardized."""
        check_same(self, "scale", self.scale, "mean", self.mean)
        return remake(self, {"mean": -self.mean / self.scale, "scale": 1.0 / self.scale})

    @classmethod
    def from_data(cls, x: Any, *, backend: str | Backend | None = None, dtype: str | None = None) -> Self:
        """Mean and (population) standard deviation over the samples of x, where x is and in its dtype.

        They are computed on the host in float64, so they are the same on every backend.  A column that
        is constant is not scaled.  Raises ValueError for no samples, and for NaN or infinity.
        """
        owner = f"{cls.__name__}.from_data"
        check_array(owner, "x", x)
        if len(x.shape) == 0 or x.shape[0] == 0:
            raise ValueError(f"{owner}: x has shape {tuple(x.shape)}, expected at least one row")
        if kind(x.dtype) == "other" and dtype_name(x.dtype) != "bool":
            raise TypeError(f"{owner}: x must hold real numbers, got {describe(x)}")
        numbers = to_numpy(x).astype("float64")
        if not host.all(host.isfinite(numbers)):
            raise ValueError(f"{owner}: x holds NaN or infinity")
        home = backend_of(x) if backend is None else as_backend(backend)
        width = dtype or home.dtype or (dtype_name(x.dtype) if is_floating(x) else "float32")
        width = float_width(width)
        mean, scale = mean_and_deviation(numbers)
        limits = home.xp.finfo(getattr(home.xp, width))  # the library's own: NumPy has no bfloat16
        scale = host.where(scale < max(float(limits.smallest_normal), 1e-300), 1.0, scale)
        if max(host.abs(mean).max(initial=0), scale.max(initial=0)) > float(limits.max):
            raise ValueError(f"{owner}: the mean or the deviation of x is too large for {width}")
        return cls(home.asarray(mean, width), home.asarray(scale, width))


def mean_and_deviation(x: Any) -> tuple[Any, Any]:
    """Over the rows of a float64 table: 0 for the deviation of a column that is constant but for rounding."""
    # Seen from its first row, a constant column is exactly 0, and in units of its largest entry no square overflows.
    rest = x - x[0]
    unit = host.max(host.abs(rest), axis=0)
    unit = host.where(unit > 0, unit, 1.0)
    mean = x[0] + host.mean(rest / unit, axis=0) * unit
    deviation = host.std(rest / unit, axis=0) * unit
    return mean, host.where(deviation <= 4 * float(host.finfo("float64").eps) * host.abs(mean), 0.0, deviation)
