"""Names of weighers and their factors: what a request and the settings may say.

The weighers themselves are the scheduler's (``scheduler/weighers``). Their names are known here, so
that the API refuses a name that nobody has before anything is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from placer.errors import InvalidInput
from placer.model import plugins

ENTRY_POINTS: Final = "placer.weighers"

#: Factor of each built-in weigher; 0: only where somebody asks for it.
DEFAULTS: Final[dict[str, float]] = {
    "spread": 1.0,
    "pack": 0.0,
    "cpu": 0.0,
    "ram": 0.0,
    "disk": 0.0,
    "unwanted_classes": 1.0,
    "fragmentation": 1.0,
    "build_failures": 1.0,
    "cross_cell": 1.0,
    "server_group": 0.5,
}


def names() -> list[str]:
    """Names of all weighers, built-in ones first. One from a package has the factor 0 by default."""
    return [*DEFAULTS, *(name for name in plugins.found(ENTRY_POINTS) if name not in DEFAULTS)]


def check(weights: Mapping[str, float], field: str = "weights") -> None:
    """That every name is a weigher's; raises InvalidInput naming the first that is not."""
    if not weights:
        return
    known = names()
    for name in weights:
        if name not in known:
            raise InvalidInput(
                f"There is no weigher {name!r}.",
                remedy=f"Weighers: {', '.join(known)}.",
                field=f"{field}.{name}",
            )
