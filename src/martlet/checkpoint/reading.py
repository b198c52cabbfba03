"""The strict reader: a file may come from a stranger, who chose every byte of it.

So nothing is allocated before it is known to be there, nothing is read twice, and what a lenient reader would
guess at is an error: a name that stands twice, a hole or an overlap, a number that is none.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

from martlet.backend import host
from martlet.checkpoint.layout import (
    AXES_LIMIT,
    BEFORE_DIGEST,
    BRACKETS_LIMIT,
    DTYPES,
    HEADER_LIMIT,
    NO_DIGEST,
    CheckpointError,
    numpy_dtype,
)

NAMES = {code: name for name, code in DTYPES.items()}


class Entry(NamedTuple):
    """What the header says of one array."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int  # in bytes


class Source(Protocol):
    """What an array's bytes are read from: an open binary file."""

    def readinto(self, buffer: Any, /) -> int | None: ...


def read(source: Source, size: int) -> tuple[str, dict[str, tuple[Any, str]]]:
    """The description, and by name each array, NumPy's, with the name of the dtype that it was saved in.

    ``size``: how many bytes there are.  What is allocated is never more than what is there to be read.
    bfloat16 comes as its 16 bits: see ``widened``.  Raises CheckpointError.
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
    if dtype == "bool" and x.size and x.view("uint8").max() > 1:
        raise CheckpointError(f"entry {name!r:.80}: a bool is 0 or 1, got {x.view('uint8').max()}")
    own = host.dtype(x.dtype.name)  # the one object that all arrays share: equality alone is slower
    return x.view(own) if x.dtype.isnative else x.astype(own)


def widened(x: Any) -> Any:
    """The float32 numbers of which these 16 bits are the first half: those of bfloat16."""
    bits = x.astype("uint32")
    bits <<= 16  # in place: a file's arrays are as large as the file
    return bits.view("float32")


# ----------------------------------------------------------------------------------------------- JSON


def parse(text: str) -> Any:
    """JSON without what makes two readers of one text disagree: no name twice, no NaN, no number out of range."""
    if text.count("[") + text.count("{") > BRACKETS_LIMIT:
        raise CheckpointError(f"there are more than {BRACKETS_LIMIT:,} lists and objects in its JSON")
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
