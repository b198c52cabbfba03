"""The optimizers, and the transformations of the gradient: read optimizer, then descent, then adaptive."""

from martlet.optimizers.adaptive import AdaGrad, Adam, AdamW, RMSprop
from martlet.optimizers.descent import SGD, Momentum, Nesterov
from martlet.optimizers.optimizer import Optimizer
from martlet.optimizers.transforms import L2, ClipByNorm, ClipByValue, Transform

__all__ = [
    "L2",
    "SGD",
    "AdaGrad",
    "Adam",
    "AdamW",
    "ClipByNorm",
    "ClipByValue",
    "Momentum",
    "Nesterov",
    "Optimizer",
    "RMSprop",
    "Transform",
]
