"""A layer of your own: declare its arrays, write forward, write backward.

Swish is x · sigmoid(beta · x), an activation that learns its own bend: beta = 0 makes it the straight line
x / 2, a large beta makes it a ReLU.  (Ramachandran, Zoph and Le, "Searching for activation functions",
2017.)  The library has no such layer; the class below is all it takes, and it knows no array library.

    python examples/custom_layer.py

The program first holds ``backward`` against the derivative of ``forward``, which every layer of one's own
deserves, then trains the layer inside a network, from one seed, on every array library that this machine has.
``mt.testing.assert_portable(layer, x)`` would look for what fails only on a GPU or under jit, and name its line.
"""

import numpy as np

import martlet as mt


class Swish(mt.Layer):
    """y = x · sigmoid(beta · x),  dx = dout · (s + beta x s (1 - s)),  dbeta = Σ dout · x² s (1 - s)

    where s = sigmoid(beta · x).  x: (N, D); beta: (D,), one number per column, so it sums over the rows.
    """

    beta: mt.Array  # a field annotated Array is learned, moved between libraries and saved

    def forward(self, x):
        s = mt.sigmoid(self.beta * x)
        return x * s, (x, s)

    def backward(self, cache, dout):
        x, s = cache
        slope = x * s * (1.0 - s)  # how x · s moves with beta · x
        dbeta = mt.namespace(x).sum(dout * slope * x, axis=0)
        return dout * (s + self.beta * slope), self.gradient(beta=dbeta)


def network(rng):
    """The spiral's network with Swish for its Sigmoid; beta starts at 1."""
    return mt.Sequential(mt.Affine.init(2, 10, rng), Swish(np.ones(10, dtype="float32")), mt.Affine.init(10, 3, rng))


def train(backend, epochs=100):
    """The loss of each epoch, and the trained model.  Nothing here depends on the library but its name."""
    x, t = mt.datasets.spiral()
    model, history = mt.fit(
        network(np.random.default_rng(0)),
        x,
        t,
        loss=mt.SoftmaxWithLoss(),
        optimizer=mt.SGD(lr=0.5),
        epochs=epochs,
        batch_size=30,
        backend=backend,
    )
    return history.loss, model


def main():
    layer, x = Swish(np.linspace(0.5, 2.0, 4)), np.random.default_rng(0).standard_normal((5, 4))
    print(mt.testing.check_gradients(layer, x), end="\n\n")
    print(f"{'backend':18}{'final loss':>12}{'accuracy':>10}{'largest difference from NumPy':>32}")
    curve = None
    for backend in mt.available_backends():  # NumPy comes first
        losses, model = train(backend)
        curve = curve or losses
        accuracy = mt.accuracy(model, *mt.datasets.spiral())
        difference = np.max(np.abs(np.subtract(losses, curve)))
        print(f"{backend:18}{losses[-1]:12.6f}{accuracy:10.3f}{difference:32.1e}")
    print(f"\nbeta after training:\n{np.round(mt.to_numpy(model[1].beta), 2)}")


if __name__ == "__main__":
    main()
