"""Softmax: scores along the last axis become a probability distribution, or its logarithm."""

from __future__ import annotations

from martlet.backend import namespace
from martlet.checks import check_same
from martlet.functions import log_softmax, softmax
from martlet.layer import Layer


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


class LogSoftmax(Layer):
    """y = x - log Σ exp(x) along the last axis,  dx = dout - exp(y) · Σ dout"""

    def forward(self, x):
        y = log_softmax(x, owner=self)
        return y, y

    def backward(self, cache, dout):
        y = cache
        check_same(self, "dout", dout, "the output", y)
        xp = namespace(y)
        return dout - xp.exp(y) * xp.sum(dout, axis=-1, keepdims=True), None
