"""Keep hosts with scarce classes for those who ask for them.

A request without GPUs on a GPU host strands its GPUs once the cores are gone (Weng et al., "Beware
of Fragmentation", USENIX ATC 2023).
"""

from __future__ import annotations

from placer.model.host_view import HostView
from placer.scheduler.wanted import Wanted


class UnwantedClasses:
    """Score 1.0 when the host offers nothing that was not asked for, falling with each such class."""

    def applies(self, wanted: Wanted) -> bool:
        return True

    def score(self, wanted: Wanted, view: HostView) -> float:
        unwanted = len(view.totals().keys() - wanted.amounts.keys())
        return 1.0 / (1 + unwanted)
