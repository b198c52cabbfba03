"""Models in files: what is saved comes back to the last bit, on any library, and plain safetensors can read it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import math
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from cases import LAYERS, LOSSES, OPTIMIZERS, Centred, LayerCase, Residual, affine
from conftest import Target

import martlet as mt
from martlet.checkpoint.description import known_classes, own_classes
from martlet.checkpoint.layout import HEADER_LIMIT

pytestmark = pytest.mark.eager


def saved(what: Any) -> bytes:
    stream = io.BytesIO()
    mt.save(stream, what)
    return stream.getvalue()


def loaded(content: bytes, **how: Any) -> Any:
    return mt.load(io.BytesIO(content), **how)


def assert_same(actual: Any, expected: Any) -> None:
    """The same tree, drawn with the same settings, around arrays of the same bits."""
    assert type(actual) is type(expected)
    assert mt.names(actual) == mt.names(expected)
    assert settings(repr(actual)) == settings(repr(expected))
    for name, x, y in zip(mt.names(actual), mt.leaves(actual), mt.leaves(expected), strict=True):
        a, b = mt.to_numpy(x), mt.to_numpy(y)
        assert (name, a.dtype, a.shape, a.tobytes()) == (name, b.dtype, b.shape, b.tobytes())


def settings(drawn: str) -> str:
    """A drawing without the name of the place where the arrays are."""
    return drawn.partition(", on ")[0]


# -------------------------------------------------------------------------------------- there and back


@pytest.mark.parametrize("case", LAYERS, ids=lambda case: case.name)
def test_a_layer_comes_back_to_the_last_bit(xp: Target, case: LayerCase) -> None:
    layer = xp.put(case.layer(np.random.default_rng(1)))
    content, own = saved(layer), own_classes(layer)
    assert_same(loaded(content, layers=own), layer)  # on NumPy
    here = loaded(content, layers=own, backend=xp.backend)
    assert_same(here, layer)
    for x, y in zip(mt.leaves(here), mt.leaves(layer), strict=True):
        assert (mt.namespace(x), x.dtype) == (mt.namespace(y), y.dtype)


@pytest.mark.parametrize("case", LOSSES, ids=lambda case: case.name)
def test_a_loss_and_an_optimizer_come_back_in_a_run(xp: Target, case: Any) -> None:
    loss, model = xp.put(case.loss("sum")), xp.put(affine(np.random.default_rng(1), 3, 2))
    run = mt.load_run(io.BytesIO(saved(mt.Run(model, loss=loss))), backend=xp.backend)
    assert_same(run.loss, loss)
    assert_same(run.model, model)


@pytest.mark.parametrize("case", OPTIMIZERS, ids=lambda case: case.name)
def test_a_state_comes_back_in_a_run_with_its_optimizer(xp: Target, case: Any) -> None:
    rng = np.random.default_rng(1)
    model, optimizer = (
        xp.put(mt.Sequential(affine(rng, 3, 4), mt.BatchNorm.init(4), mt.Freeze(affine(rng, 4, 2)))),
        case.optimizer(),
    )
    state = optimizer.init(model)
    for _ in range(3):
        x, t = xp.asarray(rng.standard_normal((6, 3))), xp.asarray(rng.integers(0, 2, 6))
        model, state, _ = mt.train_step(model, mt.SoftmaxWithLoss(), optimizer, state, x, t)
    run = mt.Run(model, optimizer=optimizer, state=state, epoch=3)
    again = mt.load_run(io.BytesIO(saved(run)), backend=xp.backend)
    assert_same(again.state, state)
    assert_same(again.model, model)
    assert (again.optimizer, again.epoch) == (optimizer, 3)
    assert_same(loaded(saved(run), backend=xp.backend), model)


def wide(x: Any) -> np.ndarray:
    return mt.to_numpy(x).astype("float64")


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_every_float_width_comes_back(xp: Target, dtype: str) -> None:
    if dtype == "float64" and xp.double == "float32":
        pytest.skip("there is no float64 here")
    if not hasattr(xp.backend.xp, dtype):
        pytest.skip(f"there is no {dtype} here")
    numbers = np.array([[0.0, -0.0, 1.0, -2.5], [math.inf, -math.inf, math.nan, 1e-8], [0.1, 3e38, -65504.0, 1e-40]])
    with np.errstate(over="ignore"):
        model = mt.MatMul(xp.asarray(numbers.astype("float32"), dtype))
    content = saved(model)
    again, there, numbers = loaded(content, backend=xp.backend), loaded(content), wide(model.W)
    assert again.W.dtype == model.W.dtype
    assert there.W.dtype == ("float32" if dtype == "bfloat16" else dtype)  # which NumPy lacks
    for x in map(wide, (again.W, there.W)):
        np.testing.assert_array_equal(x, numbers)
        np.testing.assert_array_equal(np.signbit(x), np.signbit(numbers))
    assert taken_apart(content)[0]["W"]["dtype"] == dtype.upper().replace("LOAT", "")


def test_each_of_numpys_widths_is_cast_only_when_asked_for() -> None:
    model = mt.Sequential(affine(np.random.default_rng(1), 2, 3), mt.Dropout.init(0.5, np.random.default_rng(1)))
    single = loaded(saved(model), dtype="float32")
    assert_same(single, model.to(dtype="float32"))
    assert single[1].stream.dtype == "int32"
    assert_same(loaded(saved(model), backend=mt.Backend("numpy", dtype="float16")), model.to(dtype="float16"))


@pytest.mark.parametrize(
    "x",
    [
        pytest.param(np.asfortranarray(np.arange(6.0).reshape(2, 3)), id="Fortran's order"),
        pytest.param(np.arange(6.0).reshape(2, 3).T, id="transposed"),
        pytest.param(np.arange(24.0).reshape(4, 6)[::-2, ::3], id="a negative stride"),
        pytest.param(np.broadcast_to(np.arange(3.0), (2, 3)), id="a stride of 0"),
        pytest.param(np.array(2.5), id="0-d"),
        pytest.param(np.float32(2.5), id="a scalar of NumPy's"),
        pytest.param(np.zeros((0, 3)), id="no rows"),
        pytest.param(np.zeros((3, 0, 2), dtype="float16"), id="no columns"),
        pytest.param(np.arange(6.0).reshape(2, 3).astype(">f4"), id="the other byte order"),
        pytest.param(np.arange(6).astype(">i8").reshape(3, 2).T, id="the other byte order, transposed"),
        pytest.param(np.array([2**63 - 1, -(2**63)]), id="the largest integers"),
        pytest.param(np.array([2**64 - 1], dtype="uint64"), id="without a sign"),
        pytest.param(np.array([-128, 127], dtype="int8"), id="bytes"),
        pytest.param(np.array([[True], [False]]), id="bools"),
        pytest.param(np.array([0x7FF8_0000_0000_BEEF], dtype="uint64").view("float64"), id="a NaN with a message"),
        pytest.param(np.zeros((1,) * 32), id="32 axes"),
    ],
)
def test_any_arrangement_of_numbers_comes_back(x: Any) -> None:
    plain = np.array(x, dtype=x.dtype.newbyteorder("="), order="C")
    again = loaded(saved(Centred(x)), layers={"Centred": Centred}).mean
    assert (again.dtype, again.shape, again.tobytes()) == (plain.dtype, x.shape, plain.tobytes())
    assert again.flags.writeable


def test_plain_safetensors_reads_our_arrays_and_we_lay_out_theirs(xp: Target) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    for case in LAYERS:
        layer = xp.put(case.layer(np.random.default_rng(1)))
        found = safetensors.load(saved(layer))
        assert found.keys() == set(mt.names(layer))
        for name, x in zip(mt.names(layer), mt.leaves(layer), strict=True):
            y = mt.to_numpy(x)
            assert (found[name].dtype, found[name].shape, found[name].tobytes()) == (y.dtype, y.shape, y.tobytes())
        # The data is byte for byte what they write, who sort by size and then by name.
        arrays = {
            name: np.array(mt.to_numpy(x), order="C") for name, x in zip(mt.names(layer), mt.leaves(layer), strict=True)
        }
        if list(arrays) == sorted(arrays) and len({x.dtype for x in arrays.values()}) == 1:
            theirs, ours = safetensors.save(arrays), saved(layer)
            size = sum(x.nbytes for x in arrays.values())
            assert ours[len(ours) - size :] == theirs[len(theirs) - size :]


def test_the_first_byte_of_every_array_lies_where_its_numbers_may() -> None:
    rng = np.random.default_rng(1)
    model = mt.Sequential(mt.Dropout.init(0.5, rng), affine(rng, 3, 3), affine(rng, 3, 3).to(dtype="float16"))
    header, start = taken_apart(saved(model))
    assert start % 8 == 0
    for name, e in header.items():
        if name != "__metadata__":
            assert (start + e["data_offsets"][0]) % {"F64": 8, "I32": 4, "F16": 2}[e["dtype"]] == 0


def taken_apart(content: bytes) -> tuple[dict[str, Any], int]:
    start = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:start]), start


def test_the_digest_is_that_of_the_file_with_zeros_in_its_place() -> None:
    content = saved(affine(np.random.default_rng(1), 2, 3))
    digest = taken_apart(content)[0]["__metadata__"]["sha256"]
    assert hashlib.sha256(content.replace(digest.encode(), b"0" * 64)).hexdigest() == digest


@pytest.mark.parametrize("size", [10, 600])
def test_a_path_and_an_open_file_get_the_same_bytes(tmp_path: Path, size: int) -> None:
    """Though the digest is computed at another time: before the arrays are written, or beside."""
    model = mt.Sequential(affine(np.random.default_rng(1), size, size), affine(np.random.default_rng(2), size, 2))
    mt.save(tmp_path / "model", model)
    assert (tmp_path / "model").read_bytes() == saved(model)


def test_equal_models_give_equal_bytes(xp: Target) -> None:
    def model() -> mt.Layer:
        return xp.put(mt.Sequential(affine(np.random.default_rng(1), 2, 3), mt.Tanh()))

    assert saved(model()) == saved(model())
    assert saved(loaded(saved(model()), backend=xp.backend)) == saved(model())


def test_the_versions_that_wrote_a_file_stand_in_it(xp: Target) -> None:
    run = mt.load_run(io.BytesIO(saved(mt.Run(xp.put(affine(np.random.default_rng(1), 2, 3))))))
    assert run.versions["martlet"] == mt.__version__
    assert run.versions["numpy"] == np.__version__
    assert xp.backend.name in run.versions


# ----------------------------------------------------------------------------------------- which file


class Inside(NamedTuple):
    """A way to have a file that is open, and not a path."""

    name: str
    write: Callable[[Path, mt.Layer], Any]
    read: Callable[[Path], Any]


def write_member(path: Path, model: mt.Layer) -> None:
    with zipfile.ZipFile(path, "w") as archive, archive.open("model", "w") as member:
        mt.save(member, model)


def read_member(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive, archive.open("model") as member:
        return mt.load(member)


def with_open(opener: Callable[..., Any], mode: str, use: Callable[..., Any], **how: Any) -> Callable[..., Any]:
    def act(path: Path, *rest: Any) -> Any:
        with opener(path, mode, **how) as file:
            return use(file, *rest)

    return act


class Hesitant(io.RawIOBase):
    """A file that takes and gives three bytes at a time."""

    def __init__(self, path: Path, mode: str) -> None:
        self.file = open(path, mode)  # noqa: SIM115

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.file.read(min(3, len(buffer)))
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: Any) -> int:
        return self.file.write(bytes(data[:3]))

    def close(self) -> None:
        self.file.close()
        super().close()


class Silent:
    """A file whose write gives back nothing."""

    def __init__(self, path: Path, mode: str) -> None:
        self.file = open(path, mode)  # noqa: SIM115

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *exception: object) -> None:
        self.file.close()

    def write(self, data: Any) -> None:
        self.file.write(data)


INSIDE = [
    Inside("an open file", with_open(open, "wb", mt.save), with_open(open, "rb", mt.load)),
    Inside("unbuffered", with_open(open, "wb", mt.save, buffering=0), with_open(open, "rb", mt.load, buffering=0)),
    Inside("compressed", with_open(gzip.open, "wb", mt.save), with_open(gzip.open, "rb", mt.load)),
    Inside("a member of an archive", write_member, read_member),
    Inside("a file that takes its time", with_open(Hesitant, "wb", mt.save), with_open(Hesitant, "rb", mt.load)),
    Inside("a file that says nothing", with_open(Silent, "wb", mt.save), with_open(open, "rb", mt.load)),
    Inside("a path", lambda path, model: mt.save(path, model), mt.load),
    Inside("a path in words", lambda path, model: mt.save(str(path), model), lambda path: mt.load(str(path))),
]


@pytest.mark.parametrize("inside", INSIDE, ids=lambda inside: inside.name)
def test_a_file_may_be_open_already(inside: Inside, tmp_path: Path) -> None:
    model = affine(np.random.default_rng(1), 2, 3)
    inside.write(tmp_path / "model", model)
    assert_same(inside.read(tmp_path / "model"), model)


def test_an_open_file_is_read_from_where_it_stands() -> None:
    model = affine(np.random.default_rng(1), 2, 3)
    stream = io.BytesIO(b"before" + saved(model))
    stream.seek(6)
    assert_same(mt.load(stream), model)


def test_loading_and_predicting_need_numpy_alone(tmp_path: Path) -> None:
    """Not even what reads safetensors elsewhere: with every other package out of reach, the model predicts."""
    rng = np.random.default_rng(1)
    model = mt.Sequential(affine(rng, 2, 3), mt.GELU(), affine(rng, 3, 1)).to(dtype="float32")
    mt.save(tmp_path / "model", model)
    x = rng.standard_normal((4, 2)).astype("float32")
    np.save(tmp_path / "x.npy", x)
    program = f"""
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        allowed = {{"martlet", "numpy", "array_api_compat"}} | sys.stdlib_module_names
        if name.split(".")[0] not in allowed: raise ImportError(name)
sys.meta_path.insert(0, Nothing())
import numpy as np, martlet as mt
np.save({str(tmp_path / "y.npy")!r}, mt.load({str(tmp_path / "model")!r}).predict(np.load({str(tmp_path / "x.npy")!r})))
"""
    source = str(Path(mt.__file__).parent.parent)
    subprocess.run([sys.executable, "-c", program], check=True, env=os.environ | {"PYTHONPATH": source})
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), model.predict(x))


# --------------------------------------------------------------------------------- classes of one's own


class Scaled(mt.Layer):
    """y = x · scale / unit, with every kind of setting that there is."""

    scale: mt.Array
    unit: float = 1.0
    words: tuple[Any, ...] = ()
    limit: float = math.inf
    inner: mt.Layer | None = None

    def forward(self, x):
        return x * self.scale / self.unit, x


class Named(mt.Layer):
    """A layer in the field that elsewhere holds a tuple of layers."""

    b: mt.Array
    layers: mt.Layer


def outside() -> type:
    class Affine(mt.Affine):
        """A class of the library's name."""

    return Affine


class Slow(mt.SGD):
    """An optimizer of one's own, with a number and a memory."""

    patience: float = 2.0
    memories = ("seen",)

    def rule(self, p, g, seen, lr, patience):
        return p - lr / patience * g, seen + g


def test_a_class_of_ones_own_is_handed_over_by_name() -> None:
    words = (1, -(2**63), 1.5, -0.0, True, None, "é\ud800\n", (), ((2,), "a"), math.nan, -math.inf)
    layer = Scaled(np.arange(3.0), 2.0, words, -math.inf, mt.Freeze(Scaled(np.ones(1))))
    content = saved(layer)
    again = loaded(content, layers={"Scaled": Scaled})
    assert_same(again, layer)
    assert repr(again.words) == repr(words)  # NaN is not equal to itself
    with pytest.raises(mt.CheckpointError, match=r"hand over your own: layers=\{'Scaled': Scaled\}"):
        loaded(content)


def test_a_layer_in_a_field_called_layers_keeps_its_arrays() -> None:
    layer = Named(np.ones(2), affine(np.random.default_rng(1), 2, 3))
    assert mt.names(layer) == ("b", "layers.W", "layers.b")
    assert_same(loaded(saved(layer), layers={"Named": Named}), layer)


def test_a_subclass_of_the_same_name_is_not_taken_for_the_librarys() -> None:
    kind = outside()
    content = saved(kind(np.ones((2, 2)), np.ones(2)))
    with pytest.raises(mt.CheckpointError, match="layers="):
        loaded(content)
    assert type(loaded(content, layers={"Affine": kind})) is kind
    assert type(loaded(saved(affine(np.random.default_rng(1), 2, 2)), layers={"Affine": kind})) is mt.Affine


def test_an_optimizer_of_ones_own_is_handed_over_too() -> None:
    model, optimizer = affine(np.random.default_rng(1), 2, 3), Slow(lr=0.5, patience=3.0)
    content = saved(mt.Run(model, optimizer=optimizer, state=optimizer.init(model)))
    again = mt.load_run(io.BytesIO(content), layers={"Slow": Slow})
    assert again.optimizer == optimizer
    assert_same(again.state, optimizer.init(model))
    assert_same(loaded(content), model)  # which needs no optimizer


def test_a_setting_that_came_later_has_its_default() -> None:
    """So a file of an older version, whose layers knew less, can be read by a newer one."""
    content = saved(mt.Sequential(mt.GELU()))
    header, _ = taken_apart(content)
    described = header["__metadata__"]["martlet"]
    assert '{"class":"GELU","tanh":false}' in described
    older = described.replace('{"class":"GELU","tanh":false}', '{"class":"GELU"}')
    text = json.dumps({"__metadata__": {"sha256": "0" * 64, "martlet": older}}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    unsigned = len(text).to_bytes(8, "little") + text
    assert_same(
        loaded(unsigned.replace(b"0" * 64, hashlib.sha256(unsigned).hexdigest().encode())), mt.Sequential(mt.GELU())
    )


def test_no_two_classes_have_one_name_in_the_registry() -> None:
    kinds = known_classes().values()
    public = [kind for name in mt.__all__ if isinstance(kind := getattr(mt, name), type)]
    public += [kind for kind in vars(mt.schedules).values() if isinstance(kind, type)]
    bases = {mt.Layer, mt.Loss, mt.Tree, mt.Optimizer, mt.Transform, mt.schedules.Schedule, mt.schedules.Numbered}
    wanted = {kind for kind in public if issubclass(kind, mt.Tree | mt.schedules.Numbered)} - bases
    assert set(kinds) == wanted
    assert all(name == kind.__name__ == kind.__qualname__ for name, kind in known_classes().items())


# ------------------------------------------------------------------------------------------ mistakes


class Mistake(NamedTuple):
    """A call that cannot be right, the exception it must raise, and the words that the message must hold."""

    what: str
    call: Callable[[Path], Any]
    error: type[Exception]
    words: tuple[str, ...]


def good(path: Path) -> Path:
    mt.save(path, affine(np.random.default_rng(1), 2, 3))
    return path


def small() -> mt.Affine:
    return affine(np.random.default_rng(1), 2, 3)


def scaled(**settings: Any) -> Scaled:
    return Scaled(np.ones(3), **settings)


def deep() -> mt.Layer:
    model: mt.Layer = mt.Tanh()
    for _ in range(60):
        model = mt.Sequential(model)
    return model


NUMBERS = np.ones(3)
MISTAKES = [
    Mistake("a model in the place of the file", lambda path: mt.save(small(), small()), TypeError, ("file", "path")),
    Mistake("save, the arguments exchanged", lambda path: mt.save(small(), path), TypeError, ("save", "Layer", "Path")),
    Mistake("a class", lambda path: mt.save(path, mt.Tanh), TypeError, ("save", "Layer or a Run")),
    Mistake("a list of models", lambda path: mt.save(path, [small()]), TypeError, ("save", "list")),
    Mistake("a text file to write", lambda path: mt.save(io.StringIO(), small()), TypeError, ("save", "binary")),
    Mistake("a text file to read", lambda path: mt.load(io.StringIO("a")), TypeError, ("load", "binary mode", "str")),
    Mistake("a number to read", lambda path: mt.load(3), TypeError, ("load", "file must be a path")),
    Mistake(
        "a function as a setting", lambda path: mt.save(path, scaled(unit=math.sin)), TypeError, ("Scaled.unit", "sin")
    ),
    Mistake("a list as a setting", lambda path: mt.save(path, scaled(words=[1])), TypeError, ("Scaled.words", "[1]")),
    Mistake(
        "a set in a tuple", lambda path: mt.save(path, scaled(words=(1, {2}))), TypeError, ("Scaled.words[1]", "{2}")
    ),
    Mistake("bytes", lambda path: mt.save(path, scaled(words=(b"a",))), TypeError, ("Scaled.words[0]", "bytes")),
    Mistake("a complex number", lambda path: mt.save(path, scaled(unit=1j)), TypeError, ("Scaled.unit", "1j")),
    Mistake("an integer too large", lambda path: mt.save(path, scaled(unit=2**63)), TypeError, ("Scaled.unit", "int")),
    Mistake("complex numbers", lambda path: mt.save(path, Scaled(NUMBERS * 1j)), TypeError, ("scale", "complex128")),
    Mistake("33 axes", lambda path: mt.save(path, Scaled(np.zeros((1,) * 33))), ValueError, ("scale", "33 axes", "32")),
    Mistake("sixty deep", lambda path: mt.save(path, deep()), ValueError, ("nested", "100 deep")),
    Mistake(
        "two classes of one name",
        lambda path: mt.save(path, mt.Sequential(*(outside()(np.ones((2, 2)), np.ones(2)) for _ in range(2)))),
        ValueError,
        ("two classes are named Affine",),
    ),
    Mistake(
        "too many layers",
        lambda path: mt.save(path, mt.Sequential(*[small()] * (HEADER_LIMIT // 150))),
        ValueError,
        ("arrays", "bytes", f"{HEADER_LIMIT:,}"),
    ),
    Mistake(
        "too many lists",
        lambda path: mt.save(path, scaled(words=((),) * 150_000)),
        ValueError,
        ("lists and objects", "150,000"),
    ),
    Mistake("no folder", lambda path: mt.save(path / "a" / "b", small()), FileNotFoundError, ("a",)),
    Mistake("no file", mt.load, FileNotFoundError, ("model",)),
    Mistake("a name with a zero byte", lambda path: mt.load("a\0b"), mt.CheckpointError, ("'a\\x00b'", "name")),
    Mistake(
        "layers that are no mapping",
        lambda path: mt.load(good(path), layers=[Scaled]),
        TypeError,
        ("layers", "mapping"),
    ),
    Mistake(
        "layers that are no classes", lambda path: mt.load(good(path), layers={"S": 1}), TypeError, ("layers", "int 1")
    ),
    Mistake("a class of no layer", lambda path: mt.load(good(path), layers={"S": dict}), TypeError, ("layers", "dict")),
    Mistake("an unknown backend", lambda path: mt.load(good(path), backend="nunpy"), ValueError, ("nunpy",)),
    Mistake("an unknown width", lambda path: mt.load(good(path), dtype="int32"), ValueError, ("int32", "float width")),
    Mistake(
        "a class with other fields",
        lambda path: (mt.save(path, scaled()), mt.load(path, layers={"Scaled": Residual})),
        mt.CheckpointError,
        ("model", "Residual", "f is missing"),
    ),
    Mistake(
        "a loss under a layer's name",
        lambda path: (mt.save(path, scaled()), mt.load(path, layers={"Scaled": mt.MeanSquaredError})),
        mt.CheckpointError,
        ("MeanSquaredError", "no field"),
    ),
    Mistake("a run without a model", lambda path: mt.Run(None), TypeError, ("Run", "model", "None")),
    Mistake("a run of a class", lambda path: mt.Run(small(), loss=mt.Loss), TypeError, ("Run", "loss")),
    Mistake(
        "a state alone", lambda path: mt.Run(small(), state=mt.SGD().init(small())), TypeError, ("Run", "optimizer")
    ),
    Mistake(
        "another optimizer's state",
        lambda path: mt.Run(small(), optimizer=mt.Adam(), state=mt.SGD().init(small())),
        TypeError,
        ("Run", "optimizer"),
    ),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.what)
def test_a_mistake_says_what_is_wrong_and_leaves_nothing_behind(mistake: Mistake, tmp_path: Path) -> None:
    with pytest.raises(mistake.error) as caught:
        mistake.call(tmp_path / "model")
    assert not [word for word in mistake.words if word not in str(caught.value)], str(caught.value)
    assert [name for name in os.listdir(tmp_path) if name != "model"] == []


def test_a_width_that_does_not_exist_there_is_named_with_the_way_out(xp: Target) -> None:
    if xp.double == "float64":
        pytest.skip("there is float64 here")
    content = saved(affine(np.random.default_rng(1), 2, 3))
    with pytest.raises(ValueError, match=r'load: W: .*float64.*dtype="float32"'):
        loaded(content, backend=xp.backend)
    assert_same(loaded(content, backend=xp.backend, dtype="float32"), loaded(content, dtype="float32"))


def test_a_refused_save_leaves_the_old_file(tmp_path: Path) -> None:
    before = good(tmp_path / "model").read_bytes()
    for wrong in (scaled(unit=math.sin), Scaled(NUMBERS * 1j), deep()):
        with pytest.raises((TypeError, ValueError)):
            mt.save(tmp_path / "model", wrong)
        assert (tmp_path / "model").read_bytes() == before
        assert os.listdir(tmp_path) == ["model"]


def test_an_error_comes_home_from_another_process() -> None:
    error = pickle.loads(pickle.dumps(mt.CheckpointError("file: entry")))
    assert str(error) == "file: entry"
    assert isinstance(error, ValueError)


def test_loaded_arrays_share_numpy_s_own_dtype_objects(tmp_path: Path) -> None:
    """Who asks `x.dtype is y.dtype`, as every check does first, is answered at once."""
    mt.save(tmp_path / "model", mt.Affine.init(3, 2, np.random.default_rng(0)))
    for x in mt.leaves(mt.load(tmp_path / "model")):
        assert x.dtype is np.dtype("float32")
