"""Finishing what others began: tags and commit records that somebody left, leases that ended.

Source: the claim protocol, sections 4, 5 and 8. There is one way to treat a tag, for whoever meets
it, and any number may do it at any time and die anywhere:

- Look at the row first and at the record second. A record that is missing *then* was deleted, after
  it was decided and its rows were clean; so the tag is a late prepare of an aborted write set. In the
  other order the record might just not have been made yet.
- A record that cannot be reached says nothing: the tag stays, counted and frozen.
- One that is open and old is aborted first, by LWT, and then read: its coordinator may have been
  faster. Nothing is rolled back before that.
- Then the row is settled by one LWT. If it fails, the next pass looks again.

A decided record is deleted when each of its rows was read after the decision and has no tag of it,
and when it is older than any coordinator waits for its answer.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

import structlog
from msgspec import Struct

from placer import failpoints, metrics
from placer.claims import tags
from placer.claims.expiry import Expiry, Named, Tell, everyone, nobody
from placer.claims.operations import Operation, Refusal, ended
from placer.claims.protocol import HostWriter
from placer.claims.shares import Leave
from placer.claims.tags import Settle
from placer.errors import Conflict, PlacerError
from placer.history import Decided, HistoryWriter, WriteOutcome
from placer.model import ids
from placer.model.commit_record import CommitRecord, Decision, RowKey
from placer.model.records import HostRow
from placer.settings import Cluster
from placer.store.base import CellStore, CellStores

log = structlog.get_logger(__name__)

_T = TypeVar("_T")

_MINUTE_MS: Final = 60_000
#: Minutes of noted write sets that a pass reads beside the recent ones, until a day is behind it. Few: a
#: scheduler that has just started has claims to make, and what a row needs is found on the row.
_BACKLOG_SLOTS: Final = 8
_HORIZON_SLOTS: Final = 24 * 60
#: Rows of claims that are read for one row of shares.
_ROWS_MAX: Final = 256
#: Write sets, minutes and rows that are looked at at once.
_PARALLEL: Final = 8


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Recovered(Struct):
    """What one pass over a cell's write sets did."""

    looked_at: int = 0
    deleted: int = 0
    failed: int = 0


class Recovery:
    """Decides tags, and clears the write sets whose home is one cell. One a process."""

    def __init__(
        self,
        stores: CellStores,
        writer: Callable[[str], Awaitable[HostWriter]],
        cluster: Cluster,
        history: HistoryWriter,
        *,
        tell: Tell = nobody,
        named: Named = everyone,
        clock_ms: Callable[[], int] = now_ms,
    ) -> None:
        """``tell``: who hears that a claim's lease ended; ``named``: who knows of orphans."""
        self._stores = stores
        self._writer = writer
        self._cluster = cluster
        self._history = history
        self._clock_ms = clock_ms
        self._expiry = Expiry(tell, cluster.claim_deadline_s, named=named, now_ms=clock_ms)
        #: Old minutes not read yet, the newest of them; up to which minute the last pass came; and
        #: minutes that had something left.
        self._backlog: dict[str, int] = {}
        self._passed: dict[str, int] = {}
        self._unfinished: dict[str, set[int]] = {}

    # -- a row

    async def decide(self, cell: str, row: HostRow) -> HostRow | None:
        """Settle the decided tags of ``row``, which was read before this call.

        Returns the row as it then is (the same if nothing could be decided); safe to repeat, by
        anybody. Raises StoreError and Conflict like ``HostWriter.submit``.
        """
        writer = await self._writer(cell)
        for writeset in tags.writesets(row):
            decision = await self.decision(writeset)
            if decision is None:
                continue
            operation = Settle(writeset, committed=decision is Decision.COMMITTED)
            result = await writer.submit(
                row.host, operation, deadline_s=self._cluster.claim_deadline_s
            )
            if isinstance(result, Refusal):
                return None
            row = result
            metrics.recovered.labels(cell, "tag").inc()
            failpoints.reach("recovery.row_settled")
        return row

    async def sweep_row(self, cell: str, host: str) -> HostRow | None:
        """All that recovery can do for one row: tags, ended leases, entries whose claim is gone.

        The row as it then is; None if there is none. Raises like ``decide``.
        """
        store = await self._stores.cell(cell)
        row = await store.read_row(host, serial=True)
        if row is not None and tags.writesets(row):
            row = await self.decide(cell, row)
        if row is None:
            return None
        writer = await self._writer(cell)
        deadline_s = self._cluster.claim_deadline_s

        async def submit(host: str, operation: Operation) -> HostRow:
            result = await writer.submit(host, operation, deadline_s=deadline_s)
            if isinstance(result, Refusal):
                raise Conflict(f"Row {host} refused {operation}: {result.reason}.")
            return result

        row = await self._expiry.expire(row, submit)
        anchors = [record.data["anchor"] for record in tags.anchored(row)]
        gone = await self._gone_of(anchors) if anchors else frozenset()
        if gone:
            row = await submit(host, Leave(gone))
            metrics.recovered.labels(cell, "entry").inc(len(gone))
        return row

    async def _gone_of(self, claims: Iterable[str]) -> frozenset[str]:
        """Those of ``claims`` that are on their rows no more; so many rows are read at most.

        Which rows, where there are more, is left to chance: a later pass reads others.
        """
        by_row: dict[tuple[str, str], set[str]] = {}
        for claim in claims:
            by_row.setdefault((ids.cell_of(claim), ids.host_of(claim)), set()).add(claim)
        places = sorted(by_row)
        if len(places) > _ROWS_MAX:
            places = random.sample(places, _ROWS_MAX)
        found: set[str] = set()
        for some in _chunks(places, _PARALLEL):
            rows = await asyncio.gather(*(self._read(*place) for place in some))
            for place, row in zip(some, rows, strict=True):
                found.update(claim for claim in by_row[place] if _is_gone(row, claim))
        return frozenset(found)

    async def _read(self, cell: str, host: str) -> HostRow | None:
        """A row; None where there is none, or where nothing can be said: its cell is cut off."""
        try:
            store = await self._stores.cell(cell)
            return await store.read_row(host, serial=True)
        except PlacerError:
            return None

    async def gone(self, claim: str) -> bool:
        """Whether a claim that was on its row once is there no more. Cut off: not known, so no.

        A settled entry that goes with it shows that it was: both came by one committed write set.
        """
        return _is_gone(await self._read(ids.cell_of(claim), ids.host_of(claim)), claim)

    async def decision(self, writeset: str) -> Decision | None:
        """What is decided of a write set whose tag was seen before; an old open one is aborted.

        None: it is young, or its record cannot be reached. Missing means aborted.
        """
        try:
            store = await self._stores.cell(ids.cell_of(writeset))
            record = await store.read_record(writeset)
            if record is not None and record.state is Decision.PREPARING:
                if not self._old(record):
                    return None
                record = await self._abort(store, record)
        except PlacerError as error:
            log.info("record_not_reached", writeset=writeset, error=str(error))
            return None
        if record is None:
            return Decision.ABORTED
        return None if record.state is Decision.PREPARING else record.state

    def _old(self, record: CommitRecord) -> bool:
        age_ms = self._clock_ms() - record.created_ms
        return age_ms >= self._cluster.writeset_timeout_s * 1000

    async def _abort(self, store: CellStore, record: CommitRecord) -> CommitRecord | None:
        """Abort an open write set, unless it is decided meanwhile: the record as it then is."""
        self._record(record.id, Decision.ABORTED, WriteOutcome.UNKNOWN)
        if await store.decide_record(record.id, Decision.ABORTED):
            self._record(record.id, Decision.ABORTED, WriteOutcome.APPLIED)
            metrics.recovered.labels(ids.cell_of(record.id), "write_set").inc()
            failpoints.reach("recovery.aborted")
        return await store.read_record(record.id)

    # -- a cell's write sets

    async def recover_cell(self, cell: str) -> Recovered:
        """One pass over the write sets noted in ``cell``; bounded, and safe at any time.

        Recent minutes are read on each pass, so what a crash left is found on the first; older ones
        a part at a time, newest first, until a day is behind. Raises StoreError if the cell's notes
        cannot be read.
        """
        store = await self._stores.cell(cell)
        done = Recovered()
        newest = self._clock_ms() // _MINUTE_MS + 1
        back, wanted = self._slots(cell, newest)
        for slots in _chunks(wanted, _PARALLEL):
            noted = await asyncio.gather(*(store.noted_writesets(slot) for slot in slots))
            for slot, writesets in zip(slots, noted, strict=True):
                left = await self._recover_all(store, writesets, done)
                unfinished = self._unfinished.setdefault(cell, set())
                (unfinished.add if left else unfinished.discard)(slot)
        # Only now: what could not be read is read by the next pass.
        self._backlog[cell], self._passed[cell] = back, newest
        return done

    def _slots(self, cell: str, newest: int) -> tuple[int, list[int]]:
        """Where the backlog then begins, and the minutes to read on this pass, newest first."""
        retained = int(self._cluster.record_retention_s // 60) + 2
        # What was noted since the last pass has not been read yet, however long ago that was.
        recent = min(newest, self._passed.get(cell, newest)) - retained
        start = self._backlog.get(cell, recent)
        end = min(start, max(start - _BACKLOG_SLOTS, newest - _HORIZON_SLOTS))
        recent = max(recent, newest - _HORIZON_SLOTS)
        slots = {*range(recent, newest + 1), *range(end, start), *self._unfinished.get(cell, ())}
        return end, sorted(slots, reverse=True)

    async def _recover_all(self, store: CellStore, writesets: list[str], done: Recovered) -> int:
        """Recover some write sets; how many are left for another pass."""
        left = 0
        for some in _chunks(writesets, _PARALLEL):
            results = await asyncio.gather(*(self.recover(store, name) for name in some))
            done.looked_at += len(results)
            done.deleted += sum(results)
            left += len(results) - sum(results)
        return left

    async def recover(self, store: CellStore, writeset: str) -> bool:
        """Bring one write set of the cell of ``store`` to its end; True once nothing is left of it."""
        try:
            record = await store.read_record(writeset)
            if record is None:
                return await self._forget(store, writeset)
            if record.state is Decision.PREPARING:
                if not self._old(record):
                    return False
                record = await self._abort(store, record)
            if record is None or record.state is Decision.PREPARING:
                return False
            clean = [await self._clean(key, record) for key in record.rows]
            failpoints.reach("recovery.before_delete")
            if not all(clean) or not self._retained(record.created_ms):
                return False
            self._record(writeset, record.state, WriteOutcome.UNKNOWN, deleted=True)
            if await store.delete_record(writeset, if_state=record.state):
                self._record(writeset, record.state, WriteOutcome.APPLIED, deleted=True)
            return await self._forget(store, writeset)
        except PlacerError as error:
            log.info("write_set_not_recovered", writeset=writeset, error=str(error))
            return False

    async def _clean(self, key: RowKey, record: CommitRecord) -> bool:
        """Whether a row, read after the decision, has no tag of ``record``; settles it if it has."""
        store = await self._stores.cell(key.cell)
        row = await store.read_row(key.host, serial=True)
        if row is None or record.id not in tags.writesets(row):
            return True
        writer = await self._writer(key.cell)
        operation = Settle(record.id, committed=record.state is Decision.COMMITTED)
        result = await writer.submit(key.host, operation, deadline_s=self._cluster.claim_deadline_s)
        failpoints.reach("recovery.row_settled")
        return not isinstance(result, Refusal)

    async def _forget(self, store: CellStore, writeset: str) -> bool:
        """Take a write set without a record off the list, once no insert of it can be under way."""
        if not self._retained(ids.writeset_slot(writeset) * _MINUTE_MS + _MINUTE_MS):
            return False
        await store.forget_writeset(writeset)
        return True

    def _retained(self, since_ms: int) -> bool:
        return self._clock_ms() - since_ms >= self._cluster.record_retention_s * 1000

    def _record(
        self, writeset: str, state: Decision, outcome: WriteOutcome, *, deleted: bool = False
    ) -> None:
        self._history.add(
            Decided(
                process=self._history.process,
                writeset=writeset,
                state=state,
                outcome=outcome,
                at_us=self._clock_ms() * 1000,
                deleted=deleted,
            )
        )


def _is_gone(row: HostRow | None, claim: str) -> bool:
    """Whether ``claim`` has left ``row``, or holds nothing of it any more."""
    record = row.find(claim) if row else None
    return row is not None and (record is None or ended(record))


def _chunks(items: list[_T], size: int) -> list[list[_T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
