"""The faults that people make: each row plants one in a copy of the library, and names the test that must catch it.

A row is what the fault is, the file, the text that stands there, what is put in its place, and the test.
``python tests/faults.py`` replays them all and prints which test caught what.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent


class Fault(NamedTuple):
    """One planted fault and the test that catches it (a file and options of pytest)."""

    what: str
    file: str
    right: str
    wrong: str
    test: str


# fmt: off
FAULTS = [
    Fault("db is a mean over the batch and not a sum", "layers/linear.py",
          "b=namespace(x).sum(dout, axis=0)", "b=namespace(x).mean(dout, axis=0)",
          "test_laws.py -k backward_is_the_derivative"),
    Fault("the derivative of the sigmoid with a wrong sign", "layers/activations.py",
          "dout * y * (1.0 - y)", "dout * y * (1.0 + y)", "test_laws.py -k backward_is_the_derivative"),
    Fault("softmax's backward without its sum", "layers/activations.py",
          "y * (dout - namespace(y).sum(dout * y, axis=-1, keepdims=True))", "y * dout",
          "test_laws.py -k backward_is_the_derivative"),
    Fault("a branch gives back one gradient and not their sum", "layers/nodes.py",
          "return total(self, \"dout\", dout), None", "return dout[0], None",
          "test_laws.py -k backward_is_the_derivative"),
    Fault("a frozen layer learns", "layers/sequential.py",
          "return self.layer.backward(cache, dout)[0], None", "return self.layer.backward(cache, dout)",
          "test_layers.py -k frozen"),
    Fault("softmax without the maximum subtracted", "functions.py",
          "z = x - xp.max(x, axis=-1, keepdims=True)", "z = x - 0.0 * xp.max(x, axis=-1, keepdims=True)",
          "test_functions.py -k softmax_does_not_overflow"),
    Fault("the textbook sigmoid, which overflows", "functions.py",
          "return exps / (1.0 + exps)", "return 1.0 / (1.0 + xp.exp(-x))", "test_functions.py -k sigmoid_keeps"),
    Fault("1e-7 added inside the logarithm", "layers/losses.py",
          "xp.log(sums[:, 0])", "xp.log(sums[:, 0] + 1e-7)", "test_layers.py -k confident_right"),
    Fault("log(1 + exp) where log1p keeps the digits", "layers/losses.py",
          "xp.log1p(xp.exp(-xp.abs(y)))", "xp.log(1.0 + xp.exp(-xp.abs(y)))", "test_layers.py -k keeps_its_digits"),
    Fault("(N, 1) against (N,) is not noticed", "layers/losses.py",
          "    if y.shape != t.shape:\n        hint", "    if len(y.shape) == 0:\n        hint",
          "test_errors.py -k MSE"),
    Fault("the weighted mean divides by the number of samples", "layers/losses.py",
          "count = losses.shape[0] if weight is None else xp.sum(weight, dtype=width)", "count = xp.sum(y * 0.0 + 1.0)",
          "test_laws.py -k weighted_mean"),
    Fault("labels out of range are not noticed", "layers/losses.py",
          "elif xp.count_nonzero(chosen) != samples:", "elif False:", "test_layers.py -k names_no_class"),
    Fault("velocity with the sign of plain descent", "optimizers.py",
          "v = momentum * v - lr * g", "v = momentum * v + lr * g", "test_optimizers.py -k velocity"),
    Fault("Adam without bias correction", "optimizers.py",
          "v / one_minus_power(beta2, t)", "v", "test_optimizers.py -k algorithm_1"),
    Fault("Adam's eps inside the root", "optimizers.py",
          "return p - (lr / one_minus_power(beta1, t)) * m / (root + eps), m, v",
          "return p - (lr / one_minus_power(beta1, t)) * m / namespace(p).sqrt(root * root + eps), m, v",
          "test_optimizers.py -k algorithm_1"),
    Fault("1 - beta**t, which cancels in float32", "optimizers.py",
          "return -xp.expm1(t * xp.log(xp.maximum(beta, 1e-37)))", "return 1.0 - beta**t",
          "test_optimizers.py -k cancel"),
    Fault("an update in place", "optimizers.py",
          "return (p - lr * g,)", "p -= lr * g; return (p,)", "test_laws.py -k in_place"),
    Fault("the numbers come from the optimizer and not from the state", "optimizers.py",
          "x = step if name == \"t\" else getattr(state, name)",
          "x = step if name == \"t\" else namespace(p).asarray(getattr(self, name), dtype=dtype)",
          "test_laws.py -k read_from_the_state"),
    Fault("the order of the batches comes from NumPy's global stream", "batches.py",
          "rng.permutation(count)", "__import__(\"numpy\").random.permutation(count)",
          "test_training.py -k global_stream"),
    Fault("every batch counts alike in the epoch's loss, however short", "progress.py",
          "share: Array | float = float(batch[0].shape[0])", "share: Array | float = 1.0",
          "test_training.py -k counts_samples"),
    Fault("the state is not checked against the optimizer", "training.py",
          "    for name in optimizer.numbers:", "    for name in ():", "test_training.py -k not_used_silently"),
    Fault("the spiral's noise without its 0.2", "datasets.py",
          "rng.standard_normal((classes, points)) * noise", "rng.standard_normal((classes, points))",
          "test_datasets.py -k bit_for_bit"),
    Fault("memory shared between libraries", "backend/__init__.py",
          "if not self.lib.copies", "if False", "test_backend.py --backend strict-device1 -k never_shared"),
]
# fmt: on


def replay(fault: Fault) -> str:
    """Plant the fault in a copy, run its test there, and say what is wrong with the row, or ""."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "src", Path(folder) / "src")
        path = Path(folder) / "src" / "martlet" / fault.file
        text = path.read_text()
        if text.count(fault.right) != 1:
            return f"the text stands {text.count(fault.right)} times in {fault.file}"
        path.write_text(text.replace(fault.right, fault.wrong))
        file, *options = shlex.split(fault.test)
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-qx",
            "--no-header",
            "-p",
            "no:cacheprovider",
            f"tests/{file}",
            *options,
        ]
        environment = {**os.environ, "PYTHONPATH": str(Path(folder) / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
        run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if run.returncode == 1:
        return ""
    return (
        "the test passed" if run.returncode == 0 else f"the test could not run: {run.stdout[-300:]}{run.stderr[-300:]}"
    )


def main() -> None:
    """Replay every fault; the exit status is the number of those that nothing caught."""
    missed = 0
    for fault in FAULTS:
        problem = replay(fault)
        missed += bool(problem)
        print(
            f"{'MISSED' if problem else 'caught'}  {fault.what}: {fault.test}{f'  ({problem})' if problem else ''}",
            flush=True,
        )
    sys.exit(missed)


if __name__ == "__main__":
    main()
