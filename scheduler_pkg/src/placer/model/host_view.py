"""The host view: what a scheduler reads about a host in order to choose.

A view is derived from a host row and stored in buckets (table ``host_view``), written plainly with
the row's revision as its timestamp, so that an old view never buries a newer one. It may be stale
and is never trusted for a claim.
"""

from __future__ import annotations

from functools import cached_property
from typing import Final

from msgspec import Struct

from placer.model import fitting, ids, records
from placer.model.records import (
    ClaimState,
    Duty,
    HostDuty,
    HostRow,
    HostStatus,
    Inventory,
    RowKind,
)

_BUILDING = (ClaimState.CLAIMED, ClaimState.BUILDING)

#: Partitions of ``host_view`` with a cell's sharing pools, and with its pools of addresses: they are
#: few, and read as a whole. Those of addresses are large, and no decision wants them.
POOL_BUCKET: Final = -1
ADDRESS_BUCKET: Final = -2


class HostView(Struct, frozen=True, omit_defaults=True, dict=True):
    """Summary of a host at revision ``rev``; ``offered``, ``free`` and ``taken`` are by slot.

    ``taken`` is what each device has given; ``providers`` the traits of each provider by its key;
    ``groups`` how many claims of each server group it holds; ``lease_until_ms`` when the first lease
    of an unadopted claim ends, 0 without one; ``failures`` are builds that failed since the last
    good one, the last at ``failed_ms``; ``writesets`` are those that have tagged a record of it.
    ``duty`` is the operator's word on it.
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
    providers: dict[str, tuple[str, ...]] = {}
    aggregates: tuple[str, ...] = ()
    groups: dict[str, int] = {}
    kind: RowKind = RowKind.HOST
    claims: int = 0
    building: int = 0
    failures: int = 0
    failed_ms: int = 0
    duty: Duty = Duty()
    lease_until_ms: int = 0
    writesets: tuple[str, ...] = ()

    @property
    def not_chosen(self) -> str:
        """Why nothing new may be put on it; empty if something may."""
        if self.status is not HostStatus.UP:
            return f"host_{self.status}"
        return "" if self.duty.state is HostDuty.ENABLED else f"host_{self.duty.state}"

    @cached_property
    def traits(self) -> frozenset[str]:
        """All traits of the tree, those of inventories included."""
        held = {trait for traits in self.providers.values() for trait in traits}
        for inventory in self.offered.values():
            held.update(inventory.traits)
        return frozenset(held)

    @property
    def tree(self) -> fitting.Tree:
        return fitting.Tree(self.offered, self.free, self.taken, self.providers)

    def totals(self) -> dict[str, tuple[int, int]]:
        """Free amount and capacity of each class, summed over the tree."""
        return self._totals

    @cached_property
    def _totals(self) -> dict[str, tuple[int, int]]:
        sums: dict[str, tuple[int, int]] = {}
        for slot, inventory in self.offered.items():
            name = records.class_of(slot)
            free, capacity = sums.get(name, (0, 0))
            sums[name] = (free + self.free.get(slot, 0), capacity + inventory.capacity)
        return sums

    def free_share_after(self, name: str, amount: int) -> float:
        """Share of the tree's capacity of ``name`` left free once ``amount`` is taken, 0.0 to 1.0."""
        free, capacity = self._totals.get(name, (0, 0))
        return max(0.0, (free - amount) / capacity) if capacity > 0 else 0.0


def summarize(row: HostRow, *, cell: str, region: str) -> HostView:
    """The view of ``row``."""
    groups: dict[str, int] = {}
    for claim in row.claims:
        if claim.group:
            groups[claim.group] = groups.get(claim.group, 0) + 1
    tree = fitting.tree_of(row.records)
    return HostView(
        host=row.host,
        name=row.name,
        cell=cell,
        region=region,
        rev=row.rev,
        status=row.status,
        offered=tree.offered,
        free=tree.free,
        taken=tree.taken,
        providers=tree.providers,
        aggregates=tuple(sorted(records.aggregates(row.records))),
        groups=groups,
        kind=row.kind,
        claims=len(row.claims),
        building=sum(claim.state in _BUILDING for claim in row.claims),
        failures=row.health.failures,
        failed_ms=row.health.failed_ms,
        duty=row.duty,
        lease_until_ms=min((c.lease_until_ms for c in row.claims if c.lease_until_ms), default=0),
        writesets=tuple(sorted({c.writeset for c in row.claims if c.tag})),
    )


def bucket_of(seen: HostRow | HostView, buckets: int) -> int | None:
    """The partition of ``host_view`` that a row's view is in; None: groups and quotas have no view."""
    if seen.kind in (RowKind.GROUP, RowKind.QUOTA):
        return None
    if seen.kind is RowKind.HOST:
        return ids.bucket_of(seen.host, buckets)
    shared_by = seen.aggregates if isinstance(seen, HostView) else records.aggregates(seen.records)
    return POOL_BUCKET if shared_by else ADDRESS_BUCKET
