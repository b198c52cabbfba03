"""PyTorch steps run in inference mode, of which nothing is left over, and under torch.compile where it is asked for."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import LAYERS, LOSSES, LayerCase, LossCase, affine, batch_norm
from conftest import Target, assert_close, to_numpy
from test_laws import draw, draw_loss, forward_backward, loss_and_slope

import martlet as mt

pytestmark = [pytest.mark.eager, pytest.mark.only("torch")]


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The graphs that torch.compile is given, which are run as they are: what is tried is that they are right."""
    import torch

    found: list[Any] = []

    def note(graph: Callable[..., Any], **_: Any) -> Callable[..., Any]:
        found.append(graph)
        return graph

    monkeypatch.setattr(torch, "compile", note)
    return found


def problem(xp: Target, samples: int = 22) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(1)
    model = mt.Sequential(
        mt.MatMul(rng.standard_normal((3, 6))),
        batch_norm(rng, 6),
        mt.Dropout.init(0.3, rng),
        mt.Tanh(),
        affine(rng, 6, 3),
    )
    return tuple(map(xp.put, (model, rng.standard_normal((samples, 3)), rng.integers(0, 3, samples))))


def fit(given: tuple[Any, Any, Any], **changes: Any) -> tuple[Any, mt.History]:
    options = {"loss": mt.SoftmaxWithLoss(), "optimizer": mt.Adam(lr=0.01), "epochs": 20, "batch_size": 8}
    return mt.fit(*given, **options | changes)


# ------------------------------------------------------------------------------------- torch.compile


@pytest.mark.parametrize("case", LAYERS, ids=lambda case: case.name)
def test_the_graph_of_a_layer_gives_what_the_layer_gives(case: LayerCase, xp: Target, graphs: list[Any]) -> None:
    layer, x, dout = map(xp.put, draw(case))
    there = xp.backend.compile(forward_backward, True)
    for scale in (1.0, 0.5):  # the second time the graph alone runs
        arrays = mt.rebuild(layer, [a * scale if a.dtype.is_floating_point else a for a in mt.leaves(layer)])
        assert_close(there(arrays, x, dout), to_numpy(forward_backward(arrays, x, dout)), **xp.tolerance)
    assert len(graphs) == 1


@pytest.mark.parametrize("case", LOSSES, ids=lambda case: case.name)
def test_the_graph_of_a_loss_gives_what_the_loss_gives(case: LossCase, xp: Target, graphs: list[Any]) -> None:
    given = tuple(map(xp.put, draw_loss(case, "mean")))
    assert_close(xp.backend.compile(loss_and_slope, True)(*given), to_numpy(loss_and_slope(*given)), **xp.tolerance)
    assert len(graphs) == 1


def test_a_compiled_run_has_a_program_for_each_size_of_a_batch(xp: Target, graphs: list[Any]) -> None:
    found, history = fit(problem(xp), compile=True)
    expected, past = fit(problem(xp), compile=False)
    assert len(graphs) == 2
    assert history.compiled == "PyTorch: torch.compile, one program per step"
    np.testing.assert_allclose(history.loss, past.loss, rtol=1e-12)
    assert_close((found, history.state), to_numpy((expected, past.state)), rtol=1e-12, atol=1e-12)


def test_a_learning_rate_is_no_part_of_the_program(xp: Target, graphs: list[Any]) -> None:
    model, x, t = problem(xp, 6)
    loss, optimizer = mt.SoftmaxWithLoss(), mt.Momentum()
    step = xp.backend.compile(mt.train_step, True)
    for lr in (0.5, 0.25):
        state = mt.replace(optimizer.init(model), {"lr": lr})
        found, expected = (take(model, loss, optimizer, state, x, t) for take in (step, mt.train_step))
        assert_close(found, to_numpy(expected), rtol=1e-12, atol=1e-12)
    assert len(graphs) == 1


@pytest.mark.skipif(not any(map(shutil.which, ("g++", "c++", "clang++"))), reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore:Skipping serialization:UserWarning")  # PyTorch 2.6's compiler says so of itself
def test_torch_compile_itself_has_the_same_curve(xp: Target) -> None:
    rng = np.random.default_rng(1)
    model = xp.put(mt.Sequential(affine(rng, 2, 3), mt.Tanh(), affine(rng, 3, 2)))
    given = model, xp.put(rng.standard_normal((16, 2))), xp.put(rng.integers(0, 2, 16))
    settings = {"optimizer": mt.SGD(lr=0.1)}
    _, history = fit(given, compile=True, **settings)
    np.testing.assert_allclose(history.loss, fit(given, compile=False, **settings)[1].loss, rtol=1e-12)


class Reading(mt.Layer):
    """y = x, if its sum is more than some number, which has to be read."""

    def forward(self, x):
        return (x if float(x.sum()) > -1e9 else -x), None

    def backward(self, cache, dout):
        return dout, None


def test_a_layer_that_reads_cannot_be_compiled(xp: Target, graphs: list[Any]) -> None:
    model, x, t = problem(xp)
    given = mt.Sequential(Reading(), *model), x, t
    with pytest.raises(ValueError, match=r"compile=True: the step cannot be compiled: \w+"):
        fit(given, compile=True)
    assert fit(given)[1].compiled.startswith("PyTorch: eager steps in inference mode: NotRecordable: ")


# ------------------------------------------------------------------------------------ inference mode


def test_what_a_run_gives_back_is_open_to_autograd(xp: Target) -> None:
    import torch

    seen: list[Any] = []
    trained, history = fit(problem(xp), hook=lambda *given: seen.append(given[1]))
    for tree in (trained, history.state, *seen):
        assert not any(a.is_inference() for a in mt.leaves(tree))
    W = trained[4].W.requires_grad_()
    (torch.ones(3, 6, dtype=W.dtype) @ W).sum().backward()
    assert W.grad.tolist() == torch.full((6, 3), 3.0).tolist()
    assert not torch.is_inference_mode_enabled()


def test_a_run_within_the_users_own_inference_mode(xp: Target) -> None:
    import torch

    expected = fit(problem(xp))[0]
    with torch.inference_mode():
        found, _ = fit(problem(xp))
    assert_close(found, to_numpy(expected), rtol=0)
    assert not any(a.is_inference() for a in mt.leaves(found))


class Borrowed(mt.Layer):
    """y = sin(W x), with a derivative that PyTorch takes."""

    W: mt.Array

    def forward(self, x):
        import torch

        x, W = x.detach().requires_grad_(), self.W.detach().requires_grad_()
        with torch.enable_grad():
            y = torch.sin(x * W)
        return y.detach(), (x, W, y)

    def backward(self, cache, dout):
        import torch

        x, W, y = cache
        dx, dW = torch.autograd.grad(y, (x, W), dout)
        return dx, self.gradient(W=dW)


def test_a_layer_that_borrows_an_autograd_runs_eagerly(xp: Target) -> None:
    model, x, t = problem(xp)
    given = xp.put(mt.Sequential(Borrowed(np.ones(3)), *model)), x, t
    found, history = fit(given)
    assert history.compiled.startswith("eager: RuntimeError: ")
    assert_close(found, to_numpy(fit(given, compile=False)[0]), rtol=0)
    assert not np.allclose(mt.to_numpy(found[0].W), 1.0, atol=1e-6)
