"""martlet beside the libraries that others trust: each table compares, and gives back rows.

The tests test_against_*.py assert that every row agrees; ``python tests/proof.py against`` prints them.
"""

from __future__ import annotations

from conftest import Target

from peers import onnx_vectors, sklearn_runs, torch_layers, torch_losses, torch_optimizers
from peers.differences import Row


def optimizers_against_torch() -> list[Row]:
    """The weights after each of 50 steps, in float64."""
    import torch

    return [torch_optimizers.compare(torch, case) for case in torch_optimizers.CASES]


def layers_against_torch() -> list[Row]:
    """Outputs, gradients and running statistics, in float64."""
    import torch

    return [torch_layers.compare(torch, case) for case in (*torch_layers.LAYERS, *torch_layers.BATCH_NORMS)]


def losses_against_torch() -> list[Row]:
    """Values and gradients of every reduction, in float64."""
    import torch

    return [torch_losses.compare(torch, case) for case in torch_losses.CASES]


def vectors_of_onnx(backend: str = "numpy") -> list[Row]:
    """Outputs for the test vectors of the operators, in float32."""
    rows = [onnx_vectors.compare(operator, Target(backend))[0] for operator in onnx_vectors.COUNTERPARTS]
    return [row for row in rows if row is not None]


def runs_against_sklearn() -> list[Row]:
    """The loss of each of 60 epochs and the weights at the end, in float64."""
    return [sklearn_runs.compare(case) for case in sklearn_runs.CASES]


TABLES = {
    optimizers_against_torch: ("Optimizers and PyTorch's", "torch"),
    layers_against_torch: ("Layers and PyTorch's", "torch"),
    losses_against_torch: ("Losses and PyTorch's", "torch"),
    vectors_of_onnx: ("Outputs and the test vectors of ONNX", "onnx"),
    runs_against_sklearn: ("Training runs and scikit-learn's", "sklearn"),
}
