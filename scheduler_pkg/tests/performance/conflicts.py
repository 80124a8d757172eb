"""How often schedulers get in each other's way, with the real decision and the real claim.

A closed loop in simulated time: each scheduler reads views, decides, and writes its claim one unit
(about a round trip, lognormal jitter) later. The write is refused if the row was changed meanwhile,
by a claim or a release: that is a conflict. The scheduler then tries the same row again as it is
now, and decides anew if it does not fit any more. *Conflict fraction*: conflicts per successful
claim (Omega, EuroSys 2013). Each claim is followed by the release of another, so that the fleet
stays as full as it began; schedulers are never idle, which is the worst case.
"""

from __future__ import annotations

import asyncio
import heapq
import random

import msgspec

from placer.claims.operations import AddClaim, Refusal
from placer.model import ids
from placer.model.host_view import HostView
from placer.model.records import HostRow
from placer.model.request import RequestSpec
from placer.scheduler.candidates import search
from placer.scheduler.wanted import Wanted
from placer.settings import Scheduler

from . import fleets

_SIGMA = 0.3
_SETTINGS = Scheduler()


class Fleet:
    """Rows and their views, always fresh; releases a random claim for each that is made."""

    def __init__(self, hosts: int, hosts_per_bucket: int, rng: random.Random) -> None:
        self.rows = {row.host: row for row in fleets.rows(hosts)}
        self.buckets = fleets.buckets_for(hosts, hosts_per_bucket)
        self._rng = rng
        self._views: list[dict[str, HostView]] = [{} for _ in range(self.buckets)]
        self._held: list[tuple[str, str]] = []
        self._names = 0
        for row in self.rows.values():
            self._store(row)

    async def read_views(self, bucket: int) -> list[HostView]:
        return list(self._views[bucket].values())

    def claim(self, host: str, spec: RequestSpec) -> bool:
        """Put a claim on the row; False where the row itself has no room."""
        self._names += 1
        operation = AddClaim(
            claim=f"{fleets.CELL}.{host}.{self._names}",
            consumer=str(self._names),
            request=f"{fleets.CELL}.{self._names}",
            project="p",
            demand=spec.demand,
            lease_until_ms=1,
        )
        changed = operation.apply(self.rows[host], now_ms=0)
        if isinstance(changed, Refusal):
            return False
        self._write(changed)
        self._held.append((host, operation.claim))
        return True

    def release_one(self) -> None:
        """Take a random claim off its row."""
        at = self._rng.randrange(len(self._held))
        self._held[at], self._held[-1] = self._held[-1], self._held[at]
        host, name = self._held.pop()
        row = self.rows[host]
        self._write(
            msgspec.structs.replace(row, records=tuple(r for r in row.records if r.id != name))
        )

    def fill(self, share: float) -> None:
        """Claims on random hosts until ``share`` of all cores is promised."""
        wishes = fleets.requests(400)
        total = self.capacity("VCPU")
        used, names = 0, list(self.rows)
        while used < share * total:
            spec = next(wishes)
            if self.claim(self._rng.choice(names), spec):
                used += spec.resources.get("VCPU", 0)

    def capacity(self, name: str) -> int:
        """Capacity of a class over all hosts."""
        views = (view for bucket in self._views for view in bucket.values())
        return sum(view.totals().get(name, (0, 0))[1] for view in views)

    def _write(self, row: HostRow) -> None:
        self._store(msgspec.structs.replace(row, rev=row.rev + 1))

    def _store(self, row: HostRow) -> None:
        self.rows[row.host] = row
        bucket = ids.bucket_of(row.host, self.buckets)
        self._views[bucket][row.host] = fleets.view(row)


class Run:
    """Schedulers at work on one fleet."""

    def __init__(self, fleet: Fleet, rng: random.Random) -> None:
        self._fleet = fleet
        self._rng = rng
        self._wishes = fleets.requests(400)
        self.claims = 0
        self.conflicts = 0
        self.refused = 0

    async def until(self, claims: int, schedulers: int) -> None:
        """Let them work until so many claims were made."""
        # (when, scheduler, request, host, revision that the decision saw)
        due: list[tuple[float, int, RequestSpec, str, int]] = []
        for number in range(schedulers):
            heapq.heappush(due, await self._decide(self._rng.random(), number))
        while self.claims < claims:
            now, number, spec, host, rev = heapq.heappop(due)
            row = self._fleet.rows[host]
            if row.rev != rev:
                self.conflicts += 1
                heapq.heappush(due, (now + self._unit(), number, spec, host, row.rev))
                continue
            if self._fleet.claim(host, spec):
                self.claims += 1
                self._fleet.release_one()
            heapq.heappush(due, await self._decide(now, number))

    async def _decide(self, now: float, number: int) -> tuple[float, int, RequestSpec, str, int]:
        """The next request's choice; requests that fit nowhere are counted and passed over."""
        while True:
            spec = next(self._wishes)
            found = await search(
                self._fleet,
                None,
                Wanted(spec=spec, demand=spec.demand, settings=_SETTINGS),
                buckets=self._fleet.buckets,
                hosts=1,
                rng=self._rng,
            )
            if found.ranked:
                best = found.ranked[0]
                return now + self._unit(), number, spec, best.host, best.rev
            self.refused += 1

    def _unit(self) -> float:
        return self._rng.lognormvariate(0.0, _SIGMA)


def conflict_fraction(
    *, hosts: int, hosts_per_bucket: int, schedulers: int, claims: int, full: float, seed: int = 1
) -> dict[str, float]:
    """Conflicts per successful claim; also how many requests fitted nowhere."""
    rng = random.Random(seed)
    fleet = Fleet(hosts, hosts_per_bucket, rng)
    fleet.fill(full)
    run = Run(fleet, rng)
    asyncio.run(run.until(claims, schedulers))
    return {"conflicts_per_success": run.conflicts / run.claims, "refused": float(run.refused)}
