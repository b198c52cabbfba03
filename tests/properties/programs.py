"""Programs that hypothesis writes: a list of numbers, each of which is read as an operation on what there is so far.

Whatever the numbers are, the program is valid: where an operation does not fit its operands, they are made to fit.
So a failing program shrinks to a few numbers, and ``str`` says what it does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import martlet as mt

MOST = 3000  # numbers in one array
WIDTHS = ("float32", "float64", "float16", "int32")


def floating(x: Any) -> Any:
    """A float array of what may be integers or truth values."""
    return x if x.dtype.kind == "f" else mt.namespace(x).astype(x, np.float64)


def numeric(x: Any) -> Any:
    return x if x.dtype.kind != "b" else mt.namespace(x).astype(x, np.int32)


def fitted(x: Any, y: Any) -> Any:
    """y, or its sum if the two cannot stand side by side."""
    try:
        size = np.prod(np.broadcast_shapes(x.shape, y.shape), initial=1)
    except ValueError:
        size = MOST + 1
    return y if size <= MOST else mt.namespace(y).sum(y)


def with_axes(x: Any, rank: int) -> Any:
    return x if x.ndim >= rank else x[(*[None] * (rank - x.ndim), ...)]


# -------------------------------------------------------------------------------------- the vocabulary


def unary(x: Any, y: Any, n: int) -> Any:
    xp = mt.namespace(x)
    name = ["tanh", "sin", "exp", "sqrt", "square", "abs", "negative", "floor", "log1p", "sign", "reciprocal"][n % 11]
    if name == "exp":
        x = xp.minimum(floating(x), 2.0)
    return getattr(xp, name)(numeric(x) if name in ("square", "abs", "negative", "sign") else floating(x))


def binary(x: Any, y: Any, n: int) -> Any:
    x, y = numeric(x), fitted(x, numeric(y))
    xp = mt.namespace(x)
    if n % 9 == 6:
        return floating(x) / floating(y)
    ways: list[Callable[[], Any]] = [
        lambda: x + y,
        lambda: x - y,
        lambda: x * y,
        lambda: xp.maximum(x, y),
        lambda: xp.minimum(x, y),
        lambda: x + y * y,
        lambda: x,
        lambda: y - x * x,
        lambda: xp.atan2(floating(x), floating(y)),
    ]
    return ways[n % 9]()


def with_number(x: Any, y: Any, n: int) -> Any:
    xp, x = mt.namespace(x), numeric(x)
    f = floating(x)
    ways: list[Callable[[], Any]] = [
        lambda: f * 0.5,
        lambda: x + 1,
        lambda: 2 - x,
        lambda: f * 1.0,
        lambda: f * -0.0,
        lambda: f * 0.0,
        lambda: 1.0 / f,
        lambda: xp.maximum(f, 0.0),
        lambda: xp.minimum(x, 1),
        lambda: x * -3,
        lambda: f**2,
        lambda: f**3,
        lambda: abs(f) ** 0.5,
        lambda: f - 0.25,
        lambda: f // 0.5,
        lambda: f % 0.75,
    ]
    return ways[n % 16]()


def compared(x: Any, y: Any, n: int) -> Any:
    y = fitted(x, y)
    ways: list[Callable[[], Any]] = [
        lambda: x > 0.5,
        lambda: x < y,
        lambda: x >= y,
        lambda: x == y,
        lambda: x != 0,
        lambda: mt.namespace(x).logical_not(x),
        lambda: (x > 0) & (y < 1),
        lambda: (x <= 0) | (y != y),
    ]
    return ways[n % 8]()


def chosen(x: Any, y: Any, n: int) -> Any:
    xp, y = mt.namespace(x), fitted(x, y)
    condition = [lambda: x > 0.0, lambda: y == y, lambda: x < y, lambda: x != 0][n % 4]()
    one, other = [(x, y), (y, x), (x, 0.0), (-1.5, y), (x, x)][n // 4 % 5]
    if x.dtype.kind == y.dtype.kind == "b":
        one, other = x, y
    return xp.where(condition, one, other)


def viewed(x: Any, y: Any, n: int) -> Any:
    xp, x, kind, n = mt.namespace(x), with_axes(x, 1), n % 12, n // 12
    rows = x.shape[0]
    if kind == 0:
        return with_axes(x, 2).mT
    if kind == 1:
        return x[:: (1, 2, 3, -1, -2)[n % 5], ...]
    if kind == 2:
        return x[..., :: (2, -1, 3)[n % 3]]
    if kind == 3:
        return x[n % (rows + 1) :, ...] if rows > 1 and n % (rows + 1) < rows else x
    if kind == 4:
        return x[n % rows, ...] if n % 2 else x[(n % rows, *(n % length for length in x.shape[1:]))]
    if kind == 5:
        return xp.reshape(x, (-1,))
    if kind == 6:
        by = next((k for k in (2 + n % 8, 3, 2, 1) if x.size % k == 0), 1)
        return xp.reshape(x, (x.size // by, by) if n % 2 else (by, x.size // by))
    if kind == 7:
        return xp.permute_dims(x, tuple(reversed(range(x.ndim))))
    if kind == 8:
        return xp.flip(x, axis=n % x.ndim)
    if kind == 9:
        return xp.moveaxis(x, 0, -1)
    if kind == 10:
        return xp.broadcast_to(x, (2 + n % 3, *x.shape)) if x.size <= MOST // 4 and x.ndim < 4 else x
    return xp.expand_dims(x, axis=n % (x.ndim + 1)) if x.ndim < 4 else x[0, ...]


def reduced(x: Any, y: Any, n: int) -> Any:
    xp, name = mt.namespace(x), ["sum", "sum", "max", "min", "mean", "any", "sum", "argmax", "var", "prod"][n % 10]
    n //= 10
    axes = [None, *range(x.ndim), *([(0, x.ndim - 1), (x.ndim - 2, x.ndim - 1)] if x.ndim > 1 else [])]
    axis = axes[n % len(axes)]
    if name == "argmax":
        axis = None if x.ndim == 0 else n % x.ndim
    x = x if name == "any" else floating(x) if name in ("mean", "var") else numeric(x)
    return getattr(xp, name)(x, axis=axis, keepdims=bool(n // 16 % 2))


def multiplied(x: Any, y: Any, n: int) -> Any:
    x, y = (with_axes(floating(a), 1) for a in (x, y))
    if n % 4 == 0 and x.ndim > 1:
        return x @ x.mT if n % 8 else x.mT @ x
    for a, b in ((x, y), (y, x), (x, with_axes(y, 2).mT), (with_axes(x, 2).mT, y)):
        try:
            np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        except ValueError:
            continue
        if a.shape[-1] == (b.shape[-2] if b.ndim > 1 else b.shape[0]) and a.size * b.size < 1e6:
            return a @ b
    flat = mt.namespace(x).reshape(x, (-1,))
    return flat @ flat


def gathered(x: Any, y: Any, n: int) -> Any:
    xp, x, kind, n = mt.namespace(x), with_axes(x, 1), n % 9, n // 9
    if kind in (0, 1):
        flat = xp.reshape(floating(y), (-1,))[:7]
        index = xp.astype(xp.where(xp.abs(flat) < 9.0, flat * 3.0, 0.0), np.int64) % x.shape[n % x.ndim]
        return xp.take(x, index, axis=n % x.ndim)
    if kind == 2:
        return xp.concat([x, x * x] if x.dtype.kind != "b" else [x, x], axis=n % x.ndim)
    if kind == 3:
        return xp.stack([x, x], axis=n % (x.ndim + 1)) if x.ndim < 4 else x
    if kind == 4:
        return xp.sort(numeric(x), axis=n % x.ndim)
    if kind == 5:
        return xp.argsort(numeric(x), axis=n % x.ndim)
    if kind == 6:
        return xp.cumulative_sum(numeric(x), axis=n % x.ndim)
    if kind == 7:
        return xp.roll(x, 1 + n % 3, axis=n % x.ndim)
    return xp.repeat(x, 2, axis=n % x.ndim) if x.size <= MOST // 4 else x


def cast(x: Any, y: Any, n: int) -> Any:
    xp, dtype = mt.namespace(x), WIDTHS[n % 4]
    if dtype == "int32":
        x = xp.where(xp.abs(x) < 1e4, x, 0.0) if x.dtype.kind == "f" else x
    return xp.astype(x, np.dtype(dtype))


def hashed(x: Any, y: Any, n: int) -> Any:
    """Integers that wrap around."""
    x = with_axes(cast(x, y, 3), 1)
    return [lambda: x * 0x45D9F3B, lambda: x ^ (x >> 7), lambda: (x << 5) - x, lambda: x + 0x7FFFFFFF][n % 4]()


VOCABULARY = [
    unary, binary, binary, with_number, compared, chosen, viewed, viewed, reduced, multiplied, gathered, cast, hashed
]  # fmt: skip


def whole(verb: Callable[..., Any]) -> Callable[..., Any]:
    """The verb on whole numbers, of which it gives whole ones below 16: sums of them are exact in any order."""

    def of_whole(x: Any, y: Any, n: int) -> Any:
        made = verb(x, y, n)
        return made % 16 if made.dtype.kind in "fi" else made

    return of_whole


def whole_number(x: Any, y: Any, n: int) -> Any:
    x = numeric(x)
    ways: list[Callable[[], Any]] = [
        lambda: x + 1, lambda: 2 - x, lambda: x * -3, lambda: x * 1.0, lambda: mt.namespace(x).maximum(x, 7.0),
        lambda: mt.namespace(x).minimum(x, 5), lambda: x**2, lambda: -x,
    ]  # fmt: skip
    return ways[n % 8]()


def whole_binary(x: Any, y: Any, n: int) -> Any:
    return binary(x, y, n % 6)


def whole_choice(x: Any, y: Any, n: int) -> Any:
    return chosen(x, y, n % 12)


def whole_reduction(x: Any, y: Any, n: int) -> Any:
    return reduced(x, y, n // 10 * 10 + (0, 1, 2, 3, 5, 6, 7, 0, 1, 6)[n % 10])


WHOLE = [
    *map(whole, [whole_number, whole_binary, whole_binary, whole_reduction, whole_reduction, multiplied, multiplied]),
    compared, whole_choice, viewed, viewed, whole(gathered),
]  # fmt: skip


# ---------------------------------------------------------------------------------------- a program


class Written:
    """A function of arrays: the first ``states`` of them it gives back changed, and then some results."""

    def __init__(
        self, words: Sequence[int], states: int, picks: Sequence[int], results: Sequence[int], verbs: Any = VOCABULARY
    ) -> None:
        self.words, self.states, self.picks, self.results = words, states, picks, results
        self.verbs = verbs

    def __call__(self, *arrays: Any) -> tuple[Any, ...]:
        found = list(arrays)
        for word in self.words:
            verb, word = self.verbs[word % len(self.verbs)], word // len(self.verbs)
            one, word = word % 64, word // 64
            other, word = word % 64, word // 64
            # More often than not the last one is used, so that a program is a chain and not a heap.
            x, y = found[-1 - one % len(found) if one % 3 else -1], found[-1 - other % len(found)]
            made = verb(x, y, word)
            found.append(made if made.size <= MOST else mt.namespace(made).sum(made))
        after = [self.become(arrays[i], found, self.picks[i]) for i in range(self.states)]
        return (*after, *(found[-1 - pick % len(found)] for pick in self.results))

    @staticmethod
    def become(before: Any, found: list[Any], pick: int) -> Any:
        """What a state becomes: any array of its form, or one that is turned, cut or cast to it."""
        shape, xp = before.shape, mt.namespace(before)
        same = [x for x in found if x.shape == shape and x.dtype == before.dtype]
        turned = [x.mT for x in found if x.ndim > 1 and x.mT.shape == shape and x.dtype == before.dtype]
        cut = [
            x[tuple(slice(n) for n in shape)]
            for x in found
            if shape and x.ndim == len(shape) and x.dtype == before.dtype and x.shape != shape
            and all(a >= b for a, b in zip(x.shape, shape, strict=True))
        ]  # fmt: skip
        others = [x for x in found if x.shape == shape and x.dtype != before.dtype]
        every = [*same, *same, *turned, *cut, *(xp.astype(x, before.dtype) for x in others)]
        return every[-1 - pick % len(every)]


SHAPES = [(3, 3), (9, 9), (4, 9), (9,), (), (1,), (2, 3, 5), (17, 33), (9, 4), (1, 9), (200,), (5, 1), (3,)]


def drawn_arrays(seed: int, count: int) -> list[np.ndarray]:
    """Arrays for a program: of any width and memory order, some alike, some parts of larger ones."""
    rng = np.random.default_rng(seed)
    shape, dtype, found = SHAPES[0], "float64", []
    for i in range(count):
        if i == 0 or rng.random() < 0.5:
            shape = SHAPES[rng.integers(len(SHAPES))]
        if i == 0 or rng.random() < 0.3:
            dtype = rng.choice(["float64", "float32", "float32", "float16", "int32"])
        numbers = rng.standard_normal(shape) * (1 if dtype != "int32" else 1000)
        array = np.asarray(numbers).astype(dtype)
        way = rng.random()
        if way < 0.2:
            array = np.asfortranarray(array)
        elif way < 0.3 and array.ndim:
            array = np.repeat(array, 2, axis=-1)[..., ::2]
        elif way < 0.35 and array.ndim:
            array = array[::-1]
        found.append(array)
    return found
