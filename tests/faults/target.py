"""Whom a fault is for: the containers of a deployment by role, cell, region, rack and name.

Read from the engine's labels, networks and mounts, so that a node or a cell that was added needs no
word here. Pure apart from the rack's file.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults.errors import FaultError, unknown

RACK_FILE = "cassandra-rackdc.properties"


class Role(enum.StrEnum):
    NODE = "node"
    API = "api"
    SCHEDULER = "scheduler"
    AGENT = "agent"
    WAN = "wan"
    OTHER = "other"
    """An instance, a one-shot command: nobody's target."""


@dataclass(frozen=True)
class Member:
    """A container of the deployment. ``rack`` is empty for all but nodes."""

    name: str
    role: Role
    cell: str = ""
    region: str = ""
    rack: str = ""
    state: str = "running"
    """In the engine's words: running, paused, exited, created, restarting, dead."""
    address: str = ""
    wan_address: str = ""
    kept: bool = True
    """Whether it is meant to run always (restart policy), so that one that does not is a fault."""

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(one for one in (self.address, self.wan_address) if one)


def members(inspected: Iterable[Mapping[str, Any]], deployment: str) -> list[Member]:
    """The deployment's members, by name."""
    found = [_member(container, deployment) for container in inspected]
    return sorted(found, key=lambda member: member.name)


def _member(container: Mapping[str, Any], deployment: str) -> Member:
    name = str(container["Name"]).removeprefix("/")
    labels: Mapping[str, str] = container["Config"].get("Labels") or {}
    role = _role(name, labels, deployment)
    addresses, region = {}, ""
    for network, held in (container["NetworkSettings"].get("Networks") or {}).items():
        # A stopped container has no address but the one it asked for.
        fixed = (held.get("IPAMConfig") or {}).get("IPv4Address") or held.get("IPAddress") or ""
        if network == f"{deployment}-wan":
            addresses["wan"] = fixed
        elif network.startswith(f"{deployment}-"):
            addresses["private"] = fixed
            region = network.removeprefix(f"{deployment}-")
    return Member(
        name=name,
        role=role,
        cell=labels.get("io.placer.cell", ""),
        region=region,
        rack=_rack(container) if role is Role.NODE else "",
        state=str(container["State"]["Status"]),
        address=addresses.get("private", ""),
        wan_address=addresses.get("wan", ""),
        kept=container["HostConfig"].get("RestartPolicy", {}).get("Name") == "unless-stopped",
    )


def _role(name: str, labels: Mapping[str, str], deployment: str) -> Role:
    if labels.get("io.placer.role") == "cassandra":
        return Role.NODE
    if labels.get("io.placer.kind") in ("api", "scheduler", "agent"):
        return Role(labels["io.placer.kind"])
    return Role.WAN if name == f"{deployment}-wan" else Role.OTHER


def _rack(container: Mapping[str, Any]) -> str:
    """As its configuration says, else as its name ends: ams1-r2 is in r2."""
    for mount in container.get("Mounts", ()):
        path = Path(mount.get("Source", "")) / RACK_FILE
        if mount.get("Type") == "bind" and path.is_file():
            for line in path.read_text().splitlines():
                if line.startswith("rack="):
                    return line.removeprefix("rack=").strip()
    return str(container["Name"]).rsplit("-", 1)[-1]


def select(
    among: Sequence[Member],
    *,
    roles: Iterable[Role] = tuple(Role),
    region: str | None = None,
    cell: str | None = None,
    rack: str | None = None,
) -> list[Member]:
    """Those that match everything given. Raises FaultError for a place that nobody is in."""
    wanted = set(roles)
    chosen = [member for member in among if member.role in wanted]
    for sort, value in (("region", region), ("cell", cell), ("rack", rack)):
        if value is not None:
            known = [getattr(member, sort) for member in chosen if getattr(member, sort)]
            if value not in known:
                raise unknown(sort, value, known)
            chosen = [member for member in chosen if getattr(member, sort) == value]
    return chosen


def named(among: Sequence[Member], names: Iterable[str], deployment: str) -> list[Member]:
    """Members by name, with or without the deployment's in front; each once, in the order given."""
    by_name = {member.name: member for member in among}
    chosen: dict[str, Member] = {}
    for name in names:
        member = by_name.get(name) or by_name.get(f"{deployment}-{name}")
        if member is None:
            short = [known.removeprefix(f"{deployment}-") for known in by_name]
            raise unknown("container", name, short)
        chosen[member.name] = member
    if not chosen:
        raise FaultError("Nobody was named.", "Name at least one container.")
    return list(chosen.values())


def regions(among: Iterable[Member]) -> list[str]:
    return sorted({member.region for member in among if member.region})


def cells(among: Iterable[Member]) -> list[str]:
    return sorted({member.cell for member in among if member.role is Role.NODE})
