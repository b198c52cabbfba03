"""The tape: what is being recorded in this thread, for which layer, and what to say where nothing can be recorded."""

from __future__ import annotations

import functools
import linecache
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import NoReturn

from martlet.compile.programs.node import Node

HERE = str(Path(__file__).parents[1])
LIBRARY = str(Path(__file__).parents[2])


@functools.cache
def installed() -> tuple[str, ...]:
    """The folders of what is installed: Python's own library and other people's."""
    import sysconfig  # which reads how Python was built, for who makes a mistake

    return tuple(sysconfig.get_paths()[kind] for kind in ("stdlib", "platstdlib", "purelib", "platlib"))


class NotRecordable(TypeError):
    """A function does what depends on numbers that a recording does not have."""


class Tape(threading.local):
    """What is being recorded in this thread: the operations so far, and the names of the trees that take part."""

    nodes: list[Node] | None = None
    anywhere = False  # whether other arrays than NumPy's are recorded
    half = ""  # which half precision the arguments have; float16 stands for bfloat16
    names: dict[int, str] = {}  # noqa: RUF012, which is exchanged as a whole and never written into

    def start(self) -> list[Node]:
        """A new recording.  Raises NotRecordable where one is going on."""
        if self.nodes is not None:
            refuse("a recording is going on already; call the function itself, it is recorded with the rest")
        self.nodes = []
        self.names = {}
        self.half = ""
        self.anywhere = False
        return self.nodes

    def stop(self) -> None:
        self.nodes = None
        self.names = {}

    def asked_where(self) -> None:
        """A layer wants to know where it computes: on NumPy it is told so, elsewhere it would be told wrong."""
        if self.anywhere:
            refuse("it is asked which library an array is from, and a recording stands for any")


tape = Tape()


def _frames() -> list[FrameType]:
    """Who called whom: from the innermost frame outside these files to the one that a recording calls."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(HERE):
        frame = frame.f_back
    found = []
    while frame is not None and not frame.f_code.co_filename.startswith(HERE):
        found.append(frame)
        frame = frame.f_back
    return found


def place() -> str:
    """The layer (loss, optimizer) whose verb is at work, by its name in the model, and the verb."""
    found, owner = "the function", None
    for frame in _frames():
        code = frame.f_code
        if code.co_argcount and code.co_varnames[0] == "self":
            who = frame.f_locals["self"]
            if owner is None and id(who) in tape.names:
                owner = who
            if owner is not None:
                if who is not owner:
                    break
                if hasattr(owner, code.co_name):  # and not what is wrapped around a verb
                    found = code.co_name
    return found if owner is None else f"{tape.names[id(owner)]}.{found}"


def line() -> str:
    """The line of the user's that asked for something: within the function, or else where that is recorded."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith((LIBRARY, *installed())):
        frame = frame.f_back
    frame = frame or next(iter(_frames()), None)  # where all is installed, whoever called
    if frame is None:
        return "a line that is not known"
    file, number = frame.f_code.co_filename, frame.f_lineno
    return f"{file}:{number}, {linecache.getline(file, number).strip()[:80]!r}"


def refuse(why: str) -> NoReturn:
    """Raise NotRecordable, with the line that asks for what cannot be recorded."""
    where = f", in {place()}" if tape.names else ""
    raise NotRecordable(f"cannot be recorded: {why}; at {line()}{where}")
