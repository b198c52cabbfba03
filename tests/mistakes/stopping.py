"""A training run: when to stop, what to measure after each epoch, words for x, weights of classes, states."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from cases import Residual

import martlet as mt
from mistakes.row import Given, Row


class Deaf(mt.Layer):
    """y = f(x), whose author forgot observe."""

    f: mt.Layer

    def forward(self, x):
        return self.f.forward(x)

    def backward(self, cache, dout):
        dx, grad = self.f.backward(cache, dout)
        return dx, self.gradient(f=grad)


class Unwanted(mt.SGD):
    """An SGD whose steps are one too many."""

    def update(self, model, grad, state):
        raise AssertionError("a step was taken")


def before_a_step(g: Given, **changes: Any) -> Any:
    """A fit that must complain before its first step."""
    return g.fit(optimizer=Unwanted(), **changes)


# fmt: off
STOPPING = [
    *(
        Row(f"patience {value!r}", error, f"EarlyStopping patience {words}",
            lambda g, value=value: mt.EarlyStopping(patience=value))
        for value, error, words in ((0, ValueError, "1 0"), (-1, ValueError, "1 -1"), (1.5, TypeError, "integer 1.5"),
                                    (True, TypeError, "integer True"), ("3", TypeError, "integer str"),
                                    (None, TypeError, "integer None"), (float("nan"), TypeError, "integer nan"))
    ),
    Row("patience in first place", TypeError, "EarlyStopping positional", lambda g: mt.EarlyStopping(5)),
    Row("watch None", TypeError, "EarlyStopping watch None", lambda g: mt.EarlyStopping(watch=None)),
    Row("watch a function", TypeError, "EarlyStopping watch metric function",
        lambda g: mt.EarlyStopping(watch=mt.accuracy)),
    Row("watch a list", TypeError, "EarlyStopping watch list", lambda g: mt.EarlyStopping(watch=["loss"])),
    Row("watch a metric of one's own, best unsaid", ValueError, "EarlyStopping best f1 lowest highest",
        lambda g: mt.EarlyStopping(watch="f1")),
    Row("watch validation_loss", ValueError, "EarlyStopping watch='loss' validation_loss",
        lambda g: mt.EarlyStopping(watch="validation_loss")),
    Row("best unknown", ValueError, "EarlyStopping best lowest highest max", lambda g: mt.EarlyStopping(best="max")),
    Row("best True", ValueError, "EarlyStopping best lowest highest True", lambda g: mt.EarlyStopping(best=True)),
    Row("best a list", ValueError, "EarlyStopping best lowest highest", lambda g: mt.EarlyStopping(best=["lowest"])),
    *(
        Row(f"stop {what}", TypeError, f"fit stop EarlyStopping {words}", lambda g, value=value: g.fit(stop=value))
        for what, words, value in (("a number", "int", 5), ("True", "True", True), ("a word", "loss", "loss"),
                                   ("a class", "type", mt.EarlyStopping), ("a dict", "dict", {"patience": 3}),
                                   ("a list", "list", [mt.EarlyStopping()]), ("a function", "function", lambda e: True))
    ),
    Row("stop watches what is not measured", ValueError, "fit stop accuracy loss",
        lambda g: g.fit(stop=mt.EarlyStopping(watch="accuracy"))),
    Row("stop watches another metric", ValueError, "fit stop mae loss accuracy",
        lambda g: g.fit(stop=mt.EarlyStopping(watch="mae"), metrics=["accuracy"])),
    Row("stop watches another's own metric", ValueError, "fit stop f1 loss f2",
        lambda g: g.fit(stop=mt.EarlyStopping(watch="f1", best="highest"), metrics={"f2": lambda y, t: 0.0})),
    *(
        Row(f"hook {what}", TypeError, f"fit hook function {words}", lambda g, value=value: g.fit(hook=value))
        for what, words, value in (("a number", "int", 1), ("True", "True", True), ("a word", "print", "print"),
                                   ("a list", "list", [print]), ("a stop", "EarlyStopping", mt.EarlyStopping()))
    ),
    *(
        Row(f"the hook gives {what}", TypeError, f"fit hook True {words}",
            lambda g, value=value: g.fit(hook=lambda *_: value, shuffle=False))
        for what, words, value in (("1", "int", 1), ("0", "int", 0), ("a word", "stop", "stop"), ("a list", "list", []),
                                   ("nan", "nan", float("nan")))
    ),
    Row("the hook gives an array", TypeError, "fit hook True array",
        lambda g: g.fit(hook=lambda *_: g.x(2), shuffle=False)),
    Row("the hook takes too little", TypeError, "2 3", lambda g: g.fit(hook=lambda e, m: None, shuffle=False)),
    Row("validation: weight (6, 1)", ValueError, "fit validation weight (6, 1) (6,)",
        lambda g: g.fit(validation=(g.x(6, 3), g.t, g.x(6, 1)))),
    Row("validation: weight ()", ValueError, "fit validation weight",
        lambda g: g.fit(validation=(g.x(6, 3), g.t, g.x()))),
    Row("validation: weight negative", ValueError, "fit validation weight 0",
        lambda g: g.fit(validation=(g.x(6, 3), g.t, g.array(*[1.0] * 5, -1.0)))),
    Row("validation: weight NaN", ValueError, "fit validation weight finite",
        lambda g: g.fit(validation=(g.x(6, 3), g.t, g.array(*[1.0] * 5, float("nan"))))),
    Row("validation: weight infinite", ValueError, "fit validation weight finite",
        lambda g: g.fit(validation=(g.x(6, 3), g.t, g.array(*[1.0] * 5, float("inf"))))),
    Row("validation: weight all zero", ValueError, "fit validation weight 0",
        lambda g: g.fit(validation=(g.x(6, 3), g.t, g.array(*[0.0] * 6)))),
    Row("validation: weight a list", TypeError, "fit validation weight array list",
        lambda g: g.fit(validation=(g.x(6, 3), g.t, [1.0] * 6))),
    Row("validation: weight a number", TypeError, "fit validation weight array float",
        lambda g: g.fit(validation=(g.x(6, 3), g.t, 1.0))),
    Row("validation: weight complex", TypeError, "fit validation weight complex64",
        lambda g: g.fit(validation=(g.x(6, 3), g.t, g.cast(g.x(6), "complex64")))),
    Row("validation: weight words", TypeError, "fit validation weight numbers",
        lambda g: g.fit(validation=(g.x(6, 3), g.t, np.full(6, "a")))),
    Row("validation: a list of two", TypeError, "fit validation tuple list",
        lambda g: g.fit(validation=[g.x(6, 3), g.t])),
    Row("validation: a share", TypeError, "fit validation tuple float", lambda g: g.fit(validation=0.2)),
    Row("validation: nothing", TypeError, "fit validation (x, t)", lambda g: g.fit(validation=())),
    Row("validation: x and t swapped", ValueError, "Affine x (6,) (N, 3)",
        lambda g: g.fit(validation=(g.t, g.x(6, 3)))),
    Row("validation: t None", TypeError, "fit validation t array None", lambda g: g.fit(validation=(g.x(6, 3), None))),
    *(
        Row(f"{what}: {name}", error, f"{name} x {words}", functools.partial(call, name, x))
        for what, error, words, x in (
            ("floats for words", TypeError, "integers Embedding float32", lambda g: g.x(6)),
            ("one-hot rows for words", TypeError, "integers Embedding float32", lambda g: g.x(6, 4)),
            ("booleans for words", TypeError, "integers Embedding bool", lambda g: g.cast(g.x(6), "bool")),
            ("word 4 of 4", ValueError, "0 4 3", lambda g: g.words(0, 1, 2, 3, 4, 0)),
            ("word -1", ValueError, "-1 4", lambda g: g.words(0, 1, 2, 3, -1, 0)),
            ("word 255 in a byte", ValueError, "255 4", lambda g: g.words(0, 1, 2, 3, 255, 0, dtype="uint8")),
            ("word 2⁶³", ValueError, "2⁶³", lambda g: g.keep(np.array([0, 1, 2, 3, 2**63, 0], dtype="uint64"))),
            ("word 2⁶⁴ - 1", ValueError, "2⁶³", lambda g: g.keep(np.array([0, 1, 2, 3, 2**64 - 1, 0], dtype="uint64"))),
            ("a list of words", TypeError, "array list", lambda g: [0, 1, 2, 0, 1, 2]),
            ("strings for words", TypeError, "numbers", lambda g: np.full(6, "cat")),
        )
        for name, call in {
            "fit": lambda name, x, g: g.fit(model=g.reader, x=x(g)),
            "validation": lambda name, x, g: g.fit(model=g.reader, x=g.t, validation=(x(g), g.t)),
            "evaluate": lambda name, x, g: g.evaluate(model=g.reader, x=x(g)),
            "accuracy": lambda name, x, g: mt.accuracy(g.reader, x(g), g.t),
        }.items()
    ),
    Row("Embedding: W (4,)", ValueError, "Embedding W (4,) (V, D)",
        lambda g: g.fit(model=mt.Sequential(mt.Embedding(g.x(4))), x=g.t)),
    Row("words and a bag of them", ValueError, "SoftmaxWithLoss y (6, 1, 3) (N, C)",
        lambda g: g.fit(model=g.reader, x=g.t[:, None])),
    Row("two Dropouts, one stream", ValueError, "fit Dropout 0 2 Dropout.init(rate, rng)",
        lambda g: g.fit(model=mt.Sequential(d := g.dropout, g.affine, d, g.keep(mt.MatMul(g.x(4, 3)))))),
    Row("class_weight (2,)", ValueError, "SoftmaxWithLoss class_weight (2,) (3,)",
        lambda g: g.fit(loss=mt.SoftmaxWithLoss(class_weight=g.array(1.0, 2.0)))),
    Row("class_weight (1, 3)", ValueError, "SoftmaxWithLoss class_weight (1, 3) (3,)",
        lambda g: g.fit(loss=mt.SoftmaxWithLoss(class_weight=g.array([1.0, 2.0, 3.0])))),
    *(
        Row(f"{name} {what} in {place}", ValueError, f"{owner.__name__} {name} finite 0",
            lambda g, owner=owner, name=name, t=t, numbers=numbers, call=call: call(
                g, loss=owner(**{name: g.array(*numbers)}), t=t(g)))
        for owner, name, t in (
            (mt.SoftmaxWithLoss, "class_weight", lambda g: g.t),
            (mt.SigmoidWithLoss, "pos_weight", lambda g: g.array(*[[0.0, 1.0, 1.0]] * 6)),
        )
        for what, numbers in (("negative", (1.0, -1.0, 1.0)), ("NaN", (1.0, float("nan"), 1.0)),
                              ("infinite", (1.0, float("inf"), 1.0)), ("all zero", (0.0, 0.0, 0.0)))
        if (name, what) != ("class_weight", "infinite")  # of which NumPy warns: below
        for place, call in {"fit": Given.fit, "evaluate": Given.evaluate}.items()
    ),
    Row("class_weight integers", TypeError, "SoftmaxWithLoss class_weight int32 float32",
        lambda g: g.fit(loss=mt.SoftmaxWithLoss(class_weight=g.words(1, 2, 3)))),
    Row("pos_weight (3,)", ValueError, "SigmoidWithLoss pos_weight (3,) () (1,)",
        lambda g: g.fit(model=g.regression, loss=mt.SigmoidWithLoss(pos_weight=g.x(3)), t=g.array(*[[1.0]] * 6))),
    Row("pos_weight: t 1.5", ValueError, "SigmoidWithLoss t 0 1 1.5",
        lambda g: g.fit(model=g.regression, loss=mt.SigmoidWithLoss(pos_weight=g.array(2.0)),
                        t=g.array(*[[1.5]] * 6))),
    Row("label_smoothing: label 3 of 3", ValueError, "SoftmaxWithLoss t 3 2 labels",
        lambda g: g.fit(loss=mt.SoftmaxWithLoss(label_smoothing=0.1), t=g.array(0, 1, 2, 0, 1, 3))),
    Row("label_smoothing: rows add up to 1.5", ValueError, "SoftmaxWithLoss t probabilities",
        lambda g: g.fit(loss=mt.SoftmaxWithLoss(label_smoothing=0.1), t=g.array(*[[0.5, 0.5, 0.5]] * 6))),
    Row("Huber: (N,) for (N, 1)", ValueError, "Huber t (6,) (6, 1) t[:, None]",
        lambda g: g.fit(model=g.regression, loss=mt.Huber(), t=g.x(6))),
    Row("Huber: t NaN", ValueError, "Huber t NaN",
        lambda g: g.fit(model=g.regression, loss=mt.Huber(), t=g.array(*[[float("nan")]] * 6))),
    Row("Huber: labels", ValueError, "Huber t (6,) (6, 3)", lambda g: g.fit(loss=mt.Huber())),
    *(
        Row(f"state of {what}", ValueError, f"fit state {words}",
            lambda g, now=now, then=then: g.fit(optimizer=mt.SGD(**now), state=g.keep(mt.SGD(**then).init(g.model))))
        for what, words, now, then in (
            ("no schedule", "schedule none Cosine.State", {"schedule": mt.schedules.Cosine(steps=9)}, {}),
            ("a schedule", "schedule Cosine.State none", {}, {"schedule": mt.schedules.Cosine(steps=9)}),
            ("another schedule", "schedule Step.State Exponential.State",
             {"schedule": mt.schedules.Exponential(every=9)}, {"schedule": mt.schedules.Step(every=9)}),
            ("another length of the schedule", "schedule.steps 8 9",
             {"schedule": mt.schedules.Cosine(steps=9)}, {"schedule": mt.schedules.Cosine(steps=8)}),
            ("no transforms", "transforms none L2.State", {"transforms": (mt.L2(decay=0.1),)}, {}),
            ("transforms", "transforms L2.State none", {}, {"transforms": (mt.L2(decay=0.1),)}),
            ("another decay", "transforms.0.decay 0.2 0.1",
             {"transforms": (mt.L2(decay=0.1),)}, {"transforms": (mt.L2(decay=0.2),)}),
            ("transforms in another order", "transforms ClipByNorm.State L2.State",
             {"transforms": (mt.L2(decay=0.1), mt.ClipByNorm(limit=1.0))},
             {"transforms": (mt.ClipByNorm(limit=1.0), mt.L2(decay=0.1))}),
        )
    ),
    Row("state without a peak", ValueError, "fit state peak amsgrad=False amsgrad=True",
        lambda g: g.fit(optimizer=mt.Adam(amsgrad=True), state=g.keep(mt.Adam().init(g.model)))),
    Row("state of Adam for AdamW", TypeError, "fit state AdamW",
        lambda g: g.fit(optimizer=mt.AdamW(), state=g.keep(mt.Adam().init(g.model)))),
    Row("loss and optimizer swapped", TypeError, "fit loss Loss SGD",
        lambda g: g.fit(loss=mt.SGD(), optimizer=mt.SoftmaxWithLoss())),
    Row("x and t swapped", ValueError, "Affine x (6,) (N, 3)", lambda g: g.fit(x=g.t, t=g.x(6, 3))),
    Row("weight (6, 1)", ValueError, "fit weight (6, 1) (6,)", lambda g: g.fit(weight=g.x(6, 1))),
    Row("weight a word", TypeError, "fit weight array balanced", lambda g: g.fit(weight="balanced")),
    *(
        Row(f"metric {name} of labels", ValueError, f"{name} t (6,) (6, 3)",
            functools.partial(before_a_step, metrics=name))
        for name in ("mae", "r2")
    ),
    Row("metrics mae of labels, with validation", ValueError, "mae t (6,) (6, 3)",
        lambda g: before_a_step(g, metrics=["accuracy", "mae"], validation=(g.x(6, 3), g.t))),
    Row("BatchNorm: a last batch of one", ValueError, 'fit BatchNorm 6 batches of 5 1 last="drop" (1, 3) two',
        lambda g: before_a_step(g, model=mt.Sequential(g.batch_norm, g.model), batch_size=5)),
    Row("BatchNorm: batches of one", ValueError, "BatchNorm x (1, 3) two",
        lambda g: before_a_step(g, model=mt.Sequential(g.batch_norm, g.model), batch_size=1, last="drop")),
    *(
        Row(f"a layer without observe holds {what}", TypeError, "fit Deaf observe",
            lambda g, inner=inner: before_a_step(g, model=mt.Sequential(Deaf(inner(g)), g.model)))
        for what, inner in (
            ("BatchNorm", lambda g: g.batch_norm),
            ("Dropout", lambda g: g.dropout),
            ("a network with one", lambda g: mt.Sequential(mt.Tanh(), mt.Freeze(g.dropout))),
            ("a composite with one", lambda g: Residual(g.batch_norm)),
        )
    ),
    Row("metrics None", TypeError, "fit metrics None", lambda g: g.fit(metrics=None)),
]
