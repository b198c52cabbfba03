"""Data on its way to the model: brought to its device, and cut into mini-batches in a seeded order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from martlet.backend import (
    Array,
    Backend,
    backend_of,
    describe,
    dtype_name,
    host,
    is_floating,
    kind,
    namespace,
    to_numpy,
)
from martlet.checks import check_array, check_count, check_generator, check_place, complain_shape
from martlet.layer import Layer
from martlet.loss import Loss
from martlet.tree import leaves

if TYPE_CHECKING:
    import numpy as np


def batches(
    x: Array,
    t: Array,
    batch_size: int,
    *,
    rng: np.random.Generator | None = None,
    weight: Array | None = None,
    last: str = "keep",
) -> Iterator[tuple[Array, ...]]:
    """One epoch of mini-batches: (x, t), or (x, t, weight) where weights are given.

    ``rng`` shuffles: its ``permutation`` of the samples, drawn on the host, is the order on every
    backend.  Without it, the order is that of the data.  Where the number of samples is no multiple of
    ``batch_size``, the last batch is short (``last="keep"``; a mean loss is then the mean over fewer
    samples) or left out (``last="drop"``).
    """
    check_samples("batches", x=x, t=t, weight=weight)
    check_batches("batches", batch_size, last)
    check_place("batches", "t", t, "x", x)
    if weight is not None:
        check_place("batches", "weight", weight, "x", x)
    if rng is not None:
        check_generator("batches", rng, "permutation")
    arrays = (x, t) if weight is None else (x, t, weight)
    order = draw_order(x, rng)
    return cut(arrays, None if order is None else backend_of(x).asarray(order), batch_size, last)


def draw_order(x: Array, rng: np.random.Generator | None) -> np.ndarray | None:
    """An order of the samples, drawn on the host; None is the order they have."""
    return None if rng is None else rng.permutation(x.shape[0])


def cut(
    arrays: tuple[Array, ...], order: Array | None, size: int, last: str, first: int = 0, end: int | None = None
) -> Iterator[tuple[Array, ...]]:
    """The mini-batches of one epoch in the given order, from number ``first`` on and, if given, before ``end``."""
    count = arrays[0].shape[0]
    stop = count - count % size if last == "drop" else count
    for start in range(first * size, stop if end is None else min(stop, end * size), size):
        rows = slice(start, min(start + size, stop))
        if order is None:
            yield tuple(a[rows, ...] for a in arrays)
        else:
            yield tuple(namespace(a).take(a, order[rows], axis=0) for a in arrays)


def check_batches(owner: str, batch_size: Any, last: Any) -> None:
    """How data is to be cut: a size of at least 1, and what becomes of a short last batch."""
    check_count(owner, "batch_size", batch_size)
    if not (isinstance(last, str) and last in ("keep", "drop")):
        raise ValueError(f'{owner}: last must be "keep" or "drop", got {describe(last)}')


def check_samples(owner: str, **arrays: Any) -> int:
    """The number of samples, which all of the given arrays of numbers must share; an empty set is an error."""
    counts = {}
    for name, array in arrays.items():
        if array is None and name == "weight":
            continue
        check_array(owner, name, array)
        if len(array.shape) == 0:
            raise ValueError(f"{owner}: {name} is a single number, expected one row per sample")
        counts[name] = int(array.shape[0])
    if len(set(counts.values())) > 1:
        listing = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise ValueError(f"{owner}: the numbers of samples differ: {listing}")
    count = next(iter(counts.values()))
    if count == 0:
        raise ValueError(f"{owner}: there are no samples")
    weight = arrays.get("weight")
    if weight is not None and len(weight.shape) != 1:
        complain_shape(owner, "weight", weight, f"({count},)", "one number per sample")
    return count


def place_data(
    owner: str, model: Layer, loss: Loss | None, x: Any, t: Any, weight: Any = None
) -> tuple[Any, Array, Array | None]:
    """Data where the model is and in its dtype.  Labels and words stay integers, of the type that indexes there."""
    check_samples(owner, x=x, t=t, weight=weight)
    arrays = leaves(model)
    home = backend_of(arrays[0] if arrays else x)
    width = width_of(model)
    with home.active():
        if model.vocabulary is None:
            x = _place(owner, "x", x, home, width)
        else:
            x = _place_integers(owner, "x", x, home)
            _check_words(owner, x, model.vocabulary)
        if (loss is None or loss.takes_labels) and _look_like_labels(t):
            t = _place_integers(owner, "t", t, home)
        else:
            t = _place(owner, "t", t, home, width)
        if weight is not None:
            weight = _place(owner, "weight", weight, home, width)
            numbers = to_numpy(weight)
            if not (host.all(host.isfinite(numbers)) and host.all(numbers >= 0) and host.any(numbers > 0)):
                raise ValueError(f"{owner}: weight must be finite and at least 0, and not 0 for every sample")
    return x, t, weight


def _look_like_labels(t: Array) -> bool:
    """Integers or booleans, one per sample; also a column of them, and the loss then says how to write it."""
    return tuple(t.shape[1:]) in ((), (1,)) and not is_floating(t)


def width_of(model: Layer) -> str | None:
    """The float width that a model computes in: that of its first array of floats."""
    return next((dtype_name(a.dtype) for a in leaves(model) if is_floating(a)), None)


def _check_words(owner: str, x: Array, vocabulary: int) -> None:
    """Read x on the host, once, so that no step has to wait for its device to find a word out of range."""
    if kind(x.dtype) != "integer":
        raise TypeError(f"{owner}: x must hold integers, for the model begins with an Embedding, got {describe(x)}")
    numbers = to_numpy(x)
    if numbers.size and (numbers.min() < 0 or numbers.max() >= vocabulary):
        raise ValueError(
            f"{owner}: x holds {numbers.min()} to {numbers.max()}, but the model knows {vocabulary} words: "
            f"0 … {vocabulary - 1}"
        )


def _place_integers(owner: str, name: str, x: Array, home: Backend) -> Array:
    if dtype_name(x.dtype) == "uint64" and to_numpy(x).max(initial=0) >= 2**63:
        raise ValueError(f"{owner}: {name} holds integers of 2⁶³ and more")
    x = _place(owner, name, x, home, None)
    return namespace(x).astype(x, home.index_dtype) if kind(x.dtype) == "integer" else x


def _place(owner: str, name: str, x: Array, home: Backend, width: str | None) -> Array:
    try:
        return home.asarray(x, width)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{owner}: {name}: {error}") from None
