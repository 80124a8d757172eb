"""What container a claim becomes, and how one is known again: data in, data out.

The words are those of the Docker Engine's API (``POST /containers/create``), so that this page can
be read beside its reference. A container carries its whole order in a label: what is found after a
lost journal says by itself which claim it is for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from placer.agents.division import gpu_key, numa_key
from placer.agents.drivers.base import BuildFailed, Guest, Life
from placer.agents.machine import Machine
from placer.model.messages import ClaimOrder
from placer.model.records import SLICE_PREFIX, class_of, key_of
from placer.settings import Docker

DEPLOYMENT: Final = "io.placer.deployment"
CELL: Final = "io.placer.cell"
HOST: Final = "io.placer.host"
CLAIM: Final = "io.placer.claim"
INSTANCE: Final = "io.placer.instance"
ORDER: Final = "io.placer.order"
#: Tells instances from the deployment's own services, which have its label too.
ROLE: Final = "io.placer.role"

_CPUS: Final = ("VCPU", "PCPU")
_MEMORY: Final = "MEMORY_MB"
_ADDRESS: Final = "IPV4_ADDRESS"
_GPU: Final = "PGPU"
#: Counted by the claim alone: the engine cannot bound a container's disk on every file system.
_COUNTED: Final = "DISK_GB"
_MIB: Final = 1024 * 1024
#: The engine takes no smaller limit.
_MEMORY_MIN_MIB: Final = 6
_HOSTNAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_LIVES: Final[dict[str, Life]] = {
    "running": Life.RUNNING,
    "restarting": Life.RUNNING,
    "paused": Life.RUNNING,
    "exited": Life.STOPPED,
}


class Owner(Struct, frozen=True):
    """Whose containers they are: several deployments and cells may share one engine."""

    deployment: str
    cell: str

    def filters(self) -> list[str]:
        """The engine's label filters for all of them."""
        return [f"{DEPLOYMENT}={self.deployment}", f"{CELL}={self.cell}", f"{ROLE}=instance"]


class Plan(Struct, frozen=True):
    """A container to be made: its name, the body of its creation, and what it joins afterwards.

    ``joins``: further networks of the engine, each with the address there.
    """

    name: str
    body: dict[str, Any]
    joins: dict[str, str] = {}


def name_of(owner: Owner, claim: str) -> str:
    """The container's name: one for a claim, so that the engine itself refuses a second."""
    return f"placer-{owner.deployment}-{claim}"


def plan(order: ClaimOrder, owner: Owner, settings: Docker, machine: Machine) -> Plan:
    """The container of ``order``; raises BuildFailed for what no container of this engine can be."""
    image = settings.images.get(order.image, order.image) or settings.image
    if not image:
        raise BuildFailed(
            "The claim names no image, and the agent has none of its own.",
            remedy="Ask for an image, or set agent.docker.image.",
        )
    amounts = _by_class(order.amounts)
    for name in amounts.keys() - {*_CPUS, _MEMORY, _ADDRESS, _GPU, _COUNTED}:
        raise BuildFailed(
            f"The docker driver cannot give a container {name}.",
            remedy="Offer the class on hosts of another driver.",
        )
    networks = dict(_networks(order, settings))
    first = next(iter(networks), "")
    body: dict[str, Any] = {
        "Image": image,
        "Labels": _labels(order, owner),
        "StopTimeout": int(settings.stop_timeout_s),
        "HostConfig": {
            **_limits(order, amounts, settings, machine),
            "NetworkMode": first or "none",
            # The instance comes back with the engine; one that was stopped stays so.
            "RestartPolicy": {"Name": "unless-stopped"},
            "SecurityOpt": ["no-new-privileges"],
            "PidsLimit": settings.processes_max,
            "LogConfig": {
                "Type": "json-file",
                "Config": {"max-size": f"{settings.log_mib_max}m", "max-file": "1"},
            },
        },
    }
    if settings.command and not order.image:
        body |= {"Entrypoint": [""], "Cmd": list(settings.command)}
    if _HOSTNAME.fullmatch(order.consumer):
        body["Hostname"] = order.consumer
    if first:
        endpoint = {"IPAMConfig": {"IPv4Address": networks.pop(first)}}
        body["NetworkingConfig"] = {"EndpointsConfig": {first: endpoint}}
    return Plan(name_of(owner, order.claim), body, networks)


def guest(summary: Mapping[str, Any]) -> Guest | None:
    """What an entry of the engine's list is; None if it is no readable container of ours."""
    try:
        order = msgspec.json.decode(summary["Labels"][ORDER], type=ClaimOrder)
    except (KeyError, msgspec.DecodeError):
        return None
    return Guest(order, _LIVES.get(summary.get("State", ""), Life.UNFINISHED))


def _labels(order: ClaimOrder, owner: Owner) -> dict[str, str]:
    return {
        DEPLOYMENT: owner.deployment,
        ROLE: "instance",
        CELL: owner.cell,
        HOST: order.host,
        CLAIM: order.claim,
        INSTANCE: order.consumer,
        ORDER: msgspec.json.encode(order).decode(),
    }


def _by_class(amounts: Mapping[str, int]) -> dict[str, int]:
    """Amounts by class, summed over the providers they come from."""
    sums: dict[str, int] = {}
    for slot, amount in amounts.items():
        sums[class_of(slot)] = sums.get(class_of(slot), 0) + amount
    return sums


def _limits(
    order: ClaimOrder, amounts: Mapping[str, int], settings: Docker, machine: Machine
) -> dict[str, Any]:
    """CPU, memory and devices that the container may use."""
    claimed = sum(amounts.get(name, 0) for name in _CPUS)
    # A host that promises its CPUs more than once may promise one claim more than there are.
    cpus = min(claimed or settings.cpus_unclaimed, len(machine.cpus))
    memory = max(amounts.get(_MEMORY, 0) or settings.memory_unclaimed_mib, _MEMORY_MIN_MIB) * _MIB
    limits: dict[str, Any] = {
        "NanoCpus": int(cpus * 1e9),
        "Memory": memory,
        "MemorySwap": memory,  # none beyond the memory
    }
    keys = {key_of(slot) for slot in order.amounts if class_of(slot) in (*_CPUS, _MEMORY)}
    nodes = [node for node in machine.nodes if numa_key(node.number) in keys]
    if nodes:
        limits["CpusetCpus"] = ",".join(str(cpu) for node in nodes for cpu in node.cpus)
        limits["CpusetMems"] = ",".join(str(node.number) for node in nodes)
    gpus = {key_of(slot) for slot in order.amounts if class_of(slot) == _GPU}
    files = [path for gpu in machine.gpus if gpu_key(gpu) in gpus for path in gpu.files]
    if files:
        limits["Devices"] = [
            {"PathOnHost": path, "PathInContainer": path, "CgroupPermissions": "rw"}
            for path in files
        ]
    return limits


def limits_of(order: ClaimOrder, settings: Docker, machine: Machine) -> dict[str, Any]:
    """What of a container changes when its claim is resized: devices stay as they are."""
    limits = _limits(order, _by_class(order.amounts), settings, machine)
    return {name: value for name, value in limits.items() if name != "Devices"}


def _networks(order: ClaimOrder, settings: Docker) -> Iterator[tuple[str, str]]:
    """Networks of the engine, each with the address that the claim holds there."""
    for slot, units in order.units.items():
        if class_of(slot) != _ADDRESS:
            continue
        network = key_of(slot).removeprefix(SLICE_PREFIX)
        joined = settings.networks.get(network)
        if joined is None:
            raise BuildFailed(
                f"The agent knows no network of the engine for {network!r}.",
                remedy="Name it in agent.docker.networks.",
            )
        if len(units) != 1:
            raise BuildFailed(f"A container has one address in a network, not {len(units)}.")
        yield joined, next(iter(units))
