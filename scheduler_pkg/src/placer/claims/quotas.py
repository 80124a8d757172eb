"""Changes of quota rows: the cell's slice of a project's quota, and the shares taken of it.

A share is taken in the write set of its claim, so that there is no claim without its share and no
share without its claim. The naive way, adding up what the project's instances have before a claim is
made, lets any number of claimers see the same sum and pass together; here the row's own transaction
decides, as it does for hosts.

Instances that were there before the quota have no share. What they have is *reserved* in the row's
inventories, as it was counted last: so the row needs no entry for each of them, what may be promised
is less by it, and the next count corrects it. Slice and reservation change only from an older
revision of the quota to a newer one, or within one: a late writer changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from msgspec import Struct

from placer.claims.operations import TAGGED, Change, Refusal, swap, with_records
from placer.model import quotas, records
from placer.model.quotas import Quota
from placer.model.records import (
    ClaimState,
    HostRow,
    HostStatus,
    Inventory,
    Record,
    RowKind,
)
from placer.model.request import Shortage

#: The slice has less left than was asked for, whatever becomes of what is being decided.
EXCEEDED: Final = "quota_exceeded"
#: Whether there is enough left depends on write sets that are not decided yet: ask again.
UNDECIDED: Final = "quota_undecided"

_REV: Final = "rev"


def shortage_of(reason: str, cell: str) -> Shortage | None:
    """What a row's refusal says; None if it is another one."""
    word, *parts = reason.split(":")
    if word != EXCEEDED or len(parts) != 4:
        return None
    asked, left, limit = map(int, parts[1:])
    return Shortage(cell, parts[0], asked, left, limit)


def row_rev(row: HostRow) -> int:
    """The revision of the quota that the row follows."""
    return next((int(r.data.get(_REV, "0")) for r in row.records if not r.is_claim), 0)


def follows(row: HostRow, quota: Quota, cell: str) -> bool:
    """Whether the row of ``cell`` has the slice of ``quota``, or of a newer one."""
    rev = row_rev(row)
    return rev > quota.rev or (rev == quota.rev and limits(row) == quota.slice_of(cell))


def limits(row: HostRow) -> dict[str, int]:
    """The slice, by class."""
    return {name: inv.total for name, inv in records.inventories(row.records).items()}


def reserved(row: HostRow) -> dict[str, int]:
    """What instances without a share have, as it was counted last."""
    return {name: inv.reserved for name, inv in records.inventories(row.records).items()}


def used(row: HostRow) -> dict[str, int]:
    """What is taken of the slice: shares, undecided ones among them, and what is reserved."""
    free = records.available(row.records)
    return {name: limit - free.get(name, 0) for name, limit in limits(row).items()}


def lacks(row_records: Iterable[Record], amounts: Mapping[str, int], writeset: str = "") -> str:
    """Why ``amounts`` cannot be taken of the slice; empty if they can. Classes without limit pass.

    What ``writeset`` drops on this row is there to be taken, what it adds is not.
    """
    standing = [r for r in row_records if not writeset or r.tag != f"-{writeset}"]
    free = records.available(standing)
    surely = [r for r in standing if not r.tag or r.writeset == writeset]
    at_best = records.available(surely)
    doubt = ""
    for name, inventory in records.inventories(standing).items():
        asked = amounts.get(name, 0)
        if asked > at_best.get(name, 0):
            left = max(0, free.get(name, 0))
            return f"{EXCEEDED}:{name}:{asked}:{left}:{inventory.total}"
        if asked > free.get(name, 0):
            doubt = UNDECIDED
    return doubt


class TakeShare(Struct, frozen=True):
    """On a quota row: the instance ``consumer`` takes ``amounts`` of the slice for its ``claim``.

    The entry goes with its claim (``AddClaim.anchor`` says how). It has the classes only that are
    limited at the time; what is limited later is counted with the next count.
    """

    claim: str
    consumer: str
    amounts: dict[str, int]

    @property
    def id(self) -> str:
        return quotas.share_id(self.claim)

    def entry(self, row: HostRow, now_ms: int, writeset: str) -> Record | Refusal:
        if reason := lacks(row.records, self.amounts, writeset):
            return Refusal(reason)
        limited = limits(row)
        return Record(
            id=self.id,
            provider=row.host,
            amounts={name: -n for name, n in self.amounts.items() if name in limited and n},
            consumer=self.consumer,
            state=ClaimState.BUILT,
            created_ms=now_ms,
            data={"anchor": self.claim},
        )


class GrowShare(Change, frozen=True):
    """On a quota row: ``claim`` takes ``amounts`` more, for the ``turn``-th resize of its instance.

    An entry of its own, so that what was there stays as it is: an instance that was there before the
    quota goes on without a share of that part. It goes with its claim, as every share does. Before the
    host's row is changed; if that is refused, ``Release`` of ``id`` gives it back.
    """

    claim: str
    consumer: str
    amounts: dict[str, int]
    turn: int

    @property
    def id(self) -> str:
        return f"{quotas.share_id(self.claim)}.{self.turn}"

    def done(self, row: HostRow) -> bool:
        return row.find(self.id) is not None

    def apply(self, row: HostRow, now_ms: int) -> HostRow | Refusal:
        if self.done(row):
            return row
        share = TakeShare(self.claim, self.consumer, self.amounts).entry(row, now_ms, "")
        if isinstance(share, Refusal):
            return share
        return with_records(row, (*row.records, msgspec.structs.replace(share, id=self.id)))


class CapShares(Change, frozen=True):
    """On a quota row: the shares of ``claim`` are together no more than ``amounts``, which is what it has
    now; the rest is given back. Nothing grows, so any number may do it at any time after the resize."""

    claim: str
    amounts: dict[str, int]

    def _shares(self, row: HostRow) -> list[Record]:
        return [r for r in row.claims if r.data.get("anchor") == self.claim]

    def _over(self, row: HostRow) -> dict[str, int]:
        taken: dict[str, int] = {}
        for share in self._shares(row):
            for name, amount in share.amounts.items():
                taken[name] = taken.get(name, 0) - amount
        return {
            name: total - self.amounts.get(name, 0)
            for name, total in taken.items()
            if total > self.amounts.get(name, 0)
        }

    def done(self, row: HostRow) -> bool:
        return not self._over(row)

    def apply(self, row: HostRow, now_ms: int) -> HostRow | Refusal:
        over, shares = self._over(row), self._shares(row)
        if over and any(share.tag for share in shares):
            return Refusal(TAGGED)
        for share in shares:
            kept = dict(share.amounts)
            for name in over.keys() & kept.keys():
                back = min(over[name], -kept[name])
                kept[name] += back
                over[name] -= back
            row = swap(row, msgspec.structs.replace(share, amounts=_some(kept)))
        return row


def _some(amounts: dict[str, int]) -> dict[str, int]:
    """``amounts`` without what is nothing."""
    return {name: amount for name, amount in amounts.items() if amount}


class SetQuota(Change, frozen=True):
    """Have the row follow the quota as of ``quota_rev``: its slice, and what was counted.

    May be less than what is taken: that stays, and nothing more is given.
    """

    row: str
    project: str
    quota_rev: int
    slice: dict[str, int]
    counted: dict[str, int]

    def record(self) -> Record:
        offered = {
            name: Inventory(total=limit, reserved=self.counted.get(name, 0))
            for name, limit in sorted(self.slice.items())
        }
        made = records.inventory_record(self.row, offered)
        return msgspec.structs.replace(made, data={_REV: str(self.quota_rev)})

    def founding(self, host: str) -> HostRow | None:
        return HostRow(
            host=host,
            name=self.project,
            rev=0,
            status=HostStatus.UP,
            records=(self.record(),),
            kind=RowKind.QUOTA,
        )

    def done(self, row: HostRow) -> bool:
        return row_rev(row) > self.quota_rev or row.find(self.row) == self.record()

    def apply(self, row: HostRow, now_ms: int) -> HostRow | Refusal:
        if row.kind is not RowKind.QUOTA:
            return Refusal(f"row_is_{row.kind}")
        if self.done(row):
            return row
        return with_records(row, (self.record(), *row.claims))
