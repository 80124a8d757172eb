"""What the driver has, kept beside what the journal says and what the rows list.

Three accounts of one instance may differ, and each difference has one meaning:

    journal has it, driver has not   it was removed behind the agent's back, or never finished
    driver has it, journal has not   the journal was lost, or the engine did late what was given up
    both have it, its row has not    the row was restored from an older backup

The driver is asked at start and before every periodic report. Naively its answer would replace what
is known; but builds and destructions end while it is on its way, so what they touched meanwhile is
newer than the answer and stays.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

import structlog

from placer.agents.drivers.base import Driver, Guest, Life
from placer.agents.journal import Journal, Phase
from placer.agents.link import Listing
from placer.model.messages import ClaimOrder

log = structlog.get_logger(__name__)

#: An instance whose claim is missing from this many complete listings in a row is removed.
_MISSED_MAX: Final = 2


class Guests:
    """All instances of one agent, by claim."""

    def __init__(self, driver: Driver, journal: Journal) -> None:
        self._driver = driver
        self._journal = journal
        self._guests: dict[str, Guest] = {}
        self._touched: set[str] = set()
        # How often in a row a complete listing of its host lacked a claim.
        self._missed: dict[str, int] = {}

    async def look(self) -> None:
        """Ask the driver what it has; raises DriverError. One call at a time."""
        self._touched.clear()
        seen = {guest.order.claim: guest for guest in await self._driver.guests()}
        newer = {c: self._guests[c] for c in self._touched if c in self._guests}
        self._guests = {c: g for c, g in seen.items() if c not in self._touched} | newer

    def complete(self, claim: str) -> bool:
        """Whether the claim has an instance that was finished, stopped or not."""
        guest = self._guests.get(claim)
        return guest is not None and guest.life is not Life.UNFINISHED

    def all(self) -> Iterator[Guest]:
        """What the driver has."""
        return iter(self._guests.values())

    def life(self, claim: str) -> Life | None:
        """What the instance of the claim does; None if there is none."""
        guest = self._guests.get(claim)
        return guest.life if guest else None

    def found(self, order: ClaimOrder, life: Life) -> None:
        """The instance of ``order`` is now so."""
        self._touched.add(order.claim)
        self._guests[order.claim] = Guest(order, life)

    def removed(self, claim: str) -> None:
        """There is no instance of this claim any more."""
        self._touched.add(claim)
        self._guests.pop(claim, None)

    def known(self) -> frozenset[str]:
        """Claims that the agent is answerable for: in its journal, or with something on a host."""
        return frozenset(self._journal.entries) | self._guests.keys()

    def order_of(self, claim: str) -> ClaimOrder | None:
        """The order of a known claim."""
        entry = self._journal.entries.get(claim)
        if entry is not None:
            return entry.order
        guest = self._guests.get(claim)
        return guest.order if guest else None

    def vanished(
        self, known: frozenset[str], listing: Listing, busy: Collection[str]
    ) -> list[ClaimOrder]:
        """Orders of what must be taken down because its claim is no longer on its host's row.

        While the protocol is kept only the agent removes adopted claims; so this happens after a
        restore, after a lost journal, and with what an engine did late. A claim that was adopted
        after the report was sent may rightly be absent, hence only those ``known`` then; and one
        listing is not enough.
        """
        listed = set(listing.hosts.values())
        ended: list[ClaimOrder] = []
        for claim in known - listing.claims - set(busy):
            order = self.order_of(claim)
            if order is None or order.host not in listed:
                continue
            self._missed[claim] = self._missed.get(claim, 0) + 1
            if self._journal.phase(claim) is Phase.DESTROYING:
                log.info("gone_asked_again", claim=claim)  # the answer to GONE was lost
            elif self._missed[claim] >= _MISSED_MAX:
                log.error("claim_vanished", claim=claim, host=order.host)
            else:
                continue
            ended.append(order)
        for claim in self._missed.keys() & (listing.claims | (known - self.known())):
            del self._missed[claim]
        return ended
