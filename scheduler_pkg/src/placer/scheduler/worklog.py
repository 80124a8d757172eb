"""The request log as one scheduler process changes it: every change an LWT on the request's row.

Several processes may work on one request: a scheduler that was taken for dead, one that resumed its
work, an API server that cancels, the hub that heard of a build. The naive way, plain writes ordered
by clocks, lets the last writer win: a zombie's outcome buries the one that the caller was told of.
So whoever changes a request says which revision it decided from, and exactly one change of each
revision stands. ``change`` ends in one of three ways:

  it stands    the request is as it was given.
  it is lost   what is stored is told; nothing of the caller's is in it, and never will be: the
               revision moved. Whoever lost gives back what it had claimed.
  unknown      settled by a serial read: ours there means it stands; the old revision there means
               the same LWT again, whose condition holds for one of the two only. When even that
               is open at the deadline StoreUnknown is raised, and the work row brings somebody.

What tells two changes of one revision apart is the content: each names the process that made it, and
within a process two equal changes are one.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import structlog
from msgspec import Struct

from placer.errors import NotFound, StoreError, StoreUnknown
from placer.model import ids
from placer.model.request import Request, Stage
from placer.model.work import Work
from placer.store.base import CellStores

log = structlog.get_logger(__name__)

#: Placed requests remembered until their build is reported; a forgotten one is read again.
_REMEMBERED_MAX: Final = 4096
_BACKOFF_S: Final = 0.01
_BACKOFF_MAX_S: Final = 0.5
_DROP_TRIES: Final = 3


def clock_ms() -> int:
    return time.time_ns() // 1_000_000


class Changed(Struct, frozen=True):
    """What became of a change: it ``stands`` and ``request`` is it, or ``request`` is what is stored."""

    request: Request
    stands: bool


class Opened(Struct, frozen=True):
    """A request that somebody must work on, and the row that says so."""

    request: Request
    work: Work


class RequestLog:
    """Requests of all cells, each in the keyspace of its home."""

    def __init__(
        self,
        process: str,
        stores: CellStores,
        deadline_s: float,
        *,
        now_ms: Callable[[], int] = clock_ms,
    ) -> None:
        self._process = process
        self._stores = stores
        self._deadline_s = deadline_s
        self._now_ms = now_ms
        self._remembered: OrderedDict[str, Request] = OrderedDict()

    @property
    def now_ms(self) -> int:
        return self._now_ms()

    async def read(self, request_id: str, *, serial: bool = False) -> Request | None:
        """The stored request; None if there is none. Raises StoreError, UnknownCell."""
        store = await self._stores.cell(ids.cell_of(request_id))
        return await store.get_request(request_id, serial=serial)

    async def latest(self, request_id: str) -> Request | None:
        """The request as this process wrote it last, else as stored: a guess for ``change``."""
        return self._remembered.get(request_id) or await self.read(request_id)

    def remembers(self, request: Request) -> bool:
        """Whether ``request`` is a memory of this process and not what was just read."""
        return self._remembered.get(request.id) is request

    async def change(self, old: Request, stage: Stage, why: str = "", **changed: object) -> Changed:
        """Bring ``old`` to ``stage``.

        Raises StoreUnavailable (nothing was written), StoreUnknown (it may have been), NotFound.
        """
        new = old.to(stage, self.now_ms, why, **{"owner": self._process, **changed})
        return await self.put(old, new)

    async def put(self, old: Request, new: Request) -> Changed:
        """Replace ``old`` by ``new``; as ``change``."""
        store = await self._stores.cell(ids.cell_of(old.id))
        until = asyncio.get_running_loop().time() + self._deadline_s
        tries = 0
        while True:
            tries += 1
            try:
                if await store.change_request(new, if_rev=old.rev):
                    return Changed(self._remember(new), stands=True)
            except StoreUnknown:
                log.info("request_change_unknown", request=old.id, attempt=tries)
            stored = await self._settled(old.id, until)
            if stored == new or stored.rev != old.rev:
                return Changed(self._remember(stored), stands=stored == new)
            if asyncio.get_running_loop().time() >= until:
                raise StoreUnknown(f"The outcome of a change of request {old.id} is open.")
            await asyncio.sleep(min(_BACKOFF_MAX_S, _BACKOFF_S * 2.0 ** min(tries, 10)))

    async def _settled(self, request_id: str, until: float) -> Request:
        """What a serial read says; asked again until ``until``. Raises StoreUnknown, NotFound."""
        tries = 0
        while True:
            tries += 1
            try:
                stored = await self.read(request_id, serial=True)
            except StoreError as error:
                if asyncio.get_running_loop().time() >= until:
                    raise StoreUnknown(
                        f"The outcome of a change of request {request_id} is open: {error}"
                    ) from error
                await asyncio.sleep(min(_BACKOFF_MAX_S, _BACKOFF_S * 2.0 ** min(tries, 10)))
                continue
            if stored is None:
                raise NotFound(f"There is no request {request_id}.")
            return stored

    async def reopen(
        self, old: Request, stage: Stage, why: str, **changed: object
    ) -> Opened | None:
        """``change`` to a stage in which somebody must work; its work row comes first.

        None if the change was lost. A row whose change is not there yet is left
        alone by the scan, and one whose change never comes is dropped by it.
        """
        now_ms = self.now_ms
        new = old.to(stage, now_ms, why, **{"owner": self._process, **changed})
        work = Work(new.id, new.rev, now_ms)
        store = await self._stores.cell(ids.cell_of(old.id))
        await store.add_work(work)
        changed_to = await self.put(old, new)
        return Opened(new, work) if changed_to.stands else None

    async def drop(self, work: Work) -> None:
        """Delete a work row; what stays after a few tries the scan deletes."""
        for attempt in range(1, _DROP_TRIES + 1):
            try:
                store = await self._stores.cell(ids.cell_of(work.id))
                await store.drop_work(work)
                return
            except StoreError as error:
                log.info("work_not_dropped", request=work.id, attempt=attempt, why=str(error))
                await asyncio.sleep(_BACKOFF_S * 2.0**attempt)

    def _remember(self, request: Request) -> Request:
        if request.stage is Stage.PLACED:
            # Timings and reasons of old are of no use to whoever reports a build.
            self._remembered[request.id] = request
            self._remembered.move_to_end(request.id)
            if len(self._remembered) > _REMEMBERED_MAX:
                self._remembered.popitem(last=False)
        else:
            self._remembered.pop(request.id, None)
        return request
