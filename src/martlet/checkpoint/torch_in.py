"""Weights from PyTorch: the same stack of layers with the same weights gives the same numbers.

PyTorch has a switch where a layer here has verbs: after ``module.train()`` a call is ``forward``, after
``module.eval()`` it is ``predict``.  It keeps the W of a Linear as (H, D), which is ours transposed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from martlet.backend import Backend, as_backend, describe, generator
from martlet.checks import check_generator
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

if TYPE_CHECKING:
    import numpy as np


def from_torch(
    module: Any,
    *,
    backend: str | Backend | None = None,
    dtype: str | None = None,
    rng: np.random.Generator | None = None,
) -> Layer:
    """The layers of a PyTorch module with copies of its weights, on NumPy unless told otherwise.

    ``module`` is an ``nn.Sequential``, nested or not, or one layer: Linear, Embedding, BatchNorm1d, 2d and
    3d, LayerNorm, Dropout, Flatten, Unflatten, Identity, ReLU, LeakyReLU, ELU, SiLU, GELU, Sigmoid, Tanh,
    Softplus, Softmax or LogSoftmax.  What is frozen there (``requires_grad=False``) comes in a Freeze.

    Its dtypes are kept unless ``dtype`` changes them (a LayerNorm without weights takes that of the others, or
    float32).  Three things differ.  PyTorch's Softplus is x itself from 20 on, which leaves out up to 2e-9.  The
    masks of Dropout are other masks; ``rng`` draws their streams, and without it they are always the same.
    And a Linear takes any number of axes, an Affine or MatMul only (N, D).

    Raises TypeError for what is no module, and ValueError with the place, the class and the settings of a
    layer that has no counterpart: another class, be it a subclass of these (its forward may be anything), a
    setting that does not exist here, hooks, or weights that two layers share.
    """
    torch = sys.modules.get("torch")  # whoever has a module has imported it
    if torch is None or not isinstance(module, torch.nn.Module):
        raise TypeError(f"from_torch: expected a torch.nn.Module, got {describe(module)}")
    target = as_backend(backend, dtype)
    rng = generator(0) if rng is None else rng
    check_generator("from_torch", rng, "bytes")
    weights = [x for x in (*module.parameters(), *module.buffers()) if x.is_floating_point()]
    like = weights[0] if weights else torch.zeros(0)
    if target.name == "torch" and target.device is None:
        target = Backend("torch", like.device, target.dtype)
    return Reading(torch.nn, rng, like).layer(module, "").to(target)  # a copy: up to here the memory is PyTorch's


class Reading:
    """A walk through a module in the order of its forward, and what is known at the place that it has reached."""

    def __init__(self, nn: ModuleType, rng: np.random.Generator, like: Any) -> None:
        self.nn = nn
        self.rng = rng
        self.like = like  # a tensor where the weights are, in their dtype
        self.rank: int | None = None  # how many axes the numbers have here, where that is known
        self.owners: dict[int, str] = {}  # the place of every weight met so far, by its address

    def layer(self, module: Any, path: str) -> Layer:
        title = f"{path} {type(module).__name__}".strip()
        try:
            row = None if type(module) is self.nn.Sequential else self.row(module)
            check_untouched(module)
            if row is not None:
                self.check_memory(module, title)
                return hold_still(module, row.build(module, self))
        except (TypeError, ValueError) as error:
            raise ValueError(f"from_torch: {title}({module.extra_repr()}): {error}") from None
        places = [f"{path}.{name}" if path else name for name in module._modules]
        return Sequential(*map(self.layer, module, places))

    def row(self, module: Any) -> Row:
        """What the table says about exactly this class."""
        name = type(module).__name__
        row = ROWS.get(name)
        if row is None or getattr(self.nn, name) is not type(module):
            known = [base for base in ROWS if isinstance(module, getattr(self.nn, base))]
            hint = f"; being a kind of {known[0]} is not enough" if known else ""
            raise ValueError(f"this class has no counterpart in martlet{hint}")
        for setting, value in row.only.items():
            if getattr(module, setting) != value:
                raise ValueError(f"only {setting}={value} has a counterpart in martlet")
        return row

    def check_memory(self, module: Any, title: str) -> None:
        """The weights hold numbers, and are nobody else's: copies of what is shared would go their own ways."""
        for tensor in [*module.parameters(), *module.buffers()]:
            if tensor.is_complex():
                raise ValueError("its weights are complex")
            if tensor.is_meta:
                raise ValueError("its weights are on the meta device, which holds no numbers")
            if tensor.numel() and (owner := self.owners.setdefault(tensor.data_ptr(), title)) != title:
                raise ValueError(f"it shares its weights with {owner}, and copies of them would go their own ways")


def check_untouched(module: Any) -> None:
    """Nobody has hung anything on the module that changes what its class computes."""
    hooks = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
    if any(getattr(module, name) for name in hooks):
        raise ValueError("it has hooks, which may change its numbers")
    if "forward" in vars(module):
        raise ValueError("its forward is not that of its class")


def hold_still(module: Any, layer: Layer) -> Layer:
    """In a Freeze, where PyTorch would not learn its parameters."""
    learns = {parameter.requires_grad for parameter in module.parameters()}
    if len(learns) == 2:
        raise ValueError("some of its parameters are frozen and some are not, but a Freeze holds a whole layer")
    return Freeze(layer) if learns == {False} else layer


class Row(NamedTuple):
    """How one class of torch.nn becomes a layer, and which settings have one value only here."""

    build: Callable[[Any, Reading], Layer]
    only: dict[str, Any] = {}  # noqa: RUF012


def read_linear(module: Any, at: Reading) -> Layer:
    at.rank = 2
    W = module.weight.detach().T.contiguous()
    return MatMul(W) if module.bias is None else Affine(W, module.bias.detach())


def read_embedding(module: Any, at: Reading) -> Layer:
    at.rank = None
    return Embedding(module.weight.detach())


def read_batch_norm(module: Any, at: Reading) -> Layer:
    if module.momentum is None:
        raise ValueError("a mean over all batches has no counterpart in martlet; momentum must be a number")
    at.rank = {"BatchNorm2d": 4, "BatchNorm3d": 5}.get(type(module).__name__, at.rank)
    mean, variance = module.running_mean, module.running_var
    gamma, beta = (
        (module.weight.detach(), module.bias.detach())
        if module.affine
        else (mean.new_ones(mean.shape), mean.new_zeros(mean.shape))
    )
    layer = BatchNorm(gamma, beta, mean, variance, momentum=module.momentum, eps=module.eps)
    return layer if module.affine else Freeze(layer)


def read_layer_norm(module: Any, at: Reading) -> Layer:
    if module.elementwise_affine and module.bias is None:
        raise ValueError("a gamma without a beta has no counterpart in martlet")
    if module.elementwise_affine:
        return LayerNorm(module.weight.detach(), module.bias.detach(), eps=module.eps)
    shape, like = module.normalized_shape, at.like
    return Freeze(LayerNorm(like.new_ones(shape), like.new_zeros(shape), eps=module.eps))


def read_flatten(module: Any, at: Reading) -> Layer:
    at.rank = 2
    return Flatten()


def read_unflatten(module: Any, at: Reading) -> Layer:
    shape = module.unflattened_size
    if not all(isinstance(n, int) for n in shape):
        raise ValueError("axes with names have no counterpart in martlet")
    if -1 in shape and at.rank != 2:
        raise ValueError("a length of -1 needs rows, (N, D), which are there after a Linear or a Flatten")
    at.rank = 1 + len(shape)
    return Reshape(tuple(shape))


def read_softplus(module: Any, at: Reading) -> Layer:
    if not 20.0 <= module.threshold <= 80.0:  # below, it is another function; above, PyTorch's may overflow
        raise ValueError("only a threshold from 20 to 80 makes it log(1 + exp(x))")
    return Softplus()


def along_the_last_axis(layer: type[Layer]) -> Row:
    def build(module: Any, at: Reading) -> Layer:
        if module.dim != -1 and (module.dim is None or module.dim + 1 != at.rank):
            raise ValueError("it must be along the last axis, dim=-1")
        return layer()

    return Row(build)


def plain(layer: type[Layer]) -> Row:
    return Row(lambda module, at: layer())


ROWS = {
    "Linear": Row(read_linear),
    "Embedding": Row(read_embedding, {"padding_idx": None, "max_norm": None, "scale_grad_by_freq": False}),
    "BatchNorm1d": Row(read_batch_norm, {"track_running_stats": True}),
    "BatchNorm2d": Row(read_batch_norm, {"track_running_stats": True}),
    "BatchNorm3d": Row(read_batch_norm, {"track_running_stats": True}),
    "LayerNorm": Row(read_layer_norm),
    "Dropout": Row(lambda module, at: Dropout.init(module.p, at.rng)),
    "Flatten": Row(read_flatten, {"start_dim": 1, "end_dim": -1}),
    "Unflatten": Row(read_unflatten, {"dim": 1}),
    "Identity": plain(Identity),
    "ReLU": plain(ReLU),
    "LeakyReLU": Row(lambda module, at: LeakyReLU(module.negative_slope)),
    "ELU": Row(lambda module, at: ELU(module.alpha)),
    "SiLU": plain(SiLU),
    "GELU": Row(lambda module, at: GELU(tanh=module.approximate == "tanh")),
    "Sigmoid": plain(Sigmoid),
    "Tanh": plain(Tanh),
    "Softplus": Row(read_softplus, {"beta": 1}),
    "Softmax": along_the_last_axis(Softmax),
    "LogSoftmax": along_the_last_axis(LogSoftmax),
}
