"""PyTorch has several ways to take one step; the fairest comparison is with the fastest of them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from gpu.peers import Conditions, Runner
from gpu.worker import Missing
from gpu.workloads import Workload

ACTIVATIONS = {"tanh": torch.nn.Tanh, "sigmoid": torch.nn.Sigmoid, "relu": torch.nn.ReLU}
OPTIMIZERS = {
    "SGD": torch.optim.SGD,
    "Momentum": functools.partial(torch.optim.SGD, momentum=0.9),
    "Adam": torch.optim.Adam,
}


def prepare(conditions: Conditions) -> str:
    """The device to compute on, with TF32 as asked."""
    if not conditions.rehearsal and not torch.cuda.is_available():
        raise Missing(f"PyTorch {torch.__version__} is installed but sees no CUDA device")
    torch.set_float32_matmul_precision("high" if conditions.tf32 else "highest")
    return "cpu" if conditions.rehearsal else "cuda"


def model_of(work: Workload, device: str) -> torch.nn.Sequential:
    weights, biases, _, _ = work.draw()
    modules: list[torch.nn.Module] = []
    for W, b in zip(weights, biases, strict=True):
        linear = torch.nn.Linear(*W.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(W.T))
            linear.bias.copy_(torch.from_numpy(b))
        modules += [linear, ACTIVATIONS[work.activation]()]
    return torch.nn.Sequential(*modules[:-1]).to(device)


def batches(work: Workload, device: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
    _, _, x, t = work.draw()
    return [(torch.from_numpy(a).to(device), torch.from_numpy(b).to(device)) for a, b in zip(x, t, strict=True)]


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def eager(work: Workload, conditions: Conditions) -> dict[str, Runner]:
    """The three optimizers that PyTorch offers: its default, one operation for all arrays, one kernel for all."""
    device = prepare(conditions)
    data = batches(work, device)
    ways: dict[str, dict[str, Any]] = {"default": {}, "foreach": {"foreach": True}, "fused": {"fused": True}}
    where = "CPU, " if conditions.rehearsal else ""
    return {f"PyTorch eager, {where}{name}": runner(work, device, data, how) for name, how in ways.items()}


def compiled(work: Workload, conditions: Conditions) -> dict[str, Runner]:
    """torch.compile with its default settings, and the fused optimizer."""
    device = prepare(conditions)
    torch._dynamo.reset()  # it would refuse to compile one function for ever more networks
    how = {"backend": "aot_eager"} if conditions.rehearsal else {}
    name = "torch.compile, CPU, aot_eager" if conditions.rehearsal else "torch.compile"
    return {name: runner(work, device, batches(work, device), {"fused": True}, compile=how)}


def graphs(work: Workload, conditions: Conditions) -> dict[str, Runner]:
    """torch.compile that records CUDA graphs: hardly any launches, which is what small networks want."""
    if conditions.rehearsal:
        raise Missing("CUDA graphs need a CUDA device")
    device = prepare(conditions)
    torch._dynamo.reset()
    how = {"mode": "reduce-overhead"}
    return {"torch.compile, CUDA graphs": runner(work, device, batches(work, device), {"fused": True}, compile=how)}


def whole(work: Workload, conditions: Conditions) -> dict[str, Runner]:
    """Forward, backward and the optimizer in one CUDA graph, as PyTorch's own page on such graphs has it.

    The batch is copied to where the graph reads it.  In a rehearsal the step is called again in the graph's place.
    """
    device = prepare(conditions)
    data = batches(work, device)
    model = model_of(work, device)
    criterion = criterion_of(work)
    in_graph = {"capturable": True} if device == "cuda" and work.optimizer == "Adam" else {}
    optimizer = OPTIMIZERS[work.optimizer](model.parameters(), lr=work.lr, **in_graph)
    start = [p.detach().clone() for p in model.parameters()]
    x, t = (a.clone() for a in data[0])
    value = torch.zeros((), device=device)

    def take() -> None:
        optimizer.zero_grad()
        loss = criterion(model(x), t)
        loss.backward()
        optimizer.step()
        value.copy_(loss.detach())

    again = take if device == "cpu" else captured(take)
    with torch.no_grad():  # what warmed it up is taken back
        for p, first in zip(model.parameters(), start, strict=True):
            p.copy_(first)
        for memory in optimizer.state.values():
            for kept in memory.values():
                kept.zero_()

    def step(i: int) -> torch.Tensor:
        for there, here in zip((x, t), data[i % len(data)], strict=True):
            there.copy_(here)
        again()
        return value

    name = "PyTorch, CPU, the whole step" if conditions.rehearsal else "PyTorch, the whole step in a CUDA graph"
    return {name: Runner(step, lambda: wait(device), float)}


def captured(take: Callable[[], None]) -> Callable[[], None]:
    """A step as a CUDA graph, which is captured after it has been taken three times on a stream of its own."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            take()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        take()
    return graph.replay


def criterion_of(work: Workload) -> torch.nn.Module:
    return torch.nn.BCEWithLogitsLoss() if work.widths[-1] == 1 else torch.nn.CrossEntropyLoss()


def runner(
    work: Workload,
    device: str,
    data: list[tuple[torch.Tensor, torch.Tensor]],
    how: dict[str, Any],
    compile: dict[str, Any] | None = None,
) -> Runner:
    take = trainer(work, device, how, compile)
    return Runner(lambda i: take(*data[i % len(data)]), lambda: wait(device), float)


def trainer(
    work: Workload, device: str, how: dict[str, Any], compile: dict[str, Any] | None = None
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """A step on a batch, which gives its loss: ``how`` is told to the optimizer, ``compile`` to torch.compile."""
    model = model_of(work, device)
    criterion = criterion_of(work)
    optimizer = OPTIMIZERS[work.optimizer](model.parameters(), lr=work.lr, **how)
    in_graphs = compile is not None and "mode" in compile

    def forward(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return criterion(model(x), t)

    if compile is not None:
        forward = torch.compile(forward, **compile)

    def step(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        if in_graphs:
            torch.compiler.cudagraph_mark_step_begin()
        optimizer.zero_grad()
        value = forward(x, t)
        value.backward()
        optimizer.step()
        value = value.detach()
        return value.clone() if in_graphs else value  # the next replay writes over a graph's results

    return step
