"""Descent: straight down the gradient, or with a velocity that is gathered on the way."""

from __future__ import annotations

from martlet.checks import check_number
from martlet.optimizers.optimizer import Optimizer


class SGD(Optimizer):
    """p ← p - lr · g"""

    lr: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "lr", self.lr, 0.0)

    def rule(self, p, g, lr):
        return (p - lr * g,)


class Momentum(Optimizer):
    """v ← momentum · v - lr · g,  p ← p + v

    Polyak's heavy ball, as written by Sutskever et al., "On the importance of initialization and
    momentum in deep learning", 2013.
    """

    lr: float = 0.01
    momentum: float = 0.9

    memories = ("v",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "lr", self.lr, 0.0)
        check_number(self, "momentum", self.momentum, 0.0, 1.0, open_high=True)

    def rule(self, p, g, v, lr, momentum):
        v = momentum * v - lr * g
        return p + v, v


class Nesterov(Momentum):
    """v ← momentum · v - lr · g(p + momentum · v),  p ← p + v

    Nesterov's accelerated gradient in the form of Sutskever et al., 2013: the gradient is taken where the
    velocity is about to lead.  The arrays that are updated here are that place, q = p + momentum · v, so
    that the gradient at hand is the right one:  v ← momentum · v - lr · g,  q ← q + momentum · v - lr · g.
    """

    def rule(self, p, g, v, lr, momentum):
        v = momentum * v - lr * g
        return p + (momentum * v - lr * g), v
