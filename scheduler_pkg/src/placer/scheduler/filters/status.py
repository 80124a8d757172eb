"""Only hosts that are up are chosen; the others keep what they have."""

from __future__ import annotations

from placer.model.host_view import HostView
from placer.model.records import HostStatus
from placer.scheduler.wanted import Wanted


class StatusFilter:
    def applies(self, wanted: Wanted) -> bool:
        return True

    def rejects(self, wanted: Wanted, view: HostView) -> str | None:
        return None if view.status is HostStatus.UP else f"host_{view.status}"
