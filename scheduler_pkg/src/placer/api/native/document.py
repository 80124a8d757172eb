"""The API's description without a running server: for the reference page and the tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from litestar import Litestar

from placer import http
from placer.api.native import openapi, routes, versions

TITLE: Final = "Placer, native API"
_WORDS: Final = frozenset({"description", "summary", "title"})


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


def frozen() -> str:
    """The structure of the newest version, as the contract tests keep it."""
    text = msgspec.json.encode(structure(document()), order="sorted")
    return msgspec.json.format(text, indent=1).decode() + "\n"


def structure(node: Any) -> Any:
    """A document without the words that are for people, and without the software's own version."""
    if isinstance(node, list):
        return [structure(one) for one in node]
    if not isinstance(node, dict):
        return node
    found = {
        key: structure(value)
        for key, value in node.items()
        if not (key in _WORDS and isinstance(value, str))
    }
    if "openapi" in found:
        found["info"] = {}
    return found
