"""A filter: one reason why a host cannot take a request."""

from __future__ import annotations

from typing import Protocol

from placer.model.host_view import HostView
from placer.scheduler.wanted import Wanted


class Filter(Protocol):
    """Pure, made once without arguments; its knobs, if any, are in ``wanted.settings``.

    A reason is a stable word, with what it is about after a colon (``trait_missing:CUSTOM_SSD``).
    It is counted, shown to users and looked up in ``explain.py`` for its remedy.
    """

    def applies(self, wanted: Wanted) -> bool:
        """Whether the request can be rejected by this filter at all. Asked once for a decision."""

    def rejects(self, wanted: Wanted, view: HostView) -> str | None:
        """Why the host goes, or None. Asked only where ``applies`` said yes."""
