"""Operations on one row, each a table of situations. The host has 4 CPUs and two bare machines."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from placer.claims.duties import SetDuty
from placer.claims.fencing import Fence
from placer.claims.operations import (
    TAGGED,
    AddClaim,
    AddClaims,
    AgentStep,
    DropEnded,
    EndLeases,
    NoteBuild,
    Operation,
    Refusal,
    Release,
    ReportInventory,
    Resize,
    SetStatus,
)
from placer.model import records
from placer.model.fitting import Demand, Group, demand_of
from placer.model.messages import ProviderReport, StepKind
from placer.model.records import (
    ClaimState,
    Duty,
    Health,
    HostDuty,
    HostRow,
    HostStatus,
    Inventory,
    Record,
    inventory_record,
)

NOW_MS = 1000
CPUS = {"VCPU": Inventory(total=4)}
MACHINES = {"CUSTOM_BAREMETAL": Inventory(total=2, units=("a", "b"))}


def add(name: str = "new", vcpu: int = 1, **more: Any) -> AddClaim:
    return AddClaim(name, f"of-{name}", "r", "p", demand_of({"VCPU": vcpu}), 5000, **more)


def held(
    name: str = "old",
    vcpu: int = 1,
    state: ClaimState = ClaimState.CLAIMED,
    **more: Any,
) -> Record:
    fields: dict[str, Any] = {"lease_until_ms": 2000, **more}
    return Record(
        id=name, provider="h1", amounts={"VCPU": -vcpu}, consumer="c", state=state, **fields
    )


def host(*claims: Record, status: HostStatus = HostStatus.UP, **more: Any) -> HostRow:
    root = inventory_record("h1", {**CPUS, **MACHINES}, ("CUSTOM_A",), in_aggregates=("zone-1",))
    return HostRow("h1", "host-1", 7, status, (root, *claims), **more)


BUILDING, BUILT, DELETING = ClaimState.BUILDING, ClaimState.BUILT, ClaimState.DELETING
OPEN: dict[str, Any] = {"tag": "+T"}
#: Barred once its lease had ended.
LAPSED: dict[str, Any] = {"state": DELETING, "lease_until_ms": 999}
OLD = frozenset({"old"})

REFUSED: list[tuple[str, Operation, HostRow, str]] = [
    ("one CPU too many", add(vcpu=5), host(), "VCPU:no_capacity"),
    (
        "a class that is not there",
        AddClaim("n", "c", "r", "p", demand_of({"DISK_GB": 1}), 9),
        host(),
        "DISK_GB:not_offered",
    ),
    ("a host that is down", add(), host(status=HostStatus.DOWN), "host_down"),
    ("a host of another zone", add(aggregates=("zone-2",)), host(), "not_in_aggregate"),
    (
        "a second member of a group",
        add(group="g", group_max=1),
        host(held(group="g")),
        "group_anti_affinity",
    ),
    # 2 + 3 = 5 of 4.
    ("what a write set will add", add(vcpu=3), host(held(vcpu=2, **OPEN)), "VCPU:no_capacity"),
    ("what a write set may drop", add(vcpu=3), host(held(vcpu=2, tag="-T")), "VCPU:no_capacity"),
    (
        "several claims, one of which does not fit",
        AddClaims((add("n1", 3), add("n2", 2))),
        host(),
        "VCPU:no_capacity",
    ),
    (
        "a step of a claim that is open",
        AgentStep("old", StepKind.ADOPT),
        host(held(**OPEN)),
        TAGGED,
    ),
    ("even the last step", AgentStep("old", StepKind.GONE), host(held(tag="-T")), TAGGED),
    (
        "adopting what lapsed",
        AgentStep("old", StepKind.ADOPT),
        host(held(**LAPSED)),
        "claim_deleting",
    ),
    ("adopting what is gone", AgentStep("old", StepKind.ADOPT), host(), "claim_gone"),
    (
        "removing what is built",
        AgentStep("old", StepKind.GONE),
        host(held(state=BUILT)),
        "claim_built",
    ),
    ("giving up what is open", Release("old"), host(held(**OPEN)), TAGGED),
    ("resizing what is gone", Resize("old", demand_of({"VCPU": 2})), host(), "claim_gone"),
    (
        "resizing while it is built",
        Resize("old", demand_of({"VCPU": 2})),
        host(held(state=BUILDING)),
        "claim_building",
    ),
    # 3 of others + 2 = 5 of 4.
    (
        "resizing beyond the host",
        Resize("old", demand_of({"VCPU": 2})),
        host(held(), held("other", 3)),
        "VCPU:no_capacity",
    ),
]


@pytest.mark.parametrize(
    ("operation", "row", "reason"), [pytest.param(o, r, w, id=name) for name, o, r, w in REFUSED]
)
def test_refused(operation: Operation, row: HostRow, reason: str) -> None:
    """What cannot be done is refused by a stable word, and nothing changes."""
    assert operation.apply(row, NOW_MS) == Refusal(reason)


CHANGED: list[tuple[str, Operation, HostRow, dict[str, ClaimState]]] = [
    (
        "a claim beside another",
        add(),
        host(held()),
        {"old": ClaimState.CLAIMED, "new": ClaimState.CLAIMED},
    ),
    (
        "several claims at once",
        AddClaims((add("n1", 2), add("n2", 2))),
        host(),
        {"n1": ClaimState.CLAIMED, "n2": ClaimState.CLAIMED},
    ),
    (
        "a member of another group",
        add(group="g", group_max=1),
        host(held(group="other")),
        {"old": ClaimState.CLAIMED, "new": ClaimState.CLAIMED},
    ),
    ("giving up a claim", Release("old"), host(held()), {}),
    ("giving up what an agent has", Release("old"), host(held(state=BUILDING)), {"old": DELETING}),
    ("giving up what is built", Release("old"), host(held(state=BUILT)), {"old": DELETING}),
    ("giving up what is gone", Release("old"), host(), {}),
    (
        "giving up an entry of a pool",
        Release("old"),
        host(held(state=BUILT, data={"anchor": "c1.h2.x"})),
        {},
    ),
    ("a lease that ended", EndLeases(), host(held(lease_until_ms=999)), {"old": DELETING}),
    ("what lapsed, its request told", DropEnded(OLD), host(held(**LAPSED)), {}),
    ("another that lapsed", DropEnded(frozenset({"x"})), host(held(**LAPSED)), {"old": DELETING}),
    (
        "what an agent destroys",
        DropEnded(OLD),
        host(held(state=DELETING, lease_until_ms=0)),
        {"old": DELETING},
    ),
    ("giving up what lapsed", Release("old"), host(held(**LAPSED)), {}),
    (
        "a lease that runs",
        EndLeases(),
        host(held(lease_until_ms=1000)),
        {"old": ClaimState.CLAIMED},
    ),
    (
        "a lease that ended while a write set is open",
        EndLeases(),
        host(held(lease_until_ms=999, **OPEN)),
        {"old": ClaimState.CLAIMED},
    ),
    (
        "a lease that ended after the build began",
        EndLeases(),
        host(held(lease_until_ms=0, state=BUILDING)),
        {"old": BUILDING},
    ),
]


@pytest.mark.parametrize(
    ("operation", "row", "claims"), [pytest.param(o, r, c, id=name) for name, o, r, c in CHANGED]
)
def test_changed(operation: Operation, row: HostRow, claims: dict[str, ClaimState]) -> None:
    """The claims that are then on the row, with their states."""
    after = operation.apply(row, NOW_MS)
    assert isinstance(after, HostRow)
    assert {record.id: record.state for record in after.claims} == claims
    assert after.rev == row.rev


def test_claim_takes_what_the_row_itself_has_left() -> None:
    """Devices are chosen on the row: the one that is taken is not given again."""
    machine = demand_of({"CUSTOM_BAREMETAL": 1})
    taken = held(units={"CUSTOM_BAREMETAL": {"a": 1}})
    after = AddClaim("new", "c", "r", "p", machine, 5000, image="small").apply(host(taken), NOW_MS)
    assert isinstance(after, HostRow)
    record = after.find("new")
    assert record is not None
    assert record.units == {"CUSTOM_BAREMETAL": {"b": 1}}
    assert (record.provider, record.created_ms, record.lease_until_ms) == ("h1", NOW_MS, 5000)


def test_claim_of_a_tree_names_its_slots() -> None:
    """A group that one provider inside the host serves is taken from that provider."""
    child = inventory_record("n0", CPUS, ("CUSTOM_NUMA",), key="numa0")
    row = host()
    row = msgspec.structs.replace(row, records=(*row.records, child))
    demand = Demand({"a": Group({"VCPU": 3}, required=("CUSTOM_NUMA",))})
    after = AddClaim("new", "c", "r", "p", demand, 5000).apply(row, NOW_MS)
    assert isinstance(after, HostRow)
    assert after.find("new").amounts == {"numa0/VCPU": -3}  # type: ignore[union-attr]


def test_place_of_a_claim_that_lapsed_is_free() -> None:
    """Amounts, devices and its group's place can be had while the entry waits for its request."""
    machine = {"CUSTOM_BAREMETAL": {"a": 1}}
    old = held(vcpu=4, units=machine, group="g", lease_until_ms=999)
    after = EndLeases().apply(host(old), NOW_MS)
    assert isinstance(after, HostRow)
    assert records.available(after.records) == {"VCPU": 4, "CUSTOM_BAREMETAL": 2}
    assert records.units_taken(after.records) == {}
    assert isinstance(add(vcpu=4, group="g", group_max=1).apply(after, NOW_MS), HostRow)


def test_anchored_claim_has_no_lease() -> None:
    """An entry that goes with a claim elsewhere is nobody's to adopt."""
    after = add(anchor="c1.h2.x").apply(host(), NOW_MS)
    assert isinstance(after, HostRow)
    record = after.find("new")
    assert record is not None
    assert (record.state, record.lease_until_ms, record.data) == (BUILT, 0, {"anchor": "c1.h2.x"})


def test_claim_keeps_the_trace_of_its_request() -> None:
    """For its host's agent, and for the events that become of it."""
    after = add(trace="t1").apply(host(), NOW_MS)
    assert isinstance(after, HostRow)
    assert [claim.trace for claim in after.claims] == ["t1"]


def test_resize_may_use_what_it_has() -> None:
    """From 3 to 4 of 4 CPUs in one step, under the same id."""
    resize = Resize("old", demand_of({"VCPU": 4}))
    after = resize.apply(host(held(vcpu=3, state=BUILT)), NOW_MS)
    assert isinstance(after, HostRow)
    assert records.available(after.records)["VCPU"] == 0
    assert resize.done(after)


def test_report_replaces_what_is_offered_and_keeps_the_rest() -> None:
    """Claims and slices of address pools stay; providers that are no longer reported go."""
    gone = inventory_record("x", CPUS, key="numa9")
    kept = inventory_record("y", CPUS, key="net-blue")
    row = host(held())
    row = msgspec.structs.replace(row, records=(*row.records, gone, kept))
    report = ReportInventory(
        "h1", "host-1", CPUS, children=(ProviderReport("numa0", CPUS),), aggregates=("zone-1",)
    )
    after = report.apply(row, NOW_MS)
    assert isinstance(after, HostRow)
    assert sorted(r.key for r in after.records if not r.is_claim) == ["", "net-blue", "numa0"]
    assert after.find("old") is not None
    assert report.done(after)
    assert report.apply(after, NOW_MS) == after


@pytest.mark.parametrize("duty", HostDuty)
def test_report_and_status(duty: HostDuty) -> None:
    """A report brings a host back, and leaves the operator's word on it as it was."""
    row = host(
        status=HostStatus.DOWN,
        health=Health(reason="why", failures=2, failed_ms=5, duty=Duty(duty, "ops")),
    )
    result = ReportInventory("h1", "host-1", CPUS).apply(row, NOW_MS)
    assert isinstance(result, HostRow)
    assert result.status is HostStatus.UP
    assert result.health.failures == 2
    assert not result.health.reason
    assert result.duty == Duty(duty, "ops")


@pytest.mark.parametrize(
    ("status", "duty", "reason"),
    [
        pytest.param(HostStatus.UP, HostDuty.DISABLED, "", id="disable a host that is up"),
        pytest.param(HostStatus.DOWN, HostDuty.DRAINING, "", id="drain one that is down"),
        pytest.param(HostStatus.DOWN, HostDuty.EVACUATING, "", id="evacuate one that is down"),
        pytest.param(
            HostStatus.UP, HostDuty.EVACUATING, "host_is_up", id="evacuate one that is up: no"
        ),
    ],
)
def test_duty(status: HostStatus, duty: HostDuty, reason: str) -> None:
    """Set and set again is one change; nothing else of the row changes."""
    row = host(held(), status=status)
    operation = SetDuty(Duty(duty, "ops", "new disks", 7))
    result = operation.apply(row, NOW_MS)
    if isinstance(result, Refusal):
        assert result.reason == reason
        return
    assert not reason
    assert (result.status, result.records, result.duty.why) == (status, row.records, "new disks")
    assert operation.done(result)
    assert SetDuty(Duty(duty, "ops", "new disks", 8)).apply(result, NOW_MS) == result
    assert add().apply(result, NOW_MS) == Refusal(result.not_chosen)


@pytest.mark.parametrize(
    ("status", "state", "left", "reason"),
    [
        pytest.param(HostStatus.DOWN, "built", "deleting", "", id="it ran: its host destroys it"),
        pytest.param(HostStatus.DOWN, "building", "deleting", "", id="it may run"),
        pytest.param(HostStatus.DOWN, "claimed", "", "", id="no agent took it: it goes at once"),
        pytest.param(HostStatus.UP, "built", "built", "host_is_up", id="the host is back"),
        pytest.param(HostStatus.UP, "deleting", "deleting", "", id="it was fenced before"),
    ],
)
def test_fence(status: HostStatus, state: str, left: str, reason: str) -> None:
    """A claim is taken from a host only while that is down."""
    row = host(held(state=ClaimState(state)), status=status)
    result = Fence("old").apply(row, NOW_MS)
    if isinstance(result, Refusal):
        assert result.reason == reason
        return
    record = result.find("old")
    assert (record.state if record else "") == left
    assert Fence("old").done(result)


def test_status_says_why() -> None:
    """The reason is kept with the status, and the records are untouched."""
    after = SetStatus(HostStatus.DOWN, "no answer").apply(host(held()), NOW_MS)
    assert isinstance(after, HostRow)
    assert (after.status, after.health.reason) == (HostStatus.DOWN, "no answer")
    assert after.records == host(held()).records


def test_failed_builds_count_up_until_one_goes_well() -> None:
    """Two failures are two; told again they are still two; a good build forgets them."""
    row: HostRow | Refusal = host()
    for at_ms in (10, 20, 20):
        assert isinstance(row, HostRow)
        row = NoteBuild(ok=False, at_ms=at_ms).apply(row, NOW_MS)
    assert isinstance(row, HostRow)
    assert row.health == Health("", 2, 20)
    row = NoteBuild(ok=True, at_ms=30).apply(row, NOW_MS)
    assert isinstance(row, HostRow)
    assert row.health == Health()


@pytest.mark.parametrize(
    ("operation", "again"),
    [
        pytest.param(add(), False, id="an id that was on a row must not come back"),
        pytest.param(AddClaims((add(),)), False, id="nor one of several"),
        pytest.param(Release("old"), True, id="giving up twice is giving up"),
        pytest.param(AgentStep("old", StepKind.ADOPT), True, id="a step is a step once"),
    ],
)
def test_retry_after_unknown(operation: Operation, again: bool) -> None:
    """Whether an operation whose attempt left no trace may be tried again under the same id."""
    assert operation.retry_after_unknown is again


@pytest.mark.parametrize(
    ("vcpu", "outcome"),
    [
        pytest.param(3, {"VCPU": -3, "CUSTOM_BAREMETAL": -1}, id="more CPUs, the same machine"),
        pytest.param(5, "VCPU:no_capacity", id="more than there are"),
    ],
)
def test_a_resize_keeps_the_devices_that_it_is_not_about(
    vcpu: int, outcome: dict[str, int] | str
) -> None:
    """The instance has machine b; a would be taken first."""
    held_b = msgspec.structs.replace(
        held(state=BUILT),
        amounts={"VCPU": -1, "CUSTOM_BAREMETAL": -1},
        units={"CUSTOM_BAREMETAL": {"b": 1}},
    )
    demand = demand_of({"VCPU": vcpu, "CUSTOM_BAREMETAL": 1})
    result = Resize("old", demand).apply(host(held_b), NOW_MS)
    if isinstance(result, Refusal):
        assert result.reason == outcome
        return
    record = result.find("old")
    assert record is not None
    assert (record.amounts, record.units) == (outcome, {"CUSTOM_BAREMETAL": {"b": 1}})
    assert Resize("old", demand).done(result)
