"""One step of training as a pure function: from model, state and batch to the next model and state.

``gradient`` and ``train_step`` are all there is to training; ``fit`` is the loop around them.
"""

from __future__ import annotations

from typing import Any, TypeVar

from martlet.backend import Array
from martlet.evaluation import check_kinds
from martlet.layer import Layer, observed
from martlet.loss import Loss
from martlet.optimizers import Optimizer

L = TypeVar("L", bound=Layer)


def gradient(model: L, loss: Loss, x: Any, t: Array, weight: Array | None = None) -> tuple[Array, L | None, L]:
    """Forward, then backward: the loss, dL/dmodel, and the model after having seen the batch.

    ``value, grad, model = gradient(model, loss, x, t)``; then ``grad[0].W`` is dL/dW of the first layer.
    x, t and weight must be on the model's device, in its dtype (``fit`` sees to that by itself).
    """
    if not (isinstance(model, Layer) and isinstance(loss, Loss) and loss.reduction != "none"):
        check_kinds("gradient", model=model, loss=loss)
    y, cache = model.forward(x)
    value, loss_cache = loss.forward(y, t, weight)
    _, grad = model.backward(cache, loss.backward(loss_cache))
    return value, grad, observed(model, cache)


def train_step(
    model: L, loss: Loss, optimizer: Optimizer, state: Any, x: Any, t: Array, weight: Array | None = None
) -> tuple[L, Any, Array]:
    """One step of training as a pure function: the new model, the new state, and the loss before the step."""
    if not isinstance(optimizer, Optimizer):
        check_kinds("train_step", model=model, loss=loss, optimizer=optimizer)
    value, grad, model = gradient(model, loss, x, t, weight)
    model, state = optimizer.update(model, grad, state)
    return model, state, value
