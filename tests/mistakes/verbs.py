"""What no layer takes, whichever it is: the same rows for a whole catalogue of layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import martlet as mt
from mistakes.row import EITHER, Given, Row, objects

# The layers that take any x of floats, or one of three channels, and whose dout is shaped like x.
CATALOGUE: dict[str, Callable[[Given], mt.Layer]] = {
    "LeakyReLU": lambda g: mt.LeakyReLU(),
    "ELU": lambda g: mt.ELU(),
    "Softplus": lambda g: mt.Softplus(),
    "SiLU": lambda g: mt.SiLU(),
    "GELU": lambda g: mt.GELU(),
    "LogSoftmax": lambda g: mt.LogSoftmax(),
    "Dropout": lambda g: g.dropout,
    "BatchNorm": lambda g: g.batch_norm,
    "LayerNorm": lambda g: g.layer_norm,
    "Standardize": lambda g: g.standardize,
}

NO_X: dict[str, tuple[str, Callable[[Given], Any]]] = {
    "integers": ("floating-point int64", lambda g: g.cast(g.x(5, 3), "int64")),
    "booleans": ("floating-point bool", lambda g: g.cast(g.x(5, 3), "bool")),
    "complex": ("floating-point complex64", lambda g: g.cast(g.x(5, 3), "complex64")),
    "a list": ("array list", lambda g: [[1.0, 2.0, 3.0]]),
    "a number": ("array float", lambda g: 1.0),
    "None": ("array None", lambda g: None),
    "a tuple": ("array tuple", lambda g: (g.x(5, 3), g.x(5, 3))),
    "objects": ("object", lambda g: g.keep(objects(5, 3))),
}
NO_DOUT: dict[str, tuple[type[Exception], str, Callable[[Given], Any]]] = {
    "(5, 1)": (ValueError, "(5, 1) (5, 3) output", lambda g: g.x(5, 1)),
    "(3,)": (ValueError, "(3,) (5, 3) output", lambda g: g.x(3)),
    "()": (ValueError, "() (5, 3) output", lambda g: g.x()[...]),
    "1.0": (TypeError, "array float", lambda g: 1.0),
    "None": (TypeError, "array None", lambda g: None),
    "integers": (TypeError, "int64 float32", lambda g: g.cast(g.x(5, 3), "int64")),
    "float64": (TypeError, "float64 float32", lambda g: g.x(5, 3, dtype="float64")),
    "of another library": (TypeError, "numpy", lambda g: g.foreign(g.x(5, 3))),
    "on another device": (TypeError, "CPU_DEVICE", lambda g: g.elsewhere(g.x(5, 3))),
}


# The layers that take their cache apart, and an x for each.
KEEPS_PARTS: dict[str, tuple[Callable[[Given], mt.Layer], Callable[[Given], Any]]] = {
    "MatMul": (lambda g: g.matmul, lambda g: g.x(5, 3)),
    "Affine": (lambda g: g.affine, lambda g: g.x(5, 3)),
    "SiLU": (lambda g: mt.SiLU(), lambda g: g.x(5, 3)),
    "GELU": (lambda g: mt.GELU(), lambda g: g.x(5, 3)),
    "BatchNorm": (lambda g: g.batch_norm, lambda g: g.x(5, 3)),
    "LayerNorm": (lambda g: g.layer_norm, lambda g: g.x(5, 3)),
    "Standardize": (lambda g: g.standardize, lambda g: g.x(5, 3)),
    "Embedding": (lambda g: g.embedding, lambda g: g.words(0, 1)),
    "Flatten": (lambda g: mt.Flatten(), lambda g: g.x(5, 3)),
    "Reshape": (lambda g: mt.Reshape((3, 1)), lambda g: g.x(5, 3)),
    "Add": (lambda g: mt.Add(), lambda g: (g.x(5, 3), g.x(5, 3))),
    "Multiply": (lambda g: mt.Multiply(), lambda g: (g.x(5, 3), g.x(5, 3))),
    "Sum": (lambda g: mt.Sum(), lambda g: g.x(5, 3)),
    "Sequential": (lambda g: g.model, lambda g: g.x(5, 3)),
    "Parallel": (lambda g: mt.Parallel(g.affine, mt.Tanh()), lambda g: (g.x(5, 3), g.x(5, 3))),
}
NO_CACHE: dict[str, tuple[type[Exception] | tuple[type[Exception], ...], str, Any]] = {
    "None": (TypeError, "None", None),
    "a number": (TypeError, "float", 1.0),
    "an empty tuple": (EITHER, "tuple", ()),
}


class Forgetful(mt.Layer):
    """y = 2 x, by a user who keeps more than backward needs."""

    def forward(self, x):
        return 2.0 * x, (x, 2.0)

    def backward(self, cache, dout):
        _, slope = cache
        return slope * dout, None


def forwarded(layer: Callable[[Given], Any], x: Callable[[Given], Any]) -> Callable[[Given], Any]:
    return lambda g: layer(g).forward(x(g))


def predicted(layer: Callable[[Given], Any], x: Callable[[Given], Any]) -> Callable[[Given], Any]:
    return lambda g: layer(g).predict(x(g))


def forgotten(layer: Callable[[Given], Any], x: Callable[[Given], Any], cache: Any) -> Callable[[Given], Any]:
    """Backward with a cache that no forward gave."""
    return lambda g: (it := layer(g)).backward(cache, it.predict(x(g)))


def gone_back(layer: Callable[[Given], Any], dout: Callable[[Given], Any]) -> Callable[[Given], Any]:
    return lambda g: g.backward(layer(g), g.x(5, 3), dout(g))


# fmt: off
FORWARD = [
    *(
        Row(f"{name}: {what}{verb}", TypeError, f"{name} x {words}", call(layer, x))
        for name, layer in CATALOGUE.items()
        for what, (words, x) in NO_X.items()
        for verb, call in {"": forwarded, " in predict": predicted}.items()
        if verb == "" or name in ("Dropout", "BatchNorm")  # the others predict as they go forward
    ),
]

BACKWARD = [
    *(
        Row(f"{name}: dout {what}", error, f"{name} dout {words}", gone_back(layer, dout))
        for name, layer in CATALOGUE.items()
        for what, (error, words, dout) in NO_DOUT.items()
    ),
    *(
        Row(f"{name}: cache {what}", error, f"{name} cache {words}", forgotten(layer, x, cache))
        for name, (layer, x) in KEEPS_PARTS.items()
        for what, (error, words, cache) in NO_CACHE.items()
    ),
    Row("Sequential: the cache of a shorter one", TypeError, "Sequential.backward cache tuple of 2",
        lambda g: (m := g.model).backward(m[:2].forward(g.x(5, 3))[1], g.x(5, 3))),
    Row("Parallel: the cache of a longer one", ValueError, "Parallel cache 1 2",
        lambda g: mt.Parallel(g.affine).backward(
            mt.Parallel(g.affine, mt.Tanh()).forward((g.x(5, 3), g.x(5, 3)))[1], (g.x(5, 4),))),
    Row("GELU: the cache of SiLU", TypeError, "GELU.backward cache tuple of 2",
        lambda g: mt.GELU().backward(mt.SiLU().forward(g.x(5, 3))[1], g.x(5, 3))),
    Row("BatchNorm: the cache of LayerNorm", TypeError, "BatchNorm.backward cache tuple of 2",
        lambda g: g.batch_norm.backward(g.layer_norm.forward(g.x(5, 3))[1], g.x(5, 3))),
    Row("Affine: the cache of another batch", ValueError, "Affine dout (5, 4) (6, 4)",
        lambda g: (layer := g.affine).backward(layer.forward(g.x(6, 3))[1], g.x(5, 4))),
    Row("Tanh: no cache", TypeError, "Tanh output array None", lambda g: mt.Tanh().backward(None, g.x(5, 3))),
    Row("Freeze: no cache", TypeError, "Affine.backward cache None",
        lambda g: mt.Freeze(g.affine).backward(None, g.x(5, 4))),
    Row("a layer of one's own: no cache", TypeError, "Forgetful.backward cache None",
        lambda g: Forgetful().backward(None, g.x(5, 3))),
]
