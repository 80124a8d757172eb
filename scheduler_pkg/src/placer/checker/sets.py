"""Write sets: decided once, and carried out on every row or on none.

What the rows show is enough: a revision that settles a tag says whether it carried the write set out
or undid it. The record's own history adds which rows there should be and what was decided.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TypeVar

from msgspec import Struct

from placer.checker.replayer import Trace
from placer.checker.verdict import Kind, WriteSets
from placer.history import Decided, WriteOutcome
from placer.model.commit_record import Decision, RowKey

T = TypeVar("T")


class Broken(Struct, frozen=True):
    """A broken guarantee of a write set, told of one of its rows."""

    kind: Kind
    cell: str
    host: str
    rev: int
    story: str


class Part(Struct, frozen=True):
    """What one row showed of a write set; ``name`` is the row in words."""

    cell: str
    host: str
    name: str
    trace: Trace


class Sets:
    """All write sets of a check."""

    def __init__(self) -> None:
        self._events: dict[str, list[Decided]] = defaultdict(list)
        self._parts: dict[str, list[Part]] = defaultdict(list)

    def decided(self, event: Decided) -> None:
        self._events[event.writeset].append(event)

    def row(self, cell: str, host: str, name: str, traces: dict[str, Trace]) -> None:
        """What a row, known from its making on, showed."""
        for writeset, trace in traces.items():
            self._parts[writeset].append(Part(cell, host, name, trace))

    def count(self, tags: int) -> WriteSets:
        """How many there are, by what became of them."""
        counts = WriteSets(tags=tags)
        for writeset in self._parts.keys() | self._events.keys():
            state = self._state(writeset)
            counts.committed += state is Decision.COMMITTED
            counts.aborted += state is Decision.ABORTED
            counts.open += state is Decision.PREPARING
        return counts

    def broken(self, whole: Iterable[str]) -> Iterator[Broken]:
        """What was broken; ``whole`` are the hosts whose rows are known from their making on."""
        known = frozenset(whole)
        for writeset in sorted(self._parts.keys() | self._events.keys()):
            yield from self._broken(writeset, known)

    def undecided(self, tagged: dict[str, T], before_us: int) -> Iterator[tuple[str, T]]:
        """Of write sets whose tags are still on rows: those made before ``before_us`` that nobody
        decided. By their ids, which say when they were made."""
        for writeset, where in sorted(tagged.items()):
            if _made_us(writeset) < before_us and self._state(writeset) is Decision.PREPARING:
                yield writeset, where

    def _told(self, writeset: str) -> set[Decision]:
        """Decisions that somebody was told to have applied."""
        return {
            event.state
            for event in self._events[writeset]
            if event.outcome is WriteOutcome.APPLIED
            and not event.deleted
            and event.state is not Decision.PREPARING
        }

    def _state(self, writeset: str) -> Decision:
        told = self._told(writeset)
        parts = self._parts[writeset]
        if Decision.COMMITTED in told or any(part.trace.carried for part in parts):
            return Decision.COMMITTED
        if Decision.ABORTED in told or any(part.trace.undone for part in parts):
            return Decision.ABORTED
        return Decision.PREPARING

    def _broken(self, writeset: str, known: frozenset[str]) -> Iterator[Broken]:
        told = self._told(writeset)
        parts = self._parts[writeset]
        done = next((part for part in parts if part.trace.carried), None)
        undone = next((part for part in parts if part.trace.undone), None)
        some = done or undone or (parts[0] if parts else Part("", "", "", Trace()))
        if len(told) > 1:
            story = f"Write set {writeset} was committed and aborted."
            yield Broken(Kind.TWO_DECISIONS, some.cell, some.host, 0, story)
        if done and undone:
            yield _split(
                undone,
                f"Write set {writeset} was carried out on {done.name} at revision "
                f"{done.trace.carried} and undone on {undone.name} at revision "
                f"{undone.trace.undone}.",
            )
        elif done and told == {Decision.ABORTED}:
            yield _split(done, f"Write set {writeset} was aborted, but not on {done.name}.")
        elif undone and told == {Decision.COMMITTED}:
            yield _split(
                undone, f"Write set {writeset} was committed, but undone on {undone.name}."
            )
        if self._state(writeset) is Decision.COMMITTED:
            seen = {part.host for part in parts}
            for key in self._rows(writeset):
                if key.host in known and key.host not in seen:
                    story = f"Write set {writeset} was committed without its part on {key.host}."
                    yield Broken(Kind.SPLIT, key.cell, key.host, 0, story)

    def _rows(self, writeset: str) -> tuple[RowKey, ...]:
        return next((event.rows for event in self._events[writeset] if event.rows), ())


def _split(part: Part, story: str) -> Broken:
    return Broken(Kind.SPLIT, part.cell, part.host, part.trace.undone or part.trace.carried, story)


def _made_us(writeset: str) -> int:
    """When a write set was made, by its home cell's clock; 0 if its id does not say."""
    try:
        return int(writeset.split(".")[1], 16) * 1000
    except (IndexError, ValueError):
        return 0
