"""The table of filters, in the order in which they are asked: cheap ones first."""

from __future__ import annotations

from typing import Final

from placer.scheduler.filters.base import Filter
from placer.scheduler.filters.capacity import CapacityFilter
from placer.scheduler.filters.status import StatusFilter
from placer.scheduler.filters.traits import TraitsFilter

FILTERS: Final[dict[str, Filter]] = {
    "status": StatusFilter(),
    "traits": TraitsFilter(),
    "capacity": CapacityFilter(),
}
