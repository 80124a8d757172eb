"""An agent and a hub joined by pipes in memory, on rows in memory, with a driver that keeps count.

``World.log`` has what happened in order: ``build:c1``, ``adopt:c1`` (the step is on the row), ...
``World.violations`` has every moment at which an instance was without capacity.
A *gate* stops whoever reaches a named point, e.g. ``before adopt`` or ``after build``.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import TypeVar

import msgspec
from websockets.exceptions import ConnectionClosedError

from placer.agents.agent import Agent
from placer.agents.drivers.base import BuildFailed, DriverSilent, Guest, Life, NoInstance
from placer.agents.journal import Journal
from placer.agents.link import LinkLost
from placer.claims.operations import AgentStep, Operation, Refusal, ReportInventory
from placer.identity import Identity
from placer.model.ids import host_uuid
from placer.model.messages import ClaimOrder, CommandDone, GuestState, HostReport
from placer.model.protocol import VERSIONS
from placer.model.records import ClaimState, HostRow, HostStatus, Inventory, Record
from placer.scheduler.agent_connection import Closed
from placer.scheduler.agent_hub import AgentHub
from placer.scheduler.guest_commands import GuestCommand
from placer.settings import Agent as AgentSettings
from placer.settings import Cell, Cluster, Settings

CELL = "c1"
FAR_FUTURE_MS = 4_000_000_000_000
_CLOSED = object()
T = TypeVar("T")


def report(name: str = "h1", vcpu: int = 8) -> HostReport:
    return HostReport(name=name, inventories={"VCPU": Inventory(total=vcpu)})


def identity(agent: str = "a1", *hosts: str) -> Identity:
    """Who an agent is; it may serve any host unless some are given."""
    return Identity(CELL, agent, hosts or ("*",))


def uuid_of(name: str) -> str:
    return host_uuid(CELL, name)


def claim(
    name: str, state: ClaimState = ClaimState.CLAIMED, *, lease_until_ms: int = FAR_FUTURE_MS
) -> Record:
    return Record(
        id=name,
        provider=uuid_of("h1"),
        amounts={"VCPU": -1},
        consumer=f"instance-{name}",
        request=f"request-{name}",
        state=state,
        lease_until_ms=lease_until_ms if state is ClaimState.CLAIMED else 0,
        image="small",
    )


class Pipe:
    """Both ends of a websocket."""

    def __init__(self) -> None:
        self._to_hub: asyncio.Queue[object] = asyncio.Queue()
        self._to_agent: asyncio.Queue[object] = asyncio.Queue()
        self.closed = False

    def cut(self) -> None:
        """Break the connection; what is under way is lost."""
        self.closed = True
        self._to_hub.put_nowait(_CLOSED)
        self._to_agent.put_nowait(_CLOSED)

    # -- the agent's end

    async def send(self, message: str) -> None:
        if self.closed:
            raise ConnectionClosedError(None, None)
        self._to_hub.put_nowait(message)

    async def recv(self) -> str | bytes:
        message = await self._to_agent.get()
        # What was sent before an orderly close still arrives.
        if not isinstance(message, str):
            raise ConnectionClosedError(None, None)
        return message

    # -- the hub's end

    async def send_text(self, data: str) -> None:
        if self.closed:
            raise Closed
        self._to_agent.put_nowait(data)

    async def receive_text(self) -> str:
        message = await self._to_hub.get()
        if self.closed or not isinstance(message, str):
            raise Closed
        return message

    async def close(self) -> None:
        self.cut()


class Gates:
    """Points at which a test stops the others."""

    def __init__(self) -> None:
        self._shut: dict[str, asyncio.Event] = {}
        self._reached: dict[str, asyncio.Event] = {}

    def shut(self, *points: str) -> None:
        for point in points:
            self._shut[point] = asyncio.Event()
            self._reached[point] = asyncio.Event()

    def open(self, point: str) -> None:
        self._shut.pop(point).set()

    async def reached(self, point: str) -> None:
        async with asyncio.timeout(5):
            await self._reached[point].wait()

    async def pass_(self, point: str) -> None:
        gate = self._shut.get(point)
        if gate is not None:
            self._reached[point].set()
            await gate.wait()


class World:
    """What outlives agents and schedulers: the rows, the hypervisor, and what happened to them."""

    def __init__(self) -> None:
        self.rows: dict[str, HostRow] = {}
        self.running: set[str] = set()
        self.builds: Counter[str] = Counter()
        self.building: Counter[str] = Counter()
        self.building_most = 0
        self.violations: list[str] = []
        self.log: list[str] = []
        self.gates = Gates()

    def put(self, name: str, *records: Record) -> None:
        """A host's row with these claims."""
        host = uuid_of(name)
        operation = ReportInventory(provider=host, name=name, inventories=report(name).inventories)
        self.rows[host] = HostRow(
            host=host,
            name=name,
            rev=1,
            status=HostStatus.UP,
            records=(*operation.offers(), *records),
        )

    def change(self, row: HostRow) -> None:
        """The row becomes ``row``, at the next revision."""
        old = self.rows.get(row.host)
        for record in old.claims if old else ():
            used = record.id in self.running or self.building[record.id] > 0
            if used and row.find(record.id) is None:
                self.violations.append(f"{record.id} was freed while it ran")
        self.rows[row.host] = msgspec.structs.replace(row, rev=old.rev + 1 if old else 1)

    def finish_build(self, order: ClaimOrder) -> None:
        record = self.rows[order.host].find(order.claim)
        if record is None or record.state is ClaimState.CLAIMED:
            self.violations.append(f"{order.claim} was built while its claim was {record}")
        if self.builds[order.claim]:
            self.violations.append(f"{order.claim} was built twice")
        self.builds[order.claim] += 1
        self.running.add(order.claim)
        self.log.append(f"build:{order.claim}")

    def state(self, claim_id: str, host: str = "h1") -> ClaimState | None:
        """State of a claim on its row; None when it is not there."""
        record = self.rows[uuid_of(host)].find(claim_id)
        return record.state if record else None


class FakeWriter:
    """Applies operations to the world's rows at once.

    ``errors`` are raised instead, in turn, ``lost_answers`` after the operation was applied.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.errors: list[Exception] = []
        self.lost_answers: list[Exception] = []
        self.delay_s: Callable[[], float] = lambda: 0.0
        self.fails: Callable[[str, Operation], Exception | None] = lambda host, operation: None
        self.writes = 0

    async def submit(
        self, host: str, operation: Operation, *, deadline_s: float
    ) -> HostRow | Refusal:
        point = _name(operation)
        await self._world.gates.pass_(f"before {point}")
        if self.errors:
            raise self.errors.pop(0)
        error = self.fails(host, operation)
        if error is not None:
            raise error
        await asyncio.sleep(self.delay_s())
        result = self._apply(host, operation)
        await asyncio.sleep(self.delay_s())
        await self._world.gates.pass_(f"after {point}")
        if self.lost_answers:
            raise self.lost_answers.pop(0)
        return result

    async def read_row(self, host: str) -> HostRow | None:
        """The row at one moment of the read."""
        await self._world.gates.pass_("before read")
        if self.errors:
            raise self.errors.pop(0)
        await asyncio.sleep(self.delay_s())
        row = self._world.rows.get(host)
        await asyncio.sleep(self.delay_s())
        return row

    def _apply(self, host: str, operation: Operation) -> HostRow | Refusal:
        row = self._world.rows.get(host)
        if row is None:
            if not isinstance(operation, ReportInventory):
                return Refusal("host_unknown")
            row = HostRow(host=host, name=operation.name, rev=0, status=HostStatus.DOWN, records=())
        result = operation.apply(row, now_ms=1)
        if isinstance(result, Refusal) or result == row:
            return result
        self.writes += 1
        if isinstance(operation, AgentStep):
            self._world.log.append(f"{operation.kind}:{operation.claim}")
        self._world.change(result)
        return self._world.rows[host]


def _name(operation: Operation) -> str:
    return operation.kind.value if isinstance(operation, AgentStep) else type(operation).__name__


class FakeDriver:
    """Instances in the world; claims in ``failing`` cannot be built."""

    def __init__(self, world: World, hosts: list[HostReport]) -> None:
        self._world = world
        self.hosts = hosts
        self.failing: set[str] = set()
        self.build_s: Callable[[], float] = lambda: 0.001
        self.stopped: set[str] = set()
        self.silent = False
        self._orders: dict[str, ClaimOrder] = {}

    async def describe(self) -> list[HostReport]:
        return self.hosts

    async def guests(self) -> list[Guest]:
        if self.silent:
            raise DriverSilent("No answer.")
        lives = {True: Life.STOPPED, False: Life.RUNNING}
        return [
            Guest(self._orders[claim], lives[claim in self.stopped])
            for claim in self._world.running
        ]

    async def build(self, order: ClaimOrder) -> None:
        world = self._world
        world.building[order.claim] += 1
        world.building_most = max(world.building_most, world.building.total())
        try:
            await world.gates.pass_("before build")
            await asyncio.sleep(self.build_s())
            if order.claim in self.failing:
                raise BuildFailed("No.")
            self._orders[order.claim] = order
            world.finish_build(order)
            await world.gates.pass_("after build")
        finally:
            world.building[order.claim] -= 1

    async def destroy(self, order: ClaimOrder) -> None:
        await self._world.gates.pass_("before destroy")
        self._world.running.discard(order.claim)
        self._world.log.append(f"destroy:{order.claim}")
        await self._world.gates.pass_("after destroy")

    async def resize(self, order: ClaimOrder) -> None:
        self._must_run(order.claim)
        if self.silent:
            raise DriverSilent("No answer.")
        self._orders[order.claim] = order

    def amounts(self, claim: str) -> dict[str, int]:
        """What the instance of ``claim`` was given."""
        return self._orders[claim].amounts

    async def start(self, claim: str) -> None:
        self._must_run(claim)
        self.stopped.discard(claim)

    async def stop(self, claim: str) -> None:
        self._must_run(claim)
        self.stopped.add(claim)

    async def reboot(self, claim: str) -> None:
        await self.start(claim)

    async def logs(self, claim: str, lines: int) -> str:
        self._must_run(claim)
        return f"{lines} lines of {claim}"

    def _must_run(self, claim: str) -> None:
        if claim not in self._world.running:
            raise NoInstance("No.")

    def close(self) -> None:
        return


def settings(directory: Path, *schedulers: str, **agent: object) -> Settings:
    """Settings of an agent, with waits of milliseconds."""
    quick: dict[str, object] = {
        "name": "a1",
        "schedulers": schedulers or ("wss://s1",),
        "journal_dir": directory,
        "builds_max": 4,
        "reconcile_every_s": 30.0,
        "reconnect_s": 0.01,
        "reconnect_max_s": 0.05,
        "answer_timeout_s": 2.0,
        "shutdown_grace_s": 2.0,
    }
    cell = Cell(name=CELL, region="r1", datacenter=CELL, contact_points=())
    return Settings(
        process="a1",
        cell=CELL,
        cluster=Cluster(deployment="test", cells=(cell,), claim_deadline_s=0.05),
        agent=AgentSettings(**{**quick, **agent}),  # type: ignore[arg-type]
    )


class Inline(Executor):
    """Does the work where it is asked for: no threads, so that simulated time can be used."""

    def submit(self, fn: Callable[..., T], /, *args: object, **kwargs: object) -> Future[T]:
        future: Future[T] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class Bench:
    """One world, schedulers by URL, and an agent that can be killed and started again."""

    def __init__(self, directory: Path, *hosts: str, **agent: object) -> None:
        self.world = World()
        self.writer = FakeWriter(self.world)
        self.driver = FakeDriver(self.world, [report(name) for name in hosts or ("h1",)])
        self.versions = {"agent": VERSIONS, "scheduler": VERSIONS}
        self.settings = settings(directory, "wss://s1", "wss://s2", **agent)
        self.listed: list[tuple[str, str]] = []
        self.failures: list[tuple[str, str]] = []
        self.states: list[GuestState] = []
        self.dead: set[str] = set()
        self.urls: list[str] = []
        self.pipe = Pipe()
        self.hub = self.new_hub()
        self.agent: Agent
        self._served: set[asyncio.Task[None]] = set()

    def new_hub(self, cell: str = CELL, known: tuple[str, ...] = ()) -> AgentHub:
        """A scheduler's; ``known`` are the schedulers of its cell that agents are told of."""

        async def elsewhere(hosts: set[str], agent: str) -> dict[str, str]:
            return {}

        async def no_other(command: GuestCommand) -> CommandDone | None:
            return None

        return AgentHub(
            process="s1",
            cell=cell,
            read_row=self.writer.read_row,
            writer=self.writer,
            events=self,
            served_elsewhere=elsewhere,
            command_elsewhere=no_other,
            grace_s=1.0,
            deadline_s=1.0,
            versions=self.versions["scheduler"],
            schedulers=lambda: known,
        )

    # -- the hub's events

    async def confirmed(self, record: Record) -> bool:
        return True

    async def built(self, row: HostRow, record: Record) -> None:
        self.listed.append(("built", record.id))

    async def failed(self, row: HostRow, record: Record, why: str) -> None:
        self.failures.append((record.id, why))

    def adopted(self, row: HostRow, record: Record) -> None: ...

    def marked(self, row: HostRow, record: Record) -> None: ...

    async def lapsed(self, row: HostRow, record: Record) -> None: ...

    async def gone(self, row: HostRow, record: Record) -> None:
        self.listed.append(("gone", record.id))

    async def host(self, row: HostRow) -> None: ...

    async def refused(self, row: HostRow, agent: str, why: str) -> None: ...

    async def turned_away(self, who: str, why: str) -> None: ...

    async def guest(self, row: HostRow, state: GuestState) -> None:
        self.states.append(state)

    @contextlib.asynccontextmanager
    async def connect(self, url: str, timeout_s: float) -> AsyncIterator[Pipe]:
        self.urls.append(url)
        if any(name in url for name in self.dead):
            raise LinkLost("refused")
        self.pipe = Pipe()
        task = asyncio.create_task(self.hub.serve(self.pipe, identity()))
        self._served.add(task)
        task.add_done_callback(self._served.discard)
        try:
            yield self.pipe
        finally:
            self.pipe.cut()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Event]:
        """The agent at work; killed, as if by SIGKILL, at the end. Yields its stop event."""
        stop = asyncio.Event()
        assert self.settings.agent is not None
        journal = Journal(self.settings.agent.journal_dir, executor=Inline())
        self.agent = Agent(
            self.settings,
            self.driver,
            journal,
            self.connect,
            rng=random.Random(1),
            versions=self.versions["agent"],
        )
        task = asyncio.create_task(self.agent.run(stop))
        try:
            yield stop
            if stop.is_set():
                await task
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            journal.close()
            for served in list(self._served):
                await asyncio.wait({served}, timeout=1)


async def until(condition: Callable[[], bool], why: str, within_s: float = 5.0) -> None:
    """Wait for ``condition``; fails with ``why``."""
    for _ in range(int(within_s / 0.005)):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"not within {within_s:g} s: {why}")


def lose_journal(directory: Path) -> None:
    """The disk was replaced, or somebody tidied up."""
    for path in directory.glob("journal*"):
        path.unlink()
