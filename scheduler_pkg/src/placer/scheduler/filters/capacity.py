"""Every requested amount must fit, as each resource class itself judges it."""

from __future__ import annotations

from placer.model import fitting
from placer.model.host_view import HostView
from placer.model.request import RequestSpec


class CapacityFilter:
    def rejects(self, spec: RequestSpec, view: HostView) -> str | None:
        return fitting.rejects(spec.resources, view.offered, view.free, view.taken)
