"""Gradients, states and models that do not belong together."""

from __future__ import annotations

from typing import Any

import martlet as mt
from mistakes.row import Given, Row
from mistakes.settings import OPTIMIZER_KINDS


class Raw(mt.Layer):
    """y = x @ W, whose backward gives dW as it is, and not in a layer."""

    W: mt.Array

    def forward(self, x):
        return x @ self.W, x

    def backward(self, cache, dout):
        return dout @ self.W.T, cache.T @ dout


class Unscheduled(mt.Optimizer):
    """p ← p - rate · g"""

    rate: float = 0.1

    def rule(self, p, g, rate):
        return (p - rate * g,)


def with_a_state(g: Given, optimizer: mt.Optimizer, W: Any) -> Any:
    """An update with the state of a model that lives somewhere else."""
    model = g.matmul
    return g.update(optimizer, model, model, optimizer.init(mt.MatMul(W)))


DECAYED = mt.SGD(transforms=(mt.L2(decay=0.1),))


# fmt: off
OPTIMIZERS = [
    Row("Adam, learning_rate", TypeError, "learning_rate", lambda g: mt.Adam(learning_rate=0.1)),
    *(
        Row(f"{kind.__name__}: lr without a name", TypeError, f"{kind.__name__} positional",
            lambda g, kind=kind: kind(0.1))
        for kind in OPTIMIZER_KINDS
    ),
    *(
        Row(f"{kind.__name__}: init of {what}", TypeError, f"{kind.__name__}.init model Layer {words}",
            lambda g, kind=kind, make=make: kind().init(make(g)))
        for kind in OPTIMIZER_KINDS
        for what, words, make in (("nothing", "None", lambda g: None), ("layers", "list", lambda g: [g.affine]),
                                  ("an array", "array", lambda g: g.x(3, 4)))
    ),
    *(
        Row(f"schedule {what}", TypeError, f"Nesterov schedule Schedule {words}",
            lambda g, value=value: mt.Nesterov(schedule=value))
        for what, words, value in (
            ("a number", "float", 0.1),
            ("a function", "function", lambda n: 0.9**n),
            ("a class", "Constant", mt.schedules.Constant),
            ("a word", "cosine", "cosine"),
            ("a list", "list", [mt.schedules.Constant()]),
            ("an optimizer", "SGD", mt.SGD()),
        )
    ),
    *(
        Row(f"transforms {what}", TypeError, f"RMSprop transforms tuple {words}",
            lambda g, value=value: mt.RMSprop(transforms=value))
        for what, words, value in (
            ("a list", "list", [mt.L2(decay=0.1)]),
            ("a set", "set", {mt.ClipByNorm(limit=1.0)}),
            ("one alone", "L2", mt.L2(decay=0.1)),
            ("a class", "L2", mt.L2),
            ("classes", "L2", (mt.L2,)),
            ("None", "None", None),
            ("with None", "None", (None,)),
            ("a word", "l2", "l2"),
            ("functions", "function", (lambda g: g,)),
            ("schedules", "Constant", (mt.schedules.Constant(),)),
            ("in transforms", "L2", ((mt.L2(decay=0.1),),)),
        )
    ),
    Row("a rule that takes what is no number of its own", TypeError, "Mine.rule rate number",
        lambda g: type("Mine", (mt.Optimizer,), {"rule": lambda self, p, g, rate: (p,), "__module__": __name__})),
    Row("a schedule without an lr", TypeError, "Unscheduled lr schedule",
        lambda g: Unscheduled(schedule=mt.schedules.Constant())),
    Row("L2: decay without a name", TypeError, "L2 positional", lambda g: mt.L2(0.1)),
    Row("L2: no decay", TypeError, "L2 decay", lambda g: mt.L2()),
    Row("Cosine: no steps", TypeError, "Cosine steps", lambda g: mt.schedules.Cosine()),
    Row("Cosine: steps without a name", TypeError, "Cosine positional", lambda g: mt.schedules.Cosine(10)),
    Row("AdamW, decay", TypeError, "AdamW decay", lambda g: mt.AdamW(decay=0.1)),
    Row("schedule too long for the model", ValueError, "Cosine steps float32",
        lambda g: mt.SGD(schedule=mt.schedules.Cosine(steps=1e300)).init(g.model)),
    Row("decay too large for the model", ValueError, "L2 decay float32",
        lambda g: mt.SGD(transforms=(mt.L2(decay=1e300),)).init(g.model)),
    Row("eps too large for the model", ValueError, "AdaGrad.init eps float32",
        lambda g: mt.AdaGrad(eps=1e300).init(g.model)),
    *(
        Row(f"{kind.__name__}: another's state", TypeError, f"{kind.__name__}.update state {kind.__name__}.init",
            lambda g, kind=kind, other=other: g.update(kind(), m := g.model, m, other().init(m)))
        for kind, other in ((mt.Nesterov, mt.Momentum), (mt.AdaGrad, mt.SGD), (mt.RMSprop, mt.AdaGrad),
                            (mt.Adam, mt.AdamW), (mt.AdamW, mt.Adam))
    ),
    *(
        Row(f"{kind.__name__}: a state that would broadcast", ValueError, f"{kind.__name__}.update state (1, 4) (3, 4)",
            lambda g, kind=kind: g.update(kind(), m := g.matmul, m, kind().init(mt.MatMul(g.x(1, 4)))))
        for kind in (mt.Nesterov, mt.AdaGrad, mt.RMSprop, mt.AdamW)
    ),
    Row("a state without a peak", ValueError, "Adam.update state peak amsgrad=False amsgrad=True",
        lambda g: g.update(mt.Adam(amsgrad=True), m := g.model, m, mt.Adam().init(m))),
    *(
        Row(f"{kind.__name__}: a state of {what}", ValueError, f"{kind.__name__} {words}",
            lambda g, kind=kind, now=now, then=then: g.update(
                kind(**now), m := g.model, m, kind(**then).init(m)))
        for kind in (mt.SGD, mt.Adam)
        for what, words, now, then in (
            ("no schedule", "schedule state none optimizer Cosine.State",
             {"schedule": mt.schedules.Cosine(steps=9)}, {}),
            ("a schedule", "schedule state Cosine.State optimizer none",
             {}, {"schedule": mt.schedules.Cosine(steps=9)}),
            ("another schedule", "schedule state Step.State optimizer Exponential.State",
             {"schedule": mt.schedules.Exponential(every=9)}, {"schedule": mt.schedules.Step(every=9)}),
            ("no transforms", "transforms.0 state none optimizer L2.State", {"transforms": (mt.L2(decay=0.1),)}, {}),
            ("transforms", "transforms.0 state L2.State optimizer none", {}, {"transforms": (mt.L2(decay=0.1),)}),
            ("transforms in another order", "transforms.0 state ClipByNorm.State optimizer L2.State",
             {"transforms": (mt.L2(decay=0.1), mt.ClipByNorm(limit=1.0))},
             {"transforms": (mt.ClipByNorm(limit=1.0), mt.L2(decay=0.1))}),
        )
    ),
    Row("a state with a peak that a schedule's Adam does not keep", ValueError, "Adam state amsgrad=True peak",
        lambda g: g.update(mt.Adam(schedule=mt.schedules.Cosine(steps=9)), m := g.model, m,
                           mt.Adam(amsgrad=True, schedule=mt.schedules.Cosine(steps=9)).init(m))),
    Row("state with a peak, in fit", ValueError, "fit state amsgrad=True peak",
        lambda g: g.fit(optimizer=mt.Adam(), state=g.keep(mt.Adam(amsgrad=True).init(g.model)))),
    Row("a state without a mean", ValueError, "RMSprop.update state centered=False centered=True",
        lambda g: g.update(mt.RMSprop(centered=True), m := g.model, m, mt.RMSprop().init(m))),
    *(
        Row(f"{transform}: {what}", error, words, lambda g, transform=transform, call=call: call(
            g, mt.SGD(transforms=(transform,))))
        for transform in (mt.L2(decay=0.1), mt.ClipByNorm(limit=1.0), mt.ClipByValue(limit=1.0))
        for what, error, words, call in (
            ("another model's gradient", ValueError, "SGD.update gradient 1 3 layers",
             lambda g, sgd: g.update(sgd, g.model, g.regression)),
            ("another layer's gradient", TypeError, "SGD.update Affine MatMul",
             lambda g, sgd: g.update(sgd, g.affine, g.matmul)),
            ("a gradient of other shapes", ValueError, "gradient (3, 4) (3, 2)",
             lambda g, sgd: g.update(sgd, mt.MatMul(g.x(3, 2)), g.matmul)),
            ("a gradient that would broadcast", ValueError, "gradient (3, 1) (3, 4)",
             lambda g, sgd: g.update(sgd, g.matmul, mt.MatMul(g.x(3, 1)))),
            ("a gradient of float64", TypeError, "gradient float64 float32",
             lambda g, sgd: g.descend(sgd, g.matmul, mt.MatMul(g.x(3, 4, dtype="float64")))),
            ("an array for a gradient", TypeError, "SGD.update grad MatMul",
             lambda g, sgd: g.descend(sgd, g.matmul, g.x(3, 4))),
            ("a gradient of another library", TypeError, "SGD.update gradient numpy",
             lambda g, sgd: g.descend(sgd, g.matmul, mt.MatMul(g.foreign(g.x(3, 4))))),
            ("a gradient on another device", TypeError, "SGD.update gradient CPU_DEVICE",
             lambda g, sgd: g.descend(sgd, g.matmul, mt.MatMul(g.elsewhere(g.x(3, 4))))),
            ("a state of another library", TypeError, "SGD.update state model numpy",
             lambda g, sgd: with_a_state(g, sgd, g.foreign(g.x(3, 4)))),
            ("a state on another device", TypeError, "SGD.update state model CPU_DEVICE",
             lambda g, sgd: with_a_state(g, sgd, g.elsewhere(g.x(3, 4)))),
        )
    ),
    Row("L2: a layer gives an array as its gradient", TypeError, "Raw gradient array",
        lambda g: g.step(model=(m := mt.Sequential(Raw(g.x(3, 3)))), optimizer=DECAYED, state=DECAYED.init(m))),
    Row("too large for the model", ValueError, "SGD.init lr float32", lambda g: mt.SGD(lr=1e300).init(g.model)),
    Row("init of a class", TypeError, "SGD.init model Layer", lambda g: mt.SGD().init(mt.Affine)),
    Row("init of None", TypeError, "Adam.init model Layer None", lambda g: mt.Adam().init(None)),
    Row("init of a list of arrays", TypeError, "Adam.init model Layer list", lambda g: mt.Adam().init([g.x(2, 3)])),
    Row("another optimizer's state", TypeError, "Adam.update state Adam.init",
        lambda g: g.update(mt.Adam(), m := g.model, m, mt.SGD().init(m))),
    Row("state None", TypeError, "SGD.update state SGD.init", lambda g: mt.SGD().update(g.affine, g.affine, None)),
    Row("state a class", TypeError, "SGD.update state SGD.init",
        lambda g: mt.SGD().update(g.affine, g.affine, mt.SGD.State)),
    Row("another model's gradient", ValueError, "SGD.update gradient 1 3 layers",
        lambda g: g.update(mt.SGD(), g.model, g.regression)),
    Row("another layer's gradient", TypeError, "SGD.update Affine MatMul",
        lambda g: g.update(mt.SGD(), g.affine, g.matmul)),
    Row("a gradient of other shapes", ValueError, "SGD.update gradient (3, 4) (3, 2)",
        lambda g: g.update(mt.SGD(), mt.MatMul(g.x(3, 2)), g.matmul)),
    Row("a gradient that would broadcast", ValueError, "Adam.update gradient (3, 1) (3, 4)",
        lambda g: g.update(mt.Adam(), g.matmul, mt.MatMul(g.x(3, 1)))),
    Row("a gradient of float64", TypeError, "SGD.update gradient float64 float32",
        lambda g: mt.SGD().update(m := g.matmul, mt.MatMul(g.x(3, 4, dtype="float64")), mt.SGD().init(m))),
    Row("a gradient of another library", TypeError, "SGD.update gradient numpy",
        lambda g: mt.SGD().update(m := g.matmul, mt.MatMul(g.foreign(g.x(3, 4))), mt.SGD().init(m))),
    Row("a gradient on another device", TypeError, "SGD.update gradient",
        lambda g: mt.SGD().update(m := g.matmul, mt.MatMul(g.elsewhere(g.x(3, 4))), mt.SGD().init(m))),
    Row("an array for a gradient", TypeError, "SGD.update grad MatMul",
        lambda g: mt.SGD().update(m := g.matmul, g.x(3, 4), mt.SGD().init(m))),
    Row("the state of other shapes", ValueError, "Momentum.update state (3, 2) (3, 4)",
        lambda g: g.update(mt.Momentum(), m := g.matmul, m, mt.Momentum().init(mt.MatMul(g.x(3, 2))))),
    Row("a state that would broadcast", ValueError, "Momentum.update state (1, 4) (3, 4)",
        lambda g: g.update(mt.Momentum(), m := g.matmul, m, mt.Momentum().init(mt.MatMul(g.x(1, 4))))),
    Row("the state of another model", ValueError, "Adam.update state 3 1 layers",
        lambda g: g.update(mt.Adam(), m := g.model, m, mt.Adam().init(g.regression))),
    Row("the state of another layer", ValueError, "Adam.update state Affine MatMul",
        lambda g: g.update(mt.Adam(), m := g.affine, m, mt.Adam().init(g.matmul))),
    Row("the state of a frozen model", ValueError, "Adam.update state MatMul NoneType",
        lambda g: g.update(mt.Adam(), m := g.matmul, m, mt.Adam().init(mt.Freeze(g.matmul)))),
    Row("the state in another library", TypeError, "Momentum.update state model numpy",
        lambda g: g.update(mt.Momentum(), m := g.matmul, m, mt.Momentum().init(mt.MatMul(g.foreign(g.x(3, 4)))))),
    Row("the state on another device", TypeError, "SGD.update state model",
        lambda g: g.update(mt.SGD(), m := g.matmul, m, mt.SGD().init(mt.MatMul(g.elsewhere(g.x(3, 4)))))),
    Row("the state of a wider model", TypeError, "Momentum.update state float64",
        lambda g: g.update(mt.Momentum(), m := g.matmul, m, mt.Momentum().init(mt.MatMul(g.x(3, 4, dtype="float64"))))),
]
