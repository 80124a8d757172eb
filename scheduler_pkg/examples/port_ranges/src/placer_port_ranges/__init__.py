"""Runs of neighbouring ports: a resource class with fields of its own.

An inventory says ``fields = {"first": 30000, "last": 30999}``; a request asks for a number of ports
and gets that many in a row. The claim holds each port by its number, so that no port is given twice.
"""

from __future__ import annotations

from placer.model.records import Inventory

PORTS_MAX = 4096


def bounds(inventory: Inventory) -> tuple[int, int]:
    """First and last port of the inventory."""
    return int(inventory.fields["first"]), int(inventory.fields["last"])


def gaps(inventory: Inventory, taken: dict[str, int]) -> list[tuple[int, int]]:
    """Runs of free ports as (length, first port), the shortest first."""
    first, last = bounds(inventory)
    found: list[tuple[int, int]] = []
    begin = first
    for port in range(first, last + 2):
        if port > last or taken.get(str(port)):
            if port > begin:
                found.append((port - begin, begin))
            begin = port + 1
    return sorted(found)


class PortRanges:
    """Ports in a row; the shortest gap that suffices is used, so that long ones stay long."""

    def check_inventory(self, inventory: Inventory) -> str | None:
        if set(inventory.fields) != {"first", "last"}:
            return "its fields must be first and last"
        if not all(isinstance(inventory.fields[name], int) for name in ("first", "last")):
            return "first and last must be whole numbers"
        first, last = bounds(inventory)
        if not 1 <= first <= last <= 65_535:
            return "first and last must be ports, in this order"
        if inventory.total != last - first + 1 or inventory.total > PORTS_MAX:
            return f"total must be the number of ports, at most {PORTS_MAX}"
        if inventory.units or inventory.reserved or inventory.allocation_ratio != 1.0:
            return "ports have no units, cannot be reserved in part or oversubscribed"
        return None

    def rejects(
        self, amount: int, inventory: Inventory, free: int, taken: dict[str, int]
    ) -> str | None:
        if not inventory.min_unit <= amount <= inventory.max_unit:
            return "not_within_limits"
        if amount > free:
            return "no_capacity"
        return None if amount <= self.largest(inventory, free, taken) else "no_such_run"

    def take(self, amount: int, inventory: Inventory, taken: dict[str, int]) -> dict[str, int]:
        begin = next(begin for length, begin in gaps(inventory, taken) if length >= amount)
        return {str(port): 1 for port in range(begin, begin + amount)}

    def largest(self, inventory: Inventory, free: int, taken: dict[str, int]) -> int:
        runs = gaps(inventory, taken)
        return min(runs[-1][0], inventory.max_unit) if runs else 0

    def device_capacity(self, inventory: Inventory, device: str) -> int:
        first, last = bounds(inventory)
        return 1 if device.isdecimal() and first <= int(device) <= last else 0
