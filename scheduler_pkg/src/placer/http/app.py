"""An application put together: routes, guards, errors, probes, and the edge around them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from litestar import Litestar, Request, get
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.types import ControllerRouterHandler

from placer import __version__
from placer.errors import PlacerError
from placer.http import answers, probes
from placer.http.edge import Edge
from placer.http.guards import bearer_guard, known_query
from placer.http.versions import Microversions

Ready = Callable[[], Awaitable[None]]
Lifespan = Callable[[Litestar], AbstractAsyncContextManager[None]]
#: From the document that the framework makes to the one that is served.
Finish = Callable[[Mapping[str, Any]], dict[str, Any]]


@get("/openapi.json", public=True, include_in_schema=False)
async def _openapi_document(request: Request[Any, Any, Any], state: State) -> dict[str, Any]:
    if state.document is None:
        state.document = state.finish(request.app.openapi_schema.to_schema())
    document: dict[str, Any] = state.document
    return document


def create_app(
    routes: Sequence[ControllerRouterHandler],
    *,
    token: str,
    ready: Ready,
    lifespan: Lifespan,
    body_bytes_max: int,
    inflight_max: int,
    title: str = "Placer",
    openapi: Finish | None = None,
    versions: Microversions | None = None,
) -> Edge:
    """An ASGI application of ``routes`` and what all processes share.

    Every route wants ``token`` unless it has the option ``public=True``. ``ready`` raises while the
    process cannot serve; it must not ask about other regions. ``lifespan`` opens what the routes
    find in ``app.state`` and closes it again. With ``openapi`` the routes' description is served,
    with ``versions`` a header chooses one.
    """
    app = Litestar(
        route_handlers=[
            probes.healthz,
            probes.readyz,
            probes.metrics,
            *([_openapi_document] if openapi else []),
            *routes,
        ],
        guards=[bearer_guard(token), known_query],
        exception_handlers={
            PlacerError: answers.from_placer,
            HTTPException: answers.from_litestar,
            Exception: answers.from_unexpected,
        },
        lifespan=[lifespan],
        state=State({"ready": ready, "finish": openapi, "document": None}),
        request_max_body_size=body_bytes_max,
        logging_config=None,
        debug=False,
        openapi_config=_openapi(title) if openapi else None,
    )
    return Edge(app, inflight_max, versions)


def _openapi(title: str) -> OpenAPIConfig:
    # The framework's own routes answer unknown paths in HTML, so they are put out of the way.
    return OpenAPIConfig(
        title=title,
        version=__version__,
        path="/.schema",
        render_plugins=[JsonRenderPlugin()],
        use_handler_docstrings=True,
        operation_id_creator=lambda handler, method, path: handler.handler_name,
    )
