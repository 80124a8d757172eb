"""Pools that hosts share, and networks with their addresses: an operator's calls. PUT may be repeated."""

from __future__ import annotations

import msgspec
from litestar import get, put
from litestar.datastructures import State
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import Struct

from placer.api.native import paging
from placer.api.native.context import Service
from placer.api.native.versions import Link
from placer.model import networks
from placer.model.host_view import ADDRESS_BUCKET, POOL_BUCKET, HostView
from placer.model.networks import NetworkSpec, NetworkView, PoolSpec, PoolView


class PoolPage(Struct, frozen=True):
    """Pools of a cell in the order of their names."""

    pools: list[PoolView]
    links: list[Link]


class NetworkPage(Struct, frozen=True):
    """Networks of a cell in the order of their names."""

    networks: list[NetworkView]
    links: list[Link]


@get("/v1/pools", query=("cell", "limit", "marker"))
async def list_pools(
    state: State,
    cell: FromQuery[str] = "",
    limit: FromQuery[int] = paging.LIMIT_DEFAULT,
    marker: FromQuery[str] = "",
) -> PoolPage:
    """Pools of a cell (without `cell`: of this one) with what they have and have left."""
    service: Service = state.service
    found, links = await _page(service, "/v1/pools", cell, limit, marker, POOL_BUCKET)
    return PoolPage([networks.pool_view(view) for view in found], links)


@put("/v1/pools/{name:str}", status_code=200)
async def put_pool(name: FromPath[str], data: JSONBody[PoolSpec], state: State) -> PoolView:
    """Make a pool, or change it; what instances have of it cannot be taken away."""
    service: Service = state.service
    networks.check_name(name, "pool")
    networks.pool_inventories(data)
    spec = msgspec.structs.replace(data, cell=_cell(service, data.cell))
    return await service.schedulers.call("PUT", f"pools/{name}", spec, PoolView)


@get("/v1/networks", query=("cell", "limit", "marker"))
async def list_networks(
    state: State,
    cell: FromQuery[str] = "",
    limit: FromQuery[int] = paging.LIMIT_DEFAULT,
    marker: FromQuery[str] = "",
) -> NetworkPage:
    """Networks of a cell (without `cell`: of this one); `free` are addresses that no host holds."""
    service: Service = state.service
    found, links = await _page(service, "/v1/networks", cell, limit, marker, ADDRESS_BUCKET)
    return NetworkPage([networks.network_view(view) for view in found], links)


@put("/v1/networks/{name:str}", status_code=200)
async def put_network(
    name: FromPath[str], data: JSONBody[NetworkSpec], state: State
) -> NetworkView:
    """Make a network's addresses in a cell, or change them; those that hosts hold must stay."""
    service: Service = state.service
    networks.check_name(name, "network")
    networks.network_inventory(data)
    spec = msgspec.structs.replace(data, cell=_cell(service, data.cell))
    return await service.schedulers.call("PUT", f"networks/{name}", spec, NetworkView)


def _cell(service: Service, cell: str) -> str:
    """The cell that is meant; raises UnknownCell."""
    return service.settings.cluster.cell(cell or service.settings.cell).name


async def _page(
    service: Service, path: str, cell: str, limit: int, marker: str, bucket: int
) -> tuple[list[HostView], list[Link]]:
    """Views of a cell's pools after ``marker``, and the link to the next page."""
    limit = paging.limited(limit, service.api.page_max)
    cell = _cell(service, cell)
    after = paging.unpack(marker, str) or ""
    views = await (await service.cells.cell(cell)).read_views(bucket)
    found = sorted((v for v in views if v.name > after), key=lambda view: view.name)
    following = paging.pack(found[limit - 1].name) if len(found) > limit else ""
    return found[:limit], paging.links(path, following, cell=cell, limit=limit)
