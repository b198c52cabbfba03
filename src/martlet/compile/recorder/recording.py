"""Recording: a function is called with arrays that are only described, and every operation on them is written down.

The layers do not know it.  They ask an array for its namespace, as always, and here the namespace takes notes.
What it cannot note is what depends on numbers: an ``if`` on an array, a shape that follows from values.  That is an
error which names the line; so is an array that the function did not get as an argument.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from martlet.backend import describe, dtype_name, is_array, meet, to_numpy
from martlet.compile.programs.layout import Spec, spec_of
from martlet.compile.programs.node import Node
from martlet.compile.programs.program import Program
from martlet.compile.recorder.namespace import notes
from martlet.compile.recorder.recorded import Recorded, refuse_concrete
from martlet.compile.recorder.tape import NotRecordable, refuse, tape
from martlet.compile.structure import filled, outline
from martlet.tree import Tree, named_leaves, subtrees, take_apart

__all__ = ["NotRecordable", "Program", "leaf_names", "record"]

meet(Recorded, notes, "cpu", refuse_concrete, tape.asked_where)  # from here on namespace(x) knows them


def record(function: Callable[..., Any], *arguments: Any) -> Program:
    """The operations that a function of trees and arrays does with these arguments, none of which is carried out.

    The arguments are models, losses, states, tuples, arrays, and what is no array (an optimizer, a number), which is
    taken as it is.  Of the arrays only the form counts.  Raises NotRecordable, a TypeError, with the line, for what
    depends on their numbers; and whatever the function itself raises about their shapes.
    """
    if not callable(function):
        raise TypeError(f"record: function must be callable, got {describe(function)}")
    nodes = tape.start()
    try:
        inputs, given = [], []
        for name, argument in zip(_argument_names(function, arguments), arguments, strict=True):
            _check_nest(argument, f"the argument {name} is")
            arrays, place = take_apart(argument)
            tape.anywhere = tape.anywhere or any(not isinstance(x, np.ndarray | np.generic) for x in arrays)
            made = [_input(x, label) for x, label in zip(arrays, leaf_names(argument, name), strict=True)]
            inputs += made
            given.append(place([Recorded(node) for node in made]))
            tape.names.update(_tree_names(given[-1], name))
        result = function(*given)
        _check_nest(result, "what the function gives back is")
        arrays, build = take_apart(result)[0], functools.partial(filled, outline(result))
        for x in arrays:
            if type(x) is not Recorded:
                refuse_concrete(x)
        return Program(inputs, [*inputs, *nodes], [x.node for x in arrays], build, leaf_names(result, ""))
    finally:
        tape.stop()


def _check_nest(value: Any, what: str) -> None:
    """Arrays are found in trees, tuples and lists, and nowhere else."""
    if isinstance(value, tuple | list):
        for item in value:
            _check_nest(item, what.removesuffix("is") + "holds")
    elif isinstance(value, dict | set) and any(map(is_array, value.values() if isinstance(value, dict) else value)):
        refuse(f"{what} a {type(value).__name__} of arrays; make it a tuple")


def _input(x: Any, name: str) -> Node:
    spec = _form(x)
    # A dtype that equals NumPy's own need not be the same object, by which the optimizers tell dtypes apart.
    spec = spec._replace(dtype=np.dtype(spec.dtype.name))
    if spec.dtype.kind not in "biufc":
        raise TypeError(f"record: {name} must hold numbers, got an array of dtype {spec.dtype.name}")
    return Node("input", (), {"name": name}, spec, "the arguments")


def _form(x: Any) -> Spec:
    """What an array looks like.  PyTorch's and CuPy's are asked, wherever they are; the others come to the host."""
    if not callable(getattr(x, "stride", None)):
        return spec_of(x if hasattr(x, "strides") else to_numpy(x))
    width = dtype_name(x.dtype)
    if width in ("float16", "bfloat16"):  # NumPy has no bfloat16, and float16 stands for it
        if tape.half not in ("", width):
            refuse("float16 and bfloat16 meet; a recording can have one of them")
        tape.half = width
    try:
        dtype = np.dtype("float16" if width == "bfloat16" else width)
    except TypeError:
        raise TypeError(f"record: expected numbers, got an array of dtype {width}") from None
    return Spec(tuple(x.shape), dtype, tuple(x.stride()))


def _argument_names(function: Callable[..., Any], arguments: tuple[Any, ...]) -> list[str]:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    plain = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [plain[i] if i < len(plain) else f"argument {i}" for i in range(len(arguments))]


def leaf_names(value: Any, name: str) -> list[str]:
    """The names of the arrays in a nest of trees and tuples, in the order in which it is taken apart."""
    if isinstance(value, Tree):
        return list(named_leaves(value, f"{name}." if name else ""))
    if isinstance(value, tuple | list):
        return [label for i, item in enumerate(value) for label in leaf_names(item, f"{name}.{i}" if name else str(i))]
    return [name] if is_array(value) else []


def _tree_names(value: Any, name: str) -> dict[int, str]:
    """What each layer is called, for whoever asks who wanted an operation."""
    found: dict[int, str] = {}
    if isinstance(value, tuple | list):
        for i, item in enumerate(value):
            found |= _tree_names(item, f"{name}.{i}" if name else str(i))
    elif isinstance(value, Tree):
        found[id(value)] = f"{name} ({type(value).__name__})"
        for child_name, child in subtrees(value):
            found |= _tree_names(child, f"layer {child_name}" if name == "model" else f"{name}.{child_name}")
    elif hasattr(value, "State"):
        found[id(value)] = f"{name} ({type(value).__name__})"
    return found
