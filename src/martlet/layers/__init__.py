"""The layers and losses, one file per family: linear, activations, nodes, sequential, losses."""

from martlet.layers.activations import Identity, ReLU, Sigmoid, Softmax, Tanh
from martlet.layers.linear import Affine, MatMul
from martlet.layers.losses import Loss, MeanSquaredError, SigmoidWithLoss, SoftmaxWithLoss
from martlet.layers.nodes import Add, Branch, Multiply, Repeat, Sum
from martlet.layers.sequential import Freeze, Parallel, Sequential

__all__ = [
    "Add",
    "Affine",
    "Branch",
    "Freeze",
    "Identity",
    "Loss",
    "MatMul",
    "MeanSquaredError",
    "Multiply",
    "Parallel",
    "ReLU",
    "Repeat",
    "Sequential",
    "Sigmoid",
    "SigmoidWithLoss",
    "Softmax",
    "SoftmaxWithLoss",
    "Sum",
    "Tanh",
]
