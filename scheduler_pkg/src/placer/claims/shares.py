"""Shares: what a claim has on rows beside its host's, and how they are given back.

A claim's write set may bring *shares* of other rows: of a sharing pool, of a project's quota, a place
in a server group. Each is an entry *anchored* to the claim: it has no lease and no agent of its own. The
claim's record names those rows (``Record.shares``), so whoever sees it leave knows what goes with it.

The naive way, a give-back in every path that ends a claim (release, expiry, failed build, cancel,
aborted change), forgets one of them sooner or later, and counts on an answer that may be lost. Here it
hangs on the one place that all paths go through: the writer of rows. A claim with shares that was on
the row before an LWT and is not on it afterwards (or holds nothing any more) has left for good, as ids never come
back; when the LWT's answer was lost, the next serial read of the row says the same. Giving back what is
back already changes nothing, so it does not matter how many saw the claim leave.

A process that dies between the two leaves an entry whose claim is gone. The sweeper removes those, and
whoever is refused by such a row has it swept first.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import structlog

from placer.claims.operations import TAGGED, Change, Operation, Refusal, ended, with_records
from placer.errors import PlacerError
from placer.model.records import HostRow, Record

log = structlog.get_logger(__name__)

#: Tries to give one share back; then the sweeper does it. A write set settles its tags in less.
_TRIES: Final = 6
_BACKOFF_S: Final = 0.1
#: Claims whose shares are given back at once by one process.
_AT_ONCE_MAX: Final = 1024
#: How the names of rows begin that only count: what they give is not on any host (model/quotas.py).
_COUNTS: Final = "quota."
#: Rows remembered whose last LWT had no answer.
_DOUBTS_MAX: Final = 4096

#: Hears of a claim with shares that has left its row. Must not wait.
Left = Callable[[Record], None]


class Leave(Change, frozen=True):
    """Take the entries anchored to ``claims``, which are gone, off the row of their shares.

    One that a write set has not settled is left to it: refused if there is no other.
    """

    claims: frozenset[str]

    def _anchored(self, record: Record) -> bool:
        return record.is_claim and record.data.get("anchor", "") in self.claims

    def done(self, row: HostRow) -> bool:
        return not any(self._anchored(record) for record in row.records)

    def apply(self, row: HostRow, now_ms: int) -> HostRow | Refusal:
        if self.done(row):
            return row
        kept = tuple(r for r in row.records if r.tag or not self._anchored(r))
        if len(kept) == len(row.records):
            return Refusal(TAGGED)
        return with_records(row, kept)


class Submitter(Protocol):
    """What is used of ``HostWriter``."""

    async def submit(
        self, host: str, operation: Operation, *, deadline_s: float
    ) -> HostRow | Refusal: ...


def share_name(cell: str, row: str) -> str:
    """How a claim names a row that holds a share of it."""
    return f"{cell}/{row}"


class Shares:
    """Gives shares back: the one way, whatever row they are of. ``deadline_s`` bounds one write."""

    def __init__(self, writer: Callable[[str], Awaitable[Submitter]], deadline_s: float) -> None:
        self._writer = writer
        self._deadline_s = deadline_s
        self._under_way: dict[str, asyncio.Task[None]] = {}

    def left(self, record: Record) -> None:
        """``record`` is a claim that has left its row: give back what goes with it, beside the caller.

        More than ``_AT_ONCE_MAX`` under way are the sweeper's. A stop cuts them short: the same.
        """
        if record.id in self._under_way or len(self._under_way) >= _AT_ONCE_MAX:
            return
        task = asyncio.get_running_loop().create_task(self._give_back(record, record.shares))
        self._under_way[record.id] = task
        task.add_done_callback(lambda _: self._under_way.pop(record.id, None))

    async def settled(self, claim: str) -> None:
        """Wait until what goes with a claim that this process saw leave is back, or given up on."""
        task = self._under_way.get(claim)
        if task is not None:
            await asyncio.wait([task], timeout=self._deadline_s)

    async def give_up_counts(self, record: Record) -> None:
        """``record`` is a claim that comes to nothing, though what it built may still be there.

        What only counts, a quota, is given back at once, so that what takes its place finds room.
        """
        counts = tuple(name for name in record.shares if name.partition("/")[2].startswith(_COUNTS))
        await self._give_back(record, counts)

    async def close(self) -> None:
        """Cut short what is under way; the sweeper does the rest."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _give_back(self, record: Record, names: tuple[str, ...]) -> None:
        """Take the entries of ``record`` off the rows called ``names``. Safe to repeat.

        What does not succeed in a few tries is logged and left to the sweeper; raises nothing that
        a store can cause.
        """
        await asyncio.gather(*(self._leave(name, record.id) for name in names))

    async def _leave(self, share: str, claim: str) -> None:
        cell, _, row = share.partition("/")
        why = ""
        for attempt in range(_TRIES):
            try:
                writer = await self._writer(cell)
                result = await writer.submit(
                    row, Leave(frozenset({claim})), deadline_s=self._deadline_s
                )
            except PlacerError as error:
                why = str(error)
            else:
                if not isinstance(result, Refusal) or result.reason != TAGGED:
                    return  # it is off the row, or there is no such row
                why = result.reason
            await asyncio.sleep(_BACKOFF_S * 2.0**attempt)
        log.info("share_not_given_back", share=share, claim=claim, why=why)


class Departures:
    """Which claims with shares have left a row, by the rows that one writer saw."""

    def __init__(self, left: Left | None) -> None:
        self._left = left
        self._doubted: OrderedDict[str, HostRow] = OrderedDict()

    def passed(self, old: HostRow, new: HostRow) -> None:
        """``new`` is a later revision of ``old`` that is known to be there."""
        if self._left is None:
            return
        for record in old.claims:
            if record.shares and not _gone(record):
                after = new.find(record.id)
                if after is None or _gone(after):
                    self._left(record)

    def doubt(self, old: HostRow) -> None:
        """An LWT on ``old`` has no answer: the next row that is read serially tells."""
        if self._left is None or not any(record.shares for record in old.claims):
            return
        self._doubted.setdefault(old.host, old)
        if len(self._doubted) > _DOUBTS_MAX:
            self._doubted.popitem(last=False)

    def seen(self, row: HostRow) -> None:
        """``row`` was read serially."""
        old = self._doubted.pop(row.host, None)
        if old is not None:
            self.passed(old, row)


def _gone(record: Record) -> bool:
    """Whether the claim holds nothing any more although its entry is there."""
    return ended(record)
