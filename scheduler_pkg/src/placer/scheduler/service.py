"""The scheduler's HTTP service: calls from the cell's API and from other schedulers.

Agents have a port of their own (agent_listener).

Internal: every route but the health ones wants the deployment's service token. The bodies are the
model's own types as JSON.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from litestar import Litestar, get, post
from litestar.datastructures import State
from litestar.params import FromPath

from placer import http
from placer.diagnosis import Diagnosis
from placer.errors import NotFound
from placer.model.destinations import Destinations
from placer.model.messages import CommandDone
from placer.model.request import Request, RequestSpec
from placer.model.work import Work
from placer.scheduler.agent_listener import listening
from placer.scheduler.guest_commands import GuestCommand
from placer.scheduler.listing import LostInstance
from placer.scheduler.operator_routes import OPERATOR_ROUTES
from placer.scheduler.peers import HostList, Marked, Notification, RequestList, Served, Told
from placer.scheduler.process import SchedulerProcess
from placer.scheduler.quota_routes import QUOTA_ROUTES
from placer.settings import Settings, read_service_token

_BODY_BYTES_MAX: Final = 1_048_576


@post("/internal/v1/schedule", status_code=200)
async def schedule(data: Request, state: State) -> Request:
    """Work on a request that is in the log; answers with what is known of it first."""
    process: SchedulerProcess = state.process
    return await process.conductor.schedule(data)


@post("/internal/v1/notify", status_code=200)
async def notify(data: Notification, state: State) -> Told:
    """A claim was made on a host of this cell: tell its agent if it is connected here."""
    process: SchedulerProcess = state.process
    return Told(process.notified(data))


@post("/internal/v1/show-move", status_code=200)
async def show_move(data: Marked, state: State) -> dict[str, bool]:
    """A claim on a host of this cell was marked as moving, or its move is over: list that."""
    process: SchedulerProcess = state.process
    await process.shown.look(data.host, data.claim)
    return {"listed": True}


@post("/internal/v1/show-lost", status_code=200)
async def show_lost(data: LostInstance, state: State) -> dict[str, bool]:
    """An instance that this cell lists has no claim any more: list its end."""
    process: SchedulerProcess = state.process
    await process.listing.lost(data)
    return {"listed": True}


@post("/internal/v1/serves", status_code=200)
async def serves(data: HostList, state: State) -> Served:
    """Which agents serve these hosts here."""
    process: SchedulerProcess = state.process
    return Served(process.hub.served_for(data.hosts))


@post("/internal/v1/command", status_code=200)
async def command(data: GuestCommand, state: State) -> CommandDone:
    """Give a command to an instance of a host that is served here; 404 if it is not."""
    process: SchedulerProcess = state.process
    done = await process.hub.command_here(data)
    if done is None:
        raise NotFound(f"Host {data.host} is not served here.", remedy="Ask another process.")
    return done


@post("/internal/v1/working", status_code=200)
async def working(data: RequestList, state: State) -> RequestList:
    """Which of these requests, and of the hosts that are to be emptied, are worked on here."""
    process: SchedulerProcess = state.process
    return RequestList(tuple(sorted(process.working(data.requests))))


@post("/internal/v1/wake", status_code=200)
async def wake(data: Work, state: State) -> dict[str, bool]:
    """Work on a request that is open again; 503 at the bound on requests in flight."""
    process: SchedulerProcess = state.process
    return {"taken": await process.wake(data)}


@post("/internal/v1/select", status_code=200)
async def select(data: RequestSpec, state: State) -> Destinations:
    """Choose hosts for a request without claiming them."""
    process: SchedulerProcess = state.process
    return await process.placing.destinations(data)


@get("/internal/v1/agents")
async def agents(state: State) -> dict[str, int]:
    """How many agents and hosts are connected here."""
    process: SchedulerProcess = state.process
    return {"agents": process.hub.agents, "hosts": process.hub.hosts}


@get("/internal/v1/diagnosis")
async def show_diagnosis(state: State) -> Diagnosis:
    """This process now: settings without secrets, versions, views, errors, depths, stacks."""
    process: SchedulerProcess = state.process
    return process.diagnosis()


@get("/internal/v1/agents/{name:str}/diagnosis")
async def show_agent_diagnosis(name: FromPath[str], state: State) -> Diagnosis:
    """An agent that is connected here, asked over its connection."""
    process: SchedulerProcess = state.process
    return await process.hub.diagnose(name)


def serve(settings: Settings) -> None:
    """Run one scheduler process until it is told to stop; raises PlacerError."""
    process = SchedulerProcess(settings)

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        async with process, listening(settings, process.hub.serve, process.turned_away):
            app.state.process = process
            yield

    app = http.create_app(
        [
            schedule,
            notify,
            show_move,
            show_lost,
            serves,
            command,
            working,
            wake,
            select,
            agents,
            show_diagnosis,
            show_agent_diagnosis,
            *OPERATOR_ROUTES,
            *QUOTA_ROUTES,
        ],
        token=read_service_token(settings),
        ready=process.ready,
        lifespan=lifespan,
        body_bytes_max=_BODY_BYTES_MAX,
        inflight_max=2 * settings.scheduler.queue_max,
    )
    http.serve(app, host=settings.scheduler.listen, port=settings.scheduler.port)
