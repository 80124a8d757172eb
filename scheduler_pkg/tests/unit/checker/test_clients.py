"""What clients were told, joined with the rows. Names: guarantee, situation, pass or fail."""

from __future__ import annotations

import msgspec
import pytest

from placer.checker.core import FinalRow
from placer.checker.verdict import Kind, Passed
from placer.history import Answer, Event, OperationKind, WriteOutcome
from placer.model.records import ClaimState, Record

from .story import LATER, asked, claim, final, judge, made, told, wrote

OK, REFUSED, UNKNOWN = Answer.OK, Answer.REFUSED, Answer.UNKNOWN
BUILT, DELETING = ClaimState.BUILT, ClaimState.DELETING
READ, RELEASE = OperationKind.READ, OperationKind.RELEASE


def built(name: str, trace: str = "", vcpu: int = 1, **more: object) -> Record:
    return msgspec.structs.replace(claim(name, vcpu, state=BUILT), trace=trace, **more)


#: Made by operation 1 at revision 101, which was written from 1010 to 1015.
A = built("a", "trace-1")
ROW: list[Event] = [made(), wrote(100, A)]


GOOD: list[tuple[str, list[Event], FinalRow]] = [
    (
        "ok: its claim is built",
        [*ROW, asked(1, request="for-a", claims=("a",), stage="placed")],
        final(101, A),
    ),
    (
        "ok: its claim was released since",
        [
            *ROW,
            wrote(101, claim("a", state=DELETING)),
            wrote(102, drop=("a",)),
            asked(1, request="for-a", claims=("a",)),
        ],
        final(103),
    ),
    (
        "recorded before it was sent, then answered",
        [*ROW, asked(1, UNKNOWN), asked(1, request="for-a", claims=("a",))],
        final(101, A),
    ),
    (
        "a look names several claims that no scheduler lived to acknowledge",
        [
            made(),
            wrote(100, A, built("b", "trace-1")),
            asked(2, kind=READ, request="for-a", claims=("a", "b")),
        ],
        final(101, A, built("b", "trace-1")),
    ),
    ("refused: nothing is there", [made(), asked(1, REFUSED, code="no_valid_host")], final(100)),
    (
        "refused: what it had tried is on its way out",
        [
            made(),
            wrote(100, claim("a", state=DELETING)),
            asked(1, REFUSED, request="for-a", stage="failed"),
        ],
        final(101, claim("a", state=DELETING)),
    ),
    ("unknown: it happened", [*ROW, asked(1, UNKNOWN)], final(101, A)),
    ("unknown: it did not", [made(), asked(1, UNKNOWN)], final(100)),
    (
        "looks at a request that overlap may see it in any order",
        [
            made(),
            asked(1, kind=READ, request="r", rev=7),
            asked(2, kind=READ, request="r", rev=6, started_us=1200, ended_us=1300),
        ],
        final(100),
    ),
    (
        "a repeated call names a claim that an earlier call made",
        [
            made(),
            wrote(100, A),
            wrote(101, built("b", "trace-2")),
            asked(1, request="for-a", claims=("a",)),
            asked(2, request="for-b", claims=("b",)),
            asked(3, request="for-a", claims=("a",)),
        ],
        final(102, A, built("b", "trace-2")),
    ),
]


@pytest.mark.parametrize(
    ("events", "row"), [pytest.param(e, r, id=f"pass: {name}") for name, e, r in GOOD]
)
def test_good_history(events: list[Event], row: FinalRow) -> None:
    """What a client may rightly be told is not called a violation."""
    verdict = judge(events, row)
    assert verdict.verdict is Passed.PASSED, (verdict.violations, verdict.incomplete)


BAD: list[tuple[str, Kind, list[Event], FinalRow]] = [
    (
        "ok: no write put the claim anywhere, and no scheduler said that it did",
        Kind.LOST_CLAIM,
        [*ROW, asked(1, request="for-b", claims=("nyc1.h1.b",))],
        final(101, A),
    ),
    (
        "refused: the claim is built all the same",
        Kind.HELD_AFTER_REFUSAL,
        [*ROW, asked(1, REFUSED, code="no_valid_host")],
        final(101, A),
    ),
    (
        "cancelled: a look says so, and the claim is built",
        Kind.HELD_AFTER_REFUSAL,
        [*ROW, asked(2, kind=READ, request="for-a", stage="cancelled", rev=9)],
        final(101, A),
    ),
    (
        "order: two clients one after the other, their claims the other way round",
        Kind.REAL_TIME,
        [
            made(),
            wrote(100, A),
            wrote(101, built("b", "trace-2")),
            asked(1, request="for-a", claims=("a",), started_us=5000, ended_us=6000),
            asked(2, request="for-b", claims=("b",), process="client-2"),
        ],
        final(102, A, built("b", "trace-2")),
    ),
    (
        "order: a request is seen as it was before",
        Kind.WENT_BACK,
        [
            made(),
            asked(1, kind=READ, request="r", rev=7),
            asked(2, kind=READ, request="r", rev=6),
        ],
        final(100),
    ),
]


@pytest.mark.parametrize(
    ("kind", "events", "row"), [pytest.param(k, e, r, id=f"fail: {name}") for name, k, e, r in BAD]
)
def test_bad_history(kind: Kind, events: list[Event], row: FinalRow) -> None:
    """Each broken promise is found, called by its name, and the client is in the story."""
    verdict = judge(events, row)
    assert [violation.kind for violation in verdict.violations] == [kind]
    assert "client" in verdict.violations[0].story


OPEN: list[tuple[str, list[Event], FinalRow]] = [
    (
        "its claim's lease is over and nobody took it up or away",
        [
            made(),
            wrote(100, msgspec.structs.replace(claim("a", lease_until_ms=1), trace="trace-1")),
            asked(1, UNKNOWN),
        ],
        final(101, msgspec.structs.replace(claim("a", lease_until_ms=1), trace="trace-1")),
    ),
    (
        "its claim is tagged by a write set that nobody decided",
        [
            made(),
            wrote(100, msgspec.structs.replace(claim("a"), trace="trace-1", tag="+nyc1.0.t")),
            asked(1, UNKNOWN),
        ],
        final(101, msgspec.structs.replace(claim("a"), trace="trace-1", tag="+nyc1.0.t")),
    ),
    (
        "the write of its claim has no answer and found the last revision",
        [made(), wrote(100, A, outcome=WriteOutcome.UNKNOWN), asked(1, UNKNOWN)],
        final(100),
    ),
]


@pytest.mark.parametrize(
    ("events", "row"), [pytest.param(e, r, id=f"incomplete: {name}") for name, e, r in OPEN]
)
def test_unknown_operation_that_is_not_resolved(events: list[Event], row: FinalRow) -> None:
    """Neither happened for good nor never will: that does not pass, and breaks nothing."""
    verdict = judge(events, row)
    assert verdict.verdict is Passed.INCOMPLETE
    assert verdict.violations == ()
    assert verdict.clients.unresolved == 1
    assert any("operation 1" in one.story for one in verdict.incomplete)


def test_operations_are_counted() -> None:
    """By kind, by what they were told, and the unknown ones by what became of them."""
    verdict = judge(
        [
            *ROW,
            asked(1, UNKNOWN),
            asked(2, UNKNOWN),
            asked(3, REFUSED),
            asked(4, kind=READ, request="for-a", rev=3),
            asked(5, UNKNOWN, kind=RELEASE, request="for-a"),
        ],
        final(101, A),
    )
    clients = verdict.clients
    assert clients.by_kind == {"claim": 3, "read": 1, "release": 1}
    assert (clients.operations, clients.ok, clients.refused, clients.unknown) == (5, 1, 1, 3)
    assert (clients.happened, clients.nothing, clients.unresolved) == (1, 1, 0)


def test_unknown_operation_behind_a_hole_is_undecided() -> None:
    """Where writes are missing nobody can say that it did not happen."""
    verdict = judge([wrote(100), asked(1, UNKNOWN)], final(101))
    assert verdict.verdict is Passed.INCOMPLETE
    assert verdict.clients.undecided == 1


def test_two_answers_to_one_operation_never_pass() -> None:
    """A history that contradicts itself proves nothing."""
    verdict = judge([made(), asked(1, REFUSED), asked(1)], final(100))
    assert verdict.verdict is Passed.INCOMPLETE
    assert "two answers" in verdict.incomplete[0].story


def test_clocks_of_two_clients_may_differ_those_of_one_not() -> None:
    """The allowance is for two processes; one process's clock never goes back."""
    events: list[Event] = [
        made(),
        wrote(100, A),
        wrote(101, built("b", "trace-2")),
        asked(1, request="for-a", claims=("a",), started_us=3000, ended_us=4000),
    ]
    late = asked(2, request="for-b", claims=("b",))
    other = msgspec.structs.replace(late, process="client-2")
    row = final(102, A, built("b", "trace-2"))
    assert judge([*events, other], row, clock_error_us=500).verdict is Passed.PASSED
    assert judge([*events, late], row, clock_error_us=500).verdict is Passed.VIOLATED


def test_what_came_after_the_rows_were_read_is_known_without_clocks() -> None:
    """By the order of recording: its clock may say what it likes."""
    events: list[Event] = [made(), wrote(100, A), told("a")]
    later: list[Event] = [wrote(101, claim("b")), told("b")]
    assert judge([*events, *later], final(101, A)).verdict is Passed.VIOLATED
    verdict = judge(events, final(101, A), later=later)
    assert verdict.verdict is Passed.PASSED
    assert verdict.concurrent == 2


def test_row_that_was_read_late_is_explained_by_later_writes() -> None:
    """Reading takes a while: the last rows may show what was recorded meanwhile."""
    verdict = judge([made()], final(101, A), later=[wrote(100, A)], rows_read_us=LATER)
    assert verdict.verdict is Passed.PASSED
