"""Dropout: a layer that makes the network forget, so that it cannot rely on any one number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

from martlet.backend import Array, Backend, as_backend, describe, dtype_name, host, namespace, to_numpy
from martlet.checks import (
    check_array,
    check_floating,
    check_generator,
    check_number,
    check_place,
    check_same,
    owner_name,
)
from martlet.layer import Layer
from martlet.noise import chance
from martlet.tree import kept, remake, subtrees

if TYPE_CHECKING:
    import numpy as np


class Dropout(Layer):
    """y = x · m,  dx = dout · m,  where m is 0 with probability ``rate`` and else 1 / (1 - rate)

    ``predict`` lets everything through: on average the mask is 1.  The mask is a function of the two
    counters, the same on every backend; ``observe`` moves the step on, and thus draws the next one.
    Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014.
    """

    stream: Array = kept()  # (2,) int32: which noise
    step: Array = kept()  # (1,) int32: how many masks have been drawn from it
    rate: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "rate", self.rate, 0.0, 1.0, open_high=True)

    def forward(self, x):
        check_floating(self, "x", x)
        self.check_counters()
        check_place(self, "stream", self.stream, "x", x)
        check_place(self, "step", self.step, "x", x)
        dropped = chance(self.stream, self.step, x.shape, self.rate)
        mask = namespace(x).astype(~dropped, x.dtype) * (1.0 / (1.0 - self.rate))
        return x * mask, mask

    def backward(self, cache, dout):
        mask = cache
        check_same(self, "dout", dout, "the output", mask)
        return dout * mask, None

    def check_counters(self) -> None:
        """The counters are what ``init`` makes: other integers would be other noise, or none."""
        for name, shape in (("stream", (2,)), ("step", (1,))):
            counter = getattr(self, name)
            check_array(self, name, counter)
            if counter.shape != shape or dtype_name(counter.dtype) != "int32":
                raise ValueError(
                    f"{owner_name(self)}: {name} must be an int32 array of shape {shape}, as Dropout.init(rate, rng) "
                    f"makes it, got {describe(counter)}"
                )

    def predict(self, x):
        check_floating(self, "x", x)
        return x

    def observe(self, cache):
        return remake(self, {"step": self.step + 1})

    @classmethod
    def init(cls, rate: float, rng: np.random.Generator, *, backend: str | Backend | None = None) -> Self:
        """Draw a stream of its own, one of 2⁶⁴, from the generator that draws the weights."""
        check_generator(f"{cls.__name__}.init", rng, "bytes")
        words = host.asarray(list(rng.bytes(8)), dtype=host.uint8).view(host.int32)
        target = as_backend(backend)
        return cls(target.asarray(words), target.asarray(host.zeros(1, dtype=host.int32)), rate)


def check_streams(owner: str, model: Layer) -> None:
    """No two Dropout layers of a model draw the same noise: equal masks are not independent ones."""
    seen: dict[bytes, str] = {}
    for name, layer in dropouts(model):
        layer.check_counters()
        stream = to_numpy(layer.stream).tobytes()
        if stream in seen:
            raise ValueError(
                f"{owner}: the Dropout layers {seen[stream]} and {name} share a stream, and would always drop the same "
                "places; make each with Dropout.init(rate, rng), all from one generator"
            )
        seen[stream] = name


def dropouts(tree: Any, name: str = "model") -> Iterator[tuple[str, Dropout]]:
    """The name and the layer of every Dropout in a tree."""
    if isinstance(tree, Dropout):
        yield name, tree
    for child_name, child in subtrees(tree):
        yield from dropouts(child, child_name if name == "model" else f"{name}.{child_name}")
