"""JAX: a function, or a whole stretch of training steps, as one program that XLA compiles.

A program takes and gives flat lists of arrays, so that JAX need not know what a tree is.  It is traced once for a
structure (see ``structure.py``) and forms; numbers such as the learning rate are arrays, and no part of it.

Nothing is donated: a stretch copies the state once, into the loop that moves it on in place, and what the run had
before it is still there, as the model that was good when the losses were last read.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from martlet.backend import Array
from martlet.compile.eager import CannotCompile, Stepper
from martlet.compile.structure import PROGRAMS, Made, filled, on_lists, outline, structure, without_numbers
from martlet.layer import Layer
from martlet.loss import Loss
from martlet.optimizers import Optimizer
from martlet.step import train_step
from martlet.tree import leaves, named_leaves


def compiled(function: Callable[..., Any], how: Any = "auto") -> Callable[..., Any]:
    """The function under ``jit``, traced anew for arguments of another structure."""
    return on_lists(function, jax.jit)


@functools.lru_cache(maxsize=PROGRAMS)
def stretch(made: Made) -> Callable[..., Any]:
    """The program of some steps, each with ``made.size`` samples: from model and state before to those after them."""

    def traced(moving: list[Array], losses: Array, still: list[Array], data: Any, order: Array, span: Array) -> Any:
        """span: where in the order the first batch begins, how many there are, and where its loss is noted."""
        start, steps, at = span[0], span[1], span[2]

        def step(i: Any, carried: Any) -> Any:
            moving, losses = carried
            model, state, loss, optimizer = filled(made.outline, [*moving, *still])
            rows = jax.lax.dynamic_slice(order, (start + i * made.size,), (made.size,))
            batch = [jnp.take(a, rows, axis=0, mode="clip") for a in data]
            after, state_after, value = train_step(model, loss, optimizer, state, *batch)
            moved = like((model, state), (after, state_after))
            return moved, jax.lax.dynamic_update_index_in_dim(losses, value.astype(losses.dtype), at + i, 0)

        return jax.lax.fori_loop(0, steps, step, (moving, losses))

    return jax.jit(traced)


def like(before: tuple[Any, Any], after: tuple[Any, Any]) -> list[Array]:
    """The arrays after a step, which must be as those before it in all but their numbers: the next step is the same."""
    if structure(before) != structure(after):
        raise CannotCompile("a step changes more of the model than the numbers in its arrays, such as a setting")
    found = []
    for old, new in zip(before, after, strict=True):
        arrays = named_leaves(old)
        for (name, was), x in zip(arrays.items(), leaves(new), strict=True):
            if (x.shape, x.dtype) != (was.shape, was.dtype):
                raise CannotCompile(f"{name} is {was.dtype}{was.shape} before a step, and {x.dtype}{x.shape} after it")
            found.append(jax.lax.convert_element_type(x, was.dtype))  # which frees it of being weakly typed
    return found


class JaxStepper(Stepper):
    """One program per stretch of steps, and another one for a short last batch."""

    words = "JAX: one jit program per stretch of steps"

    def __init__(
        self,
        model: Layer,
        loss: Loss,
        optimizer: Optimizer,
        state: Any,
        arrays: tuple[Any, ...],
        *,
        size: int,
        last: str = "keep",
        how: Any = "auto",
    ) -> None:
        count = int(arrays[0].shape[0])
        self.size, self.whole = size, count // size
        self.rest = count % size if last == "keep" else 0
        self.outline = outline((model, state))
        self.moving, self.still = [*leaves(model), *leaves(state)], leaves(loss)
        self.arrays = arrays
        self.order: Any = jnp.arange(count)
        self.unshuffled = self.order
        self.spans: dict[tuple[int, int, int], Array] = {}  # on the device: the same ones come in every epoch
        self.losses = jnp.zeros(self.whole + bool(self.rest), dtype=jnp.result_type(float))
        given = model, state, loss, without_numbers(optimizer)
        key, shape = (structure(given), len(arrays)), outline(given)
        self.programs = {n: stretch(Made(key, shape, n)) for n in (self.whole and size, self.rest) if n}
        for n in self.programs:  # traced and compiled now: no step is taken
            self._take(n, (self.moving, self.losses), 0, 0, 0)

    def _take(self, size: int, carried: Any, start: int, steps: int, at: int) -> Any:
        span = start, steps, at
        if span not in self.spans:
            self.spans[span] = jnp.asarray(span, dtype=self.unshuffled.dtype)
        return self.programs[size](*carried, self.still, self.arrays, self.order, self.spans[span])

    def shuffle(self, order: Any) -> None:
        self.order = self.unshuffled if order is None else order
        if isinstance(self.order, np.ndarray):  # goes to the device with the next stretch
            self.order = self.order.astype(self.unshuffled.dtype)

    def run(self, first: int, stop: int) -> Array:
        carried, steps = (self.moving, self.losses), min(stop, self.whole) - first
        if steps > 0:
            carried = self._take(self.size, carried, first * self.size, steps, 0)
        if stop > self.whole:
            carried = self._take(self.rest, carried, self.whole * self.size, 1, self.whole - first)
        self.moving, losses = carried
        return losses if stop - first == losses.shape[0] else losses[: stop - first]

    def read(self) -> tuple[Any, Any]:
        found: tuple[Any, Any] = filled(self.outline, self.moving)
        return found
