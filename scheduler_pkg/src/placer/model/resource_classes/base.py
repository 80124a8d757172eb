"""What a resource class owns: its record fields, its comparison, and how a claim takes from it."""

from __future__ import annotations

from typing import Protocol

from placer.model.records import Inventory


class ResourceClass(Protocol):
    """A kind of resource. A new kind is one module and an entry point; no schema change.

    ``fields`` of an inventory and the device names of a claim's ``units`` are the class's own: only
    it reads and checks them.
    """

    def check_inventory(self, inventory: Inventory) -> str | None:
        """Why ``inventory`` is not a valid offer of this class, or None."""

    def rejects(
        self, amount: int, inventory: Inventory, free: int, taken: dict[str, int]
    ) -> str | None:
        """Why ``amount`` cannot be claimed now (a short stable word), or None if it fits.

        ``free`` is the sum over the records, ``taken`` what each device has already given.
        """

    def take(self, amount: int, inventory: Inventory, taken: dict[str, int]) -> dict[str, int]:
        """Which devices give how much: {device: amount}; empty for a divisible class.

        Call it only after ``rejects`` returned None for the same arguments.
        """

    def largest(self, inventory: Inventory, free: int, taken: dict[str, int]) -> int:
        """The largest amount that one claim could take now; 0 if none.

        What the hints of a bucket keep of this class, so that a decision reads only buckets in which
        it may fit. May be too large, never too small.
        """
