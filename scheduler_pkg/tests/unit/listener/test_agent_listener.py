"""The agents' port of a scheduler, with real certificates on the loopback interface."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509

from certificates import Authority
from placer.agents import link
from placer.agents.link import Link, LinkLost, LinkRefused, agent_url, connector
from placer.errors import InvalidInput, PlacerError, StoreUnavailable
from placer.identity import Identity, agent_of, client_context
from placer.scheduler import agent_listener, refused_agents
from placer.scheduler.agent_connection import Closed, Transport
from placer.scheduler.agent_listener import listening
from placer.settings import Agent, Cell, Cluster, Scheduler, Settings, Tls

from ..agents.fakes import CELL, report, until, uuid_of
from ..scheduler.hub_scene import Scene


class Place:
    """A hub that listens, and the authority whose agents it takes."""

    def __init__(self, directory: Path) -> None:
        self.authority = Authority(directory)
        self.scene = Scene()
        self.url = ""
        #: Who was turned away (address, why, stage), each time.
        self.turned: list[tuple[str, str, str]] = []

    def turn_away(self, peer: str, why: str, stage: str) -> None:
        self.turned.append((peer, why, stage))

    def settings(self, tls: Tls | None) -> Settings:
        cell = Cell(name=CELL, region="r1", datacenter=CELL, contact_points=())
        return Settings(
            process="s1",
            cell=CELL,
            cluster=Cluster(deployment="test", cells=(cell,)),
            tls=tls,
            scheduler=Scheduler(listen="127.0.0.1", agents_port=0),
        )

    async def report(self, tls: Tls, name: str = "a1", host: str = "h1", cell: str = CELL) -> str:
        """Connect as an agent with a certificate, greet as ``name``, report ``host``: its uuid."""
        connect = connector(client_context(tls), Agent(name=name, journal_dir=Path("unused")))
        async with connect(agent_url(self.url), 5) as socket:
            link = Link(
                socket,
                lambda orders: None,
                lambda link, command: None,
                lambda: "{}",
                answer_timeout_s=5,
            )
            await link.greet(name, cell)
            reader = asyncio.create_task(link.read())
            try:
                return (await link.report((report(host),), 5)).hosts[host]
            finally:
                reader.cancel()
                await asyncio.wait({reader})


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    made = Place(tmp_path)
    settings = made.settings(made.authority.scheduler())
    async with listening(settings, made.scene.hub.serve, made.turn_away) as port:
        made.url = f"wss://127.0.0.1:{port}"
        yield made


async def test_an_agent_with_its_own_certificate_reports_its_own_host(place: Place) -> None:
    """Named one by one, or by how their names begin."""
    assert await place.report(place.authority.agent("a1", "h1")) == uuid_of("h1")
    assert await place.report(place.authority.agent("a2", "h*"), "a2", "h22") == uuid_of("h22")


async def test_another_authoritys_certificate_is_no_connection(
    place: Place, tmp_path: Path
) -> None:
    """Neither end believes the other: the agent would not talk to it either."""
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other").agent("a1", "h1")
    with pytest.raises(LinkLost, match="certificate verify failed"):
        await place.report(stranger)
    ours = place.authority.agent("a1", "h1")
    with pytest.raises(LinkLost, match="authority that this deployment has"):
        await place.report(Tls(stranger.certificate, stranger.key, ours.ca))
    assert place.scene.hub.agents == 0
    (peer, left, stage), (_, not_good, _) = place.turned
    assert (peer, stage) == ("127.0.0.1", "handshake")
    assert "it may not take this certificate for good" in left
    assert not_good.startswith("Its certificate is not good here: ")


async def test_a_schedulers_certificate_does_not_make_an_agent(place: Place) -> None:
    """Its use is to be connected to; the other way round a scheduler could be any agent."""
    with pytest.raises(LinkLost, match="Is the certificate an agent's"):
        await place.report(place.authority.scheduler("s2"))


async def test_no_certificate_and_no_tls_are_no_connection(place: Place) -> None:
    """Whoever can reach the port and no more gets nothing from it."""
    host, port = place.url.removeprefix("wss://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /v1/agent HTTP/1.1\r\nHost: s1\r\n\r\n")
    assert b"HTTP" not in await asyncio.wait_for(reader.read(), 5)
    writer.close()
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.load_verify_locations(place.authority.scheduler().ca)
    part = Agent(name="a1", journal_dir=Path("unused"))
    with pytest.raises(LinkLost, match="closed without an answer"):
        async with connector(bare, part)(agent_url(place.url), 5) as socket:
            await socket.recv()
    assert place.turned == [
        ("127.0.0.1", "No TLS connection: http request.", "handshake"),
        ("127.0.0.1", "No TLS connection: peer did not return a certificate.", "handshake"),
    ]


async def test_who_says_nothing_is_not_waited_for_for_ever(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And who leaves at once is told apart from it."""
    monkeypatch.setattr(agent_listener, "_HANDSHAKE_S", 0.2)
    host, port = place.url.removeprefix("wss://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    _, writer = await asyncio.open_connection(host, int(port))
    writer.close()
    await until(lambda: len(place.turned) == 2, "both are told")
    assert [why.partition(":")[0] for _, why, _ in place.turned] == [
        "The TLS connection was not there after 0.2 s.",
        "It left before the TLS connection was there",
    ]


async def test_an_agent_leaves_a_scheduler_at_another_address(tmp_path: Path) -> None:
    """A certificate that was stolen from one address is of no use at another."""
    made = Place(tmp_path)
    settings = made.settings(made.authority.scheduler(address="127.0.0.2"))
    async with listening(settings, made.scene.hub.serve, made.turn_away) as port:
        made.url = f"wss://127.0.0.1:{port}"
        with pytest.raises(LinkLost, match="IP address mismatch"):
            await made.report(made.authority.agent("a1", "h1"))


@pytest.mark.parametrize(
    ("name", "cell"), [pytest.param("a2", CELL, id="agent"), pytest.param("a1", "c2", id="cell")]
)
async def test_an_agent_speaks_for_itself_only(place: Place, name: str, cell: str) -> None:
    """The certificate is of a1 in cell c1: who says that it is another is told so."""
    tls = place.authority.agent("a1", "h1")
    with pytest.raises(LinkRefused, match=r"agent a1's of cell c1|serves cell c1"):
        await place.report(tls, name, cell=cell)
    await until(lambda: bool(place.scene.turned), "readers of events are told")
    assert [who for who, _ in place.scene.turned] == ["a1"], "as its certificate has it"


async def test_a_host_of_another_is_refused_and_told(place: Place) -> None:
    """Also while its own agent is away; the row is left as it is."""
    await place.report(place.authority.agent("a1", "h1"))
    before = place.scene.world.rows[uuid_of("h1")]
    for _ in range(2):
        with pytest.raises(LinkRefused, match="does not name host 'h1'"):
            await place.report(place.authority.agent("a2", "h2"), "a2")
    assert place.scene.world.rows[uuid_of("h1")] == before
    await until(lambda: bool(place.scene.refused_agents), "it is told")
    assert place.scene.refused_agents == [("h1", "a2")], "once, however often it comes again"


async def test_a_certificate_without_an_agents_name_is_refused(place: Place) -> None:
    """It is the authority's, but not of an agent of one cell."""
    for uris in (["https://example.com/x"], ["placer://c1/agent/a1", "placer://c2/host/h1"]):
        tls = place.authority.give("odd", [x509.UniformResourceIdentifier(uri) for uri in uris])
        with pytest.raises(LinkLost, match="403"):
            await place.report(tls)
    assert [one[::2] for one in place.turned] == [("127.0.0.1", "certificate")] * 2


async def test_readers_are_told_once_of_one_that_knocks_for_ever(place: Place) -> None:
    """Of another reason or from another address again; what could not be told is told with the next try."""
    hub, turned = place.scene.hub, place.scene.turned
    place.scene.tell_errors.append(StoreUnavailable("cut off"))
    for peer, why in [("10.0.0.7", "old"), *[("10.0.0.7", "old")] * 3, ("10.0.0.7", "new")]:
        await hub.turned_away(peer, why, "handshake")
    assert turned == [("10.0.0.7", "old"), ("10.0.0.7", "new")]


async def test_what_is_remembered_of_the_refused_is_bounded(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who knocks from ever new addresses fills no list of events, and others are told of an hour later."""
    monkeypatch.setattr(refused_agents, "_TOLD_MAX", 2)
    hub, turned = place.scene.hub, place.scene.turned
    for number in range(5):
        await hub.turned_away(f"10.0.0.{number}", "old", "handshake")
    assert [who for who, _ in turned] == ["10.0.0.0", "10.0.0.1"]
    monkeypatch.setattr(refused_agents, "_AGAIN_S", 0.0)
    await hub.turned_away("10.0.0.9", "old", "handshake")
    assert turned[-1] == ("10.0.0.9", "old")


async def test_another_path_is_not_found(place: Place) -> None:
    """What is meant for the HTTP service is not here."""
    tls = client_context(place.authority.agent("a1", "h1"))
    with pytest.raises(LinkLost, match="404"):
        async with connector(tls, Agent(name="a1", journal_dir=Path("unused")))(
            place.url + "/internal/v1/agents", 5
        ):
            pass


async def test_an_agent_that_falls_silent_is_told_apart_from_one_that_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A host without power sends no heartbeat, and closes nothing; no trace of that is logged."""
    for name, seconds in (("SILENT_S", 0.4), ("_LOOK_S", 0.1)):
        monkeypatch.setattr(agent_listener, name, seconds)
    ends: asyncio.Queue[bool] = asyncio.Queue()

    async def talk(transport: Transport, identity: Identity) -> None:
        try:
            while True:
                await transport.receive_text()
        except Closed as closed:
            ends.put_nowait(closed.silent)

    made = Place(tmp_path)
    settings = made.settings(made.authority.scheduler())
    tls = client_context(made.authority.agent("a1", "h1"))
    part = Agent(name="a1", journal_dir=Path("unused"))
    async with listening(settings, talk, made.turn_away) as port:
        url = agent_url(f"wss://127.0.0.1:{port}")
        async with connector(tls, part)(url, 5) as socket:
            transport = socket.recv.__self__.transport  # type: ignore[attr-defined]
            transport.pause_reading()
            assert await asyncio.wait_for(ends.get(), 5) is True
            transport.abort()
        async with connector(tls, part)(url, 5):
            pass
        assert await asyncio.wait_for(ends.get(), 5) is False
    assert not caplog.records


async def test_an_idle_agent_is_not_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its heartbeats are heard, also by a scheduler that was held up for longer than it waits."""
    for module, name, seconds in (
        (agent_listener, "SILENT_S", 0.5),
        (agent_listener, "_LOOK_S", 0.05),
        (link, "HEARTBEAT_S", 0.1),
    ):
        monkeypatch.setattr(module, name, seconds)
    ends: asyncio.Queue[bool] = asyncio.Queue()

    async def talk(transport: Transport, identity: Identity) -> None:
        try:
            await transport.receive_text()
        except Closed as closed:
            ends.put_nowait(closed.silent)

    made = Place(tmp_path)
    tls = client_context(made.authority.agent("a1", "h1"))
    part = Agent(name="a1", journal_dir=Path("unused"))
    async with listening(made.settings(made.authority.scheduler()), talk, made.turn_away) as port:
        url = agent_url(f"wss://127.0.0.1:{port}")
        async with connector(tls, part)(url, 5):
            await asyncio.sleep(1)
            time.sleep(1)  # noqa: ASYNC251  both ends are held up
            await asyncio.sleep(0.2)
            assert ends.empty()
        assert await asyncio.wait_for(ends.get(), 5) is False


async def test_what_is_missing_is_named(tmp_path: Path) -> None:
    """Settings without [tls], files that are not there, a port in use."""
    made = Place(tmp_path)
    with pytest.raises(InvalidInput, match=r"need a \[tls\] part"):
        async with listening(made.settings(None), made.scene.hub.serve, made.turn_away):
            pass
    gone = tmp_path / "gone.crt"
    with pytest.raises(InvalidInput, match=r"gone\.crt.*No such file"):
        async with listening(
            made.settings(Tls(gone, gone, gone)), made.scene.hub.serve, made.turn_away
        ):
            pass
    tls = made.authority.scheduler()
    async with listening(made.settings(tls), made.scene.hub.serve, made.turn_away) as port:
        settings = made.settings(tls)
        taken = Scheduler(listen="127.0.0.1", agents_port=port)
        with pytest.raises(PlacerError, match=rf"listen for agents on 127\.0\.0\.1:{port}"):
            async with listening(
                Settings(
                    process="s2", cell=CELL, cluster=settings.cluster, tls=tls, scheduler=taken
                ),
                made.scene.hub.serve,
                made.turn_away,
            ):
                pass


@pytest.mark.parametrize(
    ("pattern", "host", "may"),
    [
        ("h1", "h1", True),
        ("h1", "h12", False),
        ("h*", "h12", True),
        ("nyc1-h*", "nyc1-docker-1-h1", False),
        ("*", "anything", True),
    ],
)
def test_which_hosts_a_name_allows(pattern: str, host: str, may: bool) -> None:
    """A star stands at the end only."""
    assert Identity(CELL, "a1", (pattern,)).may_serve(host) is may


def test_names_of_other_forms_are_left_alone() -> None:
    """A certificate may have names for other uses."""
    names = (
        ("DNS", "host1.example"),
        ("URI", "spiffe://example/agent"),
        ("URI", "placer://c1/agent/a1"),
        ("URI", "placer://c1/host/h1"),
        ("URI", "placer://c1/host/h1/x"),
    )
    assert agent_of({"subjectAltName": names}) == Identity("c1", "a1", ("h1",))
    with pytest.raises(InvalidInput, match="does not name one agent"):
        agent_of({})
