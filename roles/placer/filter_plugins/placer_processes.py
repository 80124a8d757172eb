# SPDX-License-Identifier: Apache-2.0
"""Which Placer processes a deployment runs, where, and at which address. Pure: cells in, a list out.

A cell's processes go round its service hosts, one kind on from where the one before it ended, so that small machines share them. In bridge mode every process has addresses of its own; in host
mode it shares the machine's, and the second process of a kind on one machine takes the next port. An agent has a driver: `sim`
agents are counted, an agent of containers (`docker`) runs beside each service host's engine or nowhere.
"""

from __future__ import annotations

import ipaddress
from itertools import pairwise
from typing import Any

from ansible.errors import AnsibleFilterError

#: Nodes of a cell that a process knows by its settings.
CONTACT_POINTS = 3

#: Port of the first process of each kind; an agent does not listen.
PORTS = {"api": 8700, "scheduler": 8790, "agent": 0}
#: Port that a machine's first scheduler takes agents on.
AGENTS_PORT = 8890


def placer_processes(cells: list[dict[str, Any]], counts: dict[str, int]) -> list[dict[str, Any]]:
    """All processes of all `cells`: name, kind, cell, region, host, address, wan_address (bridge mode), port, driver (agents),
    agents_port (schedulers), names (of its certificate; an API has none).

    `counts`: processes of each kind in a cell; `docker` above 0 adds an agent of containers for each service host.
    """
    processes = []
    for cell in cells:
        hosts = cell["services"]
        if not hosts:
            raise AnsibleFilterError(
                f"cell {cell['name']} has no service host: put one of its hosts in the group placer"
            )
        begun = 0
        for kind, first_port in PORTS.items():
            count = int(counts[kind])
            docker = len(hosts) if kind == "agent" and int(counts.get("docker", 0)) > 0 else 0
            for n in range(count + docker):
                contained = n >= count
                number = n + 1 - count if contained else n + 1
                # An agent of containers is on the host of its own number, as each host has one.
                place = hosts[(n - count if contained else begun + n) % len(hosts)]
                process = {
                    "name": f"{cell['name']}-{'docker' if contained else kind}-{number}",
                    "kind": kind,
                    "cell": cell["name"],
                    "cell_index": cell["index"],
                    "region": cell["region"],
                    "number": number,
                    "host": place["name"],
                    "driver": ("docker" if contained else "sim") if kind == "agent" else "",
                }
                if "addresses" in cell:
                    plan = cell["addresses"][kind]
                    if n >= len(plan["private"]):
                        raise AnsibleFilterError(
                            f"cell {cell['name']} has room for {len(plan['private'])} processes of kind {kind} on one machine, not"
                            f" for {counts[kind]}: lower placer_{kind}_count"
                        )
                    process |= {
                        "address": plan["private"][n],
                        "wan_address": plan["wan"][n],
                        "port": first_port,
                        "agents_port": AGENTS_PORT if kind == "scheduler" else 0,
                    }
                else:
                    process |= {
                        "address": place["address"],
                        "wan_address": "",
                        "port": first_port + n // len(hosts) if first_port else 0,
                        "agents_port": AGENTS_PORT + n // len(hosts) if kind == "scheduler" else 0,
                    }
                processes.append(process | {"names": _names(process)})
            begun += count
    return processes


def _names(process: dict[str, Any]) -> list[str]:
    """What a process's certificate says it is: a scheduler also where it is reached, an agent also which hosts it may serve.

    Hosts are named by a pattern: a host's name, or a prefix and one `*` at its end.
    """
    cell, name, kind = process["cell"], process["name"], process["kind"]
    own = f"URI:placer://{cell}/{kind}/{name}"
    if kind == "scheduler":
        return [own, _address(process["address"])]
    if kind == "agent":
        # Simulated hosts are named after their cell, those of an engine after their agent.
        prefix = cell if process["driver"] == "sim" else name
        return [own, f"URI:placer://{cell}/host/{prefix}-h*"]
    return []


def _address(address: str) -> str:
    """An address as a certificate has it: in host mode it may be a name."""
    try:
        return f"IP:{ipaddress.ip_address(address)}"
    except ValueError:
        return f"DNS:{address}"


def placer_batches(processes: list[dict[str, Any]], in_use: bool) -> list[list[str]]:
    """Names of processes that are started together, in the order of the starts.

    All at once in a new deployment. In one that is in use a cell keeps an API and a scheduler wherever it has two: they go by
    their numbers, and the agents with the last, after the schedulers they are to speak to.
    """
    if not in_use:
        return [[process["name"] for process in processes]]
    served = [process for process in processes if process["kind"] != "agent"]
    last = max((process["number"] for process in served), default=1)
    return [
        [
            process["name"]
            for process in processes
            if number == (last if process["kind"] == "agent" else process["number"])
        ]
        for number in range(1, last + 1)
    ]


def placer_docker_host_parts(
    process: dict[str, Any], count: int, share: float, ratio: float
) -> list[dict[str, Any]]:
    """The hosts that an agent of containers divides its machine into, as its hosts file has them."""
    return [
        {
            "name": f"{process['name']}-h{number}",
            "share": float(share),
            "ratios": {"VCPU": float(ratio)},
        }
        for number in range(1, int(count) + 1)
    ]


def placer_scheduler_urls(processes: list[dict[str, Any]], region: str) -> dict[str, list[str]]:
    """Base URLs of each cell's schedulers as seen from `region`: private inside it, WAN from outside (none in host mode)."""
    urls: dict[str, list[str]] = {}
    for process in processes:
        if process["kind"] == "scheduler":
            address = process["address"] if process["region"] == region else process["wan_address"]
            if address:
                urls.setdefault(process["cell"], []).append(f"http://{address}:{process['port']}")
    return urls


def placer_agents_urls(processes: list[dict[str, Any]], cell: str) -> list[str]:
    """Where the schedulers of `cell` take agents: private addresses, as an agent is in its cell's region."""
    return [
        f"wss://{process['address']}:{process['agents_port']}"
        for process in processes
        if process["kind"] == "scheduler" and process["cell"] == cell
    ]


def placer_secret_mounts(
    secrets: dict[str, str], folder: str, place: str = "secrets"
) -> list[dict[str, Any]]:
    """Read-only mounts of a container's secrets, {path below /run/placer/`place`: file in `folder`}."""
    return [
        {
            "type": "bind",
            "source": f"{folder}/{secret}",
            "target": f"/run/placer/{place}/{name}",
            "read_only": True,
        }
        for name, secret in secrets.items()
    ]


def placer_contact_points(nodes: list[dict[str, Any]], near: bool) -> list[str]:
    """Addresses of the nodes that a process asks first for the others: three, of three racks where there are so many.

    Not all of them: each node that came or went would make every process of every cell anew.
    """
    of_racks = {node["rack"]: node for node in reversed(nodes)}
    first = [node for node in nodes if of_racks[node["rack"]] is node]
    others = [node for node in nodes if of_racks[node["rack"]] is not node]
    address = "listen_address" if near else "broadcast_address"
    return [node[address] for node in (first + others)[:CONTACT_POINTS]]


def placer_gate_arguments(cells: list[dict[str, Any]], region: str, skip: list[str]) -> list[str]:
    """Arguments that name every node but `skip` to `placer cluster wait`, with the address to ask it at from inside `region`."""
    arguments = []
    for cell in cells:
        for node in cell["nodes"]:
            if node["name"] in skip:
                continue
            contact = (
                node["listen_address"] if cell["region"] == region else node["broadcast_address"]
            )
            arguments += ["--node", f"{node['name']}={contact},{node['broadcast_address']}"]
    return arguments


def placer_replay_targets(processes: list[dict[str, Any]]) -> list[str]:
    """Arguments that name each cell's API to `placer replay`."""
    return [
        part
        for one in processes
        for part in ("--target", f"{one['cell']}=http://{one['address']}:{one['port']}")
    ]


def placer_history_mount(cell: str, deployment: str) -> dict[str, Any]:
    """Read-only mount of the histories of `cell`, for the check."""
    return {
        "type": "volume",
        "source": f"{deployment}-{cell}-history",
        "target": f"/var/lib/placer/history/{cell}",
        "read_only": True,
    }


def placer_seconds(marks: list[dict[str, Any]]) -> dict[str, float]:
    """How long each phase took, {phase: seconds}, from marks {phase, at} of which the first only begins."""
    seconds: dict[str, float] = {}
    for before, mark in pairwise(marks):
        seconds[mark["phase"]] = round(
            seconds.get(mark["phase"], 0.0) + float(mark["at"]) - float(before["at"]), 1
        )
    if marks:
        seconds["total"] = round(float(marks[-1]["at"]) - float(marks[0]["at"]), 1)
    return seconds


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Any]:
        return {
            "placer_agents_urls": placer_agents_urls,
            "placer_batches": placer_batches,
            "placer_contact_points": placer_contact_points,
            "placer_docker_host_parts": placer_docker_host_parts,
            "placer_gate_arguments": placer_gate_arguments,
            "placer_history_mount": placer_history_mount,
            "placer_processes": placer_processes,
            "placer_replay_targets": placer_replay_targets,
            "placer_scheduler_urls": placer_scheduler_urls,
            "placer_seconds": placer_seconds,
            "placer_secret_mounts": placer_secret_mounts,
        }
