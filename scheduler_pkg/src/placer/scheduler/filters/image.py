"""What an image needs of its host, by the names of the field's image properties.

Each property is a family of standard traits (os-traits): ``hw_architecture = aarch64`` wants
``HW_ARCH_AARCH64``. A host that has a trait of the family must have the right one; a host that has
none says nothing about it and passes.
"""

from __future__ import annotations

import re
from typing import Final

from placer.model.host_view import HostView
from placer.scheduler.wanted import Wanted

#: Property -> beginning of the names of the traits that answer it.
FAMILIES: Final[dict[str, str]] = {
    "hw_architecture": "HW_ARCH_",
    "disk_format": "COMPUTE_IMAGE_TYPE_",
    "hw_disk_bus": "COMPUTE_STORAGE_BUS_",
    "hw_video_model": "COMPUTE_GRAPHICS_MODEL_",
    "hw_vif_model": "COMPUTE_NET_VIF_MODEL_",
}


def trait_for(prefix: str, value: str) -> str:
    """The trait of a family for a property's value."""
    return prefix + re.sub(r"[^A-Z0-9_]", "_", value.upper())


class ImageFilter:
    def applies(self, wanted: Wanted) -> bool:
        return not FAMILIES.keys().isdisjoint(wanted.image)

    def rejects(self, wanted: Wanted, view: HostView) -> str | None:
        for name, prefix in FAMILIES.items():
            value = wanted.image.get(name)
            if not value or trait_for(prefix, value) in view.traits:
                continue
            if any(trait.startswith(prefix) for trait in view.traits):
                return f"image:{name}={value}"
        return None
