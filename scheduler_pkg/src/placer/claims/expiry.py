"""The end of a lease: a claim that no agent adopted in time, from its last moment to its leaving.

The naive way, tell the request that its claim lapsed and then remove it, leaves a gap: an agent that
was slow adopts the claim after its request was told, while the request is placed elsewhere, and two
hosts build one instance. In the other order, remove and then tell, a crash in between loses who must
be told. So a lease ends in two transactions on the row with the telling between them:

1. ``EndLeases`` bars the claim: ``claimed`` -> ``deleting``, with its lease kept as the mark of one that
   was never adopted, and without its amounts, which are free from here on. Adoption starts from
   ``claimed`` only, and both are LWTs on one row: exactly one of the two happens. Barred, no agent
   ever builds for it; adopted, it has no lease any more and nothing here touches it.
2. Its request is told: it takes the placement out and looks for another host. Only now may something
   be built elsewhere. A request that does not name the claim (yet) is moved on by a revision, so that
   a slow worker cannot name it afterwards.
3. ``DropEnded`` takes the entry off the row.

A lease is long, as agents may be away for a while. A claim whose claimer died before its request named
it, an *orphan*, need not wait for that: older than any claimer works on it, and not named, it is barred
at once. Should its claimer be only slow and name it just now, the telling finds it named and takes it
out; should it name it later, the telling has moved the request on.

A crash anywhere leaves a row that says what is left to do; telling twice changes nothing. Should the
request's home cell be cut off, nothing is told and the entry waits on the row, for as long as the cut
lasts and one sweep more. That costs no capacity, and the entries are few: a cell that is cut off
makes no new claims. Whether a cell can be told is tried again only every few seconds, so that a
sweep of many such rows is not held up by each. A home cell that does not exist any more counts as told.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import structlog

from placer.claims.operations import DropEnded, EndLeases, Operation, ended, lapsed, waits
from placer.errors import PlacerError, StoreError
from placer.model import ids
from placer.model.records import HostRow, Record

log = structlog.get_logger(__name__)

#: Tell a claim's request that it lapsed: row, record. Raises PlacerError if that cannot be done now.
Tell = Callable[[HostRow, Record], Awaitable[None]]
#: Whether a claim's request names it. Raises PlacerError if that cannot be said now.
Named = Callable[[Record], Awaitable[bool]]
#: Apply an operation that no row refuses: host, operation. Raises PlacerError.
Submit = Callable[[str, Operation], Awaitable[HostRow]]

#: After a cell could not be told it is left alone for so many times the deadline of one telling.
_SILENT_TIMES: Final = 3


def clock_ms() -> int:
    return time.time_ns() // 1_000_000


async def nobody(row: HostRow, record: Record) -> None:
    """For rows whose claims have no requests."""


async def everyone(record: Record) -> bool:
    """For those who leave orphans to others."""
    return True


class Expiry:
    """One for each user of rows; ``deadline_s`` bounds the telling of one row's requests.

    It also is the age from which an unnamed claim is an orphan: nobody works on one for longer.
    """

    def __init__(
        self,
        tell: Tell,
        deadline_s: float,
        *,
        named: Named = everyone,
        now_ms: Callable[[], int] = clock_ms,
    ) -> None:
        self._tell = tell
        self._named = named
        self._deadline_s = deadline_s
        self._now_ms = now_ms
        #: Cells that could not be told: the loop's time at which they are tried again.
        self._silent: dict[str, float] = {}

    async def expire(self, row: HostRow, submit: Submit) -> HostRow:
        """``row``, which was read or written just now, without what lapsed, as far as can be.

        Claims whose requests cannot be told stay, barred. Safe to repeat and to cut short; raises
        what ``submit`` raises.
        """
        now_ms = self._now_ms()
        orphans = await self._orphans(row, now_ms)
        if orphans or any(lapsed(record, now_ms) for record in row.claims):
            row = await submit(row.host, EndLeases(orphans))
        waiting = [record for record in row.claims if ended(record)]
        told = await self._told(row, waiting) if waiting else frozenset()
        return await submit(row.host, DropEnded(told)) if told else row

    async def _orphans(self, row: HostRow, now_ms: int) -> frozenset[str]:
        """Claims that no request names, though whoever made them must have finished by now."""
        made_by = now_ms - int(self._deadline_s * 1000)
        old = [r for r in row.claims if waits(r) and r.request and r.created_ms < made_by]
        asked = self._heard(old)
        named = await asyncio.gather(*(self._is_named(record) for record in asked))
        return frozenset(r.id for r, is_named in zip(asked, named, strict=True) if not is_named)

    async def _told(self, row: HostRow, waiting: Iterable[Record]) -> frozenset[str]:
        """Those of the claims whose requests know; each is asked for itself."""
        due = self._heard(waiting)
        knows = await asyncio.gather(*(self._tell_one(row, record) for record in due))
        return frozenset(r.id for r, known in zip(due, knows, strict=True) if known)

    def _heard(self, claims: Iterable[Record]) -> list[Record]:
        """Those of ``claims`` whose requests' cells are not known to be silent."""
        now_s = asyncio.get_running_loop().time()
        return [r for r in claims if self._silent.get(ids.cell_of(r.request), 0.0) <= now_s]

    async def _is_named(self, record: Record) -> bool:
        """True also where nothing can be said: the claim then waits for its lease."""
        try:
            async with asyncio.timeout(self._deadline_s):
                return await self._named(record)
        except (PlacerError, TimeoutError) as error:
            self._failed(record, error)
            return True

    def _failed(self, record: Record, error: Exception) -> None:
        if isinstance(error, StoreError | TimeoutError):
            now_s = asyncio.get_running_loop().time()
            self._silent[ids.cell_of(record.request)] = now_s + _SILENT_TIMES * self._deadline_s

    async def _tell_one(self, row: HostRow, record: Record) -> bool:
        try:
            async with asyncio.timeout(self._deadline_s):
                await self._tell(row, record)
        except (PlacerError, TimeoutError) as error:
            log.info("lapsed_not_told", host=row.host, claim=record.id, why=repr(error))
            self._failed(record, error)
            return False
        self._silent.pop(ids.cell_of(record.request), None)
        return True
