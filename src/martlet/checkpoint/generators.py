"""Where a random generator stands, in words that a file can hold, and bringing one there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from martlet.backend import describe
from martlet.checkpoint.layout import CheckpointError

if TYPE_CHECKING:
    import numpy as np

GENERATORS = ("PCG64", "PCG64DXSM")  # whose states are a few integers, none of which could lead astray
RANDOM = ("generator", "state", "inc", "has_uint32", "uinteger")


def generator_state(rng: np.random.Generator) -> dict[str, Any]:
    """Where a random generator stands, in JSON's words.  Raises TypeError for one of another kind than PCG64."""
    state = getattr(getattr(rng, "bit_generator", None), "state", None)
    if state is None or state["bit_generator"] not in GENERATORS:
        raise TypeError(
            f"a run can be kept if its seed is an integer or a Generator of {' or '.join(GENERATORS)}, such as "
            f"numpy.random.default_rng(0), got {describe(rng)}"
        )
    large = {name: f"{state['state'][name]:032x}" for name in ("state", "inc")}
    small = {name: int(state[name]) for name in ("has_uint32", "uinteger")}
    return {"generator": state["bit_generator"], **large, **small}


def set_generator(rng: np.random.Generator, data: Mapping[str, Any]) -> None:
    """Bring a generator to where another one stood.  Raises CheckpointError for what is no such place."""
    here = generator_state(rng)["generator"]
    if data["generator"] != here:
        raise CheckpointError(f"entry 'random': it is of {data['generator']!r:.40}, but the run's generator is {here}")
    large = [data[name] for name in ("state", "inc")]
    small = [data[name] for name in ("has_uint32", "uinteger")]
    digits = set("0123456789abcdef")
    right = all(isinstance(x, str) and len(x) == 32 and digits.issuperset(x) for x in large)
    if not right or not all(type(n) is int and 0 <= n < 2**32 for n in small) or small[0] > 1:
        raise CheckpointError("entry 'random': it is no state of a generator")
    state, inc = (int(x, 16) for x in large)
    rng.bit_generator.state = {
        "bit_generator": here,
        "state": {"state": state, "inc": inc | 1},  # the increment is odd, or the period is short
        "has_uint32": small[0],
        "uinteger": small[1],
    }
