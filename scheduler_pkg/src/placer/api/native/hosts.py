"""Pages of hosts. The order is (bucket, provider uuid), so a page costs a few partitions."""

from __future__ import annotations

import asyncio
from typing import Final

from litestar import get
from litestar.datastructures import State
from litestar.params import FromQuery
from msgspec import Struct

from placer.api.native import paging
from placer.api.native.context import Service
from placer.api.native.versions import Link
from placer.model import ids
from placer.model.host_view import HostView
from placer.store.base import CellStore

#: Partitions read at once, so that many empty ones do not cost a round trip each.
_BUCKETS_AT_ONCE: Final = 8


class HostPage(Struct, frozen=True):
    """Hosts with what they offer and have left."""

    hosts: list[HostView]
    links: list[Link]


@get("/v1/hosts", query=("cell", "limit", "marker"))
async def list_hosts(
    state: State,
    cell: FromQuery[str] = "",
    limit: FromQuery[int] = paging.LIMIT_DEFAULT,
    marker: FromQuery[str] = "",
) -> HostPage:
    """Hosts of a cell (without `cell`: of this one) with what they offer and have left."""
    service: Service = state.service
    limit = paging.limited(limit, service.api.page_max)
    known = service.settings.cluster.cell(cell or service.settings.cell)
    after = paging.unpack(marker, str) or ""
    store = await service.cells.cell(known.name)
    views, last = await _page(store, known.host_buckets, limit=limit, after=after)
    following = paging.pack(last) if last else ""
    return HostPage(views, paging.links("/v1/hosts", following, cell=known.name, limit=limit))


async def _page(
    store: CellStore, buckets: int, *, limit: int, after: str
) -> tuple[list[HostView], str]:
    """Up to ``limit`` views after the host ``after``, and the last one's uuid if more follow."""
    first = ids.bucket_of(after, buckets) if after else 0
    found: list[HostView] = []
    for start in range(first, buckets, _BUCKETS_AT_ONCE):
        chunk = range(start, min(start + _BUCKETS_AT_ONCE, buckets))
        for bucket, views in zip(
            chunk, await asyncio.gather(*map(store.read_views, chunk)), strict=True
        ):
            found += sorted(
                (view for view in views if bucket != first or view.host > after),
                key=lambda view: view.host,
            )
        if len(found) > limit:
            return found[:limit], found[limit - 1].host
    return found, ""
