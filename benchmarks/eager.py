"""How fast is one eager step?  martlet beside the lessons' plain NumPy and PyTorch eager, turn by turn.

    python benchmarks/eager.py [--workloads W2 W5m] [--rounds 15] [--out FILE.json]

Each peer runs in a process of its own and they take turns, so that whatever else the machine does falls on
all of them.  All start from the same weights and see the same batches in float32, and the losses they
reach are compared before anything is timed.  The table gives the minimum and the median time of a step,
and ratios of minima.  PyTorch is left out, and named, where it is not installed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

Step = Callable[[int], Any]  # the number of a batch -> the loss of its step


@dataclass(frozen=True)
class Workload:
    """A network, its batches and its optimizer: widths of the layers, and what bends between them."""

    widths: tuple[int, ...]
    activation: str
    batch: int
    momentum: float
    lr: float
    steps_per_turn: int

    def draw(self) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray, np.ndarray]:
        """Weights, biases and ten batches of data with integer labels."""
        rng = np.random.default_rng(0)
        pairs = list(zip(self.widths, self.widths[1:], strict=False))
        weights = [(np.sqrt(1.0 / a) * rng.standard_normal((a, b))).astype(np.float32) for a, b in pairs]
        biases = [np.zeros(b, dtype=np.float32) for b in self.widths[1:]]
        x = rng.standard_normal((10, self.batch, self.widths[0])).astype(np.float32)
        t = rng.integers(0, self.widths[-1], (10, self.batch))
        return weights, biases, x, t


WORKLOADS = {
    "W2": Workload((2, 10, 3), "sigmoid", batch=30, momentum=0.0, lr=1.0, steps_per_turn=1000),
    "W5m": Workload((784, 1024, 1024, 10), "relu", batch=256, momentum=0.9, lr=0.01, steps_per_turn=8),
}


# --------------------------------------------------------------------- the peers: each builds its step


def martlet_step(work: Workload) -> Step:
    import martlet as mt

    weights, biases, x, t = work.draw()
    layers: list[mt.Layer] = []
    for W, b in zip(weights, biases, strict=True):
        layers += [mt.Affine(W, b), mt.Sigmoid() if work.activation == "sigmoid" else mt.ReLU()]
    model = mt.Sequential(*layers[:-1])
    loss = mt.SoftmaxWithLoss()
    optimizer: mt.Optimizer = mt.Momentum(lr=work.lr, momentum=work.momentum) if work.momentum else mt.SGD(lr=work.lr)
    state = optimizer.init(model)

    def step(i: int) -> Any:
        nonlocal model, state
        model, state, value = mt.train_step(model, loss, optimizer, state, x[i % 10], t[i % 10])
        return value

    return step


class PlainLayer:
    """A lesson's layer: it keeps what backward needs, and writes its gradients into arrays that it owns."""

    def __init__(self) -> None:
        self.params: list[np.ndarray] = []
        self.grads: list[np.ndarray] = []


class PlainAffine(PlainLayer):
    def __init__(self, W: np.ndarray, b: np.ndarray) -> None:
        self.params = [W, b]
        self.grads = [np.zeros_like(W), np.zeros_like(b)]

    def forward(self, x):
        W, b = self.params
        self.x = x
        return np.matmul(x, W) + b

    def backward(self, dout):
        self.grads[0][...] = np.matmul(self.x.T, dout)
        self.grads[1][...] = np.sum(dout, axis=0)
        return np.matmul(dout, self.params[0].T)


class PlainSigmoid(PlainLayer):
    def forward(self, x):
        self.y = 1 / (1 + np.exp(-x))
        return self.y

    def backward(self, dout):
        return dout * (1.0 - self.y) * self.y


class PlainReLU(PlainLayer):
    def forward(self, x):
        self.mask = x <= 0
        y = x.copy()
        y[self.mask] = 0
        return y

    def backward(self, dout):
        dout[self.mask] = 0
        return dout


class PlainSoftmaxWithLoss:
    def forward(self, x, t):
        x = x - x.max(axis=1, keepdims=True)
        x = np.exp(x)
        self.y = x / x.sum(axis=1, keepdims=True)
        self.t = t
        return -np.sum(np.log(self.y[np.arange(t.shape[0]), t] + 1e-7)) / t.shape[0]

    def backward(self):
        n = self.t.shape[0]
        dx = self.y.copy()
        dx[np.arange(n), self.t] -= 1
        return dx / n


class PlainMomentum:
    def __init__(self, lr: float, momentum: float) -> None:
        self.lr, self.momentum = lr, momentum
        self.v: list[np.ndarray] = []

    def update(self, params, grads):
        if not self.v:
            self.v = [np.zeros_like(p) for p in params]
        for i in range(len(params)):
            self.v[i] = self.momentum * self.v[i] - self.lr * grads[i]
            params[i] += self.v[i]


class PlainSGD:
    def __init__(self, lr: float) -> None:
        self.lr = lr

    def update(self, params, grads):
        for i in range(len(params)):
            params[i] -= self.lr * grads[i]


def plain_step(work: Workload) -> Step:
    weights, biases, x, t = work.draw()
    layers: list[Any] = []
    for W, b in zip(weights, biases, strict=True):
        layers += [PlainAffine(W, b), PlainSigmoid() if work.activation == "sigmoid" else PlainReLU()]
    layers.pop()
    params = [p for layer in layers for p in layer.params]
    grads = [g for layer in layers for g in layer.grads]
    loss = PlainSoftmaxWithLoss()
    optimizer: Any = PlainMomentum(work.lr, work.momentum) if work.momentum else PlainSGD(work.lr)

    def step(i: int) -> Any:
        y = x[i % 10]
        for layer in layers:
            y = layer.forward(y)
        value = loss.forward(y, t[i % 10])
        dout = loss.backward()
        for layer in reversed(layers):
            dout = layer.backward(dout)
        optimizer.update(params, grads)
        return value

    return step


def torch_step(work: Workload) -> Step:
    import torch

    weights, biases, x, t = work.draw()
    xs, ts = torch.from_numpy(x), torch.from_numpy(t)
    modules: list[torch.nn.Module] = []
    for W, b in zip(weights, biases, strict=True):
        linear = torch.nn.Linear(*W.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(W.T))
            linear.bias.copy_(torch.from_numpy(b))
        modules += [linear, torch.nn.Sigmoid() if work.activation == "sigmoid" else torch.nn.ReLU()]
    model = torch.nn.Sequential(*modules[:-1])
    criterion = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=work.lr, momentum=work.momentum)

    def step(i: int) -> Any:
        optimizer.zero_grad()
        value = criterion(model(xs[i % 10]), ts[i % 10])
        value.backward()
        optimizer.step()
        return value.detach()

    return step


PEERS: dict[str, Callable[[Workload], Step]] = {
    "martlet, NumPy": martlet_step,
    "the lessons' plain NumPy": plain_step,
    "PyTorch eager": torch_step,
}


# ------------------------------------------------------------------------------------------ taking turns


def serve(peer: str, work: Workload, pipe: Any) -> None:
    """One peer's process: report the losses of 20 steps, then the time of a step whenever it is asked."""
    step = PEERS[peer](work)
    pipe.send([float(step(i)) for i in range(20)])
    while pipe.recv():
        start = time.perf_counter()
        for i in range(work.steps_per_turn):
            step(i)
        pipe.send((time.perf_counter() - start) / work.steps_per_turn)


def measure(work: Workload, peers: list[str], rounds: int) -> dict[str, list[float]]:
    """Seconds per step of every peer in every round; raises if they do not compute the same losses."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for peer in peers:
        pipes[peer], theirs = context.Pipe()
        processes.append(context.Process(target=serve, args=(peer, work, theirs)))
        processes[-1].start()
        theirs.close()  # so that a peer that dies is an EOFError here and not a silence
    losses = {peer: pipe.recv() for peer, pipe in pipes.items()}
    for peer in peers:
        np.testing.assert_allclose(losses[peer], losses[peers[0]], rtol=2e-4, err_msg=peer)
    times: dict[str, list[float]] = {peer: [] for peer in peers}
    for turn in range(rounds + 1):  # the first is the warm-up
        for peer, pipe in pipes.items():
            pipe.send(True)
            seconds = pipe.recv()
            if turn:
                times[peer].append(seconds)
    for pipe, process in zip(pipes.values(), processes, strict=True):
        pipe.send(False)
        process.join()
    return times


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--rounds", type=int, default=15, help="turns of each peer (default 15)")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    arguments = parser.parse_args()

    versions = {name: installed(name) for name in ("numpy", "torch")}
    peers = [peer for peer in PEERS if peer != "PyTorch eager" or versions["torch"]]
    if len(peers) < len(PEERS):
        print("PyTorch is not installed: left out")
    print(f"Python {platform.python_version()}, " + ", ".join(f"{k} {v}" for k, v in versions.items() if v))
    report: dict[str, Any] = {
        "python": platform.python_version(),
        "machine": platform.processor() or platform.machine(),
    }
    report |= {"versions": versions, "date": time.strftime("%Y-%m-%d"), "seconds_per_step": {}}
    for name in arguments.workloads:
        times = measure(WORKLOADS[name], peers, arguments.rounds)
        report["seconds_per_step"][name] = times
        ours = min(times[peers[0]])
        print(f"\n{name:<26}{'minimum µs':>12}{'median µs':>12}{'martlet / it':>14}")
        for peer in peers:
            low, middle = min(times[peer]), statistics.median(times[peer])
            print(f"{peer:<26}{low * 1e6:>12.1f}{middle * 1e6:>12.1f}{ours / low:>14.2f}")
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
