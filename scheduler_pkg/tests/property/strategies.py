"""All generators: bounded hosts, demands, and sequences of operations on one host's row.

Hosts are small (a few CPUs, two or three devices), so that what they offer is soon used up and the
interesting edges are met often.
"""

from __future__ import annotations

from hypothesis import strategies as st

from placer.claims.operations import (
    AddClaim,
    AgentStep,
    ExpireClaims,
    Operation,
    ReportInventory,
    SetStatus,
)
from placer.model.messages import StepKind
from placer.model.records import HostRow, HostStatus, Inventory, inventory_record
from placer.model.resource_classes import BAREMETAL, GPU_MILLI

HOST = "h1"

#: Times in these stories: leases end before, at or after the time of the operation.
NOWS = st.integers(min_value=0, max_value=200)

#: Few names, so that an operation often meets a claim that is, or was, on the row.
CLAIM_IDS = st.sampled_from([f"claim-{n}" for n in range(6)])


@st.composite
def divisible(draw: st.DrawFn, most: int) -> Inventory:
    """An inventory of a divisible class with a capacity of up to 2 x ``most``."""
    total = draw(st.integers(min_value=1, max_value=most))
    return Inventory(
        total=total,
        reserved=draw(st.integers(min_value=0, max_value=total)),
        min_unit=draw(st.integers(min_value=1, max_value=2)),
        max_unit=draw(st.integers(min_value=1, max_value=most)),
        step_size=draw(st.sampled_from([1, 1, 1, 2])),
        allocation_ratio=draw(st.sampled_from([1.0, 1.0, 1.5, 2.0])),
    )


def devices(prefix: str, each: int, count: int) -> Inventory:
    return Inventory(total=each * count, units=tuple(f"{prefix}{n}" for n in range(count)))


@st.composite
def offers(draw: st.DrawFn) -> dict[str, Inventory]:
    """What a host reports; any class may be missing."""
    found = {"VCPU": draw(divisible(8)), "MEMORY_MB": draw(divisible(16))}
    if gpus := draw(st.integers(min_value=0, max_value=3)):
        found[GPU_MILLI] = devices("gpu", 1000, gpus)
    if draw(st.booleans()):
        found[BAREMETAL] = devices("serial-", 1, 1)
    return found


TRAITS = st.sets(st.sampled_from(["CUSTOM_A", "CUSTOM_B"])).map(lambda names: tuple(sorted(names)))

DEMANDS = st.fixed_dictionaries(
    {},
    optional={
        "VCPU": st.integers(min_value=1, max_value=8),
        "MEMORY_MB": st.integers(min_value=1, max_value=16),
        GPU_MILLI: st.sampled_from([100, 300, 500, 999, 1000, 1500, 2000, 3000]),
        BAREMETAL: st.integers(min_value=1, max_value=2),
    },
).filter(bool)


@st.composite
def rows(draw: st.DrawFn) -> HostRow:
    """A host that has just reported, with nothing claimed."""
    record = inventory_record(HOST, draw(offers()), draw(TRAITS))
    return HostRow(host=HOST, name="host-1", rev=1, status=HostStatus.UP, records=(record,))


@st.composite
def claims(draw: st.DrawFn) -> AddClaim:
    name = draw(CLAIM_IDS)
    return AddClaim(
        claim=name,
        consumer=f"of-{name}",
        request=f"for-{name}",
        project="p",
        demand=draw(DEMANDS),
        lease_until_ms=draw(NOWS),
        required_traits=draw(TRAITS),
    )


STEPS = st.builds(AgentStep, claim=CLAIM_IDS, kind=st.sampled_from(list(StepKind)))
STATUSES = st.builds(SetStatus, status=st.sampled_from(list(HostStatus)))


@st.composite
def same_host_reports(draw: st.DrawFn) -> ReportInventory:
    return ReportInventory(
        provider=HOST, name="host-1", inventories=draw(offers()), traits=draw(TRAITS)
    )


#: Operations of schedulers and agents on a host that keeps what it has.
OPERATIONS: st.SearchStrategy[Operation] = st.one_of(
    claims(), claims(), claims(), STEPS, STEPS, STATUSES, st.just(ExpireClaims())
)

#: The same, on a host whose report may change.
OPERATIONS_AND_REPORTS: st.SearchStrategy[Operation] = st.one_of(OPERATIONS, same_host_reports())


def stories(operations: st.SearchStrategy[Operation]) -> st.SearchStrategy[list[Operation]]:
    return st.lists(operations, max_size=25)
