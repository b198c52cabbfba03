"""Keep a model, and take it elsewhere: what comes from other libraries, and what goes there."""

from martlet.checkpoint.sklearn_in import from_sklearn
from martlet.checkpoint.torch_in import from_torch
from martlet.checkpoint.torch_out import to_torch

__all__ = ["from_sklearn", "from_torch", "to_torch"]
