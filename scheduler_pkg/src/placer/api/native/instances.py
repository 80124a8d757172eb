"""Instances of a project in all regions: one query a page, whatever the number of regions."""

from __future__ import annotations

from litestar import get
from litestar.datastructures import State
from litestar.params import FromQuery
from msgspec import Struct

from placer.api.native import paging
from placer.api.native.context import Service
from placer.api.native.versions import Link
from placer.model.instance import Instance


class InstancePage(Struct, frozen=True):
    """Instances, newest first."""

    instances: list[Instance]
    links: list[Link]


@get("/v1/instances", query=("project", "limit", "marker"))
async def list_instances(
    state: State,
    project: FromQuery[str] = "default",
    limit: FromQuery[int] = paging.LIMIT_DEFAULT,
    marker: FromQuery[str] = "",
) -> InstancePage:
    """Instances of a project in all regions, newest first."""
    service: Service = state.service
    limit = paging.limited(limit, service.api.page_max)
    after = paging.unpack(marker, str) or ""
    page = await service.globals.list_instances(project, limit=limit, marker=after)
    following = paging.pack(page.next_marker) if page.next_marker else ""
    links = paging.links("/v1/instances", following, project=project, limit=limit)
    return InstancePage(page.instances, links)
