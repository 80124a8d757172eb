"""Select destinations: for programs that want only a scheduler."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from litestar import Request as HttpRequest
from litestar import Response, post
from litestar.datastructures import State
from litestar.openapi import ResponseSpec
from litestar.params import FromQuery, JSONBody

from placer.api.native.context import Service
from placer.api.native.merging import complete
from placer.api.native.requests import (
    UNTIL,
    accepted_and_settled,
    idempotency_key,
    wait_seconds,
)
from placer.model.destinations import Destination, Destinations, DestinationsSpec
from placer.model.request import Request, RequestSpec

_WAIT_DEFAULT: Final = "10s"


@post(
    "/v1/select-destinations",
    status_code=200,
    query=("wait",),
    responses={
        202: ResponseSpec(
            Destinations, description="Stored, and not decided yet.", generate_examples=False
        )
    },
)
async def select_destinations(
    data: JSONBody[DestinationsSpec],
    state: State,
    request: HttpRequest[Any, Any, State],
    wait: FromQuery[str] = _WAIT_DEFAULT,
) -> Response[Destinations]:
    """Hosts for a request and alternates, or the reason why there are none.

    Without `claim` nothing is stored, and the hosts may be taken by the time they are used. With it
    the request is stored and claimed like any other: 200 with the claims, or 202 with the
    request's id if it was not decided within `wait`.
    """
    service: Service = state.service
    wait_s = wait_seconds(wait, service.api.wait_max_s)
    key = idempotency_key(request)
    spec = _without_claim(data)
    if not data.claim:
        merged = service.intake.with_cell(await complete(spec, service.catalog))
        found = await service.schedulers.call("POST", "select", merged, Destinations)
        return Response(found, status_code=200)
    settled = await accepted_and_settled(service, spec, key, wait_s, UNTIL["placed"])
    return Response(
        _of(settled),
        status_code=200 if settled.stage in UNTIL["placed"] else 202,
        headers={"Location": f"/v1/requests/{settled.id}"},
    )


def _without_claim(data: DestinationsSpec) -> RequestSpec:
    fields = msgspec.structs.asdict(data)
    del fields["claim"]
    return RequestSpec(**fields)


def _of(request: Request) -> Destinations:
    """What became of a claimed request."""
    return Destinations(
        destinations=tuple(
            Destination(p.cell, p.host, p.host_name, p.claim, p.instance, p.units)
            for p in request.placements
        ),
        alternates=request.alternates,
        reason=request.reason,
        request=request.id,
    )
