"""Which views a decision reads: a few random buckets, more when nothing in them fits.

The cost of a decision does not grow with the fleet: ``sample_buckets`` partitions are read however
many there are, and at most ``buckets_max`` before the answer is no.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

from placer.model.host_view import HostView
from placer.settings import Scheduler
from placer.store.base import CellStore


async def sampled(
    store: CellStore, buckets: int, settings: Scheduler, rng: random.Random
) -> AsyncIterator[list[HostView]]:
    """Batches of views: first ``sample_buckets`` partitions, then twice as many each time."""
    order = rng.sample(range(buckets), min(buckets, settings.buckets_max))
    size = settings.sample_buckets
    while order:
        batch, order = order[:size], order[size:]
        size *= 2
        found = await asyncio.gather(*(store.read_views(bucket) for bucket in batch))
        yield [view for views in found for view in views]
