"""The name service's two halves in a process: it says where it is, and knows where the others are.

Each API server and scheduler writes its own row (placer.model.service) and reads all of them, one
query in ``announce_every_s``, from its own datacenter; so finding a scheduler costs no query. The
settings stay the way in and the way back: what they name is believed unless the table says for long
that it stopped, and all of it is asked while the table cannot be read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from placer import __version__
from placer.errors import StoreError
from placer.model.protocol import VERSIONS
from placer.model.service import MISSED_MAX, Service, ServiceKind, ServiceState
from placer.settings import Settings
from placer.store.services import ServiceStore

log = structlog.get_logger(__name__)

#: A look at the table that is younger than this serves who asks for a fresh one.
_FRESH_S: Final = 1.0


def clock_ms() -> int:
    return time.time_ns() // 1_000_000


class Directory:
    """All processes as the table had them last. ``look`` refreshes it; ``run`` keeps it fresh."""

    def __init__(
        self,
        settings: Settings,
        store: ServiceStore,
        now_ms: Callable[[], int] = clock_ms,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._store = store
        self._now_ms = now_ms
        self._clock = clock
        self._every_s = settings.cluster.announce_every_s
        self._services: tuple[Service, ...] = ()
        self._looked_at = float("-inf")
        self._tried_at = float("-inf")
        self._looking = asyncio.Lock()

    @property
    def services(self) -> tuple[Service, ...]:
        """All processes, in the order of their names."""
        return self._services

    def state(self, service: Service) -> ServiceState:
        return service.state(self._now_ms(), self._every_s)

    async def run(self) -> None:
        """Look for ever; what could not be read stays as it was, and no longer counts as known."""
        while True:
            await asyncio.sleep(self._every_s)
            await self.look()

    async def look(self) -> None:
        """Read the table, unless that was done or tried a moment ago. Raises nothing.

        Who asks while somebody reads waits for that: a table that does not answer is asked by one.
        """
        async with self._looking:
            if self._clock() - self._tried_at < _FRESH_S:
                return
            try:
                self._services = tuple(await self._store.all())
                self._looked_at = self._clock()
            except StoreError as error:
                log.warning("services_not_read", error=str(error))
            finally:
                self._tried_at = self._clock()

    def schedulers(self, cell: str) -> tuple[str, ...]:
        """Base URLs of the schedulers of ``cell`` as seen from here, those of the settings first.

        That is: the settings' but for those that stopped, and those that are up by the table. One
        that only the settings know may be of an older release or cut off from its store: it is asked.
        Raises UnknownCell.
        """
        named = self._settings.cluster.cell(cell).schedulers
        if self._clock() - self._looked_at > MISSED_MAX * self._every_s:
            return named
        region = self._settings.home.region
        states: dict[str, set[ServiceState]] = {}
        for one in self._services:
            url = one.address_from(region)
            if one.kind is ServiceKind.SCHEDULER and one.cell == cell and url:
                states.setdefault(url, set()).add(self.state(one))
        # An address may have had several processes: one that runs there now counts.
        kept = [url for url in named if states.get(url) != {ServiceState.STOPPED}]
        return tuple(
            dict.fromkeys(
                [*kept, *sorted(url for url, seen in states.items() if ServiceState.UP in seen)]
            )
        )

    def sharing(self, cell: str) -> int:
        """How many schedulers of ``cell`` are up by the table, and at least one: who asks is one."""
        return max(1, len(self._up(cell)))

    def for_agents(self, cell: str) -> tuple[str, ...]:
        """Where agents of ``cell`` find its schedulers that are up by the table, in their order."""
        return tuple(one.agents for one in self._up(cell) if one.agents)

    def _up(self, cell: str) -> list[Service]:
        """The schedulers of ``cell`` that are up by the table, in the order of their names."""
        return [
            one
            for one in self._services
            if one.kind is ServiceKind.SCHEDULER
            and one.cell == cell
            and self.state(one) is ServiceState.UP
        ]


class Announcer:
    """Keeps the row of this process. A row that could not be written is written by the next round."""

    def __init__(
        self,
        settings: Settings,
        kind: ServiceKind,
        store: ServiceStore,
        now_ms: Callable[[], int] = clock_ms,
        *,
        api: tuple[str, str] = ("", ""),
    ) -> None:
        """``api``: the least and the newest microversion that are served here, if any are."""
        self._store = store
        self._now_ms = now_ms
        self._every_s = settings.cluster.announce_every_s
        hub = kind is ServiceKind.SCHEDULER
        part = settings.scheduler if hub or settings.api is None else settings.api
        now = now_ms()
        self._service = Service(
            name=settings.process,
            kind=kind,
            region=settings.home.region,
            cell=settings.cell,
            version=__version__,
            started_ms=now,
            heard_ms=now,
            address=part.advertise,
            wan_address=part.advertise_wan,
            agents=settings.scheduler.agents_advertise if hub else "",
            protocol_min=VERSIONS.least if hub else 0,
            protocol_max=VERSIONS.newest if hub else 0,
            api_min=api[0],
            api_max=api[1],
        )

    async def run(self) -> None:
        """Say for ever that this process runs. Call ``say`` first, before anybody is served."""
        while True:
            await asyncio.sleep(self._every_s)
            await self.say()

    async def say(self, *, stopped: bool = False) -> None:
        """Write the row. Raises nothing: who is not heard counts as silent, and is asked all the same."""
        # Never earlier than the row before, or that one would stay.
        at_ms = max(self._now_ms(), self._service.heard_ms + 1)
        self._service = msgspec.structs.replace(self._service, heard_ms=at_ms, stopped=stopped)
        try:
            await self._store.put(self._service)
        except StoreError as error:
            log.warning("service_not_announced", error=str(error))
