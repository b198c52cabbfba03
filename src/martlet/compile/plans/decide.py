"""Whether a batch is taken in chunks, how large and on how many threads: decided from the record, and said why.

Measured on two cores with 1 MiB of cache each: chunks pay where a batch computes many times what a cache holds, and
much of that is not products of large matrices, for which BLAS has blocks and threads of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from martlet.compile.plans.chunk import LANES, ChunkPlan
from martlet.compile.plans.plan import Plan
from martlet.compile.plans.state import State
from martlet.compile.plans.threads import blas, cores
from martlet.compile.programs.cost import flops
from martlet.compile.programs.node import Node
from martlet.compile.programs.ops import PRODUCT, VIEW
from martlet.compile.programs.program import Program
from martlet.compile.rewriting.cut import Split
from martlet.compile.rewriting.rows import NeedsWholeBatch

LEAST, MOST = 256, 4096  # rows of a chunk
RESULTS = 2**24  # bytes of results that a chunk computes, most of which are overwritten by others while they are cached
CHUNKS = 4  # fewer of them do not pay
DENSE = 64  # floating-point operations of products for each byte of results: from here on products are all that counts

Carried = Sequence[tuple[int, int, str, str]]


def laid_out(
    program: Program,
    carried: Carried,
    state: State,
    *,
    chunks: int | bool | None = None,
    threads: int | None = None,
    samples: Sequence[np.ndarray] | None = None,
    tables: bool = True,
) -> tuple[Plan, str]:
    """A plan (see there) for the whole batch or in chunks, and a sentence that says which and why.

    chunks: the rows of a chunk; False for the whole batch, None for what pays.  threads: how many may be used;
    None for as many as there are cores for this process.  Raises NeedsWholeBatch for chunks that cannot be.
    """
    settings: dict[str, Any] = {"samples": samples, "tables": tables}
    rows, why = _rows(program, carried, state, chunks)
    if not rows:
        limit = cores() if threads is None else threads
        return Plan(program, carried, state, threads=limit, **settings), f"the batch is left whole: {why}"
    limit, counted = _threads(threads)
    plan = ChunkPlan(program, carried, state, rows=rows, threads=limit, **settings)
    count = len(plan.passes[-1].chunks)
    used = min(limit, count, LANES)
    words = f"{count} chunks of {rows:,} rows on {used} thread{'s' * (used != 1)}{counted}"
    return plan, f"the batch is taken in {words}: {why}"


def _threads(wanted: int | None) -> tuple[int, str]:
    """How many threads may multiply matrices side by side, and what is to be said about it."""
    if wanted is not None:
        return wanted, ""
    if cores() > 1 and not blas.libraries:
        return 1, " (threadpoolctl, which keeps BLAS from using others, is not installed or does not know this BLAS)"
    return cores(), ""


def _rows(program: Program, carried: Carried, state: State, chunks: int | bool | None) -> tuple[int, str]:
    """How many rows a chunk has, 0 for the whole batch, and why."""
    if chunks is False:
        return 0, "as asked for"
    data = [node for node in program.inputs if node.settings["name"] not in state.values]
    count = min((node.spec.shape[0] for node in data if node.spec.shape), default=0)
    if chunks is None and count < CHUNKS * LEAST:
        return 0, f"it is small ({count:,} rows)"
    if chunks is not None and count <= chunks:
        return 0, f"it is no larger than a chunk ({count:,} rows)"
    moving = [program.inputs[i] for i, _, _, _ in carried]
    try:
        split = Split(program.outputs, data, moving)
    except NeedsWholeBatch as reason:
        if chunks is not None:
            raise
        return 0, str(reason)
    return (int(chunks), "as asked for") if chunks is not None else best_rows(split)


def best_rows(split: Split) -> tuple[int, str]:
    """How many rows a chunk has, if chunks pay, else 0; and why."""
    results = [node for node in split.rows if node.op is not None and node.family != VIEW]
    nbytes = sum(node.spec.nbytes for node in results) / split.count
    products = sum(flops(node) for node in _products(split)) / split.count
    if products > DENSE * nbytes:
        return 0, "nearly all of its work are products of large matrices, for which BLAS has threads of its own"
    rows = LEAST
    while rows < MOST and 2 * rows * nbytes <= RESULTS:
        rows *= 2
    if split.count < CHUNKS * rows:
        return 0, f"it is small ({split.count:,} rows, and a chunk would have {rows:,})"
    return rows, f"each row computes {nbytes:,.0f} bytes, and what a chunk computes stays in the cache"


def _products(split: Split) -> list[Node]:
    return [node for node in (*split.rows, *split.totals) if node.family == PRODUCT]
