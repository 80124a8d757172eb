"""Giving claims back: of cancelled requests, and those that a lost decision left.

A claim that no agent adopted goes at once. An adopted one becomes ``deleting``: its agent destroys
the instance and only then the claim leaves the row, so nothing runs without capacity. Until then the
request stays ``cancelling`` and names the claim.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from placer import failpoints
from placer.claims.operations import Refusal, Release
from placer.claims.shares import Shares
from placer.errors import PlacerError
from placer.model.records import HostRow, Record
from placer.model.request import Placement, Request, Stage
from placer.scheduler.background import Background
from placer.scheduler.claimer import Made, Writer
from placer.scheduler.worklog import RequestLog

log = structlog.get_logger(__name__)

#: Tries to give back a claim that no request names; then its lease ends it.
_GIVE_BACK_TRIES: Final = 3
_BACKOFF_S: Final = 0.2

#: Tell the host's agent of a claim that is to go: cell, row, record.
Tell = Callable[[str, HostRow, Record], object]


class Releasing:
    """Releases claims on hosts of any cell. ``deadline_s`` bounds one write."""

    def __init__(
        self,
        requests: RequestLog,
        writer: Writer,
        background: Background,
        tell: Tell,
        shares: Shares,
        deadline_s: float,
    ) -> None:
        self._requests = requests
        self._writer = writer
        self._background = background
        self._tell = tell
        self._shares = shares
        self._deadline_s = deadline_s

    async def cancel(self, request: Request) -> Request:
        """Release all that ``request`` (cancelling) names; what the log says afterwards.

        It is final once every claim is gone; else agents have work to do, and the hub writes the
        end. Safe to repeat.
        """
        held = request.held
        gone = await asyncio.gather(*(self._gone(request, p) for p in held))
        failpoints.reach("cancel.released")
        return await self.without(
            request, {p.claim for p, is_gone in zip(held, gone, strict=True) if is_gone}
        )

    async def without(self, request: Request, claims: Iterable[str]) -> Request:
        """Take ``claims``, which left their rows, out of a cancelling request."""
        gone = set(claims)
        left = tuple(p for p in request.held if p.claim not in gone)
        if not left:
            final = Stage.FAILED if request.reason is not None else Stage.CANCELLED
            return (await self._requests.change(request, final, placements=(), moves=())).request
        if len(left) == len(request.held):
            return request
        # What a move came to or left is now one more claim to be released.
        changed = await self._requests.change(request, Stage.CANCELLING, placements=left, moves=())
        return changed.request

    def give_back(self, lost: Iterable[Made]) -> None:
        """Release claims that no request names, in the background; their leases end what fails."""
        for made in lost:
            self._background.start("give_back", self._give_back(made))

    async def shares_back(self, claim: str) -> None:
        """Wait until the shares of a claim that was released here are given back."""
        await self._shares.settled(claim)

    async def comes_to_nothing(self, record: Record) -> None:
        """``record`` will not be built: what only counts it is free for what takes its place."""
        await self._shares.give_up_counts(record)

    async def release(self, cell: str, host: str, claim: str) -> bool:
        """Give one claim up; True if it is off its row. Its agent is told if it has to act.

        Raises PlacerError if the row could not be changed.
        """
        writer = await self._writer(cell)
        result = await writer.submit(host, Release(claim), deadline_s=self._deadline_s)
        if isinstance(result, Refusal):
            # The row itself is gone, or a write set has not settled the claim yet.
            return result.reason == "host_unknown"
        record = result.find(claim)
        if record is None:
            return True
        self._tell(cell, result, record)
        return False

    async def _gone(self, request: Request, placement: Placement) -> bool:
        try:
            if not await self.release(placement.cell, placement.host, placement.claim):
                return False
            await self.shares_back(placement.claim)
        except PlacerError as error:
            log.info("claim_not_released", claim=placement.claim, why=str(error))
            return False
        return True

    async def _give_back(self, made: Made) -> None:
        for attempt in range(1, _GIVE_BACK_TRIES + 1):
            try:
                if await self.release(made.cell, made.row.host, made.record.id):
                    return
            except PlacerError as error:
                log.info("claim_not_given_back", claim=made.record.id, why=str(error))
            await asyncio.sleep(_BACKOFF_S * 2.0**attempt)
