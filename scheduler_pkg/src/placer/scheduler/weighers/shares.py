"""Free shares: spread over the emptiest hosts, pack into the fullest, or look at one class only.

The scarcest class of the request decides: idle cores without memory are of no use to anyone
(dominant share; worst fit for spread, best fit for pack).
"""

from __future__ import annotations

from placer.model.host_view import HostView
from placer.scheduler.wanted import Wanted


def scarcest_share(wanted: Wanted, view: HostView) -> float:
    """Free share of the requested class that is left with the least of it, once it is taken."""
    totals = view.totals()
    least = 1.0
    for name, amount in wanted.amounts.items():
        free, capacity = totals.get(name, (0, 0))
        if capacity > 0:
            least = min(least, (free - amount) / capacity)
    return max(0.0, least)


class Spread:
    """1.0 for an empty host and a small request, 0.0 where a requested class becomes full."""

    def applies(self, wanted: Wanted) -> bool:
        return True

    def score(self, wanted: Wanted, view: HostView) -> float:
        return scarcest_share(wanted, view)


class Pack:
    """The opposite: 1.0 where a requested class becomes full."""

    def applies(self, wanted: Wanted) -> bool:
        return True

    def score(self, wanted: Wanted, view: HostView) -> float:
        return 1.0 - scarcest_share(wanted, view)


class FreeOf:
    """Free share of one class, whether the request takes of it or not. A negative factor packs."""

    def __init__(self, resource_class: str) -> None:
        self._class = resource_class

    def applies(self, wanted: Wanted) -> bool:
        return True

    def score(self, wanted: Wanted, view: HostView) -> float:
        return view.free_share_after(self._class, wanted.amounts.get(self._class, 0))
