"""The layers that keep arrays which are not learned: Dropout's counters, and statistics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import martlet as mt
from mistakes.row import ARRAYS, Given, Row
from mistakes.verbs import forwarded, predicted

NO_COUNTER: dict[str, tuple[type[Exception], str, Callable[[Given, int], Any]]] = {
    "floats": (ValueError, "int32 float32", lambda g, n: g.x(n)),
    "too long": (ValueError, "int32 (3,)", lambda g, n: g.words(0, 1, 2)),
    "of two axes": (ValueError, "int32 (1, 3)", lambda g, n: g.words(0, 1, 2)[None, :]),
    "of no axes": (ValueError, "int32 ()", lambda g, n: g.words(1)[0, ...]),
    "int64": (ValueError, "int32 int64", lambda g, n: g.words(*range(n), dtype="int64")),
    "None": (TypeError, "array None", lambda g, n: None),
}


def counters(g: Given, name: str, make: Callable[[Given, int], Any]) -> mt.Dropout:
    """A Dropout, one of whose counters is not what it should be."""
    right = {"stream": g.words(1, 2), "step": g.words(0)}
    return mt.Dropout(**right | {name: make(g, right[name].shape[0])}, rate=0.5)


# fmt: off
FORWARD = [
    Row("Dropout: x of another library", TypeError, "Dropout stream x numpy",
        lambda g: g.dropout.forward(g.foreign(g.x(5, 3)))),
    Row("Dropout: x on another device", TypeError, "Dropout stream x CPU_DEVICE",
        lambda g: g.dropout.forward(g.elsewhere(g.x(5, 3)))),
    *(
        Row(f"Dropout: {name} {what}{place}", error, f"Dropout {name} {words}",
            lambda g, name=name, make=make, call=call: call(g, counters(g, name, make)))
        for name in ("stream", "step")
        for what, (error, words, make) in NO_COUNTER.items()
        for place, call in {"": lambda g, d: d.forward(g.x(5, 3)),
                            " in fit": lambda g, d: g.fit(model=mt.Sequential(d, g.model))}.items()
    ),
    Row("Dropout: step of another library", TypeError, "Dropout step x numpy int32",
        lambda g: counters(g, "step", lambda g, n: g.foreign(g.words(0))).forward(g.x(5, 3))),
    Row("Dropout: step on another device", TypeError, "Dropout step x CPU_DEVICE int32",
        lambda g: counters(g, "step", lambda g, n: g.elsewhere(g.words(0))).forward(g.x(5, 3))),
    Row("BatchNorm: channels", ValueError, "BatchNorm x (5, 4) (N, 3, ...)",
        lambda g: g.batch_norm.forward(g.x(5, 4))),
    Row("BatchNorm: channels in predict", ValueError, "BatchNorm x (5, 4) (N, 3, ...)",
        lambda g: g.batch_norm.predict(g.x(5, 4))),
    Row("BatchNorm: one column", ValueError, "BatchNorm x (5, 1) (N, 3, ...)",
        lambda g: g.batch_norm.forward(g.x(5, 1))),
    Row("BatchNorm: one sample", ValueError, "BatchNorm x (3,) (N, 3, ...)", lambda g: g.batch_norm.forward(g.x(3))),
    Row("BatchNorm: one sample in predict", ValueError, "BatchNorm x (3,) (N, 3, ...)",
        lambda g: g.batch_norm.predict(g.x(3))),
    Row("BatchNorm: no axes", ValueError, "BatchNorm x () (N, 3, ...)", lambda g: g.batch_norm.forward(g.x())),
    Row("BatchNorm: channels last", ValueError, "BatchNorm x (2, 4, 3) (N, 3, ...)",
        lambda g: g.batch_norm.forward(g.x(2, 4, 3))),
    Row("BatchNorm: one row", ValueError, "BatchNorm x (1, 3) two predict", lambda g: g.batch_norm.forward(g.x(1, 3))),
    Row("BatchNorm: no rows", ValueError, "BatchNorm x (0, 3) two", lambda g: g.batch_norm.forward(g.x(0, 3))),
    Row("BatchNorm: one pixel", ValueError, "BatchNorm x (1, 3, 1, 1) two",
        lambda g: g.batch_norm.forward(g.x(1, 3, 1, 1))),
    Row("BatchNorm: no pixels", ValueError, "BatchNorm x (5, 3, 0) two",
        lambda g: g.batch_norm.forward(g.x(5, 3, 0))),
    Row("LayerNorm: columns", ValueError, "LayerNorm x (5, 4) (N, ..., 3)", lambda g: g.layer_norm.forward(g.x(5, 4))),
    Row("LayerNorm: one column", ValueError, "LayerNorm x (5, 1) (N, ..., 3)",
        lambda g: g.layer_norm.forward(g.x(5, 1))),
    Row("LayerNorm: one sample", ValueError, "LayerNorm x (3,) (N, ..., 3)", lambda g: g.layer_norm.forward(g.x(3))),
    Row("LayerNorm: no axes", ValueError, "LayerNorm x () (N, ..., 3)", lambda g: g.layer_norm.forward(g.x())),
    Row("LayerNorm: axes swapped", ValueError, "LayerNorm x (5, 2, 4) (N, ..., 4, 2)",
        lambda g: mt.LayerNorm(g.x(4, 2), g.x(4, 2)).forward(g.x(5, 2, 4))),
    Row("Standardize: columns", ValueError, "Standardize x (5, 4) (N, 3)", lambda g: g.standardize.forward(g.x(5, 4))),
    Row("Standardize: one column", ValueError, "Standardize x (5, 1) (N, 3)",
        lambda g: g.standardize.forward(g.x(5, 1))),
    Row("Standardize: one sample", ValueError, "Standardize x (3,) (N, 3)", lambda g: g.standardize.predict(g.x(3))),
    Row("Standardize: three axes", ValueError, "Standardize x (5, 2, 3) (N, 3)",
        lambda g: g.standardize.forward(g.x(5, 2, 3))),
    *(
        Row(f"{kind.__name__}: x {what}", TypeError, f"{kind.__name__} x {first} {words}",
            lambda g, kind=kind, x=x: g.normalization(kind).forward(x(g)))
        for kind, (first, *_) in ARRAYS.items()
        for what, words, x in (
            ("float64", "float64 float32", lambda g: g.x(5, 3, dtype="float64")),
            ("of another library", "numpy", lambda g: g.foreign(g.x(5, 3))),
            ("on another device", "CPU_DEVICE", lambda g: g.elsewhere(g.x(5, 3))),
        )
    ),
    *(
        Row(f"{kind.__name__}: {name} {what}", error, f"{kind.__name__} {name} {words}",
            lambda g, kind=kind, name=name, x=x: g.normalization(kind, **{name: x(g)}).forward(g.x(5, 3)))
        for kind, (_, *others) in ARRAYS.items()
        for name in others
        for what, error, words, x in (
            ("(4,)", ValueError, "(4,) (3,)", lambda g: g.x(4)),
            ("(1,)", ValueError, "(1,) (3,)", lambda g: g.x(1)),
            ("()", ValueError, "() (3,)", lambda g: g.x()),
            ("(1, 3)", ValueError, "(1, 3) (3,)", lambda g: g.x(1, 3)),
            ("None", TypeError, "array None", lambda g: None),
            ("of another library", TypeError, "numpy", lambda g: g.foreign(g.x(3))),
            ("on another device", TypeError, "CPU_DEVICE", lambda g: g.elsewhere(g.x(3))),
        )
    ),
    Row("BatchNorm: gamma (4,)", ValueError, "BatchNorm x (5, 3) gamma",
        lambda g: g.normalization(mt.BatchNorm, gamma=g.x(4)).forward(g.x(5, 3))),
    *(
        Row(f"BatchNorm: gamma {shape}{verb}", ValueError, f"BatchNorm gamma {shape} (C,)",
            lambda g, shape=shape, call=call: call(
                lambda g: g.normalization(mt.BatchNorm, gamma=g.x(*shape)), lambda g: g.x(5, 3))(g))
        for shape in ((1, 3), (3, 1), ())
        for verb, call in {"": forwarded, " in predict": predicted}.items()
    ),
    *(
        Row(f"{kind.__name__}: {name} float64", TypeError, f"{kind.__name__} {name} float64 {other} float32",
            lambda g, kind=kind, name=name: g.normalization(
                kind, **{name: g.x(3, dtype="float64")}).forward(g.x(5, 3)))
        for kind, name, other in ((mt.BatchNorm, "beta", "gamma"), (mt.LayerNorm, "beta", "gamma"),
                                  (mt.Standardize, "scale", "mean"))
    ),
    *(
        Row(f"BatchNorm: {name} integers{verb}", TypeError, f"BatchNorm {name} floating-point int32",
            lambda g, name=name, call=call: call(
                lambda g: g.normalization(mt.BatchNorm, **{name: g.words(1, 1, 1)}), lambda g: g.x(5, 3))(g))
        for name in ("mean", "variance")
        for verb, call in {"": forwarded, " in predict": predicted}.items()
    ),
    Row("Standardize.inverse: scale float64", TypeError, "Standardize scale float64 mean float32",
        lambda g: g.normalization(mt.Standardize, scale=g.x(3, dtype="float64")).inverse()),
    Row("Standardize.inverse: scale (1,)", ValueError, "Standardize scale (1,) (3,) mean",
        lambda g: g.normalization(mt.Standardize, scale=g.x(1)).inverse()),
    Row("Standardize.inverse: scale of another library", TypeError, "Standardize scale mean numpy",
        lambda g: g.normalization(mt.Standardize, scale=g.foreign(g.x(3))).inverse()),
    Row("BatchNorm: gamma None", TypeError, "BatchNorm gamma array None",
        lambda g: g.normalization(mt.BatchNorm, gamma=None).forward(g.x(5, 3))),
    Row("BatchNorm: gamma integers", TypeError, "BatchNorm x float32 gamma int32",
        lambda g: g.normalization(mt.BatchNorm, gamma=g.words(1, 1, 1)).predict(g.x(5, 3))),
    Row("LayerNorm: gamma float64", TypeError, "LayerNorm x float32 gamma float64",
        lambda g: g.normalization(mt.LayerNorm, gamma=g.x(3, dtype="float64")).forward(g.x(5, 3))),
    Row("Standardize: mean float64", TypeError, "Standardize x float32 mean float64",
        lambda g: g.normalization(mt.Standardize, mean=g.x(3, dtype="float64")).predict(g.x(5, 3))),
]
