"""What every HTTP process shares: tokens, errors, request ids, bounds, health, metrics, the runner.

``create_app`` wraps a Litestar application in one ASGI layer (``_Edge``) that sees every request,
also those that no route matches: it gives the request id, counts, logs, bounds what is in flight,
and answers for anything that nobody caught. All errors have one form:

    {"errors": [{"code", "status", "title", "detail", "remedy", "request_id", ...}]}
"""

from __future__ import annotations

import hmac
import re
import socket
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from typing import Any, Final, TypeVar

import msgspec
import structlog
import uvicorn
from litestar import Litestar, MediaType, Request, Response, get
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.exceptions import HTTPException, ValidationException
from litestar.handlers import BaseRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.types import ASGIApp, ControllerRouterHandler, Guard, Message, Receive, Scope, Send
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from placer import __version__
from placer.errors import InvalidInput, Overloaded, PlacerError, Unauthorized

log = structlog.get_logger(__name__)

REQUEST_ID: Final = "x-request-id"
#: Paths for probes and scrapers: no token, no bound, no access log.
PROBES: Final = frozenset({"/healthz", "/readyz", "/metrics"})

_REQUEST_ID_FORM: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
#: msgspec ends its messages with the place, e.g. "... - at `$.resources[...]`".
_PLACE: Final = re.compile(r" - at `(?:key in )?\$\.?(?P<path>[^`]*)`$")
_UNKNOWN_FIELD: Final = re.compile(r"unknown field `(.+)`")
_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
_RETRY_AFTER_S: Final = 1
_BACKLOG: Final = 1024
_WS_PING_S: Final = 5.0
_WS_PONG_S: Final = 15.0

#: Codes of what the framework refuses by itself.
_CODES: Final[Mapping[int, str]] = {
    400: "placer.invalid_input",
    401: "placer.unauthorized",
    404: "placer.not_found",
    405: "placer.method_not_allowed",
    413: "placer.too_large",
    415: "placer.unsupported_media_type",
}
_REMEDIES: Final[Mapping[int, str]] = {
    400: "The form of each body is at /openapi.json.",
    404: "The addresses are listed at /openapi.json.",
    413: "Send less in one request.",
}

disable_created_metrics()  # type: ignore[no-untyped-call]
_requests = Counter("placer_http_requests_total", "Requests.", ["method", "route", "status"])
_seconds = Histogram(
    "placer_http_request_duration_seconds",
    "From the head of a request to the end of its answer.",
    ["method", "route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
_in_flight = Gauge("placer_http_requests_in_flight", "Requests being served.")
_refused = Counter("placer_http_overloaded_total", "Requests refused at the bound in flight.")

_T = TypeVar("_T")
Ready = Callable[[], Awaitable[None]]
Lifespan = Callable[[Litestar], AbstractAsyncContextManager[None]]


# -- errors


def error_response(error: PlacerError, request_id: str) -> Response[Any]:
    """The one form of an error, from one of ours."""
    headers = {}
    if isinstance(error, Overloaded):
        headers["Retry-After"] = str(_RETRY_AFTER_S)
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    return _error(
        error.status,
        error.code,
        error.message,
        error.remedy,
        request_id,
        headers=headers,
        fields=error.fields,
    )


def _error(
    status: int,
    code: str,
    detail: str,
    remedy: str,
    request_id: str,
    *,
    headers: Mapping[str, str] | None = None,
    fields: Mapping[str, Any] | None = None,
) -> Response[Any]:
    body = {
        **(fields or {}),
        "code": code,
        "status": status,
        "title": HTTPStatus(status).phrase,
        "detail": detail,
        "remedy": remedy,
        "request_id": request_id,
    }
    return Response(
        content={"errors": [body]},
        status_code=status,
        headers=dict(headers or {}),
        media_type=MediaType.JSON,
    )


def _request_id(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    return str(connection.scope["state"].get("request_id", ""))


def _from_placer(request: Request[Any, Any, Any], error: PlacerError) -> Response[Any]:
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("request_failed", code=error.code, error=str(error))
    return error_response(error, _request_id(request))


def _from_litestar(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """What the framework refuses by itself, in our form."""
    status = error.status_code
    if status not in _CODES:
        return _from_unexpected(request, error)
    detail, field = error.detail, ""
    if isinstance(error.__cause__, msgspec.DecodeError):
        detail, field = _explain(str(error.__cause__))
    elif isinstance(error, ValidationException) and isinstance(error.extra, list) and error.extra:
        field = _in_body(str(error.extra[0].get("key", "")))
        detail = f"{error.extra[0].get('message', '')}."
    elif status == HTTPStatus.NOT_FOUND:
        detail = f"There is nothing at {request.url.path}."
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"{request.method} is not possible at {request.url.path}."
    elif status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        detail = "The body is too large."
    return _error(
        status,
        _CODES[status],
        f"{field}: {detail}" if field else detail,
        _REMEDIES.get(status, ""),
        _request_id(request),
        headers=error.headers,
        fields={"field": field} if field else {},
    )


def strictly(body: bytes, kind: type[_T]) -> _T:
    """``body`` as a ``kind``, without the framework's kindness of taking "4" for 4. Raises InvalidInput."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        detail, field = _explain(str(error))
        raise InvalidInput(
            f"{field}: {detail}" if field else detail,
            remedy=_REMEDIES[400],
            **({"field": field} if field else {}),
        ) from None


def _explain(text: str) -> tuple[str, str]:
    """Detail and field of what msgspec says of a body."""
    place = _PLACE.search(text)
    detail = (text[: place.start()] if place else text) + "."
    if detail == "Object missing required field `data`.":
        return "There is no body; one in JSON is wanted.", ""
    field = _in_body(place["path"]) if place else ""
    unknown = _UNKNOWN_FIELD.search(detail)
    return detail, ".".join(part for part in (field, unknown[1] if unknown else "") if part)


def _in_body(path: str) -> str:
    """A field's path as the caller knows it: the framework calls the body ``data``."""
    return path.removeprefix("data").lstrip(".")


def _from_unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """A fault of ours: the log gets the trace, the caller the id to find it by."""
    request_id = _request_id(request)
    log.error("unexpected_error", exc_info=error)
    return _error(500, *_FAULT, request_id)


_FAULT: Final = (
    "placer.internal",
    "The request failed by a fault of the service.",
    "Report it with the request id; the service's log has more under it.",
)


# -- guards


# Coroutines though they await nothing: the framework would run a plain function in a thread.


def bearer_guard(token: str) -> Guard:
    """Lets in who knows ``token``; the comparison takes the same time whatever is wrong."""
    expected = f"Bearer {token}".encode()

    async def guard(
        connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler
    ) -> None:
        if handler.opt.get("public"):
            return
        given = connection.headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, expected):
            raise Unauthorized(
                "The token is missing or wrong.",
                remedy="Send it as Authorization: Bearer <token>.",
            )

    return guard


async def known_query(
    connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler
) -> None:
    """Refuses query parameters that the route (its option ``query``) does not know."""
    known = handler.opt.get("query", ())
    for name in connection.query_params:
        if name not in known:
            raise InvalidInput(
                f"Unknown query parameter {name!r}.",
                remedy="Known here: " + (", ".join(known) or "none") + ".",
                field=name,
            )


# -- health and metrics


@get("/healthz", media_type=MediaType.JSON, public=True, include_in_schema=False)
async def _healthz() -> dict[str, str]:
    return {"status": "ok"}


@get("/readyz", media_type=MediaType.JSON, public=True, include_in_schema=False)
async def _readyz(state: State) -> dict[str, str]:
    await state.ready()
    return {"status": "ready"}


@get("/metrics", public=True, include_in_schema=False)
async def _metrics() -> Response[bytes]:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


@get("/openapi.json", public=True, include_in_schema=False)
async def _openapi_document(request: Request[Any, Any, Any]) -> dict[str, Any]:
    return request.app.openapi_schema.to_schema()


# -- the application


class _Edge:
    """The outermost layer: one per process, around every request. ``state`` is the application's."""

    def __init__(self, app: Litestar, inflight_max: int) -> None:
        self.state = app.state
        self._app: ASGIApp = app
        self._inflight_max = inflight_max
        self._inflight = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, _brief_failure(send))
        elif scope["type"] == "http" and scope["path"] not in PROBES:
            await self._serve(scope, receive, send)
        else:
            scope.setdefault("state", {})["request_id"] = _choose_request_id(scope)
            await self._app(scope, receive, _answering_id(scope, send))

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request: id, bound, answer whatever happens, count, log."""
        request_id = _choose_request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        started = time.perf_counter()
        status = 0

        answer = _answering_id(scope, send)

        async def noting_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await answer(message)

        self._inflight += 1
        _in_flight.set(self._inflight)
        try:
            if self._inflight > self._inflight_max:
                _refused.inc()
                await self._overloaded(request_id, noting_status)
            else:
                await self._app(scope, receive, noting_status)
        except Exception:
            log.exception("unexpected_error")
            if status:
                raise  # half an answer is out: only closing the connection tells the caller
            await _send_response(_error(500, *_FAULT, request_id), noting_status)
        finally:
            self._inflight -= 1
            _in_flight.set(self._inflight)
            _account(scope, status, time.perf_counter() - started)

    async def _overloaded(self, request_id: str, send: Send) -> None:
        error = Overloaded(
            f"{self._inflight_max} requests are being served.", remedy="Try again in a second."
        )
        await _send_response(error_response(error, request_id), send)


def _choose_request_id(scope: Scope) -> str:
    """The caller's id if it is a decent one, else a new one."""
    for name, value in scope["headers"]:
        if name == REQUEST_ID.encode():
            given = value.decode("latin-1")
            if _REQUEST_ID_FORM.fullmatch(given):
                return given
    return f"req-{uuid.uuid4()}"


def _answering_id(scope: Scope, send: Send) -> Send:
    """``send`` that adds the request's id to the answer's headers."""
    header = (REQUEST_ID.encode(), str(scope["state"]["request_id"]).encode())

    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), header]
        await send(message)

    return answer


def _account(scope: Scope, status: int, seconds: float) -> None:
    """Metrics and the access log. The route is its template: an id is never a label."""
    method = str(scope.get("method", ""))
    method = method if method in _METHODS else "OTHER"
    route = str(scope.get("path_template") or "unmatched")
    _requests.labels(method, route, status).inc()
    _seconds.labels(method, route).observe(seconds)
    log.info(
        "request",
        method=method,
        path=scope["path"],
        status=status,
        duration_ms=round(seconds * 1000, 2),
    )


async def _send_response(response: Response[Any], send: Send) -> None:
    """Send a response from outside of Litestar."""
    body = msgspec.json.encode(response.content)
    headers = [(key.lower().encode(), value.encode()) for key, value in response.headers.items()]
    headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send(
        {"type": "http.response.start", "status": response.status_code or 500, "headers": headers}
    )
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _brief_failure(send: Send) -> Send:
    """A start that fails is told by the last line of its trace: the error itself, with its remedy."""

    async def brief(message: Any) -> None:
        if message["type"] == "lifespan.startup.failed":
            lines = str(message.get("message", "")).strip().splitlines() or [""]
            log.error("start_failed", error=lines[-1].strip(" |+-"))
            message = {**message, "message": ""}
        await send(message)

    return brief


def create_app(
    routes: Sequence[ControllerRouterHandler],
    *,
    token: str,
    ready: Ready,
    lifespan: Lifespan,
    body_bytes_max: int,
    inflight_max: int,
    title: str = "Placer",
    openapi: bool = False,
) -> _Edge:
    """An ASGI application of ``routes`` and what all processes share.

    Every route wants ``token`` unless it has the option ``public=True``. ``ready`` raises while the
    process cannot serve; it must not ask about other regions. ``lifespan`` opens what the routes
    find in ``app.state`` and closes it again.
    """
    app = Litestar(
        route_handlers=[
            _healthz,
            _readyz,
            _metrics,
            *([_openapi_document] if openapi else []),
            *routes,
        ],
        guards=[bearer_guard(token), known_query],
        exception_handlers={
            PlacerError: _from_placer,
            HTTPException: _from_litestar,
            Exception: _from_unexpected,
        },
        lifespan=[lifespan],
        state=State({"ready": ready}),
        request_max_body_size=body_bytes_max,
        logging_config=None,
        debug=False,
        openapi_config=_openapi(title) if openapi else None,
    )
    return _Edge(app, inflight_max)


def _openapi(title: str) -> OpenAPIConfig:
    # The framework's own routes answer unknown paths in HTML, so they are put out of the way.
    return OpenAPIConfig(
        title=title,
        version=__version__,
        path="/.schema",
        render_plugins=[JsonRenderPlugin()],
        use_handler_docstrings=True,
    )


def serve(app: _Edge, *, host: str, port: int, grace_s: int = 10) -> None:
    """Serve until SIGINT or SIGTERM, then let requests in flight end within ``grace_s``.

    Raises PlacerError when the address cannot be used.
    """
    try:
        listener = socket.create_server((host, port), backlog=_BACKLOG)
    except OSError as error:
        raise PlacerError(
            f"Cannot listen on {host}:{port}: {error.strerror}.",
            remedy="Free the port, or choose another in the settings.",
        ) from error
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        # A host that loses power closes nothing: only a missing pong tells.
        ws_ping_interval=_WS_PING_S,
        ws_ping_timeout=_WS_PONG_S,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=grace_s,
    )
    server = uvicorn.Server(config)
    with listener:
        server.run(sockets=[listener])
    if not server.started:
        raise PlacerError("The process could not start; its log says why.")
