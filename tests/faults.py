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
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
    Fault("softmax's backward without its sum", "layers/softmax.py",
          "y * (dout - namespace(y).sum(dout * y, axis=-1, keepdims=True))", "y * dout",
          "test_laws.py -k backward_is_the_derivative"),
    Fault("a branch gives back one gradient and not their sum", "layers/nodes.py",
          "return total(self, \"dout\", dout), None", "return dout[0], None",
          "test_laws.py -k backward_is_the_derivative"),
    Fault("a frozen layer learns", "layers/sequential.py",
          "return self.layer.backward(cache, dout)[0], None", "return self.layer.backward(cache, dout)",
          "test_layers.py -k frozen"),
    Fault("softmax without the maximum subtracted", "functions.py",
          "top = xp.max(x, axis=-1, keepdims=True)", "top = 0.0 * xp.max(x, axis=-1, keepdims=True)",
          "test_functions.py -k softmax_does_not_overflow"),
    Fault("the textbook sigmoid, which overflows", "functions.py",
          "return exps / (1.0 + exps)", "return 1.0 / (1.0 + xp.exp(-x))", "test_functions.py -k sigmoid_keeps"),
    Fault("1e-7 added inside the logarithm", "layers/losses.py",
          "xp.log1p(others[:, 0])", "xp.log1p(others[:, 0] + 1e-7)", "test_layers.py -k confident_right"),
    Fault("log(1 + exp) where log1p keeps the digits", "layers/losses.py",
          "xp.log1p(xp.exp(-xp.abs(y)))", "xp.log(1.0 + xp.exp(-xp.abs(y)))", "test_layers.py -k keeps_its_digits"),
    Fault("(N, 1) against (N,) is not noticed", "layers/losses.py",
          "    if y.shape != t.shape:\n        hint", "    if len(y.shape) == 0:\n        hint",
          "test_errors.py -k MSE"),
    Fault("the weighted mean divides by the number of samples", "loss.py",
          "count = xp.sum(counts)\n", "count = xp.sum(xp.ones_like(counts))\n",
          "test_laws.py -k weighted_mean"),
    Fault("labels out of range are not noticed", "layers/losses.py",
          "if xp is host and xp.count_nonzero(chosen) != samples:", "if False:", "test_layers.py -k names_no_class"),
    Fault("the digits that a shift takes from exp are lost", "functions.py",
          "exps = exps + exps * taken", "exps = exps + 0.0 * taken", "test_numerics.py -k last_digits_are_right"),
    Fault("the largest entry is added and taken away again", "functions.py",
          "xp.sum(exps - largest, axis=-1, keepdims=True) + (xp.sum(largest, axis=-1, keepdims=True) - 1.0)",
          "xp.sum(exps, axis=-1, keepdims=True) - 1.0", "test_numerics.py -k last_digits_are_right"),
    Fault("a confident right answer costs nothing", "layers/losses.py",
          "others = xp.sum(exps - hot, axis=1, keepdims=True)", "others = xp.sum(exps, axis=1, keepdims=True) - 1.0",
          "test_numerics.py -k every_peer_loses"),
    Fault("binary cross-entropy as the difference of two large numbers", "layers/losses.py",
          "losses = part(positive, xp.maximum(-y, 0.0) + bend) + part(1.0 - t, xp.maximum(y, 0.0) + bend)",
          "losses = xp.maximum(y, 0.0) - y * t + bend", "test_numerics.py -k last_digits_are_right"),
    Fault("0 · ∞ in a loss", "layers/losses.py",
          "share * namespace(share).where(share == 0.0, share, loss)", "share * loss",
          "test_numerics.py -k infinite_logits"),
    Fault("losses of half precision are added in half precision", "loss.py",
          "return wide(y), wide(t)", "return y, t", "test_numerics.py -k half_precision"),
    Fault("losses are added before they are divided", "loss.py",
          "losses, share = losses / count, share / count",
          "losses, share = namespace(y).sum(losses) / count / losses.shape[0] + 0.0 * losses, share / count",
          "test_numerics.py -k does_not_overflow"),
    Fault("a ReLU that hides NaN", "layers/activations.py",
          "y = namespace(x).maximum(x, 0.0)", "y = namespace(x).where(x > 0.0, x, 0.0)",
          "test_numerics.py -k never_hidden"),
    Fault("the exact GELU and its approximation exchanged", "layers/activations.py",
          "if not self.tanh:", "if self.tanh:", "test_against_onnx.py -k Gelu"),
    Fault("normalization by the unbiased variance", "layers/normalization.py",
          "variance = xp.sum(centred * centred, axis=axes, keepdims=True) / count",
          "variance = xp.sum(centred * centred, axis=axes, keepdims=True) / (count - 1)",
          "test_against_onnx.py -k LayerNormalization"),
    Fault("sample weights not counted beside class weights", "loss.py",
          "counts = counts * weight", "counts = counts * 1.0", "test_against_onnx.py -k SoftmaxCrossEntropy"),
    Fault("a schedule that is a step early", "optimizers/optimizer.py",
          "self.schedule.at(xp.astype(state.step, x.dtype), state.schedule)",
          "self.schedule.at(xp.astype(state.step + 1, x.dtype), state.schedule)",
          "test_against_sklearn.py -k invscaling"),
    Fault("a smaller last batch counts as much as the others in an epoch's loss", "progress.py",
          "share: Array | float = float(batch[0].shape[0])", "share: Array | float = 1.0",
          "test_against_sklearn.py -k Momentum"),
    Fault("the velocity without the newest gradient in Nesterov's step", "optimizers/descent.py",
          "return p + (momentum * v - lr * g), v", "return p + momentum * v, v",
          "test_against_sklearn.py -k Nesterov"),
    Fault("velocity with the sign of plain descent", "optimizers/descent.py",
          "v = momentum * v - lr * g\n        return p + v, v", "v = momentum * v + lr * g\n        return p + v, v",
          "test_optimizers.py -k velocity"),
    Fault("Adam without bias correction", "optimizers/adaptive.py",
          "(peak if self.amsgrad else v) / correction2", "(peak if self.amsgrad else v)",
          "test_optimizers.py -k algorithm_1"),
    Fault("Adam's eps inside the root", "optimizers/adaptive.py",
          "* m / (root + eps), m, v, peak", "* m / xp.sqrt(root * root + eps), m, v, peak",
          "test_optimizers.py -k algorithm_1"),
    Fault("1 - beta**t, which cancels in float32", "optimizers/adaptive.py",
          "return -xp.expm1(t * xp.log(xp.maximum(beta, 1e-37)))", "return 1.0 - beta**t",
          "test_optimizers.py -k cancel"),
    Fault("an update in place", "optimizers/descent.py",
          "return (p - lr * g,)", "p -= lr * g; return (p,)", "test_laws.py -k in_place"),
    Fault("the numbers come from the optimizer and not from the state", "optimizers/optimizer.py",
          "x = step if name == \"t\" else getattr(state, name)",
          "x = step if name == \"t\" else namespace(p).asarray(getattr(self, name), dtype=dtype)",
          "test_laws.py -k read_from_the_state"),
    Fault("the order of the batches comes from NumPy's global stream", "batches.py",
          "rng.permutation(x.shape[0])", "__import__(\"numpy\").random.permutation(x.shape[0])",
          "test_training.py -k global_stream"),
    Fault("every batch counts alike in the epoch's loss, however short", "progress.py",
          "share: Array | float = float(batch[0].shape[0])", "share: Array | float = 1.0",
          "test_training.py -k counts_samples"),
    Fault("the state is not checked against the optimizer", "training.py",
          "for name, kept in optimizer.numbers_in(state).items():", "for name, kept in ():",
          "test_training.py -k not_used_silently"),
    Fault("the spiral's noise without its 0.2", "datasets.py",
          "rng.standard_normal((classes, points)) * noise", "rng.standard_normal((classes, points))",
          "test_datasets.py -k bit_for_bit"),
    Fault("the Nesterov of a well-known repository, with the new velocity for the old", "optimizers/descent.py",
          "return p + (momentum * v - lr * g), v", "return p + momentum * momentum * v - (1.0 + momentum) * lr * g, v",
          "test_optimizers.py -k nesterov_looks_ahead"),
    Fault("RMSprop's eps inside the root", "optimizers/adaptive.py",
          "return p - lr * g / (xp.sqrt(spread) + eps), v, m", "return p - lr * g / xp.sqrt(spread + eps), v, m",
          "test_optimizers.py -k rmsprop_divides"),
    Fault("centered RMSprop takes the root of a rounding error", "optimizers/adaptive.py",
          "xp.maximum(v - m * m, 0.0)", "(v - m * m)", "test_optimizers.py -k rounding_error"),
    Fault("AdamW's decay without the learning rate", "optimizers/adaptive.py",
          "p = p - lr * weight_decay * p", "p = p - weight_decay * p", "test_optimizers.py -k adamw_shrinks"),
    Fault("amsgrad forgets its peak", "optimizers/adaptive.py",
          "peak = xp.maximum(peak, v)", "peak = v", "test_optimizers.py -k never_forgets"),
    Fault("each array clipped by its own norm", "optimizers/transforms.py",
          "norm = xp.sqrt(xp.sum(", "norm = xp.sqrt(xp.max(", "test_transforms.py -k takes_all_arrays_together"),
    Fault("squares that overflow before they are clipped", "optimizers/transforms.py",
          "unit = xp.where(largest > 0.0, largest, 1.0)", "unit = xp.ones_like(largest)",
          "test_transforms.py -k huge_gradient"),
    Fault("biases decay though they were not to", "optimizers/transforms.py",
          "g if is_bias(p) and not self.biases else", "", "test_transforms.py -k adds_a_share"),
    Fault("the schedule is a step late", "optimizers/optimizer.py",
          "self.schedule.at(xp.astype(state.step, x.dtype)", "self.schedule.at(xp.astype(step, x.dtype)",
          "test_schedules.py -k multiplies_its_rate"),
    Fault("the warm-up begins at 0 and wastes a step", "schedules.py",
          "(n + 1.0) / xp.maximum", "n / xp.maximum", "test_schedules.py -k is_its_formula"),
    Fault("the GELU without the density in its derivative", "layers/activations.py",
          "(below + clamp(x, -ENOUGH, ENOUGH) * density)", "below", "test_laws.py -k backward_is_the_derivative"),
    Fault("batch normalization over the wrong axes", "layers/normalization.py",
          "return (0, *range(2, len(x.shape)))", "return (0,)", "test_layers.py -k batch_norm_of_images"),
    Fault("the running variance is the biased one", "layers/normalization.py",
          "variance * (count / (count - 1))", "variance", "test_layers.py -k batch_norm"),
    Fault("momentum is the share of the old statistics", "layers/normalization.py",
          "(1.0 - self.momentum) * wide(old) + self.momentum * new",
          "self.momentum * wide(old) + (1.0 - self.momentum) * new", "test_layers.py -k batch_norm"),
    Fault("normalization's backward without the mean of dout", "layers/normalization.py",
          "return (dout - mean - along * x_hat) * scale", "return (dout - along * x_hat) * scale",
          "test_laws.py -k backward_is_the_derivative"),
    Fault("a word that comes twice keeps one of its gradients", "layers/embedding.py",
          "rows = xp.concat([rows[:step, :], rows[step:, :] + before])", "",
          "test_laws.py -k backward_is_the_derivative"),
    Fault("dropout that does not make up for what it drops", "layers/dropout.py",
          " * (1.0 / (1.0 - self.rate))", "", "test_noise.py -k one_on_average"),
    Fault("the same mask at every step", "layers/dropout.py",
          "\"step\": self.step + 1", "\"step\": self.step + 0", "test_noise.py -k mask_of_its_own"),
    Fault("streams that are shifted copies of one another", "noise.py",
          "odd = mix(start ^ first) | 1", "odd = (start & 0) | 1", "test_noise.py -k noise_passes"),
    Fault("a mixer without its last shift", "noise.py",
          "return x ^ ((x >> 16) & 0xFFFF)", "return x", "test_noise.py -k noise_passes"),
    Fault("two layers may share a stream", "training.py",
          "    check_streams(\"fit\", model)\n", "", "test_noise.py -k with_one_stream"),
    Fault("the mean of weighted classes divides by the number of samples", "layers/losses.py",
          "counts = xp.sum(t * weight, axis=1)", "counts = None", "test_laws.py -k weighted_mean"),
    Fault("pos_weight on the negative part too", "layers/losses.py",
          "part(1.0 - t, ", "part((1.0 - t) * positive / t, ",
          "test_laws.py -k differentiated_right"),
    Fault("early stopping gives back the last model", "stopping.py",
          "        return best\n", "        return model\n", "test_stopping.py -k best"),
    Fault("the hook is given the model itself", "training.py",
          "hook(epoch, copied(model), run.history.copy())", "hook(epoch, model, run.history)",
          "test_stopping.py -k hook"),
    Fault("a NaN in the loss goes unnoticed", "training.py",
          "all(map(math.isfinite, values)) and all_finite(self.watched(model))", "True", "test_stopping.py"),
    Fault("what a layer keeps of its batches is not looked at", "training.py",
          "self.watched: Callable[[Any], Iterable[Array]] = leaves",
          "self.watched: Callable[[Any], Iterable[Array]] = learned_leaves", "test_stopping.py"),
    Fault("a step reads its loss from the device", "step.py",
          "    return model, state, value", "    float(value)\n    return model, state, value",
          "test_neighbour.py --backend strict-device1 -k never_waits"),
    Fault("a run reads every loss by itself", "progress.py",
          "len(self.waiting) >= 1000", "len(self.waiting) >= 1",
          "test_neighbour.py --backend strict-device1 -k reads_as_often"),
    Fault("a batch that fits is not the largest of the halves", "memory.py",
          "batch_size //= 2", "batch_size //= 4", "test_neighbour.py -k would_fit"),
    Fault("memory shared between libraries", "backend/__init__.py",
          "if not self.lib.copies", "if False", "test_backend.py --backend strict-device1 -k never_shared"),
    Fault("masks allowed where jit could not trace them", "testing/targets.py",
          "boolean_indexing=False", "boolean_indexing=True", "test_portable.py -k a_trap_is_found"),
    Fault("memory that is called read-only and is not", "testing/targets.py",
          "array.flags.writeable = False", "array.flags.writeable = True", "test_portable.py -k a_trap_is_found"),
    Fault("martlet's line named instead of the user's", "testing/traps.py",
          "(users or ours)[-1:]", "(ours or users)[-1:]", "test_portable.py -k named_by_the_line_that_called_it"),
    Fault("an installed function's line blamed", "testing/traps.py",
          'return "library" if installed or', 'return "library" if', "test_portable.py -k an_installed_layer"),
    Fault("a wider result let through", "testing/trial.py",
          "if dtype_name(a.dtype) != wanted:", "if dtype_name(a.dtype) < wanted:",
          "test_portable.py -k silent_trouble"),
    Fault("an input that was written into not compared", "testing/trial.py",
          "np.array_equal(to_numpy(array), was[name]", "np.array_equal(to_numpy(array), to_numpy(array)",
          "test_portable.py -k silent_trouble"),
    Fault("observe that gives another layer let through", "testing/trial.py",
          "if type(after) is not type(first) or _shapes_of(after)", "if _shapes_of(after)",
          "test_portable.py -k silent_trouble"),
    Fault("a compiling epoch in the time of a step", "testing/comparison.py",
          "history.seconds[1:]", "history.seconds", "test_comparison.py -k first_epoch_is_not_timed"),
    Fault("every curve compared with itself", "testing/comparison.py",
          "difference(curve, expected[0])[0], difference(floats", "difference(curve, curve)[0], difference(floats",
          "test_comparison.py -k two_runs_of_fit"),
    Fault("a layer's own fault is blamed on the whole model", "testing/gradients.py",
          "found = self.blame(inside)", "found = self.blame(inside[:0])", "test_check_gradients.py -k planted"),
    Fault("the outermost wrong layer is blamed, not the innermost", "testing/gradients.py",
          "for record in records:  # an inner", "for record in records[::-1]:  # an inner",
          "test_check_gradients.py -k planted"),
    Fault("a kink is taken for a fault", "testing/agreement.py",
          "if slopes is not None and _between(got, *slopes):", "if False:", "test_check_gradients.py -k kink"),
    Fault("a kink excuses any slope", "testing/agreement.py",
          "if slopes is not None and _between(got, *slopes):", "if slopes is not None:",
          "test_check_gradients.py -k lies_between"),
    Fault("rounding is taken for a fault", "testing/agreement.py",
          "a + SAFETY * noise", "a + 0.0 * noise", "test_check_gradients.py -k 'layer_passes or batch_norm'"),
    Fault("an error of a millionth is let pass", "testing/agreement.py",
          "rtol * np.abs(e)", "100.0 * rtol * np.abs(e) + 1e-6 * np.abs(e)", "test_check_gradients.py -k millionth"),
    Fault("what a verb writes into is not looked at", "testing/witness.py",
          "if not same([now], [old])", "if False", "test_check_gradients.py -k planted"),
    Fault("noise from outside is not noticed", "testing/gradients.py",
          "if not record.is_repeatable():", "if False:", "test_check_gradients.py -k outside"),
    Fault("dout is all ones", "testing/lifted.py",
          "rng.standard_normal(part.shape)", "np.ones(part.shape)", "test_check_gradients.py -k planted"),
    Fault("a gradient for a kept leaf is let pass", "testing/structure.py",
          "        elif d is not None:", "        elif False:", "test_check_gradients.py -k planted"),
    Fault("a model is judged in its own width", "testing/lifted.py",
          '"float64" if is_floating(x) else None', "None", "test_check_gradients.py -k narrow"),
    Fault("Flatten takes the numbers in the order in which they lie in memory", "layers/shapes.py",
          "shape = fill_in(self, x, (-1,))\n        return namespace(x).reshape(x, shape)",
          "shape = fill_in(self, x, (-1,))\n        return x.ravel(order=\"K\").reshape(shape)",
          "test_properties_of_layers.py -k 'layout and Flatten'"),
    Fault("a row with stride 0 is taken for the only one", "layers/linear.py",
          "b=namespace(x).sum(dout, axis=0)",
          "b=namespace(x).sum(dout, axis=0) if dout.strides[0] else dout[0]",
          "test_properties_of_layers.py -k 'layout and Affine'"),
    Fault("dx is made in dout's own memory", "layers/activations.py",
          "return dout * (s * (1.0 + clamp(x, -FAR, FAR) * (1.0 - s))), None",
          "dout *= s * (1.0 + clamp(x, -FAR, FAR) * (1.0 - s))\n        return dout, None",
          "test_properties_of_layers.py -k 'layout and SiLU'"),
    Fault("backward uses up its cache", "layers/dropout.py",
          "return dout * mask, None", "mask *= dout\n        return mask, None",
          "test_properties_of_layers.py -k 'linear and Dropout'"),
    Fault("rows shifted by the largest number of the batch, so that they underflow together", "functions.py",
          "top = xp.max(x, axis=-1, keepdims=True)", "top = xp.max(x)",
          "test_properties_of_layers.py -k 'alone and Softmax or finite and Softmax'"),
    Fault("a short cut for a batch of one", "layers/softmax.py",
          "namespace(y).sum(dout * y, axis=-1, keepdims=True)",
          "namespace(y).sum(dout * y, axis=-1, keepdims=y.shape[0] > 1)",
          "test_properties_of_layers.py -k 'alone and Softmax'"),
    Fault("the GELU's cube overflows", "layers/activations.py",
          "z = clamp(x, -ENOUGH, ENOUGH)", "z = x", "test_properties_of_layers.py -k 'finite and tanh'"),
    Fault("the statistics of words and sentences are one", "layers/normalization.py",
          "normalize(wide(x), last_axes(x, rank), self.eps)",
          "normalize(wide(x), last_axes(x, len(x.shape) - 1), self.eps)",
          "test_properties_of_layers.py -k 'slope and LayerNorm'"),
    Fault("the gradient counts a sample with the root of its weight", "loss.py",
          "share: Any = 1.0 if weight is None else weight", "share: Any = 1.0 if weight is None else weight**0.5",
          "test_properties_of_losses.py -k how_often"),
    Fault("Huber's slope is half as much again", "layers/losses.py",
          "        held = cache\n        return held", "        held = cache\n        return held * 1.5",
          "test_properties_of_losses.py -k convex"),
    Fault("what smoothing takes is shared out among the samples and not the classes", "layers/losses.py",
          "smoothing / t.shape[1]", "smoothing / t.shape[0]", "test_properties_of_losses.py -k mixture"),
    Fault("pos_weight on both parts of the gradient", "layers/losses.py",
          "return (1.0 - t) * sigmoid(y) - wide(self.pos_weight) * (t * sigmoid(-y))",
          "return self.pos_weight * (sigmoid(y) - t)", "test_properties_of_losses.py -k places"),
    Fault("each array is given the memory of another", "optimizers/optimizer.py",
          "for slot in zip(*columns, strict=True)]", "for slot in zip(*(c[::-1] for c in columns), strict=True)]",
          "test_properties_of_training.py -k only_the_arrays"),
    Fault("a velocity is gathered in place", "optimizers/descent.py",
          "v = momentum * v - lr * g\n        return p + v, v",
          "v *= momentum\n        v -= lr * g\n        return p + v, v",
          "test_properties_of_training.py -k 'is_a_value and Momentum'"),
    Fault("every epoch has the order of the first", "training.py",
          "draw_order(data[0], rng if shuffle else None)", "draw_order(data[0], _generator(seed) if shuffle else None)",
          "test_properties_of_training.py -k by_hand"),
    Fault("fit gives back arrays that are the caller's", "training.py",
          "    model = model.to(backend)\n", "", "test_properties_of_training.py -k by_hand"),
    Fault("the last batch is filled up with samples that had their turn", "batches.py",
          "rows = slice(start, min(start + size, stop))",
          "rows = slice(max(min(start, stop - size), 0), min(start + size, stop))",
          "test_properties_of_values.py -k every_sample_once"),
    Fault("rebuild takes the fields of a layer backwards", "tree.py",
          "    changed = {name: function(leaf) for name in tree._leaves if",
          "    changed = {name: function(leaf) for name in reversed(tree._leaves) if",
          "test_properties_of_values.py -k leaves_and_its_names"),
    Fault("the inverse forgets that the mean was scaled", "layers/standardize.py",
          '{"mean": -self.mean / self.scale,', '{"mean": -self.mean,', "test_properties_of_values.py -k standardized"),
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
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(Path(folder) / "src"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if run.returncode == 1:
        return ""
    return (
        "the test passed" if run.returncode == 0 else f"the test could not run: {run.stdout[-300:]}{run.stderr[-300:]}"
    )


def replay_all() -> Iterator[tuple[Fault, str]]:
    """Every fault with what is wrong with its row, or "", replayed one per core at a time."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from zip(FAULTS, pool.map(replay, FAULTS), strict=True)


def main() -> None:
    """Replay every fault; the exit status is the number of those that nothing caught."""
    missed = 0
    for fault, problem in replay_all():
        missed += bool(problem)
        verdict, why = ("MISSED", f"  ({problem})") if problem else ("caught", "")
        print(f"{verdict}  {fault.what}: {fault.test}{why}", flush=True)
    print(f"{len(FAULTS) - missed} of {len(FAULTS)} faults were caught")
    sys.exit(missed)


if __name__ == "__main__":
    main()
