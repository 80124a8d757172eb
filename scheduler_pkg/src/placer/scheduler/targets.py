"""What a decision tries, and what it ends with."""

from __future__ import annotations

from msgspec import Struct

from placer.model.request import Alternate
from placer.scheduler.claimer import Made
from placer.scheduler.pools import Completed


class Placed(Struct, frozen=True):
    """Claims that stand, and hosts that would have done as well."""

    made: tuple[Made, ...]
    alternates: tuple[Alternate, ...] = ()


class Target(Struct, frozen=True):
    """A host to try. ``rev``: the revision that speaks for it; 0: none was seen."""

    cell: str
    host: str
    name: str
    rev: int = 0
    completed: Completed | None = None

    @property
    def alternate(self) -> Alternate:
        return Alternate(self.cell, self.host, self.name)


class Exhausted(Exception):
    """A new selection is needed, and the request's deadline does not allow one."""
