"""Twenty layers deep, the first layer learns nothing unless its gradient has a way around the others.

A Sigmoid and an Affine layer make the gradient that comes back through them about four times smaller, for
the slope of a sigmoid is at most 1/4.  Of twenty such pairs a millionth of a millionth is left, and even
Adam, which divides a gradient by its size, cannot work with less than its eps.  A residual block adds its
input to its output, y = x + f(x); backward, dx = dout + what comes back through f.  However small that is,
dout itself arrives.  It takes three nodes of a graph:

    mt.Sequential(mt.Branch(2), mt.Parallel(f, mt.Identity()), mt.Add())

The two networks here have the same layers with the same weights, and learn the same spiral.

    python examples/residual.py
    python examples/residual.py --plot residual.png     gradients and loss curves (needs matplotlib)

He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2016; with the activation first, as
here: "Identity mappings in deep residual networks", 2016.
"""

import argparse

import numpy as np

import martlet as mt

DEPTH, WIDTH = 20, 16


def around(f):
    """A residual block, y = x + f(x)."""
    return mt.Sequential(mt.Branch(2), mt.Parallel(f, mt.Identity()), mt.Add())


def network(residual, backend=None, seed=0):
    """2 inputs, DEPTH layers of WIDTH units, 3 classes; the same weights with and without the ways around."""
    rng = np.random.default_rng(seed)
    sizes = [(2, WIDTH), *[(WIDTH, WIDTH)] * DEPTH, (WIDTH, 3)]
    first, *inner, last = (mt.Affine.init(*size, rng, backend=backend) for size in sizes)
    layers = [mt.Sequential(mt.Sigmoid(), affine) for affine in inner]
    return mt.Sequential(first, *[around(f) if residual else f for f in layers], mt.Sigmoid(), last)


def gradient_norms(model, x, t):
    """The norm of dL/dW of every Affine layer, from the first to the last."""
    _, grad, _ = mt.gradient(model, mt.SoftmaxWithLoss(), x, t)
    return [float(np.linalg.norm(mt.to_numpy(dW))) for dW in mt.leaves(grad) if dW.ndim == 2]


def picture(file, norms, losses):
    """Save the gradients at the start beside the loss curves."""
    from matplotlib.figure import Figure  # here, so that nobody needs matplotlib who wants no picture

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for i, (name, values) in enumerate(norms.items()):
        style = {"color": mt.plot.COLOURS[i], "linestyle": mt.plot.DASHES[i], "marker": mt.plot.MARKERS[i]}
        left.semilogy(range(1, len(values) + 1), values, label=name, markersize=5, **style)
    left.set_xlabel("Affine layer, from the input")
    left.set_ylabel("norm of dL/dW before training")
    left.set_xticks([1, *range(5, DEPTH + 3, 5)])
    left.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False)
    mt.plot.loss_curve(losses, ax=right)
    right.set_ylim(bottom=0.0)
    figure.savefig(file, dpi=120)


def main():
    parser = argparse.ArgumentParser(description="A deep network, and the same with residual blocks.")
    parser.add_argument("--backend", default="numpy", help="numpy, cupy, torch, jax, ... (default: numpy)")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--plot", nargs="?", const="residual.png", metavar="FILE.png", help="save a picture")
    args = parser.parse_args()
    if args.epochs < 1:
        parser.error("--epochs must be at least 1")
    try:
        backend = mt.Backend(args.backend)
    except (mt.BackendUnavailable, ValueError) as error:
        parser.exit(2, f"{error}\n")

    x, t = mt.datasets.spiral(backend=backend)
    settings = {"loss": mt.SoftmaxWithLoss(), "optimizer": mt.Adam(lr=0.003), "epochs": args.epochs, "batch_size": 30}
    norms, losses, rows = {}, {}, []
    for name in ("plain", "residual"):
        model = network(name == "residual", backend)
        norms[name] = gradient_norms(model, x, t)
        trained, history = mt.fit(model, x, t, **settings)
        losses[name] = history.loss
        rows.append(f"{name:12}{history.loss[0]:13.4f}{history.loss[-1]:12.4f}{mt.accuracy(trained, x, t):10.3f}")

    print(
        f"Norm of dL/dW before training, {DEPTH} layers between the first and the last\n\nlayer       plain    residual"
    )
    for layer, (plain, residual) in enumerate(zip(*norms.values(), strict=True), start=1):
        if layer == 1 or layer % 4 == 0 or layer == DEPTH + 2:
            print(f"{layer:5}{plain:12.1e}{residual:12.1e}")
    print(f"\n{'':12}first epoch  last epoch  accuracy", *rows, sep="\n")
    print(f"\nln 3 = {np.log(3):.4f} is the loss of calling every class equally likely.")
    if args.plot:
        picture(args.plot, norms, losses)
        print(f"\nsaved {args.plot}")


if __name__ == "__main__":
    main()
