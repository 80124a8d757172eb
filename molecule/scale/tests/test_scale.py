"""The deployment grows and shrinks under load, by the inventory and the playbooks. The tests build on each other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from client import Api
from deployment import Deployment, cql, docker, gossip_view, racks
from faults import Cluster
from load import STEADY_PAUSE_S, Load, all_pairs_claim, every_pair, summary
from operate import changes, edited_inventory, must, playbook, three_nodes_a_cell

testinfra_hosts = ["ansible://machines"]

INVENTORY = Path(__file__).parents[1] / "inventory"

#: A request of the load waits this long for services that are made anew.
DEADLINE_S = 120
MORE_RTT_MS = 50


@dataclass(frozen=True)
class Growth:
    """What is added: a node of a cell that is there, a cell in a region that is there, a cell in a region of its own."""

    node: str
    node_cell: str
    cell: str
    cell_region: str
    far_cell: str
    far_region: str

    @property
    def names(self) -> list[str]:
        return [self.node, self.cell, self.far_cell]


@pytest.fixture(autouse=True)
def _three_nodes(deployment: Deployment) -> None:
    three_nodes_a_cell(deployment, [inventory_cells()[-1]])


@pytest.fixture
def growth(deployment: Deployment) -> Growth:
    """Derived from the inventory's own names."""
    first, last = inventory_cells()[0], inventory_cells()[-1]
    count = len(hosts_of(last))
    return Growth(
        node=f"{last}-r{count + 1}",
        node_cell=last,
        cell=f"{first}-b",
        cell_region=deployment.region_of(first),
        far_cell="far1",
        far_region="far",
    )


def inventory_hosts() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((INVENTORY / "hosts.yml").read_text())
    return found


def inventory_cells() -> list[str]:
    groups = inventory_hosts()["all"]["children"]
    return [
        name for name, group in groups.items() if "placer_cell" in (group or {}).get("vars", {})
    ]


def hosts_of(cell: str) -> dict[str, Any]:
    found: dict[str, Any] = inventory_hosts()["all"]["children"][cell]["children"][f"{cell}_nodes"][
        "hosts"
    ]
    return found


def grown(folder: Path, growth: Growth, regions: Sequence[str]) -> Path:
    """The inventory with what is added to it, as an operator would edit it."""
    copy = edited_inventory(folder, {}, inventory=INVENTORY)
    hosts = inventory_hosts()
    groups = hosts["all"]["children"]
    nodes = groups[growth.node_cell]["children"][f"{growth.node_cell}_nodes"]["hosts"]
    nodes[growth.node] = {"cassandra_rack": next(iter(nodes.values()))["cassandra_rack"]}
    index = max(groups[cell]["vars"]["placer_cell_index"] for cell in inventory_cells())
    added = ((growth.cell, growth.cell_region), (growth.far_cell, growth.far_region))
    for number, (cell, region) in enumerate(added, index + 1):
        groups[cell] = {
            "vars": {"placer_cell": cell, "placer_region": region, "placer_cell_index": number},
            "children": {
                f"{cell}_nodes": {"hosts": {f"{cell}-r1": {"cassandra_rack": "r1"}}},
                f"{cell}_services": {"hosts": {f"{cell}-s1": None}},
            },
        }
        groups["cassandra"]["children"][f"{cell}_nodes"] = None
        groups["placer"]["children"][f"{cell}_services"] = None
    (copy / "hosts.yml").write_text(yaml.safe_dump(hosts, sort_keys=False))
    wan = copy / "group_vars" / "all" / "wan.yml"
    variables = yaml.safe_load(wan.read_text())
    for region in regions:
        variables["wan_rtt_ms"][f"{region}-{growth.far_region}"] = MORE_RTT_MS
    wan.write_text(yaml.safe_dump(variables))
    return copy


def placed_all(load: Load, what: str) -> None:
    """Every request of the load has its claim, however often a call had to be repeated."""
    print(f"{what}: {summary(load.tries)}")
    assert load.tries
    assert all(one.placed for one in load.tries), summary(load.tries)


def load_on(deployment: Deployment, api_token: str, cells: Sequence[str]) -> Load:
    """A client in each of ``cells`` for each of them."""
    return Load(
        deployment, api_token, every_pair(cells), deadline_s=DEADLINE_S, pause_s=STEADY_PAUSE_S
    )


def test_node_cell_and_region_are_added_under_load(
    deployment: Deployment,
    api: Api,
    api_token: str,
    cluster: Cluster,
    growth: Growth,
    tmp_path: Path,
) -> None:
    """One edit, one deploy: the node has taken its part of the data, the cells have theirs, and every region claims in
    every cell, old and new."""
    load = load_on(deployment, api_token, deployment.cells)
    inventory = grown(tmp_path, growth, deployment.regions)
    with load.running():
        must(playbook(deployment, "deploy", inventory=inventory, seconds=1200))
    placed_all(load, "adding")
    now = deployment.look_again()
    assert f"{deployment.name}-{growth.node}" in now.nodes
    assert set(now.cells) == {*deployment.cells, growth.cell, growth.far_cell}
    assert set(now.regions) == {*deployment.regions, growth.far_region}
    cluster.wait_healthy()
    everybody = set(racks(now).values())
    for node in now.nodes:
        rows = cql(now, node, "SELECT data_center, rack FROM system.peers_v2")
        assert {(row.data_center, row.rack) for row in rows} <= everybody
        assert len(rows) == len(now.nodes) - 1, node
    bootstrap = cql(now, f"{now.name}-{growth.node}", "SELECT bootstrapped FROM system.local")
    assert [row.bootstrapped for row in bootstrap] == ["COMPLETED"]
    added = f"{now.name}-{growth.node}"
    assert hosts_on(now, added, growth.node_cell) > 0, "the node took over no hosts"
    grown_api = Api(now, api_token)
    with grown_api.taking_back():
        all_pairs_claim(grown_api, now)
    # Now, as the histories of the cells that are removed next go with them.
    must(playbook(deployment, "check", inventory=inventory))


def test_they_are_removed_under_load(
    deployment: Deployment, api: Api, api_token: str, cluster: Cluster, growth: Growth
) -> None:
    """The inventory as it was, one playbook: node and cells leave, nothing of them is left, and claims go on."""
    kept = [cell for cell in deployment.cells if cell not in growth.names]
    load = load_on(deployment, api_token, kept)
    with load.running():
        must(playbook(deployment, "remove", inventory=INVENTORY, seconds=1200, remove=growth.names))
    placed_all(load, "removing")
    now = deployment.look_again()
    assert now.cells == kept
    assert f"{now.name}-{growth.node}" not in now.containers
    for cell in (growth.cell, growth.far_cell):
        assert not [name for name in now.containers if now.cell_of(name) == cell]
    for gone in growth.names:
        left = docker("volume", "ls", "--quiet", "--filter", f"name={now.name}-{gone}-")
        assert left == ""
    networks = docker("network", "ls", "--filter", f"label={now.label}", "--format", "{{.Name}}")
    guests = [f"{cell}-guests" for cell in kept]
    assert set(networks.split()) == {
        f"{now.name}-{name}" for name in [*now.regions, "wan", *guests]
    }
    cluster.wait_healthy()
    for node in now.nodes:
        peers = cql(now, node, "SELECT peer FROM system.peers_v2")
        assert len(peers) == len(now.nodes) - 1, node
        states = list(gossip_view(now, node).values())
        assert states.count("NORMAL") == len(now.nodes), states
        keyspaces = cql(now, node, "SELECT keyspace_name FROM system_schema.keyspaces")
        own = {row.keyspace_name for row in keyspaces if row.keyspace_name.startswith("placer_")}
        assert own == {"placer_global"} | {f"placer_{cell.replace('-', '_')}" for cell in kept}
    all_pairs_claim(Api(now, api_token), now)


def test_node_that_is_lost_is_replaced_under_load(
    deployment: Deployment, api: Api, api_token: str, cluster: Cluster
) -> None:
    """A node dies with its disk. While it runs, the playbook refuses; then a new one takes its tokens, its data and its
    place, and no claim failed. The rest of the deployment is as the inventory says after all that was before: the deploy in
    it changes nothing there."""
    now = deployment.look_again()
    cell = now.cells[-1]
    lost = now.nodes_of(cell)[0]
    name = lost.removeprefix(f"{now.name}-")
    refused = playbook(now, "replace_node", inventory=INVENTORY, replace_node=name)
    assert refused.status != 0
    assert f"{name} runs" in refused.output
    before = containers(now)
    load = load_on(now, api_token, now.cells)
    with load.running():
        cluster.kill(lost)
        ended = playbook(now, "replace_node", inventory=INVENTORY, seconds=900, replace_node=name)
        changed = changes(must(ended))
    placed_all(load, "replacing")
    cluster.wait_healthy()
    after = containers(now)
    assert {node for node in after if after[node] != before[node]} == {lost}
    assert hosts_on(now, lost, cell) > 0, "the new node took over no hosts"
    for node in now.nodes:
        peers = cql(now, node, "SELECT peer FROM system.peers_v2")
        assert len(peers) == len(now.nodes) - 1, node
    assert changed[name] > 0
    assert {host for host, count in changed.items() if count} <= set(hosts_of(cell)), changed


def containers(deployment: Deployment) -> dict[str, str]:
    """Node -> its container. One that was made anew began without data, as its volumes went with the old one."""
    now = deployment.look_again()
    return {node: now.containers[node]["Id"] for node in now.nodes}


def hosts_on(deployment: Deployment, node: str, cell: str) -> int:
    """How many rows of the cell's hosts a node has."""
    keyspace = f"placer_{cell}"
    said = docker("exec", node, "nodetool", "tablestats", "-F", "json", f"{keyspace}.host")
    table: dict[str, int] = json.loads(said)[keyspace]["tables"]["host"]
    return table["number_of_partitions_estimate"]
