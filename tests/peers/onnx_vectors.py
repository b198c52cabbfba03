"""The test vectors that the onnx package makes for its operators, in float32, and what computes them here.

``COUNTERPARTS`` has an operator per line, with the function that works it out by our layers.  It reads each
attribute that it knows; a vector with another one, or of another kind, is not passed over in silence: it is
``Unlisted``, and test_against_onnx.py names it.

Not compared, for there is nothing of ours to compare: the mean and the inverse deviation that
LayerNormalization gives beside its output, which our layer keeps to itself; and the vectors called
"…_expanded", which are the same numbers once more for a graph of simpler operators.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from conftest import Target, to_numpy

import martlet as mt
from peers.differences import Row, largest

LIMIT = 1e-6  # of the largest number in an array: eight times float32's rounding


class Unlisted(Exception):
    """A vector of an operator in the table that the table cannot compute; it says why."""


class Vector(NamedTuple):
    """One test of onnx: the node's attributes, and what goes in and comes out, by position."""

    name: str
    operator: str
    attributes: dict[str, Any]
    inputs: list[np.ndarray]
    outputs: list[np.ndarray]

    def read(self, **defaults: Any) -> list[Any]:
        """The values of these attributes, and no others."""
        unknown = self.attributes.keys() - defaults.keys()
        if unknown:
            raise Unlisted(f"{self.name} has the attribute {', '.join(sorted(unknown))}")
        return [self.attributes.get(name, default) for name, default in defaults.items()]


def vectors(operator: str) -> list[Vector]:
    """Every vector of an operator in the onnx that is installed, made by the modules that onnx ships for this."""
    from onnx.backend.test.case import node

    for module in pkgutil.iter_modules(node.__path__):
        if operator.lower().startswith(module.name.replace("_", "")):
            importlib.import_module(f"{node.__name__}.{module.name}")
    found = (case for case in node._NodeTestCases if "_expanded" not in case.name)
    return [read(case) for case in found if case.model.graph.node[0].op_type == operator]


def read(case: Any) -> Vector:
    from onnx.helper import get_attribute_value

    (node,) = case.model.graph.node
    values = {a.name: get_attribute_value(a) for a in node.attribute}
    values = {name: v.decode() if isinstance(v, bytes) else v for name, v in values.items()}
    ((inputs, outputs),) = case.data_sets
    return Vector(case.name, node.op_type, values, *(list(map(np.asarray, arrays)) for arrays in (inputs, outputs)))


# ------------------------------------------------------------------------------------- what computes them

Run = Callable[..., Any]  # of a layer or loss with NumPy's arrays, and its input: see ``on``


def activation(layer: Callable[..., mt.Layer], **defaults: Any) -> Callable[[Vector, Run], list[Any]]:
    def compute(vector: Vector, run: Run) -> list[Any]:
        return [run(layer(*vector.read(**defaults)), *vector.inputs)]

    return compute


def gelu(vector: Vector, run: Run) -> list[Any]:
    (approximate,) = vector.read(approximate="none")
    return [run(mt.GELU(tanh={"none": False, "tanh": True}[approximate]), *vector.inputs)]


def swish(vector: Vector, run: Run) -> list[Any]:
    """x · sigmoid(alpha · x) is SiLU of alpha · x, divided by alpha."""
    (alpha,) = vector.read(alpha=1.0)
    (x,) = vector.inputs
    return [run(mt.SiLU(), np.float32(alpha) * x) / np.float32(alpha)]


def along_an_axis(layer: mt.Layer) -> Callable[[Vector, Run], list[Any]]:
    """Ours works along the last axis, so theirs is brought there and back."""

    def compute(vector: Vector, run: Run) -> list[Any]:
        (axis,) = vector.read(axis=-1)
        (x,) = vector.inputs
        return [np.moveaxis(run(layer, np.moveaxis(x, axis, -1)), -1, axis)]

    return compute


def gemm(vector: Vector, run: Run) -> list[Any]:
    """alpha · a @ b + beta · c is Affine where c is one row, else the nodes MatMul and Add."""
    alpha, beta, transpose_a, transpose_b = vector.read(alpha=1.0, beta=1.0, transA=0, transB=0)
    a, b, *rest = vector.inputs
    x, W = a.T if transpose_a else a, np.float32(alpha) * (b.T if transpose_b else b)
    if not rest:
        return [run(mt.MatMul(W), x)]
    c = np.float32(beta) * rest[0]
    if c.ndim == 2 and c.shape[0] > 1:
        return [run(mt.Add(), (run(mt.MatMul(W), x), c))]
    return [run(mt.Affine(W, np.broadcast_to(c, (1, W.shape[1]))[0]), x)]


def matmul(vector: Vector, run: Run) -> list[Any]:
    """A stack of matrices is a MatMul for each; a vector is a matrix of one row, or of one column."""
    vector.read()
    a, b = vector.inputs
    rows, columns = np.atleast_2d(a), b[:, None] if b.ndim == 1 else b
    stack = np.broadcast_shapes(rows.shape[:-2], columns.shape[:-2])
    xs = np.broadcast_to(rows, (*stack, *rows.shape[-2:]))
    Ws = np.broadcast_to(columns, (*stack, *columns.shape[-2:]))
    y = np.empty((*stack, rows.shape[-2], columns.shape[-1]), "float32")
    for place in np.ndindex(stack):
        y[place] = run(mt.MatMul(Ws[place]), xs[place])
    return [np.reshape(y, vector.outputs[0].shape)]


def layer_normalization(vector: Vector, run: Run) -> list[Any]:
    """From ``axis`` on the numbers belong to one sample; where that is all of them, x is one sample of a batch."""
    axis, eps = vector.read(axis=-1, epsilon=1e-5)
    x, *rest = vector.inputs
    features = x.shape[axis:]
    gamma, beta = rest if len(rest) == 2 else (*rest, np.zeros(features, "float32"))
    y = run(mt.LayerNorm(np.broadcast_to(gamma, features), np.broadcast_to(beta, features), eps=eps), x[None])
    return [y[0]]


def batch_normalization(vector: Vector, run: Run) -> list[Any]:
    """In training the running statistics too; onnx keeps the biased variance, ours is n / (n - 1) times that."""
    eps, momentum, training = vector.read(epsilon=1e-5, momentum=0.9, training_mode=0)
    x, *arrays = vector.inputs
    layer = mt.BatchNorm(*arrays, momentum=1.0 - momentum, eps=eps)
    if not training:
        return [run(layer, x)]
    y, mean, variance = run(layer, x, train=True)
    old, n = momentum * layer.variance, x.size // x.shape[1]
    return [y, mean, old + (variance - old) * (n - 1) / n]


def softmax_cross_entropy(vector: Vector, run: Run) -> list[Any]:
    """Theirs has its classes along axis 1, of pixels too; each is a sample to us.

    A label to be ignored is a sample of weight 0, with any label that there is.
    """
    reduction, ignored = vector.read(reduction="mean", ignore_index=None)
    x, t, *class_weight = vector.inputs
    scores = np.moveaxis(x, 1, -1)
    y, labels = scores.reshape(-1, x.shape[1]), t.reshape(-1)
    weight = None
    if ignored is not None:
        weight, labels = (labels != ignored).astype(x.dtype), np.where(labels == ignored, 0, labels)
    loss = mt.SoftmaxWithLoss(reduction, class_weight=class_weight[0] if class_weight else None)
    value = run(loss, (y, labels, weight))
    found = [value.reshape(t.shape) if reduction == "none" else value]
    if len(vector.outputs) == 2:
        found.append(np.moveaxis(run(mt.LogSoftmax(), scores), -1, 1))
    return found


COUNTERPARTS: dict[str, Callable[[Vector, Run], list[Any]]] = {
    "Sigmoid": activation(mt.Sigmoid),
    "Tanh": activation(mt.Tanh),
    "Relu": activation(mt.ReLU),
    "LeakyRelu": activation(mt.LeakyReLU, alpha=0.01),
    "Elu": activation(mt.ELU, alpha=1.0),
    "Softplus": activation(mt.Softplus),
    "Gelu": gelu,
    "Swish": swish,
    "Softmax": along_an_axis(mt.Softmax()),
    "LogSoftmax": along_an_axis(mt.LogSoftmax()),
    "Gemm": gemm,
    "MatMul": matmul,
    "LayerNormalization": layer_normalization,
    "BatchNormalization": batch_normalization,
    "SoftmaxCrossEntropyLoss": softmax_cross_entropy,
}


# ------------------------------------------------------------------------------------ how far apart they are


def on(xp: Target) -> Run:
    """Moves a layer or loss and its input to a backend, computes there, and brings the output back."""

    def run(part: Any, x: Any, train: bool = False) -> Any:
        part, x = xp.put(part, "float32"), xp.put(x, "float32")
        if isinstance(part, mt.Loss):
            return to_numpy(part.value(*x))
        if not train:
            return to_numpy(part.predict(x))
        y, cache = part.forward(x)
        after = part.observe(cache)
        return to_numpy((y, after.mean, after.variance))

    return run


def places(vector: Vector, xp: Target) -> Iterator[tuple[str, Any, Any]]:
    """Each output that we have, ours and theirs."""
    widths = {x.dtype.name for x in vector.inputs} - {"float32", "int64", "int32"}
    if widths:
        raise Unlisted(f"{vector.name} is in {', '.join(sorted(widths))}")
    for number, ours in enumerate(COUNTERPARTS[vector.operator](vector, on(xp))):
        yield f"output {number} of {vector.name}", ours, vector.outputs[number]


def compare(operator: str, xp: Target) -> tuple[Row | None, list[str], list[str]]:
    """The row of an operator's vectors, their names, and for those that are unlisted why; no row without vectors."""
    pairs, names, unlisted = [], [], []
    for vector in vectors(operator):
        try:
            pairs += places(vector, xp)
            names.append(vector.name)
        except Unlisted as reason:
            unlisted.append(str(reason))
    name = f"{operator}, {len(names)} vector{'s' * (len(names) > 1)}"
    return largest(name, pairs, LIMIT) if pairs else None, names, unlisted
