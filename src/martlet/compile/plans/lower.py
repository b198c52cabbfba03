"""Lowering: operations become calls of NumPy's functions that write into memory which is there already.

A plan is a list of calls, each a function and its arguments.  Where results live is settled here: views are taken
once, a buffer whose last reader is done is written again, and what dies in an operation is overwritten by its result.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from martlet.compile.programs.layout import Spec, new, row_by_row, spec_of
from martlet.compile.programs.ops import ELEMENTWISE, OTHER, PRODUCT, REDUCTION, SOURCE, VIEW
from martlet.compile.programs.program import Node
from martlet.compile.rewriting.flat import PACK, parts

Call = tuple[Any, ...]  # a function and its arguments

MEMORY = 64  # bytes: where a buffer begins, so that vector instructions meet whole cache lines


REDUCTIONS = {
    "sum": np.add,
    "prod": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
    "any": np.logical_or,
    "all": np.logical_and,
}


def may_fail(node: Node) -> bool:
    """Whether its call can raise for the numbers that it meets, or takes memory for its result before it writes it."""
    if node.family == ELEMENTWISE:
        condition = node.operands[0]
        if node.name == "where":
            return isinstance(condition, Node) and condition.spec.dtype != bool
        return node.name == "pow" and (node.spec.shape == () or node.spec.dtype.kind in "iu")
    if node.family == REDUCTION:
        return node.name not in REDUCTIONS
    return (node.family == OTHER and node.name not in ("copy", "concat")) or node.name in ("tensordot", "vecdot")


def buffer(nbytes: int) -> np.ndarray:
    """Some bytes of memory that begin at a cache line."""
    raw = np.empty(nbytes + MEMORY, dtype=np.uint8)
    start = -raw.ctypes.data % MEMORY
    return raw[start : start + nbytes]


def array_in(memory: np.ndarray, spec: Spec) -> np.ndarray:
    """An array of this form in the first bytes of some memory."""
    strides = tuple(stride * spec.dtype.itemsize for stride in spec.strides)
    return np.ndarray(spec.shape, spec.dtype, memory, 0, strides)


class Pool:
    """Memory that is used again: a buffer that was given back is handed out before a new one is made."""

    def __init__(self, buffer: Callable[[int], Any] = buffer) -> None:
        self.buffer = buffer
        self.free: list[Any] = []
        self.nbytes = 0

    def take(self, nbytes: int) -> Any:
        fitting = [i for i, memory in enumerate(self.free) if nbytes <= memory.nbytes <= 2 * nbytes + MEMORY]
        if fitting:
            return self.free.pop(min(fitting, key=lambda i: self.free[i].nbytes))
        self.nbytes += nbytes
        return self.buffer(nbytes)

    def give(self, memory: Any) -> None:
        self.free.append(memory)


class Lowering:
    """Turns nodes into calls.  ``arrays`` says where each node's numbers are.

    given: arrays that hold their numbers before the calls begin (inputs, constants, results of other plans); they
    are not written but by a node that ``replaces`` one of them.  targets: arrays that certain nodes are to be computed
    into.  keep: nodes that are read after the calls.
    """

    # What is asked of memory.  Another library than NumPy has its own answers.
    buffer: Callable[[int], Any] = staticmethod(buffer)
    array_in: Callable[[Any, Spec], Any] = staticmethod(array_in)
    same: Callable[[Any, Any], bool] = staticmethod(lambda a, b: same_view(a, b))
    has_form: Callable[[Any, Spec], bool] = staticmethod(lambda array, spec: has_form(array, spec))
    shares: Callable[[Any, Any], bool] = staticmethod(np.may_share_memory)
    copy: Callable[[Any, Any], Call] = staticmethod(lambda out, x: (out.__setitem__, ..., x))

    def __init__(
        self,
        nodes: Iterable[Node],
        *,
        given: Mapping[Node, Any],
        targets: Mapping[Node, Any] | None = None,
        replaces: Mapping[Node, Node] | None = None,
        keep: Iterable[Node] = (),
        pool: Pool | None = None,
    ) -> None:
        self.nodes = [node for node in nodes if node not in given]
        self.replaces = dict(replaces or {})
        self.arrays: dict[Node, Any] = dict(given)
        self.targets = dict(targets or {})
        self.pool = Pool(self.buffer) if pool is None else pool
        self.calls: list[Call] = []
        self.first_write = -1  # the number of the first call that writes a target that replaces something
        self.late: list[tuple[Any, Node]] = []  # results that could not be computed into their targets
        self._memory: dict[Node, Any] = {}  # that may be overwritten, by the root that holds it
        self._lasting: set[Node] = set()  # roots whose memory does not come from the pool
        self._roots: dict[Node, Node] = {}  # whose memory a node's array is in
        self._uses: Counter[Node] = Counter(keep)  # how often a root is still read
        for node in self.nodes:
            self._uses.update(node.parents)
        self._lay_out_packs()
        for node in self.nodes:
            self._lower(node)
        self._copy_late()
        if self.first_write < 0:
            self.first_write = len(self.calls)

    def _lay_out_packs(self) -> None:
        """The parts of a pack are computed where they will lie, as far as they are computed here and lie row by row."""
        packs = [node for node in self.nodes if node.family == PACK]
        for pack in packs:
            memory = self.buffer(pack.spec.nbytes)
            self._memory[pack] = memory
            self._lasting.add(pack)
            self.arrays[pack] = self.array_in(memory, pack.spec)
        computed = {n for node in self.nodes if node.family not in (VIEW, SOURCE, PACK) for n in self.made_by(node)}
        for part, (pack, start, stop) in parts(packs).items():
            simple = part.spec.strides == row_by_row(part.spec.shape) and part.spec.dtype == pack.spec.dtype
            if part in computed and part not in self.targets and simple:
                self.targets[part] = self.arrays[pack][start:stop].reshape(part.spec.shape)
                self._roots[part] = pack
                self._uses[pack] += self._uses[part]

    def _copy_late(self) -> None:
        """Results that had to wait until what they replace was read; first those that stand where another goes."""
        written = [out for out, _ in self.late]
        sources = []
        for _, node in self.late:
            array = self.arrays[node]
            if any(self.shares(array, out) for out in written):
                aside = self.array_in(self.buffer(node.spec.nbytes), new(node.spec.shape, node.spec.dtype))
                self.call(*self.copy(aside, array))
                array = aside
            sources.append(array)
        if self.late and self.first_write < 0:
            self.first_write = len(self.calls)
        for (out, _), array in zip(self.late, sources, strict=True):
            self.call(*self.copy(out, array))

    def made_by(self, node: Node) -> list[Node]:
        """The nodes whose arrays a node of the list makes: itself."""
        return [node]

    def form(self, node: Node) -> Spec:
        """How a result lies in memory: as it would eagerly."""
        return node.spec

    # -------------------------------------------------------------------------------- memory

    def root(self, node: Node) -> Node:
        """The node whose memory an array is in: its own, or that of what it is a view of."""
        return self._roots.get(node, node)

    def _place(self, node: Node, array: Any, root: Node | None = None) -> Any:
        self.arrays[node] = array
        if root is not None and root is not node:
            self._roots[node] = root
            self._uses[root] += self._uses[node]
        return array

    def _release(self, node: Node) -> None:
        """One reader of a node is done; after the last one its memory is free."""
        root = self.root(node)
        self._uses[root] -= 1
        if self._uses[root] == 0 and root in self._memory and root not in self._lasting:
            self.pool.give(self._memory.pop(root))

    def _new(self, node: Node, aligned: bool = False) -> Any:
        """Where a node is computed: its target, if that may be written by now, or memory of the pool.

        ``aligned``: it reads the numbers that it replaces, each just before it is overwritten.
        """
        if node in self.targets:
            old = self.replaces.get(node)
            readers = self._uses[old] - (self._reads(node, old) if aligned else 0) if old is not None else 0
            if readers == 0:
                if old is not None and self.first_write < 0:
                    self.first_write = len(self.calls)
                self.arrays[node] = self.targets[node]
                return self.arrays[node]
            self.late.append((self.targets[node], node))
            self._uses[node] += 1
        memory = self.pool.take(node.spec.nbytes)
        self._memory[node] = memory
        return self._place(node, self.array_in(memory, self.form(node)))

    def _reads(self, node: Node, root: Node) -> int:
        """How often a node reads some memory."""
        return sum(self.root(parent) is root for parent in node.parents)

    def _over(self, node: Node, aligned: Iterable[Node]) -> Any:
        """Where an elementwise node is computed: over an operand of the same form that dies here, if there is one.

        Not a single number: NumPy takes three times as long where it would overwrite one.
        """
        aligned = list(aligned) if node.spec.size > 1 else []
        if node in self.targets:
            old = self.replaces.get(node)
            place = self.targets[node]
            return self._new(node, any(self.root(p) is old and self.same(self.arrays[p], place) for p in aligned))
        for parent in aligned:
            root, array = self.root(parent), self.arrays[parent]
            dies = root in self._memory and self._uses[root] == self._reads(node, root)
            if dies and self.has_form(array, self.form(node)):
                self._memory[node] = self._memory.pop(root)
                if root in self._lasting:
                    self._lasting.add(node)
                return self._place(node, array)
        return self._new(node)

    # --------------------------------------------------------------------------------- calls

    def call(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.calls.append((function, *arguments))

    def _lower(self, node: Node) -> None:
        if node.family == VIEW:
            self._view(node)
        elif node.family == SOURCE:
            assert node.op is not None
            self._place(node, np.asarray(node.op.numpy(**node.settings)))
        elif node.family == PACK:
            self._pack(node)
        else:
            {ELEMENTWISE: self._elementwise, REDUCTION: self._reduction, PRODUCT: self._product, OTHER: self._other}[
                node.family
            ](node)
        for parent in node.parents:
            self._release(parent)

    def _operand(self, operand: Any, dtype: np.dtype) -> np.ndarray:
        """An array as it is; one of Python's numbers as an array (), in the dtype that the operation computes in."""
        return self.arrays[operand] if isinstance(operand, Node) else np.asarray(operand, dtype=dtype)

    def _view(self, node: Node) -> None:
        (parent,) = node.parents
        assert node.op is not None
        source = self.arrays[parent]
        seen = node.op.numpy(source, **node.settings)
        if isinstance(seen, np.generic):  # the number itself, of now, where its place is wanted
            key = node.settings["key"]
            seen = source[(*key, ...) if isinstance(key, tuple) else (key, ...)]
        if node in self.targets or (seen.size and not np.may_share_memory(seen, source)):
            out = self._new(node)
            if node.name == "reshape":
                self._reshaped(node, source, out)
            else:
                self.call(*self.copy(out, seen))
        else:
            self._place(node, seen, self.root(parent))

    def _reshaped(self, node: Node, source: Any, out: Any) -> None:
        """A reshape that is copied: ``source`` in the order of its rows, whatever the memory's."""
        turned = out.reshape(tuple(source.shape))
        if node.spec.size == 0 or self.shares(turned, out):
            self.call(*self.copy(turned, source))
        else:  # ``out`` does not lie row by row: this is a copy of it, and what is written there is lost
            self._copied(node, out)

    def _elementwise(self, node: Node) -> None:
        if node.name == "where":
            self._where(node)
        elif node.name == "astype":
            (parent,) = node.parents
            self.call(*self.copy(self._over(node, ()), self.arrays[parent]))
        elif node.name == "pow" and node.spec.shape == () and all(map(self._is_number, node.operands)):
            self.call(_power, *(self._operand(o, node.spec.dtype) for o in node.operands), self._new(node))
        else:
            assert node.op is not None
            kinds = node.op.loop(*(o.spec if isinstance(o, Node) else o for o in node.operands))
            self._ufunc(node, [self._operand(o, dtype) for o, dtype in zip(node.operands, kinds, strict=False)])

    def _ufunc(self, node: Node, operands: list[np.ndarray]) -> None:
        out = self._over(node, self._aligned(node))
        assert node.op is not None
        ufunc: Any = node.op.ufunc
        if node.name == "pow" and node.operands[1] == 2 and not isinstance(node.operands[1], Node):
            ufunc, operands = np.square, operands[:1]  # as NumPy's ** does
        if node.name in ("maximum", "minimum"):  # which do not take it by position
            self.call(functools.partial(ufunc, out=out), *operands)
        else:
            self.call(ufunc, *operands, out)

    def _is_number(self, operand: Any) -> bool:
        """Whether an operand of shape () would eagerly be one of NumPy's numbers and not an array."""
        if not isinstance(operand, Node):
            return True
        if operand.name == "astype":
            return self._is_number(operand.operands[0])
        if operand.op is None:  # a state that changes is one from the second step on
            return operand in self.replaces.values()
        indexed = operand.name == "getitem" and Ellipsis not in np.atleast_1d(operand.settings["key"]).tolist()
        return indexed or (operand.family not in (VIEW, SOURCE) and operand.name not in ("where", "copy"))

    def _aligned(self, node: Node) -> list[Node]:
        """The operands whose memory an elementwise result may take: no other operand reads it otherwise."""
        found = []
        for parent in node.parents:
            root, mine = self.root(parent), self.arrays[parent]
            others = [self.arrays[p] for p in node.parents if self.root(p) is root]
            if all(self.same(mine, other) for other in others):
                found.append(parent)
        return found

    def _where(self, node: Node) -> None:
        """Two copies: first what stands where the condition is False, then the rest over it."""
        condition, x, y = node.operands
        if isinstance(condition, Node) and condition.spec.dtype != bool:
            self._copied(node, self._new(node))  # what is not zero counts, which a mask cannot say
            return
        fallback = [y] if isinstance(y, Node) and y in self._aligned(node) else []
        out = self._over(node, fallback)
        other = self._operand(y, node.spec.dtype)
        if not same_view(out, other):
            self.call(*self.copy(out, other))
        mask = self._operand(condition, np.dtype(bool))
        self.call(functools.partial(np.copyto, casting="unsafe", where=mask), out, self._operand(x, node.spec.dtype))

    def _reduction(self, node: Node) -> None:
        (x,) = node.parents
        array, out, settings = self.arrays[x], self._new(node), node.settings
        ufunc = REDUCTIONS.get(node.name)
        if ufunc is None:
            self._copied(node, out)
            return
        axis, keepdims = settings.get("axis"), settings.get("keepdims", False)
        dtype = settings.get("dtype")
        self.call(ufunc.reduce, array, axis, dtype, out, keepdims)

    def _product(self, node: Node) -> None:
        out = self._new(node)
        if node.name != "matmul":
            self._copied(node, out)
            return
        a, b = (self.arrays[parent] for parent in node.parents)
        plain = a.ndim == b.ndim == 2 and a.dtype == b.dtype and a.dtype.kind == "f" and min(a.shape + b.shape) > 1
        if plain and out.flags.c_contiguous:
            self.call(a.dot, b, out)  # the same product of the same library, without a look at broadcasting
        elif plain and out.T.flags.c_contiguous:
            self.call(b.T.dot, a.T, out.T)
        else:
            self.call(np.matmul, a, b, out)

    def _pack(self, node: Node) -> None:
        """Its parts are there already, but for those that could not be computed in their place."""
        start = 0
        for parent in node.parents:
            array, stop = self.arrays[parent], start + parent.spec.size
            place = self.arrays[node][start:stop].reshape(parent.spec.shape)
            if not self.same(array, place):
                self.call(*self.copy(place, array))
            start = stop

    def _other(self, node: Node) -> None:
        arrays = [self.arrays[parent] for parent in node.parents]
        out = self._new(node)
        if node.name == "take":
            self.call(np.take, *arrays, node.settings.get("axis"), out)
        elif node.name == "concat" and node.settings.get("axis") is not None:
            self.call(np.concatenate, arrays, node.settings["axis"], out)
        elif node.name == "copy":
            self.call(*self.copy(out, arrays[0]))
        else:
            self._copied(node, out)

    def _copied(self, node: Node, out: Any) -> None:
        """An operation that cannot write where it is told to: it makes its result, which is copied."""
        assert node.op is not None
        arrays = [self.arrays[o] if isinstance(o, Node) else o for o in node.operands]
        self.call(_copy_of, functools.partial(node.op.numpy, **node.settings), arrays, out)


def _copy_of(function: Callable[..., Any], arrays: list[Any], out: np.ndarray) -> None:
    # An array () as the number that NumPy's own functions give for it.
    np.copyto(out, function(*(x[()] if isinstance(x, np.ndarray) else x for x in arrays)))


def _power(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """That of NumPy's numbers, which is not the ufunc's to the last bit."""
    out[()] = a[()] ** b[()]


def same_view(a: np.ndarray, b: np.ndarray) -> bool:
    return a.ctypes.data == b.ctypes.data and a.shape == b.shape and a.strides == b.strides and a.dtype == b.dtype


def has_form(array: np.ndarray, spec: Spec) -> bool:
    """Whether an array has this dtype and shape, and lies so in memory."""
    found = spec_of(array)
    return found[:2] == spec[:2] and spec.lies_as(found.strides)
