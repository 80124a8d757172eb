"""The shape of a deployment as the playbooks see it: what of the containers is to go, in which order nodes restart."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from itertools import combinations
from typing import Any

import pytest

from playbooks.filter_plugins import topology


def container(name: str, cell: str = "", *, node: bool = False) -> dict[str, Any]:
    """A container of the deployment `demo` as the engine lists it."""
    labels = {"io.placer.deployment": "demo"}
    labels |= {"io.placer.cell": cell} if cell else {}
    labels |= {"io.placer.role": "cassandra"} if node else {}
    mounts = [
        {"Type": "volume", "Name": f"demo-{name}-data"},
        {"Type": "bind", "Source": "/etc/x"},
    ]
    return {"Names": [f"/demo-{name}"], "Labels": labels, "Mounts": mounts}


HERE = [
    container("nyc1-r1", "nyc1", node=True),
    container("nyc1-r4", "nyc1", node=True),
    container("nyc1-api-1", "nyc1"),
    container("fra1-r1", "fra1", node=True),
    container("fra1-agent-1", "fra1"),
    container("wan"),
]


@pytest.mark.parametrize(
    ("remove", "nodes", "services", "cells"),
    [
        pytest.param(
            ["nyc1-r4"], ["demo-nyc1-r4"], [], [], id="a node, and nothing else of its cell"
        ),
        pytest.param(
            ["fra1"], ["demo-fra1-r1"], ["demo-fra1-agent-1"], ["fra1"], id="a whole cell"
        ),
        pytest.param(["nyc1-api-1"], [], [], [], id="a process is nothing that can be removed"),
        pytest.param(["fra"], [], [], [], id="the beginning of a name is no name"),
    ],
)
def test_what_is_removed(
    remove: list[str], nodes: list[str], services: list[str], cells: list[str]
) -> None:
    """Nodes by their own name, cells with all they have; who was not named stays."""
    found = topology.placer_removal(HERE, "demo", remove)
    assert (found["nodes"], found["services"], found["cells"]) == (nodes, services, cells)
    assert found["volumes"] == [f"{service}-data" for service in services]
    assert found["known"] == ["fra1", "fra1-r1", "nyc1", "nyc1-r1", "nyc1-r4"]


def test_no_batch_of_restarts_spans_two_racks() -> None:
    """By cell, then by rack; nodes of one rack together."""
    groups = {
        "all": ["x"],
        "cassandra_restart_02_r1": ["ams1-r1"],
        "cassandra_restart_01_r2": ["nyc1-r2", "nyc1-r5"],
        "cassandra_restart_01_r1": ["nyc1-r1"],
    }
    assert topology.placer_restart_batches(groups) == [
        ["nyc1-r1"],
        ["nyc1-r2", "nyc1-r5"],
        ["ams1-r1"],
    ]


def cells(*indexes: int) -> list[dict[str, Any]]:
    """Cells of these indexes, each in a region of its own, as the inventory has them in bridge mode."""
    hostvars = {
        f"c{index}-s1": {"placer_cell": f"c{index}", "placer_cell_index": index}
        for index in indexes
    }
    return topology.placer_cells({"placer": list(hostvars)}, hostvars, "bridge", 90)


def test_no_two_networks_share_an_address() -> None:
    """Not with the largest index a cell can have; names and interfaces differ too, and are short enough for the kernel."""
    found = topology.placer_networks(cells(*range(1, 100)), "demo", 90)
    assert len(found) == 99 + 1 + 99
    prefixes = [IPv4Network(network["prefix"]) for network in found]
    assert not any(one.overlaps(other) for one, other in combinations(prefixes, 2))
    assert all(one.subnet_of(IPv4Network("10.90.0.0/15")) for one in prefixes)
    assert len({network["name"] for network in found}) == len(found)
    assert len({network["bridge"] for network in found}) == len(found)
    assert max(len(network["bridge"]) for network in found) <= 15
    for network, prefix in zip(found, prefixes, strict=True):
        assert IPv4Network(network["dynamic_prefix"]).subnet_of(prefix)
        assert IPv4Address(network["gateway"]) in prefix


def test_guests_of_each_cell_have_a_network_that_leads_nowhere() -> None:
    """Named after the cell, not the region; regions and the WAN stay open."""
    found = topology.placer_networks(cells(1, 7), "demo", 90)
    guests = {one["cell"]: one for one in found if one.get("internal")}
    assert {cell: (one["name"], one["prefix"]) for cell, one in guests.items()} == {
        "c1": ("demo-c1-guests", "10.90.129.0/24"),
        "c7": ("demo-c7-guests", "10.90.135.0/24"),
    }
    others = [one["name"] for one in found if not one.get("internal")]
    assert others == ["demo-c1", "demo-c7", "demo-wan"]
