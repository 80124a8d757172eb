"""The API's description without a running server: for the reference page and the tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar

from placer import http
from placer.api.native import openapi, routes, versions

TITLE = "Placer, native API"


@asynccontextmanager
async def _nothing(app: Litestar) -> AsyncIterator[None]:
    yield


async def _ready() -> None:
    return


def document() -> dict[str, Any]:
    """The OpenAPI document that every API server of this version serves."""
    app = http.create_app(
        [routes.router()],
        token="",
        ready=_ready,
        lifespan=_nothing,
        body_bytes_max=0,
        inflight_max=0,
        title=TITLE,
        openapi=openapi.finish,
        versions=versions.VERSIONS,
    )
    return openapi.finish(app.routes.openapi_schema.to_schema())
