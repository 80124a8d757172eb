"""Hosts that lost their agent's connection: who is back within the grace, and who is down.

The naive way, marking a host down when its connection breaks, would empty a cell whenever a scheduler
process restarts: its agents are back on another process a second later. So a lost host is *suspect*
first; when the grace is over, this process asks itself and its peers who serves it, and marks down
only what nobody does. Should a host come back between the question and the write, it is reported once
more after the write, or by its agent's next periodic report.

A process that dies takes its suspects with it, and whoever it served may have died with it. So every
process calls the roll: when a peer that answered falls silent, and once after its own start, all
hosts that the views say are up and that this process does not serve are suspects. Between two deaths
nothing is read or written, however many hosts there are.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Final

import structlog
from msgspec import Struct

from placer.errors import PlacerError
from placer.model.host_view import HostView
from placer.model.records import HostStatus, RowKind
from placer.scheduler.agent_events import ServedElsewhere

log = structlog.get_logger(__name__)

#: Times that the peers are asked about lost hosts before no answer counts as "not here".
_ASK_PEERS_MAX: Final = 3
_ASK_AGAIN_S: Final = 1.0
#: Hosts asked about, or marked down, together.
_BATCH: Final = 1000
_ROLL_EVERY_S: Final = 2.0
#: After a start: longer than agents wait between two tries to connect (agent.reconnect_max_s).
_FIRST_ROLL_S: Final = 20.0


class _Suspects(Struct):
    """Hosts that lost their connection; whether they are down is asked at ``due`` (the loop's time)."""

    hosts: set[str]
    due: float
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
        self._suspects: asyncio.Queue[_Suspects] = asyncio.Queue()

    def suspect(self, hosts: Iterable[str]) -> None:
        """Mark ``hosts`` down after the grace unless somebody serves them then."""
        lost = list(hosts)
        for start in range(0, len(lost), _BATCH):
            self._again(set(lost[start : start + _BATCH]), self._grace_s)

    async def run(self) -> None:
        """Judge suspects, for ever."""
        while True:
            suspects = await self._suspects.get()
            await asyncio.sleep(max(0.0, suspects.due - asyncio.get_running_loop().time()))
            await self._judge(suspects)

    def _again(self, hosts: set[str], after_s: float, asked: int = 0) -> None:
        due = asyncio.get_running_loop().time() + after_s
        self._suspects.put_nowait(_Suspects(hosts, due, asked))

    async def _judge(self, suspects: _Suspects) -> None:
        lost = suspects.hosts - self._serves(suspects.hosts)
        if not lost:
            return
        try:
            async with asyncio.timeout(self._deadline_s):
                lost -= (await self._served_elsewhere(lost, "")).keys()
        except (PlacerError, OSError, TimeoutError) as error:
            if suspects.asked + 1 < _ASK_PEERS_MAX:
                self._again(lost, _ASK_AGAIN_S, suspects.asked + 1)
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


class RollCall:
    """Finds the hosts of a process that died; see the module.

    ``alive``: the peers of the cell that answer now; ``views``: all views of the cell, by bucket.
    """

    def __init__(
        self,
        alive: Callable[[], Awaitable[set[str]]],
        views: Callable[[], Iterator[Awaitable[list[HostView]]]],
        serves: Callable[[Iterable[str]], set[str]],
        suspect: Callable[[Iterable[str]], None],
        *,
        rng: random.Random,
    ) -> None:
        self._alive = alive
        self._views = views
        self._serves = serves
        self._suspect = suspect
        self._rng = rng

    async def run(self) -> None:
        """Watch the peers, for ever. What could not be read is read again at the next round."""
        known = await self._alive()
        loop = asyncio.get_running_loop()
        due = loop.time() + _FIRST_ROLL_S
        while True:
            await asyncio.sleep(_ROLL_EVERY_S * self._rng.uniform(0.8, 1.0))
            answering = await self._alive()
            if known - answering:
                log.warning("schedulers_silent", peers=sorted(known - answering))
                due = loop.time()
            known = answering
            if loop.time() >= due and await self.call():
                due = float("inf")

    async def call(self) -> bool:
        """Suspect every host that is up and not served here; whether all views could be read."""
        try:
            for read in self._views():
                up = {
                    view.host
                    for view in await read
                    if view.kind is RowKind.HOST and view.status is HostStatus.UP
                }
                self._suspect(up - self._serves(up))
        except PlacerError as error:
            log.warning("roll_not_called", why=str(error))
            return False
        return True
