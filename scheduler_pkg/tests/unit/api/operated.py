"""A scheduler's answers to operators' calls, for what must speak HTTP for real.

Host h1 of a cell exists and is up; what is asked of the instances of a request named ``listed`` is
written to the request as a scheduler would.
"""

from __future__ import annotations

import httpx
import msgspec

from placer.errors import Conflict, NotFound, PlacerError
from placer.model import moves
from placer.model.actions import GuestOrder, MoveOrder
from placer.model.host_detail import OPERATIONS, HostDetail, HostOrder
from placer.model.host_view import HostView
from placer.model.messages import CommandDone, CommandKind
from placer.model.records import Duty, HostDuty, HostStatus
from placer.model.request import Move, Request, Stage

from .. import factories
from .stores import MemoryStores

#: Seconds that every move may take.
DEADLINE_MS = 600_000


async def list_instances(stores: MemoryStores, request: Request) -> None:
    """Have the list show the instances of ``request``."""
    for number, here in enumerate(request.placements, 1):
        instance = factories.instance(
            number, id=here.instance, request=request.id, cell=here.cell, host=here.host
        )
        await stores.globals.write_changes([factories.placed(instance)])


def operated(call: httpx.Request, stores: MemoryStores) -> httpx.Response | None:
    """The answer to ``call``; None if it is no operator's."""
    parts = call.url.path.removeprefix("/internal/v1/").split("/")
    try:
        match parts:
            case ["hosts", name]:
                answer: object = _host(name, Duty())
            case ["hosts", name, operation]:
                answer = _ordered(name, operation, call.content)
            case ["moves"]:
                answer = _moved(msgspec.json.decode(call.content, type=MoveOrder), stores)
            case ["guests"]:
                answer = _commanded(msgspec.json.decode(call.content, type=GuestOrder))
            case _:
                return None
    except PlacerError as error:
        problem = {"code": error.code, "detail": error.message, "remedy": error.remedy}
        return httpx.Response(error.status, json={"errors": [problem]})
    return httpx.Response(200, content=msgspec.json.encode(answer))


def _host(name: str, duty: Duty) -> HostDetail:
    if name != "h1":
        raise NotFound(f"Cell nyc1 has no host called {name!r}.", remedy="List them.")
    view = HostView("u1", name, "nyc1", "nyc", 7, HostStatus.UP, {}, {}, duty=duty)
    return HostDetail(view, (), 0, 0)


def _ordered(name: str, operation: str, body: bytes) -> HostDetail:
    order = msgspec.json.decode(body, type=HostOrder)
    state = OPERATIONS[operation]
    if state is HostDuty.EVACUATING:
        raise Conflict(f"Host {name} is up: its instances run.", remedy="Drain it.")
    return _host(name, Duty(state, order.by, order.why, 1000))


def _moved(order: MoveOrder, stores: MemoryStores) -> Request:
    cell = stores.cells["nyc1"]
    request = cell.requests[order.request]
    move = Move(order.instance, order.kind, 1, DEADLINE_MS, by=order.by, why=order.why)
    told = moves.told(move, "asked")
    moving = request.to(Stage.MOVING, request.updated_ms + 1, told, moves=(move,))
    cell.requests[request.id] = moving.to(
        Stage.BUILT, moving.updated_ms + 1, moves.told(move, "left h1"), moves=()
    )
    return moving


def _commanded(order: GuestOrder) -> CommandDone:
    if order.kind is CommandKind.LOGS:
        return CommandDone(1, ok=True, text="hello\n")
    if order.kind is CommandKind.REBOOT:
        return CommandDone(1, ok=False, text="It is being built; try again.")
    return CommandDone(1, ok=True)
