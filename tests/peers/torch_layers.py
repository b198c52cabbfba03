"""Our layers and losses beside those of torch.nn, forward and backward, in float64.

Theirs are torch.nn.functional's own operations, differentiated by PyTorch's autograd; ours are written out by
hand.  Dropout has no row: the two draw their masks from different numbers, and only the mean could agree,
which test_noise.py looks at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import martlet as mt
from peers.differences import Row, largest

LIMIT = 1e-12  # of the largest number in an array


# -------------------------------------------------------------------------------------------- layers


@dataclass(frozen=True)
class LayerCase:
    """A layer of ours, inputs for it, and torch's function of (functional, x, our learned arrays)."""

    name: str
    layer: mt.Layer
    theirs: Callable[..., Any]
    inputs: tuple[np.ndarray, ...]

    def places(self, torch: Any) -> Iterator[tuple[str, Any, Any]]:
        """The output and every gradient, for each input and a random dL/dy."""
        for x in self.inputs:
            y, cache = self.layer.forward(x)
            dout = rng().standard_normal(y.shape)
            dx, grad = self.layer.backward(cache, dout)
            their_x = torch.tensor(x, requires_grad=x.dtype.kind == "f")
            params = [torch.tensor(p, requires_grad=True) for p in mt.leaves(self.layer)]
            their_y = self.theirs(torch.nn.functional, their_x, *params)
            their_y.backward(torch.tensor(dout))
            yield f"y of {x.shape}", y, their_y.detach()
            if dx is not None:
                yield f"dx of {x.shape}", dx, their_x.grad
            for name, g, p in zip(mt.names(self.layer), mt.leaves(grad) if params else (), params, strict=True):
                yield f"d{name} of {x.shape}", g, p.grad


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def normals(*shapes: tuple[int, ...], mean: float = 0.0, deviation: float = 1.0) -> tuple[np.ndarray, ...]:
    return tuple(mean + deviation * rng().standard_normal(shape) for shape in shapes)


def words(vocabulary: int, *shapes: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    return tuple(rng().integers(0, vocabulary, shape) for shape in shapes)


# Both zeros, where an activation may have its kink; and far out, where a careless formula overflows.
LINE = np.concatenate([np.linspace(-8.0, 8.0, 62), [-0.0, 0.0]]).reshape(16, 4)
FAR = np.array([[-700.0, -40.0, 40.0, 700.0]])
ANY = (LINE, FAR, *normals((1, 1), (5,), (2, 3, 4), deviation=3.0))
ROWS = (LINE, FAR, *normals((1, 4), (5, 1), (2, 3, 4), deviation=3.0))


def numbers(*shape: int) -> np.ndarray:
    return rng().standard_normal(shape)


LAYERS = [
    LayerCase("MatMul", mt.MatMul(numbers(4, 3)), lambda F, x, W: F.linear(x, W.T), normals((7, 4), (1, 4))),
    LayerCase("MatMul, one column", mt.MatMul(numbers(4, 1)), lambda F, x, W: F.linear(x, W.T), normals((7, 4))),
    LayerCase(
        "Affine",
        mt.Affine(numbers(4, 3), numbers(3)),
        lambda F, x, W, b: F.linear(x, W.T, b),
        normals((7, 4), (1, 4)),
    ),
    LayerCase(
        "Affine, sizes 1",
        mt.Affine(numbers(1, 1), numbers(1)),
        lambda F, x, W, b: F.linear(x, W.T, b),
        normals((7, 1), (1, 1)),
    ),
    LayerCase("Sigmoid", mt.Sigmoid(), lambda F, x: F.sigmoid(x), ANY),
    LayerCase("Tanh", mt.Tanh(), lambda F, x: F.tanh(x), ANY),
    LayerCase("ReLU", mt.ReLU(), lambda F, x: F.relu(x), ANY),
    LayerCase("LeakyReLU", mt.LeakyReLU(), lambda F, x: F.leaky_relu(x), ANY),
    LayerCase("LeakyReLU, 0.3", mt.LeakyReLU(0.3), lambda F, x: F.leaky_relu(x, 0.3), ANY),
    LayerCase("ELU", mt.ELU(), lambda F, x: F.elu(x), ANY),
    LayerCase("ELU, 1.5", mt.ELU(1.5), lambda F, x: F.elu(x, 1.5), ANY),
    # From its threshold on, x = 20 unless told otherwise, torch's softplus is x, which is 2e-9 too small there.
    LayerCase("Softplus", mt.Softplus(), lambda F, x: F.softplus(x, threshold=1000), ANY),
    LayerCase("SiLU", mt.SiLU(), lambda F, x: F.silu(x), ANY),
    LayerCase("GELU", mt.GELU(), lambda F, x: F.gelu(x), ANY),
    LayerCase("GELU, tanh", mt.GELU(tanh=True), lambda F, x: F.gelu(x, approximate="tanh"), ANY),
    LayerCase("Softmax", mt.Softmax(), lambda F, x: F.softmax(x, dim=-1), ROWS),
    LayerCase("LogSoftmax", mt.LogSoftmax(), lambda F, x: F.log_softmax(x, dim=-1), ROWS),
    LayerCase(
        "LayerNorm",
        mt.LayerNorm(*numbers(2, 5)),
        lambda F, x, gamma, beta: F.layer_norm(x, (5,), gamma, beta),
        normals((6, 5), (1, 5), (3, 4, 5), mean=5.0, deviation=3.0),
    ),
    LayerCase(
        "LayerNorm, two axes, a large eps",
        mt.LayerNorm(*numbers(2, 4, 5), eps=0.1),
        lambda F, x, gamma, beta: F.layer_norm(x, (4, 5), gamma, beta, eps=0.1),
        normals((3, 4, 5), (2, 3, 4, 5), mean=5.0, deviation=3.0),
    ),
    LayerCase(
        "Embedding",
        mt.Embedding(numbers(6, 3)),
        lambda F, x, W: F.embedding(x, W),
        words(6, (20,), (3, 4), (2, 3, 4), (1,)),
    ),
    LayerCase(
        "Reshape", mt.Reshape((2, -1)), lambda F, x: x.unflatten(1, (2, x.shape[1] // 2)), normals((5, 6), (1, 2))
    ),
    LayerCase("Flatten", mt.Flatten(), lambda F, x: x.flatten(1), normals((5, 3, 2), (1, 2, 3, 4), (4, 2))),
]


@dataclass(frozen=True)
class BatchNormCase:
    """Batch normalization over several batches in training, its running statistics, then in evaluation."""

    name: str
    shape: tuple[int, ...]
    momentum: float = 0.1
    eps: float = 1e-5

    def places(self, torch: Any) -> Iterator[tuple[str, Any, Any]]:
        draw = rng()
        gamma, beta = draw.standard_normal((2, 3))
        ours = mt.BatchNorm(gamma, beta, np.zeros(3), np.ones(3), momentum=self.momentum, eps=self.eps)
        kind = torch.nn.BatchNorm2d if len(self.shape) == 4 else torch.nn.BatchNorm1d
        theirs = kind(3, momentum=self.momentum, eps=self.eps, dtype=torch.float64)
        with torch.no_grad():
            theirs.weight.copy_(torch.tensor(gamma))
            theirs.bias.copy_(torch.tensor(beta))
        for batch in range(1, 5):
            x = 5.0 + 3.0 * draw.standard_normal(self.shape)
            dout = draw.standard_normal(self.shape)
            y, cache = ours.forward(x)
            dx, grad = ours.backward(cache, dout)
            ours = ours.observe(cache)
            theirs.zero_grad()
            their_x = torch.tensor(x, requires_grad=True)
            their_y = theirs(their_x)
            their_y.backward(torch.tensor(dout))
            yield f"y of batch {batch}", y, their_y.detach()
            yield f"dx of batch {batch}", dx, their_x.grad
            yield f"dgamma of batch {batch}", grad.gamma, theirs.weight.grad
            yield f"dbeta of batch {batch}", grad.beta, theirs.bias.grad
            yield f"the running mean after batch {batch}", ours.mean, theirs.running_mean
            yield f"the running variance after batch {batch}", ours.variance, theirs.running_var
        theirs.eval()
        yield "y in evaluation", ours.predict(x), theirs(torch.tensor(x)).detach()
        yield "y of one in evaluation", ours.predict(x[:1]), theirs(torch.tensor(x[:1])).detach()


BATCH_NORMS = [
    BatchNormCase("BatchNorm", (6, 3)),
    # Of two rows x̂ is 1 and -1, whatever x is, and dx is 0 but for what eps leaves of it.
    BatchNormCase("BatchNorm, two rows", (2, 3), eps=1.0),
    BatchNormCase("BatchNorm, words", (6, 3, 4), momentum=0.3),
    BatchNormCase("BatchNorm, images", (6, 3, 4, 5), momentum=0.3, eps=1e-3),
    BatchNormCase("BatchNorm, one image", (1, 3, 4, 5), momentum=1.0),
]


def compare(torch: Any, case: LayerCase | BatchNormCase) -> Row:
    return largest(case.name, case.places(torch), LIMIT)
