"""Data on its way to the model: brought to its device, and cut into mini-batches in a seeded order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from martlet.backend import (
    Array,
    backend_of,
    describe,
    dtype_name,
    host,
    is_array,
    is_floating,
    kind,
    namespace,
    to_numpy,
)
from martlet.checks import check_array, check_count
from martlet.layer import Layer
from martlet.layers.losses import Loss
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
    count = check_samples("batches", x=x, t=t, weight=weight)
    check_count("batches", "batch_size", batch_size)
    if last not in ("keep", "drop"):
        raise ValueError(f'batches: last must be "keep" or "drop", got {last!r}')
    if rng is not None and not hasattr(rng, "permutation"):
        raise TypeError(
            f"batches: rng must be a NumPy Generator, such as np.random.default_rng(0), got {describe(rng)}"
        )
    arrays = (x, t) if weight is None else (x, t, weight)
    order = None if rng is None else backend_of(x).asarray(rng.permutation(count))
    return _cut(arrays, order, count, batch_size, last)


def _cut(
    arrays: tuple[Array, ...], order: Array | None, count: int, size: int, last: str
) -> Iterator[tuple[Array, ...]]:
    stop = count - count % size if last == "drop" else count
    for start in range(0, stop, size):
        rows = slice(start, min(start + size, stop))
        if order is None:
            yield tuple(a[rows, ...] for a in arrays)
        else:
            yield tuple(namespace(a).take(a, order[rows], axis=0) for a in arrays)


def check_samples(owner: str, **arrays: Array | None) -> int:
    """The number of samples, which all of the given arrays must share; an empty set is an error."""
    counts = {}
    for name, array in arrays.items():
        if array is not None:
            check_array(owner, name, array)
            if len(array.shape) == 0:
                raise ValueError(f"{owner}: {name} is a single number, expected one row per sample")
            counts[name] = array.shape[0]
    if len(set(counts.values())) > 1:
        listing = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise ValueError(f"{owner}: the numbers of samples differ: {listing}")
    count = next(iter(counts.values()))
    if count == 0:
        raise ValueError(f"{owner}: there are no samples")
    return int(count)


def place_data(model: Layer, loss: Loss | None, x: Any, t: Any, weight: Any) -> tuple[Any, Array, Array | None]:
    """Data where the model is and in its dtype.  Labels stay integers, of the type that indexes there."""
    x, t = _check_data("x", x), _check_data("t", t)
    arrays = leaves(model)
    home = backend_of(arrays[0] if arrays else x)
    widths = [dtype_name(a.dtype) for a in arrays if is_floating(a)]
    width = widths[0] if widths else None
    x = home.asarray(x, width)
    if kind(t.dtype) == "integer" and len(t.shape) == 1 and (loss is None or loss.takes_labels):
        t = home.asarray(t)
        t = t if t.dtype == home.index_dtype else namespace(t).astype(t, home.index_dtype)
    else:
        t = home.asarray(t, width)
    if weight is not None:
        weight = home.asarray(_check_data("weight", weight), width)
        numbers = to_numpy(weight)
        if not (host.all(host.isfinite(numbers)) and host.all(numbers >= 0) and host.any(numbers > 0)):
            raise ValueError("weight must be finite and at least 0, and not 0 for every sample")
    return x, t, weight


def _check_data(name: str, value: Any) -> Any:
    if not is_array(value):
        raise TypeError(f"{name} must be an array, got {describe(value)}; for a list: np.asarray(...)")
    if kind(value.dtype) == "other" and dtype_name(value.dtype) != "bool":
        raise TypeError(f"{name} must hold numbers, got {describe(value)}")
    return value
