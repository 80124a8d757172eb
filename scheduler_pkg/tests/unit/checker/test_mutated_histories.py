"""Mutants of the checker's input: a good history with one invariant broken is never passed.

Each mutant changes what a broken system would have left behind, and nothing else. The good history
and its words are in ``whole.py``; DESIGN's invariants are named in the ids.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from placer.checker.verdict import Kind, Passed
from placer.history import Answer, Decided, Operation, OperationKind, Write, WriteOutcome
from placer.model.commit_record import Decision
from placer.model.records import ClaimState

from .story import HOST, asked, wrote
from .whole import (
    BUILT,
    OTHER,
    History,
    T,
    acknowledged,
    good,
    of_claim,
    of_client,
    on,
    record,
    tagged,
    there,
)

Mutant = Callable[[History], None]


def test_the_good_history_is_proved() -> None:
    """What the mutants change is right before."""
    verdict = good().verdict()
    assert verdict.verdict is Passed.PASSED, (verdict.violations, verdict.incomplete)
    assert verdict.revisions_checked == 15
    assert verdict.claims.built == 3
    assert (verdict.clients.operations, verdict.clients.happened) == (5, 1)
    assert verdict.writesets.committed == 1


# -- 1: sums within capacity at every revision


def double_booking(history: History) -> None:
    """b takes 2 cores where 1 is free: 2 (a) + 1 (m1) + 2 = 5 of 4, until it is given back."""
    history.change(on(HOST, 108), put=(record("b", amounts={"VCPU": -2}),))


def double_booking_by_an_open_manifest(history: History) -> None:
    """m1 is promised 3 cores by its tag alone: 2 (a) + 3 = 5 of 4, settled as 1."""
    history.change(
        on(HOST, 104), put=(msgspec.structs.replace(tagged("m1"), amounts={"VCPU": -3}),)
    )


# -- 2: every acknowledged claim ends once; none is lost; none comes back


def lost_claim(history: History) -> None:
    """Two writers found revision 107; the one that lost told its client of the claim all the same."""
    lost = msgspec.structs.replace(record("b"), id="nyc1.h1.c", trace="trace-6", request="for-c")
    history.events += [
        wrote(107, lost, process="scheduler-2", outcome=WriteOutcome.REFUSED),
        asked(6, request="for-c", claims=("nyc1.h1.c",)),
    ]


def write_lost_in_the_store(history: History) -> None:
    """b was given back, and the row is as it was before that."""
    history.row(HOST, 108, record("a", BUILT), record("m1", BUILT), record("b"))


def claim_gone_from_its_row(history: History) -> None:
    """No write took m1 away, and the row does not have it."""
    history.row(HOST, 109, record("a", BUILT))


def resurrected_claim(history: History) -> None:
    """A late write puts b back after it was given back."""
    history.events.append(wrote(109, record("b"), process="scheduler-2"))
    history.row(HOST, 110, record("a", BUILT), record("m1", BUILT), record("b"))


def built_claim_removed(history: History) -> None:
    """a leaves its row while its instance is there."""
    history.events.append(wrote(109, drop=("a",)))
    history.row(HOST, 110, record("m1", BUILT))


# -- 3: a manifest is taken whole or not at all


def half_a_manifest_undone(history: History) -> None:
    """Its coordinator died; one row was settled as committed, the other as aborted."""
    history.change(on(OTHER, 102), put=(), drop=("m2",), committed=())
    history.leave_out(on(OTHER, 103, 104))
    history.leave_out(of_claim("m2"))
    history.change(of_client(2), claims=("m1",))
    history.rows[OTHER] = msgspec.structs.replace(
        history.rows[OTHER],
        row=msgspec.structs.replace(
            history.rows[OTHER].row, rev=102, records=history.rows[OTHER].row.records[:1]
        ),
    )


def half_a_manifest_never_written(history: History) -> None:
    """It was committed before its second row was tagged."""
    half_a_manifest_undone(history)
    history.leave_out(on(OTHER, 101, 102))
    row = msgspec.structs.replace(history.rows[OTHER].row, rev=100)
    history.rows[OTHER] = msgspec.structs.replace(history.rows[OTHER], row=row)


def manifest_decided_twice(history: History) -> None:
    """Recovery aborted it, its coordinator committed it, and both were told yes."""
    committed = next(
        e for e in history.events if isinstance(e, Decided) and e.state is Decision.COMMITTED
    )
    history.events.append(
        msgspec.structs.replace(committed, state=Decision.ABORTED, process="scheduler-2")
    )


# -- 4: a consumer has one current allocation set


def two_allocation_sets(history: History) -> None:
    """a's instance is built on the other host as well, in the same epoch."""
    twin = record("a", BUILT, id="a-again", request="for-other")
    history.events += [there(104, twin), acknowledged("a-again", request="for-other", host=OTHER)]
    history.row(OTHER, 105, record("m2", BUILT), twin)


def two_allocation_sets_for_a_while(history: History) -> None:
    """The same, and the second was gone again before anybody looked."""
    two_allocation_sets(history)
    twin = record("a", ClaimState.DELETING, id="a-again", request="for-other")
    history.events += [there(105, twin), there(106, drop=("a-again",))]
    history.row(OTHER, 107, record("m2", BUILT))


def two_claims_for_one_request(history: History) -> None:
    """The request of a asked for one instance and has two claims."""
    second = record("a", id="a-second", consumer="of-second")
    history.events += [there(104, second), acknowledged("a-second", request="for-a", host=OTHER)]
    history.row(OTHER, 105, record("m2", BUILT), second)


# -- order


def two_writers(history: History) -> None:
    """Two writes found revision 107 and both applied."""
    other = wrote(107, record("b", id="c"), process="scheduler-2")
    history.events.append(other)


def late_order(history: History) -> None:
    """m1 was written before a, by the clocks of both, and is later in the chain."""
    history.change(on(HOST, 104), started_us=1001, ended_us=1002)


def late_order_of_clients(history: History) -> None:
    """A client had its claim of revision 104 before the one of 101 was asked for."""
    history.change(of_client(2), started_us=200, ended_us=300)


def request_goes_back(history: History) -> None:
    """A client sees revision 6 of its request and then revision 4."""
    history.events.append(asked(7, kind=OperationKind.READ, request="for-a", rev=4))


# -- 5: no allocation without an owner


def refused_and_held(history: History) -> None:
    """A client is told no, and what it asked for is built."""
    ghost = record("b", BUILT, id="ghost", request="for-ghost", trace="trace-5")
    history.events.append(there(104, ghost))
    history.row(OTHER, 105, record("m2", BUILT), ghost)


def cancelled_and_held(history: History) -> None:
    """A client is told that its request is cancelled, and its instance stands."""
    history.events.append(
        asked(7, kind=OperationKind.RELEASE, request="for-a", rev=9, stage="cancelled")
    )


VIOLATED: list[tuple[Mutant, Kind]] = [
    (double_booking, Kind.DOUBLE_BOOKING),
    (double_booking_by_an_open_manifest, Kind.DOUBLE_BOOKING),
    (lost_claim, Kind.LOST_CLAIM),
    (write_lost_in_the_store, Kind.LOST_WRITE),
    (claim_gone_from_its_row, Kind.ROW_DIFFERS),
    (resurrected_claim, Kind.RESURRECTED),
    (built_claim_removed, Kind.BAD_STEP),
    (half_a_manifest_undone, Kind.SPLIT),
    (half_a_manifest_never_written, Kind.SPLIT),
    (manifest_decided_twice, Kind.TWO_DECISIONS),
    (two_allocation_sets, Kind.PLACED_TWICE),
    (two_allocation_sets_for_a_while, Kind.PLACED_TWICE),
    (two_claims_for_one_request, Kind.PLACED_TWICE),
    (two_writers, Kind.TWO_WRITERS),
    (late_order, Kind.REAL_TIME),
    (late_order_of_clients, Kind.REAL_TIME),
    (request_goes_back, Kind.WENT_BACK),
    (refused_and_held, Kind.HELD_AFTER_REFUSAL),
    (cancelled_and_held, Kind.HELD_AFTER_REFUSAL),
]


@pytest.mark.parametrize(
    ("mutant", "kind"), [pytest.param(m, k, id=m.__name__) for m, k in VIOLATED]
)
def test_broken_invariant_is_found(mutant: Mutant, kind: Kind) -> None:
    """It is called by its name, it alone, and told as a story."""
    history = good()
    mutant(history)
    verdict = history.verdict()
    assert verdict.verdict is Passed.VIOLATED
    assert {violation.kind for violation in verdict.violations} == {kind}, verdict.violations


# -- histories that prove nothing


def gap(history: History) -> None:
    """Nobody tells who wrote revision 103."""
    history.leave_out(on(HOST, 103))


def end_cut_off(history: History) -> None:
    """Nobody tells who wrote the last revision."""
    history.leave_out(on(HOST, 109))


def scheduler_without_a_history(history: History) -> None:
    """All that scheduler-2 did is missing."""
    history.leave_out(lambda e: isinstance(e, Write) and e.process == "scheduler-2")


def copied_line(history: History) -> None:
    """One write is told twice, word for word."""
    write = next(e for e in history.events if on(HOST, 103)(e))
    history.events.append(msgspec.structs.replace(write))


def contradiction(history: History) -> None:
    """The refused operation also says that it was granted."""
    history.events.append(asked(5, request="for-x"))


def unresolved_unknown(history: History) -> None:
    """The claim of the operation that never heard has a lease that is over, and still stands."""
    lapsed = record("b", lease_until_ms=1)
    history.change(on(HOST, 108), put=(lapsed,))
    history.leave_out(on(HOST, 109))
    history.row(HOST, 108, record("a", BUILT), record("m1", BUILT), lapsed)


def undecided_write_set(history: History) -> None:
    """The manifest's tags stand, and nobody decided it."""
    history.leave_out(lambda e: isinstance(e, Decided) and e.state is Decision.COMMITTED)
    history.leave_out(on(HOST, 105, 106, 107, 108, 109))
    history.leave_out(on(OTHER, 102, 103, 104))
    for name in ("m1", "m2"):
        history.leave_out(of_claim(name))
    history.leave_out(of_client(2))
    history.row(HOST, 104, record("a", BUILT), tagged("m1"))
    history.row(OTHER, 101, tagged("m2"))


UNPROVED: list[tuple[Mutant, str]] = [
    (gap, "what followed revision 102 of host host-1"),
    (end_cut_off, "what followed revision 108 of host host-1"),
    (scheduler_without_a_history, "what followed revision 100 of host host-2"),
    (copied_line, "tell twice of one write of scheduler-1"),
    (contradiction, "Operation 5 of client client-1 has two answers"),
    (unresolved_unknown, "its lease is over"),
    (undecided_write_set, f"Write set {T} was never decided"),
]


@pytest.mark.parametrize(
    ("mutant", "says"), [pytest.param(m, s, id=m.__name__) for m, s in UNPROVED]
)
def test_history_that_proves_nothing_never_passes(mutant: Mutant, says: str) -> None:
    """It says what is missing, and calls nothing broken that may be right."""
    history = good()
    mutant(history)
    verdict = history.verdict()
    assert verdict.verdict is Passed.INCOMPLETE
    assert verdict.violations == ()
    assert any(says in one.story for one in verdict.incomplete), verdict.incomplete


def test_every_write_matters() -> None:
    """Whichever write of a host is left out, the history does not pass."""
    writes = [event for event in good().events if isinstance(event, Write)]
    for write in writes:
        history = good()
        history.events.remove(write)
        assert history.verdict().verdict is not Passed.PASSED, write


def test_every_answer_matters() -> None:
    """Whichever claim a client is told of beyond those that are there, the history does not pass."""
    operations = [e for e in good().events if isinstance(e, Operation) and e.claims]
    for operation in operations:
        history = good()
        history.events.remove(operation)
        more = msgspec.structs.replace(operation, claims=(*operation.claims, "nyc1.h1.none"))
        history.events.append(more)
        assert history.verdict().verdict is Passed.VIOLATED, operation


def test_answer_that_was_lost_is_not_a_no() -> None:
    """An unknown operation may hold its claim; a refused one may not."""
    history = good()
    history.change(of_client(1), outcome=Answer.UNKNOWN, claims=(), request="", rev=0)
    assert history.verdict().verdict is Passed.PASSED
    history.change(of_client(1), outcome=Answer.REFUSED)
    assert history.verdict().verdict is Passed.VIOLATED
