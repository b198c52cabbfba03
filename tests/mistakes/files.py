"""Models and runs in files, and from and to other libraries."""

from __future__ import annotations

import io

import numpy as np

import martlet as mt
from mistakes.row import EITHER, Row


class Unwritable(io.BytesIO):
    """A file of characters, which takes no bytes."""

    def read(self, size: int | None = -1) -> str:  # type: ignore[override]
        return "words"


# fmt: off
FILES = [
    Row("save: an array", TypeError, "save Layer Run (3, 4)", lambda g: mt.save(io.BytesIO(), g.x(3, 4))),
    Row("save: a class", TypeError, "save Layer Run", lambda g: mt.save(io.BytesIO(), mt.Tanh)),
    Row("save: no file", TypeError, "save file path binary None", lambda g: mt.save(None, g.model)),
    Row("save: a file of words", TypeError, "save file path binary", lambda g: mt.save(io.StringIO(), g.model)),
    Row("load: no file", TypeError, "load file path binary 3", lambda g: mt.load(3)),
    Row("load: a file of words", TypeError, "load binary mode words", lambda g: mt.load(Unwritable())),
    Row("load: an empty file", mt.CheckpointError, "load", lambda g: mt.load(io.BytesIO())),
    Row("load: another format", mt.CheckpointError, "load", lambda g: mt.load(io.BytesIO(b"PK\x03\x04" + bytes(100)))),
    Row("load: unknown backend", ValueError, "backend abacus", lambda g: mt.load(io.BytesIO(), backend="abacus")),
    Row("load: unknown width", ValueError, "dtype int8", lambda g: mt.load(io.BytesIO(), dtype="int8")),
    Row("load: layers a list", TypeError, "load layers list", lambda g: mt.load(io.BytesIO(), layers=[mt.Tanh])),
    Row("load: a layer that is none", TypeError, "load layers dict",
        lambda g: mt.load(io.BytesIO(), layers={"Swish": dict})),
    Row("load_run: no file", TypeError, "load_run file path binary None", lambda g: mt.load_run(None)),
    Row("load_run: an empty file", mt.CheckpointError, "load_run", lambda g: mt.load_run(io.BytesIO())),
    Row("Run: no model", TypeError, "Run model Layer None", lambda g: mt.Run(None)),
    Row("Run: the class of a loss", TypeError, "Run loss Loss", lambda g: mt.Run(g.model, loss=mt.Huber)),
    Row("Run: a state without its optimizer", TypeError, "Run state optimizer",
        lambda g: mt.Run(g.model, state=g.keep(mt.SGD().init(g.model)))),
    Row("fit: checkpoint a number", TypeError, "fit checkpoint 3", lambda g: g.fit(checkpoint=3)),
    Row("fit: resume a number", TypeError, "fit resume True False 1", lambda g: g.fit(checkpoint="run", resume=1)),
    Row("fit: resume without a file", ValueError, "fit resume checkpoint", lambda g: g.fit(resume=True)),
    Row("fit: every 0", ValueError, "fit every 1 0", lambda g: g.fit(checkpoint="run", every=0)),
    Row("from_torch: a layer", TypeError, "from_torch torch.nn.Module Sequential", lambda g: mt.from_torch(g.model)),
    Row("from_torch: None", TypeError, "from_torch None", lambda g: mt.from_torch(None)),
    Row("to_torch: an array", TypeError, "to_torch layer (3, 4)", lambda g: mt.to_torch(g.x(3, 4))),
    Row("from_sklearn: a layer", TypeError, "from_sklearn Sequential", lambda g: mt.from_sklearn(g.model)),
    Row("from_sklearn: an array", EITHER, "from_sklearn", lambda g: mt.from_sklearn(np.zeros(3))),
]
# fmt: on
