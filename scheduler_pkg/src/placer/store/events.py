"""The feed of events and the pulses of cells on Cassandra: a part of ``CassandraGlobalStore``.

Each cell has a feed of its own, written by its schedulers only, in partitions of a few minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec

from placer.model.event import Event
from placer.settings import Keep
from placer.store import list_statements as sql
from placer.store.statements import Statement

#: Length of a partition of a feed: 300 events a second are 90,000 rows.
SLOT_MS: Final = 300_000

_decode = msgspec.json.Decoder(Event).decode


def slot_of(at_ms: int) -> int:
    """The partition of its cell's feed that an event of ``at_ms`` is in."""
    return at_ms // SLOT_MS


class EventStore(Protocol):
    """Events by cell and time; errors as in ``store/base.py``."""

    async def event_keys(
        self, cell: str, slots: Sequence[int], from_ms: int, until: tuple[int, str], limit: int
    ) -> list[tuple[int, str]]:
        """(time, id) of the events in ``slots`` from ``from_ms`` to ``until``, that one included, oldest first."""

    async def events_after(
        self, cell: str, slots: Sequence[int], after: tuple[int, str], before_ms: int, limit: int
    ) -> list[Event]:
        """Events in ``slots`` after the one of time and id ``after`` and before ``before_ms``, oldest first."""

    async def add_pulse(self, cell: str, at_ms: int) -> None:
        """Plain write; safe to repeat."""

    async def last_pulses(self, cells: Sequence[str]) -> dict[str, int]:
        """When each cell was last heard, in one query; without those that never were."""

    async def pulses_after(self, cell: str, after_ms: int, limit: int) -> list[int]:
        """Pulses of a cell after ``after_ms``, oldest first."""


class _Session(Protocol):
    async def execute(self, statement: Statement, *params: Any) -> list[tuple[Any, ...]]: ...


class CassandraEvents:
    """``EventStore`` on the global keyspace."""

    _session: _Session
    _keep: Keep

    async def event_keys(
        self, cell: str, slots: Sequence[int], from_ms: int, until: tuple[int, str], limit: int
    ) -> list[tuple[int, str]]:
        rows = await self._session.execute(
            sql.EVENT_KEYS, cell, list(slots), from_ms, *until, limit
        )
        return sorted((at_ms, name) for at_ms, name in rows)[:limit]

    async def events_after(
        self, cell: str, slots: Sequence[int], after: tuple[int, str], before_ms: int, limit: int
    ) -> list[Event]:
        rows = await self._session.execute(
            sql.EVENTS_AFTER, cell, list(slots), *after, before_ms, limit
        )
        found = [_decode(body) for (body,) in rows]
        return sorted(found, key=lambda event: (event.at_ms, event.id))[:limit]

    async def add_pulse(self, cell: str, at_ms: int) -> None:
        await self._session.execute(sql.ADD_PULSE, cell, at_ms, self._keep.pulses_s)

    async def last_pulses(self, cells: Sequence[str]) -> dict[str, int]:
        rows = await self._session.execute(sql.LAST_PULSES, list(cells))
        return dict(rows)

    async def pulses_after(self, cell: str, after_ms: int, limit: int) -> list[int]:
        rows = await self._session.execute(sql.PULSES_AFTER, cell, after_ms, limit)
        return [at_ms for (at_ms,) in rows]
