"""Does the check of portability bite?  One planted layer per trap, on the backend that should catch it."""

from __future__ import annotations

import importlib
import inspect
import math
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import LAYERS, LOSSES, LayerCase, LossCase, affine
from conftest import Target

import martlet as mt
from martlet.backend import LIBRARIES
from martlet.testing import NotPortable, Portability, assert_portable
from martlet.testing.targets import BACKENDS
from martlet.testing.traps import Finding

X = np.random.default_rng(0).standard_normal((5, 3))
LARGEST = list(map(int, np.unravel_index(np.argmax(np.abs(X)), X.shape)))


def found(layer: Any, *given: Any, **settings: Any) -> Portability:
    """The report of a layer that must not pass."""
    with pytest.raises(NotPortable) as caught:
        assert_portable(layer, *given, **settings)
    assert str(caught.value) == str(caught.value.report)
    return caught.value.report


def installed(place: str) -> None:
    library = LIBRARIES[BACKENDS[place.removesuffix(", jit")][0]]
    if library.version() is None:
        pytest.skip(f"{library.name} is not installed")


# ------------------------------------------------------------------------------------ what is portable


@pytest.mark.eager
@pytest.mark.parametrize("case", LAYERS, ids=lambda case: case.name)
def test_the_layers_are_portable(case: LayerCase, xp: Target) -> None:
    rng = np.random.default_rng(7)
    report = assert_portable(case.layer(rng), case.x(rng), backends=[xp.name])
    widths = ["float64", "float32"] if xp.double == "float64" else ["float32"]
    places = ["jax", "jax, jit"] if xp.name == "jax" else [] if xp.name == "numpy" else [xp.name]
    assert [(row.place, row.dtype) for row in report.rows] == [
        (place, width)
        for place in ["numpy", *places]
        for width in (widths if place != "numpy" else ["float64", "float32"])
    ]


@pytest.mark.eager
@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("case", LOSSES, ids=lambda case: case.name)
def test_the_losses_are_portable(case: LossCase, reduction: str, xp: Target) -> None:
    rng = np.random.default_rng(7)
    assert_portable(case.loss(reduction), case.y(rng), case.t(rng), backends=[xp.name])


@pytest.mark.eager
def test_the_report_is_a_table(xp: Target) -> None:
    report = assert_portable(xp.put(affine(np.random.default_rng(0), 3, 4)), xp.put(X), backends=[xp.name])
    text = str(report)
    assert text.startswith("Affine is portable: forward, backward, observe, predict.")
    for row in report.rows:
        assert any(line.split("  ")[0] == row.place and line.endswith("ok") for line in text.splitlines())
    assert report.rows[0].difference == 0.0
    assert 0.0 < report.rows[1].difference < 2e-5  # NumPy's own float32 is not its float64


def test_a_given_dout_is_used() -> None:
    class Sensitive(mt.Layer):
        def forward(self, x):
            return x, None

        def backward(self, cache, dout):
            if dout[0, 0] == 0.5:
                raise RuntimeError("it came")
            return dout, None

    assert_portable(Sensitive(), X, backends=["numpy"])
    assert "it came" in str(found(Sensitive(), X, dout=np.full((5, 3), 0.5), backends=["numpy"]))


# ----------------------------------------------------------------------------------------- the traps


class Planted(mt.Layer):
    """y = f(x) of x's shape, with the trap in the line that ends in "# here"; backward is of no interest."""

    def forward(self, x):
        return self.f(mt.namespace(x), x), None

    def backward(self, cache, dout):
        return dout, None

    @classmethod
    def line(cls) -> tuple[int, str]:
        lines, start = inspect.getsourcelines(cls)
        [place] = [i for i, line in enumerate(lines) if line.rstrip().endswith("# here")]
        return start + place, lines[place].strip()


class Method(Planted):
    def f(self, xp, x):
        return x - x.sum(axis=0)  # here


class MethodOfItsOwn(Planted):
    def f(self, xp, x):
        return x.clip(0.0, 1.0)  # here


class Cast(Planted):
    def f(self, xp, x):
        return x.astype(x.dtype)  # here


class Masked(Planted):
    def f(self, xp, x):
        return x - xp.sum(x[x > 0.0])  # here


class MaskedWrite(Planted):
    def f(self, xp, x):
        y = x * 1.0
        y[y < 0.0] = 0.0  # here
        return y


class Made(Planted):
    def f(self, xp, x):
        return x + xp.ones(3, dtype=x.dtype)  # here


class Size(Planted):
    def f(self, xp, x):
        return x / x.size  # here


class Length(Planted):
    def f(self, xp, x):
        return x / len(x)  # here


class Iterated(Planted):
    def f(self, xp, x):
        return xp.stack([2.0 * row for row in x])  # here


class Read(Planted):
    def f(self, xp, x):
        largest = xp.max(x)
        return x * float(largest)  # here


class Asked(Planted):
    def f(self, xp, x):
        if xp.max(x) > 0.0:  # here
            return x
        return -x


class Numpys(Planted):
    def f(self, xp, x):
        return np.exp(x)  # here


class NumpyArray(Planted):
    def f(self, xp, x):
        return x + np.ones(3, dtype="float32")  # here


class Added(Planted):
    def f(self, xp, x):
        x += 1.0  # here
        return x


class Assigned(Planted):
    def f(self, xp, x):
        x[0, 0] = 1.0  # here
        return x


class Scalar(Planted):
    def f(self, xp, x):
        return x * np.float64(2.0)  # here


class Root(Planted):
    def f(self, xp, x):
        return x / np.sqrt(3)  # here


class Mixed(Planted):
    def f(self, xp, x):
        return x + xp.astype(x > 0.0, xp.int64)  # here


class Truth(Planted):
    def f(self, xp, x):
        return x * (x > 0.0)  # here


class TwoNumbers(Planted):
    def f(self, xp, x):
        return x * xp.where(x > 0.0, 1.0, 0.0)  # here


class NotStandard(Planted):
    def f(self, xp, x):
        return xp.einsum("ij->ij", x)  # here


class Wide(Planted):
    def f(self, xp, x):
        return xp.astype(xp.astype(x, xp.float64), x.dtype)  # here


class FewAxes(Planted):
    def f(self, xp, x):
        return x - x[0]  # here


class ListIndex(Planted):
    def f(self, xp, x):
        return x - xp.sum(x[[0, 1], ...])  # here


class Nonzero(Planted):
    def f(self, xp, x):
        return x * xp.nonzero(x)[0].shape[0]  # here


class ByPosition(Planted):
    def f(self, xp, x):
        return x - xp.mean(x, 0)  # here


class Vector(Planted):
    def f(self, xp, x):
        return x + xp.sum(x, axis=0).T  # here


TRAPS = [
    (Method, "strict-device1", "namespace(x).sum(x)"),
    (MethodOfItsOwn, "strict-device1", "minimum"),
    (Cast, "torch", "astype(x, dtype)"),
    (Masked, "strict-device1", "where(mask"),
    (Masked, "jax, jit", "where(mask"),
    (MaskedWrite, "strict-no_float64", "where(condition"),
    (MaskedWrite, "jax", "where(condition"),
    (Made, "strict-device1", "zeros_like(x)"),
    (Size, "torch", "math.prod(x.shape)"),
    (Length, "strict-device1", "x.shape[0]"),
    (Iterated, "strict-device1", "x.shape[0]"),
    (Read, "jax, jit", "0-d array"),
    (Asked, "jax, jit", "where(x > 0, a, b)"),
    (Numpys, "strict-device1", "namespace(x).exp(x)"),
    (Numpys, "jax, jit", "namespace(x).exp(x)"),
    (NumpyArray, "strict-device1", "annotated Array"),
    (Added, "numpy-readonly", "x = x + y"),
    (Assigned, "numpy-readonly", "where(condition"),
    (Assigned, "jax", "where(condition"),
    (Scalar, "strict-device1", "float(c)"),
    (Root, "strict-no_float64", "math.sqrt(3)"),
    (Mixed, "strict-device1", "astype(other, x.dtype)"),
    (Truth, "strict-device1", "where(x > 0, x, 0.0)"),
    (TwoNumbers, "strict-device1", "astype(condition, x.dtype)"),
    (NotStandard, "strict-device1", "not in the standard: write @"),
    (Wide, "strict-no_float64", "dtype=x.dtype"),
    (FewAxes, "strict-device1", "x[0, ...]"),
    (ListIndex, "strict-device1", "take(x, indices"),
    (Nonzero, "strict-device1", "sort and take"),
    (ByPosition, "torch", "axis=0"),
    (Vector, "strict-device1", "permute_dims"),
]


@pytest.mark.every
@pytest.mark.parametrize(("planted", "place", "advice"), TRAPS, ids=lambda value: getattr(value, "__name__", value))
def test_a_trap_is_found_in_its_line(planted: type[Planted], place: str, advice: str) -> None:
    installed(place)
    report = found(planted(), X, backends=[place.removesuffix(", jit")])
    line, source = planted.line()
    caught = [row for row in report.rows if row.place == place]
    assert caught
    for row in caught:
        [finding] = row.findings
        assert (finding.file, finding.line, finding.function) == (__file__, line, "f")
        assert finding.source == source
        assert advice in finding.advice
    assert f'File "{__file__}", line {line}, in f\n      {source}' in str(report)
    if planted in (Read, Asked):  # what jit alone finds: the same library without it has nothing to say
        assert {row.place for row in report.rows if row.findings} == {"jax, jit"}


def doubled(x: Any) -> Any:
    return 2.0 * x.mean()


def test_the_line_may_be_in_a_function_that_the_layer_calls() -> None:
    installed("strict-device1")

    class Caller(mt.Layer):
        def forward(self, x):
            return mt.sigmoid(x) + doubled(x), x

        def backward(self, cache, dout):
            return dout, None

    finding = next(iter(found(mt.Sequential(mt.Tanh(), Caller()), X, backends=["strict-device1"]).findings))
    assert (finding.line, finding.function) == (inspect.getsourcelines(doubled)[1] + 1, "doubled")


def test_an_installed_layer_is_the_users_and_an_installed_function_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed("strict-device1")
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "martlet_extra_function.py").write_text("def mean(x):\n    return x.mean()\n")
    (folder / "martlet_extra_layer.py").write_text(
        "import martlet as mt\nfrom martlet_extra_function import mean\n\n\n"
        "class Shifted(mt.Layer):\n    def forward(self, x):\n        return x - mean(x), None\n\n"
        "    def backward(self, cache, dout):\n        return dout, None\n"
    )
    monkeypatch.syspath_prepend(folder)
    [finding] = found(importlib.import_module("martlet_extra_layer").Shifted(), X, backends=["strict-device1"]).findings
    assert (finding.line, finding.source) == (7, "return x - mean(x), None")
    assert finding.file == str(folder / "martlet_extra_layer.py")


def test_what_martlet_refuses_is_named_by_the_line_that_called_it() -> None:
    class Caller(mt.Layer):
        def forward(self, x):
            return mt.sigmoid(x > 0.0), x

    [finding] = found(Caller(), X, backends=["numpy"]).findings
    assert finding.what.startswith("TypeError: sigmoid: x must hold floating-point numbers")
    assert finding.source == "return mt.sigmoid(x > 0.0), x"


def test_a_fault_of_martlets_own_layer_is_named_by_its_own_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("martlet.layers.linear.namespace", lambda x: types.SimpleNamespace())
    report = found(affine(np.random.default_rng(0), 3, 4), X, backends=["numpy-readonly"])
    [finding] = report.findings
    assert [row.place for row in report.rows if row.findings] == ["numpy"] * 2 + ["numpy-readonly"] * 2
    assert finding.file == inspect.getsourcefile(mt.Affine)
    assert finding.function == "backward"
    assert "namespace" in finding.source
    assert inspect.getsource(mt.Affine.backward).count(finding.source) == 1


# ----------------------------------------------------------------------------------- silent trouble


class Silent(Planted):
    """The identity, for a fault that nobody complains about."""

    def f(self, xp, x):
        return x * 1.0


class Widened(Silent):
    def f(self, xp, x):
        return x * np.float64(1.0)


class Narrowed(Silent):
    def backward(self, cache, dout):
        return mt.namespace(dout).astype(dout, mt.namespace(dout).float32), None


class Written(Silent):
    def f(self, xp, x):
        x += 1.0
        return x


class Remembered(Silent):
    def f(self, xp, x):
        self.__dict__["x"] = x
        return x


class Counting(Silent):
    """A setting that can be written into."""

    seen: Any = None

    def f(self, xp, x):
        self.seen.append(1)
        return x


class Another(Silent):
    def observe(self, cache):
        return mt.Identity()


class Growing(Silent):
    mean: mt.Array = mt.kept()

    def observe(self, cache):
        return mt.replace(self, {"mean": mt.namespace(self.mean).concat((self.mean, self.mean))})


class SumOfAll(Silent):
    """Its gradient has another shape than its array."""

    w: mt.Array

    def f(self, xp, x):
        return x + self.w

    def backward(self, cache, dout):
        return dout, self.gradient(w=mt.namespace(dout).sum(dout))


class Transposed(Silent):
    def backward(self, cache, dout):
        return dout.T, None


class NoArray(Silent):
    def f(self, xp, x):
        return 1.5


class OnTheDefaultDevice(Silent):
    def f(self, xp, x):
        return xp.ones(x.shape, dtype=x.dtype)


class Numbers(Silent):
    """Integers that come out as others on one library."""

    def f(self, xp, x):
        return xp.astype(x * 0.0, xp.int64) + (0 if isinstance(x, np.ndarray) else 1)


class Wrong(Silent):
    """Off by a part in a thousand, but on NumPy."""

    def f(self, xp, x):
        return x * (1.0 if isinstance(x, np.ndarray) else 1.001)


class NanElsewhere(Silent):
    def f(self, xp, x):
        return x * (1.0 if isinstance(x, np.ndarray) else math.nan)


SILENT = [
    (Widened, (), "numpy", ["float32"], "y, predict: float64, but what went in was float32", "math.sqrt"),
    (Widened, (), "jax, jit", ["float32"], "y, predict: float64, but what went in was float32", "math.sqrt"),
    (Narrowed, (), "numpy", ["float64"], "dx: float32, but what went in was float64", ""),
    (Written, (), "numpy", ["float64", "float32"], "x was changed", "x = x + y"),
    (Written, (), "strict-device1", ["float64", "float32"], "x was changed", "x = x + y"),
    (Written, (), "torch", ["float64", "float32"], "x was changed", "x = x + y"),
    (Remembered, (), "numpy", ["float64", "float32"], "layer.0.x was changed", "into the cache"),
    (Counting, ([],), "numpy", ["float64", "float32"], "layer.0.seen was changed", "into the cache"),
    (Another, (), "numpy", ["float64", "float32"], "observe gives Identity (), but the layer is Another ()", ""),
    (Growing, (X[0],), "numpy", ["float64", "float32"], "observe gives Growing (mean (6,))", ""),
    (SumOfAll, (X[0],), "numpy", ["float64", "float32"], "backward gives SumOfAll (w ()) as gradient", ""),
    (Transposed, (), "numpy", ["float64", "float32"], "backward gives (3, 5), but what went in was (5, 3)", ""),
    (NoArray, (), "numpy", ["float64", "float32"], "TypeError: NoArray.forward must give an array", ""),
    (Numpys, (), "jax", ["float64", "float32"], "y, predict: of numpy, but what went in was of jax", "exp(x)"),
    (OnTheDefaultDevice, (), "strict-device1", ["float64", "float32"], "y, predict: on CPU_DEVICE", "zeros_like"),
    (Wrong, (), "strict-no_float64", ["float32"], f"y{LARGEST} is ", ""),
    (Wrong, (), "torch", ["float64", "float32"], f"y{LARGEST} is ", ""),
    (NanElsewhere, (), "torch", ["float64", "float32"], "y[0, 0] is nan, but on NumPy 0.125730", ""),
    (Numbers, (), "strict-device1", ["float64", "float32"], "y[0, 0] is 1, but on NumPy 0", ""),
]


@pytest.mark.every
@pytest.mark.parametrize(("planted", "arrays", "place", "widths", "what", "advice"), SILENT)
def test_silent_trouble_is_found(
    planted: type[Planted], arrays: tuple[Any, ...], place: str, widths: list[str], what: str, advice: str
) -> None:
    installed(place)
    report = found(planted(*arrays), X, backends=[place.removesuffix(", jit")])
    caught = {row.dtype: row.findings for row in report.rows if row.place == place and row.findings}
    assert list(caught) == widths
    for findings in caught.values():
        finding = findings[0]
        assert finding.what.startswith(what)
        assert advice in finding.advice
        assert finding.file == ""


@pytest.mark.every
def test_a_layer_that_is_changed_on_numpy_is_not_what_others_are_compared_with() -> None:
    installed("jax")
    report = found(Written(), X, backends=["jax"])  # whose += makes a new array
    assert {finding.what for finding in report.findings} == {"x was changed"}
    assert {row.place for row in report.rows if row.findings} == {"numpy"}


@pytest.mark.every
def test_one_line_and_one_kind_of_complaint_are_one_finding() -> None:
    installed("jax")  # whose complaint names the dtype, another one in each of the two rows
    [finding, _] = found(Numpys(), X, backends=["jax"]).findings.items()
    assert [(row.place, row.dtype) for row in finding[1]] == [("jax, jit", "float64"), ("jax, jit", "float32")]


def test_a_loss_of_ones_own_is_tried_too() -> None:
    installed("strict-device1")

    class Absolute(mt.Loss):
        def losses(self, y, t):
            return mt.namespace(y).abs(y - t), y - t

        def slopes(self, cache):
            return np.sign(cache)

    report = found(Absolute(), X, X[::-1], backends=["numpy-readonly", "strict-device1"])
    [finding] = report.findings
    assert (finding.function, finding.source) == ("slopes", "return np.sign(cache)")
    assert {row.place for row in report.rows if row.findings} == {"strict-device1"}


# ------------------------------------------------------------------------- nothing is left as it was not


@pytest.mark.every
@pytest.mark.parametrize("planted", [Silent, Masked])
def test_stricts_flags_are_what_they_were(planted: type[Planted]) -> None:
    strict = pytest.importorskip("array_api_strict")
    with strict.ArrayAPIStrictFlags(data_dependent_shapes=False, enabled_extensions=("linalg",)):
        before = strict.get_array_api_strict_flags()
        if planted is Silent:
            assert_portable(Silent(), X, backends=["strict-device1"])
        else:
            found(planted(), X, backends=["strict-device1"])
        assert strict.get_array_api_strict_flags() == before


@pytest.mark.every
@pytest.mark.parametrize("planted", [Silent, Asked])
def test_jaxs_settings_are_what_they_were(planted: type[Planted]) -> None:
    jax = pytest.importorskip("jax")

    def settings() -> tuple[Any, ...]:
        return jax.config.jax_enable_x64, jax.config.jax_default_matmul_precision

    def wide() -> Any:
        return jax.numpy.ones(1).dtype

    before, ours = settings(), wide()
    seen = []

    class Looking(planted):  # type: ignore[misc, valid-type]
        def backward(self, cache, dout):
            seen.append(settings())
            return dout, None

    if planted is Silent:
        assert_portable(Looking(), X, backends=["jax"])
    else:
        found(Looking(), X, backends=["jax"])
    assert (True, "float32") in seen
    assert (settings(), wide()) == (before, ours)


def test_a_library_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "array_api_compat.torch", None)
    monkeypatch.setitem(sys.modules, "jax.numpy", None)
    report = assert_portable(Silent(), X, backends=["torch", "jax", "numpy-readonly"])
    assert list(report.left_out) == ["torch", "jax"]
    assert {row.place for row in report.rows} == {"numpy", "numpy-readonly"}
    assert "Not tried: torch, " in str(report)
    assert LIBRARIES["torch"].install in report.left_out["torch"]
    assert "`if x > 0:`" in report.left_out["jax"]


def test_a_device_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """An older array-api-strict has no no_float64."""
    installed("strict-no_float64")
    monkeypatch.setitem(BACKENDS, "strict-no_float64", ("array_api_strict", "no_float63"))
    report = assert_portable(Silent(), X, backends=["strict-no_float64"])
    assert "no_float63" in report.left_out["strict-no_float64"]


def test_what_does_not_run_on_numpy_is_tried_nowhere_else() -> None:
    class Torchs(mt.Layer):
        def forward(self, x):
            return x.clamp(0.0), x

    report = found(Torchs(), X, backends=["numpy-readonly"])
    assert {row.place for row in report.rows} == {"numpy"}
    assert report.left_out == {"numpy-readonly": "because forward does not even run on NumPy"}
    assert "the standard has no such method as x.clamp" in str(report)


def test_the_error_can_be_sent_to_another_process() -> None:
    with pytest.raises(NotPortable) as caught:
        assert_portable(Widened(), X, backends=["numpy"])
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert isinstance(caught.value, AssertionError)


def test_a_finding_without_line_or_advice_is_what_was_said() -> None:
    assert str(Finding("KeyError: 3")) == "KeyError: 3"


@pytest.mark.parametrize(
    ("given", "settings", "words"),
    [
        ((mt.Affine, X), {}, r"layer must be a martlet Layer or Loss.*write Affine\(\.\.\.\)"),
        ((3, X), {}, "layer must be a martlet Layer or Loss, got int 3"),
        ((mt.Tanh(), [[1.0]]), {}, "x must be an array, got list"),
        ((mt.Tanh(), (X, None)), {}, "x must be an array, got NoneType"),
        ((mt.Tanh(), X, X), {}, "t is for a loss"),
        ((mt.MeanSquaredError(), X), {}, "t is for a loss and its targets, got NoneType None with MeanSquaredError"),
        ((mt.MeanSquaredError(), X, 1.0), {}, "t must be an array"),
        ((mt.MeanSquaredError(), (X, X), X), {}, "y must be an array, got tuple"),
        ((mt.Tanh(), X), {"dout": 1.0}, "dout must be an array"),
        ((mt.Tanh(), X), {"backends": "torch"}, "backends must be several names"),
        ((mt.Tanh(), X), {"backends": 3}, "backends must be several names"),
        ((mt.Tanh(), X), {"backends": ["toarch"]}, "backends has 'toarch'; choose some of: numpy, "),
    ],
)
def test_bad_calls_are_explained(given: tuple[Any, ...], settings: dict[str, Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"assert_portable: {words}"):
        assert_portable(*given, **settings)
