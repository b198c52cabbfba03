"""The training loop: gradient, update, repeat, and an account of what happened."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from martlet.backend import Backend, backend_of, describe, dtype_name, generator, is_array, is_floating, to_numpy
from martlet.batches import check_batches, place_data, width_of
from martlet.checkpoint import Run
from martlet.checks import check_count, check_switch
from martlet.compile.choose import check_choices
from martlet.evaluation import Metric, check_kinds, named_metrics
from martlet.history import History, copied
from martlet.keeping import Keeper
from martlet.layer import Layer, check_observers
from martlet.layers.dropout import check_streams
from martlet.loop import Loop
from martlet.loss import Loss
from martlet.memory import OutOfMemory, is_out_of_memory, largest_that_fits, let_go, place_of
from martlet.optimizers import Optimizer
from martlet.progress import progress_bar
from martlet.stopping import Best, EarlyStopping
from martlet.tree import Tree, learned, leaves, named_leaves, rebuild

if TYPE_CHECKING:
    import numpy as np

L = TypeVar("L", bound=Layer)

Hook = Callable[[int, Any, History], bool | None]

THE_HOOK = "the hook"  # whose exceptions are its own
THE_CHECKPOINT = "the checkpoint"


def fit(
    model: L,
    x: Any,
    t: Any,
    *,
    loss: Loss,
    optimizer: Optimizer,
    epochs: int,
    batch_size: int = 32,
    seed: int | np.random.Generator = 0,
    shuffle: bool = True,
    last: str = "keep",
    weight: Any = None,
    validation: tuple[Any, ...] | None = None,
    metrics: Iterable[str] | Mapping[str, Metric] = (),
    stop: EarlyStopping | None = None,
    hook: Hook | None = None,
    state: Any = None,
    checkpoint: str | os.PathLike[str] | None = None,
    every: int = 1,
    resume: bool = False,
    backend: str | Backend | None = None,
    compile: bool | str | Mapping[str, Any] = "auto",
    progress: bool | None = None,
) -> tuple[L, History]:
    """Train a model on data, and give back the trained model and what happened.

    With ``backend=`` the model and the data are moved there; without it, the data goes to the model.
    Data is cast to the model's dtype, which a Backend with a ``dtype`` changes.  (What was drawn in
    float32 keeps its digits then; for a float64 run, draw model and data with dtype="float64".)
    Nothing that is passed in changes.

    x: one sample per row; t: the targets that the loss expects.  ``seed`` begins a random generator of
    this run's own, which shuffles the data before each epoch; for ``last`` see ``batches``.  ``weight``:
    one per sample.  ``validation``: (x, t) or (x, t, weight), measured after each epoch.  ``metrics``:
    see ``evaluate``.  ``stop``: an EarlyStopping; the model of the best epoch is given back.  ``hook``: a
    function that is called after each epoch with its number (from 1) and copies of the model and the
    history so far; if it gives back True, the run ends there.  ``state``: an optimizer's state to go on
    from (``history.state``).  ``progress``: a bar on the terminal; None shows one where tqdm is installed
    and someone is watching.

    ``checkpoint``: a file in which the run is kept: at its beginning, after each ``every`` epochs, and at its
    end.  With ``resume=True`` the run goes on from what the file holds, if it is there, and comes out as if it had
    never been interrupted; the hook is asked once more about the last epoch that was kept.  Without it, a
    file that is there is not overwritten, but a FileExistsError.

    ``compile``: "auto" compiles the steps where that pays, and else takes them as they are written; True compiles
    them in any case, and raises ValueError, with the reason, where it cannot; False never does.  The curve is the
    same to rounding, for layers that depend on nothing but their arguments.  ``history.compiled`` and a line of
    the logger "martlet" say what was done, and why.  On NumPy a large batch is taken in chunks of rows on
    several threads where that pays; ``compile={"chunks": 1024, "threads": 2}`` says how.

    Raises ValueError or TypeError, before any step is taken, for what cannot be trained on, and
    NotFinite where a loss or a weight becomes infinite or NaN: it names the epoch, the step and the
    layer, and holds the model and the history from before that step.  Raises OutOfMemory where a step does
    not fit, with a batch size that does, and CheckpointError for a file that holds another run.  Ctrl-C ends the
    run at once and changes nothing; what is to outlive it, a checkpoint keeps.
    """
    check_kinds("fit", model=model, loss=loss, optimizer=optimizer)
    if not leaves(learned(model)):
        raise ValueError("fit: the model has nothing to learn")
    check_count("fit", "epochs", epochs, 0)
    check_batches("fit", batch_size, last)
    check_switch("fit", "shuffle", shuffle)
    check_choices("fit: compile", compile)
    if progress is not None:
        check_switch("fit", "progress", progress)
    if hook is not None and not callable(hook):
        raise TypeError(f"fit: hook must be a function of (epoch, model, history), got {describe(hook)}")
    functions = named_metrics("fit", metrics)
    best = Best(stop, functions, validation is not None)
    rng = _generator(seed)
    keeper = Keeper(checkpoint, every, resume, rng)
    now = Run(model.to(backend), loss=loss, optimizer=optimizer)
    home = backend_of(leaves(now.model)[0])
    now = replace(now, loss=loss.to(home, dtype=width_of(now.model)))
    with home.active():
        check_streams("fit", now.model)
        check_observers("fit", now.model)
        data = place_data("fit", now.model, now.loss, x, t, weight)
        now = replace(now, state=_starting_state(optimizer, now.model, state))
        now.history.state = now.state
        loop = Loop(data, batch_size, last, functions, rng, shuffle)
        try:
            loop.check(now, validation)
            own = {"seed": "a Generator" if seed is rng else int(seed)}  # type: ignore[arg-type]
            now = replace(now, settings=own | loop.settings() | best.settings())
            with loop.aside(THE_CHECKPOINT):
                now = keeper.begin(now, epochs, best)
            with progress_bar(epochs * loop.steps, progress) as bar:
                bar.update(now.epoch * loop.steps)
                each = bool(functions) or any(x is not None for x in (hook, stop, checkpoint, validation))
                loop.begin(now, epochs - now.epoch, compile, bar, each=each)
                while not (now.epoch and _is_over(now, hook, best, loop)) and now.epoch < epochs:
                    with home.active():  # a hook may have left another device
                        now = loop.epochs(now, bar, epochs - now.epoch)
                    best.see(now.epoch, now.model, now.history)
                    with loop.aside(THE_CHECKPOINT):
                        now = keeper.keep(replace(now, best=best.found))
            with loop.aside(THE_CHECKPOINT):
                keeper.end(now)
        except Exception as error:
            if loop.beside == THE_HOOK or not is_out_of_memory(error, data[0]):
                raise
            words = f"{type(error).__name__}: {error}"
            let_go(error)
            size = min(batch_size, loop.count)
            fits: int | None = size
            if not loop.beside:
                fits = largest_that_fits(lambda rows: loop.try_size(now, rows), size, data[0])
            past = now.history.first(now.epoch, now.state)  # an epoch may have been entered in part
            failure = OutOfMemory(size, fits, place_of(home), words, now.model, past, loop.beside)
            del best, data, keeper, loop, now  # whoever handles it may need their memory
            try:
                raise failure from None
            finally:
                del failure  # whose traceback knows this frame
    return best.model_of(now.model, now.history), now.history


def _is_over(now: Run, hook: Hook | None, best: Best, loop: Loop) -> bool:
    """Whether the run ends after this epoch, and an entry in its history why."""
    history = now.history
    if hook is not None:
        with loop.aside("copying the model for the hook"):
            model, past = copied(now.model), history.copy()
        with loop.aside(THE_HOOK):
            answer = hook(now.epoch, model, past)
        if _asks_to_stop(answer):
            history.stopped = f"the hook ended the run after epoch {now.epoch}"
    if best.waited_long_enough:
        history.stopped = best.reason
    return bool(history.stopped)


def _asks_to_stop(answer: Any) -> bool:
    if answer is None or isinstance(answer, bool):
        return bool(answer)
    if is_array(answer) and answer.shape == () and dtype_name(answer.dtype) == "bool":  # a comparison's
        return bool(to_numpy(answer))
    raise TypeError(f"fit: the hook must give back True (to end the run), False or None, got {describe(answer)}")


def _generator(seed: Any) -> np.random.Generator:
    if hasattr(seed, "permutation") and not isinstance(seed, type | ModuleType):  # np.random is everyone's stream
        return seed
    if hasattr(seed, "permutation"):
        raise TypeError(f"fit: seed must be an integer or a Generator of one's own, got {describe(seed)}")
    check_count("fit", "seed", seed, 0, math.inf)
    return generator(seed)


def _starting_state(optimizer: Optimizer, model: Layer, state: Any) -> Any:
    """A new state, or a copy of the given one where the model is, if it is this optimizer's and this model's."""
    new = optimizer.init(model)
    if state is None:
        return new
    if type(state) is not optimizer.State:
        raise TypeError(f"fit: state must come from {type(optimizer).__name__}, got {type(state).__qualname__}")
    try:
        optimizer.check_state(state)
    except ValueError as error:
        raise ValueError(f"fit: {error}") from None
    numbers = optimizer.numbers_in(new)
    for name, kept in optimizer.numbers_in(state).items():
        has, asked = to_numpy(kept), to_numpy(numbers[name])
        if has != asked.astype(has.dtype):
            raise ValueError(
                f"fit: the state has {name}={_shortest(has)}, but the optimizer {name}={_shortest(asked)}; to go on "
                f'with the optimizer\'s: state=martlet.replace(state, {{"{name}": {_shortest(asked)}}})'
            )
    shapes, wanted = _shapes(state), _shapes(new)
    for name in wanted | shapes:
        if shapes.get(name) != wanted.get(name):
            raise ValueError(
                f"fit: state is of another model: {name} has shape {shapes.get(name, 'none')}, "
                f"expected {wanted.get(name, 'none')}"
            )
    home = backend_of(leaves(model)[0])
    pairs = zip(leaves(state), leaves(new), strict=True)
    return rebuild(
        state, [home.asarray(x, dtype_name(y.dtype) if is_floating(y) else None, copy=True) for x, y in pairs]
    )


def _shortest(number: np.ndarray) -> str:
    """As few digits as tell a number from its neighbours in its own dtype."""
    plain = f"{number:g}"
    return plain if number.dtype.type(plain) == number else str(number[()])


def _shapes(tree: Tree) -> dict[str, tuple[int, ...]]:
    return {name: tuple(x.shape) for name, x in named_leaves(tree).items()}
