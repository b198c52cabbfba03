"""Embedding: a table of learned rows, one for each word (or item, or category) of a vocabulary."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any, Self

from martlet.backend import Array, Backend, describe, device_of, host, kind, namespace, to_numpy
from martlet.checks import check_dout, check_floating, check_place, complain_shape, owner_name
from martlet.functions import as_index, clamp
from martlet.initializers import Initializer, draw, normal
from martlet.layer import Layer

if TYPE_CHECKING:
    import numpy as np


class Embedding(Layer):
    """y = W[x],  dW[i] = Σ dout over the places where x is i

    x: integers, (N,) or (N, T, …); W: (V, D), a row per word; y: the shape of x, then D.  Integers have
    no derivative, so dx is None.  A number outside 0 … V-1 raises ValueError on NumPy; elsewhere, where
    a check would have to wait for the device, its row is NaN (``fit`` reads all of x before it begins).
    """

    W: Array

    @property
    def vocabulary(self) -> int:
        self._check_table()
        return int(self.W.shape[0])

    def forward(self, x):
        self._check(x)
        xp = namespace(self.W)
        words, size = xp.reshape(as_index(xp, x), (-1,)), self.vocabulary
        if xp is host:
            self.check_words(x)
            rows = xp.take(self.W, words, axis=0)
        else:
            known = (words >= 0) & (words < size)
            rows = xp.take(self.W, clamp(words, 0, size - 1), axis=0)
            rows = xp.where(known[:, None], rows, xp.nan)
        return xp.reshape(rows, (*x.shape, self.W.shape[1])), (words, x.shape)

    def backward(self, cache, dout):
        words, shape = cache
        xp, columns = namespace(self.W), self.W.shape[1]
        check_dout(self, dout, (*shape, columns), self.W)
        rows = xp.reshape(dout, (words.shape[0], columns))
        return None, self.gradient(W=sum_by_word(xp, rows, words, self.vocabulary))

    def check_words(self, x: Any) -> None:
        """Read x on the host: ValueError for a number that names no row of W."""
        numbers = to_numpy(x)
        if numbers.size and (numbers.min() < 0 or numbers.max() >= self.vocabulary):
            raise ValueError(
                f"{owner_name(self)}: x holds {numbers.min()} to {numbers.max()}, but W has {self.vocabulary} rows: "
                f"words are 0 … {self.vocabulary - 1}"
            )

    def _check_table(self) -> None:
        check_floating(self, "W", self.W)
        if len(self.W.shape) != 2 or self.W.shape[0] == 0:
            complain_shape(self, "W", self.W, "(V, D)", "one row per word, and at least one")

    def _check(self, x: Any) -> None:
        self._check_table()
        check_place(self, "x", x, "W", self.W)
        if kind(x.dtype) != "integer":
            raise TypeError(f"{owner_name(self)}: x must hold integers, which name rows of W, got {describe(x)}")
        if len(x.shape) == 0:
            complain_shape(self, "x", x, "(N, ...)", "one sample per row")

    @classmethod
    def init(
        cls,
        words: int,
        features: int,
        rng: np.random.Generator,
        *,
        initializer: Initializer | None = None,
        backend: str | Backend | None = None,
        dtype: str | None = None,
    ) -> Self:
        """Draw W of shape (words, features), from the standard normal distribution unless told otherwise."""
        return cls(draw(cls.__name__, (words, features), rng, initializer or normal(1.0), backend, dtype))


def sum_by_word(xp: ModuleType, rows: Array, words: Array, size: int) -> Array:
    """The table (V, D) whose row i is the sum of the rows (N, D) that belong to word i.

    The standard has no scatter-add, a one-hot matrix of 50,000 words would take 800 MB, and a cumulative
    sum loses digits.  So: sort by word, then let each row add what stands 1, 2, 4, … places before it while
    that is the same word; the last row of each word then holds its sum.  The order of the additions is
    fixed, and the result the same on every backend, GPUs included.
    """
    count = rows.shape[0]
    if count == 0:
        return xp.zeros((size, rows.shape[1]), dtype=rows.dtype, device=device_of(rows))
    order = xp.argsort(words)
    words, rows = xp.take(words, order), xp.take(rows, order, axis=0)
    step = 1
    while step < count:
        same = words[step:] == words[:-step]
        if xp is host and not xp.any(same):  # reading is free here: no word comes more often than this
            break
        before = xp.where(same[:, None], rows[:-step, :], 0.0)
        rows = xp.concat([rows[:step, :], rows[step:, :] + before])
        step *= 2
    every = xp.arange(size, dtype=words.dtype, device=device_of(words))
    last = xp.searchsorted(words, every, side="right") - 1
    last = xp.maximum(as_index(xp, last), 0)
    return xp.where((xp.take(words, last) == every)[:, None], xp.take(rows, last, axis=0), 0.0)
