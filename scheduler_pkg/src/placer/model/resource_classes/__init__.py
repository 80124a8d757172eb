"""The table of resource classes: standard names are Placement's (os-resource-classes).

Further classes come from packages that name them under the entry point ``placer.resource_classes``.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import os_resource_classes

from placer.errors import UnknownResourceClass
from placer.model import plugins
from placer.model.resource_classes.base import ResourceClass
from placer.model.resource_classes.devices import Devices
from placer.model.resource_classes.divisible import Divisible

GPU_MILLI: Final = "CUSTOM_GPU_MILLI"
BAREMETAL: Final = "CUSTOM_BAREMETAL"
#: An address of a network: whole units with an identity, handed out by the claim.
ADDRESS: Final = "IPV4_ADDRESS"
ENTRY_POINTS: Final = "placer.resource_classes"

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
