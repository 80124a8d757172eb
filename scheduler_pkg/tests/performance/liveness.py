"""Many agents on one machine: what their open connections cost while nothing happens.

A scheduler's hub on rows in memory, behind the listener that production uses, in a process of its own;
in this process one connection for each agent, made of the agent's own link, with its heartbeats. The
rows are in memory because the question is what is asked of the store, not how fast that answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import httpx

import placer
from certificates import Authority
from placer.agents.link import (
    Link,
    LinkLost,
    Socket,
    agent_url,
    connect_timeout_s,
    connector,
    reconnect_delay_s,
)
from placer.identity import client_context
from placer.model.messages import HostReport
from placer.model.records import Inventory
from placer.settings import Agent, Scheduler

from .liveness_server import CELL, TOKEN

_HEADERS: Final = {"Authorization": f"Bearer {TOKEN}"}
_CONNECT_TIMEOUT_S: Final = 180.0
_REPORT_TIMEOUT_S: Final = 60.0
#: Files of one process beside its connections.
_SPARE_FILES: Final = 200


def idle_writes(
    *, agents: int, idle_s: float, hosts_each: int = 1, at_once: int = 0
) -> dict[str, float]:
    """Rows written for each host and minute while all agents are connected and report once more.

    All agents share one process here, which thousands of handshakes at once keep from its heartbeats:
    ``at_once`` bounds how many agents are on their way (0: all may be), as if each had a processor.

    Also: seconds until all were connected and reported, and until all were back after every
    connection broke at once; how often a host was marked down meanwhile, and how many are in the end;
    seconds until the hosts of an agent that does not come back are marked down; resident MiB and KiB for a connection of the
    scheduler; its CPU share while idle.
    """
    _need_files(agents + _SPARE_FILES)
    port, agents_port = _free_port(), _free_port()
    with tempfile.TemporaryDirectory() as folder:
        authority = Authority(Path(folder))
        tls = authority.scheduler()
        gate = asyncio.Semaphore(at_once or agents)
        fleet = [
            _Agent(f"wss://127.0.0.1:{agents_port}", number, hosts_each, authority, gate)
            for number in range(agents)
        ]
        process = subprocess.Popen(
            [
                *(sys.executable, Path(__file__).with_name("liveness_server.py")),
                *(str(port), str(agents_port), tls.certificate, tls.key, tls.ca),
            ],
            env={**os.environ, "PYTHONPATH": str(Path(placer.__file__).parents[1])},
        )
        try:
            return asyncio.run(_measure(f"http://127.0.0.1:{port}", fleet, hosts_each, idle_s))
        finally:
            process.kill()
            process.wait()


async def _measure(url: str, fleet: list[_Agent], each: int, idle_s: float) -> dict[str, float]:
    count = len(fleet) * each
    async with httpx.AsyncClient(base_url=url, headers=_HEADERS, timeout=60) as client:
        await _until_served(client, 0)
        empty = await _figures(client)
        tasks = [asyncio.create_task(agent.run()) for agent in fleet]
        try:
            connect_s = await _until_served(client, count)
            before, started = await _figures(client), time.monotonic()
            for agent in fleet:
                agent.reconcile(idle_s)
            await asyncio.sleep(idle_s)
            after, elapsed = await _figures(client), time.monotonic() - started
            for agent in fleet:
                agent.cut()
            reconnect_s = await _until_served(client, count, gone_first=True)
            await asyncio.sleep(Scheduler().agent_grace_s + 2)
            end = await _figures(client)
            tasks[0].cancel()
            fleet[0].cut()
            noticed_s = await _until_down(client, end["marked_down"] + each)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return {
        "idle_writes_per_host_minute": (after["writes"] - before["writes"]) / count * 60 / elapsed,
        "reports_while_idle": float(sum(agent.reports for agent in fleet)),
        "connect_s": connect_s,
        "reconnect_s": reconnect_s,
        "marked_down_while_reconnecting": end["marked_down"] - after["marked_down"],
        "down_after_reconnect": end["down"],
        "loss_noticed_s": noticed_s,
        "writes_after_reconnect": end["writes"] - after["writes"],
        "scheduler_mib": after["rss_kib"] / 1024,
        "kib_a_connection": (after["rss_kib"] - empty["rss_kib"]) / len(fleet),
        "idle_cpu_share": (after["cpu_s"] - before["cpu_s"]) / elapsed,
    }


class _Agent:
    """One agent with its hosts: connected, reconnected as an agent does, reporting when told."""

    def __init__(
        self, url: str, number: int, hosts: int, authority: Authority, gate: asyncio.Semaphore
    ) -> None:
        #: Reports at the start of a connection, and those asked for later.
        self.reported = self.reports = 0
        self._rng = random.Random(number)
        self._settings = Agent(name=f"a{number}", journal_dir=Path("unused"))
        self._tls = authority.agent(self._settings.name, f"h{number}-*", cell=CELL)
        self._url = agent_url(url)
        self._gate = gate
        self._hosts = tuple(
            HostReport(f"h{number}-{one}", {"VCPU": Inventory(total=8)}) for one in range(hosts)
        )
        self._link: Link | None = None
        self._reconcile_s = asyncio.Event()
        self._over_s = 0.0
        self._socket: Socket | None = None

    def reconcile(self, over_s: float) -> None:
        """Report once more, at some time within ``over_s``."""
        self._over_s = over_s
        self._reconcile_s.set()

    def cut(self) -> None:
        """Break the connection without a word."""
        transport = getattr(getattr(self._socket, "recv", None), "__self__", None)
        if transport is not None:
            transport.transport.abort()

    async def run(self) -> None:
        failures = 0
        while True:
            reported = self.reported
            with contextlib.suppress(LinkLost):
                await self._once(connect_timeout_s(self._settings, 1, failures))
            failures = 0 if self.reported > reported else failures + 1
            await asyncio.sleep(reconnect_delay_s(self._settings, 1, failures, self._rng))

    async def _once(self, timeout_s: float) -> None:
        async with contextlib.AsyncExitStack() as on_its_way, contextlib.AsyncExitStack() as open_:
            await on_its_way.enter_async_context(self._gate)
            # Made for each connection: those of thousands would be most of this process's memory.
            connect = connector(client_context(self._tls), self._settings)
            self._socket = socket_ = await open_.enter_async_context(connect(self._url, timeout_s))
            link = Link(
                socket_,
                lambda orders: None,
                lambda link, command: None,
                lambda: "{}",
                answer_timeout_s=60,
            )
            await link.greet(self._settings.name, CELL)
            reader = asyncio.create_task(link.read())
            try:
                await link.report(self._hosts, _REPORT_TIMEOUT_S)
                self.reported += 1
                await on_its_way.aclose()
                waiting = asyncio.create_task(self._reconcile_s.wait())
                await asyncio.wait({reader, waiting}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                if self._reconcile_s.is_set() and not reader.done():
                    self._reconcile_s.clear()
                    await link.sleep(self._over_s * self._rng.uniform(0.0, 0.9))
                    await link.report(self._hosts, _REPORT_TIMEOUT_S)
                    self.reports += 1
                await reader
            finally:
                reader.cancel()
                await asyncio.wait({reader})


async def _figures(client: httpx.AsyncClient) -> dict[str, float]:
    response = await client.get("/figures")
    response.raise_for_status()
    figures: dict[str, float] = response.json()
    return figures


async def _until_served(
    client: httpx.AsyncClient, count: int, *, gone_first: bool = False
) -> float:
    """Seconds until all hosts are served; ``gone_first``: once some were seen not to be."""
    started = time.monotonic()
    while time.monotonic() - started < _CONNECT_TIMEOUT_S:
        with contextlib.suppress(httpx.HTTPError):
            served = (await _figures(client))["hosts"]
            gone_first = gone_first and served >= count
            if served >= count and not gone_first:
                return time.monotonic() - started
        await asyncio.sleep(0.1)
    raise TimeoutError(f"not all of {count} hosts are served within {_CONNECT_TIMEOUT_S:g} s")


async def _until_down(client: httpx.AsyncClient, count: float) -> float:
    """Seconds until hosts were marked down ``count`` times."""
    started = time.monotonic()
    while time.monotonic() - started < _CONNECT_TIMEOUT_S:
        if (await _figures(client))["marked_down"] >= count:
            return time.monotonic() - started
        await asyncio.sleep(0.1)
    raise TimeoutError("a loss was not noticed")


def _need_files(count: int) -> None:
    """As many files as may be open; raises OSError where that is too few."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < count:
        raise OSError(f"{count} files must be open at once, {most} may be (ulimit -Hn).")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
