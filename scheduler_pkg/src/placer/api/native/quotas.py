"""Quotas: how much of each resource class a project may hold. An operator's calls; PUT may be repeated.

What is put is stored first and brought to the cells afterwards: a cell that does not answer takes it
in by itself when it is back.
"""

from __future__ import annotations

from litestar import delete, get, put
from litestar.datastructures import State
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import Struct

from placer.api.native import paging
from placer.api.native.context import Service
from placer.api.native.versions import Link
from placer.errors import Conflict, NoScheduler, NotFound
from placer.model import quotas
from placer.model.quotas import Quota, QuotaSpec, QuotaView


class QuotaPage(Struct, frozen=True):
    """Quotas in the order of their projects."""

    quotas: list[Quota]
    links: list[Link]


@get("/v1/quotas", query=("limit", "marker"))
async def list_quotas(
    state: State,
    limit: FromQuery[int] = paging.LIMIT_DEFAULT,
    marker: FromQuery[str] = "",
) -> QuotaPage:
    """All quotas, with the slices of the cells; what is used is told for one project."""
    service: Service = state.service
    limit = paging.limited(limit, service.api.page_max)
    after = paging.unpack(marker, str) or ""
    found = await service.catalog.quotas.page(limit=limit + 1, after=after)
    following = paging.pack(found[limit - 1].project) if len(found) > limit else ""
    page = [_divided(service, quota) for quota in found[:limit]]
    return QuotaPage(page, paging.links("/v1/quotas", following, limit=limit))


@get("/v1/quotas/{project:str}")
async def show_quota(project: FromPath[str], state: State) -> QuotaView:
    """A project's quota, and what is used of it in each cell that answers."""
    service: Service = state.service
    return await _view(service, "POST", "quotas/view", await _stored(service, project))


@put("/v1/quotas/{project:str}", status_code=200)
async def put_quota(project: FromPath[str], data: JSONBody[QuotaSpec], state: State) -> QuotaView:
    """Give a project a quota, or change it; what is used above it stays, and nothing more is given."""
    service: Service = state.service
    cells = [cell.name for cell in service.settings.cluster.cells]
    quota = quotas.new_quota(project, data, cells)
    await _room(service, project)
    await service.catalog.quotas.put(project, quotas.stored(quota, data))
    return await _view(service, "PUT", "quotas", await _stored(service, project))


@delete("/v1/quotas/{project:str}", status_code=204)
async def delete_quota(project: FromPath[str], state: State) -> None:
    """Take a project's quota away: within seconds nothing limits it any more."""
    service: Service = state.service
    if not await service.catalog.quotas.drop(project):
        raise _missing(project)


async def _stored(service: Service, project: str) -> Quota:
    found = await service.catalog.quotas.get(project)
    if found is None:
        raise _missing(project)
    return _divided(service, found)


def _divided(service: Service, quota: Quota) -> Quota:
    return quotas.among(quota, [cell.name for cell in service.settings.cluster.cells])


async def _room(service: Service, project: str) -> None:
    """Raises Conflict if there are as many quotas as schedulers keep in mind."""
    known = await service.catalog.quotas.page(limit=quotas.QUOTAS_MAX)
    if len(known) >= quotas.QUOTAS_MAX and all(one.project != project for one in known):
        raise Conflict(
            f"There are {quotas.QUOTAS_MAX} quotas already.",
            remedy="Delete those of projects that are gone: DELETE /v1/quotas/{project}.",
        )


async def _view(service: Service, method: str, path: str, quota: Quota) -> QuotaView:
    """The quota as a scheduler sees it; without any, no cell is known to be reachable."""
    try:
        return await service.schedulers.call(method, path, quota, QuotaView)
    except NoScheduler:
        slices = tuple(quotas.unseen(quota, cell.name) for cell in service.settings.cluster.cells)
        return QuotaView(quota.project, quota.limits, slices, quotas.notes(quota, slices))


def _missing(project: str) -> NotFound:
    return NotFound(
        f"Project {project[:100]!r} has no quota.", remedy="GET /v1/quotas lists those there are."
    )
