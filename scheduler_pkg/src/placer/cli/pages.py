"""Lists of any length, by the links of the API."""

from __future__ import annotations

from typing import Annotated, Any, Final
from urllib.parse import parse_qsl, urlsplit

import typer

from placer.cli.connection import Connection

Limit = Annotated[int, typer.Option("--limit", min=1, help="Print so many at most.")]

LIMIT_DEFAULT: Final = 100
_PAGE_MAX: Final = 1000
_PAGES_MAX: Final = 10_000


def items(api: Connection, path: str, key: str, limit: int, **query: Any) -> list[dict[str, Any]]:
    """Up to ``limit`` items of the list at ``path``, over as many pages as that takes."""
    found: list[dict[str, Any]] = []
    query = {**query, "limit": min(limit, _PAGE_MAX)}
    for _ in range(_PAGES_MAX):
        page = api.get(path, **query)
        found += page[key]
        following = [link["href"] for link in page["links"] if link["rel"] == "next"]
        if not following or len(found) >= limit:
            break
        query = dict(parse_qsl(urlsplit(following[0]).query))
    return found[:limit]
