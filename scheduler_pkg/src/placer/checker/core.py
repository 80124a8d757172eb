"""The check itself: events and final rows in, a verdict out. No I/O.

For every host, alone (what holds for each row holds for all):
  1. its revisions form one chain, each made by exactly one write;
  2. that chain respects real time: a write that ended before another began comes before it;
  3. after each revision, of every class and every device, no more is promised than there is;
  4. the row in the store is what the chain ends with.
For every claim whose requester was told of it: it is built, or it was released, or it expired, or
it is still on its way; it is not lost, it does not come back, and its request has no more than it
asked for. And every change of several rows is decided once and carried out on all of them or none.

A hole in a history proves nothing: what lies behind it is told as incomplete and never passes.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from placer.checker.chain import Chain, Links, chains, links
from placer.checker.replayer import Life, Replayer, overbooked
from placer.checker.sets import Sets
from placer.checker.verdict import Claims, Incomplete, Kind, Passed, Verdict, Violation
from placer.history import Acknowledged, Decided, Ended, Event, Write, WriteOutcome
from placer.model import ids, records
from placer.model.records import ClaimState, HostRow, RowKind

#: Stories kept of each sort; all are counted.
STORIES_MAX: Final = 100


class FinalRow(Struct, frozen=True):
    """A host's row as the store has it in the end."""

    cell: str
    row: HostRow


class Histories(Struct):
    """Events by host, as the check wants them."""

    writes: dict[str, list[Write]]
    acknowledged: list[Acknowledged]
    ended: dict[str, str]
    decided: list[Decided]
    events: int = 0
    concurrent: int = 0


def sort(events: Iterable[Event], rows_read_us: int) -> Histories:
    """Events by host. Claims acknowledged after the rows were read are left out."""
    sorted_: Histories = Histories(writes=defaultdict(list), acknowledged=[], ended={}, decided=[])
    for event in events:
        sorted_.events += 1
        if isinstance(event, Write):
            sorted_.writes[event.host].append(event)
        elif isinstance(event, Ended):
            sorted_.ended[event.claim] = event.how
        elif isinstance(event, Decided):
            sorted_.decided.append(event)
        elif event.at_us < rows_read_us:
            sorted_.acknowledged.append(event)
        else:
            sorted_.concurrent += 1
    return sorted_


class _Check:
    """One check under way."""

    def __init__(self, rows_read_us: int, clock_error_us: int) -> None:
        self.rows_read_us = rows_read_us
        self.clock_error_us = clock_error_us
        self.violations: list[Violation] = []
        self.violations_total = 0
        self.double_bookings = 0
        self.incomplete: list[Incomplete] = []
        self.holed: set[str] = set()
        self.lives: dict[str, Life] = {}
        self.claims = Claims()
        self.sets = Sets()
        #: Hosts whose rows are known from their making to the end.
        self.whole: set[str] = set()
        self.revisions = 0
        self.shrunk = 0
        self.concurrent = 0

    def violated(self, kind: Kind, cell: str, host: str, rev: int, story: str) -> None:
        self.violations_total += 1
        self.double_bookings += kind is Kind.DOUBLE_BOOKING
        if len(self.violations) < STORIES_MAX:
            self.violations.append(Violation(kind=kind, cell=cell, host=host, rev=rev, story=story))

    # -- one host

    def host(self, cell: str, host: str, row: HostRow | None, writes: list[Write]) -> None:
        name = f"host {row.name if row and row.name else host} of cell {cell}"
        found = links(writes)
        for one, other in found.twice:
            self.violated(
                Kind.TWO_WRITERS,
                cell,
                host,
                one.next,
                f"On {name}, {one.process} and {other.process} both found revision {one.rev} "
                f"and were both told that their write applied.",
            )
        if row is None:
            self._no_row(cell, host, name, found)
            return
        self._not_lost(cell, host, name, row, found)
        chain, replayer = self._best(host, row, found)
        self.revisions += len(chain.writes)
        self.shrunk += replayer.shrunk
        for problem in replayer.problems:
            self.violated(
                problem.kind,
                cell,
                host,
                problem.rev,
                f"On {name}, after revision {problem.rev}"
                f"{_by(chain, problem.rev)}: {problem.words}.",
            )
        self._real_time(cell, host, name, chain)
        if chain.hole < 0:
            self.whole.add(host)
            self.sets.row(cell, host, name, replayer.traces)
        if chain.hole >= 0:
            self._hole(cell, host, name, row, found, chain, replayer)
        elif difference := replayer.differs_from(row):
            self.violated(
                Kind.ROW_DIFFERS, cell, host, row.rev, f"On {name}, in the end: {difference}."
            )
        self._claims(cell, host, name, replayer)

    def _best(self, host: str, row: HostRow, found: Links) -> tuple[Chain, Replayer]:
        """The chain that explains the row; the first one if none does."""
        first: tuple[Chain, Replayer] | None = None
        for chain in chains(found, row.rev):
            replayer = Replayer(host)
            for write in chain.writes:
                replayer.apply(write)
            if first is None:
                first = chain, replayer
            if not replayer.problems and chain.hole < 0 and not replayer.differs_from(row):
                return chain, replayer
        assert first is not None
        return first

    def _no_row(self, cell: str, host: str, name: str, found: Links) -> None:
        early = [w for w in found.applied.values() if self._before_reading(w)]
        if early:
            self.violated(
                Kind.LOST_WRITE,
                cell,
                host,
                early[0].next,
                f"There is no row of {name}, but {early[0].process} was told that its write of "
                f"revision {early[0].next} applied.",
            )
        self.concurrent += len(found.applied) - len(early)

    def _not_lost(self, cell: str, host: str, name: str, row: HostRow, found: Links) -> None:
        """No write that had applied when the rows were read is younger than the row."""
        younger = [write for write in found.applied.values() if write.next > row.rev]
        lost = [write for write in younger if self._before_reading(write)]
        self.concurrent += len(younger) - len(lost)
        if lost:
            write = min(lost, key=lambda w: w.next)
            self.violated(
                Kind.LOST_WRITE,
                cell,
                host,
                write.next,
                f"On {name}, {write.process} was told that its write of revision {write.next} "
                f"applied, but the row is at revision {row.rev}.",
            )

    def _before_reading(self, write: Write) -> bool:
        return write.ended_us + self.clock_error_us < self.rows_read_us

    def _real_time(self, cell: str, host: str, name: str, chain: Chain) -> None:
        latest: Write | None = None
        for write in chain.writes:
            if (
                latest is not None
                and write.outcome is WriteOutcome.APPLIED
                and write.ended_us + self.clock_error_us < latest.started_us
            ):
                self.violated(
                    Kind.REAL_TIME,
                    cell,
                    host,
                    write.next,
                    f"On {name}, {write.process} had its answer for revision {write.next} before "
                    f"{latest.process} began to write revision {latest.next}, which it follows.",
                )
            if latest is None or write.started_us > latest.started_us:
                latest = write

    def _hole(
        self,
        cell: str,
        host: str,
        name: str,
        row: HostRow,
        found: Links,
        chain: Chain,
        replayer: Replayer,
    ) -> None:
        self.holed.add(host)
        if len(self.incomplete) < STORIES_MAX:
            begin = "its making" if chain.hole == 0 else f"revision {chain.hole}"
            story = (
                f"No history tells what followed {begin} of {name}; "
                f"the row is at revision {row.rev}."
            )
            self.incomplete.append(Incomplete(cell=cell, host=host, rev=chain.hole, story=story))
        behind = [w for w in found.applied.values() if chain.hole < w.rev and w.next <= row.rev]
        for write in sorted(behind, key=lambda w: w.rev):
            replayer.live_only(write)
        # A quota may be put below what is used: of its row only the whole history tells.
        shrinks = row.kind is RowKind.QUOTA
        if not shrinks and not any(p.kind is Kind.DOUBLE_BOOKING for p in replayer.problems):
            for words in overbooked(row):
                self.violated(
                    Kind.DOUBLE_BOOKING, cell, host, row.rev, f"On {name}, in the end: {words}."
                )
        present = {record.id: record for record in row.claims}
        for claim, record in present.items():
            assert record.state is not None
            replayer.lives[claim] = Life(
                host=host,
                consumer=record.consumer,
                state=record.state,
                lease_until_ms=record.lease_until_ms,
                epoch=record.epoch,
            )
        for claim, life in list(replayer.lives.items()):
            if not life.dropped_rev and claim not in present:
                del replayer.lives[claim]

    def _claims(self, cell: str, host: str, name: str, replayer: Replayer) -> None:
        for claim, life in replayer.lives.items():
            other = self.lives.setdefault(claim, life)
            if other is not life:
                self.violated(
                    Kind.PLACED_TWICE,
                    cell,
                    host,
                    0,
                    f"Claim {claim} was on {name} and on host {other.host}.",
                )

    # -- all claims

    def acknowledged(self, histories: Histories) -> None:
        told: set[str] = set()
        current: dict[str, list[Acknowledged]] = defaultdict(list)
        for event in histories.acknowledged:
            if event.claim in told:
                continue
            told.add(event.claim)
            self.claims.acknowledged += 1
            life = self.lives.get(event.claim)
            if life is None:
                self._without_trace(event)
                continue
            if life.aborted:
                self._aborted(event, life)
                continue
            self._count(life, histories.ended.get(event.claim, ""))
            if not life.dropped_rev and life.state is not ClaimState.DELETING:
                current[event.request].append(event)
        for held in current.values():
            self._no_more_than_asked(held)
        self._one_claim_an_epoch(e.claim for held in current.values() for e in held)
        self.claims.unacknowledged = len(self.lives.keys() - told)

    def _without_trace(self, event: Acknowledged) -> None:
        if event.host in self.holed:
            self.claims.undecided += 1
            return
        self.claims.lost += 1
        self.violated(
            Kind.LOST_CLAIM,
            event.cell,
            event.host,
            0,
            f"{event.process} told request {event.request} that it has claim {event.claim}, "
            f"but no write put it on host {event.host}.",
        )

    def _count(self, life: Life, how: str) -> None:
        if life.dropped_rev:
            if life.expired or how == "expired":
                self.claims.expired += 1
            else:
                self.claims.released += 1
        elif life.state is ClaimState.BUILT:
            self.claims.built += 1
        else:
            self.claims.pending += 1

    def _aborted(self, event: Acknowledged, life: Life) -> None:
        self.claims.lost += 1
        self.violated(
            Kind.LOST_CLAIM,
            event.cell,
            event.host,
            life.dropped_rev,
            f"{event.process} told request {event.request} that it has claim {event.claim}, "
            f"but its write set was undone on host {event.host}.",
        )

    def _no_more_than_asked(self, held: list[Acknowledged]) -> None:
        """One request's claims that are not on their way out. While an instance moves, its request
        may have one more, and says so."""
        last = held[-1]
        most = max(event.of for event in held)
        if len(held) > most:
            claims = ", ".join(event.claim for event in held)
            self.violated(
                Kind.PLACED_TWICE,
                last.cell,
                last.host,
                0,
                f"Request {last.request} may have {most} and has {len(held)} claims at once: "
                f"{claims}.",
            )

    def _one_claim_an_epoch(self, claims: Iterable[str]) -> None:
        """Of an instance's claims the one with the highest epoch is its place: no two are equal."""
        seen: dict[tuple[str, int], str] = {}
        for claim in claims:
            life = self.lives[claim]
            if life.state is not ClaimState.BUILT:
                continue
            other = seen.setdefault((life.consumer, life.epoch), claim)
            if other != claim:
                self.violated(
                    Kind.PLACED_TWICE,
                    ids.cell_of(claim),
                    life.host,
                    0,
                    f"Instance {life.consumer} is built by claims {other} and {claim}, both of its "
                    f"epoch {life.epoch}.",
                )

    def write_sets(self, histories: Histories) -> None:
        for event in histories.decided:
            self.sets.decided(event)
        for broken in self.sets.broken(self.whole):
            self.violated(broken.kind, broken.cell, broken.host, broken.rev, broken.story)


def check(
    events: Iterable[Event],
    rows: Iterable[FinalRow],
    *,
    regions: dict[str, str],
    rows_read_us: int,
    clock_error_us: int = 0,
    torn_lines: int = 0,
) -> Verdict:
    """Check ``events`` of all processes against ``rows``, the final rows of all cells.

    ``regions`` is the region of each cell. ``rows_read_us`` is the time at which the reading of the
    rows began: what ended before must show in them. ``clock_error_us`` is how far the clocks of two
    processes may differ.
    """
    started = time.perf_counter()
    histories = sort(events, rows_read_us)
    run = _Check(rows_read_us, clock_error_us)
    finals = {final.row.host: final for final in rows}
    for host, final in finals.items():
        run.host(final.cell, host, final.row, histories.writes.get(host, []))
    for host, writes in histories.writes.items():
        if host not in finals:
            run.host(writes[0].cell, host, None, writes)
    run.acknowledged(histories)
    run.write_sets(histories)
    tags = sum(bool(claim.tag) for final in finals.values() for claim in final.row.claims)
    return Verdict(
        verdict=_passed(run),
        double_bookings=run.double_bookings,
        violations=tuple(run.violations),
        violations_total=run.violations_total,
        revisions_checked=run.revisions,
        hosts_checked=len(finals),
        hosts_incomplete=len(run.holed),
        incomplete=tuple(run.incomplete),
        claims=run.claims,
        writesets=run.sets.count(tags),
        booked=booked(finals.values(), regions),
        cells=regions,
        shrunk=run.shrunk,
        concurrent=histories.concurrent + run.concurrent,
        events=histories.events,
        torn_lines=torn_lines,
        seconds=round(time.perf_counter() - started, 3),
    )


def _passed(run: _Check) -> Passed:
    if run.violations_total:
        return Passed.VIOLATED
    return Passed.INCOMPLETE if run.holed else Passed.PASSED


def _by(chain: Chain, rev: int) -> str:
    process = next((write.process for write in chain.writes if write.next == rev), "")
    return f" (written by {process})" if process else ""


def booked(rows: Iterable[FinalRow], regions: dict[str, str]) -> dict[str, dict[str, float]]:
    """{region: {class: promised / capacity}}, rounded to four places; classes with no capacity out."""
    capacity: dict[tuple[str, str], int] = defaultdict(int)
    free: dict[tuple[str, str], int] = defaultdict(int)
    for final in rows:
        region = regions.get(final.cell, final.cell)
        for name, inventory in records.inventories(final.row.records).items():
            capacity[region, records.class_of(name)] += inventory.capacity
        for name, amount in records.available(final.row.records).items():
            free[region, records.class_of(name)] += amount
    shares: dict[str, dict[str, float]] = {region: {} for region in sorted(set(regions.values()))}
    for (region, name), total in sorted(capacity.items()):
        if total > 0:
            shares.setdefault(region, {})[name] = round((total - free[region, name]) / total, 4)
    return shares
