"""Files that somebody made to do harm, or that something went wrong with: each must be refused, with a reason.

A row is what is wrong, how the file is made, and the words that the refusal must hold.  Those who forge a
file can sign it too, so nearly all of them have a right SHA-256: what is tested is what stands behind it.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pickle
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import martlet as mt

BEFORE = b'{"__metadata__":{"sha256":"'


class Forgery(NamedTuple):
    """A file that must not be read, and why."""

    what: str
    make: Callable[[Path], Any]
    words: str


class Harmful:
    """What pickle would call while it reads: it makes a file, which shows that it was called."""

    def __reduce__(self) -> Any:
        return os.system, ("touch harm",)


# ------------------------------------------------------------------------------------ good files to begin with


def a_model() -> mt.Sequential:
    rng = np.random.default_rng(3)
    return mt.Sequential(
        mt.Affine.init(2, 3, rng),
        mt.BatchNorm.init(3),
        mt.Dropout.init(0.25, rng),
        mt.LeakyReLU(0.1),
        mt.Reshape((3,)),
        mt.Freeze(mt.Affine.init(3, 3, rng)),
    )


def a_run() -> mt.Run:
    """In the middle of a run that has a best epoch, and in a state with every part there is."""
    rng = np.random.default_rng(4)
    x, t = rng.standard_normal((12, 2)), rng.integers(0, 3, 12)
    schedule, transforms = mt.schedules.Step(every=2), (mt.ClipByNorm(limit=1.0),)
    options = {
        "loss": mt.SoftmaxWithLoss(class_weight=np.ones(3, dtype="float32")),
        "optimizer": mt.Adam(lr=5.0, amsgrad=True, schedule=schedule, transforms=transforms),
        "stop": mt.EarlyStopping(patience=3),
        "metrics": ["accuracy"],
    }
    with tempfile.TemporaryDirectory() as folder:
        mt.fit(a_model(), x, t, epochs=6, checkpoint=f"{folder}/run", **options)
        run = mt.load_run(f"{folder}/run")
    assert run.best is not None
    assert run.best.epoch < run.epoch
    return run


def saved(what: Any) -> bytes:
    stream = io.BytesIO()
    mt.save(stream, what)
    return stream.getvalue()


GOOD = saved(a_model())
RUN = saved(a_run())


def taken_apart(file: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """The header, the description in it, and the data."""
    n = int.from_bytes(file[:8], "little")
    header = json.loads(file[8 : 8 + n])
    return header, json.loads(header["__metadata__"]["martlet"]), file[8 + n :]


def joined(header: dict[str, Any] | str | bytes, data: bytes = b"") -> bytes:
    """A file of this header, and whatever its length is."""
    text = json.dumps(header, separators=(",", ":")) if isinstance(header, dict) else header
    text = text.encode() if isinstance(text, str) else text
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data


def signed(file: bytes) -> bytes:
    """The file with the SHA-256 that it should have, where there is a place for it."""
    start = 8 + len(BEFORE)
    if file[8:start] != BEFORE or len(file) < start + 64:
        return file
    digest = hashlib.sha256(file[:start] + b"0" * 64 + file[start + 64 :]).hexdigest()
    return file[:start] + digest.encode() + file[start + 64 :]


# ---------------------------------------------------------------------------------------- ways to spoil them


def put(content: bytes) -> Callable[[Path], Any]:
    return lambda path: path.write_bytes(content)


def header(change: Callable[[dict[str, Any]], Any], file: bytes = GOOD) -> Callable[[Path], Any]:
    """A good file with a change in its header."""
    table, _, data = taken_apart(file)
    change(table)
    return put(signed(joined(table, data)))


def entry(file: bytes = GOOD, name: str = "0.W", **changes: Any) -> Callable[[Path], Any]:
    """A good file with a change in one entry; None removes a field."""

    def change(table: dict[str, Any]) -> None:
        table[name] = {key: value for key, value in (table[name] | changes).items() if value is not None}

    return header(change, file)


def raw(old: str, new: str, file: bytes = GOOD) -> Callable[[Path], Any]:
    """A good file with other words in the text of its header, which JSON's writer would not write."""
    table, _, data = taken_apart(file)
    text = json.dumps(table, separators=(",", ":"))
    assert old in text
    return put(signed(joined(text.replace(old, new, 1), data)))


def description(change: Callable[[dict[str, Any]], Any], file: bytes = GOOD) -> Callable[[Path], Any]:
    """A good file with a change in what it says of the tree."""
    table, described, data = taken_apart(file)
    change(described)
    table["__metadata__"]["martlet"] = json.dumps(described)
    return put(signed(joined(table, data)))


def text(words: str) -> Callable[[Path], Any]:
    """A good file with another text in the place of its description."""
    table, _, data = taken_apart(GOOD)
    table["__metadata__"]["martlet"] = words
    return put(signed(joined(table, data)))


def model(data: Any) -> Callable[[Path], Any]:
    """A file that describes this as its model, and has no arrays."""
    described = {"format": 1, "versions": {}, "model": data}
    return put(signed(joined({"__metadata__": {"sha256": "0" * 64, "martlet": json.dumps(described)}})))


def only(data: bytes = bytes(16), **entries: Any) -> Callable[[Path], Any]:
    """A file of these arrays (dtype, shape, offsets), and sixteen bytes of data."""
    described = json.dumps({"format": 1, "versions": {}, "model": {"class": "Tanh"}})
    table = {name: dict(zip(("dtype", "shape", "data_offsets"), e, strict=True)) for name, e in entries.items()}
    return put(signed(joined({"__metadata__": {"sha256": "0" * 64, "martlet": described}, **table}, data)))


def run(**changes: Any) -> Callable[[Path], Any]:
    return description(lambda data: data["run"].update(changes), RUN)


def optimizer(**changes: Any) -> Callable[[Path], Any]:
    return description(lambda data: data["run"]["optimizer"].update(changes), RUN)


def long_curve(epochs: int) -> Callable[[Path], Any]:
    """A run of so many epochs, all of whose losses are 0."""

    def make(path: Path) -> None:
        table, _, data = taken_apart(RUN)
        start, stop = table["history/loss"]["data_offsets"]
        more = 8 * epochs - (stop - start)
        for e in table.values():
            if "data_offsets" in e:
                e["data_offsets"] = [place + more * (place >= stop) for place in e["data_offsets"]]
        table["history/loss"] |= {"shape": [epochs], "data_offsets": [start, start + 8 * epochs]}
        path.write_bytes(signed(joined(table, data[:start] + bytes(8 * epochs) + data[stop:])))

    return make


def without_moments(size: int) -> Callable[[Path], Any]:
    """A run with Adam of so many weights of two bytes each, for which its moments would take six times the room."""

    def make(path: Path) -> None:
        stream = io.BytesIO()
        model, adam = mt.MatMul(np.zeros((1, size), dtype="float16")), mt.Adam(amsgrad=True)
        mt.save(stream, mt.Run(model, optimizer=adam))
        table, described, data = taken_apart(stream.getvalue())
        described["run"]["has_state"] = True
        table["__metadata__"]["martlet"] = json.dumps(described)
        path.write_bytes(signed(joined(table, data)))

    return make


def generator(**changes: Any) -> Callable[[Path], Any]:
    return description(lambda data: data["run"]["random"].update(changes), RUN)


def layer(i: int, **changes: Any) -> Callable[[Path], Any]:
    return description(lambda data: data["model"]["layers"][i].update(changes))


def flipped(place: int, file: bytes = GOOD) -> Callable[[Path], Any]:
    place %= len(file)
    return put(file[:place] + bytes([file[place] ^ 1]) + file[place + 1 :])


def swapped(one: str, other: str) -> Callable[[Path], Any]:
    """Two arrays of one shape have each other's names, and nobody has signed that."""
    return put(RUN.replace(one.encode(), b"@@").replace(other.encode(), one.encode()).replace(b"@@", other.encode()))


def archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("data.pkl", pickle.dumps(Harmful()))


def nested(depth: int, begin: str, inner: str, end: str) -> str:
    return begin * depth + inner + end * depth


def padded(filler: str, size: int) -> Callable[[Path], Any]:
    """A header of that size, whose description is one long list of something that is large in memory."""
    return text("[" + filler * (size // len(filler)) + "0]")


def header_padded(filler: str, size: int) -> Callable[[Path], Any]:
    words = filler * (size // len(filler))
    return put(signed(joined(BEFORE.decode() + "0" * 64 + '","martlet":"{}"},"a":[' + words + "0]}")))


DATA = len(taken_apart(GOOD)[2])
BYTE = {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}
EMPTY = '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
EVEN_LESS = {"dtype": "F32", "shape": [0], "data_offsets": [DATA, DATA]}
SGD = {"class": "SGD", "lr": 1.0, "schedule": None, "transforms": []}
SEQUENTIAL = '{"class":"Sequential","layers":['
FULL = 2 * 2**20 - 4096

FORGERIES = [
    # Pieces of a file.
    Forgery("an empty file", put(b""), "ends in the midst of the length"),
    Forgery("seven bytes", put(GOOD[:7]), "ends in the midst of the length"),
    Forgery("a length and nothing else", put(GOOD[:8]), "but 0 are there"),
    Forgery("half of the header", put(GOOD[:200]), "but 192 are there"),
    Forgery("the header without the data", put(joined(taken_apart(GOOD)[0])), "but 0 are there"),
    Forgery("the last byte is missing", put(GOOD[:-1]), "are there"),
    Forgery("one byte too many", put(GOOD + b"\0"), "are there"),
    Forgery("two files in one", put(GOOD + GOOD), "are there"),
    Forgery("the first half, then zeros", put(GOOD[: len(GOOD) // 2] + bytes(len(GOOD) - len(GOOD) // 2)), ""),
    # The length of the header.
    Forgery("a header of 2⁶⁴ - 1 bytes", put(b"\xff" * 8 + GOOD[8:]), "header would take"),
    Forgery("a header of 2⁶³ bytes", put((2**63).to_bytes(8, "little") + GOOD[8:]), "header would take"),
    Forgery("a header of no bytes", put(bytes(8) + GOOD[8:]), "no checkpoint of martlet"),
    Forgery("a header one byte shorter", put(bytes([GOOD[0] - 8]) + GOOD[1:]), ""),
    Forgery("a header one byte longer", put(bytes([GOOD[0] + 8]) + GOOD[1:]), ""),
    Forgery("a header of three megabytes", header_padded(" ", 3 * 2**20), "are the most"),
    Forgery("the length in the other byte order", put(GOOD[7::-1] + GOOD[8:]), "header would take"),
    # Other formats under our suffix.
    Forgery("a pickle that runs a command", put(pickle.dumps(Harmful())), "header would take"),
    Forgery("an archive, as PyTorch's, with such a pickle in it", archive, "header would take"),
    Forgery("a picture", put(b"\x89PNG\r\n\x1a\n" + bytes(100)), "header would take"),
    Forgery("NumPy's format", put(b"\x93NUMPY\x01\x00" + bytes(120)), "header would take"),
    Forgery("a checkpoint, compressed", put(gzip.compress(GOOD)), "header would take"),
    Forgery("a program", put(b"#!/bin/sh\ntouch harm\n"), "header would take"),
    Forgery("somebody's safetensors", put(joined({"a": BYTE}, b"1")), "no checkpoint"),
    Forgery("safetensors with metadata", put(joined({"__metadata__": {"format": "pt"}})), "no checkpoint of martlet"),
    Forgery("JSON alone", put(json.dumps(taken_apart(GOOD)[0]).encode()), "header would take"),
    Forgery("UTF-16", put(joined(json.dumps(taken_apart(GOOD)[0]).encode("utf-16"))), "no checkpoint of martlet"),
    # Changes that nobody signed.
    Forgery("a bit of the data", flipped(-5), "SHA-256"),
    Forgery("a bit of the first array's name", flipped(GOOD.index(b'"0.W"') + 3), ""),
    Forgery("a bit of the digest", flipped(8 + len(BEFORE) + 5), ""),
    Forgery("a bit of a setting", flipped(GOOD.index(b"0.25") + 3), "SHA-256"),
    Forgery("a bit of the last space of the header", flipped(8 + int.from_bytes(GOOD[:8], "little") - 1, GOOD), ""),
    Forgery("the digest in capitals", put(GOOD[:35] + GOOD[35:99].upper() + GOOD[99:]), "SHA-256"),
    Forgery("a digest of zeros", put(GOOD[:35] + b"0" * 64 + GOOD[99:]), "SHA-256"),
    Forgery("a digest that is no number", put(GOOD[:35] + b"\xff" * 64 + GOOD[99:]), ""),
    Forgery("two moments with each other's names", swapped('"state/m.0.W"', '"state/v.0.W"'), "SHA-256"),
    Forgery("another learning rate", put(RUN.replace(b'\\"lr\\":5.0', b'\\"lr\\":9.0', 1)), "SHA-256"),
    # JSON that is not quite JSON.
    Forgery("bytes that are no text", put(signed(GOOD.replace(b'"0.W"', b'"0.\xff"'))), "ASCII"),
    Forgery("a letter that is not ASCII", raw('"0.W"', '"0.é"'), "ASCII"),
    Forgery("a list at the top", put(signed(joined(b'[{"__metadata__":0}]'))), "no checkpoint of martlet"),
    Forgery(
        "something after the object",
        put(signed(joined(BEFORE + b"0" * 64 + b'","martlet":"{}"}} {}'))),
        "not: Extra data",
    ),
    Forgery(
        "an object that does not end", put(signed(joined(BEFORE + b"0" * 64 + b'","martlet":"{}"}'))), "should be JSON"
    ),
    Forgery("an array that stands twice", raw('"0.b":{', f'"0.W":{EMPTY},"0.b":{{'), "stands twice"),
    Forgery("metadata that stand twice", raw('"0.W":{', '"__metadata__":{},"0.W":{'), "stands twice"),
    Forgery("a dtype that stands twice", raw('"dtype":"F32"', '"dtype":"F32","dtype":"F64"'), "stands twice"),
    Forgery("a name and the same name, escaped", raw('"0.b":{', f'"0.\\u0057":{EMPTY},"0.b":{{'), "stands twice"),
    Forgery("NaN for a length", raw('"shape":[2,3]', '"shape":[NaN,3]'), "NaN is no number"),
    Forgery("infinity for a length", raw('"shape":[2,3]', '"shape":[Infinity,3]'), "Infinity is no number"),
    Forgery("a number that overflows", raw('"shape":[2,3]', '"shape":[1e999,3]'), "out of range"),
    Forgery("a number of a million digits", raw('"shape":[2,3]', f'"shape":[{"9" * 10**6},3]'), "out of range"),
    Forgery("a fraction of a million digits", raw('"shape":[2,3]', f'"shape":[0.{"9" * 10**6},3]'), "out of range"),
    Forgery(
        "lists within lists, a hundred thousand deep",
        raw('"shape":[2,3]', f'"shape":{nested(10**5, "[", "", "]")}'),
        "nested too deeply",
    ),
    Forgery("objects within objects, as deep as the header is long", header_padded('{"a":', FULL), ""),
    Forgery("two megabytes of empty lists", header_padded("[],", FULL), "lists and objects"),
    Forgery("two megabytes of empty objects", header_padded("{},", FULL), "lists and objects"),
    Forgery("two megabytes of entries", header_padded('{"a":0},', FULL), "lists and objects"),
    Forgery(
        "two megabytes of lists, hundreds deep", header_padded("[" * 400 + "]" * 400 + ",", FULL), "lists and objects"
    ),
    Forgery("as many lists as there may be", header_padded("[[[]]]," + 35 * " ", FULL), "must have a dtype"),
    Forgery("as many objects as there may be", header_padded('{"a":{}},' + 19 * "\t", FULL), "must have a dtype"),
    Forgery("two megabytes of fractions", header_padded("1.5,", FULL), "must have a dtype"),
    Forgery("two megabytes of words", header_padded('"\\u0100",', FULL), "must have a dtype"),
    Forgery("a name of a megabyte", raw('"0.b":{', f'"{"n" * 10**6}":[],"0.b":{{'), "must have a dtype"),
    # Entries.
    Forgery("an entry that is a list", header(lambda t: t.update({"0.W": [1, 2]})), "must have a dtype"),
    Forgery("an entry that is null", header(lambda t: t.update({"0.W": None})), "must have a dtype"),
    Forgery("an entry without a shape", entry(shape=None), "must have a dtype"),
    Forgery("an entry with one field more", entry(strides=[4, 8]), "nothing else"),
    Forgery("a dtype that nobody knows", entry(dtype="F31"), "'F31' is unknown"),
    Forgery("a dtype in small letters", entry(dtype="f32"), "'f32' is unknown"),
    Forgery("a dtype that is a number", entry(dtype=32), "32 is unknown"),
    Forgery("a dtype of other libraries", entry(dtype="F8_E4M3"), "is unknown"),
    Forgery("objects, as NumPy pickles them", entry(dtype="|O"), "is unknown"),
    Forgery("another dtype of another size", entry(dtype="F64"), "takes 48 bytes"),
    Forgery("a shape that is a number", entry(shape=6), "lengths"),
    Forgery("a length that is a fraction", entry(shape=[2.0, 3]), "lengths"),
    Forgery("a length that is True", entry(shape=[True, 6]), "lengths"),
    Forgery("a length that is a word", entry(shape=["2", 3]), "lengths"),
    Forgery("lengths that are negative", entry(shape=[-2, -3]), "lengths"),
    Forgery("a shape within a shape", entry(shape=[[2], [3]]), "lengths"),
    Forgery("a shape of the wrong size", entry(shape=[2, 4]), "takes 32 bytes"),
    Forgery("33 axes", entry(shape=[1] * 31 + [2, 3]), "lengths"),
    Forgery("lengths whose product is 0 modulo 2⁶⁴", only(a=("U8", [2**32, 2**32], [0, 16])), "too large"),
    Forgery("lengths whose product is 16 modulo 2⁶⁴", only(a=("U8", [2**60 + 1, 16], [0, 16])), "too large"),
    Forgery("a length of 2⁶³", only(a=("U8", [2**63], [0, 16])), "lengths"),
    Forgery("nothing, of a shape that is too large", only(a=("F64", [0, 2**40, 2**40], [0, 0])), "too large"),
    Forgery("offsets that are negative", only(a=("U8", [16], [-16, 0])), "two places"),
    Forgery("offsets in the wrong order", only(a=("U8", [16], [16, 0])), "span -16"),
    Forgery("offsets that are fractions", only(a=("U8", [16], [0.0, 16.0])), "two places"),
    Forgery("three offsets", only(a=("U8", [16], [0, 8, 16])), "two places"),
    Forgery("offsets that wrap around", only(a=("U8", [16], [0, 2**64 + 16])), "two places"),
    Forgery("offsets beyond the end", only(a=("U8", [32], [0, 32])), "take 32 bytes"),
    Forgery("offsets that span too much", only(a=("U8", [8], [0, 16])), "takes 8 bytes"),
    Forgery("an array of a terabyte", only(a=("F64", [2**37], [0, 2**40])), "are there"),
    Forgery("two arrays in one place", only(a=("U8", [16], [0, 16]), b=("U8", [16], [0, 16])), "expected 16"),
    Forgery("arrays that overlap", only(a=("U8", [9], [0, 9]), b=("U8", [8], [8, 16])), "expected 9"),
    Forgery("a hole between arrays", only(a=("U8", [4], [0, 4]), b=("U8", [8], [8, 16])), "expected 4"),
    Forgery("a hole at the beginning", only(a=("U8", [8], [8, 16])), "expected 0"),
    Forgery("a hole at the end", only(a=("U8", [8], [0, 8])), "take 8 bytes, but 16"),
    Forgery(
        "arrays in another order than their bytes", only(b=("U8", [8], [8, 16]), a=("U8", [8], [0, 8])), "expected 0"
    ),
    Forgery("a bool that is neither", only(bytes(15) + b"\2", a=("BOOL", [16], [0, 16])), "a bool is 0 or 1"),
    # Metadata.
    Forgery("no description", header(lambda t: t["__metadata__"].pop("martlet")), "metadata"),
    Forgery("metadata of somebody else's too", header(lambda t: t["__metadata__"].update(format="pt")), "metadata"),
    Forgery("a description that is no text", header(lambda t: t["__metadata__"].update(martlet={})), "must be a text"),
    # Descriptions.
    Forgery("a description that is no JSON", text("import os"), "should be JSON"),
    Forgery("an empty description", text(""), "should be JSON"),
    Forgery("a description that is a list", text("[]"), "no format number"),
    Forgery("no format number", description(lambda d: d.pop("format")), "no format number"),
    Forgery("a format of the future", description(lambda d: d.update(format=2)), "format is 2"),
    Forgery("a format that is True", description(lambda d: d.update(format=True)), "no format number"),
    Forgery("a class that stands twice", text('{"format":1,"model":{"class":"Tanh","class":"ReLU"}}'), "stands twice"),
    Forgery("two megabytes of lists to describe", padded("[],", FULL // 2), ""),
    Forgery("a description forty thousand deep", text(nested(4 * 10**4, SEQUENTIAL, "", "]}")), "nested too deeply"),
    Forgery("a model 200 deep", text('{"format":1,"model":' + nested(200, SEQUENTIAL, "", "]}") + "}"), "deep"),
    Forgery("no model", description(lambda d: d.pop("model")), "expected a Layer"),
    Forgery("a model that is a number", model(7), "expected a Layer"),
    Forgery("a model that is a list", model([{"class": "Tanh"}]), "expected a Layer"),
    Forgery("a model that is a loss", model({"class": "MeanSquaredError", "reduction": "mean"}), "expected a Layer"),
    Forgery("a model that is an optimizer", model(SGD), "expected a Layer"),
    Forgery("a class that nobody knows", model({"class": "Convolution"}), "no class 'Convolution'"),
    Forgery("a function of the system", model({"class": "os.system", "command": "touch harm"}), "no class 'os.system'"),
    Forgery("a path to a class", model({"class": "martlet.layers.Tanh"}), "no class"),
    Forgery("a class of Python's own", model({"class": "builtins.eval"}), "no class"),
    Forgery("the base of all layers", model({"class": "Layer"}), "no class 'Layer'"),
    Forgery("a class of somebody's own", model({"class": "own:Swish", "beta": None}), "layers={'Swish': Swish}"),
    Forgery("a class of somebody's own, by a path", model({"class": "own:os.system"}), "not martlet's"),
    Forgery("a library's class as one's own", model({"class": "own:Tanh"}), "not martlet's"),
    Forgery("a class that is a number", model({"class": 1}), "must name its class"),
    Forgery("no class", model({"layers": []}), "must name its class"),
    Forgery("a field that there is not", layer(3, alpha=1.0), "no field 'alpha'"),
    Forgery("another class behind its back", layer(3, __class__="Tanh"), "no field '__class__'"),
    Forgery("another method", layer(3, forward="array"), "no field 'forward'"),
    Forgery("a missing array", layer(0, b=None), "does not speak of it"),
    Forgery("an array in a word", layer(0, b="import os"), 'described as "array"'),
    Forgery("an array that is a layer", layer(0, b={"class": "Tanh"}), 'described as "array"'),
    Forgery("a layer that is missing", description(lambda d: d["model"]["layers"].pop(1)), "no such array"),
    Forgery(
        "a layer more", description(lambda d: d["model"]["layers"].append(d["model"]["layers"][0])), "no such array"
    ),
    Forgery("an array for nobody", header(lambda t: t.update({"9.W": EVEN_LESS})), "does not speak of it"),
    Forgery("a slope beyond its range", layer(3, slope=7.0), "slope must be"),
    Forgery("a slope that is a word", layer(3, slope="0.1"), "slope must be"),
    Forgery("a slope that is NaN", layer(3, slope={"float": "nan"}), "slope must be"),
    Forgery("a float that is none", layer(3, slope={"float": "1; import os"}), "must name its class"),
    Forgery("a rate of 2", layer(2, rate=2.0), "rate must be"),
    Forgery("a shape that is a word", layer(4, shape="abc"), "shape must be"),
    Forgery("a number of copies that is True", model({"class": "Branch", "copies": True}), "copies must be"),
    Forgery("a layer that is a number", model({"class": "Sequential", "layers": [1]}), "must be a Layer"),
    Forgery(
        "a layer that is missing in a sequence", model({"class": "Sequential", "layers": [None]}), "must be a Layer"
    ),
    Forgery(
        "a loss among layers",
        model({"class": "Sequential", "layers": [{"class": "MeanSquaredError", "reduction": "sum"}]}),
        "must be a Layer",
    ),
    Forgery("layers that are a word", model({"class": "Sequential", "layers": "abc"}), "must be a tuple"),
    Forgery(
        "layers that are a layer",
        model({"class": "Sequential", "layers": {"class": "Sequential", "layers": []}}),
        "must be a tuple",
    ),
    Forgery("a frozen number", model({"class": "Freeze", "layer": 1, "statistics": False}), "must be a Layer"),
    Forgery("nothing frozen", model({"class": "Freeze", "statistics": False}), "layer is missing"),
    # Runs.
    Forgery("a run that is a list", description(lambda d: d.update(run=[]), RUN), "expected an object"),
    Forgery("a run without an epoch", description(lambda d: d["run"].pop("epoch"), RUN), "expected an object"),
    Forgery("an epoch that is negative", run(epoch=-1), "epochs are counts"),
    Forgery("an epoch that is a fraction", run(epoch=1.5), "epochs are counts"),
    Forgery("a best epoch that is a word", run(best_epoch="1"), "epochs are counts"),
    Forgery("a state without an optimizer", run(optimizer=None), "no optimizer"),
    Forgery("another optimizer's state", run(optimizer=SGD), "does not speak of it"),
    Forgery("an optimizer that is a layer", run(optimizer={"class": "Tanh"}), "expected a Optimizer"),
    Forgery("a loss that is a layer", run(loss={"class": "Tanh"}), "expected a Loss"),
    Forgery("a learning rate that is a word", optimizer(lr="5"), "lr must be"),
    Forgery("a learning rate too large for its width", optimizer(lr=1e300), "too large"),
    Forgery(
        "a schedule that is a transform", optimizer(schedule={"class": "ClipByNorm", "limit": 1.0}), "schedule must be"
    ),
    Forgery("metrics that are a word", run(metrics="accuracy"), "names of metrics"),
    Forgery("a metric that was not measured", run(metrics=["accuracy", "r2"]), "no such array"),
    Forgery("a curve of whole numbers", entry(RUN, "history/loss", dtype="I64"), "row of float64"),
    Forgery("a curve that is a table", entry(RUN, "history/loss", shape=[1, 5]), "row of float64"),
    Forgery("a curve of two million epochs", long_curve(2 * 10**6), "more than 1,000,000 numbers"),
    Forgery("forty megabytes of weights, and no moments", without_moments(20 * 10**6), "no such array"),
    Forgery("settings that are a list", run(settings=[]), "expected an object"),
    Forgery("a reason to stop that is a number", run(stopped=7), "expected a text"),
    Forgery("a generator that is a word", run(random="PCG64"), "expected an object"),
    Forgery("a generator with a table and a place in it", generator(generator="MT19937"), "'MT19937' is unknown"),
    Forgery("a generator from elsewhere", generator(generator="os.system"), "'os.system' is unknown"),
    Forgery("a generator that stands nowhere", generator(state="0x" + "f" * 30), "no state of a generator"),
    Forgery("a generator with too much left over", generator(has_uint32=2**31), "no state of a generator"),
    Forgery("a generator with one field more", generator(key=[1]), "expected an object"),
    Forgery(
        "a memory of another shape",
        entry(RUN, "state/m.0.W", shape=[3, 2]),
        "expected float32 of shape (2, 3)",
    ),
]


# --------------------------------------------------------------------------------- what is no file at all


def pipe(path: Path) -> None:
    os.mkfifo(path)


def link(target: str) -> Callable[[Path], Any]:
    return lambda path: path.symlink_to(target)


NO_FILES = [
    Forgery("a folder", Path.mkdir, "no ordinary file"),
    Forgery("a pipe that nobody writes into", pipe, "no ordinary file"),
    Forgery("a link to a device without an end", link("/dev/zero"), "no ordinary file"),
    Forgery("a link to a folder", link("/"), "no ordinary file"),
    Forgery("a link to a file that holds something else", link(__file__), "header would take"),
]
