"""Embedding, whose x are integers."""

from __future__ import annotations

import martlet as mt
from mistakes.row import Row

# fmt: off
FORWARD = [
    Row("Embedding: floats", TypeError, "Embedding x integers float32", lambda g: g.embedding.forward(g.x(5))),
    Row("Embedding: one-hot rows", TypeError, "Embedding x integers float32", lambda g: g.embedding.predict(g.x(5, 4))),
    Row("Embedding: booleans", TypeError, "Embedding x integers bool",
        lambda g: g.embedding.forward(g.cast(g.x(5), "bool"))),
    Row("Embedding: a list", TypeError, "Embedding x array list", lambda g: g.embedding.forward([0, 1])),
    Row("Embedding: a number", TypeError, "Embedding x array int", lambda g: g.embedding.predict(1)),
    Row("Embedding: None", TypeError, "Embedding x array None", lambda g: g.embedding.forward(None)),
    Row("Embedding: a tuple", TypeError, "Embedding x array tuple",
        lambda g: g.embedding.forward((g.words(0), g.words(1)))),
    Row("Embedding: no axes", ValueError, "Embedding x () (N, ...)",
        lambda g: g.embedding.forward(g.words(1, 2)[0, ...])),
    Row("Embedding: words of another library", TypeError, "Embedding x W numpy",
        lambda g: g.embedding.forward(g.foreign(g.words(0, 1)))),
    Row("Embedding: words on another device", TypeError, "Embedding x W CPU_DEVICE",
        lambda g: g.embedding.forward(g.elsewhere(g.words(0, 1)))),
    Row("Embedding: word 4 of 4", ValueError, "Embedding x 0 4 3",
        lambda g: g.embedding.forward(g.words(0, 4)), "numpy"),
    Row("Embedding: word -1", ValueError, "Embedding x -1", lambda g: g.embedding.predict(g.words(0, -1)), "numpy"),
    Row("Embedding: word 255 in a byte", ValueError, "Embedding x 255",
        lambda g: g.embedding.forward(g.words(0, 255, dtype="uint8")), "numpy"),
    Row("Embedding: W (4,)", ValueError, "Embedding W (4,) (V, D)",
        lambda g: mt.Embedding(g.x(4)).forward(g.words(0, 1))),
    Row("Embedding: W (4, 3, 2)", ValueError, "Embedding W (4, 3, 2) (V, D)",
        lambda g: mt.Embedding(g.x(4, 3, 2)).forward(g.words(0, 1))),
    *(
        Row(f"Embedding: W {what}{place}", error, f"Embedding W {words}",
            lambda g, W=W, call=call: call(g, mt.Embedding(W(g))))
        for what, error, words, W in (
            ("()", ValueError, "() (V, D)", lambda g: g.x()),
            ("(0, 3)", ValueError, "(0, 3) (V, D)", lambda g: g.x(0, 3)),
            ("None", TypeError, "array None", lambda g: None),
        )
        for place, call in {"": lambda g, layer: layer.forward(g.words(0, 1)),
                            " in predict": lambda g, layer: layer.predict(g.words(0, 1)),
                            " in fit": lambda g, layer: g.fit(model=mt.Sequential(layer, g.model), x=g.t)}.items()
    ),
    Row("Embedding: W integers", TypeError, "Embedding W floating-point int32",
        lambda g: mt.Embedding(g.cast(g.x(4, 3), "int32")).forward(g.words(0, 1))),
    Row("Embedding: in the middle", TypeError, "Embedding x integers float32",
        lambda g: mt.Sequential(mt.Tanh(), g.embedding).forward(g.x(5, 3))),
]

BACKWARD = [
    Row("Embedding: dout (2, 1)", ValueError, "Embedding dout (2, 1) (2, 3)",
        lambda g: g.backward(g.embedding, g.words(0, 1), g.x(2, 1))),
    Row("Embedding: dout (3,)", ValueError, "Embedding dout (3,) (2, 3)",
        lambda g: g.backward(g.embedding, g.words(0, 1), g.x(3))),
    Row("Embedding: dout (1, 2, 3)", ValueError, "Embedding dout (1, 2, 3) (2, 3)",
        lambda g: g.backward(g.embedding, g.words(0, 1), g.x(1, 2, 3))),
    Row("Embedding: dout None", TypeError, "Embedding dout array None",
        lambda g: g.backward(g.embedding, g.words(0, 1), None)),
    Row("Embedding: dout integers", TypeError, "Embedding dout int32 float32",
        lambda g: g.backward(g.embedding, g.words(0, 1), g.cast(g.x(2, 3), "int32"))),
    Row("Embedding: dout float64", TypeError, "Embedding dout float64 float32",
        lambda g: g.backward(g.embedding, g.words(0, 1), g.x(2, 3, dtype="float64"))),
    Row("Embedding: dout of another library", TypeError, "Embedding dout numpy",
        lambda g: g.backward(g.embedding, g.words(0, 1), g.foreign(g.x(2, 3)))),
    Row("Embedding: dout on another device", TypeError, "Embedding dout CPU_DEVICE",
        lambda g: g.backward(g.embedding, g.words(0, 1), g.elsewhere(g.x(2, 3)))),
]
