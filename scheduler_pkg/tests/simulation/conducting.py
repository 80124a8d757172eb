"""Scheduler processes, an API server, hosts with agents: requests from their POST to their end.

The code is that of production: ``Intake``, ``Conductor``, ``WorkScan``, ``Lifecycle`` and all they
call. Simulated are the store (``store.py``), the calls between processes, and the agents, which do
what ``agents/agent.py`` does with a claim, each step through some living process.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import msgspec

from placer.api.native.intake import Intake
from placer.claims.operations import AgentStep, Operation, Refusal, ReportInventory, ended
from placer.claims.protocol import HostWriter
from placer.claims.recovery import Recovery
from placer.claims.shares import Shares
from placer.claims.writeset import WriteSets
from placer.errors import Overloaded, PlacerError, StoreUnavailable
from placer.history import HistoryWriter
from placer.model import ids
from placer.model.groups import ServerGroup, unknown_group
from placer.model.hint import BucketHint
from placer.model.instance import Instance
from placer.model.messages import StepKind
from placer.model.records import ClaimState, HostRow, Inventory, Record, RowKind
from placer.model.request import Request, RequestSpec, Stage
from placer.model.work import Work
from placer.scheduler.addresses import Addresses
from placer.scheduler.background import Background
from placer.scheduler.claimer import Claimer
from placer.scheduler.conductor import Conductor
from placer.scheduler.holdings import Holdings
from placer.scheduler.lifecycle import Lifecycle
from placer.scheduler.listing import Listing, LostInstance
from placer.scheduler.moves_shown import MovesShown, moving_since_ms
from placer.scheduler.moving import Moving
from placer.scheduler.placing import Placing
from placer.scheduler.quota_list import QuotaList
from placer.scheduler.quota_rows import QuotaRows
from placer.scheduler.quotas import Quotas
from placer.scheduler.releasing import Releasing
from placer.scheduler.searching import Searching
from placer.scheduler.worklog import Opened, RequestLog
from placer.scheduler.workscan import WorkScan
from placer.settings import Cell, Cluster, Scheduler, Settings

from ..unit.lists import MemoryLists
from ..unit.named import MemoryQuotas
from .store import SimStore, SimStores

CELLS = ("c1", "c2")

#: How long a claim waits for its agent.
LEASE_S = 6.0

#: The process whose code is running, for fail points.
running: contextvars.ContextVar[Process | None] = contextvars.ContextVar("running", default=None)


def now_us() -> int:
    return int(asyncio.get_running_loop().time() * 1e6) + 1


def now_ms() -> int:
    return now_us() // 1000


def settings(process: str = "p0", cell: str = "c1", **scheduler: object) -> Settings:
    return Settings(
        process=process,
        cell=cell,
        cluster=Cluster(
            deployment="simulated",
            cells=tuple(
                Cell(name, f"r-{name}", name, (), host_buckets=1, schedulers=tuple(urls(name)))
                for name in CELLS
            ),
            claim_deadline_s=1.0,
            claim_lease_s=LEASE_S,
            writeset_timeout_s=0.5,
            move_deadline_s=20.0,
        ),
        service_token_file=Path("unused"),
        scheduler=Scheduler(settle_timeout_s=1.0, **scheduler),  # type: ignore[arg-type]
    )


def urls(cell: str) -> list[str]:
    return [f"http://{cell}-{n}" for n in range(2)]


class Whereabouts:
    """A name service that knows the addresses of every cell, but for those it did not see yet."""

    def __init__(self) -> None:
        self.unseen: set[str] = set()

    def schedulers(self, cell: str) -> list[str]:
        return [url for url in urls(cell) if url not in self.unseen]

    async def look(self) -> None:
        self.unseen.clear()


class CellSim(SimStore):
    """A simulated cell with hints and an index of requests, which no rule depends on."""

    async def read_hints(self) -> list[BucketHint]:
        return []

    async def write_hint(self, hint: BucketHint, at_us: int) -> None: ...

    async def note_request(self, request: Request) -> None: ...

    async def page_requests(
        self, project: str, *, limit: int, before: tuple[int, str] | None = None
    ) -> list[tuple[int, str]]:
        return []


class Own:
    """The writer of a process's own cell."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def submit(
        self, host: str, operation: Operation, *, deadline_s: float
    ) -> HostRow | Refusal:
        writer = await self._process.writer(self._process.cell)
        return await writer.submit(host, operation, deadline_s=deadline_s)


class Process:
    """One scheduler process: everything that ``scheduler/process.py`` puts together, but the hub."""

    def __init__(self, world: World, name: str, url: str, cell: str) -> None:
        self.world = world
        self.name, self.url, self.cell = name, url, cell
        self.dead = False
        #: Works on, but does not answer: taken for dead by its peers.
        self.silent = False
        self._writers: dict[str, HostWriter] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._rng = rng = random.Random(world.rng.random())
        own = settings(name, cell)
        stores = SimStores(*world.stores.values())
        history = HistoryWriter(None, name)
        self.background = Background(1000)
        self.shares = Shares(self.writer, 1.0)
        self.requests = RequestLog(name, stores, 1.0, now_ms=now_ms)
        self.sets = WriteSets(stores, self.writer, own.scheduler, history, rng=rng, clock_us=now_us)
        self.recovery = Recovery(
            stores,
            self.writer,
            own.cluster,
            history,
            tell=self._lapsed,
            named=self._named,
            clock_ms=now_ms,
        )
        self.quota_list = QuotaList(world.quotas, [known.name for known in own.cluster.cells])
        for quota in world.quotas.values.values():
            self.quota_list.put(quota)  # a process reads the list before it serves
        self.releasing = Releasing(
            self.requests,
            self.writer,
            self.background,
            world.notified,
            self.shares,
            1.0,
        )
        self.quota_rows = QuotaRows(
            own,
            stores,
            self.quota_list,
            self.writer,
            self.recovery,
            Holdings(world.lists, now_ms=now_ms).of,
            rng=random.Random(name),
        )
        self.quotas = Quotas(own, self.quota_list, self.quota_rows, self.writer, rng=rng)
        placing = Placing(
            own,
            stores,
            Claimer(own, stores, self.writer, self.sets, self.quotas, now_ms=now_ms),
            Searching(own, stores, rng=rng, now_ms=now_ms),
            Addresses(own, stores, self.writer, self.background),
            self.quotas,
            world.find_group,
            self.recovery.sweep_row,
            rng=rng,
        )
        moving = Moving(
            own,
            stores,
            self.requests,
            placing,
            self.releasing,
            self.writer,
            history,
            world.notified,
            world.show_move,
            world.show_lost,
            self.quotas,
        )
        self.conductor = Conductor(
            own, self.requests, placing, self.releasing, moving, history, world.notified, rng=rng
        )
        self.listing = Listing(own, world.lists, self.background, now_ms=now_ms)
        self.shown = MovesShown(
            world.stores[cell].read_row, Own(self), self.requests, self.listing, 1.0
        )
        self.lifecycle = Lifecycle(
            own,
            self.requests,
            self.releasing,
            moving,
            self.listing,
            self.shown,
            self.writer,
            self.background,
            self._wake,
        )
        self.scan = WorkScan(
            own,
            world.stores[cell],
            stores,
            self.requests,
            self.conductor,
            self._worked_on,
            world.notified,
            rng=rng,
            sharing=lambda: 1,
        )
        self.run(self.scan.run())
        self.run(self.quota_rows.run())

    async def writer(self, cell: str) -> HostWriter:
        if cell not in self._writers:
            self._writers[cell] = HostWriter(
                self.world.stores[cell],
                Scheduler(),
                HistoryWriter(None, self.name),
                rng=self._rng,
                clock_us=now_us,
                left=self._left,
            )
        return self._writers[cell]

    def _left(self, record: Record) -> None:
        if not self.dead:
            token = running.set(self)
            self.shares.left(record)
            running.reset(token)

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do ``work`` in this process; it ends with it."""
        token = running.set(self)
        task = asyncio.get_running_loop().create_task(work)
        running.reset(token)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def die(self) -> None:
        """Everything it does stops where it is."""
        self.dead = True
        parts = [
            self._tasks,
            self.conductor._tasks,
            self.background._tasks,
            self.shares._under_way.values(),
            self.sets._tasks,
            self.listing._tasks,
            *(writer._tasks for writer in self._writers.values()),
        ]
        for task in sorted((t for tasks in parts for t in tasks), key=lambda t: t.get_name()):
            task.cancel()

    def _wake(self, opened: Opened) -> None:
        if ids.cell_of(opened.request.id) != self.cell:
            return  # the call was lost: the scan of its home finds it
        try:
            self.conductor.submit(opened.request, opened.work)
        except Overloaded:
            return

    async def _lapsed(self, row: HostRow, record: Record) -> None:
        await self.lifecycle.lapsed(row, record)

    async def _named(self, record: Record) -> bool:
        return await self.lifecycle.named(record)

    async def _worked_on(self, requests: list[str]) -> set[str]:
        await asyncio.sleep(0.01)
        return {
            found
            for peer in self.world.processes.values()
            if peer is not self and not peer.dead and not peer.silent and peer.cell == self.cell
            for found in peer.conductor.working(requests)
        }


class World:
    """Two cells, two processes each, one API server of c1, and what the agents run."""

    def __init__(self, seed: int, *, unknown: float = 0.0) -> None:
        self.rng = random.Random(seed)
        self._losing = random.Random(f"losing {seed}")
        self.stores = {cell: CellSim(self.rng, unknown=unknown, cell=cell) for cell in CELLS}
        self.cells = SimStores(*self.stores.values())
        self.processes: dict[str, Process] = {}
        self.born = 0
        self.groups: dict[str, ServerGroup] = {}
        self.quotas = MemoryQuotas()
        self.lists = MemoryLists()
        #: Claims whose instance exists, and what was wrong about any of them.
        self.running: set[str] = set()
        self.wrong: list[str] = []
        self.built_for: dict[str, str] = {}
        self.failing: Callable[[str], bool] = lambda host: False
        self.build_s: Callable[[], float] = lambda: 0.1
        self.adopt_s: Callable[[], float] = lambda: 0.0
        self.busy: set[str] = set()
        self.said: set[str] = set()
        self.agents_away: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        transport = httpx.MockTransport(self._call)
        self.whereabouts = Whereabouts()
        self.intake = Intake(
            settings(),
            self.cells,
            httpx.AsyncClient(transport=transport),
            1000,
            self.whereabouts,
            rng=random.Random(self.rng.random()),
            clock_us=now_us,
        )

    # -- processes

    def start(self, cell: str, number: int) -> Process:
        """A process at one of its cell's two addresses, in the place of the one that was there."""
        self.born += 1
        url = urls(cell)[number]
        process = Process(self, f"{cell}-p{self.born}", url, cell)
        self.processes[url] = process
        return process

    def dies_twice_at(self, point: str) -> Callable[[str], None]:
        """For ``failpoints.on_reach``: the first two processes to come there die, and are back in 3 s."""
        deaths = 0

        def reached(name: str) -> None:
            nonlocal deaths
            process = running.get()
            if name == point and deaths < 2 and process is not None and not process.dead:
                deaths += 1
                process.die()
                number = 0 if process.url.endswith("-0") else 1
                asyncio.get_running_loop().call_later(3.0, self.start, process.cell, number)

        return reached

    def start_all(self) -> None:
        for cell in CELLS:
            for number in range(2):
                self.start(cell, number)

    def alive(self, cell: str) -> Process | None:
        found = [p for p in self.processes.values() if p.cell == cell and not p.dead]
        return self.rng.choice(found) if found else None

    async def _call(self, request: httpx.Request) -> httpx.Response:
        process = self.processes.get(f"http://{request.url.host}")
        await asyncio.sleep(0.002)
        if process is None or process.dead:
            raise httpx.ConnectError("nobody there", request=request)
        asked = msgspec.json.decode(request.content, type=Request)
        try:
            token = running.set(process)
            answer = process.conductor.schedule(asked)
            done = await asyncio.wait_for(answer, 10.0)
        except Overloaded:
            return httpx.Response(503, json={"errors": [{"code": Overloaded.code}]})
        except (TimeoutError, asyncio.CancelledError) as error:
            raise httpx.ReadTimeout("no answer", request=request) from error
        finally:
            running.reset(token)
        if process.dead:
            raise httpx.ReadError("it died", request=request)
        return httpx.Response(200, content=msgspec.json.encode(done))

    # -- what processes need of the world

    async def find_group(self, group_id: str) -> ServerGroup:
        if group_id not in self.groups:
            raise unknown_group(group_id)
        return self.groups[group_id]

    @property
    def instances(self) -> dict[str, Instance]:
        """Where each instance is, as the list has it."""
        return {name: row["place"][1] for name, row in self.lists.by_id.items() if "place" in row}

    def notified(self, cell: str, row: HostRow, record: Record) -> None:
        if self.rng.random() < 0.8 or self.stores[cell].quiet:
            self.carry(cell, row.host, record.id, confirmed=True)

    async def show_move(self, cell: str, host: str, claim: str) -> None:
        """By a process of the claim's cell; a call of four is lost, as its process may be."""
        process = self.alive(cell)
        if process is None or (self._losing.random() < 0.25 and not self.stores[cell].quiet):
            return
        try:
            await process.shown.look(host, claim)
        except PlacerError:
            return

    async def show_lost(self, lost: LostInstance) -> bool:
        """As ``show_move``."""
        process = self.alive(lost.placement.cell)
        if process is None or (self._losing.random() < 0.25 and not self.stores["c1"].quiet):
            return False
        await process.listing.lost(lost)
        return True

    # -- hosts and their agents

    async def host(self, name: str, vcpu: int = 4, cell: str = "c1") -> str:
        """A host that reported itself; its view is there."""
        host = ids.host_uuid(cell, name)
        process = self.alive(cell)
        assert process is not None
        writer = await process.writer(cell)
        report = ReportInventory(host, name, {"VCPU": Inventory(total=vcpu)})
        await writer.submit(host, report, deadline_s=5)
        await asyncio.sleep(1)
        return host

    async def agents(self) -> None:
        """Every agent reports now and then, and hears of all claims of its hosts; for ever."""
        while True:
            await asyncio.sleep(1.0)
            for cell, store in self.stores.items():
                for row in list(store.rows.values()):
                    for record in row.claims if row.kind is RowKind.HOST else ():
                        self.carry(cell, row.host, record.id, confirmed=False)

    async def sweeps(self) -> None:
        """Each row is swept every few seconds, by some process."""
        while True:
            await asyncio.sleep(2.0)
            for cell, store in self.stores.items():
                process = self.alive(cell)
                for row in list(store.rows.values()) if process else []:
                    assert process is not None
                    process.run(self._sweep(process, cell, row))

    async def _sweep(self, process: Process, cell: str, row: HostRow) -> None:
        try:
            await process.recovery.sweep_row(cell, row.host)
        except PlacerError:
            return

    def carry(self, cell: str, host: str, claim: str, *, confirmed: bool) -> None:
        """Have the host's agent see to a claim, unless it does already."""
        process = self.alive(cell)
        if claim in self.busy or process is None or host in self.agents_away:
            return
        self.busy.add(claim)
        task = process.run(self._carry(process, cell, host, claim, confirmed))
        task.add_done_callback(lambda _: self.busy.discard(claim))

    async def _carry(
        self, process: Process, cell: str, host: str, claim: str, confirmed: bool
    ) -> None:
        try:
            await self._bring_on(process, cell, host, claim, confirmed)
        except PlacerError:
            return  # the next report brings it again

    async def _bring_on(
        self, process: Process, cell: str, host: str, claim: str, confirmed: bool
    ) -> None:
        row = self.stores[cell].rows[host]
        record = row.find(claim)
        if record is None or record.tag or ended(record):
            return
        if moving_since_ms(record):
            process.lifecycle.marked(row, record)
        if record.state is ClaimState.CLAIMED:
            if not (confirmed or await process.lifecycle.confirmed(record)):
                return
            await asyncio.sleep(self.adopt_s())
            adopted = await self._step(process, cell, host, claim, StepKind.ADOPT)
            if not isinstance(adopted, HostRow):
                return
        if record.state in (ClaimState.CLAIMED, ClaimState.BUILDING):
            await self._build(process, cell, host, claim)
        elif record.state is ClaimState.BUILT and claim not in self.said:
            await process.lifecycle.built(row, record)
            self.said.add(claim)
        elif record.state is ClaimState.DELETING:
            await self._destroy(process, cell, host, claim)

    async def _build(self, process: Process, cell: str, host: str, claim: str) -> None:
        await asyncio.sleep(self.build_s())
        record = self.stores[cell].rows[host].find(claim)
        if record is None:
            self.wrong.append(f"{claim} is built without capacity")
        if self.failing(host):
            row = await self._step(process, cell, host, claim, StepKind.DELETING)
            found = row.find(claim) if isinstance(row, HostRow) else None
            if isinstance(row, HostRow) and found is not None:
                await process.lifecycle.failed(row, found, "it did not boot")
                await self._destroy(process, cell, host, claim)
            return
        self._runs(claim, record)
        row = await self._step(process, cell, host, claim, StepKind.BUILT)
        found = row.find(claim) if isinstance(row, HostRow) else None
        if isinstance(row, HostRow) and found is not None and found.state is ClaimState.BUILT:
            await process.lifecycle.built(row, found)
            self.said.add(claim)

    def _runs(self, claim: str, record: Record | None) -> None:
        """The instance is there: one of as many as its request wants, at any moment."""
        self.running.add(claim)
        if record is not None:
            self.built_for[claim] = record.request
            request = self.stores[ids.cell_of(record.request)].requests[record.request]
            running = [one for one in self.running if self.built_for.get(one) == request.id]
            if len(running) > request.spec.count:
                self.wrong.append(f"{running} run at once for {request.id}")

    async def _destroy(self, process: Process, cell: str, host: str, claim: str) -> None:
        self.running.discard(claim)
        row = self.stores[cell].rows[host]
        record = row.find(claim)
        if record is not None:
            await process.lifecycle.gone(row, record)
            await self._step(process, cell, host, claim, StepKind.GONE)

    async def _step(
        self, process: Process, cell: str, host: str, claim: str, kind: StepKind
    ) -> HostRow | Refusal:
        writer = await process.writer(cell)
        return await writer.submit(host, AgentStep(claim, kind), deadline_s=1.0)

    # -- clients

    async def ask(self, wait_s: float = 0.0, **spec: object) -> Request:
        """POST a request and perhaps wait for it; raises what the API would answer."""
        fields = {"resources": {"VCPU": 1}, **spec}
        accepted = await self.intake.accept(RequestSpec(**fields))  # type: ignore[arg-type]
        return await self.intake.settle(accepted, wait_s, _DECIDED)

    def stored(self, request: Request) -> Request:
        return self.stores[request.home_cell].requests[request.id]

    async def until(self, done: Callable[[], bool], within_s: float, what: str) -> None:
        """Wait in simulated time; fails after ``within_s``."""
        end = asyncio.get_running_loop().time() + within_s
        while not done():
            assert asyncio.get_running_loop().time() < end, f"not within {within_s} s: {what}"
            await asyncio.sleep(0.05)

    # -- what must be true once nothing is under way

    def unsettled(self) -> list[str]:
        """What is not as it should be in the end."""
        found = list(self.wrong)
        named: dict[str, Request] = {}
        for store in self.stores.values():
            for request in store.requests.values():
                named.update({p.claim: request for p in request.placements})
                if request.stage not in _ENDS:
                    found.append(f"{request.id} is {request.stage}")
                if not all(p.built for p in request.placements):
                    found.append(f"{request.id} names a claim that is not built")
                wanted = 0 if request.spec.partial else request.spec.count - request.ended
                if request.stage is Stage.BUILT and len(request.placements) < wanted:
                    found.append(f"{request.id} has {len(request.placements)} of {wanted}")
            found += [f"work row of {work.id} is left" for work in store.work.values()]
        claims = {
            record.id: record
            for store in self.stores.values()
            for row in store.rows.values()
            for record in row.claims
            if not record.data.get("anchor")
        }
        anchored = {
            anchor
            for store in self.stores.values()
            for row in store.rows.values()
            for record in row.claims
            if (anchor := record.data.get("anchor"))
        }
        found += [f"a share of {claim} is left" for claim in anchored - claims.keys()]
        found += [f"{claim} is named by no request" for claim in claims.keys() - named.keys()]
        found += [f"{claim} is named and on no row" for claim in named.keys() - claims.keys()]
        found += [f"{claim} runs without a claim" for claim in self.running - claims.keys()]
        return found


_DECIDED = frozenset(stage for stage in Stage if stage.is_final)
_ENDS = frozenset({Stage.BUILT, Stage.REFUSED, Stage.FAILED, Stage.CANCELLED})
#: What a client does not mind hearing.
REFUSALS = (PlacerError, StoreUnavailable)


def work_of(request: Request) -> Work:
    return Work(request.id, request.rev, request.updated_ms)
