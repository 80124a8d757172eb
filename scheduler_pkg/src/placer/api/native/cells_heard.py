"""Which cells are heard, as this API server's own datacenter knows it.

Each cell's schedulers write a pulse every few seconds, which reaches every datacenter as their
instances and events do. One query a second for all cells keeps what every list needs in memory, so
that a page costs no query more. Nothing is written by, or asked of, a host.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from placer.errors import StoreError
from placer.settings import Cluster
from placer.store.base import GlobalStore

log = structlog.get_logger(__name__)

_EVERY_S: Final = 1.0
#: Pulses that may be missing before a cell counts as cut off.
_MISSED_MAX: Final = 3


def clock_ms() -> int:
    return time.time_ns() // 1_000_000


class CellsHeard:
    """When each cell was last heard; refreshed by ``run``."""

    def __init__(self, cluster: Cluster, store: GlobalStore, now_ms: Callable[[], int]) -> None:
        self._cells = tuple(cell.name for cell in cluster.cells)
        self._store = store
        self._now_ms = now_ms
        self._silent_ms = int(cluster.pulse_every_s * 1000 * _MISSED_MAX)
        self._last: dict[str, int] = {}

    async def run(self) -> None:
        """Look once a second, for ever; what could not be read stays as it was."""
        while True:
            await self.look()
            await asyncio.sleep(_EVERY_S)

    async def look(self) -> None:
        try:
            self._last |= await self._store.last_pulses(self._cells)
        except StoreError as error:
            log.warning("cells_not_read", error=str(error))

    def cut_off(self) -> Mapping[str, int]:
        """The cells from which nothing arrives, and when they were last heard (ms)."""
        before = self._now_ms() - self._silent_ms
        return {cell: at_ms for cell, at_ms in self._last.items() if at_ms < before}

    @property
    def last(self) -> dict[str, int]:
        """When each cell was last heard; without those that never were."""
        return self._last
