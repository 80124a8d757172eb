"""Which processes there are: the name service's table, as this API server's datacenter has it."""

from __future__ import annotations

from litestar import get
from litestar.datastructures import State
from litestar.params import FromPath, FromQuery
from msgspec import Struct

from placer.api.native.context import Service as Context
from placer.diagnosis import Diagnosis
from placer.errors import InvalidInput
from placer.model.service import Service, ServiceKind, ServiceState


class ServiceView(Struct, frozen=True):
    """A process: what it says of itself, and how it is. Times are milliseconds since 1970."""

    name: str
    kind: ServiceKind
    state: ServiceState
    region: str
    cell: str
    version: str
    address: str
    wan_address: str
    protocol_min: int
    protocol_max: int
    api_min: str
    api_max: str
    started_ms: int
    heard_ms: int


class ServiceList(Struct, frozen=True):
    """API servers and schedulers of all regions, in the order of their names."""

    services: list[ServiceView]


@get("/v1/services", query=("region", "cell", "kind"))
async def list_services(
    state: State,
    region: FromQuery[str] = "",
    cell: FromQuery[str] = "",
    kind: FromQuery[str] = "",
) -> ServiceList:
    """Every API server and scheduler, with where it is and when it was last heard.

    `up`: heard of late. `silent`: not heard, and it did not say that it would stop: it died, or its
    cell is cut off. `stopped`: it said so. A process that does not come back leaves after a week.
    """
    service: Context = state.service
    if kind and kind not in set(ServiceKind):
        raise InvalidInput(
            f"There are no services of the kind {kind[:40]!r}.",
            remedy=f"Use one of {', '.join(ServiceKind)}.",
            field="kind",
        )
    directory = service.directory
    await directory.look()
    return ServiceList(
        [
            view_of(one, directory.state(one))
            for one in directory.services
            if (not region or one.region == region)
            and (not cell or one.cell == cell)
            and (not kind or one.kind == kind)
        ]
    )


@get("/v1/services/{name:str}/diagnosis")
async def show_diagnosis(name: FromPath[str], state: State) -> Diagnosis:
    """What a process says of itself: settings, versions, views, last errors, depths, stacks.

    For operators, as part of a report of what is wrong. Secrets are never in it. 503 when the process
    does not answer, or has no address that can be reached from this region.
    """
    service: Context = state.service
    return await service.diagnoses.of(name)


@get("/v1/services/{name:str}/agents/{agent:str}/diagnosis")
async def show_agent_diagnosis(
    name: FromPath[str], agent: FromPath[str], state: State
) -> Diagnosis:
    """What an agent says of itself, asked by the scheduler `name` over the connection that it holds.

    The scheduler's own diagnosis names its agents (`views`). 503 when it is not connected there, 504
    when it does not answer.
    """
    service: Context = state.service
    return await service.diagnoses.of_agent(name, agent)


def view_of(one: Service, state: ServiceState) -> ServiceView:
    return ServiceView(
        name=one.name,
        kind=one.kind,
        state=state,
        region=one.region,
        cell=one.cell,
        version=one.version,
        address=one.address,
        wan_address=one.wan_address,
        protocol_min=one.protocol_min,
        protocol_max=one.protocol_max,
        api_min=one.api_min,
        api_max=one.api_max,
        started_ms=one.started_ms,
        heard_ms=one.heard_ms,
    )
