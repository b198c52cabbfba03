"""Benign or malignant?  All 364 tumours go through the network in one matrix product, or one after another.

The lesson replaces a dot product per sample by one product for all of them: X (364, 30) times w (30, 1) is
364 logits, and X transposed times the 364 errors is the gradient.  One update then uses every sample, and
the loss falls in a smooth line.  With one sample per update it falls sooner, in steps, and never comes to
rest.

    python examples/breast_cancer.py                     needs scikit-learn: pip install "martlet[examples]"
    python examples/breast_cancer.py --backend torch
    python examples/breast_cancer.py --plot losses.png   the two curves in one picture (needs matplotlib)

The first model is logistic regression, one Affine layer, from w = 1 and b = 0, with the lesson's numbers
beside its own.  The second has ten hidden units.  The third part is the first model again, both ways.
"""

import argparse

import numpy as np

import martlet as mt

DECAY, RATE = 0.01, 0.1
SHOWN = (1, 100, 1_000, 10_000)
REFERENCE = {1: 14.699879, 100: 0.111470, 1_000: 0.057953, 10_000: 0.043588}
REFERENCE_ACCURACY = 0.978022  # on the validation part after epoch 10,000: 89 of 91
PRINTED_FIRST = 13.0632  # what the lesson's book prints for epoch 1
CLIP = 1e-10


def logistic_regression(backend):
    """30 columns, one logit; the lesson starts from w = 1 and b = 0."""
    return mt.Affine(backend.asarray([[1.0]] * 30), backend.asarray([0.0]))


def network(backend, seed=0):
    """30 columns, 10 hidden units, one logit.  Not from ones: equal units get equal gradients, and stay equal."""
    rng = np.random.default_rng(seed)
    first, last = (mt.Affine.init(*sizes, rng, backend=backend) for sizes in ((30, 10), (10, 1)))
    return mt.Sequential(first, mt.Sigmoid(), last)


def full_batch(model, x, t, epochs):
    """The models before the updates of the epochs in SHOWN, and the last one.  An epoch is one update."""
    loss = mt.SigmoidWithLoss()
    decay = mt.L2(decay=DECAY / x.shape[0], biases=False)  # the penalty's gradient: w shrinks, b does not
    descent = mt.SGD(lr=RATE, transforms=(decay,))
    state, seen = descent.init(model), {}
    for epoch in range(1, epochs + 1):
        if epoch in SHOWN:
            seen[epoch] = model  # a model is a value: no later update changes it
        model, state, _ = mt.train_step(model, loss, descent, state, x, t)
    return seen, model


def penalty(model, samples):
    """DECAY / (2 samples) · Σ w²: L2 gives the optimizer its gradient, and leaves the loss as it is."""
    return 0.5 * DECAY / samples * sum(np.sum(mt.to_numpy(p) ** 2) for p in mt.leaves(model) if p.ndim == 2)


def stable_loss(model, x, t):
    """The mean of log(1 + exp(y)) - y t, from the logits y, and the penalty."""
    return mt.evaluate(model, x, t, loss=mt.SigmoidWithLoss())["loss"] + penalty(model, x.shape[0])


def clipped_loss(model, x, t):
    """The book's: the mean of -log p, with p kept between CLIP and 1 - CLIP, and the penalty."""
    p, t = mt.to_numpy(mt.sigmoid(model.predict(x))), mt.to_numpy(t)
    p = np.clip(p, CLIP, 1.0 - CLIP)
    return -np.mean(t * np.log(p) + (1.0 - t) * np.log(1.0 - p)) + penalty(model, x.shape[0])


def curve(model, x, t, rows, epochs, seed=0):
    """The loss on all of x after every update, each made from so many rows; the penalty is left out here."""
    descent, loss, rng = mt.SGD(lr=RATE), mt.SigmoidWithLoss(), np.random.default_rng(seed)
    state, losses = descent.init(model), []
    for _ in range(epochs):
        for batch in mt.batches(x, t, rows, rng=rng):
            model, state, _ = mt.train_step(model, loss, descent, state, *batch)
            losses.append(float(loss.value(model.predict(x), t)))
    return losses


def seconds_per_epoch(model, x, t, rows):
    """The shortest of three epochs, without a look at the other rows after each update."""
    settings = {"loss": mt.SigmoidWithLoss(), "optimizer": mt.SGD(lr=RATE), "epochs": 3, "batch_size": rows}
    return min(mt.fit(model, x, t, **settings)[1].seconds)


def picture(file, curves, count):
    """Save the curves in one picture, over the number of times that all rows have been seen."""
    from matplotlib.figure import Figure  # here, so that nobody needs matplotlib who wants no picture

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    ax = figure.subplots()
    for i, (rows, losses) in enumerate(curves.items()):
        epochs = np.arange(1, len(losses) + 1) * rows / count
        name = f"all {rows} samples in each update" if rows > 1 else "one sample in each update"
        ax.loglog(epochs, losses, color=mt.plot.COLOURS[i], linewidth=2.2 if rows > 1 else 1.1, label=name)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter("{x:g}")
    ax.set_xlabel("epochs: how often the training samples have been seen")
    ax.set_ylabel(f"loss on all {count} training samples")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    figure.savefig(file, dpi=120)


def show(title, seen, model, data, reference):
    """The losses of the shown epochs, and how often the last model is right."""
    print(f"{title}\n\n epoch        loss" + ("   p clipped   reference" if reference else ""))
    for epoch, before in seen.items():
        beside = f"{clipped_loss(before, *data.train):12.6f}{reference[epoch]:12.6f}" if reference else ""
        print(f"{epoch:6}{stable_loss(before, *data.train):12.6f}{beside}")
    shares = [f"{part} {mt.accuracy(model, *getattr(data, part)):.6f}" for part in data._fields]
    print(f"\naccuracy: {', '.join(shares)}")


def main():
    parser = argparse.ArgumentParser(description="Tell benign tumours from malignant ones.")
    parser.add_argument("--backend", default="numpy", help="numpy, cupy, torch, jax, ... (default: numpy)")
    parser.add_argument("--epochs", type=int, default=10_000, help="(default: 10000; less in the comparison)")
    parser.add_argument("--plot", nargs="?", const="breast_cancer.png", metavar="FILE.png", help="save a picture")
    args = parser.parse_args()
    if args.epochs < 1:
        parser.error("--epochs must be at least 1")
    try:
        if args.backend == "jax":
            import jax

            jax.config.update("jax_enable_x64", True)  # JAX keeps 32 bits unless told so before its first array
        backend = mt.Backend(args.backend, dtype="float64")
        data = mt.datasets.breast_cancer(backend=backend)
    except (mt.BackendUnavailable, ImportError, ValueError) as error:
        parser.exit(2, f"{error}\n")
    x, t = data.train

    seen, model = full_batch(logistic_regression(backend), x, t, args.epochs)
    show("Logistic regression, 30-1", seen, model, data, REFERENCE)
    if args.epochs == max(SHOWN):
        print(f"reference:                validation {REFERENCE_ACCURACY:.6f}")
    costs = mt.to_numpy(mt.SigmoidWithLoss(reduction="none").value(seen[1].predict(x), t))
    print(f"""
The book prints {PRINTED_FIRST} for epoch 1: it clips p at {CLIP:g} as a guard against log(0), so that no sample costs
more than {-np.log(CLIP):.2f}.  At the start {np.sum(costs > -np.log(CLIP))} of the {len(costs)} cost more, up to \
{np.max(costs):.2f}.  A loss on logits needs no guard.
The gradient, p - t, was never clipped: the models are the same, and so are the losses as soon as none is so wrong.
""")
    show("With ten hidden units, 30-10-1", *full_batch(network(backend), x, t, args.epochs), data, None)

    count = x.shape[0]
    lengths = {count: min(args.epochs, 1_000), 1: min(args.epochs, 20)}
    curves = {rows: curve(logistic_regression(backend), x, t, rows, epochs) for rows, epochs in lengths.items()}
    print(
        "\nLogistic regression both ways\n\nsamples per update   epochs   updates       loss   ms per epoch   seconds"
    )
    for rows, losses in curves.items():
        milliseconds = 1e3 * seconds_per_epoch(logistic_regression(backend), x, t, rows)
        seconds = 1e-3 * milliseconds * lengths[rows]
        print(f"{rows:18}{lengths[rows]:9}{len(losses):10}{losses[-1]:11.6f}{milliseconds:15.3f}{seconds:10.2f}")
    if args.plot:
        picture(args.plot, curves, count)
        print(f"\nsaved {args.plot}")


if __name__ == "__main__":
    main()
