"""Where the request may go: cells and a region that it names, places to keep away from."""

from __future__ import annotations

from placer.model.host_view import HostView
from placer.scheduler.wanted import Wanted


class PlacesFilter:
    def applies(self, wanted: Wanted) -> bool:
        return bool(wanted.cells or wanted.spec.region)

    def rejects(self, wanted: Wanted, view: HostView) -> str | None:
        if wanted.cells and view.cell not in wanted.cells:
            return "cell_not_named"
        if wanted.spec.region and view.region != wanted.spec.region:
            return "region_not_named"
        return None


class AvoidFilter:
    """Hosts by name, cells and regions on the request's avoid lists, and hosts tried before."""

    def applies(self, wanted: Wanted) -> bool:
        return bool(wanted.avoided or wanted.tried)

    def rejects(self, wanted: Wanted, view: HostView) -> str | None:
        if view.host in wanted.tried:
            return "tried_before"
        spec = wanted.spec
        if view.name in spec.avoid_hosts:
            return "host_avoided"
        if view.cell in spec.avoid_cells:
            return "cell_avoided"
        return "region_avoided" if view.region in spec.avoid_regions else None
