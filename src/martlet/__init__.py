"""martlet: neural networks with hand-written gradients, on any array library.

Start with ``Affine.init``, ``Sequential`` and ``fit``; read ``martlet/layer.py`` to see what a layer is.
"""

import importlib
from typing import TYPE_CHECKING, Any

from martlet import datasets, initializers, plot, schedules
from martlet.advice import Advice, where_to_run
from martlet.backend import Array, Backend, BackendUnavailable, available_backends, backend_of, namespace, to_numpy
from martlet.batches import batches
from martlet.checkpoint import CheckpointError, Run, load, load_run, save
from martlet.diagnosis import NotFinite
from martlet.evaluation import accuracy, evaluate
from martlet.functions import log_softmax, one_hot, sigmoid, softmax, softplus
from martlet.history import History
from martlet.layer import Layer
from martlet.layers import (
    ELU,
    GELU,
    Add,
    Affine,
    BatchNorm,
    Branch,
    Dropout,
    Embedding,
    Flatten,
    Freeze,
    Huber,
    Identity,
    LayerNorm,
    LeakyReLU,
    LogSoftmax,
    MatMul,
    MeanSquaredError,
    Multiply,
    Parallel,
    ReLU,
    Repeat,
    Reshape,
    Sequential,
    Sigmoid,
    SigmoidWithLoss,
    SiLU,
    Softmax,
    SoftmaxWithLoss,
    Softplus,
    Standardize,
    Sum,
    Tanh,
)
from martlet.loss import Loss
from martlet.memory import OutOfMemory
from martlet.optimizers import (
    L2,
    SGD,
    AdaGrad,
    Adam,
    AdamW,
    ClipByNorm,
    ClipByValue,
    Momentum,
    Nesterov,
    Optimizer,
    RMSprop,
    Transform,
)
from martlet.step import gradient, train_step
from martlet.stopping import EarlyStopping
from martlet.training import fit
from martlet.tree import Tree, kept, leaves, names, rebuild, replace

if TYPE_CHECKING:
    from martlet import testing
    from martlet.checkpoint.sklearn_in import from_sklearn
    from martlet.checkpoint.torch_in import from_torch
    from martlet.checkpoint.torch_out import to_torch

__version__ = "0.1.0"

# Loaded when they are used: who only runs a network does not wait for them.
_LATER = {
    "from_sklearn": "martlet.checkpoint.sklearn_in",
    "from_torch": "martlet.checkpoint.torch_in",
    "testing": "martlet.testing",
    "to_torch": "martlet.checkpoint.torch_out",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_LATER[name])
    return getattr(module, name, module)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})


__all__ = [
    "ELU",
    "GELU",
    "L2",
    "SGD",
    "AdaGrad",
    "Adam",
    "AdamW",
    "Add",
    "Advice",
    "Affine",
    "Array",
    "Backend",
    "BackendUnavailable",
    "BatchNorm",
    "Branch",
    "CheckpointError",
    "ClipByNorm",
    "ClipByValue",
    "Dropout",
    "EarlyStopping",
    "Embedding",
    "Flatten",
    "Freeze",
    "History",
    "Huber",
    "Identity",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "LogSoftmax",
    "Loss",
    "MatMul",
    "MeanSquaredError",
    "Momentum",
    "Multiply",
    "Nesterov",
    "NotFinite",
    "Optimizer",
    "OutOfMemory",
    "Parallel",
    "RMSprop",
    "ReLU",
    "Repeat",
    "Reshape",
    "Run",
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
    "Transform",
    "Tree",
    "accuracy",
    "available_backends",
    "backend_of",
    "batches",
    "datasets",
    "evaluate",
    "fit",
    "from_sklearn",
    "from_torch",
    "gradient",
    "initializers",
    "kept",
    "leaves",
    "load",
    "load_run",
    "log_softmax",
    "names",
    "namespace",
    "one_hot",
    "plot",
    "rebuild",
    "replace",
    "save",
    "schedules",
    "sigmoid",
    "softmax",
    "softplus",
    "testing",
    "to_numpy",
    "to_torch",
    "train_step",
    "where_to_run",
]
