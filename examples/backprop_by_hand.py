"""Backpropagation with numbers: two Affine-Sigmoid layers, one sample, every gradient printed.

The network is small enough to follow with a pencil: x has 3 numbers, the hidden layer h and the output o
have 2 each, and the loss is L = 1/2 * sum (o - t)^2.  Forward goes from x to L; backward goes the same
way back, and each layer turns the gradient of its output (dout) into the gradient of its input (dx) and of
its own arrays (dW, db).

    python examples/backprop_by_hand.py

Each line shows one number as martlet's layers compute it, as the lesson prints it, and as a central finite
difference gives it, which knows nothing of backpropagation: (L(z + step) - L(z - step)) / (2 step).  One of
the lesson's numbers is wrong; the last paragraph of the output says which, and why.  The exit status is 1 if
any other number disagrees.
"""

import sys

import numpy as np

import martlet as mt

x = np.array([[1.0, 2.0, 3.0]])  # one sample per row: (1, 3)
t = np.array([[0.5, 0.1]])
W1, b1 = np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]), np.array([0.5, 0.5])
W2, b2 = np.array([[0.7, 0.8], [0.9, 0.1]]), np.array([0.3, 0.3])

TOLERANCE = 1e-8  # the lesson prints eight decimals
WRONG = "sum of dL/db1"

# What the lesson prints.  It writes samples and units as columns, so its weight gradients are ours transposed.
LESSON = {
    "h": np.array([0.93702664, 0.96442881]),
    "o": np.array([0.86103399, 0.75879129]),
    "dL/do": np.array([0.36103399, 0.65879129]),
    "dL/dW2": np.array([[0.04047892, 0.04166268], [0.11298352, 0.11628758]]).T,
    "sum of dL/db2": np.array(0.16377596),
    "dL/dh": np.array([0.12670084, 0.05093706]),
    "dL/dW1": np.array([[0.00747633, 0.01495265, 0.02242898], [0.00174744, 0.00349488, 0.00524232]]).T,
    WRONG: np.array(0.0010990070941353347),
}


def by_layers():
    """Every number of the lesson, by name, from one forward and one backward through martlet's layers."""
    layer1, layer2, sigmoid = mt.Affine(W1, b1), mt.Affine(W2, b2), mt.Sigmoid()
    half_squares = mt.MeanSquaredError(reduction="sum")  # without its 1/2, which dout brings in below

    # Forward: each verb gives its output, and a cache of what the way back will need.
    a1, cache_a1 = layer1.forward(x)
    h, cache_h = sigmoid.forward(a1)
    a2, cache_a2 = layer2.forward(h)
    o, cache_o = sigmoid.forward(a2)
    squares, cache_L = half_squares.forward(o, t)

    # Backward: the same layers in the opposite order, each given the gradient of its output.
    do = half_squares.backward(cache_L, dout=0.5)
    da2, _ = sigmoid.backward(cache_o, do)
    dh, grad2 = layer2.backward(cache_a2, da2)
    da1, _ = sigmoid.backward(cache_h, dh)
    _, grad1 = layer1.backward(cache_a1, da1)

    return {
        "h": h[0],
        "o": o[0],
        "L": 0.5 * squares,
        "dL/do": do[0],
        "dL/dW2": grad2.W,
        "dL/db2": grad2.b,
        "sum of dL/db2": np.sum(grad2.b),
        "dL/dh": dh[0],
        "dL/dW1": grad1.W,
        "dL/db1": grad1.b,
        "sum of dL/db1": np.sum(grad1.b),
    }


def by_finite_differences():
    """The gradients again, by name, from nothing but the loss at two neighbouring points."""
    h, o = (by_layers()[name] for name in ("h", "o"))

    def loss(W1=W1, b1=b1, W2=W2, b2=b2, h=None, o=None):
        # The whole network in NumPy; h or o, where given, takes the place of what the layers before it compute.
        h = 1 / (1 + np.exp(-(x @ W1 + b1))) if h is None else h
        o = 1 / (1 + np.exp(-(h @ W2 + b2))) if o is None else o
        return 0.5 * np.sum((o - t) ** 2)

    return {
        "dL/do": slopes(lambda o: loss(o=o), o),
        "dL/dW2": slopes(lambda W2: loss(W2=W2), W2),
        "dL/db2": slopes(lambda b2: loss(b2=b2), b2),
        "sum of dL/db2": slopes(lambda b: loss(b2=b2 + b), np.array(0.0)),  # one number that moves both units
        "dL/dh": slopes(lambda h: loss(h=h), h),
        "dL/dW1": slopes(lambda W1: loss(W1=W1), W1),
        "dL/db1": slopes(lambda b1: loss(b1=b1), b1),
        "sum of dL/db1": slopes(lambda b: loss(b1=b1 + b), np.array(0.0)),
    }


def slopes(f, z, step=1e-5):
    """The central finite difference of f(z) for each number in z."""
    found = np.zeros_like(z)
    for i in np.ndindex(z.shape):
        nudge = np.zeros_like(z)
        nudge[i] = step
        found[i] = (f(z + nudge) - f(z - nudge)) / (2 * step)
    return found


def diagonal_of_the_lesson():
    """The lesson's wrong number, rebuilt, so that we know what it is made of."""
    found = by_layers()
    h, o, do = found["h"], found["o"], found["dL/do"]
    paths = (do * o * (1 - o))[:, None] * W2 * (h * (1 - h))[:, None] * b1
    return np.trace(paths)


def main():
    ours, numeric, gaps = by_layers(), by_finite_differences(), []
    print(f"{'':16}{'martlet':>12}{'lesson':>14}{'finite diff.':>14}")
    for name, value in ours.items():
        others = LESSON.get(name), numeric.get(name)
        for i in np.ndindex(value.shape):
            label = name + (str(list(i)) if i else "")
            beside = "".join(f"{'-':>14}" if other is None else f"{other[i]:14.8f}" for other in others)
            print(f"{label:16}{value[i]:12.8f}{beside}" + "  <- the lesson is wrong" * (name == WRONG))
            judges = others[1:] if name == WRONG else others
            gaps += [abs(value[i] - other[i]) for other in judges if other is not None]
    worst = np.max(gaps)

    print(f"""
Largest disagreement, the marked line aside: {worst:.1e} (allowed: {TOLERANCE:.0e})

The lesson gives {LESSON[WRONG]:.8f} for a bias that all of layer 1 shares; it is {ours[WRONG]:.8f}, as the finite
difference says.  A bias is added to its unit's sum as it is, so its gradient is the gradient of that sum, the
delta: db is the delta summed over the batch, and a bias that two units share adds the deltas of both.  So no
diagonal is summed.  The lesson's diagonal keeps two of the four paths from the outputs back to the hidden
units, and multiplies them by the bias itself: that gives {diagonal_of_the_lesson():.8f}.""")
    return 0 if worst <= TOLERANCE else 1  # in this order, so that NaN is a disagreement too


if __name__ == "__main__":
    sys.exit(main())
