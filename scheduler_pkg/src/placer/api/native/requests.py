"""Requests: asked for, looked at, listed, cancelled."""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final

import structlog
from litestar import Request as HttpRequest
from litestar import Response, delete, get, post
from litestar.datastructures import State
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import Struct

from placer.api.native import paging
from placer.api.native.context import Service
from placer.api.native.merging import complete
from placer.api.native.versions import Link
from placer.errors import InvalidInput, NotFound, StoreError, UnknownCell
from placer.model import ids
from placer.model.request import Request, RequestSpec, Stage
from placer.store.base import CellStore

log = structlog.get_logger(__name__)

IDEMPOTENCY_KEY: Final = "Idempotency-Key"
_KEY_FORM: Final = re.compile(r"[\x21-\x7e]{1,200}")
_SECONDS: Final = re.compile(r"(\d{1,4}(?:\.\d{1,3})?)s?")

#: What ``until`` may be, and the stages that end the waiting for it.
UNTIL: Final[dict[str, frozenset[Stage]]] = {
    "placed": frozenset(stage for stage in Stage if stage.is_final),
    "built": frozenset({Stage.BUILT, Stage.REFUSED, Stage.FAILED, Stage.CANCELLED}),
}
#: A page that asks for one stage reads at most so many requests for each that it may hold.
_READS_PER_ITEM: Final = 10
_READS_AT_ONCE: Final = 32


class RequestPage(Struct, frozen=True):
    """Requests of a project, newest first."""

    requests: list[Request]
    links: list[Link]


#: The other answer of calls that may be over at once.
DONE: Final = {200: ResponseSpec(Request, description="It is decided.", generate_examples=False)}


@post("/v1/requests", status_code=202, query=("wait", "until"), responses=DONE)
async def create_request(
    data: JSONBody[RequestSpec],
    state: State,
    request: HttpRequest[Any, Any, State],
    wait: FromQuery[str] = "0",
    until: FromQuery[str] = "placed",
) -> Response[Request]:
    """Ask for resources. 202 with the request's address, or 200 once it is decided.

    With `wait` (seconds, as `10s`) the answer is held back until then, or until the request is in
    the stage that `until` names (`placed` or `built`) or will never be.
    With the header `Idempotency-Key` the same body may be sent again: the answer is the first one's
    request. Another body with the same key is a conflict.
    """
    service: Service = state.service
    wait_s = wait_seconds(wait, service.api.wait_max_s)
    stages = _stages(until)
    key = idempotency_key(request)
    settled = await accepted_and_settled(service, data, key, wait_s, stages)
    return Response(
        settled,
        status_code=200 if settled.stage in stages else 202,
        headers={"Location": f"/v1/requests/{settled.id}"},
    )


@get("/v1/requests", query=("project", "stage", "cell", "limit", "marker"))
async def list_requests(
    state: State,
    project: FromQuery[str] = "default",
    stage: FromQuery[str] = "",
    cell: FromQuery[str] = "",
    limit: FromQuery[int] = paging.LIMIT_DEFAULT,
    marker: FromQuery[str] = "",
) -> RequestPage:
    """Requests of a project that were sent to a cell (without `cell`: to this one), newest first.

    With `stage` only those that are in it now; such a page may be short, or empty, and still have
    a next one.
    """
    service: Service = state.service
    limit = paging.limited(limit, service.api.page_max)
    wanted = _stage(stage) if stage else None
    known = service.settings.cluster.cell(cell or service.settings.cell)
    store = await service.cells.cell(known.name)
    before = paging.unpack(marker, tuple[int, str])
    found: list[Request] = []
    reads = limit * _READS_PER_ITEM if wanted else limit
    while reads > 0 and len(found) < limit:
        count = min(reads, limit - len(found), _READS_AT_ONCE)
        keys = await store.page_requests(project, limit=count, before=before)
        reads -= count
        found += [one for one in await _read(store, keys) if wanted in (None, one.stage)]
        before = keys[-1] if len(keys) == count else None
        if before is None:
            break
    links = paging.links(
        "/v1/requests",
        paging.pack(before) if before else "",
        project=project,
        stage=stage,
        cell=known.name,
        limit=limit,
    )
    return RequestPage(found, links)


@get("/v1/requests/{request_id:str}")
async def show_request(request_id: FromPath[str], state: State) -> Request:
    """A request and what has become of it; any cell's API can answer."""
    service: Service = state.service
    missing = _missing(request_id)
    try:
        store = await service.cells.cell(ids.cell_of(request_id))
    except UnknownCell:
        raise missing from None
    found = await store.get_request(request_id)
    if found is None:
        raise missing
    return found


@delete("/v1/requests/{request_id:str}", status_code=202, responses=DONE)
async def cancel_request(request_id: FromPath[str], state: State) -> Response[Request]:
    """Cancel a request: what it holds is freed, what was built is destroyed. Safe to repeat.

    202 while that goes on; 200 if there is nothing left to free.
    """
    service: Service = state.service
    try:
        request = await service.intake.cancel(request_id)
    except UnknownCell:
        raise _missing(request_id) from None
    busy = request.stage is Stage.CANCELLING
    return Response(
        request,
        status_code=202 if busy else 200,
        headers={"Location": f"/v1/requests/{request.id}"},
    )


async def accepted_and_settled(
    service: Service, spec: RequestSpec, key: str, wait_s: float, stages: frozenset[Stage]
) -> Request:
    """Log ``spec``, hand it over, wait. Raises what ``Intake`` raises."""
    merged = await complete(spec, service.catalog)
    request = await service.intake.accept(merged, key, spec)
    noting = asyncio.create_task(_note(service, request))
    try:
        return await service.intake.settle(request, wait_s, stages)
    finally:
        await noting


async def _note(service: Service, request: Request) -> None:
    """List the request under its project; a request that is not listed works all the same."""
    try:
        store = await service.cells.cell(service.settings.cell)
        await store.note_request(request)
    except StoreError as error:
        log.warning("request_not_listed", request=request.id, error=str(error))


async def _read(store: CellStore, keys: list[tuple[int, str]]) -> list[Request]:
    """The requests of ``keys`` that are there."""
    found = await asyncio.gather(*(store.get_request(name) for _, name in keys))
    return [request for request in found if request is not None]


def idempotency_key(request: HttpRequest[Any, Any, State]) -> str:
    """The header's value, or ''. Raises InvalidInput for one that cannot be a key."""
    given = request.headers.get(IDEMPOTENCY_KEY.lower())
    if given is None:
        return ""
    if not _KEY_FORM.fullmatch(given):
        raise InvalidInput(
            f"{IDEMPOTENCY_KEY}: {given[:60]!r} cannot be used.",
            remedy="Send 1 to 200 visible ASCII characters, such as a UUID, or leave it out.",
            field=IDEMPOTENCY_KEY,
        )
    return given


def wait_seconds(text: str, wait_max_s: float) -> float:
    """Seconds from ``10s`` or ``10``."""
    match = _SECONDS.fullmatch(text)
    seconds = float(match[1]) if match else -1.0
    if not 0 <= seconds <= wait_max_s:
        raise InvalidInput(
            f"wait={text[:60]!r} cannot be used.",
            remedy=f"Give seconds from 0 to {wait_max_s:g}, as wait=10s.",
            field="wait",
        )
    return seconds


def _stages(until: str) -> frozenset[Stage]:
    if until not in UNTIL:
        raise InvalidInput(
            f"until={until[:60]!r} cannot be used.",
            remedy=f"Use {' or '.join(UNTIL)}.",
            field="until",
        )
    return UNTIL[until]


def _stage(text: str) -> Stage:
    try:
        return Stage(text)
    except ValueError:
        raise InvalidInput(
            f"{text[:60]!r} is no stage.", remedy=f"Use {', '.join(Stage)}.", field="stage"
        ) from None


def _missing(request_id: str) -> NotFound:
    return NotFound(
        f"There is no request {request_id[:200]}.",
        remedy="Use the address that the answer to its POST gave.",
    )
