"""A node is one operation of a record, and at the same time the array that it makes."""

from __future__ import annotations

from typing import Any

from martlet.compile.programs.layout import Spec
from martlet.compile.programs.ops import OPS, Op


class Node:
    """One operation and its result: which row of the table, on which operands, with which settings, and for whom.

    Operands are other nodes or Python's numbers.  ``place`` says which layer asked for it, and in which verb.
    """

    __slots__ = ("name", "operands", "parents", "place", "settings", "spec")

    def __init__(self, name: str, operands: tuple[Any, ...], settings: dict[str, Any], spec: Spec, place: str) -> None:
        self.name = name
        self.operands = operands
        self.parents: list[Node] = [operand for operand in operands if isinstance(operand, Node)]
        """The operands that are arrays."""
        self.settings = settings
        self.spec = spec
        self.place = place

    @property
    def op(self) -> Op | None:
        """Its row of the table; None for an input."""
        return OPS.get(self.name)

    @property
    def family(self) -> str:
        """That of its row, or "input"."""
        row = OPS.get(self.name)
        return "input" if row is None else row.family

    def __repr__(self) -> str:
        return f"<{self.name}: {self.spec}>"
