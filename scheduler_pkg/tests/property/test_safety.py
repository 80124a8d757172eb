"""Safety: whatever is asked of a host's row, in whatever order, nothing is promised twice."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from placer.checker.core import FinalRow, check
from placer.checker.verdict import Kind, Passed
from placer.claims.operations import AddClaim, AddClaims, EndLeases, Operation, Refusal, Resize
from placer.claims.tags import Prepare, Settle
from placer.history import Acknowledged, Event, Write, WriteOutcome
from placer.model import records, resource_classes
from placer.model.records import ClaimState, HostRow
from placer.model.resource_classes.devices import Devices

from ..simulation.judge import used
from .strategies import (
    HOST,
    NOWS,
    OPERATIONS,
    OPERATIONS_AND_REPORTS,
    prepares,
    rows,
    stories,
)

#: (the row before, the operation, the row after or the refusal)
Step = tuple[HostRow, Operation, HostRow | Refusal]


def lived(row: HostRow, operations: list[Operation], now_ms: int) -> Iterator[Step]:
    """Apply ``operations`` one after another; what is refused changes nothing."""
    for operation in operations:
        result = operation.apply(row, now_ms)
        yield row, operation, result
        if not isinstance(result, Refusal):
            row = result


def after(row: HostRow, operations: list[Operation], now_ms: int) -> Iterator[HostRow]:
    for before, _, result in lived(row, operations, now_ms):
        yield before if isinstance(result, Refusal) else result


@given(rows(), stories(OPERATIONS), NOWS)
def test_never_over_capacity(row: HostRow, operations: list[Operation], now_ms: int) -> None:
    """0 <= promised <= capacity for every class, after every operation."""
    for state in after(row, operations, now_ms):
        offered, free = records.inventories(state.records), records.available(state.records)
        for name, left in free.items():
            assert 0 <= left <= offered[name].capacity, name


@given(rows(), stories(OPERATIONS), NOWS)
def test_no_device_gives_more_than_it_has(
    row: HostRow, operations: list[Operation], now_ms: int
) -> None:
    """Each device is the host's own and gives at most its capacity, whoever asks."""
    for state in after(row, operations, now_ms):
        offered = records.inventories(state.records)
        for name, devices in records.units_taken(state.records).items():
            resource_class = resource_classes.get(name)
            assert isinstance(resource_class, Devices)
            assert devices.keys() <= set(offered[name].units)
            assert all(0 < given <= resource_class.unit_capacity for given in devices.values())


@given(rows(), stories(OPERATIONS), NOWS)
def test_a_claims_devices_add_up_to_its_amount(
    row: HostRow, operations: list[Operation], now_ms: int
) -> None:
    """What a claim takes from devices is what it takes of their class."""
    for state in after(row, operations, now_ms):
        for claim in state.claims:
            for name, devices in claim.units.items():
                assert sum(devices.values()) == -claim.amounts[name]


@given(rows(), stories(OPERATIONS_AND_REPORTS), NOWS)
def test_free_is_capacity_less_claims(
    row: HostRow, operations: list[Operation], now_ms: int
) -> None:
    """What is free is what is offered less what is promised, reckoned in another way."""
    for state in after(row, operations, now_ms):
        free, promised = records.available(state.records), used(state)
        for name, inventory in records.inventories(state.records).items():
            assert free[name] == inventory.capacity - promised.get((name, ""), 0)


@given(rows(), stories(OPERATIONS_AND_REPORTS), NOWS)
def test_a_report_keeps_every_claim(row: HostRow, operations: list[Operation], now_ms: int) -> None:
    """Only agent steps and ended leases take a claim away; a report or a status never does."""
    for before, operation, result in lived(row, operations, now_ms):
        if isinstance(result, HostRow) and type(operation).__name__ in {
            "ReportInventory",
            "SetStatus",
            "AddClaim",
        }:
            assert {c.id for c in before.claims} <= {c.id for c in result.claims}


@given(rows(), stories(OPERATIONS_AND_REPORTS), NOWS)
def test_a_claims_life_goes_forward(row: HostRow, operations: list[Operation], now_ms: int) -> None:
    """States only advance, and an adopted claim leaves the row only when it is being deleted."""
    order = list(ClaimState)
    for before, operation, result in lived(row, operations, now_ms):
        if isinstance(result, Refusal):
            continue
        for claim in before.claims:
            assert claim.state is not None
            now = result.find(claim.id)
            if now is None:
                ended = claim.state in {ClaimState.CLAIMED, ClaimState.DELETING}
                assert ended or isinstance(operation, Settle)
            else:
                assert now.state is not None
                assert order.index(now.state) >= order.index(claim.state)
                if isinstance(operation, EndLeases):
                    assert now.amounts in (claim.amounts, {})
                elif not isinstance(operation, Resize):
                    assert now.amounts == claim.amounts
                    assert now.units == claim.units


@given(rows(), stories(OPERATIONS_AND_REPORTS), NOWS)
def test_a_tagged_claim_is_frozen(row: HostRow, operations: list[Operation], now_ms: int) -> None:
    """Only settling its own write set changes a claim with a tag, or takes it away."""
    for before, operation, result in lived(row, operations, now_ms):
        if isinstance(result, Refusal):
            continue
        for claim in before.claims:
            own = isinstance(operation, Settle) and operation.writeset == claim.writeset
            if claim.tag and not own:
                assert result.find(claim.id) == claim


@given(rows(), stories(OPERATIONS), prepares(), NOWS, st.booleans())
def test_either_outcome_of_a_write_set_fits(
    row: HostRow, operations: list[Operation], prepare: Prepare, now_ms: int, committed: bool
) -> None:
    """Once it is prepared, no decision can promise more than there is."""
    *_, row = [row, *after(row, operations, now_ms)]
    prepared = prepare.apply(row, now_ms)
    if isinstance(prepared, Refusal):
        return
    settled = Settle(prepare.writeset, committed).apply(prepared, now_ms)
    assert isinstance(settled, HostRow)
    assert all(left >= 0 for left in records.available(settled.records).values())


@given(rows(), stories(OPERATIONS_AND_REPORTS), NOWS)
def test_nothing_but_records_and_status_changes(
    row: HostRow, operations: list[Operation], now_ms: int
) -> None:
    """An operation never touches the revision: that is the LWT's."""
    for state in after(row, operations, now_ms):
        assert (state.rev, state.host) == (row.rev, row.host)


# -- the checker agrees with the operations, and is not asleep


def history(row: HostRow, operations: list[Operation], now_ms: int) -> tuple[list[Event], HostRow]:
    """What a writer would have recorded of this story, and the final row."""
    events: list[Event] = [_write(None, row, None)]
    for before, operation, result in lived(row, operations, now_ms):
        if isinstance(result, Refusal) or result == before:
            continue
        written = _at(result, row.rev + 1)
        events.append(_write(row, written, operation))
        if isinstance(operation, AddClaim):
            events.append(
                Acknowledged(
                    process="p",
                    cell="c",
                    host=HOST,
                    claim=operation.claim,
                    request=f"{operation.request}-{written.rev}",
                    at_us=written.rev,
                )
            )
        row = written
    return events, row


def _at(row: HostRow, rev: int) -> HostRow:
    return msgspec.structs.replace(row, rev=rev)


def _write(old: HostRow | None, new: HostRow, operation: Operation | None) -> Write:
    before = {record.id: record for record in old.records} if old else {}
    return Write(
        process="p",
        cell="c",
        host=HOST,
        rev=old.rev if old else 0,
        next=new.rev,
        outcome=WriteOutcome.APPLIED,
        started_us=new.rev * 10,
        ended_us=new.rev * 10 + 1,
        put=tuple(record for record in new.records if before.get(record.id) != record),
        drop=tuple(key for key in before if new.find(key) is None),
        status=new.status,
        committed=(operation.writeset,)
        if isinstance(operation, Settle) and operation.committed
        else (),
    )


def with_new_ids(operations: list[Operation]) -> list[Operation]:
    """The same story, each claim and each write set under an id that was never used before (as the
    callers do), and each write set decided once."""
    used: set[str] = set()
    decided: dict[str, bool] = {}
    kept: list[Operation] = []
    for operation in operations:
        if isinstance(operation, Settle):
            committed = decided.setdefault(operation.writeset, operation.committed)
            kept.append(Settle(operation.writeset, committed))
            continue
        new = _new_ids(operation)
        if isinstance(operation, Prepare) and operation.writeset in decided:
            continue
        if used.isdisjoint(new):
            used.update(new)
            kept.append(operation)
    return kept


def _new_ids(operation: Operation) -> list[str]:
    """The ids that an operation brings into the world."""
    if isinstance(operation, AddClaim):
        return [operation.claim]
    if isinstance(operation, AddClaims):
        return [claim.claim for claim in operation.claims]
    if isinstance(operation, Prepare):
        return [operation.writeset, *(add.claim for add in operation.adds)]
    return []


@given(rows(), stories(OPERATIONS_AND_REPORTS), NOWS)
def test_checker_passes_what_the_operations_do(
    row: HostRow, operations: list[Operation], now_ms: int
) -> None:
    """Every story of rightful operations is proved right, revision by revision."""
    events, last = history(row, with_new_ids(operations), now_ms)
    # A story may end before a write set is decided: that is no fault of its rows.
    verdict = check(
        events,
        [FinalRow("c", last)],
        regions={"c": "r"},
        rows_read_us=10**9,
        open_set_us=10**9,
    )
    assert verdict.verdict is Passed.PASSED, verdict.violations
    assert verdict.revisions_checked == last.rev


@given(rows(), stories(OPERATIONS), NOWS, st.data())
def test_checker_misses_no_lost_write(
    row: HostRow, operations: list[Operation], now_ms: int, data: st.DataObject
) -> None:
    """Take the row back to any earlier revision: an applied write is then missing, and is named."""
    operations = with_new_ids(operations)
    events, last = history(row, operations, now_ms)
    if last.rev == row.rev:
        return
    earlier = data.draw(st.integers(min_value=row.rev, max_value=last.rev - 1))
    stale = next(state for state in _states(row, events) if state.rev == earlier)
    verdict = check(events, [FinalRow("c", stale)], regions={"c": "r"}, rows_read_us=10**9)
    assert Kind.LOST_WRITE in {violation.kind for violation in verdict.violations}


def _states(row: HostRow, events: list[Event]) -> Iterator[HostRow]:
    """The row after each recorded write."""
    yield row
    for event in events[1:]:
        if isinstance(event, Write):
            kept = {r.id: r for r in row.records if r.id not in event.drop}
            kept.update((record.id, record) for record in event.put)
            row = HostRow(row.host, row.name, event.next, event.status, tuple(kept.values()))
            yield row
