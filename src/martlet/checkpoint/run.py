"""What a training run is at the end of an epoch, as one value: what is kept of it, and gone on from."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from martlet.backend import Array, Backend, describe, host, is_floating, library_of, to_numpy
from martlet.checkpoint.description import as_data, build, own_classes
from martlet.checkpoint.layout import CheckpointError, parse
from martlet.history import History
from martlet.layer import Layer
from martlet.loss import Loss
from martlet.optimizers import Optimizer
from martlet.stopping import Found
from martlet.tree import leaves, named_leaves, names, rebuild

if TYPE_CHECKING:
    import numpy as np

FORMAT = 1
GENERATORS = ("PCG64", "PCG64DXSM")  # whose states are a few integers, none of which could lead astray
CURVES = ("metrics", "validation_metrics")


@dataclass(frozen=True)
class Run:
    """A training run at the end of an epoch: all that is needed to go on as if nothing had happened.

    model, state: as they are after that epoch; best: with early stopping, the best epoch so far, with its
    model and state.  random: where the generator stands that shuffles the data, as ``generator_state``
    gives it.  settings: what else the run was given, in JSON's words.  versions: of the libraries
    that wrote the file.

    For a training loop of one's own, whatever is known: ``Run(model, optimizer=..., state=..., epoch=3)``.
    """

    model: Layer
    _: KW_ONLY
    loss: Loss | None = None
    optimizer: Optimizer | None = None
    state: Any = field(default=None, repr=False)
    history: History = field(default_factory=History)
    epoch: int = 0
    best: Found | None = field(default=None, repr=False)
    random: Mapping[str, Any] | None = field(default=None, repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kinds = {"model": Layer, "loss": Loss, "optimizer": Optimizer, "history": History}
        for name, kind in kinds.items():
            value = getattr(self, name)
            if not isinstance(value, kind) and not (value is None and name in ("loss", "optimizer")):
                raise TypeError(f"Run: {name} must be a {kind.__name__}, got {describe(value)}")
        if self.state is not None and (self.optimizer is None or type(self.state) is not self.optimizer.State):
            raise TypeError(
                f"Run: the state is {describe(self.state):.60}, and there must be an optimizer that made it"
            )


# ------------------------------------------------------------------------------------ a run as a file's parts


def parts_of_model(model: Layer) -> tuple[dict[str, Array], str]:
    """A model's arrays, under the names of ``names(model)``, and the text that describes it."""
    own_classes(model)
    return named_leaves(model), _text(model, {"model": as_data(model)})


def parts_of_run(run: Run) -> tuple[dict[str, Array], str]:
    """All arrays of a run, and the text that describes it.

    Under its plain names stands the model that the run would give back if it ended now: with early
    stopping, that of the best epoch.  What belongs to the run alone has a name with a slash in it.
    """
    given = run.best or Found(run.epoch, run.model, run.state)
    data: dict[str, Any] = {"model": as_data(given.model)}
    arrays = named_leaves(given.model) | named_leaves(given.state, "state/")
    if given.model is not run.model:
        data["now"] = as_data(run.model)
        arrays |= named_leaves(run.model, "now/") | named_leaves(run.state, "now/state/")
    arrays |= named_leaves(run.loss, "loss/") | {f"history/{name}": curve for name, curve in _curves(run.history)}
    own_classes(run.model, given.model, run.loss, run.optimizer)
    data["run"] = {
        "epoch": run.epoch,
        "best_epoch": run.best and run.best.epoch,
        "stopped": run.history.stopped,
        "has_state": run.state is not None,
        "random": run.random,
        "settings": {name: as_data(value, name) for name, value in run.settings.items()},
        "loss": as_data(run.loss),
        "optimizer": as_data(run.optimizer),
        **{name: list(getattr(run.history, name)) for name in CURVES},
    }
    return arrays, _text(run.model, data)


def _curves(history: History) -> list[tuple[str, Array]]:
    found = {name: getattr(history, name) for name in ("loss", "validation_loss", "seconds")}
    for kind in CURVES:
        found |= {f"{kind}/{name}": curve for name, curve in getattr(history, kind).items()}
    return [(name, host.asarray(curve, dtype=host.float64)) for name, curve in found.items()]


def _text(model: Layer, data: dict[str, Any]) -> str:
    martlet = sys.modules["martlet"].__version__  # not by an import, which would go upwards
    libraries = {library.name: library.version() or "" for library in map(library_of, leaves(model)[:1])}
    versions = {"martlet": martlet, "numpy": version("numpy"), **libraries}
    return json.dumps({"format": FORMAT, "versions": versions, **data}, separators=(",", ":"))


# ------------------------------------------------------------------------------------ a file's parts as a run


class Parts:
    """What was read from a file: its description, and its arrays, each of which is taken once."""

    def __init__(
        self,
        description: str,
        arrays: dict[str, tuple[Any, str]],
        home: Backend,
        dtype: str | None,
        classes: Mapping[str, type],
    ) -> None:
        data = parse(description)
        if not isinstance(data, dict) or type(data.get("format")) is not int:
            raise CheckpointError("the description has no format number")
        if data["format"] != FORMAT:
            raise CheckpointError(
                f"its format is {data['format']}; this martlet reads {FORMAT}: a newer one may read it"
            )
        self.data, self.arrays, self.home, self.dtype, self.classes = data, arrays, home, dtype, classes

    def take(self, name: str) -> Array:
        """The array of that name, where and in the width in which it is wanted."""
        x, saved = self._pop(name)
        width = None
        if is_floating(x):
            width = self.dtype or (None if saved == "bfloat16" and self.home.name == "numpy" else saved)
        try:
            return self.home.asarray(x, width)
        except ValueError as error:  # no float64 there
            raise ValueError(f'load: {name}: {error} (to cast it: dtype="float32")') from None

    def _pop(self, name: str) -> tuple[Any, str]:
        if name not in self.arrays:
            raise CheckpointError(f"entry {name!r:.80}: there is no such array, but the description speaks of it")
        return self.arrays.pop(name)

    def tree(self, data: Any, kind: type, prefix: str = "") -> Any:
        """The tree or optimizer that some data describes."""
        made = build(data, self.take, self.classes, prefix)
        if not isinstance(made, kind):
            raise CheckpointError(f"entry {prefix!r}: expected a {kind.__name__}, got {describe(made):.60}")
        return made

    def model(self) -> Layer:
        """The model that the run, if it is one, would give back."""
        return self.tree(self.data.get("model"), Layer)

    def state(self, optimizer: Optimizer | None, model: Layer, prefix: str) -> Any:
        """The optimizer's state: built as ``init`` builds one for that model, around the arrays of the file."""
        if optimizer is None:
            return None
        try:
            new = optimizer.init(model)
        except Exception as error:
            raise CheckpointError(f"entry {prefix!r}: there is no state for this model: {error}") from None
        arrays = [self.take(prefix + name) for name in names(new)]
        for name, x, y in zip(names(new), arrays, leaves(new), strict=True):
            if x.shape != y.shape or is_floating(x) != is_floating(y):
                raise CheckpointError(f"entry {prefix + name!r:.80} is {describe(x)}, expected {describe(y)}")
        return rebuild(new, arrays)

    def curve(self, name: str) -> list[float]:
        x, dtype = self._pop(name)
        if dtype != "float64" or len(x.shape) != 1:
            raise CheckpointError(f"entry {name!r:.80} is {describe(x)}, expected a row of float64")
        return [float(number) for number in x]

    def finish(self) -> None:
        """Nothing is left over."""
        if self.arrays:
            raise CheckpointError(f"entry {min(self.arrays)!r:.80}: the description does not speak of it")


def model_from(parts: Parts) -> Layer:
    """The model alone.  In a run's file, what has a slash in its name is the run's."""
    model = parts.model()
    if "run" in parts.data:
        parts.arrays = {name: x for name, x in parts.arrays.items() if "/" not in name}
    parts.finish()
    return model


def run_from(parts: Parts) -> Run:
    """The run of a file that ``parts_of_run`` made.  Of a model alone, a run that has not begun."""
    data = parts.data.get("run")
    model = parts.model()
    versions = fields_of(parts.data.get("versions"), "versions")
    if "run" not in parts.data:
        parts.finish()
        return Run(model, versions=versions)
    data = fields_of(
        data, "run", "epoch", "best_epoch", "stopped", "has_state", "random", "settings", "loss", "optimizer"
    )
    loss = None if data["loss"] is None else parts.tree(data["loss"], Loss, "loss/")
    optimizer = None if data["optimizer"] is None else parts.tree(data["optimizer"], Optimizer, "optimizer/")
    if data["has_state"] and optimizer is None:
        raise CheckpointError("entry 'run': there is a state, but no optimizer")
    maker = optimizer if data["has_state"] else None
    found = now = model, parts.state(maker, model, "state/")
    if "now" in parts.data:
        current = parts.tree(parts.data["now"], Layer, "now/")
        now = current, parts.state(maker, current, "now/state/")
    epoch, best_epoch = data["epoch"], data["best_epoch"]
    if not all(type(n) is int and n >= 0 for n in (epoch, epoch if best_epoch is None else best_epoch)):
        raise CheckpointError(f"entry 'run': epochs are counts, got {epoch!r:.40} and {best_epoch!r:.40}")
    run = Run(
        now[0],
        loss=loss,
        optimizer=optimizer,
        state=now[1],
        history=_history(parts, data, now[1]),
        epoch=epoch,
        best=None if best_epoch is None else Found(best_epoch, *found),
        random=None if data["random"] is None else fields_of(data["random"], "random", *RANDOM),
        settings={
            name: build(value, parts.take, {}) for name, value in fields_of(data["settings"], "settings").items()
        },
        versions=versions,
    )
    parts.finish()
    return run


def _history(parts: Parts, data: dict[str, Any], state: Any) -> History:
    if not isinstance(data["stopped"], str):
        raise CheckpointError("entry 'stopped': expected a text")
    history = History(state=state, stopped=data["stopped"])
    for name in ("loss", "validation_loss", "seconds"):
        setattr(history, name, parts.curve(f"history/{name}"))
    for kind in CURVES:
        if not isinstance(data.get(kind), list) or not all(isinstance(name, str) for name in data[kind]):
            raise CheckpointError(f"entry {kind!r}: expected the names of metrics")
        setattr(history, kind, {name: parts.curve(f"history/{kind}/{name}") for name in data[kind]})
    return history


def fields_of(data: Any, where: str, *wanted: str) -> dict[str, Any]:
    """An object of JSON that has at least these fields."""
    if not isinstance(data, dict) or not data.keys() >= set(wanted):
        raise CheckpointError(f"entry {where!r}: expected an object with {', '.join(wanted) or 'names'}")
    return data


# ------------------------------------------------------------------------------------------- randomness

RANDOM = ("generator", "state", "inc", "has_uint32", "uinteger")


def generator_state(rng: np.random.Generator) -> dict[str, Any]:
    """Where a random generator stands, in JSON's words.  Raises TypeError for one of another kind than PCG64."""
    state = getattr(getattr(rng, "bit_generator", None), "state", None)
    if state is None or state["bit_generator"] not in GENERATORS:
        raise TypeError(
            f"a run can be kept if its seed is an integer or a Generator of {' or '.join(GENERATORS)}, such as "
            f"numpy.random.default_rng(0), got {describe(rng)}"
        )
    large = {name: f"{state['state'][name]:032x}" for name in ("state", "inc")}
    small = {name: int(state[name]) for name in ("has_uint32", "uinteger")}
    return {"generator": state["bit_generator"], **large, **small}


def set_generator(rng: np.random.Generator, data: Mapping[str, Any]) -> None:
    """Bring a generator to where another one stood.  Raises CheckpointError for what is no such place."""
    here = generator_state(rng)["generator"]
    if data["generator"] != here:
        raise CheckpointError(f"entry 'random': it is of {data['generator']!r:.40}, but the run's generator is {here}")
    large = [data[name] for name in ("state", "inc")]
    small = [data[name] for name in ("has_uint32", "uinteger")]
    digits = set("0123456789abcdef")
    right = all(isinstance(x, str) and len(x) == 32 and digits.issuperset(x) for x in large)
    if not right or not all(type(n) is int and 0 <= n < 2**32 for n in small) or small[0] > 1:
        raise CheckpointError("entry 'random': it is no state of a generator")
    state, inc = (int(x, 16) for x in large)
    rng.bit_generator.state = {
        "bit_generator": here,
        "state": {"state": state, "inc": inc | 1},  # the increment is odd, or the period is short
        "has_uint32": small[0],
        "uinteger": small[1],
    }


# ------------------------------------------------------------------------------------- is it the same run?


def check_same_run(kept: Run, asked: Run) -> None:
    """A kept run is the one that is asked for.  Raises CheckpointError, naming the first thing that differs."""
    for name in ("settings", "model", "loss", "optimizer"):
        there, here = getattr(kept, name), getattr(asked, name)
        if name == "settings":
            there, here = ({key: as_data(value) for key, value in x.items()} for x in (there, here))
            name = ""
        else:
            there, here = as_data(there), as_data(here)
        found = _difference(there, here, name)
        if found is not None:
            raise CheckpointError(f"it is of another run: {found[0]} is {found[1]!r:.80} there, {found[2]!r:.80} here")
    for prefix, there, here in (("", kept.model, asked.model), ("the loss's ", kept.loss, asked.loss)):
        mine = named_leaves(here)
        for name, x in named_leaves(there).items():
            y = mine[name]
            widths = is_floating(x) == is_floating(y) and (x.dtype == y.dtype or not is_floating(x))
            if x.shape != y.shape or not widths:
                raise CheckpointError(
                    f"it is of another run: {prefix}{name} is {describe(x)} there, {describe(y)} here"
                )
            if prefix and not host.array_equal(to_numpy(x), to_numpy(y)):
                raise CheckpointError(f"it is of another run: {prefix}{name} has other numbers there")


def _difference(there: Any, here: Any, path: str) -> tuple[str, Any, Any] | None:
    """Where two pieces of data first differ, and what stands in either."""
    if isinstance(there, dict) and isinstance(here, dict):
        pairs = [(key, there.get(key), here.get(key)) for key in {**there, **here}]
    elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        pairs = [(str(i), *pair) for i, pair in enumerate(zip(there, here, strict=True))]
    else:
        return None if there == here and type(there) is type(here) else (path, there, here)
    inner = (_difference(a, b, f"{path}.{key}".lstrip(".")) for key, a, b in pairs)
    return next(filter(None, inner), None)
