"""Changing several rows as one: all of it or nothing, also when this process dies at any step.

Source: the claim protocol, section 3. A change of one row is one LWT and has no record; here are
changes of several: a manifest over hosts, pools and cells, a server group's row with a host, a move.
The naive ways fail. Claiming one row after the other leaves half a manifest when the claimer dies.
Undoing what was done is no help: who undoes it may be dead, or late, and meet the next owner.
So the decision is one row of its own, the commit record T, and the order is:

1. T ``preparing``, naming every row it may ever touch. Not known to exist: no tag is written.
2. All rows in parallel: what T adds and drops is tagged. Tagged entries count and are frozen.
3. Every tag *known* to be there: T ``committed``, the one LWT that decides. Else ``aborted``.
4. The caller's answer is what T says. Only this coordinator ever commits T, so as long as it has
   sent no commit the answer "no" is safe at once. After an unknown commit, T is read until it is
   decided; T missing means that others decided and forgot it long ago, so nothing can be said.
5. Rows are settled and T is deleted afterwards, by this process if it lives, else by recovery.

Cost to the answer: two LWTs in the home cell and one parallel round over the rows.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final

import msgspec
import structlog
from msgspec import Struct

from placer import failpoints, metrics
from placer.claims.operations import AddClaim, Change, Refusal
from placer.claims.protocol import HostWriter, Tally
from placer.claims.quotas import TakeShare
from placer.claims.shares import share_name
from placer.claims.tags import Addition, JoinGroup, Prepare, Settle
from placer.errors import (
    Conflict,
    InvalidInput,
    PlacerError,
    StoreError,
    StoreUnavailable,
    StoreUnknown,
)
from placer.history import Decided, HistoryWriter, WriteOutcome, now_us
from placer.model import ids
from placer.model.commit_record import CommitRecord, Decision, RowKey
from placer.model.records import HostRow, Record
from placer.settings import Scheduler
from placer.store.base import CellStores, RecordStore

log = structlog.get_logger(__name__)

#: Rows of one write set; its record names them all.
ROWS_MAX: Final = 256
#: New ids tried when the making of a record got no answer.
_RECORD_TRIES: Final = 3
_BACKOFF_S: Final = 0.01
_BACKOFF_MAX_S: Final = 0.2

#: (cell, host) of a row.
Place = tuple[str, str]


class Participant(Struct, frozen=True):
    """What a write set does to one row. ``drops`` are claim ids, in state claimed or built.

    ``seed`` is a recent row, if the caller has one: it saves the first reading.
    """

    cell: str
    host: str
    adds: tuple[Addition, ...] = ()
    drops: tuple[str, ...] = ()
    seed: HostRow | None = None

    @property
    def place(self) -> Place:
        return self.cell, self.host


class Committed(Struct, frozen=True):
    """It is done. ``rows`` as they were tagged (or changed); ``records`` is what was added."""

    rows: dict[Place, HostRow]
    records: tuple[Record, ...]


class Refused(Struct, frozen=True):
    """Nothing was changed; ``by``: the rows that said no, and why."""

    by: dict[Place, str]


class Alter(Change, frozen=True):
    """The same change of a single row: one LWT, no record, no tags."""

    writeset: str
    adds: tuple[Addition, ...]
    drops: tuple[str, ...]

    @property
    def retry_after_unknown(self) -> bool:
        return not self.adds

    def _prepare(self) -> Prepare:
        return Prepare(self.writeset, self.adds, self.drops)

    def founding(self, host: str) -> HostRow | None:
        return self._prepare().founding(host)

    def done(self, row: HostRow) -> bool:
        return all(row.find(entry_id(add)) for add in self.adds) and not any(
            row.find(drop) for drop in self.drops
        )

    def apply(self, row: HostRow, now_ms: int) -> HostRow | Refusal:
        if self.done(row):
            return row
        tagged = self._prepare().apply(row, now_ms)
        if isinstance(tagged, Refusal):
            return tagged
        return Settle(self.writeset, committed=True).apply(tagged, now_ms)


def entry_id(add: Addition) -> str:
    """Id of the record that ``add`` makes."""
    return add.id if isinstance(add, JoinGroup | TakeShare) else add.claim


def _anchor(add: Addition) -> str:
    """The claim that ``add`` goes with; empty if it stands for itself."""
    if isinstance(add, JoinGroup | TakeShare):
        return add.claim
    return add.anchor if isinstance(add, AddClaim) else ""


def _with_shares(participants: Sequence[Participant]) -> list[Participant]:
    """``participants`` with each claim naming the rows that give it a share (``shares.py``)."""
    names: dict[str, list[str]] = {}
    for part in participants:
        for anchor in filter(None, map(_anchor, part.adds)):
            names.setdefault(anchor, []).append(share_name(part.cell, part.host))

    def named(add: Addition) -> Addition:
        if isinstance(add, AddClaim) and add.claim in names:
            return msgspec.structs.replace(add, shares=tuple(dict.fromkeys(names[add.claim])))
        return add

    return [
        msgspec.structs.replace(part, adds=tuple(map(named, part.adds))) for part in participants
    ]


class WriteSets:
    """The coordinator of this process's write sets."""

    def __init__(
        self,
        stores: CellStores,
        writer: Callable[[str], Awaitable[HostWriter]],
        settings: Scheduler,
        history: HistoryWriter,
        *,
        rng: random.Random | None = None,
        clock_us: Callable[[], int] = now_us,
    ) -> None:
        self._stores = stores
        self._writer = writer
        self._settings = settings
        self._history = history
        self._rng = rng or random.Random()
        self._clock_us = clock_us
        self._tasks: set[asyncio.Task[None]] = set()

    async def commit(
        self,
        home_cell: str,
        participants: Sequence[Participant],
        *,
        deadline_s: float,
        tally: Tally | None = None,
    ) -> Committed | Refused:
        """Do all that ``participants`` say, or nothing. The record lives in ``home_cell``.

        Not safe to repeat with the same claim ids, whatever came out: make new ones. Raises
        StoreUnavailable or Conflict when nothing was and will be changed, StoreUnknown when the
        deadline passed with the decision open (its claims then end with their leases).
        """
        self._check(participants)
        participants = _with_shares(participants)
        started = self._clock_us()
        until = _now_s() + deadline_s
        try:
            if len(participants) == 1:
                result = await self._alter(home_cell, participants[0], deadline_s, tally)
            else:
                result = await self._commit(home_cell, participants, until, tally or Tally())
        except PlacerError as error:
            metrics.writesets.labels(home_cell, error.code).inc()
            raise
        outcome = "committed" if isinstance(result, Committed) else "refused"
        metrics.writesets.labels(home_cell, outcome).inc()
        metrics.writeset_seconds.labels(home_cell).observe((self._clock_us() - started) / 1e6)
        return result

    async def close(self, grace_s: float) -> None:
        """Finish settling for at most ``grace_s``; recovery does what is left."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=grace_s)
            for task in late:
                task.cancel()

    # -- the steps

    async def _alter(
        self, home: str, only: Participant, deadline_s: float, tally: Tally | None
    ) -> Committed | Refused:
        writer = await self._writer(only.cell)
        operation = Alter(self._new_id(home), only.adds, only.drops)
        result = await writer.submit(
            only.host, operation, deadline_s=deadline_s, seed=only.seed, tally=tally
        )
        if isinstance(result, Refusal):
            return Refused({only.place: result.reason})
        return _committed({only.place: result}, (only,))

    async def _commit(
        self, home: str, participants: Sequence[Participant], until: float, tally: Tally
    ) -> Committed | Refused:
        store = await self._stores.cell(home)
        failpoints.reach("writeset.before_record")
        writeset = await self._make_record(store, home, participants, until)
        failpoints.reach("writeset.record_made")
        answers = await asyncio.gather(
            *(self._prepare(writeset, part, until, tally) for part in participants)
        )
        by_place = dict(zip((part.place for part in participants), answers, strict=True))
        rows = {place: row for place, row in by_place.items() if isinstance(row, HostRow)}
        if len(rows) == len(participants):
            failpoints.reach("writeset.prepared")
            return await self._decide_and_tell(store, writeset, participants, rows, until)
        # No commit was sent, so none will come: the answer needs no decision.
        touched = [place for place, a in by_place.items() if isinstance(a, HostRow | StoreUnknown)]
        self._spawn(self._finish(store, writeset, None, touched))
        return _failed(by_place)

    async def _make_record(
        self, store: RecordStore, home: str, participants: Sequence[Participant], until: float
    ) -> str:
        """Make a record known to exist; its id. Raises StoreError: then no tag will be written."""
        rows = tuple(RowKey(part.cell, part.host) for part in participants)
        for _ in range(_RECORD_TRIES):
            writeset = self._new_id(home)
            record = CommitRecord(
                writeset, Decision.PREPARING, rows, created_ms=self._clock_us() // 1000
            )
            # Noted first: a record that is not noted would never be cleared away.
            await store.note_writeset(writeset)
            if await self._try_record(store, record):
                return writeset
            # An insert in flight may yet make it: a record without tags, which recovery removes.
            if _now_s() >= until:
                break
        raise StoreUnavailable(
            f"Cell {home} did not confirm a commit record.", remedy="Retry; nothing was changed."
        )

    async def _try_record(self, store: RecordStore, record: CommitRecord) -> bool:
        """Send the insert, once; whether the record is known to exist."""
        self._record(record.id, Decision.PREPARING, WriteOutcome.UNKNOWN, record.rows)
        try:
            made = await store.add_record(record)
        except StoreUnknown:
            made = False
        made = made or await store.read_record(record.id) is not None
        if made:
            self._record(record.id, Decision.PREPARING, WriteOutcome.APPLIED, record.rows)
        return made

    async def _prepare(
        self, writeset: str, part: Participant, until: float, tally: Tally
    ) -> HostRow | Refusal | PlacerError:
        """Tag one row; the row that shows it, or why it does not. StoreUnknown: it may yet."""
        try:
            writer = await self._writer(part.cell)
            row = await writer.submit(
                part.host,
                Prepare(writeset, part.adds, part.drops),
                deadline_s=max(0.0, until - _now_s()),
                seed=part.seed,
                tally=tally,
            )
        except PlacerError as error:
            return error
        failpoints.reach("writeset.one_prepared")
        return row

    async def _decide_and_tell(
        self,
        store: RecordStore,
        writeset: str,
        participants: Sequence[Participant],
        rows: dict[Place, HostRow],
        until: float,
    ) -> Committed | Refused:
        decision = await self._decide(store, writeset, Decision.COMMITTED, until)
        if decision is None:
            raise StoreUnknown("The write set was decided and forgotten before its answer came.")
        failpoints.reach(f"writeset.{decision}")
        self._spawn(self._finish(store, writeset, decision, list(rows)))
        if decision is Decision.ABORTED:
            raise Conflict(
                "The write set took so long that recovery aborted it; nothing was changed.",
                remedy="Retry.",
            )
        return _committed(rows, participants)

    async def _decide(
        self, store: RecordStore, writeset: str, wanted: Decision, until: float
    ) -> Decision | None:
        """What the record says once it is decided; None if it is gone. Bounded by ``until``.

        An LWT that was not applied is judged like one without an answer: it may have been our own.
        """
        tries = 0
        while True:
            try:
                self._record(writeset, wanted, WriteOutcome.UNKNOWN)
                if await store.decide_record(writeset, wanted):
                    self._record(writeset, wanted, WriteOutcome.APPLIED)
                    return wanted
            except StoreError as error:
                log.info("decision_unknown", writeset=writeset, error=str(error))
            try:
                record = await store.read_record(writeset)
                if record is None:
                    return None
                if record.state is not Decision.PREPARING:
                    return record.state
            except StoreError as error:
                log.info("decision_not_read", writeset=writeset, error=str(error))
            tries += 1
            if _now_s() >= until:
                raise StoreUnknown("The deadline passed with the write set's decision open.")
            await asyncio.sleep(
                self._rng.uniform(0, min(_BACKOFF_MAX_S, _BACKOFF_S * 2 ** min(tries, 10)))
            )

    # -- afterwards, in the background; whatever fails here is recovery's

    async def _finish(
        self, store: RecordStore, writeset: str, decision: Decision | None, touched: list[Place]
    ) -> None:
        """Abort what is not decided, then settle."""
        try:
            if decision is None:
                until = _now_s() + self._settings.settle_timeout_s
                decision = await self._decide(store, writeset, Decision.ABORTED, until)
                failpoints.reach("writeset.aborted")
            await self._settle(store, writeset, decision or Decision.ABORTED, touched)
        except PlacerError as error:
            log.info("write_set_left_to_recovery", writeset=writeset, error=str(error))

    async def _settle(
        self, store: RecordStore, writeset: str, decision: Decision, touched: list[Place]
    ) -> None:
        """Settle the rows that may have tags, then delete the record.

        The record may go at once: its coordinator has its answer, and each row was seen without its
        tags after the decision. A prepare that arrives later still is one of an aborted write set.
        """
        await asyncio.gather(*(self._settle_row(writeset, decision, place) for place in touched))
        failpoints.reach("writeset.settled")
        if await store.delete_record(writeset, if_state=decision):
            self._record(writeset, decision, WriteOutcome.APPLIED, deleted=True)
            await store.forget_writeset(writeset)

    async def _settle_row(self, writeset: str, decision: Decision, place: Place) -> None:
        cell, host = place
        writer = await self._writer(cell)
        operation = Settle(writeset, committed=decision is Decision.COMMITTED)
        await writer.submit(host, operation, deadline_s=self._settings.settle_timeout_s)
        failpoints.reach("writeset.one_settled")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if len(self._tasks) >= self._settings.background_writes_max:
            work.close()
            metrics.background_dropped.labels("settle").inc()
            return
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- helpers

    def _check(self, participants: Sequence[Participant]) -> None:
        if not 1 <= len(participants) <= ROWS_MAX:
            raise InvalidInput(
                f"A change of {len(participants)} rows cannot be made at once.",
                remedy=f"Use 1 to {ROWS_MAX} hosts, pools and groups.",
            )
        if len({part.place for part in participants}) != len(participants):
            raise InvalidInput("A change names a row twice.", remedy="Put its parts together.")

    def _new_id(self, home: str) -> str:
        return ids.new_writeset_id(home, self._clock_us() // 1000)

    def _record(
        self,
        writeset: str,
        state: Decision,
        outcome: WriteOutcome,
        rows: tuple[RowKey, ...] = (),
        *,
        deleted: bool = False,
    ) -> None:
        self._history.add(
            Decided(
                process=self._history.process,
                writeset=writeset,
                state=state,
                outcome=outcome,
                at_us=self._clock_us(),
                rows=rows,
                deleted=deleted,
            )
        )


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _committed(rows: dict[Place, HostRow], participants: Sequence[Participant]) -> Committed:
    added = [
        record
        for part in participants
        for add in part.adds
        if (record := rows[part.place].find(entry_id(add))) is not None
    ]
    return Committed(
        rows=rows, records=tuple(msgspec.structs.replace(record, tag="") for record in added)
    )


def _failed(answers: dict[Place, HostRow | Refusal | PlacerError]) -> Refused:
    """Refused where a row said why; otherwise the error of a row that said nothing."""
    refused = {
        place: answer.reason for place, answer in answers.items() if isinstance(answer, Refusal)
    }
    if refused:
        return Refused(refused)
    error = next(answer for answer in answers.values() if isinstance(answer, PlacerError))
    if isinstance(error, StoreUnknown):
        raise Conflict(
            "A row did not answer in time; nothing was changed.", remedy="Retry."
        ) from error
    raise error
