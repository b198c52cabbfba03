"""The losses: squared error for numbers, cross-entropy for classes.

Losses take logits: the sigmoid or softmax is inside, where it costs less and keeps more digits.
"""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import NoReturn

from martlet.backend import Array, describe, host, kind, namespace, to_numpy
from martlet.checks import (
    check_alike,
    check_array,
    check_number,
    check_place,
    complain_shape,
    owner_name,
)
from martlet.functions import beyond_one, clamp, is_class, shifted_exp, sigmoid, wide
from martlet.loss import Loss
from martlet.tree import kept


class MeanSquaredError(Loss):
    """l = (y - t)²,  dy = 2 (y - t);  the mean is over all elements.

    y and t: the same shape, (N, D) or (N,).  The lessons' ½ Σ (y - t)² is reduction="sum" with dout=0.5.
    """

    def losses(self, y, t):
        check_same_target(self, y, t)
        difference = y - t
        return difference * difference, difference

    def slopes(self, cache):
        difference = cache
        return 2.0 * difference


class Huber(Loss):
    """l = ½ d² where |d| <= delta, else delta (|d| - ½ delta), with d = y - t;  dy = d, but at most ± delta

    y and t: the same shape, (N, D) or (N,); the mean is over all elements.  Near the target it is half the
    squared error; an outlier pulls with the strength delta, and no more.
    Huber, "Robust estimation of a location parameter", 1964.
    """

    _: KW_ONLY
    delta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "delta", self.delta, 0.0, open_low=True)

    def losses(self, y, t):
        check_same_target(self, y, t)
        d = y - t
        held = clamp(d, -self.delta, self.delta)
        return held * (d - 0.5 * held), held

    def slopes(self, cache):
        held = cache
        return held


class SigmoidWithLoss(Loss):
    """Binary cross-entropy on logits:  l = log(1 + exp(y)) - y t,  dy = sigmoid(y) - t;  mean over elements.

    y: (N, D) or (N,); t: the same shape and dtype, probabilities between 0 and 1.  Written as
    t log(1 + exp(-y)) + (1 - t) log(1 + exp(y)), two numbers that are not negative, it overflows nowhere and
    keeps the digits of a confident answer.  ``pos_weight``, one number () or one per column (D,), counts the
    first of them, which is the positive part, so many times, for positives that are rare.
    """

    _: KW_ONLY
    pos_weight: Array = kept(default=None)

    def losses(self, y, t):
        check_same_target(self, y, t)
        xp, positive = namespace(y), t
        if self.pos_weight is not None:
            positive = self._checked_weight(y) * t
        # log(1 + exp(±y)) is max(±y, 0) and this, which is the same for both signs.
        bend = xp.log1p(xp.exp(-xp.abs(y)))
        losses = part(positive, xp.maximum(-y, 0.0) + bend) + part(1.0 - t, xp.maximum(y, 0.0) + bend)
        return losses, (y, t)

    def slopes(self, cache):
        y, t = cache
        if self.pos_weight is None:
            return sigmoid(y) - t
        return (1.0 - t) * sigmoid(y) - wide(self.pos_weight) * (t * sigmoid(-y))

    def _checked_weight(self, y):
        weight = wide(self.pos_weight)
        check_alike(self, "pos_weight", weight, "y", y)
        if weight.shape not in ((), y.shape[1:]):
            expected = f"() or {tuple(y.shape[1:])}" if len(y.shape) > 1 else "()"
            complain_shape(self, "pos_weight", weight, expected, "one number, or one per column of y")
        return weight

    def check_weights(self):
        check_shares(self, "pos_weight", self.pos_weight)

    def check_targets(self, y, t):
        super().check_targets(y, t)
        low, high = to_numpy(t).min(), to_numpy(t).max()
        if low < 0 or high > 1:
            raise ValueError(f"{owner_name(self)}: t must lie between 0 and 1, got {low:g} to {high:g}")


class SoftmaxWithLoss(Loss):
    """Cross-entropy on logits:  l = log Σ exp(y) - y[t],  dy = softmax(y) - t;  mean over samples.

    y: (N, C).  t: integer labels (N,), or rows of probabilities (N, C) in y's dtype, where l = -Σ t log p.
    A label outside 0 … C-1 raises on NumPy; elsewhere, where a check would have to wait for the device,
    it makes the loss and the gradient NaN (``fit`` reads all labels once, before it begins).

    ``class_weight`` (C,) counts a sample of class c as class_weight[c] samples, in the loss and in its
    mean.  ``label_smoothing`` ε learns from the target (1 - ε) t + ε / C, which no logit need run away to
    reach; Szegedy et al., "Rethinking the Inception architecture for computer vision", 2016.
    """

    _: KW_ONLY
    class_weight: Array = kept(default=None)
    label_smoothing: float = 0.0

    takes_labels = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "label_smoothing", self.label_smoothing, 0.0, 1.0, open_high=True)

    def losses(self, y, t):
        if len(y.shape) != 2:
            complain_shape(self, "y", y, "(N, C)", "one sample per row, one class per column")
        check_place(self, "t", t, "y", y)
        if kind(t.dtype) != "integer":
            return self._from_rows(y, self._check_rows(y, t))
        samples, classes = y.shape
        if t.shape != (samples,):
            complain_labels(self, y, t)
        xp = namespace(y)
        chosen = is_class(xp, t, classes)
        if xp is host and xp.count_nonzero(chosen) != samples:
            self.check_targets(y, t)
        if self.class_weight is not None or self.label_smoothing:
            # Reading would wait for a device, so a label that names no class gives NaN.
            known = xp.any(chosen, axis=1, keepdims=True)
            return self._from_rows(y, xp.where(known, xp.astype(chosen, y.dtype), xp.nan))
        hot = xp.astype(chosen, y.dtype)
        z, exps = shifted_exp(xp, y)
        # Σ exp(z) - 1, where a confident right answer, whose exp(z) is 1, leaves the others with all their digits.
        others = xp.sum(exps - hot, axis=1, keepdims=True)
        if xp is not host:
            others = xp.where(xp.any(chosen, axis=1, keepdims=True), others, xp.nan)
        # Not Σ hot · z, for a class that is excluded has the logit -inf.  Where nothing is chosen, hot is the 0.
        losses = xp.log1p(others[:, 0]) - xp.sum(xp.where(chosen, z, hot), axis=1)
        return losses, (exps / (1.0 + others), hot, None)

    def _from_rows(self, y, t):
        xp, counts, smoothing = namespace(y), None, self.label_smoothing
        goal = (1.0 - smoothing) * t + smoothing / t.shape[1] if smoothing else t
        if self.class_weight is not None:
            weight = wide(self.class_weight)
            check_alike(self, "class_weight", weight, "y", y)
            if weight.shape != y.shape[1:]:
                complain_shape(self, "class_weight", weight, tuple(y.shape[1:]), "one number per column of y")
            counts = xp.sum(t * weight, axis=1)
            goal = goal * weight
        z, exps = shifted_exp(xp, y)
        others = beyond_one(xp, z, exps)
        log_p = z - xp.log1p(others)
        # 0 · log 0 is 0 here: a class that is excluded (logit -inf) and not expected costs nothing.
        losses = -xp.sum(goal * xp.where(goal == 0.0, goal, log_p), axis=1)
        return losses, (exps / (1.0 + others) * xp.sum(goal, axis=1, keepdims=True), goal, counts)

    def _check_rows(self, y, t):
        if len(t.shape) == 1:
            check_array(self, "t", t)
            raise TypeError(
                f"{owner_name(self)}: t must be integer labels (N,), or rows of probabilities, got {describe(t)}"
            )
        if t.shape != y.shape:
            hint = " or integer labels (N,)"
            complain_shape(self, "t", t, f"{tuple(y.shape)}{hint}", f"rows of probabilities for y{hint}")
        check_alike(self, "t", t, "y", y)
        return t

    def slopes(self, cache):
        p, t, _ = cache
        return p - t

    def counts(self, cache):
        _, _, counts = cache
        return counts

    def check_weights(self):
        check_shares(self, "class_weight", self.class_weight)

    def check_targets(self, y, t):
        numbers, classes = to_numpy(t), y.shape[1]
        if kind(t.dtype) == "integer":
            low, high = numbers.min(), numbers.max()
            if low < 0 or high >= classes:
                raise ValueError(
                    f"{owner_name(self)}: t holds labels from {low} to {high}, but y has {classes} columns: "
                    f"labels are 0 … {classes - 1}"
                )
            return
        super().check_targets(y, t)
        if numbers.min() < 0 or abs(numbers.sum(axis=-1) - 1.0).max() > 1e-3:
            raise ValueError(f"{owner_name(self)}: each row of t must be probabilities that add up to 1")


def part(share: Array, loss: Array) -> Array:
    """share · loss, where no part of an infinite loss is 0 and not NaN."""
    return share * namespace(share).where(share == 0.0, share, loss)


def check_same_target(loss: Loss, y: Array, t: Array) -> None:
    """t has y's shape.  (N, 1) against (N,) would broadcast to (N, N), so it is explained, not guessed."""
    check_array(loss, "t", t)
    if y.shape != t.shape:
        hint = ""
        if len(y.shape) == 2 and t.shape == y.shape[:1]:
            hint = "; write t[:, None]"
        elif len(y.shape) == 1 and t.shape == (*y.shape, 1):
            hint = "; write t[:, 0]"
        complain_shape(loss, "t", t, tuple(y.shape), f"the shape of y{hint}")
    check_alike(loss, "t", t, "y", y)


def check_shares(loss: Loss, name: str, weight: Array | None) -> None:
    """Read the weights of classes on the host: finite, at least 0, and not all 0."""
    if weight is None:
        return
    numbers = to_numpy(weight)
    if not (host.all(host.isfinite(numbers)) and host.all(numbers >= 0) and host.any(numbers > 0)):
        raise ValueError(f"{owner_name(loss)}: {name} must be finite and at least 0, and not all 0")


def complain_labels(loss: Loss, y: Array, t: Array) -> NoReturn:
    """Integer labels are one per row of y; these are not."""
    hint = ""
    if t.shape == (y.shape[0], 1):
        hint = "; write t[:, 0]"
    elif t.shape == y.shape:
        hint = "; rows of probabilities must be of y's dtype, not integers"
    complain_shape(loss, "t", t, f"({y.shape[0]},)", f"one label per row of y{hint}")
