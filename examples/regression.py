"""A curve through measurements: seconds go in, pascals come out, and neither is a good size for a network.

A valve shuts, and the pressure in the pipe swings between 330 000 and 520 000 Pa within 0.4 s.  Weights
begin near 1 and move by about lr in each of Adam's steps: 2000 steps of 0.02 are 40, and never 400 000.

    front = mt.Standardize.from_data(x)                 seconds to numbers of size 1
    units = mt.Standardize.from_data(t)                 pascals to numbers of size 1
    model, history = mt.fit(mt.Sequential(front, ...), x, units.predict(t), ...)
    shipped = mt.Sequential(*model, units.inverse())    takes seconds, gives pascals

The last layer joins after the training.  Were it there before, the loss would be in Pa², a thousand million
times as large, and so would the gradient.  Adam would not mind, but the lr of SGD, the limit of ClipByNorm
and the delta of Huber would depend on the unit.  As it is, they see numbers near 1, and whoever is given
the model still speaks in units.

    python examples/regression.py
    python examples/regression.py --backend torch
    python examples/regression.py --plot regression.png     data, fit and residuals (needs matplotlib)
"""

import argparse
import math

import numpy as np

import martlet as mt

REST, SWING, PERIOD, DAMPING = 4.0e5, 1.2e5, 0.16, 0.15  # Pa, Pa, s, s
NOISE = 5e3  # Pa, the standard deviation of a reading
LAST = 0.4  # s


def pressure(seconds):
    """What the gauge would show without noise."""
    return REST + SWING * np.exp(-seconds / DAMPING) * np.cos(2.0 * np.pi * seconds / PERIOD)


def measure(count, backend, rng):
    """Readings at random times, one per row: seconds x and pascals t, as arrays of the backend."""
    seconds = rng.uniform(0.0, LAST, (count, 1))
    readings = pressure(seconds) + NOISE * rng.standard_normal((count, 1))
    return backend.asarray(seconds, "float32"), backend.asarray(readings, "float32")


def experiment(backend, seed=0):
    """Three measurements: one to learn from, one that says when to stop, and one that is held out."""
    rng = np.random.default_rng(seed)
    return [measure(count, backend, rng) for count in (300, 100, 200)]


def train(taught, validation, epochs=200, seed=0):
    """The model that takes seconds and gives pascals, and the history of its training.

    taught, validation: pairs (x, t) on any backend, and the model is then there too.
    """
    (x, t), (x_validation, t_validation) = taught, validation
    front, units = mt.Standardize.from_data(x), mt.Standardize.from_data(t)  # nothing leaks in from the other data
    rng, backend, batch_size = np.random.default_rng(seed), mt.backend_of(x), 50
    sizes = (1, 32), (32, 32), (32, 1)
    first, second, last = (mt.Affine.init(*size, rng, backend=backend) for size in sizes)
    steps = epochs * math.ceil(x.shape[0] / batch_size)
    model, history = mt.fit(
        mt.Sequential(front, first, mt.Tanh(), second, mt.Tanh(), last),
        x,
        units.predict(t),
        loss=mt.MeanSquaredError(),
        optimizer=mt.Adam(lr=0.02, schedule=mt.schedules.Cosine(steps=steps, warmup=50)),
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        validation=(x_validation, units.predict(t_validation)),
        metrics=["r2"],  # a share, so it is the same in either unit
        stop=mt.EarlyStopping(patience=30),
    )
    return mt.Sequential(*model, units.inverse()), history


def picture(file, shipped, x, t):
    """Save the readings with the curve, and below them what the curve leaves over."""
    from matplotlib.figure import Figure  # here, so that nobody needs matplotlib who wants no picture

    figure = Figure(figsize=(8, 5.6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.3))
    grid = np.linspace(0.0, LAST, 400)
    curve = mt.to_numpy(shipped.predict(mt.backend_of(x).asarray(grid[:, None], "float32")))
    seconds, readings, left = (mt.to_numpy(a)[:, 0] for a in (x, t, t - shipped.predict(x)))

    dots = {"linestyle": "none", "marker": "o", "markersize": 4, "markeredgewidth": 0.4, "markeredgecolor": "black"}
    blue, orange = mt.plot.COLOURS[:2]
    top.plot(seconds, readings / 1e3, color=orange, label=f"{len(readings)} held-out readings", **dots)
    top.plot(grid, curve / 1e3, color=blue, linewidth=2.2, label="network")
    top.plot(grid, pressure(grid) / 1e3, color="black", linewidth=1.2, dashes=(4, 3), label="without noise")
    top.set_ylabel("pressure (kPa)")
    top.legend(frameon=False)
    bottom.axhspan(-2e-3 * NOISE, 2e-3 * NOISE, color="0.88", label="± 2 standard deviations of the noise")
    bottom.axhline(0.0, color="black", linewidth=0.8)
    bottom.plot(seconds, left / 1e3, color=orange, **dots)
    bottom.set_ylabel("residual (kPa)")
    bottom.set_xlabel("time since the valve shut (s)")
    farthest = 1e-3 * max(5.0 * NOISE, 1.1 * np.max(np.abs(left)))
    bottom.set_ylim(-farthest, farthest)
    bottom.legend(frameon=False, loc="lower right", borderpad=0.0)
    for ax in (top, bottom):
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=120)


def main():
    parser = argparse.ArgumentParser(description="Fit a pressure that was measured over time.")
    parser.add_argument("--backend", default="numpy", help="numpy, cupy, torch, jax, ... (default: numpy)")
    parser.add_argument("--epochs", type=int, default=200, help="at most (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="of the noise, the weights and the shuffles")
    parser.add_argument("--plot", nargs="?", const="regression.png", metavar="FILE.png", help="save a picture")
    args = parser.parse_args()
    if args.epochs < 1:
        parser.error("--epochs must be at least 1")
    try:
        backend = mt.Backend(args.backend)
    except (mt.BackendUnavailable, ValueError) as error:
        parser.exit(2, f"{error}\n")

    taught, validation, (x, t) = experiment(backend, args.seed)
    shipped, history = train(taught, validation, args.epochs, args.seed)
    found = mt.evaluate(shipped, x, t, metrics=["mae", "r2"])
    readings = mt.to_numpy(t)
    noise = readings - pressure(mt.to_numpy(x))
    print(f"{len(history.loss)} of at most {args.epochs} epochs: {history.stopped or 'none was left'}")
    print(f"\n{len(readings)} held-out readings   mae (Pa)       r2")
    print(f"network               {found['mae']:10.0f}{found['r2']:9.4f}")
    print(f"curve without noise   {np.mean(np.abs(noise)):10.0f}{1.0 - np.mean(noise**2) / np.var(readings):9.4f}")
    print("\nThe second row is the noise of the readings: no model can do much better.\n")
    print(shipped)
    if args.plot:
        picture(args.plot, shipped, x, t)
        print(f"\nsaved {args.plot}")


if __name__ == "__main__":
    main()
