"""JAX compiles a whole step, gradient and update together, into one program for the device."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from gpu.peers import Conditions, Runner
from gpu.worker import Missing
from gpu.workloads import Workload

ACTIVATIONS = {"tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu}


def jitted(work: Workload, conditions: Conditions) -> dict[str, Runner]:
    if not conditions.rehearsal and jax.default_backend() != "gpu":
        raise Missing(f"JAX {jax.__version__} is installed but computes on {jax.default_backend()}")
    jax.config.update("jax_default_matmul_precision", "tensorfloat32" if conditions.tf32 else "float32")
    _, _, x, t = work.draw()
    xs, ts = [jnp.asarray(a) for a in x], [jnp.asarray(a) for a in t]
    state = first_state(work)
    compiled = jax.jit(lambda state, x, t: step_of(work, state, x, t), donate_argnums=0)
    value = jnp.zeros(())

    def step(i: int) -> Any:
        nonlocal state, value
        state, value = compiled(state, xs[i % len(xs)], ts[i % len(ts)])
        return value

    name = "JAX jit, CPU" if conditions.rehearsal else "JAX jit"
    found = {name: Runner(step, lambda: jax.block_until_ready((state, value)), float)}
    return found | {f"{name}, a scan of the batches": scanned(work, jnp.stack(xs), jnp.stack(ts))}


def scanned(work: Workload, xs: Any, ts: Any) -> Runner:
    """All batches in one program."""

    def traced(state: Any) -> Any:
        return jax.lax.scan(lambda state, batch: step_of(work, state, *batch), state, (xs, ts))

    compiled, state, values = jax.jit(traced, donate_argnums=0), first_state(work), None

    def step(i: int) -> Any:
        nonlocal state, values
        if i % len(xs) == 0:
            state, values = compiled(state)
        return values, i % len(xs)  # picked when it is read: to pick it is a kernel

    def wait() -> None:
        jax.block_until_ready((state, values))

    return Runner(step, wait, lambda found: float(found[0][found[1]]), together=len(xs))


def first_state(work: Workload) -> Any:
    """The start weights, the optimizer's memories and the counter of steps; the arrays are its own, to be donated."""
    weights, biases, _, _ = work.draw()
    params = [(jnp.array(W, copy=True), jnp.array(b, copy=True)) for W, b in zip(weights, biases, strict=True)]
    zeros = jax.tree.map(jnp.zeros_like, params)
    memory = {"SGD": (), "Momentum": (zeros,), "Adam": (zeros, jax.tree.map(jnp.zeros_like, params))}[work.optimizer]
    return params, memory, jnp.zeros((), jnp.int32)


def loss_of(work: Workload, params: Any, x: Any, t: Any) -> Any:
    for i, (W, b) in enumerate(params):
        x = (ACTIVATIONS[work.activation](x) if i else x) @ W + b
    if work.widths[-1] == 1:
        return jnp.mean(jnp.maximum(x, 0.0) - x * t + jnp.log1p(jnp.exp(-jnp.abs(x))))
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(x), t[:, None], axis=1))


def step_of(work: Workload, state: Any, x: Any, t: Any) -> tuple[Any, Any]:
    params, memory, count = state
    value, grads = jax.value_and_grad(lambda p: loss_of(work, p, x, t))(params)
    count = count + 1
    if work.optimizer == "SGD":
        params = jax.tree.map(lambda p, g: p - work.lr * g, params, grads)
    elif work.optimizer == "Momentum":
        v = jax.tree.map(lambda v, g: 0.9 * v - work.lr * g, memory[0], grads)
        params, memory = jax.tree.map(jnp.add, params, v), (v,)
    else:
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, memory[0], grads)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, memory[1], grads)
        first, second = 1.0 - 0.9**count, 1.0 - 0.999**count
        params = jax.tree.map(lambda p, m, v: p - work.lr * (m / first) / (jnp.sqrt(v / second) + 1e-8), params, m, v)
        memory = (m, v)
    return (params, memory, count), value
