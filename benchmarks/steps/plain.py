"""The lessons' layers in plain NumPy: what a reader of the lessons has already, and what they would lose or gain.

A layer keeps what backward needs and writes its gradients into arrays that it owns; an optimizer changes the
parameters in place.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from steps.peer import Peer


class Layer:
    params: tuple[np.ndarray, ...] = ()
    grads: tuple[np.ndarray, ...] = ()


class Affine(Layer):
    def __init__(self, W: np.ndarray, b: np.ndarray) -> None:
        self.params = W, b
        self.grads = np.zeros_like(W), np.zeros_like(b)

    def forward(self, x):
        W, b = self.params
        self.x = x
        return np.matmul(x, W) + b

    def backward(self, dout):
        self.grads[0][...] = np.matmul(self.x.T, dout)
        self.grads[1][...] = np.sum(dout, axis=0)
        return np.matmul(dout, self.params[0].T)


class Sigmoid(Layer):
    def forward(self, x):
        self.y = 1 / (1 + np.exp(-x))
        return self.y

    def backward(self, dout):
        return dout * (1.0 - self.y) * self.y


class Tanh(Layer):
    def forward(self, x):
        self.y = np.tanh(x)
        return self.y

    def backward(self, dout):
        return dout * (1.0 - self.y**2)


class ReLU(Layer):
    def forward(self, x):
        self.mask = x <= 0
        y = x.copy()
        y[self.mask] = 0
        return y

    def backward(self, dout):
        dout[self.mask] = 0
        return dout


class SoftmaxWithLoss:
    def forward(self, x, t):
        x = x - x.max(axis=1, keepdims=True)
        x = np.exp(x)
        self.y = x / x.sum(axis=1, keepdims=True)
        self.t = t
        return -np.sum(np.log(self.y[np.arange(t.shape[0]), t] + 1e-7)) / t.shape[0]

    def backward(self):
        n = self.t.shape[0]
        dx = self.y.copy()
        dx[np.arange(n), self.t] -= 1
        return dx / n


class SigmoidWithLoss:
    def forward(self, x, t):
        self.y = 1 / (1 + np.exp(-x))
        self.t = t
        return -np.sum(t * np.log(self.y + 1e-7) + (1 - t) * np.log(1 - self.y + 1e-7)) / t.shape[0]

    def backward(self):
        return (self.y - self.t) / self.t.shape[0]


class SGD:
    def __init__(self, lr: float) -> None:
        self.lr = lr

    def update(self, params, grads):
        for i in range(len(params)):
            params[i] -= self.lr * grads[i]


class Momentum:
    def __init__(self, lr: float, momentum: float = 0.9) -> None:
        self.lr, self.momentum = lr, momentum
        self.v: list[np.ndarray] = []

    def update(self, params, grads):
        if not self.v:
            self.v = [np.zeros_like(p) for p in params]
        for i in range(len(params)):
            self.v[i] = self.momentum * self.v[i] - self.lr * grads[i]
            params[i] += self.v[i]


class Adam:
    """The lesson's three lines, with two differences that cost nothing.

    ``math.sqrt``, for ``np.sqrt`` of a number would turn the update into float64, and slower; and eps where the paper
    has it, outside the corrected root, so that everybody computes the same losses.
    """

    def __init__(self, lr: float, beta1: float = 0.9, beta2: float = 0.999) -> None:
        self.lr, self.beta1, self.beta2 = lr, beta1, beta2
        self.t = 0
        self.m: list[np.ndarray] = []
        self.v: list[np.ndarray] = []

    def update(self, params, grads):
        if not self.m:
            self.m = [np.zeros_like(p) for p in params]
            self.v = [np.zeros_like(p) for p in params]
        self.t += 1
        second = math.sqrt(1.0 - self.beta2**self.t)
        lr_t, eps_t = self.lr * second / (1.0 - self.beta1**self.t), 1e-8 * second
        for i in range(len(params)):
            self.m[i] += (1 - self.beta1) * (grads[i] - self.m[i])
            self.v[i] += (1 - self.beta2) * (grads[i] ** 2 - self.v[i])
            params[i] -= lr_t * self.m[i] / (np.sqrt(self.v[i]) + eps_t)


ACTIVATIONS: dict[str, type[Layer]] = {"tanh": Tanh, "sigmoid": Sigmoid, "relu": ReLU}
OPTIMIZERS: dict[str, Any] = {"SGD": SGD, "Momentum": Momentum, "Adam": Adam}


class Plain(Peer):
    def build(self) -> None:
        weights, biases, _, _ = self.work.draw()
        self.layers: list[Any] = []
        for W, b in zip(weights, biases, strict=True):
            self.layers += [Affine(W.copy(), b.copy()), ACTIVATIONS[self.work.activation]()]
        self.layers.pop()
        self.params = [p for layer in self.layers for p in layer.params]
        self.grads = [g for layer in self.layers for g in layer.grads]
        self.loss: Any = SigmoidWithLoss() if self.work.widths[-1] == 1 else SoftmaxWithLoss()
        self.optimizer = OPTIMIZERS[self.work.optimizer](self.work.lr)

    def run(self, first: int, stop: int) -> list[float]:
        return [self.step(self.x[rows], self.t[rows]) for rows in self.rows[first:stop]]

    def step(self, x: np.ndarray, t: np.ndarray) -> float:
        for layer in self.layers:
            x = layer.forward(x)
        value = self.loss.forward(x, t)
        dout = self.loss.backward()
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        self.optimizer.update(self.params, self.grads)
        return value
