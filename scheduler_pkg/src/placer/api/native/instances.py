"""Instances of all regions: one query a page, whatever the number of regions."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from litestar import get
from litestar.datastructures import State
from litestar.params import FromPath, FromQuery, QueryParameter
from msgspec import Struct

from placer.api.native import paging
from placer.api.native.context import Service
from placer.api.native.instance_pages import Filters
from placer.api.native.versions import Link
from placer.errors import InvalidInput, NotFound
from placer.model.event import Event
from placer.model.instance import InstanceState, InstanceView, merge
from placer.settings import Cluster

_FILTERS: Final = ("state", "region", "cell", "host", "name", "tag", "changed_since")
_TIME_DIGITS_MAX: Final = 15


class InstancePage(Struct, frozen=True):
    """Instances, newest first. The events after `events_marker` of the first page are not in the list."""

    instances: list[InstanceView]
    events_marker: str
    links: list[Link]


class InstanceDetails(Struct, frozen=True):
    """An instance and what became of it, the oldest event first."""

    instance: InstanceView
    history: list[Event]


@get("/v1/instances", query=("project", "all_projects", *_FILTERS, "limit", "marker"))
async def list_instances(
    state: State,
    project: FromQuery[str] = "default",
    all_projects: FromQuery[bool] = False,
    states: Annotated[str, QueryParameter(name="state")] = "",
    region: FromQuery[str] = "",
    cell: FromQuery[str] = "",
    host: FromQuery[str] = "",
    name: FromQuery[str] = "",
    tag: FromQuery[str] = "",
    changed_since: FromQuery[str] = "",
    limit: FromQuery[int] = paging.LIMIT_DEFAULT,
    marker: FromQuery[str] = "",
) -> InstancePage:
    """Instances of a project in all regions, newest first; `all_projects` is for operators.

    `state` is one or several, with commas; `host` a name or an id; `name` how it begins;
    `changed_since` a time, as milliseconds or as `2026-01-31T12:00:00Z`. A page whose filters leave
    much out may be short, or empty, and still have a next one.
    `host_status` and `as_of_ms` say of an instance on a host that is down, or in a cell that is cut
    off, how old is what is known.
    """
    service: Service = state.service
    limit = paging.limited(limit, service.api.page_max)
    filters = Filters(
        project="" if all_projects else project,
        states=_states(states),
        cells=_cells(service.settings.cluster, region, cell),
        host=host,
        name=name,
        tag=tag,
        changed_since_ms=_time_ms(changed_since),
    )
    # Taken before the list is read: what changes meanwhile is told after it.
    events_marker = paging.pack(service.feed.start_after(service.heard.last))
    page = await service.pages.page(
        filters, limit=limit, after=paging.unpack(marker, tuple[int, str])
    )
    links = paging.links(
        "/v1/instances",
        paging.pack(page.rest) if page.rest else "",
        **({"all_projects": "true"} if all_projects else {"project": project}),
        state=states,
        region=region,
        cell=cell,
        host=host,
        name=name,
        tag=tag,
        changed_since=changed_since,
        limit=limit,
    )
    return InstancePage(page.found, events_marker, links)


@get("/v1/instances/{instance_id:str}")
async def show_instance(instance_id: FromPath[str], state: State) -> InstanceDetails:
    """An instance with its history; any cell's API can answer, also while its cell is cut off."""
    service: Service = state.service
    found = await service.globals.get_instance(instance_id)
    if found is None:
        raise NotFound(
            f"There is no instance {instance_id[:100]}.",
            remedy="GET /v1/instances lists those there are. One that ended is kept for "
            f"{service.settings.cluster.keep.ended_days} days.",
        )
    known, history = found
    cut_off = service.heard.cut_off().get(known.place.cell, 0)
    return InstanceDetails(merge(known, cut_off), history)


def _states(text: str) -> frozenset[InstanceState]:
    try:
        return frozenset(InstanceState(one) for one in text.split(",") if one)
    except ValueError:
        raise InvalidInput(
            f"{text[:60]!r} is no state of an instance.",
            remedy=f"Use {', '.join(InstanceState)}, or several of them with commas.",
            field="state",
        ) from None


def _cells(cluster: Cluster, region: str, cell: str) -> tuple[str, ...]:
    """The cells that both name; empty for all. Raises InvalidInput."""
    if cell and not region:
        return (cluster.cell(cell).name,)
    if not region:
        return ()
    found = tuple(one.name for one in cluster.cells if one.region == region)
    if not found:
        raise InvalidInput(
            f"Unknown region {region[:60]!r}.",
            remedy=f"Known regions: {', '.join(sorted({c.region for c in cluster.cells}))}.",
            field="region",
        )
    if cell and cluster.cell(cell).name not in found:
        raise InvalidInput(
            f"Cell {cell} is not in region {region}.", remedy="Name one of the two.", field="cell"
        )
    return (cell,) if cell else found


def _time_ms(text: str) -> int:
    """Milliseconds since 1970 from a number of them, or a time with its zone; 0 for none."""
    if not text:
        return 0
    if text.isascii() and text.isdigit() and len(text) <= _TIME_DIGITS_MAX:
        return int(text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise InvalidInput(
            f"{text[:60]!r} is no time.",
            remedy="Give it as 2026-01-31T12:00:00Z, or as milliseconds since 1970.",
            field="changed_since",
        )
    return int(at.timestamp() * 1000)
