# SPDX-License-Identifier: Apache-2.0
"""The shape of a deployment from its inventory: cells, regions, seeds, addresses.

Plain functions over the inventory's groups and host variables, kept out of Jinja so that they can be tested and read. In
bridge mode (one machine) addresses are arithmetic. Region k (the smallest cell index of the region) is 10.B.k.0/24 and its
part of the WAN 10.(B+1).k.0/24, with B the deployment's net base. Each cell of a region owns a block of 40 host numbers from
10 on, so that a cell may grow without moving another:

    +1 .. +19   nodes, in the inventory's order
    +21 .. +24  API processes
    +25 .. +29  scheduler processes
    +31 .. +39  agents

Engines hand out .240 and up by themselves (one-shot containers). Instances of a cell, index c, have 10.B.(128+c).0/24 to themselves;
Placer says which of them has which address there. In host mode addresses are host variables.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

BLOCK = 40
BLOCK_FIRST = 10
BLOCKS_MAX = 5
OFFSETS = {"node": (1, 19), "api": (21, 4), "scheduler": (25, 5), "agent": (31, 9)}
SEED_RACKS = 2
#: Third number of the guests' prefix of the cell with index 0; indexes end at 99, and regions lie below.
GUESTS_FIRST = 128


def _blocks(cells: list[dict[str, Any]]) -> None:
    """Give each cell its region's number and its own block in the region, by cell index."""
    slots: dict[str, int] = {}
    regions: dict[str, int] = {}
    for cell in cells:
        regions.setdefault(cell["region"], cell["index"])
        cell["region_index"] = regions[cell["region"]]
        cell["slot"] = slots.get(cell["region"], 0)
        slots[cell["region"]] = cell["slot"] + 1
        if cell["slot"] >= BLOCKS_MAX:
            raise AnsibleFilterError(
                f"region {cell['region']} has more than {BLOCKS_MAX} cells on one machine; give the next one a region of its own"
            )


def _address(cell: dict[str, Any], net: int, kind: str, ordinal: int) -> str:
    """Address number `ordinal` (from 1) of a kind in the cell's block."""
    first, size = OFFSETS[kind]
    if ordinal > size:
        raise AnsibleFilterError(
            f"cell {cell['name']} has more than {size} of kind {kind}; the address plan of one machine ends there"
        )
    number = BLOCK_FIRST + BLOCK * cell["slot"] + first + ordinal - 1
    return f"10.{net}.{cell['region_index']}.{number}"


def placer_cells(
    groups: Mapping[str, list[str]],
    hostvars: Mapping[str, Any],
    mode: str,
    net_base: int,
    nodes_max: int = 0,
) -> list[dict[str, Any]]:
    """Cells by index: name, region, index, datacenter, network, nodes, services and, in bridge mode, addresses.

    A cell is a group whose hosts carry its name as `placer_cell`; its nodes are those in `cassandra`, its services those in
    `placer`. `nodes_max` keeps the first nodes of each cell only (0: all).
    """
    cells: dict[str, dict[str, Any]] = {}
    # A host may be both a node and a place for services (a droplet), so each role is read from its own group.
    for role, members in (("nodes", "cassandra"), ("services", "placer")):
        for host in groups.get(members, []):
            variables = hostvars[host]
            name = variables.get("placer_cell")
            if not name:
                raise AnsibleFilterError(
                    f"host {host} is in group {members} but in no cell: set placer_cell in its cell's group variables"
                )
            cell = cells.setdefault(
                name,
                {
                    "name": name,
                    "region": variables.get("placer_region") or name,
                    "index": int(variables.get("placer_cell_index") or 0),
                    "datacenter": name,
                    "nodes": [],
                    "services": [],
                },
            )
            cell[role].append(host)

    ordered = sorted(cells.values(), key=lambda cell: (cell["index"], cell["name"]))
    _blocks(ordered)
    for cell in ordered:
        names = cell["nodes"][: nodes_max or None]
        cell["nodes"] = [
            _node(cell, host, hostvars[host], ordinal, mode, net_base)
            for ordinal, host in enumerate(names, 1)
        ]
        cell["services"] = [_service(host, hostvars[host], mode) for host in cell["services"]]
        if mode == "bridge":
            cell["addresses"] = {
                kind: {
                    "private": [_address(cell, net_base, kind, n) for n in range(1, size + 1)],
                    "wan": [_address(cell, net_base + 1, kind, n) for n in range(1, size + 1)],
                }
                for kind, (_, size) in OFFSETS.items()
                if kind != "node"
            }
    return ordered


def _node(
    cell: dict[str, Any],
    host: str,
    variables: Mapping[str, Any],
    ordinal: int,
    mode: str,
    net_base: int,
) -> dict[str, Any]:
    if mode == "bridge":
        listen = _address(cell, net_base, "node", ordinal)
        broadcast = _address(cell, net_base + 1, "node", ordinal)
    else:
        listen = variables.get("cassandra_listen_address") or ""
        broadcast = variables.get("cassandra_broadcast_address") or listen
    return {
        "name": host,
        "machine": variables.get("placer_machine"),
        "rack": variables.get("cassandra_rack") or f"r{ordinal}",
        "ordinal": ordinal,
        "listen_address": listen,
        "broadcast_address": broadcast,
    }


def _service(host: str, variables: Mapping[str, Any], mode: str) -> dict[str, Any]:
    service = {"name": host, "machine": variables.get("placer_machine")}
    if mode == "host":
        # In bridge mode node addresses are derived from this very list: asking for them here would go in a circle.
        service["address"] = (
            variables.get("placer_address") or variables.get("cassandra_listen_address") or ""
        )
    return service


def placer_networks(
    cells: list[dict[str, Any]], deployment: str, net_base: int
) -> list[dict[str, Any]]:
    """Docker networks of bridge mode: name, bridge, prefix, dynamic_prefix, gateway. One per region, the WAN, and for the
    guests of each cell (`cell`) one that leads nowhere (`internal`).

    Engines give addresses of the dynamic prefix to containers that ask for none, so never one that is planned.
    """
    wan = f"10.{net_base + 1}"
    regions = {cell["region"]: cell["region_index"] for cell in cells}
    return [
        *(
            _network(f"{deployment}-{region}", f"plr{net_base}{index}", f"10.{net_base}.{index}")
            for region, index in regions.items()
        ),
        {
            "name": f"{deployment}-wan",
            "bridge": f"plw{net_base}",
            "prefix": f"{wan}.0.0/16",
            "dynamic_prefix": f"{wan}.250.0/24",
            "gateway": f"{wan}.0.1",
        },
        *(
            _network(
                f"{deployment}-{cell['name']}-guests",
                f"plg{net_base}{cell['index']}",
                f"10.{net_base}.{GUESTS_FIRST + cell['index']}",
            )
            | {"cell": cell["name"], "internal": True}
            for cell in cells
        ),
    ]


def _network(name: str, bridge: str, head: str) -> dict[str, Any]:
    """A network of 256 addresses that begin with `head`."""
    return {
        "name": name,
        "bridge": bridge,
        "prefix": f"{head}.0/24",
        "dynamic_prefix": f"{head}.240/28",
        "gateway": f"{head}.1",
    }


def placer_regions(cells: list[dict[str, Any]], net_base: int) -> list[dict[str, Any]]:
    """Regions by index: name, index, cells and, in bridge mode, their prefixes inside and on the WAN."""
    regions: dict[str, dict[str, Any]] = {}
    for cell in cells:
        index = cell["region_index"]
        region = regions.setdefault(
            cell["region"],
            {
                "name": cell["region"],
                "index": index,
                "prefix": f"10.{net_base}.{index}.0/24",
                "wan_prefix": f"10.{net_base + 1}.{index}.0/24",
                "cells": [],
            },
        )
        region["cells"].append(cell["name"])
    return list(regions.values())


def placer_address_map(cells: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Per region, each node's broadcast address to its private one."""
    maps: dict[str, dict[str, str]] = {}
    for cell in cells:
        region = maps.setdefault(cell["region"], {})
        for node in cell["nodes"]:
            region[node["broadcast_address"]] = node["listen_address"]
    return maps


def placer_seeds(cells: list[dict[str, Any]]) -> list[str]:
    """Broadcast address of the first node of each of the first two racks of every data centre."""
    seeds = []
    for cell in cells:
        racks: dict[str, str] = {}
        for node in cell["nodes"]:
            racks.setdefault(node["rack"], node["broadcast_address"])
        seeds += list(racks.values())[:SEED_RACKS]
    return seeds


def placer_restart_batches(groups: Mapping[str, list[str]]) -> list[list[str]]:
    """The queue of restarts as batches in the order of cells and racks; no batch spans two racks.

    The queue is a group per rack, `cassandra_restart_CELLINDEX_RACK`: group names are all a play may know of before it starts.
    """
    return [groups[name] for name in sorted(groups) if name.startswith("cassandra_restart_")]


def placer_initial_tokens(cells: list[dict[str, Any]], node: str, num_tokens: int) -> list[int]:
    """Tokens of a founding node: `num_tokens` evenly spread ones, shifted per data centre so that no two are equal.

    Within a data centre token i belongs to node i modulo the number of nodes, so neighbours on the ring are different nodes
    (and, with a node per rack, different racks). The ring has 2**64 tokens from -2**63 on.
    """
    for number, cell in enumerate(cells):
        names = [one["name"] for one in cell["nodes"]]
        if node in names:
            total = len(names) * num_tokens
            # 100 per data centre: what Cassandra's own tools use, far below any distance between tokens.
            return [
                -(2**63)
                + (2**64 // total) * (turn * len(names) + names.index(node))
                + 100 * (cell["index"] or number + 1)
                for turn in range(num_tokens)
            ]
    raise AnsibleFilterError(f"node {node} is in no cell")


def placer_removal(
    containers: list[dict[str, Any]], deployment: str, remove: list[str]
) -> dict[str, list[str]]:
    """What of a machine's containers belongs to the nodes and cells in `remove`.

    `nodes` and `services` are names of containers, `volumes` what those services keep (the role cassandra knows what nodes do),
    `cells` those names that are cells; `known` is all that could be named.
    """
    found: dict[str, list[str]] = {
        key: [] for key in ("nodes", "services", "volumes", "cells", "known")
    }
    for container in containers:
        name = str(container["Names"][0]).removeprefix("/")
        labels = container.get("Labels") or {}
        cell = labels.get("io.placer.cell", "")
        is_node = labels.get("io.placer.role") == "cassandra"
        short = name.removeprefix(f"{deployment}-")
        found["known"] += [cell] if cell else []
        found["known"] += [short] if is_node else []
        if cell and cell in remove:
            found["cells"].append(cell)
            found["nodes" if is_node else "services"].append(name)
            mounts = [] if is_node else container.get("Mounts") or []
            found["volumes"] += [one["Name"] for one in mounts if one.get("Type") == "volume"]
        elif is_node and short in remove:
            found["nodes"].append(name)
    return {key: sorted(set(values)) for key, values in found.items()}


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Any]:
        return {
            "placer_address_map": placer_address_map,
            "placer_cells": placer_cells,
            "placer_networks": placer_networks,
            "placer_initial_tokens": placer_initial_tokens,
            "placer_regions": placer_regions,
            "placer_removal": placer_removal,
            "placer_restart_batches": placer_restart_batches,
            "placer_seeds": placer_seeds,
        }
