"""Data to learn from: drawn on the host in float64, then moved and cast, so it is the same everywhere."""

from __future__ import annotations

import numpy as np

from martlet.backend import Array, Backend, as_backend
from martlet.checks import check_count, check_generator, check_number


def spiral(
    points: int = 100,
    classes: int = 3,
    *,
    noise: float = 0.2,
    rng: np.random.Generator | np.random.RandomState | None = None,
    backend: str | Backend | None = None,
    dtype: str | None = None,
) -> tuple[Array, Array]:
    """Arms of a spiral that no straight line can tell apart: x (points · classes, 2) and labels t.

    Point i of arm j has radius i / points and angle 4 j + 4 i / points + noise · normal, in radians.
    ``rng`` draws the normals; without it, NumPy's legacy stream with seed 1984, which with the default
    sizes gives the spiral of the book "Deep Learning from Scratch 2" (Saito, 2018) bit for bit.
    """
    check_count("spiral", "points", points)
    check_count("spiral", "classes", classes)
    check_number("spiral", "noise", noise, 0.0)
    if rng is None:
        rng = np.random.RandomState(1984)
    check_generator("spiral", rng)
    radius = np.arange(points) / points
    start = 4.0 * np.arange(classes)[:, None]
    theta = start + 4.0 * radius + rng.standard_normal((classes, points)) * noise
    x = np.stack([radius * np.sin(theta), radius * np.cos(theta)], axis=-1).reshape(-1, 2)
    return _place(x, np.repeat(np.arange(classes), points), backend, dtype)


def xor(*, backend: str | Backend | None = None, dtype: str | None = None) -> tuple[Array, Array]:
    """The four rows of exclusive or: x (4, 2), and t (4, 1), which is 1 where the two inputs differ."""
    x = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    return _place(x, np.array([[0.0], [1.0], [1.0], [0.0]]), backend, dtype)


def _place(x: np.ndarray, t: np.ndarray, backend: str | Backend | None, dtype: str | None) -> tuple[Array, Array]:
    target = as_backend(backend, dtype)
    width = target.dtype or "float32"
    return target.asarray(x, width), target.asarray(t, width if t.dtype.kind == "f" else None)
