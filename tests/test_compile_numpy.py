"""A function of trees under ``Backend("numpy").compile``: recorded once for a structure, replayed to the last bit."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from cases import network

import martlet as mt
from martlet.compile import NotRecordable

NUMPY = mt.Backend("numpy")


def test_a_step_is_recorded_once_for_a_structure_and_again_for_another() -> None:
    seen: list[Any] = []

    def step(model: Any, x: Any, power: int) -> Any:
        seen.append(x.shape)
        return model.predict(x) ** power

    compiled, model = NUMPY.compile(step), network(np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((6, 3))
    for given in ((x, 2), (x + 1.0, 2), (x, 3), (x[:4], 2), (x, 2)):
        compiled(model, *given)
    assert seen == [(6, 3), (6, 3), (4, 3)]


def test_what_is_given_back_is_nobody_else_s() -> None:
    compiled = NUMPY.compile(lambda x: (x * 2.0, x))
    x = np.ones(3)
    first, same = compiled(x)
    compiled(x + 5.0)
    np.testing.assert_array_equal(first, 2 * np.ones(3))
    np.testing.assert_array_equal(same, np.ones(3))
    assert not np.may_share_memory(same, x)
    first[...] = 7.0
    np.testing.assert_array_equal(compiled(x)[0], 2 * np.ones(3))


def test_arguments_may_be_read_only_and_lie_as_they_like() -> None:
    compiled = NUMPY.compile(lambda x: mt.namespace(x).sum(x, axis=0))
    x = np.arange(12.0).reshape(3, 4)
    x.flags.writeable = False
    for given in (x, np.asfortranarray(x), x[::-1], np.concatenate([x, x], axis=1)[:, ::2]):
        np.testing.assert_array_equal(compiled(given), given.sum(axis=0))


def test_several_threads_may_call_it_at_once() -> None:
    compiled, wrong = NUMPY.compile(lambda x: x @ x + x), []

    def call(seed: int) -> None:
        x = np.random.default_rng(seed).integers(0, 9, (30, 30)) * 1.0
        wrong.extend(1 for _ in range(50) if not np.array_equal(compiled(x), x @ x + x))

    threads = [threading.Thread(target=call, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_cannot_be_recorded_is_said_with_its_line() -> None:
    def step(x: Any) -> Any:
        return x if x[0] > 0.0 else -x

    with pytest.raises(NotRecordable, match=r"test_compile_numpy\.py.*return x if x\[0\] > 0\.0 else -x"):
        NUMPY.compile(step)(np.ones(3))
    assert NUMPY.compile(step, how=False) is step
