"""The checker on write sets, by hand. Two hosts of 4 CPUs, ``h1`` and ``h2``; write set T.

Names: guarantee, situation, pass or fail.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from placer.checker.core import FinalRow
from placer.checker.verdict import Kind, Passed
from placer.history import Decided, Event, Write, WriteOutcome
from placer.model.commit_record import Decision, RowKey
from placer.model.records import ClaimState, HostRow, Record

from .story import CELL, HOST, claim, ended, final, judge, made, told, wrote

T = "nyc1.0.t"
OTHER = "h2"
COMMITTED, ABORTED, PREPARING = Decision.COMMITTED, Decision.ABORTED, Decision.PREPARING


def tagged(sign: str, name: str, vcpu: int = 1, **more: Any) -> Record:
    return msgspec.structs.replace(claim(name, vcpu, **more), tag=sign + T)


def there(write: Write) -> Write:
    """The same write on the other host."""
    return msgspec.structs.replace(write, host=OTHER)


def there_final(rev: int, *claims: Record) -> FinalRow:
    row: HostRow = final(rev, *claims).row
    return FinalRow(CELL, msgspec.structs.replace(row, host=OTHER, name="host-2"))


def record(state: Decision, outcome: WriteOutcome = WriteOutcome.APPLIED) -> Decided:
    rows = (RowKey(CELL, HOST), RowKey(CELL, OTHER)) if state is PREPARING else ()
    return Decided(
        process="scheduler-1", writeset=T, state=state, outcome=outcome, at_us=2000, rows=rows
    )


BOTH_MADE: list[Event] = [made(), there(made()), record(PREPARING)]
A, B = tagged("+", "a"), tagged("+", "b")
BOTH_TAGGED: list[Event] = [*BOTH_MADE, wrote(100, A), there(wrote(100, B))]


def settled(*put: Record, drop: tuple[str, ...] = (), done: bool = True) -> Write:
    """The write that settles T at revision 101."""
    return wrote(101, *put, drop=drop, committed=(T,) if done else ())


GOOD: list[tuple[str, list[Event], list[FinalRow]]] = [
    (
        "committed and carried out on both",
        [
            *BOTH_TAGGED,
            record(COMMITTED),
            settled(claim("a")),
            there(settled(claim("b"))),
            told("a"),
        ],
        [final(102, claim("a")), there_final(102, claim("b"))],
    ),
    (
        "aborted and undone on both",
        [
            *BOTH_TAGGED,
            record(ABORTED),
            settled(drop=("a",), done=False),
            there(settled(drop=("b",), done=False)),
        ],
        [final(102), there_final(102)],
    ),
    (
        "prepared on one row only, then aborted",
        [*BOTH_MADE, wrote(100, A), record(ABORTED), settled(drop=("a",), done=False)],
        [final(102), there_final(100)],
    ),
    (
        "committed, one row not settled yet",
        [*BOTH_TAGGED, record(COMMITTED), settled(claim("a"))],
        [final(102, claim("a")), there_final(101, B)],
    ),
    (
        "a full host's claim is exchanged: the larger sum counts",
        # 4 dropped and 4 added are 4 of 4, whatever T becomes.
        [
            *BOTH_MADE,
            wrote(100, claim("old", 4)),
            wrote(101, tagged("-", "old", 4), tagged("+", "new", 4)),
            there(wrote(100, B)),
            record(COMMITTED),
            wrote(102, claim("new", 4), drop=("old",), committed=(T,)),
        ],
        [final(103, claim("new", 4)), there_final(101, B)],
    ),
    (
        "a built claim is dropped by a write set",
        [
            *BOTH_MADE,
            wrote(100, claim("a", state=ClaimState.BUILT)),
            wrote(101, tagged("-", "a", state=ClaimState.BUILT)),
            there(wrote(100, B)),
            record(COMMITTED),
            wrote(102, drop=("a",), committed=(T,)),
            there(settled(claim("b"))),
            told("a"),
        ],
        [final(103), there_final(102, claim("b"))],
    ),
    (
        "settled and released in one transaction",
        [
            *BOTH_TAGGED,
            record(COMMITTED),
            settled(drop=("a",)),
            ended("a", "released"),
            there(settled(claim("b"))),
            told("a"),
        ],
        [final(102), there_final(102, claim("b"))],
    ),
    (
        "nobody was told of the commit, the rows show it",
        [
            *BOTH_TAGGED,
            record(COMMITTED, WriteOutcome.UNKNOWN),
            settled(claim("a")),
            there(settled(claim("b"))),
        ],
        [final(102, claim("a")), there_final(102, claim("b"))],
    ),
]


@pytest.mark.parametrize(
    ("events", "rows"), [pytest.param(e, r, id=f"pass: {name}") for name, e, r in GOOD]
)
def test_good_history(events: list[Event], rows: list[FinalRow]) -> None:
    """What the protocol may do is passed."""
    verdict = judge(events, *rows)
    assert verdict.verdict is Passed.PASSED, verdict.violations


BAD: list[tuple[str, Kind, list[Event], list[FinalRow]]] = [
    (
        "carried out on one row, undone on the other",
        Kind.SPLIT,
        [*BOTH_TAGGED, settled(claim("a")), there(settled(drop=("b",), done=False))],
        [final(102, claim("a")), there_final(102)],
    ),
    (
        "committed, but undone on a row",
        Kind.SPLIT,
        [*BOTH_TAGGED, record(COMMITTED), settled(drop=("a",), done=False)],
        [final(102), there_final(101, B)],
    ),
    (
        "aborted, but carried out on a row",
        Kind.SPLIT,
        [*BOTH_TAGGED, record(ABORTED), settled(claim("a"))],
        [final(102, claim("a")), there_final(101, B)],
    ),
    (
        "committed without one of its rows",
        Kind.SPLIT,
        [*BOTH_MADE, wrote(100, A), record(COMMITTED), settled(claim("a"))],
        [final(102, claim("a")), there_final(100)],
    ),
    (
        "committed by one and aborted by another",
        Kind.TWO_DECISIONS,
        [*BOTH_TAGGED, record(COMMITTED), record(ABORTED)],
        [final(101, A), there_final(101, B)],
    ),
    (
        "a tagged claim takes a step",
        Kind.NOT_FROZEN,
        [*BOTH_TAGGED, wrote(101, tagged("+", "a", state=ClaimState.BUILDING))],
        [final(102, tagged("+", "a", state=ClaimState.BUILDING)), there_final(101, B)],
    ),
    (
        "an aborted claim stays",
        Kind.NOT_FROZEN,
        [*BOTH_TAGGED, record(ABORTED), settled(claim("a"), done=False)],
        [final(102, claim("a")), there_final(101, B)],
    ),
    (
        "a claim is acknowledged, its write set undone",
        Kind.LOST_CLAIM,
        [*BOTH_TAGGED, record(ABORTED), settled(drop=("a",), done=False), told("a")],
        [final(102), there_final(101, B)],
    ),
    (
        "what is to be added counts at once",
        Kind.DOUBLE_BOOKING,
        # 2 + 3 = 5 of 4.
        [*BOTH_MADE, wrote(100, tagged("+", "a", 2)), wrote(101, claim("c", 3))],
        [final(102, tagged("+", "a", 2), claim("c", 3)), there_final(100)],
    ),
    (
        "what is to be dropped is not free yet",
        Kind.DOUBLE_BOOKING,
        [
            *BOTH_MADE,
            wrote(100, claim("a", 4)),
            wrote(101, tagged("-", "a", 4)),
            wrote(102, claim("c", 1)),
        ],
        [final(103, tagged("-", "a", 4), claim("c", 1)), there_final(100)],
    ),
    (
        "a built claim leaves although its write set was undone",
        Kind.BAD_STEP,
        [
            *BOTH_MADE,
            wrote(100, claim("a", state=ClaimState.BUILT)),
            wrote(101, tagged("-", "a", state=ClaimState.BUILT)),
            wrote(102, drop=("a",)),
        ],
        [final(103), there_final(100)],
    ),
]


@pytest.mark.parametrize(
    ("kind", "events", "rows"),
    [pytest.param(k, e, r, id=f"fail: {name}") for name, k, e, r in BAD],
)
def test_bad_history(kind: Kind, events: list[Event], rows: list[FinalRow]) -> None:
    """Each broken guarantee is found, called by its name, and told as a story."""
    verdict = judge(events, *rows)
    assert kind in {violation.kind for violation in verdict.violations}, verdict.violations
    assert all(violation.story.endswith(".") for violation in verdict.violations)


def test_write_sets_are_counted() -> None:
    """By what became of them, with the tags that are left."""
    open_: list[Event] = [
        msgspec.structs.replace(record(PREPARING), writeset="nyc1.0.u"),
        *BOTH_TAGGED,
        record(COMMITTED),
        settled(claim("a")),
    ]
    counted = judge(open_, final(102, claim("a")), there_final(101, B)).writesets
    assert (counted.committed, counted.aborted, counted.open, counted.tags) == (1, 0, 1, 1)


def test_request_has_as_many_claims_as_it_asked_for() -> None:
    """Two of two are right; a third is one too many."""
    two = [msgspec.structs.replace(told(name), request="r", of=2) for name in ("a", "b", "c")]
    events: list[Event] = [made(), wrote(100, claim("a"), claim("b")), *two[:2]]
    assert judge(events, final(101, claim("a"), claim("b"))).verdict is Passed.PASSED
    events = [made(), wrote(100, claim("a"), claim("b"), claim("c")), *two]
    verdict = judge(events, final(101, claim("a"), claim("b"), claim("c")))
    assert [violation.kind for violation in verdict.violations] == [Kind.PLACED_TWICE]
