"""Progress: what fits is placed when nobody competes, and doing a thing again changes nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from placer.claims.operations import (
    AddClaim,
    AgentStep,
    EndLeases,
    Operation,
    Refusal,
    ReportInventory,
    SetStatus,
    ended,
    lapsed,
)
from placer.model import fitting, records
from placer.model.host_view import summarize
from placer.model.messages import StepKind
from placer.model.records import HostRow, HostStatus

from .strategies import (
    NOWS,
    OPERATIONS,
    OPERATIONS_AND_REPORTS,
    claims,
    rows,
    same_host_reports,
    stories,
)


def lived_in(row: HostRow, operations: list[Operation], now_ms: int) -> HostRow:
    """The row after a story; what is refused is passed over."""
    for operation in operations:
        result = operation.apply(row, now_ms)
        row = row if isinstance(result, Refusal) else result
    return row


@given(rows(), stories(OPERATIONS), claims(), NOWS)
def test_what_fits_is_placed(
    row: HostRow, operations: list[Operation], claim: AddClaim, now_ms: int
) -> None:
    """A claim is refused only for a reason: it is placed exactly if the host is up and the one
    answer to "does it fit" says yes."""
    row = lived_in(row, operations, now_ms)
    fits = not isinstance(fitting.arrange(claim.demand, fitting.tree_of(row.records)), str)
    willing = fits and row.status is HostStatus.UP
    placed = not isinstance(claim.apply(row, now_ms), Refusal)
    assert placed == (willing or claim.done(row))


@given(rows(), stories(OPERATIONS), claims(), NOWS)
def test_a_fresh_view_never_misleads(
    row: HostRow, operations: list[Operation], claim: AddClaim, now_ms: int
) -> None:
    """A view of the row as it is says of every demand what the row itself says."""
    row = lived_in(row, operations, now_ms)
    view = summarize(row, cell="c", region="r")
    assert fitting.arrange(claim.demand, view.tree) == fitting.arrange(
        claim.demand, fitting.tree_of(row.records)
    )


@given(rows(), stories(OPERATIONS_AND_REPORTS), OPERATIONS_AND_REPORTS, NOWS)
def test_doing_a_thing_again_changes_nothing(
    row: HostRow, operations: list[Operation], operation: Operation, now_ms: int
) -> None:
    """apply is idempotent, so a retry after a lost answer cannot do a thing twice."""
    row = lived_in(row, operations, now_ms)
    once = operation.apply(row, now_ms)
    if not isinstance(once, Refusal):
        assert operation.apply(once, now_ms) == once


@given(rows(), stories(OPERATIONS_AND_REPORTS), OPERATIONS_AND_REPORTS, NOWS)
def test_done_is_seen_on_the_row(
    row: HostRow, operations: list[Operation], operation: Operation, now_ms: int
) -> None:
    """What was applied says done of its row, so an unknown outcome can be settled by reading."""
    row = lived_in(row, operations, now_ms)
    after = operation.apply(row, now_ms)
    if not isinstance(after, Refusal) and not isinstance(operation, EndLeases):
        assert operation.done(after)


@given(rows(), stories(OPERATIONS_AND_REPORTS), OPERATIONS_AND_REPORTS, NOWS)
def test_done_before_means_nothing_to_do(
    row: HostRow, operations: list[Operation], operation: Operation, now_ms: int
) -> None:
    """An operation that the row shows already leaves it as it is."""
    row = lived_in(row, operations, now_ms)
    if operation.done(row):
        assert operation.apply(row, now_ms) == row


@given(rows(), stories(OPERATIONS), NOWS)
def test_every_ended_lease_is_given_back(
    row: HostRow, operations: list[Operation], now_ms: int
) -> None:
    """After the sweep what lapsed holds nothing and can only go; every other claim is untouched."""
    row = lived_in(row, operations, now_ms)
    due = {c.id for c in row.claims if lapsed(c, now_ms)}
    swept = EndLeases().apply(row, now_ms)
    assert not isinstance(swept, Refusal)
    assert all(not c.amounts and ended(c) for c in swept.claims if c.id in due)
    kept = tuple(c for c in row.claims if c.id not in due)
    assert tuple(c for c in swept.claims if c.id not in due) == kept
    for claim in due:
        assert isinstance(AgentStep(claim, StepKind.ADOPT).apply(swept, now_ms), Refusal)


@given(rows(), stories(OPERATIONS), claims(), NOWS)
def test_agent_can_always_finish(
    row: HostRow, operations: list[Operation], claim: AddClaim, now_ms: int
) -> None:
    """A claim that is on the row goes through its whole life, and then its host is as before."""
    row = lived_in(row, operations, now_ms)
    if claim.done(row):
        return
    placed = claim.apply(row, now_ms)
    if isinstance(placed, Refusal):
        return
    state = placed
    for kind in (StepKind.ADOPT, StepKind.BUILT, StepKind.DELETING, StepKind.GONE):
        result = AgentStep(claim=claim.claim, kind=kind).apply(state, now_ms)
        assert not isinstance(result, Refusal), kind
        state = result
    assert state == row


@given(rows(), stories(OPERATIONS_AND_REPORTS), same_host_reports(), NOWS)
def test_report_brings_a_host_back_up(
    row: HostRow, operations: list[Operation], report: ReportInventory, now_ms: int
) -> None:
    """A host that reports is up and offers what it says."""
    row = lived_in(row, operations, now_ms)
    after = report.apply(row, now_ms)
    assert isinstance(after, HostRow)
    assert after.status is HostStatus.UP
    assert records.inventories(after.records) == report.inventories


@given(rows(), st.sampled_from(list(HostStatus)), claims(), NOWS)
def test_only_a_host_that_is_up_takes_claims(
    row: HostRow, status: HostStatus, claim: AddClaim, now_ms: int
) -> None:
    """Down and disabled hosts refuse, and say which they are."""
    marked = SetStatus(status).apply(row, now_ms)
    assert isinstance(marked, HostRow)
    if status is not HostStatus.UP:
        assert claim.apply(marked, now_ms) == Refusal(f"host_{status}")
