"""Deployments whose nodes come and go, under a load that is to notice nothing: what `scale`, `nodes` and `replace` share."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deployment import Deployment, cql, docker, gossip_view, racks
from load import STEADY_PAUSE_S, Load, every_pair, summary
from operate import edited_inventory
from placer.model.ids import keyspace_of

#: A request of the load waits this long for services that are made anew.
DEADLINE_S = 120
#: Between a region that is added and each of the others.
MORE_RTT_MS = 50


@dataclass(frozen=True)
class Inventory:
    """An inventory as its files say; nodes and cells in their order."""

    path: Path

    @property
    def hosts(self) -> dict[str, Any]:
        found: dict[str, Any] = yaml.safe_load((self.path / "hosts.yml").read_text())
        return found

    @property
    def regions(self) -> dict[str, str]:
        """Cell -> its region."""
        groups = self.hosts["all"]["children"]
        return {
            name: group["vars"]["placer_region"]
            for name, group in groups.items()
            if "placer_cell" in (group or {}).get("vars", {})
        }

    def nodes_of(self, cell: str) -> list[str]:
        return list(_nodes(self.hosts["all"]["children"], cell))

    def grown(
        self, folder: Path, *, nodes: Mapping[str, str] | None = None, cells: Mapping[str, str]
    ) -> Path:
        """A copy in ``folder`` with more in it, as an operator would edit it: ``nodes`` {node: its cell}, in the cell's first rack,
        and ``cells`` {cell: its region} of one node each."""
        copy = edited_inventory(folder, {}, inventory=self.path)
        hosts = self.hosts
        groups = hosts["all"]["children"]
        for node, cell in (nodes or {}).items():
            there = _nodes(groups, cell)
            there[node] = {"cassandra_rack": next(iter(there.values()))["cassandra_rack"]}
        index = max(groups[cell]["vars"]["placer_cell_index"] for cell in self.regions)
        for number, (cell, region) in enumerate(cells.items(), index + 1):
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
        self._connect({*self.regions.values(), *cells.values()}, copy)
        return copy

    def _connect(self, regions: set[str], copy: Path) -> None:
        """Give pairs of regions that have no round trip one."""
        path = copy / "group_vars" / "all" / "wan.yml"
        variables = yaml.safe_load(path.read_text())
        given = variables["wan_rtt_ms"]
        for one, other in itertools.combinations(sorted(regions), 2):
            if not {f"{one}-{other}", f"{other}-{one}"} & set(given):
                given[f"{one}-{other}"] = MORE_RTT_MS
        path.write_text(yaml.safe_dump(variables))


def _nodes(groups: dict[str, Any], cell: str) -> dict[str, Any]:
    found: dict[str, Any] = groups[cell]["children"][f"{cell}_nodes"]["hosts"]
    return found


def load_on(deployment: Deployment, api_token: str, cells: Sequence[str]) -> Load:
    """A client in each of ``cells`` for each of them."""
    return Load(
        deployment, api_token, every_pair(cells), deadline_s=DEADLINE_S, pause_s=STEADY_PAUSE_S
    )


def placed_all(load: Load, what: str) -> None:
    """Every request of the load has its claim, however often a call had to be repeated."""
    print(f"{what}: {summary(load.tries)}")
    assert load.tries
    assert all(one.placed for one in load.tries), summary(load.tries)


def see_each_other(deployment: Deployment) -> None:
    """Every node knows those that run, in their racks, as members, and no other."""
    everybody = set(racks(deployment).values())
    for node in deployment.nodes:
        rows = cql(deployment, node, "SELECT data_center, rack FROM system.peers_v2")
        assert {(row.data_center, row.rack) for row in rows} <= everybody, node
        assert len(rows) == len(deployment.nodes) - 1, node
        states = list(gossip_view(deployment, node).values())
        assert states.count("NORMAL") == len(deployment.nodes), (node, states)


def hosts_on(deployment: Deployment, node: str) -> int:
    """How many rows of its cell's hosts a node has."""
    keyspace = keyspace_of(deployment.cell_of(node))
    said = docker("exec", node, "nodetool", "tablestats", "-F", "json", f"{keyspace}.host")
    table: dict[str, int] = json.loads(said)[keyspace]["tables"]["host"]
    return table["number_of_partitions_estimate"]
