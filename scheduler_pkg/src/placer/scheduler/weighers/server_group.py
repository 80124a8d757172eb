"""Near to, or far from, the other members of the server group, beyond what its rule demands.

A group that must share a region is still better off in one cell; one that must not share a host is
still better off in several cells.
"""

from __future__ import annotations

from typing import Final

from placer.model.groups import Policy
from placer.model.host_view import HostView
from placer.scheduler.wanted import Wanted

#: How near a host counts as being: the same host, cell, region, or elsewhere.
_HOST: Final = 1.0
_CELL: Final = 0.6
_REGION: Final = 0.3


class ServerGroupNearness:
    """Mean nearness to the members (1.0: the same host); its opposite for anti-affinity."""

    def applies(self, wanted: Wanted) -> bool:
        return wanted.group is not None and bool(wanted.group.members)

    def score(self, wanted: Wanted, view: HostView) -> float:
        assert wanted.group is not None
        total = 0.0
        for member in wanted.group.members:
            if member.host == view.host:
                total += _HOST
            elif member.cell == view.cell:
                total += _CELL
            elif member.region == view.region:
                total += _REGION
        near = total / len(wanted.group.members)
        return near if wanted.group.group.policy is Policy.AFFINITY else 1.0 - near
