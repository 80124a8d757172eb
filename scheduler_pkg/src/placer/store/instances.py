"""The list of instances, and each one's history, on Cassandra: a part of ``CassandraGlobalStore``.

One change of an instance is one message: a batch without a log, whose statements go to up to four
partitions (the instance with its history, its project's list, its cell's list, its cell's events).
Several changes at once are grouped by partition, so that lists and events cost one message a
partition however many there are. No batch is atomic, nor need it be: each statement is idempotent and
has a timestamp of its own, and whoever wrote it repeats the whole until it was acknowledged.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Protocol

import msgspec
from msgspec import Struct

from placer.model.event import Event
from placer.model.instance import Guest, Instance, Known, Reach, slot_of
from placer.settings import Keep
from placer.store import list_statements as sql
from placer.store.events import slot_of as event_slot
from placer.store.list_statements import ListTable
from placer.store.statements import Statement, Write

#: Events of one instance that are read at once; older ones of a very lively instance are left out.
_HISTORY_MAX: Final = 500
#: Rows of one partition that one message writes.
_BATCH_ROWS_MAX: Final = 64
#: Slots that this process knows to be noted; one that is forgotten is noted again.
_NOTED_MAX: Final = 4096

_encode = msgspec.json.Encoder().encode
_decode_place = msgspec.json.Decoder(Instance).decode
_decode_guest = msgspec.json.Decoder(Guest).decode
_decode_reach = msgspec.json.Decoder(Reach).decode
_decode_event = msgspec.json.Decoder(Event).decode


class Change(Struct, frozen=True):
    """What became known of one instance, and the event that tells it; one of the three is given.

    ``left``: the instance is in another cell by now; it leaves this one's list. An event of a host
    has no instance.
    """

    order: int
    event: Event
    instance: str = ""
    project: str = ""
    cell: str = ""
    created_ms: int = 0
    place: Instance | None = None
    guest: Guest | None = None
    reach: Reach | None = None
    left: bool = False


class ListOf(Struct, frozen=True):
    """Which lists a page is taken from: one project's, or those of some cells."""

    project: str = ""
    cells: tuple[str, ...] = ()

    @property
    def owners(self) -> tuple[str, ...]:
        """What its slots are noted under."""
        if self.project:
            return (_owner(project=self.project),)
        return tuple(_owner(cell=cell) for cell in self.cells)


class Chunk(Struct, frozen=True):
    """What one query found; ``rest`` is the key of the last row read if there may be more."""

    found: list[Known]
    rest: tuple[int, str] | None


class InstanceStore(Protocol):
    """Instances of all regions, read and written at LOCAL_QUORUM; errors as in ``store/base.py``."""

    async def write_changes(self, changes: Sequence[Change]) -> None:
        """Plain writes; safe to repeat in any order, the highest order of each column stays."""

    async def get_instance(self, instance_id: str) -> tuple[Known, list[Event]] | None:
        """An instance with its history, the oldest event first."""

    async def page_instances(
        self, of: ListOf, slots: Sequence[int], before: tuple[int, str], limit: int
    ) -> Chunk:
        """Up to ``limit`` instances of ``slots``, newest first, after ``before`` in that order.

        One query. Of several rows of one instance (it is moving between cells) the newest.
        """

    async def read_slots(self, owner: str, at_most: int, limit: int) -> list[int]:
        """The newest ``limit`` slots of a list up to slot ``at_most``, newest first."""


class _Session(Protocol):
    async def execute(self, statement: Statement, *params: Any) -> list[tuple[Any, ...]]: ...

    async def execute_batch(self, writes: Sequence[Write]) -> None: ...


class CassandraInstances:
    """``InstanceStore`` on the global keyspace."""

    _session: _Session
    _keep: Keep
    _noted: OrderedDict[tuple[str, int], None]

    async def write_changes(self, changes: Sequence[Change]) -> None:
        await self._note_slots(changes)
        await asyncio.gather(
            *(self._session.execute_batch(batch) for batch in batches(changes, self._keep))
        )

    async def get_instance(self, instance_id: str) -> tuple[Known, list[Event]] | None:
        rows = await self._session.execute(sql.GET_INSTANCE, instance_id, _HISTORY_MAX)
        if not rows or not rows[0][0]:
            return None
        place, guest, reach, _ = rows[0]
        # An event that was written again at a later revision is there twice, with one id.
        told = {event.id: event for event in (_decode_event(row[3]) for row in rows if row[3])}
        history = sorted(told.values(), key=lambda event: event.at_ms)
        return _known(place, guest, reach), history

    async def page_instances(
        self, of: ListOf, slots: Sequence[int], before: tuple[int, str], limit: int
    ) -> Chunk:
        table, names = (
            (sql.OF_PROJECT, [of.project]) if of.project else (sql.OF_CELL, list(of.cells))
        )
        rows = await self._session.execute(table.page, names, list(slots), *before, limit)
        rows.sort(key=lambda row: row[:2], reverse=True)
        end = limit
        while end < len(rows) and rows[end][:2] == rows[limit - 1][:2]:
            end += 1  # of an instance that moves between cells there are two
        full = len(rows) >= limit
        rows = rows[:end]
        # A row without a place is what an agent said of an instance that has left the list.
        found = list(_newest(_known(*row[2:]) for row in rows if row[2]))
        return Chunk(found, (rows[-1][0], rows[-1][1]) if full else None)

    async def read_slots(self, owner: str, at_most: int, limit: int) -> list[int]:
        rows = await self._session.execute(sql.READ_SLOTS, owner, at_most, limit)
        return [slot for (slot,) in rows]

    async def _note_slots(self, changes: Sequence[Change]) -> None:
        """Note the slots of new rows, before the rows: a row in no slot would not be listed."""
        wanted = {
            (owner, slot_of(change.created_ms))
            for change in changes
            if change.place is not None
            for owner in (_owner(project=change.project), _owner(cell=change.cell))
        }
        missing = [one for one in wanted if one not in self._noted]
        await asyncio.gather(*(self._session.execute(sql.NOTE_SLOT, *one) for one in missing))
        for one in missing:
            self._noted[one] = None
            if len(self._noted) > _NOTED_MAX:
                self._noted.popitem(last=False)


def batches(changes: Sequence[Change], keep: Keep) -> list[list[Write]]:
    """The messages that write ``changes``: one for one change, else those of each partition.

    Cassandra bounds a message that spans partitions to a few KiB: one change is well below that.
    """
    parts: dict[tuple[Any, ...], list[Write]] = {}
    told: set[tuple[str, int]] = set()
    for change in changes:
        for partition, write in _writes(change, keep):
            if write[0] is sql.ADD_EVENT:  # one of a host comes with each of its instances
                if (change.event.id, change.event.at_ms) in told:
                    continue
                told.add((change.event.id, change.event.at_ms))
            parts.setdefault(partition, []).append(write)
    if len(changes) == 1:
        return [[write for writes in parts.values() for write in writes]]
    return [
        writes[start : start + _BATCH_ROWS_MAX]
        for writes in parts.values()
        for start in range(0, len(writes), _BATCH_ROWS_MAX)
    ]


def _writes(change: Change, keep: Keep) -> Iterator[tuple[tuple[Any, ...], Write]]:
    """(partition, write) of everything that a change writes."""
    event = change.event
    body = _encode(event).decode()
    slot = event_slot(event.at_ms)
    # The feed is compacted by time, which it takes from timestamps: microseconds.
    row = (event.cell, slot, event.at_ms, event.id, body, event.at_ms * 1000, keep.events_s)
    yield ("event", event.cell, slot), (sql.ADD_EVENT, row)
    if not change.instance:
        return
    history = (change.instance, change.order, event.id, body, change.order, keep.history_s)
    yield ("id", change.instance), (sql.ADD_HISTORY, history)
    if not change.left:
        yield ("id", change.instance), _by_id(change, keep)
        yield from _listed(sql.OF_PROJECT, change.project, change, keep)
    yield from _listed(sql.OF_CELL, change.cell, change, keep)


def _by_id(change: Change, keep: Keep) -> Write:
    if change.guest is not None:
        return sql.GUEST_BY_ID, (change.order, _text(change.guest), change.instance)
    if change.reach is not None:
        return sql.REACH_BY_ID, (change.order, _text(change.reach), change.instance)
    assert change.place is not None
    place = _text(change.place)
    if change.place.state.is_final:
        return sql.END_BY_ID, (change.order, keep.ended_s, place, change.instance)
    return sql.PUT_BY_ID, (change.order, place, change.instance)


def _listed(
    table: ListTable, owner: str, change: Change, keep: Keep
) -> Iterator[tuple[tuple[Any, ...], Write]]:
    slot = slot_of(change.created_ms)
    partition = (table.put.name, owner, slot)
    key = (owner, slot, change.created_ms, change.instance)
    if change.left:
        yield partition, (table.drop, (change.order, *key))
    elif change.guest is not None:
        yield partition, (table.guest, (change.order, _text(change.guest), *key))
    elif change.reach is not None:
        yield partition, (table.reach, (change.order, _text(change.reach), *key))
    elif change.place is not None:
        row = (*key, _text(change.place), change.order)
        if change.place.state.is_final:
            yield partition, (table.end, (*row, keep.ended_s))
        else:
            yield partition, (table.put, row)


def _text(value: Struct) -> str:
    return _encode(value).decode()


def _known(place: str, guest: str | None, reach: str | None) -> Known:
    return Known(
        _decode_place(place),
        _decode_guest(guest) if guest else None,
        _decode_reach(reach) if reach else None,
    )


def _newest(found: Iterable[Known]) -> Iterator[Known]:
    """Each instance once: rows of one follow each other, as they have one key."""
    last: Known | None = None
    for known in found:
        if last is not None and last.key != known.key:
            yield last
            last = known
        elif last is None or known.place.order > last.place.order:
            last = known
    if last is not None:
        yield last


def _owner(*, project: str = "", cell: str = "") -> str:
    return f"project/{project}" if project else f"cell/{cell}"
