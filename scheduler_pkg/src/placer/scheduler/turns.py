"""Turns: at most so many decisions at once, the rest wait in the order of their priority.

Below the limit a request is decided at once. Above it the waiting ones are taken by priority, equal
ones in the order they came; a full queue refuses, so that what is accepted is never late for long.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """A bounded number of slots handed out by priority (the larger first)."""

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._numbers = itertools.count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def turn(self, priority: int) -> AsyncIterator[None]:
        """Hold a slot; waits for one."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(priority)
        try:
            yield
        finally:
            self._pass_on()

    @property
    def waiting(self) -> int:
        """How many wait for a slot."""
        return sum(not mine.done() for *_, mine in self._waiting)

    async def _wait(self, priority: int) -> None:
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (-priority, next(self._numbers), mine))
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self._pass_on()  # the slot came at the moment of the cancellation
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            *_, waiting = heapq.heappop(self._waiting)
            if not waiting.done():
                waiting.set_result(None)
                return
        self._free += 1
