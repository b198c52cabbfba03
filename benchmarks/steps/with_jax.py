"""JAX by hand: a step in one program, or a whole epoch of steps; the state is donated, rows are taken inside."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gpu.peers_jax import first_state, step_of

from steps.peer import Peer


class OnJAX(Peer):
    def place(self) -> None:
        _, _, x, t = self.work.draw()
        self.x, self.t = jnp.array(x, copy=True), jnp.array(t, copy=True)
        jax.block_until_ready((self.x, self.t))

    def build(self) -> None:
        self.state, self.values = first_state(self.work), ()
        self.program = jax.jit(self.traced, donate_argnums=0)

    def step(self, state: Any, x: Any, t: Any, rows: Any) -> tuple[Any, Any]:
        return step_of(self.work, state, jnp.take(x, rows, axis=0, mode="clip"), jnp.take(t, rows, axis=0, mode="clip"))

    def traced(self, state: Any, x: Any, t: Any, *which: Any) -> tuple[Any, Any]:
        raise NotImplementedError

    def wait(self) -> None:
        jax.block_until_ready((self.state, self.values))


class Jit(OnJAX):
    """One call per step.  The numbers of the batches are on the device already, and the order goes there whole."""

    def place(self) -> None:
        super().place()
        self.numbers = [jnp.asarray(i, dtype=jnp.int32) for i in range(self.work.batches)]

    def traced(self, state: Any, x: Any, t: Any, *which: Any) -> tuple[Any, Any]:
        rows, i = which
        return self.step(state, x, t, jax.lax.dynamic_index_in_dim(rows, i, keepdims=False))

    def begin(self, order: np.ndarray) -> None:
        super().begin(order)
        self.rows = jnp.asarray(self.rows.astype(np.int32))

    def run(self, first: int, stop: int) -> list[Any]:
        self.values = []
        for i in self.numbers[first:stop]:
            self.state, value = self.program(self.state, self.x, self.t, self.rows, i)
            self.values.append(value)
        return self.values


class Scan(OnJAX):
    """One call for a stretch of batches."""

    def traced(self, state: Any, x: Any, t: Any, *which: Any) -> tuple[Any, Any]:
        (rows,) = which
        return jax.lax.scan(lambda state, rows: self.step(state, x, t, rows), state, rows)

    def run(self, first: int, stop: int) -> Any:
        rows = self.rows[first:stop].astype(np.int32)
        self.state, self.values = self.program(self.state, self.x, self.t, rows)
        return self.values
