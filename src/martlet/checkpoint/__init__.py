"""Keep a model, or a whole training run, in a file that is safe to be given by a stranger.

    martlet.save("model.martlet", model)
    model = martlet.load("model.martlet")

The bytes are those of safetensors (``layout``), and are read by somebody who trusts nobody (``reading``).  The
tree is described in JSON by the bare names of its classes (``description``), a file is replaced whole or not at all
(``files``), and a ``run`` is what a training run is at the end of an epoch.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, TypeAlias

from martlet.backend import Backend, as_backend, describe, float_width
from martlet.checkpoint.description import check_classes, own_classes
from martlet.checkpoint.files import opened, replace_file
from martlet.checkpoint.generators import generator_state
from martlet.checkpoint.layout import CheckpointError, Sink, write
from martlet.checkpoint.parts import Parts, model_from, parts_of_model
from martlet.checkpoint.reading import Source, read
from martlet.checkpoint.run import Run, parts_of_run, run_from
from martlet.checkpoint.same import check_same_run
from martlet.layer import Layer

__all__ = [
    "CheckpointError",
    "Run",
    "check_same_run",
    "generator_state",
    "load",
    "load_run",
    "own_classes",
    "save",
]

File: TypeAlias = str | os.PathLike[str] | BinaryIO


def save(file: File, what: Layer | Run) -> None:
    """Write a model, or a training run, into a file.

    file: a path, where the file is replaced whole or, with an OSError, not at all; or a binary file
    that is open for writing.  The arrays are on any library and device; any reader of safetensors
    finds them under their names in ``names(model)``.  Equal models give equal bytes.

    Raises TypeError, naming the field, for a setting that no file can hold: settings are numbers, words,
    True, False, None, or tuples of them.
    """
    if not isinstance(what, Layer | Run):
        raise TypeError(f"save: expected a Layer or a Run, got {describe(what)}")
    arrays, description = parts_of_run(what) if isinstance(what, Run) else parts_of_model(what)
    if not isinstance(file, str | os.PathLike):
        if not hasattr(file, "write") or isinstance(file, io.TextIOBase):
            raise TypeError(
                f"save: file must be a path or a binary file that is open for writing, got {describe(file)}"
            )
        write(_sink(file), arrays, description)
        return
    replace_file(file, lambda sink, amend: write(sink, arrays, description, amend))


def _sink(file: BinaryIO) -> Sink:
    """The file's write.  Only a raw file may take a part, or say None for nothing; of others, None means all."""

    def write(data: Any) -> int | None:
        taken = file.write(data)
        return len(data) if taken is None and not isinstance(file, io.RawIOBase) else taken

    return write


def load(
    file: File,
    *,
    backend: str | Backend | None = None,
    dtype: Any = None,
    layers: Mapping[str, type] | None = None,
) -> Any:
    """The model that a file holds; of a training run, the one that ``fit`` would give back.

    file: a path, or a binary file that is open for reading.  ``backend``: where the arrays go, NumPy
    unless told otherwise, with equal bits; ``dtype``: a float width to cast them to.  NumPy has no bfloat16,
    and gets float32.  ``layers``: classes of one's own by their names, ``{"Swish": Swish}``; nothing
    else that the file says leads to code.

    Raises CheckpointError for a file that is damaged, no checkpoint, or made to do harm; OSError for one
    that cannot be opened.
    """
    with _parts("load", file, backend, dtype, layers) as parts:
        return model_from(parts)


def load_run(file: File, *, backend: str | Backend | None = None, layers: Mapping[str, type] | None = None) -> Run:
    """The whole training run that a file holds, as ``fit(..., checkpoint=file)`` wrote it; see ``load``."""
    with _parts("load_run", file, backend, None, layers) as parts:
        return run_from(parts)


@contextmanager
def _parts(owner: str, file: File, backend: Any, dtype: Any, layers: Any) -> Iterator[Parts]:
    """What a file holds, read and compared with its SHA-256.  Errors name the file."""
    home, classes = as_backend(backend), check_classes(owner, layers)
    width = home.dtype if dtype is None else float_width(dtype)
    if isinstance(file, str | os.PathLike):
        name, source = repr(os.fspath(file)), opened(file)
    elif hasattr(file, "read"):
        name, source = f"{getattr(file, 'name', 'the file')!r}", _in_memory(owner, file)
    else:
        raise TypeError(f"{owner}: file must be a path or a binary file that is open for reading, got {describe(file)}")
    try:
        with source as (stream, size):
            description, arrays = read(stream, size)
        with home.active():
            yield Parts(description, arrays, home, width, classes)
    except CheckpointError as error:
        raise CheckpointError(f"{owner}: {name}: {error}") from None


@contextmanager
def _in_memory(owner: str, file: BinaryIO) -> Iterator[tuple[Source, int]]:
    """The rest of an open file, which may be a member of an archive, or a connection that has no end to seek."""
    data = file.read()
    if not isinstance(data, bytes):
        raise TypeError(f"{owner}: the file must be open in binary mode, but gave {describe(data)}")
    yield io.BytesIO(data), len(data)
