"""Calls between scheduler processes, with peers that are silent."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
import pytest

from placer.errors import PlacerError
from placer.model.work import Work
from placer.scheduler.peers import Peers
from placer.settings import Cell, Cluster

URLS = ("http://s1", "http://s2", "http://s3")
CLUSTER = Cluster("test", (Cell("c1", "r1", "c1", (), schedulers=URLS),))


class Scene:
    """s1 with its two peers; ``silent`` ones take no connection. ``asked`` is who got which call."""

    def __init__(self, **answers: dict[str, Any]) -> None:
        self.answers = answers
        self.silent: set[str] = set()
        self.full: set[str] = set()
        self.asked: list[tuple[str, str]] = []
        self.peers = Peers(CLUSTER, "http://s1", "t", transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        name = request.url.host
        self.asked.append((name, request.url.path.rpartition("/")[2]))
        if name in self.silent:
            raise httpx.ConnectTimeout("silent", request=request)
        if name in self.full:
            return httpx.Response(503, json={})
        return httpx.Response(200, content=msgspec.json.encode(self.answers[name]))


async def test_a_silent_process_works_on_nothing() -> None:
    """Its requests are taken over; what the others work on is left to them."""
    scene = Scene(s2={"requests": ["q1"]}, s3={"requests": ["q2"]})
    assert await scene.peers.working("c1", ["q1", "q2", "q3"]) == {"q1", "q2"}
    scene.silent = {"s3"}
    assert await scene.peers.working("c1", ["q1", "q2", "q3"]) == {"q1"}
    await scene.peers.close()


async def test_hosts_of_a_silent_process_are_not_taken_for_lost() -> None:
    """Nobody can say whether it serves them."""
    scene = Scene(s2={"agents": {"h1": "a1"}}, s3={"agents": {}})
    assert await scene.peers.served("c1", {"h1", "h2"}, "a2") == {"h1": "a1"}
    scene.silent = {"s2"}
    with pytest.raises(PlacerError, match="s2"):
        await scene.peers.served("c1", {"h1"})
    await scene.peers.close()


async def test_a_request_is_offered_until_one_takes_it() -> None:
    """A process that is down or full is passed over."""
    scene = Scene(s3={"taken": True})
    scene.full = {"s2"}
    await scene.peers.wake("c1", Work("c1.q", 1, 2))
    assert scene.asked == [("s2", "wake"), ("s3", "wake")]
    await scene.peers.close()
