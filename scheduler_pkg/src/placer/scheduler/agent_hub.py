"""The scheduler's side of the agents' connections: who serves which host, and what they are told.

Every agent keeps one connection to one scheduler process of its cell. An open connection is the
whole proof of life: nothing is polled and the database is written only when a host comes, changes or
leaves; what becomes of lost hosts is in ``lost_hosts.py``. Two views are kept apart: ``_owners`` (who
is connected here, exact) and the row's status (what claimers see, perhaps late).

A report that says what the row says already costs one plain read. A serial read would be of no more
use: what was acknowledged is on a quorum, and a Paxos round writes on every replica, for each host
and report. So hosts of which nothing is new write nothing, however many they are.

Delivery is at least once. Orders may be dropped (full outbox, broken connection) and repeated; an
agent gets every claim of its hosts after each report.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import structlog

from placer import metrics
from placer.claims.expiry import Expiry
from placer.claims.operations import (
    Operation,
    Refusal,
    ReportInventory,
    SetStatus,
    ended,
)
from placer.diagnosis import Diagnosis
from placer.errors import Conflict, NoAgent, PlacerError
from placer.identity import Identity
from placer.model import reports
from placer.model.ids import host_uuid
from placer.model.messages import (
    ClaimOrder,
    CommandDone,
    Diagnosed,
    FromAgent,
    Hello,
    HostReport,
    Orders,
    Report,
    Reported,
    States,
    Step,
    StepDone,
    StepKind,
    Welcome,
)
from placer.model.protocol import VERSIONS, Versions
from placer.model.records import ClaimState, HostRow, HostStatus, Record
from placer.scheduler.agent_connection import (
    SILENT_S,
    Closed,
    Connection,
    RefuseAgent,
    Transport,
    part,
    receive_from,
)
from placer.scheduler.agent_diagnoses import AgentDiagnoses, AgentSeen, seen
from placer.scheduler.agent_events import (
    CommandElsewhere,
    Events,
    ReadRow,
    ServedElsewhere,
    Writer,
)
from placer.scheduler.agent_steps import Steps
from placer.scheduler.guest_commands import GuestCommand, OpenCommands
from placer.scheduler.lost_hosts import LostHosts
from placer.scheduler.moves_shown import moving_since_ms
from placer.scheduler.refused_agents import RefusedAgents
from placer.scheduler.roll_call import ROLL_SILENT_S

log = structlog.get_logger(__name__)

NOT_YOUR_HOST: Final = "not_your_host"

#: Rows of reports written at once by this process.
_REPORT_WRITES_MAX: Final = 32
_REPORT_HOSTS_MAX: Final = 1024
_HELLO_TIMEOUT_S: Final = 10.0
#: States of one message.
_STATES_MAX: Final = 4096


class AgentHub:
    """All agents connected to this process.

    ``serve`` runs for each connection, ``run`` once for the process. ``events`` hear of what agents
    did. A claim of unknown outcome may be on a row although its requester was told that there is
    none: such a claim must end with its lease, so ``claimed`` entries are listed only if confirmed.
    (``deliver`` and ``push`` are for claims known to be confirmed.) ``deadline_s`` bounds one write.
    """

    def __init__(
        self,
        *,
        process: str,
        cell: str,
        read_row: ReadRow,
        writer: Writer,
        events: Events,
        served_elsewhere: ServedElsewhere,
        command_elsewhere: CommandElsewhere,
        grace_s: float,
        deadline_s: float,
        versions: Versions = VERSIONS,
        schedulers: Callable[[], tuple[str, ...]] = tuple,
    ) -> None:
        """``schedulers``: base URLs of the cell's schedulers, for agents to know."""
        self._schedulers = schedulers
        self._process = process
        self._cell = cell
        self._read_row = read_row
        self._writer = writer
        self._events = events
        self._served_elsewhere = served_elsewhere
        self._command_elsewhere = command_elsewhere
        self._deadline_s = deadline_s
        self._expiry = Expiry(events.lapsed, deadline_s)
        self._versions = versions
        self._steps = Steps(writer, events, deadline_s=deadline_s)
        self._commands = OpenCommands()
        self._diagnoses = AgentDiagnoses()
        self._lost = LostHosts(
            self.serves, served_elsewhere, self._mark_down, grace_s=grace_s, deadline_s=deadline_s
        )
        self._connections: dict[str, Connection] = {}
        self._owners: dict[str, Connection] = {}
        # Hosts that lists may show as they were: no more than the cell's.
        self._untold: set[str] = set()
        self._report_slots = asyncio.Semaphore(_REPORT_WRITES_MAX)
        self._refused = RefusedAgents(
            cell=cell, read_row=read_row, events=events, deadline_s=deadline_s
        )

    # -- for the rest of the scheduler

    @property
    def agents(self) -> int:
        """Connected agents."""
        return len(self._connections)

    @property
    def hosts(self) -> int:
        """Hosts served by this process."""
        return len(self._owners)

    def agents_seen(self) -> list[AgentSeen]:
        """The connected agents by name; of very many only some."""
        return seen(self._connections.values())

    async def diagnose(self, agent: str) -> Diagnosis:
        """What a connected agent says of itself. Raises NoAgent, AgentSilent, Overloaded."""
        connection = self._connections.get(agent)
        if connection is None:
            raise NoAgent(
                f"No agent called {agent[:100]!r} is connected here.",
                remedy="The views of the schedulers' diagnoses name those that are.",
            )
        return await self._diagnoses.ask(connection)

    def serves(self, hosts: Iterable[str]) -> set[str]:
        """Those of ``hosts`` (uuids) whose agent is connected to this process."""
        return {host for host in hosts if host in self._owners}

    def served_for(self, hosts: Mapping[str, str]) -> dict[str, str]:
        """The agents that serve some of ``hosts`` here, for a process that they are reported to by the
        agent beside each, if any.

        An agent has one connection. If it is that agent itself, what is open here is a connection
        whose end was not noticed yet: it is given up.
        """
        for host, agent in hosts.items():
            stale = self._connections.get(agent)
            if stale is not None and host in stale.hosts:
                stale.refuse(f"Agent {agent} reports to another scheduler now.")
                self._forget(stale)
        return {host: self._owners[host].agent for host in hosts if host in self._owners}

    def deliver(self, host: str, record: Record) -> bool:
        """Order one claim; False if its agent is not connected here or has no room for it."""
        connection = self._owners.get(host)
        return connection is not None and connection.offer(Orders(claims=(_order(host, record),)))

    def push(self, row: HostRow) -> bool:
        """Order all claims of ``row`` that wait for their agent; False as in ``deliver``."""
        connection = self._owners.get(row.host)
        if connection is None:
            return False
        waiting = (ClaimState.CLAIMED, ClaimState.DELETING)
        orders = tuple(
            _order(row.host, r) for r in row.claims if r.state in waiting and not ended(r)
        )
        return not orders or connection.offer(Orders(claims=orders))

    def suspect(self, hosts: Iterable[str]) -> None:
        """Mark ``hosts``, lost with another process, down after the grace unless somebody serves
        them then."""
        self._lost.suspect(hosts, ROLL_SILENT_S)

    async def command(self, command: GuestCommand) -> CommandDone:
        """Have the agent of a host do something to the instance of a claim: its answer.

        Any process of the host's cell can be asked. Safe to repeat. Raises NoAgent when no agent
        serves the host, AgentSilent when there was no answer in time, Overloaded at a bound.
        """
        done = await self.command_here(command) or await self._command_elsewhere(command)
        if done is None:
            raise NoAgent(
                f"No agent serves host {command.host} now.",
                remedy="Ask again when the host is up; placer host list shows it.",
            )
        return done

    async def command_here(self, command: GuestCommand) -> CommandDone | None:
        """As ``command``, if this process serves the host; else None and nothing was done."""
        connection = self._owners.get(command.host)
        return None if connection is None else await self._commands.give(connection, command)

    async def run(self) -> None:
        """Mark lost hosts down, for ever. To be run once a process, in its task group."""
        await self._lost.run()

    # -- one connection

    async def turned_away(self, peer: str, why: str, stage: str) -> None:
        """Somebody at the address ``peer`` had no certificate that makes it an agent; never raises."""
        await self._refused.tell(peer, why, stage=stage)

    async def serve(self, transport: Transport, identity: Identity) -> None:
        """Talk to one agent until the connection breaks; never raises for that.

        ``identity`` is who it is, as its certificate has it: it speaks for no other.
        """
        try:
            connection = await self._greet(transport, identity)
        except RefuseAgent as refusal:
            await part(transport, str(refusal))
            await self._refused.tell(identity.agent, str(refusal), stage="hello")
            return
        except Closed:
            await part(transport, "")
            return
        try:
            await self._converse(connection)
        finally:
            self._forget(connection)
            await part(transport, "")

    async def _greet(self, transport: Transport, identity: Identity) -> Connection:
        try:
            async with asyncio.timeout(_HELLO_TIMEOUT_S):
                hello = await receive_from(transport)
        except TimeoutError:
            raise RefuseAgent("Say Hello first.") from None
        if not isinstance(hello, Hello):
            raise RefuseAgent("Say Hello first.")
        chosen = self._versions.agree(Versions(hello.protocol_min, hello.protocol_max))
        if chosen is None:
            theirs = Versions(hello.protocol_min, hello.protocol_max)
            raise RefuseAgent(
                f"This scheduler speaks protocol {self._versions}, the agent {theirs}. "
                "Run neighbouring releases of both."
            )
        if hello.cell != self._cell:
            raise RefuseAgent(
                f"This scheduler serves cell {self._cell}, not {hello.cell}. "
                "Give the agent the schedulers of its own cell."
            )
        if (hello.agent, hello.cell) != (identity.agent, identity.cell):
            raise RefuseAgent(
                f"The certificate is agent {identity.agent}'s of cell {identity.cell}, "
                f"not agent {hello.agent}'s of cell {hello.cell}. Give the agent its own."
            )
        connection = Connection(identity, transport, chosen)
        earlier = self._connections.get(hello.agent)
        if earlier is not None:
            # The agent is back before its broken connection was noticed. Two processes under one
            # name would drive each other out; both then log this sentence.
            earlier.refuse(f"Another connection of agent {hello.agent} replaced this one.")
            self._forget(earlier)
        self._connections[hello.agent] = connection
        await connection.say(Welcome(self._process, chosen, self._schedulers()))
        log.info("agent_connected", agent=hello.agent, protocol=chosen)
        return connection

    async def _converse(self, connection: Connection) -> None:
        """Send and receive until either end breaks. Steps under way are cut short then: the agent
        repeats what it heard no answer to."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(connection.send_forever())
                await self._receive_forever(connection, tasks)
        except* Closed as ends:
            connection.silent = any(getattr(end, "silent", False) for end in ends.exceptions)
            log.info("agent_disconnected", agent=connection.agent, hosts=len(connection.hosts))

    async def _receive_forever(self, connection: Connection, tasks: asyncio.TaskGroup) -> None:
        while True:
            try:
                message = await connection.receive()
            except RefuseAgent as refusal:
                connection.refuse(str(refusal))
                return
            await connection.slots.acquire()
            tasks.create_task(self._handle(connection, message))

    async def _handle(self, connection: Connection, message: FromAgent) -> None:
        try:
            match message:
                case Report():
                    await self._report(connection, message)
                case Step():
                    await connection.say(await self._step(connection, message))
                case States():
                    await self._states(connection, message)
                case CommandDone():
                    self._commands.answered(connection, message)
                case Diagnosed():
                    self._diagnoses.answered(connection, message)
                case Hello():
                    raise RefuseAgent("Say Hello once.")
        except RefuseAgent as refusal:
            # Before the agent hears of it, as the connection and this task end with that.
            await self._refused.tell(
                connection.agent, str(refusal), stage="message", host=refusal.host
            )
            connection.refuse(str(refusal))
        finally:
            connection.slots.release()

    def _forget(self, connection: Connection) -> None:
        if self._connections.get(connection.agent) is connection:
            del self._connections[connection.agent]
        lost = {host for host in connection.hosts if self._owners.get(host) is connection}
        for host in lost:
            del self._owners[host]
        self._commands.lost(connection)
        self._diagnoses.lost(connection)
        self._lost.suspect(lost, SILENT_S if connection.silent else 0.0)

    # -- what agents ask for

    async def _report(self, connection: Connection, report: Report) -> None:
        """Write the hosts' inventories and answer with every claim of those that were written."""
        if len(report.hosts) > _REPORT_HOSTS_MAX:
            raise RefuseAgent(f"A report may name at most {_REPORT_HOSTS_MAX} hosts.")
        new = {
            host
            for one in report.hosts
            if (host := self._register(connection, one)) not in connection.settled
        }
        if new:
            await self._alone(connection, new)
        listings = await asyncio.gather(*(self._listing(host) for host in report.hosts))
        written = [listing for listing in listings if listing is not None]
        await connection.say(
            Reported(seq=report.seq, hosts={row.name: row.host for row, _ in written}),
            Orders(claims=tuple(order for _, orders in written for order in orders)),
        )

    async def _listing(self, report: HostReport) -> tuple[HostRow, list[ClaimOrder]] | None:
        """The host's row with its report on it, and all orders of it; None if not now."""
        try:
            async with self._report_slots:
                row = await self._write_report(report)
                row = await self._expiry.expire(row, self._write)
        except PlacerError as error:
            log.warning("report_not_written", host=report.name, why=str(error))
            return None
        for record in row.claims:
            if moving_since_ms(record):
                self._events.marked(row, record)
        ordered = await asyncio.gather(*(self._may_be_ordered(record) for record in row.claims))
        orders = [_order(row.host, r) for r, may in zip(row.claims, ordered, strict=True) if may]
        return row, orders

    async def _may_be_ordered(self, record: Record) -> bool:
        if ended(record):
            return False  # no agent ever had it
        if record.tag:
            return False  # a write set has not settled it; the next report brings it
        if record.state is not ClaimState.CLAIMED:
            return True
        try:
            async with asyncio.timeout(self._deadline_s):
                return await self._events.confirmed(record)
        except (PlacerError, TimeoutError) as error:
            # Its requester's cell may be cut off; that must not hold up the host's other claims.
            log.info("claim_not_confirmed", claim=record.id, why=repr(error))
            return False

    async def _alone(self, connection: Connection, hosts: set[str]) -> None:
        """See that no other agent serves ``hosts`` through another process of the cell.

        Asked once for a host and connection. A silent peer cannot be waited for: hosts would be out
        of service whenever one is down; its agents soon come to those that are left.
        """
        try:
            async with asyncio.timeout(self._deadline_s):
                others = await self._served_elsewhere(hosts, connection.agent)
        except (PlacerError, OSError, TimeoutError) as error:
            log.info("peers_silent", hosts=len(hosts), why=repr(error))
            others = {}
        for host, agent in others.items():
            if agent and agent != connection.agent:
                name = connection.hosts[host].name if host in connection.hosts else host
                raise _served(host, name, agent)
        connection.settled |= hosts

    def _register(self, connection: Connection, report: HostReport) -> str:
        """Note who serves the host; its uuid. Refuses a second agent."""
        problem = reports.problem(report)
        if problem:
            raise RefuseAgent(f"Host {report.name!r}: {problem}.")
        host = host_uuid(self._cell, report.name)
        if not connection.identity.may_serve(report.name):
            raise RefuseAgent(
                f"The certificate of agent {connection.agent} does not name host {report.name!r}. "
                "Report the agent's own hosts only, or give it a certificate that names this one.",
                host=host,
            )
        owner = self._owners.get(host)
        if owner is not None and owner is not connection:
            raise _served(host, report.name, owner.agent)
        if self._connections.get(connection.agent) is connection:
            if owner is None:
                self._lost.returned()
            self._owners[host] = connection
            connection.hosts[host] = report
        return host

    async def _write_report(self, report: HostReport) -> HostRow:
        """Bring the report on the host's row, unless that shows it already; the row."""
        host = host_uuid(self._cell, report.name)
        operation = ReportInventory(
            provider=host,
            name=report.name,
            inventories=report.inventories,
            traits=report.traits,
            children=report.children,
            aggregates=report.aggregates,
        )
        row = await self._read_row(host)
        if row is not None and operation.done(row):
            if host in self._untold:
                await self._tell_host(row)
            return row
        metrics.host_writes.labels(self._cell, "report").inc()
        written = await self._write(host, operation)
        if row is None or row.status is HostStatus.DOWN:
            await self._tell_host(written)
        return written

    async def _tell_host(self, row: HostRow) -> None:
        """Have lists say that the host is up, or down; a report is not held up by what fails, and the
        host's next one brings it again."""
        try:
            async with asyncio.timeout(self._deadline_s):
                await self._events.host(row)
            self._untold.discard(row.host)
        except (PlacerError, TimeoutError) as error:
            self._untold.add(row.host)
            log.warning("host_not_listed", host=row.name, why=repr(error))

    async def _write(self, host: str, operation: Operation) -> HostRow:
        """Submit an operation that no row refuses."""
        result = await self._writer.submit(host, operation, deadline_s=self._deadline_s)
        if isinstance(result, Refusal):
            raise Conflict(f"Host {host} refused {operation}: {result.reason}.")
        return result

    async def _step(self, connection: Connection, step: Step) -> StepDone:
        if self._owners.get(step.host) is not connection:
            return StepDone(seq=step.seq, ok=False, reason=NOT_YOUR_HOST)
        done = await self._steps.take(step)
        if done.ok and step.kind is StepKind.GONE:
            connection.told.pop(step.claim, None)
        return done

    async def _states(self, connection: Connection, states: States) -> None:
        """Tell how instances are, each version once: agents repeat themselves.

        ``told`` is bounded by the instances of the agent's hosts that ever changed.
        """
        if len(states.guests) > _STATES_MAX:
            raise RefuseAgent(f"A message may have at most {_STATES_MAX} states.")
        for state in states.guests:
            if self._owners.get(state.host) is not connection:
                log.warning("state_of_another_host", agent=connection.agent, host=state.host)
                continue
            new = connection.told.get(state.claim, -1) < state.version
            if new and await self._steps.tell(state):
                connection.told[state.claim] = state.version

    # -- lost hosts

    async def _mark_down(self, host: str) -> bool:
        """Write that ``host`` is down unless it is back; False when that must be tried again."""
        try:
            async with self._report_slots:
                if host in self._owners:
                    return True
                metrics.host_writes.labels(self._cell, "status").inc()
                down = SetStatus(HostStatus.DOWN)
                row = await self._writer.submit(host, down, deadline_s=self._deadline_s)
                if isinstance(row, Refusal):
                    # No row: its first report never came to an end. Asking again would go on for ever.
                    return True
                await self._tell_host(row)
                owner = self._owners.get(host)
                if owner is not None:
                    # It came back while the write was under way.
                    await self._write_report(owner.hosts[host])
        except PlacerError as error:
            log.warning("host_not_marked_down", host=host, why=str(error))
            return False
        return True


def _served(host: str, name: str, agent: str) -> RefuseAgent:
    return RefuseAgent(
        f"Host {name!r} is served by agent {agent}. "
        "Only one agent may serve a host: stop one of the two.",
        host=host,
    )


def _order(host: str, record: Record) -> ClaimOrder:
    """The claim ``record`` of ``host`` as its agent is told of it: amounts positive."""
    assert record.state is not None
    return ClaimOrder(
        claim=record.id,
        host=host,
        consumer=record.consumer,
        state=record.state,
        amounts={name: -amount for name, amount in record.amounts.items()},
        units=record.units,
        image=record.image,
        trace=record.trace,
    )
