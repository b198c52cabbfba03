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
from martlet.step import train_step
from martlet.tree import leaves, named_leaves


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function under ``jit``, traced anew for arguments of another structure."""
    return on_lists(function, jax.jit)


@functools.lru_cache(maxsize=PROGRAMS)
def stretch(made: Made) -> Callable[..., Any]:
    """The program of some epochs, or of a part of one: from model and state before it to those after it.

    ``made.sizes``: of the batches, and of a short last one or 0.
    """
    size, rest = made.sizes

    def traced(moving: list[Array], losses: Array, still: list[Array], data: Any, orders: Array, span: Array) -> Any:
        """span: how many epochs; of each, from which whole batch to before which; and whether the short one comes."""
        count = data[0].shape[0]
        whole, steps = count // size, count // size + bool(rest)

        def step(carried: Any, rows: int, epoch: Any, i: Any) -> Any:
            moving, losses = carried
            model, state, loss, optimizer = filled(made.outline, [*moving, *still])
            here = jax.lax.dynamic_slice(orders, (epoch * count + i * size,), (rows,))
            batch = [jnp.take(a, here, axis=0, mode="clip") for a in data]
            after, state_after, value = train_step(model, loss, optimizer, state, *batch)
            at = epoch * steps + i - span[1]
            losses = jax.lax.dynamic_update_index_in_dim(losses, value.astype(losses.dtype), at, 0)
            return like((model, state), (after, state_after)), losses

        def epoch(number: Any, carried: Any) -> Any:
            if whole:
                carried = jax.lax.fori_loop(span[1], span[2], lambda i, now: step(now, size, number, i), carried)
            if rest:  # a loop of one step or none, for a condition would copy what it carries
                carried = jax.lax.fori_loop(whole, whole + span[3], lambda i, now: step(now, rest, number, i), carried)
            return carried

        return jax.lax.fori_loop(0, span[0], epoch, (moving, losses))

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
    """One program for all stretches of steps, which are whole epochs or parts of one."""

    words = "JAX: one jit program per stretch of steps"

    def __init__(self, *given: Any, how: Any = "auto", together: int = 1, **cut: Any) -> None:
        model, loss, optimizer, state, arrays = given
        super().__init__(arrays, **cut)
        self.outline = outline((model, state))
        self.moving, self.still = [*leaves(model), *leaves(state)], leaves(loss)
        self.unshuffled = jnp.tile(jnp.arange(self.count), together)
        self.orders: Any = self.unshuffled
        self.losses = jnp.zeros(together * (self.whole + bool(self.rest)), dtype=jnp.result_type(float))
        self.spans: dict[tuple[int, ...], Array] = {}  # on the device: the same ones come in every epoch
        known = model, state, loss, without_numbers(optimizer)
        self.program = stretch(Made(structure(known), outline(known), (self.size, self.rest)))
        self._take(0, 0, 0, False)  # traced and compiled now: no step is taken

    def _take(self, epochs: int, first: int, stop: int, short: bool) -> Array:
        """Some epochs: of each, whole batches from ``first`` to before ``stop``, and the short one; their losses."""
        span = epochs, first, stop, int(short)
        if span not in self.spans:
            self.spans[span] = jnp.asarray(span, dtype=self.unshuffled.dtype)
        given = self.moving, self.losses, self.still, self.arrays, self.orders, self.spans[span]
        self.moving, losses = self.program(*given)
        taken = epochs * (max(stop - first, 0) + short)
        return losses[:taken] if 0 < taken < losses.shape[0] else losses

    def shuffle(self, order: Any) -> None:
        self._put([order])

    def _put(self, orders: list[Any]) -> None:
        """What is NumPy's goes to the device with the next stretch."""
        if all(order is None for order in orders):
            self.orders = self.unshuffled
            return
        self.orders = np.zeros(self.unshuffled.shape, dtype=self.unshuffled.dtype)
        for i, order in enumerate(orders):
            self.orders[i * self.count : (i + 1) * self.count] = order

    def run(self, first: int, stop: int) -> Array:
        return self._take(1, min(first, self.whole), min(stop, self.whole), stop > self.whole)

    def epochs(self, orders: list[Any], steps: int) -> Array:
        self._put(orders)
        return self._take(len(orders), 0, self.whole, bool(self.rest))

    def read(self) -> tuple[Any, Any]:
        found: tuple[Any, Any] = filled(self.outline, self.moving)
        return found
