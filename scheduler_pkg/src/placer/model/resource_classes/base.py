"""What a resource class owns: its record fields, its comparison, and how a claim takes from it."""

from __future__ import annotations

from typing import Protocol

from placer.model.records import Inventory


class ResourceClass(Protocol):
    """A kind of resource. A new kind is one module and an entry point; no schema change.

    ``fields`` of an inventory and the names of its devices are the class's own: only it reads and
    checks them. Whatever the class, its free amount is the sum over the row's records, and a claim
    takes from it by a record: that is what makes the claim's transaction the same for all. All
    methods are pure and never raise for an inventory that ``check_inventory`` accepts.
    """

    def check_inventory(self, inventory: Inventory) -> str | None:
        """Why ``inventory`` is not a valid offer of this class, in words, or None.

        Asked where an agent reports; what does not pass is never stored.
        """

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

        The class's part in the candidate query: a bucket's hint keeps it, so that a decision reads
        only buckets in which the amount may fit. May be too large, never too small.
        """

    def device_capacity(self, inventory: Inventory, device: str) -> int:
        """How much ``device`` can give in all; 0 for one that the inventory does not have.

        By this the checker finds a device that was promised twice. 0 for a divisible class.
        """
