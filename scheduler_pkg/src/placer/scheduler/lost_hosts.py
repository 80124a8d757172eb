"""Hosts that lost their agent's connection: who is back within the grace, and who is down.

The naive way, marking a host down when its connection breaks, would empty a cell whenever a scheduler
process restarts: its agents are back on another process a second later. So a lost host is *suspect*
first; when the grace is over, this process asks itself and its peers who serves it, and marks down
only what nobody does.

Thousands that lost their process at once come back over ``2 x agent.reconnect_s``, and whoever takes
them needs a while for it: 200 connections took 4 to 8 s on two CPUs with a load of 60 to 230. A grace
that ends in the middle of that marks healthy hosts down. So it goes on while hosts are coming back, here
or at a peer, or while this process is itself late (``_RETURNING_S``, ``_LATE_S``), but never beyond
the time in which a loss must be noticed: with the default grace, ten seconds after the last sign of life.

What takes longer than that to be back is marked down, and up again with its report.

    silence    + grace  + asking   + marking down
    6 s        2.5 s      1 s        0.5 s     a host without power: its heartbeats stay away
    0 s        4 to 8.5 s 1 s        0.5 s     a connection that was closed
    3 s        4 to 5.5 s 1 s        0.5 s     another process that died (placer.scheduler.roll_call)

Should a host come back between the question and the write, it is reported once
more after the write, or by its agent's next periodic report.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import structlog
from msgspec import Struct

from placer.errors import PlacerError
from placer.scheduler.agent_connection import SILENT_S
from placer.scheduler.agent_events import ServedElsewhere

log = structlog.get_logger(__name__)

#: Times that the peers are asked about lost hosts before no answer counts as "not here".
_ASK_PEERS_MAX: Final = 3
_ASK_AGAIN_S: Final = 1.0
#: Hosts asked about, or marked down, together.
_BATCH: Final = 1000
#: One question to all peers takes at most this long, writing what is down about as long as this.
_ASK_S: Final = 1.0
_WRITE_S: Final = 0.5
#: Hosts are coming back as long as the last one came within this.
_RETURNING_S: Final = 1.0
#: A process that wakes up so late has more to do than it can.
_LATE_S: Final = 0.5
#: Between two looks at hosts that are awaited.
_LOOK_S: Final = 0.25


class _Suspects(Struct):
    """Hosts that lost their connection; whether they are down is asked at ``due``, and settled by
    ``until`` (the loop's time)."""

    hosts: set[str]
    due: float
    until: float
    asked: int = 0


class LostHosts:
    """The suspects of one process. ``serves``: which of these hosts are served here now;
    ``mark_down`` writes that a host is down unless it is back, and says whether that is settled."""

    def __init__(
        self,
        serves: Callable[[Iterable[str]], set[str]],
        served_elsewhere: ServedElsewhere,
        mark_down: Callable[[str], Awaitable[bool]],
        *,
        grace_s: float,
        deadline_s: float,
    ) -> None:
        self._serves = serves
        self._served_elsewhere = served_elsewhere
        self._mark_down = mark_down
        self._grace_s = grace_s
        self._deadline_s = deadline_s
        # A few items for each lost connection or peer: bounded by those lost within the grace.
        self._suspects: list[tuple[float, int, _Suspects]] = []
        self._count = itertools.count()
        self._added = asyncio.Event()
        self._returned_at = float("-inf")

    def suspect(self, hosts: Iterable[str], silent_s: float = 0.0) -> None:
        """Mark ``hosts`` down after the grace unless somebody serves them then.

        ``silent_s``: how long nothing may have been heard of them already.
        """
        lost = list(hosts)
        now = asyncio.get_running_loop().time()
        left_s = SILENT_S + self._grace_s - silent_s - _WRITE_S
        due = now + max(0.0, min(self._grace_s, left_s - _ASK_S))
        for start in range(0, len(lost), _BATCH):
            self._put(_Suspects(set(lost[start : start + _BATCH]), due, now + left_s))

    def returned(self) -> None:
        """A host came that was not served here."""
        self._returned_at = asyncio.get_running_loop().time()

    async def run(self) -> None:
        """Judge suspects, those first that are due first, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            self._added.clear()
            wait_s = self._suspects[0][0] - loop.time() if self._suspects else None
            if wait_s is None or wait_s > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._added.wait()
                continue
            await self._judge(heapq.heappop(self._suspects)[2])

    def _put(self, suspects: _Suspects) -> None:
        heapq.heappush(self._suspects, (suspects.due, next(self._count), suspects))
        self._added.set()

    def _again(self, suspects: _Suspects, lost: set[str], after_s: float, asked: int) -> bool:
        """Look again at those that are ``lost`` still; False if there is no time for that."""
        due = asyncio.get_running_loop().time() + after_s
        if due + _ASK_S > suspects.until:
            return False
        self._put(_Suspects(lost, due, suspects.until, asked))
        return True

    async def _judge(self, suspects: _Suspects) -> None:
        now = asyncio.get_running_loop().time()
        lost = suspects.hosts - self._serves(suspects.hosts)
        if not lost:
            return
        busy = now - self._returned_at < _RETURNING_S or now - suspects.due > _LATE_S
        if busy and self._again(suspects, lost, _LOOK_S, suspects.asked):
            return
        try:
            async with asyncio.timeout(max(_ASK_S, min(self._deadline_s, suspects.until - now))):
                elsewhere = (await self._served_elsewhere(lost, "")).keys() & lost
            lost -= elsewhere
            if lost and elsewhere and self._again(suspects, lost, _LOOK_S, suspects.asked):
                return
        except (PlacerError, OSError, TimeoutError) as error:
            asked = suspects.asked + 1
            if asked < _ASK_PEERS_MAX and self._again(suspects, lost, _ASK_AGAIN_S, asked):
                return
            # Safe either way: a host that is served all the same comes up with its next report.
            log.warning("peers_silent", hosts=len(lost), why=repr(error))
        lost -= self._serves(lost)
        if lost:
            log.warning("hosts_down", hosts=len(lost))
            await self._mark_all(lost)

    async def _mark_all(self, lost: set[str]) -> None:
        hosts = list(lost)
        settled = await asyncio.gather(*(self._mark_down(host) for host in hosts))
        self.suspect(host for host, done in zip(hosts, settled, strict=True) if not done)
