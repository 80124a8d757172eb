"""Many agents on one machine: what their open connections cost while nothing happens.

A scheduler's hub on rows in memory, behind the server that production uses, in a process of its own;
in this process one connection for each agent, made of the agent's own link, with its heartbeats. The
rows are in memory because the question is what is asked of the store, not how fast that answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import resource
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import httpx
from litestar import Litestar, WebSocket, get, websocket
from litestar.datastructures import State

from placer import http, logs
from placer.agents.link import Link, LinkLost, Socket, agent_url, connector, reconnect_delay_s
from placer.claims.operations import Operation, Refusal, SetStatus
from placer.model.messages import CommandDone, GuestState, HostReport
from placer.model.records import HostRow, HostStatus, Inventory, Record
from placer.scheduler.agent_hub import AgentHub
from placer.scheduler.guest_commands import GuestCommand
from placer.settings import Agent, Scheduler

CELL: Final = "c1"
TOKEN: Final = "a-token"
_CONNECT_TIMEOUT_S: Final = 180.0
_REPORT_TIMEOUT_S: Final = 60.0
#: Files of one process beside its connections.
_SPARE_FILES: Final = 200


def idle_writes(*, agents: int, idle_s: float, hosts_each: int = 1) -> dict[str, float]:
    """Rows written for each host and minute while all agents are connected and report once more.

    Also: seconds until all were connected and reported, and until all were back after every
    connection broke at once; how often a host was marked down meanwhile, and how many are in the end;
    seconds until the hosts of an agent that does not come back are marked down; resident MiB and KiB for a connection of the
    scheduler; its CPU share while idle.
    """
    _need_files(agents + _SPARE_FILES)
    port = _free_port()
    process = subprocess.Popen(
        [sys.executable, __file__, str(port)],
        env={**os.environ, "PYTHONPATH": str(Path(http.__file__).parents[2])},
    )
    try:
        return asyncio.run(_measure(f"http://127.0.0.1:{port}", agents, hosts_each, idle_s))
    finally:
        process.kill()
        process.wait()


async def _measure(url: str, agents: int, each: int, idle_s: float) -> dict[str, float]:
    count = agents * each
    async with httpx.AsyncClient(base_url=url, headers=_HEADERS, timeout=60) as client:
        await _until_served(client, 0)
        empty = await _figures(client)
        fleet = [_Agent(url, number, each) for number in range(agents)]
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
        "kib_a_connection": (after["rss_kib"] - empty["rss_kib"]) / agents,
        "idle_cpu_share": (after["cpu_s"] - before["cpu_s"]) / elapsed,
    }


class _Agent:
    """One agent with its hosts: connected, reconnected as an agent does, reporting when told."""

    def __init__(self, url: str, number: int, hosts: int) -> None:
        #: Reports at the start of a connection, and those asked for later.
        self.reported = self.reports = 0
        self._rng = random.Random(number)
        self._settings = Agent(name=f"a{number}", journal_dir=Path("unused"))
        self._connect = connector(TOKEN, self._settings)
        self._url = agent_url(url)
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
                await self._once()
            failures = 0 if self.reported > reported else failures + 1
            await asyncio.sleep(reconnect_delay_s(self._settings, 1, failures, self._rng))

    async def _once(self) -> None:
        async with self._connect(self._url) as socket_:
            self._socket = socket_
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


_HEADERS: Final = {"Authorization": f"Bearer {TOKEN}"}


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


# -- the scheduler's process


class _Rows:
    """Rows in memory, and who hears of claims: nobody, as there are none."""

    def __init__(self) -> None:
        self.rows: dict[str, HostRow] = {}
        self.writes = 0
        self.marked_down = 0

    async def read_row(self, host: str) -> HostRow | None:
        return self.rows.get(host)

    async def submit(
        self, host: str, operation: Operation, *, deadline_s: float
    ) -> HostRow | Refusal:
        # Whatever it finds, on a real store it costs at least a Paxos round, and that writes.
        self.writes += 1
        self.marked_down += operation == SetStatus(HostStatus.DOWN)
        row = self.rows.get(host)
        made = operation.apply(row, 1) if row else operation.founding(host)
        if isinstance(made, HostRow):
            self.rows[host] = made
        return made or Refusal("host_unknown")

    async def confirmed(self, record: Record) -> bool:
        return True

    def adopted(self, row: HostRow, record: Record) -> None: ...

    def marked(self, row: HostRow, record: Record) -> None: ...

    async def built(self, row: HostRow, record: Record) -> None: ...

    async def failed(self, row: HostRow, record: Record, why: str) -> None: ...

    async def lapsed(self, row: HostRow, record: Record) -> None: ...

    async def gone(self, row: HostRow, record: Record) -> None: ...

    async def host(self, row: HostRow) -> None: ...

    async def guest(self, row: HostRow, state: GuestState) -> None: ...


async def _nobody(hosts: set[str], agent: str) -> dict[str, str]:
    return {}


async def _no_other(command: GuestCommand) -> CommandDone | None:
    return None


@get("/figures", sync_to_thread=False)
def _figures_now(state: State) -> dict[str, float]:
    rows: _Rows = state.rows
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "hosts": state.hub.hosts,
        "writes": rows.writes,
        "marked_down": rows.marked_down,
        "down": sum(row.status is HostStatus.DOWN for row in rows.rows.values()),
        "rss_kib": _resident_kib(),
        "cpu_s": usage.ru_utime + usage.ru_stime,
    }


@websocket("/internal/v1/agent")
async def _agent(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    hub: AgentHub = socket.app.state.hub
    await hub.serve(socket)


def _serve(port: int) -> None:
    _need_files(0)
    logs.configure("s1", logging.CRITICAL)

    @contextlib.asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        app.state.rows = rows = _Rows()
        app.state.hub = hub = AgentHub(
            process="s1",
            cell=CELL,
            read_row=rows.read_row,
            writer=rows,
            events=rows,
            served_elsewhere=_nobody,
            command_elsewhere=_no_other,
            grace_s=Scheduler().agent_grace_s,
            deadline_s=10.0,
        )
        task = asyncio.create_task(hub.run())
        yield
        task.cancel()

    async def ready() -> None: ...

    app = http.create_app(
        [_figures_now, _agent],
        token=TOKEN,
        ready=ready,
        lifespan=lifespan,
        body_bytes_max=1_048_576,
        inflight_max=1024,
    )
    http.serve(app, host="127.0.0.1", port=port)


def _need_files(count: int) -> None:
    """As many files as may be open; raises OSError where that is too few."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < count:
        raise OSError(f"{count} files must be open at once, {most} may be (ulimit -Hn).")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _resident_kib() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
