"""A filter and a weigher: leave hosts in maintenance alone, and prefer hosts with few guests."""

from __future__ import annotations

from placer.model.host_view import HostView
from placer.scheduler.wanted import Wanted

#: Hosts in this aggregate get nothing new, unless a request names the host.
AGGREGATE = "maintenance"


class MaintenanceFilter:
    """Rejects hosts of the aggregate ``maintenance``."""

    def applies(self, wanted: Wanted) -> bool:
        return not wanted.spec.host

    def rejects(self, wanted: Wanted, view: HostView) -> str | None:
        return "host_in_maintenance" if AGGREGATE in view.aggregates else None


class FewGuests:
    """1.0 for a host without guests, 1 / (1 + n) with n of them."""

    def applies(self, wanted: Wanted) -> bool:
        return True

    def score(self, wanted: Wanted, view: HostView) -> float:
        return 1.0 / (1 + view.claims)
