"""A node joins a cell, leaves it, and a lost one is replaced, under load, by the inventory and the playbooks. The tests build on
each other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from client import Api
from deployment import Deployment, cql, docker
from faults import Cluster
from growing import Inventory, load_on, placed_all, see_each_other
from load import all_pairs_claim
from operate import changes, must, playbook, three_nodes_a_cell

testinfra_hosts = ["ansible://machines"]

INVENTORY = Inventory(Path(__file__).parents[1] / "inventory")
#: Its nodes come and go; three of them, so that one may be lost.
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


def test_node_that_is_lost_is_replaced_under_load(
    deployment: Deployment, api: Api, api_token: str, cluster: Cluster
) -> None:
    """A node dies with its disk. A new one takes its tokens, its data and its place, and no claim failed. The rest of the
    deployment is as the inventory says after all that was before: the deploy in it changes nothing there."""
    now = deployment.look_again()
    lost = now.nodes_of(CELL)[0]
    name = lost.removeprefix(f"{now.name}-")
    before = containers(now)
    load = load_on(now, api_token, now.cells)
    with load.running():
        cluster.kill(lost)
        ended = playbook(
            now, "replace_node", inventory=INVENTORY.path, seconds=900, replace_node=name
        )
        changed = changes(must(ended))
    placed_all(load, "replacing")
    cluster.wait_healthy()
    after = containers(now)
    assert {node for node in after if after[node] != before[node]} == {lost}
    assert hosts_on(now, lost) > 0, "the new node took over no hosts"
    see_each_other(now)
    assert changed[name] > 0
    assert {host for host, count in changed.items() if count} <= set(INVENTORY.nodes_of(CELL)), (
        changed
    )
    must(playbook(now, "check", inventory=INVENTORY.path))


def containers(deployment: Deployment) -> dict[str, str]:
    """Node -> its container. One that was made anew began without data, as its volumes went with the old one."""
    now = deployment.look_again()
    return {node: now.containers[node]["Id"] for node in now.nodes}


def hosts_on(deployment: Deployment, node: str) -> int:
    """How many rows of the cell's hosts a node has."""
    keyspace = f"placer_{CELL}"
    said = docker("exec", node, "nodetool", "tablestats", "-F", "json", f"{keyspace}.host")
    table: dict[str, int] = json.loads(said)[keyspace]["tables"]["host"]
    return table["number_of_partitions_estimate"]
