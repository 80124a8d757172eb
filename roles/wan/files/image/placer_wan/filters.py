"""Drops between single addresses, which no path of regions can say: a cell within its region, a ring of nodes.

Firewall rules before all others, of any bridge of the machine, marked with the deployment and the name
of the drop; both back ends use them. The rules are all there is to undo, and are found by their mark.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from placer_wan import firewall
from placer_wan.disturbances import SECONDS_MAX, bound
from placer_wan.errors import WanError

RULES_MAX = 2000
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True)
class Drop:
    """No packet passes from `sources` to `destinations`. A sort of disturbance of its own."""

    name: str
    sources: tuple[str, ...]
    destinations: tuple[str, ...]
    one_way: bool
    until: float | None

    @classmethod
    def of(cls, request: Mapping[str, Any], now: float) -> Drop:
        """Check a request; raises `WanError` naming what is wrong with it."""
        name = str(request.get("name") or "drop")
        if not _NAME.fullmatch(name):
            raise WanError(f"the name {name!r}", "use letters, digits, . _ and -, at most 64")
        until = bound(request, now)
        if until is not None and not 0 < until - now <= SECONDS_MAX:
            raise WanError(
                f"--for is {until - now:g} s", f"choose more than 0, up to {SECONDS_MAX:g}"
            )
        sources, destinations = (
            _addresses(request.get(key)) for key in ("sources", "destinations")
        )
        count = len(sources) * len(destinations) * (1 if request.get("one_way") else 2)
        if count > RULES_MAX:
            raise WanError(
                f"{count} rules for one drop", f"name fewer addresses: {RULES_MAX} at most"
            )
        return cls(name, sources, destinations, bool(request.get("one_way")), until)


class Filters:
    """The drops that are in force."""

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self.drops: dict[str, Drop] = {}

    def add(self, drop: Drop) -> None:
        """Put a drop in force, in the place of an earlier one of its name."""
        self.heal(drop.name)
        mark = firewall.named(self._mark, drop.name)
        # Before the rules: a failure half way must be found by `heal`.
        self.drops[drop.name] = drop
        firewall.drop(drop.sources, drop.destinations, mark)
        if not drop.one_way:
            firewall.drop(drop.destinations, drop.sources, mark)

    def heal(self, name: str | None = None) -> None:
        """End the drop `name`, or all."""
        for one in list(self.drops) if name is None else [name]:
            if self.drops.pop(one, None) is not None:
                firewall.remove(firewall.named(self._mark, one))

    def clear(self) -> None:
        """Take away every drop of the deployment, also those of a process that was killed."""
        self.drops.clear()
        firewall.remove(self._mark, named_only=True)

    def expire(self, now: float) -> float:
        """End what is over; the seconds until the next one is."""
        for drop in list(self.drops.values()):
            if drop.until is not None and now >= drop.until:
                self.heal(drop.name)
        ends = [drop.until for drop in self.drops.values() if drop.until is not None]
        return min(ends, default=float("inf")) - now


def _addresses(given: object) -> tuple[str, ...]:
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise WanError(f"the addresses {given!r}", "name at least one on either side")
    try:
        return tuple(dict.fromkeys(str(ipaddress.IPv4Address(one)) for one in given))
    except ValueError as wrong:
        raise WanError(str(wrong), "write addresses as 10.91.1.11,10.91.1.12") from None
