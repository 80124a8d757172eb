"""Divisible resources: any amount within the inventory's limits (VCPU, MEMORY_MB, DISK_GB)."""

from __future__ import annotations

from placer.model.records import Inventory


def limits_reject(amount: int, inventory: Inventory) -> str | None:
    """Placement's constraints on one amount: min_unit, max_unit, step_size."""
    if amount < inventory.min_unit:
        return "below_min_unit"
    if amount > inventory.max_unit:
        return "above_max_unit"
    if amount % inventory.step_size:
        return "not_a_step"
    return None


class Divisible:
    """One number counts; units have no identity."""

    def check_inventory(self, inventory: Inventory) -> str | None:
        return "a divisible class has no units" if inventory.units else None

    def rejects(
        self, amount: int, inventory: Inventory, free: int, taken: dict[str, int]
    ) -> str | None:
        return limits_reject(amount, inventory) or ("no_capacity" if amount > free else None)

    def take(self, amount: int, inventory: Inventory, taken: dict[str, int]) -> dict[str, int]:
        return {}

    def largest(self, inventory: Inventory, free: int, taken: dict[str, int]) -> int:
        return max(0, min(free, inventory.max_unit))

    def device_capacity(self, inventory: Inventory, device: str) -> int:
        return 0
