"""A plan gives what the function gives, to the last bit: for every row of the tables, and for programs drawn at random."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from planned import side_by_side
from properties.programs import Written, drawn_arrays
from properties.strategies import for_all, seeds

word = st.integers(0, 2**31 - 1)


@for_all(
    400,
    words=st.lists(word, min_size=1, max_size=12),
    states=st.integers(1, 3),
    more=st.integers(0, 2),
    picks=st.tuples(*[st.integers(0, 63)] * 3),
    results=st.lists(st.integers(0, 63), max_size=3),
    paired=st.booleans(),
    seed=seeds,
)
def test_a_drawn_program(
    words: list[int], states: int, more: int, picks: tuple[int, ...], results: list[int], paired: bool, seed: int
) -> None:
    program, arrays = Written(words, states, picks, results), drawn_arrays(seed, states + more)
    carried = [(i, i, f"role {i}", "0") if paired else (i, i, "model", str(i)) for i in range(states)]
    with np.errstate(all="ignore"):
        side_by_side(program, *arrays, carried=carried)
