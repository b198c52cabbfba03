"""How far two libraries are apart: one number for a whole comparison, for the tests and for docs/proof.md alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

import martlet as mt
from martlet.testing import parity


@dataclass(frozen=True)
class Row:
    """What was compared, the largest difference, where that was, and how large it may be."""

    name: str
    difference: float
    where: str
    limit: float

    @property
    def agrees(self) -> bool:
        return self.difference <= self.limit

    def __str__(self) -> str:
        return f"{self.name}: {self.difference:.1e} in {self.where}, at most {self.limit:.0e} expected"


def difference(ours: Any, theirs: Any) -> float:
    """The largest |ours - theirs|, in units of the largest |theirs|.  NaN where there is none counts as infinite."""
    a, b = (np.asarray(mt.to_numpy(x)).astype("float64") for x in (ours, theirs))
    if a.shape != b.shape:
        raise ValueError(f"ours has shape {a.shape}, theirs {b.shape}")
    return parity.difference([a], [b])[1]


def largest(name: str, pairs: Iterable[tuple[str, Any, Any]], limit: float) -> Row:
    """The row of a comparison: triples of a place, our numbers there and theirs."""
    found = [(difference(ours, theirs), place) for place, ours, theirs in pairs]
    apart, place = max(found, key=lambda pair: pair[0])  # of nothing at all: ValueError
    return Row(name, apart, place if apart else "nowhere", limit)
