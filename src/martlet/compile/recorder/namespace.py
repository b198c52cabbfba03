"""The namespace that takes notes: what an array of a recording gives to whoever asks for its namespace."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any

import numpy as np

from martlet.backend import host
from martlet.compile.recorder import creating
from martlet.compile.recorder.noting import NOTED, noted
from martlet.compile.recorder.recorded import Recorded
from martlet.compile.recorder.tape import refuse, tape


def _dtypes(values: Iterable[Any]) -> list[Any]:
    return [x.dtype if type(x) is Recorded else x for x in values]


@noted
def result_type(*arrays_and_dtypes: Any) -> np.dtype:
    return host.result_type(*_dtypes(arrays_and_dtypes))


@noted
def can_cast(from_: Any, to: Any, /) -> bool:
    return bool(host.can_cast(*_dtypes((from_, to))))


@noted
def finfo(type: Any, /) -> Any:
    if tape.half == "bfloat16" and np.dtype(*_dtypes((type,))) == np.float16:
        refuse("the limits of bfloat16 are asked for, which NumPy does not know; compute in float32 and cast back")
    return host.finfo(*_dtypes((type,)))


@noted
def iinfo(type: Any, /) -> Any:
    return host.iinfo(*_dtypes((type,)))


class Notes(ModuleType):
    """NumPy's namespace, in which every function that makes arrays takes notes instead."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(host, name)
        if not callable(found) or isinstance(found, type) or name.startswith("__") or name == "isdtype":
            return found
        return lambda *args, **kwargs: refuse(f"{name} is not among the operations of a recording")


# It answers to NumPy's name: whoever asks which library an array is from is told what will compute it.
notes = Notes("numpy", __doc__)
vars(notes).update(NOTED, empty=creating.zeros, empty_like=creating.zeros_like)  # of which nobody can tell
