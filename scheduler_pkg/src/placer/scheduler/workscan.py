"""The scan: finds open requests that nobody works on, and resumes them.

Every scheduler process of a cell scans the cell's work rows; none is special. The naive way, each
process resumes its own requests when it starts again, leaves them open for as long as it is away.
Here a row older than a moment is suspect: its request should be final by now. Whoever finds it asks
all processes of the cell whether they work on it; if nobody does (a silent process counts as no),
it takes the request by one LWT and goes on where the log says it stands. Taking moves the revision,
so the former worker, should it be only slow, loses its next LWT and gives back what it claimed. Two
finders may both try: the LWT picks one. A crash at any point leaves the row for the next pass.

What is read: partitions of (shard, slot of time). Each pass reads from where the one before ended; an
older slot only if it was seen with rows in it; and after a start, or when the log did not answer for
long, backwards through the horizon: the last hour in a few passes, the rest slowly beside the work of
the day. Nothing here grows with the fleet or with the number of requests that are done. The more
processes the cell has, the more seldom each scans: together they look as often as one would.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from placer import failpoints, metrics
from placer.errors import Overloaded, PlacerError
from placer.model.records import ClaimState
from placer.model.request import Request, Stage
from placer.model.work import SLOT_S, Work, slot_of
from placer.scheduler.conductor import Conductor, Notify
from placer.scheduler.worklog import RequestLog
from placer.settings import Settings
from placer.store.base import CellStores, RequestStore

log = structlog.get_logger(__name__)

#: A row may come this late into a slot that is over: the longest that a plain write may take.
_LATE_S: Final = 15
#: A row whose request is not there (yet) by then never gets one.
_ORPHAN_S: Final = 60
#: Slots of the last hour, and older ones, that are read in a pass until the horizon is reached.
_BACK_SLOTS: Final = 60
_BACK_SLOTS_OLD: Final = 2
_HOUR_SLOTS: Final = 3600 // SLOT_S
#: Requests taken in a pass; reads at once.
_TAKEN_MAX: Final = 256
_AT_ONCE: Final = 16

#: Which of these requests other processes of the cell work on, as far as they answer.
WorkedOn = Callable[[list[str]], Awaitable[set[str]]]


class WorkScan:
    """The scan of one process over its own cell's work."""

    def __init__(
        self,
        settings: Settings,
        store: RequestStore,
        stores: CellStores,
        requests: RequestLog,
        conductor: Conductor,
        worked_on: WorkedOn,
        notify: Notify,
        *,
        rng: random.Random,
        sharing: Callable[[], int],
    ) -> None:
        """``sharing``: how many processes, this one included, scan the cell now."""
        self._settings = settings
        self._store = store
        self._stores = stores
        self._requests = requests
        self._conductor = conductor
        self._worked_on = worked_on
        self._notify = notify
        self._rng = rng
        self._sharing = sharing
        self._turns = asyncio.Semaphore(_AT_ONCE)
        #: Partitions that had rows when they were read last.
        self._open: set[tuple[int, int]] = set()
        #: All slots between the two were read when nothing could come into them any more.
        self._past: tuple[int, int] | None = None

    async def run(self) -> None:
        """Scan for ever. Cancel to stop; safe at any point."""
        every_s = self._settings.scheduler.scan_every_s
        while True:
            await asyncio.sleep(every_s * self._sharing() * self._rng.uniform(0.5, 1.0))
            try:
                await self.scan()
            except PlacerError as error:
                log.warning("scan_failed", why=str(error))

    async def scan(self) -> int:
        """One pass; returns how many requests were resumed or put in order. Raises StoreError."""
        now_ms = self._requests.now_ms
        back, slots = self._slots_of(now_ms)
        shards = range(self._settings.cluster.work_shards)
        places = {(shard, slot) for shard in shards for slot in slots} | self._open
        found = await asyncio.gather(*(self._read(*place) for place in places))
        # Only now: what could not be read is read by the next pass.
        self._past = back, slot_of(now_ms - _LATE_S * 1000)
        stale_ms = now_ms - int(self._settings.scheduler.stale_s * 1000)
        works = {
            work.id: work
            for rows in found
            for work in sorted(rows, key=lambda work: work.rev)
            if work.at_ms <= stale_ms and not self._conductor.working((work.id,))
        }
        if not works:
            return 0
        chosen = self._rng.sample(sorted(works), min(len(works), _TAKEN_MAX))
        elsewhere = await self._worked_on(chosen)
        left = [works[request] for request in chosen if request not in elsewhere]
        await asyncio.gather(*(self._see_to(work, now_ms) for work in left))
        return len(left)

    # -- which partitions

    def _slots_of(self, now_ms: int) -> tuple[int, set[int]]:
        """The oldest slot that is then read, and the slots to read now: new ones, and some of the past."""
        newest = slot_of(now_ms - int(self._settings.scheduler.stale_s * 1000))
        first = slot_of(now_ms - _LATE_S * 1000)
        back, start = self._past or (first, first)
        if first - start > _BACK_SLOTS:
            back = start = first  # after a long silence the past is read again
        horizon = slot_of(now_ms - int(self._settings.scheduler.horizon_s * 1000))
        step = _BACK_SLOTS if newest - back < _HOUR_SLOTS else _BACK_SLOTS_OLD
        further = min(back, max(horizon, back - step))
        return further, {*range(further, back), *range(start, newest + 1)}

    async def _read(self, shard: int, slot: int) -> list[Work]:
        async with self._turns:
            rows = await self._store.read_work(shard, slot)
        if rows:
            self._open.add((shard, slot))
        else:
            self._open.discard((shard, slot))
        return rows

    # -- one request

    async def _see_to(self, work: Work, now_ms: int) -> None:
        async with self._turns:
            try:
                await self._resume(work, now_ms)
            except PlacerError as error:
                log.info("request_not_resumed", request=work.id, why=str(error))

    async def _resume(self, work: Work, now_ms: int) -> None:
        request = await self._requests.read(work.id)
        if request is None or request.rev < work.rev:
            # Its change may be under way; one that did not come by now never will.
            if now_ms - work.at_ms > _ORPHAN_S * 1000:
                await self._requests.drop(work)
            return
        if request.stage.is_final:
            await self._tell_again(request)
            await self._requests.drop(work)
            return
        failpoints.reach("recovery.before_take")
        taken = await self._requests.change(request, request.stage, "resumed")
        if not taken.stands:
            return
        failpoints.reach("recovery.taken")
        metrics.resumed.inc()
        log.info("request_resumed", request=work.id, stage=request.stage, owner=request.owner)
        try:
            self._conductor.submit(taken.request, work)
        except Overloaded as error:
            log.info("request_not_resumed", request=work.id, why=str(error))

    async def _tell_again(self, request: Request) -> None:
        """Its worker may have died between the outcome and the agents' notification."""
        if request.stage is not Stage.PLACED:
            return
        for placement in request.placements:
            store = await self._stores.cell(placement.cell)
            row = await store.read_row(placement.host)
            record = row.find(placement.claim) if row else None
            if row is not None and record is not None and record.state is ClaimState.CLAIMED:
                telling = self._notify(placement.cell, row, record)
                if telling is not None:
                    await telling
