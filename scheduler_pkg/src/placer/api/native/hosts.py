"""Pages of hosts. The order is (bucket, provider uuid), so a page costs a few partitions."""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import quote

from litestar import get, post
from litestar.datastructures import State
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import Struct

from placer.api.native import paging
from placer.api.native.context import Service
from placer.api.native.versions import Link
from placer.errors import NotFound
from placer.model import ids
from placer.model.actions import check_words
from placer.model.host_detail import OPERATIONS, HostDetail, HostOrder
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


@get("/v1/hosts/{cell:str}/{name:str}")
async def show_host(cell: FromPath[str], name: FromPath[str], state: State) -> HostDetail:
    """A host with every claim on it: what is left of a drain, what could not be moved and why."""
    service: Service = state.service
    known = service.settings.cluster.cell(cell)
    return await service.schedulers.call(
        "GET", f"hosts/{quote(name, safe='')}", None, HostDetail, cell=known.name
    )


@post("/v1/hosts/{cell:str}/{name:str}/{operation:str}", status_code=202)
async def order_host(
    cell: FromPath[str],
    name: FromPath[str],
    operation: FromPath[str],
    data: JSONBody[HostOrder],
    state: State,
) -> HostDetail:
    """An operator's word on a host: `disable`, `enable`, `drain` or `evacuate`. Safe to repeat.

    A disabled host keeps what it has and gets nothing new. `drain` moves its instances away, some at
    a time; `evacuate` takes them from a host that is down. Both go on after the answer; GET the host
    to see how far they are. By whom and why is kept with the host until the next word.
    """
    service: Service = state.service
    check_words(data.by, data.why)
    if operation not in OPERATIONS:
        raise NotFound(
            f"A host cannot be asked to {operation[:40]}.",
            remedy=f"Use one of {', '.join(OPERATIONS)}.",
        )
    known = service.settings.cluster.cell(cell)
    return await service.schedulers.call(
        "POST", f"hosts/{quote(name, safe='')}/{operation}", data, HostDetail, cell=known.name
    )


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
