"""Each filter: whom it rejects, why, and when it is not asked."""

from __future__ import annotations

import msgspec
import pytest

from placer.model.groups import Place, Policy, Scope, ServerGroup
from placer.model.host_view import HostView
from placer.model.records import Inventory, RowKind
from placer.model.request import GroupSpec, RequestSpec
from placer.scheduler import filters
from placer.scheduler.groups import GroupFacts
from placer.scheduler.select import first_reason
from placer.settings import Scheduler

from ..factories import spec, view, wanted

MINUTE_MS = 60_000


def with_(host: HostView, **changed: object) -> HostView:
    return msgspec.structs.replace(host, **changed)


def facts(policy: Policy, scope: Scope, *members: Place) -> GroupFacts:
    return GroupFacts(ServerGroup("c1.g", "g", policy, scope, "p"), members)


def test_capacity_is_asked_last() -> None:
    """Cheap filters spare the dear one most hosts."""
    first, *_, last = filters.table()
    assert (first, last) == ("status", "capacity")


@pytest.mark.parametrize(
    ("asked", "host", "reason"),
    [
        pytest.param(spec(cell="c1"), view(), None, id="host of the cell named"),
        pytest.param(spec(cell="c2"), view(), "cell_not_named", id="host of another cell"),
        pytest.param(spec(cells=("c2", "c1")), view(), None, id="one of several cells"),
        pytest.param(spec(region="r2"), view(), "region_not_named", id="host of another region"),
        pytest.param(spec(avoid_hosts=("h1",)), view(), "host_avoided", id="host avoided by name"),
        pytest.param(spec(avoid_cells=("c1",)), view(), "cell_avoided", id="cell avoided"),
        pytest.param(spec(avoid_regions=("r1",)), view(), "region_avoided", id="region avoided"),
        pytest.param(
            spec(aggregates=("az1", "az2")),
            with_(view(), aggregates=("az2",)),
            None,
            id="host in one of the aggregates",
        ),
        pytest.param(
            spec(aggregates=("az1",)),
            with_(view(), aggregates=("az2",)),
            "aggregate_not_named",
            id="host in another aggregate",
        ),
        pytest.param(
            spec(any_traits=(("CUSTOM_A", "CUSTOM_B"),)),
            view(traits=("CUSTOM_B",)),
            None,
            id="one of any-of traits suffices",
        ),
        pytest.param(
            spec(any_traits=(("CUSTOM_A", "CUSTOM_B"),)),
            view(),
            "trait_missing:CUSTOM_A|CUSTOM_B",
            id="none of the any-of traits",
        ),
        pytest.param(
            RequestSpec(groups={"a": GroupSpec({"VCPU": 1}, required_traits=("CUSTOM_A",))}),
            view(),
            "trait_missing:CUSTOM_A",
            id="trait of a named group that no provider has",
        ),
        pytest.param(
            spec(),
            with_(view(), building=64),
            "too_many_builds",
            id="host with as many builds as allowed gets no more",
        ),
        pytest.param(
            spec(host="h1"), with_(view(), building=64), None, id="unless the request names it"
        ),
    ],
)
def test_reasons(asked: RequestSpec, host: HostView, reason: str | None) -> None:
    """A host is rejected with the filter's own word, or passes."""
    assert first_reason(wanted(asked), host) == reason


@pytest.mark.parametrize(
    ("group", "host", "reason"),
    [
        pytest.param(
            facts(Policy.ANTI_AFFINITY, Scope.HOST),
            with_(view(), groups={"c1.g": 1}),
            "group_anti_affinity",
            id="host that holds a member",
        ),
        pytest.param(
            facts(Policy.ANTI_AFFINITY, Scope.HOST),
            with_(view(), groups={"c1.other": 1}),
            None,
            id="host that holds another group's member",
        ),
        pytest.param(
            facts(Policy.AFFINITY, Scope.HOST, Place("r1", "c1", "h2")),
            view(),
            "group_affinity",
            id="members are on another host",
        ),
        pytest.param(
            facts(Policy.ANTI_AFFINITY, Scope.REGION, Place("r1", "c9", "h9")),
            view(),
            "group_anti_affinity",
            id="a member is in the region",
        ),
    ],
)
def test_server_group(group: GroupFacts, host: HostView, reason: str | None) -> None:
    """Hosts at which the group has no place are left out before anything is claimed."""
    assert first_reason(wanted(spec(), group=group), host) == reason


@pytest.mark.parametrize(
    ("failures", "minutes_ago", "reason"),
    [
        pytest.param(2, 1, None, id="few failures"),
        pytest.param(3, 1, "builds_fail", id="as many as allowed, a minute ago"),
        pytest.param(3, 11, None, id="forgotten after ten minutes"),
    ],
)
def test_build_failures(failures: int, minutes_ago: int, reason: str | None) -> None:
    """A host whose builds keep failing rests for a while."""
    asked = wanted(spec(), settings=Scheduler(build_failures_max=3), now_ms=60 * MINUTE_MS)
    host = with_(view(), failures=failures, failed_ms=(60 - minutes_ago) * MINUTE_MS)
    assert first_reason(asked, host) == reason


def test_what_the_host_lacks_may_come_from_a_pool() -> None:
    """A class that no provider of the host offers is looked for in pools of its aggregates."""
    pool = with_(
        view("store", DISK_GB=Inventory(total=100)), kind=RowKind.POOL, aggregates=("rack1",)
    )
    asked = RequestSpec(resources={"VCPU": 1, "DISK_GB": 50})
    near, far = with_(view(), aggregates=("rack1",)), with_(view(), aggregates=("rack2",))
    assert first_reason(wanted(asked, pools=(pool,)), near) is None
    assert first_reason(wanted(asked, pools=(pool,)), far) == "DISK_GB:not_offered"
    assert first_reason(wanted(asked), near) == "DISK_GB:not_offered"
