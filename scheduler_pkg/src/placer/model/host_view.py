"""The host view: what a scheduler reads about a host in order to choose.

A view is derived from a host row and stored in buckets (table ``host_view``), written plainly with
the row's revision as its timestamp, so that an old view never buries a newer one. It may be stale
and is never trusted for a claim.
"""

from __future__ import annotations

from msgspec import Struct

from placer.model import records
from placer.model.records import HostRow, HostStatus, Inventory


class HostView(Struct, frozen=True, omit_defaults=True):
    """Summary of a host at revision ``rev``.

    ``taken`` is what each device has given; ``lease_until_ms`` when the first lease of an unadopted
    claim ends, 0 without one.
    """

    host: str
    name: str
    cell: str
    region: str
    rev: int
    status: HostStatus
    offered: dict[str, Inventory]
    free: dict[str, int]
    taken: dict[str, dict[str, int]] = {}
    traits: tuple[str, ...] = ()
    claims: int = 0
    lease_until_ms: int = 0

    def free_share_after(self, name: str, amount: int) -> float:
        """Share of ``name``'s capacity left free once ``amount`` is taken, 0.0 to 1.0."""
        inventory = self.offered.get(name)
        if inventory is None or inventory.capacity <= 0:
            return 0.0
        return max(0.0, (self.free.get(name, 0) - amount) / inventory.capacity)


def summarize(row: HostRow, *, cell: str, region: str) -> HostView:
    """The view of ``row``."""
    return HostView(
        host=row.host,
        name=row.name,
        cell=cell,
        region=region,
        rev=row.rev,
        status=row.status,
        offered=records.inventories(row.records),
        free=records.available(row.records),
        taken=records.units_taken(row.records),
        traits=tuple(sorted(records.traits(row.records))),
        claims=len(row.claims),
        lease_until_ms=min((c.lease_until_ms for c in row.claims if c.lease_until_ms), default=0),
    )
