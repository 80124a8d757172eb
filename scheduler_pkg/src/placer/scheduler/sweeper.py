"""The sweeper: removes claims that no agent adopted in time (claim protocol, section 5).

Every scheduler process of a cell walks its buckets of views, one at a time. A lapsed lease in a view
is only a hint; the LWT on the row decides against an agent that adopts at the same moment. What a
lost view hides, the hosts' own periodic reports find: the hub looks at every row it reads. What this
process knows better than a view, because a report or a claim showed it the row, it writes again.
"""

from __future__ import annotations

import asyncio
import random
import time

import structlog

from placer.claims.operations import ExpireClaims
from placer.claims.protocol import HostWriter
from placer.errors import PlacerError
from placer.model.host_view import HostView
from placer.settings import Cell, Settings
from placer.store.base import CellStore

log = structlog.get_logger(__name__)


def due(views: list[HostView], now_ms: int) -> list[str]:
    """Hosts of ``views`` that seem to hold a claim whose lease has ended."""
    return [view.host for view in views if 0 < view.lease_until_ms < now_ms]


async def sweep_bucket(
    store: CellStore, writer: HostWriter, bucket: int, buckets: int, now_ms: int, deadline_s: float
) -> int:
    """Expire what has lapsed on the hosts of one bucket, and write views that were lost.

    Returns how many claims' hosts and views it saw to.
    """
    views = await store.read_views(bucket)
    hosts = due(views, now_ms)
    for host in hosts:
        await writer.submit(host, ExpireClaims(), deadline_s=deadline_s)
    return len(hosts) + writer.views_behind(bucket, buckets, views)


async def run(settings: Settings, store: CellStore, writer: HostWriter, rng: random.Random) -> None:
    """Sweep for ever: all buckets once in ``sweep_every_s``. Cancel to stop; safe at any point."""
    cell: Cell = settings.home
    pause_s = settings.scheduler.sweep_every_s / cell.host_buckets
    bucket = rng.randrange(cell.host_buckets)
    while True:
        await asyncio.sleep(rng.uniform(0.5, 1.5) * pause_s)
        bucket = (bucket + 1) % cell.host_buckets
        try:
            await sweep_bucket(
                store,
                writer,
                bucket,
                cell.host_buckets,
                time.time_ns() // 1_000_000,
                settings.cluster.claim_deadline_s,
            )
        except PlacerError as error:
            log.warning("sweep_failed", bucket=bucket, error=str(error))
