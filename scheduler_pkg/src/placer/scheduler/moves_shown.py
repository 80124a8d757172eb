"""How lists show that an instance moves, and that one whose move was given up stays where it is.

Lists order what is said of one claim by the revision of its host's row (``model/instance.py``), and a
move changes that row only when it is over. Written naively, "moving" and, when it came to nothing,
"running" again would all be of one revision, and chance would decide which of them stays. So a move
begins with a *mark* on the claim that it leaves, a change of its row: whoever reads the row sees that
the instance is on its way, since when, by whom and why. A move that is given up takes the mark off.

Which of the two a marked claim is in, its request says. ``look`` asks it and lists the answer; it is
called by whoever marks or gives up, and again with every report of the host while there is a mark: so
a process that dies in between loses neither. The list hears that an instance stays before the mark is
taken off, in the name of the revision that comes next.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import msgspec

from placer.claims.operations import TAGGED, Change, Refusal, swap
from placer.model import moves
from placer.model.instance import InstanceState
from placer.model.records import ClaimState, HostRow, Record
from placer.model.request import Move, Request
from placer.scheduler.agent_events import ReadRow, Writer
from placer.scheduler.listing import Listing
from placer.scheduler.worklog import RequestLog

#: Keys of the mark in a claim's ``data``: since when (the move's ``asked_ms``), by whom, why.
_SINCE: Final = "moving_since_ms"
_BY: Final = "moving_by"
_WHY: Final = "moving_why"
_KEYS: Final = (_SINCE, _BY, _WHY)
#: Marks that this process remembers to have listed; one that is forgotten is listed again.
_LISTED_MAX: Final = 4096


def moving_since_ms(record: Record) -> int:
    """When the move was asked for that a claim is marked with; 0 without a mark."""
    return int(record.data.get(_SINCE, "0"))


class MarkMoving(Change, frozen=True):
    """Mark the claim of an instance that runs: it is about to move. One that leaves anyway is not."""

    claim: str
    since_ms: int
    by: str = ""
    why: str = ""

    def done(self, row: HostRow) -> bool:
        record = row.find(self.claim)
        leaves = record is None or record.state is ClaimState.DELETING
        return leaves or (record is not None and moving_since_ms(record) == self.since_ms)

    def apply(self, row: HostRow, now_ms: int) -> HostRow | Refusal:
        record = row.find(self.claim)
        if record is None or self.done(row):
            return row
        if record.tag:
            return Refusal(TAGGED)
        mark = {_SINCE: str(self.since_ms), _BY: self.by, _WHY: self.why}
        return swap(row, msgspec.structs.replace(record, data={**record.data, **mark}))


class Unmark(Change, frozen=True):
    """Take the mark of one move off a claim; that of another move stays."""

    claim: str
    since_ms: int

    def done(self, row: HostRow) -> bool:
        record = row.find(self.claim)
        return record is None or moving_since_ms(record) != self.since_ms

    def apply(self, row: HostRow, now_ms: int) -> HostRow | Refusal:
        record = row.find(self.claim)
        if record is None or self.done(row):
            return row
        if record.tag:
            return Refusal(TAGGED)
        data = {key: value for key, value in record.data.items() if key not in _KEYS}
        return swap(row, msgspec.structs.replace(record, data=data))


class MovesShown:
    """The marked claims of the own cell. ``deadline_s`` bounds one write."""

    def __init__(
        self,
        read_row: ReadRow,
        writer: Writer,
        requests: RequestLog,
        listing: Listing,
        deadline_s: float,
    ) -> None:
        self._read_row = read_row
        self._writer = writer
        self._requests = requests
        self._listing = listing
        self._deadline_s = deadline_s
        self._listed: OrderedDict[tuple[str, int], None] = OrderedDict()

    async def look(self, host: str, claim: str) -> None:
        """List how far the move is that ``claim`` on ``host`` is marked with, if it is.

        Safe to repeat, and by several at once. Raises PlacerError; a later look does it then.
        """
        row = await self._read_row(host)
        record = row.find(claim) if row else None
        if row is None or record is None or not moving_since_ms(record):
            return
        request = await self._requests.read(record.request, serial=True)
        if request is None or not _is_there(request, record):
            return  # it is elsewhere by now, or ended: whoever brought it there said so
        move = moves.move_of(request, record.consumer)
        if move is not None and move.asked_ms == moving_since_ms(record):
            await self._moves(row, record, request, move)
        elif record.state is ClaimState.BUILT:
            await self._stays(row, record, request)

    async def _moves(self, row: HostRow, record: Record, request: Request, move: Move) -> None:
        mark = (record.id, move.asked_ms)
        if mark in self._listed:
            return
        await self._listing.place(
            row,
            record,
            InstanceState.MOVING,
            request=request,
            by=move.by,
            why=move.why,
            turn=move.asked_ms,
        )
        self._listed[mark] = None
        if len(self._listed) > _LISTED_MAX:
            self._listed.popitem(last=False)

    async def _stays(self, row: HostRow, record: Record, request: Request) -> None:
        """The list first, as long as the mark tells whoever comes after a crash."""
        since_ms = moving_since_ms(record)
        await self._list_stays(row, record, request, row.rev + 1)
        unmarked = await self._writer.submit(
            row.host, Unmark(record.id, since_ms), deadline_s=self._deadline_s
        )
        if isinstance(unmarked, HostRow) and unmarked.rev > row.rev + 1:
            # The row went on meanwhile: "moving" may have been listed of a revision in between.
            await self._list_stays(unmarked, record, request, unmarked.rev)

    async def _list_stays(self, row: HostRow, record: Record, request: Request, rev: int) -> None:
        await self._listing.place(
            msgspec.structs.replace(row, rev=rev),
            record,
            InstanceState.RUNNING,
            request=request,
            by=record.data.get(_BY, ""),
            why=next((c.why for c in reversed(request.changes) if record.consumer in c.why), ""),
            turn=moving_since_ms(record),
        )


def _is_there(request: Request, record: Record) -> bool:
    here = moves.placement_of(request, record.consumer)
    return here is not None and here.claim == record.id
