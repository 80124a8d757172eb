"""The agent's loop: from each claim of its hosts to an instance, and back to nothing.

Source: the claim protocol, section 6. The agent is a loop over (row, driver): it is sent the claims
of its hosts' rows in whatever state they are, at any time and more than once, and does the one thing
that brings each closer to its end. A crash is a restart of the loop.

What goes wrong the naive way, building whenever an order comes: orders are repeated after every
reconnect, may be older than what the agent has done since, and may come twice at once. Therefore
one claim is worked on by one worker at a time, an order that comes meanwhile waits its turn (only
the newest is kept), and every order is judged by ``decide`` (``decisions.py``) against what the driver runs and what
the journal says was done. A step whose answer was lost is not followed by anything: the next report
brings the claim again, in the state the row has.

    claimed   ADOPT, then as building; not adopted: never built
    building  build, then BUILT; the build failed: DELETING, then as deleting
    deleting  destroy, then GONE

What is built stays under watch: before each periodic report the agent asks the driver what it has
(``guests.py``). An instance that somebody removed is built again, once its row has confirmed that the
claim is still built: nobody but this agent can then have given its capacity away.

An entry leaves the row only after its instance is destroyed, and an instance is only built for an
entry in ``building``: so no instance is ever without capacity, whenever the agent dies.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import zlib
from collections.abc import Iterator
from typing import Final

import msgspec
import structlog
from msgspec import Struct

from placer import diagnosis, failpoints, telemetry, tracing
from placer.agents.commands import WORKERS, Commands
from placer.agents.decisions import Action, decide
from placer.agents.drivers.base import Driver, DriverError, Life
from placer.agents.guests import Guests
from placer.agents.journal import Journal, JournalError, Phase
from placer.agents.link import (
    LONG_WAIT,
    Connect,
    Link,
    LinkLost,
    LinkRefused,
    Socket,
    agent_url,
    connect_timeout_s,
    reconnect_delay_s,
)
from placer.agents.states import LOST, GuestStates
from placer.errors import InvalidInput, PlacerError
from placer.model.messages import (
    RETRY,
    ClaimOrder,
    GuestState,
    HostReport,
    States,
    StepDone,
    StepKind,
)
from placer.model.protocol import VERSIONS, Versions
from placer.model.records import ClaimState
from placer.settings import Agent as AgentSettings
from placer.settings import Settings

log = structlog.get_logger(__name__)

#: Tries of one step or destruction before the claim is left to the next report.
_TRIES_MAX: Final = 8
_BACKOFF_S: Final = 0.1
_BACKOFF_MAX_S: Final = 5.0
_REPORT_TRIES_MAX: Final = 3
_WHY_CHARS_MAX: Final = 200
#: Of the schedulers that a Welcome names.
_SCHEDULERS_MAX: Final = 64
#: A batch of hosts may need this many answers' time.
_REPORT_TIMEOUTS: Final = 4
#: Refusals of a step: the claim is not on the row; it is being deleted.
_GONE: Final = "claim_gone"
_DELETING: Final = f"claim_{ClaimState.DELETING}"


class _Abandoned(PlacerError):
    """A claim is left as it is until the next report brings it again."""

    code = "agent.abandoned"


class Status(Struct, frozen=True):
    """What ``placer agent status`` shows. ``reported``: hosts whose row holds their report."""

    agent: str
    cell: str
    scheduler: str
    hosts: int
    reported: int
    waiting: int
    working: int
    claims: dict[str, int]


class Agent:
    """One agent process: its connection, its workers, the claims they work on."""

    def __init__(
        self,
        settings: Settings,
        driver: Driver,
        journal: Journal,
        connect: Connect,
        *,
        rng: random.Random | None = None,
        versions: Versions = VERSIONS,
    ) -> None:
        self._settings = _checked(settings)
        self._all_settings = settings
        self._cell = settings.cell
        self._settings_urls = [agent_url(url) for url in self._settings.schedulers]
        self._urls = _from(self._settings.name, self._settings_urls)
        self._driver = driver
        self._journal = journal
        self._connect = connect
        self._rng = rng or random.Random()
        self._versions = versions
        self._guests = Guests(driver, journal)
        self._states = GuestStates(journal)
        self._link: Link | None = None
        # Every claim in ``_orders`` is either in ``_queue`` once or being worked on. Both are
        # bounded by the claims of this agent's hosts.
        self._orders: dict[str, ClaimOrder] = {}
        self._busy: set[str] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._commands = Commands(
            driver,
            self._guests,
            self._states,
            lambda claim: claim in self._busy,
            timeout_s=self._settings.command_timeout_s,
        )
        self._stopping = False
        self._scheduler = ""
        self._hosts: dict[str, str] = {}
        self._described: list[HostReport] = []

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop``, then finish what is begun within ``shutdown_grace_s``."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._work(), name=f"worker-{number}")
                for number in range(self._settings.builds_max)
            ]
            tasks += [
                group.create_task(self._commands.work(), name=f"commands-{number}")
                for number in range(WORKERS)
            ]
            tasks.append(group.create_task(self._stay_connected(), name="connection"))
            await stop.wait()
            await self._finish()
            for task in tasks:
                task.cancel()

    def status(self) -> Status:
        """Where the agent stands now."""
        phases = [entry.phase for entry in self._journal.entries.values()]
        return Status(
            agent=self._settings.name,
            cell=self._cell,
            scheduler=self._scheduler,
            hosts=len(self._described),
            reported=len(self._hosts) if self._scheduler else 0,
            waiting=self._queue.qsize(),
            working=len(self._busy),
            claims={phase.value: phases.count(phase) for phase in Phase},
        )

    def depths(self) -> dict[str, int]:
        """How much waits where, and how many claims are in each phase."""
        now = self.status()
        return {
            "waiting": now.waiting,
            "working": now.working,
            "orders": len(self._orders),
            "commands": self._commands.waiting,
            "open_questions": self._link.open if self._link else 0,
            "hosts": now.hosts,
            "hosts_reported": now.reported,
            **now.claims,
        }

    def _diagnosis(self) -> str:
        """This agent now, without secrets, as JSON."""
        views = {"scheduler": self._scheduler, "schedulers": self._urls, "status": self.status()}
        told = diagnosis.diagnosis(self._all_settings, self.depths(), views)
        return msgspec.json.encode(told).decode()

    async def _finish(self) -> None:
        """Take no new work; wait for what is begun. What is cut short a restart takes up again."""
        self._stopping = True
        self._orders.clear()
        try:
            async with asyncio.timeout(self._settings.shutdown_grace_s):
                await self._idle.wait()
        except TimeoutError:
            log.warning("shutdown_grace_over", grace_s=self._settings.shutdown_grace_s)
        log.info("agent_stopped", unfinished=len(self._busy))

    # -- the connection

    async def _stay_connected(self) -> None:
        """Connect for ever: one scheduler after the other at once, then growing, jittered waits."""
        await self._first_look()
        failures = 0
        for turn in itertools.count():
            url = self._urls[turn % len(self._urls)]
            self._hosts.clear()
            try:
                timeout_s = connect_timeout_s(self._settings, len(self._urls), failures)
                async with self._connect(url, timeout_s) as socket:
                    await self._serve(url, socket)
            except LinkRefused as error:
                failures = (LONG_WAIT + 1) * len(self._urls)
                log.error("refused_by_scheduler", url=url, why=str(error))
            except LinkLost as error:
                caught_up = bool(self._hosts)
                failures = 0 if caught_up else failures + 1
                log.warning("connection_lost", url=url, why=str(error))
            await asyncio.sleep(
                reconnect_delay_s(self._settings, len(self._urls), failures, self._rng)
            )

    async def _first_look(self) -> None:
        """Ask the driver what it has until it answers: before that the hosts are not for use."""
        for attempt in itertools.count(1):
            try:
                await self._guests.look()
            except DriverError as error:
                log.error("driver_unavailable", attempt=attempt, why=str(error))
                await asyncio.sleep(self._backoff_s(min(attempt, _TRIES_MAX)))
            else:
                return

    async def _serve(self, url: str, socket: Socket) -> None:
        """Report and take orders over one connection until it breaks: always ends in LinkLost."""
        link = Link(
            socket,
            self._take,
            self._commands.take,
            self._diagnosis,
            answer_timeout_s=self._settings.answer_timeout_s,
            versions=self._versions,
        )
        scheduler = await link.greet(self._settings.name, self._cell)
        log.info("connected", url=url, scheduler=scheduler)
        self._learn(link.schedulers)
        reader = asyncio.create_task(link.read(), name="reader")
        self._link, self._scheduler = link, scheduler
        try:
            await self._report_forever(link)
        finally:
            self._link, self._scheduler = None, ""
            reader.cancel()
            await asyncio.wait({reader})
            if not reader.cancelled() and not isinstance(reader.exception(), LinkLost):
                reader.result()

    def _learn(self, schedulers: tuple[str, ...]) -> None:
        """Connect to ``schedulers`` too from here on. Those of the settings stay: what a scheduler
        says is never the only way back. Bounded: only the newest word counts."""
        known = [*self._settings_urls, *map(agent_url, schedulers[:_SCHEDULERS_MAX])]
        self._urls = _from(self._settings.name, list(dict.fromkeys(known)))

    async def _report_forever(self, link: Link) -> None:
        """All batches at once after connecting, as hosts that are not back within the scheduler's
        grace are marked down; then again and again, spread over the period."""
        over_s = 0.0
        while True:
            complete = await self._report(link, over_s)
            over_s = self._settings.reconcile_every_s
            if not complete:
                over_s = min(over_s, self._settings.reconnect_max_s)

    async def _report(self, link: Link, over_s: float) -> bool:
        """Report every host once, spread over ``over_s``; whether all rows hold it."""
        await self._look()
        hosts = self._described
        batches = list(_batches(hosts, self._settings.report_batch))
        if not batches:
            await link.sleep(self._settings.reconcile_every_s)
        missing = 0
        if over_s:
            for batch in batches:
                await link.sleep(over_s / len(batches) * self._rng.uniform(0.8, 1.0))
                missing += await self._report_batch(link, batch)
        else:
            missing = sum(
                await asyncio.gather(*(self._report_batch(link, batch) for batch in batches))
            )
        if missing:
            log.warning("hosts_not_reported", missing=missing, hosts=len(hosts))
        for message in self._states.messages():
            await link.say(message)
        return not missing

    async def _look(self) -> None:
        """See what hosts and instances there are now. A silent driver changes nothing: what it was
        asked to build fails, and too many failures keep its hosts from being chosen."""
        try:
            await self._guests.look()
            await self._states.look(self._guests)
            self._described = await self._driver.describe()
        except PlacerError as error:
            log.error("driver_unavailable", why=str(error))

    async def _report_batch(self, link: Link, batch: tuple[HostReport, ...]) -> int:
        """Report ``batch``, those that failed again; returns how many failed every time."""
        timeout_s = _REPORT_TIMEOUTS * self._settings.answer_timeout_s
        for attempt in range(_REPORT_TRIES_MAX):
            if attempt:
                await link.sleep(self._backoff_s(attempt))
            known = self._guests.known()
            listing = await link.report(batch, timeout_s)
            self._hosts.update(listing.hosts)
            for order in self._guests.vanished(known, listing, self._busy):
                self._accept(msgspec.structs.replace(order, state=ClaimState.DELETING))
            batch = tuple(host for host in batch if host.name not in listing.hosts)
            if not batch:
                break
        return len(batch)

    # -- orders

    def _take(self, orders: tuple[ClaimOrder, ...]) -> None:
        for order in orders:
            self._accept(order)

    def _accept(self, order: ClaimOrder) -> None:
        claim = order.claim
        if self._stopping:
            return
        if claim in self._busy:
            self._orders[claim] = order
        elif self._decide(order) is not Action.NOTHING:
            if claim not in self._orders:
                self._queue.put_nowait(claim)
            self._orders[claim] = order

    def _decide(self, order: ClaimOrder) -> Action:
        entry = self._journal.entries.get(order.claim)
        return decide(
            order.state,
            entry.phase if entry else None,
            self._guests.complete(order.claim),
            sized=entry is None or entry.order.amounts == order.amounts,
        )

    # -- the work

    async def _work(self) -> None:
        """One worker: a claim at a time, each as far as it will go."""
        while True:
            claim = await self._queue.get()
            order = self._orders.pop(claim, None)
            if order is None:
                continue
            self._busy.add(claim)
            self._idle.clear()
            tracing.bind(order.trace)
            try:
                await self._carry(order)
            except (LinkLost, _Abandoned) as error:
                log.info("claim_left", claim=claim, why=str(error))
            except Exception:
                # One claim's trouble must not stop the other hosts; the next report brings it
                # again.
                log.exception("claim_failed", claim=claim)
            finally:
                self._busy.discard(claim)
                if not self._busy:
                    self._idle.set()
                if claim in self._orders:
                    self._queue.put_nowait(claim)

    async def _carry(self, order: ClaimOrder) -> None:
        """Bring one claim as far as it will go. Safe to repeat and to cut short anywhere."""
        action = self._decide(order)
        if action is Action.REBUILD:
            action = await self._confirm_lost(order)
        if action is Action.ADOPT:
            action = await self._adopt(order)
        if action is Action.BUILD:
            action = await self._build(order)
        if action is Action.RESIZE:
            action = await self._resize(order)
        if action is Action.SAY_BUILT:
            action = await self._say_built(order)
        if action is Action.DESTROY:
            await self._destroy(order)

    async def _adopt(self, order: ClaimOrder) -> Action:
        done = await self._step(order, StepKind.ADOPT)
        if not done.ok:
            # The lease ended, or the order is old. Never build for it.
            log.info("not_adopted", claim=order.claim, why=done.reason)
            return Action.NOTHING
        failpoints.reach("agent.adopted")
        return Action.SAY_BUILT if self._guests.complete(order.claim) else Action.BUILD

    async def _confirm_lost(self, order: ClaimOrder) -> Action:
        """Whether an instance that is not there must be: the order may be older than its end."""
        done = await self._step(order, StepKind.BUILT)
        if done.ok:
            log.error("instance_lost", claim=order.claim, host=order.host)
            why = "it was removed behind the agent's back; it is built again"
            await self._tell(await self._states.changed(order, LOST, why))
            return Action.BUILD
        return Action.DESTROY if done.reason == _DELETING else Action.NOTHING

    async def _build(self, order: ClaimOrder) -> Action:
        """Build; what failed is given back by way of ``deleting`` (rule 22)."""
        try:
            await self._journal.put(order, Phase.BUILDING)
            failpoints.reach("agent.noted")
            with telemetry.span("build", order.trace, claim=order.claim, instance=order.consumer):
                async with asyncio.timeout(self._settings.build_timeout_s):
                    await self._driver.build(order)
        except (DriverError, JournalError, TimeoutError) as error:
            log.warning("build_failed", claim=order.claim, host=order.host, why=repr(error))
            why = _in_words(error, self._settings.build_timeout_s)
        else:
            self._guests.found(order, Life.RUNNING)
            return Action.SAY_BUILT
        done = await self._step(order, StepKind.DELETING, why)
        if done.ok or done.reason == _GONE:
            return Action.DESTROY
        raise _Abandoned(f"DELETING after a failed build: {done.reason}.")

    async def _resize(self, order: ClaimOrder) -> Action:
        """Give a built instance the amounts that its claim has now; what fails is tried at the next
        report, as the journal goes on saying the old ones. Said as BUILT, it is listed."""
        try:
            async with asyncio.timeout(self._settings.command_timeout_s):
                await self._driver.resize(order)
        except (DriverError, TimeoutError) as error:
            raise _Abandoned(f"The instance cannot be resized: {error!r}.") from error
        log.info("resized", claim=order.claim, amounts=order.amounts)
        return Action.SAY_BUILT

    async def _say_built(self, order: ClaimOrder) -> Action:
        forgotten = self._journal.phase(order.claim) is None
        done = await self._step(order, StepKind.BUILT)
        if done.ok:
            failpoints.reach("agent.said_built")
            await self._note(order, Phase.BUILT)
            life = self._guests.life(order.claim)
            if order.state is ClaimState.BUILT and life is not None:
                # Built again; or the journal was lost, and with it what was said last.
                why = f"seen {life}"
                if forgotten:
                    log.error("not_in_journal", claim=order.claim, host=order.host, life=life)
                    why = f"taken over, as the agent's journal has lost it: {why}"
                await self._tell(await self._states.changed(order, life.value, why))
            return Action.NOTHING
        if done.reason in (_DELETING, _GONE):
            return Action.DESTROY
        raise _Abandoned(f"BUILT: {done.reason}.")

    async def _destroy(self, order: ClaimOrder) -> None:
        await self._note(order, Phase.DESTROYING)
        failpoints.reach("agent.destroying")
        for attempt in range(1, _TRIES_MAX + 1):
            try:
                async with asyncio.timeout(self._settings.build_timeout_s):
                    await self._driver.destroy(order)
                break
            except (DriverError, TimeoutError) as error:
                log.warning("destroy_failed", claim=order.claim, attempt=attempt, why=repr(error))
            await asyncio.sleep(self._backoff_s(attempt))
        else:
            raise _Abandoned("The instance cannot be destroyed.")
        self._guests.removed(order.claim)
        failpoints.reach("agent.destroyed")
        done = await self._step(order, StepKind.GONE)
        if not done.ok:
            raise _Abandoned(f"GONE: {done.reason}.")
        failpoints.reach("agent.said_gone")
        try:
            await self._journal.forget(order.claim)
        except JournalError as error:
            # A restart finds the claim destroying and on no row, and ends it once more.
            log.error("journal_not_written", claim=order.claim, why=str(error))

    async def _note(self, order: ClaimOrder, phase: Phase) -> None:
        """Write a phase that row and driver can tell as well: a full disk must not hold it up."""
        try:
            await self._journal.put(order, phase)
        except JournalError as error:
            log.error("journal_not_written", claim=order.claim, phase=phase, why=str(error))
            self._journal.remember(order, phase)

    async def _tell(self, state: GuestState) -> None:
        """Say what became of an instance; lost with the connection, as the next look finds it."""
        if self._link is None:
            return
        try:
            await self._link.say(States((state,)))
        except LinkLost as error:
            log.info("state_not_told", claim=state.claim, why=str(error))

    async def _step(self, order: ClaimOrder, kind: StepKind, why: str = "") -> StepDone:
        """The scheduler's verdict on a step; asks again while it has none. Raises LinkLost."""
        for attempt in range(1, _TRIES_MAX + 1):
            if self._link is None:
                raise LinkLost("There is no connection.")
            done = await self._link.step(order.host, order.claim, kind, why)
            if done.ok or done.reason != RETRY:
                return done
            await asyncio.sleep(self._backoff_s(attempt))
        raise _Abandoned(f"No verdict on {kind} in {_TRIES_MAX} tries.")

    def _backoff_s(self, attempt: int) -> float:
        return min(_BACKOFF_S * 2.0**attempt, _BACKOFF_MAX_S) * self._rng.uniform(0.5, 1.0)


def _checked(settings: Settings) -> AgentSettings:
    """The agent's part of the settings; raises InvalidInput."""
    agent = settings.agent
    if agent is None:
        raise InvalidInput(
            "The settings have no [agent] part.", remedy="Give an agent's settings file."
        )
    if not agent.schedulers:
        raise InvalidInput(
            f"The settings name no scheduler of cell {settings.cell} to connect to.",
            remedy="List their URLs for agents, as wss://10.0.1.5:8890, in agent.schedulers.",
        )
    if agent.answer_timeout_s <= settings.cluster.claim_deadline_s:
        raise InvalidInput("agent.answer_timeout_s must exceed cluster.claim_deadline_s.")
    if agent.builds_max < 1 or agent.report_batch < 1:
        raise InvalidInput("agent.builds_max and agent.report_batch must be at least 1.")
    return agent


def _in_words(error: Exception, timeout_s: float) -> str:
    """Why a build failed, as its requester is told."""
    if isinstance(error, TimeoutError):
        return f"not built within {timeout_s:g} s"
    return str(error)[:_WHY_CHARS_MAX]


def _from(name: str, urls: list[str]) -> list[str]:
    """``urls`` turned round by ``name``, so that agents spread over the schedulers."""
    first = zlib.crc32(name.encode()) % len(urls)
    return urls[first:] + urls[:first]


def _batches(hosts: list[HostReport], size: int) -> Iterator[tuple[HostReport, ...]]:
    for start in range(0, len(hosts), size):
        yield tuple(hosts[start : start + size])
