"""Adaptive steps: each weight is given a step size of its own, from the gradients that it has seen."""

from __future__ import annotations

from typing import ClassVar

from martlet.backend import Array, namespace
from martlet.checks import check_number, check_switch
from martlet.optimizers.optimizer import Optimizer
from martlet.optimizers.transforms import is_bias


class AdaGrad(Optimizer):
    """h ← h + g²,  p ← p - lr · g / (√h + eps)

    Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning and stochastic
    optimization", 2011.
    """

    lr: float = 0.01
    eps: float = 1e-10

    memories = ("h",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "lr", self.lr, 0.0)
        check_number(self, "eps", self.eps, 0.0)

    def rule(self, p, g, h, lr, eps):
        h = h + g * g
        return p - lr * g / (namespace(p).sqrt(h) + eps), h


class RMSprop(Optimizer):
    """v ← decay · v + (1 - decay) · g²,  p ← p - lr · g / (√v + eps)

    ``centered=True`` divides by the deviation of the gradient from its own mean m, √(v - m²), instead of
    by its size.  Hinton, lecture 6 of "Neural networks for machine learning", 2012; centered: Graves,
    "Generating sequences with recurrent neural networks", 2013, but with eps outside the root.
    """

    lr: float = 0.01
    decay: float = 0.9
    eps: float = 1e-8
    centered: bool = False

    memories = ("v", "m")
    optional: ClassVar = {"m": "centered"}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "lr", self.lr, 0.0)
        check_number(self, "decay", self.decay, 0.0, 1.0, open_high=True)
        check_number(self, "eps", self.eps, 0.0)
        check_switch(self, "centered", self.centered)

    def rule(self, p, g, v, m, lr, decay, eps):
        xp = namespace(p)
        v = decay * v + (1.0 - decay) * (g * g)
        spread = v
        if self.centered:
            m = decay * m + (1.0 - decay) * g
            spread = xp.maximum(v - m * m, 0.0)  # rounding can take it below 0
        return p - lr * g / (xp.sqrt(spread) + eps), v, m


class Adam(Optimizer):
    """m ← β₁ m + (1 - β₁) g,  v ← β₂ v + (1 - β₂) g²,  p ← p - lr · m̂ / (√v̂ + eps)

    with the corrections m̂ = m / (1 - β₁ᵗ) and v̂ = v / (1 - β₂ᵗ) for having begun at zero.
    Kingma and Ba, "Adam: a method for stochastic optimization", 2015, Algorithm 1.  ``amsgrad=True`` puts
    the largest v so far in the place of v, so that no step size grows again; Reddi, Kale and Kumar, "On
    the convergence of Adam and beyond", 2018, with Adam's corrections, as the libraries have it.
    """

    lr: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    amsgrad: bool = False

    memories = ("m", "v", "peak")
    optional: ClassVar = {"peak": "amsgrad"}
    derived = ("correction1", "correction2")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "lr", self.lr, 0.0)
        check_number(self, "beta1", self.beta1, 0.0, 1.0, open_high=True)
        check_number(self, "beta2", self.beta2, 0.0, 1.0, open_high=True)
        check_number(self, "eps", self.eps, 0.0)
        check_switch(self, "amsgrad", self.amsgrad)

    def derive(self, t, numbers):
        return one_minus_power(numbers["beta1"], t), one_minus_power(numbers["beta2"], t)

    def rule(self, p, g, m, v, peak, lr, beta1, beta2, eps, correction1, correction2):
        xp = namespace(p)
        m = beta1 * m + (1.0 - beta1) * g
        v = beta2 * v + (1.0 - beta2) * (g * g)
        if self.amsgrad:
            peak = xp.maximum(peak, v)
        root = xp.sqrt((peak if self.amsgrad else v) / correction2)
        return p - (lr / correction1) * m / (root + eps), m, v, peak


class AdamW(Adam):
    """p ← p - lr · weight_decay · p,  then Adam: the weights shrink by a rate that the gradients do not change

    ``biases=False`` lets arrays of fewer than two axes be: biases, and the gamma and beta of normalizations.
    Loshchilov and Hutter, "Decoupled weight decay regularization", 2019.
    """

    weight_decay: float = 0.01
    biases: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "weight_decay", self.weight_decay, 0.0)
        check_switch(self, "biases", self.biases)

    def rule(self, p, g, m, v, peak, lr, beta1, beta2, eps, correction1, correction2, weight_decay=0.0):
        if self.biases or not is_bias(p):
            p = p - lr * weight_decay * p
        return super().rule(p, g, m, v, peak, lr, beta1, beta2, eps, correction1, correction2)


def one_minus_power(beta: Array, t: Array) -> Array:
    """1 - βᵗ without cancellation: in float32 to 5e-8 instead of 1e-5 while βᵗ is near 1."""
    xp = namespace(beta)
    return -xp.expm1(t * xp.log(xp.maximum(beta, 1e-37)))
