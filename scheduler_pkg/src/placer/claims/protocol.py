"""Applying operations to host rows: group commit, and unknown outcomes settled.

Source: the claim protocol, section 2. Two schedulers may choose one host from equal views. The
order of the row's Paxos rounds picks the winner, never a caller's clock. The naive way, one LWT per
claim and a retry on conflict, collapses on a hot host: nearly every try loses. So all operations
that wait for one host in this process ride in one LWT, and while it is under way the next ones
gather. Between processes the row's revision decides.

Each try of a group ends in one of three ways:
  applied      the operations in it are on the row.
  not applied  nothing was written. Read the row serially and judge each by its own id (an earlier
               try of ours may have been the one that moved the row), then try what is left.
  unknown      it may yet apply. Read serially. An operation that the row shows is done. If the row
               moved without it, the try is dead for ever: its condition can never hold again. If
               the row did not move, send another LWT IF rev = the same revision: whichever of the
               two applies, the other never will, so the retry is its own fence.

Two views of the world are kept apart: a *guess* (cached, or handed in by the caller) may only be
used to build the first LWT; every refusal is decided on a *fresh* row, read serially or just written
by an LWT that was applied. When the deadline passes with the outcome open, the caller hears
StoreUnknown; a claim that applied all the same ends with its lease.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgspec
import structlog

from placer import failpoints, metrics
from placer.claims.operations import Operation, Refusal, ended
from placer.claims.shares import Departures, Left
from placer.claims.tags import Settle
from placer.claims.views import ViewWriter
from placer.errors import Conflict, Overloaded, PlacerError, StoreError, StoreUnknown
from placer.history import Ended, HistoryWriter, Write, WriteOutcome, now_us
from placer.model.host_view import HostView, bucket_of
from placer.model.records import HostRow
from placer.settings import Scheduler
from placer.store.base import CellStore

log = structlog.get_logger(__name__)

#: Rows remembered as guesses for the next LWT on their host.
_GUESSES_MAX: Final = 4096
_BACKOFF_S: Final = 0.002
_BACKOFF_MAX_S: Final = 0.1


def _now_s() -> float:
    """Monotonic seconds, as the event loop counts them (a simulation has a clock of its own)."""
    return asyncio.get_running_loop().time()


class Tally:
    """How often the operations of one caller lost a race."""

    def __init__(self) -> None:
        self.conflicts = 0


class _Member:
    """An operation that waits for its host.

    ``sent_rev``: the revision that an LWT of it with unknown outcome was conditioned on (0: the row
    was to be made), None when nothing of it is in flight. One number is enough: as long as the
    outcome is open, every further try is conditioned on the same revision.
    """

    __slots__ = ("deadline", "future", "operation", "sent_rev", "tally")

    def __init__(self, operation: Operation, deadline: float, tally: Tally) -> None:
        self.operation = operation
        self.deadline = deadline
        self.tally = tally
        self.sent_rev: int | None = None
        self.future: asyncio.Future[HostRow | Refusal] = asyncio.get_running_loop().create_future()

    @property
    def open(self) -> bool:
        return not self.future.done()

    def resolve(self, result: HostRow | Refusal) -> None:
        if self.open:
            self.future.set_result(result)

    def fail(self, error: Exception) -> None:
        if self.open:
            self.future.set_exception(error)


class HostWriter:
    """The only writer of host rows of one cell in this process."""

    def __init__(
        self,
        store: CellStore,
        settings: Scheduler,
        history: HistoryWriter,
        *,
        rng: random.Random | None = None,
        clock_us: Callable[[], int] = now_us,
        left: Left | None = None,
    ) -> None:
        """``left`` hears of claims that have left their row and have shares of other rows."""
        self._store = store
        self._settings = settings
        self._history = history
        self._rng = rng or random.Random()
        self._clock_us = clock_us
        self._waiting: dict[str, list[_Member]] = {}
        self._guesses: OrderedDict[str, HostRow] = OrderedDict()
        self._departures = Departures(left)
        self._views = ViewWriter(store, settings, self._spawn, self._rng)
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    @property
    def cell(self) -> str:
        return self._store.cell

    def known(self, host: str) -> HostRow | None:
        """The row as this process saw it last: a guess, good for a first LWT and nothing else."""
        return self._guesses.get(host)

    async def submit(
        self,
        host: str,
        operation: Operation,
        *,
        deadline_s: float,
        seed: HostRow | None = None,
        tally: Tally | None = None,
    ) -> HostRow | Refusal:
        """Apply ``operation`` to the row of ``host``; returns the row that shows it, or why not.

        ``seed`` is a recent row, used as the guess for the first LWT. Raises Overloaded when too
        many wait for this host, Conflict when the operation did not and will not apply (try again,
        a claim under a new id), StoreUnavailable when the cell refused, StoreUnknown when the
        deadline passed with the outcome open.
        """
        if self._closing:
            raise Overloaded("This process is stopping.", remedy="Ask another.")
        waiting = self._waiting.get(host)
        if waiting is not None and len(waiting) >= self._settings.host_queue_max:
            metrics.host_queue_full.inc()
            raise Overloaded(
                f"{len(waiting)} operations wait for host {host} already.",
                remedy="Retry later or choose another host.",
            )
        if seed is not None:
            self._remember(seed)
        member = _Member(operation, _now_s() + deadline_s, tally or Tally())
        if waiting is None:
            self._waiting[host] = [member]
            self._spawn(self._drain(host))
        else:
            waiting.append(member)
        return await member.future

    async def close(self, grace_s: float) -> None:
        """Refuse new work and finish what waits, for at most ``grace_s``."""
        self._closing = self._views.closing = True
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=grace_s)
            for task in late:
                task.cancel()

    # -- one host's queue

    async def _drain(self, host: str) -> None:
        """Commit groups until nobody waits for ``host``. One such task a host."""
        group: list[_Member] = []
        try:
            while waiting := self._waiting[host]:
                group = waiting[: self._settings.group_max]
                del waiting[: self._settings.group_max]
                try:
                    await self._commit(host, group)
                except PlacerError as error:
                    # Not the store's: a row that this version cannot read or reckon with.
                    for member in group:
                        member.fail(error)
        finally:
            # Only a cancelled close, or a bug, leaves members here; their outcome is open.
            for member in (*group, *self._waiting.pop(host, [])):
                member.fail(StoreUnknown("This process stopped before the outcome was known."))

    async def _commit(self, host: str, group: list[_Member]) -> None:
        """Bring every member of ``group`` to its end. Bounded by the members' deadlines."""
        row, fresh = self._guesses.get(host), False
        tries = 0
        while group := [member for member in group if member.open]:
            if group := self._expire(group):
                try:
                    row, fresh, lost = await self._try(host, group, row, fresh)
                except StoreError as error:
                    if not isinstance(error, StoreUnknown):
                        self._fail_unsent(group, error)
                    row, fresh, lost = None, False, True
                if lost:
                    tries += 1
                    await asyncio.sleep(self._backoff_s(tries))
        if row is not None:
            self._remember(row)

    async def _try(
        self, host: str, group: list[_Member], row: HostRow | None, fresh: bool
    ) -> tuple[HostRow | None, bool, bool]:
        """One read or one LWT: (row known now, is it fresh, was the try lost).

        Members that were decided on the way are resolved.
        """
        if row is None and not fresh:
            # A plain read will do as a guess, unless an earlier LWT must be settled first.
            if all(member.sent_rev is None for member in group):
                row = await self._store.read_row(host)
                if row is None and _founded(group, host) is not None:
                    # The insertion itself finds out whether there is a row after all.
                    return await self._create(host, group)
            if row is None:
                row, fresh = await self._read_fresh(host, group), True
        now_ms = self._clock_us() // 1000
        if row is None:
            return await self._create(host, group)
        target, riders = _merge(group, row, now_ms, fresh)
        if not riders:
            return (row if fresh else await self._read_fresh(host, group)), True, False
        target = msgspec.structs.replace(target, rev=row.rev + 1)
        committed = _committed(riders)
        outcome = await self._write(row, target, committed)
        if outcome is WriteOutcome.APPLIED:
            self._applied(row, target, riders)
            return target, True, False
        for member in riders:
            if outcome is WriteOutcome.UNKNOWN:
                member.sent_rev = row.rev
                self._departures.doubt(row)
            else:
                member.tally.conflicts += 1
        metrics.claim_conflicts.labels(self.cell, outcome.value).inc()
        return await self._read_fresh(host, group), True, True

    async def _create(self, host: str, group: list[_Member]) -> tuple[HostRow | None, bool, bool]:
        """There is no row: the first operation that can makes it, without one all are refused.

        The members are then judged on the new row like on any other.
        """
        founded = _founded(group, host)
        if founded is None:
            for member in group:
                member.resolve(Refusal("host_unknown"))
            return None, True, False
        founder, row = founded
        # rev starts at the time in microseconds, so that it never repeats for a host, whatever
        # happens to its row; an INSERT is never sent twice with one rev (rules 19 and 32).
        row = msgspec.structs.replace(row, rev=self._clock_us())
        outcome = await self._write(None, row)
        if outcome is WriteOutcome.APPLIED:
            self._applied(None, row, [founder] if founder.operation.done(row) else [])
            return row, True, False
        if outcome is WriteOutcome.UNKNOWN:
            founder.sent_rev = 0
        return await self._read_fresh(host, group), True, True

    async def _write(
        self, old: HostRow | None, new: HostRow, committed: tuple[str, ...] = ()
    ) -> WriteOutcome:
        """The LWT itself, recorded. StoreUnavailable passes through: nothing was written."""
        started = self._clock_us()
        outcome = WriteOutcome.UNKNOWN
        # Recorded before it is sent: a process that is killed in between leaves a write of unknown
        # outcome in its history, not a hole. The second line replaces the first.
        self._record(old, new, outcome, started, started, committed)
        failpoints.reach("claim.before_lwt")
        try:
            if old is None:
                applied = await self._store.insert_row(new)
            else:
                applied = await self._store.update_row(new, if_rev=old.rev)
            outcome = WriteOutcome.APPLIED if applied else WriteOutcome.REFUSED
        except StoreUnknown:
            metrics.lwt_unknown.labels(self.cell).inc()
        except StoreError:
            outcome = WriteOutcome.REFUSED
            raise
        finally:
            ended = self._clock_us()
            metrics.lwt_seconds.labels(self.cell).observe((ended - started) / 1e6)
            self._record(old, new, outcome, started, ended, committed)
        failpoints.reach("claim.after_lwt")
        return outcome

    # -- what became of the members

    async def _read_fresh(self, host: str, group: list[_Member]) -> HostRow | None:
        """Read the row serially and judge each member on it by its own id (rule 3)."""
        row = await self._store.read_row(host, serial=True)
        rev = row.rev if row else 0
        if row is not None:
            self._departures.seen(row)
        if row is not None and any(member.sent_rev is not None for member in group):
            # Whatever became of the try, nobody else knows that its view may be missing.
            self._views.queue(None, row)
        for member in group:
            if row is not None and member.operation.done(row):
                member.resolve(row)
            elif member.sent_rev is not None and member.sent_rev != rev:
                # The row moved without it, so the try is dead. A claim's id is not used again.
                member.sent_rev = None
                if not member.operation.retry_after_unknown:
                    member.fail(Conflict("The claim was not written.", remedy="Claim again."))
        return row

    def _applied(self, old: HostRow | None, new: HostRow, riders: list[_Member]) -> None:
        self._remember(new)
        self._views.queue(old, new)
        metrics.group_size.labels(self.cell).observe(len(riders))
        for member in riders:
            member.resolve(new)
        if old is not None:
            self._departures.passed(old, new)
            self._record_ended(old, new, riders)

    def _expire(self, group: list[_Member]) -> list[_Member]:
        """Members whose deadline has not passed; the others hear what is known of them."""
        now = _now_s()
        for member in group:
            if member.deadline <= now:
                member.fail(
                    StoreUnknown("The deadline passed with the outcome open.")
                    if member.sent_rev is not None
                    else Conflict("The deadline passed; nothing was written.", remedy="Retry.")
                )
        return [member for member in group if member.open]

    def _fail_unsent(self, group: list[_Member], error: StoreError) -> None:
        """The cell refused. Whoever has nothing in flight hears it now; the rest try to settle."""
        for member in group:
            if member.sent_rev is None:
                member.fail(error)

    # -- helpers

    def _backoff_s(self, tries: int) -> float:
        return self._rng.uniform(0, min(_BACKOFF_MAX_S, _BACKOFF_S * 2 ** min(tries, 10)))

    def _remember(self, row: HostRow) -> None:
        known = self._guesses.get(row.host)
        if known is not None and known.rev > row.rev:
            return
        self._guesses[row.host] = row
        self._guesses.move_to_end(row.host)
        if len(self._guesses) > _GUESSES_MAX:
            self._guesses.popitem(last=False)

    def _record(
        self,
        old: HostRow | None,
        new: HostRow,
        outcome: WriteOutcome,
        started: int,
        ended: int,
        committed: tuple[str, ...],
    ) -> None:
        before = {record.id: record for record in old.records} if old else {}
        after = {record.id: record for record in new.records}
        self._history.add(
            Write(
                process=self._history.process,
                cell=self.cell,
                host=new.host,
                rev=old.rev if old else 0,
                next=new.rev,
                outcome=outcome,
                started_us=started,
                ended_us=ended,
                put=tuple(r for r in after.values() if before.get(r.id) != r),
                drop=tuple(key for key in before if key not in after),
                status=new.status,
                committed=committed,
            )
        )

    def _record_ended(self, old: HostRow, new: HostRow, riders: list[_Member]) -> None:
        committed = _committed(riders)
        for record in old.claims:
            if new.find(record.id) is None:
                aborted = record.tag.startswith("+") and record.writeset not in committed
                left = "aborted" if aborted else "released"
                self._history.add(
                    Ended(
                        process=self._history.process,
                        cell=self.cell,
                        host=new.host,
                        claim=record.id,
                        how="expired" if ended(record) else left,
                        at_us=self._clock_us(),
                    )
                )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def show(self, row: HostRow) -> None:
        """Have the view of ``row`` written, which others changed and was read just now."""
        self._remember(row)
        self._views.queue(None, row)

    def views_behind(self, bucket: int, buckets: int, views: list[HostView]) -> int:
        """Have the views of one bucket written that lag behind what this process knows.

        A view may be lost with the process that owed it. Returns how many are written.
        """
        revs = {view.host: view.rev for view in views}
        rows = [
            row
            for row in self._guesses.values()
            if bucket_of(row, buckets) == bucket and revs.get(row.host, 0) < row.rev
        ]
        for row in rows:
            self._views.queue(None, row)
        return len(rows)


def _committed(riders: list[_Member]) -> tuple[str, ...]:
    """Write sets that these operations settle as committed."""
    settled = (m.operation for m in riders if isinstance(m.operation, Settle))
    return tuple(sorted({operation.writeset for operation in settled if operation.committed}))


def _founded(group: list[_Member], host: str) -> tuple[_Member, HostRow] | None:
    """The first member whose operation makes a row where there is none, and that row."""
    return next(((m, row) for m in group if (row := m.operation.founding(host)) is not None), None)


def _merge(
    group: list[_Member], row: HostRow, now_ms: int, fresh: bool
) -> tuple[HostRow, list[_Member]]:
    """``row`` with as many operations as fit, and their members.

    Members are refused, or done with nothing to change, on the fresh row itself only: behind other
    riders the answer would rest on an LWT that may yet lose. They are looked at again after it.
    """
    target, riders = row, []
    for member in group:
        if not member.open:
            continue
        result = member.operation.apply(target, now_ms)
        if isinstance(result, Refusal) or result == target:
            if fresh and target is row:
                member.resolve(result)
        else:
            target = result
            riders.append(member)
    return target, riders
