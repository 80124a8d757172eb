"""One API process put together: stores, the client for the schedulers, the routes."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

import httpx
from litestar import Litestar

from placer import diagnosis, failpoints, http
from placer.api.native import diagnoses, document, openapi, routes, versions
from placer.api.native.cells_heard import CellsHeard, clock_ms
from placer.api.native.context import Service
from placer.api.native.intake import Intake, scheduler_client
from placer.api.native.schedulers import Schedulers
from placer.directory import Announcer, Directory
from placer.errors import InvalidInput
from placer.model.service import ServiceKind
from placer.settings import Api, Settings, read_secret, read_service_token
from placer.store.base import Catalog, CellStore, GlobalStore
from placer.store.services import ServiceStore

_GRACE_S = 5.0
#: Names no request: reading it asks the own cell's keyspace and nothing else.
_PROBE = "readyz"


class Stores(Protocol):
    """What ``placer.store.open_cells`` gives."""

    @property
    def globals(self) -> GlobalStore: ...

    @property
    def catalog(self) -> Catalog: ...

    @property
    def services(self) -> ServiceStore: ...

    async def cell(self, name: str) -> CellStore: ...

    def nodes(self) -> dict[str, dict[str, str]]: ...

    async def close(self) -> None: ...


def serve(settings: Settings) -> None:
    """Run one API process until it is told to stop; raises PlacerError."""
    from placer.store import open_cells  # the driver is slow to import: only when needed

    failpoints.arm(os.environ)
    api = _api_of(settings)
    app = application(settings, lambda: open_cells(settings))
    http.serve(app, host=api.listen, port=api.port)


def application(
    settings: Settings,
    open_stores: Callable[[], Awaitable[Stores]],
    *,
    transport: httpx.AsyncBaseTransport | None = None,
) -> Any:
    """The ASGI application. ``open_stores`` and ``transport`` (to the schedulers) are its edges."""
    api = _api_of(settings)
    service_token = read_service_token(settings)
    opened: list[Stores] = []

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        stores = await open_stores()
        opened.append(stores)
        try:
            async with scheduler_client(
                settings, service_token, api.inflight_max, transport
            ) as client:
                announcer = Announcer(
                    settings,
                    ServiceKind.API,
                    stores.services,
                    api=(versions.VERSIONS.min_version, versions.VERSIONS.max_version),
                )
                await announcer.say()
                directory = Directory(settings, stores.services)
                await directory.look()
                intake = Intake(
                    settings, stores, client, api.inflight_max, directory, rng=random.Random()
                )
                heard = CellsHeard(settings.cluster, stores.globals, clock_ms)
                await heard.look()
                loops = [
                    asyncio.create_task(loop)
                    for loop in (heard.run(), directory.run(), announcer.run())
                ]
                app.state.service = Service(
                    settings,
                    api,
                    stores,
                    stores.globals,
                    stores.catalog,
                    intake,
                    Schedulers(settings, client, directory),
                    heard,
                    directory,
                    diagnoses.Diagnoses(settings, stores, directory, intake, heard, client),
                )
                diagnosis.dump_on_signal(intake.depths)
                yield
                for task in loops:
                    task.cancel()
                await asyncio.gather(*loops, return_exceptions=True)
                await announcer.say(stopped=True)
                await intake.close(_GRACE_S)
        finally:
            await stores.close()

    async def own_cell_answers() -> None:
        """Raises StoreError unless the own cell answers a read; other cells are not asked."""
        store = await opened[-1].cell(settings.cell)
        await store.get_request(f"{settings.cell}.{_PROBE}")

    return http.create_app(
        [routes.router(), diagnoses.show_own_diagnosis],
        token=read_secret(api.token_file),
        ready=own_cell_answers,
        lifespan=lifespan,
        body_bytes_max=api.body_bytes_max,
        inflight_max=api.inflight_max,
        title=document.TITLE,
        openapi=openapi.finish,
        versions=versions.VERSIONS,
    )


def _api_of(settings: Settings) -> Api:
    if settings.api is None:
        raise InvalidInput("The settings have no [api].", remedy="Add it.")
    return settings.api
