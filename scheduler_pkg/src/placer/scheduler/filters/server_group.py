"""Affinity and anti-affinity, as far as the facts at hand tell.

Only spares choices that would be refused: the rule itself is kept where the claim is written.
"""

from __future__ import annotations

from placer.model.host_view import HostView
from placer.scheduler import groups
from placer.scheduler.wanted import Wanted


class ServerGroupFilter:
    def applies(self, wanted: Wanted) -> bool:
        return wanted.group is not None

    def rejects(self, wanted: Wanted, view: HostView) -> str | None:
        assert wanted.group is not None
        return groups.rejects(wanted.group, view) or None
