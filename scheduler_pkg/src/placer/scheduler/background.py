"""Fire-and-forget work with a bound: refused and counted when too much of it is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from placer import metrics
from placer.errors import PlacerError

log = structlog.get_logger(__name__)


class Background:
    """Tasks that nobody waits for. Each must be harmless to lose: something slower repeats it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, kind: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
        """Run ``work`` in a task, or drop it at the bound (None); its errors are logged."""
        if len(self._tasks) >= self._limit:
            metrics.background_dropped.labels(kind).inc()
            work.close()
            return None
        task = asyncio.get_running_loop().create_task(self._guard(kind, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @property
    def running(self) -> int:
        """Tasks under way."""
        return len(self._tasks)

    async def close(self, grace_s: float) -> None:
        """Let what runs finish within ``grace_s``, then cancel it."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=grace_s)
            for task in late:
                task.cancel()

    async def _guard(self, kind: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except PlacerError as error:
            log.warning("background_failed", kind=kind, error=str(error))
