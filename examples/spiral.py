"""Three arms of a spiral, told apart by two Affine layers with a Sigmoid between them.

No straight line separates the arms, so one Affine layer alone cannot learn them.  The network draws ten
lines (the hidden layer), bends them (the Sigmoid) and weighs them for each class (the second Affine).  It
learns as the lessons do: take a mini-batch, compute the gradient, update, repeat.

    python examples/spiral.py                                  the short way: mt.fit
    python examples/spiral.py --backend torch --dtype float64  the same curve on another library
    python examples/spiral.py --plot spiral.png                the loss curve and the decision boundary
    python examples/spiral.py --lesson                         the loop by hand, on the lesson's own random numbers

``--lesson`` takes every random number from the stream that the lesson draws its data from, in float64, and
prints the epoch losses beside those of a plain NumPy run of the book's settings ("Deep Learning from
Scratch 2", Saito, 2018).
"""

import argparse
import time

import numpy as np

import martlet as mt

SHOWN = (1, 50, 100, 200, 300)
# The book adds 1e-7 inside the logarithm; a softmax that needs no such guard differs in the seventh digit.
REFERENCE = {1: 1.125606, 50: 0.722511, 100: 0.480006, 200: 0.157478, 300: 0.108550}
REFERENCE_ACCURACY, REFERENCE_LOSS = 0.970, 0.104050  # on all 300 points, after epoch 300


def network(rng, backend=None):
    """2 inputs, 10 hidden units, 3 classes; weights from N(0, 0.01²), as in the lesson."""
    small = mt.initializers.normal(0.01)
    return mt.Sequential(
        mt.Affine.init(2, 10, rng, initializer=small, backend=backend),
        mt.Sigmoid(),
        mt.Affine.init(10, 3, rng, initializer=small, backend=backend),
    )


def train(backend, seed=0, epochs=300):
    """What most programs need: the losses of the epochs, and the trained model."""
    x, t = mt.datasets.spiral()
    model, history = mt.fit(
        network(np.random.default_rng(seed)),
        x,
        t,
        loss=mt.SoftmaxWithLoss(),
        optimizer=mt.SGD(lr=1.0),
        epochs=epochs,
        batch_size=30,
        seed=seed,
        backend=backend,  # model and data go there
    )
    return history.loss, model


def lesson(backend, epochs=300):
    """The lesson's run, step by step: the mean loss of each epoch's ten steps, and the trained model.

    One legacy stream gives, in this order, the data, both W, and the shuffles: any other order would be
    other numbers, and another curve.
    """
    rng = np.random.RandomState(1984)
    x, t = mt.datasets.spiral(rng=rng, backend=backend)
    model = network(rng, backend)
    loss, optimizer = mt.SoftmaxWithLoss(), mt.SGD(lr=1.0)
    state = optimizer.init(model)
    xp = mt.namespace(x)

    losses = []
    for _ in range(epochs):
        # The lesson shuffles what the last epoch has shuffled, and so do we; mt.fit starts from the data's own order.
        order = backend.asarray(rng.permutation(300))
        x, t = xp.take(x, order, axis=0), xp.take(t, order, axis=0)
        values = []
        for batch in mt.batches(x, t, 30):
            model, state, value = mt.train_step(model, loss, optimizer, state, *batch)
            values.append(value)  # stays on its device: reading each one would make a GPU wait ten times as often
        losses.append(float(np.mean(mt.to_numpy(xp.stack(values)))))
    return losses, model


def picture(file, losses, model):
    """Save the loss curve beside the decision boundary."""
    from matplotlib.figure import Figure  # here, so that nobody needs matplotlib who wants no picture

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    mt.plot.loss_curve(losses, ax=left)
    mt.plot.decision_boundary(model, *mt.datasets.spiral(), ax=right)
    figure.savefig(file, dpi=120)


def choose_backend(name, device, dtype):
    """The Backend of the command line.  Raises BackendUnavailable or ValueError with one clear sentence."""
    backend = mt.Backend(name, device)
    if name == "jax" and dtype == "float64":
        import jax

        jax.config.update("jax_enable_x64", True)  # JAX keeps 32 bits unless told so before its first array
    return backend if dtype is None else mt.Backend(name, device, dtype)


def main():
    parser = argparse.ArgumentParser(description="Train a small network on the spiral.")
    parser.add_argument("--backend", default="numpy", help="numpy, cupy, torch, jax, ... (default: numpy)")
    parser.add_argument("--device", help="such as cpu or cuda:0; without it, the library's own choice")
    parser.add_argument("--dtype", help="float32 (the default) or float64 (the default with --lesson)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and shuffles; the lesson has its own")
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--plot", nargs="?", const="spiral.png", metavar="FILE.png", help="save a picture")
    parser.add_argument("--lesson", action="store_true", help="replay the lesson's own random numbers")
    args = parser.parse_args()
    if args.epochs < 1:
        parser.error("--epochs must be at least 1")
    try:
        backend = choose_backend(args.backend, args.device, args.dtype or ("float64" if args.lesson else None))
    except (mt.BackendUnavailable, ValueError) as error:
        parser.exit(2, f"{error}\n")

    start = time.perf_counter()
    losses, model = lesson(backend, args.epochs) if args.lesson else train(backend, args.seed, args.epochs)
    seconds = time.perf_counter() - start
    found = mt.evaluate(model, *mt.datasets.spiral(dtype="float64"), loss=mt.SoftmaxWithLoss(), metrics=["accuracy"])

    print("epoch      loss   reference" if args.lesson else "epoch      loss")
    for epoch in SHOWN:
        if epoch <= args.epochs:
            beside = f"    {REFERENCE[epoch]:.6f}" if args.lesson else ""
            print(f"{epoch:5}  {losses[epoch - 1]:.6f}{beside}")
    print(f"\nall 300 points: loss {found['loss']:.6f}, accuracy {found['accuracy']:.3f}")
    if args.lesson and args.epochs == 300:
        print(f"reference:      loss {REFERENCE_LOSS:.6f}, accuracy {REFERENCE_ACCURACY:.3f}")
    print(f"{args.epochs} epochs in {seconds:.2f} s\n\n{model}")
    if args.plot:
        picture(args.plot, losses, model)
        print(f"\nsaved {args.plot}")


if __name__ == "__main__":
    main()
