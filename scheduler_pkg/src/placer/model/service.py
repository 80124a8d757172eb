"""The service: a process of Placer as the name service knows it.

Each API server and each scheduler writes a row of its own, under its unique name, when it starts,
every few seconds while it runs, and when it stops. Agents have no row: they hold no credentials of
the database, there are many of them, and their scheduler knows which are connected. A scheduler is
also what its agents connect to, at a port of its own.
"""

from __future__ import annotations

import enum
from typing import Final

from msgspec import Struct

#: Rows that may be missing before a process counts as silent.
MISSED_MAX: Final = 3


class ServiceKind(enum.StrEnum):
    """What a process does. A SCHEDULER also holds its agents' connections."""

    API = "api"
    SCHEDULER = "scheduler"


class ServiceState(enum.StrEnum):
    """UP: heard of late. STOPPED: it said so itself. SILENT: neither; it died, or its cell is cut off."""

    UP = "up"
    SILENT = "silent"
    STOPPED = "stopped"


class Service(Struct, frozen=True, omit_defaults=True):
    """What a process says of itself. All times are milliseconds since 1970 by its own clock.

    ``address`` is its base URL inside its region, ``wan_address`` the one for other regions; empty
    where it has none. ``agents`` is where agents of its cell connect. ``protocol_min`` and ``protocol_max``: the versions of the agents' messages,
    ``api_min`` and ``api_max``: the microversions that it serves; each only where it serves any.
    """

    name: str
    kind: ServiceKind
    region: str
    cell: str
    version: str
    started_ms: int
    heard_ms: int
    address: str = ""
    wan_address: str = ""
    agents: str = ""
    protocol_min: int = 0
    protocol_max: int = 0
    api_min: str = ""
    api_max: str = ""
    stopped: bool = False

    def state(self, now_ms: int, every_s: float) -> ServiceState:
        """How it is at ``now_ms``, if rows come ``every_s``."""
        if self.stopped:
            return ServiceState.STOPPED
        silent_ms = int(every_s * 1000 * MISSED_MAX)
        return ServiceState.SILENT if now_ms - self.heard_ms > silent_ms else ServiceState.UP

    def address_from(self, region: str) -> str:
        """Its base URL as seen from ``region``; empty if it cannot be reached from there."""
        return self.address if region == self.region else self.wan_address
