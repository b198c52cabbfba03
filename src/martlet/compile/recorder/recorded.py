"""The array of a recording: it has a shape and a dtype but no numbers, and notes what is done with it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, NoReturn

import numpy as np

from martlet.backend import is_array
from martlet.backend import namespace as namespace_of
from martlet.compile.programs.layout import row_by_row
from martlet.compile.programs.node import Node
from martlet.compile.programs.ops import ELEMENTWISE, OPS, REDUCTION
from martlet.compile.recorder.tape import NotRecordable, line, place, refuse, tape

Method = Callable[..., "Recorded"]


def _operator(name: str) -> Method:
    def method(self: Recorded, other: Any) -> Recorded:
        return note(name, self, other)

    return method


def _operators(name: str) -> tuple[Method, Method]:
    """An operator, and the same with the array on its right."""

    def swapped(self: Recorded, other: Any) -> Recorded:
        return note(name, other, self)

    return _operator(name), swapped


def _in_place(name: str) -> Method:
    """``total += x``, where total is one number that was computed: NumPy's are values, and the name moves on."""

    def method(self: Recorded, other: Any) -> Recorded:
        node = self.node
        if node.spec.shape or node.family not in (ELEMENTWISE, REDUCTION) or node.name in ("where", "astype"):
            self._no_writing()  # for these give arrays, even of one number
        return note(name, self, other)

    return method


def _sign(name: str) -> Method:
    def method(self: Recorded) -> Recorded:
        return note(name, self)

    return method


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
            refuse(f".T is for arrays of two axes, and this one has {self.ndim}; use permute_dims")
        return note("matrix_transpose", self)

    @property
    def mT(self) -> Recorded:
        return note("matrix_transpose", self)

    def to_device(self, device: Any, /, *, stream: Any = None) -> Recorded:
        return self

    def __array_namespace__(self, api_version: str | None = None) -> ModuleType:
        return namespace_of(self)

    def __getitem__(self, key: Any) -> Recorded:
        if isinstance(key, Recorded) and key.dtype.kind in "iu":
            return _rows(self, key)
        return note("getitem", self, key=_plain_key(key))

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an array without axes")
        return self.shape[0]

    def __iter__(self) -> Iterator[Recorded]:
        return iter([self[i] for i in range(len(self))])

    def __repr__(self) -> str:
        return f"<an array of a recording: {self.node.spec}>"

    # fmt: off
    __add__, __radd__           = _operators("add")
    __sub__, __rsub__           = _operators("subtract")
    __mul__, __rmul__           = _operators("multiply")
    __truediv__, __rtruediv__   = _operators("divide")
    __floordiv__, __rfloordiv__ = _operators("floor_divide")
    __mod__, __rmod__           = _operators("remainder")
    __pow__, __rpow__           = _operators("pow")
    __matmul__, __rmatmul__     = _operators("matmul")
    __and__, __rand__           = _operators("bitwise_and")
    __or__, __ror__             = _operators("bitwise_or")
    __xor__, __rxor__           = _operators("bitwise_xor")
    __lshift__, __rlshift__     = _operators("bitwise_left_shift")
    __rshift__, __rrshift__     = _operators("bitwise_right_shift")
    __lt__, __le__ = _operator("less"), _operator("less_equal")
    __gt__, __ge__ = _operator("greater"), _operator("greater_equal")
    __eq__, __ne__ = _operator("equal"), _operator("not_equal")  # type: ignore[assignment]
    __neg__, __pos__, __abs__, __invert__ = map(_sign, ("negative", "positive", "abs", "bitwise_invert"))
    # fmt: on
    __hash__ = None  # type: ignore[assignment]

    # What cannot be noted.

    def _no_number(self, *ignored: Any) -> NoReturn:
        _current(self)
        refuse("a number is read from an array (by if, while, float() or print); use where(), or give the array back")

    __bool__ = __float__ = __int__ = __index__ = __complex__ = __str__ = __format__ = _no_number

    def _no_writing(self, *ignored: Any) -> NoReturn:
        refuse("an array is written into; make a new one: x = x + y, or where(mask, y, x)")

    __setitem__ = __imatmul__ = __ilshift__ = __irshift__ = _no_writing
    __iadd__, __isub__, __imul__, __itruediv__ = map(_in_place, ("add", "subtract", "multiply", "divide"))
    __ifloordiv__, __imod__, __ipow__ = map(_in_place, ("floor_divide", "remainder", "pow"))
    __iand__, __ior__, __ixor__ = map(_in_place, ("bitwise_and", "bitwise_or", "bitwise_xor"))

    def __array__(self, *ignored: Any, **settings: Any) -> NoReturn:
        _current(self)
        refuse("an array is given to NumPy itself, or read; use the functions of namespace(x)")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **settings: Any) -> NoReturn:
        _current(*(x for x in inputs if type(x) is Recorded))
        if type(inputs[0]) is not Recorded or any(is_array(x) and type(x) is not Recorded for x in inputs):
            refuse_concrete(next(x for x in inputs if type(x) is not Recorded))
        refuse(f"np.{ufunc.__name__} is called by name; use namespace(x).{ufunc.__name__}")

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> NoReturn:
        refuse(f"{function.__module__}.{function.__name__} is called by name; use the functions of namespace(x)")

    def __getattr__(self, name: str) -> NoReturn:
        if not name.startswith("_") and hasattr(np.ndarray, name):
            refuse(f".{name} is NumPy's own; the standard has namespace(x).{name}(x), or nothing like it")
        raise AttributeError(f"an array of a recording has no {name}")


def _rows(x: Recorded, indices: Recorded) -> Recorded:
    """x[indices], which is take() wherever the two lie in memory alike."""
    if not x.shape:
        raise IndexError(f"an array without axes has no rows, at {line()}")
    spec = OPS["rows"].rule(x.node.spec, indices.node.spec)
    if spec.lies_as(row_by_row(spec.shape)):
        return note("take", x, indices, axis=0)
    return note("rows", x, indices)


def _plain_key(key: Any) -> Any:
    """An index made of integers, slices, None and ..., which is all that a view can be asked for."""
    parts = key if isinstance(key, tuple) else (key,)
    for part in parts:
        if isinstance(part, Recorded) and part.dtype.kind == "b":
            refuse("an array is indexed with booleans, and how many are true depends on numbers; use where()")
        if not (part is None or part is ... or isinstance(part, slice | int | np.integer)) or isinstance(part, bool):
            refuse("an index holds more than integers, slices, None and ...; use take(), take_along_axis() or where()")
    plain = tuple(int(part) if isinstance(part, np.integer) else part for part in parts)
    return plain if isinstance(key, tuple) else plain[0]


def note(name: str, *operands: Any, **settings: Any) -> Recorded:
    """Note an operation, and give back the array that it will make.

    Raises NotRecordable where an operand is of no use here, and whatever NumPy would raise about shapes and dtypes,
    with the line.
    """
    nodes = _current()
    inner: list[Any] = []
    for operand in operands:
        if type(operand) is Recorded:
            if operand.tape is not nodes:
                _current(operand)
            inner.append(operand.node)
        elif type(operand) in (int, float, bool):
            inner.append(operand)
        else:
            refuse_concrete(operand)
    row = OPS[name]
    if row.family != ELEMENTWISE and not all(type(x) is Node for x in inner) and name != "clip":
        raise TypeError(f"{name}: takes arrays, got one of Python's numbers, at {line()}")
    try:
        spec = row.rule(*[x.spec if type(x) is Node else x for x in inner], **settings)
    except NotRecordable:
        raise
    except (TypeError, ValueError, IndexError, OverflowError) as error:
        kind = next(k for k in (TypeError, ValueError, IndexError, OverflowError) if isinstance(error, k))
        raise kind(f"{name}: {error}, at {line()}") from None
    node = Node(name, tuple(inner), settings, spec, place())
    nodes.append(node)
    return Recorded(node)


def _current(*arrays: Recorded) -> list[Node]:
    """The recording that is going on.  Raises NotRecordable where there is none, or an array is of another."""
    nodes = tape.nodes
    if nodes is None:
        refuse("an array of a recording is used after that has ended; give it back as a result")
    if any(x.tape is not nodes for x in arrays):
        refuse("an array was kept from another recording; give it back as a result, and pass it in")
    return nodes


def refuse_concrete(what: Any) -> NoReturn:
    """Explain what cannot meet an array of a recording: another array, or no number at all."""
    kind = type(what).__name__
    if is_array(what):
        form = f"{kind} of shape {tuple(what.shape)}" if hasattr(what, "shape") else kind
        refuse(f"an array that is no argument ({form}) meets one that is; pass it in, or make it a field of the layer")
    refuse(f"an array meets {kind} {what!r:.40}; only arrays and Python's int, float and bool may")


def axis_number(axis: Any) -> Any:
    """An axis, or some, as Python's integers; an array that is recorded is none."""
    if isinstance(axis, tuple | list):
        return tuple(map(operator.index, axis))
    return None if axis is None else operator.index(axis)
