"""The safetensors layout: the length of a header, the header in JSON, then the arrays, one after the other.

    8 bytes     n, the length of the header, little-endian
    n bytes     {"__metadata__": {...}, "0.W": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}
    the rest    the arrays, little-endian, the last axis fastest, in the header's order and without holes

Any reader of safetensors reads such a file.  Ours (``reading``) reads only what ``write`` writes, and no byte of it
goes unlooked at: the metadata holds the SHA-256 of the whole file, in which its own 64 digits count as zeros.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from martlet.backend import Array, describe, dtype_name, host, to_numpy

DTYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}
DTYPES |= {f"{sign}int{bits}": f"{sign or 'i'}{bits}".upper() for sign in ("", "u") for bits in (64, 32, 16, 8)}
DTYPES |= {"bool": "BOOL"}

BEFORE_DIGEST = b'{"__metadata__":{"sha256":"'
NO_DIGEST = b"0" * 64
HEADER_LIMIT = 2 * 2**20  # what becomes of JSON in memory is many times as large
BRACKETS_LIMIT = 150_000  # above all of lists and objects: two bytes may become a hundred
AXES_LIMIT = 32


Amend = Callable[[int, bytes], Any]  # put bytes at a place that has been written already


class CheckpointError(ValueError):
    """A file is no checkpoint, is damaged, or does not fit what is asked of it.  Says which file and which entry."""


class Sink(Protocol):
    """Where bytes are written; says how many of them it took."""

    def __call__(self, data: Any, /) -> int | None: ...


def write(sink: Sink, arrays: Mapping[str, Array], description: str, amend: Amend | None = None) -> None:
    """Write arrays of any library, and a text that describes them.

    The digest stands in front of what it is the digest of.  With ``amend`` it is put there at the end, and was
    computed while the system wrote; without, the arrays are taken to the host twice.  Raises TypeError for
    an array of something else than numbers.
    """
    # The largest numbers first: so every array begins at a multiple of its own numbers' size.
    arrays = dict(sorted(arrays.items(), key=lambda item: -item_size(item[0], item[1])))
    head = bytearray(_header(arrays, description))
    digest, start = hashlib.sha256(head), 8 + len(BEFORE_DIGEST)
    if amend is None:
        for x in arrays.values():
            digest.update(to_bytes(x))
        head[start : start + 64] = digest.hexdigest().encode()
    write_all(sink, head)
    from concurrent.futures import ThreadPoolExecutor  # here, for who only imports martlet need not wait for it

    with ThreadPoolExecutor(1) as beside:
        for x in arrays.values():
            data = to_bytes(x)
            large = amend is not None and data.nbytes >= 2**20
            update = beside.submit(digest.update, data) if large else None
            write_all(sink, data)
            if update is not None:
                update.result()
            elif amend is not None:
                digest.update(data)
    if amend is not None:
        amend(start, digest.hexdigest().encode())


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
    if len(text) > HEADER_LIMIT or text.count(b"[") + text.count(b"{") > BRACKETS_LIMIT:
        raise ValueError(
            f"save: {len(arrays):,} arrays, whose names, places and settings take {len(text):,} bytes; a file has room "
            f"for {HEADER_LIMIT:,}, with {BRACKETS_LIMIT:,} lists and objects in them (some thousand layers)"
        )
    return len(text).to_bytes(8, "little") + text
