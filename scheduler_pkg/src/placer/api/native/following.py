"""Readers that follow events: all of one process share one look at the store.

The naive way, a loop for each reader that looks every half second, costs the store two queries a cell
and reader and second although all hear the same. Here one *tail* looks, as long as anybody follows, and
hands what it finds to every reader. A reader is first brought to where the tail is by reads of its own:

1. it reads on from its marker until there is no more;
2. it joins the tail. The first to come starts it at its own marker. To one that is running already
   the reader is joined first and reads on once more then: whatever becomes visible before that read is in
   it, whatever becomes visible after the joining the tail tells. What both told is told once.

A reader that takes its events too slowly has its queue emptied and goes back to 1 from the marker of
the last it took: a slow reader costs reads of its own, and holds up nobody. What fails ends the stream of
each reader; it comes back with its marker.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncGenerator
from typing import Final

import structlog
from msgspec import Struct

from placer.errors import PlacerError
from placer.model.event import Event
from placer.store.feed import Feed, Mark, Told

log = structlog.get_logger(__name__)

#: How often the tail looks for new events.
LOOK_EVERY_S: Final = 0.5
#: Batches that wait for one reader.
_BATCHES_MAX: Final = 32
#: Events that a reader is not told again when it joins; one that is has the same id.
_KNOWN_MAX: Final = 2048


class Batch(Struct, frozen=True):
    """Events, and the marker after them; without events: where all that there is has been told."""

    events: list[Event]
    mark: Mark


class _Reader:
    """What waits for one reader. ``behind``: it was too slow, and the tail leaves it out."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Batch | PlacerError] = asyncio.Queue(_BATCHES_MAX)
        self.behind = False

    def put(self, batch: Batch | PlacerError) -> None:
        nothing_new = isinstance(batch, Batch) and not batch.events
        if self.behind or (nothing_new and not self.queue.empty()):
            return
        try:
            self.queue.put_nowait(batch)
        except asyncio.QueueFull:
            self.behind = True
            while not self.queue.empty():
                self.queue.get_nowait()
            self.queue.put_nowait(Batch([], _NOWHERE))  # wakes it


_NOWHERE: Final = Mark(())


class Following:
    """One per process. ``batch`` is how many events one read takes at most."""

    def __init__(self, feed: Feed, batch: int, *, look_every_s: float = LOOK_EVERY_S) -> None:
        self._feed = feed
        self._batch = batch
        self._look_every_s = look_every_s
        self._readers: set[_Reader] = set()
        self._tail: asyncio.Task[None] | None = None

    async def after(self, mark: Mark) -> AsyncGenerator[Batch]:
        """What comes after ``mark``, for ever; a batch without events now and then while there are none.

        Raises StoreError, MarkerExpired.
        """
        while True:
            known: deque[str] = deque(maxlen=_KNOWN_MAX)
            async for batch in self._read_on(mark):
                known.extend(event.id for event in batch.events)
                mark = batch.mark
                yield batch
            reader = _Reader()
            joined_late = self._join(reader, mark)
            try:
                if joined_late:
                    async for batch in self._read_on(mark):
                        known.extend(event.id for event in batch.events)
                        mark = batch.mark
                        yield batch
                for count in itertools.count():
                    told = await reader.queue.get()
                    if isinstance(told, PlacerError):
                        raise told
                    if reader.behind:
                        break
                    mark = told.mark
                    repeated = set(known)
                    yield Batch([one for one in told.events if one.id not in repeated], mark)
                    if count and reader.queue.empty():
                        known.clear()  # the read that was under way when it joined has been told
            finally:
                self._leave(reader)

    async def _read_on(self, mark: Mark) -> AsyncGenerator[Batch]:
        more = True
        while more:
            told: Told = await self._feed.read(mark, self._batch)
            mark, more = told.mark, told.more
            if told.events:
                yield Batch(told.events, mark)

    def _join(self, reader: _Reader, mark: Mark) -> bool:
        """Have the tail tell ``reader``; whether the tail was running and may be further than ``mark``."""
        self._readers.add(reader)
        if self._tail is not None:
            return True
        self._tail = asyncio.get_running_loop().create_task(self._run(mark))
        return False

    def _leave(self, reader: _Reader) -> None:
        self._readers.discard(reader)
        if not self._readers and self._tail is not None:
            self._tail.cancel()
            self._tail = None

    async def _run(self, mark: Mark) -> None:
        try:
            while True:
                told = await self._feed.read(mark, self._batch)
                mark = told.mark
                for reader in self._readers:
                    reader.put(Batch(told.events, mark))
                if not told.more:
                    await asyncio.sleep(self._look_every_s)
        except PlacerError as error:
            self._end(error)
        except Exception:
            log.exception("tail_failed")
            self._end(PlacerError("Events cannot be read now.", remedy="Come back."))

    def _end(self, error: PlacerError) -> None:
        self._tail = None
        for reader in self._readers:
            reader.put(error)
