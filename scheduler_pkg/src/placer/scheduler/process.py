"""One scheduler process put together: stores, writers, conductor, hub, peers, scan, sweeper.

Nothing here is state that is not in the store, but for what is in flight and which agents are
connected. Any number of these run in a cell.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final

import httpx
import structlog

from placer import diagnosis, failpoints
from placer.claims.protocol import HostWriter
from placer.claims.recovery import Recovery
from placer.claims.shares import Shares
from placer.claims.writeset import WriteSets
from placer.diagnosis import Diagnosis
from placer.directory import Announcer, Directory
from placer.errors import Overloaded, PlacerError
from placer.history import HistoryWriter
from placer.model import groups
from placer.model.groups import ServerGroup
from placer.model.ids import cell_of
from placer.model.records import HostRow, Record
from placer.model.service import ServiceKind
from placer.model.work import Work
from placer.scheduler.actions import Actions
from placer.scheduler.addresses import Addresses
from placer.scheduler.agent_hub import AgentHub
from placer.scheduler.background import Background
from placer.scheduler.claimer import Claimer
from placer.scheduler.closing import Closing
from placer.scheduler.conductor import Conductor
from placer.scheduler.elsewhere import Elsewhere
from placer.scheduler.emptying import Emptying
from placer.scheduler.holdings import Holdings
from placer.scheduler.hosts import Hosts, seen_of
from placer.scheduler.lifecycle import Lifecycle
from placer.scheduler.listing import Listing, LostInstance
from placer.scheduler.moves_shown import MovesShown
from placer.scheduler.moving import Moving
from placer.scheduler.operator import Operator
from placer.scheduler.peers import Marked, Notification, Peers
from placer.scheduler.placing import Placing
from placer.scheduler.quota_list import QuotaList
from placer.scheduler.quota_rows import QuotaRows
from placer.scheduler.quotas import Quotas
from placer.scheduler.releasing import Releasing
from placer.scheduler.roll_call import RollCall
from placer.scheduler.searching import Searching
from placer.scheduler.sweeper import Sweeper
from placer.scheduler.webhooks import Webhooks
from placer.scheduler.worklog import Opened, RequestLog, clock_ms
from placer.scheduler.workscan import WorkScan
from placer.settings import Settings, read_service_token
from placer.store import Stores, open_cells
from placer.store.feed import Feed

log = structlog.get_logger(__name__)

_GRACE_S: Final = 5.0
_RECONNECT_S: Final = 1.0


class SchedulerProcess:
    """Use as an async context manager; its parts are the service's calls."""

    def __init__(self, settings: Settings, *, rng: random.Random | None = None) -> None:
        """Raises InvalidInput for a fail point that nobody has."""
        failpoints.arm(os.environ)
        self._settings = settings
        self._rng = rng or random.Random()
        self._writers: dict[str, HostWriter] = {}
        self._background = Background(settings.scheduler.background_writes_max)
        self._shares = Shares(self._writer, settings.cluster.claim_deadline_s)
        self._history = HistoryWriter(settings.history.dir, settings.process)
        self._service_token = read_service_token(settings)
        self._stack = AsyncExitStack()
        self._stores: Stores
        self._peers: Peers
        self._announcer: Announcer
        self.directory: Directory
        self._write_sets: WriteSets
        self._requests: RequestLog
        self.placing: Placing
        self.closing: Closing
        self.conductor: Conductor
        self.hub: AgentHub
        self.actions: Actions
        self.emptying: Emptying
        self.hosts: Hosts
        self.listing: Listing
        self.shown: MovesShown
        self.quotas: Quotas
        self._lifecycle: Lifecycle
        self.operator = Operator(settings, self._writer)

    async def __aenter__(self) -> SchedulerProcess:
        """Connect to the home cell and start; other cells are connected in the background."""
        settings, cluster, rng = self._settings, self._settings.cluster, self._rng
        self._stores = stores = await open_cells(settings)
        home = await stores.cell(settings.cell)
        self._announcer = Announcer(settings, ServiceKind.SCHEDULER, stores.services)
        await self._announcer.say()
        self.directory = Directory(settings, stores.services)
        await self.directory.look()
        self._peers = Peers(self.directory, settings.scheduler.advertise, self._service_token)
        self._writers[settings.cell] = writer = self._new_writer(home)
        self._requests = requests = RequestLog(settings.process, stores, cluster.claim_deadline_s)
        self._write_sets = WriteSets(
            stores, self._writer, settings.scheduler, self._history, rng=rng
        )
        recovery = Recovery(
            stores, self._writer, cluster, self._history, tell=self._lapsed, named=self._named
        )
        known_quotas = QuotaList(stores.catalog.quotas, [cell.name for cell in cluster.cells])
        await known_quotas.refresh()
        releasing = Releasing(
            requests,
            self._writer,
            self._background,
            self._notify,
            self._shares,
            cluster.claim_deadline_s,
        )
        quota_rows = QuotaRows(
            settings,
            stores,
            known_quotas,
            self._writer,
            recovery,
            Holdings(stores.globals).of,
            rng=rng,
        )
        self.quotas = Quotas(settings, known_quotas, quota_rows, self._writer, rng=rng)
        self.closing = Closing(settings, stores, self._writer, recovery.sweep_row)
        self.placing = Placing(
            settings,
            stores,
            Claimer(settings, stores, self._writer, self._write_sets, self.quotas),
            Searching(settings, stores, rng=rng),
            Addresses(settings, stores, self._writer, self._background),
            self.quotas,
            self._find_group,
            recovery.sweep_row,
            rng=rng,
        )
        moving = Moving(
            settings,
            stores,
            requests,
            self.placing,
            releasing,
            self._writer,
            self._history,
            self._notify,
            self._show_move,
            self._show_lost,
            self.quotas,
        )
        self.conductor = Conductor(
            settings,
            requests,
            self.placing,
            releasing,
            moving,
            self._history,
            self._notify,
            rng=rng,
        )
        self.listing = Listing(settings, stores.globals, self._background)
        self.shown = MovesShown(
            home.read_row, writer, requests, self.listing, cluster.claim_deadline_s
        )
        self._lifecycle = Lifecycle(
            settings,
            requests,
            releasing,
            moving,
            self.listing,
            self.shown,
            self._writer,
            self._background,
            self._wake,
        )
        self.hub = AgentHub(
            process=settings.process,
            cell=settings.cell,
            read_row=home.read_row,
            writer=writer,
            events=self._lifecycle,
            served_elsewhere=Elsewhere(partial(self._peers.served, settings.cell)).ask,
            command_elsewhere=partial(self._peers.command, settings.cell),
            schedulers=partial(self.directory.for_agents, settings.cell),
            grace_s=settings.scheduler.agent_grace_s,
            deadline_s=cluster.claim_deadline_s,
        )
        scan = WorkScan(
            settings,
            home,
            stores,
            requests,
            self.conductor,
            self._worked_on,
            self._notify,
            rng=rng,
            sharing=partial(self.directory.sharing, settings.cell),
        )
        self.actions = Actions(settings, requests, self._wake)
        self.emptying = Emptying(settings, home, requests, self.actions, self._worked_on, rng=rng)
        self.hosts = Hosts(settings, home, writer, requests, self.emptying, self._duty_told)
        sweeper = Sweeper(settings, home, writer, recovery, rng=rng)
        roll = RollCall(
            partial(self._peers.ring, settings.cell),
            self._peers.answering,
            lambda: (home.read_views(bucket) for bucket in range(settings.home.host_buckets)),
            self.hub.serves,
            self.hub.suspect,
            rng=rng,
        )
        diagnosis.dump_on_signal(self.depths)
        calls = await self._stack.enter_async_context(httpx.AsyncClient(trust_env=False))
        webhooks = Webhooks(
            settings,
            stores.catalog.webhooks,
            home,
            stores.globals,
            Feed(settings, stores.globals, clock_ms),
            calls,
            rng=rng,
        )
        loops = [
            asyncio.create_task(loop)
            for loop in (
                *(self.hub.run(), roll.run(), self.emptying.run(), self.listing.pulse()),
                webhooks.run(),
                *(scan.run(), sweeper.run(), quota_rows.run(), self._connect_others()),
                *(self._announcer.run(), self.directory.run()),
            )
        ]
        self._stack.push_async_callback(self._stop, loops)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    # -- the service's calls

    def notified(self, notification: Notification) -> bool:
        """A claim on a host of this cell; True if its agent is connected here and was told."""
        return self.hub.deliver(notification.host, notification.record)

    async def wake(self, work: Work) -> bool:
        """A request of this cell is open again; False if there is no such request (yet).

        Raises Overloaded, StoreError: another process may take it.
        """
        request = await self._requests.read(work.id)
        if request is None or request.rev < work.rev:
            return False
        self.conductor.submit(request, work)
        return True

    def working(self, names: Sequence[str]) -> set[str]:
        """Those of ``names``, requests and hosts that are emptied, that this process works on."""
        return self.conductor.working(names) | self.emptying.working(set(names))

    async def ready(self) -> None:
        """Raises StoreError unless the home cell answers a read."""
        home = await self._stores.cell(self._settings.cell)
        await home.read_views(0)

    def depths(self) -> dict[str, int]:
        """How much waits where; how many agents and hosts are connected."""
        return {
            **self.conductor.depths(),
            "list_changes": self.listing.waiting,
            "background": self._background.running,
            "agents": self.hub.agents,
            "hosts": self.hub.hosts,
        }

    def diagnosis(self) -> Diagnosis:
        """This process now; the views are the cells it is connected to and whom it would ask."""
        views = {
            "schedulers": {
                cell.name: self.directory.schedulers(cell.name)
                for cell in self._settings.cluster.cells
            },
            "services": self.directory.services,
            "cassandra": self._stores.nodes(),
            "agents": self.hub.agents_seen(),
        }
        return diagnosis.diagnosis(self._settings, self.depths(), views)

    # -- parts

    async def _writer(self, cell: str) -> HostWriter:
        if cell not in self._writers:
            store = await self._stores.cell(cell)
            self._writers.setdefault(cell, self._new_writer(store))
        return self._writers[cell]

    def _new_writer(self, store: Any) -> HostWriter:
        return HostWriter(
            store, self._settings.scheduler, self._history, rng=self._rng, left=self._shares.left
        )

    async def _find_group(self, group_id: str) -> ServerGroup:
        found = await self._stores.catalog.groups.get(group_id)
        if found is None:
            raise groups.unknown_group(group_id)
        return found

    async def _connect_others(self) -> None:
        """Connect to the other cells ahead of the first claim there; a cut-off cell is tried on."""
        waiting = [c.name for c in self._settings.cluster.cells if c.name != self._settings.cell]
        while waiting:
            for name in list(waiting):
                try:
                    await self._stores.cell(name)
                    waiting.remove(name)
                except PlacerError as error:
                    log.warning("cell_not_reached", cell=name, error=str(error))
            await asyncio.sleep(_RECONNECT_S)

    def _notify(self, cell: str, row: HostRow, record: Record) -> asyncio.Task[None] | None:
        """Tell the host's agent, here or through the scheduler that holds its connection."""
        if cell == self._settings.cell and self.hub.deliver(row.host, record):
            return None
        notification = Notification(cell=cell, host=row.host, record=record)
        return self._background.start("notify", self._peers.notify(notification))

    def turned_away(self, peer: str, why: str, stage: str) -> None:
        """Have readers of events hear of one that wanted to be an agent; it comes again if this is lost."""
        self._background.start("turned_away", self.hub.turned_away(peer, why, stage))

    async def _show_move(self, cell: str, host: str, claim: str) -> None:
        """Have lists show how far a move is: by a process of the claim's cell, whose list it is."""
        if cell != self._settings.cell:
            await self._peers.show_move(cell, Marked(host, claim))
            return
        try:
            await self.shown.look(host, claim)
        except PlacerError as error:
            log.info("move_not_shown", claim=claim, why=str(error))

    async def _show_lost(self, lost: LostInstance) -> bool:
        """Have lists show that an instance is lost; False: not now."""
        cell = lost.placement.cell
        if cell != self._settings.cell:
            return await self._peers.show_lost(cell, lost)
        try:
            await self.listing.lost(lost)
        except PlacerError as error:
            log.info("loss_not_shown", instance=lost.placement.instance, why=str(error))
            return False
        return True

    async def _lapsed(self, row: HostRow, record: Record) -> None:
        await self._lifecycle.lapsed(row, record)

    async def _named(self, record: Record) -> bool:
        return await self._lifecycle.named(record)

    def _wake(self, opened: Opened) -> None:
        """Work on a request that is open again: here, or in its home cell."""
        cell = cell_of(opened.request.id)
        if cell != self._settings.cell:
            self._background.start("wake", self._peers.wake(cell, opened.work))
            return
        try:
            self.conductor.submit(opened.request, opened.work)
        except Overloaded:
            log.info("request_waits", request=opened.request.id)  # the scan brings it to somebody

    async def _duty_told(self, row: HostRow, by: str, why: str) -> None:
        await self.listing.host(row, seen_of(row), by=by, why=why)

    async def _worked_on(self, requests: list[str]) -> set[str]:
        return await self._peers.working(self._settings.cell, requests)

    async def _stop(self, loops: Sequence[asyncio.Task[None]]) -> None:
        """Take no new work, finish what is under way within the grace, then disconnect."""
        for task in loops:
            task.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        await self._announcer.say(stopped=True)
        await self.conductor.close(_GRACE_S)
        await self.listing.close(_GRACE_S)
        await self._write_sets.close(_GRACE_S)
        for writer in self._writers.values():
            await writer.close(_GRACE_S)
        await self._shares.close()
        await self._background.close(_GRACE_S)
        await self._peers.close()
        await self._stores.close()
        self._history.close()
