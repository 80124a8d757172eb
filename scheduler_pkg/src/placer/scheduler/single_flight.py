"""Work that several callers want at the same time is done once, and all have its answer.

Whoever gives up waiting leaves it to the others; it ends by its own bounds. What fails fails for all
who wait, and the next caller begins anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

Key = TypeVar("Key")
Answer = TypeVar("Answer")


class SingleFlight(Generic[Key, Answer]):
    """One piece of work for each key at a time."""

    def __init__(self) -> None:
        self._running: dict[Key, asyncio.Task[Answer]] = {}

    async def join(self, key: Key, work: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        """The answer of the work that is under way for ``key``, else of ``work``, begun now."""
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.get_running_loop().create_task(work())
            task.add_done_callback(lambda done: self._ended(key, done))
        return await asyncio.shield(task)

    def _ended(self, key: Key, task: asyncio.Task[Answer]) -> None:
        self._running.pop(key, None)
        hear(task)


def hear(task: asyncio.Task[Any]) -> None:
    """A failure that nobody waits for any more is nobody's: asyncio is not to complain of it."""
    if not task.cancelled():
        task.exception()
