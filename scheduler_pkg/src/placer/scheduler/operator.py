"""What operators' calls change in rows that no agent reports: pools, networks, server groups.

API servers have no right to write rows; they hand such calls to any scheduler of their cell, which
writes to the cell that the call names. Every call is idempotent: repeated, it changes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from placer.claims.operations import Refusal
from placer.claims.pools import POOL_IN_USE, PutPool
from placer.claims.protocol import HostWriter
from placer.errors import Conflict
from placer.model import networks
from placer.model.groups import ServerGroup
from placer.model.host_view import HostView, summarize
from placer.model.networks import NetworkSpec, NetworkView, PoolSpec, PoolView
from placer.model.records import HostRow
from placer.model.request import network_trait
from placer.model.resource_classes import ADDRESS
from placer.scheduler.groups import create_group
from placer.settings import Settings

_REFUSED: Final = {
    POOL_IN_USE: "Instances use what it would no longer have. Release them first, or keep it.",
}

#: The writer of a cell's rows; raises StoreUnavailable while the cell is cut off.
Writer = Callable[[str], Awaitable[HostWriter]]


class Operator:
    """One per scheduler process. Its methods raise InvalidInput, Conflict, StoreError."""

    def __init__(self, settings: Settings, writer: Writer) -> None:
        self._settings = settings
        self._writer = writer

    async def put_pool(self, name: str, spec: PoolSpec) -> PoolView:
        """Make or change a sharing pool."""
        networks.check_name(name, "pool")
        offered = networks.pool_inventories(spec)
        cell = spec.cell or self._settings.cell
        row = networks.pool_id(cell, name)
        operation = PutPool(row, name, offered, spec.traits, spec.aggregates)
        return networks.pool_view(self._view(cell, await self._put(cell, name, operation)))

    async def put_network(self, name: str, spec: NetworkSpec) -> NetworkView:
        """Make or change a network's addresses in a cell."""
        networks.check_name(name, "network")
        offered = {ADDRESS: networks.network_inventory(spec)}
        cell = spec.cell or self._settings.cell
        row, named = networks.network_id(cell, name), networks.row_name(name)
        operation = PutPool(row, named, offered, (network_trait(name),))
        return networks.network_view(self._view(cell, await self._put(cell, name, operation)))

    async def create_group(self, group: ServerGroup) -> None:
        """Make the row of ``group`` if its rule needs one."""
        writer = await self._writer(self._settings.cluster.cell(group.home_cell).name)
        await create_group(writer, group, self._settings.cluster.claim_deadline_s)

    async def _put(self, cell: str, name: str, operation: PutPool) -> HostRow:
        writer = await self._writer(self._settings.cluster.cell(cell).name)
        result = await writer.submit(
            operation.provider, operation, deadline_s=self._settings.cluster.claim_deadline_s
        )
        if isinstance(result, Refusal):
            raise Conflict(
                f"{name} cannot be changed so: {result.reason}.",
                remedy=_REFUSED.get(result.reason, "Use another name."),
            )
        return result

    def _view(self, cell: str, row: HostRow) -> HostView:
        return summarize(row, cell=cell, region=self._settings.cluster.cell(cell).region)
