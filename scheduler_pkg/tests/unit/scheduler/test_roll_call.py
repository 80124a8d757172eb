"""The ring of watchers: every death is noticed, whoever dies, on simulated time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Iterator, Sequence
from functools import partial

import pytest

from placer.model.host_view import HostView
from placer.scheduler.roll_call import ROLL_SILENT_S, RollCall, watched

from .hub_scene import simulated


@pytest.mark.parametrize(
    ("silent", "asked"),
    [
        pytest.param("", "bc", id="the next two"),
        pytest.param("b", "bcd", id="a silent one is asked too: it may come back"),
        pytest.param("bcd", "bcdef", id="on to the next that may answer"),
        pytest.param("ef", "bc", id="who is silent behind them is left to others"),
        pytest.param("bcde", "bcdef", id="one left"),
        pytest.param("bcdef", "bcdef", id="none left"),
    ],
)
def test_whom_a_process_watches(silent: str, asked: str) -> None:
    """Of five others in the order of the ring."""
    assert watched("bcdef", set(silent)) == list(asked)


def test_a_cell_of_one_watches_nobody() -> None:
    """There is nobody to ask."""
    assert watched([], set()) == []


class Ring:
    """The processes of one cell; ``rolls`` is who called the roll when."""

    def __init__(self, count: int, seed: int) -> None:
        self.rng = random.Random(seed)
        self.known = [f"s{n:02}" for n in range(count)]
        self.left: set[str] = set()
        self.rolls: list[tuple[float, str]] = []
        self.alive: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str) -> None:
        """A new process under this name, which has its first roll still before it."""
        self.left.discard(name)
        call = RollCall(
            partial(self._ring, name),
            self._answering,
            partial(self._views, name),
            lambda _: set(),
            lambda _: None,
            rng=self.rng,
        )
        self.alive[name] = asyncio.create_task(call.run())

    def kill(self, name: str) -> None:
        """It falls silent; some are gone from the name service before anybody asks them again."""
        self.alive.pop(name).cancel()
        if self.rng.random() < 0.3:
            self.left.add(name)

    def _ring(self, own: str) -> list[str]:
        at = self.known.index(own)
        others = self.known[at + 1 :] + self.known[:at]
        return [name for name in others if name not in self.left]

    async def _answering(self, urls: Sequence[str]) -> set[str]:
        answering = self.alive.keys() & set(urls)
        if len(answering) < len(urls):
            await asyncio.sleep(1.0)  # a silent one costs the whole time of a question
        return answering

    def _views(self, own: str) -> Iterator[Awaitable[list[HostView]]]:
        self.rolls.append((asyncio.get_running_loop().time(), own))
        return iter(())


@pytest.mark.parametrize("count", [2, 3, 10, 27])
@pytest.mark.parametrize("seed", range(20))
def test_somebody_calls_the_roll_after_every_death(count: int, seed: int) -> None:
    """Groups of any size die, also neighbours and those that watched others; some come back. Somebody
    who lives calls the roll after each within the bound that suspects are judged by."""

    async def story() -> None:
        ring = Ring(count, seed)
        for name in ring.known:
            ring.start(name)
        await asyncio.sleep(60)  # all first rolls are over
        loop = asyncio.get_running_loop()
        while len(ring.alive) > 1:
            for name in ring.rng.sample(ring.known, ring.rng.randint(0, count // 3)):
                if name not in ring.alive:
                    ring.start(name)
            await asyncio.sleep(ring.rng.uniform(4, 30))
            at = loop.time()
            killed = ring.rng.randint(1, min(len(ring.alive) - 1, count // 2))
            first = ring.rng.randrange(len(ring.alive))
            names = sorted(ring.alive)
            for name in (names[first:] + names[:first])[:killed]:
                ring.kill(name)
            await asyncio.sleep(ROLL_SILENT_S)
            assert [by for when, by in ring.rolls if when > at and by in ring.alive], (at, names)
            if ring.rng.random() < 0.05:
                break
        for name in list(ring.alive):
            ring.kill(name)

    simulated(story())
