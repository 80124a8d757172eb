"""Pages of hosts. The order is (bucket, provider uuid), so a page costs a few partitions.

A marker is the uuid of the last host seen; its bucket follows from it. A host that is gone still
marks its place.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any, Final
from urllib.parse import urlencode

from placer.errors import InvalidInput
from placer.model import ids
from placer.model.host_view import HostView
from placer.store.base import CellStore

LIMIT_DEFAULT: Final = 100

#: Partitions read at once, so that many empty ones do not cost a round trip each.
_BUCKETS_AT_ONCE: Final = 8


async def hosts(
    store: CellStore, buckets: int, *, limit: int, marker: str
) -> tuple[list[HostView], str]:
    """Up to ``limit`` views after ``marker``, and the marker of the next page ('' at the end)."""
    first = ids.bucket_of(_uuid(marker), buckets) if marker else 0
    found: list[HostView] = []
    for start in range(first, buckets, _BUCKETS_AT_ONCE):
        chunk = range(start, min(start + _BUCKETS_AT_ONCE, buckets))
        for bucket, views in zip(
            chunk, await asyncio.gather(*map(store.read_views, chunk)), strict=True
        ):
            found += sorted(
                (view for view in views if bucket != first or view.host > marker),
                key=lambda view: view.host,
            )
        if len(found) > limit:
            return found[:limit], found[limit - 1].host
    return found, ""


def _uuid(marker: str) -> str:
    try:
        return str(uuid.UUID(marker))
    except ValueError:
        raise InvalidInput(
            f"The marker {marker!r} is none that a page gave.",
            remedy="Follow the link of the page before, or leave the marker out.",
            field="marker",
        ) from None


def limited(limit: int, page_max: int) -> int:
    """``limit`` if a page may be that long."""
    if not 1 <= limit <= page_max:
        raise InvalidInput(
            f"A limit of {limit} cannot be used.",
            remedy=f"Use 1 to {page_max}.",
            field="limit",
        )
    return limit


def links(path: str, marker: str, **query: Any) -> list[dict[str, str]]:
    """The link to the next page, if there is one."""
    if not marker:
        return []
    return [{"rel": "next", "href": f"{path}?{urlencode({**query, 'marker': marker})}"}]
