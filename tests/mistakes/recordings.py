"""What no recording takes, and what a function must not do in one."""

from __future__ import annotations

from typing import Any

import martlet as mt
from martlet.compile import NotRecordable, record
from mistakes.row import Given, Row, objects


def forward(layer: mt.Layer, x: Any) -> Any:
    return layer.forward(x)


def given_beside(g: Given) -> Any:
    other = g.x(5, 3)
    return record(lambda x: x + other, g.x(5, 3))


def writing(x: Any) -> Any:
    x[0, 0] = 1.0
    return x


# fmt: off
RECORDINGS = [
    Row("record: no function", TypeError, "record function callable array", lambda g: record(g.x(5, 3))),
    Row("record: objects", TypeError, "record x numbers object", lambda g: record(lambda x: x, g.keep(objects(5, 3)))),
    Row("record: a dict of arrays", NotRecordable, "x dict tuple", lambda g: record(lambda x: x, {"a": g.x(5, 3)})),
    Row("record: a dict given back", NotRecordable, "dict tuple", lambda g: record(lambda x: {"a": x}, g.x(5, 3))),
    Row("record: an if", NotRecordable, "number if while where()",
        lambda g: record(lambda x: 1 if x else 2, g.x(5, 3))),
    Row("record: a float", NotRecordable, "number float() print", lambda g: record(lambda x: x * float(x), g.x())),
    Row("record: a mask", NotRecordable, "booleans where()", lambda g: record(lambda x: x[x > 0], g.x(5, 3))),
    Row("record: writing", NotRecordable, "written x = x + y", lambda g: record(writing, g.x(5, 3))),
    Row("record: an array that is no argument", NotRecordable, "argument (5, 3) pass field", given_beside),
    Row("record: a model that is no argument", NotRecordable, "argument (3, 4) pass field",
        lambda g: record(g.model.forward, g.x(5, 3))),
    Row("record: a recording in a recording", NotRecordable, "going already",
        lambda g: record(lambda x: record(forward, g.affine, x), g.x(5, 3))),
    Row("record: a wrong shape", ValueError, "Affine x (5, 2) W (3, 4)",
        lambda g: record(forward, g.affine, g.x(5, 2))),
    Row("record: a wrong product", ValueError, "matmul (5, 3)", lambda g: record(lambda x: x @ x, g.x(5, 3))),
    Row("record: an axis too many", ValueError, "sum axis 2",
        lambda g: record(lambda x: mt.namespace(x).sum(x, axis=2), g.x(5, 3))),
]
