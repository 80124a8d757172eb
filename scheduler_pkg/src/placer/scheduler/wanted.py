"""What a decision is about: the request's wishes and all facts that are not a host's own.

Made once for a decision and handed to every filter and weigher, so that what depends on the request
alone is worked out once and not for each host.
"""

from __future__ import annotations

from functools import cached_property

from msgspec import Struct

from placer.model.fitting import Demand
from placer.model.host_view import HostView
from placer.model.request import RequestSpec
from placer.scheduler.groups import GroupFacts
from placer.settings import Scheduler


class Wanted(Struct, frozen=True, dict=True, kw_only=True):
    """The input of a decision beside the views.

    ``demand`` is what one instance needs of its host. ``group`` is the server group and where its
    members are; ``pools`` the sharing pools of the cell; ``tried`` hosts (uuids) that must not be
    chosen again; ``now_ms`` when the decision is made.
    """

    spec: RequestSpec
    demand: Demand
    settings: Scheduler
    group: GroupFacts | None = None
    pools: tuple[HostView, ...] = ()
    tried: frozenset[str] = frozenset()
    now_ms: int = 0

    @cached_property
    def amounts(self) -> dict[str, int]:
        """Amount of each class over all groups of the demand."""
        return self.demand.totals

    @cached_property
    def avoided(self) -> frozenset[str]:
        """Names of hosts, cells and regions that the request keeps away from."""
        spec = self.spec
        return frozenset((*spec.avoid_hosts, *spec.avoid_cells, *spec.avoid_regions))

    @cached_property
    def cells(self) -> frozenset[str]:
        """Cells that the request names; empty: any."""
        return frozenset(filter(None, (self.spec.cell, *self.spec.cells)))
