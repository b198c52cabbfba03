"""Weights to PyTorch: the way back from ``from_torch``."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from martlet.backend import Array, Backend, describe
from martlet.checks import check_floating
from martlet.layer import Layer
from martlet.layers import (
    ELU,
    GELU,
    Affine,
    BatchNorm,
    Dropout,
    Embedding,
    Flatten,
    Freeze,
    Identity,
    LayerNorm,
    LeakyReLU,
    LogSoftmax,
    MatMul,
    ReLU,
    Reshape,
    Sequential,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)


def to_torch(model: Layer) -> Any:
    """A PyTorch module with copies of the model's weights: ``from_torch``, backwards.

    A Sequential becomes an ``nn.Sequential`` and keeps its numbering; a Freeze becomes ``requires_grad=False``.
    The module is in training mode, as every new one: call ``eval()`` for what is ``predict`` here.  Arrays of
    PyTorch stay on their device, others come to its current one; dtypes are kept.  Dropout has no streams
    there, and its masks are PyTorch's.  A BatchNorm is a BatchNorm1d, except after a Reshape to images.

    Raises ImportError, with what to type, where PyTorch is not installed; TypeError for what is no layer;
    ValueError with the place and class of a layer that has no counterpart in torch.nn: Branch, Parallel, Add
    and their like, Standardize, a Freeze that holds statistics, and layers of your own.
    """
    if not isinstance(model, Layer):
        raise TypeError(f"to_torch: expected a layer, got {describe(model)}")
    try:
        import torch
    except ImportError:
        raise ImportError('martlet.to_torch needs PyTorch: pip install "martlet[torch]"') from None
    return Writing(torch.nn).module(model, "")


class Writing:
    """A walk through a model, in the order of its forward."""

    def __init__(self, nn: ModuleType) -> None:
        self.nn = nn
        self.rank: int | None = None  # how many axes the numbers have here, where that is known

    def module(self, layer: Layer, path: str) -> Any:
        if type(layer) is Sequential:
            places = [f"{path}.{i}" if path else str(i) for i in range(len(layer))]
            return self.nn.Sequential(*map(self.module, layer, places))
        if type(layer) is Freeze and not layer.statistics:
            return self.module(layer.layer, f"{path}.layer".lstrip(".")).requires_grad_(False)
        try:
            if type(layer) not in MODULES:
                raise ValueError("this layer has no counterpart in torch.nn")
            return MODULES[type(layer)](layer, self)
        except (TypeError, ValueError) as error:
            title = f"{path} {type(layer).__name__}".strip()
            raise type(error)(f"to_torch: {title}: {error}") from None

    def fill(self, module: Any, **arrays: Array) -> Any:
        """The module with copies of these arrays as its parameters and buffers."""
        for name, x in arrays.items():
            check_floating("it", name, x)
            tensor = Backend("torch").asarray(x, copy=True).contiguous()
            setattr(module, name, self.nn.Parameter(tensor) if name in module._parameters else tensor)
        return module


def write_linear(layer: Any, at: Writing) -> Any:
    at.rank = 2
    # On the meta device nothing is drawn: the user's random numbers stay where they were.
    module = at.nn.Linear(*layer.W.shape, bias=type(layer) is Affine, device="meta")
    at.fill(module, weight=layer.W.T)
    return at.fill(module, bias=layer.b) if type(layer) is Affine else module


def write_embedding(layer: Any, at: Writing) -> Any:
    at.rank = None
    return at.fill(at.nn.Embedding(*layer.W.shape, device="meta"), weight=layer.W)


def write_batch_norm(layer: Any, at: Writing) -> Any:
    classes = {4: at.nn.BatchNorm2d, 5: at.nn.BatchNorm3d}
    module = classes.get(at.rank or 2, at.nn.BatchNorm1d)(layer.gamma.shape[0], eps=layer.eps, momentum=layer.momentum)
    at.fill(module, weight=layer.gamma, bias=layer.beta, running_mean=layer.mean, running_var=layer.variance)
    return module.to(module.weight.device)  # the counter of batches follows


def write_layer_norm(layer: Any, at: Writing) -> Any:
    module = at.nn.LayerNorm(tuple(layer.gamma.shape), eps=layer.eps, device="meta")
    return at.fill(module, weight=layer.gamma, bias=layer.beta)


def write_flatten(layer: Any, at: Writing) -> Any:
    at.rank = 2
    return at.nn.Flatten()


def write_reshape(layer: Any, at: Writing) -> Any:
    if not layer.shape:
        raise ValueError("one number per sample and no axis for it has no counterpart in torch.nn")
    is_flat, at.rank = at.rank == 2, 1 + len(layer.shape)
    module = at.nn.Unflatten(1, layer.shape)
    return module if is_flat else at.nn.Sequential(at.nn.Flatten(), module)


MODULES: dict[type, Callable[[Any, Writing], Any]] = {
    Affine: write_linear,
    MatMul: write_linear,
    Embedding: write_embedding,
    BatchNorm: write_batch_norm,
    LayerNorm: write_layer_norm,
    Dropout: lambda layer, at: at.nn.Dropout(layer.rate),
    Flatten: write_flatten,
    Reshape: write_reshape,
    Identity: lambda layer, at: at.nn.Identity(),
    ReLU: lambda layer, at: at.nn.ReLU(),
    LeakyReLU: lambda layer, at: at.nn.LeakyReLU(layer.slope),
    ELU: lambda layer, at: at.nn.ELU(layer.alpha),
    SiLU: lambda layer, at: at.nn.SiLU(),
    GELU: lambda layer, at: at.nn.GELU("tanh" if layer.tanh else "none"),
    Sigmoid: lambda layer, at: at.nn.Sigmoid(),
    Tanh: lambda layer, at: at.nn.Tanh(),
    Softplus: lambda layer, at: at.nn.Softplus(threshold=40.0),  # from where on x is log(1 + exp(x)), in float64 too
    Softmax: lambda layer, at: at.nn.Softmax(dim=-1),
    LogSoftmax: lambda layer, at: at.nn.LogSoftmax(dim=-1),
}
