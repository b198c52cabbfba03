"""martlet: neural networks with hand-written gradients, on any array library.

Start with ``Affine.init``, ``Sequential`` and ``fit``; read ``martlet/layer.py`` to see what a layer is.
"""

from martlet import datasets, initializers, plot
from martlet.backend import Array, Backend, BackendUnavailable, available_backends, backend_of, namespace, to_numpy
from martlet.batches import batches
from martlet.evaluation import accuracy, evaluate
from martlet.functions import one_hot, sigmoid, softmax
from martlet.layer import Layer
from martlet.layers import (
    Add,
    Affine,
    Branch,
    Freeze,
    Identity,
    Loss,
    MatMul,
    MeanSquaredError,
    Multiply,
    Parallel,
    ReLU,
    Repeat,
    Sequential,
    Sigmoid,
    SigmoidWithLoss,
    Softmax,
    SoftmaxWithLoss,
    Sum,
    Tanh,
)
from martlet.optimizers import SGD, Adam, Momentum, Optimizer
from martlet.training import History, fit, gradient, train_step
from martlet.tree import Tree, kept, leaves, names, rebuild, replace

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "Adam",
    "Add",
    "Affine",
    "Array",
    "Backend",
    "BackendUnavailable",
    "Branch",
    "Freeze",
    "History",
    "Identity",
    "Layer",
    "Loss",
    "MatMul",
    "MeanSquaredError",
    "Momentum",
    "Multiply",
    "Optimizer",
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
    "Tree",
    "accuracy",
    "available_backends",
    "backend_of",
    "batches",
    "datasets",
    "evaluate",
    "fit",
    "gradient",
    "initializers",
    "kept",
    "leaves",
    "names",
    "namespace",
    "one_hot",
    "plot",
    "rebuild",
    "replace",
    "sigmoid",
    "softmax",
    "to_numpy",
    "train_step",
]
