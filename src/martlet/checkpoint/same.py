"""Is a run that was kept the one that is asked for?  If not, what is different?"""

from __future__ import annotations

from typing import Any

from martlet.backend import describe, host, is_floating, to_numpy
from martlet.checkpoint.description import as_data
from martlet.checkpoint.layout import CheckpointError
from martlet.checkpoint.run import Run
from martlet.tree import named_leaves


def check_same_run(kept: Run, asked: Run) -> None:
    """A kept run is the one that is asked for.  Raises CheckpointError, naming the first thing that differs."""
    for name in ("settings", "model", "loss", "optimizer"):
        there, here = getattr(kept, name), getattr(asked, name)
        if name == "settings":
            there, here = ({key: as_data(value) for key, value in x.items()} for x in (there, here))
            name = ""
        else:
            there, here = as_data(there), as_data(here)
        found = _difference(there, here, name)
        if found is not None:
            raise CheckpointError(f"it is of another run: {found[0]} is {found[1]!r:.80} there, {found[2]!r:.80} here")
    for prefix, there, here in (("", kept.model, asked.model), ("the loss's ", kept.loss, asked.loss)):
        mine = named_leaves(here)
        for name, x in named_leaves(there).items():
            y = mine[name]
            widths = is_floating(x) == is_floating(y) and (x.dtype == y.dtype or not is_floating(x))
            if x.shape != y.shape or not widths:
                raise CheckpointError(
                    f"it is of another run: {prefix}{name} is {describe(x)} there, {describe(y)} here"
                )
            if prefix and not host.array_equal(to_numpy(x), to_numpy(y)):
                raise CheckpointError(f"it is of another run: {prefix}{name} has other numbers there")


def _difference(there: Any, here: Any, path: str) -> tuple[str, Any, Any] | None:
    """Where two pieces of data first differ, and what stands in either."""
    if isinstance(there, dict) and isinstance(here, dict):
        pairs = [(key, there.get(key), here.get(key)) for key in {**there, **here}]
    elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        pairs = [(str(i), *pair) for i, pair in enumerate(zip(there, here, strict=True))]
    else:
        return None if there == here and type(there) is type(here) else (path, there, here)
    inner = (_difference(a, b, f"{path}.{key}".lstrip(".")) for key, a, b in pairs)
    return next(filter(None, inner), None)
