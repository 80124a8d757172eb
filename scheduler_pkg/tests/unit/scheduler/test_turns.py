"""Turns: a bound on what is decided at once, and an order for what waits."""

from __future__ import annotations

import asyncio

from placer.scheduler.turns import Turns

from ...simulation.clock import run_simulated


class Line:
    """Work that takes a second each; ``done`` are the names in the order of their turns."""

    def __init__(self, slots: int) -> None:
        self.turns = Turns(slots)
        self.done: list[str] = []
        self.at_once = 0
        self.at_once_max = 0

    async def work(self, name: str, priority: int = 0) -> None:
        async with self.turns.turn(priority):
            self.at_once += 1
            self.at_once_max = max(self.at_once_max, self.at_once)
            self.done.append(name)
            await asyncio.sleep(1)
            self.at_once -= 1


def test_waiting_work_goes_by_priority_then_by_arrival() -> None:
    """The first takes the free slot whatever its priority."""

    async def scenario() -> None:
        line = Line(1)
        names = [("first", 0), ("low", 0), ("high", 9), ("low too", 0), ("high too", 9)]
        await asyncio.gather(*(line.work(name, priority) for name, priority in names))
        assert line.done == ["first", "high", "high too", "low", "low too"]

    run_simulated(scenario())


def test_no_more_than_its_slots_work_at_once() -> None:
    """Also after some gave up while they waited: a slot is neither lost nor doubled."""

    async def scenario() -> None:
        line = Line(3)
        tasks = [asyncio.create_task(line.work(str(n))) for n in range(12)]
        await asyncio.sleep(0.5)
        for task in tasks[5:9]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert line.at_once_max == 3
        assert len(line.done) == 8
        await asyncio.gather(*(line.work(f"later {n}") for n in range(4)))
        assert (line.at_once_max, len(line.done)) == (3, 12)

    run_simulated(scenario())


def test_a_slot_that_comes_with_a_cancellation_is_passed_on() -> None:
    """Who is cancelled in the moment of his turn does not keep it."""

    async def scenario() -> None:
        line = Line(1)
        first = asyncio.create_task(line.work("first"))
        second = asyncio.create_task(line.work("second"))
        third = asyncio.create_task(line.work("third"))
        await asyncio.sleep(0)
        await first
        second.cancel()
        await asyncio.gather(second, third, return_exceptions=True)
        assert line.done[-1] == "third"

    run_simulated(scenario())
