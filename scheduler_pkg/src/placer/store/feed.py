"""Reading the feed of events so that nothing is missed, whatever arrives late.

Each cell's schedulers write the cell's events, each with the time it was written. A reader goes on
from the last event that it was told. The naive way, everything after that time, misses what arrives
later with an earlier time: clocks of two processes differ, one replica hears later than another, and
what a cell wrote while it was cut off arrives minutes later, in any order. So a reader's marker has
three parts for each cell:

- ``since``: before this nothing can arrive any more. It follows the cell's pulses: these are written
  every few seconds and travel as events do, so a gap among them means that events may be missing too,
  and ``since`` waits there until the gap is filled, or until the cell was heard without a break for
  ``CATCH_UP_MS`` after it. Then it stays ``settle_ms`` behind them, longer than a write may take.
- the place (time and id) of the last event told.
- ``digests`` of what is between the two, in pieces of a second or more. A piece that has another digest
  now holds something that was not told: all of it is told again. Readers know repeats by their ids.

So every event is told at least once to whoever follows the markers, by any API server, and no server
remembers anything of its readers.
"""

from __future__ import annotations

import asyncio
import base64
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from msgspec import Struct

from placer.errors import MarkerExpired
from placer.model.event import Event
from placer.settings import Settings
from placer.store.events import EventStore, slot_of

#: After a gap in its pulses a cell must be heard this long before the gap is passed over.
CATCH_UP_MS: Final = 600_000
#: Pieces that a marker has digests of; they grow with the time between.
_PIECES_MAX: Final = 64
_DIGEST_BYTES: Final = 3
_PIECE_MS: Final = 1000
#: Pulses that may be missing without a gap.
_MISSED_MAX: Final = 3
_PULSES_MAX: Final = 1000
#: Keys between ``since`` and the place that are compared: more than a cell writes in a settle time.
_KEYS_MAX: Final = 50_000
#: Clocks of other processes may be ahead by this much.
_AHEAD_MS: Final = 60_000

_Key = tuple[int, str]


class CellMark(Struct, frozen=True, array_like=True):
    """Where a reader of one cell's events is; ``piece_ms`` is the length of the pieces digested."""

    cell: str
    since_ms: int
    at_ms: int
    id: str = ""
    piece_ms: int = _PIECE_MS
    digests: str = ""

    @property
    def place(self) -> _Key:
        return self.at_ms, self.id


class Mark(Struct, frozen=True, array_like=True):
    """Where a reader is, in every cell."""

    cells: tuple[CellMark, ...]


class Told(Struct, frozen=True):
    """Events, oldest first, and where to go on; ``more``: there is more to be read at once."""

    events: list[Event]
    mark: Mark
    more: bool


class Feed:
    """The events of all cells as one datacenter has them."""

    def __init__(self, settings: Settings, store: EventStore, now_ms: Callable[[], int]) -> None:
        cluster = settings.cluster
        self._cells = tuple(cell.name for cell in cluster.cells)
        self._store = store
        self._now_ms = now_ms
        self._pulse_ms = int(cluster.pulse_every_s * 1000)
        timeout_s = settings.store.request_timeout_s if settings.store else 0.0
        # A write is sent again until twice its bound has passed, and clocks differ by a little.
        self._settle_ms = int(2000 * timeout_s) + self._pulse_ms
        self._keep_ms = cluster.keep.events_s * 1000

    async def start(self) -> Mark:
        """A marker that all which happens from now on comes after. Raises StoreError."""
        return self.start_after(await self._store.last_pulses(self._cells))

    def start_after(self, pulses: dict[str, int]) -> Mark:
        """As ``start``, from when each cell was last heard."""
        now_ms = self._now_ms()
        marks = []
        for cell in self._cells:
            since = min(pulses.get(cell, now_ms), now_ms) - self._settle_ms
            marks.append(CellMark(cell, since, since))
        return Mark(tuple(marks))

    async def read(self, mark: Mark, limit: int) -> Told:
        """About ``limit`` events after ``mark``, of all cells. Raises StoreError, MarkerExpired."""
        known = {one.cell: one for one in mark.cells}
        oldest = min((one.since_ms for one in mark.cells), default=self._now_ms())
        newest = max((one.since_ms for one in mark.cells), default=self._now_ms())
        if newest < self._now_ms() - self._keep_ms:
            raise MarkerExpired(
                "The marker is older than the events that are kept.",
                remedy="List the instances again, and go on from that list's events_marker.",
                field="since",
            )
        marks = [known.get(cell, CellMark(cell, oldest, oldest)) for cell in self._cells]
        share = max(1, limit // len(marks))
        parts = await asyncio.gather(*(self._read_cell(one, share) for one in marks))
        events = sorted(
            (event for told, _, _ in parts for event in told), key=lambda one: (one.at_ms, one.id)
        )
        cells = tuple(after for _, after, _ in parts)
        return Told(events, Mark(cells), any(more for _, _, more in parts))

    async def _read_cell(self, mark: CellMark, limit: int) -> tuple[list[Event], CellMark, bool]:
        pulses = await self._store.pulses_after(mark.cell, mark.since_ms, _PULSES_MAX)
        if not pulses:
            return [], mark, False
        further = len(pulses) == _PULSES_MAX
        end_ms = pulses[-1] if further else self._now_ms() + _AHEAD_MS
        slots = _slots(mark, pulses, end_ms)
        keys, new = await asyncio.gather(
            self._store.event_keys(mark.cell, slots, mark.since_ms, mark.place, _KEYS_MAX),
            self._store.events_after(mark.cell, slots, mark.place, end_ms, limit),
        )
        late = await self._late(mark, slots, keys)
        full = len(new) == limit
        place = (new[-1].at_ms, new[-1].id) if new else mark.place
        since = max(
            mark.since_ms, heard_until(mark.since_ms, pulses, self._pulse_ms) - self._settle_ms
        )
        if full:
            since = min(since, place[0])
        elif place[0] < since:
            place = (since, "")
        told = [*keys, *((event.at_ms, event.id) for event in new)]
        after = _digested(mark.cell, since, place, told)
        return [*late, *new], after, full or further

    async def _late(
        self, mark: CellMark, slots: Sequence[int], keys: Sequence[_Key]
    ) -> list[Event]:
        """What is in pieces that are not as they were told."""
        were = _unpacked(mark.digests)
        are = digests(keys, mark.since_ms, mark.piece_ms)
        found: list[Event] = []
        for piece in sorted(are):
            if are[piece] == (were[piece] if piece < len(were) else 0):
                continue
            begin = mark.since_ms + piece * mark.piece_ms
            events = await self._store.events_after(
                mark.cell, slots, (begin - 1, "\uffff"), begin + mark.piece_ms, _KEYS_MAX
            )
            found += [one for one in events if (one.at_ms, one.id) <= mark.place]
        return found


def heard_until(since_ms: int, pulses: Sequence[int], pulse_ms: int) -> int:
    """Until when a cell was heard without a gap, from ``since_ms`` on; ``pulses`` are sorted."""
    heard = since_ms
    # The first may be as far away as ``since`` lies behind the pulse that it was taken from.
    for at_ms in pulses:
        gap = at_ms - heard > _MISSED_MAX * pulse_ms and heard != since_ms
        if gap and pulses[-1] - at_ms < CATCH_UP_MS:
            break
        heard = at_ms
    return heard


def digests(keys: Iterable[_Key], since_ms: int, piece_ms: int) -> dict[int, int]:
    """The digest of each piece that holds any of ``keys``: never 0, whatever their order."""
    found: dict[int, int] = {}
    for at_ms, name in keys:
        if at_ms >= since_ms:
            piece = (at_ms - since_ms) // piece_ms
            found[piece] = found.get(piece, 0) + zlib.crc32(f"{at_ms}{name}".encode())
    bound = (1 << 8 * _DIGEST_BYTES) - 1
    return {piece: total % bound + 1 for piece, total in found.items()}


def _digested(cell: str, since_ms: int, place: _Key, told: Sequence[_Key]) -> CellMark:
    piece_ms = _PIECE_MS
    while (place[0] - since_ms) // piece_ms >= _PIECES_MAX:
        piece_ms *= 2
    found = digests(told, since_ms, piece_ms)
    packed = b"".join(
        found.get(piece, 0).to_bytes(_DIGEST_BYTES) for piece in range(max(found, default=-1) + 1)
    )
    return CellMark(
        cell, since_ms, *place, piece_ms, base64.b64encode(packed).decode() if packed else ""
    )


def _unpacked(text: str) -> list[int]:
    packed = base64.b64decode(text)
    return [
        int.from_bytes(packed[start : start + _DIGEST_BYTES])
        for start in range(0, len(packed), _DIGEST_BYTES)
    ]


def _slots(mark: CellMark, pulses: Sequence[int], end_ms: int) -> list[int]:
    """The slots that can hold events: those in which the cell was heard, and beside them."""
    heard = {slot_of(at_ms) + beside for at_ms in pulses for beside in (-1, 0, 1)}
    own = {slot_of(mark.since_ms), slot_of(mark.at_ms)}
    first, last = slot_of(mark.since_ms), slot_of(end_ms)
    return sorted(slot for slot in heard | own if first <= slot <= last)
