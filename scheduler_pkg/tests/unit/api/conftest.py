"""An API process of cell nyc1 with stores in memory and two schedulers that a test scripts."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from litestar.testing import TestClient
from msgspec import Struct

from placer import settings as config
from placer.api.service import application
from placer.model.destinations import Destination, Destinations
from placer.model.quotas import Quota, QuotaView, notes
from placer.model.request import Alternate, Placement, Request, RequestSpec, Stage
from placer.scheduler.quotas import slice_view

from .stores import MemoryStores

TOKEN = "api-token"
Answer = Callable[[httpx.Request], httpx.Response]
Handler = Callable[[httpx.Request], Coroutine[None, None, httpx.Response]]


def placed(request: httpx.Request) -> httpx.Response:
    """A scheduler that places whatever it gets, and finds a host for whatever is looked for."""
    match request.url.path.removeprefix("/internal/v1/"):
        case "schedule":
            answer: object = place(msgspec.json.decode(request.content, type=Request))
        case "select":
            spec = msgspec.json.decode(request.content, type=RequestSpec)
            hosts = [Destination(spec.cell or "nyc1", f"u{n}", f"h{n}") for n in range(spec.count)]
            further = [Alternate("nyc1", f"a{n}", f"a{n}") for n in range(spec.alternates)]
            answer = Destinations(tuple(hosts), tuple(further))
        case "quotas" | "quotas/view":
            quota = msgspec.json.decode(request.content, type=Quota)
            slices = tuple(slice_view(quota, cell, None) for cell in ("nyc1", "ams1", "ams2"))
            answer = QuotaView(quota.project, quota.limits, slices, notes(quota, slices))
        case "server-groups":
            answer = msgspec.json.decode(request.content)
        case "closed-server-groups":
            named: dict[str, Any] = msgspec.json.decode(request.content)
            answer = named
            if named["name"] == "busy":
                code, detail = "placer.server_group_in_use", "The server group busy has 2 members."
                said = [{"code": code, "detail": detail, "remedy": "Cancel their requests first."}]
                return httpx.Response(409, content=msgspec.json.encode({"errors": said}))
        case _:
            return httpx.Response(404)
    return httpx.Response(200, content=msgspec.json.encode(answer))


def place(asked: Request) -> Request:
    """``asked`` with a place for each of its instances."""
    where = asked.spec.cell or "nyc1"
    placements = tuple(
        Placement(where, f"u{n}", f"h{n}", f"c{n}", f"i{n}") for n in range(1, asked.spec.count + 1)
    )
    return asked.to(Stage.PLACED, asked.updated_ms, placements=placements)


class Schedulers:
    """The schedulers of the own cell, by URL; ``asked`` is every call, in order."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {"http://s1:8790": placed, "http://s2:8790": placed}
        self.asked: list[httpx.Request] = []

    def all(self, answer: Answer) -> None:
        self.answers = dict.fromkeys(self.answers, answer)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return self.answers[f"http://{request.url.host}:{request.url.port}"](request)


class Api(Struct):
    """What a test works with."""

    client: TestClient  # type: ignore[type-arg]  # of an ASGI application that is not Litestar's
    stores: MemoryStores
    schedulers: Schedulers


def make_settings(folder: Path, **api: object) -> config.Settings:
    (folder / "token").write_text(f"{TOKEN}\n")
    (folder / "service").write_text("service-token\n")
    schedulers = ("http://s1:8790", "http://s2:8790")
    cells = (
        config.Cell("nyc1", "nyc", "nyc1", ("10.0.0.1",), host_buckets=4, schedulers=schedulers),
        config.Cell("ams1", "ams", "ams1", ("10.0.1.1",), host_buckets=4),
        config.Cell("ams2", "ams", "ams2", ("10.0.2.1",), host_buckets=4),
    )
    return config.Settings(
        process="nyc1-api-1",
        cell="nyc1",
        cluster=config.Cluster("test", cells),
        service_token_file=folder / "service",
        api=config.Api(token_file=folder / "token", **api),  # type: ignore[arg-type]
    )


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    yield from started(make_settings(tmp_path))


def started(settings: config.Settings, handler: Handler | None = None) -> Iterator[Api]:
    """The process, running; ``handler`` answers for the schedulers in place of scripted ones."""
    stores, schedulers = MemoryStores(), Schedulers()

    async def opened() -> MemoryStores:
        return stores

    app = application(settings, opened, transport=httpx.MockTransport(handler or schedulers))
    with TestClient(app) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        yield Api(client, stores, schedulers)
    assert stores.closed
