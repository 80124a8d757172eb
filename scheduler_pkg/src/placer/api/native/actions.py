"""What callers ask of one instance: stop, start, reboot, delete, resize, move; and its log.

What changes its claim goes to a scheduler of its request's home cell, which writes it to the log and
answers with the request; what only its agent does goes to a scheduler of the instance's cell.
"""

from __future__ import annotations

from typing import Final

from litestar import Response, get, post
from litestar.datastructures import State
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import Struct

from placer.api.native.context import Service
from placer.errors import Conflict, InvalidInput, NotFound
from placer.model import ids
from placer.model.actions import MOVES, GuestOrder, InstanceAction, MoveOrder, check_action
from placer.model.instance import Instance
from placer.model.messages import CommandDone, CommandKind
from placer.model.request import DEADLINE_MAX_S, Request

#: How long an agent may take for a command; stopping an instance is the longest.
_COMMAND_S: Final = 25.0
_LINES_MAX: Final = 10_000


class ActionDone(Struct, frozen=True, omit_defaults=True):
    """What became of an action. ``request``: the instance's request, whose ``changes`` say how a
    delete, resize or move goes on; without one the action is done."""

    instance: str
    action: str
    request: Request | None = None


class InstanceLog(Struct, frozen=True):
    """The last that an instance wrote."""

    instance: str
    log: str


@post("/v1/instances/{instance_id:str}/actions", status_code=202)
async def act_on_instance(
    instance_id: FromPath[str], data: JSONBody[InstanceAction], state: State
) -> Response[ActionDone]:
    """Stop, start, reboot, delete, resize or move an instance. Safe to repeat.

    200 once a stop, start or reboot is done. 202 for what takes longer: the request that comes back
    says how far it is. A resize happens where the instance is if there is room, else by a move; while
    it moves it goes on running where it was until the new one is built.
    """
    service: Service = state.service
    check_action(data, DEADLINE_MAX_S)
    place = await _place(service, instance_id)
    if data.action in MOVES:
        order = MoveOrder(
            request=place.request,
            instance=place.id,
            kind=MOVES[data.action],
            resources=data.resources,
            host=data.host,
            cell=data.cell,
            deadline_s=data.deadline_s,
            by=data.by,
            why=data.why,
        )
        request = await service.schedulers.call(
            "POST", "moves", order, Request, cell=ids.cell_of(place.request)
        )
        return Response(ActionDone(place.id, data.action, request), status_code=202)
    await _command(service, place, CommandKind(data.action), by=data.by, why=data.why)
    return Response(ActionDone(place.id, data.action), status_code=200)


@get("/v1/instances/{instance_id:str}/log", query=("lines",))
async def show_instance_log(
    instance_id: FromPath[str], state: State, lines: FromQuery[int] = 100
) -> InstanceLog:
    """The last `lines` that an instance wrote, from its host."""
    service: Service = state.service
    if not 1 <= lines <= _LINES_MAX:
        raise InvalidInput(
            f"lines is {lines}.", remedy=f"Ask for 1 to {_LINES_MAX}.", field="lines"
        )
    place = await _place(service, instance_id)
    text = await _command(service, place, CommandKind.LOGS, lines)
    return InstanceLog(place.id, text)


async def _place(service: Service, instance_id: str) -> Instance:
    """Where the instance is; raises NotFound for one that is gone."""
    found = await service.globals.get_instance(instance_id)
    if found is None or found[0].place.state.is_final:
        raise NotFound(
            f"There is no instance {instance_id[:100]} (any more).",
            remedy="GET /v1/instances lists those there are.",
        )
    return found[0].place


async def _command(
    service: Service,
    place: Instance,
    kind: CommandKind,
    lines: int = 100,
    *,
    by: str = "",
    why: str = "",
) -> str:
    """What the agent answers. Raises Conflict with its words if it could not do it."""
    order = GuestOrder(place.host, place.claim, kind, _COMMAND_S, lines, by, why)
    done = await service.schedulers.call("POST", "guests", order, CommandDone, cell=place.cell)
    if not done.ok:
        raise Conflict(
            f"Host {place.host_name} could not {kind} instance {place.id}: {done.text}",
            remedy="GET /v1/instances/{id} shows its state; ask again.",
        )
    return done.text
