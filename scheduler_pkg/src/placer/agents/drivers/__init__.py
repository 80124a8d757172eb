"""The table of agent drivers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from placer.agents.drivers.base import Driver
from placer.agents.drivers.sim import Sim
from placer.errors import InvalidInput
from placer.settings import Agent

_DRIVERS: Final[dict[str, Callable[[Agent], Driver]]] = {"sim": Sim}


def make(settings: Agent) -> Driver:
    """The driver that ``settings.driver`` names; raises InvalidInput."""
    try:
        driver = _DRIVERS[settings.driver]
    except KeyError:
        raise InvalidInput(
            f"Unknown agent driver {settings.driver!r}.",
            remedy="Known drivers: " + ", ".join(sorted(_DRIVERS)) + ".",
        ) from None
    return driver(settings)
