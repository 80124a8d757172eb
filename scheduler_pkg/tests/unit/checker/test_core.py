"""The checker on histories written by hand. Names: guarantee, situation, pass or fail."""

from __future__ import annotations

import msgspec
import pytest

from placer.checker.core import FinalRow
from placer.checker.verdict import Kind, Passed
from placer.history import Acknowledged, Event, WriteOutcome
from placer.model.records import ClaimState, HostStatus, Record, RowKind

from .story import (
    FIRST,
    INVENTORY,
    claim,
    ended,
    final,
    judge,
    made,
    told,
    wrote,
)

A, B, C = (claim(name) for name in "abc")
BUILDING, BUILT, DELETING = ClaimState.BUILDING, ClaimState.BUILT, ClaimState.DELETING
UNKNOWN, REFUSED = WriteOutcome.UNKNOWN, WriteOutcome.REFUSED

HERE = claim("a", state=ClaimState.BUILT)
#: The same instance where it moves to, which forgot to say that this is another epoch.
THERE = msgspec.structs.replace(claim("b", state=ClaimState.BUILT), consumer="of-a")


def moved(name: str, moves: int) -> Acknowledged:
    """A further claim of the request of a, while so many of its instances move."""
    return msgspec.structs.replace(told(name), request="for-a", of=1 + moves)


GOOD: list[tuple[str, list[Event], FinalRow]] = [
    (
        "an instance moves: built twice for a moment, in two epochs",
        [
            made(),
            wrote(100, HERE, msgspec.structs.replace(THERE, epoch=1)),
            moved("b", 1),
            told("a"),
        ],
        final(101, HERE, msgspec.structs.replace(THERE, epoch=1)),
    ),
    (
        "an evacuated instance: what is to be destroyed does not count",
        [
            made(),
            wrote(100, HERE),
            wrote(101, claim("a", state=ClaimState.DELETING)),
            wrote(102, msgspec.structs.replace(THERE, epoch=1)),
            told("a"),
            moved("b", 0),
        ],
        final(103, claim("a", state=ClaimState.DELETING), msgspec.structs.replace(THERE, epoch=1)),
    ),
    ("no claim at all", [made()], final(FIRST)),
    (
        "claim, adopted, built",
        [
            made(),
            wrote(100, A),
            wrote(101, claim("a", state=BUILDING)),
            wrote(102, claim("a", state=BUILT)),
            told("a"),
        ],
        final(103, claim("a", state=BUILT)),
    ),
    (
        "host filled to the last CPU",
        # 1 + 3 = 4 of 4.
        [made(), wrote(100, A), wrote(101, claim("b", 3)), told("a"), told("b")],
        final(102, A, claim("b", 3)),
    ),
    (
        "one revision swaps a full host's claims",
        # 4 of 4 leave, 4 of 4 come.
        [made(), wrote(100, claim("a", 4)), wrote(101, claim("b", 4), drop=("a",))],
        final(102, claim("b", 4)),
    ),
    (
        "several claims in one revision (group commit)",
        [made(), wrote(100, A, B, C), told("a"), told("b"), told("c")],
        final(101, A, B, C),
    ),
    (
        "answer lost, the write had applied",
        [made(), wrote(100, A, outcome=UNKNOWN), wrote(101, B), told("a"), told("b")],
        final(102, A, B),
    ),
    (
        "answer lost, the write never applied",
        [made(), wrote(100, A, outcome=UNKNOWN), wrote(100, B, process="scheduler-2"), told("b")],
        final(101, B),
    ),
    (
        "two lost answers for one revision, the second had applied",
        [
            made(),
            wrote(100, A, outcome=UNKNOWN),
            wrote(100, B, outcome=UNKNOWN, process="scheduler-2"),
            wrote(101, C),
        ],
        final(102, B, C),
    ),
    (
        "answer lost at the very end, never applied",
        [made(), wrote(100, A, outcome=UNKNOWN)],
        final(100),
    ),
    (
        "making of the row: answer lost, made again under another revision",
        [
            made(outcome=UNKNOWN),
            wrote(0, INVENTORY, next=200, started_us=2000, ended_us=2005),
            wrote(200, A),
        ],
        final(201, A),
    ),
    (
        "recorded before it was sent, and again with its outcome",
        [
            made(outcome=UNKNOWN),
            made(),
            wrote(100, A, outcome=UNKNOWN),
            wrote(100, A),
            wrote(101, B, outcome=UNKNOWN),
            wrote(101, B, outcome=REFUSED),
            told("a"),
        ],
        final(101, A),
    ),
    (
        "recorded before it was sent, then the process was killed; it had applied",
        [made(), wrote(100, A, outcome=UNKNOWN), wrote(101, B, process="scheduler-2"), told("b")],
        final(102, A, B),
    ),
    (
        "refused writes wrote nothing",
        [made(), wrote(100, A), wrote(100, B, outcome=REFUSED), told("a")],
        final(101, A),
    ),
    (
        "one GPU cut into slices, the other whole",
        # gpu0: 300 + 700 = 1000; gpu1: 1000.
        [
            made(),
            wrote(100, claim("a", gpu={"gpu0": 300})),
            wrote(101, claim("b", gpu={"gpu1": 1000})),
            wrote(102, claim("c", gpu={"gpu0": 700})),
        ],
        final(
            103,
            claim("a", gpu={"gpu0": 300}),
            claim("b", gpu={"gpu1": 1000}),
            claim("c", gpu={"gpu0": 700}),
        ),
    ),
    (
        "host marked down keeps its claims",
        [made(), wrote(100, A), wrote(101, status=HostStatus.DOWN)],
        final(102, A, status=HostStatus.DOWN),
    ),
    (
        "write younger than the reading of the rows",
        [made(), wrote(100, A), wrote(101, B, started_us=2_000_000, ended_us=2_000_005)],
        final(101, A),
    ),
]


@pytest.mark.parametrize(
    ("events", "row"), [pytest.param(e, r, id=f"pass: {name}") for name, e, r in GOOD]
)
def test_good_history(events: list[Event], row: FinalRow) -> None:
    """What the protocol may do is not called a violation."""
    verdict = judge(events, row)
    assert verdict.violations == ()
    assert verdict.verdict is Passed.PASSED
    assert verdict.revisions_checked == row.row.rev - 99 if row.row.rev < 200 else 2


BAD: list[tuple[str, Kind, list[Event], FinalRow]] = [
    (
        "capacity: two claims of 3 of 4 CPUs",
        Kind.DOUBLE_BOOKING,
        [made(), wrote(100, claim("a", 3)), wrote(101, claim("b", 3))],
        final(102, claim("a", 3), claim("b", 3)),
    ),
    (
        "capacity: over for one revision only, put right by the next",
        Kind.DOUBLE_BOOKING,
        [
            made(),
            wrote(100, claim("a", 3)),
            wrote(101, claim("b", 3)),
            wrote(102, drop=("a",)),
        ],
        final(103, claim("b", 3)),
    ),
    (
        "capacity: a class that the host does not offer",
        Kind.DOUBLE_BOOKING,
        [made(), wrote(100, msgspec.structs.replace(A, amounts={"DISK_GB": -1}))],
        final(101, msgspec.structs.replace(A, amounts={"DISK_GB": -1})),
    ),
    (
        "device: one GPU given to two claims",
        Kind.DOUBLE_BOOKING,
        # 2000 in all are there, but both take gpu0.
        [
            made(),
            wrote(100, claim("a", gpu={"gpu0": 1000})),
            wrote(101, claim("b", gpu={"gpu0": 1000})),
        ],
        final(102, claim("a", gpu={"gpu0": 1000}), claim("b", gpu={"gpu0": 1000})),
    ),
    (
        "device: one that the host does not have",
        Kind.BAD_RECORD,
        [made(), wrote(100, claim("a", gpu={"gpu7": 1000}))],
        final(101, claim("a", gpu={"gpu7": 1000})),
    ),
    (
        "record: a claim that gives instead of taking",
        Kind.BAD_RECORD,
        [made(), wrote(100, claim("a", -1))],
        final(101, claim("a", -1)),
    ),
    (
        "chain: two writers of one revision",
        Kind.TWO_WRITERS,
        [made(), wrote(100, A), wrote(100, B, process="scheduler-2")],
        final(101, B),
    ),
    (
        "chain: the row was made twice",
        Kind.TWO_WRITERS,
        [made(), wrote(0, INVENTORY, next=200)],
        final(200),
    ),
    (
        "durability: an applied write is not in the store",
        Kind.LOST_WRITE,
        [made(), wrote(100, A), wrote(101, B)],
        final(101, A),
    ),
    (
        "durability: the row holds less than was put",
        Kind.ROW_DIFFERS,
        [made(), wrote(100, A)],
        final(101),
    ),
    (
        "durability: the row holds what nobody put",
        Kind.ROW_DIFFERS,
        [made(), wrote(100, A)],
        final(101, A, B),
    ),
    (
        "durability: the row's record was changed behind the back",
        Kind.ROW_DIFFERS,
        [made(), wrote(100, A)],
        final(101, claim("a", 2)),
    ),
    (
        "real time: a write that had ended before the one it follows began",
        Kind.REAL_TIME,
        [made(), wrote(100, A, started_us=5000, ended_us=5005), wrote(101, B)],
        final(102, A, B),
    ),
    (
        "claims: acknowledged, never written",
        Kind.LOST_CLAIM,
        [made(), wrote(100, A), told("a"), told("b")],
        final(101, A),
    ),
    (
        "claims: acknowledged, its write of unknown outcome did not apply",
        Kind.LOST_CLAIM,
        [made(), wrote(100, A, outcome=UNKNOWN), wrote(100, B), told("a"), told("b")],
        final(101, B),
    ),
    (
        "claims: one came back after it had left",
        Kind.RESURRECTED,
        [made(), wrote(100, A), wrote(101, drop=("a",)), wrote(102, A)],
        final(103, A),
    ),
    (
        "claims: from built back to building",
        Kind.BAD_STEP,
        [made(), wrote(100, claim("a", state=BUILT)), wrote(101, claim("a", state=BUILDING))],
        final(102, claim("a", state=BUILDING)),
    ),
    (
        "claims: removed while it was being built",
        Kind.BAD_STEP,
        [made(), wrote(100, claim("a", state=BUILDING)), wrote(101, drop=("a",))],
        final(102),
    ),
    (
        "claims: removed though it was not there",
        Kind.BAD_STEP,
        [made(), wrote(100, drop=("a",))],
        final(101),
    ),
    (
        "claims: one request has two at once",
        Kind.PLACED_TWICE,
        [
            made(),
            wrote(100, A, B),
            told("a"),
            msgspec.structs.replace(told("b"), request="for-a"),
        ],
        final(101, A, B),
    ),
    (
        "claims: an instance is built twice in one epoch",
        Kind.PLACED_TWICE,
        [made(), wrote(100, HERE, THERE), told("a"), moved("b", 0)],
        final(101, HERE, THERE),
    ),
    (
        "claims: a request moves one instance and has two more",
        Kind.PLACED_TWICE,
        [
            made(),
            wrote(100, A, B, claim("c")),
            told("a"),
            moved("b", 1),
            moved("c", 1),
        ],
        final(101, A, B, claim("c")),
    ),
]


@pytest.mark.parametrize(
    ("kind", "events", "row"), [pytest.param(k, e, r, id=f"fail: {name}") for name, k, e, r in BAD]
)
def test_bad_history(kind: Kind, events: list[Event], row: FinalRow) -> None:
    """Each broken guarantee is found, called by its name, and told as a story."""
    verdict = judge(events, row)
    assert verdict.verdict is Passed.VIOLATED
    assert kind in {violation.kind for violation in verdict.violations}
    assert all(violation.story.endswith(".") for violation in verdict.violations)
    assert (verdict.double_bookings > 0) == (kind is Kind.DOUBLE_BOOKING)


HOLES: list[tuple[str, list[Event], FinalRow]] = [
    ("no history of the host", [], final(101, A)),
    ("the making of the row is missing", [wrote(100, A)], final(101, A)),
    ("a revision in the middle is missing", [made(), wrote(101, B)], final(102, A, B)),
    ("the last revision is missing", [made(), wrote(100, A)], final(102, A, B)),
    (
        "a write recorded before it was sent, and then as refused, could have made it",
        [
            made(),
            wrote(100, A, outcome=UNKNOWN),
            wrote(100, A, outcome=REFUSED),
            wrote(101, B),
        ],
        final(102, A, B),
    ),
    (
        "only a refused write could have made it",
        [made(), wrote(100, A, outcome=REFUSED), wrote(101, B)],
        final(102, A, B),
    ),
]


@pytest.mark.parametrize(
    ("events", "row"), [pytest.param(e, r, id=f"incomplete: {name}") for name, e, r in HOLES]
)
def test_history_with_a_hole(events: list[Event], row: FinalRow) -> None:
    """What cannot be proved never passes, and is not called a violation either."""
    verdict = judge(events, row)
    assert verdict.violations == ()
    assert verdict.verdict is Passed.INCOMPLETE
    assert verdict.hosts_incomplete == 1
    assert "host-1" in verdict.incomplete[0].story


def test_hole_does_not_hide_an_overbooked_row() -> None:
    """Without a history the final row itself is still held to its capacity."""
    verdict = judge([], final(101, claim("a", 3), claim("b", 3)))
    assert verdict.verdict is Passed.VIOLATED
    assert verdict.double_bookings == 1


def test_slice_of_a_quota_may_be_below_what_is_used() -> None:
    """Without a history nobody can say whether it was so when the shares were taken."""
    seen = final(101, claim("a", 3), claim("b", 3))
    quota = msgspec.structs.replace(seen.row, kind=RowKind.QUOTA)
    verdict = judge([], msgspec.structs.replace(seen, row=quota))
    assert verdict.verdict is Passed.INCOMPLETE


def test_claims_behind_a_hole_are_undecided_not_lost() -> None:
    """An acknowledged claim without a trace is not called lost where the trace may be missing."""
    verdict = judge([made(), wrote(101, B), told("x"), told("b")], final(102, A, B))
    assert verdict.verdict is Passed.INCOMPLETE
    assert (verdict.claims.undecided, verdict.claims.pending, verdict.claims.lost) == (1, 1, 0)


def test_row_that_is_gone_is_a_lost_write() -> None:
    """Rows are never deleted: a host with applied writes and no row lost them."""
    verdict = judge([made()])
    assert [violation.kind for violation in verdict.violations] == [Kind.LOST_WRITE]


def test_every_acknowledged_claim_is_counted_once_by_its_end() -> None:
    """built, pending, released, expired: each acknowledged claim in exactly one of them."""
    lapsed = claim("e", lease_until_ms=1)  # 1 ms; its removal at 1070 us is later
    events: list[Event] = [
        made(),
        wrote(100, claim("built", state=BUILT), claim("pending"), lapsed),
        wrote(101, claim("released", state=BUILT)),
        wrote(102, claim("released", state=DELETING)),
        wrote(103, drop=("released",)),
        wrote(104, claim("given-back")),
        wrote(105, drop=("e", "given-back")),
        *(told(name) for name in ("built", "pending", "released", "given-back", "e", "e")),
        ended("e", "expired"),
        wrote(106, claim("nobody-told")),
    ]
    row = final(107, claim("built", state=BUILT), claim("pending"), claim("nobody-told"))
    verdict = judge(events, row)
    assert verdict.verdict is Passed.PASSED
    claims = verdict.claims
    assert claims.acknowledged == 5
    assert (claims.built, claims.pending, claims.released, claims.expired) == (1, 1, 2, 1)
    assert claims.unacknowledged == 1


def test_capacity_lost_by_a_report_is_told_apart() -> None:
    """A host that reports less than it promised already has not booked anything twice."""
    smaller = msgspec.structs.replace(
        INVENTORY,
        inventories={
            **INVENTORY.inventories,
            "VCPU": msgspec.structs.replace(INVENTORY.inventories["VCPU"], total=2),
        },
        amounts={**INVENTORY.amounts, "VCPU": 2},
    )
    row = final(102, claim("a", 3))
    row = FinalRow(
        cell=row.cell, row=msgspec.structs.replace(row.row, records=(smaller, claim("a", 3)))
    )
    verdict = judge([made(), wrote(100, claim("a", 3)), wrote(101, smaller)], row)
    assert verdict.verdict is Passed.PASSED
    assert (verdict.double_bookings, verdict.shrunk) == (0, 1)


@pytest.mark.parametrize("left", [("gpu0",), ()])
def test_claim_keeps_a_device_that_a_report_withdrew(left: tuple[str, ...]) -> None:
    """It takes its further steps with it; a claim that newly takes it is told."""
    inventories = dict(INVENTORY.inventories)
    gpus = inventories.pop("CUSTOM_GPU_MILLI")
    if left:
        inventories["CUSTOM_GPU_MILLI"] = msgspec.structs.replace(gpus, total=1000, units=left)
    smaller = msgspec.structs.replace(INVENTORY, inventories=inventories)
    held = claim("a", gpu={"gpu1": 1000})
    adopted = claim("a", gpu={"gpu1": 1000}, state=BUILDING)
    newly = claim("b", gpu={"gpu1": 1000})

    def row(rev: int, *claims: Record) -> FinalRow:
        there = final(rev, *claims)
        return FinalRow(
            cell=there.cell, row=msgspec.structs.replace(there.row, records=(smaller, *claims))
        )

    steps: list[Event] = [made(), wrote(100, held), wrote(101, smaller), wrote(102, adopted)]
    assert judge(steps, row(103, adopted)).violations == ()
    verdict = judge([*steps, wrote(103, newly)], row(104, adopted, newly))
    assert Kind.BAD_RECORD in {violation.kind for violation in verdict.violations}


def test_clock_error_is_allowed_for() -> None:
    """Clocks of two machines differ; only more than the allowance is a violation."""
    events: list[Event] = [made(), wrote(100, A, started_us=1030, ended_us=1035), wrote(101, B)]
    assert judge(events, final(102, A, B)).verdict is Passed.VIOLATED
    assert judge(events, final(102, A, B), clock_error_us=10).verdict is Passed.PASSED


def test_booked_is_the_promised_share_of_each_class() -> None:
    """Shares are by region and class, of the capacity: 1 of 4 CPUs, 500 of 2000 GPU thousandths."""
    booked = claim("a", gpu={"gpu0": 500})
    verdict = judge([made(), wrote(100, booked)], final(101, booked))
    assert verdict.booked == {"nyc": {"CUSTOM_GPU_MILLI": 0.25, "VCPU": 0.25}}


def test_host_may_have_many_slices_of_a_pool() -> None:
    """A pool's entries are a host's, as often as it took some: no allocation sets of a consumer."""
    slices = [
        msgspec.structs.replace(claim(name, state=BUILT), consumer="h9", request="")
        for name in ("a", "b")
    ]
    seen = final(102, *slices)
    pool = msgspec.structs.replace(seen.row, kind=RowKind.POOL)
    events: list[Event] = [made(), wrote(100, slices[0]), wrote(101, slices[1])]
    verdict = judge(events, msgspec.structs.replace(seen, row=pool))
    assert verdict.verdict is Passed.PASSED, verdict.violations
    assert judge(events, seen).verdict is Passed.VIOLATED
