"""The safetensors layout: the length of a header, the header in JSON, then the arrays, one after the other.

    8 bytes     n, the length of the header, little-endian
    n bytes     {"__metadata__": {...}, "0.W": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}
    the rest    the arrays, little-endian, the last axis fastest, in the header's order and without holes

Any reader of safetensors reads such a file.  This one reads only what ``write`` writes, and no byte of it goes
unlooked at: the metadata holds the SHA-256 of the whole file, in which its own 64 digits count as zeros.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from martlet.backend import Array, describe, dtype_name, host, to_numpy

DTYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}
DTYPES |= {f"{sign}int{bits}": f"{sign or 'i'}{bits}".upper() for sign in ("", "u") for bits in (64, 32, 16, 8)}
DTYPES |= {"bool": "BOOL"}
NAMES = {code: name for name, code in DTYPES.items()}

BEFORE_DIGEST = b'{"__metadata__":{"sha256":"'
NO_DIGEST = b"0" * 64
HEADER_LIMIT = 2 * 2**20  # what JSON becomes in memory is up to 25 times as large
AXES_LIMIT = 32


class CheckpointError(ValueError):
    """A file is no checkpoint, is damaged, or does not fit what is asked of it.  Says which file and which entry."""


class Entry(NamedTuple):
    """What the header says of one array."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int  # in bytes


class Source(Protocol):
    """What an array's bytes are read from: an open binary file."""

    def readinto(self, buffer: Any, /) -> int | None: ...


class Sink(Protocol):
    """Where bytes are written; says how many of them it took."""

    def __call__(self, data: Any, /) -> int | None: ...


# -------------------------------------------------------------------------------------------- writing


def write(sink: Sink, arrays: Mapping[str, Array], description: str) -> None:
    """Write arrays of any library, and a text that describes them.

    They are taken to the host one at a time, and twice: the first time for the digest, which stands in
    front of them.  Raises TypeError for an array of something else than numbers.
    """
    # The largest numbers first: so every array begins at a multiple of its own numbers' size.
    arrays = dict(sorted(arrays.items(), key=lambda item: -item_size(item[0], item[1])))
    head = bytearray(_header(arrays, description))
    digest = hashlib.sha256(head)
    for x in arrays.values():
        digest.update(to_bytes(x))
    start = 8 + len(BEFORE_DIGEST)
    head[start : start + 64] = digest.hexdigest().encode()
    write_all(sink, head)
    for x in arrays.values():
        write_all(sink, to_bytes(x))


def write_all(sink: Sink, data: Any) -> None:
    """All of the bytes: a file may take them in parts."""
    rest = memoryview(data)
    while rest.nbytes:
        taken = sink(rest)
        if not taken:
            raise BlockingIOError("the file takes no more bytes now")
        rest = rest[taken:]


def item_size(name: str, x: Array) -> int:
    """How many bytes one number of an array takes.  Raises TypeError where the layout has no place for its kind."""
    dtype = _stored_dtype(x)
    if dtype not in DTYPES:
        raise TypeError(f"save: {name} is {describe(x)}; a file holds {', '.join(DTYPES)}")
    if len(x.shape) > AXES_LIMIT:
        raise ValueError(f"save: {name} has {len(x.shape)} axes; a file holds arrays of up to {AXES_LIMIT}")
    return numpy_dtype(dtype).itemsize


def _stored_dtype(x: Array) -> str:
    return x.dtype.name if isinstance(x.dtype, host.dtype) else dtype_name(x.dtype)


def numpy_dtype(name: str) -> Any:
    """How the numbers lie in the file.  NumPy has no bfloat16, of which the 16 bits are taken."""
    return host.dtype("uint16" if name == "bfloat16" else name).newbyteorder("<")


def to_bytes(x: Array) -> Any:
    """The numbers of an array as they lie in the file, whatever their order in memory."""
    data = to_numpy(x)
    if dtype_name(x.dtype) == "bfloat16":  # NumPy got two bytes from JAX, and the same, wider, from PyTorch
        data = data.view("uint16") if data.dtype.itemsize == 2 else (data.view("uint32") >> 16).astype("uint16")
    # Not ascontiguousarray, which knows no 0-d arrays.
    return host.asarray(data, dtype=data.dtype.newbyteorder("<"), order="C").reshape(-1).view("uint8")


def _header(arrays: Mapping[str, Array], description: str) -> bytes:
    table: dict[str, Any] = {"__metadata__": {"sha256": NO_DIGEST.decode(), "martlet": description}}
    end = 0
    for name, x in arrays.items():
        if name in table:
            raise ValueError(f"save: an array cannot have the name {name!r}")
        start, end = end, end + item_size(name, x) * math.prod(x.shape)
        table[name] = {"dtype": DTYPES[_stored_dtype(x)], "shape": list(x.shape), "data_offsets": [start, end]}
    text = json.dumps(table, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    if len(text) > HEADER_LIMIT:
        raise ValueError(
            f"save: {len(arrays):,} arrays, whose names and places take {len(text):,} bytes; a file has room for "
            f"{HEADER_LIMIT:,} (some thousand layers)"
        )
    return len(text).to_bytes(8, "little") + text


# -------------------------------------------------------------------------------------------- reading


def read(source: Source, size: int) -> tuple[str, dict[str, tuple[Any, str]]]:
    """The description, and by name each array, NumPy's, with the name of the dtype that it was saved in.

    ``size``: how many bytes there are.  What is allocated is never more than what is there to be read.
    bfloat16 comes as the float32 of the same value.  Raises CheckpointError.
    """
    head = _take(source, 8, size, "the length of the header")
    length = int.from_bytes(head, "little")
    if length > size - 8:
        raise CheckpointError(f"the header would take {length:,} bytes, but {size - 8:,} are there")
    if length > HEADER_LIMIT:
        raise CheckpointError(f"the header would take {length:,} bytes; {HEADER_LIMIT:,} are the most")
    head += _take(source, length, size - 8, "the header")
    expected, head = _cut_out_digest(head)
    description, entries = _entries(head[8:], size - 8 - length)
    digest, found = hashlib.sha256(head), {}
    for entry in entries:
        array = host.empty(entry.shape, dtype=numpy_dtype(entry.dtype))
        view = array.reshape(-1).view("uint8")
        _fill(source, view, entry.name)
        digest.update(view)
        found[entry.name] = (array, entry.dtype)
    if digest.hexdigest() != expected:
        raise CheckpointError("the file is damaged or was changed: it has another SHA-256 than the one it names")
    return description, {name: (_native(name, x, dtype), dtype) for name, (x, dtype) in found.items()}


def _take(source: Source, count: int, there: int, what: str) -> bytes:
    if count > there:
        raise CheckpointError(f"the file ends in the midst of {what}")
    buffer = bytearray(count)
    _fill(source, buffer, what)
    return bytes(buffer)


def _fill(source: Source, buffer: Any, what: str) -> None:
    rest = memoryview(buffer)
    while rest.nbytes:
        count = source.readinto(rest)
        if not count:
            raise CheckpointError(f"the file ends in the midst of {what!r:.80}")
        rest = rest[count:]


def _cut_out_digest(head: bytes) -> tuple[str, bytes]:
    """The digest that a file names, and its header with zeros in that place."""
    start = 8 + len(BEFORE_DIGEST)
    if head[8:start] != BEFORE_DIGEST or len(head) < start + 64:
        raise CheckpointError("this is no checkpoint of martlet: its header does not begin as theirs do")
    return head[start : start + 64].decode("latin-1"), head[:start] + NO_DIGEST + head[start + 64 :]


def _entries(text: bytes, size: int) -> tuple[str, list[Entry]]:
    """The description and the arrays' entries, which must be of one piece: each begins where the last one ends."""
    try:
        table = parse(text.decode("ascii"))
    except UnicodeDecodeError:
        raise CheckpointError("the header is not JSON in ASCII") from None
    metadata = table.pop("__metadata__", None) if isinstance(table, dict) else None
    if not isinstance(metadata, dict) or metadata.keys() != {"sha256", "martlet"}:
        raise CheckpointError("the metadata must be a sha256 and a description under the name martlet")
    if not isinstance(metadata["martlet"], str):
        raise CheckpointError("the description must be a text")
    entries, end = [], 0
    for name, fields in table.items():
        entry, start = _entry(name, fields)
        if start != end:
            raise CheckpointError(f"entry {name!r:.80} begins at byte {start} of the data, expected {end}")
        end = start + entry.size
        entries.append(entry)
    if end != size:
        raise CheckpointError(f"the entries take {end:,} bytes, but {size:,} are there")
    return metadata["martlet"], entries


def _entry(name: str, fields: Any) -> tuple[Entry, int]:
    """One entry, and where it says that it begins."""

    def complain(what: str) -> CheckpointError:
        return CheckpointError(f"entry {name!r:.80}: {what}")

    if not isinstance(fields, dict) or fields.keys() != {"dtype", "shape", "data_offsets"}:
        raise complain("it must have a dtype, a shape and data_offsets, and nothing else")
    code, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(code, str) or code not in NAMES:
        raise complain(f"its dtype {code!r:.40} is unknown; known: {', '.join(NAMES)}")
    if not _counts(shape) or len(shape) > AXES_LIMIT:
        raise complain(f"its shape must be up to {AXES_LIMIT} lengths, got {shape!r:.60}")
    if not _counts(offsets) or len(offsets) != 2:
        raise complain(f"its data_offsets must be two places, got {offsets!r:.60}")
    item = numpy_dtype(NAMES[code]).itemsize
    if math.prod(n for n in shape if n) >= 2**63 // item:
        raise complain(f"its shape {shape!r:.60} is too large")
    size, (start, stop) = item * math.prod(shape), offsets
    if stop - start != size:
        raise complain(
            f"{code} of shape {tuple(shape)} takes {size:,} bytes, but its data_offsets span {stop - start:,}"
        )
    return Entry(name, NAMES[code], tuple(shape), size), start


def _counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**63 for n in value)


def _native(name: str, x: Any, dtype: str) -> Any:
    """The array as this machine computes with it."""
    if dtype == "bfloat16":
        return (x.astype("uint32") << 16).view("float32")
    if dtype == "bool" and x.size and x.view("uint8").max() > 1:
        raise CheckpointError(f"entry {name!r:.80}: a bool is 0 or 1, got {x.view('uint8').max()}")
    return x if x.dtype.isnative else x.astype(x.dtype.newbyteorder("="))


# ----------------------------------------------------------------------------------------------- JSON


def parse(text: str) -> Any:
    """JSON without what makes two readers of one text disagree: no name twice, no NaN, no number out of range."""
    try:
        return json.loads(
            text, object_pairs_hook=_unique, parse_constant=_refuse, parse_int=_integer, parse_float=_number
        )
    except CheckpointError:
        raise
    except RecursionError:
        raise CheckpointError("the JSON is nested too deeply") from None
    except ValueError as error:
        raise CheckpointError(f"what should be JSON is not: {error}") from None


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise CheckpointError(f"the name {name!r:.80} stands twice in one object")
        found[name] = value
    return found


def _refuse(word: str) -> Any:
    raise CheckpointError(f"{word} is no number of JSON")


def _checked(read: Callable[[str], Any], longest: int) -> Callable[[str], Any]:
    """Numbers of a length that can be right: the time to read a long one grows faster than its length."""

    def convert(text: str) -> Any:
        number = read(text) if len(text) <= longest else math.inf
        if abs(number) == math.inf:
            raise CheckpointError(f"the number {text[:40]} is out of range")
        return number

    return convert


_integer, _number = _checked(int, 20), _checked(float, 40)
