"""One scheduler process put together: stores, writers, conductor, hub, peers, sweeper.

Nothing here is state that is not in the store, but for what is in flight and which agents are
connected. Any number of these run in a cell.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

import structlog

from placer.claims.protocol import HostWriter
from placer.errors import Overloaded, PlacerError
from placer.history import HistoryWriter
from placer.model import ids
from placer.model.instance import Instance
from placer.model.records import HostRow, Record
from placer.model.request import Request
from placer.scheduler import sweeper
from placer.scheduler.agent_hub import AgentHub
from placer.scheduler.background import Background
from placer.scheduler.conductor import Conductor
from placer.scheduler.peers import Notification, Peers
from placer.settings import Settings, read_secret
from placer.store import Stores, open_cells

log = structlog.get_logger(__name__)

_GRACE_S: Final = 5.0
_RECONNECT_S: Final = 1.0


class SchedulerProcess:
    """Use as an async context manager; its methods are the service's calls."""

    def __init__(self, settings: Settings, *, rng: random.Random | None = None) -> None:
        self._settings = settings
        self._rng = rng or random.Random()
        self._writers: dict[str, HostWriter] = {}
        self._background = Background(settings.scheduler.background_writes_max)
        self._history = HistoryWriter(settings.history.dir, settings.process)
        self._peers = Peers(
            settings.cluster,
            settings.scheduler.advertise,
            read_secret(settings.service_token_file),
        )
        self._in_flight = 0
        self._stack = AsyncExitStack()
        self._stores: Stores
        self._conductor: Conductor
        self.hub: AgentHub

    async def __aenter__(self) -> SchedulerProcess:
        """Connect to the home cell and start; other cells are connected in the background."""
        settings = self._settings
        self._stores = await open_cells(settings)
        home = await self._stores.cell(settings.cell)
        self._writers[settings.cell] = self._new_writer(home)
        self._conductor = Conductor(
            settings, self._stores, self._writer, self._history, self._notify, rng=self._rng
        )
        self.hub = AgentHub(
            process=settings.process,
            cell=settings.cell,
            writer=self._writers[settings.cell],
            on_built=self._built,
            on_gone=self._gone,
            confirmed=self._confirmed,
            serves_elsewhere=self._serves_elsewhere,
            grace_s=settings.scheduler.agent_grace_s,
            deadline_s=settings.cluster.claim_deadline_s,
        )
        loops = [
            asyncio.create_task(self.hub.run()),
            asyncio.create_task(
                sweeper.run(settings, home, self._writers[settings.cell], self._rng)
            ),
            asyncio.create_task(self._connect_others()),
        ]
        self._stack.push_async_callback(self._stop, loops)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    # -- the service's calls

    async def schedule(self, request: Request) -> Request:
        """Decide ``request``; raises Overloaded at the bound on requests in flight."""
        limit = self._settings.scheduler.queue_max
        if self._in_flight >= limit:
            raise Overloaded(f"{limit} requests are being decided here.", remedy="Retry later.")
        self._in_flight += 1
        try:
            return await self._conductor.schedule(request)
        finally:
            self._in_flight -= 1

    def notified(self, notification: Notification) -> bool:
        """A claim on a host of this cell; True if its agent is connected here and was told."""
        return self.hub.deliver(notification.host, notification.record)

    async def ready(self) -> None:
        """Raises StoreError unless the home cell answers a read."""
        home = await self._stores.cell(self._settings.cell)
        await home.read_views(0)

    # -- parts

    async def _writer(self, cell: str) -> HostWriter:
        if cell not in self._writers:
            store = await self._stores.cell(cell)
            self._writers.setdefault(cell, self._new_writer(store))
        return self._writers[cell]

    def _new_writer(self, store: Any) -> HostWriter:
        return HostWriter(store, self._settings.scheduler, self._history, rng=self._rng)

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

    def _notify(self, cell: str, row: HostRow, record: Record) -> None:
        """Tell the host's agent, here or through the scheduler that holds its connection."""
        if cell == self._settings.cell and self.hub.deliver(row.host, record):
            return
        notification = Notification(cell=cell, host=row.host, record=record)
        self._background.start("notify", self._peers.notify(notification))

    async def _serves_elsewhere(self, hosts: set[str]) -> set[str]:
        return await self._peers.serve(self._settings.cell, hosts)

    async def _confirmed(self, record: Record) -> bool:
        """Whether the claim's requester was told of it, as its request's row says."""
        store = await self._stores.cell(ids.cell_of(record.request))
        request = await store.get_request(record.request)
        return (
            request is not None
            and request.choice is not None
            and (request.choice.claim == record.id)
        )

    async def _built(self, row: HostRow, record: Record) -> None:
        await self._list(row, record, "built")

    async def _gone(self, row: HostRow, record: Record) -> None:
        await self._list(row, record, "gone")

    async def _list(self, row: HostRow, record: Record, state: str) -> None:
        """Write the instance to the global list, ordered by the row's revision."""
        now_ms = time.time_ns() // 1_000_000
        await self._stores.globals.put_instance(
            Instance(
                id=record.consumer,
                project=record.project,
                region=self._settings.home.region,
                cell=self._settings.cell,
                host=row.host,
                host_name=row.name,
                request=record.request,
                claim=record.id,
                state=state,
                resources={name: -amount for name, amount in record.amounts.items()},
                created_ms=record.created_ms,
                updated_ms=now_ms,
                rev=row.rev,
            )
        )

    async def _stop(self, loops: Sequence[asyncio.Task[None]]) -> None:
        """Take no new work, finish what is under way within the grace, then disconnect."""
        for task in loops:
            task.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        for writer in self._writers.values():
            await writer.close(_GRACE_S)
        await self._background.close(_GRACE_S)
        await self._peers.close()
        await self._stores.close()
        self._history.close()
