"""What hypothesis draws for the laws of the test_properties files, and how many examples each backend is given.

A law is a test with ``@for_all(examples, name=strategy, …)`` on it.  NumPy takes that many examples; elsewhere,
where a call is dearer or has to be compiled, it is a share of them.  The examples are the same in every run of the
same code, but not of another: hypothesis also draws from the numbers that stand in the library.  So a law that
catches a planted fault catches it with other examples too, or it is luck.  To hunt with others, twenty times as
many and different each time:

    MARTLET_EXAMPLES=20 pytest tests/test_properties_of_layers.py
    MARTLET_EXAMPLES=1 python tests/faults.py

What it finds is printed with all its arguments, made as small as may be: enough to write a test from.
"""

from __future__ import annotations

import functools
import inspect
import os
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from conftest import Target
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import martlet as mt
from properties.families import Sizes

# The examples of a law on NumPy are these shares of it elsewhere: what an example costs there.
SHARES = {"numpy": 1.0, "numpy-readonly": 0.5, "strict-device1": 0.2, "strict-no_float64": 0.2, "torch": 0.25}
COMPILED = {"eager": 0.05, "jit": 0.02}  # JAX compiles each operation, or the whole law, for every shape anew

settings.register_profile(
    "steady", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("wide", settings.get_profile("steady"), derandomize=False)
TIMES = int(os.environ.get("MARTLET_EXAMPLES", "1"))
PROFILE = settings.get_profile("wide" if "MARTLET_EXAMPLES" in os.environ else "steady")


def for_all(
    examples: int, **strategies: st.SearchStrategy[Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The test, for so many examples of what the strategies draw; its other arguments are pytest's."""

    def decorate(law: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(law)
        def test(**fixtures: Any) -> None:
            def example(**drawn: Any) -> None:
                law(**fixtures, **drawn)

            # The name is what the examples are derived from: each family and each backend is given others.
            words = [law.__name__, *(str(getattr(x, "name", x)) for x in fixtures.values())]
            example.__name__ = re.sub(r"\W", "_", " ".join(words))
            count = max(1, round(examples * share(fixtures.get("xp")))) * TIMES
            settings(PROFILE, max_examples=count)(given(**strategies)(example))()

        parameters = inspect.signature(law).parameters.values()
        test.__signature__ = inspect.Signature([p for p in parameters if p.name not in strategies])  # type: ignore[attr-defined]
        return test

    return decorate


def share(xp: Target | None) -> float:
    if xp is None:
        return 1.0
    return COMPILED["jit" if xp.jit else "eager"] if xp.name == "jax" else SHARES.get(xp.name, 0.1)


# The first of each is where hypothesis begins, and what it comes back to: an ordinary example, and not the least,
# for where there is time for two examples only, one shall have something in it.
lengths = st.sampled_from((3, 1, 2, 5))
sizes = st.builds(
    Sizes, n=st.sampled_from((4, 1, 0, 7, 2)), d=lengths, h=lengths, k=lengths, axes=st.sampled_from((1, 0, 2, 3))
)
filled = sizes.map(lambda s: s._replace(n=max(s.n, 1)))  # at least one sample
seeds = st.integers(0, 2**32 - 1)
factors = st.integers(-4000, 4000).map(lambda i: 1.5 + i / 1000)
streams = st.tuples(*[st.integers(-(2**31), 2**31 - 1)] * 3)


def anywhere(width: str, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Finite numbers of every size that a width has, ±0, the least and the largest among them: in float64."""
    found = np.finfo("float32" if width == "bfloat16" else width)
    least, most = float(found.smallest_subnormal), float(found.max) * (0.99 if width == "bfloat16" else 1.0)
    edges = [0.0, -0.0, float(found.tiny), -float(found.tiny), least, most, -most, 1.0, -1.0]
    numbers = rng.choice([-1.0, 1.0], shape) * np.exp(rng.uniform(np.log(found.tiny), np.log(most) - 0.1, shape))
    pick = rng.integers(0, 3, shape)
    return np.where(pick == 0, rng.choice(edges, shape), np.where(pick == 1, numbers, 10 * rng.standard_normal(shape)))


# ------------------------------------------------------------------------------------------ trees


class Scale(mt.Layer):
    """y = gain · x - shift: a learned and a kept array, of any shape, for trees that are only walked over."""

    gain: mt.Array
    shift: mt.Array = mt.kept()


class Holder(mt.Layer):
    """A layer in a field and more of them in a tuple, any of which may be missing."""

    inner: mt.Layer | None
    blocks: tuple[mt.Layer | None, ...] = ()
    factor: float = 1.0


shapes = st.lists(lengths, min_size=0, max_size=3).map(tuple)
arrays = st.builds(lambda seed, shape: np.random.default_rng(seed).standard_normal(shape), seeds, shapes)
single = st.one_of(
    st.builds(mt.MatMul, arrays),
    st.builds(Scale, arrays, arrays),
    st.just(mt.Tanh()),
    st.builds(lambda seed: mt.Dropout.init(0.5, np.random.default_rng(seed)), seeds),
)


def holding(children: st.SearchStrategy[mt.Layer]) -> st.SearchStrategy[mt.Layer]:
    several = st.lists(children, max_size=3)
    return st.one_of(
        several.map(lambda layers: mt.Sequential(*layers)),
        several.map(lambda layers: mt.Parallel(*layers)),
        st.builds(mt.Freeze, children),
        st.builds(Holder, st.none() | children, st.lists(st.none() | children, max_size=3).map(tuple), factors),
    )


trees = holding(st.recursive(single, holding, max_leaves=6))
