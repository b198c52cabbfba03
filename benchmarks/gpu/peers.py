"""To be compared, libraries must do the same work: each peer builds the same step from the same weights.

A peer is a function that makes Runners for a workload, by name.  Here are martlet and the bare products, which say
how fast any library that uses the same ones could be at best; PyTorch and JAX have files of their own.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

from gpu.worker import Missing
from gpu.workloads import Workload


class Runner(NamedTuple):
    """One way to take a step: do it, wait until the device has done it, and read the loss that it gave.

    together: as many steps are taken at once, at the first of them.  words: how, if there is something to say.
    """

    step: Callable[[int], Any]  # the number of the step -> its loss, still on the device
    wait: Callable[[], None]
    read: Callable[[Any], float] | None  # None where there is no loss
    together: int = 1
    words: str = ""


class Conditions(NamedTuple):
    """Whether it is a rehearsal on a processor, and whether products may use TF32."""

    rehearsal: bool
    tf32: bool


Peer = Callable[[Workload, Conditions], dict[str, Runner]]

# name -> module and function.  The first is the one that all others are compared with.
PEERS = {
    "martlet": ("gpu.peers", "martlet_on_the_device"),
    "torch": ("gpu.peers_torch", "eager"),
    "torch.compile": ("gpu.peers_torch", "compiled"),
    "torch graphs": ("gpu.peers_torch", "graphs"),
    "torch whole": ("gpu.peers_torch", "whole"),
    "jax": ("gpu.peers_jax", "jitted"),
    "products": ("gpu.peers", "bare_products"),
    "numpy": ("gpu.peers", "martlet_on_numpy"),  # last: in its turn the device idles, and slows down
}


def find(name: str) -> Peer:
    """The peer of that name; Missing, with the reason, where its library is not installed."""
    module, function = PEERS[name]
    try:
        return getattr(importlib.import_module(module), function)
    except ImportError as error:
        raise Missing(str(error)) from None


def device_backend(conditions: Conditions) -> Any:
    """CuPy; in a rehearsal PyTorch on the processor stands in for it."""
    import martlet as mt

    try:
        return mt.Backend("torch", "cpu") if conditions.rehearsal else mt.Backend("cupy")
    except mt.BackendUnavailable as error:
        raise Missing(str(error)) from None


def martlet_on_the_device(work: Workload, conditions: Conditions) -> dict[str, Runner]:
    """Eagerly, as in a loop of one's own, and compiled, as in ``fit``."""
    name, backend = "martlet on torch, CPU" if conditions.rehearsal else "martlet on CuPy", device_backend(conditions)
    return {f"{name}, eager": martlet_runner(work, backend), f"{name}, compiled": compiled_runner(work, backend)}


def martlet_on_numpy(work: Workload, conditions: Conditions) -> dict[str, Runner]:
    import martlet as mt

    if not work.on_numpy or conditions.tf32:
        raise Missing("too slow on NumPy" if not work.on_numpy else "NumPy has no TF32")
    return {"martlet on NumPy": martlet_runner(work, mt.Backend("numpy"))}


def martlet_model(work: Workload) -> tuple[Any, Any, Any]:
    """Model, loss and optimizer of a workload, on NumPy."""
    import martlet as mt

    weights, biases, _, _ = work.draw()
    activation = {"tanh": mt.Tanh, "sigmoid": mt.Sigmoid, "relu": mt.ReLU}[work.activation]
    layers: list[mt.Layer] = []
    for W, b in zip(weights, biases, strict=True):
        layers += [mt.Affine(W, b), activation()]
    loss = mt.SigmoidWithLoss() if work.widths[-1] == 1 else mt.SoftmaxWithLoss()
    return mt.Sequential(*layers[:-1]), loss, getattr(mt, work.optimizer)(lr=work.lr)


def martlet_runner(work: Workload, backend: Any) -> Runner:
    import martlet as mt

    model, loss, optimizer = martlet_model(work)
    _, _, x, t = work.draw()
    xs, ts = [backend.asarray(a) for a in x], [backend.asarray(a) for a in t]
    model, value = model.to(backend), xs[0]
    state = optimizer.init(model)

    def step(i: int) -> Any:
        nonlocal model, state, value
        model, state, value = mt.train_step(model, loss, optimizer, state, xs[i % len(xs)], ts[i % len(ts)])
        return value

    return Runner(step, lambda: backend.synchronize(value, *mt.leaves(model)), lambda v: float(mt.to_numpy(v)))


def compiled_runner(work: Workload, backend: Any) -> Runner:
    """All batches one after the other, as ``fit`` takes an epoch that nobody shuffles."""
    import martlet as mt
    from martlet.compile import stepper

    model, loss, optimizer = martlet_model(work)
    _, _, x, t = work.draw()
    model, count = model.to(backend), len(x)
    data = tuple(backend.asarray(a.reshape(-1, *a.shape[2:])) for a in (x, t))
    taken = stepper(model, loss, optimizer, optimizer.init(model), data, size=work.batch, last="drop")
    losses: Any = []

    def step(i: int) -> Any:
        nonlocal losses
        if i % count == 0:
            losses = taken.run(0, count)
        return losses[i % count]

    def wait() -> None:
        backend.synchronize(*losses[-1:])

    return Runner(step, wait, lambda v: float(mt.to_numpy(v)), together=count, words=taken.words)


def bare_products(work: Workload, conditions: Conditions) -> dict[str, Runner]:
    """Forward, dW of every layer, and dx of every layer but the first, whose dx nobody needs."""
    backend = device_backend(conditions)
    weights, _, x, _ = work.draw()
    Ws = [backend.asarray(W) for W in weights]
    hs = [backend.asarray(x[0])]
    for W in Ws:
        hs.append(hs[-1] @ W)
    last = hs[-1]

    def step(i: int) -> Any:
        nonlocal last
        for h, W, dout in zip(hs[:-1], Ws, hs[1:], strict=True):  # outputs have the shapes of their gradients
            last = h @ W
            last = h.T @ dout
            if h is not hs[0]:
                last = dout @ W.T

    name = "bare products, torch CPU" if conditions.rehearsal else "bare products, cuBLAS"
    return {name: Runner(step, lambda: backend.synchronize(last), None)}


COPIES = 8  # one after the other: to wait for one of them would take a part of its time


def copy_bandwidth(conditions: Conditions, megabytes: int) -> float:
    """Bytes read and written per second when one large array is copied into another; the best of ten."""
    import time

    backend = device_backend(conditions)
    source = backend.xp.ones(megabytes * 2**18, dtype=backend.xp.float32, device=backend.device)
    target = backend.xp.zeros_like(source)
    seconds = []
    for _ in range(10):
        backend.synchronize(target)
        start = time.perf_counter()
        for _ in range(COPIES):
            target[...] = source
        backend.synchronize(target)
        seconds.append((time.perf_counter() - start) / COPIES)
    return 2 * megabytes * 2**20 / min(seconds)
