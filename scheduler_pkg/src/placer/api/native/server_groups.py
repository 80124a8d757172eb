"""Server groups: instances that belong together, or must be kept apart."""

from __future__ import annotations

import time
from typing import Any

from litestar import Response, delete, get, post
from litestar.datastructures import State
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import Struct

from placer.api.native import paging
from placer.api.native.context import Service
from placer.api.native.versions import Link
from placer.errors import NotFound
from placer.model import groups
from placer.model.groups import ServerGroup, ServerGroupSpec


class ServerGroupPage(Struct, frozen=True):
    """Server groups of a project."""

    server_groups: list[ServerGroup]
    links: list[Link]


@get("/v1/server-groups", query=("project", "limit", "marker"))
async def list_server_groups(
    state: State,
    project: FromQuery[str] = "default",
    limit: FromQuery[int] = paging.LIMIT_DEFAULT,
    marker: FromQuery[str] = "",
) -> ServerGroupPage:
    """Server groups of a project."""
    service: Service = state.service
    limit = paging.limited(limit, service.api.page_max)
    after = paging.unpack(marker, str) or ""
    found = await service.catalog.groups.page(project, limit=limit + 1, after=after)
    following = paging.pack(found[limit - 1].id) if len(found) > limit else ""
    links = paging.links("/v1/server-groups", following, project=project, limit=limit)
    return ServerGroupPage(found[:limit], links)


@get("/v1/server-groups/{group_id:str}")
async def show_server_group(group_id: FromPath[str], state: State) -> ServerGroup:
    """One server group."""
    service: Service = state.service
    found = await service.catalog.groups.get(group_id)
    if found is None:
        raise _missing(group_id)
    return found


@post("/v1/server-groups", status_code=201)
async def create_server_group(
    data: JSONBody[ServerGroupSpec], state: State
) -> Response[ServerGroup]:
    """Make a server group; its home is this server's cell.

    The row that keeps its rule is there before anybody can name the group.
    """
    service: Service = state.service
    group = groups.new_group(service.settings.cell, data, time.time_ns() // 1_000_000)
    await service.schedulers.call("PUT", "server-groups", group, dict[str, Any])
    await service.catalog.groups.put(group)
    location = f"/v1/server-groups/{group.id}"
    return Response(group, status_code=201, headers={"Location": location})


@delete("/v1/server-groups/{group_id:str}", status_code=204)
async def delete_server_group(group_id: FromPath[str], state: State) -> None:
    """Take a server group away that has no members (else 409); no request can name it any more."""
    service: Service = state.service
    found = await service.catalog.groups.get(group_id)
    if found is None:
        raise _missing(group_id)
    await service.schedulers.call("PUT", "closed-server-groups", found, dict[str, Any])
    await service.catalog.groups.drop(group_id)


def _missing(group_id: str) -> NotFound:
    return NotFound(
        f"There is no server group {group_id[:100]!r}.",
        remedy="GET /v1/server-groups lists those of a project.",
    )
