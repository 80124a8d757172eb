# SPDX-License-Identifier: Apache-2.0
"""Whether a machine can carry its share of a deployment: needs from the inventory, haves from the machine.

Pure. A problem refuses the deployment, a warning is printed; each has the value found and a remedy.
What this deployment itself takes already (its containers, their ports and networks) is never held against it,
so that every further run passes.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

NODE_PORTS = {7000: "", 9042: "", 7199: "127.0.0.1"}
"""Ports of a node on its machine's own network, and the address where it is not the listen address."""
CLIENT_PORT = 9042
"""Taken on all addresses by a node that other regions reach by another one than its own region does."""
SERVICE_PORTS = {"api": (8700,), "scheduler": (8790, 8890)}
"""Ports of the first process of each kind; a scheduler takes agents on the second."""
WILDCARDS = {"0.0.0.0", "::"}
GIB = 1024


def needs(
    cells: Sequence[Mapping[str, Any]],
    hosts: Mapping[str, Mapping[str, Any]],
    machine: str,
    sizes: Mapping[str, Any],
) -> dict[str, Any]:
    """What this deployment will take on one machine.

    `sizes`: mode, net_base, node_memory_mib, service_memory_mib, counts (of each kind of process a cell),
    api_bind, api_port_base, wan_memory_mib.
    """
    bridge = sizes["mode"] == "bridge"
    memory, nodes, services = 0, 0, 0
    ports: list[dict[str, Any]] = []
    for cell in cells:
        for node in cell["nodes"]:
            if (node["machine"] or node["name"]) == machine:
                nodes += 1
                memory += int(
                    hosts[node["name"]].get("cassandra_memory_mib") or sizes["node_memory_mib"]
                )
                if not bridge:
                    apart = node.get("broadcast_address", node["listen_address"])
                    wide = apart != node["listen_address"]
                    ports += [
                        {
                            "address": "0.0.0.0"
                            if wide and port == CLIENT_PORT
                            else address or node["listen_address"],
                            "port": port,
                            "user": f"node {node['name']}",
                        }
                        for port, address in NODE_PORTS.items()
                    ]
        # As the role placer lays them out: round the service hosts, each kind on from where the one before it ended.
        begun = 0
        for kind, count in sizes["counts"].items():
            places = cell["services"]
            first, begun = begun, begun + int(count)
            for number in range(int(count)):
                place = places[(first + number) % len(places)]
                if (place["machine"] or place["name"]) != machine:
                    continue
                services += 1
                user = f"the {kind} of cell {cell['name']}"
                if bridge and kind == "api" and number == 0:
                    port = int(sizes["api_port_base"]) + int(cell["index"])
                    ports.append({"address": sizes["api_bind"], "port": port, "user": user})
                elif not bridge and kind in SERVICE_PORTS:
                    ports += [
                        {
                            "address": place["address"],
                            "port": port + number // len(places),
                            "user": user,
                        }
                        for port in SERVICE_PORTS[kind]
                    ]
    memory += services * int(sizes["service_memory_mib"]) + (
        int(sizes["wan_memory_mib"]) if bridge else 0
    )
    networks = (
        [f"10.{sizes['net_base']}.0.0/16", f"10.{int(sizes['net_base']) + 1}.0.0/16"]
        if bridge
        else []
    )
    return {
        "memory_mib": memory,
        "nodes": nodes,
        "services": services,
        "ports": ports,
        "networks": networks,
    }


def judge(
    need: Mapping[str, Any],
    machine: Mapping[str, Any],
    engine: Mapping[str, Any],
    bounds: Mapping[str, Any],
) -> dict[str, list[str]]:
    """Problems and warnings of one machine.

    `machine` is the module preflight_machine's answer; `engine` has answers, version, containers (this deployment's
    own, as the engine lists them), networks (likewise); `bounds` are the role's thresholds.
    """
    problems = [
        *_rights(machine, engine),
        *_engine(engine, bounds),
        *_memory(need, machine, engine, bounds),
        *_disk(need, machine, engine, bounds),
        *_ports(need, machine, engine),
        *_networks(need, machine, engine),
    ]
    warnings: list[str] = []
    if need["nodes"]:
        for refused, text in _limits(machine, bounds):
            (problems if refused else warnings).append(text)
    return {"problems": problems, "warnings": warnings}


def _rights(machine: Mapping[str, Any], engine: Mapping[str, Any]) -> Iterator[str]:
    if engine["answers"] or machine["root"]:
        return
    if machine["engine_installed"]:
        yield (
            "Docker Engine does not answer this user, who is neither root nor allowed to use sudo without a password: start it"
            " and add the user to group docker (usermod -aG docker USER), run as root, or set ansible_become_password"
        )
    else:
        yield "Docker Engine is not installed, and this user may not install it: run as root, allow sudo, or install it first"


def _engine(engine: Mapping[str, Any], bounds: Mapping[str, Any]) -> Iterator[str]:
    if engine["answers"] and version(engine["version"]) < version(bounds["engine_version_min"]):
        yield f"Docker Engine is {engine['version']}, {bounds['engine_version_min']} is needed: upgrade it (package docker.io)"


def version(text: str) -> tuple[int, ...]:
    """The leading numbers of a version: 20.10.24+dfsg1 is (20, 10, 24)."""
    numbers = []
    for part in str(text).split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    return tuple(numbers)


def _memory(
    need: Mapping[str, Any],
    machine: Mapping[str, Any],
    engine: Mapping[str, Any],
    bounds: Mapping[str, Any],
) -> Iterator[str]:
    wanted = need["memory_mib"] + int(bounds["memory_reserve_mib"])
    total, available = machine["memory"]["total_mib"], machine["memory"]["available_mib"]
    parts = f"{need['nodes']} nodes and {need['services']} service processes: {need['memory_mib']} MiB, and {bounds['memory_reserve_mib']} MiB for the rest"
    remedy = "use fewer or smaller nodes (one machine: -e demo_size=small) or a larger machine"
    if total < wanted:
        yield f"memory: {wanted} MiB needed ({parts}), the machine has {total} MiB: {remedy}"
    elif available < need["memory_mib"] and not engine["containers"]:
        yield f"memory: {need['memory_mib']} MiB needed ({parts}), {available} MiB of {total} MiB are free: end other programs, or {remedy}"


def _disk(
    need: Mapping[str, Any],
    machine: Mapping[str, Any],
    engine: Mapping[str, Any],
    bounds: Mapping[str, Any],
) -> Iterator[str]:
    # A deployment that is there has its images and volumes already; it only grows.
    wanted = int(bounds["disk_images_mib"]) + need["nodes"] * int(bounds["disk_node_mib"])
    wanted = int(bounds["disk_reserve_mib"]) if engine["containers"] else wanted
    for disk in machine["disks"]:
        if disk["free_mib"] < wanted:
            yield (
                f"disk: {wanted} MiB needed on the file system of {disk['path']}, {disk['free_mib']} MiB are free: remove what is not"
                " needed (docker system df shows what the engine keeps) or use a larger disk"
            )
        wanted = min(wanted, int(bounds["disk_reserve_mib"]))


def _ports(
    need: Mapping[str, Any], machine: Mapping[str, Any], engine: Mapping[str, Any]
) -> Iterator[str]:
    own = {container["Id"] for container in engine["containers"]}
    published = {
        port["PublicPort"]
        for container in engine["containers"]
        for port in container.get("Ports") or []
        if "PublicPort" in port
    }
    # Without root one sees no owners: with own containers on the machine's network, theirs cannot be told apart.
    hidden_own = any(
        (container.get("HostConfig") or {}).get("NetworkMode") == "host"
        for container in engine["containers"]
    )
    for wanted in need["ports"]:
        for taken in machine["listening"]:
            if taken["port"] != wanted["port"] or not _overlap(taken["address"], wanted["address"]):
                continue
            if (
                taken.get("container") in own
                or wanted["port"] in published
                or ("pid" not in taken and hidden_own)
            ):
                continue
            owner = (
                f"{taken['process']} (pid {taken['pid']})"
                if "pid" in taken
                else "a process of another user"
            )
            yield f"port {wanted['port']} on {wanted['address']}, wanted by {wanted['user']}, is taken by {owner}: end it, or choose other ports"
            break


def _overlap(a: str, b: str) -> bool:
    return a == b or bool({a, b} & WILDCARDS)


def _networks(
    need: Mapping[str, Any], machine: Mapping[str, Any], engine: Mapping[str, Any]
) -> Iterator[str]:
    if engine["networks"]:
        return
    wanted = [ipaddress.IPv4Network(text) for text in need["networks"]]
    users = [
        f"{route['network']} on interface {route['interface']}"
        for route in machine["routes"]
        if any(network.overlaps(ipaddress.IPv4Network(route["network"])) for network in wanted)
    ]
    if users:
        yield (
            f"networks {' and '.join(need['networks'])} are wanted, in use is {', '.join(users)}: choose"
            " another even number, e.g. -e placer_net_base=94"
        )


def _limits(machine: Mapping[str, Any], bounds: Mapping[str, Any]) -> Iterator[tuple[bool, str]]:
    """Kernel limits of nodes: (refused, text). Below the wanted value a node works, only less well."""
    rows = (
        (
            "vm.max_map_count",
            machine["map_count_max"],
            "map_count",
            "sysctl -w vm.max_map_count={wanted}",
        ),
        (
            "the engine's limit of open files",
            machine["limits"].get("nofile", -1),
            "nofile",
            "set LimitNOFILE={wanted} in docker.service",
        ),
        (
            "the engine's limit of locked memory in bytes",
            machine["limits"].get("memlock_bytes", -1),
            "memlock_bytes",
            "set LimitMEMLOCK=infinity in docker.service",
        ),
    )
    for what, value, name, remedy in rows:
        least, wanted = int(bounds[f"{name}_min"]), int(bounds[f"{name}_wanted"])
        if _below(value, wanted):
            refused = _below(value, least)
            shown = "no limit" if wanted == -1 else wanted
            text = f"{what} is {value}, {least if refused else shown} is {'needed' if refused else 'better for Cassandra'}: "
            yield refused, text + remedy.format(wanted=wanted)


def _below(value: int, bound: int) -> bool:
    """-1 is no limit."""
    return value != -1 and (bound == -1 or value < bound)


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"preflight_machine_needs": needs, "preflight_machine_verdict": judge}
