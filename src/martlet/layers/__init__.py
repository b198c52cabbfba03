"""The layers and losses, one file per family: read linear, then activations, then sequential, then losses."""

from martlet.layers.activations import ELU, GELU, Identity, LeakyReLU, ReLU, Sigmoid, SiLU, Softplus, Tanh
from martlet.layers.dropout import Dropout
from martlet.layers.embedding import Embedding
from martlet.layers.linear import Affine, MatMul
from martlet.layers.losses import Huber, MeanSquaredError, SigmoidWithLoss, SoftmaxWithLoss
from martlet.layers.nodes import Add, Branch, Multiply, Repeat, Sum
from martlet.layers.normalization import BatchNorm, LayerNorm
from martlet.layers.sequential import Freeze, Parallel, Sequential
from martlet.layers.shapes import Flatten, Reshape
from martlet.layers.softmax import LogSoftmax, Softmax
from martlet.layers.standardize import Standardize

__all__ = [
    "ELU",
    "GELU",
    "Add",
    "Affine",
    "BatchNorm",
    "Branch",
    "Dropout",
    "Embedding",
    "Flatten",
    "Freeze",
    "Huber",
    "Identity",
    "LayerNorm",
    "LeakyReLU",
    "LogSoftmax",
    "MatMul",
    "MeanSquaredError",
    "Multiply",
    "Parallel",
    "ReLU",
    "Repeat",
    "Reshape",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SigmoidWithLoss",
    "Softmax",
    "SoftmaxWithLoss",
    "Softplus",
    "Standardize",
    "Sum",
    "Tanh",
]
