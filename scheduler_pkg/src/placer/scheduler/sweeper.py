"""The sweeper: what nobody was there to finish on a cell's rows (claim protocol, section 5).

Every scheduler process of a cell walks its buckets of views, one at a time. A lapsed lease in a view
is only a hint; the LWT on the row decides against an agent that adopts at the same moment
(``claims/expiry.py``). The walk is not shared among the processes: whatever dies, and whoever notices,
each process alone finds what is left behind within a round and a half.

A view is lost with the process that owed it, and hides what a dead claimer left on the row. So the
revisions of all rows, and nothing else of them, are read twice a round; a row that is ahead of a view
that was read later is swept, and its view written. A view that is on its way just then costs a read
of its row. What this process knows better than a view, because a report or a claim showed it the
row, it writes again too. Passing by, the sweeper writes the bucket's hint; after each round it looks
after the cell's pools and write sets.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from typing import Final

import structlog

from placer.claims.protocol import HostWriter
from placer.claims.recovery import Recovery
from placer.errors import PlacerError
from placer.model import ids
from placer.model.host_view import POOL_BUCKET, HostView
from placer.scheduler.hints import HintWriter
from placer.settings import Settings
from placer.store.base import CellStore

log = structlog.get_logger(__name__)

#: Times in a round that the revisions of all rows are read.
_LOOKS_A_ROUND: Final = 2
#: Pools swept in a round.
_POOLS_A_ROUND: Final = 4


def due(views: list[HostView], now_ms: int, early_ms: int = 0) -> list[str]:
    """Rows of ``views`` that seem to hold a claim whose lease has ended, or an undecided one.

    ``early_ms``: that long before its lease ends a claim that still waits may be an orphan.
    """
    return [v.host for v in views if 0 < v.lease_until_ms < now_ms + early_ms or v.writesets]


class Sweeper:
    """One per process, over its own cell."""

    def __init__(
        self,
        settings: Settings,
        store: CellStore,
        writer: HostWriter,
        recovery: Recovery,
        *,
        rng: random.Random,
    ) -> None:
        self._settings = settings
        self._store = store
        self._writer = writer
        self._recovery = recovery
        self._hints = HintWriter(store)
        cluster = settings.cluster
        self._early_ms = int((cluster.claim_lease_s - cluster.claim_deadline_s) * 1000)
        self._rng = rng
        self._revs: dict[str, int] = {}

    async def run(self) -> None:
        """Sweep for ever: all buckets once in ``sweep_every_s``. Cancel to stop; safe anywhere."""
        buckets = self._settings.home.host_buckets
        pause_s = self._settings.scheduler.sweep_every_s / buckets
        first = self._rng.randrange(buckets)
        for step in itertools.count():
            await asyncio.sleep(self._rng.uniform(0.5, 1.0) * pause_s)
            bucket = (first + step) % buckets
            try:
                if step % max(1, buckets // _LOOKS_A_ROUND) == 0:
                    await self.look()
                await self.sweep_bucket(bucket, time.time_ns() // 1_000_000)
                if bucket == 0:
                    await self._recovery.recover_cell(self._settings.cell)
                    await self._sweep_pools()
            except PlacerError as error:
                log.warning("sweep_failed", bucket=bucket, error=str(error))

    async def look(self) -> None:
        """Read the revisions that ``sweep_bucket`` holds views against. Raises StoreError."""
        self._revs = {host: rev async for host, rev in self._store.scan_revs()}

    async def sweep_bucket(self, bucket: int, now_ms: int) -> int:
        """Expire what has lapsed on the hosts of one bucket, and write views that were lost.

        Returns how many hosts and views it saw to. Raises StoreError, Conflict.
        """
        views = await self._store.read_views(bucket)
        await self._hints.passed(bucket, views, time.time_ns() // 1000)
        known = self._writer.views_behind(bucket, self._settings.home.host_buckets, views)
        behind = {view.host for view in views if view.rev < self._revs.get(view.host, 0)}
        hosts = behind.union(due(views, now_ms, self._early_ms))
        for host in (*sorted(hosts), *self._group_of(views)):
            row = await self._recovery.sweep_row(self._settings.cell, host)
            if row is not None and host in behind:
                self._writer.show(row)
        return len(hosts) + known

    def _group_of(self, views: list[HostView]) -> list[str]:
        """One of this cell's server groups that have members here, if any has: its row may hold more."""
        found = {group for view in views for group in view.groups}
        here = sorted(group for group in found if ids.cell_of(group) == self._settings.cell)
        return [self._rng.choice(here)] if here else []

    async def _sweep_pools(self) -> None:
        """Some pools a round: entries whose claim on a host is gone leave them; lost views of any.

        A share is given back when its claim goes; here is what a crash in between left.
        """
        views = await self._store.read_views(POOL_BUCKET)
        self._writer.views_behind(POOL_BUCKET, self._settings.home.host_buckets, views)
        pools = [view for view in views if view.claims]
        for pool in self._rng.sample(pools, min(len(pools), _POOLS_A_ROUND)):
            await self._recovery.sweep_row(self._settings.cell, pool.host)
