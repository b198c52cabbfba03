"""Activations: what bends the straight lines between two matrix products.

All but Softmax work element by element, so x, y, dout and dx have one shape, whichever it is.
"""

from __future__ import annotations

from martlet.backend import namespace
from martlet.checks import check_floating, check_same
from martlet.functions import sigmoid, softmax
from martlet.layer import Layer


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


class Softmax(Layer):
    """y = exp(x) / Σ exp(x) along the last axis,  dx = y · (dout - Σ dout · y)

    For training a classifier, use the logits and SoftmaxWithLoss: it is cheaper and keeps more digits.
    """

    def forward(self, x):
        y = softmax(x, owner=self)
        return y, y

    def backward(self, cache, dout):
        y = cache
        check_same(self, "dout", dout, "the output", y)
        return y * (dout - namespace(y).sum(dout * y, axis=-1, keepdims=True)), None
