"""A call of every operation that can be recorded, with arrays drawn for it that lie in memory in any way."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from martlet.compile.programs.ops import BINARY, OPS, REDUCTION, UNARY

Rng = np.random.Generator
Call = tuple[Callable[..., Any], list[np.ndarray]]  # of a namespace and arrays, and the arrays

# ------------------------------------------------------------------------- arrays that lie in memory anyhow


def draw_shape(rng: Rng, least: int = 0, most: int = 4) -> tuple[int, ...]:
    return tuple(map(int, rng.choice([1, 2, 3, 4], rng.integers(least, most + 1))))


def lay(rng: Rng, numbers: np.ndarray) -> np.ndarray:
    """The same numbers in memory that is transposed, has gaps, runs backwards, or repeats a row.

    A repeated row changes the numbers: all along that axis are the first.
    """
    axes = rng.permutation(numbers.ndim)
    x = np.array(numbers.transpose(axes), order="C")
    for axis in range(x.ndim):
        kind, index = rng.integers(0, 6), (slice(None),) * axis
        if kind == 0:  # every second entry of a longer axis
            x = np.repeat(x, 2, axis=axis)[(*index, slice(None, None, 2))]
        elif kind == 1:
            x = np.ascontiguousarray(np.flip(x, axis))[(*index, slice(None, None, -1))]
        elif kind == 2:
            x = np.broadcast_to(x[(*index, slice(0, 1))], x.shape)
        elif kind == 3:  # the beginning of a longer axis
            x = np.concatenate([x, x], axis)[(*index, slice(x.shape[axis]))]
    return x.transpose(np.argsort(axes))


def draw(rng: Rng, shape: tuple[int, ...], dtype: str = "float64") -> np.ndarray:
    numbers = rng.standard_normal(shape) * 3
    numbers = numbers > 0 if dtype == "bool" else numbers.astype(dtype)
    return lay(rng, np.asarray(numbers))


def parts(rng: Rng, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape that broadcasts to this one."""
    return tuple(int(n) if rng.integers(0, 3) else 1 for n in shape)[rng.integers(0, len(shape) + 1) :]


# ------------------------------------------------------------- a call of every operation, with arrays drawn for it

WHOLE = {"bitwise_invert", "bitwise_left_shift", "bitwise_right_shift", "bitwise_and", "bitwise_or", "bitwise_xor"}


def unary(name: str) -> Callable[[Rng], Call]:
    dtype = "int64" if name in WHOLE else "float64"
    return lambda rng: (lambda xp, x: getattr(xp, name)(x), [draw(rng, draw_shape(rng), dtype)])


def binary(name: str) -> Callable[[Rng], Call]:
    dtype = "int64" if name in WHOLE else "float32"

    def call(rng: Rng) -> Call:
        shape = draw_shape(rng)
        return lambda xp, x, y: getattr(xp, name)(x, y), [draw(rng, parts(rng, shape), dtype) for _ in range(2)]

    return call


def three(rng: Rng, first: str) -> list[np.ndarray]:
    shape = draw_shape(rng)
    return [draw(rng, parts(rng, shape), dtype) for dtype in (first, "float32", "float32")]


def over_axes(name: str) -> Callable[[Rng], Call]:
    def call(rng: Rng) -> Call:
        x = draw(rng, draw_shape(rng))
        axis = pick_axes(rng, x.ndim, one=name.startswith("arg"))
        keepdims = bool(rng.integers(0, 2)) or (axis is None and type(getattr(np, name)(1)) is int)  # NumPy before 2.4
        return lambda xp, x: getattr(xp, name)(x, axis=axis, keepdims=keepdims), [x]

    return call


def pick_axes(rng: Rng, rank: int, one: bool = False) -> Any:
    """None, an axis, or several, counted from either end."""
    axes = [int(a) - rank * int(rng.integers(0, 2)) for a in rng.permutation(rank)[: rng.integers(0, rank + 1)]]
    if not rng.integers(0, 4) or (one and not axes):
        return None
    return axes[0] if len(axes) == 1 or one else tuple(axes)


def an_axis(rng: Rng, rank: int) -> int:
    return int(rng.integers(-rank, rank))


def along(name: str, dtype: str = "float64", **settings: Any) -> Callable[[Rng], Call]:
    """A function along one axis."""

    def call(rng: Rng) -> Call:
        x = draw(rng, draw_shape(rng, 1), dtype)
        axis = an_axis(rng, x.ndim)
        return lambda xp, x: getattr(xp, name)(x, axis=axis, **settings), [x]

    return call


def matmul(rng: Rng) -> Call:
    stack, (n, k, m) = draw_shape(rng, 0, 2), map(int, rng.integers(1, 5, 3))
    left, right = (*parts(rng, stack), n, k), (*parts(rng, stack), k, m)
    if not rng.integers(0, 4):
        left = (k,)
    if not rng.integers(0, 4):
        right = (k,)
    return lambda xp, a, b: a @ b, [draw(rng, left), draw(rng, right)]


def tensordot(rng: Rng) -> Call:
    shared, left, right = draw_shape(rng, 0, 2), draw_shape(rng, 0, 2), draw_shape(rng, 0, 2)
    if rng.integers(0, 2):
        axes: Any = len(shared)
        shapes = [left + shared, shared + right]
    else:
        axes = tuple(range(-1, -len(shared) - 1, -1)), tuple(range(len(shared)))
        shapes = [left + shared[::-1], shared + right]
    return lambda xp, a, b: xp.tensordot(a, b, axes=axes), [draw(rng, shape) for shape in shapes]


def vecdot(rng: Rng) -> Call:
    x = draw_shape(rng, 1, 3)
    rest = parts(rng, x[:-1])
    if rng.integers(0, 2):
        return lambda xp, a, b: xp.vecdot(a, b), [draw(rng, x), draw(rng, (*rest, x[-1]))]
    return lambda xp, a, b: xp.vecdot(a, b, axis=0), [draw(rng, x), draw(rng, x)]


def getitem(rng: Rng) -> Call:
    x = draw(rng, draw_shape(rng))
    key: list[Any] = []
    for length in x.shape[: rng.integers(0, x.ndim + 1)]:
        slices = [
            slice(None),
            slice(1, None),
            slice(None, None, -2),
            slice(-1, None),
            int(rng.integers(-length, length)),
        ]
        key += [slices[rng.integers(0, 5)]] + [None] * (not rng.integers(0, 5))
    key += [...] * bool(rng.integers(0, 2))
    whole = key[0] if len(key) == 1 else tuple(key)
    return lambda xp, x: x[whole], [x]


def permuted(rng: Rng) -> Call:
    x = draw(rng, draw_shape(rng))
    axes = tuple(map(int, rng.permutation(x.ndim)))
    return lambda xp, x: xp.permute_dims(x, axes), [x]


def reshaped(rng: Rng) -> Call:
    x = draw(rng, draw_shape(rng))
    lengths = [n for n in x.shape if n != 1] or [1]
    at = int(rng.integers(0, len(lengths)))
    shapes = [(-1,), (1, x.size, 1), x.shape[::-1], (*lengths[:at], -1), (math.prod(lengths[:at]), -1)]
    shape = shapes[rng.integers(0, len(shapes))]
    return lambda xp, x: xp.reshape(x, shape), [x]


def with_axes(name: str, rank_more: int = 0) -> Callable[[Rng], Call]:
    def call(rng: Rng) -> Call:
        x = draw(rng, draw_shape(rng, 1))
        axis = an_axis(rng, x.ndim + rank_more)
        return lambda xp, x: getattr(xp, name)(x, axis=axis), [x]

    return call


def squeezed(rng: Rng) -> Call:
    x = draw(rng, draw_shape(rng, 1))
    axes = tuple(a for a, n in enumerate(x.shape) if n == 1)
    axis = axes[0] if len(axes) == 1 else axes
    return (lambda xp, x: xp.squeeze(x)) if rng.integers(0, 2) else (lambda xp, x: xp.squeeze(x, axis=axis)), [x]


def broadcast(rng: Rng) -> Call:
    shape = draw_shape(rng)
    return lambda xp, x: xp.broadcast_to(x, shape), [draw(rng, parts(rng, shape))]


def moved(rng: Rng) -> Call:
    x = draw(rng, draw_shape(rng, 1))
    source, destination = an_axis(rng, x.ndim), an_axis(rng, x.ndim)
    return lambda xp, x: xp.moveaxis(x, source, destination), [x]


def joined(name: str) -> Callable[[Rng], Call]:
    def call(rng: Rng) -> Call:
        shape = list(draw_shape(rng, 1))
        axis = an_axis(rng, len(shape) + (name == "stack"))
        arrays = []
        for dtype in ("float32", "float64", "float32")[: rng.integers(1, 4)]:
            if name == "concat":
                shape[axis] = int(rng.integers(1, 4))
            arrays.append(draw(rng, tuple(shape), dtype))
        if name == "concat" and not rng.integers(0, 5):
            return lambda xp, *arrays: xp.concat(arrays, axis=None), arrays
        return lambda xp, *arrays: getattr(xp, name)(arrays, axis=axis), arrays

    return call


def taken(rng: Rng) -> Call:
    x = draw(rng, draw_shape(rng, 1))
    axis = an_axis(rng, x.ndim)
    indices = lay(rng, rng.integers(0, x.shape[axis], draw_shape(rng, 0, 2)))
    return lambda xp, x, i: xp.take(x, i, axis=axis), [x, indices]


def rows(rng: Rng) -> Call:
    x = draw(rng, draw_shape(rng, 1))
    indices = lay(rng, rng.integers(-x.shape[0], x.shape[0], draw_shape(rng, 0, 2)))
    return lambda xp, x, i: x[i], [x, indices]


def taken_along(rng: Rng) -> Call:
    x = draw(rng, draw_shape(rng, 1))
    axis = an_axis(rng, x.ndim)
    shape = list(x.shape)
    shape[axis] = int(rng.integers(1, 4))
    return lambda xp, x, i: xp.take_along_axis(x, i, axis=axis), [x, lay(rng, rng.integers(0, x.shape[axis], shape))]


def repeated(rng: Rng) -> Call:
    x = draw(rng, draw_shape(rng, 1))
    axis = an_axis(rng, x.ndim) if rng.integers(0, 3) else None
    times = int(rng.integers(0, 4))
    return lambda xp, x: xp.repeat(x, times, axis=axis), [x]


def tiled(rng: Rng) -> Call:
    times = tuple(map(int, rng.integers(1, 3, rng.integers(0, 5))))
    return lambda xp, x: xp.tile(x, times), [draw(rng, draw_shape(rng))]


def rolled(rng: Rng) -> Call:
    x = draw(rng, draw_shape(rng, 1))
    axis = pick_axes(rng, x.ndim)
    shift = tuple(range(1, len(axis) + 1)) if isinstance(axis, tuple) else int(rng.integers(-3, 4))
    return lambda xp, x: xp.roll(x, shift, axis=axis), [x]


def searched(rng: Rng) -> Call:
    table, values = np.sort(rng.standard_normal(4)), draw(rng, draw_shape(rng))
    return lambda xp, x, v: xp.searchsorted(x, v, side="right"), [lay(rng, table), values]


def like(name: str, *values: Any) -> Callable[[Rng], Call]:
    def call(rng: Rng) -> Call:
        dtype = np.float32 if rng.integers(0, 2) else None
        return lambda xp, x: getattr(xp, name)(x, *values, dtype=dtype) * 2, [draw(rng, draw_shape(rng))]

    return call


def triangle(name: str) -> Callable[[Rng], Call]:
    def call(rng: Rng) -> Call:
        k = int(rng.integers(-2, 3))
        return lambda xp, x: getattr(xp, name)(x, k=k), [draw(rng, draw_shape(rng, 2))]

    return call


def grids(indexing: str) -> Callable[[Rng], Call]:
    return lambda rng: (
        lambda xp, *x: tuple(xp.meshgrid(*x, indexing=indexing)),
        [draw(rng, (int(n),)) for n in rng.integers(1, 4, rng.integers(1, 4))],
    )


def clipped(rng: Rng) -> Call:
    x, low, high = three(rng, "float32")
    return lambda xp, x, low, high: xp.clip(x, low, high), [x, low, high]


ONE_ARRAY: dict[str, Callable[..., Any]] = {
    "astype": lambda xp, x: xp.astype(x, xp.float32),
    "astype, the same dtype": lambda xp, x: xp.sum(xp.astype(x, x.dtype), axis=None),
    "asarray, a copy": lambda xp, x: xp.asarray(x, copy=True),
    "asarray": lambda xp, x: xp.asarray(x, dtype=xp.float32),
    "asarray of a list": lambda xp, x: x * xp.asarray([2.0]),
    "asarray of arrays": lambda xp, x: xp.stack([x, x]),
    "clip from below": lambda xp, x: xp.clip(x, min=0.5),
    "clip from above": lambda xp, x: xp.clip(x, max=0.5),
    "clip to numbers": lambda xp, x: xp.clip(x, -1.0, 1),
    "clip to nothing": lambda xp, x: xp.clip(x),
    "round of integers": lambda xp, x: xp.round(xp.astype(x, xp.int32)),
    "flip, all axes": lambda xp, x: xp.flip(x),
    "zeros": lambda xp, x: x + xp.zeros(x.shape, dtype=xp.float32),
    "ones": lambda xp, x: x + xp.ones(3 if not x.shape else x.shape[-1]),
    "full": lambda xp, x: x * xp.full(x.shape, 2.5, dtype=x.dtype),
    "empty": lambda xp, x: x + 0 * xp.isfinite(xp.empty(x.shape)),
    "empty_like": lambda xp, x: x + 0 * xp.isfinite(xp.empty_like(x)),
    "arange": lambda xp, x: x[..., None] * xp.arange(4),
    "arange with a step": lambda xp, x: x[..., None] * xp.arange(1, 8, 2, dtype=xp.float32),
    "linspace": lambda xp, x: x[..., None] + xp.linspace(0.0, 1.0, 5),
    "eye": lambda xp, x: x[..., None, None] * xp.eye(3, 4, k=1),
    "broadcast_arrays": lambda xp, x: tuple(
        xp.broadcast_arrays(x[..., None, None], xp.arange(3)[:, None], x[..., None, None])
    ),
    "var, corrected": lambda xp, x: xp.var(x[..., None] * xp.arange(3), axis=-1, correction=1),
    "std, corrected": lambda xp, x: xp.std(x[..., None] * xp.arange(3), axis=-1, correction=1.0),
    "sum in float64": lambda xp, x: xp.sum(xp.astype(x, xp.float32), axis=None, dtype=xp.float64),
    "prod in float64": lambda xp, x: xp.prod(xp.astype(x, xp.float32), dtype=xp.float64),
    "matrix_transpose": lambda xp, x: (xp.matrix_transpose(x[None, ..., None]), x[None, ..., None].mT),
    "iteration": lambda xp, x: tuple(row for row in x[None, ...]),
    "a sum of rows": lambda xp, x: sum(x[None, ...]),
}
CALLS: dict[str, Callable[[Rng], Call]] = {
    **{name: unary(name) for name in UNARY},
    **{name: binary(name) for name in BINARY},
    **{row.name: over_axes(row.name) for row in OPS.values() if row.family == REDUCTION},
    **{name: lambda rng, f=f: (f, [draw(rng, draw_shape(rng))]) for name, f in ONE_ARRAY.items()},
    "where": lambda rng: (lambda xp, c, x, y: xp.where(c, x, y), three(rng, "bool")),
    "clip": clipped,
    "matmul": matmul,
    "tensordot": tensordot,
    "vecdot": vecdot,
    "getitem": getitem,
    "permute_dims": permuted,
    "reshape": reshaped,
    "expand_dims": with_axes("expand_dims", 1),
    "squeeze": squeezed,
    "flip": with_axes("flip"),
    "moveaxis": moved,
    "broadcast_to": broadcast,
    "concat": joined("concat"),
    "stack": joined("stack"),
    "unstack": along("unstack"),
    "take": taken,
    "rows by their numbers": rows,
    "take_along_axis": taken_along,
    "repeat": repeated,
    "tile": tiled,
    "roll": rolled,
    "sort": along("sort"),
    "sort, stable": along("sort", stable=True),
    "argsort": along("argsort", stable=True),
    "searchsorted": searched,
    "cumulative_sum": along("cumulative_sum"),
    "cumulative_sum from 0": along("cumulative_sum", include_initial=True),
    "cumulative_sum of small integers": along("cumulative_sum", dtype="int8"),
    "cumulative_prod": along("cumulative_prod"),
    "cumulative_prod from 1": along("cumulative_prod", include_initial=True),
    "diff": along("diff"),
    "diff, twice": along("diff", n=2),
    "diff of flags": along("diff", "bool"),
    "tril": triangle("tril"),
    "triu": triangle("triu"),
    "meshgrid": grids("xy"),
    "meshgrid, matrices": grids("ij"),
    "zeros_like": like("zeros_like"),
    "ones_like": like("ones_like"),
    "full_like": like("full_like", 2.5),
}
