"""martlet beside the libraries that others trust, as tables: ``python tests/peers.py`` prints them in Markdown.

Each table is a function that compares and gives back rows, (name, difference, where, limit).  The tests
test_against_*.py assert that every row agrees; here they are measured and shown.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

sys.path.insert(
    0, str(Path(__file__).parent.parent / "examples")
)  # as pytest has it: cases.py takes a layer from there

import onnx_vectors
import sklearn_runs
import torch_layers
import torch_losses
import torch_optimizers
from conftest import Target
from differences import Row


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


def markdown(rows: list[Row]) -> str:
    """Each row, and the largest difference of all."""
    lines = ["| | largest difference | where | allowed |", "|---|---|---|---|"]
    lines += [f"| {row.name} | {row.difference:.1e} | {row.where} | {row.limit:.0e} |" for row in rows]
    worst = max(rows, key=lambda row: row.difference / row.limit)
    return "\n".join(
        [*lines, f"| **all {len(rows)}** | **{worst.difference:.1e}** | {worst.name} | {worst.limit:.0e} |"]
    )


def main() -> None:
    """Print every table for which there is the library; the exit status is the number of rows that disagree."""
    disagree = 0
    for table, (title, library) in TABLES.items():
        if importlib.util.find_spec(library) is None:
            print(f"### {title}\n\n{library} is not installed.\n")
            continue
        rows = table()
        version = importlib.import_module(library).__version__
        print(f"### {title}\n\n{table.__doc__} ({library} {version})\n\n{markdown(rows)}\n")
        disagree += sum(not row.agrees for row in rows)
    sys.exit(disagree)


if __name__ == "__main__":
    main()
