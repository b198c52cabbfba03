"""Weights to PyTorch: the way back from ``from_torch``."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from martlet.backend import Backend, describe
from martlet.checks import check_array, check_floating, complain_shape
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
        self.title = ""  # how an error names the layer at this place
        self.rank: int | None = None  # how many axes the numbers have here, where that is known

    def module(self, layer: Layer, path: str) -> Any:
        if type(layer) is Sequential:
            places = [f"{path}.{i}" if path else str(i) for i in range(len(layer))]
            return self.nn.Sequential(*map(self.module, layer, places))
        if type(layer) is Freeze and not layer.statistics:
            return self.module(layer.layer, f"{path}.layer".lstrip(".")).requires_grad_(False)
        self.title = f"to_torch: {path} {type(layer).__name__}".replace("  ", " ")
        if type(layer) not in MODULES:
            raise ValueError(f"{self.title}: this layer has no counterpart in torch.nn")
        for name in layer._leaves:
            check_array(self.title, name, getattr(layer, name))
        return MODULES[type(layer)](layer, self)

    def fill(self, module: Any, layer: Layer, **names: str) -> Any:
        """The module with copies of the layer's arrays: ``weight="W"`` makes W its parameter or buffer weight."""
        for theirs, ours in names.items():
            x = getattr(layer, ours)
            check_floating(self.title, ours, x)
            x = x.T if theirs == "weight" and type(module) is self.nn.Linear else x
            if x.shape != getattr(module, theirs).shape:
                complain_shape(self.title, ours, x, tuple(getattr(module, theirs).shape), "to fit its other arrays")
            tensor = Backend("torch").asarray(x, copy=True).contiguous()
            setattr(module, theirs, self.nn.Parameter(tensor) if theirs in module._parameters else tensor)
        return module

    def check_axes(self, layer: Layer, name: str, count: int) -> None:
        x = getattr(layer, name)
        if len(x.shape) != count:
            complain_shape(self.title, name, x, f"{count} axes", "or forward would refuse it too")


def write_linear(layer: Any, at: Writing) -> Any:
    at.check_axes(layer, "W", 2)
    at.rank = 2
    # On the meta device nothing is drawn: the user's random numbers stay where they were.
    module = at.nn.Linear(*layer.W.shape, bias=type(layer) is Affine, device="meta")
    return at.fill(module, layer, weight="W", **({"bias": "b"} if type(layer) is Affine else {}))


def write_embedding(layer: Any, at: Writing) -> Any:
    at.check_axes(layer, "W", 2)
    at.rank = None
    return at.fill(at.nn.Embedding(*layer.W.shape, device="meta"), layer, weight="W")


def write_batch_norm(layer: Any, at: Writing) -> Any:
    at.check_axes(layer, "gamma", 1)
    kind = {4: at.nn.BatchNorm2d, 5: at.nn.BatchNorm3d}.get(at.rank or 2, at.nn.BatchNorm1d)
    module = kind(layer.gamma.shape[0], eps=layer.eps, momentum=layer.momentum)
    at.fill(module, layer, weight="gamma", bias="beta", running_mean="mean", running_var="variance")
    return module.to(module.weight.device)  # the counter of batches follows


def write_layer_norm(layer: Any, at: Writing) -> Any:
    module = at.nn.LayerNorm(tuple(layer.gamma.shape), eps=layer.eps, device="meta")
    return at.fill(module, layer, weight="gamma", bias="beta")


def write_flatten(layer: Any, at: Writing) -> Any:
    at.rank = 2
    return at.nn.Flatten()


def write_reshape(layer: Any, at: Writing) -> Any:
    if not layer.shape:
        raise ValueError(f"{at.title}: one number per sample and no axis for it has no counterpart in torch.nn")
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
