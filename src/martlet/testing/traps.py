"""The traps of a layer that has only met NumPy: which line fell into one, and what to write there instead.

A library's complaint is about what it was given and seldom about what would have worked.  The table below
knows the complaints of each library, by what is said and by what stands in the line.
"""

from __future__ import annotations

import re
import sysconfig
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from martlet.backend import LIBRARIES, host

HOUSE = Path(__file__).parents[1]
STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib"))


@dataclass(frozen=True)
class Finding:
    """One fault: what was said or seen, in which line of which file (where there is one), and what to write."""

    what: str
    advice: str = ""
    file: str = ""
    line: int = 0
    function: str = ""
    source: str = ""

    @property
    def kind(self) -> tuple[Any, ...]:
        """What two findings share that are the same fault: each library words it with dtypes and devices of its own."""
        exception = self.what.split(":")[0] if self.file else self.what
        return self.file, self.line, self.advice, exception

    def __str__(self) -> str:
        place = [f'  File "{self.file}", line {self.line}, in {self.function}', f"    {self.source}"]
        return "\n".join([self.what, *(place if self.file else []), *([f"  {self.advice}"] if self.advice else [])])


def found_in(error: BaseException, classes: Iterable[type] = ()) -> Finding:
    """The line that an exception is about, and the way out of the trap.

    That is the innermost line of the user's own, be it in the layer or in a function that it calls; the line of
    martlet's where no other took part.  ``classes`` are those of the layer: where they live is never foreign.
    """
    own = {name.split(".")[0] for name in (cls.__module__ for cls in classes)} - {"martlet"}
    frames = list(traceback.walk_tb(error.__traceback__))
    users = [(frame, line) for frame, line in frames if _owner(frame, own) == "user"]
    ours = [(frame, line) for frame, line in frames if _owner(frame, own) == "martlet"]
    said = next(iter(str(error).strip().splitlines()), "")
    what = f"{type(error).__name__}: {said}" if said else type(error).__name__
    place = (users or ours)[-1:]
    if not place:
        return Finding(what, advice_for(what, ""))
    [summary] = traceback.StackSummary.extract(iter(place))
    source = summary.line or ""
    return Finding(what, advice_for(what, source), summary.filename, summary.lineno or 0, summary.name, source)


def _owner(frame: FrameType, own: set[str]) -> str:
    """Whose code a frame runs: "user", "martlet" (its tests of portability apart) or "library"."""
    file = Path(frame.f_code.co_filename)
    top = str(frame.f_globals.get("__name__", "")).split(".")[0]
    if file.is_relative_to(HOUSE):
        return "library" if file.is_relative_to(HOUSE / "testing") else "martlet"
    if top in own:
        return "user"
    installed = {"site-packages", "dist-packages"} & set(file.parts) or file.is_relative_to(STANDARD_LIBRARY)
    return "library" if installed or top in {"jaxlib", *LIBRARIES} else "user"


METHODS = {
    "astype": "write namespace(x).astype(x, dtype): the standard has functions where NumPy has methods",
    "clip": "write namespace(x).minimum(namespace(x).maximum(x, low), high)",
    "copy": "nothing needs to be copied where nothing is written into",
    "dot": "write a @ b",
    "flatten": "write namespace(x).reshape(x, (-1,))",
    "item": "a step must not read a value: leave it a 0-d array",
    "ravel": "write namespace(x).reshape(x, (-1,))",
    "tolist": "a step must not read values: compute with the array",
    "transpose": "write x.T for a matrix, namespace(x).permute_dims(x, axes) otherwise",
}
FUNCTIONS = {
    "absolute": "abs",
    "clip": "minimum and maximum",
    "concatenate": "concat",
    "dot": "@",
    "einsum": "@, tensordot or vecdot",
    "power": "**",
    "transpose": "permute_dims",
}
IN_PLACE = "nothing may be written into: write x = x + y for x += y, and where(condition, y, x) for x[condition] = y"
MASKED = "the shape of x[mask] depends on values: write namespace(x).where(mask, x, 0.0)"
NUMPYS = "np.exp works on NumPy's arrays alone: write namespace(x).exp(x), and so for every function of np"
READS = (
    "a step must not read values, which jit does not have: for float(x) keep the 0-d array, "
    "for `if x > 0:` write namespace(x).where(x > 0, a, b)"
)
WIDE = (
    "a NumPy scalar widens float32: write math.sqrt(3) for np.sqrt(3), float(c) for np.float64(c); "
    "and what is made in a step needs dtype=x.dtype"
)
ELSEWHERE = (
    "what is made in a step must be where x is, in its dtype: write namespace(x).zeros_like(x), "
    "or give dtype=x.dtype and device=martlet.backend.device_of(x)"
)

# What is said, what stands in the line, and what to write instead.  The first row that fits is it.
TRAPS: list[tuple[str, str, str]] = [
    (r"read-only|immutable", r"", IN_PLACE),
    (r"", r"^[\w.]+\[[^\]=]*[<>][^\]]*\] *[-+*/]?= ", IN_PLACE),
    (r"boolean_indexing flag|NonConcreteBooleanIndex", r"", MASKED),
    (
        r"data-dependent shapes",
        r"",
        "no shape may depend on values, for jit has none: write namespace(x).where, or sort and take",
    ),
    (r"numpy\.(float|int)\d+'|numpy\.bool'", r"", WIDE),
    (
        r"'numpy\.ndarray'",
        r"",
        "a NumPy array meets one of another library: a field annotated Array moves with the layer; " + ELSEWHERE,
    ),
    (r"builtin_function_or_method", r"\.size\b", "x.size is a method in PyTorch: write math.prod(x.shape)"),
    (r"has no len\(\)", r"", "write x.shape[0] for len(x)"),
    (r"iteration", r"", "write one operation on the whole array, or x[i, ...] for i in range(x.shape[0])"),
    (r"Concretization|TracerBool|TracerInteger|ConcreteBool", r"", READS),
    (r"two different devices|on the same device|not on the same device|Expected all tensors", r"", ELSEWHERE),
    (r"does not support dtype|needs 64-bit mode", r"", "write dtype=x.dtype: not every device has float64"),
    (r"to a NumPy array|TracerArrayConversion|__array__", r"", NUMPYS),
    (r"", r"\b(np|numpy)\.\w+\(", NUMPYS),
    (
        r"promoted together",
        r"",
        "two dtypes meet, and the libraries promote them each in its own way: "
        "write namespace(x).astype(other, x.dtype)",
    ),
    (
        r"numeric dtypes are allowed",
        r"",
        "True and False are no numbers: write namespace(x).where(x > 0, x, 0.0) for x * (x > 0), or astype the mask",
    ),
    (r"Two scalars", r"", "two numbers have no dtype: write namespace(x).astype(condition, x.dtype) for 1.0 and 0.0"),
    (r"multi-axes index", r"", "name every axis: write x[0, ...] for x[0]"),
    (r"Single-axes index|non-tuple sequence", r"", "a list is no index: write namespace(x).take(x, indices, axis=0)"),
    (r"requires x to have 2 dim", r"", "x.T is for matrices: write namespace(x).permute_dims(x, axes)"),
    (r"positional argument", r"", "the standard takes settings by name: write axis=0"),
]


def advice_for(what: str, source: str) -> str:
    """What to write instead, or "" where nothing is known about such a complaint."""
    lacks = re.search(r"(?:module )?'[\w.]*?(\w+)' (object )?has no attribute '(\w+)'", what)
    if lacks and not lacks[2]:
        other = FUNCTIONS.get(lacks[3])
        return f"{lacks[3]} is not in the standard" + (f": write {other}" if other else "")
    if lacks and lacks[1] in ("Array", "Tensor", "ArrayImpl", "DynamicJaxprTracer", "ndarray"):
        return METHODS.get(lacks[3]) or _as_function(lacks[3])
    return next((advice for said, line, advice in TRAPS if re.search(said, what) and re.search(line, source)), "")


def _as_function(method: str) -> str:
    if not hasattr(host, method):
        return f"the standard has no such method as x.{method}"
    return f"write namespace(x).{method}(x) for x.{method}(): the standard has functions where NumPy has methods"
