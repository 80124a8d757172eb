"""The outermost layer of a process: request id, version, bound, count and log of every request."""

from __future__ import annotations

import re
import time
import uuid
from typing import Any, Final

import msgspec
import structlog
from litestar import Litestar, Response
from litestar.types import (
    ASGIApp,
    HTTPReceiveMessage,
    Message,
    Receive,
    Scope,
    Send,
    WebSocketReceiveMessage,
)
from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

from placer import telemetry, tracing
from placer.errors import Overloaded, PlacerError
from placer.http.answers import error_response, fault
from placer.http.probes import PROBES
from placer.http.versions import Header, Microversions, asked_in

log = structlog.get_logger(__name__)

REQUEST_ID: Final = "x-request-id"

_REQUEST_ID_FORM: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})

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


class Edge:
    """One per process, around every request. ``state`` is the application's.

    With ``versions`` a request may choose one of them; the routes find it, as (major, minor), in
    ``scope["state"]["api_version"]``.
    """

    def __init__(
        self, app: Litestar, inflight_max: int, versions: Microversions | None = None
    ) -> None:
        self.state = app.state
        self.routes = app
        self._app: ASGIApp = app
        self._inflight_max = inflight_max
        self._versions = versions
        self._inflight = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, _brief_failure(send))
        elif scope["type"] == "http" and scope["path"] not in PROBES:
            await self._serve(scope, receive, send)
        else:
            request_id = _choose_request_id(scope)
            scope.setdefault("state", {})["request_id"] = request_id
            await self._app(scope, receive, _adding([_id_header(request_id)], send))

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request: id, version, bound, answer whatever happens, count, log."""
        request_id = _choose_request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        tracing.bind(_trace_of(scope))
        started = time.perf_counter()
        status = 0
        extra = [_id_header(request_id)]
        answer = _adding(extra, send)

        async def noting_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await answer(message)

        async def noting_end() -> HTTPReceiveMessage | WebSocketReceiveMessage:
            message = await receive()
            if message["type"] == "http.disconnect":
                scope["state"]["client_left"] = True
            return message

        self._inflight += 1
        _in_flight.set(self._inflight)
        try:
            with telemetry.span("HTTP"):
                try:
                    self._admit(scope, extra)
                    await self._app(scope, noting_end, noting_status)
                finally:
                    telemetry.rename(f"{_method(scope)} {_route(scope)}")
                    telemetry.note(request_id=request_id, status=status)
        except PlacerError as error:
            await _send_response(error_response(error, request_id), noting_status)
        except Exception:
            log.exception("unexpected_error")
            if status:
                raise  # half an answer is out: only closing the connection tells the caller
            await _send_response(fault(request_id), noting_status)
        finally:
            self._inflight -= 1
            _in_flight.set(self._inflight)
            _account(scope, status, time.perf_counter() - started)

    def _admit(self, scope: Scope, extra: list[Header]) -> None:
        """Bound and version; ``extra`` gets the answer's headers. Raises Overloaded or 406."""
        if self._inflight > self._inflight_max:
            _refused.inc()
            raise Overloaded(
                f"{self._inflight_max} requests are being served.", remedy="Try again in a second."
            )
        if self._versions is None:
            return
        chosen = None
        try:
            chosen = self._versions.choose(asked_in(list(scope["headers"])))
        finally:
            extra += self._versions.headers(chosen)
        scope["state"]["api_version"] = chosen


def _choose_request_id(scope: Scope) -> str:
    """The caller's id if it is a decent one, else a new one."""
    for name, value in scope["headers"]:
        if name == REQUEST_ID.encode():
            given = value.decode("latin-1")
            if _REQUEST_ID_FORM.fullmatch(given):
                return given
    return f"req-{uuid.uuid4()}"


def _trace_of(scope: Scope) -> str:
    """The caller's trace id if it gave one, else a new one."""
    given = [value for name, value in scope["headers"] if name == tracing.HEADER.encode()]
    return (
        tracing.given_in(given[0].decode("latin-1")) if len(given) == 1 else ""
    ) or tracing.new()


def _id_header(request_id: str) -> Header:
    return REQUEST_ID.encode(), request_id.encode()


def _adding(headers: list[Header], send: Send) -> Send:
    """``send`` that adds ``headers``, as they are when the answer begins."""

    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *headers]
        await send(message)

    return answer


def _account(scope: Scope, status: int, seconds: float) -> None:
    """Metrics and the access log. The route is its template: an id is never a label."""
    method, route = _method(scope), _route(scope)
    _requests.labels(method, route, status).inc()
    _seconds.labels(method, route).observe(seconds)
    log.info(
        "request",
        method=method,
        path=scope["path"],
        status=status,
        duration_ms=round(seconds * 1000, 2),
    )


def _method(scope: Scope) -> str:
    method = str(scope.get("method", ""))
    return method if method in _METHODS else "OTHER"


def _route(scope: Scope) -> str:
    return str(scope.get("path_template") or "unmatched")


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
