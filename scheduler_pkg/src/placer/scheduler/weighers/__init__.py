"""The table of weighers and the weight of each in the sum."""

from __future__ import annotations

from typing import Final

from placer.scheduler.weighers.base import Weigher
from placer.scheduler.weighers.headroom import Headroom
from placer.scheduler.weighers.unwanted import UnwantedClasses

WEIGHERS: Final[dict[str, tuple[float, Weigher]]] = {
    "headroom": (1.0, Headroom()),
    "unwanted_classes": (1.0, UnwantedClasses()),
}
