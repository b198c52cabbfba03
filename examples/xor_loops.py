"""A gradient needs no loops: the same training of XOR with loops, with arrays per sample, and with batches.

The network has 2 inputs, 3 tanh units and 1 sigmoid output, and learns by gradient descent on the binary
cross-entropy.  The gradient is a sum over samples, divided by their number m, and is written three times:

    by_loops      each product by itself, in loops over samples, units and inputs: plain Python
    by_samples    a loop over samples; the one over units is an array, the two over inputs and units an outer product
    by_batch      no loop: the samples are the rows of one array, and martlet's layers take them all at once

    python examples/xor_loops.py

All three begin with the same weights; the program prints their costs side by side, the largest difference,
and how long an epoch takes.  The lesson that this follows does not give its start weights, so its costs,
.70577 at epoch 0 and .35469 at epoch 90, are the shape to expect here and not the numbers.  The exit status
is 1 if two of the forms differ by more than 1e-12.
"""

import argparse
import math
import sys
import time

import numpy as np

import martlet as mt

LR = 1.0
TOLERANCE = 1e-12  # the forms add the same numbers in another order
x, t = mt.datasets.xor(dtype="float64")  # (4, 2) and (4, 1)


def start(hidden=3, seed=1):
    """Weights to begin with: W1 (2, H), b1 (H,), W2 (H, 1), b2 (1,).  A column of W1 belongs to one unit."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((2, hidden)), np.zeros(hidden), rng.standard_normal((hidden, 1)), np.zeros(1)


# A sample costs -log(a) where its target is 1 and -log(1 - a) where it is 0, with a = sigmoid(z).  The lesson
# takes these logarithms of a, which a confident network does not survive: from z = 37 on, a is rounded to 1, and
# the cost of target 0 is -log(0), infinite.  Worked out in terms of z, before any rounding, both are
# max(z, 0) - z t + log(1 + exp(-|z|)), which no z can overflow.  The same care for the sigmoid: 1 / (1 + exp(-z))
# overflows where z is far below zero, (1 + tanh(z / 2)) / 2 does not.


def by_loops(weights, epochs, x=x, t=t):
    """The costs, each before its step, and the weights afterwards.  Every index is a loop."""
    W1, b1, W2, b2 = (w.tolist() for w in weights)
    samples, targets = x.tolist(), t.tolist()
    inputs, units, m = range(len(W1)), range(len(b1)), len(x)
    costs = []
    for _ in range(epochs):
        dW1, db1 = [[0.0 for _ in units] for _ in inputs], [0.0 for _ in units]
        dW2, db2, cost = [0.0 for _ in units], 0.0, 0.0
        for sample, (target,) in zip(samples, targets, strict=True):
            h = [math.tanh(sum(sample[i] * W1[i][j] for i in inputs) + b1[j]) for j in units]
            z = sum(h[j] * W2[j][0] for j in units) + b2[0]
            cost += max(z, 0.0) - z * target + math.log1p(math.exp(-abs(z)))
            dz = (1.0 + math.tanh(z / 2.0)) / 2.0 - target  # sigmoid and logarithm together: a - t
            db2 += dz
            for j in units:
                da = W2[j][0] * dz * (1.0 - h[j] ** 2)
                dW2[j] += h[j] * dz
                db1[j] += da
                for i in inputs:
                    dW1[i][j] += sample[i] * da
        costs.append(cost / m)
        b2[0] -= LR * db2 / m
        for j in units:
            W2[j][0] -= LR * dW2[j] / m
            b1[j] -= LR * db1[j] / m
            for i in inputs:
                W1[i][j] -= LR * dW1[i][j] / m
    return costs, tuple(map(np.array, (W1, b1, W2, b2)))


def by_samples(weights, epochs, x=x, t=t):
    """The same, one sample after another: what the loops over j and i did is one array expression each."""
    W1, b1, W2, b2 = (w.copy() for w in weights)
    m, costs = len(x), []
    for _ in range(epochs):
        dW1, db1, dW2, db2 = map(np.zeros_like, (W1, b1, W2, b2))
        cost = 0.0
        for sample, target in zip(x, t, strict=True):  # (2,) and (1,)
            h = np.tanh(sample @ W1 + b1)
            z = h @ W2 + b2
            cost += np.sum(np.maximum(z, 0.0) - z * target + np.log1p(np.exp(-np.abs(z))))
            dz = (1.0 + np.tanh(z / 2.0)) / 2.0 - target
            da = W2 @ dz * (1.0 - h**2)
            dW2 += np.outer(h, dz)
            db2 += dz
            dW1 += np.outer(sample, da)  # the lesson's outer product is transposed: its W1 has a row per unit
            db1 += da
        costs.append(float(cost / m))
        for w, dw in zip((W1, b1, W2, b2), (dW1, db1, dW2, db2), strict=True):
            w -= LR * dw / m
    return costs, (W1, b1, W2, b2)


def by_batch(weights, epochs, x=x, t=t):
    """The same, all samples at once: x.T @ da is the sum of the samples' outer products."""
    W1, b1, W2, b2 = weights
    model = mt.Sequential(mt.Affine(W1, b1), mt.Tanh(), mt.Affine(W2, b2))
    loss, optimizer = mt.SigmoidWithLoss(), mt.SGD(lr=LR)
    state, costs = optimizer.init(model), []
    for _ in range(epochs):
        model, state, cost = mt.train_step(model, loss, optimizer, state, x, t)
        costs.append(float(cost))
    return costs, tuple(mt.leaves(model))


FORMS = by_loops, by_samples, by_batch


def largest_difference(runs):
    """The largest difference between any two runs, over all costs and all weights."""
    numbers = [np.concatenate([np.ravel(part) for part in (costs, *weights)]) for costs, weights in runs]
    return float(np.max(np.ptp(numbers, axis=0)))


def microseconds(form, units, copies, repeats=5):
    """The time of one epoch, the best of several; ``copies`` is how often each of the four samples is there."""
    weights, data, best = start(units), (np.tile(x, (copies, 1)), np.tile(t, (copies, 1))), math.inf
    for _ in range(repeats):
        begin = time.perf_counter()
        form(weights, 5, *data)
        best = min(best, time.perf_counter() - begin)
    return 1e6 * best / 5


def main():
    parser = argparse.ArgumentParser(description="Train XOR with loops, with arrays per sample, and in batches.")
    parser.add_argument("--epochs", type=int, default=100)
    args = parser.parse_args()
    if args.epochs < 1:
        parser.error("--epochs must be at least 1")

    weights = start()
    runs = [form(weights, args.epochs) for form in FORMS]
    print(f"{'epoch':22}" + "".join(f"{form.__name__:>20}" for form in FORMS))
    for epoch in range(0, args.epochs, max(1, args.epochs // 10)):
        print(f"{epoch:<22}" + "".join(f"{costs[epoch]:20.15f}" for costs, _ in runs))
    print(f"\nlargest difference, over costs and weights: {largest_difference(runs):.1e}\n")
    # Any array expression takes about a microsecond, so it pays where the array is long.
    for units, copies in (3, 1), (300, 1), (3, 100):
        times = [microseconds(form, units, copies) for form in FORMS]
        print(f"{units:3} units, {4 * copies:3} samples" + "".join(f"{each:17.0f} µs" for each in times))
    print()

    W1, b1, W2, b2 = runs[-1][1]
    for (p, q), a in zip(x, mt.sigmoid(np.tanh(x @ W1 + b1) @ W2 + b2), strict=True):
        print(f"{p:.0f} xor {q:.0f}: {a.item():.4f}")
    return 0 if largest_difference(runs) <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
