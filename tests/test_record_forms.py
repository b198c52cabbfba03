"""What a recording foretells of each operation: shape, dtype and memory order, held against NumPy's own arrays."""

from __future__ import annotations

import inspect
import math
import operator
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from drawn_calls import CALLS
from properties.strategies import for_all, seeds
from recording import faithful

from martlet.backend import host
from martlet.backend import namespace as namespace_of
from martlet.compile.programs.ops import BINARY, OPS, ROWS, SOURCE, UNARY
from martlet.compile.recorder.namespace import notes
from martlet.compile.recorder.recording import NotRecordable, record


@pytest.mark.parametrize("name", CALLS)
def test_the_form_and_the_bits_are_those_of_numpy(name: str) -> None:
    """However the operands lie in memory: transposed, with gaps, backwards, repeated, or with axes of one entry."""

    @for_all(60, seed=seeds)
    def law(seed: int) -> None:
        function, arrays = CALLS[name](np.random.default_rng(seed))
        faithful(lambda *given: function(namespace_of(given[0]), *given), *arrays)

    law()


def test_every_operation_of_the_table_is_among_the_calls() -> None:
    """For one seed or another each of them is recorded."""
    seen: set[str] = set()
    for name, call in CALLS.items():
        for seed in range(12):
            function, arrays = call(np.random.default_rng(seed))
            program = record(lambda *given, f=function: f(namespace_of(given[0]), *given), *arrays)
            seen |= {node.name for node in program.nodes}
        assert name.split(",")[0] not in OPS or name.split(",")[0] in seen
    assert {row.name for row in ROWS} <= seen | {"constant"}  # the rest of the table is what rewriting makes


# ------------------------------------------------------------------------------------------------ dtypes

DTYPES = ["bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))]
DTYPES += ["float16", "float32", "float64", "complex64"]
NUMBERS = [True, 1, -1, 200, 0.5, math.nan]  # of which 200 and -1 do not fit everywhere
OPERATORS = [
    *(operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow),
    *(operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift),
    *(operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne),
]


def outcome(function: Callable[..., Any], *arrays: np.ndarray) -> Any:
    """The dtype of what a function gives on NumPy, or the exception that it raises."""
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", np.exceptions.ComplexWarning)
            return np.asarray(function(*arrays)).dtype
    except (TypeError, ValueError, OverflowError) as error:
        return type(error)


def foretold(function: Callable[..., Any], *arrays: np.ndarray) -> Any:
    try:
        return record(function, *arrays).outputs[0].spec.dtype
    except (TypeError, ValueError, OverflowError) as error:
        return type(error)


def assert_foretold(function: Callable[..., Any], *arrays: np.ndarray) -> None:
    expected, found = outcome(function, *arrays), foretold(function, *arrays)
    same = found == expected or (type(found) is type(expected) is type and issubclass(expected, found))
    assert same, f"{[x.dtype.name for x in arrays]}: {found}, not {expected}"


@pytest.mark.parametrize("name", UNARY)
def test_the_dtype_is_that_of_numpy(name: str) -> None:
    for dtype in DTYPES:
        assert_foretold(lambda x: getattr(namespace_of(x), name)(x), np.ones(2, dtype))


@pytest.mark.parametrize("name", BINARY)
def test_the_dtype_of_two_is_that_of_numpy(name: str) -> None:
    """For every pair of dtypes, and for each beside one of Python's numbers, on either side."""
    for dtype in DTYPES:
        x = np.ones(2, dtype)
        if name == "pow" and dtype == "bool":
            continue  # refused, as the standard has it
        for other in DTYPES:
            if name != "pow" or other != "bool":
                assert_foretold(lambda x, y: getattr(namespace_of(x), name)(x, y), x, np.ones(2, other))
        for number in NUMBERS[name == "pow" :]:
            assert_foretold(lambda x, n=number: getattr(namespace_of(x), name)(x, n), x)
            assert_foretold(lambda x, n=number: getattr(namespace_of(x), name)(n, x), x)


@pytest.mark.parametrize("function", OPERATORS, ids=lambda f: f.__name__)
def test_the_dtype_of_an_operator_is_that_of_numpy(function: Callable[..., Any]) -> None:
    for dtype in DTYPES:
        x = np.ones(2, dtype)
        if function is operator.pow and dtype == "bool":
            continue
        for other in DTYPES:
            if function is not operator.pow or other != "bool":
                assert_foretold(function, x, np.ones(2, other))
        for number in NUMBERS[function is operator.pow :]:
            assert_foretold(lambda x, n=number: function(x, n), x)
            assert_foretold(lambda x, n=number: function(n, x), x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_other_dtypes_are_those_of_numpy(dtype: str) -> None:
    x = np.ones((2, 2), dtype)
    for name in ("sum", "prod", "mean", "var", "std", "any", "all", "count_nonzero"):
        assert_foretold(lambda x, name=name: getattr(namespace_of(x), name)(x, axis=0), x)
    if dtype != "complex64":
        for name in ("max", "min", "argmax", "argmin", "cumulative_sum", "cumulative_prod", "sort", "argsort"):
            assert_foretold(lambda x, name=name: getattr(namespace_of(x), name)(x, axis=0), x)
    for other in DTYPES:
        y = np.ones((2, 2), other)
        assert_foretold(lambda x, y: namespace_of(x).where(x > 0, x, y), x, y)
        assert_foretold(lambda x, y: namespace_of(x).concat([x, y]), x, y)
        assert_foretold(lambda x, y: namespace_of(x).stack([x, y]), x, y)
        assert_foretold(lambda x, y: namespace_of(x).tensordot(x, y), x, y)
        assert_foretold(lambda x, y: namespace_of(x).vecdot(x, y), x, y)
        assert_foretold(lambda x, y: x @ y, x, y)
        assert_foretold(lambda x, y: namespace_of(x).astype(x, y.dtype), x, y)
        assert_foretold(lambda x, y: namespace_of(x).zeros_like(x, dtype=y.dtype), x, y)
        assert notes.result_type(x.dtype, y.dtype) == np.result_type(x, y)
    for number in [1, -1, 0.5]:
        assert_foretold(lambda x, n=number: namespace_of(x).where(x > 0, x, n), x)
        assert_foretold(lambda x, n=number: namespace_of(x).where(x > 0, n, x), x)
        assert_foretold(lambda x, n=number: namespace_of(x).full_like(x, n), x)


def test_dtypes_can_be_asked_of_a_recorded_array() -> None:
    def function(x: Any, flags: Any) -> Any:
        xp = namespace_of(x)
        assert xp.result_type(x, xp.float64, flags) == np.float64
        assert xp.finfo(x).eps == np.finfo(np.float32).eps
        assert xp.iinfo(flags.dtype).max == 127
        assert xp.can_cast(x, xp.float64)
        assert not xp.can_cast(x, xp.float16)
        assert xp.isdtype(x.dtype, "real floating")
        assert (xp.pi, xp.newaxis, xp.float32) == (math.pi, None, np.float32)
        return x

    record(function, np.ones(2, "float32"), np.ones(2, "int8"))


# ------------------------------------------------------------------------ the namespace beside NumPy's own

# What needs numbers to know its form, and what is of another kind.
REFUSED = {"nonzero", "unique_all", "unique_counts", "unique_inverse", "unique_values", "from_dlpack"}
REFUSED |= {"imag", "real", "broadcast_shapes", "isin"}
ABOUT_DTYPES = {"astype", "can_cast", "finfo", "iinfo", "isdtype", "result_type"}


def standard_functions() -> list[str]:
    strict = pytest.importorskip("array_api_strict")
    other = {"ArrayAPIStrictFlags", "Device", "get_array_api_strict_flags", "reset_array_api_strict_flags"}
    other |= {"set_array_api_strict_flags", "linalg", "fft"}
    names = [n for n in strict.__all__ if callable(getattr(strict, n)) and not n.startswith("_") and n not in other]
    return [n for n in names if n in ABOUT_DTYPES or not isinstance(getattr(host, n, type), type)]


def test_every_function_of_the_standard_is_recorded_or_refused() -> None:
    names = standard_functions()
    assert len(names) > 120
    for name in names:
        assert callable(getattr(notes, name))
        assert (name in vars(notes)) is (name not in REFUSED | {"isdtype"}), name
        if name in REFUSED - {"broadcast_shapes"}:
            with pytest.raises(NotRecordable, match=f"cannot be recorded: {name} is not among .*test_record_forms"):
                record(lambda x, name=name: getattr(namespace_of(x), name)(x), np.ones(2))


def test_defaults_are_those_of_numpy() -> None:
    """A setting that is not given is what it is eagerly: argsort, say, is not the stable one."""
    for name in standard_functions():
        if name not in vars(notes) or name in (*UNARY, *BINARY):
            continue
        try:
            theirs = inspect.signature(getattr(host, name)).parameters
        except ValueError:  # a function in C that does not tell
            continue
        for setting, parameter in inspect.signature(getattr(notes, name)).parameters.items():
            default = parameter.default
            if parameter.kind is parameter.KEYWORD_ONLY and setting != "device":
                assert setting in theirs, f"{name}: {setting}"
                there = theirs[setting].default
                unset = repr(there) == "<no value>" or (name, setting) == ("eye", "dtype")
                unset |= there is parameter.empty  # NumPy before 2.3 wants to be told the axis of take_along_axis
                assert default == there or (unset and default in (None, False, -1)), f"{name}: {setting}"


def test_sorting_is_stable_only_where_it_is_asked_to_be() -> None:
    x = np.array([1.0, 0.0] * 40)

    def sorted_thrice(x: Any) -> Any:
        xp = namespace_of(x)
        return xp.argsort(x), xp.argsort(x, stable=True), xp.argsort(x, stable=False), xp.sort(x)

    program = faithful(sorted_thrice, x)
    kinds = [node.settings.get("kind") for node in program.needed]
    assert kinds == [None, "stable", None, None]
    plain, stable = (node.op.numpy(x, **node.settings) for node in program.needed[:2])
    assert plain.tolist() != stable.tolist()


def test_an_elementwise_operation_has_a_ufunc_and_a_source_no_operand() -> None:
    for row in OPS.values():
        assert (row.ufunc is not None) is (row.name in (*UNARY, *BINARY))
        if row.family == SOURCE:
            assert set(inspect.signature(row.numpy).parameters) >= {"shape", "dtype"} or row.name not in (
                "zeros",
                "ones",
            )
