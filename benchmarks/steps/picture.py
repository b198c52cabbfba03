"""How the time of a step grows, drawn: both axes logarithmic, and curves that can be told apart without colours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steps.growth import curves
from steps.page import peer_name

# colour, from dark to light; dashes; marker; width
LOOKS: dict[str, tuple[str, Any, str, float]] = {
    "compiled-numpy": ("#000000", "solid", "o", 2.4),
    "eager-numpy": ("#000000", (0, (1, 1.2)), "o", 1.6),
    "jax-scan": ("#0b5394", (0, (6, 2)), "s", 1.6),
    "torch": ("#c0561a", (0, (3, 1.5, 1, 1.5)), "^", 1.6),
    "plain": ("#7f9f3f", "solid", "D", 1.6),
}
LABELS = {
    "batch": ("samples in a batch", "2-128-128-3 tanh, SGD, float32"),
    "width": ("width of the two hidden layers", "784-w-w-10 ReLU, batch 256, Momentum, float32"),
}


def draw(growth: Mapping[str, Any], folder: Path) -> list[Path]:
    """A picture for each thing that grows: steps-batch.png and steps-width.png."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for what, points in growth.items():
        figure, axes = plt.subplots(figsize=(7.5, 5.0), layout="constrained")
        for peer, curve in curves(points).items():
            color, dashes, marker, width = LOOKS[peer]
            style = {"color": color, "linestyle": dashes, "marker": marker, "linewidth": width, "markersize": 6}
            axes.plot(*zip(*curve, strict=True), label=peer_name(peer), markerfacecolor="white", **style)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(sizes := [point["size"] for point in points], [f"{size:,}" for size in sizes])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: readable(value)))
        axes.yaxis.set_minor_formatter(NullFormatter())
        label, title = LABELS[what]
        axes.set(xlabel=label, ylabel="time of a step, minimum", title=title)
        axes.grid(True, which="major", color="#dddddd", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        drawn.append(folder / f"steps-{what}.png")
        figure.savefig(drawn[-1], dpi=150)
        plt.close(figure)
    return drawn


def readable(seconds: float) -> str:
    """A power of ten: 10 µs, 1 ms, 1 s."""
    factor, unit = (1e6, "µs") if seconds < 0.9e-3 else (1e3, "ms") if seconds < 0.9 else (1, "s")
    return f"{seconds * factor:g} {unit}"
