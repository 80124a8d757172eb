"""Prefer the host that keeps the largest free share of its scarcest requested class.

Worst fit on the dominant share: load spreads, and many schedulers do not meet on one host.
"""

from __future__ import annotations

from placer.model.host_view import HostView
from placer.model.request import RequestSpec


class Headroom:
    """Score from 0.0 (a requested class becomes full) to 1.0 (an empty host, a small request)."""

    def score(self, spec: RequestSpec, view: HostView) -> float:
        # The scarcest class decides: idle cores without memory are of no use to anyone.
        return min(view.free_share_after(name, amount) for name, amount in spec.resources.items())
