"""Only hosts that are up and that no operator took out of service; the others keep what they have."""

from __future__ import annotations

from placer.model.host_view import HostView
from placer.scheduler.wanted import Wanted


class StatusFilter:
    def applies(self, wanted: Wanted) -> bool:
        return True

    def rejects(self, wanted: Wanted, view: HostView) -> str | None:
        return view.not_chosen or None
