"""Discrete resources: devices with an identity, each whole or cut into slices.

With ``unit_capacity`` 1 a device is taken or not (a bare-metal machine). With 1000 it is shared in
thousandths (a GPU in milli-units): an amount below 1000 comes from one device, a multiple of 1000
from as many devices that nobody uses; other amounts cannot be asked for.
"""

from __future__ import annotations

from placer.model.records import Inventory
from placer.model.resource_classes.divisible import limits_reject


class Devices:
    """Units with an identity that give ``unit_capacity`` each."""

    def __init__(self, unit_capacity: int) -> None:
        self.unit_capacity = unit_capacity

    def check_inventory(self, inventory: Inventory) -> str | None:
        if len(set(inventory.units)) != len(inventory.units):
            return "unit identities repeat"
        if inventory.total != len(inventory.units) * self.unit_capacity:
            return f"total must be {self.unit_capacity} for each of its units"
        if inventory.reserved or inventory.allocation_ratio != 1.0:
            return "a device cannot be reserved in part or oversubscribed"
        return None

    def rejects(
        self, amount: int, inventory: Inventory, free: int, taken: dict[str, int]
    ) -> str | None:
        if reason := limits_reject(amount, inventory):
            return reason
        if amount > self.unit_capacity and amount % self.unit_capacity:
            return "not_whole_devices"
        if amount > free:
            return "no_capacity"
        return None if self._choose(amount, inventory, taken) else "no_device_with_enough"

    def take(self, amount: int, inventory: Inventory, taken: dict[str, int]) -> dict[str, int]:
        return self._choose(amount, inventory, taken)

    def largest(self, inventory: Inventory, free: int, taken: dict[str, int]) -> int:
        room = [self.unit_capacity - taken.get(unit, 0) for unit in inventory.units]
        whole = sum(self.unit_capacity for left in room if left == self.unit_capacity)
        return min(max(whole, *room, 0), inventory.max_unit) if room else 0

    def device_capacity(self, inventory: Inventory, device: str) -> int:
        return self.unit_capacity if device in inventory.units else 0

    def _choose(self, amount: int, inventory: Inventory, taken: dict[str, int]) -> dict[str, int]:
        """The devices to take from, or {} when they do not suffice.

        A slice goes to the fullest device that still has room, so that whole devices stay whole.
        """
        room = {unit: self.unit_capacity - taken.get(unit, 0) for unit in inventory.units}
        if amount < self.unit_capacity:
            fitting = [unit for unit in inventory.units if room[unit] >= amount]
            return {min(fitting, key=lambda unit: (room[unit], unit)): amount} if fitting else {}
        count = amount // self.unit_capacity
        whole = [unit for unit in inventory.units if room[unit] == self.unit_capacity]
        return dict.fromkeys(whole[:count], self.unit_capacity) if len(whole) >= count else {}
