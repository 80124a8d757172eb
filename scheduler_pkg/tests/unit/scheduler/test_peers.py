"""Calls between scheduler processes, with peers that are silent."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
import pytest

from placer.errors import AgentSilent, Overloaded, PlacerError
from placer.model.messages import CommandDone, CommandKind
from placer.model.work import Work
from placer.scheduler.guest_commands import GuestCommand
from placer.scheduler.peers import Notification, Peers

from ..agents.fakes import claim
from .hub_scene import simulated

URLS = ("http://s1", "http://s2", "http://s3")


class Fixed:
    """A name service that knows the three, and with a look the ``new``."""

    def __init__(self) -> None:
        self.known: tuple[str, ...] = URLS
        self.new: tuple[str, ...] = ()

    def schedulers(self, cell: str) -> tuple[str, ...]:
        return self.known

    async def look(self) -> None:
        self.known = URLS + self.new


class Scene:
    """s1 with its two peers; ``silent`` ones take no connection. ``asked`` is who got which call."""

    def __init__(self, **answers: dict[str, Any]) -> None:
        self.answers = answers
        self.silent: set[str] = set()
        self.full: set[str] = set()
        self.status, self.done = 200, CommandDone(1, ok=True, text="done")
        self.asked: list[tuple[str, str]] = []
        self.directory = Fixed()
        self.peers = Peers(
            self.directory, "http://s1", "t", transport=httpx.MockTransport(self._answer)
        )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        name = request.url.host
        what = request.url.path.rpartition("/")[2]
        self.asked.append((name, what))
        if name in self.silent:
            raise httpx.ConnectTimeout("silent", request=request)
        if name in self.full:
            return httpx.Response(503, json={})
        if what == "command":
            return httpx.Response(self.status, content=msgspec.json.encode(self.done))
        if what == "notify":
            return httpx.Response(200, json={"told": self.answers[name] == SERVING})
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
    assert await scene.peers.served("c1", {"h1": "a2", "h2": "a2"}) == {"h1": "a1"}
    scene.silent = {"s2"}
    with pytest.raises(PlacerError, match="s2"):
        await scene.peers.served("c1", {"h1": ""})
    await scene.peers.close()


async def test_a_request_is_offered_until_one_takes_it() -> None:
    """A process that is down or full is passed over."""
    scene = Scene(s3={"taken": True})
    scene.full = {"s2"}
    await scene.peers.wake("c1", Work("c1.q", 1, 2))
    assert scene.asked == [("s2", "wake"), ("s3", "wake")]
    await scene.peers.close()


SERVING = {"agents": {"h1": "a1"}}
NONE: dict[str, Any] = {"agents": {}}
STOP = GuestCommand("h1", "k1", CommandKind.STOP, 5.0)


async def test_a_command_goes_to_the_process_that_serves_the_host() -> None:
    """Others are asked whom they serve and nothing else."""
    scene = Scene(s2=NONE, s3=SERVING)
    assert await scene.peers.command("c1", STOP) == scene.done
    assert [name for name, what in scene.asked if what == "command"] == ["s3"]
    scene = Scene(s2=NONE, s3=NONE)
    assert await scene.peers.command("c1", STOP) is None
    await scene.peers.close()


async def test_a_command_finds_a_process_that_just_started() -> None:
    """The name service is asked when nobody known serves the host."""
    scene = Scene(s2=NONE, s3=NONE, s4=SERVING)
    scene.directory.new = ("http://s4",)
    assert await scene.peers.command("c1", STOP) == scene.done
    assert [name for name, what in scene.asked if what == "serves"] == ["s2", "s3", "s4"]
    await scene.peers.close()


CLAIM = claim("k1")


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        pytest.param({"s2": NONE, "s3": SERVING}, ["s2", "s3"], id="its process is known"),
        pytest.param(
            {"s2": NONE, "s3": NONE, "s4": SERVING}, ["s2", "s3", "s4"], id="it just started"
        ),
        pytest.param({"s2": NONE, "s3": NONE, "s4": NONE}, ["s2", "s3", "s4"], id="it is away"),
    ],
)
def test_an_agent_hears_of_its_claim(answers: dict[str, Any], told: list[str]) -> None:
    """Also if it is with a process that nobody here had heard of: it would else learn of the claim
    with its next periodic report."""

    async def story() -> None:
        scene = Scene(**answers)
        scene.directory.new = ("http://s4",)
        await scene.peers.notify(Notification("c1", "h1", CLAIM))
        assert scene.asked == [(name, "notify") for name in told]
        await scene.peers.close()

    simulated(story())


@pytest.mark.parametrize(
    ("status", "error"),
    [
        pytest.param(404, None, id="the agent went elsewhere: not done"),
        pytest.param(503, Overloaded, id="at its bound: not done"),
        pytest.param(504, AgentSilent, id="no answer from the agent: who knows"),
        pytest.param(500, AgentSilent, id="a fault: who knows"),
    ],
)
async def test_a_command_that_was_not_answered(
    status: int, error: type[PlacerError] | None
) -> None:
    """What may have been carried out is told from what was not."""
    scene = Scene(s2=NONE, s3=SERVING)
    scene.status = status
    if error is None:
        assert await scene.peers.command("c1", STOP) is None
    else:
        with pytest.raises(error):
            await scene.peers.command("c1", STOP)
    await scene.peers.close()


async def test_who_answers() -> None:
    """A silent or full one is not there for lost hosts."""
    scene = Scene(s2=NONE, s3=NONE)
    ring = scene.peers.ring("c1")
    assert await scene.peers.answering(ring) == {"http://s2", "http://s3"}
    scene.silent, scene.full = {"s2"}, {"s3"}
    assert await scene.peers.answering(ring) == set()
    await scene.peers.close()


async def test_the_ring_goes_on_at_its_first_after_its_last() -> None:
    """All processes of a cell see the same one, whatever the order of the name service."""
    rings = {}
    for own in URLS:
        peers = Peers(Fixed(), own, "t")
        rings[own] = peers.ring("c1")
        await peers.close()
    s1, s2, s3 = URLS
    assert rings == {s1: [s2, s3], s2: [s3, s1], s3: [s1, s2]}
