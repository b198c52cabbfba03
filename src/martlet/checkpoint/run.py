"""What a training run is at the end of an epoch, as one value: what is kept of it, and gone on from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any

from martlet.backend import Array, describe, host
from martlet.checkpoint.description import as_data, build, own_classes
from martlet.checkpoint.generators import generator_from, generator_state
from martlet.checkpoint.layout import CheckpointError
from martlet.checkpoint.parts import CURVES_LIMIT, Parts, check_whole, fields_of, text_of
from martlet.history import History
from martlet.layer import Layer
from martlet.loss import Loss
from martlet.optimizers import Optimizer
from martlet.stopping import Found
from martlet.tree import named_leaves

if TYPE_CHECKING:
    import numpy as np

CURVES = ("metrics", "validation_metrics")
FIELDS = ("epoch", "best_epoch", "stopped", "has_state", "random", "settings", "loss", "optimizer", *CURVES)


@dataclass(frozen=True)
class Run:
    """A training run at the end of an epoch: all that is needed to go on as if nothing had happened.

    model, state: as they are after that epoch; best: with early stopping, the best epoch so far, with its
    model and state.  random: the generator that shuffles the data, where it stands then.  settings: what
    else the run was given.  versions: of the libraries that wrote the file.

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
    random: np.random.Generator | None = field(default=None, repr=False)
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


def parts_of_run(run: Run) -> tuple[dict[str, Array], str]:
    """All arrays of a run, and the text that describes it.

    Under its plain names stands the model that the run would give back if it ended now: with early
    stopping, that of the best epoch.  What belongs to the run alone has a name with a slash in it.
    """
    given = run.best or Found(run.epoch, run.model, run.state)
    data: dict[str, Any] = {"model": as_data(given.model)}
    arrays = named_leaves(given.model) | named_leaves(given.state, "state/")
    if given.epoch != run.epoch:
        data["now"] = as_data(run.model)
        arrays |= named_leaves(run.model, "now/") | named_leaves(run.state, "now/state/")
    arrays |= named_leaves(run.loss, "loss/") | {f"history/{name}": curve for name, curve in _curves(run.history)}
    own_classes(run.model, given.model, run.loss, run.optimizer)
    for tree in (run.model, given.model, run.loss):
        if tree is not None:
            check_whole(tree)
    data["run"] = {
        "epoch": run.epoch,
        "best_epoch": run.best and run.best.epoch,
        "stopped": run.history.stopped,
        "has_state": run.state is not None,
        "random": None if run.random is None else generator_state(run.random),
        "settings": {name: as_data(value, name) for name, value in run.settings.items()},
        "loss": as_data(run.loss),
        "optimizer": as_data(run.optimizer),
        **{name: list(getattr(run.history, name)) for name in CURVES},
    }
    return arrays, text_of(run.model, data)


def _curves(history: History) -> list[tuple[str, Array]]:
    found = {name: getattr(history, name) for name in ("loss", "validation_loss", "seconds")}
    for kind in CURVES:
        found |= {f"{kind}/{name}": curve for name, curve in getattr(history, kind).items()}
    total = sum(map(len, found.values()))
    if total > CURVES_LIMIT:
        raise ValueError(f"save: the history's curves hold {total:,} numbers; a file has room for {CURVES_LIMIT:,}")
    return [(name, host.asarray(curve, dtype=host.float64)) for name, curve in found.items()]


def run_from(parts: Parts) -> Run:
    """The run of a file that ``parts_of_run`` made.  Of a model alone, a run that has not begun."""
    data = parts.data.get("run")
    model = parts.model()
    versions = fields_of(parts.data.get("versions"), "versions")
    if "run" not in parts.data:
        parts.finish()
        return Run(model, versions=versions)
    data = fields_of(data, "run", *FIELDS)
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
        random=None if data["random"] is None else generator_from(data["random"]),
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
    history = History(state=state, stopped=data["stopped"], best_epoch=data["best_epoch"])
    for name in ("loss", "validation_loss", "seconds"):
        setattr(history, name, parts.curve(f"history/{name}"))
    for kind in CURVES:
        if not isinstance(data[kind], list) or not all(isinstance(name, str) for name in data[kind]):
            raise CheckpointError(f"entry {kind!r}: expected the names of metrics")
        setattr(history, kind, {name: parts.curve(f"history/{kind}/{name}") for name in data[kind]})
    return history
