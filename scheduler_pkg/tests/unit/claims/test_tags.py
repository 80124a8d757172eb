"""What write sets do to one row. The host has 4 CPUs; T is the write set, U another."""

from __future__ import annotations

import msgspec
import pytest

from placer.claims.operations import TAGGED, Refusal
from placer.claims.tags import (
    Addition,
    Carry,
    JoinGroup,
    Prepare,
    Settle,
    anchored,
    member_id,
    writesets,
)
from placer.model import records
from placer.model.groups import Place, Policy, Scope
from placer.model.records import ClaimState, HostRow, HostStatus, Record, RowKind

from .test_operations import NOW_MS, add, held, host

BUILT = ClaimState.BUILT


def prepared(row: HostRow, *adds: Addition, drops: tuple[str, ...] = ()) -> HostRow:
    after = Prepare("T", adds, drops).apply(row, NOW_MS)
    assert isinstance(after, HostRow), after
    return after


REFUSED: list[tuple[str, HostRow, Prepare, str]] = [
    ("dropping what is gone", host(), Prepare("T", (), ("old",)), "claim_gone"),
    (
        "dropping what another write set has",
        host(held(tag="-U")),
        Prepare("T", (), ("old",)),
        TAGGED,
    ),
    (
        "dropping what is being built",
        host(held(state=ClaimState.BUILDING)),
        Prepare("T", (), ("old",)),
        "claim_building",
    ),
    # 3 + 2 = 5 of 4.
    (
        "adding what does not fit",
        host(held(vcpu=3)),
        Prepare("T", (add(vcpu=2),)),
        "VCPU:no_capacity",
    ),
    # What U may drop is not free: 3 + 2 = 5 of 4.
    (
        "adding on what another may drop",
        host(held(vcpu=3, tag="-U")),
        Prepare("T", (add(vcpu=2),)),
        "VCPU:no_capacity",
    ),
    (
        "the second of two additions",
        host(),
        Prepare("T", (add("n1", 3), add("n2", 2))),
        "VCPU:no_capacity",
    ),
    (
        "keeping what it does not drop",
        host(held()),
        Prepare("T", (Carry("n", "old", "m"),)),
        "claim_gone",
    ),
]


@pytest.mark.parametrize(
    ("row", "prepare", "reason"), [pytest.param(r, p, w, id=name) for name, r, p, w in REFUSED]
)
def test_prepare_is_refused(row: HostRow, prepare: Prepare, reason: str) -> None:
    """All of a participant's part or nothing of it."""
    assert prepare.apply(row, NOW_MS) == Refusal(reason)


def test_exchange_on_a_full_host_needs_no_spare_capacity() -> None:
    """4 dropped and 4 added are 4 of 4, whatever becomes of T; a fifth is not there."""
    row = prepared(host(held(vcpu=4)), add(vcpu=4), drops=("old",))
    assert records.available(row.records)["VCPU"] == 0
    assert {r.id: r.tag for r in row.claims} == {"old": "-T", "new": "+T"}
    assert writesets(row) == ("T",)


@pytest.mark.parametrize(
    ("committed", "left"),
    [pytest.param(True, "new", id="committed"), pytest.param(False, "old", id="aborted")],
)
def test_settle_carries_out_or_undoes(committed: bool, left: str) -> None:
    """One of the two stays, without a tag; settled again nothing changes."""
    row = prepared(host(held(vcpu=4)), add(vcpu=4), drops=("old",))
    settle = Settle("T", committed)
    after = settle.apply(row, NOW_MS)
    assert isinstance(after, HostRow)
    assert {r.id: r.tag for r in after.claims} == {left: ""}
    assert settle.done(after)
    assert settle.apply(after, NOW_MS) == after


def test_settle_touches_its_own_write_set_alone() -> None:
    """Another's tag stays."""
    row = prepared(host(held(tag="+U")), add())
    after = Settle("T", committed=False).apply(row, NOW_MS)
    assert isinstance(after, HostRow)
    assert writesets(after) == ("U",)


def test_prepare_is_judged_by_its_own_tag() -> None:
    """Done once the row shows it, and not by another's."""
    prepare = Prepare("T", (add(),))
    row = prepared(host(held(tag="+U")), add())
    assert prepare.done(row)
    assert prepare.apply(row, NOW_MS) is row
    assert not prepare.done(host(held(tag="+U")))
    assert not prepare.retry_after_unknown
    assert Prepare("T", (), ("old",)).retry_after_unknown


def test_move_keeps_the_instance_counted_where_it_is() -> None:
    """The entry that stays has the same amount, and costs nothing more while T is open."""
    row = prepared(host(held(vcpu=4, state=BUILT)), Carry("stay", "old", "moving"), drops=("old",))
    assert records.available(row.records)["VCPU"] == 0
    after = Settle("T", committed=True).apply(row, NOW_MS)
    assert isinstance(after, HostRow)
    stays = after.find("stay")
    assert stays is not None
    assert (stays.amounts, stays.state, stays.consumer) == ({"VCPU": -4}, BUILT, "moving")
    assert stays.data == {"of": "old"}


# -- group rows


def group(*members: Record) -> HostRow:
    return HostRow("c1.g", "c1.g", 3, HostStatus.UP, members, kind=RowKind.GROUP)


def member(name: str, cell: str, tag: str = "") -> Record:
    return Record(
        id=member_id(name),
        provider="c1.g",
        amounts={},
        consumer="c",
        state=BUILT,
        data={"region": "r", "cell": cell, "host": f"h-{name}", "anchor": name},
        tag=tag,
    )


def join(policy: Policy, cell: str, scope: Scope = Scope.CELL) -> JoinGroup:
    return JoinGroup("new", policy, scope, Place("r", cell, "h1"))


JOINS: list[tuple[str, JoinGroup, HostRow, str]] = [
    ("together with nobody yet", join(Policy.AFFINITY, "c1"), group(), ""),
    ("together in one cell", join(Policy.AFFINITY, "c1"), group(member("a", "c1")), ""),
    (
        "together in another cell",
        join(Policy.AFFINITY, "c2"),
        group(member("a", "c1")),
        "group_affinity",
    ),
    (
        "together with one that may yet come",
        join(Policy.AFFINITY, "c2"),
        group(member("a", "c1", "+U")),
        "group_affinity",
    ),
    ("apart in another cell", join(Policy.ANTI_AFFINITY, "c2"), group(member("a", "c1")), ""),
    (
        "apart in the same cell",
        join(Policy.ANTI_AFFINITY, "c1"),
        group(member("a", "c1")),
        "group_anti_affinity",
    ),
    (
        "apart from one that may yet go",
        join(Policy.ANTI_AFFINITY, "c1"),
        group(member("a", "c1", "-U")),
        "group_anti_affinity",
    ),
    (
        "apart by regions",
        join(Policy.ANTI_AFFINITY, "c2", Scope.REGION),
        group(member("a", "c1")),
        "group_anti_affinity",
    ),
]


@pytest.mark.parametrize(
    ("joining", "row", "reason"), [pytest.param(j, r, w, id=name) for name, j, r, w in JOINS]
)
def test_join_group(joining: JoinGroup, row: HostRow, reason: str) -> None:
    """A group row admits a member or says which rule is against it."""
    after = Prepare("T", (joining,)).apply(row, NOW_MS)
    if reason:
        assert after == Refusal(reason)
    else:
        assert isinstance(after, HostRow)
        assert after.find("new/member") is not None


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        pytest.param((), "", id="alone in its group"),
        pytest.param((("b", "c2"),), "", id="where it goes are the others"),
        pytest.param((("b", "c1"),), "group_affinity", id="where it was are others"),
    ],
)
def test_an_instance_that_moves_is_not_in_its_own_way(
    others: tuple[tuple[str, str], ...], reason: str
) -> None:
    """The entry of another claim of the same instance does not count against its new place."""
    own = msgspec.structs.replace(member("a", "c1"), consumer="mine")
    joining = msgspec.structs.replace(join(Policy.AFFINITY, "c2"), consumer="mine")
    row = group(own, *(member(name, cell) for name, cell in others))
    after = Prepare("T", (joining,)).apply(row, NOW_MS)
    assert (after.reason if isinstance(after, Refusal) else "") == reason


def test_member_that_moves_is_not_in_its_own_way() -> None:
    """What T drops does not count against what T adds."""
    after = Prepare("T", (join(Policy.AFFINITY, "c2"),), (member_id("a"),)).apply(
        group(member("a", "c1")), NOW_MS
    )
    assert isinstance(after, HostRow)


def test_first_member_makes_the_row_and_is_anchored() -> None:
    """A group has no row before somebody joins; the entry goes with its claim."""
    prepare = Prepare("T", (join(Policy.AFFINITY, "c1"),))
    made = prepare.founding("c1.g")
    assert made is not None
    assert (made.kind, made.records) == (RowKind.GROUP, ())
    after = Settle("T", committed=True).apply(prepared(made, *prepare.adds), NOW_MS)
    assert isinstance(after, HostRow)
    assert [record.data["anchor"] for record in anchored(after)] == ["new"]
    assert Prepare("T", (add(),)).founding("h1") is None
    tagged = msgspec.structs.replace(after.claims[0], tag="-U")
    assert anchored(group(tagged)) == ()
