"""A machine divided into hosts, and what each of them reports.

One machine may be several hosts: each gets a share of it, or inventories of its own. Only a host
that is the whole machine has its tree: NUMA nodes and devices cannot be shared out by a fraction.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from placer.agents.machine import Gpu, Machine
from placer.errors import InvalidInput
from placer.model import reports
from placer.model.messages import HostReport, ProviderReport
from placer.model.records import Inventory

#: A rounding error of shares such as 3 x 1/3.
_SHARES_MAX: Final = 1.001


class HostPart(Struct, frozen=True, forbid_unknown_fields=True):
    """A host as part of a machine.

    ``share`` (0 to 1] of its CPUs, memory and disk, rounded down but at least one of each;
    ``inventories`` are taken as they are instead. ``reserved``: what of each class the machine keeps
    for itself. ``ratios``: how often each class may be promised.
    """

    name: str
    share: float = 1.0
    traits: tuple[str, ...] = ()
    aggregates: tuple[str, ...] = ()
    inventories: dict[str, Inventory] = {}
    reserved: dict[str, int] = {}
    ratios: dict[str, float] = {}


def read(path: Path) -> tuple[HostPart, ...]:
    """Parts of a JSON file; raises InvalidInput that names the file and what is wrong in it."""
    try:
        parts = msgspec.json.decode(path.read_bytes(), type=tuple[HostPart, ...])
    except OSError as error:
        raise InvalidInput(
            f"Cannot read the hosts file {path}: {error.strerror}.",
            remedy="agent.docker.hosts_file names it; the playbook writes it.",
        ) from error
    except msgspec.DecodeError as error:
        raise InvalidInput(
            f"The hosts file {path} is wrong: {error}.",
            remedy='Write a list such as [{"name": "host-1", "share": 0.5}].',
        ) from error
    names = [part.name for part in parts]
    shared = sum(part.share for part in parts if not part.inventories)
    for part in parts:
        if not 0 < part.share <= 1:
            raise InvalidInput(
                f"The hosts file {path} is wrong: {part.name!r} has share {part.share}.",
                remedy="Use a number above 0 and up to 1.",
            )
    if not parts or len(set(names)) != len(names):
        raise InvalidInput(f"The hosts file {path} must name each host once, and at least one.")
    if shared > _SHARES_MAX:
        raise InvalidInput(
            f"The hosts file {path} gives out {shared:g} of the machine.",
            remedy="Shares must add up to at most 1; ratios oversubscribe.",
        )
    return parts


def report(part: HostPart, machine: Machine, traits: tuple[str, ...] = ()) -> HostReport:
    """What the host reports, ``traits`` of its driver included; raises InvalidInput when its row could not hold it."""
    children: tuple[ProviderReport, ...] = ()
    if part.inventories:
        root = dict(part.inventories)
    elif part.share == 1.0:
        root, children = _whole(machine), tuple(_inside(machine))
    else:
        root = _totals(machine, part.share)
    made = HostReport(
        name=part.name,
        inventories=_limited(root, part),
        traits=tuple(sorted({*machine.traits, *part.traits, *traits})),
        children=tuple(
            msgspec.structs.replace(child, inventories=_limited(child.inventories, part))
            for child in children
        ),
        aggregates=part.aggregates,
    )
    if wrong := reports.problem(made):
        raise InvalidInput(f"Host {part.name!r} cannot be reported: {wrong}.")
    return made


def _totals(machine: Machine, share: float) -> dict[str, Inventory]:
    amounts = {
        "VCPU": len(machine.cpus),
        "MEMORY_MB": machine.memory_mib,
        "DISK_GB": machine.disk_gib,
    }
    return {name: _inventory(math.floor(total * share)) for name, total in amounts.items()}


def _whole(machine: Machine) -> dict[str, Inventory]:
    """What the host itself has; CPUs and memory are in its NUMA nodes where there are several."""
    totals = _totals(machine, 1.0)
    return {"DISK_GB": totals["DISK_GB"]} if len(machine.nodes) > 1 else totals


def _inside(machine: Machine) -> Iterator[ProviderReport]:
    """The providers inside the host: NUMA nodes, GPUs, cards with virtual functions."""
    several = len(machine.nodes) > 1
    if several:
        for node in machine.nodes:
            yield ProviderReport(
                key=numa_key(node.number),
                inventories={
                    "VCPU": _inventory(len(node.cpus)),
                    "MEMORY_MB": _inventory(node.memory_mib),
                },
                traits=("HW_NUMA_ROOT",),
            )
    known = {node.number for node in machine.nodes} if several else set()
    for gpu in machine.gpus:
        yield ProviderReport(
            key=gpu_key(gpu),
            parent=numa_key(gpu.node) if gpu.node in known else "",
            inventories={"PGPU": _inventory(1)},
            traits=(f"CUSTOM_GPU_{gpu.maker}",),
        )
    for card in machine.cards:
        if card.functions:
            yield ProviderReport(
                key=f"nic-{_plain(card.address)}",
                parent=numa_key(card.node) if card.node in known else "",
                inventories={"SRIOV_NET_VF": _inventory(len(card.functions))},
                traits=("HW_NIC_SRIOV",),
            )


def numa_key(number: int) -> str:
    """The key of a NUMA node's provider."""
    return f"numa{number}"


def gpu_key(gpu: Gpu) -> str:
    """The key of a GPU's provider: one each, so that a claim says which."""
    return f"gpu-{_plain(gpu.address)}"


def _plain(address: str) -> str:
    """A PCI address with only what a key may have."""
    return address.replace(":", "_")


def _inventory(total: int) -> Inventory:
    amount = max(1, total)
    return Inventory(total=amount, max_unit=amount)


def _limited(inventories: dict[str, Inventory], part: HostPart) -> dict[str, Inventory]:
    """With what is reserved, and oversubscribed where the host's part says so."""
    return {
        name: msgspec.structs.replace(
            inventory,
            reserved=min(part.reserved.get(name, inventory.reserved), inventory.total),
            allocation_ratio=part.ratios.get(name, inventory.allocation_ratio),
        )
        for name, inventory in inventories.items()
    }
