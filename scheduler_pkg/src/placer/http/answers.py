"""Errors as answers, in one form, whoever refuses: our code, the framework, or nobody on purpose."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import structlog
from litestar import MediaType, Request, Response
from litestar.connection import ASGIConnection
from litestar.exceptions import HTTPException, ValidationException

from placer import errors
from placer.errors import PlacerError, Unauthorized

log = structlog.get_logger(__name__)

RETRY_AFTER_S: Final = 1
#: What a body's form is, in the remedies of all that is wrong with one.
FORMS: Final = "The form of each body is at /openapi.json."

_UNEXPECTED: Final = errors.Internal(
    "The request failed by a fault of the service.",
    remedy="Report it with the request id; the service's log has more under it.",
)


def error_response(error: PlacerError, request_id: str) -> Response[Any]:
    """The one form of an error."""
    headers = {str(key): str(value) for key, value in error.fields.get("headers", {}).items()}
    if error.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    body = {
        **{name: value for name, value in error.fields.items() if name != "headers"},
        "code": error.code,
        "status": error.status,
        "title": HTTPStatus(error.status).phrase,
        "detail": error.message,
        "remedy": error.remedy,
        "request_id": request_id,
    }
    return Response(
        content={"errors": [body]},
        status_code=error.status,
        headers=headers,
        media_type=MediaType.JSON,
    )


def fault(request_id: str) -> Response[Any]:
    """The answer to what nobody foresaw: the words of the exception stay in the log."""
    return error_response(_UNEXPECTED, request_id)


def from_placer(request: Request[Any, Any, Any], error: PlacerError) -> Response[Any]:
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("request_failed", code=error.code, error=str(error))
    return error_response(error, _request_id(request))


def from_litestar(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """What the framework refuses by itself, in our form."""
    refusal = _refusal(request, error)
    if refusal is not None:
        return error_response(refusal, _request_id(request))
    if request.scope["state"].get("client_left"):
        # The framework calls it a fault that the rest of the body did not come.
        log.info("client_left")
        return fault(_request_id(request))
    return from_unexpected(request, error)


def from_unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """A fault of ours: the log gets the trace, the caller the id to find it by."""
    log.error("unexpected_error", exc_info=error)
    return fault(_request_id(request))


def _refusal(request: Request[Any, Any, Any], error: HTTPException) -> PlacerError | None:
    """The framework's refusal as one of our errors; None if it is not the caller's doing."""
    path = request.url.path
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            return errors.NotFound(
                f"There is nothing at {path}.", remedy="The addresses are listed at /openapi.json."
            )
        case HTTPStatus.METHOD_NOT_ALLOWED:
            return errors.MethodNotAllowed(
                f"{request.method} is not possible at {path}.",
                remedy="The header Allow lists what is.",
                headers=error.headers or {},
            )
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return errors.TooLarge("The body is too large.", remedy="Send less in one request.")
        case HTTPStatus.BAD_REQUEST:
            return _invalid(error)
    return None


def _invalid(error: HTTPException) -> PlacerError:
    """A parameter of the query or the path that does not fit its type."""
    if isinstance(error, ValidationException) and isinstance(error.extra, list) and error.extra:
        field = str(error.extra[0].get("key", ""))
        message = f"{error.extra[0].get('message', '')}."
        return errors.InvalidInput(f"{field}: {message}", remedy=FORMS, field=field)
    return errors.InvalidInput(error.detail, remedy=FORMS)


def _request_id(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    return str(connection.scope["state"].get("request_id", ""))
