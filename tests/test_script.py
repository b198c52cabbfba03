"""The calls of a plan as a function of one line each do what the calls do."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from martlet.compile.plans.script import Script


def test_a_script_makes_the_calls_with_their_arguments_and_keywords() -> None:
    seen: list[Any] = []
    a, b = np.ones(3), np.zeros(3)

    def note(*arguments: Any, **keywords: Any) -> None:
        seen.append((arguments, keywords))

    inner = functools.partial(functools.partial(note, a, mode="clip"), b, where=True, mode="wrap")
    calls = [(note, a, 1, None, (0, 1), "clip", True), (inner, 2.5), (note,)]
    Script(calls).function()()
    assert seen[0][0][1:] == (1, None, (0, 1), "clip", True)
    assert seen[0][0][0] is a
    assert seen[1][0][0] is a
    assert seen[1][0][1] is b
    assert seen[1][0][2] == 2.5
    assert seen[1][1] == {"mode": "wrap", "where": True}
    assert seen[2] == ((), {})


def test_two_functions_of_one_name_stay_two() -> None:
    x, y, z = np.full(3, 4.0), np.full(3, 2.0), np.empty(3)
    Script([(np.add, x, y, z), (np.add.reduce, z, 0, None, z[0, ...]), (lambda: z.__setitem__(1, 7.0),)]).function()()
    np.testing.assert_array_equal(z, [18.0, 7.0, 6.0])


def test_no_number_makes_one_name_of_two() -> None:
    """What is called log for the eleventh time is not log10."""
    seen: list[Any] = []

    def log(x: Any) -> None:
        seen.append(x)

    x = np.ones(1)
    others = [type(log)(log.__code__, {}, "log", None, log.__closure__) for _ in range(12)]
    Script([(np.log10, x, x), (np.log1p, x, x), *((each, 3) for each in others)]).function()()
    assert seen == [3] * 12
    assert x[0] == 0.0


def test_it_reads_as_one_would_write_it() -> None:
    x, y = np.ones(3), np.zeros((3, 3))
    calls = [(y.dot, x, x), (functools.partial(np.maximum, out=x), x, x), (np.add.reduce, y, 0, None, x)]
    calls += [(x.__setitem__, ..., y), (x.take, y, None, x, "clip")]
    assert Script(calls).text.splitlines() == [
        "def step():",
        "    a_1.dot(a, a)",
        "    maximum(a, a, out=a)",
        "    add_reduce(a_1, 0, None, a)",
        "    a[...] = a_1",
        "    a.take(a_1, None, a, 'clip')",
        "    return",
    ]
