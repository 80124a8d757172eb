"""The host must be in one of the aggregates asked for. An availability zone is an aggregate."""

from __future__ import annotations

from placer.model.host_view import HostView
from placer.scheduler.wanted import Wanted


class AggregatesFilter:
    def applies(self, wanted: Wanted) -> bool:
        return bool(wanted.spec.aggregates)

    def rejects(self, wanted: Wanted, view: HostView) -> str | None:
        within = not set(wanted.spec.aggregates).isdisjoint(view.aggregates)
        return None if within else "aggregate_not_named"
