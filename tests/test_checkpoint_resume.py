"""A run that was interrupted and goes on comes out as the one that was left alone: to the last bit."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from cases import Centred, affine, batch_norm
from conftest import Target
from killed import kill

import martlet as mt

pytestmark = pytest.mark.eager


class Interrupt(BaseException):
    """What a test raises in the midst of a run, in the place of a kill."""


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return rng.standard_normal((44, 3)).astype("float32"), rng.integers(0, 3, 44)


def network() -> mt.Sequential:
    """With noise, statistics and a kept array of a user's own."""
    rng = np.random.default_rng(8)
    model = mt.Sequential(
        Centred(rng.standard_normal(3)),
        affine(rng, 3, 8),
        batch_norm(rng, 8),
        mt.Tanh(),
        mt.Dropout.init(0.2, rng),
        affine(rng, 8, 3),
    )
    return model.to(dtype="float32")


def fit(model: mt.Layer | None = None, rows: int = 44, **changes: Any) -> tuple[Any, mt.History]:
    options = {
        "loss": mt.SoftmaxWithLoss(class_weight=np.array([1.0, 2.0, 3.0], dtype="float32")),
        "optimizer": mt.Adam(lr=0.05, schedule=mt.schedules.Cosine(steps=30), transforms=(mt.ClipByNorm(limit=0.5),)),
        "epochs": 8,
        "batch_size": 8,
        "metrics": ["accuracy"],
        "validation": (data()[0][:9], data()[1][:9]),
        "stop": mt.EarlyStopping(patience=7),
    }
    x, t = data()
    return mt.fit(network() if model is None else model, x[:rows], t[:rows], **{**options, **changes})


def interrupted(after: int, **changes: Any) -> None:
    """A run that ends while the hook looks at that epoch, which has been kept."""

    def hook(epoch: int, model: Any, history: mt.History) -> None:
        if epoch == after:
            raise Interrupt

    with pytest.raises(Interrupt):
        fit(hook=hook, **changes)


def assert_equal(actual: tuple[Any, mt.History], expected: tuple[Any, mt.History]) -> None:
    """The two runs gave back the same, to the last bit; only the time that they took may differ."""
    (model, history), (wanted, past) = actual, expected
    for a, b in ((model, wanted), (history.state, past.state)):
        assert mt.names(a) == mt.names(b)
        for name, x, y in zip(mt.names(a), mt.leaves(a), mt.leaves(b), strict=True):
            assert (name, x.dtype, mt.to_numpy(x).tobytes()) == (name, y.dtype, mt.to_numpy(y).tobytes())
    for name in ("loss", "validation_loss", "metrics", "validation_metrics", "best_epoch", "stopped"):
        assert getattr(history, name) == getattr(past, name), name
    assert len(history.seconds) == len(past.seconds)


def kept(path: Path) -> mt.Run:
    return mt.load_run(path, layers={"Centred": Centred})


@pytest.mark.parametrize("after", [1, 3, 7])
def test_an_interrupted_run_comes_out_as_the_one_left_alone(xp: Target, tmp_path: Path, after: int) -> None:
    path, here = tmp_path / "run", {"backend": xp.backend}
    alone = fit(**here)
    interrupted(after, checkpoint=path, **here)
    assert kept(path).epoch == after
    resumed = fit(checkpoint=path, resume=True, **here)
    assert_equal(resumed, alone)
    assert_equal(fit(checkpoint=path, resume=True, **here), alone)  # there is nothing left to do
    for x, y in zip(mt.leaves(mt.load(path, layers={"Centred": Centred})), mt.leaves(alone[0]), strict=True):
        assert x.tobytes() == mt.to_numpy(y).tobytes()


def test_a_run_goes_on_elsewhere_along_the_same_curve(xp: Target, tmp_path: Path) -> None:
    alone = fit()
    interrupted(3, checkpoint=tmp_path / "there")
    model, history = fit(checkpoint=tmp_path / "there", resume=True, backend=xp.backend)
    np.testing.assert_allclose(history.loss, alone[1].loss, rtol=2e-5)
    assert history.loss[:3] == alone[1].loss[:3]
    assert mt.backend_of(model[1].W).name == xp.backend.name
    interrupted(3, checkpoint=tmp_path / "here", backend=xp.backend)
    model, history = fit(checkpoint=tmp_path / "here", resume=True)
    np.testing.assert_allclose(history.loss, alone[1].loss, rtol=2e-5)
    for name, x, y in zip(mt.names(model), mt.leaves(model), mt.leaves(alone[0]), strict=True):
        if name not in ("1.b", "2.mean"):  # a bias that is normalized away: its gradient is rounding, and no more
            np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kills", [2])
def test_a_process_that_is_killed_comes_out_as_the_one_left_alone(tmp_path: Path, kills: int) -> None:
    """SIGKILL, at moments that nobody chose; ``python tests/hostile.py`` does it twenty times."""
    kill(kills, "numpy", tmp_path)


@pytest.mark.parametrize(
    ("every", "epochs", "kept"), [(1, 3, [0, 1, 2, 3]), (2, 5, [0, 2, 4, 5]), (3, 2, [0, 2]), (2, 0, [0])]
)
def test_a_run_is_kept_at_its_beginning_every_so_often_and_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int, epochs: int, kept: list[int]
) -> None:
    seen: list[int] = []
    save = mt.save

    def note(file: Any, run: Any) -> None:
        seen.append(run.epoch)
        save(file, run)

    monkeypatch.setattr("martlet.keeping.save", note)
    fit(epochs=epochs, every=every, checkpoint=tmp_path / "run")
    assert seen == kept


def test_what_was_not_kept_is_done_again(tmp_path: Path) -> None:
    path = tmp_path / "run"
    interrupted(5, checkpoint=path, every=3)
    assert kept(path).epoch == 3
    assert_equal(fit(checkpoint=path, resume=True, every=2), fit())


@pytest.mark.parametrize("after", [1, 2, 3, 4, 5])
def test_a_generator_of_ones_own_goes_on_too(tmp_path: Path, after: int) -> None:
    def rng() -> np.random.Generator:
        generator = np.random.Generator(np.random.PCG64DXSM(5))
        generator.integers(0, 10, 3, dtype="uint32")  # which leaves half of a number over
        return generator

    path, ends = tmp_path / "run", [rng(), rng()]
    alone = fit(seed=ends[0])
    interrupted(after, seed=rng(), checkpoint=path)
    assert_equal(fit(seed=ends[1], checkpoint=path, resume=True), alone)
    assert ends[0].bit_generator.state == ends[1].bit_generator.state


@pytest.mark.parametrize(
    "changes",
    [
        {"shuffle": False},
        {"last": "drop"},
        {"weight": np.linspace(0.5, 1.5, 44)},
        {"stop": None},
        {"optimizer": mt.AdamW(lr=0.05, amsgrad=True)},
        {"loss": mt.SoftmaxWithLoss("sum"), "optimizer": mt.SGD(lr=0.001)},
    ],
    ids=lambda changes: ", ".join(changes),
)
def test_whatever_a_run_is_given(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = tmp_path / "run"
    interrupted(2, checkpoint=path, **changes)
    assert_equal(fit(checkpoint=path, resume=True, **changes), fit(**changes))


def test_arrays_in_fortrans_order_make_no_difference(tmp_path: Path) -> None:
    """A sum may end in other digits where its terms lie otherwise in memory, as they do not in a file."""

    class Sideways(mt.Layer):
        """y = x + Σ W over the rows, with a gradient that lies in memory the other way round."""

        W: mt.Array

        def forward(self, x):
            return x + self.W.sum(axis=0), x

        def backward(self, cache, dout):
            return dout, self.gradient(W=(dout.sum(axis=0)[:, None] * np.linspace(0.1, 1.0, 999, dtype="float32")).T)

    rng = np.random.default_rng(2)
    x, t = rng.standard_normal((64, 3)).astype("float32"), rng.integers(0, 3, 64)

    def run(**changes: Any) -> tuple[Any, mt.History]:
        W = np.asfortranarray(np.random.default_rng(4).standard_normal((999, 3)).astype("float32"))
        options = {"loss": mt.SoftmaxWithLoss(), "optimizer": mt.Momentum(lr=0.001), "checkpoint": path, "every": 2}
        return mt.fit(Sideways(W), x, t, batch_size=16, epochs=6, **{**options, **changes})

    path = tmp_path / "alone"
    alone = run()
    path = tmp_path / "run"

    def hook(epoch: int, model: Any, history: mt.History) -> None:
        if epoch == 3:
            raise Interrupt

    with pytest.raises(Interrupt):
        run(hook=hook)
    assert_equal(run(resume=True), alone)


# ------------------------------------------------------------------------------- where a run ends, and begins


def test_more_epochs_than_before_are_the_rest_of_a_longer_run(tmp_path: Path) -> None:
    fit(epochs=3, checkpoint=tmp_path / "run")
    assert_equal(fit(epochs=8, checkpoint=tmp_path / "run", resume=True), fit(epochs=8))


def test_a_run_that_stopped_early_stays_where_it_was_unless_there_is_more_patience(tmp_path: Path) -> None:
    def run(patience: int, **changes: Any) -> tuple[Any, mt.History]:
        return fit(epochs=60, optimizer=mt.Adam(lr=0.3), stop=mt.EarlyStopping(patience=patience), **changes)

    path, alone = tmp_path / "run", run(2)
    assert "not better in 2 epochs" in alone[1].stopped
    assert_equal(run(2, checkpoint=path), alone)
    told = kept(path).history
    assert (told.stopped, told.best_epoch, told.loss) == (alone[1].stopped, alone[1].best_epoch, alone[1].loss)
    assert_equal(run(2, checkpoint=path, resume=True), alone)
    assert_equal(run(4, checkpoint=path, resume=True), run(4))


def test_the_hook_is_asked_again_about_the_last_epoch_that_was_kept(tmp_path: Path) -> None:
    asked: list[int] = []

    def hook(epoch: int, model: Any, history: mt.History) -> bool:
        asked.append(epoch)
        return epoch == ends

    ends = 3
    path = tmp_path / "run"
    first = fit(hook=hook, checkpoint=path)
    assert_equal(fit(hook=hook, checkpoint=path, resume=True), first)
    assert asked == [1, 2, 3, 3]
    ends = 5
    assert_equal(fit(hook=hook, checkpoint=path, resume=True), fit(hook=hook))
    assert asked == [1, 2, 3, 3, 3, 4, 5, 1, 2, 3, 4, 5]


def test_the_checkpoint_stays_when_a_run_ends_badly(tmp_path: Path) -> None:
    path = tmp_path / "run"

    def metric(y: np.ndarray, t: np.ndarray) -> float:
        if kept(path).epoch == 2:
            raise ZeroDivisionError
        return 0.0

    with pytest.raises(ZeroDivisionError):
        fit(checkpoint=path, metrics={"accuracy": metric})
    run = kept(path)
    assert (run.epoch, len(run.history.loss), run.history.metrics) == (2, 2, {"accuracy": [0.0, 0.0]})
    assert os.listdir(tmp_path) == ["run"]


def test_a_file_that_is_there_is_not_overwritten_by_a_new_run(tmp_path: Path) -> None:
    path = tmp_path / "run"
    fit(checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="resume=True goes on from it"):
        fit(checkpoint=path)
    assert path.read_bytes() == before


def test_nothing_that_is_passed_in_changes(tmp_path: Path) -> None:
    model = network()
    before = [x.tobytes() for x in mt.leaves(model)]
    interrupted(2, checkpoint=tmp_path / "run", model=model)
    fit(checkpoint=tmp_path / "run", resume=True, model=model)
    assert [x.tobytes() for x in mt.leaves(model)] == before


def test_a_run_in_a_file_tells_what_happened(tmp_path: Path) -> None:
    model, history = fit(checkpoint=tmp_path / "run", seed=11, optimizer=mt.Adam(lr=0.5))
    run = kept(tmp_path / "run")
    assert (run.epoch, run.history.loss, run.history.seconds) == (8, history.loss, history.seconds)
    assert (run.settings["seed"], run.settings["batch_size"], run.settings["x"]) == (11, 8, ((44, 3),))
    assert run.best is not None
    assert run.best.epoch == history.best_epoch < run.epoch
    assert int(run.state.step) == 48 > int(run.best.state.step)
    best = mt.load(tmp_path / "run", layers={"Centred": Centred})
    for x, y, z in zip(mt.leaves(model), mt.leaves(run.best.model), mt.leaves(best), strict=True):
        assert x.tobytes() == y.tobytes() == z.tobytes()
    assert mt.leaves(run.model)[1].tobytes() != mt.leaves(model)[1].tobytes()


# ------------------------------------------------------------------------------------------ mistakes


class Other(NamedTuple):
    """A run that is not the one in the file, and the words by which the refusal names what differs."""

    what: str
    changes: Callable[[], dict[str, Any]]
    words: tuple[str, ...]


def with_layer(i: int, layer: mt.Layer) -> dict[str, Any]:
    layers = list(network())
    layers[i] = layer
    return {"model": mt.Sequential(*layers)}


ADAM = {"schedule": mt.schedules.Cosine(steps=30), "transforms": (mt.ClipByNorm(limit=0.5),)}
OTHERS = [
    Other("another seed", lambda: {"seed": 1}, ("seed is 0 there, 1 here",)),
    Other("a generator", lambda: {"seed": np.random.default_rng(0)}, ("seed is 0 there, 'a Generator' here",)),
    Other("another batch size", lambda: {"batch_size": 16}, ("batch_size is 8 there, 16 here",)),
    Other("no shuffling", lambda: {"shuffle": False}, ("shuffle is True there, False here",)),
    Other("another last batch", lambda: {"last": "drop"}, ("last is 'keep' there, 'drop' here",)),
    Other("weights", lambda: {"weight": np.ones(44)}, ("weight is [] there, [[44]] here",)),
    Other("no metrics", lambda: {"metrics": ()}, ("metrics is ['accuracy'] there, [] here",)),
    Other("no validation", lambda: {"validation": None}, ("validation is", "None here")),
    Other("no stop", lambda: {"stop": None}, ("stop is", "None here")),
    Other("another watch", lambda: {"stop": mt.EarlyStopping(watch="accuracy")}, ("stop.0 is 'loss' there",)),
    Other("less data", lambda: {"rows": 43}, ("x.0.0 is 44 there, 43 here",)),
    Other("another optimizer", lambda: {"optimizer": mt.SGD(lr=0.05, **ADAM)}, ("optimizer.class", "'Adam'", "'SGD'")),
    Other("another lr", lambda: {"optimizer": mt.Adam(lr=0.1, **ADAM)}, ("optimizer.lr is 0.05 there, 0.1 here",)),
    Other("no schedule", lambda: {"optimizer": mt.Adam(lr=0.05)}, ("optimizer.schedule", "Cosine", "None here")),
    Other("another loss", lambda: {"loss": mt.SoftmaxWithLoss()}, ("loss.class_weight is 'array' there, None here",)),
    Other(
        "other class weights",
        lambda: {"loss": mt.SoftmaxWithLoss(class_weight=np.ones(3, dtype="float32"))},
        ("loss's class_weight has other numbers",),
    ),
    Other("another layer", lambda: with_layer(3, mt.ReLU()), ("model.layers.3.class is 'Tanh' there, 'ReLU' here",)),
    Other("another setting", lambda: with_layer(3, mt.LeakyReLU()), ("model.layers.3.class",)),
    Other(
        "another width",
        lambda: {"model": wider()},
        ("1.W", "(3, 8)", "(3, 9)"),
    ),
    Other("float64", lambda: {"model": network().to(dtype="float64")}, ("float32", "float64")),
    Other("fewer epochs", lambda: {"epochs": 2}, ("holds 3 epochs, more than epochs=2",)),
]


def wider() -> mt.Layer:
    rng = np.random.default_rng(8)
    layers = list(network())
    layers[1], layers[2], layers[5] = affine(rng, 3, 9), batch_norm(rng, 9), affine(rng, 9, 3)
    return mt.Sequential(*layers).to(dtype="float32")


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: other.what)
def test_another_run_is_not_gone_on_with(other: Other, tmp_path: Path) -> None:
    path = tmp_path / "run"
    fit(epochs=3, checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(mt.CheckpointError) as caught:
        fit(checkpoint=path, resume=True, **{"epochs": 3, **other.changes()})
    assert not [word for word in (repr(str(path)), *other.words) if word not in str(caught.value)], str(caught.value)
    assert path.read_bytes() == before


def test_a_model_alone_is_no_run_to_go_on_from(tmp_path: Path) -> None:
    mt.save(tmp_path / "model", network())
    with pytest.raises(mt.CheckpointError, match="another run: seed is None there"):
        fit(checkpoint=tmp_path / "model", resume=True)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"resume": True}, ValueError, "resume=True needs to know from which file"),
        ({"checkpoint": 3}, TypeError, "checkpoint must be a path, got int 3"),
        ({"checkpoint": "run", "every": 0}, ValueError, "every must be at least 1"),
        ({"checkpoint": "run", "every": 1.5}, TypeError, "every must be an integer"),
        ({"checkpoint": "run", "resume": 1}, TypeError, "resume must be True or False"),
        ({"checkpoint": "run", "seed": np.random.Generator(np.random.MT19937(1))}, TypeError, "PCG64"),
        ({"checkpoint": "run", "seed": np.random.RandomState(1)}, TypeError, "PCG64"),
        ({"checkpoint": "no/run"}, FileNotFoundError, "no"),
        ({"checkpoint": "."}, FileExistsError, "is there already"),
        ({"checkpoint": ".", "resume": True}, mt.CheckpointError, "no ordinary file"),
    ],
)
def test_a_mistake_is_found_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    called: list[int] = []
    with pytest.raises(error, match=words):
        fit(hook=lambda epoch, model, history: called.append(epoch), **changes)
    assert (called, os.listdir(tmp_path)) == ([], [])


def test_what_cannot_be_kept_is_found_before_the_first_step(tmp_path: Path) -> None:
    class Unkeepable(mt.Layer):
        W: mt.Array
        function: Any = np.tanh

        def forward(self, x):
            return self.function(x) @ self.W, x

        def backward(self, cache, dout):
            return dout @ self.W.T, self.gradient(W=cache.T @ dout)

    called: list[int] = []
    with pytest.raises(TypeError, match=r"Unkeepable\.function"):
        fit(
            Unkeepable(np.ones((3, 3), dtype="float32")),
            checkpoint=tmp_path / "run",
            hook=lambda epoch, model, history: called.append(epoch),
        )
    assert (called, os.listdir(tmp_path)) == ([], [])
