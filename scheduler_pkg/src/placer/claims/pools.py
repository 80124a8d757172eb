"""Rows that no agent reports: pools and server groups. A call to the API makes or changes them."""

from __future__ import annotations

import msgspec

from placer.claims.operations import Change, Refusal
from placer.model import records
from placer.model.records import HostRow, HostStatus, Inventory, Record, RowKind

#: The group's row names members.
GROUP_HAS_MEMBERS = "group_has_members"
#: The pool would no longer have what was promised of it.
POOL_IN_USE = "pool_in_use"


class PutPool(Change, frozen=True):
    """Describe a pool anew; keeps every claim, refuses to take away what is promised."""

    provider: str
    name: str
    inventories: dict[str, Inventory]
    traits: tuple[str, ...] = ()
    aggregates: tuple[str, ...] = ()

    def record(self) -> Record:
        return records.inventory_record(
            self.provider, self.inventories, self.traits, in_aggregates=self.aggregates
        )

    def done(self, row: HostRow) -> bool:
        return row.status is HostStatus.UP and row.find(self.provider) == self.record()

    def founding(self, host: str) -> HostRow | None:
        return HostRow(
            host=host,
            name=self.name,
            rev=0,
            status=HostStatus.UP,
            records=(self.record(),),
            kind=RowKind.POOL,
        )

    def apply(self, row: HostRow, now_ms: int) -> HostRow | Refusal:
        if row.kind is not RowKind.POOL:
            return Refusal(f"row_is_{row.kind}")
        after = (self.record(), *row.claims)
        free, taken = records.available(after), records.units_taken(after)
        lacks_units = any(
            amount and unit not in self.inventories[name].units
            for name, devices in taken.items()
            if name in self.inventories
            for unit, amount in devices.items()
        )
        if lacks_units or any(amount < 0 for amount in free.values()):
            return Refusal(POOL_IN_USE)
        return msgspec.structs.replace(row, records=after, status=HostStatus.UP, name=self.name)


class MakeGroup(Change, frozen=True):
    """Make the row of a server group, which has no providers and no members yet."""

    group: str
    name: str

    def founding(self, host: str) -> HostRow | None:
        return HostRow(
            host=host, name=self.name, rev=0, status=HostStatus.UP, records=(), kind=RowKind.GROUP
        )

    def done(self, row: HostRow) -> bool:
        return row.kind is RowKind.GROUP

    def apply(self, row: HostRow, now_ms: int) -> HostRow | Refusal:
        return row if self.done(row) else Refusal(f"row_is_{row.kind}")


class CloseGroup(Change, frozen=True):
    """Have a server group's row refuse every join from here on; refused while it names a member.

    A row that is not there is made closed: its first member would make it otherwise.
    """

    name: str

    def founding(self, host: str) -> HostRow | None:
        return HostRow(
            host=host,
            name=self.name,
            rev=0,
            status=HostStatus.DOWN,
            records=(),
            kind=RowKind.GROUP,
        )

    def done(self, row: HostRow) -> bool:
        return row.kind is RowKind.GROUP and row.status is HostStatus.DOWN

    def apply(self, row: HostRow, now_ms: int) -> HostRow | Refusal:
        if self.done(row):
            return row
        if row.kind is not RowKind.GROUP:
            return Refusal(f"row_is_{row.kind}")
        if row.claims:
            return Refusal(GROUP_HAS_MEMBERS)
        return msgspec.structs.replace(row, status=HostStatus.DOWN)
