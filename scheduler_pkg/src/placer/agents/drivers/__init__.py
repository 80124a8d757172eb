"""The table of agent drivers.

Further ones come from packages that name them under the entry point ``placer.agent_drivers``. A
driver is loaded only where it is used: an agent of simulated hosts needs no Docker SDK in memory.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Final

from placer.agents.drivers.base import Driver
from placer.errors import InvalidInput
from placer.model import plugins
from placer.settings import Settings

ENTRY_POINTS: Final = "placer.agent_drivers"

_BUILT_IN: Final[dict[str, tuple[str, str]]] = {
    "docker": ("placer.agents.drivers.docker", "DockerHosts"),
    "sim": ("placer.agents.drivers.sim", "Sim"),
}


def make(settings: Settings) -> Driver:
    """The driver that ``agent.driver`` names; raises InvalidInput."""
    assert settings.agent is not None
    name = settings.agent.driver
    if name in _BUILT_IN:
        module, attribute = _BUILT_IN[name]
        made: Callable[[Settings], Driver] = getattr(importlib.import_module(module), attribute)
        return made(settings)
    known = sorted({*_BUILT_IN, *plugins.found(ENTRY_POINTS)})
    if name not in known:
        raise InvalidInput(
            f"Unknown agent driver {name!r}.", remedy="Known drivers: " + ", ".join(known) + "."
        )
    plugged: Callable[[Settings], Driver] = plugins.load(ENTRY_POINTS, _BUILT_IN)[name]
    return plugged(settings)
