"""All generators: bounded hosts, demands, and sequences of operations on one host's row.

Hosts are small (a few CPUs, two or three devices), so that what they offer is soon used up and the
interesting edges are met often.
"""

from __future__ import annotations

from hypothesis import strategies as st

from placer.claims.operations import (
    AddClaim,
    AddClaims,
    AgentStep,
    DropEnded,
    EndLeases,
    NoteBuild,
    Operation,
    Release,
    ReportInventory,
    Resize,
    SetStatus,
)
from placer.claims.tags import Prepare, Settle
from placer.model.fitting import Demand, Group, demand_of
from placer.model.messages import StepKind
from placer.model.records import HostRow, HostStatus, Inventory, inventory_record
from placer.model.resource_classes import BAREMETAL, GPU_MILLI

HOST = "h1"

#: Times in these stories: leases end before, at or after the time of the operation.
NOWS = st.integers(min_value=0, max_value=200)

#: Few names, so that an operation often meets a claim that is, or was, on the row.
CLAIM_IDS = st.sampled_from([f"claim-{n}" for n in range(5)])


def divisible(most: int) -> st.SearchStrategy[Inventory]:
    """An inventory of a divisible class; most are plain, so that most claims are about what is left."""
    plain = st.builds(Inventory, total=st.integers(min_value=1, max_value=most))
    return st.one_of(plain, plain, limited(most))


@st.composite
def limited(draw: st.DrawFn, most: int) -> Inventory:
    """One with all of Placement's limits on it."""
    total = draw(st.integers(min_value=1, max_value=most))
    return Inventory(
        total=total,
        reserved=draw(st.integers(min_value=0, max_value=total)),
        min_unit=draw(st.integers(min_value=1, max_value=2)),
        max_unit=draw(st.integers(min_value=1, max_value=most)),
        step_size=draw(st.sampled_from([1, 2])),
        allocation_ratio=draw(st.sampled_from([1.0, 1.5, 2.0])),
    )


def devices(prefix: str, each: int, count: int) -> Inventory:
    return Inventory(total=each * count, units=tuple(f"{prefix}{n}" for n in range(count)))


@st.composite
def offers(draw: st.DrawFn) -> dict[str, Inventory]:
    """What a host reports; any class may be missing."""
    found = {"VCPU": draw(divisible(8)), "MEMORY_MB": draw(divisible(16))}
    if gpus := draw(st.sampled_from([0, 2, 2, 3])):
        found[GPU_MILLI] = devices("gpu", 1000, gpus)
    if draw(st.booleans()):
        found[BAREMETAL] = devices("serial-", 1, 1)
    return found


TRAITS = st.sets(st.sampled_from(["CUSTOM_A", "CUSTOM_B"])).map(lambda names: tuple(sorted(names)))

GPUS = st.sampled_from([300, 500, 999, 1000, 1000, 1500, 2000])

DEMANDS = st.one_of(
    st.builds(lambda n: {"VCPU": n}, st.integers(min_value=1, max_value=4)),
    st.builds(lambda n: {GPU_MILLI: n}, GPUS),
    st.just({BAREMETAL: 1}),
    st.fixed_dictionaries(
        {"VCPU": st.integers(min_value=1, max_value=8)},
        optional={"MEMORY_MB": st.integers(min_value=1, max_value=16), GPU_MILLI: GPUS},
    ),
)


@st.composite
def rows(draw: st.DrawFn) -> HostRow:
    """A host that has just reported, with nothing claimed."""
    record = inventory_record(HOST, draw(offers()), draw(TRAITS))
    return HostRow(host=HOST, name="host-1", rev=1, status=HostStatus.UP, records=(record,))


@st.composite
def claims(draw: st.DrawFn) -> AddClaim:
    name = draw(CLAIM_IDS)
    required = draw(st.one_of(st.just(()), st.just(()), TRAITS))
    return AddClaim(
        claim=name,
        consumer=f"of-{name}",
        request=f"for-{name}",
        project="p",
        demand=Demand({"": Group(draw(DEMANDS), required)}),
        lease_until_ms=draw(NOWS),
    )


WRITE_SETS = st.sampled_from(["t1", "t2"])


@st.composite
def prepares(draw: st.DrawFn) -> Prepare:
    """A write set that drops up to two claims and adds up to two, but does something."""
    added = draw(st.lists(claims(), max_size=2, unique_by=lambda claim: claim.claim))
    dropped = draw(st.lists(CLAIM_IDS, max_size=2, min_size=0 if added else 1, unique=True))
    return Prepare(draw(WRITE_SETS), tuple(added), tuple(dropped))


SETTLES = st.builds(Settle, writeset=WRITE_SETS, committed=st.booleans())
RESIZES = st.builds(Resize, claim=CLAIM_IDS, demand=DEMANDS.map(demand_of))
GROUPS = st.lists(claims(), min_size=1, max_size=3, unique_by=lambda claim: claim.claim)


#: Steps in the order of a claim's life come more often than others would.
STEPS = st.builds(
    AgentStep,
    claim=CLAIM_IDS,
    kind=st.sampled_from([StepKind.ADOPT, StepKind.ADOPT, *StepKind]),
)
STATUSES = st.builds(
    SetStatus,
    status=st.sampled_from([HostStatus.UP, HostStatus.UP, *HostStatus]),
    reason=st.sampled_from(["", "disks"]),
)


@st.composite
def same_host_reports(draw: st.DrawFn) -> ReportInventory:
    return ReportInventory(
        provider=HOST, name="host-1", inventories=draw(offers()), traits=draw(TRAITS)
    )


#: Operations of schedulers and agents on a host that keeps what it has.
OPERATIONS: st.SearchStrategy[Operation] = st.one_of(
    *(claims() for _ in range(4)),
    *(STEPS for _ in range(3)),
    *(prepares() for _ in range(2)),
    *(SETTLES for _ in range(2)),
    st.builds(Release, claim=CLAIM_IDS),
    RESIZES,
    GROUPS.map(lambda several: AddClaims(tuple(several))),
    st.builds(NoteBuild, ok=st.booleans(), at_ms=NOWS),
    STATUSES,
    st.just(EndLeases()),
    st.frozensets(CLAIM_IDS).map(DropEnded),
)

#: The same, on a host whose report may change (a report also brings a host back up).
OPERATIONS_AND_REPORTS: st.SearchStrategy[Operation] = st.one_of(
    OPERATIONS, OPERATIONS, OPERATIONS, same_host_reports()
)


def stories(operations: st.SearchStrategy[Operation]) -> st.SearchStrategy[list[Operation]]:
    """Mostly long ones: what can go wrong needs a few claims on the row first."""
    return st.one_of(
        st.lists(operations, max_size=6), st.lists(operations, min_size=10, max_size=16)
    )
