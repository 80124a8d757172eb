"""Readers of events share one look at the store, and each hears everything after its marker."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from placer.api.native.following import Batch, Following
from placer.errors import StoreUnavailable
from placer.model.event import Event
from placer.store.feed import CellMark, Mark, Told

from ...simulation.clock import run_simulated


class Line:
    """A feed whose markers are how many events there were; ``reads`` counts the looks at the store."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.reads = 0
        self.error: StoreUnavailable | None = None

    def happen(self, *names: str) -> None:
        self.events += [Event(name, "instance.running", 1, "r1", "c1") for name in names]

    async def read(self, mark: Mark, limit: int) -> Told:
        self.reads += 1
        if self.error is not None:
            raise self.error
        begin = mark.cells[0].at_ms
        told = self.events[begin : begin + limit]
        await asyncio.sleep(0.01)
        return Told(told, at(begin + len(told)), len(told) == limit)


def at(place: int) -> Mark:
    return Mark((CellMark("c1", 0, place),))


class Reader:
    """Follows from ``place`` on; ``pause_s`` after each batch."""

    def __init__(self, following: Following, place: int = 0, pause_s: float = 0.0) -> None:
        self.heard: list[str] = []
        self.last = at(place)
        self.error: Exception | None = None
        self.pause_s = pause_s
        self.task = asyncio.create_task(self._run(following, place))

    async def _run(self, following: Following, place: int) -> None:
        try:
            async with aclosing(following.after(at(place))) as batches:
                async for batch in batches:
                    self._take(batch)
                    await asyncio.sleep(self.pause_s)
        except StoreUnavailable as error:
            self.error = error

    def _take(self, batch: Batch) -> None:
        self.heard += [event.id for event in batch.events]
        self.last = batch.mark


def feed() -> tuple[Line, Following]:
    line = Line()
    return line, Following(line, 10)  # type: ignore[arg-type]


def test_a_hundred_readers_cost_as_many_looks_as_one() -> None:
    """Two a second, whoever reads; each hears what happens, once; without readers nobody looks."""

    async def story() -> None:
        line, following = feed()
        readers = [Reader(following) for _ in range(100)]
        await asyncio.sleep(2)
        line.reads = 0
        for number in range(20):
            line.happen(f"e{number}")
            await asyncio.sleep(0.5)
        assert 15 <= line.reads <= 25
        await asyncio.sleep(1)
        for reader in readers:
            assert reader.heard == [f"e{number}" for number in range(20)]
            reader.task.cancel()
        await asyncio.sleep(1)
        line.reads = 0
        await asyncio.sleep(10)
        assert line.reads == 0

    run_simulated(story())


@pytest.mark.parametrize("place", [0, 7, 30])
def test_a_reader_that_comes_late_catches_up_first(place: int) -> None:
    """All after its own marker, each once, although the others are further; with events meanwhile."""

    async def story() -> None:
        line, following = feed()
        line.happen(*(f"e{number}" for number in range(35)))
        first = Reader(following)
        await asyncio.sleep(1)
        late = Reader(following, place)
        for number in range(35, 60):
            line.happen(f"e{number}")
            await asyncio.sleep(0.013)
        await asyncio.sleep(2)
        assert first.heard == [f"e{number}" for number in range(60)]
        assert late.heard == [f"e{number}" for number in range(place, 60)]
        assert late.last.cells[0].at_ms == 60
        for reader in (first, late):
            reader.task.cancel()

    run_simulated(story())


def test_a_slow_reader_holds_up_nobody_and_misses_nothing() -> None:
    """It reads by itself what it had no room for; the other hears at once."""

    async def story() -> None:
        line, following = feed()
        slow, quick = Reader(following, pause_s=30.0), Reader(following)
        for number in range(200):
            line.happen(f"e{number}")
            await asyncio.sleep(0.5)
        await asyncio.sleep(2)
        assert len(quick.heard) == 200
        assert len(slow.heard) < 100
        await asyncio.sleep(1000)
        assert slow.heard == quick.heard
        for reader in (slow, quick):
            reader.task.cancel()

    run_simulated(story())


def test_what_fails_ends_the_streams_and_whoever_comes_back_goes_on() -> None:
    """With the marker of the last that was heard."""

    async def story() -> None:
        line, following = feed()
        readers = [Reader(following), Reader(following)]
        line.happen("e0")
        await asyncio.sleep(2)
        line.error = StoreUnavailable("down")
        await asyncio.sleep(2)
        assert all(reader.error is line.error for reader in readers)
        line.error = None
        line.happen("e1")
        back = Reader(following, readers[0].last.cells[0].at_ms)
        await asyncio.sleep(2)
        assert back.heard == ["e1"]
        back.task.cancel()

    run_simulated(story())
