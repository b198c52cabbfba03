"""Networks from layers: one after another, side by side, or held still."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from martlet.backend import describe
from martlet.checks import check_switch
from martlet.layer import Layer, observed
from martlet.layers.nodes import check_tuple
from martlet.tree import remake


def check_layers(owner: Layer, layers: tuple[Any, ...]) -> None:
    if not isinstance(layers, tuple):
        raise TypeError(f"{type(owner).__name__}: layers must be a tuple, got {describe(layers)}")
    for i, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            made = isinstance(layer, type) and issubclass(layer, Layer)
            hint = f"; write {layer.__name__}(...)" if made else ""
            raise TypeError(f"{type(owner).__name__}: layer {i} must be a Layer, got {describe(layer)}{hint}")


def observe_all(owner: Any, caches: tuple[Any, ...]) -> Any:
    """The owner with each of its layers having seen its own cache; itself where none of them moved."""
    after = None
    for i, (layer, cache) in enumerate(zip(owner.layers, caches, strict=True)):
        new = observed(layer, cache)
        if new is not layer:
            after = after or list(owner.layers)
            after[i] = new
    return owner if after is None else remake(owner, {"layers": tuple(after)})


class Sequential(Layer):
    """y = f_n(… f_2(f_1(x)));  the gradient flows back through the layers in the opposite order.

    ``model[0]`` is a layer, ``model[1:]`` a Sequential; ``len`` and iteration are those of the layers.
    """

    layers: tuple[Layer, ...]

    def __init__(self, *layers: Layer) -> None:
        check_layers(self, layers)
        self.__dict__["layers"] = layers

    def __post_init__(self) -> None:  # when a file is loaded, which goes by no __init__
        check_layers(self, self.layers)
        super().__post_init__()

    def forward(self, x):
        caches = []
        for layer in self.layers:
            x, cache = layer.forward(x)
            caches.append(cache)
        return x, tuple(caches)

    def backward(self, cache, dout):
        grads: list[Any] = [None] * len(self.layers)
        for i in range(len(self.layers) - 1, -1, -1):
            dout, grads[i] = self.layers[i].backward(cache[i], dout)
        return dout, self.gradient(layers=tuple(grads))

    def predict(self, x):
        for layer in self.layers:
            x = layer.predict(x)
        return x

    def observe(self, cache):
        return observe_all(self, cache)

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __getitem__(self, index: int | slice) -> Any:
        picked = self.layers[index]
        return remake(self, {"layers": picked}) if isinstance(index, slice) else picked


class Parallel(Layer):
    """(y_1, …, y_n) = (f_1(x_1), …, f_n(x_n)): one layer for each part of a tuple.

    A residual block is Sequential(Branch(2), Parallel(f, Identity()), Add()).
    """

    layers: tuple[Layer, ...]

    def __init__(self, *layers: Layer) -> None:
        check_layers(self, layers)
        self.__dict__["layers"] = layers

    def __post_init__(self) -> None:  # when a file is loaded, which goes by no __init__
        check_layers(self, self.layers)
        super().__post_init__()

    def forward(self, x):
        check_tuple(self, "x", x, len(self.layers))
        pairs = [layer.forward(part) for layer, part in zip(self.layers, x, strict=True)]
        return tuple(y for y, _ in pairs), tuple(cache for _, cache in pairs)

    def backward(self, cache, dout):
        check_tuple(self, "dout", dout, len(self.layers))
        check_tuple(self, "cache", cache, len(self.layers))
        pairs = [layer.backward(*row) for layer, *row in zip(self.layers, cache, dout, strict=True)]
        return tuple(dx for dx, _ in pairs), self.gradient(layers=tuple(grad for _, grad in pairs))

    def predict(self, x):
        check_tuple(self, "x", x, len(self.layers))
        return tuple(layer.predict(part) for layer, part in zip(self.layers, x, strict=True))

    def observe(self, cache):
        return observe_all(self, cache)


class Freeze(Layer):
    """The inner layer, held still: the same forward and the same dx, but nothing in it is learned.

    What the layer observes still moves on (a frozen Dropout draws new masks); ``statistics=True``
    holds that still too.
    """

    layer: Layer
    statistics: bool = False

    _learns = False  # so an optimizer keeps no memory for what is never updated

    def __post_init__(self) -> None:
        check_layers(self, (self.layer,))
        super().__post_init__()
        check_switch(self, "statistics", self.statistics)

    def forward(self, x):
        return self.layer.forward(x)

    def backward(self, cache, dout):
        return self.layer.backward(cache, dout)[0], None

    def predict(self, x):
        return self.layer.predict(x)

    def observe(self, cache):
        return self if self.statistics else remake(self, {"layer": observed(self.layer, cache)})
