"""Recordings held against the functions that they are of, run on NumPy: the same form and the same bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from martlet.backend import is_array
from martlet.compile.programs.layout import Spec, spec_of
from martlet.compile.recorder.recording import Program, record
from martlet.tree import take_apart


def assert_form(spec: Spec, array: Any, what: str) -> None:
    """The array has the shape, the dtype and the memory order that were foretold."""
    found = spec_of(np.asarray(array))
    assert found.shape == spec.shape, what
    assert found.dtype == spec.dtype, what
    assert spec.lies_as(found.strides), f"{what}: {spec.shape} lies {found.strides}, not {spec.strides}"


def assert_bits(got: Any, expected: Any, what: str) -> None:
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, what
    assert got.dtype == expected.dtype, what
    assert got.tobytes() == expected.tobytes(), f"{what}: {got} is not {expected}"


def faithful(function: Callable[..., Any], *arguments: Any) -> Program:
    """The recording, of which each operation has the form, and each result the form and the bits, of the function's."""
    program = record(function, *arguments)
    found = dict(zip(program.inputs, map(np.asarray, take_apart(arguments)[0]), strict=True))
    with np.errstate(all="ignore"):
        for node, result in program.steps(found):
            found[node] = result
            assert_form(node.spec, result, repr(node))
        expected = function(*arguments)
    results = [found[node] for node in program.outputs]
    arrays = take_apart(expected)[0]
    assert len(results) == len(arrays)
    for node, got, wanted in zip(program.outputs, results, arrays, strict=True):
        assert_form(node.spec, wanted, repr(node))
        assert_bits(got, wanted, repr(node))
    rebuilt = program.build(results)
    assert [a is b for a, b in zip(take_apart(rebuilt)[0], results, strict=True)] == [True] * len(results)
    assert is_array(expected) or type(rebuilt) is type(expected)
    return program
