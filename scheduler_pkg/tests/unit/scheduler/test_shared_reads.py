"""Decisions that want one bucket at the same time share one read of it."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from placer.errors import StoreUnavailable
from placer.model.host_view import HostView
from placer.scheduler.shared_reads import SharedReads

from ...simulation.clock import run_simulated
from ...simulation.conducting import World


class Slow:
    """A cell whose reads take a second."""

    cell, region = "c1", "r1"

    def __init__(self) -> None:
        self.reads: list[int] = []
        self.error: Exception | None = None

    async def read_views(self, bucket: int) -> list[HostView]:
        self.reads.append(bucket)
        await asyncio.sleep(1)
        if self.error:
            raise self.error
        return []


def test_a_read_under_way_is_shared() -> None:
    """One a bucket; who comes after it reads anew."""

    async def scenario() -> None:
        slow = Slow()
        shared = SharedReads(slow)  # type: ignore[arg-type]
        await asyncio.gather(*(shared.read_views(bucket) for bucket in (1, 1, 2, 1)))
        assert slow.reads == [1, 2]
        await shared.read_views(1)
        assert slow.reads == [1, 2, 1]

    run_simulated(scenario())


def test_who_gives_up_does_not_take_the_read_from_the_others() -> None:
    """And an error is heard by all that shared."""

    async def scenario() -> None:
        slow = Slow()
        shared = SharedReads(slow)  # type: ignore[arg-type]
        first = asyncio.create_task(shared.read_views(1))
        second = asyncio.create_task(shared.read_views(1))
        await asyncio.sleep(0.5)
        first.cancel()
        assert await second == []
        slow.error = StoreUnavailable("cut off")
        with contextlib.suppress(StoreUnavailable), pytest.raises(StoreUnavailable):
            await shared.read_views(1)

    run_simulated(scenario())


def test_requests_at_once_are_decided_over_few_reads() -> None:
    """Fifty requests at one moment: not fifty reads of the one bucket."""

    async def scenario() -> None:
        world = World(1)
        world.start("c1", 0)
        await world.host("h1", 64)
        store, reads = world.stores["c1"], 0
        read_views = store.read_views

        async def counted(bucket: int) -> list[HostView]:
            nonlocal reads
            reads += 1
            return await read_views(bucket)

        store.read_views = counted  # type: ignore[method-assign]
        await asyncio.gather(*(world.ask(5) for _ in range(50)))
        assert reads < 20
        for process in world.processes.values():
            process.die()

    run_simulated(scenario())
