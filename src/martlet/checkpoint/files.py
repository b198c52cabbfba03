"""Files that are either the old one or the new one, whenever the power fails or the process is killed.

The new bytes go into a file beside the old one, are brought to the disk, and then take its name in one
step.  What a killed process leaves behind is a file of a name that only ``replace_file`` gives; the next one
to write the same file removes it, but only if nobody holds its lock.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from martlet.checkpoint.layout import Amend, CheckpointError, Sink, write_all
from martlet.checkpoint.reading import Source

try:
    import fcntl
except ImportError:  # Windows, where a file that is open cannot be removed anyway
    fcntl = None  # type: ignore[assignment]


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[tuple[Source, int]]:
    """An ordinary file, open for reading, and its size.

    Raises CheckpointError for what is no file (a folder, a device, a pipe that would wait for a writer),
    and what the system raises where there is nothing, or nothing that may be read.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOCTTY", 0)
    try:
        number = os.open(path, flags)
    except ValueError as error:  # a zero byte in the name
        raise CheckpointError(f"there can be no file of this name: {error}") from None
    try:
        facts = os.fstat(number)
        if not stat.S_ISREG(facts.st_mode):
            raise CheckpointError("it is no ordinary file")
        with open(number, "rb", buffering=0, closefd=False) as file:
            yield file, facts.st_size
    finally:
        os.close(number)


def replace_file(path: str | os.PathLike[str], write: Callable[[Sink, Amend], Any]) -> None:
    """Write a file whole or not at all: until its last byte is on the disk, the old one stays what it was.

    A link stays a link, and what it leads to is replaced.  The permissions of the old file are kept.
    Raises OSError, with the old file in its place, where something cannot be written.
    """
    target = os.path.realpath(path)
    old = _replaceable(target)
    folder = os.path.dirname(target)
    sweep(target)
    number, temporary = _create(target, 0o666 if old is None else 0o600)
    try:
        try:
            write(lambda data: os.write(number, data), lambda place, data: _amend(number, place, data))
            if old is not None:
                _copy_permissions(number, temporary, old)
            os.fsync(number)
            if fcntl is not None:
                os.replace(temporary, target)
        finally:
            os.close(number)
        if fcntl is None:  # not while it is open; where there are locks, not after this one is let go
            os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(folder)


def _amend(number: int, place: int, data: bytes) -> None:
    os.lseek(number, place, os.SEEK_SET)
    write_all(lambda rest: os.write(number, rest), data)


def _replaceable(target: str) -> os.stat_result | None:
    """What is there now; None if nothing is.  Raises OSError for what is not to be written to."""
    try:
        facts = os.lstat(target)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(facts.st_mode):
        code = errno.EISDIR if stat.S_ISDIR(facts.st_mode) else errno.EINVAL
        raise OSError(code, "it is no ordinary file, and is not replaced", target)
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "it is protected from writing", target)
    return facts


def _copy_permissions(number: int, temporary: str, old: os.stat_result) -> None:
    if hasattr(os, "fchown"):
        with suppress(OSError):  # only some may give files away
            os.fchown(number, old.st_uid, old.st_gid)
        os.fchmod(number, stat.S_IMODE(old.st_mode))  # after the owner, of which it takes a part away
    else:
        os.chmod(temporary, stat.S_IMODE(old.st_mode))


def _sync_folder(folder: str) -> None:
    """Bring the new name to the disk too, where folders can be asked for that."""
    try:
        number = os.open(folder, os.O_RDONLY)
    except PermissionError:  # it may be written to, and not read; on Windows no folder can be opened
        return
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(number)


# --------------------------------------------------------------------------- temporary files, and leftovers


def _prefix(target: str) -> str:
    """What the names of a file's temporaries begin with: of one length, however long its own name is."""
    return f".martlet-{hashlib.sha256(os.fsencode(os.path.basename(target))).hexdigest()[:16]}-"


def _create(target: str, mode: int) -> tuple[int, str]:
    """A new file beside the target, open and locked."""
    while True:
        temporary = os.path.join(os.path.dirname(target), f"{_prefix(target)}{secrets.token_hex(8)}.saving")
        number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
        _lock(number, wait=True)  # in vain on some network's folders, where then nothing is ever swept
        if _is_still(number, temporary):
            return number, temporary
        os.close(number)  # somebody swept it away before it was locked


def sweep(target: str) -> None:
    """Remove what killed processes have left of this file, and nothing that one is still writing."""
    ours = re.compile(re.escape(_prefix(target)) + r"[0-9a-f]{16}\.saving")
    left: list[str] = []
    with suppress(PermissionError), os.scandir(os.path.dirname(target)) as entries:
        left = [entry.path for entry in entries if ours.fullmatch(entry.name)]
    for path in left:
        with suppress(OSError):  # somebody else was faster, or it is not ours to remove
            number = os.open(path, os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
            try:
                facts = os.fstat(number)
                alone = stat.S_ISREG(facts.st_mode) and facts.st_nlink == 1
                if alone and _lock(number, wait=False) and _is_still(number, path):
                    os.unlink(path)
            finally:
                os.close(number)


def _lock(number: int, wait: bool) -> bool:
    """Whether this process now holds the file.  A killed process holds none."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(number, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def _is_still(number: int, path: str) -> bool:
    """Whether the open file is the one that has this name."""
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(number), there)
