"""Who and what is let in: the token, and the parameters that a route knows.

Coroutines though they await nothing: the framework would run a plain function in a thread.
"""

from __future__ import annotations

import hmac
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard

from placer.errors import InvalidInput, Unauthorized


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
