"""What comes from a pool of the host's aggregates, and from which."""

from __future__ import annotations

import msgspec
import pytest

from placer.claims.operations import AddClaim
from placer.model.fitting import Demand, Group
from placer.model.host_view import HostView, summarize
from placer.model.records import HostRow, HostStatus, Inventory, RowKind, inventory_record
from placer.scheduler import pools
from placer.scheduler.pools import SHARES, Completed


def _view(
    name: str, kind: RowKind, offered: dict[str, int], aggregates: str, traits: tuple[str, ...]
) -> HostView:
    record = inventory_record(
        name,
        {key: Inventory(total=total) for key, total in offered.items()},
        traits,
        in_aggregates=tuple(aggregates),
    )
    row = HostRow(name, name, 1, HostStatus.UP, (record,), kind=kind)
    return summarize(row, cell="c1", region="r1")


def host(aggregates: str = "a", *traits: str, **offered: int) -> HostView:
    return _view("h1", RowKind.HOST, offered or {"VCPU": 4}, aggregates, traits)


def pool(name: str, aggregates: str = "a", *traits: str, **offered: int) -> HostView:
    return _view(name, RowKind.POOL, offered or {"DISK_GB": 100}, aggregates, traits)


def demand(
    resources: dict[str, int], required: tuple[str, ...] = (), forbidden: tuple[str, ...] = ()
) -> Demand:
    return Demand({"": Group(resources, required, forbidden)})


BOTH = {"VCPU": 1, "DISK_GB": 10}


@pytest.mark.parametrize(
    ("wanted", "of_host", "given"),
    [
        pytest.param(demand({"VCPU": 1}), host(), {}, id="the host has it all"),
        pytest.param(demand(BOTH), host(), {"near": {"DISK_GB": 10}}, id="disk comes from a pool"),
        pytest.param(
            demand(BOTH), host("a", VCPU=4, DISK_GB=10), {}, id="the host's own disk goes first"
        ),
        pytest.param(
            demand(BOTH, required=(SHARES,)),
            host(),
            {"near": {"DISK_GB": 10}},
            id="the trait of sharing is the pool's by its kind",
        ),
        pytest.param(
            demand(BOTH, required=("CUSTOM_SSD",)),
            host(),
            {"near": {"DISK_GB": 10}},
            id="a trait that only the pool has",
        ),
        pytest.param(
            demand({"VCPU": 1, "DISK_GB": 10, "IPV4_ADDRESS": 1}),
            host("ab"),
            None,
            id="addresses of pools have another way",
        ),
    ],
)
def test_what_the_host_lacks_comes_from_a_near_pool(
    wanted: Demand, of_host: HostView, given: dict[str, dict[str, int]] | None
) -> None:
    """Only pools of the host's aggregates help, and only with classes that it does not offer."""
    near = pool("near", "a", "CUSTOM_SSD")
    completed = pools.complete(wanted, of_host, [pool("far", "z"), near])
    if given is None:
        assert completed == "IPV4_ADDRESS:not_offered"
    else:
        assert isinstance(completed, Completed), completed
        assert {p: d.totals for p, d in completed.pools.items()} == given
        assert not completed.host.totals.keys() & {n for g in given.values() for n in g}


@pytest.mark.parametrize(
    ("wanted", "near", "reason"),
    [
        pytest.param(demand(BOTH), [], "DISK_GB:not_offered", id="no pool at all"),
        pytest.param(
            demand(BOTH), [pool("p", "z")], "DISK_GB:not_offered", id="no pool of an aggregate"
        ),
        pytest.param(
            demand(BOTH), [pool("p", "a", DISK_GB=5)], "DISK_GB:no_capacity", id="the pool is full"
        ),
        pytest.param(
            demand({"VCPU": 5, "DISK_GB": 10}), [pool("p")], "VCPU:no_capacity", id="the host is"
        ),
        pytest.param(
            demand(BOTH, forbidden=("CUSTOM_SLOW",)),
            [pool("p", "a", "CUSTOM_SLOW")],
            "trait_forbidden:CUSTOM_SLOW",
            id="the pool has a trait that is forbidden",
        ),
        pytest.param(
            demand(BOTH, required=("CUSTOM_FAST",)),
            [pool("p")],
            "trait_missing:CUSTOM_FAST",
            id="neither has the trait",
        ),
        pytest.param(
            Demand({"disk": Group({"DISK_GB": 10})}),
            [pool("p")],
            "DISK_GB:not_offered",
            id="a named group comes from the host's own tree",
        ),
    ],
)
def test_what_nobody_near_has_is_a_reason(
    wanted: Demand, near: list[HostView], reason: str
) -> None:
    """The reason names the class or the trait; a full pool is told from none."""
    assert pools.complete(wanted, host(), near) == reason


def test_emptiest_pool_is_taken() -> None:
    """Of pools that fit, the one with the largest free share of the class."""
    used = msgspec.structs.replace(pool("used", "a", DISK_GB=1000), free={"DISK_GB": 500})
    completed = pools.complete(demand(BOTH), host(), [used, pool("fresh", "a", DISK_GB=20)])
    assert isinstance(completed, Completed)
    assert list(completed.pools) == ["fresh"]


def test_parts_of_a_claim_go_together() -> None:
    """The pool's part has an id of its own, belongs to the same instance and is anchored to it."""
    completed = pools.complete(demand(BOTH), host(), [pool("p")])
    assert isinstance(completed, Completed)
    whole = AddClaim("c1.h1.k", "i1", "q1", "default", demand(BOTH), 5)
    own, parts = pools.divide(whole, completed)
    assert own.claim == whole.claim
    assert own.demand.totals == {"VCPU": 1}
    assert parts["p"].anchor == whole.claim
    assert parts["p"].claim != whole.claim
    assert parts["p"].consumer == "i1"
    assert parts["p"].demand.totals == {"DISK_GB": 10}
