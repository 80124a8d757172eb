"""The agent's connection over a real websocket on the loopback interface."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import msgspec
import pytest
from websockets.asyncio.server import Server, ServerConnection, serve

from certificates import Authority
from placer.agents.agent import Agent
from placer.agents.journal import Journal
from placer.agents.link import (
    Link,
    LinkLost,
    LinkRefused,
    Socket,
    agent_url,
    connect_timeout_s,
    connector,
)
from placer.identity import client_context, server_context
from placer.model.messages import Hello, StepKind, Welcome

from .fakes import CELL, FakeDriver, World, report, settings, until


class Ends:
    """Both ends of a connection: an authority, a scheduler's certificate and an agent's."""

    def __init__(self, directory: Path) -> None:
        authority = Authority(directory)
        self.server = server_context(authority.scheduler())
        self.client = client_context(authority.agent("a1", "h1"))


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Ends:
    return Ends(tmp_path_factory.mktemp("certificates"))


@pytest.mark.parametrize("scheduler", ["wss://s1:8890", "wss://s1:8890/"])
def test_agent_url(scheduler: str) -> None:
    """A scheduler is named by its address; the path is always the same."""
    assert agent_url(scheduler) == "wss://s1:8890/v1/agent"


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [
        pytest.param(0, 5, id="the first try"),
        pytest.param(2, 5, id="every scheduler once"),
        pytest.param(3, 10, id="after a whole round"),
        pytest.param(8, 20, id="after two"),
        pytest.param(9, 30, id="up to the bound"),
        pytest.param(10**6, 30, id="for ever"),
    ],
)
def test_a_try_may_take_longer_with_each_round(
    tmp_path: Path, failures: int, seconds: float
) -> None:
    """Of three schedulers."""
    part = settings(tmp_path).agent
    assert part is not None
    assert connect_timeout_s(part, 3, failures) == seconds


async def _start(ends: Ends, first_answer: str | None) -> tuple[Server, str]:
    """A server that answers the first message, and then only listens."""

    async def talk(connection: ServerConnection) -> None:
        hello = msgspec.json.decode(await connection.recv(), type=Hello)
        assert hello == Hello(agent="a1", cell=CELL)
        if first_answer is not None:
            await connection.send(first_answer)
        async for _ in connection:
            pass

    server = await serve(talk, "127.0.0.1", 0, ssl=ends.server)
    port = next(iter(server.sockets)).getsockname()[1]
    return server, f"wss://127.0.0.1:{port}"


def _link(socket: object) -> Link:
    return Link(
        cast(Socket, socket),
        lambda orders: None,
        lambda link, command: None,
        lambda: "{}",
        answer_timeout_s=0.2,
    )


async def test_hello_is_answered(ends: Ends, tmp_path: Path) -> None:
    """What the scheduler calls itself comes back."""
    server, url = await _start(ends, msgspec.json.encode(Welcome(scheduler="s1")).decode())
    part = settings(tmp_path).agent
    assert part is not None
    async with server, connector(ends.client, part)(agent_url(url), 5) as socket:
        assert await _link(socket).greet("a1", CELL) == "s1"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        pytest.param('{"type":"refused","message":"other cell"}', LinkRefused, id="refused"),
        pytest.param('{"type":"welcome","scheduler":"s1","protocol":99}', LinkRefused, id="newer"),
        pytest.param("nonsense", LinkLost, id="unreadable"),
        pytest.param(None, LinkLost, id="silent"),
    ],
)
async def test_a_wrong_answer_to_hello(
    ends: Ends, tmp_path: Path, answer: str | None, kind: type[LinkLost]
) -> None:
    """Refusals are told apart from what may pass."""
    server, url = await _start(ends, answer)
    part = settings(tmp_path).agent
    assert part is not None
    async with server, connector(ends.client, part)(agent_url(url), 5) as socket:
        with pytest.raises(kind) as caught:
            await _link(socket).greet("a1", CELL)
        assert type(caught.value) is kind


async def test_a_port_that_nobody_listens_on_is_a_lost_link(ends: Ends, tmp_path: Path) -> None:
    """That may pass (a restart): the agent tries on."""
    server, url = await _start(ends, None)
    part = settings(tmp_path).agent
    assert part is not None
    server.close()
    await server.wait_closed()
    with pytest.raises(LinkLost, match="Cannot connect"):
        async with connector(ends.client, part)(agent_url(url), 5):
            pass


async def test_a_question_without_an_answer_ends(ends: Ends, tmp_path: Path) -> None:
    """Every wait has its end, also when the connection stays open."""
    server, url = await _start(ends, msgspec.json.encode(Welcome(scheduler="s1")).decode())
    part = settings(tmp_path).agent
    assert part is not None
    async with server, connector(ends.client, part)(agent_url(url), 5) as socket:
        link = _link(socket)
        await link.greet("a1", CELL)
        reader = asyncio.create_task(link.read())
        with pytest.raises(LinkLost, match="No answer"):
            await link.step("h1", "c1", StepKind.ADOPT)
        reader.cancel()


async def test_a_scheduler_that_goes_silent_is_left(ends: Ends, tmp_path: Path) -> None:
    """A report without an answer: the agent connects anew."""
    server, url = await _start(ends, msgspec.json.encode(Welcome(scheduler="s1")).decode())
    connections = 0
    made = settings(tmp_path, url, answer_timeout_s=0.1)
    assert made.agent is not None
    real = connector(ends.client, made.agent)

    def counted(address: str, timeout_s: float) -> object:
        nonlocal connections
        connections += 1
        return real(address, timeout_s)

    journal = Journal(tmp_path)
    world = World()
    async with server:
        agent = Agent(made, FakeDriver(world, [report()]), journal, counted)  # type: ignore[arg-type]
        stop = asyncio.Event()
        task = asyncio.create_task(agent.run(stop))
        await until(lambda: connections >= 2, "it connects anew", within_s=10)
        stop.set()
        await task
    journal.close()
