"""A bias is one more row of the weights, for inputs that have a column of ones: then x @ W + b is one product.

And so are the two gradients: [dW; db] = [x, 1]ᵀ @ dout.  W and b lie one after the other in the state, dW and db in the
gradient, so nothing is copied.  It pays where a call costs more than its arithmetic: in small networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from martlet.compile.programs.layout import Spec, new
from martlet.compile.programs.ops import OPS, OTHER, Op
from martlet.compile.programs.program import Node
from martlet.compile.rewriting.flat import PACK
from martlet.compile.rewriting.rewrite import reachable, readers, rewritten, with_operands

AFFINE = "affine"  # x @ W + b, with W and b in one array of D + 1 rows
SLOPES = "affine_gradient"  # [x, 1]ᵀ @ dout: dW and db, one after the other
LARGE = 64 * 1024  # products of more multiplications than this are not about calls any more


def _affine(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return x @ weights[:-1] + weights[-1]


def _slopes(x: np.ndarray, dout: np.ndarray) -> np.ndarray:
    return np.concatenate([x.T @ dout, dout.sum(axis=0, keepdims=True)])


OPS[AFFINE] = Op(AFFINE, OTHER, lambda x, weights: new((x.shape[0], weights.shape[1]), x.dtype), _affine)
OPS[SLOPES] = Op(SLOPES, OTHER, lambda x, dout: new((x.shape[1] + 1, dout.shape[1]), x.dtype), _slopes)


def folded(outputs: list[Node]) -> list[Node]:
    """The outputs, in which biases are folded into the products before them, and their gradients into those of W."""
    nodes, reads = reachable(outputs), readers(outputs)
    inputs: set[Node] = set()  # which get a column of ones
    forward: dict[Node, tuple[Node, Node]] = {}
    for node in nodes:
        found = _biased_product(node, reads)
        if found is not None:
            forward[node] = found
            inputs.add(found[0])
    changes: dict[Node, Node] = {}

    def visit(node: Node, operands: tuple[Any, ...]) -> Node:
        if node in forward:
            x, weights = forward[node]
            x = changes.get(x, x)
            return Node(AFFINE, (x, rewritten([weights], with_operands, changes)[weights]), {}, node.spec, node.place)
        if node.name == PACK:
            return _with_slopes(node, operands, inputs, changes, reads)
        return with_operands(node, operands)

    rewritten(nodes, visit, changes)
    return [changes[node] for node in outputs]


def _biased_product(node: Node, reads: Mapping[Node, int]) -> tuple[Node, Node] | None:
    """x and the array of W with b below it, if a node is x @ W + b with W and b from one block of the state."""
    if node.name != "add" or not all(isinstance(o, Node) for o in node.operands):
        return None
    product, b = node.operands
    if product.name != "matmul" or reads[product] != 1 or len(product.spec.shape) != 2:
        return None
    x, W = product.operands
    if x.spec.size * W.spec.shape[-1] > LARGE or W.spec.dtype.kind != "f" or W.spec.dtype.itemsize < 4:
        return None
    if min(x.spec.shape) < 2 or W.spec.shape[1] < 2:
        return None
    places = [_in_block(part) for part in (W, b)]
    if None in places or W.spec.shape[1:] != b.spec.shape:
        return None
    (block, start, stop), (same, follows, end) = places  # type: ignore[misc]
    if block is not same or stop != follows:
        return None
    rows, columns = W.spec.shape
    part = Node("getitem", (block,), {"key": slice(start, end)}, new((end - start,), W.spec.dtype), node.place)
    return x, Node(
        "reshape", (part,), {"shape": (rows + 1, columns)}, new((rows + 1, columns), W.spec.dtype), node.place
    )


def _in_block(part: Node) -> tuple[Node, int, int] | None:
    """Which stretch of a block a view is."""
    inner = part.operands[0] if part.name == "reshape" and part.spec.shape else part
    if not isinstance(inner, Node) or inner.name != "getitem" or not isinstance(inner.settings["key"], slice):
        return None
    key, block = inner.settings["key"], inner.operands[0]
    if block.op is not None or not isinstance(key.stop, int):
        return None
    return block, key.start, key.stop


def _with_slopes(
    pack: Node, operands: tuple[Any, ...], inputs: set[Node], changes: dict[Node, Node], reads: Mapping[Node, int]
) -> Node:
    """The pack, in which dW = xᵀ @ dout and db = Σ dout, if they stand side by side, are one product."""
    parts, merged = [], False
    i = 0
    while i < len(operands):
        both = pack.operands[i : i + 2]
        alone = len(both) == 2 and all(reads[part] == 1 for part in both)
        pair = _slopes_of(both[0], both[1], inputs) if alone else None
        if pair is None:
            parts.append(operands[i])
            i += 1
            continue
        x, dout = (changes.get(node, node) for node in pair)
        rows, columns = x.spec.shape[1] + 1, dout.spec.shape[1]
        parts.append(Node(SLOPES, (x, dout), {}, new((rows, columns), x.spec.dtype), pack.operands[i].place))
        merged = True
        i += 2
    return Node(PACK, tuple(parts), {}, pack.spec, pack.place) if merged else with_operands(pack, operands)


def _slopes_of(dW: Node, db: Node, inputs: set[Node]) -> tuple[Node, Node] | None:
    if dW.name != "matmul" or db.name != "sum" or db.settings.get("axis") != 0 or db.settings.get("keepdims"):
        return None
    transposed, dout = dW.operands
    if transposed.name not in ("matrix_transpose", "permute_dims") or db.operands[0] is not dout:
        return None
    x = transposed.operands[0]
    return (x, dout) if x in inputs and len(dout.spec.shape) == 2 else None


def augmented(spec: Spec, memory: Any) -> tuple[np.ndarray, np.ndarray]:
    """An array of N rows and D columns that lies by columns, and the same with a last column of ones."""
    rows, columns = spec.shape
    whole = memory(spec.dtype.itemsize * rows * (columns + 1)).view(spec.dtype).reshape(columns + 1, rows)
    whole[-1] = 1
    return whole[:-1].T, whole.T
