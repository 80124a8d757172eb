"""Quotas in a decision: what a claim takes of its project's, and what to say when too little is left.

A request of a project without quota, or for nothing that its quota limits, is not touched by any of
this. Another one's claims are write sets with the quota row of the cell they are made in. Before
hosts are chosen the row is looked at, so that most of what must be refused costs one reading.

A resize in place is no write set, as the claim stays what it is: what it needs more is taken of the
slice first, then the host's row is changed, then what it needs less is given back. In this order the
slice is never exceeded, and whoever resumes after a crash repeats all three.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import structlog
from msgspec import Struct

from placer.claims import quotas as rows
from placer.claims.operations import TAGGED, AddClaim, Operation, Refusal, Release
from placer.claims.quotas import EXCEEDED, UNDECIDED, CapShares, GrowShare, TakeShare
from placer.claims.writeset import Participant
from placer.errors import Conflict, PlacerError
from placer.model import quotas
from placer.model.moves import demand_of, sought_for
from placer.model.quotas import Quota, QuotaView, SliceView
from placer.model.records import HostRow
from placer.model.request import Placement, Reason, Request, RequestSpec, Shortage
from placer.scheduler.quota_list import QuotaList, Writer
from placer.scheduler.quota_rows import QuotaRows
from placer.settings import Settings

log = structlog.get_logger(__name__)

#: How long other cells are asked for what they have left, before a refusal is told without it.
_OTHERS_S: Final = 1.0
#: A wait for write sets of others to be decided.
_PAUSE_S: Final = 0.05


class _Rest(Struct, frozen=True):
    """What was left of one class in the cells that answered, until when that is believed."""

    left: dict[str, int]
    until: float


class Quotas:
    """One per process."""

    def __init__(
        self,
        settings: Settings,
        known: QuotaList,
        quota_rows: QuotaRows,
        writer: Writer,
        *,
        rng: random.Random,
    ) -> None:
        self._settings = settings
        self._known = known
        self._rows = quota_rows
        self._writer = writer
        self._rng = rng
        self._rest: dict[tuple[str, str], _Rest] = {}

    def limiting(self, spec: RequestSpec) -> Quota | None:
        """The quota that what ``spec`` asks for counts against."""
        quota = self._known.of(spec.project)
        if quota is None or quota.limits.keys().isdisjoint(spec.demand.totals):
            return None
        return quota

    # -- a claim

    async def shares(
        self, request: Request, adds: Mapping[tuple[str, str], Sequence[AddClaim]]
    ) -> list[Participant]:
        """The quota rows that must agree to ``adds``, by (cell, host): one for each cell.

        An instance that moves within a cell hands the share of its present claim over. Raises
        StoreUnavailable.
        """
        spec = request.spec
        if self.limiting(spec) is None:
            return []
        amounts = spec.demand.totals
        moving = sought_for(request)
        taken: dict[str, list[TakeShare]] = {}
        for (cell, _), claims in adds.items():
            taken.setdefault(cell, []).extend(
                TakeShare(add.claim, add.consumer, amounts) for add in claims
            )
        parts = []
        for cell, some in taken.items():
            row_id = quotas.row_id(cell, spec.project)
            row = (await self._writer(cell)).known(row_id) if moving else None
            drops = shares_of(row, moving.instance) if row is not None and moving else ()
            parts.append(Participant(cell, row_id, adds=tuple(some), drops=drops))
        return parts

    async def short(self, request: Request, cell: str, count: int = 1) -> Reason | None:
        """Why the project's slice in ``cell`` has no room for ``count`` instances; None if it may.

        What this process remembers of the row is enough to say yes, as the claim asks the row; a no
        is said by a row that was read, and put in order first. Raises StoreError, Conflict,
        Overloaded.
        """
        spec = request.spec
        quota = self.limiting(spec)
        if quota is None:
            return None
        amounts = {name: amount * count for name, amount in spec.demand.totals.items()}
        moving = sought_for(request)
        leaving = moving.instance if moving else ""
        row = (await self._writer(cell)).known(quotas.row_id(cell, spec.project))
        if row is None or rows.row_rev(row) < quota.rev:
            row = await self._rows.follow(cell, quota)
        if _shortage(row, amounts, leaving, cell) is None:
            return None
        row = await self._rows.tidy(cell, quota)
        shortage = _shortage(row, amounts, leaving, cell)
        return None if shortage is None else await self._reason(quota, shortage)

    async def after_refusal(self, request: Request, cell: str, count: int = 1) -> Reason | None:
        """``short``, once a quota row refused a claim; None after a short wait: try again."""
        reason = await self.short(request, cell, count)
        if reason is None:
            await self.pause()
        return reason

    async def pause(self) -> None:
        """Let write sets of others be decided."""
        await asyncio.sleep(self._rng.uniform(0.2, 1.0) * _PAUSE_S)

    # -- a resize in place

    async def grow(self, request: Request, here: Placement, size: Mapping[str, int]) -> bool:
        """Take what the instance needs more of the slice to become of ``size``; False: it is not left.

        To be done before its host's row is changed. Safe to repeat; raises PlacerError if nothing
        can be said now.
        """
        quota = self._known.of(request.spec.project)
        more = _growth(request, here, size)
        if quota is None or quota.limits.keys().isdisjoint(more):
            return True
        operation = GrowShare(here.claim, here.instance, more, here.resizes + 1)
        writer = await self._writer(here.cell)
        row_id = quotas.row_id(here.cell, quota.project)
        row = writer.known(row_id)
        if row is None or not rows.follows(row, quota, here.cell):
            await self._rows.follow(here.cell, quota)
        for tidied in (False, True):
            answer = await self._submit(here.cell, row_id, operation)
            if not isinstance(answer, Refusal):
                return True
            if not is_exceeded(answer.reason):
                raise Conflict(f"The quota row {row_id} is undecided: {answer.reason}.")
            if not tidied:
                await self._rows.tidy(here.cell, quota)
        return False

    async def shrink(self, request: Request, here: Placement, size: Mapping[str, int]) -> None:
        """Give back what the instance does not need any more now that it is of ``size``. As ``grow``."""
        spec = request.spec
        quota = self._known.of(spec.project)
        if quota is None or quota.limits.keys().isdisjoint(spec.demand.totals):
            return
        now = demand_of(request, dict(size)).totals
        await self._settled(here.cell, quota, CapShares(here.claim, now))

    async def ungrow(self, request: Request, here: Placement, size: Mapping[str, int]) -> None:
        """Give back what ``grow`` took: the host has no room for it. As ``grow``."""
        quota = self._known.of(request.spec.project)
        more = _growth(request, here, size)
        if quota is not None and not quota.limits.keys().isdisjoint(more):
            grown = GrowShare(here.claim, here.instance, more, here.resizes + 1)
            await self._settled(here.cell, quota, Release(grown.id))

    async def _settled(self, cell: str, quota: Quota, operation: Operation) -> None:
        """Have a row say what it cannot refuse for long; where there is no row there is nothing to say."""
        row_id = quotas.row_id(cell, quota.project)
        answer = await self._submit(cell, row_id, operation)
        if isinstance(answer, Refusal) and answer.reason == TAGGED:
            raise Conflict(f"The quota row {row_id} is undecided: {answer.reason}.")

    async def _submit(self, cell: str, row_id: str, operation: Operation) -> HostRow | Refusal:
        writer = await self._writer(cell)
        return await writer.submit(
            row_id, operation, deadline_s=self._settings.cluster.claim_deadline_s
        )

    # -- in words

    async def _reason(self, quota: Quota, shortage: Shortage) -> Reason:
        """The refusal, with what other cells have left, as far as they answer in time."""
        rest = await self._rest_of(quota, shortage.resource_class)
        others = {cell: left for cell, left in rest.items() if left and cell != shortage.cell}
        return explained(quota, shortage, others)

    async def _rest_of(self, quota: Quota, name: str) -> dict[str, int]:
        """What is left of ``name`` by cell; remembered for a moment, as many may be refused at once."""
        key = (quota.project, name)
        now = asyncio.get_running_loop().time()
        known = self._rest.get(key)
        if known is not None and now < known.until:
            return known.left
        views = await self._slices(quota, _OTHERS_S)
        left = {view.cell: view.left.get(name, 0) for view in views if view.reachable}
        if len(self._rest) >= quotas.QUOTAS_MAX:
            self._rest.clear()
        self._rest[key] = _Rest(left, now + self._settings.scheduler.quota_refresh_s)
        return left

    async def put(self, quota: Quota) -> QuotaView:
        """Have the rows of all cells that answer follow ``quota``, which was just stored."""
        self._known.put(quota)
        cells = [cell.name for cell in self._settings.cluster.cells]
        await asyncio.gather(*(self._followed(cell, quota) for cell in cells))
        return await self.view(quota)

    async def _followed(self, cell: str, quota: Quota) -> None:
        try:
            async with asyncio.timeout(self._settings.cluster.claim_deadline_s / 2):
                await self._rows.follow(cell, quota)
        except (PlacerError, TimeoutError) as error:
            log.info("quota_not_followed_yet", cell=cell, project=quota.project, why=str(error))

    async def view(self, quota: Quota) -> QuotaView:
        """The quota and what is used of it in every cell that answers."""
        slices = await self._slices(quota, self._settings.cluster.claim_deadline_s / 2)
        return QuotaView(quota.project, quota.limits, slices, quotas.notes(quota, slices))

    async def _slices(self, quota: Quota, within_s: float) -> tuple[SliceView, ...]:
        cells = [cell.name for cell in self._settings.cluster.cells]
        return tuple(await asyncio.gather(*(self._slice(quota, cell, within_s) for cell in cells)))

    async def _slice(self, quota: Quota, cell: str, within_s: float) -> SliceView:
        try:
            async with asyncio.timeout(within_s):
                row = await self._rows.read(cell, quota.project)
        except (PlacerError, TimeoutError):
            return quotas.unseen(quota, cell)
        return slice_view(quota, cell, row)


def _growth(request: Request, here: Placement, size: Mapping[str, int]) -> dict[str, int]:
    """What an instance needs more of each class to become of ``size``."""
    held = demand_of(request, here.resources or request.spec.resources).totals
    wanted = demand_of(request, dict(size)).totals
    return {n: amount - held.get(n, 0) for n, amount in wanted.items() if amount > held.get(n, 0)}


def said(refused: Mapping[str, str]) -> dict[str, str]:
    """``refused``, by row, with the words of quota rows told apart: used up, or ask again."""
    return {
        row: UNDECIDED if quotas.is_row(row) and not is_exceeded(why) else why
        for row, why in refused.items()
    }


def is_exceeded(reason: str) -> bool:
    return reason.partition(":")[0] == EXCEEDED


def is_quota(reasons: Iterable[str]) -> bool:
    """Whether a quota row is among those that refused (``said``)."""
    return any(reason == UNDECIDED or is_exceeded(reason) for reason in reasons)


def chief(refused: Mapping[str, str]) -> str:
    """Of the reasons of several rows (``said``) the one to go by: a slice that is used up ends it
    all, while one that is undecided says less than a host that has no room."""
    return min(refused.values(), key=lambda why: 0 if is_exceeded(why) else 1 + (why == UNDECIDED))


def shares_of(row: HostRow, instance: str) -> tuple[str, ...]:
    """The shares that an instance has on a quota row."""
    return tuple(r.id for r in row.claims if r.consumer == instance and not r.tag)


def _shortage(row: HostRow, amounts: Mapping[str, int], leaving: str, cell: str) -> Shortage | None:
    """What the slice lacks, once the instance ``leaving`` has given its share back."""
    staying = [r for r in row.records if not r.is_claim or not leaving or r.consumer != leaving]
    return rows.shortage_of(rows.lacks(staying, amounts), cell)


def slice_view(quota: Quota, cell: str, row: HostRow | None) -> SliceView:
    """What the row says of its slice; without a row nothing was taken yet."""
    slice_ = quota.slice_of(cell)
    used = rows.used(row) if row is not None else {}
    counted = rows.reserved(row) if row is not None else {}
    return SliceView(
        cell=cell,
        reachable=True,
        limits=slice_,
        used={name: used.get(name, 0) for name in slice_},
        left={name: max(0, limit - used.get(name, 0)) for name, limit in slice_.items()},
        uncounted={name: counted[name] for name in slice_ if counted.get(name)},
    )


def explained(quota: Quota, shortage: Shortage, others: Mapping[str, int]) -> Reason:
    """The refusal in words. ``others``: what other cells have left of the class."""
    name, cell, project = shortage.resource_class, shortage.cell, quota.project
    message = (
        f"Project {project} has {shortage.left} of {shortage.limit} {name} left in cell {cell}, "
        f"{shortage.asked} are asked for."
    )
    put = f"PUT /v1/quotas/{project}"
    enough = [other for other, left in others.items() if left >= shortage.asked]
    if others:
        message += " Left elsewhere: " + ", ".join(f"{n} in {c}" for c, n in others.items()) + "."
    if enough:
        remedy = f"Ask in cell {min(enough)}, or divide the quota otherwise: {put} with cells."
    elif others:
        remedy = f"Divide the quota otherwise ({put} with cells), raise it, or release some {name}."
    else:
        remedy = f"Release some {name}, or raise the quota: {put}."
    return Reason(code=EXCEEDED, message=message, remedy=remedy, quota=shortage)
