"""Steps on NumPy: a training step is recorded once, laid out as a plan, and replayed."""

from __future__ import annotations

from typing import Any

from martlet.tree import named_leaves


def carried_of(model: Any, loss: Any, state: Any) -> list[tuple[int, int, str, str]]:
    """What a training step carries from step to step: model and state, by number of input and output, role and leaf."""
    names, kept = list(named_leaves(model)), list(named_leaves(state))
    between = len(named_leaves(loss))
    found = [(i, i, "model", name) for i, name in enumerate(names)]
    for i, name in enumerate(kept, start=len(names)):
        role, _, leaf = name.partition(".")
        found.append((i + between, i, role, leaf) if leaf in names else (i + between, i, name, name))
    return found
