"""An API process on a port of this machine, with stores in memory and schedulers that keep them.

For what must speak HTTP for real: the contract's stories and the command line.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import uvicorn
from msgspec import Struct
from structlog.testing import capture_logs

from placer.api.service import application
from placer.model.destinations import Destinations
from placer.model.request import Reason, Request, RequestSpec, Stage

from .conftest import TOKEN, make_settings, place, placed
from .operated import list_instances, operated
from .stores import MemoryStores

#: Who asks for more VCPUs than this is refused.
VCPU_MAX = 64
STARTED_WITHIN_S = 10.0

NO_HOST = Reason(
    code="no_valid_host",
    message="None of 2 hosts of cell nyc1 can take it: 0 left after capacity.",
    rejected={"VCPU:no_capacity": 2},
    hosts_seen=2,
    left={"status": 2, "capacity": 0},
    cells={"nyc1": 0},
    nearest="h1 of cell nyc1: it can give 64 of 1000 VCPU",
    remedy="Ask for at most 64 VCPU, free some, or ask another cell.",
)


class Live(Struct):
    """Where the API is, and what is in its stores."""

    url: str
    token: str
    stores: MemoryStores


class StoringSchedulers:
    """Schedulers that decide at once and store what they decided."""

    def __init__(self, stores: MemoryStores) -> None:
        self._stores = stores

    async def __call__(self, call: httpx.Request) -> httpx.Response:
        if call.url.path == "/internal/v1/select":
            return self._select(call)
        if call.url.path != "/internal/v1/schedule":
            return operated(call, self._stores) or placed(call)
        request = msgspec.json.decode(call.content, type=Request)
        decided = self._decide(request)
        self._stores.cells[request.home_cell].requests[request.id] = decided
        if request.spec.name == "listed":
            await list_instances(self._stores, decided)
        return httpx.Response(200, content=msgspec.json.encode(decided))

    def _decide(self, request: Request) -> Request:
        now_ms = request.updated_ms + 1
        if request.stage is Stage.CANCELLING:
            return request.to(Stage.CANCELLED, now_ms, placements=())
        if _too_large(request.spec):
            return request.to(Stage.REFUSED, now_ms, NO_HOST.message, reason=NO_HOST)
        there = place(request)
        if request.spec.name == "slow":
            return there
        return there.to(Stage.BUILT, now_ms + 1)

    def _select(self, call: httpx.Request) -> httpx.Response:
        if _too_large(msgspec.json.decode(call.content, type=RequestSpec)):
            body = msgspec.json.encode(Destinations(reason=NO_HOST))
            return httpx.Response(200, content=body)
        return placed(call)


def _too_large(spec: RequestSpec) -> bool:
    return spec.resources.get("VCPU", 0) > VCPU_MAX


@contextmanager
def serving(folder: Path, **api: object) -> Iterator[Live]:
    """The process, from ready to stopped."""
    stores = MemoryStores()

    async def opened() -> MemoryStores:
        return stores

    transport = httpx.MockTransport(StoringSchedulers(stores))
    app: Any = application(make_settings(folder, **api), opened, transport=transport)
    config = uvicorn.Config(app, lifespan="on", log_config=None, access_log=False, ws="none")
    server = uvicorn.Server(config)
    # The process's log would mix with what a command prints.
    with capture_logs(), socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            deadline = time.monotonic() + STARTED_WITHIN_S
            while not server.started and time.monotonic() < deadline:
                time.sleep(0.01)
            assert server.started
            yield Live(f"http://127.0.0.1:{port}", TOKEN, stores)
        finally:
            server.should_exit = True
            thread.join()
