"""How each instance is, numbered, so that whoever lists instances can tell the newest word.

An instance that runs since it was built has nothing to be said of it: the row says ``built``. The
first time that it is anything else it gets an entry in the journal, with a version that grows by one
with every change. The messages are not answered and may be lost, so every entry is said again with
each report; a scheduler passes each version on once.

A lost journal must not start again at one: all it says then would look old. So the first version is
the time in milliseconds, which no instance reaches by changing once a millisecond, and instances that
were there before the journal get an entry at once, whatever they do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

import structlog

from placer.agents.drivers.base import Life
from placer.agents.guests import Guests
from placer.agents.journal import Journal, JournalError, Phase
from placer.model.messages import ClaimOrder, GuestState, States

log = structlog.get_logger(__name__)

#: An instance that was built and is not there.
LOST: Final = "lost"
_WHY_CHARS_MAX: Final = 550
_STATES_IN_MESSAGE: Final = 256


def clock_ms() -> int:
    return time.time_ns() // 1_000_000


class GuestStates:
    """The states of one agent's instances, kept in its journal."""

    def __init__(self, journal: Journal, *, now_ms: Callable[[], int] = clock_ms) -> None:
        self._journal = journal
        self._now_ms = now_ms

    async def changed(self, order: ClaimOrder, state: str, why: str, *, by: str = "") -> GuestState:
        """The instance of ``order`` is in ``state`` from now on, ``by`` whom: what is to be said of it."""
        before = self._journal.states.get(order.claim)
        version = before.version + 1 if before else self._now_ms()
        new = GuestState(order.host, order.claim, state, why[:_WHY_CHARS_MAX], version, by)
        try:
            await self._journal.put_state(new)
        except JournalError as error:
            # Said all the same; after a restart the driver's word is the next version.
            log.error("journal_not_written", claim=order.claim, state=state, why=str(error))
            self._journal.remember_state(new)
        return new

    async def look(self, guests: Guests) -> None:
        """Note what changed by itself or by others' hands since the driver was asked last."""
        for one in list(guests.all()):
            if self._journal.phase(one.order.claim) is not Phase.BUILT:
                continue
            said = self._journal.states.get(one.order.claim)
            before = said.state if said else Life.RUNNING.value
            if one.life is not Life.UNFINISHED and one.life.value != before:
                await self.changed(one.order, one.life.value, f"seen {one.life}")

    def messages(self) -> Iterator[States]:
        """All that was ever said of instances that are still there."""
        entries = list(self._journal.states.values())
        for start in range(0, len(entries), _STATES_IN_MESSAGE):
            yield States(tuple(entries[start : start + _STATES_IN_MESSAGE]))
