"""Train in PyTorch, ship one small file, predict where there is only NumPy.

A network of 371 numbers does not need half a gigabyte of PyTorch to say which arm of a spiral a point is on.
Here PyTorch trains it; ``from_torch`` copies its weights into the same layers here, which give the same
numbers; ``save`` puts them into one file; and another Python, which refuses to import anything but the
standard library, NumPy, array-api-compat and martlet, loads the file and predicts.

    python examples/from_torch_to_numpy.py                          needs PyTorch: pip install "martlet[torch]"
    python examples/from_torch_to_numpy.py --file spiral.martlet    keeps the file

Without PyTorch the network is trained by ``mt.fit``, and the rest is the same.
"""

import argparse
import io
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import martlet as mt

HIDDEN, STEPS = 16, 300

# What runs in the other Python: it is given the file, and writes its scores to its standard output.
ELSEWHERE = """
import sys

ALLOWED = {"martlet", "numpy", "array_api_compat", *sys.stdlib_module_names}


class NothingElse:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] not in ALLOWED:
            raise ModuleNotFoundError(f"{name} is not to be had here")


sys.meta_path.insert(0, NothingElse)

import numpy, martlet

model = martlet.load(sys.argv[1])
x, t = martlet.datasets.spiral()
numpy.save(sys.stdout.buffer, model.predict(x))
"""


def trained_in_torch(torch, x, t):
    """A Sequential of PyTorch's, trained as its users do it."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(2, HIDDEN),
        torch.nn.Tanh(),
        torch.nn.Linear(HIDDEN, HIDDEN),
        torch.nn.Tanh(),
        torch.nn.Linear(HIDDEN, 3),
    )
    x, t = torch.asarray(x), torch.asarray(t)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(STEPS):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x), t).backward()
        optimizer.step()
    return net.eval()


def trained_here(x, t):
    """The same layers, for those who have no PyTorch."""
    rng = np.random.default_rng(0)
    first, second, third = (mt.Affine.init(*size, rng) for size in ((2, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 3)))
    net = mt.Sequential(first, mt.Tanh(), second, mt.Tanh(), third)
    return mt.fit(net, x, t, loss=mt.SoftmaxWithLoss(), optimizer=mt.Adam(lr=0.02), epochs=STEPS, batch_size=300)[0]


def predict_elsewhere(file):
    """The scores that a Python with nothing but NumPy gives for the spiral."""
    run = subprocess.run([sys.executable, "-c", ELSEWHERE, str(file)], stdout=subprocess.PIPE, check=True)
    return np.load(io.BytesIO(run.stdout))


def main():
    parser = argparse.ArgumentParser(description="Trained in PyTorch, shipped as one file, run on NumPy alone.")
    parser.add_argument("--file", type=Path, help="where to keep the file (default: nowhere)")
    args = parser.parse_args()

    x, t = mt.datasets.spiral()
    try:
        import torch
    except ImportError:
        print('PyTorch is not installed (pip install "martlet[torch]"): trained by martlet instead')
        model = trained_here(x, t)
    else:
        net = trained_in_torch(torch, x, t)
        model = mt.from_torch(net)
        with torch.no_grad():
            scores = net(torch.asarray(x)).numpy()
        print(
            f"PyTorch and martlet differ by {np.max(np.abs(model.predict(x) - scores)):.1e} at most, "
            f"in scores up to {np.max(np.abs(scores)):.1f}"
        )
    print(model)

    with tempfile.TemporaryDirectory() as folder:
        file = args.file or Path(folder) / "spiral.martlet"
        mt.save(file, model)
        scores = predict_elsewhere(file)
        print(f"\n{file.name}: {file.stat().st_size:,} bytes")
    print(f"accuracy with nothing but NumPy: {np.mean(scores.argmax(axis=1) == t):.3f}")
    print(f"the same scores, bit for bit: {np.array_equal(scores, model.predict(x))}")


if __name__ == "__main__":
    main()
