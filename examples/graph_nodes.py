"""The six nodes that networks are drawn with: what each does forward, and what comes back.

A computational graph is a drawing of a formula: arrays travel along its edges, and each node computes one
step.  Backward, gradients travel the same edges the other way.  What a node copies forward it sums
backward, and what it sums forward it copies backward.

    python examples/graph_nodes.py
    python examples/graph_nodes.py --backend torch

The first part of the output sends N = 7 samples of D = 8 numbers through each node and shows the shapes
(a node with two edges on one side has two shapes there).  The second part puts three nodes together to
y = x @ W + b, and finds the gradients that the Affine layer writes down at once.
"""

import argparse

import numpy as np

import martlet as mt

N, D, H = 7, 8, 3


def drawer(backend, seed=0):
    """A function from shapes to arrays of random numbers on the backend."""
    rng = np.random.default_rng(seed)
    return lambda *shape: backend.asarray(rng.standard_normal(shape), "float32")


def nodes(draw):
    """Each node with an input for it, and a rule for its gradient."""
    return [
        (mt.Add(), (draw(N, D), draw(N, D)), "each input gets dout"),
        (mt.Multiply(), (draw(N, D), draw(N, D)), "each input gets dout times the other"),
        (mt.Branch(2), draw(N, D), "dx is the sum of the two douts"),
        (mt.Repeat(N), draw(1, D), "dx is the sum of dout over the N rows"),
        (mt.Sum(), draw(N, D), "dx is dout repeated N times"),
        (mt.MatMul(draw(D, H)), draw(N, D), "dx = dout @ W.T, dW = x.T @ dout"),
    ]


def shapes(part):
    """The shape of an array, or of each array of a tuple."""
    return " ".join(str(tuple(a.shape)) for a in (part if isinstance(part, tuple) else (part,)))


def show_nodes(draw):
    """One line per node: the shapes that go in and out, forward and then backward."""
    print(f"{'node':8} {'x':>13}    {'y':13} | {'dout':>13}    {'dx':13} the rule of backward")
    for node, x, rule in nodes(draw):
        y, cache = node.forward(x)
        dout = tuple(draw(*part.shape) for part in y) if isinstance(y, tuple) else draw(*y.shape)
        dx, grad = node.backward(cache, dout)
        forward, backward = (f"{shapes(given):>13} -> {shapes(got):13}" for given, got in ((x, y), (dout, dx)))
        dW = f" {shapes(grad.W)}" if grad is not None else ""  # only MatMul has something to learn
        print(f"{type(node).__name__:8} {forward} | {backward} {rule}{dW}")


def affine_from_nodes(x, W, b, dout):
    """The output of an Affine layer and its gradients, from MatMul, Repeat and Add."""
    matmul, repeat, add = mt.MatMul(W), mt.Repeat(x.shape[0]), mt.Add()
    xW, cache_matmul = matmul.forward(x)
    rows, cache_repeat = repeat.forward(b[None, :])  # (1, H) -> (N, H): what "+ b" does without saying so
    y, cache_add = add.forward((xW, rows))

    (dxW, drows), _ = add.backward(cache_add, dout)
    db, _ = repeat.backward(cache_repeat, drows)
    dx, grad = matmul.backward(cache_matmul, dxW)
    return {"y": y, "dx": dx, "dW": grad.W, "db": db[0, :]}


def affine_at_once(x, W, b, dout):
    """The same from the Affine layer."""
    affine = mt.Affine(W, b)
    y, cache = affine.forward(x)
    dx, grad = affine.backward(cache, dout)
    return {"y": y, "dx": dx, "dW": grad.W, "db": grad.b}


def show_affine(draw):
    """The graph of an Affine layer, and how far its arrays are from the layer's own."""
    print(f"""
An Affine layer, y = x @ W + b, as a graph:

    x {N, D} ----- MatMul with W {D, H} --+
                                         Add --> y {N, H}
    b {1, H} ----- Repeat {N} times --------+

Backward, Add hands dout to both edges, and Repeat sums it over the rows: that is why db = sum(dout, axis=0).

Largest difference from the Affine layer's own""")
    arrays = draw(N, D), draw(D, H), draw(H), draw(N, H)
    graph, layer = affine_from_nodes(*arrays), affine_at_once(*arrays)
    for name in layer:
        difference = np.max(np.abs(mt.to_numpy(graph[name]) - mt.to_numpy(layer[name])))
        print(f"    {name:2} {shapes(layer[name]):6}  {difference:.1e}")


def main():
    parser = argparse.ArgumentParser(description="The nodes of a computational graph, forward and backward.")
    parser.add_argument("--backend", default="numpy", help="numpy, cupy, torch, jax, ... (default: numpy)")
    args = parser.parse_args()
    try:
        draw = drawer(mt.Backend(args.backend))
    except (mt.BackendUnavailable, ValueError) as error:
        parser.exit(2, f"{error}\n")
    show_nodes(draw)
    show_affine(draw)


if __name__ == "__main__":
    main()
