"""The table of resource classes: standard names are Placement's (os-resource-classes)."""

from __future__ import annotations

from typing import Final

import os_resource_classes

from placer.errors import UnknownResourceClass
from placer.model.resource_classes.base import ResourceClass
from placer.model.resource_classes.devices import Devices
from placer.model.resource_classes.divisible import Divisible

GPU_MILLI: Final = "CUSTOM_GPU_MILLI"
BAREMETAL: Final = "CUSTOM_BAREMETAL"

_CLASSES: Final[dict[str, ResourceClass]] = {
    **{name: Divisible() for name in os_resource_classes.STANDARDS},
    GPU_MILLI: Devices(unit_capacity=1000),
    BAREMETAL: Devices(unit_capacity=1),
}


def names() -> list[str]:
    """All known classes, standard ones first."""
    return list(_CLASSES)


def get(name: str) -> ResourceClass:
    """The class called ``name``; raises UnknownResourceClass."""
    try:
        return _CLASSES[name]
    except KeyError:
        raise UnknownResourceClass(
            f"Unknown resource class {name!r}.",
            remedy="Use a standard class such as VCPU, MEMORY_MB or DISK_GB, or one of "
            f"{GPU_MILLI}, {BAREMETAL}.",
            resource_class=name,
        ) from None
