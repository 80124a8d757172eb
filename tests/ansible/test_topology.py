"""The shape of a deployment as the playbooks see it: what of the containers is to go, in which order nodes restart."""

from __future__ import annotations

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
