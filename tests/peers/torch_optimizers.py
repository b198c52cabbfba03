"""Our optimizers beside those of torch.optim: the same network, the same batches, the weights after every step.

Both libraries begin with the same weights in float64, and each takes gradients of its own.

What PyTorch calls Nesterov's momentum is ours exactly, while the learning rate stays: Sutskever's velocity v
is -lr times PyTorch's buffer, and the weights that PyTorch moves are the place q = p + momentum · v, as ours
are.  When the rate changes the two part, with Momentum too: PyTorch multiplies the buffer with today's rate,
and so rescales the steps of the past, while in the velocity each gradient keeps the rate of its own day.
Momentum in the buffer times the quotient of two rates gives back what was published; that row is in the table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from cases import affine

import martlet as mt
from peers.differences import Row, largest

STEPS, LIMIT = 50, 1e-11


@dataclass(frozen=True)
class Case:
    """An optimizer of ours, the call that makes theirs, and what they do besides."""

    name: str
    ours: mt.Optimizer
    theirs: Callable[[Any, list[Any]], Any]
    scheduler: Callable[[Any, Any], Any] | None = None
    before: Callable[[Any, list[Any], Any], bool | None] | None = None  # a step: clip the gradients, say whether


def made(name: str, **settings: Any) -> Callable[[Any, list[Any]], Any]:
    return lambda optim, params: getattr(optim, name)(params, **settings)


def weights_alone(params: list[Any], weight_decay: float) -> list[dict[str, Any]]:
    """PyTorch's groups of parameters: those of fewer than two axes are not decayed."""
    return [
        {"params": [p for p in params if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in params if p.ndim < 2], "weight_decay": 0.0},
    ]


def clip_by_norm(limit: float) -> Callable[[Any, list[Any], Any], bool]:
    def clip(torch: Any, params: list[Any], optimizer: Any) -> bool:
        norm = float(torch.nn.utils.clip_grad_norm_(params, math.inf))  # clips nothing, and gives back the norm
        # torch divides by the norm + 1e-6; a limit larger by just as much makes the quotient that of the paper.
        torch.nn.utils.clip_grad_norm_(params, limit * (1.0 + 1e-6 / norm))
        return norm > limit

    return clip


def clip_by_value(limit: float) -> Callable[[Any, list[Any], Any], bool]:
    def clip(torch: Any, params: list[Any], optimizer: Any) -> bool:
        largest_entry = max(float(p.grad.abs().max()) for p in params)
        torch.nn.utils.clip_grad_value_(params, limit)
        return largest_entry > limit

    return clip


def keep_the_velocity(momentum: float) -> Callable[[Any, list[Any], Any], None]:
    """The momentum of the buffer that leaves the velocity -lr · buffer as it was when lr has changed."""

    def rescale(torch: Any, params: list[Any], optimizer: Any) -> None:
        (group,) = optimizer.param_groups
        group["momentum"] = momentum * group.get("last_lr", group["lr"]) / group["lr"]
        group["last_lr"] = group["lr"]

    return rescale


def step_lr(optim: Any, optimizer: Any) -> Any:
    return optim.lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.6)


STAIRS = mt.schedules.Step(every=7, ratio=0.6)

CASES = [
    Case("SGD", mt.SGD(lr=0.1), made("SGD", lr=0.1)),
    Case("SGD, L2", mt.SGD(lr=0.1, transforms=(mt.L2(decay=0.2),)), made("SGD", lr=0.1, weight_decay=0.2)),
    Case(
        "SGD, L2 of the weights alone",
        mt.SGD(lr=0.1, transforms=(mt.L2(decay=0.2, biases=False),)),
        lambda optim, p: optim.SGD(weights_alone(p, 0.2), lr=0.1),
    ),
    Case("Momentum", mt.Momentum(lr=0.1, momentum=0.8), made("SGD", lr=0.1, momentum=0.8)),
    Case("Momentum, none", mt.Momentum(lr=0.1, momentum=0.0), made("SGD", lr=0.1, momentum=0.0)),
    Case(
        "Momentum, L2",
        mt.Momentum(lr=0.1, momentum=0.8, transforms=(mt.L2(decay=0.2),)),
        made("SGD", lr=0.1, momentum=0.8, weight_decay=0.2),
    ),
    Case("Nesterov", mt.Nesterov(lr=0.1, momentum=0.8), made("SGD", lr=0.1, momentum=0.8, nesterov=True)),
    Case(
        "Nesterov, L2",
        mt.Nesterov(lr=0.1, momentum=0.8, transforms=(mt.L2(decay=0.2),)),
        made("SGD", lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.2),
    ),
    Case("AdaGrad", mt.AdaGrad(lr=0.1), made("Adagrad", lr=0.1)),
    Case(
        "AdaGrad, L2, a large eps",
        mt.AdaGrad(lr=0.1, eps=0.1, transforms=(mt.L2(decay=0.2),)),
        made("Adagrad", lr=0.1, eps=0.1, weight_decay=0.2),
    ),
    Case("RMSprop", mt.RMSprop(lr=0.01, decay=0.95), made("RMSprop", lr=0.01, alpha=0.95)),
    Case(
        "RMSprop, centered",
        mt.RMSprop(lr=0.01, decay=0.95, centered=True),
        made("RMSprop", lr=0.01, alpha=0.95, centered=True),
    ),
    Case(
        "RMSprop, centered, L2, a large eps",
        mt.RMSprop(lr=0.01, decay=0.9, eps=0.1, centered=True, transforms=(mt.L2(decay=0.2),)),
        made("RMSprop", lr=0.01, alpha=0.9, eps=0.1, centered=True, weight_decay=0.2),
    ),
    Case("Adam", mt.Adam(lr=0.1), made("Adam", lr=0.1)),
    Case(
        "Adam, other betas, a large eps",
        mt.Adam(lr=0.1, beta1=0.5, beta2=0.9, eps=0.1),
        made("Adam", lr=0.1, betas=(0.5, 0.9), eps=0.1),
    ),
    Case(
        "Adam, amsgrad", mt.Adam(lr=0.1, beta2=0.9, amsgrad=True), made("Adam", lr=0.1, betas=(0.9, 0.9), amsgrad=True)
    ),
    Case("Adam, L2", mt.Adam(lr=0.1, transforms=(mt.L2(decay=0.2),)), made("Adam", lr=0.1, weight_decay=0.2)),
    Case("AdamW", mt.AdamW(lr=0.1, weight_decay=0.3), made("AdamW", lr=0.1, weight_decay=0.3)),
    Case(
        "AdamW, amsgrad",
        mt.AdamW(lr=0.1, beta2=0.9, weight_decay=0.3, amsgrad=True),
        made("AdamW", lr=0.1, betas=(0.9, 0.9), weight_decay=0.3, amsgrad=True),
    ),
    Case(
        "AdamW, the weights alone",
        mt.AdamW(lr=0.1, weight_decay=0.3, biases=False),
        lambda optim, p: optim.AdamW(weights_alone(p, 0.3), lr=0.1),
    ),
    Case(
        "SGD, ClipByNorm",
        mt.SGD(lr=0.1, transforms=(mt.ClipByNorm(limit=0.2),)),
        made("SGD", lr=0.1),
        before=clip_by_norm(0.2),
    ),
    Case(
        "Nesterov, ClipByNorm, then L2",
        mt.Nesterov(lr=0.1, momentum=0.8, transforms=(mt.ClipByNorm(limit=0.2), mt.L2(decay=0.2))),
        made("SGD", lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.2),
        before=clip_by_norm(0.2),
    ),
    Case(
        "SGD, ClipByValue",
        mt.SGD(lr=0.1, transforms=(mt.ClipByValue(limit=0.1),)),
        made("SGD", lr=0.1),
        before=clip_by_value(0.1),
    ),
    Case(
        "Adam, ClipByValue",
        mt.Adam(lr=0.1, transforms=(mt.ClipByValue(limit=0.02),)),
        made("Adam", lr=0.1),
        before=clip_by_value(0.02),
    ),
    Case("SGD, Step", mt.SGD(lr=0.5, schedule=STAIRS), made("SGD", lr=0.5), step_lr),
    Case(
        "Momentum, Step",
        mt.Momentum(lr=0.1, momentum=0.8, schedule=STAIRS),
        made("SGD", lr=0.1, momentum=0.8),
        step_lr,
        keep_the_velocity(0.8),
    ),
    Case(
        "SGD, Exponential",
        mt.SGD(lr=0.5, schedule=mt.schedules.Exponential(every=1, ratio=0.95)),
        made("SGD", lr=0.5),
        lambda optim, o: optim.lr_scheduler.ExponentialLR(o, gamma=0.95),
    ),
    Case(
        "Adam, Cosine",
        mt.Adam(lr=0.1, schedule=mt.schedules.Cosine(steps=STEPS, end=0.2)),
        made("Adam", lr=0.1),
        lambda optim, o: optim.lr_scheduler.CosineAnnealingLR(o, T_max=STEPS, eta_min=0.2 * 0.1),
    ),
    Case(
        "AdamW, a warm-up",
        mt.AdamW(lr=0.1, weight_decay=0.3, schedule=mt.schedules.Constant(warmup=12)),
        made("AdamW", lr=0.1, weight_decay=0.3),
        lambda optim, o: optim.lr_scheduler.LinearLR(o, start_factor=1 / 12, total_iters=11),
    ),
]


def step_by_step(torch: Any, case: Case) -> Iterator[tuple[str, Any, Any]]:
    """The weights of a network that tells two spiral arms apart, ours and theirs, after each step."""
    model = mt.Sequential(affine(rng := np.random.default_rng(0), 2, 4), mt.Tanh(), affine(rng, 4, 2))
    x, t = mt.datasets.spiral(40, 2, rng=rng, dtype="float64")
    params = [torch.tensor(p, requires_grad=True) for p in mt.leaves(model)]
    theirs, state, clipped = case.theirs(torch.optim, params), case.ours.init(model), []
    scheduler = case.scheduler(torch.optim, theirs) if case.scheduler else None
    for step in range(STEPS):
        rows = slice(step % 4, None, 4)
        model, state, _ = mt.train_step(model, mt.SoftmaxWithLoss(), case.ours, state, x[rows], t[rows])
        theirs.zero_grad()
        hidden = torch.tanh(torch.tensor(x[rows]) @ params[0] + params[1])
        torch.nn.functional.cross_entropy(hidden @ params[2] + params[3], torch.tensor(t[rows])).backward()
        if case.before:
            clipped.append(case.before(torch, params, theirs))
        theirs.step()
        if scheduler:
            scheduler.step()
        for name, p, q in zip(mt.names(model), mt.leaves(model), params, strict=True):
            yield f"{name} after step {step + 1}", p, q.detach()
    assert set(clipped) in (set(), {None}, {True, False}), "in some steps there must be something to clip"


def compare(torch: Any, case: Case) -> Row:
    return largest(case.name, step_by_step(torch, case), LIMIT)
