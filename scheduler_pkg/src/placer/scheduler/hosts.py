"""Operators' calls about one host of this cell: its duty, and what is on it.

Every call is idempotent; what follows from it (``emptying.py``) goes on when this process dies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from placer.claims.duties import SetDuty
from placer.claims.fencing import HOST_UP
from placer.claims.operations import Refusal
from placer.claims.protocol import HostWriter
from placer.errors import Conflict, NotFound
from placer.model import ids, moves
from placer.model.host_detail import OPERATIONS, HostClaim, HostDetail, HostOrder
from placer.model.host_view import summarize
from placer.model.instance import HostSeen
from placer.model.records import (
    ClaimState,
    Duty,
    HostDuty,
    HostRow,
    HostStatus,
    Record,
    RowKind,
)
from placer.model.request import Request
from placer.scheduler.emptying import Emptying, to_go, to_stay, why_it_stays
from placer.scheduler.worklog import RequestLog
from placer.settings import Settings
from placer.store.base import CellStore

_READS_AT_ONCE: Final = 16

#: What lists say of instances on a host with each duty, while it is up.
_SEEN: Final = {
    HostDuty.ENABLED: HostSeen.UP,
    HostDuty.DISABLED: HostSeen.DISABLED,
    HostDuty.DRAINING: HostSeen.DRAINING,
    HostDuty.EVACUATING: HostSeen.DRAINING,
}

#: Duties of hosts that instances are to leave.
_EMPTIED: Final = (HostDuty.DRAINING, HostDuty.EVACUATING)

#: Told of a host whose duty changed: its row, by whom, why.
Told = Callable[[HostRow, str, str], Awaitable[None]]


def seen_of(row: HostRow) -> HostSeen:
    """What lists say of the instances on ``row``: that it is down weighs more than its duty."""
    return HostSeen.DOWN if row.status is HostStatus.DOWN else _SEEN[row.duty.state]


class Hosts:
    """Hosts of the own cell. Methods raise NotFound, Conflict, StoreError."""

    def __init__(
        self,
        settings: Settings,
        store: CellStore,
        writer: HostWriter,
        requests: RequestLog,
        emptying: Emptying,
        told: Told,
    ) -> None:
        self._settings = settings
        self._store = store
        self._writer = writer
        self._requests = requests
        self._emptying = emptying
        self._told = told

    async def order(self, name: str, operation: str, order: HostOrder) -> HostDetail:
        """Give the host called ``name`` its duty; the host then. Draining goes on afterwards."""
        state = OPERATIONS.get(operation)
        if state is None:
            raise NotFound(
                f"A host cannot be asked to {operation}.", remedy=f"Use {', '.join(OPERATIONS)}."
            )
        duty = Duty(state, order.by, order.why, self._requests.now_ms)
        result = await self._writer.submit(
            ids.host_uuid(self._settings.cell, name),
            SetDuty(duty),
            deadline_s=self._settings.cluster.claim_deadline_s,
        )
        if isinstance(result, Refusal):
            raise self._refused(name, result)
        await self._told(result, order.by, order.why)
        if state in _EMPTIED:
            self._emptying.start(result.host)
        return await self._detail(result)

    async def show(self, name: str) -> HostDetail:
        """The host called ``name``, with what is on it and how far that has gone."""
        row = await self._store.read_row(ids.host_uuid(self._settings.cell, name))
        if row is None or row.kind is not RowKind.HOST:
            raise self._unknown(name)
        return await self._detail(row)

    async def _detail(self, row: HostRow) -> HostDetail:
        slots = asyncio.Semaphore(_READS_AT_ONCE)

        async def claim(record: Record) -> HostClaim:
            async with slots:
                request = await self._requests.read(record.request) if record.request else None
            return _shown(record, request, row.duty.state)

        home = self._settings.home
        return HostDetail(
            host=summarize(row, cell=home.name, region=home.region),
            claims=tuple(await asyncio.gather(*(claim(record) for record in row.claims))),
            left=len(to_go(row)),
            leaving=sum(record.state is ClaimState.DELETING for record in row.claims),
            staying=len(to_stay(row)),
        )

    def _refused(self, name: str, refusal: Refusal) -> Conflict | NotFound:
        if refusal.reason == HOST_UP:
            return Conflict(
                f"Host {name} is up: its instances run.",
                remedy="Drain it; or, if it runs nothing, stop its agent, and evacuate it once "
                "placer host show says down.",
            )
        return self._unknown(name)

    def _unknown(self, name: str) -> NotFound:
        return NotFound(
            f"Cell {self._settings.cell} has no host called {name!r}.",
            remedy="placer host list shows those it has.",
        )


def _shown(record: Record, request: Request | None, duty: HostDuty) -> HostClaim:
    assert record.state is not None
    move = moves.move_of(request, record.consumer) if request else None
    said = next(
        (c.why for c in reversed(request.changes) if record.consumer in c.why)
        if request
        else iter(()),
        "",
    )
    return HostClaim(
        claim=record.id,
        instance=record.consumer,
        request=record.request,
        state=record.state,
        moving=move.kind if move else "",
        to=move.new.host_name if move and move.new else "",
        said=said,
        stays=why_it_stays(record, request) if duty in _EMPTIED else "",
    )
