"""Every amount must fit, as each resource class itself judges it, in the host's tree of providers.

The dearest filter, so it is asked last. What no provider of the host offers may come from a sharing
pool of one of its aggregates.
"""

from __future__ import annotations

from placer.model import fitting
from placer.model.host_view import HostView
from placer.scheduler import pools
from placer.scheduler.wanted import Wanted


class CapacityFilter:
    def applies(self, wanted: Wanted) -> bool:
        return True

    def rejects(self, wanted: Wanted, view: HostView) -> str | None:
        if wanted.pools:
            completed = pools.complete(wanted.demand, view, wanted.pools)
            return completed if isinstance(completed, str) else None
        found = fitting.arrange(wanted.demand, view.tree)
        return found if isinstance(found, str) else None
