"""Questions to peers that go together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from placer.errors import PlacerError
from placer.scheduler.elsewhere import Elsewhere

from .hub_scene import simulated


class Peers:
    """Serve h1 by agent a9; each question takes a second."""

    def __init__(self) -> None:
        self.questions: list[dict[str, str]] = []
        self.errors: list[Exception] = []

    async def served(self, hosts: Mapping[str, str]) -> dict[str, str]:
        self.questions.append(dict(hosts))
        await asyncio.sleep(1.0)
        if self.errors:
            raise self.errors.pop(0)
        return {"h1": "a9"} if "h1" in hosts else {}


def test_what_comes_up_while_one_is_asked_goes_together() -> None:
    """Two questions for a thousand; each hears of its own hosts, and an agent is told to peers though
    somebody asked about its host without one."""

    async def story() -> None:
        peers = Peers()
        elsewhere = Elsewhere(peers.served)
        first = asyncio.create_task(elsewhere.ask({"h0"}, "a0"))
        await asyncio.sleep(0.1)
        others = [elsewhere.ask({f"h{n}"}, f"a{n}") for n in range(1, 1001)]
        answers = await asyncio.gather(first, *others, elsewhere.ask({"h2"}, ""))
        assert answers[:3] == [{}, {"h1": "a9"}, {}]
        assert [len(question) for question in peers.questions] == [1, 1000]
        assert peers.questions[1]["h2"] == "a2"

    simulated(story())


def test_a_question_has_a_bound() -> None:
    """Those that do not fit go with one after it."""

    async def story() -> None:
        peers = Peers()
        elsewhere = Elsewhere(peers.served)
        await asyncio.gather(
            *(elsewhere.ask({f"h{p}-{n}" for n in range(1000)}, f"a{p}") for p in range(10))
        )
        assert [len(question) for question in peers.questions] == [4000, 4000, 2000]

    simulated(story())


def test_one_that_fails_fails_for_those_that_asked_it_alone() -> None:
    """The next is asked all the same, also when whoever asked gave up waiting."""

    async def story() -> None:
        peers = Peers()
        elsewhere = Elsewhere(peers.served)
        peers.errors = [PlacerError("silent")]
        first = asyncio.create_task(elsewhere.ask({"h1"}, "a1"))
        await asyncio.sleep(0.1)
        hasty = asyncio.create_task(elsewhere.ask({"h1"}, "a2"))
        patient = asyncio.create_task(elsewhere.ask({"h1"}, "a2"))
        await asyncio.sleep(0.1)
        hasty.cancel()
        with pytest.raises(PlacerError, match="silent"):
            await first
        assert await patient == {"h1": "a9"}

    simulated(story())
