"""Addresses for claims: a host's slice is filled before a claim needs it, and topped up after.

The claim takes its address from the host's own row, in its own transaction; see ``network.py``.
"""

from __future__ import annotations

from placer.claims.operations import Refusal
from placer.model import networks
from placer.model.records import HostRow
from placer.model.request import RequestSpec, network_trait
from placer.model.resource_classes import ADDRESS
from placer.scheduler.background import Background
from placer.scheduler.claimer import Writer
from placer.scheduler.network import Slices
from placer.settings import Settings
from placer.store.base import CellStores


class Addresses:
    """The slices of all cells, as this process sees to them."""

    def __init__(
        self, settings: Settings, stores: CellStores, writer: Writer, background: Background
    ) -> None:
        self._settings = settings
        self._stores = stores
        self._writer = writer
        self._background = background
        self._slices: dict[str, Slices] = {}

    def lacks(self, spec: RequestSpec, refusal: Refusal) -> bool:
        """Whether a host may have refused because its slice has no address to give."""
        if not spec.network:
            return False
        return refusal.reason.startswith(f"{ADDRESS}:") or refusal.reason in (
            f"trait_missing:{network_trait(spec.network)}",
            "no_provider",
        )

    async def fill(self, cell: str, host: str, network: str, wanted: int = 1) -> HostRow | Refusal:
        """Have the host's slice filled for ``wanted`` claims: its row, or why not.

        Raises StoreError, Conflict.
        """
        return await (await self._of(cell)).refill(host, network, wanted)

    def top_up(self, cell: str, row: HostRow, network: str) -> None:
        """Refill in the background once less than half of the slice is free."""
        if not network:
            return
        free = networks.addresses_of(row, network) - networks.in_use(row, network)
        if 2 * len(free) <= self._settings.scheduler.network_slice:
            self._background.start("top_up", self._top_up(cell, row.host, network))

    async def _top_up(self, cell: str, host: str, network: str) -> None:
        await self.fill(cell, host, network)

    async def _of(self, cell: str) -> Slices:
        if cell not in self._slices:
            self._slices[cell] = Slices(
                await self._stores.cell(cell),
                await self._writer(cell),
                self._settings.scheduler,
                self._settings.cluster.claim_deadline_s,
            )
        return self._slices[cell]
