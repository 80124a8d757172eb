"""A store for simulations: rows with the semantics of LWTs, and every way an answer can be lost.

Never shipped. Each call takes a random while, so that tasks interleave; an LWT may be applied at
once, after its answer was lost (at a random later time: a zombie), or never, and its caller may hear
nothing in each case; a caller that dies while its LWT is under way leaves one of these too. A cell
can be cut off for a while. All randomness comes from one seeded generator.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable

from placer.errors import StoreUnavailable, StoreUnknown
from placer.model import ids
from placer.model.commit_record import CommitRecord, Decision
from placer.model.hint import BucketHint
from placer.model.host_view import HostView, bucket_of
from placer.model.records import HostRow
from placer.model.request import Request
from placer.model.work import Work, shard_of
from placer.store.base import CellStore

WORK_SHARDS = 2
_TRIP_S = 0.003
_ZOMBIE_S = 0.2
#: A zombie that outlives every deadline and every record.
_LATE_ZOMBIE_S = 20.0


class SimStore:
    """``CellStore`` of one simulated cell, shared by all simulated processes."""

    def __init__(
        self,
        rng: random.Random,
        *,
        unknown: float = 0.0,
        unavailable: float = 0.0,
        cell: str = "c1",
        region: str = "r1",
    ) -> None:
        self.rng = rng
        self.unknown = unknown
        self.unavailable = unavailable
        self.read_loss = unknown / 2
        self.serial_read_loss = unknown / 2
        self.cut = False
        #: Nothing takes time and nothing is lost: for what comes before and after a run.
        self.quiet = False
        self.rows: dict[str, HostRow] = {}
        self.records: dict[str, CommitRecord] = {}
        self.noted: dict[str, int] = {}
        self.views: dict[str, HostView] = {}
        self.requests: dict[str, Request] = {}
        self.work: dict[tuple[str, int], Work] = {}
        self.by_project: dict[str, set[tuple[int, str]]] = {}
        self.hints: dict[int, tuple[int, BucketHint]] = {}
        #: Every LWT on a row that applied: (host, the revision it found, the row it made).
        self.applied: list[tuple[str, int, HostRow]] = []
        #: Every LWT on a record that applied: (write set, its state then; None: deleted).
        self.decided: list[tuple[str, Decision | None]] = []
        #: What applied in all cells, in order: (cell, host) of a row, or the id of a write set.
        self.order: list[tuple[str, str] | str] = []
        self.zombies: list[asyncio.Task[None]] = []
        self._cell, self._region = cell, region

    @property
    def cell(self) -> str:
        return self._cell

    @property
    def region(self) -> str:
        return self._region

    async def _wait(self) -> None:
        if not self.quiet:
            await asyncio.sleep(self.rng.random() * _TRIP_S)

    async def _travel(self) -> None:
        await self._wait()
        if self.cut:
            raise StoreUnavailable("cut off")

    async def _read(self, *, serial: bool) -> None:
        await self._travel()
        if not self.quiet and self.rng.random() < (
            self.serial_read_loss if serial else self.read_loss
        ):
            raise StoreUnknown("read lost")

    async def _lwt(self, apply: Callable[[], bool]) -> bool:
        """One LWT, whatever it is on: to the store, what happens there, and the answer back."""
        try:
            await self._travel()
        except asyncio.CancelledError:
            # Its sender died; it may have left before.
            self._leave_behind(apply)
            raise
        if self.quiet:
            return apply()
        if self.rng.random() < self.unavailable:
            raise StoreUnavailable("too few replicas")
        if self.rng.random() < self.unknown:
            self._leave_behind(apply)
            raise StoreUnknown("answer lost")
        applied = apply()
        await self._wait()
        return applied

    def _leave_behind(self, apply: Callable[[], bool]) -> None:
        """An LWT that nobody hears of: it applies now, later, or never."""
        fate = self.rng.random()
        if fate < 0.4:
            apply()
        elif fate < 0.8:
            self.zombies.append(asyncio.ensure_future(self._zombie(apply)))

    async def _zombie(self, apply: Callable[[], bool]) -> None:
        late = self.rng.random() < 0.1
        await asyncio.sleep(self.rng.random() * (_LATE_ZOMBIE_S if late else _ZOMBIE_S))
        apply()

    # -- rows

    async def read_row(self, host: str, *, serial: bool = False) -> HostRow | None:
        await self._read(serial=serial)
        row = self.rows.get(host)
        await self._wait()
        return row

    async def insert_row(self, row: HostRow) -> bool:
        return await self._lwt(lambda: self._apply(0, row))

    async def update_row(self, row: HostRow, *, if_rev: int) -> bool:
        return await self._lwt(lambda: self._apply(if_rev, row))

    def _apply(self, if_rev: int, row: HostRow) -> bool:
        current = self.rows.get(row.host)
        if (current.rev if current else 0) != if_rev:
            return False
        self.rows[row.host] = row
        self.applied.append((row.host, if_rev, row))
        self.order.append((self.cell, row.host))
        return True

    async def scan_rows(self) -> AsyncIterator[HostRow]:
        for row in list(self.rows.values()):
            yield row

    async def scan_revs(self) -> AsyncIterator[tuple[str, int]]:
        await self._read(serial=False)
        for row in list(self.rows.values()):
            yield row.host, row.rev

    # -- commit records

    async def note_writeset(self, writeset: str) -> None:
        await self._read(serial=False)
        self.noted[writeset] = ids.writeset_slot(writeset)

    async def noted_writesets(self, slot: int) -> list[str]:
        await self._read(serial=False)
        return [name for name, noted in self.noted.items() if noted == slot]

    async def forget_writeset(self, writeset: str) -> None:
        await self._read(serial=False)
        self.noted.pop(writeset, None)

    async def add_record(self, record: CommitRecord) -> bool:
        return await self._lwt(lambda: self._change(None, record.id, record))

    async def read_record(self, writeset: str) -> CommitRecord | None:
        await self._read(serial=True)
        record = self.records.get(writeset)
        await self._wait()
        return record

    async def decide_record(self, writeset: str, decision: Decision) -> bool:
        def apply() -> bool:
            old = self.records.get(writeset)
            if old is None:
                return False
            new = CommitRecord(old.id, decision, old.rows, old.created_ms)
            return self._change(Decision.PREPARING, writeset, new)

        return await self._lwt(apply)

    async def delete_record(self, writeset: str, *, if_state: Decision) -> bool:
        return await self._lwt(lambda: self._change(if_state, writeset, None))

    def _change(self, found: Decision | None, writeset: str, new: CommitRecord | None) -> bool:
        current = self.records.get(writeset)
        if (current.state if current else None) != found:
            return False
        if new is None:
            del self.records[writeset]
        else:
            self.records[writeset] = new
        self.decided.append((writeset, new.state if new else None))
        self.order.append(writeset)
        return True

    # -- views

    async def read_views(self, bucket: int) -> list[HostView]:
        await self._travel()
        # One bucket holds all hosts here; pools have the two of their own.
        return [v for v in self.views.values() if bucket_of(v, 1) == min(bucket, 0)]

    async def write_view(self, view: HostView) -> None:
        await self._travel()
        known = self.views.get(view.host)
        if known is None or known.rev < view.rev:
            self.views[view.host] = view

    # -- requests

    async def add_request(self, request: Request, work: Work) -> None:
        await self._travel()
        self.requests.setdefault(request.id, request)
        await self.add_work(work)

    async def add_request_once(self, request: Request) -> bool:
        return await self._lwt(lambda: self._put_request(0, request))

    async def change_request(self, request: Request, *, if_rev: int) -> bool:
        return await self._lwt(lambda: self._put_request(if_rev, request))

    def _put_request(self, if_rev: int, request: Request) -> bool:
        known = self.requests.get(request.id)
        if (known.rev if known else 0) != if_rev:
            return False
        self.requests[request.id] = request
        return True

    async def get_request(self, request_id: str, *, serial: bool = False) -> Request | None:
        await self._read(serial=serial)
        return self.requests.get(request_id)

    async def add_work(self, work: Work) -> None:
        self.work[work.id, work.rev] = work

    async def drop_work(self, work: Work) -> None:
        self.work.pop((work.id, work.rev), None)

    async def read_work(self, shard: int, slot: int) -> list[Work]:
        found = (w for w in self.work.values() if w.slot == slot)
        return [w for w in found if shard_of(w.id, WORK_SHARDS) == shard]

    # -- the list of requests by project

    async def note_request(self, request: Request) -> None:
        await self._read(serial=False)
        self.by_project.setdefault(request.spec.project, set()).add(
            (request.created_ms, request.id)
        )

    async def page_requests(
        self, project: str, *, limit: int, before: tuple[int, str] | None = None
    ) -> list[tuple[int, str]]:
        await self._read(serial=False)
        known = sorted(self.by_project.get(project, ()), reverse=True)
        return [key for key in known if before is None or key < before][:limit]

    # -- hints

    async def read_hints(self) -> list[BucketHint]:
        await self._read(serial=False)
        return [hint for _, hint in self.hints.values()]

    async def write_hint(self, hint: BucketHint, at_us: int) -> None:
        await self._read(serial=False)
        known = self.hints.get(hint.bucket)
        if known is None or known[0] < at_us:
            self.hints[hint.bucket] = at_us, hint


class SimStores:
    """``CellStores`` of several simulated cells, for one or many processes."""

    def __init__(self, *stores: SimStore) -> None:
        self.by_cell = {store.cell: store for store in stores}
        for store in stores:
            store.order = stores[0].order

    async def cell(self, name: str) -> CellStore:
        store = self.by_cell[name]
        if store.cut:
            raise StoreUnavailable("cut off")
        return store
