"""The row of a quota: shares are taken while they fit, and the slice may change under them."""

from __future__ import annotations

import msgspec

from placer.checker.replayer import overbooked
from placer.claims import quotas
from placer.claims.operations import TAGGED, Operation, Refusal, Release
from placer.claims.quotas import CapShares, GrowShare, SetQuota, TakeShare
from placer.claims.tags import Prepare, Settle
from placer.model.quotas import row_id, share_id
from placer.model.records import HostRow, RowKind, available

ROW = row_id("a", "red")


def following(rev: int = 1, counted: dict[str, int] | None = None, **slice_: int) -> SetQuota:
    return SetQuota(ROW, "red", rev, slice_ or {"VCPU": 10}, counted or {})


def row(**slice_: int) -> HostRow:
    made = following(1, None, **slice_).founding(ROW)
    assert made is not None
    return made


def take(claim: str, instance: str = "", **amounts: int) -> TakeShare:
    return TakeShare(claim, instance or f"of-{claim}", amounts or {"VCPU": 4})


def taken(before: HostRow, *claims: str, writeset: str = "") -> HostRow:
    """``before`` with a share of 4 for each claim; undecided if ``writeset`` is given."""
    operation = Prepare(writeset or "t", tuple(take(claim) for claim in claims))
    after = operation.apply(before, 1)
    assert isinstance(after, HostRow)
    return after if writeset else settled(after, "t", committed=True)


def settled(before: HostRow, writeset: str, *, committed: bool) -> HostRow:
    after = Settle(writeset, committed=committed).apply(before, 1)
    assert isinstance(after, HostRow)
    return after


def refused(before: HostRow, *adds: TakeShare, drops: tuple[str, ...] = ()) -> str:
    result = Prepare("next", adds, drops).apply(before, 1)
    return result.reason if isinstance(result, Refusal) else ""


def test_row_is_one_of_its_kind() -> None:
    """It has the slice as inventories, and follows one revision of the quota."""
    made = row(VCPU=10, DISK_GB=0)
    assert made.kind is RowKind.QUOTA
    assert quotas.limits(made) == {"VCPU": 10, "DISK_GB": 0}
    assert quotas.row_rev(made) == 1


def test_share_is_refused_with_class_asked_and_left() -> None:
    """Two shares of four fit into ten, a third does not; the reason says what is lacking."""
    reason = refused(taken(row(), "c1", "c2"), take("c3"))
    shortage = quotas.shortage_of(reason, "a")
    assert shortage is not None
    assert (shortage.resource_class, shortage.asked, shortage.left, shortage.limit) == (
        "VCPU",
        4,
        2,
        10,
    )


def test_shares_of_one_write_set_count_against_each_other() -> None:
    """Three instances at once do not pass where only two have room."""
    assert not refused(row(), take("c1"), take("c2"))
    assert quotas.shortage_of(refused(row(), take("c1"), take("c2"), take("c3")), "a") is not None


def test_classes_without_limit_pass() -> None:
    """What the quota does not limit is not on its row."""
    after = Prepare("t", (take("c1", VCPU=1, DISK_GB=500),)).apply(row(), 1)
    assert isinstance(after, HostRow)
    share = after.find(share_id("c1"))
    assert share is not None
    assert share.amounts == {"VCPU": -1}
    assert share.data == {"anchor": "c1"}


def test_what_is_undecided_is_not_refused_for_good() -> None:
    """Were the others' write set aborted there would be room: ask again."""
    full = taken(taken(row(), "c1"), "c2", writeset="other")
    assert refused(full, take("c3")) == quotas.UNDECIDED
    assert not refused(settled(full, "other", committed=False), take("c3"))
    full = settled(full, "other", committed=True)
    assert refused(full, take("c3")).startswith(quotas.EXCEEDED)


def test_moving_instance_hands_its_share_over() -> None:
    """In a slice that is used up it takes what it gives; either outcome fits."""
    full = taken(row(VCPU=4), "c1")
    after = Prepare("m", (take("c2", "of-c1"),), (share_id("c1"),)).apply(full, 1)
    assert isinstance(after, HostRow)
    assert available(after.records)["VCPU"] == 0
    for committed, stays in ((True, "c2"), (False, "c1")):
        end = settled(after, "m", committed=committed)
        assert [share.id for share in end.claims] == [share_id(stays)]


def test_share_is_released_once() -> None:
    """It goes at once, as no agent has to do with it; a second release changes nothing."""
    after = Release(share_id("c1")).apply(taken(row(), "c1"), 1)
    assert isinstance(after, HostRow)
    assert not after.claims
    assert Release(share_id("c1")).apply(after, 1) == after


def test_slice_below_what_is_used_keeps_it() -> None:
    """Nothing is taken away, nothing more is given, and the checker sees no double booking."""
    after = following(2, VCPU=5).apply(taken(row(), "c1", "c2"), 1)
    assert isinstance(after, HostRow)
    assert quotas.used(after) == {"VCPU": 8}
    assert len(after.claims) == 2
    assert refused(after, take("c3", VCPU=1)).startswith(quotas.EXCEEDED)


def test_older_revision_changes_nothing() -> None:
    """A process that read the quota before it was put again comes late."""
    newer = following(3, VCPU=5).apply(row(), 1)
    assert isinstance(newer, HostRow)
    assert following(2, VCPU=50).apply(newer, 1) == newer


def test_what_was_there_before_is_reserved() -> None:
    """It counts as used without an entry of its own; more of it than the slice leaves nothing."""
    after = following(1, {"VCPU": 7}).apply(row(), 1)
    assert isinstance(after, HostRow)
    assert quotas.used(after) == {"VCPU": 7}
    assert quotas.reserved(after) == {"VCPU": 7}
    assert refused(after, take("c1")).startswith(quotas.EXCEEDED)
    over = following(1, {"VCPU": 70}).apply(taken(row(), "c1"), 1)
    assert isinstance(over, HostRow)
    shortage = quotas.shortage_of(refused(over, take("c2", VCPU=1)), "a")
    assert shortage is not None
    assert shortage.left == 0


def test_checker_finds_a_slice_that_is_overbooked() -> None:
    """A row of this kind obeys the first invariant as any other does."""
    full = taken(row(), "c1", "c2")
    assert list(overbooked(full)) == []
    extra = msgspec.structs.replace(full.claims[0], id=share_id("c3"))
    assert list(overbooked(msgspec.structs.replace(full, records=(*full.records, extra))))


def done(before: HostRow, *operations: Operation) -> HostRow:
    """``before`` after each of the operations, none of which is refused."""
    for operation in operations:
        after = operation.apply(before, 1)
        assert isinstance(after, HostRow), after
        assert operation.done(after)
        before = after
    return before


def test_a_resize_takes_what_is_more() -> None:
    """Four of ten are taken: six more fit, seven do not, and again changes nothing."""
    before = taken(row(), "c1")
    full = done(before, GrowShare("c1", "i", {"VCPU": 6}, 1), GrowShare("c1", "i", {"VCPU": 6}, 1))
    assert quotas.used(full) == {"VCPU": 10}
    refusal = GrowShare("c1", "i", {"VCPU": 7}, 1).apply(before, 1)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "quota_exceeded:VCPU:7:6:10"


def test_a_resize_counts_the_limited_classes_alone() -> None:
    """Memory without a limit is no part of a share."""
    grown = done(row(), GrowShare("c1", "i", {"VCPU": 1, "MEMORY_MB": 512}, 1))
    assert [share.amounts for share in grown.claims] == [{"VCPU": -1}]


def test_an_instance_without_share_takes_its_growth_alone() -> None:
    """Eight that were there before the quota are counted; one more is one more."""
    counted = done(row(), following(1, {"VCPU": 8}))
    grown = done(counted, GrowShare("c1", "i", {"VCPU": 1}, 1))
    assert quotas.used(grown) == {"VCPU": 9}


def test_what_a_host_refused_is_given_back() -> None:
    """By the id of the growth; the share that was there stays."""
    growth = GrowShare("c1", "i", {"VCPU": 6}, 1)
    assert quotas.used(done(taken(row(), "c1"), growth, Release(growth.id))) == {"VCPU": 4}


def test_a_resize_gives_back_what_is_less() -> None:
    """Ten in two entries shrink to three, and not below; others' shares stay as they are."""
    two = done(taken(row(VCPU=20), "c1", "c2"), GrowShare("c1", "i", {"VCPU": 6}, 1))
    assert quotas.used(two) == {"VCPU": 14}
    small = done(two, CapShares("c1", {"VCPU": 3}), CapShares("c1", {"VCPU": 3}))
    assert quotas.used(small) == {"VCPU": 7}
    assert quotas.used(done(small, CapShares("c1", {"VCPU": 9}))) == {"VCPU": 7}


def test_an_undecided_share_is_left_alone() -> None:
    """Its instance is on its way elsewhere: ask again."""
    moving = done(taken(row(), "c1"), Prepare("t", (), (share_id("c1"),)))
    assert CapShares("c1", {"VCPU": 1}).apply(moving, 1) == Refusal(TAGGED)
    assert CapShares("c1", {"VCPU": 4}).done(moving)
