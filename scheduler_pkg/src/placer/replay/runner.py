"""The run: a warm-up, the race, the workload itself, the burst.

A closed loop: ``concurrency`` clients in all, each posts its next request when its last one has
ended, so the deployment sets the pace. The race and the burst are the two open moments: many
requests are posted at one instant.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from msgspec import Struct

from placer.errors import PlacerError
from placer.model.host_view import HostView
from placer.model.records import HostStatus, RowKind
from placer.model.request import RequestSpec
from placer.model.resource_classes import BAREMETAL
from placer.replay import outcome as sums
from placer.replay import plan
from placer.replay.client import Target
from placer.replay.outcome import Burst, Outcome, Race, Result, WarmUp
from placer.replay.percentiles import spread
from placer.replay.plan import Kind, Planned

#: Requests of the burst, and of each region in the race.
BURST: Final = 64
CONTENDERS_PER_REGION: Final = 4

#: Time for APIs to become ready and for hosts to be listed.
READY_S: Final = 60.0

#: Requests of the burst are as small as this.
_SMALL: Final = {"VCPU": 1, "MEMORY_MB": 512}


class Progress(Struct):
    """Where the run is; read by whoever shows it."""

    phase: str = "starting"
    done: int = 0
    total: int = 0
    placed: int = 0
    refused: int = 0
    errors: int = 0


class Workload(Struct, frozen=True):
    """What to run. ``special``: also run the burst and the race; ``hosts_min``: wait for so many."""

    name: str
    seed: int
    concurrency: int
    requests: list[Planned]
    lines_skipped: int = 0
    special: bool = True
    hosts_min: int = 1


class Run:
    """One replay. ``outcomes`` fill as it goes, so that an interrupted run can say what was done."""

    def __init__(self, targets: Sequence[Target], workload: Workload, progress: Progress) -> None:
        self._targets = {target.cell: target for target in targets}
        self._workload = workload
        self._progress = progress
        self.outcomes: list[Outcome] = []

    async def run(self) -> Result:
        """The whole replay; raises PlacerError when it cannot begin or the token is refused."""
        try:
            return await self._run()
        except* PlacerError as group:
            first = next(_leaves(group))
        raise first

    async def _run(self) -> Result:
        started = time.perf_counter()
        workload, cells = self._workload, sorted(self._targets)
        hosts = await self._await_hosts()
        warm_up = await self._warm_up(plan.warm_up(cells, workload.seed))
        race_outcomes, race = await self._race(hosts) if workload.special else ([], None)
        self._show("workload", len(workload.requests))
        seconds, main = await self._closed_loop(workload.requests)
        burst_outcomes, burst = await self._burst() if workload.special else ([], None)
        every = [*main, *race_outcomes, *burst_outcomes]
        total = sums.tally(every)
        main_placed = sums.tally(main).placed
        local = sums.local(main)
        return Result(
            workload=workload.name,
            seed=workload.seed,
            requests=len(every),
            concurrency=workload.concurrency,
            cells=tuple(cells),
            lines_skipped=workload.lines_skipped,
            placed=total.placed,
            refused=sums.refusals(every),
            errors=total.errors,
            error_codes=sums.error_codes(every),
            refused_because=sums.refused_because(every),
            by_kind=sums.by_kind(main),
            claims_per_second=_rate(main_placed, seconds),
            conflicts_per_success=(
                round(sums.conflicts(main) / main_placed, 4) if main_placed else None
            ),
            local_ms=spread(sums.claim_ms(local)),
            local_by_cell={
                cell: spread(sums.claim_ms([o for o in local if o.to_cell == cell]))
                for cell in cells
            },
            cross_cell=sums.pairs(main),
            request_ms={
                "local": spread([o.total_ms for o in local]),
                "all": spread([o.total_ms for o in main]),
            },
            seconds=round(seconds, 3),
            seconds_total=round(time.perf_counter() - started, 3),
            warm_up=warm_up,
            race=race,
            burst=burst,
        )

    def _show(self, phase: str, total: int) -> None:
        self._progress.phase, self._progress.done, self._progress.total = phase, 0, total

    async def _await_hosts(self) -> list[HostView]:
        """All hosts that are up, once every API is ready and ``hosts_min`` hosts are listed."""
        self._show("waiting for hosts", self._workload.hosts_min)
        async with asyncio.TaskGroup() as group:
            for target in self._targets.values():
                group.create_task(target.ready(READY_S))
        ends = time.monotonic() + READY_S
        while True:
            listed = await asyncio.gather(*(t.hosts() for t in self._targets.values()))
            hosts = [v for views in listed for v in views if _takes_requests(v)]
            self._progress.done = len(hosts)
            if len(hosts) >= self._workload.hosts_min:
                return hosts
            if time.monotonic() >= ends:
                raise PlacerError(
                    f"Only {len(hosts)} hosts are up; {self._workload.hosts_min} are needed.",
                    remedy="Look at the agents' logs, or ask for fewer with --hosts-min.",
                )
            await asyncio.sleep(1.0)

    async def _post(self, planned: Planned) -> Outcome:
        outcome = await self._targets[planned.target].post(planned)
        self.outcomes.append(outcome)
        progress = self._progress
        progress.done += 1
        progress.placed += outcome.placed
        progress.refused += outcome.refused
        progress.errors += not outcome.placed and not outcome.refused
        return outcome

    async def _closed_loop(self, requests: Sequence[Planned]) -> tuple[float, list[Outcome]]:
        """Seconds from the first post to the last answer, and the outcomes."""
        source = iter(requests)
        outcomes: list[Outcome] = []
        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._workload.concurrency, len(requests))):
                group.create_task(self._client(source, outcomes))
        return time.perf_counter() - started, outcomes

    async def _client(self, source: Iterator[Planned], outcomes: list[Outcome]) -> None:
        # All clients draw from one iterator: there is no await between two draws.
        for planned in source:
            outcomes.append(await self._post(planned))

    async def _at_once(self, requests: Iterable[Planned]) -> tuple[float, list[Outcome]]:
        """All posted at one instant."""
        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._post(planned)) for planned in requests]
        return time.perf_counter() - started, [task.result() for task in tasks]

    async def _warm_up(self, requests: Sequence[Planned]) -> WarmUp:
        self._show("warm-up", len(requests))
        seconds, outcomes = await self._closed_loop(requests)
        total = sums.tally(outcomes)
        return WarmUp(
            requests=total.requests,
            placed=total.placed,
            refused=total.refused,
            errors=total.errors,
            seconds=round(seconds, 3),
        )

    async def _race(self, hosts: Sequence[HostView]) -> tuple[list[Outcome], Race | None]:
        host = last_unit(hosts)
        if host is None:
            return [], None
        wish = _naming(host, _whole_of(host), "race")
        requests = [
            Planned(target=cell, kind=Kind.WHOLE_HOST, spec=wish)
            for _ in range(CONTENDERS_PER_REGION)
            for cell in sorted(self._targets)
        ]
        self._show("race", len(requests))
        _, outcomes = await self._at_once(requests)
        total = sums.tally(outcomes)
        race = Race(
            cell=host.cell,
            host=host.name,
            contenders=len(requests),
            winners=total.placed,
            refused=total.refused,
            errors=total.errors,
            winner_posted_to=tuple(o.planned.target for o in outcomes if o.placed),
        )
        return outcomes, race

    async def _burst(self) -> tuple[list[Outcome], Burst | None]:
        listed = await asyncio.gather(*(t.hosts() for t in self._targets.values()))
        host = roomiest([view for views in listed for view in views])
        if host is None:
            return [], None
        wish = Planned(target=host.cell, kind=Kind.PLAIN, spec=_naming(host, _SMALL, "burst"))
        self._show("burst", BURST)
        seconds, outcomes = await self._at_once([wish] * BURST)
        total = sums.tally(outcomes)
        burst = Burst(
            cell=host.cell,
            host=host.name,
            requests=total.requests,
            placed=total.placed,
            refused=total.refused,
            errors=total.errors,
            conflicts=sums.conflicts(outcomes),
            seconds=round(seconds, 3),
            claims_per_second=_rate(total.placed, seconds),
            claim_ms=spread(sums.claim_ms(outcomes)),
        )
        return outcomes, burst


def _rate(count: int, seconds: float) -> float:
    return round(count / seconds, 2) if seconds > 0 else 0.0


def _naming(host: HostView, resources: dict[str, int], name: str) -> RequestSpec:
    return RequestSpec(
        resources=resources, name=name, project=plan.PROJECT, cell=host.cell, host=host.name
    )


def _whole_of(host: HostView) -> dict[str, int]:
    """Everything of a host that can be had only once: its last unit."""
    return {BAREMETAL: 1} if host.free.get(BAREMETAL) else {"VCPU": host.free["VCPU"]}


def _takes_requests(view: HostView) -> bool:
    return view.status is HostStatus.UP and view.kind is RowKind.HOST


def last_unit(hosts: Sequence[HostView]) -> HostView | None:
    """A host with one free unit: a free bare-metal host, else the one with the fewest free CPUs.

    None when no host has anything free.
    """
    free = [view for view in hosts if view.free.get(BAREMETAL, 0) == 1]
    if free:
        return min(free, key=lambda view: view.name)
    some = [view for view in hosts if view.free.get("VCPU", 0) >= 1]
    return min(some, key=lambda view: (view.free["VCPU"], view.name), default=None)


def roomiest(hosts: Sequence[HostView]) -> HostView | None:
    """The host that can take most of a burst; None when none can take all of it."""
    fitting = [
        view
        for view in hosts
        if _takes_requests(view)
        and all(view.free.get(name, 0) >= amount * BURST for name, amount in _SMALL.items())
    ]
    return max(fitting, key=lambda view: (view.free["VCPU"], view.name), default=None)


def _leaves(group: BaseExceptionGroup[PlacerError]) -> Iterator[PlacerError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
