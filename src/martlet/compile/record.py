"""Recording: a function is called with arrays that are only described, and every operation on them is written down.

The layers do not know it.  They ask an array for its namespace, as always, and here the namespace takes notes.
What it cannot note is what depends on numbers: an ``if`` on an array, a shape that follows from values.  That is an
error which names the line; so is an array that the function did not get as an argument.
"""

from __future__ import annotations

import inspect
import linecache
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, NoReturn

import numpy as np

from martlet.backend import host, is_array, meet, to_numpy
from martlet.compile.layout import Spec
from martlet.compile.ops import BINARY, OPS, UNARY
from martlet.compile.program import Node, Program
from martlet.tree import Tree, named_leaves, subtrees, take_apart

HERE = str(Path(__file__).parent)


class NotRecordable(TypeError):
    """A function does what depends on numbers that a recording does not have."""


class Tape(threading.local):
    """What is being recorded in this thread: the operations so far, and the names of the trees that take part."""

    nodes: list[Node] | None = None
    names: dict[int, str]


tape = Tape()


class Recorded:
    """An array of a recording: a shape and a dtype, and who made it.  It behaves as an array of NumPy."""

    __slots__ = ("node", "tape")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.tape = tape.nodes

    @property
    def shape(self) -> tuple[int, ...]:
        return self.node.spec.shape

    @property
    def dtype(self) -> np.dtype:
        return self.node.spec.dtype

    @property
    def ndim(self) -> int:
        return len(self.node.spec.shape)

    @property
    def size(self) -> int:
        return self.node.spec.size

    @property
    def device(self) -> str:
        return "cpu"

    @property
    def T(self) -> Recorded:
        if self.ndim != 2:
            _refuse(f".T is for arrays of two axes, and this one has {self.ndim}")
        return record_op("matrix_transpose", self)

    @property
    def mT(self) -> Recorded:
        return record_op("matrix_transpose", self)

    def __array_namespace__(self, api_version: str | None = None) -> ModuleType:
        return namespace

    def __getitem__(self, key: Any) -> Recorded:
        parts = key if isinstance(key, tuple) else (key,)
        arrays = [part for part in parts if is_array(part)]
        if arrays and len(parts) == 1 and isinstance(key, Recorded) and key.dtype.kind in "iu":
            return record_op("take", self, key, axis=0)
        if arrays:
            _refuse("an array is indexed with an array, and what that gives depends on numbers; use take or where")
        return record_op("getitem", self, key=key)

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        _refuse("an array is written into; make a new one")

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an array without axes")
        return self.shape[0]

    def __iter__(self) -> Iterator[Recorded]:
        return iter([self[i] for i in range(len(self))])

    def _no_number(self, *ignored: Any) -> NoReturn:
        _refuse("a number is read from an array (an if, a while, float(), int(), a print)")

    __bool__ = __float__ = __int__ = __index__ = __complex__ = _no_number
    item = tolist = _no_number

    def __array__(self, *ignored: Any, **settings: Any) -> NoReturn:
        _refuse("an array is given to NumPy itself, or read; use the functions of namespace(x)")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **settings: Any) -> NoReturn:
        if any(isinstance(x, np.ndarray | np.generic) for x in inputs):
            _refuse_concrete(next(x for x in inputs if isinstance(x, np.ndarray | np.generic)))
        _refuse(f"np.{ufunc.__name__} is called by name; use namespace(x).{ufunc.__name__}")

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> NoReturn:
        _refuse(f"np.{function.__name__} is called by name; use namespace(x).{function.__name__}")

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<an array of a recording: {self.node.spec}>"


def _operator(name: str, swapped: bool = False) -> Callable[..., Recorded]:
    def method(self: Recorded, other: Any) -> Recorded:
        return record_op(name, *((other, self) if swapped else (self, other)))

    return method


for _method, _name in {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "divide",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "pow": "pow",
    "matmul": "matmul",
    "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor",
    "lshift": "bitwise_left_shift",
    "rshift": "bitwise_right_shift",
}.items():
    setattr(Recorded, f"__{_method}__", _operator(_name))
    setattr(Recorded, f"__r{_method}__", _operator(_name, swapped=True))
for _method, _name in {
    "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal", "ne": "not_equal"
}.items():  # fmt: skip
    setattr(Recorded, f"__{_method}__", _operator(_name))
for _method, _name in {"neg": "negative", "pos": "positive", "abs": "abs", "invert": "bitwise_invert"}.items():
    setattr(Recorded, f"__{_method}__", lambda self, name=_name: record_op(name, self))
# Numbers that a recording does not have, and operations that write.


def record_op(name: str, *operands: Any, **settings: Any) -> Recorded:
    """Note an operation, and give back the array that it will make."""
    nodes = tape.nodes
    if nodes is None:
        _refuse("an array of a recording is used after the recording has ended")
    inner = []
    for operand in operands:
        if type(operand) is Recorded:
            if operand.tape is not nodes:
                _refuse("an array of another recording is used")
            inner.append(operand.node)
        elif type(operand) in (int, float, bool):
            inner.append(operand)
        else:
            _refuse_concrete(operand)
    row = OPS[name]
    try:
        spec = row.rule(*(o.spec if isinstance(o, Node) else o for o in inner), **settings)
    except NotRecordable:
        raise
    except (TypeError, ValueError, IndexError, OverflowError) as error:
        raise type(error)(f"{name}: {error}, at {_line(sys._getframe(1))}") from None
    node = Node(name, tuple(inner), settings, spec, _place(sys._getframe(1)))
    nodes.append(node)
    return Recorded(node)


# ----------------------------------------------------------------------------------- who, and in which line


def _place(frame: FrameType | None) -> str:
    """The layer (loss, optimizer) whose method is at work, by its name in the model, and the method."""
    while frame is not None:
        code = frame.f_code
        if code.co_argcount and code.co_varnames[0] == "self":
            name = tape.names.get(id(frame.f_locals["self"]))
            if name is not None:
                return f"{name}.{code.co_name}"
        frame = frame.f_back
    return "the function"


def _line(frame: FrameType | None) -> str:
    """The line of the user's, or else of the library's, that asked for something."""
    while frame is not None and frame.f_code.co_filename.startswith(HERE):
        frame = frame.f_back
    if frame is None:
        return "a line that is not known"
    file, number = frame.f_code.co_filename, frame.f_lineno
    return f"{file}:{number}, {linecache.getline(file, number).strip()!r}"


def _refuse(why: str) -> NoReturn:
    raise NotRecordable(f"cannot be recorded: {why}; at {_line(sys._getframe(1))}")


def _refuse_concrete(what: Any) -> NoReturn:
    if is_array(what):
        kind = f"{type(what).__name__} of shape {tuple(what.shape)}" if hasattr(what, "shape") else type(what).__name__
        why = f"an array that is no argument ({kind}) meets a recorded one; pass it in, or make it a field of the layer"
    else:
        why = f"an array meets {type(what).__name__} {what!r:.40}"
    raise NotRecordable(f"cannot be recorded: {why}; at {_line(sys._getframe(1))}")


# ------------------------------------------------------------------------------ the namespace that takes notes


def _elementwise(name: str) -> Callable[..., Recorded]:
    def function(*arrays: Any) -> Recorded:
        return record_op(name, *arrays)

    return function


def _astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Recorded:
    dtype = np.dtype(dtype)
    return x if dtype == x.dtype else record_op("astype", x, dtype=dtype)


def _where(condition: Any, x: Any, y: Any, /) -> Recorded:
    return record_op("where", condition, x, y)


def _clip(x: Any, /, min: Any = None, max: Any = None) -> Recorded:
    if min is not None:
        x = record_op("maximum", x, min)
    return x if max is None else record_op("minimum", x, max)


def _reduction(name: str) -> Callable[..., Recorded]:
    def function(x: Any, /, *, axis: Any = None, keepdims: bool = False, **settings: Any) -> Recorded:
        settings = {key: value for key, value in settings.items() if value is not None}
        return record_op(name, x, axis=axis, keepdims=keepdims, **settings)

    return function


def _reshape(x: Any, /, shape: Any, *, copy: bool | None = None) -> Recorded:
    return record_op("reshape", x, shape=tuple(map(int, shape)))


def _permute_dims(x: Any, /, axes: Any) -> Recorded:
    return record_op("permute_dims", x, axes=tuple(axes))


def _matrix_transpose(x: Any, /) -> Recorded:
    return record_op("matrix_transpose", x)


def _expand_dims(x: Any, /, *, axis: int = 0) -> Recorded:
    return record_op("expand_dims", x, axis=axis)


def _squeeze(x: Any, /, axis: Any) -> Recorded:
    return record_op("squeeze", x, axis=axis)


def _moveaxis(x: Any, source: Any, destination: Any, /) -> Recorded:
    return record_op("moveaxis", x, source=source, destination=destination)


def _broadcast_to(x: Any, /, shape: Any) -> Recorded:
    return record_op("broadcast_to", x, shape=tuple(shape))


def _broadcast_arrays(*arrays: Any) -> tuple[Recorded, ...]:
    shape = np.broadcast_shapes(*(x.shape for x in arrays))
    return tuple(_broadcast_to(x, shape) for x in arrays)


def _flip(x: Any, /, *, axis: Any = None) -> Recorded:
    return record_op("flip", x, axis=axis)


def _unstack(x: Any, /, *, axis: int = 0) -> tuple[Recorded, ...]:
    moved = _moveaxis(x, axis, 0)
    return tuple(moved[i, ...] for i in range(moved.shape[0]))


def _matmul(a: Any, b: Any, /) -> Recorded:
    return record_op("matmul", a, b)


def _tensordot(a: Any, b: Any, /, *, axes: Any = 2) -> Recorded:
    return record_op("tensordot", a, b, axes=axes)


def _vecdot(a: Any, b: Any, /, *, axis: int = -1) -> Recorded:
    return record_op("vecdot", a, b, axis=axis)


def _concat(arrays: Any, /, *, axis: int | None = 0) -> Recorded:
    return record_op("concat", *arrays, axis=axis)


def _stack(arrays: Any, /, *, axis: int = 0) -> Recorded:
    return record_op("stack", *arrays, axis=axis)


def _take(x: Any, indices: Any, /, *, axis: int | None = None) -> Recorded:
    return record_op("take", x, indices, axis=axis)


def _take_along_axis(x: Any, indices: Any, /, *, axis: int = -1) -> Recorded:
    return record_op("take_along_axis", x, indices, axis=axis)


def _repeat(x: Any, repeats: Any, /, *, axis: int | None = None) -> Recorded:
    if not isinstance(repeats, int):
        _refuse("the shape of what repeat gives depends on numbers")
    return record_op("repeat", x, repeats=repeats, axis=axis)


def _tile(x: Any, repetitions: Any, /) -> Recorded:
    return record_op("tile", x, repetitions=tuple(repetitions))


def _roll(x: Any, /, shift: Any, *, axis: Any = None) -> Recorded:
    return record_op("roll", x, shift=shift, axis=axis)


def _diff(x: Any, /, *, axis: int = -1, n: int = 1) -> Recorded:
    axis %= x.ndim
    for _ in range(n):
        after, before = ([slice(None)] * x.ndim for _ in range(2))
        after[axis], before[axis] = slice(1, None), slice(None, -1)
        x = x[tuple(after)] - x[tuple(before)]
    return x


def _sort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Recorded:
    found = record_op("sort", x, axis=axis, kind="stable" if stable else None)
    return _flip(found, axis=axis) if descending else found


def _argsort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Recorded:
    if descending:
        _refuse("argsort in descending order")
    # NumPy's own argsort, which eager layers call, is not the stable one unless it is asked.
    return record_op("argsort", x, axis=axis, **({} if stable else {"kind": None}))


def _searchsorted(x: Any, values: Any, /, *, side: str = "left", sorter: Any = None) -> Recorded:
    if sorter is not None:
        _refuse("searchsorted with a sorter")
    return record_op("searchsorted", x, values, side=side)


def _cumulative_sum(x: Any, /, *, axis: Any = None, dtype: Any = None, include_initial: bool = False) -> Recorded:
    return record_op("cumulative_sum", x, axis=axis, dtype=dtype, include_initial=include_initial)


def _asarray(x: Any, /, *, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Recorded:
    if isinstance(x, Recorded):
        return x if dtype is None else _astype(x, dtype)
    if is_array(x):
        _refuse_concrete(x)
    if isinstance(x, list | tuple) and any(isinstance(item, Recorded) for item in x):
        return _stack([_asarray(item) for item in x])
    return record_op("constant", array=np.asarray(x, dtype=dtype))


def _zeros(shape: Any, *, dtype: Any = None, device: Any = None) -> Recorded:
    return record_op("zeros", shape=shape, dtype=dtype)


def _ones(shape: Any, *, dtype: Any = None, device: Any = None) -> Recorded:
    return record_op("ones", shape=shape, dtype=dtype)


def _full(shape: Any, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Recorded:
    if isinstance(fill_value, Recorded):
        return _broadcast_to(
            fill_value if dtype is None else _astype(fill_value, dtype), (shape,) if isinstance(shape, int) else shape
        )
    return record_op("full", shape=shape, fill_value=fill_value, dtype=dtype)


def _like(function: Callable[..., Recorded]) -> Callable[..., Recorded]:
    def of(x: Any, /, *values: Any, dtype: Any = None, device: Any = None, **settings: Any) -> Recorded:
        return function(x.shape, *values, dtype=x.dtype if dtype is None else dtype, **settings)

    return of


def _arange(start: Any, /, stop: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None) -> Recorded:
    if stop is None:
        start, stop = 0, start
    return record_op("arange", start=start, stop=stop, step=step, dtype=dtype)


def _linspace(
    start: Any, stop: Any, /, num: int, *, dtype: Any = None, device: Any = None, endpoint: bool = True
) -> Recorded:
    return record_op("linspace", start=start, stop=stop, num=num, dtype=dtype, endpoint=endpoint)


def _eye(n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: Any = None, device: Any = None) -> Recorded:
    return record_op("eye", n_rows=n_rows, n_cols=n_cols, k=k, dtype=dtype)


class _Namespace(ModuleType):
    """NumPy's namespace, in which every function that makes arrays takes notes instead."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(host, name)
        if (
            not callable(found)
            or isinstance(found, type)
            or name in ("result_type", "finfo", "iinfo", "isdtype", "can_cast")
        ):
            return found
        if name.startswith("__"):
            return found
        return lambda *args, **kwargs: _refuse(f"{name} is not among the operations of a recording")


# It answers to NumPy's name: whoever asks which library an array is from is told what will compute it.
namespace = _Namespace("numpy", __doc__)
vars(namespace).update({name: _elementwise(name) for name in (*UNARY, *BINARY)})
vars(namespace).update(
    {
        name.removeprefix("_"): function
        for name, function in list(globals().items())
        if name
        in [
            "_astype",
            "_where",
            "_clip",
            "_reshape",
            "_permute_dims",
            "_matrix_transpose",
            "_expand_dims",
            "_squeeze",
            "_moveaxis",
            "_broadcast_to",
            "_broadcast_arrays",
            "_flip",
            "_unstack",
            "_matmul",
            "_tensordot",
            "_vecdot",
            "_concat",
            "_stack",
            "_take",
            "_take_along_axis",
            "_repeat",
            "_tile",
            "_roll",
            "_diff",
            "_sort",
            "_argsort",
            "_searchsorted",
            "_cumulative_sum",
            "_asarray",
            "_zeros",
            "_ones",
            "_full",
            "_arange",
            "_linspace",
            "_eye",
        ]
    }
)
vars(namespace).update(
    {
        name: _reduction(name)
        for name in [
            "sum",
            "prod",
            "max",
            "min",
            "mean",
            "var",
            "std",
            "any",
            "all",
            "argmax",
            "argmin",
            "count_nonzero",
        ]
    }
)
vars(namespace).update(
    zeros_like=_like(_zeros), ones_like=_like(_ones), full_like=_like(_full), empty_like=_like(_zeros)
)
vars(namespace).update(empty=_zeros)
meet(Recorded, namespace, "cpu")


# --------------------------------------------------------------------------------------------- recording


def record(function: Callable[..., Any], *arguments: Any) -> Program:
    """The operations that a function of trees and arrays does with these arguments, none of which is carried out.

    The arguments are models, losses, states, tuples, arrays, and what is no array (an optimizer, a number), which is
    taken as it is.  Of the arrays only the form counts.  Raises NotRecordable, a TypeError, with the line, for what
    depends on their numbers; and whatever the function itself raises about their shapes.
    """
    if tape.nodes is not None:
        raise NotRecordable("cannot be recorded: a recording is going on already")
    nodes: list[Node] = []
    tape.nodes, tape.names = nodes, {}
    try:
        inputs, given = [], []
        for name, argument in zip(_argument_names(function, arguments), arguments, strict=True):
            arrays, build = take_apart(argument)
            made = [_input(x, label) for x, label in zip(arrays, leaf_names(argument, name), strict=True)]
            inputs += made
            given.append(build([Recorded(node) for node in made]))
            _name_trees(given[-1], name)
        result = function(*given)
        arrays, build = take_apart(result)
        for x in arrays:
            if type(x) is not Recorded:
                _refuse_concrete(x)
        return Program(inputs, [*inputs, *nodes], [x.node for x in arrays], build, leaf_names(result, ""))
    finally:
        tape.nodes = None
        tape.names = {}


def _input(x: Any, name: str) -> Node:
    array = to_numpy(x)
    strides = tuple(stride // array.itemsize for stride in array.strides)
    return Node("input", (), {"name": name}, Spec(array.shape, array.dtype, strides), "the arguments")


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


def _name_trees(value: Any, name: str) -> None:
    """Remember what each layer is called, for whoever asks who wanted an operation."""
    if isinstance(value, tuple | list):
        for i, item in enumerate(value):
            _name_trees(item, f"{name}.{i}" if name else str(i))
    elif isinstance(value, Tree):
        tape.names[id(value)] = f"{name} ({type(value).__name__})"
        for child_name, child in subtrees(value):
            inner = child_name if name == "model" else f"{name}.{child_name}"
            _name_trees(child, f"layer {inner}" if name == "model" else inner)
    elif hasattr(value, "State"):
        tape.names[id(value)] = f"{name} ({type(value).__name__})"
