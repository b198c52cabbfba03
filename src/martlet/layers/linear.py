"""Matrix products: the layers that learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from martlet.backend import Array, Backend, namespace
from martlet.checks import check_columns, check_dout
from martlet.initializers import Initializer, draw, zeros
from martlet.layer import Layer

if TYPE_CHECKING:
    import numpy as np


class MatMul(Layer):
    """y = x @ W

    x: (N, D), one sample per row; W: (D, H); y: (N, H).
    Raises TypeError if x differs from W in library, device or dtype, ValueError if it is not (N, D).
    """

    W: Array

    def forward(self, x):
        check_columns(self, x, self.W)
        return x @ self.W, x

    def backward(self, cache, dout):
        x = cache
        check_dout(self, dout, (x.shape[0], self.W.shape[1]), self.W)
        return dout @ self.W.T, self.gradient(W=x.T @ dout)

    @classmethod
    def init(
        cls,
        inputs: int,
        outputs: int,
        rng: np.random.Generator,
        *,
        initializer: Initializer | None = None,
        backend: str | Backend | None = None,
        dtype: str | None = None,
    ) -> Self:
        """Draw W of shape (inputs, outputs); Glorot's initializer and float32 unless told otherwise."""
        return cls(draw(cls.__name__, (inputs, outputs), rng, initializer, backend, dtype))


class Affine(Layer):
    """y = x @ W + b

    x: (N, D), one sample per row; W: (D, H); b: (H,); y: (N, H).
    Raises TypeError if x, W and b differ in library, device or dtype, ValueError if x is not (N, D).
    """

    W: Array
    b: Array

    def forward(self, x):
        check_columns(self, x, self.W, self.b)
        return x @ self.W + self.b, x

    def backward(self, cache, dout):
        x = cache
        check_dout(self, dout, (x.shape[0], self.W.shape[1]), self.W)
        return dout @ self.W.T, self.gradient(W=x.T @ dout, b=namespace(x).sum(dout, axis=0))

    @classmethod
    def init(
        cls,
        inputs: int,
        outputs: int,
        rng: np.random.Generator,
        *,
        initializer: Initializer | None = None,
        backend: str | Backend | None = None,
        dtype: str | None = None,
    ) -> Self:
        """Draw W of shape (inputs, outputs) as MatMul does; b starts at zero."""
        W = draw(cls.__name__, (inputs, outputs), rng, initializer, backend, dtype)
        return cls(W, draw(cls.__name__, (outputs,), rng, zeros(), backend, dtype))
