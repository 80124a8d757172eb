"""A weigher: how good a host is for a request, from 0.0 to 1.0."""

from __future__ import annotations

from typing import Protocol

from placer.model.host_view import HostView
from placer.scheduler.wanted import Wanted


class Weigher(Protocol):
    """Pure, made once without arguments. Its score is multiplied by its factor and added up.

    Scores do not depend on the other hosts of the sample, so that one host has one score wherever
    and by whomever it is judged.
    """

    def applies(self, wanted: Wanted) -> bool:
        """Whether scores can differ between hosts for this request. Asked once for a decision."""

    def score(self, wanted: Wanted, view: HostView) -> float:
        """From 0.0 to 1.0, for a host that fits. Asked only where ``applies`` said yes."""
