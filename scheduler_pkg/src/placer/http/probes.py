"""Health, readiness and metrics: for probes and scrapers, without a token."""

from __future__ import annotations

from typing import Final

from litestar import MediaType, Response, get
from litestar.datastructures import State
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

#: No token, no bound, no access log.
PROBES: Final = frozenset({"/healthz", "/readyz", "/metrics"})


@get("/healthz", media_type=MediaType.JSON, public=True, include_in_schema=False)
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@get("/readyz", media_type=MediaType.JSON, public=True, include_in_schema=False)
async def readyz(state: State) -> dict[str, str]:
    await state.ready()
    return {"status": "ready"}


@get("/metrics", public=True, include_in_schema=False)
async def metrics() -> Response[bytes]:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
