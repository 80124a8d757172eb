"""The list of instances, histories, events and pulses in memory, ordered as Cassandra orders them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from placer.model.event import Event
from placer.model.instance import Known, slot_of
from placer.model.webhook import DeadLetter
from placer.store.events import slot_of as event_slot
from placer.store.instances import Change, Chunk, ListOf

#: A row's columns, each with the order of what it holds.
Row = dict[str, tuple[int, Any]]


class MemoryLists:
    """A ``GlobalStore``: each column keeps the value of the highest order, whatever comes last."""

    def __init__(self) -> None:
        self.by_id: dict[str, Row] = {}
        #: (list, created_ms, id) -> row.
        self.rows: dict[tuple[str, int, str], Row] = {}
        self.dropped: dict[tuple[str, int, str], int] = {}
        self.histories: dict[str, dict[tuple[int, str], Event]] = {}
        self.events: dict[tuple[str, int, str], Event] = {}
        self.dead: dict[str, dict[tuple[int, str], DeadLetter]] = {}
        self.pulses: dict[str, set[int]] = {}
        #: Queries of pages, in order.
        self.asked: list[tuple[ListOf, tuple[int, ...]]] = []

    async def write_changes(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self._write(change)

    def _write(self, change: Change) -> None:
        event = change.event
        self.events[event.cell, event.at_ms, event.id] = event
        if not change.instance:
            return
        self.histories.setdefault(change.instance, {})[change.order, event.id] = event
        cell_row = (f"cell/{change.cell}", change.created_ms, change.instance)
        if change.left:
            self.dropped[cell_row] = max(change.order, self.dropped.get(cell_row, 0))
            return
        project_row = (f"project/{change.project}", change.created_ms, change.instance)
        for row in (
            self.by_id.setdefault(change.instance, {}),
            self.rows.setdefault(project_row, {}),
            self.rows.setdefault(cell_row, {}),
        ):
            for name in ("place", "guest", "reach"):
                value = getattr(change, name)
                ends = change.place is not None and change.place.state.is_final
                if (value is not None or ends) and row.get(name, (-1,))[0] <= change.order:
                    row[name] = (change.order, value)

    async def get_instance(self, instance_id: str) -> tuple[Known, list[Event]] | None:
        known = _known(self.by_id.get(instance_id, {}), -1)
        if known is None:
            return None
        told = {event.id: event for _, event in sorted(self.histories[instance_id].items())}
        return known, sorted(told.values(), key=lambda event: event.at_ms)

    async def page_instances(
        self, of: ListOf, slots: Sequence[int], before: tuple[int, str], limit: int
    ) -> Chunk:
        self.asked.append((of, tuple(slots)))
        wanted = set(slots)
        keys = sorted(
            (
                key
                for key in self.rows
                if key[0] in of.owners and slot_of(key[1]) in wanted and key[1:] < before
            ),
            key=lambda key: key[1:],
            reverse=True,
        )[:limit]
        newest: dict[tuple[int, str], Known] = {}
        for key in keys:
            known = _known(self.rows[key], self.dropped.get(key, -1))
            there = newest.get(key[1:])
            if known and (there is None or there.place.order < known.place.order):
                newest[key[1:]] = known
        return Chunk(list(newest.values()), keys[-1][1:] if len(keys) == limit else None)

    async def read_slots(self, owner: str, at_most: int, limit: int) -> list[int]:
        slots = {slot_of(key[1]) for key in self.rows if key[0] == owner}
        return sorted((slot for slot in slots if slot <= at_most), reverse=True)[:limit]

    async def event_keys(
        self, cell: str, slots: Sequence[int], from_ms: int, until: tuple[int, str], limit: int
    ) -> list[tuple[int, str]]:
        keys = sorted(key[1:] for key in self._told(cell, slots))
        return [key for key in keys if (from_ms, "") <= key <= until][:limit]

    async def events_after(
        self, cell: str, slots: Sequence[int], after: tuple[int, str], before_ms: int, limit: int
    ) -> list[Event]:
        keys = sorted(self._told(cell, slots))
        found = [self.events[key] for key in keys if after < key[1:] < (before_ms, "")]
        return found[:limit]

    async def add_dead_letter(self, webhook: str, letter: DeadLetter) -> None:
        self.dead.setdefault(webhook, {})[letter.event.at_ms, letter.event.id] = letter

    async def dead_letters(
        self, webhook: str, *, limit: int, before: tuple[int, str] | None = None
    ) -> list[DeadLetter]:
        keys = sorted(self.dead.get(webhook, {}), reverse=True)
        found = [self.dead[webhook][key] for key in keys if before is None or key < before]
        return found[:limit]

    def _told(self, cell: str, slots: Sequence[int]) -> list[tuple[str, int, str]]:
        return [key for key in self.events if key[0] == cell and event_slot(key[1]) in slots]

    async def add_pulse(self, cell: str, at_ms: int) -> None:
        self.pulses.setdefault(cell, set()).add(at_ms)

    async def last_pulses(self, cells: Sequence[str]) -> dict[str, int]:
        return {cell: max(self.pulses[cell]) for cell in cells if self.pulses.get(cell)}

    async def pulses_after(self, cell: str, after_ms: int, limit: int) -> list[int]:
        return sorted(at for at in self.pulses.get(cell, ()) if at > after_ms)[:limit]


def _known(row: Row, dropped: int) -> Known | None:
    parts = {name: value if written > dropped else None for name, (written, value) in row.items()}
    place = parts.get("place")
    if place is None:
        return None
    return Known(place, parts.get("guest"), parts.get("reach"))
