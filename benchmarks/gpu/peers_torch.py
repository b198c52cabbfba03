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
    criterion = torch.nn.BCEWithLogitsLoss() if work.widths[-1] == 1 else torch.nn.CrossEntropyLoss()
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
