# SPDX-License-Identifier: Apache-2.0
"""Which networks the engine does not have, or has otherwise, or has with other addresses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

BRIDGE_NAME = "com.docker.network.bridge.name"


def docker_networks_lacking(
    wanted: Sequence[dict[str, Any]], found: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Those of `wanted` (name, bridge, prefix, dynamic_prefix, gateway, internal) that the engine's list does not have so."""
    there = [_as_wanted(network) for network in found]
    return [one for one in wanted if _facts(one) not in there]


def docker_networks_moved(
    wanted: Sequence[dict[str, Any]], found: Sequence[dict[str, Any]]
) -> list[str]:
    """A line for each of `wanted` that the engine has with another prefix."""
    there = {network["Name"]: _as_wanted(network)["prefix"] for network in found}
    return [
        f"{one['name']} has {there[one['name']]} and would get {one['prefix']}"
        for one in wanted
        if there.get(one["name"], one["prefix"]) != one["prefix"]
    ]


def _facts(one: dict[str, Any]) -> dict[str, Any]:
    keys = ("name", "bridge", "prefix", "dynamic_prefix", "gateway")
    return {key: one[key] for key in keys} | {"internal": bool(one.get("internal", False))}


def _as_wanted(network: dict[str, Any]) -> dict[str, Any]:
    """A network as the engine lists it, in the words of `wanted`."""
    ranges = (network.get("IPAM") or {}).get("Config") or []
    addresses = ranges[0] if len(ranges) == 1 else {}
    bridge = network.get("Driver") == "bridge"
    return {
        "name": network["Name"],
        "bridge": (network.get("Options") or {}).get(BRIDGE_NAME) if bridge else None,
        "prefix": addresses.get("Subnet"),
        "dynamic_prefix": addresses.get("IPRange"),
        "gateway": addresses.get("Gateway"),
        "internal": bool(network.get("Internal", False)),
    }


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, object]:
        return {
            "docker_networks_lacking": docker_networks_lacking,
            "docker_networks_moved": docker_networks_moved,
        }
