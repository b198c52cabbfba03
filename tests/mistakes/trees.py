"""Arrays under other names, and on other libraries and devices."""

from __future__ import annotations

import numpy as np

import martlet as mt
from mistakes.optimizers import DECAYED
from mistakes.row import EITHER, Row, objects

# fmt: off
TREES = [
    Row("replace: unknown name", ValueError, "replace Sequential 3.W 0.W 0.b 2.W",
        lambda g: mt.replace(g.model, {"3.W": g.x(3, 4)})),
    Row("replace: unknown leaf", ValueError, "replace Sequential 0.c 0.W",
        lambda g: mt.replace(g.model, {"0.c": g.x(3, 4)})),
    Row("replace: in a leaf", ValueError, "replace Affine W.x W b", lambda g: mt.replace(g.affine, {"W.x": g.x(3, 4)})),
    Row("replace: empty name", ValueError, "replace Affine W b", lambda g: mt.replace(g.affine, {"": g.x(3, 4)})),
    Row("replace: a number for a name", TypeError, "replace names int", lambda g: mt.replace(g.model, {0: g.affine})),
    Row("replace: a list", TypeError, "replace 0.W array list", lambda g: mt.replace(g.model, {"0.W": [[1.0]]})),
    Row("replace: a number", TypeError, "replace W array float", lambda g: mt.replace(g.affine, {"W": 1.0})),
    Row("replace: a layer", ValueError, "replace Sequential 2 0.W", lambda g: mt.replace(g.model, {"2": mt.Tanh()})),
    Row("replace: objects", TypeError, "replace W object",
        lambda g: mt.replace(g.affine, {"W": g.keep(objects(3, 4))})),
    Row("replace: a setting", ValueError, "replace Branch copies", lambda g: mt.replace(mt.Branch(2), {"copies": 3})),
    Row("replace: two names", EITHER, "replace changes mapping tuple", lambda g: mt.replace(g.affine, ("W", "b"))),
    Row("replace: an optimizer", TypeError, "replace tree SGD", lambda g: mt.replace(mt.SGD(), {"lr": 0.1})),
    Row("replace: unknown number", ValueError, "replace State learning_rate lr",
        lambda g: mt.replace(mt.SGD().init(g.affine), {"learning_rate": 0.1})),
    Row("replace: lr True", TypeError, "replace lr array True",
        lambda g: mt.replace(mt.SGD().init(g.affine), {"lr": True})),
    Row("replace: lr a string", TypeError, "replace lr array",
        lambda g: mt.replace(mt.SGD().init(g.affine), {"lr": "0.1"})),
    *(
        Row(f"replace: lr {value!r:.5}", ValueError, f"replace lr finite float32 {words}",
            lambda g, value=value: mt.replace(mt.SGD().init(g.affine), {"lr": value}))
        for value, words in ((float("nan"), "nan"), (float("inf"), "inf"), (-float("inf"), "inf"), (1e300, "1e"),
                             (np.float64("nan"), "nan"), (10**400, ""))
    ),
    *(
        Row(f"replace: step {what}", ValueError, f"replace step {words}",
            lambda g, value=value: mt.replace(mt.SGD().init(g.affine), {"step": value}))
        for what, words, value in (("1.5", "integer 1.5", 1.5), ("nan", "int32 nan", float("nan")),
                                   ("2⁴⁰", "int32 1099511627776", 2**40))
    ),
    Row("replace: lr an integer array", TypeError, "replace lr floating-point int32",
        lambda g: mt.replace(mt.SGD().init(g.affine), {"lr": g.words(1)[0, ...]})),
    Row("replace: step an array of floats", TypeError, "replace step integer float32",
        lambda g: mt.replace(mt.SGD().init(g.affine), {"step": g.x()})),
    Row("replace: a transform's number nan", ValueError, "replace transforms.0.decay finite nan",
        lambda g: mt.replace(DECAYED.init(g.affine), {"transforms.0.decay": float("nan")})),
    Row("rebuild: an array", TypeError, "rebuild arrays list array", lambda g: mt.rebuild(g.affine, g.x(2, 3))),
    Row("rebuild: None", TypeError, "rebuild arrays list None", lambda g: mt.rebuild(g.affine, None)),
    Row("rebuild: a number", TypeError, "rebuild arrays list float", lambda g: mt.rebuild(g.affine, 1.0)),
    Row("Backend: device an array", TypeError, "device array", lambda g: mt.Backend(g.xp.backend.name, device=g.x(2))),
    Row("to a device that is an array", TypeError, "device array", lambda g: g.model.to(device=g.x(2))),
    Row("replace: lr (3,)", ValueError, "replace lr (3,) ()",
        lambda g: mt.replace(mt.SGD().init(g.affine), {"lr": g.x(3)})),
    Row("replace: lr (1,)", ValueError, "replace lr (1,) ()",
        lambda g: mt.replace(mt.SGD().init(g.affine), {"lr": g.x(1)})),
    Row("replace: step (2,)", ValueError, "replace step (2,) ()",
        lambda g: mt.replace(mt.SGD().init(g.affine), {"step": g.words(1, 2)})),
    Row("replace: unknown transform", ValueError, "replace transforms.1.limit transforms.0.decay",
        lambda g: mt.replace(DECAYED.init(g.affine), {"transforms.1.limit": 1.0})),
    Row("replace: a transform's number a string", TypeError, "replace transforms.0.limit array str",
        lambda g: mt.replace(mt.SGD(transforms=(mt.ClipByNorm(limit=1.0),)).init(g.affine),
                             {"transforms.0.limit": "1.0"})),
    Row("replace: a number of no schedule", ValueError, "replace schedule.steps lr",
        lambda g: mt.replace(mt.SGD().init(g.affine), {"schedule.steps": 10.0})),
    Row("replace: class_weight a list", TypeError, "replace class_weight array list",
        lambda g: mt.replace(mt.SoftmaxWithLoss(class_weight=g.x(3)), {"class_weight": [1.0, 2.0, 3.0]})),
    Row("replace: no class_weight", ValueError, "replace SoftmaxWithLoss class_weight none",
        lambda g: mt.replace(mt.SoftmaxWithLoss(), {"class_weight": g.x(3)})),
    Row("replace: a setting of Dropout", ValueError, "replace Dropout rate stream step",
        lambda g: mt.replace(g.dropout, {"rate": 0.1})),
    Row("rebuild: too few", ValueError, "rebuild Affine arrays 2 1", lambda g: mt.rebuild(g.affine, [g.x(3, 4)])),
    Row("rebuild: too many", ValueError, "rebuild MatMul arrays 1 2",
        lambda g: mt.rebuild(g.matmul, [g.x(3, 4), g.x(4)])),
    Row("names of a list", TypeError, "names tree list", lambda g: mt.names([g.affine])),
    Row("leaves of an array", TypeError, "leaves tree array", lambda g: mt.leaves(g.x(3, 4))),
    Row("leaves of a class", TypeError, "leaves tree type", lambda g: mt.leaves(mt.Affine)),
    Row("to an unknown backend", ValueError, "backend nope numpy", lambda g: g.model.to("nope")),
    Row("to a module", TypeError, "backend name", lambda g: g.model.to(np)),
    Row("to an unknown device", ValueError, "device mars", lambda g: g.model.to(device="mars")),
    Row("to int32", ValueError, "dtype int32 float32", lambda g: g.model.to(dtype="int32")),
    Row("to float99", ValueError, "dtype float99 float32", lambda g: g.model.to(dtype="float99")),
    Row("Backend: unknown", ValueError, "backend nope numpy torch", lambda g: mt.Backend("nope")),
    Row("Backend: None", EITHER, "backend None numpy", lambda g: mt.Backend(None)),
    Row("Backend: a list", EITHER, "backend numpy", lambda g: mt.Backend(["numpy"])),
    Row("Backend: device", ValueError, "device mars", lambda g: mt.Backend(g.xp.backend.name, device="mars")),
    Row("Backend: dtype", ValueError, "dtype int64 float32", lambda g: mt.Backend(g.xp.backend.name, dtype="int64")),
    Row("asarray of a string", TypeError, "numbers", lambda g: g.xp.backend.asarray("one")),
    Row("asarray of None", TypeError, "numbers", lambda g: g.xp.backend.asarray(None)),
    Row("asarray of objects", TypeError, "numbers object", lambda g: g.xp.backend.asarray(g.keep(objects(2)))),
    Row("asarray of complex", TypeError, "numbers complex128", lambda g: g.xp.backend.asarray([1j])),
    Row("asarray of float99", ValueError, "dtype float99", lambda g: g.xp.backend.asarray([1.0], "float99")),
    Row("asarray of uneven rows", ValueError, "asarray x rows length list",
        lambda g: g.xp.backend.asarray([[1.0], [1.0, 2.0]])),
]
