"""What each operation of a record is in the Array API standard, on any library that keeps it."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from martlet.backend import Array, namespace

# The settings that the standard takes by their place.
PLAIN = {
    "astype": ("dtype",), "broadcast_to": ("shape",), "moveaxis": ("source", "destination"), "permute_dims": ("axes",),
    "repeat": ("repeats",), "reshape": ("shape",), "roll": ("shift",), "squeeze": ("axis",), "tile": ("repetitions",),
}  # fmt: skip


def eager(name: str, x: Array, settings: dict[str, Any]) -> Callable[..., Any]:
    """The function of this name, with its settings, as the eager text calls it on arrays like ``x``."""
    xp: Any = namespace(x)
    if name == "rows":
        return operator.getitem
    if name == "getitem":
        return lambda x: x[settings["key"]]
    if name in ("concat", "stack"):
        return lambda *arrays: getattr(xp, name)(arrays, **settings)
    if name in ("sort", "argsort"):
        settings = {"axis": settings["axis"], "stable": settings.get("kind") == "stable"}
    plain = [settings[key] for key in PLAIN.get(name, ())]
    named = {key: value for key, value in settings.items() if key not in PLAIN.get(name, ()) and value is not None}
    return lambda *arrays: getattr(xp, name)(*arrays, *plain, **named)
