"""The table of weighers, and the factor of each for one request.

Installed packages add theirs under the entry point ``placer.weighers``. Their factor is 0 until the
settings or a request give one.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

from placer.model import plugins, weights
from placer.model.request import RequestSpec, Strategy
from placer.scheduler.weighers.base import Weigher
from placer.scheduler.weighers.build_failures import BuildFailures
from placer.scheduler.weighers.cross_cell import CrossCell
from placer.scheduler.weighers.fragmentation import Fragmentation
from placer.scheduler.weighers.server_group import ServerGroupNearness
from placer.scheduler.weighers.shares import FreeOf, Pack, Spread
from placer.scheduler.weighers.unwanted import UnwantedClasses

_BUILT_IN: Final[dict[str, Weigher]] = {
    "spread": Spread(),
    "pack": Pack(),
    "cpu": FreeOf("VCPU"),
    "ram": FreeOf("MEMORY_MB"),
    "disk": FreeOf("DISK_GB"),
    "unwanted_classes": UnwantedClasses(),
    "fragmentation": Fragmentation(),
    "build_failures": BuildFailures(),
    "cross_cell": CrossCell(),
    "server_group": ServerGroupNearness(),
}


@cache
def table() -> dict[str, Weigher]:
    """All weighers by name."""
    added = {n: made() for n, made in plugins.load(weights.ENTRY_POINTS, _BUILT_IN).items()}
    return {**_BUILT_IN, **added}


def factors(spec: RequestSpec, configured: Mapping[str, float]) -> dict[str, float]:
    """Factor of each weigher that counts: defaults, then settings, then strategy, then request.

    A strategy moves the factor of ``spread`` to ``pack`` or back. Raises InvalidInput for a name
    that is no weigher's.
    """
    weights.check(configured, "scheduler.weights")
    weights.check(spec.weights)
    found = {**weights.DEFAULTS, **configured}
    if spec.strategy is not None:
        strength = max(found["spread"], found["pack"]) or 1.0
        packs = spec.strategy is Strategy.PACK
        found["spread"], found["pack"] = (0.0, strength) if packs else (strength, 0.0)
    found.update(spec.weights)
    return {name: factor for name, factor in found.items() if factor}
