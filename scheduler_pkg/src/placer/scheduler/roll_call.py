"""Finds the hosts of a scheduler process that died.

A process that dies takes its suspects with it (placer.scheduler.lost_hosts), and whoever it served may
have died with it. So when a process falls silent, and once after its own start, another calls the
roll: all hosts that the views say are up and that it does not serve itself are suspects. Between two
deaths nothing is read or written, however many hosts there are.

Who watches whom: the processes of a cell are a ring in the order of their URLs, and each asks the next
ones up to the second that is not known to be silent. So what watching costs does not grow with the
cell, and whoever dies, however many at once or one after the other, the nearest that is left before
them has asked them or goes on to them with its next round.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from typing import Final

import structlog

from placer.errors import PlacerError
from placer.model.host_view import HostView
from placer.model.records import HostStatus, RowKind

log = structlog.get_logger(__name__)

#: How many that may be alive each process watches: one more than needed, as two may see different rings.
_WATCHED: Final = 2
_EVERY_S: Final = 2.0
#: One question to the watched takes at most this long.
_ASK_S: Final = 1.0
#: How long a process may have been dead when the roll is called.
ROLL_SILENT_S: Final = _EVERY_S + _ASK_S
#: After a start: longer than agents wait between two tries to connect (agent.reconnect_max_s).
_FIRST_ROLL_S: Final = 20.0


def watched(ring: Sequence[str], silent: Collection[str]) -> list[str]:
    """Whom to ask of ``ring`` (the others, from the next one on): all up to the second that is not
    known to be ``silent``."""
    found = 0
    for count, url in enumerate(ring, start=1):
        found += url not in silent
        if found == _WATCHED:
            return list(ring[:count])
    return list(ring)


class RollCall:
    """Watches the next processes of the ring and calls the roll; see the module.

    ``ring``: the URLs of the other processes of the cell, from the next one on; ``answering``: those of
    these URLs that answer now; ``views``: all views of the cell, by bucket; ``serves``: which of these
    hosts are served here.
    """

    def __init__(
        self,
        ring: Callable[[], Sequence[str]],
        answering: Callable[[Sequence[str]], Awaitable[set[str]]],
        views: Callable[[], Iterator[Awaitable[list[HostView]]]],
        serves: Callable[[Iterable[str]], set[str]],
        suspect: Callable[[Iterable[str]], None],
        *,
        rng: random.Random,
    ) -> None:
        self._ring = ring
        self._answering = answering
        self._views = views
        self._serves = serves
        self._suspect = suspect
        self._rng = rng
        self._answered: set[str] = set()
        self._silent: set[str] = set()

    async def run(self) -> None:
        """Watch, for ever. What could not be read is read again at the next round."""
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        await self._look()  # who is silent now was so before: the first roll is for their hosts
        due = loop.time() + _FIRST_ROLL_S
        while True:
            # From question to question: the wait for a silent one does not put off the next.
            next_at = asked_at + _EVERY_S * self._rng.uniform(0.8, 1.0)
            await asyncio.sleep(next_at - loop.time())
            asked_at = loop.time()
            if lost := await self._look():
                log.warning("schedulers_silent", peers=sorted(lost))
                due = loop.time()
            if loop.time() >= due and await self.call():
                due = float("inf")

    async def _look(self) -> set[str]:
        """Ask the watched; those that were not known to be silent and are, or that left the ring.

        One that answered and is no longer asked, as others came between, is theirs to watch.
        """
        ring = self._ring()
        asked = watched(ring, self._silent)
        answered = await self._answering(asked)
        silent = set(asked) - answered
        lost = (silent - self._silent) | (self._answered - set(ring))
        self._silent = (self._silent & set(ring) - answered) | silent
        self._answered = answered
        return lost

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
