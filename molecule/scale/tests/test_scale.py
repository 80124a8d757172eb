"""Cells and regions are added and removed under load, by the inventory and the playbooks. The tests build on each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from client import Api
from deployment import Deployment, cql, docker
from faults import Cluster
from growing import Inventory, load_on, placed_all, see_each_other
from load import all_pairs_claim
from operate import must, playbook

testinfra_hosts = ["ansible://machines"]

INVENTORY = Inventory(Path(__file__).parents[1] / "inventory")


@pytest.fixture
def added() -> dict[str, str]:
    """Cell -> its region: a cell more in a region that is there, and one in a region of its own."""
    cell, region = next(iter(INVENTORY.regions.items()))
    return {f"{cell}-b": region, "far1": "far"}


def test_cell_and_region_are_added_under_load(
    deployment: Deployment,
    api: Api,
    api_token: str,
    cluster: Cluster,
    added: dict[str, str],
    tmp_path: Path,
) -> None:
    """One edit, one deploy: the cells have their data, and every region claims in every cell, old and new."""
    load = load_on(deployment, api_token, deployment.cells)
    inventory = INVENTORY.grown(tmp_path, cells=added)
    with load.running():
        must(playbook(deployment, "deploy", inventory=inventory, seconds=1200))
    placed_all(load, "adding")
    now = deployment.look_again()
    assert set(now.cells) == {*deployment.cells, *added}
    assert set(now.regions) == {*deployment.regions, *added.values()}
    cluster.wait_healthy()
    see_each_other(now)
    grown = Api(now, api_token)
    with grown.taking_back():
        all_pairs_claim(grown, now)
    # Now, as the histories of the cells that are removed next go with them.
    must(playbook(deployment, "check", inventory=inventory))


def test_they_are_removed_under_load(
    deployment: Deployment, api: Api, api_token: str, cluster: Cluster, added: dict[str, str]
) -> None:
    """The inventory as it was, one playbook: the cells leave, nothing of them is left, and claims go on."""
    kept = list(INVENTORY.regions)
    load = load_on(deployment, api_token, kept)
    with load.running():
        must(
            playbook(
                deployment, "remove", inventory=INVENTORY.path, seconds=1200, remove=list(added)
            )
        )
    placed_all(load, "removing")
    now = deployment.look_again()
    assert set(now.cells) == set(kept)
    for cell in added:
        assert not [name for name in now.containers if now.cell_of(name) == cell]
        assert not docker("volume", "ls", "--quiet", "--filter", f"name={now.name}-{cell}-")
    networks = docker("network", "ls", "--filter", f"label={now.label}", "--format", "{{.Name}}")
    guests = [f"{cell}-guests" for cell in kept]
    assert set(networks.split()) == {
        f"{now.name}-{name}" for name in [*now.regions, "wan", *guests]
    }
    cluster.wait_healthy()
    see_each_other(now)
    for node in now.nodes:
        keyspaces = cql(now, node, "SELECT keyspace_name FROM system_schema.keyspaces")
        own = {row.keyspace_name for row in keyspaces if row.keyspace_name.startswith("placer_")}
        assert own == {"placer_global"} | {f"placer_{cell.replace('-', '_')}" for cell in kept}
    all_pairs_claim(api, now)
