"""Where a random generator stands, in words that a file can hold, and a generator that stands there."""

from __future__ import annotations

from typing import Any

import numpy as np

from martlet.backend import describe
from martlet.checkpoint.layout import CheckpointError

# Those whose states are a few integers, none of which could lead astray: others hold a place in a table.
GENERATORS = {"PCG64": np.random.PCG64, "PCG64DXSM": np.random.PCG64DXSM}
LARGE, SMALL = ("state", "inc"), ("has_uint32", "uinteger")


def generator_state(rng: np.random.Generator) -> dict[str, Any]:
    """Where a random generator stands, in JSON's words.  Raises TypeError for one of another kind than PCG64."""
    state = getattr(getattr(rng, "bit_generator", None), "state", None)
    if state is None or state["bit_generator"] not in GENERATORS:
        raise TypeError(
            f"a run can be kept if its seed is an integer or a Generator of {' or '.join(GENERATORS)}, such as "
            f"numpy.random.default_rng(0), got {describe(rng)}"
        )
    large = {name: f"{state['state'][name]:032x}" for name in LARGE}
    return {"generator": state["bit_generator"], **large, **{name: int(state[name]) for name in SMALL}}


def generator_from(data: Any) -> np.random.Generator:
    """A generator that stands where another one stood.  Raises CheckpointError for what is no such place."""
    if not isinstance(data, dict) or data.keys() != {"generator", *LARGE, *SMALL}:
        raise CheckpointError(f"entry 'random': expected an object with generator, {', '.join(LARGE + SMALL)}")
    if not isinstance(data["generator"], str) or data["generator"] not in GENERATORS:
        raise CheckpointError(f"entry 'random': {data['generator']!r:.40} is unknown; known: {', '.join(GENERATORS)}")
    digits = set("0123456789abcdef")
    right = all(
        isinstance(data[name], str) and len(data[name]) == 32 and digits.issuperset(data[name]) for name in LARGE
    )
    right = right and all(type(data[name]) is int and 0 <= data[name] < 2**32 for name in SMALL)
    if not right or data["has_uint32"] > 1:
        raise CheckpointError("entry 'random': it is no state of a generator")
    numbers = {name: int(data[name], 16) for name in LARGE}
    numbers["inc"] |= 1  # the increment is odd, or the period is short
    bits = GENERATORS[data["generator"]](0)
    bits.state = {
        "bit_generator": data["generator"],
        "state": numbers,
        "has_uint32": data["has_uint32"],
        "uinteger": data["uinteger"],
    }
    return np.random.Generator(bits)
