"""The table of resource classes: standard names are Placement's (os-resource-classes).

Further classes come from packages that name them under the entry point ``placer.resource_classes``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Final

import os_resource_classes

from placer.errors import InvalidInput, UnknownResourceClass
from placer.model import plugins
from placer.model.records import MAX_INT, Inventory
from placer.model.resource_classes.base import ResourceClass
from placer.model.resource_classes.devices import Devices
from placer.model.resource_classes.divisible import Divisible

GPU_MILLI: Final = "CUSTOM_GPU_MILLI"
BAREMETAL: Final = "CUSTOM_BAREMETAL"
#: An address of a network: whole units with an identity, handed out by the claim.
ADDRESS: Final = "IPV4_ADDRESS"
ENTRY_POINTS: Final = "placer.resource_classes"

#: Units, bytes or keys that one inventory may hold, so that a host's row stays small.
UNITS_MAX: Final = 4096
RATIO_MAX: Final = 10_000.0

_BUILT_IN: Final[dict[str, ResourceClass]] = {
    **{name: Divisible() for name in os_resource_classes.STANDARDS},
    ADDRESS: Devices(unit_capacity=1),
    GPU_MILLI: Devices(unit_capacity=1000),
    BAREMETAL: Devices(unit_capacity=1),
}


@cache
def _table() -> dict[str, ResourceClass]:
    """Built-in classes and those of installed packages; a built-in one cannot be replaced."""
    found = plugins.load(ENTRY_POINTS, _BUILT_IN)
    return {**_BUILT_IN, **{name: made() for name, made in found.items()}}


def names() -> list[str]:
    """All known classes, standard ones first."""
    return list(_table())


def get(name: str) -> ResourceClass:
    """The class called ``name``, which may be a slot's name; raises UnknownResourceClass."""
    table = _table()
    known = table.get(name) or table.get(name.rpartition("/")[2])
    if known is None:
        raise UnknownResourceClass(
            f"Unknown resource class {name!r}.",
            remedy="Use a standard class such as VCPU, MEMORY_MB or DISK_GB, or one of "
            f"{', '.join(sorted(set(table) - set(os_resource_classes.STANDARDS)))}.",
            resource_class=name,
        )
    return known


def check(inventories: Mapping[str, Inventory]) -> None:
    """That each class may be offered like this; raises InvalidInput naming what is wrong.

    First what Placement asks of every inventory, then what the class asks of its own fields.
    """
    for name, inventory in inventories.items():
        kind = get(name)
        reason = _limits(inventory) or kind.check_inventory(inventory)
        if reason:
            raise InvalidInput(
                f"The inventory of {name} cannot be used: {reason}.",
                remedy="Correct what the host reports.",
                resource_class=name,
            )


def _limits(inventory: Inventory) -> str | None:
    if not 0 <= inventory.total <= MAX_INT:
        return f"total is {inventory.total}, which is not 0 to {MAX_INT}"
    whole = (inventory.min_unit, inventory.max_unit, inventory.step_size)
    if any(not 1 <= number <= MAX_INT for number in whole):
        return f"min_unit, max_unit and step_size must be 1 to {MAX_INT}"
    if not 0 <= inventory.reserved <= inventory.total:
        return f"reserved is {inventory.reserved}, which is not 0 to its total"
    if inventory.min_unit > inventory.max_unit:
        return f"min_unit {inventory.min_unit} is above max_unit {inventory.max_unit}"
    ratio = inventory.allocation_ratio
    if not math.isfinite(ratio) or not 0 < ratio <= RATIO_MAX:
        return f"allocation_ratio {ratio:g} is not above 0 and at most {RATIO_MAX:g}"
    if inventory.capacity > MAX_INT:
        return f"(total - reserved) x allocation_ratio is above {MAX_INT}"
    if len(inventory.units) > UNITS_MAX or len(inventory.fields) > UNITS_MAX:
        return f"it has more than {UNITS_MAX} units or fields"
    return None
