"""What a host's report may say."""

from __future__ import annotations

import math
from typing import Any

import pytest

from placer.errors import InvalidInput
from placer.model import networks, reports
from placer.model.messages import HostReport, ProviderReport
from placer.model.records import Inventory

CPU = {"VCPU": Inventory(total=8)}


def numa(key: str, parent: str = "", **more: Any) -> ProviderReport:
    return ProviderReport(key=key, inventories=CPU, parent=parent, **more)


def host(*children: ProviderReport, **more: Any) -> HostReport:
    return HostReport(name="h1", inventories=CPU, children=children, **more)


@pytest.mark.parametrize(
    "report",
    [
        pytest.param(host(), id="a host alone"),
        pytest.param(host(numa("numa0"), numa("numa1")), id="two NUMA nodes"),
        pytest.param(
            host(
                numa("nic0"),
                ProviderReport(
                    key="nic0.vf",
                    parent="nic0",
                    inventories={"SRIOV_NET_VF": Inventory(total=32)},
                    traits=("CUSTOM_PHYSNET_BLUE",),
                ),
            ),
            id="functions of a card that lead to one network",
        ),
        pytest.param(host(aggregates=("rack-1",)), id="a host in an aggregate"),
    ],
)
def test_sensible_report_is_taken(report: HostReport) -> None:
    """Trees, traits and aggregates within the bounds pass."""
    assert reports.problem(report) == ""


@pytest.mark.parametrize(
    ("report", "named"),
    [
        pytest.param(host(numa("a"), numa("a")), "'a'", id="a key twice"),
        pytest.param(host(numa("a", parent="b")), "'b'", id="a parent that is not there"),
        pytest.param(host(numa("a", parent="b"), numa("b", parent="a")), "'a'", id="a circle"),
        pytest.param(host(numa("net-blue")), "net-", id="a key that is the scheduler's own"),
        pytest.param(host(numa("a/b")), "'a/b'", id="a key with a slash"),
        pytest.param(host(numa("")), "''", id="an empty key"),
        pytest.param(host(*(numa(f"n{i}") for i in range(65))), "65", id="too many providers"),
        pytest.param(host(numa("a", traits=("blue",))), "'blue'", id="a trait in lower case"),
        pytest.param(
            HostReport("h1", {"VCPUS": Inventory(total=1)}), "VCPUS", id="an unknown class"
        ),
        pytest.param(
            HostReport("h1", {"numa0/VCPU": Inventory(total=1)}),
            "numa0/VCPU",
            id="a slot in the place of a class",
        ),
        pytest.param(
            HostReport("h1", {"VCPU": Inventory(total=4, reserved=5)}),
            "reserved 5: use 0 to its total, 4",
            id="more reserved than there is",
        ),
        pytest.param(
            HostReport("h1", {"CUSTOM_BAREMETAL": Inventory(total=2, units=("a", "a"))}),
            "repeat",
            id="two devices of one identity",
        ),
        pytest.param(
            HostReport("h1", {"VCPU": Inventory(total=4, units=("a",))}),
            "units",
            id="cores with identities",
        ),
        pytest.param(host(aggregates=("a",) * 65), "65", id="too many aggregates"),
        pytest.param(HostReport("", CPU), "no name", id="no name"),
    ],
)
def test_senseless_report_is_refused_by_value(report: HostReport, named: str) -> None:
    """The answer names what is wrong, so that it can be found in the agent's configuration."""
    assert named in reports.problem(report)


BIG = 2**31 - 1


@pytest.mark.parametrize(
    ("inventory", "named"),
    [
        pytest.param({"total": 0}, "total 0: use 1 to 2147483647", id="nothing"),
        pytest.param({"total": BIG + 1}, "total 2147483648: use", id="more than 31 bits"),
        pytest.param(
            {"allocation_ratio": math.inf}, "allocation_ratio inf: use a finite", id="without end"
        ),
        pytest.param(
            {"allocation_ratio": math.nan}, "allocation_ratio nan: use a finite", id="no number"
        ),
        pytest.param(
            {"allocation_ratio": 0.0}, "allocation_ratio 0.0: use a finite", id="a ratio of nothing"
        ),
        pytest.param(
            {"allocation_ratio": -1.0}, "allocation_ratio -1.0: use", id="a ratio below nothing"
        ),
        pytest.param(
            {"total": BIG, "allocation_ratio": 2.0},
            "allocation_ratio 2 to give, above 2147483647",
            id="a capacity of more than 31 bits",
        ),
        pytest.param(
            {"allocation_ratio": 1e308}, "allocation_ratio 1e+308 to give", id="a capacity past all"
        ),
        pytest.param(
            {"min_unit": 5, "max_unit": 4}, "min_unit 5 above max_unit 4: nothing", id="no amount"
        ),
        pytest.param({"min_unit": 0}, "min_unit 0: use 1", id="a unit of nothing"),
        pytest.param({"max_unit": BIG + 1}, "max_unit 2147483648: use", id="a unit too large"),
        pytest.param({"step_size": 0}, "step_size 0: use 1", id="steps of nothing"),
        pytest.param({"reserved": 9}, "reserved 9: use 0 to its total, 8", id="all and one more"),
        pytest.param({"reserved": -1}, "reserved -1: use 0", id="less than nothing reserved"),
    ],
)
def test_numbers_that_make_no_inventory(inventory: dict[str, Any], named: str) -> None:
    """Each value is named with what to use instead; for a pool of an operator likewise."""
    wrong = Inventory(**{"total": 8, **inventory})
    assert named in reports.problem(HostReport("h1", {"VCPU": wrong}))
    pool = networks.PoolSpec(("rack-1",), {"DISK_GB": wrong})
    with pytest.raises(InvalidInput) as refused:
        networks.pool_inventories(pool)
    assert named in str(refused.value)
    assert refused.value.fields["field"] == "inventories.DISK_GB"


@pytest.mark.parametrize(
    "inventory",
    [
        pytest.param(Inventory(total=BIG), id="the largest total"),
        pytest.param(Inventory(total=2, allocation_ratio=1073741823.5), id="the largest capacity"),
        pytest.param(Inventory(total=8, reserved=8), id="all of it reserved"),
        pytest.param(Inventory(total=8, min_unit=4, max_unit=4), id="one amount only"),
        pytest.param(Inventory(total=1, allocation_ratio=0.5), id="less than one to give"),
    ],
)
def test_numbers_at_the_edge_are_taken(inventory: Inventory) -> None:
    """What is just allowed."""
    assert reports.problem(HostReport("h1", {"VCPU": inventory})) == ""
