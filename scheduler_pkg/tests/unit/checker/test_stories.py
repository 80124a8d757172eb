"""Stories: what is wrong, and the fewest steps that show it, word for word."""

from __future__ import annotations

import re

import msgspec

from placer.checker.core import FinalRow
from placer.checker.verdict import Kind
from placer.history import Answer, Event, WriteOutcome
from placer.model.records import ClaimState

from .story import asked, claim, final, judge, made, wrote
from .whole import good, on, record, there


def the_story(events: list[Event], row: FinalRow, kind: Kind) -> str:
    verdict = judge(events, row)
    return next(v.story for v in verdict.violations if v.kind is kind)


def steps(story: str) -> int:
    return len(re.findall(r"\(\d+\) ", story))


def test_double_booking_names_the_claims_that_do_not_fit_together() -> None:
    """Of many claims the fewest that are more than the host has, with who put them, when, how much."""
    small = claim("s")
    events: list[Event] = [
        made(),
        wrote(100, small),
        wrote(101, claim("a", 3)),
        wrote(102, claim("b", 2), process="scheduler-2"),
    ]
    told = the_story(
        events, final(103, small, claim("a", 3), claim("b", 2)), kind=Kind.DOUBLE_BOOKING
    )
    assert told == (
        "On host host-1 of cell nyc1, after revision 103 (written by scheduler-2), "
        "6 of VCPU promised, 4 there: "
        "(1) revision 102, scheduler-1 put claim a of request for-a (3 of VCPU), claimed; "
        "(2) revision 103, scheduler-2 put claim b of request for-b (2 of VCPU), claimed."
    )


def test_double_booking_of_a_device_names_the_device() -> None:
    """Both claims, and what each was given from it."""
    one, other = claim("a", gpu={"gpu0": 700}), claim("b", gpu={"gpu0": 700})
    events: list[Event] = [made(), wrote(100, one), wrote(101, other)]
    told = the_story(events, final(102, one, other), kind=Kind.DOUBLE_BOOKING)
    assert "device gpu0 of CUSTOM_GPU_MILLI gives 1400, it has 1000" in told
    assert told.count("700 of CUSTOM_GPU_MILLI (700 from gpu0)") == 2
    assert steps(told) == 2


def test_resurrection_is_three_steps() -> None:
    """Put, taken away, put again: whatever else was done to the row and the claim between."""
    a = claim("a")
    events: list[Event] = [
        made(),
        wrote(100, a),
        wrote(101, claim("b")),
        wrote(102, drop=("b",)),
        wrote(103, drop=("a",), process="scheduler-2"),
        wrote(104, a),
    ]
    told = the_story(events, final(105, a), kind=Kind.RESURRECTED)
    assert told == (
        "On host host-1 of cell nyc1, after revision 105 (written by scheduler-1), "
        "claim a came back; it had left at revision 104: "
        "(1) revision 101, scheduler-1 put claim a of request for-a (1 of VCPU), claimed; "
        "(2) revision 104, scheduler-2 took claim a away; "
        "(3) revision 105, scheduler-1 put claim a of request for-a (1 of VCPU), claimed."
    )
    assert steps(told) == 3


def test_lost_claim_tells_who_was_told_what_and_what_was_written_instead() -> None:
    """The attempt, the write that won, and the client that believed it."""
    lost = msgspec.structs.replace(claim("nyc1.h1.c"), trace="trace-1")
    events: list[Event] = [
        made(),
        wrote(100, lost, process="scheduler-2", outcome=WriteOutcome.REFUSED),
        wrote(100, claim("b")),
        asked(1, request="for-c", rev=3, stage="placed", claims=("nyc1.h1.c",)),
    ]
    assert the_story(events, final(101, claim("b")), kind=Kind.LOST_CLAIM) == (
        "Claim nyc1.h1.c was acknowledged and no write put it on host host-1 of cell nyc1: "
        "(1) revision 101, scheduler-2 put claim nyc1.h1.c of request for-nyc1.h1.c (1 of VCPU), "
        "claimed and was refused; "
        "(2) revision 101, scheduler-1 put claim b (1 of VCPU) instead; "
        "(3) client client-1 in region nyc was told of its operation 1 (claim of request for-c): "
        "ok, placed, at the request's revision 3."
    )


def test_two_writers_are_told_with_what_each_wrote() -> None:
    """Both transactions that applied on one revision."""
    events: list[Event] = [
        made(),
        wrote(100, claim("a", 2)),
        wrote(100, claim("b"), process="scheduler-2"),
    ]
    assert the_story(events, final(101, claim("b")), kind=Kind.TWO_WRITERS) == (
        "On host host-1 of cell nyc1, two writes that found revision 100 both applied: "
        "(1) revision 101, scheduler-1 put claim a (2 of VCPU); "
        "(2) revision 101, scheduler-2 put claim b (1 of VCPU)."
    )


def test_split_manifest_names_both_rows_with_their_revisions() -> None:
    """Where it was carried out, and where it was undone."""
    history = good()
    history.change(on("h2", 102), put=(), drop=("m2",), committed=())
    story = next(v.story for v in history.verdict().violations if v.kind is Kind.SPLIT)
    assert "carried out on host host-1 of cell nyc1 at revision 105" in story
    assert "undone on host host-2 of cell nyc1 at revision 102" in story


def test_two_allocation_sets_are_told_with_both_hosts() -> None:
    """Which claims, put where and by whom."""
    history = good()
    history.events.append(there(104, record("a", id="again")))
    twin = record("a", ClaimState.BUILT, id="again")
    history.events.append(there(105, twin))
    history.row("h2", 106, history.rows["h2"].row.claims[0], twin)
    story = next(v.story for v in history.verdict().violations if v.kind is Kind.PLACED_TWICE)
    assert story == (
        "Consumer of-a has two allocation sets of its epoch 0 at once: "
        "(1) host host-1 of cell nyc1, revision 101, scheduler-1 put claim a of request for-a "
        "(2 of VCPU), claimed; "
        "(2) host host-2 of cell nyc1, revision 105, scheduler-2 put claim again of request for-a "
        "(2 of VCPU), claimed."
    )


def test_refused_and_held_is_told_with_the_answer() -> None:
    """What stands, and what the client was told."""
    a = msgspec.structs.replace(claim("a", state=ClaimState.BUILT), trace="trace-1")
    events: list[Event] = [made(), wrote(100, a), asked(1, Answer.REFUSED, code="no_valid_host")]
    told = the_story(events, final(101, a), kind=Kind.HELD_AFTER_REFUSAL)
    assert steps(told) == 2
    assert told.endswith(
        "client client-1 in region nyc was told of its operation 1 (claim): refused, no_valid_host."
    )


def test_no_story_is_long() -> None:
    """However many claims a row has, a story has a handful of steps."""
    many = [claim(f"c{number}", 1) for number in range(40)]
    events: list[Event] = [made(), *(wrote(100 + n, one) for n, one in enumerate(many))]
    verdict = judge(events, final(140, *many))
    assert verdict.double_bookings == 36
    assert all(steps(violation.story) == 5 for violation in verdict.violations)
