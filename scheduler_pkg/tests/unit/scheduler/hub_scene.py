"""A hub on rows in memory, and the agent's end of its connections, a message at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine

import msgspec

from placer.errors import StoreUnavailable
from placer.model.messages import (
    CommandDone,
    FromAgent,
    GuestState,
    Hello,
    HostReport,
    Orders,
    Report,
    Reported,
    Step,
    StepDone,
    StepKind,
    ToAgent,
    Welcome,
)
from placer.model.records import ClaimState, HostRow, HostStatus, Record
from placer.scheduler.agent_hub import AgentHub
from placer.scheduler.guest_commands import GuestCommand

from ...simulation.clock import run_simulated
from ..agents.fakes import CELL, FakeWriter, Pipe, World, identity, report, uuid_of

GRACE_S = 5.0


class ScriptedAgent:
    """The agent's end of a pipe, a message at a time."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe

    async def say(self, message: FromAgent) -> None:
        await self.pipe.send(msgspec.json.encode(message).decode())

    async def hear(self) -> ToAgent:
        async with asyncio.timeout(60):
            return msgspec.json.decode(await self.pipe.recv(), type=ToAgent)  # type: ignore[no-any-return]

    async def ask(self, message: FromAgent) -> ToAgent:
        await self.say(message)
        return await self.hear()

    async def report(self, *hosts: HostReport) -> Orders:
        """Report hosts; returns the listing, which must follow Reported at once."""
        reported = await self.ask(Report(seq=1, hosts=hosts or (report(),)))
        assert isinstance(reported, Reported), reported
        listing = await self.hear()
        assert isinstance(listing, Orders)
        return listing

    async def step(self, kind: StepKind, claim_id: str = "c1", host: str = "h1") -> StepDone:
        why = "no disk" if kind is StepKind.DELETING else ""
        step = Step(seq=2, host=uuid_of(host), claim=claim_id, kind=kind, why=why)
        done = await self.ask(step)
        assert isinstance(done, StepDone)
        return done


class Scene:
    """A hub on rows in memory, with what it asks of others under the test's control."""

    def __init__(self) -> None:
        self.world = World()
        self.writer = FakeWriter(self.world)
        self.told: list[tuple[str, str, ClaimState | None]] = []
        self.tell_errors: list[Exception] = []
        self.unconfirmed: set[str] = set()
        self.elsewhere: set[str] = set()
        self.others_agent = "a1"
        self.peer_errors: list[Exception] = []
        self.peers_asked = 0
        self.guests: list[GuestState] = []
        #: Hosts that lists were told of, and what they are.
        self.hosts: list[tuple[str, str]] = []
        #: Hosts that an agent was refused, and the agent.
        self.refused_agents: list[tuple[str, str]] = []
        #: Who was told to be no agent of the cell, and why.
        self.turned: list[tuple[str, str]] = []
        self.others_answer: CommandDone | None = None
        self.hub = AgentHub(
            process="s1",
            cell=CELL,
            read_row=self.writer.read_row,
            writer=self.writer,
            events=self,
            served_elsewhere=self._served_elsewhere,
            command_elsewhere=self._command_elsewhere,
            grace_s=GRACE_S,
            deadline_s=1.0,
        )

    async def built(self, row: HostRow, record: Record) -> None:
        self._tell("built", row, record)

    async def failed(self, row: HostRow, record: Record, why: str) -> None:
        self._tell(f"failed: {why}", row, record)

    async def lapsed(self, row: HostRow, record: Record) -> None:
        self._tell("lapsed", row, record)

    async def gone(self, row: HostRow, record: Record) -> None:
        self._tell("gone", row, record)

    def _tell(self, what: str, row: HostRow, record: Record) -> None:
        if self.tell_errors:
            raise self.tell_errors.pop(0)
        assert row.find(record.id) == record
        self.told.append((what, record.id, record.state))

    async def confirmed(self, record: Record) -> bool:
        if record.id == "of-a-silent-cell":
            await asyncio.sleep(3600)
        if record.id == "of-a-cut-off-cell":
            raise StoreUnavailable("cut off")
        return record.id not in self.unconfirmed

    def adopted(self, row: HostRow, record: Record) -> None: ...

    def marked(self, row: HostRow, record: Record) -> None: ...

    async def host(self, row: HostRow) -> None:
        if self.tell_errors:
            raise self.tell_errors.pop(0)
        self.hosts.append((row.name, row.status.value))

    async def refused(self, row: HostRow, agent: str, why: str) -> None:
        if self.tell_errors:
            raise self.tell_errors.pop(0)
        self.refused_agents.append((row.name, agent))

    async def turned_away(self, who: str, why: str) -> None:
        if self.tell_errors:
            raise self.tell_errors.pop(0)
        self.turned.append((who, why))

    async def guest(self, row: HostRow, state: GuestState) -> None:
        if self.tell_errors:
            raise self.tell_errors.pop(0)
        assert row.find(state.claim) is not None
        self.guests.append(state)

    async def _command_elsewhere(self, command: GuestCommand) -> CommandDone | None:
        return self.others_answer

    async def _served_elsewhere(self, hosts: set[str], agent: str) -> dict[str, str]:
        self.peers_asked += 1
        if self.peer_errors:
            raise self.peer_errors.pop(0)
        return dict.fromkeys(self.elsewhere & hosts, self.others_agent)

    def status(self, name: str = "h1") -> HostStatus:
        return self.world.rows[uuid_of(name)].status

    @contextlib.asynccontextmanager
    async def connected(self, name: str = "a1", *hosts: str) -> AsyncIterator[ScriptedAgent]:
        """A connection on which nothing has been said; broken at the end."""
        pipe = Pipe()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.hub.serve(pipe, identity(name, *hosts)))
            try:
                yield ScriptedAgent(pipe)
            finally:
                pipe.cut()

    @contextlib.asynccontextmanager
    async def agent(self, name: str = "a1", *hosts: str) -> AsyncIterator[ScriptedAgent]:
        """A connection past its greeting."""
        async with self.connected(name, *hosts) as agent:
            assert await agent.ask(Hello(agent=name, cell=CELL)) == Welcome(scheduler="s1")
            yield agent

    @contextlib.asynccontextmanager
    async def judging(self) -> AsyncIterator[None]:
        """The hub's own loop at work."""
        task = asyncio.create_task(self.hub.run())
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def simulated(story: Coroutine[object, object, None]) -> None:
    run_simulated(story)
