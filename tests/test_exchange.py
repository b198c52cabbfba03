"""Weights from and to other libraries: the same outputs there and here, and an error for what cannot be had."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import Target

import martlet as mt
from martlet.checkpoint.torch_in import ROWS

# PyTorch is installed where its own backend is tested, so these tests belong to every backend's run.
every = pytest.mark.every
TOLERANCE = {"float32": 1e-6, "float64": 1e-12}
SEEDS = range(40)


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


def distance(actual: Any, expected: Any) -> float:
    """The largest difference, measured by the largest expected number, or by 1."""
    a, b = (np.asarray(mt.to_numpy(x), dtype="float64") for x in (actual, expected))
    assert a.shape == b.shape
    return float(np.max(np.abs(a - b), initial=0.0) / max(1.0, np.max(np.abs(b), initial=0.0)))


def random_weights(torch: Any, module: Any, seed: int) -> Any:
    """Numbers that no layer begins with: gamma is not 1, a mean is not 0, a variance is above 0."""
    rng = np.random.default_rng(seed)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            x = rng.standard_normal(tensor.shape) / max(1.0, tensor.shape[-1] ** 0.5 if tensor.ndim > 1 else 1.0)
            tensor.copy_(torch.asarray(np.abs(x) + 0.5 if name.endswith("running_var") else x))
    return module


# ------------------------------------------------------------------------------------- random stacks

ACTIVATIONS: list[Callable[[Any], Any]] = [
    lambda nn: nn.ReLU(),
    lambda nn: nn.ReLU(inplace=True),
    lambda nn: nn.LeakyReLU(0.2),
    lambda nn: nn.ELU(0.7),
    lambda nn: nn.Sigmoid(),
    lambda nn: nn.Tanh(),
    lambda nn: nn.Softplus(),
    lambda nn: nn.SiLU(),
    lambda nn: nn.GELU(),
    lambda nn: nn.GELU(approximate="tanh"),
    lambda nn: nn.Softmax(dim=-1),
    lambda nn: nn.LogSoftmax(dim=-1),
    lambda nn: nn.Identity(),
    lambda nn: nn.Dropout(0.0),
]


def random_stack(torch: Any, seed: int) -> tuple[Any, np.ndarray]:
    """A nested stack in float64 with every layer that there is, and an input for it."""
    nn, rng = torch.nn, np.random.default_rng(seed)
    layers: list[Any] = []
    shape: tuple[int, ...] = (int(rng.integers(3, 8)),)
    x = rng.standard_normal((9, *shape))
    if rng.random() < 0.3:
        layers.append(nn.Embedding(5, shape[0]))
        x, shape = rng.integers(0, 5, (9, 4)), (4, *shape)
    for _ in range(int(rng.integers(2, 9))):
        kind = rng.integers(5)
        if kind == 0:
            layers.append(nn.LayerNorm(shape, eps=1e-3, elementwise_affine=bool(rng.random() < 0.7)))
        elif kind == 1:
            norm = {1: nn.BatchNorm1d, 2: nn.BatchNorm1d, 3: nn.BatchNorm2d, 4: nn.BatchNorm3d}[len(shape)]
            layers.append(norm(shape[0], eps=1e-3, momentum=0.3, affine=bool(rng.random() < 0.7)))
        elif kind == 2 and len(shape) == 1:
            outputs = int(rng.integers(2, 5))
            sizes = (outputs, -1) if outputs % 2 else (outputs, *[1] * int(rng.integers(3)), 6)
            layers += [nn.Linear(shape[0], outputs * 6), nn.Unflatten(1, sizes)]
            shape = tuple(6 if n == -1 else n for n in sizes)
        elif kind == 3:
            layers += [nn.Flatten()] if len(shape) > 1 else []
            outputs = int(rng.integers(3, 8))
            layers.append(nn.Linear(int(np.prod(shape)), outputs, bias=bool(rng.random() < 0.7)))
            shape = (outputs,)
            layers += [[], [nn.Softmax(dim=1)], [nn.LogSoftmax(dim=1)]][rng.integers(3)]
        layers.append(ACTIVATIONS[rng.integers(len(ACTIVATIONS))](nn))
    cut = int(rng.integers(len(layers)))
    stack = nn.Sequential(*layers[:cut], nn.Sequential(*layers[cut:]))
    for module in stack.modules():
        if isinstance(module, nn.Linear | nn.LayerNorm) and rng.random() < 0.2:
            module.requires_grad_(False)
    return random_weights(torch, stack.double(), seed), x


def leaves_by_name(tree: Any) -> dict[str, Any]:
    return {} if tree is None else dict(zip(mt.names(tree), mt.leaves(tree), strict=True))


def observed(model: mt.Layer) -> dict[str, Any]:
    """The arrays of a model, the counters of noise apart."""
    return {name: x for name, x in leaves_by_name(model).items() if not name.endswith(("stream", "step"))}


Numbers = dict[str, dict[str, Any]]


def by_torch(torch: Any, module: Any, x: np.ndarray, dout: np.ndarray) -> Numbers:
    """What PyTorch makes of a batch: prediction, training output, gradients, and the model after it."""
    module = copy.deepcopy(module)
    width = next((p.dtype for p in module.state_dict().values() if p.is_floating_point()), torch.float64)
    x = torch.asarray(x) if x.dtype.kind == "i" else torch.asarray(x).to(width)
    found = {"predict": {"y": module.eval()(x.clone())}}
    y = module.train()(x.clone())
    found["forward"] = {"y": y}
    slopes = copy.deepcopy(module)
    if y.requires_grad:
        y.backward(torch.asarray(dout).to(width))
    for parameter, slope in zip(module.parameters(), slopes.parameters(), strict=True):
        slope.data = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    return {**found, "observe": observed(mt.from_torch(module)), "backward": leaves_by_name(mt.from_torch(slopes))}


def by_martlet(model: mt.Layer, x: Any, dout: Any) -> Numbers:
    y, cache = model.forward(x)
    found = {"predict": {"y": model.predict(x)}, "forward": {"y": y}, "observe": observed(model.observe(cache))}
    return {**found, "backward": leaves_by_name(model.backward(cache, dout)[1])}


def distances(actual: Numbers, expected: Numbers) -> dict[str, float]:
    """For each verb the largest distance; a frozen layer has no gradient here."""
    return {
        verb: max((distance(x, expected[verb][name]) for name, x in named.items()), default=0.0)
        for verb, named in actual.items()
    }


def batch(torch: Any, seed: int, dtype: str) -> tuple[Any, np.ndarray, np.ndarray]:
    """A random stack, and x and dout for it, whose numbers exist in that width."""
    module, x = random_stack(torch, seed)
    module = module.to(getattr(torch, dtype))
    if x.dtype.kind == "f":
        x = x.astype(dtype).astype("float64")
    y = mt.from_torch(module).predict(x if x.dtype.kind == "i" else x.astype(dtype))
    return module, x, np.random.default_rng(seed).standard_normal(y.shape).astype(dtype).astype("float64")


@every
def test_the_random_stacks_hold_every_layer_that_there_is(torch: Any) -> None:
    drawn = {type(module).__name__ for seed in SEEDS for module in random_stack(torch, seed)[0].modules()}
    assert drawn == {"Sequential", *ROWS}


@every
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_random_stack_gives_the_numbers_of_torch(torch: Any, dtype: str) -> None:
    """To 1e-6 or 1e-12; in float32 no further from the float64 result than four times what PyTorch itself loses."""
    for seed in SEEDS:
        module, x, dout = batch(torch, seed, dtype)
        model = mt.from_torch(module)
        assert {a.dtype for a in observed(model).values()} <= {np.dtype(dtype)}
        found = by_martlet(model, x if x.dtype.kind == "i" else x.astype(dtype), dout.astype(dtype))
        exact, theirs = by_torch(torch, copy.deepcopy(module).double(), x, dout), by_torch(torch, module, x, dout)
        lost = distances(found, exact)
        for verb, named in found.items():
            allowed = distances({verb: {name: theirs[verb][name] for name in named}}, exact)[verb]
            assert lost[verb] <= max(TOLERANCE[dtype], 4.0 * allowed), f"stack {seed}, {verb}: {lost}\n{module}"


@pytest.mark.eager
def test_on_every_backend_the_weights_are_the_same_bits(xp: Target, torch: Any) -> None:
    for seed in SEEDS:
        module = random_stack(torch, seed)[0].to(getattr(torch, xp.double))
        model, here = mt.from_torch(module), mt.from_torch(module, backend=xp.backend)
        assert mt.names(here) == mt.names(model)
        for a, b in zip(mt.leaves(here), mt.leaves(model), strict=True):
            assert mt.backend_of(a).name == xp.backend.name
            np.testing.assert_array_equal(mt.to_numpy(a), b, strict=True)


@pytest.mark.eager
def test_there_and_back_is_bit_equal(xp: Target, torch: Any) -> None:
    for seed in SEEDS:
        module, x, dout = batch(torch, seed, xp.double)
        model = mt.from_torch(module, backend=xp.backend)
        there = mt.to_torch(model)
        back = mt.from_torch(there, backend=xp.backend)
        assert repr(back) == repr(model)
        for name, leaf in observed(model).items():
            np.testing.assert_array_equal(mt.to_numpy(observed(back)[name]), mt.to_numpy(leaf), strict=True)
        expected, found = by_torch(torch, module, x, dout), by_torch(torch, there, x, dout)
        for verb in ("predict", "forward"):  # PyTorch with our weights, and PyTorch with its own
            assert distance(found[verb]["y"], expected[verb]["y"]) <= TOLERANCE[xp.double]
        assert found["backward"].keys() == expected["backward"].keys()
        for name in (name for name in found["backward"] if ".layer." not in name):  # but for what is frozen
            assert distance(found["backward"][name], expected["backward"][name]) <= TOLERANCE[xp.double]


@every
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_a_net_that_moved_learns_on_along_the_same_curve(torch: Any, optimizer: str) -> None:
    nn = torch.nn
    # No bias before the BatchNorm, which takes it away again: Adam would blow up the rounding in its gradient.
    first, norm = nn.Linear(2, 8, bias=False), nn.BatchNorm1d(8)
    module = nn.Sequential(first, norm, nn.Tanh(), nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 3)).double()
    module = random_weights(torch, module, seed=0)
    model, (x, t) = mt.from_torch(module), mt.datasets.spiral(20, dtype="float64")
    theirs, ours = getattr(torch.optim, optimizer)(module.parameters(), lr=0.05), getattr(mt, optimizer)(lr=0.05)
    state = ours.init(model)
    for _ in range(50):
        theirs.zero_grad()
        expected = nn.functional.cross_entropy(module(torch.asarray(x)), torch.asarray(t))
        expected.backward()
        theirs.step()
        model, state, value = mt.train_step(model, mt.SoftmaxWithLoss(), ours, state, x, t)
        assert float(value) == pytest.approx(expected.item(), rel=1e-12)
    for name, leaf in leaves_by_name(mt.from_torch(module)).items():
        assert distance(leaves_by_name(model)[name], leaf) <= 1e-12


# ------------------------------------------------------------------------------ what is not the same


@every
def test_softplus_leaves_out_what_the_documentation_says(torch: Any) -> None:
    x = np.linspace(19.0, 50.0, 1001)
    ours = mt.from_torch(torch.nn.Softplus()).predict(x)
    theirs = torch.nn.Softplus()(torch.asarray(x)).numpy()
    assert 1e-9 < np.max(np.abs(theirs - ours)) <= np.log1p(np.exp(-20.0)) < 2.1e-9
    np.testing.assert_allclose(mt.to_torch(mt.Softplus())(torch.asarray(x)).numpy(), ours, rtol=1e-15)


@every
def test_dropout_has_masks_of_its_own(torch: Any) -> None:
    nn = torch.nn
    module = nn.Sequential(nn.Dropout(0.25), nn.Linear(3, 3), nn.Sequential(nn.Dropout(0.5)))
    x = np.random.default_rng(0).standard_normal((5, 3)).astype("float32")
    model = mt.from_torch(module)
    assert distance(model.predict(x), module.eval()(torch.asarray(x)).detach()) <= 1e-6
    assert [model[0].rate, model[2][0].rate] == [0.25, 0.5]
    assert list(model[0].stream) != list(model[2][0].stream)
    again, other = mt.from_torch(module), mt.from_torch(module, rng=np.random.default_rng(1))
    assert list(again[0].stream) == list(model[0].stream) != list(other[0].stream)
    assert [part.p for part in mt.to_torch(model).modules() if isinstance(part, nn.Dropout)] == [0.25, 0.5]
    assert 0.4 < np.mean(mt.from_torch(nn.Dropout(0.5)).forward(np.ones((40, 40)))[0] == 0.0) < 0.6


# ------------------------------------------------------------------------------- what becomes of what


@every
def test_a_linear_layer_is_transposed(torch: Any) -> None:
    module = torch.nn.Linear(2, 3)
    model = mt.from_torch(module)
    assert type(model) is mt.Affine
    np.testing.assert_array_equal(model.W, module.weight.detach().numpy().T)
    assert model.W.flags.c_contiguous
    assert type(mt.from_torch(torch.nn.Linear(2, 3, bias=False))) is mt.MatMul
    assert mt.to_torch(mt.MatMul(np.ones((2, 3)))).bias is None
    assert mt.to_torch(mt.Affine(np.ones((2, 3)), np.ones(3))).weight.is_contiguous()


@every
def test_settings_are_kept_both_ways(torch: Any) -> None:
    nn = torch.nn
    for module in (
        nn.LeakyReLU(0.3),
        nn.ELU(0.5),
        nn.GELU("tanh"),
        nn.GELU("none"),
        nn.BatchNorm1d(3, eps=0.25, momentum=0.75),
        nn.LayerNorm((2, 3), eps=0.25),
        nn.Embedding(4, 3),
        nn.Dropout(0.25),
    ):
        assert repr(mt.to_torch(mt.from_torch(module))) == repr(module)
    assert "momentum=0.75, eps=0.25" in repr(mt.from_torch(nn.BatchNorm1d(3, eps=0.25, momentum=0.75)))


@every
def test_weights_are_copies(torch: Any) -> None:
    for backend in ("numpy", "torch"):
        module = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.BatchNorm1d(1))
        model = mt.from_torch(module, backend=backend)
        there = mt.to_torch(model)
        before = [np.array(mt.to_numpy(x)) for x in mt.leaves(model)]
        with torch.no_grad():
            for tensor in [*module.state_dict().values(), *there.state_dict().values()]:
                tensor += 1
        assert [a.tolist() for a in before] == [mt.to_numpy(x).tolist() for x in mt.leaves(model)]
        assert not any(x.requires_grad for x in mt.leaves(model) if backend == "torch")


@every
def test_nobodys_random_numbers_move_on(torch: Any) -> None:
    module = torch.nn.Sequential(
        torch.nn.Embedding(4, 3), torch.nn.Flatten(), torch.nn.Linear(6, 3), torch.nn.BatchNorm1d(3), torch.nn.Dropout()
    )
    before = torch.get_rng_state()
    mt.to_torch(mt.from_torch(module))
    assert torch.equal(torch.get_rng_state(), before)


@every
def test_what_is_frozen_stays_frozen(torch: Any) -> None:
    nn = torch.nn
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    module[:2].requires_grad_(False)
    model = mt.from_torch(module)
    assert [type(layer) for layer in model] == [mt.Freeze, mt.Freeze, mt.Affine]
    assert [p.requires_grad for p in mt.to_torch(model).parameters()] == [False] * 4 + [True] * 2
    x = np.random.default_rng(0).standard_normal((5, 2)).astype("float32")
    y, cache = model.forward(x)
    assert mt.names(model.backward(cache, y)[1]) == ("2.W", "2.b")
    module.train()(torch.asarray(x))
    assert distance(model.observe(cache)[1].layer.mean, module[1].running_mean) <= 1e-6  # which moves all the same
    whole = mt.to_torch(mt.Freeze(mt.Sequential(model[2], mt.ReLU())))
    assert not any(p.requires_grad for p in whole.parameters())


@every
def test_shapes_are_laid_out_as_here(torch: Any) -> None:
    x = np.random.default_rng(0).standard_normal((5, 2, 3, 4))
    for model in (mt.Sequential(mt.Reshape((4, 6))), mt.Sequential(mt.Flatten(), mt.Reshape((2, -1)))):
        np.testing.assert_array_equal(mt.to_torch(model)(torch.asarray(x)).numpy(), model.predict(x))
    ones = np.ones(2)
    norm = mt.BatchNorm(ones, ones, ones, ones)
    there = mt.to_torch(mt.Sequential(mt.Reshape((2, 3, 4)), norm, mt.Reshape((2, 3, 2, 2)), norm, mt.Flatten(), norm))
    names = [type(part).__name__ for part in there.modules()]
    assert [name for name in names if "Norm" in name] == ["BatchNorm2d", "BatchNorm3d", "BatchNorm1d"]


@every
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_stays_what_it_is(torch: Any, dtype: str) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.LayerNorm(3, elementwise_affine=False))
    model = mt.from_torch(module.to(getattr(torch, dtype)), backend="torch")
    assert {x.dtype for x in mt.leaves(model)} == {getattr(torch, dtype)}
    assert {x.dtype for x in mt.to_torch(model).parameters()} == {getattr(torch, dtype)}
    assert {x.dtype.name for x in mt.leaves(mt.from_torch(module, dtype="float64"))} == {"float64"}


@every
def test_a_layer_norm_without_weights_has_the_width_of_the_others(torch: Any) -> None:
    nn, x = torch.nn, np.random.default_rng(0).standard_normal((5, 3))
    bare = nn.LayerNorm(3, elementwise_affine=False)
    module = nn.Sequential(bare, nn.BatchNorm1d(3, affine=False)).double().eval()
    assert distance(mt.from_torch(module).predict(x), module(torch.asarray(x))) <= 1e-12
    assert distance(mt.from_torch(bare, dtype="float64").predict(x), bare(torch.asarray(x))) <= 1e-12
    assert {a.dtype.name for a in mt.leaves(mt.from_torch(bare))} == {"float32"}


# --------------------------------------------------------------------------------- what cannot be had


class Doubled:
    """A forward that nobody can see from outside."""

    def forward(self, x: Any) -> Any:
        return 2.0 * super().forward(x)  # type: ignore[misc]


def subclass(nn: Any) -> Any:
    return type("Mine", (Doubled, nn.Linear), {})(2, 3)


def same_name(nn: Any) -> Any:
    return type("Linear", (Doubled, nn.Linear), {})(2, 3)


def stack_of_ones_own(nn: Any) -> Any:
    return type("Net", (Doubled, nn.Sequential), {})(nn.ReLU())


def hooked(nn: Any) -> Any:
    module = nn.Sequential(nn.ReLU())
    module.register_forward_hook(lambda module, x, y: 2.0 * y)
    return module


def weight_norm(nn: Any) -> Any:
    return nn.utils.parametrizations.weight_norm(nn.Linear(2, 3))


def overridden(nn: Any) -> Any:
    module = nn.ReLU()
    module.forward = lambda x: x
    return module


def tied(nn: Any) -> Any:
    embedding, linear = nn.Embedding(4, 3), nn.Linear(3, 4, bias=False)
    linear.weight = embedding.weight
    return nn.Sequential(embedding, linear)


def twice(nn: Any) -> Any:
    linear = nn.Linear(3, 3)
    return nn.Sequential(linear, nn.Tanh(), linear)


def half_frozen(nn: Any) -> Any:
    linear = nn.Linear(3, 3)
    linear.bias.requires_grad_(False)
    return linear


def stack(nn: Any, *layers: Any) -> Any:
    return nn.Sequential(nn.ReLU(), nn.Sequential(*layers))


REFUSED = [
    (lambda nn: stack(nn, nn.Conv2d(3, 8, 3)), r"from_torch: 1\.0 Conv2d\(3, 8, kernel_size=\(3, 3\).* no counterpart"),
    (lambda nn: stack(nn, nn.ReLU(), nn.ReLU6()), r"from_torch: 1\.1 ReLU6\("),
    (lambda nn: nn.LSTM(2, 3), r"from_torch: LSTM\(2, 3\): this class has no counterpart"),
    (lambda nn: nn.ModuleList([nn.ReLU()]), "ModuleList"),
    (lambda nn: nn.LazyLinear(3), r"LazyLinear\(.* no counterpart in martlet; being a kind of Linear is not enough"),
    (subclass, r"Mine\(in_features=2.* being a kind of Linear is not enough"),
    (same_name, "being a kind of Linear is not enough"),
    (stack_of_ones_own, r"Net\(\): this class"),
    (hooked, "hooks"),
    (weight_norm, "ParametrizedLinear"),
    (overridden, "its forward is not that of its class"),
    (tied, "1 Linear.* shares its weights with 0 Embedding"),
    (twice, "2 Linear.* shares its weights with 0 Linear"),
    (half_frozen, "some of its parameters are frozen"),
    (lambda nn: nn.Linear(2, 3, device="meta"), "meta device"),
    (lambda nn: nn.Linear(2, 3, dtype=nn.Parameter().cfloat().dtype), "its weights are complex"),
    (lambda nn: nn.Softplus(beta=2), r"only beta=1"),
    (lambda nn: nn.Softplus(threshold=5), r"threshold=5\).* from 20 to 80"),
    (lambda nn: nn.Softplus(threshold=100), "from 20 to 80"),
    (lambda nn: nn.Softmax(dim=1), r"Softmax\(dim=1\): it must be along the last axis"),
    (lambda nn: nn.LogSoftmax(dim=0), "along the last axis"),
    (lambda nn: nn.Softmax(), "along the last axis"),
    (lambda nn: stack(nn, nn.Linear(2, 6), nn.Unflatten(1, (2, 3)), nn.Softmax(dim=1)), r"1\.2 Softmax"),
    (lambda nn: stack(nn, nn.Embedding(4, 3), nn.Softmax(dim=1)), r"1\.1 Softmax"),
    (lambda nn: nn.BatchNorm1d(3, track_running_stats=False), "only track_running_stats=True"),
    (lambda nn: nn.BatchNorm2d(3, momentum=None), "momentum must be a number"),
    (lambda nn: nn.LayerNorm(3, bias=False), "without a beta"),
    (lambda nn: nn.Embedding(4, 3, padding_idx=0), "only padding_idx=None"),
    (lambda nn: nn.Embedding(4, 3, max_norm=1.0), "only max_norm=None"),
    (lambda nn: nn.Embedding(4, 3, scale_grad_by_freq=True), "only scale_grad_by_freq=False"),
    (lambda nn: nn.Dropout(1.0), r"Dropout\(p=1\.0.*rate must be"),
    (lambda nn: nn.Dropout2d(0.5), "Dropout2d"),
    (lambda nn: nn.LeakyReLU(2.0), r"LeakyReLU\(negative_slope=2\.0\).*slope must be"),
    (lambda nn: nn.ELU(-1.0), "alpha must be"),
    (lambda nn: nn.Flatten(0), "only start_dim=1"),
    (lambda nn: nn.Flatten(1, 2), "only end_dim=-1"),
    (lambda nn: nn.Unflatten(2, (2, 3)), "only dim=1"),
    (lambda nn: nn.Unflatten(1, (2, -1)), "needs rows"),
]


@every
@pytest.mark.filterwarnings("ignore:Lazy modules:UserWarning")
@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_cannot_come_is_named(torch: Any, make: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mt.from_torch(make(torch.nn))


@every
def test_what_cannot_go_is_named(torch: Any) -> None:
    ones = np.ones(2)
    block = mt.Sequential(mt.Branch(2), mt.Parallel(mt.Tanh(), mt.Identity()), mt.Add())
    own = type("Mine", (mt.ReLU,), {})()
    for model, message in (
        (mt.Sequential(mt.ReLU(), block), r"to_torch: 1\.0 Branch: this layer has no counterpart"),
        (mt.Sequential(mt.Freeze(mt.Sequential(mt.Add()))), r"to_torch: 0\.layer\.0 Add"),
        (mt.Sequential(mt.Standardize(ones, ones)), "0 Standardize"),
        (mt.Freeze(mt.ReLU(), statistics=True), "to_torch: Freeze"),
        (mt.Reshape(()), "to_torch: Reshape: one number per sample"),
        (own, "to_torch: Mine"),
    ):
        with pytest.raises(ValueError, match=message):
            mt.to_torch(model)
    for layer, message in (
        (mt.Affine(np.ones((2, 3)), ones), r"to_torch: Affine: b has shape \(2,\), expected \(3,\)"),
        (mt.MatMul(ones), "W has shape"),
        (mt.Embedding(ones), "W has shape"),
        (mt.BatchNorm(ones, ones, ones, np.ones(3)), "variance has shape"),
        (mt.BatchNorm(*[np.ones((2, 2))] * 4), "gamma has shape"),
        (mt.LayerNorm(ones, np.ones(3)), "beta has shape"),
    ):
        with pytest.raises(ValueError, match=message):
            mt.to_torch(layer)
    with pytest.raises(TypeError, match=r"to_torch: 1 BatchNorm: gamma must be an array, got NoneType None"):
        mt.to_torch(mt.Sequential(mt.ReLU(), mt.BatchNorm(None, None, None, None)))
    with pytest.raises(TypeError, match=r"to_torch: 0 Affine: W must hold floating-point numbers"):
        mt.to_torch(mt.Sequential(mt.Affine(np.ones((2, 2), dtype="int64"), ones)))
    with pytest.raises(TypeError, match="expected a layer, got SoftmaxWithLoss"):
        mt.to_torch(mt.SoftmaxWithLoss())


@every
def test_what_is_no_module_is_refused(torch: Any) -> None:
    for wrong in (torch.nn.Linear, torch.zeros(2), mt.ReLU(), None, "model.pt", {"0.weight": torch.zeros(2)}):
        with pytest.raises(TypeError, match=r"expected a torch\.nn\.Module, got"):
            mt.from_torch(wrong)
    with pytest.raises(TypeError, match="rng must be a NumPy Generator"):
        mt.from_torch(torch.nn.ReLU(), rng=0)


def test_without_torch_nothing_is_imported_and_to_torch_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    program = """
import sys, martlet as mt
for function in (mt.from_torch, mt.from_sklearn):
    try:
        function(mt.ReLU())
    except TypeError as error:
        print(error)
print(sorted({"torch", "sklearn"} & set(sys.modules)))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    first, second, third = run.stdout.splitlines()
    assert first.startswith("from_torch: expected a torch.nn.Module, got ReLU")
    assert second.startswith("from_sklearn: expected a scikit-learn estimator, got ReLU")
    assert third == "[]"
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r'pip install "martlet\[torch\]"'):
        mt.to_torch(mt.ReLU())


# ------------------------------------------------------------------------------------- scikit-learn


@pytest.fixture
def sklearn() -> Any:
    pytest.importorskip("sklearn")
    import sklearn.linear_model
    import sklearn.neural_network
    import sklearn.pipeline
    import sklearn.preprocessing

    return sklearn


def some_data(dtype: str = "float64") -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return (rng.standard_normal((60, 4)) * [1.0, 5.0, 0.1, 2.0] + [0.0, 3.0, 1.0, -2.0]).astype(dtype), rng.integers(
        0, 3, 60
    )


def fitted(estimator: Any, x: np.ndarray, t: np.ndarray) -> Any:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that so few steps do not converge
        return estimator.fit(x, t)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("target", ["two", "three", "labels", "one number", "two numbers"])
def test_a_perceptron_of_sklearn_predicts_the_same(sklearn: Any, target: str, activation: str, dtype: str) -> None:
    x, t = some_data(dtype)
    settings = {"hidden_layer_sizes": (5, 3), "activation": activation, "max_iter": 5, "random_state": 0}
    if "number" in target:
        estimator = sklearn.neural_network.MLPRegressor(**settings)
        estimator = fitted(estimator, x, x[:, 0] if target == "one number" else x[:, :2])
        expected = estimator.predict(x)
        found = mt.from_sklearn(estimator).predict(x)
        expected = expected.reshape(found.shape)
    else:
        estimator = sklearn.neural_network.MLPClassifier(**settings)
        t = {"two": t == 0, "three": t, "labels": np.stack([t == 0, t != 1], axis=1).astype(int)}[target]
        expected = fitted(estimator, x, t).predict_proba(x)
        logits = mt.from_sklearn(estimator).predict(x)
        found = mt.softmax(logits) if target == "three" else mt.sigmoid(logits)
        expected = expected[:, 1:] if target == "two" else expected
    assert found.dtype == dtype
    assert distance(found, expected) <= TOLERANCE[dtype]


@pytest.mark.parametrize("intercept", [True, False])
def test_a_linear_model_of_sklearn_predicts_the_same(sklearn: Any, intercept: bool) -> None:
    x, t = some_data()
    for make in (sklearn.linear_model.LinearRegression, sklearn.linear_model.Ridge):
        for y in (x[:, 0] * 2.0 + t, np.stack([t, x[:, 1]], axis=1)):
            estimator = make(fit_intercept=intercept).fit(x, y)
            model = mt.from_sklearn(estimator)
            assert type(model[0]) is (mt.Affine if intercept else mt.MatMul)
            expected = estimator.predict(x).reshape(60, -1)
            assert distance(model.predict(x), expected) <= 1e-12
    for labels, probability in ((t > 0, mt.sigmoid), (t, mt.softmax)):
        estimator = fitted(sklearn.linear_model.LogisticRegression(fit_intercept=intercept), x, labels)
        found = probability(mt.from_sklearn(estimator).predict(x))
        assert distance(found, estimator.predict_proba(x)[:, -found.shape[1] :]) <= 1e-12
    estimator = sklearn.linear_model.LogisticRegression(solver="liblinear").fit(x, t > 0)
    assert distance(mt.sigmoid(mt.from_sklearn(estimator).predict(x)), estimator.predict_proba(x)[:, 1:]) <= 1e-12


@pytest.mark.parametrize("with_mean", [True, False])
@pytest.mark.parametrize("with_std", [True, False])
def test_a_scaler_of_sklearn_is_a_standardize(sklearn: Any, with_mean: bool, with_std: bool) -> None:
    x, _ = some_data()
    scaler = sklearn.preprocessing.StandardScaler(with_mean=with_mean, with_std=with_std).fit(x)
    model = mt.from_sklearn(scaler)
    assert [type(layer) for layer in model] == [mt.Standardize]
    assert distance(model.predict(x), scaler.transform(x)) <= 1e-12


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_pipeline_of_sklearn_is_one_model(sklearn: Any, dtype: str) -> None:
    x, t = some_data(dtype)
    pipe = sklearn.pipeline.make_pipeline(
        "passthrough",
        sklearn.pipeline.make_pipeline(sklearn.preprocessing.StandardScaler()),
        sklearn.neural_network.MLPClassifier((5,), max_iter=5, random_state=0),
    )
    model = mt.from_sklearn(fitted(pipe, x, t))
    assert [type(layer) for layer in model] == [mt.Standardize, mt.Affine, mt.ReLU, mt.Affine]
    assert {a.dtype.name for a in mt.leaves(model)} == {dtype}
    assert distance(mt.softmax(model.predict(x)), pipe.predict_proba(x)) <= TOLERANCE[dtype]
    assert {a.dtype.name for a in mt.leaves(mt.from_sklearn(pipe, dtype="float32"))} == {"float32"}
    before = [np.array(a) for a in mt.leaves(model)]
    for a in (pipe[1][0].mean_, pipe[1][0].scale_, *pipe[-1].coefs_, *pipe[-1].intercepts_):
        a += 1.0
    assert [a.tolist() for a in before] == [a.tolist() for a in mt.leaves(model)]


@pytest.mark.eager
def test_the_weights_of_sklearn_are_the_same_on_every_backend(sklearn: Any, xp: Target) -> None:
    x, t = some_data()
    pipe = sklearn.pipeline.make_pipeline(sklearn.preprocessing.StandardScaler(), sklearn.linear_model.Ridge())
    pipe.fit(x, t)
    here = mt.from_sklearn(pipe, backend=xp.backend, dtype=xp.double)
    for a, b in zip(mt.leaves(here), mt.leaves(mt.from_sklearn(pipe)), strict=True):
        assert mt.backend_of(a).name == xp.backend.name
        np.testing.assert_array_equal(mt.to_numpy(a), b.astype(xp.double), strict=True)


def test_a_model_from_sklearn_learns_on(sklearn: Any) -> None:
    x, t = some_data()
    estimator = fitted(sklearn.neural_network.MLPClassifier((5,), max_iter=20, random_state=0), x, t)
    model, loss = mt.from_sklearn(estimator), mt.SoftmaxWithLoss()
    before = float(loss.value(model.predict(x), t))
    assert before == pytest.approx(estimator.loss_curve_[-1], rel=0.05)  # theirs is the mean over an epoch's batches
    after, _ = mt.fit(model, x, t, loss=loss, optimizer=mt.Adam(), epochs=20, batch_size=30)
    assert float(loss.value(after.predict(x), t)) < 0.95 * before


def test_what_sklearn_has_and_martlet_has_not_is_named(sklearn: Any) -> None:
    x, t = some_data()
    perceptron, linear, scaling = sklearn.neural_network, sklearn.linear_model, sklearn.preprocessing
    mine = type("Mine", (linear.Ridge,), {})
    for estimator, message in (
        (linear.Lasso(alpha=0.5), r"from_sklearn: Lasso\(alpha=0\.5\) has no counterpart"),
        (mine(), r"from_sklearn: Mine\(\) has no counterpart"),
        (
            sklearn.pipeline.make_pipeline(scaling.MinMaxScaler(), linear.Ridge()),
            r"from_sklearn: minmaxscaler MinMaxScaler\(\)",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            mt.from_sklearn(estimator.fit(x, t))
    poisson = perceptron.MLPRegressor(hidden_layer_sizes=(3,), loss="poisson", max_iter=3)
    with pytest.raises(ValueError, match=r"loss='poisson'.*its output goes through exp"):
        mt.from_sklearn(fitted(poisson, x, t))
    for classes, settings in ((3, {"solver": "liblinear"}), (2, {"multi_class": "multinomial"})):
        odd = linear.LogisticRegression().fit(x, t % classes)
        vars(odd).update(settings)  # older versions fit these
        with pytest.raises(ValueError, match="not the softmax of its scores"):
            mt.from_sklearn(odd)
    with pytest.raises(sklearn.exceptions.NotFittedError):
        mt.from_sklearn(linear.Ridge())
    for wrong in (linear.Ridge, None, x):
        with pytest.raises(TypeError, match="expected a scikit-learn estimator"):
            mt.from_sklearn(wrong)


# -------------------------------------------------------------------------------------- the example


@every
@pytest.mark.skipif(not hasattr(mt, "save"), reason="models cannot be saved yet")
def test_the_example_ships_a_small_file(torch: Any, tmp_path: Any) -> None:
    from from_torch_to_numpy import predict_elsewhere, trained_in_torch

    x, t = mt.datasets.spiral()
    net = trained_in_torch(torch, x, t)
    mt.save(tmp_path / "spiral.martlet", mt.from_torch(net))
    assert (tmp_path / "spiral.martlet").stat().st_size < 5_000
    scores = predict_elsewhere(tmp_path / "spiral.martlet")
    assert distance(scores, net(torch.asarray(x)).detach()) <= 1e-6
    assert np.mean(scores.argmax(axis=1) == t) > 0.98


@pytest.mark.parametrize("library", ["numpy", "array_api_compat", "json", "scipy", "safetensors", "sklearn", "torch"])
def test_the_examples_other_python_imports_nothing_else(library: str) -> None:
    from from_torch_to_numpy import ELSEWHERE

    wall = ELSEWHERE.partition("import numpy, martlet")[0]
    run = subprocess.run([sys.executable, "-c", f"{wall}\nimport {library}"], capture_output=True, text=True)
    assert ("is not to be had here" in run.stderr) == (library in ("scipy", "safetensors", "sklearn", "torch"))
