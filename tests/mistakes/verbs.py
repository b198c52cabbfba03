"""What no layer takes, whichever it is: the same rows for a whole catalogue of layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import martlet as mt
from mistakes.row import Given, Row, objects

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


def forwarded(layer: Callable[[Given], Any], x: Callable[[Given], Any]) -> Callable[[Given], Any]:
    return lambda g: layer(g).forward(x(g))


def predicted(layer: Callable[[Given], Any], x: Callable[[Given], Any]) -> Callable[[Given], Any]:
    return lambda g: layer(g).predict(x(g))


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
]
