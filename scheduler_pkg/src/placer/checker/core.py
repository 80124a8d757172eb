"""The check itself: events and final rows in, a verdict out. No I/O.

For every host, alone (what holds for each row holds for all; ``rows.py``):
  1. its revisions form one chain, each made by exactly one write;
  2. that chain respects real time: a write that ended before another began comes before it;
  3. after each revision, of every class and every device, no more is promised than there is;
  4. the row in the store is what the chain ends with.
For every claim whose requester was told of it (``claims.py``): it is built, or it was released, or it
expired, or it is still on its way; it is not lost, it does not come back, its request has no more than
it asked for, and its consumer has one allocation set. Every change of several rows is decided once and
carried out on all of them or none (``sets.py``). What clients were told is what is so (``clients.py``).

A hole in a history proves nothing: what lies behind it is told as incomplete and never passes. Nor
does a damaged file, or an outcome that nobody knows.
"""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from placer.checker.chain import links
from placer.checker.claims import Lives
from placer.checker.clients import Told, answers
from placer.checker.findings import Findings
from placer.checker.rows import Rows
from placer.checker.sets import Sets
from placer.checker.verdict import Files, Passed, Verdict
from placer.history import Acknowledged, Decided, Ended, Event, Operation, Write, WriteOutcome
from placer.model import records
from placer.model.records import HostRow

_NO_DAMAGE: Final[tuple[str, ...]] = ()
_NOTHING: Final[Mapping[str, int]] = {}


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
    operations: list[Operation]
    younger: set[int]
    events: int = 0
    concurrent: int = 0


def sort(events: Iterable[Event], later: Iterable[Event], rows_read_us: int) -> Histories:
    """Events by host. Claims acknowledged after the rows were read are left out, and what clients
    did since then; writes are kept, as a row that was read late may show them."""
    found = Histories(
        writes=defaultdict(list),
        acknowledged=[],
        ended={},
        decided=[],
        operations=[],
        younger=set(),
    )
    for event in events:
        found.events += 1
        if isinstance(event, Write):
            found.writes[event.host].append(event)
        elif isinstance(event, Operation):
            found.operations.append(event)
        elif isinstance(event, Ended):
            found.ended[event.claim] = event.how
        elif isinstance(event, Decided):
            found.decided.append(event)
        elif event.at_us < rows_read_us:
            found.acknowledged.append(event)
        else:
            found.concurrent += 1
    for event in later:
        found.events += 1
        if isinstance(event, Write):
            found.writes[event.host].append(event)
            found.younger.add(id(event))
        elif isinstance(event, Decided):
            found.decided.append(event)
        else:
            found.concurrent += 1
    return found


def check(
    events: Iterable[Event],
    rows: Iterable[FinalRow],
    *,
    regions: dict[str, str],
    rows_read_us: int,
    clock_error_us: int = 0,
    later: Iterable[Event] = (),
    damage: Sequence[str] = _NO_DAMAGE,
    files: Files | None = None,
    open_set_us: int = 0,
    settled: Mapping[str, int] = _NOTHING,
) -> Verdict:
    """Check ``events`` of all processes against ``rows``, the final rows of all cells.

    ``regions`` is the region of each cell. ``rows_read_us`` is the time at which the reading of the
    rows began: what ended before must show in them. ``clock_error_us`` is how far the clocks of two
    processes may differ. ``later`` are events known to have been recorded after that, whatever the
    clocks say; ``damage`` says what is wrong with the histories, of which there are ``files``. A
    write set that was ``open_set_us`` old by then must have been decided. ``settled``: {host: revision}
    of rows that were read serially, so that what found that revision before will not apply.
    """
    started = time.perf_counter()
    histories = sort(events, later, rows_read_us)
    found, sets = Findings(), Sets()
    checked = Rows(found, sets, rows_read_us, clock_error_us, histories.younger)
    finals = {final.row.host: final for final in rows}
    for host, final in finals.items():
        checked.host(final.cell, host, final.row, histories.writes.get(host, []))
    for host, writes in histories.writes.items():
        if host not in finals:
            checked.host(writes[0].cell, host, None, writes)
    operations, contradictions = answers(histories.operations)
    lives = Lives(found, checked, histories.writes, operations, clock_error_us)
    lives.judge(histories.acknowledged, histories.ended)
    for event in histories.decided:
        sets.decided(event)
    for broken in sets.broken(checked.whole):
        found.violated(broken.kind, broken.cell, broken.host, broken.rev, broken.story)
    tags = {
        claim.writeset: final
        for final in finals.values()
        for claim in final.row.claims
        if claim.tag
    }
    for writeset, final in sets.undecided(tags, rows_read_us - open_set_us):
        found.unproved(
            final.cell,
            final.row.host,
            final.row.rev,
            f"Write set {writeset} was never decided, and its tag is on host {final.row.name} of "
            f"cell {final.cell} at revision {final.row.rev}.",
        )
    clients = Told(found, checked, histories.writes, rows_read_us, clock_error_us)
    open_ = _open_writes(histories.writes, finals, settled)
    traces = frozenset(record.trace for write in open_ for record in write.put if record.trace)
    clients.judge(operations, traces)
    for words in (*damage, *contradictions):
        found.unproved("", "", 0, words)
    return Verdict(
        verdict=_passed(found),
        double_bookings=found.double_bookings,
        violations=tuple(found.violations),
        violations_total=found.violations_total,
        revisions_checked=checked.revisions,
        hosts_checked=len(finals),
        hosts_incomplete=len(checked.holed),
        incomplete=tuple(found.incomplete),
        incomplete_total=found.incomplete_total,
        claims=lives.counts,
        writesets=sets.count(
            sum(bool(claim.tag) for final in finals.values() for claim in final.row.claims)
        ),
        clients=clients.counts,
        files=files or Files(),
        booked=booked(finals.values(), regions),
        cells=regions,
        shrunk=checked.shrunk,
        concurrent=histories.concurrent + checked.concurrent,
        outcomes_open=len(open_),
        events=histories.events,
        seconds=round(time.perf_counter() - started, 3),
    )


def open_outcomes(
    events: Iterable[Event], later: Iterable[Event], rows: Iterable[FinalRow]
) -> dict[str, int]:
    """Hosts with a write that found their last revision and never had its answer, and when the last
    such write was sent, in microseconds."""
    writes: dict[str, list[Write]] = defaultdict(list)
    for event in itertools.chain(events, later):
        if isinstance(event, Write):
            writes[event.host].append(event)
    found: dict[str, int] = {}
    for write in _open_writes(writes, {final.row.host: final for final in rows}, {}):
        found[write.host] = max(found.get(write.host, 0), write.started_us)
    return found


def _open_writes(
    writes: Mapping[str, Sequence[Write]],
    finals: Mapping[str, FinalRow],
    settled: Mapping[str, int],
) -> list[Write]:
    """Writes without an answer that found a row as it still is, and may yet change it."""
    found: list[Write] = []
    for host, final in finals.items():
        own, last = writes.get(host, ()), final.row.rev
        if settled.get(host) != last and any(
            write.rev == last and write.outcome is WriteOutcome.UNKNOWN for write in own
        ):
            found += links(own).unknown.get(last, ())
    return found


def _passed(found: Findings) -> Passed:
    if found.violations_total:
        return Passed.VIOLATED
    return Passed.INCOMPLETE if found.incomplete_total else Passed.PASSED


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
