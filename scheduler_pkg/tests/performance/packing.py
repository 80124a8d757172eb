"""What the fragmentation weigher is worth: GPUs that stay unused in a fleet that refuses more and more.

Requests for GPUs are placed one after the other, with and without the weigher, until so many were
refused. What is free then is stranded: parts of GPUs, or GPUs of hosts without cores, that the
workload could not use (Weng et al., "Beware of Fragmentation", USENIX ATC 2023).
"""

from __future__ import annotations

import asyncio
import random

from placer.model.resource_classes import GPU_MILLI
from placer.scheduler.candidates import search
from placer.scheduler.wanted import Wanted
from placer.settings import Scheduler

from . import fleets
from .conflicts import Fleet


async def _stranded(settings: Scheduler, hosts: int, hosts_per_bucket: int, refusals: int) -> float:
    """Share of all GPUs that is free once ``refusals`` requests found no host."""
    rng = random.Random(3)
    fleet = Fleet(hosts, hosts_per_bucket, rng)
    wishes = (
        spec
        for spec in fleets.requests(400)
        if GPU_MILLI in spec.resources and not spec.required_traits
    )
    total = fleet.capacity(GPU_MILLI)
    placed = refused = 0
    while refused < refusals:
        spec = next(wishes)
        found = await search(
            fleet,
            None,
            Wanted(spec=spec, demand=spec.demand, settings=settings),
            buckets=fleet.buckets,
            hosts=1,
            rng=rng,
        )
        if found.ranked and fleet.claim(found.ranked[0].host, spec):
            placed += spec.resources[GPU_MILLI]
        else:
            refused += 1
    return 1 - placed / total


def stranded_ratio(*, hosts: int, hosts_per_bucket: int, refusals: int) -> dict[str, float]:
    """Share of GPUs that is stranded with the weigher, by the share without it."""
    without, with_it = (
        asyncio.run(_stranded(settings, hosts, hosts_per_bucket, refusals))
        for settings in (Scheduler(weights={"fragmentation": 0.0}), Scheduler())
    )
    return {"stranded_ratio": with_it / without, "without": without, "with": with_it}
