"""XOR is the smallest problem that needs a hidden layer, and the smallest on which a network can get stuck.

Two sigmoid layers, 2 inputs, 2 hidden units, 1 output, learn the four samples as one batch.  The lesson that
this follows keeps its samples in columns; martlet, like most libraries, in rows.  Each formula is the
transpose of the other, and W and the numbers are the same:

                    the lesson, columns          here, rows
    samples         X (2, 4), Y (1, 4)           x (4, 2), t (4, 1)
    forward         Z = W.T @ X + B, B (H, 1)    y = x @ W + b, b (H,)
    weights         dW = X @ dZ.T                dW = x.T @ dy
    biases          dB = sum(dZ, axis=1)         db = sum(dy, axis=0)
    back to input   dX = W @ dZ                  dx = dy @ W.T

    python examples/xor.py --plot xor.png        the lesson in full, 200,000 steps: about half a minute
    python examples/xor.py --iterations 2000     a quick look, which ends long before anything is learned

Not every start ends at XOR.  The network may learn two of the four answers and say 1/2 to the other two, such
as 0, 1/2, 1, 1/2; then its loss creeps down to (0 + log 2 + 0 + log 2) / 4 = 0.3466 and no further, a plateau.
It is no rare misfortune: of 300 starts (NumPy's legacy seeds 0 to 299, as much training as here) three in ten
ended so.  Adam needs far fewer steps but is no cure: its path is another, and from start 3 it leads to the
plateau although SGD's does not.  Hence judge a network by several starts, never by one, and give it more
hidden units than it needs.
"""

import argparse
import math
import time

import numpy as np

import martlet as mt

STARTS = range(6)
CHOSEN = 4  # a start from which both optimizers arrive
PLATEAU = math.log(2) / 2


def start(seed, hidden=2):
    """Weights in columns, as the lesson draws them: W1 (2, H) and W2 (H, 1) normal, B1 (H, 1) and B2 (1, 1) zero."""
    rng = np.random.RandomState(seed)
    return rng.randn(2, hidden), np.zeros((hidden, 1)), rng.randn(hidden, 1), np.zeros((1, 1))


def lesson(weights, iterations, lr=0.01):
    """In columns and plain NumPy: the loss before each step, and the weights after the last."""

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    W1, B1, W2, B2 = weights
    X, Y = np.array([[0, 0, 1, 1], [0, 1, 0, 1]]), np.array([[0, 1, 1, 0]])
    losses = []
    for _ in range(iterations):
        H = sigmoid(W1.T @ X + B1)  # (H, 4): a column per sample, a row per unit
        P = sigmoid(W2.T @ H + B2)  # (1, 4)
        losses.append(-np.mean(Y * np.log(P) + (1 - Y) * np.log(1 - P)))  # while no P is rounded to 0 or 1
        dZ2 = (P - Y) / 4  # sigmoid and cross-entropy together; 4 because the loss is a mean
        dZ1 = W2 @ dZ2 * H * (1 - H)
        W1, B1 = W1 - lr * X @ dZ1.T, B1 - lr * np.sum(dZ1, axis=1, keepdims=True)
        W2, B2 = W2 - lr * H @ dZ2.T, B2 - lr * np.sum(dZ2, axis=1, keepdims=True)
    return losses, (W1, B1, W2, B2)


def rows(weights, iterations, optimizer, every=1, backend="numpy"):
    """In rows, with martlet: the loss before every so many steps, and the trained model."""
    W1, B1, W2, B2 = weights
    model = mt.Sequential(mt.Affine(W1, B1[:, 0]), mt.Sigmoid(), mt.Affine(W2, B2[:, 0])).to(backend)
    x, t = mt.datasets.xor(backend=backend, dtype="float64")
    loss = mt.SigmoidWithLoss()  # holds the second sigmoid
    state, losses = optimizer.init(model), []
    for i in range(iterations):
        model, state, value = mt.train_step(model, loss, optimizer, state, x, t)
        if i % every == 0:
            losses.append(float(value))
    return losses, model


def answers(model):
    """What the network says to 00, 01, 10 and 11, as words."""
    x, _ = mt.datasets.xor(backend=mt.backend_of(model[0].W), dtype="float64")
    return " ".join(f"{p:.2f}" for p in mt.to_numpy(mt.sigmoid(model.predict(x)))[:, 0])


def picture(file, ways, starts):
    """Save the loss curves: one start in three ways, and several starts in one way."""
    from matplotlib.figure import Figure  # here, so that nobody needs matplotlib who wants no picture

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for ax, curves in (left, ways), (right, starts):
        for i, (name, (losses, every)) in enumerate(curves.items()):
            style = {"color": mt.plot.COLOURS[i], "linestyle": mt.plot.DASHES[i % len(mt.plot.DASHES)]}
            ax.plot(np.arange(len(losses)) * every, losses, label=name, **style)
        ax.set(xlabel="steps", yscale="log")
        ax.spines[["top", "right"]].set_visible(False)
    left.set(title=f"Start {CHOSEN}, in three ways", ylabel="loss", ylim=(min(1e-3, *left.get_ylim()), 1.2))
    left.set_xscale("log", nonpositive="mask")  # which has no place for 0 steps
    left.legend(frameon=False, loc="lower left")
    right.set(title=f"{len(starts)} starts, SGD with lr 1", xlim=(0, None))
    right.axhline(PLATEAU, color="grey", linewidth=0.7, zorder=0)
    where = {"transform": right.get_yaxis_transform(), "ha": "right", "va": "top"}
    right.text(0.99, 0.85 * PLATEAU, "the plateau, ½ log 2", color="dimgrey", **where)
    right.legend(frameon=False, loc="upper right", bbox_to_anchor=(1.0, 0.72), ncols=2)
    figure.savefig(file, dpi=120)


def main():
    parser = argparse.ArgumentParser(description="Train two sigmoid layers on XOR.")
    parser.add_argument("--iterations", type=int, default=200_000, help="of the lesson's run (default: 200000)")
    parser.add_argument("--backend", default="numpy", help="numpy, cupy, torch, jax, ... (default: numpy)")
    parser.add_argument("--plot", metavar="FILE.png", help="save the loss curves")
    args = parser.parse_args()
    if args.iterations < 100:
        parser.error("--iterations must be at least 100")
    try:
        backend = mt.Backend(args.backend, dtype="float64")
    except (mt.BackendUnavailable, ValueError) as error:
        parser.exit(2, f"{error}\n")

    n, weights, slow = args.iterations, start(CHOSEN), mt.SGD(lr=0.01)
    first = min(1000, n)
    columns, (ours, _) = lesson(weights, first)[0], rows(weights, first, slow, backend=backend)
    print(f"columns against rows, {first} steps: largest difference {np.max(np.abs(np.subtract(columns, ours))):.1e}\n")

    # While its steps are small, gradient descent follows one path whatever their length: a hundred times the
    # learning rate takes it to the same place in a hundredth of the steps.
    ways = {}
    for name, optimizer, steps, every in (
        ("SGD, lr 0.01", slow, n, 100),
        ("SGD, lr 1", mt.SGD(lr=1.0), n // 100, 1),
        ("Adam, lr 0.01", mt.Adam(lr=0.01), n // 50, 1),
    ):
        begin = time.perf_counter()
        losses, model = rows(weights, steps, optimizer, every, backend)
        seconds = time.perf_counter() - begin
        ways[name] = losses, every
        print(f"{name:14}{steps:8} steps in {seconds:5.1f} s: loss {losses[-1]:.5f}, answers {answers(model)}")

    print(f"\nstart {'SGD, lr 1':>11}   answers {'Adam, lr 0.01':>27}   answers")
    starts = {}
    for seed in STARTS:
        sgd, model = rows(start(seed), n // 100, mt.SGD(lr=1.0), 1, backend)
        adam, other = rows(start(seed), n // 50, mt.Adam(lr=0.01), 1, backend)
        print(f"{seed:<5} {sgd[-1]:11.4f}   {answers(model)} {adam[-1]:14.4f}   {answers(other)}")
        starts[f"start {seed}"] = sgd, 1
    if args.plot:
        picture(args.plot, ways, starts)
        print(f"\nsaved {args.plot}")


if __name__ == "__main__":
    main()
