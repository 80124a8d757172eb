"""Draining and evacuating: all instances of a host brought to others, some at a time.

What is to be done is in the host's row (its duty), what was begun in the instances' requests; nothing
is remembered here that a crash could lose. Every process looks through the cell's views now and then
for hosts that are to be emptied, asks its peers whether one of them works on it, and if not goes on.
Two that work on one host for a moment begin the same moves, which are then one; only the number of
moves at once may be exceeded meanwhile.

A move that finds no place ends, and is begun again later and later, for as long as the duty stands.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from placer.errors import PlacerError
from placer.model import moves
from placer.model.actions import MoveOrder
from placer.model.host_view import HostView
from placer.model.records import ClaimState, HostDuty, HostRow, HostStatus, Record, RowKind
from placer.model.request import MoveKind, Request
from placer.scheduler.actions import Actions
from placer.scheduler.worklog import RequestLog
from placer.settings import Settings
from placer.store.base import CellStore

log = structlog.get_logger(__name__)

#: Between two looks at a host that is being emptied.
_LOOK_S: Final = 1.0
#: Between two tries to move one instance: doubled from try to try.
_AGAIN_S: Final = 10.0
_AGAIN_MAX_S: Final = 300.0
_READS_AT_ONCE: Final = 16
#: Hosts that one process empties at once.
_HOSTS_MAX: Final = 64
#: Claims that one line of the log names.
_TOLD_MAX: Final = 20

#: Which of these names other processes of the cell work on, as far as they answer.
WorkedOn = Callable[[list[str]], Awaitable[set[str]]]


def task_name(host: str) -> str:
    """What peers are asked for: no request is called so."""
    return f"host:{host}"


def wants(duty: HostDuty, status: HostStatus) -> MoveKind | None:
    """How instances leave a host now; None: they stay, or wait."""
    if duty is HostDuty.DRAINING and status is HostStatus.UP:
        return MoveKind.MOVE
    if duty is HostDuty.EVACUATING and status is HostStatus.DOWN:
        return MoveKind.EVACUATE
    return None


def to_go(row: HostRow) -> list[Record]:
    """Claims whose instances have yet to find another place; those that leave anyway are not.

    One that a write set has not decided yet is: it may turn out to stay.
    """
    return [r for r in row.claims if r.request and r.state is not ClaimState.DELETING]


def to_stay(row: HostRow) -> list[Record]:
    """Claims that belong to no request: there is nobody who could be asked for another place."""
    return [r for r in row.claims if not r.request and r.state is not ClaimState.DELETING]


def why_it_stays(record: Record, request: Request | None) -> str:
    """Why no move of the claim's instance can begin now; empty if one can, or did."""
    if record.state is ClaimState.DELETING:
        return ""
    if not record.request:
        return "It was claimed without a request: only who claimed it can take it away."
    if record.tag:
        return "Whether it is claimed is being decided: look again in a moment."
    if request is None:
        return f"Its request {record.request} is not in the log: it is given up when that is sure."
    here = moves.placement_of(request, record.consumer)
    if all(held.claim != record.id for held in request.held):
        return "Its request does not name it: it is given up, or ends with its lease."
    if here is None or here.claim != record.id or moves.move_of(request, record.consumer):
        return ""
    if request.stage not in moves.GOES_ON:
        return f"Its request is {request.stage}."
    return "" if here.built else "It is being built: it goes once it runs."


class _Tries:
    """How often each instance was asked to move, and when it may be again."""

    def __init__(self) -> None:
        self._tries: dict[str, int] = {}
        self._due: dict[str, float] = {}

    def due(self, instance: str, now: float) -> bool:
        return self._due.get(instance, 0.0) <= now

    def tried(self, instance: str, now: float) -> None:
        tries = self._tries.get(instance, 0)
        self._tries[instance] = tries + 1
        self._due[instance] = now + min(_AGAIN_MAX_S, _AGAIN_S * 2.0 ** min(tries, 10))


class Emptying:
    """The hosts of its own cell that one process empties."""

    def __init__(
        self,
        settings: Settings,
        store: CellStore,
        requests: RequestLog,
        actions: Actions,
        worked_on: WorkedOn,
        *,
        rng: random.Random,
    ) -> None:
        self._settings = settings
        self._store = store
        self._requests = requests
        self._actions = actions
        self._worked_on = worked_on
        self._rng = rng
        self._hosts: dict[str, asyncio.Task[None]] = {}

    def working(self, names: set[str]) -> set[str]:
        """Those of ``names`` that this process works on."""
        return {name for name in names if name.removeprefix("host:") in self._hosts}

    def start(self, host: str) -> None:
        """Empty ``host`` until nothing is left to do, unless that goes on already."""
        if host in self._hosts or len(self._hosts) >= _HOSTS_MAX:
            return
        task = asyncio.get_running_loop().create_task(self._empty(host))
        self._hosts[host] = task
        task.add_done_callback(lambda _: self._hosts.pop(host, None))

    async def run(self) -> None:
        """Find hosts that nobody empties, for ever: all of the cell once in ``sweep_every_s``."""
        try:
            while True:
                await asyncio.sleep(
                    self._settings.scheduler.sweep_every_s * self._rng.uniform(0.5, 1.0)
                )
                try:
                    await self.look()
                except PlacerError as error:
                    log.warning("hosts_not_looked_through", why=str(error))
        finally:
            for task in list(self._hosts.values()):
                task.cancel()

    async def look(self) -> None:
        """Take up what nobody works on. Raises StoreError."""
        for bucket in range(self._settings.home.host_buckets):
            found = [
                task_name(view.host)
                for view in await self._store.read_views(bucket)
                if _unfinished(view) and view.host not in self._hosts
            ]
            if found:
                elsewhere = await self._worked_on(found)
                for name in set(found) - elsewhere:
                    self.start(name.removeprefix("host:"))

    # -- one host

    async def _empty(self, host: str) -> None:
        tries = _Tries()
        while True:
            try:
                row = await self._store.read_row(host)
                if row is None or wants(row.duty.state, row.status) is None or not to_go(row):
                    _tell_of_those_that_stay(row)
                    return
                await self._pass(row, tries)
            except PlacerError as error:
                log.info("host_waits", host=host, why=str(error))
            await asyncio.sleep(_LOOK_S * self._rng.uniform(0.8, 1.2))

    async def _pass(self, row: HostRow, tries: _Tries) -> None:
        """Begin as many moves as may be under way at once."""
        slots = asyncio.Semaphore(_READS_AT_ONCE)

        async def read(record: Record) -> Request | None:
            async with slots:
                return await self._requests.read(record.request)

        records = to_go(row)
        requests = await asyncio.gather(*(read(record) for record in records))
        under_way = sum(
            request is not None and moves.move_of(request, record.consumer) is not None
            for record, request in zip(records, requests, strict=True)
        )
        free = self._settings.scheduler.moves_per_host_max - under_way
        now = asyncio.get_running_loop().time()
        for record, request in zip(records, requests, strict=True):
            if free <= 0:
                return
            if request is None or not _may_begin(request, record):
                continue
            if tries.due(record.consumer, now):
                tries.tried(record.consumer, now)
                free -= await self._begin(row, record)

    async def _begin(self, row: HostRow, record: Record) -> bool:
        kind = wants(row.duty.state, row.status)
        assert kind is not None
        order = MoveOrder(
            request=record.request,
            instance=record.consumer,
            kind=kind,
            by=row.duty.by,
            why=f"{row.name} is {row.duty.state}{f': {row.duty.why}' if row.duty.why else ''}",
        )
        try:
            await self._actions.begin(order)
        except PlacerError as error:
            # It is being built, or moved by somebody else: another look will tell.
            log.info("move_not_begun", claim=record.id, why=str(error))
            return False
        return True


def _tell_of_those_that_stay(row: HostRow | None) -> None:
    staying = to_stay(row) if row is not None and row.duty.state is not HostDuty.ENABLED else []
    if row is not None and staying:
        claims = [record.id for record in staying[:_TOLD_MAX]]
        log.warning("claims_stay", host=row.name, claims=claims, count=len(staying))


def _may_begin(request: Request, record: Record) -> bool:
    """Whether the claim is the place of an instance that goes nowhere yet."""
    if record.tag:
        return False
    here = moves.placement_of(request, record.consumer)
    return (
        here is not None
        and here.claim == record.id
        and moves.move_of(request, record.consumer) is None
    )


def _unfinished(view: HostView) -> bool:
    return (
        view.kind is RowKind.HOST
        and bool(view.claims)
        and wants(view.duty.state, view.status) is not None
    )
