"""The cost of one decision: reading (decoding) views, filters, weighers, the pick. No network."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Iterator

from placer.model.request import RequestSpec
from placer.scheduler.candidates import search
from placer.scheduler.hints import Hints
from placer.scheduler.wanted import Wanted
from placer.settings import Scheduler

from .fleets import Stored, requests

_SETTINGS = Scheduler()
_HINTS_KEPT_S = 3600.0


class Decider:
    """Decides requests over one fleet, always the same ones in the same order."""

    def __init__(self, hosts: int, hosts_per_bucket: int) -> None:
        self._store = Stored(hosts, hosts_per_bucket)
        self._hints = Hints(self._store, _HINTS_KEPT_S)
        self._rng = random.Random(1)
        self._requests = requests(400)

    async def decide(self, decisions: int) -> float:
        """CPU milliseconds of one decision, mean of ``decisions``."""
        await self._hints.fresh()
        wishes = [self._wanted(next(self._requests)) for _ in range(decisions)]
        started = time.process_time()
        for wanted in wishes:
            await search(
                self._store,
                self._hints,
                wanted,
                buckets=self._store.buckets,
                hosts=1,
                rng=self._rng,
            )
        return (time.process_time() - started) * 1000 / decisions

    @staticmethod
    def _wanted(spec: RequestSpec) -> Wanted:
        return Wanted(spec=spec, demand=spec.demand, settings=_SETTINGS)


async def _rounds(large: Decider, small: Decider, rounds: int, decisions: int) -> Iterator[float]:
    await small.decide(decisions)
    await large.decide(decisions)
    # Alternating, so that whatever else the machine does meets both alike.
    pairs = [(await small.decide(decisions), await large.decide(decisions)) for _ in range(rounds)]
    return iter([statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs)])


def cost_ratio(
    *, hosts: int, base_hosts: int, hosts_per_bucket: int, decisions: int, rounds: int
) -> dict[str, float]:
    """CPU milliseconds of a decision over each fleet, and their ratio."""
    large, small = Decider(hosts, hosts_per_bucket), Decider(base_hosts, hosts_per_bucket)
    base_ms, ms = asyncio.run(_rounds(large, small, rounds, decisions))
    return {"cost_ratio": ms / base_ms, "base_ms": base_ms, "ms": ms}
