"""Outputs in float32 beside the test vectors that the onnx package makes for its operators: see onnx_vectors.py.

A newer onnx may have new vectors.  They are compared as they come; an attribute or a type that the table does
not know makes a test skip and name the vector, so that no run breaks for it and nobody overlooks it.
"""

from __future__ import annotations

import pytest
from conftest import Target
from peers.onnx_vectors import COUNTERPARTS, Unlisted, compare, places, vectors

# How many vectors of each operator onnx 1.16 has; later ones have more, and Swish.
AT_LEAST = {
    "Sigmoid": 2,
    "Tanh": 2,
    "Relu": 1,
    "LeakyRelu": 3,
    "Elu": 3,
    "Softplus": 2,
    "Gelu": 4,
    "Swish": 0,
    "Softmax": 7,
    "LogSoftmax": 7,
    "Gemm": 11,
    "MatMul": 3,
    "LayerNormalization": 19,
    "BatchNormalization": 4,
    "SoftmaxCrossEntropyLoss": 34,
}
NEWEST = (1, 23)  # for which the table is known to be complete


def cases() -> None:
    pytest.importorskip("onnx.backend.test.case.node", reason="onnx is not installed")


@pytest.mark.eager
@pytest.mark.parametrize("operator", COUNTERPARTS)
def test_an_operator_gives_what_its_vectors_say(xp: Target, operator: str) -> None:
    cases()
    row, names, _ = compare(operator, xp)
    assert len(names) >= AT_LEAST[operator]
    assert row is None or row.agrees, row


def test_every_vector_is_compared() -> None:
    cases()
    import onnx

    unlisted = [reason for operator in COUNTERPARTS for reason in compare(operator, Target("numpy"))[2]]
    version = tuple(map(int, onnx.__version__.split(".")[:2]))
    if unlisted and version > NEWEST:
        pytest.skip(f"new in onnx {onnx.__version__}, and not compared: {'; '.join(unlisted)}")
    assert unlisted == []


def test_what_the_table_cannot_read_is_named() -> None:
    cases()
    (vector, *_) = vectors("Softmax")
    strange = vector._replace(attributes={"temperature": 2.0})
    with pytest.raises(Unlisted, match=r"test_softmax.* has the attribute temperature"):
        list(places(strange, Target("numpy")))
    with pytest.raises(Unlisted, match="is in float16"):
        list(places(vector._replace(inputs=[vector.inputs[0].astype("float16")]), Target("numpy")))
