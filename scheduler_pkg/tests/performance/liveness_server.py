"""The scheduler's process of ``liveness.py``: a hub on rows in memory, behind the real listener.

liveness_server.py PORT AGENTS_PORT CERTIFICATE KEY CA
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from litestar import Litestar, get
from litestar.datastructures import State

from placer import http, logs
from placer.claims.operations import Operation, Refusal, SetStatus
from placer.model.messages import CommandDone, GuestState
from placer.model.records import HostRow, HostStatus, Record
from placer.scheduler.agent_hub import AgentHub
from placer.scheduler.agent_listener import listening
from placer.scheduler.guest_commands import GuestCommand
from placer.settings import Cluster, Scheduler, Settings, Tls

CELL: Final = "c1"
TOKEN: Final = "a-token"


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

    async def refused(self, row: HostRow, agent: str, why: str) -> None: ...

    async def turned_away(self, who: str, why: str) -> None: ...

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


def _serve(port: int, settings: Settings) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
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
        async with listening(settings, hub.serve, lambda *_: None):
            yield
        task.cancel()

    async def ready() -> None: ...

    app = http.create_app(
        [_figures_now],
        token=TOKEN,
        ready=ready,
        lifespan=lifespan,
        body_bytes_max=1_048_576,
        inflight_max=1024,
    )
    http.serve(app, host="127.0.0.1", port=port)


def _resident_kib() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def _settings(agents_port: str, *tls: str) -> Settings:
    return Settings(
        process="s1",
        cell=CELL,
        cluster=Cluster(deployment="test", cells=()),
        tls=Tls(*map(Path, tls)),
        scheduler=Scheduler(listen="127.0.0.1", agents_port=int(agents_port)),
    )


if __name__ == "__main__":
    _serve(int(sys.argv[1]), _settings(*sys.argv[2:]))
