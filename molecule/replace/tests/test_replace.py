"""A node that died with its disk is replaced by the playbook, under load; one that runs is not."""

from __future__ import annotations

import pytest

from deployment import Deployment
from faults import Cluster
from growing import hosts_on, load_on, placed_all, see_each_other
from operate import changes, must, playbook, three_nodes_a_cell

testinfra_hosts = ["ansible://machines"]


@pytest.fixture(autouse=True)
def _three_nodes_a_cell(deployment: Deployment) -> None:
    three_nodes_a_cell(deployment)


def test_node_that_runs_is_not_replaced(deployment: Deployment) -> None:
    """Its data are not lost: the playbook says so, and the node stays."""
    node = deployment.nodes[0]
    name = node.removeprefix(f"{deployment.name}-")
    before = deployment.containers[node]["Id"]
    refused = playbook(deployment, "replace_node", replace_node=name)
    assert refused.status != 0
    assert f"{name} runs" in refused.output
    assert deployment.look_again().containers[node]["Id"] == before


def test_node_that_is_lost_is_replaced_under_load(
    deployment: Deployment, api_token: str, cluster: Cluster
) -> None:
    """A node dies with its disk. A new one takes its tokens, its data and its place, and no claim failed. What is not of its
    cell is as the inventory says after all that was before: the deploy in it changes nothing there."""
    nodes = deployment.nodes_of(deployment.cells[-1])
    names = {node: node.removeprefix(f"{deployment.name}-") for node in nodes}
    lost = nodes[0]
    before = containers(deployment)
    load = load_on(deployment, api_token, deployment.cells)
    with load.running():
        cluster.kill(lost)
        ended = playbook(deployment, "replace_node", seconds=900, replace_node=names[lost])
        changed = changes(must(ended))
    placed_all(load, "replacing")
    cluster.wait_healthy()
    after = containers(deployment)
    assert {node for node in after if after[node] != before[node]} == {lost}
    assert hosts_on(deployment, lost) > 0, "the new node took over no hosts"
    see_each_other(deployment.look_again())
    assert changed[names[lost]] > 0
    assert {host for host, count in changed.items() if count} <= set(names.values()), changed
    must(playbook(deployment, "check"))


def containers(deployment: Deployment) -> dict[str, str]:
    """Node -> its container. One that was made anew began without data, as its volumes went with the old one."""
    now = deployment.look_again()
    return {node: now.containers[node]["Id"] for node in now.nodes}
