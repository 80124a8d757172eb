"""One API process put together: stores, the client for the schedulers, the routes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar import Litestar

from placer import http
from placer.api.native.intake import Intake, scheduler_client
from placer.api.native.routes import ROUTES, Service
from placer.errors import InvalidInput
from placer.settings import Settings, read_secret
from placer.store import open_cells
from placer.store.base import CellStores

_GRACE_S = 5.0
#: Names no request: reading it asks the own cell's keyspace and nothing else.
_PROBE = "readyz"


async def ready(cells: CellStores, cell: str) -> None:
    """Raises StoreError unless the own cell answers a read; other cells are not asked."""
    store = await cells.cell(cell)
    await store.get_request(f"{cell}.{_PROBE}")


def serve(settings: Settings) -> None:
    """Run one API process until it is told to stop; raises PlacerError."""
    api = settings.api
    if api is None:
        raise InvalidInput("The settings have no [api].", remedy="Add it.")
    token = read_secret(api.token_file)
    service_token = read_secret(settings.service_token_file)
    opened: list[CellStores] = []

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        stores = await open_cells(settings)
        opened.append(stores)
        home = await stores.cell(settings.cell)
        async with scheduler_client(settings, service_token, api.inflight_max) as client:
            intake = Intake(settings, home, client, api.inflight_max)
            app.state.service = Service(settings, api, stores, stores.globals, intake)
            try:
                yield
            finally:
                await intake.close(_GRACE_S)
                await stores.close()

    async def own_cell_answers() -> None:
        await ready(opened[0], settings.cell)

    app = http.create_app(
        ROUTES,
        token=token,
        ready=own_cell_answers,
        lifespan=lifespan,
        body_bytes_max=api.body_bytes_max,
        inflight_max=api.inflight_max,
        title="Placer, native API",
        openapi=True,
    )
    http.serve(app, host=api.listen, port=api.port)
