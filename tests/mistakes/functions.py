"""The functions that take arrays alone."""

from __future__ import annotations

import martlet as mt
from mistakes.row import Row

# fmt: off
FUNCTIONS = [
    Row("sigmoid of a list", TypeError, "sigmoid x array list", lambda g: mt.sigmoid([1.0])),
    Row("sigmoid of integers", TypeError, "sigmoid x floating-point", lambda g: mt.sigmoid(g.t)),
    Row("softmax of booleans", TypeError, "softmax x floating-point bool",
        lambda g: mt.softmax(g.cast(g.x(5), "bool"))),
    Row("softmax of a number", ValueError, "softmax x ()", lambda g: mt.softmax(g.x())),
    Row("softmax of no classes", ValueError, "softmax x (5, 0)", lambda g: mt.softmax(g.x(5, 0))),
    Row("one_hot of floats", TypeError, "one_hot t integer float32", lambda g: mt.one_hot(g.x(5), 3)),
    Row("one_hot of booleans", TypeError, "one_hot t integer bool", lambda g: mt.one_hot(g.cast(g.x(5), "bool"), 3)),
    Row("one_hot of a column", TypeError, "one_hot t (3, 1) (N,)", lambda g: mt.one_hot(g.array([0], [1], [2]), 3)),
    Row("one_hot of a list", TypeError, "one_hot t array list", lambda g: mt.one_hot([0, 1], 3)),
    Row("one_hot, 0 classes", ValueError, "one_hot classes 1 0", lambda g: mt.one_hot(g.t, 0)),
    Row("one_hot, 3.0 classes", TypeError, "one_hot classes integer 3.0", lambda g: mt.one_hot(g.t, 3.0)),
    Row("one_hot of int32", ValueError, "dtype int32", lambda g: mt.one_hot(g.t, 3, "int32")),
    Row("namespace of a list", TypeError, "array list", lambda g: mt.namespace([1.0])),
    Row("backend_of a list", TypeError, "array list", lambda g: mt.backend_of([1.0])),
    Row("backend_of a name", TypeError, "array numpy", lambda g: mt.backend_of("numpy")),
    Row("one_hot, 10³⁰ classes", ValueError, "one_hot classes most", lambda g: mt.one_hot(g.t, 10**30)),
    Row("softplus of integers", TypeError, "softplus x floating-point", lambda g: mt.softplus(g.t)),
    Row("log_softmax of a list", TypeError, "log_softmax x array list", lambda g: mt.log_softmax([1.0])),
    Row("to_numpy of a list", TypeError, "array list", lambda g: mt.to_numpy([1.0])),
    Row("to_numpy of None", TypeError, "array None", lambda g: mt.to_numpy(None)),
]
