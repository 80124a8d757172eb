"""A store for simulations: rows with the semantics of LWTs, and every way an answer can be lost.

Never shipped. Each call takes a random while, so that tasks interleave; an LWT may be applied at
once, after its answer was lost (at a random later time: a zombie), or never, and its caller may hear
nothing in each case. All randomness comes from one seeded generator.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

from placer.errors import StoreUnavailable, StoreUnknown
from placer.model.host_view import HostView
from placer.model.records import HostRow
from placer.model.request import Request


class SimStore:
    """``CellStore`` of one simulated cell, shared by all simulated processes."""

    def __init__(
        self, rng: random.Random, *, unknown: float = 0.0, unavailable: float = 0.0
    ) -> None:
        self.rng = rng
        self.unknown = unknown
        self.unavailable = unavailable
        self.read_loss = unknown / 2
        self.serial_read_loss = unknown / 2
        self.rows: dict[str, HostRow] = {}
        self.views: dict[str, HostView] = {}
        self.requests: dict[str, Request] = {}
        self.applied: list[tuple[str, int, HostRow]] = []
        self.zombies: list[asyncio.Task[None]] = []

    @property
    def cell(self) -> str:
        return "c1"

    @property
    def region(self) -> str:
        return "r1"

    async def _travel(self) -> None:
        await asyncio.sleep(self.rng.uniform(0, 0.003))

    async def read_row(self, host: str, *, serial: bool = False) -> HostRow | None:
        await self._travel()
        if self.rng.random() < (self.serial_read_loss if serial else self.read_loss):
            raise StoreUnknown("read lost")
        row = self.rows.get(host)
        await self._travel()
        return row

    async def insert_row(self, row: HostRow) -> bool:
        return await self._lwt(0, row)

    async def update_row(self, row: HostRow, *, if_rev: int) -> bool:
        return await self._lwt(if_rev, row)

    async def _lwt(self, if_rev: int, row: HostRow) -> bool:
        await self._travel()
        if self.rng.random() < self.unavailable:
            raise StoreUnavailable("too few replicas")
        if self.rng.random() < self.unknown:
            fate = self.rng.random()
            if fate < 0.4:
                self._apply(if_rev, row)
            elif fate < 0.8:
                self.zombies.append(asyncio.ensure_future(self._zombie(if_rev, row)))
            raise StoreUnknown("answer lost")
        applied = self._apply(if_rev, row)
        await self._travel()
        return applied

    async def _zombie(self, if_rev: int, row: HostRow) -> None:
        await asyncio.sleep(self.rng.uniform(0, 0.2))
        self._apply(if_rev, row)

    def _apply(self, if_rev: int, row: HostRow) -> bool:
        current = self.rows.get(row.host)
        if (current.rev if current else 0) != if_rev:
            return False
        self.rows[row.host] = row
        self.applied.append((row.host, if_rev, row))
        return True

    async def scan_rows(self) -> AsyncIterator[HostRow]:
        for row in list(self.rows.values()):
            yield row

    async def read_views(self, bucket: int) -> list[HostView]:
        await self._travel()
        return list(self.views.values())

    async def write_view(self, view: HostView) -> None:
        await self._travel()
        known = self.views.get(view.host)
        if known is None or known.rev < view.rev:
            self.views[view.host] = view

    async def put_request(self, request: Request) -> None:
        known = self.requests.get(request.id)
        if known is None or known.rev < request.rev:
            self.requests[request.id] = request

    async def get_request(self, request_id: str) -> Request | None:
        return self.requests.get(request_id)
