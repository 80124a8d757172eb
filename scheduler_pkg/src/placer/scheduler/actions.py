"""What callers and operators ask of instances, brought into the log of the instance's request.

Nothing is done here: the request says what is to become of the instance, and whoever works on the
request carries it out (``moving.py``). So a call that was answered is not lost with this process, and
a call whose answer was lost may be repeated: the same move that is under way already is the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from placer.errors import Conflict, InvalidInput, NotFound
from placer.model import moves
from placer.model.actions import MoveOrder
from placer.model.request import Move, MoveKind, Placement, Request, Stage
from placer.scheduler.worklog import Opened, RequestLog
from placer.settings import Settings

#: Changes of one request that may be lost to others before the caller is asked to come again.
_TRIES_MAX: Final = 8

#: Have somebody of the request's home cell work on it now. Fire and forget: the scan finds it.
Wake = Callable[[Opened], None]


class Actions:
    """One per process; for requests of any cell."""

    def __init__(self, settings: Settings, requests: RequestLog, wake: Wake) -> None:
        self._settings = settings
        self._requests = requests
        self._wake = wake

    async def begin(self, order: MoveOrder) -> Request:
        """Have the request say that its instance is to be moved; the request then.

        Safe to repeat: an equal move under way is left to go on. Raises NotFound, Conflict where the
        instance is in no state for it, InvalidInput, UnknownCell, StoreError.
        """
        if order.cell:
            self._settings.cluster.cell(order.cell)
        for _ in range(_TRIES_MAX):
            request = await self._requests.read(order.request, serial=True)
            here = moves.placement_of(request, order.instance) if request else None
            if request is None or here is None:
                raise NotFound(
                    f"There is no instance {order.instance} of request {order.request} any more.",
                    remedy="placer instance list shows what there is.",
                )
            under_way = moves.move_of(request, order.instance)
            if under_way is not None and _equal(under_way, order):
                return request
            _check(request, here, under_way, order)
            opened = await self._open(request, here, order)
            if opened is not None:
                self._wake(opened)
                return opened.request
        raise Conflict(
            f"Request {order.request} was changed by others each time.", remedy="Ask again."
        )

    async def _open(self, request: Request, here: Placement, order: MoveOrder) -> Opened | None:
        """The request with the move in it; None if somebody else changed it first."""
        what = f"asked{f': {order.why}' if order.why else ''}"
        last = len(request.placements) == 1 and request.stage is not Stage.ACCEPTED
        now_ms = self._requests.now_ms
        deadline_s = order.deadline_s or self._settings.cluster.move_deadline_s
        size = here.resources or request.spec.resources
        move = Move(
            instance=here.instance,
            kind=order.kind,
            asked_ms=now_ms,
            deadline_ms=now_ms + int(deadline_s * 1000),
            by=order.by,
            why=order.why,
            cell=order.cell,
            host=order.host,
            resources={**size, **order.resources} if order.resources else {},
            epoch=here.epoch,
        )
        if order.kind is MoveKind.DELETE and last:
            # Nothing of the request would be left: it ends. The move says who wanted that.
            why = f"delete of {here.instance} {_who(order)}{what}"
            return await self._requests.reopen(
                request, Stage.CANCELLING, why, reason=None, moves=(move,)
            )
        others = tuple(m for m in request.moves if m.instance != here.instance)
        stage = Stage.ACCEPTED if request.stage is Stage.ACCEPTED else Stage.MOVING
        return await self._requests.reopen(
            request, stage, moves.told(move, what), moves=(*others, move)
        )


def _who(order: MoveOrder) -> str:
    return f"(asked by {order.by}): " if order.by else ""


def _equal(move: Move, order: MoveOrder) -> bool:
    """Whether ``move`` is what ``order`` asks for."""
    return (
        move.kind is order.kind
        and move.old is None
        and (move.host, move.cell) == (order.host, order.cell)
        and all(move.resources.get(name) == amount for name, amount in order.resources.items())
    )


def _check(request: Request, here: Placement, move: Move | None, order: MoveOrder) -> None:
    """Raises Conflict or InvalidInput if the instance cannot be moved now."""
    if request.stage not in moves.GOES_ON:
        raise Conflict(
            f"Request {request.id} is {request.stage}.", remedy="There is nothing left to move."
        )
    if move is not None and (order.kind is not MoveKind.DELETE or move.new or move.old):
        raise Conflict(
            f"A {move.kind} of instance {here.instance} is under way.",
            remedy=f"placer request show {request.id} tells how far it is; ask again when it is over.",
        )
    if not here.built and order.kind is not MoveKind.EVACUATE:
        raise Conflict(
            f"Instance {here.instance} is being built.", remedy="Ask again when it runs."
        )
    if order.kind is MoveKind.RESIZE:
        known = here.resources or request.spec.resources
        unknown = sorted(set(order.resources) - set(known))
        if unknown:
            raise InvalidInput(
                f"Instance {here.instance} has no {', '.join(unknown)}.",
                remedy=f"Resize what it has: {', '.join(sorted(known)) or 'nothing'}.",
                field="resources",
            )
    if order.host == here.host_name and order.cell in ("", here.cell):
        raise InvalidInput(
            f"Instance {here.instance} is on {here.host_name} already.",
            remedy="Name another host, or none.",
            field="host",
        )
