"""Routes of the native API. The bodies are the model's own types as JSON."""

from __future__ import annotations

import re
from typing import Any, Final

from litestar import Request as HttpRequest
from litestar import Response, get, post
from litestar.datastructures import State
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import Struct

from placer import __version__, http
from placer.api.native import listing
from placer.api.native.intake import Intake
from placer.errors import InvalidInput, NotFound, UnknownCell
from placer.model import ids
from placer.model.host_view import HostView
from placer.model.instance import Instance
from placer.model.request import Request, RequestSpec, Stage
from placer.settings import Api, Settings
from placer.store.base import CellStores, GlobalStore

_SECONDS: Final = re.compile(r"(\d{1,4}(?:\.\d{1,3})?)s?")


class Service:
    """What the routes work with; one per process, at ``app.state.service``."""

    def __init__(
        self,
        settings: Settings,
        api: Api,
        cells: CellStores,
        globals_: GlobalStore,
        intake: Intake,
    ) -> None:
        self.settings = settings
        self.api = api
        self.cells = cells
        self.globals = globals_
        self.intake = intake


class HostPage(Struct, frozen=True):
    hosts: list[HostView]
    links: list[dict[str, str]]


class InstanceList(Struct, frozen=True):
    instances: list[Instance]
    links: list[dict[str, str]]


@get("/", public=True)
async def versions() -> dict[str, Any]:
    """Which versions of the API are served here."""
    return {
        "versions": [
            {
                "id": "v1",
                "status": "CURRENT",
                "software": __version__,
                "links": [
                    {"rel": "self", "href": "/v1/"},
                    {"rel": "describedby", "href": "/openapi.json"},
                ],
            }
        ]
    }


@post("/v1/requests", status_code=202, query=("wait",))
async def create_request(
    data: JSONBody[RequestSpec],
    state: State,
    request: HttpRequest[Any, Any, State],
    wait: FromQuery[str] = "0",
) -> Response[Request]:
    """Ask for resources. 202 with the request's address, or 200 once it is decided.

    With `wait` (seconds, as `10s`) the answer is held back until then, or until it is decided.
    """
    service: Service = state.service
    wait_s = _wait(wait, service.api.wait_max_s)
    spec = http.strictly(await request.body(), type(data))
    accepted = await service.intake.accept(spec)
    settled = await service.intake.settle(accepted, wait_s, request.scope["state"]["request_id"])
    location = f"/v1/requests/{settled.id}"
    status = 202 if settled.stage is Stage.ACCEPTED else 200
    return Response(settled, status_code=status, headers={"Location": location})


@get("/v1/requests/{request_id:str}")
async def show_request(request_id: FromPath[str], state: State) -> Request:
    """A request and what has become of it; any cell's API can answer."""
    service: Service = state.service
    missing = NotFound(
        f"There is no request {request_id}.",
        remedy="Use the address that the answer to its POST gave.",
    )
    try:
        store = await service.cells.cell(ids.cell_of(request_id))
    except UnknownCell:
        raise missing from None
    found = await store.get_request(request_id)
    if found is None:
        raise missing
    return found


@get("/v1/hosts", query=("cell", "limit", "marker"))
async def list_hosts(
    state: State,
    cell: FromQuery[str] = "",
    limit: FromQuery[int] = listing.LIMIT_DEFAULT,
    marker: FromQuery[str] = "",
) -> HostPage:
    """Hosts of a cell (without `cell`: of this one) with what they offer and have left."""
    service: Service = state.service
    limit = listing.limited(limit, service.api.page_max)
    known = service.settings.cluster.cell(cell or service.settings.cell)
    views, following = await listing.hosts(
        await service.cells.cell(known.name), known.host_buckets, limit=limit, marker=marker
    )
    links = listing.links("/v1/hosts", following, cell=known.name, limit=limit)
    return HostPage(hosts=views, links=links)


@get("/v1/instances", query=("project", "limit", "marker"))
async def list_instances(
    state: State,
    project: FromQuery[str] = "default",
    limit: FromQuery[int] = listing.LIMIT_DEFAULT,
    marker: FromQuery[str] = "",
) -> InstanceList:
    """Instances of a project in all regions, newest first."""
    service: Service = state.service
    limit = listing.limited(limit, service.api.page_max)
    page = await service.globals.list_instances(project, limit=limit, marker=marker)
    links = listing.links("/v1/instances", page.next_marker, project=project, limit=limit)
    return InstanceList(instances=page.instances, links=links)


ROUTES: Final = (versions, create_request, show_request, list_hosts, list_instances)


def _wait(text: str, wait_max_s: float) -> float:
    """Seconds from ``10s`` or ``10``."""
    match = _SECONDS.fullmatch(text)
    seconds = float(match[1]) if match else -1.0
    if not 0 <= seconds <= wait_max_s:
        raise InvalidInput(
            f"wait={text!r} cannot be used.",
            remedy=f"Give seconds from 0 to {wait_max_s:g}, as wait=10s.",
            field="wait",
        )
    return seconds
