"""Objects that compute with numbers: optimizers, schedules, transformations of the gradient.

Each declares its numbers as float fields.  What a step computes with are not these fields but 0-d arrays in
a state that is made from them once: so a resumed run knows its learning rate, and a new one, set by
``replace(state, {"lr": 0.01})``, compiles nothing anew.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, dataclass_transform

from martlet.backend import Array, Backend, host
from martlet.checks import owner_name
from martlet.tree import Tree, kept


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Numbered:
    """A frozen object whose float fields are its numbers, and the class of the state that holds them."""

    State: ClassVar[type[Any]]
    numbers: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclasses.dataclass(frozen=True, kw_only=True, repr=False)(cls)
        cls.numbers = tuple(f.name for f in dataclasses.fields(cls) if f.type in ("float", float))  # type: ignore[arg-type]
        fields = cls._state_fields()
        body = {
            "__annotations__": {name: Any if default is None else Array for name, default in fields.items()},
            "__module__": cls.__module__,
            "__qualname__": f"{cls.__qualname__}.State",
            "__doc__": f"What {cls.__name__} computes with: {', '.join(fields) or 'nothing'}.",
        }
        body.update({name: default for name, default in fields.items() if default is not None})
        cls.State = type("State", (Tree,), body)

    @classmethod
    def _state_fields(cls) -> dict[str, Any]:
        """What the state holds: ``kept()`` for an array, None for a tree."""
        return {name: kept() for name in cls.numbers}

    def arrays(self, where: Backend, width: str) -> dict[str, Array]:
        """The numbers as 0-d arrays.  Raises ValueError for one that does not fit into the width."""
        found = {}
        for name in self.numbers:
            number = float(getattr(self, name))
            if abs(number) > float(host.finfo(width).max):
                raise ValueError(f"{owner_name(self)}.init: {name}={number:g} is too large for {width}")
            found[name] = where.asarray(number, width)
        return found

    def __repr__(self) -> str:
        """The numbers, and whatever else is not as it is by default."""
        words = [f"{name}={getattr(self, name)!r}" for name in self.numbers]
        for f in dataclasses.fields(self):  # type: ignore[arg-type]
            if f.name not in self.numbers and getattr(self, f.name) != f.default:
                words.append(f"{f.name}={getattr(self, f.name)!r}")
        return f"{type(self).__name__}({', '.join(words)})"
