"""Data to learn from: drawn on the host in float64, then moved and cast, so it is the same everywhere."""

from __future__ import annotations

from typing import NamedTuple

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


class Split(NamedTuple):
    """Data in three parts, each a pair (x, t): to learn from, to choose by, and to judge by, once."""

    train: tuple[Array, Array]
    validation: tuple[Array, Array]
    test: tuple[Array, Array]


def breast_cancer(*, backend: str | Backend | None = None, dtype: str | None = None) -> Split:
    """The Wisconsin tumours in three parts: x (N, 30), and t (N, 1), which is 1 where benign; N = 364, 91, 114.

    Two stratified splits, 80 to 20, with ``random_state=42``: first the test part is taken away, then the
    validation part.  Each column is standardized by its mean and population standard deviation in the
    training part, for those of the others are not to be known.  For SigmoidWithLoss.  The data comes with
    scikit-learn, which must be installed: Street, Wolberg and Mangasarian, "Nuclear feature extraction for
    breast tumor diagnosis", 1993.
    """
    try:
        from sklearn.datasets import load_breast_cancer
        from sklearn.model_selection import train_test_split
    except ImportError:
        raise ImportError(
            'martlet.datasets.breast_cancer needs scikit-learn: pip install "martlet[examples]"'
        ) from None
    x, t = load_breast_cancer(return_X_y=True)
    x, x_test, t, t_test = train_test_split(x, t, test_size=0.2, stratify=t, random_state=42)
    x, x_validation, t, t_validation = train_test_split(x, t, test_size=0.2, stratify=t, random_state=42)
    mean, scale = x.mean(axis=0), x.std(axis=0)
    parts = (x, t), (x_validation, t_validation), (x_test, t_test)
    return Split(*(_place((x - mean) / scale, t[:, None].astype("float64"), backend, dtype) for x, t in parts))


def _place(x: np.ndarray, t: np.ndarray, backend: str | Backend | None, dtype: str | None) -> tuple[Array, Array]:
    target = as_backend(backend, dtype)
    width = target.dtype or "float32"
    return target.asarray(x, width), target.asarray(t, width if t.dtype.kind == "f" else None)
