"""Explanations: what was left, who came closest, what to change, in words that a user can act on."""

from __future__ import annotations

import random

import msgspec
import pytest

from placer.model.host_view import HostView
from placer.model.records import HostStatus, Inventory
from placer.model.request import Reason, RequestSpec
from placer.scheduler import explain
from placer.scheduler.select import select

from ..factories import spec, view, wanted


def why(asked: RequestSpec, *views: HostView) -> Reason:
    return explain.refusal(wanted(asked), [select(wanted(asked), views, rng=random.Random(1))])


def used(host: HostView, **free: int) -> HostView:
    return msgspec.structs.replace(host, free={**host.free, **free})


def test_says_what_was_left_and_who_came_closest() -> None:
    """The whole explanation of one refusal."""
    found = why(
        RequestSpec(resources={"VCPU": 4, "MEMORY_MB": 500}, required_traits=("CUSTOM_SSD",)),
        view("off", status=HostStatus.DOWN),
        view("plain"),
        used(view("near", traits=("CUSTOM_SSD",)), VCPU=3),
        used(view("far", traits=("CUSTOM_SSD",)), VCPU=1, MEMORY_MB=100),
    )
    assert found == Reason(
        code="no_valid_host",
        message="None of 4 hosts of cell c1 can take it: "
        "3 left after status, 2 left after traits, 0 left after capacity.",
        rejected={"VCPU:no_capacity": 2, "host_down": 1, "trait_missing:CUSTOM_SSD": 1},
        hosts_seen=4,
        left={"status": 3, "io": 3, "build_failures": 3, "traits": 2, "capacity": 0},
        cells={"c1": 0},
        nearest="near of cell c1: it can give 3 of 4 VCPU",
        remedy="Ask for at most 3 VCPU, free some, or ask another cell. "
        "Or: Bring hosts back up: their agents are not connected.",
    )


@pytest.mark.parametrize(
    ("asked", "host", "remedy"),
    [
        pytest.param(
            spec(required_traits=("CUSTOM_SSD",)),
            view(),
            "Leave the trait CUSTOM_SSD out",
            id="missing trait is named",
        ),
        pytest.param(
            RequestSpec(resources={"DISK_GB": 1}), view(), "offers DISK_GB", id="class not offered"
        ),
        pytest.param(
            RequestSpec(resources={"SRIOV_NET_VF": 9}),
            view(SRIOV_NET_VF=Inventory(total=16, max_unit=8)),
            "Ask for at most 8 SRIOV_NET_VF: 9 is above the largest unit",
            id="limit of the inventory",
        ),
        pytest.param(spec(), used(view(), VCPU=0), "Free some VCPU", id="nothing left at all"),
        pytest.param(spec(avoid_cells=("c1",)), view(), "avoid_cells", id="avoid list"),
        pytest.param(
            spec(), view(status=HostStatus.DOWN), "agents are not connected", id="hosts are down"
        ),
    ],
)
def test_remedies(asked: RequestSpec, host: HostView, remedy: str) -> None:
    """The remedy names the value and what to do about it."""
    assert remedy in why(asked, host).remedy


def test_a_class_that_some_hosts_have_is_not_talked_out_of() -> None:
    """Most hosts have no such functions; those that have them are what the advice is about."""
    found = why(
        RequestSpec(resources={"SRIOV_NET_VF": 9}),
        view("without"),
        view("without too"),
        view("with", SRIOV_NET_VF=Inventory(total=16, max_unit=8)),
    )
    assert found.rejected["SRIOV_NET_VF:not_offered"] == 2
    assert found.remedy == "Ask for at most 8 SRIOV_NET_VF: 9 is above the largest unit."


def test_several_cells_are_added_up() -> None:
    """One explanation over all cells that were searched, with hosts that refused on their rows."""
    asked = wanted(spec(9))
    there = msgspec.structs.replace(view("b"), cell="c2")
    selections = [select(asked, [host], rng=random.Random(1)) for host in (view("a"), there)]
    found = explain.refusal(asked, selections, {"group_anti_affinity": 1})
    assert found.hosts_seen == 2
    assert found.cells == {"c1": 0, "c2": 0}
    assert found.rejected == {"VCPU:no_capacity": 2, "group_anti_affinity": 1}
    assert "2 hosts of 2 cells" in found.message


def test_empty_cell() -> None:
    """No hosts at all is said as such."""
    found = why(spec())
    assert found.message == "No hosts were found to choose from."
    assert "agents connect" in found.remedy
