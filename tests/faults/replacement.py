"""A container that stands in for another: the same name in the network, the same files, one thing different.

Some faults cannot be done to a process that runs: another clock, a place to die at, a disk that is full.
So the original is stopped and a copy of it started with what differs. The copy is found by its labels,
so that whoever heals needs to know nothing else: it is removed, and the original started again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from faults.engine import docker
from faults.errors import FaultError
from faults.target import FAULT, OF, Member

STOP_S = 30
#: How the container is called that holds a small disk (disks.py): it is no copy.
HOLDER = "-disk"


@dataclass(frozen=True)
class Difference:
    """What a copy has that its original has not. ``mounts``: path in the container -> file or volume."""

    fault: str
    environment: Mapping[str, str] = field(default_factory=dict)
    mounts: Mapping[str, str] = field(default_factory=dict)


def stand_in(member: Member, difference: Difference) -> str:
    """Stop ``member`` and start its copy; the copy's name. An earlier copy of it is taken away first."""
    remove(member.name)
    like: dict[str, Any] = json.loads(docker("inspect", member.name))[0]
    docker("stop", "--time", str(STOP_S), member.name)
    copy = f"{member.name}-{difference.fault}"
    first, *others = arguments(like, copy, difference)
    try:
        docker(*first)
        for connect in others:
            docker(*connect)
        docker("start", copy)
    except FaultError:
        restore(member.name)
        raise
    return copy


def arguments(like: Mapping[str, Any], copy: str, difference: Difference) -> list[Sequence[str]]:
    """The docker commands that make a copy: create, then a connect for each further network. Pure."""
    config, host = like["Config"], like["HostConfig"]
    labels = dict(config.get("Labels") or {})
    labels |= {FAULT: difference.fault, OF: str(like["Name"]).removeprefix("/")}
    made = ["create", "--name", copy, "--hostname", config["Hostname"]]
    if config.get("User"):
        made += ["--user", config["User"]]
    for key, value in sorted(labels.items()):
        made += ["--label", f"{key}={value}"]
    # With what the image sets; of two settings of a name the later one counts.
    for setting in config.get("Env") or []:
        made += ["--env", setting]
    for name, value in sorted(difference.environment.items()):
        made += ["--env", f"{name}={value}"]
    for mount in like["Mounts"]:
        if mount["Destination"] not in difference.mounts:
            source = mount.get("Name") or mount["Source"]
            made += ["--volume", f"{source}:{mount['Destination']}{'' if mount['RW'] else ':ro'}"]
    for target, source in sorted(difference.mounts.items()):
        made += ["--volume", f"{source}:{target}"]
    made += _limits(host)
    networks = like["NetworkSettings"]["Networks"]
    connects: list[Sequence[str]] = []
    for number, (network, held) in enumerate(networks.items()):
        fixed = (held.get("IPAMConfig") or {}).get("IPv4Address")
        address = ["--ip", fixed] if fixed else []
        if number:
            connects.append(["network", "connect", *address, network, copy])
        else:
            made += ["--network", network, *address]
    for port, bindings in (host.get("PortBindings") or {}).items():
        for binding in bindings or []:
            made += ["--publish", f"{binding['HostIp']}:{binding['HostPort']}:{port}"]
    return [[*made, like["Image"], *(config.get("Cmd") or [])], *connects]


def _limits(host: Mapping[str, Any]) -> list[str]:
    """Rights and bounds, as the original has them."""
    made = []
    if host.get("Init"):
        made.append("--init")
    if host.get("ReadonlyRootfs"):
        made.append("--read-only")
    for path, options in (host.get("Tmpfs") or {}).items():
        made += ["--tmpfs", f"{path}:{options}" if options else path]
    for flag, key in (
        ("--cap-drop", "CapDrop"),
        ("--cap-add", "CapAdd"),
        ("--security-opt", "SecurityOpt"),
        ("--group-add", "GroupAdd"),
    ):
        for value in host.get(key) or []:
            made += [flag, value]
    for limit in host.get("Ulimits") or []:
        made += ["--ulimit", f"{limit['Name']}={limit['Soft']}:{limit['Hard']}"]
    if host.get("Memory"):
        made += ["--memory", str(host["Memory"]), "--memory-swap", str(host["MemorySwap"])]
    return made


def copies(original: str) -> list[str]:
    """Containers that stand in for ``original``, running or not."""
    listed = docker("ps", "--all", "--filter", f"label={OF}={original}", "--format", "{{.Names}}")
    return [name for name in listed.split() if not name.endswith(HOLDER)]


def remove(original: str) -> None:
    """Take the copies away."""
    if found := copies(original):
        docker("rm", "--force", "--volumes", *found, check=False)  # those without a name


def restore(original: str) -> None:
    """Take the copies away and start the original again; nothing happens when all is well."""
    remove(original)
    docker("start", original)
