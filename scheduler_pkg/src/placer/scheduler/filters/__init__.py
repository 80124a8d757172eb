"""The table of filters, in the order in which they are asked: cheap ones first, capacity last.

Installed packages add theirs under the entry point ``placer.filters``; they are asked before capacity.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Final

from placer.errors import InvalidInput
from placer.model import plugins
from placer.scheduler.filters.aggregates import AggregatesFilter
from placer.scheduler.filters.base import Filter
from placer.scheduler.filters.builds import BuildFailuresFilter, IoFilter
from placer.scheduler.filters.capacity import CapacityFilter
from placer.scheduler.filters.places import AvoidFilter, PlacesFilter
from placer.scheduler.filters.server_group import ServerGroupFilter
from placer.scheduler.filters.status import StatusFilter
from placer.scheduler.filters.traits import TraitsFilter

ENTRY_POINTS: Final = "placer.filters"

_BUILT_IN: Final[dict[str, Filter]] = {
    "status": StatusFilter(),
    "places": PlacesFilter(),
    "avoid": AvoidFilter(),
    "aggregates": AggregatesFilter(),
    "server_group": ServerGroupFilter(),
    "io": IoFilter(),
    "build_failures": BuildFailuresFilter(),
    "traits": TraitsFilter(),
    "capacity": CapacityFilter(),
}


@cache
def table() -> dict[str, Filter]:
    """All filters by name in the order in which they are asked."""
    added = {name: made() for name, made in plugins.load(ENTRY_POINTS, _BUILT_IN).items()}
    cheap = {name: kept for name, kept in _BUILT_IN.items() if name != "capacity"}
    return {**cheap, **added, "capacity": _BUILT_IN["capacity"]}


def chosen(names: Collection[str]) -> dict[str, Filter]:
    """Those of ``names``, all if it is empty; raises InvalidInput for a name that nobody has."""
    known = table()
    if unknown := sorted(set(names) - set(known)):
        raise InvalidInput(
            f"There is no filter {unknown[0]!r}.",
            remedy=f"Filters: {', '.join(known)}.",
            field="scheduler.filters",
        )
    return {name: kept for name, kept in known.items() if not names or name in names}
