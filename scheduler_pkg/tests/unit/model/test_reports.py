"""What a host's report may say."""

from __future__ import annotations

from typing import Any

import pytest

from placer.model import reports
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
            "reserved=5",
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
