"""Keeping a training run in a file while it goes, and going on from there after it was killed."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from martlet.backend import backend_of, describe
from martlet.checkpoint import (
    CheckpointError,
    Run,
    check_same_run,
    generator_state,
    load_run,
    own_classes,
    save,
)
from martlet.checks import check_count, check_switch
from martlet.stopping import Best
from martlet.tree import leaves, map_leaves

if TYPE_CHECKING:
    import numpy as np


class Keeper:
    """Writes a run into a file at its beginning, after every so many epochs, and at its end; without a path, never."""

    def __init__(self, path: Any, every: int, resume: bool, rng: np.random.Generator) -> None:
        if path is not None and not isinstance(path, str | os.PathLike):
            raise TypeError(f"fit: checkpoint must be a path, got {describe(path)}")
        check_count("fit", "every", every)
        check_switch("fit", "resume", resume)
        if resume and path is None:
            raise ValueError("fit: resume=True needs to know from which file: checkpoint=...")
        if path is not None:
            generator_state(rng)
        self.path: Any = path
        self.every, self.resume, self.rng = every, resume, rng
        self.kept = -1  # the last epoch that was

    def begin(self, run: Run, epochs: int, best: Best) -> Run:
        """The run as the file has it; where there is no file, the run itself, which is the first thing kept."""
        if self.path is None:
            return run
        if not os.path.exists(self.path):
            return self._write(run)
        if not self.resume:
            raise FileExistsError(
                f"fit: {os.fspath(self.path)!r} is there already: resume=True goes on from it; "
                "to begin anew, remove it or take another name"
            )
        classes = own_classes(run.model, run.loss, run.optimizer)
        kept = load_run(self.path, backend=backend_of(leaves(run.model)[0]), layers=classes)
        try:
            check_same_run(kept, run)
            if kept.random is None or len(kept.history.loss) != kept.epoch:
                raise CheckpointError("it was not written by fit, and cannot be gone on from")
            if kept.epoch > epochs:
                raise CheckpointError(f"it holds {kept.epoch} epochs, more than epochs={epochs}")
            if not best.see_again(kept.best, kept.epoch, kept.history):
                raise CheckpointError("it keeps the model of another epoch than the best one")
            here, there = self.rng.bit_generator, kept.random.bit_generator
            if type(here) is not type(there):
                raise CheckpointError(f"its generator is {type(there).__name__}, the run's {type(here).__name__}")
            here.state = there.state
        except CheckpointError as error:
            raise CheckpointError(f"fit: {os.fspath(self.path)!r}: {error}") from None
        kept.history.stopped, kept.history.best_epoch = "", None  # asked again, and maybe for more epochs than before
        self.kept = kept.epoch
        return replace(kept, loss=run.loss, optimizer=run.optimizer)

    def keep(self, run: Run) -> Run:
        """The run, which is written if it is time to."""
        if self.path is None:
            return run
        return self._write(run) if run.epoch % self.every == 0 else as_loaded(run)

    def end(self, run: Run) -> None:
        """The run is over, and its last epoch in the file."""
        if self.path is not None and (self.kept != run.epoch or run.history.stopped):
            self._write(run)

    def _write(self, run: Run) -> Run:
        save(self.path, replace(run, random=self.rng))
        self.kept = run.epoch
        return as_loaded(run)


def as_loaded(run: Run) -> Run:
    """The run with its arrays laid out as those of a file are.

    The last digit of a product depends on the order in which its factors lie in memory; so the run that
    goes on and the one that is resumed have the same order.
    """
    library = backend_of(leaves(run.model)[0]).lib
    model, state = (map_leaves(library.row_by_row, tree) for tree in (run.model, run.state))
    run.history.state = state
    return replace(run, model=model, state=state)
