"""Optimizers, layers and losses beside PyTorch's own, in float64: the tables of torch_*.py, a test per row.

They say nothing about a backend, ours run on NumPy; so they run once, where PyTorch is installed for its own
sake: ``pytest --backend torch``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from peers import torch_layers, torch_losses, torch_optimizers

import martlet as mt

pytestmark = pytest.mark.only("torch")


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


def named(cases: list[Any]) -> Any:
    assert len({case.name for case in cases}) == len(cases)
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


@named(torch_optimizers.CASES)
def test_every_step_of_an_optimizer(torch: Any, case: torch_optimizers.Case) -> None:
    row = torch_optimizers.compare(torch, case)
    assert row.agrees, row


@named([*torch_layers.LAYERS, *torch_layers.BATCH_NORMS])
def test_a_layer_forward_and_backward(torch: Any, case: Any) -> None:
    row = torch_layers.compare(torch, case)
    assert row.agrees, row


@named(torch_losses.CASES)
def test_a_loss_forward_and_backward(torch: Any, case: torch_losses.Case) -> None:
    row = torch_losses.compare(torch, case)
    assert row.agrees, row


@pytest.mark.parametrize("name", ["Momentum", "Nesterov"])
def test_a_new_rate_rescales_old_velocity_in_torch_and_not_in_ours(torch: Any, name: str) -> None:
    """Why the rows with a momentum have no schedule, or one that is made up for."""
    (case,) = (case for case in torch_optimizers.CASES if case.name == name)
    scheduled = replace(case.ours, schedule=torch_optimizers.STAIRS)
    row = torch_optimizers.compare(torch, replace(case, ours=scheduled, scheduler=torch_optimizers.step_lr))
    assert row.difference > 1e-3


def test_every_layer_and_loss_has_a_row() -> None:
    """Except for those that PyTorch has not, or draws otherwise; a new one must come here or into a table."""
    without = {
        "Add Multiply Branch Repeat Sum": "the lessons' nodes, which PyTorch writes as operators",
        "Freeze Identity Parallel Sequential": "no numbers of their own",
        "Standardize": "none in PyTorch",
        "Dropout": "masks from other numbers",
        "Layer Loss": "the bases",
    }
    tables = [*torch_layers.LAYERS, *torch_layers.BATCH_NORMS, *torch_losses.CASES]
    compared = {case.name.split(",")[0] for case in tables}
    public = {name for name in mt.__all__ if isinstance(getattr(mt, name), type)}
    public = {name for name in public if issubclass(getattr(mt, name), (mt.Layer, mt.Loss))}
    assert public - compared == set(" ".join(without).split())
