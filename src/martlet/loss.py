"""Losses: one number that says how wrong a batch was, and where its gradient begins.

    value, cache = loss.forward(y, t)       y: the network's output, t: what it should have been
    dy = loss.backward(cache)               dL/dy, shaped like y

With ``reduction="mean"`` a batch counts as one, however large it is; "sum" adds; "none" gives every loss.
Sample weights w (N,) make the mean Σ w·l / Σ w.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from martlet.backend import Array, host, is_floating, namespace, to_numpy
from martlet.checks import (
    check_alike,
    check_array,
    check_floating,
    check_number,
    check_same,
    complain_cache,
    complain_pair,
    complain_shape,
    owner_name,
)
from martlet.functions import narrow, wide
from martlet.tree import Tree

REDUCTIONS = ("mean", "sum", "none")


class Loss(Tree):
    """The base of every loss.  A new one writes ``losses`` and ``slopes``; the weighing is done here.

    ``losses(y, t)`` gives each sample's (or element's) loss and a cache, ``slopes(cache)`` their
    derivatives with respect to y.  A loss that counts some samples for more than others says so in
    ``counts(cache)``, and its mean is over these counts.
    """

    reduction: str = "mean"

    takes_labels = False  # whether integer targets (N,) stay integers on their way here

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reduction not in REDUCTIONS:
            raise ValueError(
                f"{owner_name(self)}: reduction must be one of {', '.join(REDUCTIONS)}, got {self.reduction!r}"
            )

    def forward(self, y: Array, t: Array, weight: Array | None = None) -> tuple[Array, Any]:
        """The loss, a 0-d array (with "none", one number per loss), and the cache for backward.

        y: (N, C) float.  weight: (N,) of y's dtype.  The losses of half precision are computed, and
        returned, in float32.
        """
        half = check_floating(self, "y", y) == "half"
        if len(y.shape) == 0 or 0 in y.shape:
            missing = "column" if len(y.shape) > 1 and y.shape[0] else "sample"
            raise ValueError(f"{owner_name(self)}: y has shape {tuple(y.shape)}; a loss needs at least one {missing}")
        if weight is not None:
            check_alike(self, "weight", weight, "y", y)
            if weight.shape != y.shape[:1]:
                complain_shape(self, "weight", weight, f"({y.shape[0]},)", "one number per sample")
            weight = wide(weight)
        found = self.losses(*self._widened(y, t)) if half else self.losses(y, t)
        if not isinstance(found, tuple | list) or len(found) != 2:
            complain_pair(self, "losses", "(losses, cache)", found)
        losses, cache = found
        if len(losses.shape) == 0:
            why = "one loss per sample, or per element; the mean is taken of them later"
            complain_shape(f"{owner_name(self)}.losses", "what it gives", losses, f"({y.shape[0]}, …)", why)
        share: Any = 1.0 if weight is None else weight
        if self.reduction == "mean":
            count = self._count(losses, cache, weight)
            losses, share = losses / count, share / count  # before they are added up: their sum may overflow
        if weight is not None:
            losses = losses * beside(weight, losses)
        value = losses if self.reduction == "none" else namespace(y).sum(losses)
        return value, (cache, share, value, y)

    def _widened(self, y: Array, t: Array) -> tuple[Array, Array]:
        """y and t in float32, once it is sure that they were of one kind."""
        check_array(self, "t", t)
        if is_floating(t):
            check_alike(self, "t", t, "y", y)
        return wide(y), wide(t)

    def _count(self, losses: Array, cache: Any, weight: Array | None) -> Any:
        """How many losses the mean is over: a number or, where samples are weighed, an array ()."""
        xp, counts = namespace(losses), self.counts(cache)
        if counts is not None and weight is not None:
            counts = counts * weight
        elif counts is None:
            counts = weight
        count: Any = losses.shape[0]
        if counts is not None:  # a batch in which nothing counts costs nothing and moves nothing
            count = xp.sum(counts)
            count = xp.where(count == 0.0, 1.0, count)
        for length in losses.shape[1:]:
            count = count * length
        return count

    def backward(self, cache: Any, dout: Array | float = 1.0) -> Array:
        """dL/dy.  ``dout`` scales it: a number, or an array like the loss (with "none", one per loss)."""
        try:
            inner, share, value, y = cache
        except (TypeError, ValueError) as error:
            complain_cache(self, cache, error)
        slopes = self.slopes(inner)
        if type(share) is type(dout) is float and math.isfinite(dout):
            return narrow(slopes * (dout * share), y)
        if isinstance(dout, Real):
            check_number(self, "dout", dout, -math.inf)
            dout = float(dout)
        else:
            check_same(self, "dout", dout, "the loss", value)
        return narrow(slopes * beside(dout, slopes) * beside(share, slopes), y)

    def value(self, y: Array, t: Array, weight: Array | None = None) -> Array:
        """The loss alone, for those who want to print it."""
        return self.forward(y, t, weight)[0]

    def losses(self, y: Array, t: Array) -> tuple[Array, Any]:
        """Each loss, and what ``slopes`` needs."""
        raise NotImplementedError(f"{owner_name(self)} has no losses")

    def slopes(self, cache: Any) -> Array:
        """The derivative of each loss with respect to y, shaped like y."""
        raise NotImplementedError(f"{owner_name(self)} has no slopes")

    def counts(self, cache: Any) -> Array | None:
        """For how many samples each one counts in the mean, (N,); None where each counts as one."""
        return None

    def check_weights(self) -> None:
        """Read the weights of the loss's own on the host: ValueError for what is none."""

    def check_targets(self, y: Array, t: Array) -> None:
        """Read the targets on the host, before a training run starts: ValueError for what is no target."""
        if not host.all(host.isfinite(to_numpy(t))):
            raise ValueError(f"{owner_name(self)}: t holds NaN or infinity")


def beside(scale: Any, x: Array) -> Any:
    """A number, or an array whose leading axes are those of ``x``, ready to be multiplied with it."""
    if isinstance(scale, int | float):
        return scale
    missing = len(x.shape) - len(scale.shape)
    return scale[(..., *[None] * missing)] if len(scale.shape) > 0 and missing else scale
