"""Prefer the cells that the request names first: its own, where it names none.

Counts where one decision looks at several cells; the order of ``cells`` is the caller's preference.
"""

from __future__ import annotations

from placer.model.host_view import HostView
from placer.scheduler.wanted import Wanted


class CrossCell:
    """Score 1.0 in the first cell named, less in each further one, 0.0 in cells not named."""

    def applies(self, wanted: Wanted) -> bool:
        return len(wanted.spec.cells) > 1

    def score(self, wanted: Wanted, view: HostView) -> float:
        cells = wanted.spec.cells
        return 1.0 - cells.index(view.cell) / len(cells) if view.cell in cells else 0.0
