"""Looking after quota rows: what a row follows, what it counts, what is left on it.

A quota that changed is brought to the row of the own cell when the list is read again, or to any
cell's by the first claim that needs it there. One that is divided equally changes with the cells of the
deployment: a process that starts brings all quotas to its cell's rows, as it may know more of them.

A row is put in order (``tidy``) in turn with all others, and before a refusal is believed: shares
that a dead process left are given back, and what instances without a share hold is counted anew.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import structlog
from msgspec import Struct

from placer.claims import quotas as rows
from placer.claims import tags
from placer.claims.operations import Refusal, Release
from placer.claims.quotas import SetQuota
from placer.claims.recovery import Recovery
from placer.errors import Conflict, PlacerError
from placer.model import quotas
from placer.model.quotas import Quota
from placer.model.records import HostRow, Record
from placer.scheduler.quota_list import QuotaList, Writer
from placer.settings import Settings
from placer.store.base import CellStores

log = structlog.get_logger(__name__)

#: Shares whose claims are looked up when a row is put in order; the others have their turn later.
_DOUBTED_MAX: Final = 64
_PARALLEL: Final = 8


class Holding(Struct, frozen=True):
    """What a listed instance has: its claim, and amounts by class."""

    claim: str
    amounts: dict[str, int]


#: What the instances of a project have in a cell, by the instance's id. Raises StoreError.
Held = Callable[[str, str], Awaitable[dict[str, Holding]]]


class QuotaRows:
    """One per process."""

    def __init__(
        self,
        settings: Settings,
        stores: CellStores,
        known: QuotaList,
        writer: Writer,
        recovery: Recovery,
        held: Held,
        *,
        rng: random.Random,
    ) -> None:
        self._settings = settings
        self._stores = stores
        self._known = known
        self._writer = writer
        self._recovery = recovery
        self._held = held
        self._rng = rng
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}
        self._tidied: dict[tuple[str, str], float] = {}

    async def run(self) -> None:
        """Follow what is put, and put rows of the own cell in order, one at a time; for ever."""
        every_s = self._settings.scheduler.quota_refresh_s
        next_tidy = asyncio.get_running_loop().time()
        for quota in self._known.all():
            await self._follow_quietly(quota)
        while True:
            await asyncio.sleep(self._rng.uniform(0.8, 1.2) * every_s)
            try:
                for quota in await self._known.refresh():
                    await self._follow_quietly(quota)
                now = asyncio.get_running_loop().time()
                self._forget()
                quotas_ = self._known.all()
                if quotas_ and now >= next_tidy:
                    next_tidy = now + self._settings.scheduler.sweep_every_s
                    await self.tidy(self._settings.cell, self._rng.choice(quotas_))
            except PlacerError as error:
                log.warning("quotas_not_looked_after", error=str(error))

    async def _follow_quietly(self, quota: Quota) -> None:
        try:
            await self.follow(self._settings.cell, quota)
        except PlacerError as error:
            log.warning("quota_not_followed", project=quota.project, error=str(error))

    def _forget(self) -> None:
        """What is kept of rows whose projects have no quota any more."""
        for key in [key for key in self._locks if self._known.of(key[1]) is None]:
            self._locks.pop(key)
            self._tidied.pop(key, None)

    # -- a row

    async def read(self, cell: str, project: str) -> HostRow | None:
        """The row as it is; raises StoreError."""
        return await (await self._stores.cell(cell)).read_row(quotas.row_id(cell, project))

    async def follow(self, cell: str, quota: Quota) -> HostRow:
        """The row of ``cell``, which follows ``quota`` or something newer; it is made if need be.

        Safe to repeat, by anybody. Raises StoreError, Conflict, Overloaded.
        """
        async with self._lock(cell, quota.project):
            row = await self.read(cell, quota.project)
            if row is not None and rows.follows(row, quota, cell):
                return row
            return await self._set(cell, quota, row)

    async def tidy(self, cell: str, quota: Quota) -> HostRow:
        """The row in order: tags decided, shares of claims that are gone given back, counted anew.

        At most once in ``quota_refresh_s`` for one row; else it is only read. Raises as ``follow``.
        """
        key = (cell, quota.project)
        async with self._lock(*key):
            now = asyncio.get_running_loop().time()
            row = await self.read(cell, quota.project)
            if row is not None and now < self._tidied.get(key, 0.0):
                return row
            self._tidied[key] = now + self._settings.scheduler.quota_refresh_s
            if row is not None and tags.writesets(row):
                row = await self._recovery.decide(cell, row) or row
            held = await self._held(cell, quota.project)
            if row is not None:
                row = await self._give_back(cell, row, held)
            return await self._set(cell, quota, row, held)

    async def _give_back(self, cell: str, row: HostRow, held: dict[str, Holding]) -> HostRow:
        """Release shares whose claims are gone; claims of listed instances are not looked up."""
        listed = {holding.claim for holding in held.values()}
        doubted = [r for r in tags.anchored(row) if r.data["anchor"] not in listed]
        self._rng.shuffle(doubted)
        del doubted[_DOUBTED_MAX:]
        for start in range(0, len(doubted), _PARALLEL):
            some = doubted[start : start + _PARALLEL]
            gone = await asyncio.gather(*(self._recovery.gone(r.data["anchor"]) for r in some))
            left = [r for r, is_gone in zip(some, gone, strict=True) if is_gone]
            answers = await asyncio.gather(*(self._release(cell, row.host, r) for r in left))
            row = max([row, *(a for a in answers if a is not None)], key=lambda seen: seen.rev)
        return row

    async def _release(self, cell: str, host: str, share: Record) -> HostRow | None:
        writer = await self._writer(cell)
        result = await writer.submit(
            host, Release(share.id), deadline_s=self._settings.cluster.claim_deadline_s
        )
        return None if isinstance(result, Refusal) else result

    async def _set(
        self,
        cell: str,
        quota: Quota,
        before: HostRow | None,
        held: dict[str, Holding] | None = None,
    ) -> HostRow:
        """Count what has no share, and write it with the slice; the row as it then is.

        The row is read before and after the list of instances: a claim that was made meanwhile has
        its share in the second, one that left meanwhile in the first. Neither is counted.
        """
        if held is None:
            held = await self._held(cell, quota.project)
        after = await self.read(cell, quota.project)
        shares = {r.id: r for row in (before, after) if row is not None for r in row.claims}
        slice_ = quota.slice_of(cell)
        counted = uncounted(held, shares.values(), slice_)
        writer = await self._writer(cell)
        host = quotas.row_id(cell, quota.project)
        operation = SetQuota(host, quota.project, quota.rev, slice_, counted)
        result = await writer.submit(
            host, operation, deadline_s=self._settings.cluster.claim_deadline_s
        )
        if isinstance(result, Refusal):
            raise Conflict(
                f"The quota's row {host} cannot be written: {result.reason}.", remedy="Retry."
            )
        return result

    def _lock(self, cell: str, project: str) -> asyncio.Lock:
        return self._locks.setdefault((cell, project), asyncio.Lock())


def uncounted(
    held: dict[str, Holding], shares: Iterable[Record], classes: Iterable[str]
) -> dict[str, int]:
    """What instances hold beyond their shares, by class. What they hold less is not set off."""
    taken: dict[str, dict[str, int]] = {}
    for share in shares:
        sums = taken.setdefault(share.consumer, {})
        for name, amount in share.amounts.items():
            sums[name] = sums.get(name, 0) - amount
    found = dict.fromkeys(classes, 0)
    for instance, holding in held.items():
        own = taken.get(instance, {})
        for name in found:
            found[name] += max(0, holding.amounts.get(name, 0) - own.get(name, 0))
    return {name: amount for name, amount in found.items() if amount}
