"""How many statements of one session are under way at once.

The driver bounds them only by the stream ids of its connections, some 32,000 for each node, each with
a request and an answer in memory. A cell that becomes slow would then fill the memory of whoever asks,
long before a deadline passes, and be asked for more than it can do just when it can do least. Here a
statement waits for its turn, no longer than its own deadline; as many as may be under way may wait.
Whoever does not get through is told that nothing was sent.

A turn ends with the driver's word, not with the caller's patience: a statement that nobody waits for
any more is under way all the same. When a node falls silent the driver's heartbeat ends it.
"""

from __future__ import annotations

import asyncio

from placer import metrics
from placer.errors import StoreOverloaded


class InFlight:
    """The turns of one session to ``cell``: ``limit`` at once. For one event loop."""

    def __init__(self, cell: str, limit: int) -> None:
        self._cell = cell
        self._limit = limit
        self._turns = asyncio.Semaphore(limit)
        self._waiting = 0
        self._used = 0
        self._gauge = metrics.store_in_flight.labels(cell)

    @property
    def used(self) -> int:
        return self._used

    async def take(self, statement: str, until: float) -> None:
        """Wait for a turn until the loop's time is ``until``. Raises StoreOverloaded.

        Who has one owes a ``give``.
        """
        if self._turns.locked():
            await self._wait(statement, until)
        else:
            await self._turns.acquire()  # at once
        self._count(1)

    def give(self) -> None:
        """The statement is over."""
        self._count(-1)
        self._turns.release()

    async def _wait(self, statement: str, until: float) -> None:
        if self._waiting >= self._limit:
            raise self._refusal(statement, f"{self._waiting} more wait")
        self._waiting += 1
        try:
            async with asyncio.timeout_at(until):
                await self._turns.acquire()
        except TimeoutError:
            raise self._refusal(statement, "none ended in time") from None
        finally:
            self._waiting -= 1

    def _count(self, more: int) -> None:
        self._used += more
        self._gauge.set(self._used)

    def _refusal(self, statement: str, why: str) -> StoreOverloaded:
        metrics.store_overloaded.labels(self._cell).inc()
        return StoreOverloaded(
            f"{self._limit} statements to cell {self._cell} are under way and {why}: {statement} was "
            "not sent.",
            remedy="Try again later. If it stays so the cell is too slow for what it is asked: "
            "placer diag shows its nodes; store.inflight_max is the bound.",
            statement=statement,
            cell=self._cell,
        )
