"""What a step does with the rows of its batch, as the record tells: cut apart, added up, or left whole, and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import CLASS_WEIGHT, affine, batch_norm

import martlet as mt
from martlet.backend import namespace
from martlet.compile.recorder.recording import record
from martlet.compile.rewriting.cut import Part, Split
from martlet.compile.rewriting.rows import NeedsWholeBatch, Rows

ROWS, CHUNK = 12, 5


def split_of(function: Callable[..., Any], *arrays: np.ndarray, data: int = 1) -> Split:
    """The first of the arrays hold a sample in each row."""
    program = record(function, *arrays)
    return Split(program.outputs, program.inputs[:data], program.inputs[data:])


def computed(split: Split, arrays: dict[Any, np.ndarray], start: int, count: int) -> list[np.ndarray]:
    """The totals of some of the rows, by the operations of a part."""
    part = Part(split, split.totals, count)
    known: dict[Any, Any] = {}

    def value(node: Any) -> Any:
        if node in arrays:
            return arrays[node]
        return node.op.numpy(*(value(o) if hasattr(o, "spec") else o for o in node.operands), **node.settings)

    for node, own in part.data.items():
        known[own] = arrays[node][start : start + count]
    for node, rows, own in part.slices:
        at = slice(start * rows.each, (start + count) * rows.each)
        known[own] = np.moveaxis(np.moveaxis(value(node), rows.axis, 0)[at], 0, rows.axis)
    known |= {node: value(node) for node in part.whole}
    for node in part.nodes:
        if node not in known:
            operands = [known[o] if hasattr(o, "spec") else o for o in node.operands]
            known[node] = node.op.numpy(*operands, **node.settings)
            assert known[node].shape == node.spec.shape
    return [known[own] for own in part.totals.values()]


def check_sum(function: Callable[..., Any], *arrays: np.ndarray, data: int = 1) -> Split:
    """What is added up over three ragged parts is what the function makes of all rows."""
    program = record(function, *arrays)
    split = Split(program.outputs, program.inputs[:data], program.inputs[data:])
    (total,) = split.totals
    assert total is program.outputs[0]
    known = dict(zip(program.inputs, arrays, strict=True))
    shares = [computed(split, known, start, count)[0] for start, count in ((0, 5), (5, 5), (10, 2))]
    combine = {"mean": np.add}.get(split.totals[total]) or getattr(np, split.totals[total])
    found = combine.reduce(shares)
    if split.totals[total] == "mean":
        found = found / (arrays[0].size // found.size)
    np.testing.assert_allclose(found, function(*arrays), rtol=1e-13, atol=1e-13)
    return split


rng = np.random.default_rng(11)
x, words = rng.standard_normal((ROWS, 3)), rng.integers(0, 4, ROWS)
images, W = rng.standard_normal((ROWS, 2, 3)), rng.standard_normal((3, 4))
table = rng.standard_normal((4, 3))


def total(a: Any) -> Any:
    return namespace(a).sum(a, axis=0)


CUT = {
    "a sum": lambda x: total(x * 2.0),
    "with the axis kept": lambda x: namespace(x).sum(x, axis=0, keepdims=True),
    "a mean": lambda x: namespace(x).mean(x, axis=0),
    "a mean of all": lambda x: namespace(x).mean(x),
    "the largest": lambda x: namespace(x).max(x, axis=0),
    "the smallest": lambda x: namespace(x).min(x),
    "a product": lambda x: namespace(x).prod(x, axis=0),
    "whether any": lambda x: namespace(x).any(x > 1.0, axis=0),
    "whether all": lambda x: namespace(x).all(x > 0.0, axis=0),
    "how many": lambda x: namespace(x).count_nonzero(x > 0.0, axis=0),
    "x.T @ x": lambda x: x.T @ x,
    "tensordot": lambda x: namespace(x).tensordot(x, x, axes=((0,), (0,))),
    "vecdot": lambda x: namespace(x).vecdot(x[:, 0], x[:, 1]),
    "vecdot along the samples of a stack": lambda x: namespace(x).vecdot(x[:, None, :], x[:, None, :] * 2.0, axis=0),
    "clipped": lambda x: total(namespace(x).clip(x, -0.5, 0.5)),
    "ones @ x": lambda x: namespace(x).ones(ROWS, dtype=x.dtype) @ x,
    "a sum over columns first": lambda x: total(namespace(x).sum(x, axis=1)),
    "by columns": lambda x: namespace(x).sum(x.T * 2.0, axis=1),
    "the axis moved": lambda x: namespace(x).sum(namespace(x).moveaxis(x, 0, 1), axis=1),
    "an axis more": lambda x: total(x[:, None, :] * x[:, :, None]),
    "an axis less": lambda x: total(namespace(x).squeeze(x[:, None, :], axis=1)),
    "some columns": lambda x: total(x[:, 1:]),
    "columns turned": lambda x: total(namespace(x).flip(x, axis=1)),
    "beside a counter": lambda x: total(
        x * namespace(x).reshape(namespace(x).arange(3 * ROWS, dtype=x.dtype) + 1.0, (ROWS, 3))
    ),
    "beside ones": lambda x: total(x + namespace(x).ones_like(x)),
    "beside a matrix": lambda x: total(x @ namespace(x).eye(3, dtype=x.dtype)),
    "beside an identity": lambda x: total(x * namespace(x).eye(ROWS, 3, dtype=x.dtype)),
    "beside rows broadcast": lambda x: total(x * namespace(x).broadcast_to(x[:, :1], (ROWS, 3))),
    "where": lambda x: total(namespace(x).where(x > 0.0, x, namespace(x).zeros_like(x))),
    "side by side": lambda x: total(namespace(x).concat((x, x * 2.0, namespace(x).ones_like(x)), axis=1)),
    "stacked": lambda x: namespace(x).sum(namespace(x).stack((x, x * 2.0), axis=0), axis=1),
    "repeated": lambda x: total(namespace(x).repeat(x, 2, axis=1)),
    "each row repeated": lambda x: total(namespace(x).repeat(x, 2, axis=0)),
    "columns tiled": lambda x: total(namespace(x).tile(x, (1, 2))),
    "columns rolled": lambda x: total(namespace(x).roll(x, 1, axis=1)),
    "columns sorted": lambda x: total(namespace(x).sort(x, axis=1)),
    "columns added up": lambda x: total(namespace(x).cumulative_sum(x, axis=1)),
    "columns taken along": lambda x: total(
        namespace(x).take_along_axis(x, namespace(x).argsort(x, axis=1), axis=1) * namespace(x).arange(3)
    ),
    "columns taken": lambda x: total(namespace(x).take(x, namespace(x).asarray([2, 0]), axis=1)),
    "found in a list": lambda x: total(namespace(x).searchsorted(namespace(x).asarray([-1.0, 0.0, 1.0]), x[:, 0])),
    "flattened": lambda x: total(namespace(x).reshape(x, (-1,))),
    "flattened and back": lambda x: total(namespace(x).reshape(namespace(x).reshape(x, (-1,)) * 2.0, (ROWS, 3, 1))),
}


@pytest.mark.parametrize("name", CUT)
def test_the_totals_of_parts_make_the_total_of_the_whole(name: str) -> None:
    check_sum(CUT[name], x)


def test_tables_and_stacks_of_matrices() -> None:
    check_sum(lambda words, table: total(namespace(words).take(table, words, axis=0)), words, table)
    check_sum(lambda a, W: total(a @ W), images, W)
    check_sum(lambda a, W: namespace(a).tensordot(a, a @ W, axes=((0, 1), (0, 1))), images, W)
    check_sum(lambda a: total(a @ namespace(a).permute_dims(a, (0, 2, 1))), images)
    check_sum(lambda a, W: namespace(a).sum(W.T @ a.T, axis=1), x, W)


WHOLE = {
    "samples in order": (lambda x: total(namespace(x).sort(x, axis=0)), "sort goes along the samples"),
    "samples rolled": (lambda x: total(namespace(x).roll(x, 1, axis=0)), "roll goes along the samples"),
    "samples added up": (lambda x: total(namespace(x).cumulative_sum(x, axis=0)), "cumulative_sum goes along"),
    "a softmax over samples": (lambda x: total(x / total(x)[None, :] @ x.T), "lets the samples meet each other"),
    "all pairs": (lambda x: total(x[:, None, :] - x[None, :, :]), "subtract lets the samples meet each other"),
    "their products": (lambda x: total(x @ x.T), "matmul lets the samples meet each other"),
    "the first": (lambda x: total(x[:1, :]), "getitem picks some of the samples"),
    "one of them": (lambda x: x[0, :], "getitem picks some of the samples"),
    "every second": (lambda x: total(x[::2, :]), "getitem picks some of the samples"),
    "from the last": (lambda x: total(namespace(x).flip(x, axis=0)), "or turns their order"),
    "halves": (lambda x: total(namespace(x).reshape(x, (2, -1))), "a reshape from"),
    "columns before samples": (lambda x: total(namespace(x).reshape(x.T, (-1,))), "a reshape from"),
    "the largest's number": (lambda x: namespace(x).argmax(x, axis=0), "argmax over the samples"),
    "a variance": (lambda x: namespace(x).var(x, axis=0), "var over the samples"),
    "picked": (lambda x: total(namespace(x).take(x, namespace(x).asarray([0, 3]), axis=0)), "take picks among"),
    "one after another": (lambda x: total(namespace(x).concat((x, x), axis=0)), "concat goes along the samples"),
    "several times": (lambda x: total(namespace(x).tile(x, (2, 1))), "tile goes through the samples several times"),
    "a result for each": (lambda x: x * 2.0, "a result has an entry for each sample"),
    "twice over all": (lambda x: total(total(x - total(x)) * x), "its sum over all samples is read by each"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_left_whole_says_why(name: str) -> None:
    function, why = WHOLE[name]
    with pytest.raises(NeedsWholeBatch, match=f"the function needs the whole batch: .*{why}"):
        split_of(function, x)


def test_a_mean_in_half_precision_is_left_whole() -> None:
    with pytest.raises(NeedsWholeBatch, match="mean over the samples"):
        split_of(lambda x: namespace(x).mean(x, axis=0), x.astype("float16"))


def test_a_batch_of_one_and_arrays_that_differ_are_left_whole() -> None:
    with pytest.raises(NeedsWholeBatch, match=r"numbers of rows: {'a': 1}"):
        split_of(total, x[:1])
    with pytest.raises(NeedsWholeBatch, match=r"numbers of rows: {'x': 12, 't': 4}"):
        split_of(lambda x, t: total(x) + total(t), x, x[:4], data=2)


# ------------------------------------------------------------------------------------------ whole steps


def split_step(model: mt.Layer, loss: mt.Loss, *batch: np.ndarray) -> Split:
    optimizer = mt.Adam()
    program = record(mt.train_step, model, loss, optimizer, optimizer.init(model), *batch)
    moving = [node for node in program.inputs if node.settings["name"].startswith(("model", "state"))]
    return Split(program.outputs, program.inputs[-len(batch) :], moving)


def test_gradients_are_totals_and_the_update_is_not_cut() -> None:
    split = split_step(mt.Sequential(affine(rng, 3, 4), mt.Tanh(), affine(rng, 4, 4)), mt.SoftmaxWithLoss(), x, words)
    places = sorted(node.place for node in split.totals)
    assert places == ["layer 0 (Affine).backward"] * 2 + ["layer 2 (Affine).backward"] * 2 + [
        "loss (SoftmaxWithLoss).forward"
    ]
    assert set(split.totals.values()) == {"add"}
    assert split.early == []
    assert not any(node.place.startswith("optimizer") for node in split.rows)


def test_weights_are_added_up_before() -> None:
    model = mt.Sequential(affine(rng, 3, 4))
    split = split_step(model, mt.SoftmaxWithLoss(), x, words, np.ones(ROWS))
    (early,) = split.early
    assert early.place == "loss (SoftmaxWithLoss).forward"
    split = split_step(affine(rng, 3, 3), mt.SoftmaxWithLoss(class_weight=CLASS_WEIGHT), x, words % 3)
    assert [node.place for node in split.early] == ["loss (SoftmaxWithLoss).forward"]


def test_batch_norm_needs_the_whole_batch() -> None:
    model = mt.Sequential(affine(rng, 3, 4), batch_norm(rng, 4))
    with pytest.raises(NeedsWholeBatch, match=r"layer 1 \(BatchNorm\).forward needs the whole batch: its sum over all"):
        split_step(model, mt.SoftmaxWithLoss(), x, words)


def test_a_mask_is_sliced_where_its_counter_begins() -> None:
    model = mt.Sequential(mt.Dropout.init(0.5, rng), affine(rng, 3, 4))
    part_of = split_step(model, mt.SoftmaxWithLoss(), x, words)
    part = Part(part_of, part_of.totals, CHUNK)
    ((node, rows, own),) = part.slices
    assert (node.name, rows, own.spec.shape) == ("arange", Rows(0, 3), (3 * CHUNK,))
    assert max(node.spec.size for node in part.nodes) < 3 * ROWS
