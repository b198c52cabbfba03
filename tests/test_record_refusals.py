"""What cannot be recorded is refused, with the line that asked for it and what to do; and then all is as before."""

from __future__ import annotations

import copy
import inspect
import math
import operator
import re
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from recording import faithful

import martlet as mt
from martlet.compile import NotRecordable, record
from martlet.compile.recorder.tape import tape

X = np.ones((3, 2))
KEPT: list[Any] = []


def refused(function: Callable[..., Any], *arguments: Any) -> str:
    """The message, which must name the line of this file in which the function does it."""
    with pytest.raises(NotRecordable) as caught:
        record(function, *(arguments or (X,)))
    assert tape.nodes is None
    assert tape.names == {}
    message = str(caught.value)
    found = re.fullmatch(r"cannot be recorded: (.+); at (.+):(\d+), ('.*'|\".*\")(, in .+)?", message)
    assert found, message
    _, file, number, text, _ = found.groups()
    lines, first = inspect.getsourcelines(function)
    assert file == __file__
    assert first <= int(number) < first + len(lines)
    assert eval(text) in lines[int(number) - first]
    assert len(message) < 500
    return message


# ---------------------------------------------------------------------------------------- numbers that are read


def asks_if(x):
    if x[0, 0] > 0:
        return x
    return -x


def loops(x):
    while x[0, 0] < 3:
        x = x + 1
    return x


def shows(x):
    print("x is", x)
    return x


def writes_words(x):
    return x, f"x is {x}"


READS: dict[str, Callable[..., Any]] = {
    "if": asks_if,
    "while": loops,
    "print": shows,
    "an f-string": writes_words,
    "float": lambda x: x * float(x[0, 0]),
    "int": lambda x: x * int(x[0, 0]),
    "bool": lambda x: x * bool(x[0, 0]),
    "complex": lambda x: x * complex(x[0, 0]),
    "math": lambda x: x * math.sqrt(x[0, 0]),
    "and": lambda x: x > 0 and x < 1,
    "a chain": lambda x: 0 < x < 1,
    "min": lambda x: min(x[0, 0], x[1, 0]),
    "in": lambda x: 3.0 in x,
    "a list's index": lambda x: [1, 2, 3][x[0, 0]],
    "a slice": lambda x: x[: x[0, 0]],
    "range": lambda x: [x for _ in range(x[0, 0])],
    "a shape": lambda x: mt.namespace(x).zeros((x[0, 0], 2)),
    "an axis": lambda x: mt.namespace(x).sum(x, axis=x[0, 0]),
    "arange": lambda x: mt.namespace(x).arange(x[0, 0]),
}


@pytest.mark.parametrize("name", READS)
def test_what_depends_on_numbers_is_refused(name: str) -> None:
    message = refused(READS[name])
    assert "a number is read from an array" in message
    assert "use where()" in message


def test_the_form_may_be_read() -> None:
    def function(x: Any) -> Any:
        assert (x.shape, x.ndim, x.size, len(x), x.device) == ((3, 2), 2, 6, 3, "cpu")
        assert x.dtype == np.float64
        assert repr(x) == "<an array of a recording: float64 (3, 2)>"
        assert x.to_device(x.device) is x
        assert not hasattr(x, "data_ptr")
        return x * len(x)

    assert record(function, X).nodes[-1].operands[1] == 3


# -------------------------------------------------------------------------------- what comes from elsewhere


def torch_ones() -> Any:
    return pytest.importorskip("torch").ones(2, dtype=pytest.importorskip("torch").float64)


STRANGERS: dict[str, tuple[Callable[..., Any], str]] = {
    "an ndarray": (lambda x: x + X, "ndarray of shape (3, 2)"),
    "an ndarray on the left": (lambda x: X * x, "ndarray of shape (3, 2)"),
    "an ndarray of another shape": (lambda x: X[0] @ x.T, "ndarray of shape (2,)"),
    "an np.float64, which is a float": (lambda x: x * np.float64(2.0), "float64 of shape ()"),
    "an np.float64 on the left": (lambda x: np.float64(2.0) / x, "float64 of shape ()"),
    "an np.float32": (lambda x: x * np.float32(2.0), "float32 of shape ()"),
    "an np.bool": (lambda x: (x > 0) & np.True_, "bool of shape ()"),
    "in where": (lambda x: mt.namespace(x).where(x > 0, x, np.float64(0.0)), "float64 of shape ()"),
    "in a list": (lambda x: mt.namespace(x).concat([x, X]), "ndarray of shape (3, 2)"),
    "made an array": (lambda x: x + mt.namespace(x).asarray(X), "ndarray of shape (3, 2)"),
    "numbers made an array": (lambda x: x + mt.namespace(x).asarray([[1.0, np.float64(2.0)]]), "float64 of shape ()"),
    "filled with": (lambda x: mt.namespace(x).full_like(x, np.float64(2.0)), "float64 of shape ()"),
    "given back": (lambda x: (x, X), "ndarray of shape (3, 2)"),
    "a torch tensor": (lambda x: x * torch_ones(), "Tensor of shape (2,)"),
    "a torch tensor on the left": (lambda x: torch_ones() - x, "Tensor of shape (2,)"),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_an_array_that_is_no_argument_is_refused(name: str) -> None:
    function, form = STRANGERS[name]
    if name == "given back":
        with pytest.raises(NotRecordable, match=r"ndarray of shape \(3, 2\)"):
            record(function, X)
        return
    message = refused(function)
    assert form in message
    assert "pass it in, or make it a field of the layer" in message


def test_a_model_that_is_no_argument_is_refused() -> None:
    """Its layers would say that two libraries meet, of which both are called numpy."""
    model, loss = mt.Sequential(mt.Affine(np.ones((2, 3)), np.ones(3))), mt.Huber()
    assert "ndarray of shape (2, 3)" in refused(lambda x: model.predict(x))
    assert "ndarray of shape (3, 2)" in refused(lambda x: loss.forward(x, X))
    with pytest.raises(NotRecordable, match=r"is no argument.*test_record_refusals"):
        record(model.predict, X)


def test_a_layer_that_asks_where_it_is_is_told_so_on_numpy_alone() -> None:
    """For a recording stands for any library, and what it is told would be wrong."""
    torch = pytest.importorskip("torch")

    class Own(mt.Layer):
        def forward(self, x):
            return x * (2.0 if mt.backend_of(x).name == "numpy" else 3.0), None

        def backward(self, cache, dout):
            return 2.0 * dout, None

    assert "multiply" in record(Own().forward, np.ones(3)).count()
    with pytest.raises(NotRecordable, match=r"it is asked which library an array is from.* in .*forward"):
        record(lambda layer, x: layer.forward(x), Own(), torch.ones(3))
    model, x, t = mt.Sequential(Own(), mt.Affine.init(2, 3, np.random.default_rng(0))), *mt.datasets.spiral(20)
    given = {"loss": mt.SoftmaxWithLoss(), "optimizer": mt.SGD(), "epochs": 60, "backend": "torch"}
    _, history = mt.fit(model, x, t, **given)
    assert "NotRecordable" in history.compiled
    assert history.loss == mt.fit(model, x, t, compile=False, **given)[1].loss


def test_words_are_no_numbers() -> None:
    assert "an array meets str 'a'; only arrays and Python's int, float and bool may" in refused(lambda x: x + "a")
    assert "an array meets NoneType None" in refused(lambda x: x == None)  # noqa: E711
    assert "an array meets complex 1j" in refused(lambda x: x * 1j)
    assert "an array meets list [1, 2]" in refused(lambda x: mt.namespace(x).exp([1, 2]))


# ------------------------------------------------------------------------------ what only NumPy's arrays can do


def writes(x):
    x[0, 0] = 1.0
    return x


def adds_in_place(x):
    y = x
    y += 1.0
    return x


BY_NAME: dict[str, tuple[Callable[..., Any], str]] = {
    "a ufunc": (lambda x: np.exp(x), "np.exp is called by name; use namespace(x).exp"),
    "a ufunc of two": (lambda x: np.add(x, 1.0), "np.add is called by name"),
    "a function": (lambda x: np.concatenate([x, x]), "numpy.concatenate is called by name; use the functions of"),
    "a function of a family": (lambda x: np.linalg.norm(x), "numpy.linalg.norm is called by name"),
    "the same by the namespace": (lambda x: mt.namespace(x).linalg.norm(x), "numpy.linalg.norm is called by name"),
    "asarray": (lambda x: np.asarray(x), "an array is given to NumPy itself"),
    "to_numpy": (lambda x: mt.to_numpy(x), "an array is given to NumPy itself"),
    "a method": (lambda x: x.sum(), ".sum is NumPy's own; the standard has namespace(x).sum(x)"),
    "a method with a setting": (lambda x: x.astype("float32"), ".astype is NumPy's own"),
    "item": (lambda x: x[0, 0].item(), ".item is NumPy's own"),
    "a mask": (lambda x: x[x > 0], "is indexed with booleans, and how many are true depends on numbers; use where()"),
    "a mask of one axis": (lambda x: x[x[:, 0] > 0, :], "is indexed with booleans"),
    "an array among indices": (lambda x: x[mt.namespace(x).arange(2), 0], "an index holds more than integers"),
    "a list as an index": (lambda x: x[[0, 1]], "an index holds more than integers"),
    "a concrete index": (lambda x: x[np.array([0, 1])], "an index holds more than integers"),
    "True as an index": (lambda x: x[True], "an index holds more than integers"),
    "writing": (writes, "an array is written into; make a new one"),
    "adding in place": (adds_in_place, "an array is written into; make a new one"),
    "unique": (lambda x: mt.namespace(x).unique_values(x), "unique_values is not among the operations"),
    "nonzero": (lambda x: mt.namespace(x).nonzero(x), "nonzero is not among the operations"),
    "einsum": (lambda x: mt.namespace(x).einsum("ij->i", x), "einsum is not among the operations"),
    "an array of repeats": (lambda x: mt.namespace(x).repeat(x, x[:, 0] > 0), "how long its result is depends"),
    "filling with an array": (lambda x: mt.namespace(x).full_like(x, x[0, 0]), "broadcast_to(x, shape) repeats"),
    ".T of three axes": (lambda x: x[None, ...].T, ".T is for arrays of two axes, and this one has 3"),
    "a sorter": (lambda x: mt.namespace(x).searchsorted(x[:, 0], x, sorter=x), "searchsorted with a sorter"),
    "reshape with copy": (lambda x: mt.namespace(x).reshape(x, (6,), copy=True), "reshape with copy"),
}


def test_one_number_that_was_computed_may_grow() -> None:
    """NumPy's numbers are values: no memory is written into, and no other name sees it."""

    def function(x: Any, start: Any) -> Any:
        total, kept = 0.0, []
        for row in x:
            total += mt.namespace(x).sum(row)
            kept.append(total)
        total -= 1
        total *= total
        return total, kept, start * 1.0

    faithful(function, X, np.array(2.0))

    def grows(x):
        x += 1.0
        return x

    refused(grows, np.array(2.0))
    refused(lambda x: operator.iadd(x[0, 0, ...], 1.0))
    refused(lambda x: operator.isub(mt.namespace(x).where(x[0, 0] > 0, 1.0, 2.0), 1.0))


@pytest.mark.parametrize("name", BY_NAME)
def test_what_only_numpy_can_do_is_refused(name: str) -> None:
    function, sentence = BY_NAME[name]
    assert sentence in refused(function)


# ------------------------------------------------------------------------------------- recordings one after another


class Hoarder(mt.Layer):
    """A layer with a memory of its own, which no layer may have."""

    log: list[Any]

    def forward(self, x):
        if self.log:
            return x + self.log[0], None
        self.log.append(x)
        return x, None


def test_an_array_kept_from_another_recording_is_refused() -> None:
    layer = Hoarder([])
    record(lambda layer, x: layer.forward(x)[0], layer, X)
    kept = layer.log[0]
    with pytest.raises(
        NotRecordable, match=r"kept from another recording; give it back .* in layer \(Hoarder\).forward"
    ):
        record(lambda layer, x: layer.forward(x)[0], layer, X)
    with pytest.raises(NotRecordable, match=r"used after that has ended; give it back as a result; at .*refusals.py"):
        kept + 1.0
    with pytest.raises(NotRecordable, match="used after that has ended"):
        layer.forward(X)  # which meets it eagerly
    with pytest.raises(AttributeError, match="is a value and cannot be assigned to"):
        record(lambda layer: setattr(layer, "seen", 3), mt.Tanh())


def test_a_recording_within_another_is_refused() -> None:
    assert "a recording is going on already" in refused(lambda x: record(lambda y: y, X))


def test_after_an_error_the_next_recording_works() -> None:
    def stops(x: Any) -> Any:
        raise KeyboardInterrupt

    for wrong in (stops, asks_if, lambda x: 1 / 0, lambda x: x @ x):
        with pytest.raises((KeyboardInterrupt, NotRecordable, ZeroDivisionError, ValueError)):
            record(wrong, X)
        assert tape.nodes is None
        assert record(lambda x: x + 1, X).count() == {"add": 1}


def test_two_threads_record_at_once_and_apart() -> None:
    meet, programs, errors, handed = threading.Barrier(2), {}, [], {}

    def work(name: str, times: int) -> None:
        def function(x: Any) -> Any:
            handed[name] = x
            for _ in range(times):
                meet.wait(timeout=20)
                x = getattr(mt.namespace(x), name)(x)
            try:
                x + handed["exp" if name == "tanh" else "tanh"]
            except NotRecordable as error:
                errors.append(str(error))
            return x

        programs[name] = record(function, X)

    threads = [threading.Thread(target=work, args=(name, 5)) for name in ("exp", "tanh")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert {name: program.count() for name, program in programs.items()} == {"exp": {"exp": 5}, "tanh": {"tanh": 5}}
    assert len(errors) == 2
    assert all("kept from another recording" in error for error in errors)


# --------------------------------------------------------------------------- errors that are not of the recording's


def test_what_a_layer_says_of_shapes_comes_through() -> None:
    layer = mt.Affine(np.ones((2, 3)), np.ones(3))
    for x in (np.ones((4, 3)), np.ones(2, "float32"), np.ones((4, 2), "float32"), np.ones((4, 2), int)):
        with pytest.raises((TypeError, ValueError)) as eager:
            layer.forward(x)
        with pytest.raises((TypeError, ValueError)) as caught:
            record(lambda layer, x: layer.forward(x), layer, x)
        assert str(caught.value) == str(eager.value)
        assert type(caught.value) is type(eager.value)


WRONG_FORMS: dict[str, tuple[type[Exception], str, Callable[..., Any]]] = {
    "shapes": (ValueError, "add: shape mismatch", lambda x: x + x.T),
    "matmul": (ValueError, "matmul: shapes (3, 2) and (3, 2) do not fit", lambda x: x @ x),
    "matmul of a number": (TypeError, "matmul: takes arrays", lambda x: x @ 2.0),
    "matmul without axes": (ValueError, "matmul: an array of no axes", lambda x: x @ x[0, 0]),
    "tensordot": (ValueError, "tensordot: shapes", lambda x: mt.namespace(x).tensordot(x, x, axes=1)),
    "vecdot": (ValueError, "vecdot: lengths 3 and 2", lambda x: mt.namespace(x).vecdot(x.T, x)),
    "an axis too many": (ValueError, "sum: axis 2 is out of bounds", lambda x: mt.namespace(x).sum(x, axis=2)),
    "the same axis twice": (ValueError, "max: repeated axis", lambda x: mt.namespace(x).max(x, axis=(0, -2))),
    "flip": (ValueError, "flip: axis 2", lambda x: mt.namespace(x).flip(x, axis=2)),
    "roll": (ValueError, "roll: axis 3", lambda x: mt.namespace(x).roll(x, 1, axis=3)),
    "sort": (ValueError, "sort: axis 2", lambda x: mt.namespace(x).sort(x, axis=2)),
    "argsort": (ValueError, "argsort: axis 2", lambda x: mt.namespace(x).argsort(x, axis=2)),
    "take": (ValueError, "take: axis 2", lambda x: mt.namespace(x).take(x, x > 0, axis=2)),
    "repeat": (ValueError, "repeat: axis 2", lambda x: mt.namespace(x).repeat(x, 2, axis=2)),
    "concat": (ValueError, "concat: the shapes (3, 2), (2, 3)", lambda x: mt.namespace(x).concat([x, x.T])),
    "stack": (ValueError, "stack: the shapes (3, 2), (2, 3) differ", lambda x: mt.namespace(x).stack([x, x.T])),
    "take_along_axis": (
        ValueError,
        "take_along_axis: x has 2 axes",
        lambda x: mt.namespace(x).take_along_axis(x, mt.namespace(x).arange(2), axis=0),
    ),
    "take by floats": (TypeError, "take: indices must be integers", lambda x: mt.namespace(x).take(x, x, axis=0)),
    "take_along_axis by floats": (
        IndexError,
        "take_along_axis: indices must be",
        lambda x: mt.namespace(x).take_along_axis(x, x),
    ),
    "cumulative_sum": (ValueError, "cumulative_sum: axis must be", lambda x: mt.namespace(x).cumulative_sum(x)),
    "reshape": (ValueError, "reshape: 6 numbers do not fit", lambda x: mt.namespace(x).reshape(x, (4, -1))),
    "broadcast_to": (ValueError, "broadcast_to: ", lambda x: mt.namespace(x).broadcast_to(x, (2, 3))),
    "squeeze": (ValueError, "squeeze: ", lambda x: mt.namespace(x).squeeze(x, axis=0)),
    "an index": (IndexError, "getitem: index 3", lambda x: x[3]),
    "an index too many": (IndexError, "getitem: too many", lambda x: x[0, 0, 0]),
    "rows of a number": (IndexError, "an array without axes has no rows", lambda x: x[0, 0][mt.namespace(x).arange(1)]),
    "bits of floats": (TypeError, "bitwise_and: ", lambda x: x & x),
    "powers of booleans": (TypeError, "pow: there are no powers of booleans", lambda x: (x > 0) ** 2),
    "a negative power": (ValueError, "pow: integers", lambda x: mt.namespace(x).astype(x, np.int32) ** -1),
    "a number that does not fit": (OverflowError, "add: ", lambda x: mt.namespace(x).astype(x, np.int8) + 300),
    "the greatest of nothing": (ValueError, "max: shape (0, 2)", lambda x: mt.namespace(x).max(x[:0, :], axis=0)),
    "the first of nothing": (ValueError, "argmin: shape (3, 0)", lambda x: mt.namespace(x).argmin(x[:, :0])),
    "len": (TypeError, "len() of an array without axes", lambda x: len(x[0, 0])),
    "a setting that there is not": (TypeError, "no setting initial", lambda x: mt.namespace(x).sum(x, initial=1.0)),
    "out": (TypeError, "'out'", lambda x: mt.namespace(x).exp(x, out=x)),
    "an argument too many": (TypeError, "positional", lambda x: mt.namespace(x).add(x, x, x)),
    "a triangle of a row": (ValueError, "two axes or more", lambda x: mt.namespace(x).tril(x[0])),
    "searchsorted": (ValueError, "searchsorted: the first", lambda x: mt.namespace(x).searchsorted(x, x)),
}


NUMPY_TAKES = {
    "powers of booleans",
    "out",
    "an argument too many",
    "a triangle of a row",
    "a setting that there is not",
}


@pytest.mark.parametrize("name", WRONG_FORMS)
def test_a_wrong_form_is_said_as_numpy_says_it(name: str) -> None:
    """The exception is of NumPy's kind, and where the operation is the recording's, it is named, and the line."""
    kind, words, function = WRONG_FORMS[name]
    with pytest.raises(kind) as caught:
        record(function, X)
    assert words in str(caught.value)
    assert not isinstance(caught.value, NotRecordable)
    if re.match(r"\w+: ", words):
        assert f"{__file__}:" in str(caught.value)
    if name not in NUMPY_TAKES:
        with pytest.raises((kind, ValueError, TypeError)):
            function(X)


# -------------------------------------------------------------------------------------- arguments and results


def test_arrays_hide_in_no_dict() -> None:
    with pytest.raises(NotRecordable, match=r"the argument x is a dict of arrays; make it a tuple; at .*refusals.py"):
        record(lambda x: x["a"], {"a": X})
    with pytest.raises(NotRecordable, match="what the function gives back holds a dict of arrays; make it a tuple"):
        record(lambda x: (x, {"loss": x}), X)
    assert record(lambda x, settings: x * settings["factor"], X, {"factor": 2.0}).count() == {"multiply": 1}


def test_an_argument_must_hold_numbers() -> None:
    with pytest.raises(TypeError, match="record: x must hold numbers, got an array of dtype object"):
        record(lambda x: x, np.array([None, 1]))
    with pytest.raises(TypeError, match="record: function must be callable, got numpy float64 array"):
        record(X, X)
    split = np.zeros(3, dtype=[("a", "f4"), ("b", "f8")])["b"]
    with pytest.raises(ValueError, match="at strides that are no multiple of its numbers; copy it first"):
        record(lambda x: x, split)
    assert record(lambda x: x, copy.copy(split.copy())).outputs


def test_the_layer_is_named_that_asks_for_it() -> None:
    class Peeks(mt.Layer):
        def forward(self, x):
            return x * float(x[0, 0]), None

    model = mt.Sequential(mt.Tanh(), mt.Sequential(Peeks()))
    with pytest.raises(NotRecordable, match=r"in layer 1\.0 \(Peeks\)\.forward$"):
        record(lambda model, x: model.forward(x)[0], model, X)
