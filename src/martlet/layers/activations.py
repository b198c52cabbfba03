"""Activations: what bends the straight lines between two matrix products.

They work element by element, so x, y, dout and dx have one shape, whichever it is.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY

from martlet.backend import namespace
from martlet.checks import check_floating, check_number, check_same, check_switch
from martlet.functions import FAR, clamp, normal, sigmoid, softplus
from martlet.layer import Layer

ENOUGH = 40.0  # from here on Φ(-x) is 0, also in float64; and its square fits into float16


class Identity(Layer):
    """y = x"""

    def forward(self, x):
        return x, None

    def backward(self, cache, dout):
        return dout, None


class Sigmoid(Layer):
    """y = 1 / (1 + exp(-x)),  dx = dout · y (1 - y)"""

    def forward(self, x):
        y = sigmoid(x, owner=self)
        return y, y

    def backward(self, cache, dout):
        y = cache
        check_same(self, "dout", dout, "the output", y)
        return dout * y * (1.0 - y), None


class Tanh(Layer):
    """y = tanh(x),  dx = dout · (1 - y²)"""

    def forward(self, x):
        check_floating(self, "x", x)
        y = namespace(x).tanh(x)
        return y, y

    def backward(self, cache, dout):
        y = cache
        check_same(self, "dout", dout, "the output", y)
        return dout * (1.0 - y * y), None


class ReLU(Layer):
    """y = max(x, 0),  dx = dout where x > 0, else 0"""

    def forward(self, x):
        check_floating(self, "x", x)
        y = namespace(x).maximum(x, 0.0)
        return y, y

    def backward(self, cache, dout):
        y = cache
        check_same(self, "dout", dout, "the output", y)
        # Multiplying by the mask is an order of magnitude faster than `where` on NumPy.
        return dout * namespace(y).astype(y > 0.0, y.dtype), None


class LeakyReLU(Layer):
    """y = max(x, slope · x),  dx = dout where x > 0, else slope · dout

    0 <= slope <= 1.  Maas, Hannun and Ng, "Rectifier nonlinearities improve neural network acoustic
    models", 2013.
    """

    slope: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "slope", self.slope, 0.0, 1.0)

    def forward(self, x):
        check_floating(self, "x", x)
        return namespace(x).maximum(x, self.slope * x), x

    def backward(self, cache, dout):
        x = cache
        check_same(self, "dout", dout, "the output", x)
        return namespace(x).where(x > 0.0, dout, self.slope * dout), None


class ELU(Layer):
    """y = x where x > 0, else alpha (exp(x) - 1);  dx = dout where x > 0, else dout · alpha exp(x)

    Clevert, Unterthiner and Hochreiter, "Fast and accurate deep network learning by exponential linear
    units (ELUs)", 2016.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "alpha", self.alpha, 0.0)

    def forward(self, x):
        check_floating(self, "x", x)
        xp = namespace(x)
        return xp.where(x > 0.0, x, self.alpha * xp.expm1(xp.minimum(x, 0.0))), x

    def backward(self, cache, dout):
        x = cache
        check_same(self, "dout", dout, "the output", x)
        xp = namespace(x)
        return xp.where(x > 0.0, dout, dout * (self.alpha * xp.exp(xp.minimum(x, 0.0)))), None


class Softplus(Layer):
    """y = log(1 + exp(x)),  dx = dout · sigmoid(x)"""

    def forward(self, x):
        return softplus(x, owner=self), x

    def backward(self, cache, dout):
        x = cache
        check_same(self, "dout", dout, "the output", x)
        return dout * sigmoid(x), None


class SiLU(Layer):
    """y = x s,  dx = dout · s (1 + x (1 - s)),  where s = sigmoid(x);  also called swish

    Elfwing, Uchibe and Doya, "Sigmoid-weighted linear units for neural network function approximation in
    reinforcement learning", 2018.
    """

    def forward(self, x):
        s = sigmoid(x, owner=self)
        # Where s is 0 the product is, even at -inf.
        return namespace(x).maximum(x, -FAR) * s, (x, s)

    def backward(self, cache, dout):
        x, s = cache
        check_same(self, "dout", dout, "the output", x)
        return dout * (s * (1.0 + clamp(x, -FAR, FAR) * (1.0 - s))), None


class GELU(Layer):
    """y = x Φ(x),  dx = dout · (Φ(x) + x φ(x)),  with Φ the normal distribution and φ its density

    ``tanh=True`` is the older approximation: Φ(x) ≈ ½ (1 + tanh(u)) = sigmoid(2 u) with
    u = √(2/π) (x + 0.044715 x³), which at x = -4 is half of what it should be.
    Hendrycks and Gimpel, "Gaussian error linear units (GELUs)", 2016.
    """

    _: KW_ONLY
    tanh: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_switch(self, "tanh", self.tanh)

    def forward(self, x):
        check_floating(self, "x", x)
        if not self.tanh:
            below, density = normal(x, owner=self)
        else:
            z = clamp(x, -ENOUGH, ENOUGH)
            root = 2.0 * math.sqrt(2.0 / math.pi)
            below = sigmoid(z * (root + root * 0.044715 * (z * z)))
            density = below * (1.0 - below) * (root + root * 3.0 * 0.044715 * (z * z))
        return namespace(x).maximum(x, -ENOUGH) * below, (x, below, density)

    def backward(self, cache, dout):
        x, below, density = cache
        check_same(self, "dout", dout, "the output", x)
        return dout * (below + clamp(x, -ENOUGH, ENOUGH) * density), None
