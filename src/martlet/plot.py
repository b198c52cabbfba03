"""Pictures of training: the loss curve, and what a classifier has decided about the plane.

They draw into a matplotlib Axes and return it; nothing is shown or saved.  Lines differ in dash as well as
colour and classes in marker as well as colour, so the pictures can be read in greyscale and by the
colour-blind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from martlet.backend import Array, as_backend, backend_of, describe, is_array, to_numpy
from martlet.batches import width_of
from martlet.checks import check_array, check_count, complain_shape
from martlet.evaluation import boundary_of, outputs
from martlet.layer import Layer
from martlet.tree import leaves

# Okabe and Ito's palette, in the order of its greys, and a marker and a dash for each.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
MARKERS = ("o", "^", "s", "D", "v", "P", "X", "*")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))


def _axes(ax: Any) -> Any:
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise ImportError('martlet.plot needs matplotlib: pip install "martlet[plot]"') from None
    return plt.subplots(layout="constrained")[1] if ax is None else ax


def loss_curve(history: Any, *, ax: Any = None, log: bool = False) -> Any:
    """The loss after each epoch, and the validation loss where there is one.

    history: what ``fit`` gave back, a list of losses, or a mapping of names to either, to compare runs.
    ``log``: a logarithmic axis.  Returns the Axes.
    """
    runs = history if isinstance(history, Mapping) else {"training loss": history}
    curves = {}
    for name, run in runs.items():
        curves[str(name)] = _losses(name, getattr(run, "loss", run))
        if getattr(run, "validation_loss", None):
            label = "validation loss" if run is history else f"{name}, validation"
            curves[label] = _losses(label, run.validation_loss)
    if not curves:
        raise ValueError("loss_curve: history is empty, so there is no loss to draw")
    ax = _axes(ax)
    for i, (name, curve) in enumerate(curves.items()):
        epochs = np.arange(1, len(curve) + 1)
        style = {"color": COLOURS[i % len(COLOURS)], "linestyle": DASHES[i % len(DASHES)]}
        ax.plot(epochs, curve, label=name, marker="o" if len(curve) == 1 else None, **style)
    ax.set_xlabel("epoch")
    ax.set_ylabel("loss")
    if log:
        ax.set_yscale("log")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    return ax


def _losses(name: object, curve: Any) -> np.ndarray:
    try:
        numbers = to_numpy(curve) if is_array(curve) else np.asarray(curve)
    except (TypeError, ValueError):  # rows of several lengths
        numbers = np.empty(0)
    if numbers.ndim != 1 or numbers.size == 0 or numbers.dtype.kind not in "iuf":
        raise ValueError(f"loss_curve: {name} must be a list with one loss per epoch, got {describe(curve)}")
    return numbers


def decision_boundary(model: Layer, x: Array, t: Array, *, ax: Any = None, resolution: int = 300) -> Any:
    """The plane, shaded by the class that the model finds in each point, with the samples on top.

    x: (N, 2); t: labels (N,), or rows (N, C), or (N, 1) with 0 and 1.  Samples that the model gets wrong
    are ringed.  ``resolution``: points of the grid per axis.  Returns the Axes.
    """
    if not isinstance(model, Layer):
        raise TypeError(f"decision_boundary: model must be a martlet Layer, got {describe(model)}")
    check_count("decision_boundary", "resolution", resolution, 2)
    points = _numbers("x", x)
    if points.ndim != 2 or points.shape[1] != 2:
        complain_shape("decision_boundary", "x", points, "(N, 2)", "one point of the plane per row")
    labels = _labels(_numbers("t", t))
    if labels.shape != points.shape[:1]:
        complain_shape("decision_boundary", "t", labels, points.shape[:1], "one label per sample")
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.08 * np.max(high - low) or 1.0
    grid = [np.linspace(a, b, resolution) for a, b in zip(low - margin, high + margin, strict=True)]
    plane = np.stack(np.meshgrid(*grid), axis=-1)
    decided = _decide(model, plane.reshape(-1, 2)).reshape(resolution, resolution)
    wrong = _decide(model, points) != labels

    ax = _axes(ax)
    from matplotlib.colors import ListedColormap

    classes = int(max(labels.max(), decided.max())) + 1
    colours = [COLOURS[c % len(COLOURS)] for c in range(classes)]
    ax.pcolormesh(
        *grid,
        decided,
        cmap=ListedColormap(colours),
        vmin=-0.5,
        vmax=classes - 0.5,
        alpha=0.25,
        shading="auto",
        rasterized=True,
    )
    for c in range(classes):  # class by class: contours of the index would cross the classes in between
        if (decided == c).any() and (decided != c).any():
            ax.contour(*grid, decided == c, levels=[0.5], colors="black", linewidths=0.7)
    size = float(np.clip(6000.0 / len(points), 1.0, 28.0))
    for c in range(classes):
        rows = points[labels == c]
        ax.scatter(
            *rows.T,
            s=size,
            marker=MARKERS[c % len(MARKERS)],
            color=colours[c],
            edgecolor="black",
            linewidth=0.4,
            label=f"class {c}",
        )
    if wrong.any():
        ax.scatter(*points[wrong].T, s=4 * size, facecolor="none", edgecolor="black", linewidth=1.1, label="wrong")
    ax.set_xlabel("$x_1$")
    ax.set_ylabel("$x_2$")
    ax.set_aspect("equal")
    ax.locator_params(nbins=5)  # more numbers would touch in a small picture
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return ax


def _numbers(name: str, x: Array) -> np.ndarray:
    check_array("decision_boundary", name, x)
    numbers = as_backend("numpy").asarray(x, "float64")
    if numbers.size == 0:
        raise ValueError(f"decision_boundary: there are no samples in {name}")
    if not np.isfinite(numbers).all():
        wanted = "labels or probabilities" if name == "t" else "numbers"
        raise ValueError(f"decision_boundary: {name} holds NaN or infinity, expected finite {wanted}")
    return numbers


def _labels(t: np.ndarray) -> np.ndarray:
    if t.ndim == 2:
        return np.argmax(t, axis=1) if t.shape[1] > 1 else (t[:, 0] > 0.5).astype(int)
    if t.min() < 0 or (t % 1 != 0).any():
        found = f"numbers from {t.min():g} to {t.max():g}"
        raise ValueError(f"decision_boundary: t must hold labels, which are 0, 1, 2 …, got {found}")
    return t.astype(int)


def _decide(model: Layer, points: np.ndarray) -> np.ndarray:
    """The class of each point, computed where the model is, in its dtype."""
    arrays = leaves(model)
    home = backend_of(arrays[0] if arrays else points)
    with home.active():
        y = to_numpy(outputs(model, home.asarray(points, width_of(model))))
    return np.argmax(y, axis=1) if y.ndim == 2 and y.shape[1] > 1 else (y.reshape(-1) > boundary_of(model)).astype(int)
