"""Taking a server group away: only while it has no members, and so that none can come meanwhile.

The naive way, look for members and then delete the definition, races with a member that joins in
between. Where the group keeps its rule in a row of its own, the row decides: one LWT *closes* it if it
names no member, and a closed row refuses every join. The row stays closed for ever (its id is never
used again), so a request that read the definition before it went is refused by name. A crash between
the closing and the deletion of the definition leaves a group that takes nobody; deleting it again
finishes the work.

Anti-affinity of hosts has no such row: its members are counted where they are, on the hosts' rows.
There the views of all cells are asked. They may be a moment old, so a member that comes at the same
moment may be overlooked; it stays where it is, and its host goes on to refuse a second one, as the
rule is on the host's row and needs no definition. No request that comes later can name the group. A
cell that does not answer may hold members: then nothing is deleted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from placer.claims.operations import Refusal
from placer.claims.pools import GROUP_HAS_MEMBERS, CloseGroup
from placer.claims.protocol import HostWriter
from placer.errors import Conflict, ServerGroupInUse
from placer.model.groups import ServerGroup
from placer.scheduler.joining import Repair
from placer.settings import Settings
from placer.store.base import CellStores

#: Partitions of views that are read at once.
_AT_ONCE: Final = 16

#: The writer of a cell's rows; raises StoreUnavailable while the cell is cut off.
Writer = Callable[[str], Awaitable[HostWriter]]


class Closing:
    """One per scheduler process; stateless but for its parts."""

    def __init__(
        self, settings: Settings, stores: CellStores, writer: Writer, repair: Repair
    ) -> None:
        self._settings = settings
        self._stores = stores
        self._writer = writer
        self._repair = repair

    async def close(self, group: ServerGroup) -> None:
        """See that ``group`` has no members and gets none. Safe to repeat.

        Raises ServerGroupInUse, Conflict, StoreError; its definition must then stay.
        """
        if group.has_row:
            await self._close_row(group)
        elif members := await self._members_on_hosts(group):
            raise _in_use(group, members)

    async def _close_row(self, group: ServerGroup) -> None:
        """Close the row; before a refusal is believed, entries whose claims are gone leave it."""
        cell = self._settings.cluster.cell(group.home_cell).name
        refused = await self._try(cell, group)
        if refused is not None and refused.reason == GROUP_HAS_MEMBERS:
            row = await self._repair(cell, group.id)
            refused = await self._try(cell, group)
            if refused is not None and refused.reason == GROUP_HAS_MEMBERS:
                raise _in_use(group, len(row.claims) if row else 1)
        if refused is not None:
            raise Conflict(
                f"The group {group.id} cannot be deleted: {refused.reason}.", remedy="Ask again."
            )

    async def _try(self, cell: str, group: ServerGroup) -> Refusal | None:
        writer = await self._writer(cell)
        operation = CloseGroup(group.name)
        deadline_s = self._settings.cluster.claim_deadline_s
        result = await writer.submit(group.id, operation, deadline_s=deadline_s)
        return result if isinstance(result, Refusal) else None

    async def _members_on_hosts(self, group: ServerGroup) -> int:
        """Members that the views of all cells name. Raises StoreError if a cell does not answer."""
        slots = asyncio.Semaphore(_AT_ONCE)

        async def count(cell: str, bucket: int) -> int:
            async with slots:
                store = await self._stores.cell(cell)
                views = await store.read_views(bucket)
                return sum(view.groups.get(group.id, 0) for view in views)

        cells = self._settings.cluster.cells
        return sum(
            await asyncio.gather(
                *(count(cell.name, bucket) for cell in cells for bucket in range(cell.host_buckets))
            )
        )


def _in_use(group: ServerGroup, members: int) -> ServerGroupInUse:
    return ServerGroupInUse(
        f"The server group {group.name} ({group.id}) has {members} members.",
        remedy="Cancel their requests first, and delete the group when their instances are gone.",
        server_group=group.id,
    )
