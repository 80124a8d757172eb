"""A node joins a cell and leaves it again, under load, by the inventory and the playbooks. The tests build on each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from client import Api
from deployment import Deployment, cql, docker
from faults import Cluster
from growing import Inventory, hosts_on, load_on, placed_all, see_each_other
from load import all_pairs_claim
from operate import must, playbook, three_nodes_a_cell

testinfra_hosts = ["ansible://machines"]

INVENTORY = Inventory(Path(__file__).parents[1] / "inventory")
#: Its nodes come and go; three of them, as every quorum is to have its replicas all along.
CELL = list(INVENTORY.regions)[-1]


@pytest.fixture(autouse=True)
def _three_nodes(deployment: Deployment) -> None:
    three_nodes_a_cell(deployment, [CELL])


@pytest.fixture
def added() -> str:
    return f"{CELL}-r{len(INVENTORY.nodes_of(CELL)) + 1}"


def test_node_is_added_under_load(
    deployment: Deployment, api: Api, api_token: str, cluster: Cluster, added: str, tmp_path: Path
) -> None:
    """It has taken its part of the data, and no claim failed."""
    load = load_on(deployment, api_token, deployment.cells)
    inventory = INVENTORY.grown(tmp_path, nodes={added: CELL}, cells={})
    with load.running():
        must(playbook(deployment, "deploy", inventory=inventory, seconds=900))
    placed_all(load, "adding")
    now = deployment.look_again()
    node = f"{now.name}-{added}"
    assert set(now.nodes) == {*deployment.nodes, node}
    cluster.wait_healthy()
    see_each_other(now)
    bootstrap = cql(now, node, "SELECT bootstrapped FROM system.local")
    assert [row.bootstrapped for row in bootstrap] == ["COMPLETED"]
    assert hosts_on(now, node) > 0, "the node took over no hosts"
    all_pairs_claim(api, now)


def test_it_is_removed_under_load(
    deployment: Deployment, api: Api, api_token: str, cluster: Cluster, added: str
) -> None:
    """The inventory as it was, one playbook: the node hands over its data and leaves, nothing of it is left."""
    load = load_on(deployment, api_token, deployment.cells)
    with load.running():
        must(playbook(deployment, "remove", inventory=INVENTORY.path, seconds=900, remove=[added]))
    placed_all(load, "removing")
    now = deployment.look_again()
    assert f"{now.name}-{added}" not in now.containers
    assert not docker("volume", "ls", "--quiet", "--filter", f"name={now.name}-{added}-")
    cluster.wait_healthy()
    see_each_other(now)
    all_pairs_claim(api, now)
    must(playbook(now, "check", inventory=INVENTORY.path))
