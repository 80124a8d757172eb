"""Does a demand fit a host, and what would a claim take? The one place that answers.

Used alike by filters on a (perhaps stale) view, by the claim on the row itself, and by the checker.
"""

from __future__ import annotations

from placer.model import resource_classes
from placer.model.records import Inventory


def rejects(
    demand: dict[str, int],
    offered: dict[str, Inventory],
    free: dict[str, int],
    taken: dict[str, dict[str, int]],
) -> str | None:
    """Why ``demand`` ({class: amount}) does not fit, as ``CLASS:reason``; None if it fits."""
    for name, amount in demand.items():
        inventory = offered.get(name)
        if inventory is None:
            return f"{name}:not_offered"
        reason = resource_classes.get(name).rejects(
            amount, inventory, free.get(name, 0), taken.get(name, {})
        )
        if reason:
            return f"{name}:{reason}"
    return None


def take(
    demand: dict[str, int],
    offered: dict[str, Inventory],
    taken: dict[str, dict[str, int]],
) -> dict[str, dict[str, int]]:
    """Devices that a fitting ``demand`` takes: {class: {device: amount}}, divisible ones left out."""
    chosen = {
        name: resource_classes.get(name).take(amount, offered[name], taken.get(name, {}))
        for name, amount in demand.items()
    }
    return {name: devices for name, devices in chosen.items() if devices}
