"""No step can go without its matrix products: forward, dW of every layer, and dx of every layer but the first.

Nothing else is done, and no rows are taken: all of them write into arrays that are there.  The faster of two ways
counts: the whole batch, and chunks of it that stay in the cache, on two threads with BLAS at one.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from gpu.worker import Missing

from steps.peer import Peer
from steps.workloads import Workload

CHUNK, THREADS = 2048, 2


class Products:
    """The arrays of a number of rows, and the products between them."""

    def __init__(self, weights: list[np.ndarray], x: np.ndarray) -> None:
        self.weights = weights
        self.outputs = [np.zeros((len(x), W.shape[1]), dtype=x.dtype) for W in weights]
        self.grads = [np.zeros_like(W) for W in weights]
        self.inputs = [x, *self.outputs[:-1]]
        self.input_grads = [np.zeros_like(h) for h in self.inputs]

    def forward_and_backward(self, x: np.ndarray) -> None:
        dot, inputs = np.dot, [x, *self.inputs[1:]]
        for h, W, y in zip(inputs, self.weights, self.outputs, strict=True):
            dot(h, W, y)
        for i in range(len(inputs) - 1, -1, -1):
            dout = self.outputs[i]  # of the shape that its gradient has
            dot(inputs[i].T, dout, self.grads[i])
            if i:
                dot(dout, self.weights[i].T, self.input_grads[i])


class Whole(Peer):
    def losses(self) -> list[float]:
        return []

    def begin(self, order: np.ndarray) -> None:
        """In the order that the rows have."""

    def build(self) -> None:
        self.products = Products(self.work.draw()[0], self.x[: self.work.batch])

    def run(self, first: int, stop: int) -> list[Any]:
        for _ in range(first, stop):
            self.products.forward_and_backward(self.x[: self.work.batch])
        return []

    def start(self) -> None:
        """Nothing is drawn either."""


class Chunks(Whole):
    def __init__(self, work: Workload) -> None:
        super().__init__(work)
        if work.batch < THREADS * CHUNK:
            raise Missing(f"batches under {THREADS * CHUNK:,} rows are not cut into chunks")

    def build(self) -> None:
        try:
            from threadpoolctl import threadpool_limits
        except ImportError as error:
            raise Missing(str(error)) from None
        self.limits = threadpool_limits(1, user_api="blas")
        self.pool = ThreadPoolExecutor(THREADS)
        self.starts = range(0, self.work.batch, CHUNK)
        if self.work.batch % CHUNK:
            raise ValueError(f"{self.work.batch:,} rows do not come in chunks of {CHUNK:,}")
        self.products = [Products(self.work.draw()[0], self.x[:CHUNK]) for _ in range(THREADS)]

    def run(self, first: int, stop: int) -> list[Any]:
        for _ in range(first, stop):
            list(self.pool.map(self.share, range(THREADS)))
        return []

    def share(self, thread: int) -> None:
        for start in self.starts[thread::THREADS]:
            self.products[thread].forward_and_backward(self.x[start : start + CHUNK])
