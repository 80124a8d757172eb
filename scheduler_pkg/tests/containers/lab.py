"""A real agent on a real Docker Engine, against a real hub on rows in memory.

The agent runs in a process of its own where it is to be killed, else in the test's. Everything made
in the engine has the label of one deployment, which only this run has, and is removed by it.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import msgspec

from certificates import Authority
from placer.agents import drivers
from placer.agents.agent import Agent, Status
from placer.agents.drivers import containers
from placer.agents.journal import Journal
from placer.agents.link import connector
from placer.identity import Identity, client_context
from placer.model.ids import host_uuid
from placer.model.messages import CommandDone, CommandKind, FromAgent, GuestState, States
from placer.model.records import ClaimState, Record
from placer.scheduler.agent_connection import Transport
from placer.scheduler.agent_hub import AgentHub
from placer.scheduler.agent_listener import listening
from placer.scheduler.guest_commands import GuestCommand
from placer.settings import Agent as AgentSettings
from placer.settings import Cell, Cluster, Docker, Scheduler, Settings

from ..unit.agents.fakes import FAR_FUTURE_MS, FakeWriter, World

CELL = "c1"
HOSTS = ("d1", "d2")
#: What an instance does: says that it is there, and stays.
COMMAND = ("/bin/sh", "-c", "echo here; exec /bin/sleep 1000000")
IMAGE = "placer-test/instance"
_SRC = str(Path(drivers.__file__).parents[3])
_decode = msgspec.json.Decoder(FromAgent).decode


def client() -> docker.APIClient:
    return docker.APIClient(version="auto", timeout=60)


def new_deployment() -> str:
    return f"test-{uuid.uuid4().hex[:8]}"


def import_image(api: docker.APIClient, tag: str) -> str:
    """A shell, sleep and what they are linked with, from this machine, as an image."""
    packed = io.BytesIO()
    programs = ("/bin/sh", "/bin/sleep")
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path in {*programs, *(path for program in programs for path in _libraries(program))}:
            tar.add(Path(path).resolve(), arcname=path)
    image = f"{IMAGE}:{tag}"
    api.import_image_from_data(packed.getvalue(), repository=IMAGE, tag=tag)
    api.inspect_image(image)
    return image


def _libraries(program: str) -> Iterator[str]:
    """Paths that the dynamic linker would load."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True)
    for line in listed.stdout.splitlines():
        for word in line.split():
            if word.startswith("/"):
                yield word


class Heard:
    """A connection that listens in to what the agent says of its instances."""

    def __init__(self, transport: Transport, heard: list[States | CommandDone]) -> None:
        self._transport = transport
        self._heard = heard
        self.send_text = transport.send_text
        self.close = transport.close

    async def receive_text(self) -> str:
        text = await self._transport.receive_text()
        message = _decode(text)
        if isinstance(message, States | CommandDone):
            self._heard.append(message)
        return text


class Lab:
    """One cell's hub, its rows, and an agent with two hosts that can be killed and started again."""

    def __init__(self, directory: Path, deployment: str, image: str) -> None:
        self.directory = directory
        self.deployment = deployment
        self.api = client()
        self.world = World()
        self.writer = FakeWriter(self.world)
        self.listed: list[tuple[str, str]] = []
        self.failures: dict[str, str] = {}
        self.states: list[GuestState] = []
        self.heard: list[States | CommandDone] = []
        self.docker: dict[str, Any] = {"image": image, "command": COMMAND, "stop_timeout_s": 1.0}
        self.agent: dict[str, Any] = {"reconcile_every_s": 2.0}
        self._authority = Authority(directory)
        self._tls = self._authority.agent("a1", *HOSTS)
        self._url = ""
        self._connections: list[Heard] = []
        self.hub = AgentHub(
            process="s1",
            cell=CELL,
            read_row=self.writer.read_row,
            writer=self.writer,
            events=self,
            served_elsewhere=_nobody,
            command_elsewhere=_no_other,
            grace_s=1.0,
            deadline_s=1.0,
        )

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """The hub listens."""
        settings = Settings(
            process="s1",
            cell=CELL,
            cluster=self._cluster(),
            tls=self._authority.scheduler(),
            scheduler=Scheduler(listen="127.0.0.1", agents_port=0),
        )
        async with listening(settings, self._converse, lambda *_: None) as port:
            self._url = f"wss://127.0.0.1:{port}"
            yield

    async def _converse(self, transport: Transport, identity: Identity) -> None:
        self._connections.append(Heard(transport, self.heard))
        await self.hub.serve(self._connections[-1], identity)

    def _cluster(self) -> Cluster:
        cell = Cell(name=CELL, region="r1", datacenter=CELL, contact_points=())
        return Cluster(deployment=self.deployment, cells=(cell,))

    def settings(self) -> Settings:
        hosts = self.directory / "hosts.json"
        hosts.write_bytes(msgspec.json.encode([{"name": name, "share": 0.5} for name in HOSTS]))
        return Settings(
            process="a1",
            cell=CELL,
            cluster=self._cluster(),
            tls=self._tls,
            agent=AgentSettings(
                name="a1",
                schedulers=(self._url,),
                journal_dir=self.directory / "journal",
                driver="docker",
                reconnect_s=0.1,
                docker=Docker(hosts_file=hosts, **self.docker),
                **self.agent,
            ),
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Agent]:
        """The agent at work in this process, cancelled at the end."""
        settings = self.settings()
        assert settings.agent is not None
        with (
            contextlib.closing(Journal(settings.agent.journal_dir)) as journal,
            contextlib.closing(drivers.make(settings)) as driver,
        ):
            agent = Agent(
                settings, driver, journal, connector(client_context(settings.tls), settings.agent)
            )
            task = asyncio.create_task(agent.run(asyncio.Event()))
            try:
                await until(self._reported, "the hosts are reported")
                yield agent
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    def _reported(self) -> bool:
        """Whether the agent serves its hosts and their rows are written: the one comes first."""
        rows = all(host_uuid(CELL, name) in self.world.rows for name in HOSTS)
        return rows and self.hub.hosts == len(HOSTS)

    @contextlib.contextmanager
    def process(self, fail_point: str = "") -> Iterator[subprocess.Popen[bytes]]:
        """``placer agent`` as a process, killed at the end if it did not end itself."""
        path = self.directory / "placer.toml"
        encoded = msgspec.to_builtins(self.settings(), builtin_types=(), enc_hook=str)
        path.write_text("".join(f"{k} = {_toml(v)}\n" for k, v in encoded.items() if v is not None))
        started = subprocess.Popen(
            [sys.executable, "-m", "placer", "agent", "--settings", str(path)],
            env={**os.environ, "PYTHONPATH": _SRC, "PLACER_FAIL_POINT": fail_point},
            stdout=(self.directory / "agent.log").open("ab"),
            stderr=subprocess.STDOUT,
        )
        try:
            yield started
        finally:
            if started.poll() is None:
                started.send_signal(signal.SIGKILL)
            started.wait(timeout=10)

    def log(self) -> str:
        """What the agent's processes have written."""
        path = self.directory / "agent.log"
        return path.read_text() if path.exists() else ""

    def journal_claims(self) -> int:
        """Claims in the journal, as the running agent's status file counts them; -1: not yet."""
        try:
            text = (self.directory / "journal/status.json").read_bytes()
        except FileNotFoundError:
            return -1
        return sum(msgspec.json.decode(text, type=Status).claims.values())

    # -- claims

    def world_of_hosts(self) -> None:
        """The hosts' rows as an earlier life of the agent left them, for claims made before it is up."""
        for name in HOSTS:
            self.world.put(name)

    def restore_without(self, claim: str) -> None:
        """The row as an older backup has it."""
        row = next(row for row in self.world.rows.values() if row.find(claim))
        left = tuple(record for record in row.records if record.id != claim)
        self.world.change(msgspec.structs.replace(row, records=left))

    def claim(self, name: str, host: str = "d1", **change: Any) -> str:
        """A claim on the host's row, ordered at once; returns its id."""
        provider = host_uuid(CELL, host)
        values: dict[str, Any] = {"amounts": {"VCPU": -1, "MEMORY_MB": -32}, **change}
        record = Record(
            id=f"{CELL}.{provider}.{name}",
            provider=provider,
            consumer=f"instance-{name}",
            request=f"{CELL}.request-{name}",
            state=ClaimState.CLAIMED,
            lease_until_ms=FAR_FUTURE_MS,
            **values,
        )
        row = self.world.rows[provider]
        self.world.change(msgspec.structs.replace(row, records=(*row.records, record)))
        self.hub.deliver(provider, record)
        return record.id

    def delete(self, claim: str) -> None:
        """The API wants the instance away."""
        row = next(row for row in self.world.rows.values() if row.find(claim))
        record = row.find(claim)
        assert record is not None
        ended = msgspec.structs.replace(record, state=ClaimState.DELETING)
        new = tuple(ended if r.id == claim else r for r in row.records)
        self.world.change(msgspec.structs.replace(row, records=new))
        self.hub.deliver(row.host, ended)

    def state(self, claim: str) -> ClaimState | None:
        found = (row.find(claim) for row in self.world.rows.values())
        return next((record.state for record in found if record is not None), None)

    async def command(self, claim: str, kind: CommandKind, timeout_s: float = 30.0) -> CommandDone:
        """What the agent answers to a command."""
        return await self.hub.command(GuestCommand(claim.split(".")[1], claim, kind, timeout_s))

    def said(self, state: str, claim: str) -> bool:
        """Whether the agent told of this state of the instance."""
        told = (g for m in self.heard if isinstance(m, States) for g in m.guests)
        return any(guest.claim == claim and guest.state == state for guest in told)

    # -- what is in the engine

    def containers(self) -> list[dict[str, Any]]:
        """All of this deployment, as the engine inspects them."""
        label = f"{containers.DEPLOYMENT}={self.deployment}"
        listed = self.api.containers(all=True, filters={"label": label})
        found = []
        for one in listed:
            with contextlib.suppress(docker.errors.NotFound):  # removed since
                found.append(self.api.inspect_container(one["Id"]))
        return found

    def remove_all(self) -> None:
        """Leave nothing in the engine."""
        for one in self.containers():
            self.api.remove_container(one["Id"], force=True, v=True)
        label = f"{containers.DEPLOYMENT}={self.deployment}"
        for network in self.api.networks(filters={"label": label}):
            self.api.remove_network(network["Id"])
        self.api.close()

    # -- the hub's events

    async def confirmed(self, record: Record) -> bool:
        return True

    async def built(self, row: object, record: Record) -> None:
        self.listed.append(("built", record.id))

    async def failed(self, row: object, record: Record, why: str) -> None:
        self.failures[record.id] = why

    def adopted(self, row: object, record: Record) -> None: ...

    def marked(self, row: object, record: Record) -> None: ...

    async def lapsed(self, row: object, record: Record) -> None: ...

    async def gone(self, row: object, record: Record) -> None:
        self.listed.append(("gone", record.id))

    async def host(self, row: object) -> None: ...

    async def refused(self, row: object, agent: str, why: str) -> None: ...

    async def turned_away(self, who: str, why: str) -> None: ...

    async def guest(self, row: object, state: GuestState) -> None:
        self.states.append(state)


async def _no_other(command: GuestCommand) -> CommandDone | None:
    return None


async def _nobody(hosts: set[str], agent: str) -> dict[str, str]:
    return {}


def _toml(value: Any) -> str:
    """A value of a settings file; what is None is left out."""
    if isinstance(value, dict):
        parts = (f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items() if v is not None)
        return "{" + ", ".join(parts) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


async def until(condition: Callable[[], bool], why: str, within_s: float = 60.0) -> None:
    """Wait for ``condition``; fails with ``why``."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {why}"
        await asyncio.sleep(0.02)
