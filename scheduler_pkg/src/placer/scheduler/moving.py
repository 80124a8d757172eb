"""Moves: single instances of a placed request brought to other claims (``model/moves.py``).

The naive way, to release and claim again, loses the instance when there is no room elsewhere or the
build there fails; to claim, build and release in one go leaves two instances when this process dies in
between. So every step is first a change of a host's row, then of the request, and the request says
at all times which claim is the instance's and which other ones there are:

  claim      the new claim and a mark on the old one (``moves_shown.py``), then the request names it
             ``new``; one that it does not name lapses
  (fence)    the old claim becomes ``deleting`` on a host that is down, then the request says so;
             before that no agent is told of ``new``, and none would be allowed to adopt it
  built      the agent says so; the request's placement is ``new``, and ``old`` is to be given up
  leave      ``old`` becomes ``deleting``, then the request forgets it; its agent destroys it

Whoever resumes after a crash repeats the last change of a row, which each of them allows. A new claim
whose build fails is forgotten and another host tried; what is not fenced ends where it was, with the
reason in the request's history. What is fenced is tried until its deadline and then is lost.

An instance runs on both hosts between ``built`` and ``leave``, for as long as its old agent takes to
destroy it, if it is moved; never, as far as Placer can know, if its host was down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
import structlog

from placer import failpoints, metrics
from placer.claims.fencing import HOST_UP, Fence
from placer.claims.operations import TAGGED, Operation, Refusal, Release, Resize
from placer.errors import PlacerError, StoreError
from placer.history import Acknowledged, HistoryWriter, now_us
from placer.model import moves
from placer.model.instance import InstanceState
from placer.model.records import ClaimState, HostRow, HostStatus, Record
from placer.model.request import Move, MoveKind, Placement, Reason, Request, Stage
from placer.scheduler.claimer import Effort, Made, Writer
from placer.scheduler.listing import LostInstance
from placer.scheduler.moves_shown import MarkMoving
from placer.scheduler.placing import Placing
from placer.scheduler.quotas import Quotas
from placer.scheduler.refusals import FLEETING, PASSING
from placer.scheduler.releasing import Releasing
from placer.scheduler.targets import Placed
from placer.scheduler.worklog import RequestLog
from placer.settings import Settings
from placer.store.base import CellStores

log = structlog.get_logger(__name__)

#: Steps of one move in a row before others have their turn.
_STEPS_MAX: Final = 8
#: Changes of one request that may be lost to others before a move is looked at again later.
_TRIES_MAX: Final = 8

#: Tell the host's agent of a claim: cell, row, record. Fire and forget.
Tell = Callable[[str, HostRow, Record], object]
#: Have lists show how far the move is of a claim (cell, host, claim). What fails is shown later.
Show = Callable[[str, str, str], Awaitable[None]]
#: Have lists show that an instance is lost; False: not now.
Lose = Callable[[LostInstance], Awaitable[bool]]
#: What of a request changes, given the move as the request has it.
Fields = Callable[[Request, Move], dict[str, Any]]


class Moving:
    """One per process. Stateless but for its parts."""

    def __init__(
        self,
        settings: Settings,
        stores: CellStores,
        requests: RequestLog,
        placing: Placing,
        releasing: Releasing,
        writer: Writer,
        history: HistoryWriter,
        tell: Tell,
        show: Show,
        lose: Lose,
        quotas: Quotas,
    ) -> None:
        self._settings = settings
        self._stores = stores
        self._quotas = quotas
        self._requests = requests
        self._placing = placing
        self._releasing = releasing
        self._writer = writer
        self._history = history
        self._tell = tell
        self._show = show
        self._lose = lose

    async def carry(self, request: Request) -> Request:
        """Bring every move of ``request`` (moving) as far as it goes now; what the log says then.

        Safe to repeat, and by several at once. Raises StoreError when the log does not answer.
        """
        for instance in [move.instance for move in request.moves]:
            for _ in range(_STEPS_MAX):
                move = moves.move_of(request, instance)
                if move is None or request.stage is not Stage.MOVING:
                    break
                before = request
                request = await self._step(request, move)
                if request is before:
                    break
        return request

    async def leave(self, request: Request, instance: str) -> None:
        """Give up the claim that ``instance`` moved away from. Safe to repeat and to lose."""
        move = moves.move_of(request, instance)
        if move is not None and move.old is not None:
            await self._leave(request, move, move.old)

    # -- one step; the same request comes back when there is nothing to do now

    async def _step(self, request: Request, move: Move) -> Request:
        if move.old is not None:
            return await self._leave(request, move, move.old)
        here = moves.placement_of(request, move.instance)
        if here is None:
            return await self._end(request, move, "there is no such instance any more")
        if move.kind is MoveKind.DELETE:
            return await self._delete(request, move, here)
        if move.new is None:
            if move.kind is MoveKind.RESIZE:
                resized = await self._resize_here(request, move, here)
                if resized is not None:
                    return resized
            return await self._claim(request, move, here)
        if move.kind is MoveKind.EVACUATE and not move.fenced:
            return await self._fence(request, move, move.new, here)
        return await self._await_build(request, move, move.new)

    async def _claim(self, request: Request, move: Move, here: Placement) -> Request:
        """Find a place and claim it; without one the move is over, unless there is no way back."""
        if self._requests.now_ms >= move.deadline_ms:
            return await self._end(request, move, "no other place was found in time")
        effort = Effort(asyncio.get_running_loop().time() + self._settings.cluster.claim_deadline_s)
        outcome = await self._placing.place(moves.sought(request, move, here), effort)
        if isinstance(outcome, Reason):
            if outcome.code in (PASSING if move.fenced else FLEETING):
                return request
            return await self._end(request, move, outcome.message)
        return await self._name(request, move, outcome)

    async def _name(self, request: Request, move: Move, placed: Placed) -> Request:
        """Have the request name the claim, then tell its agent; or give the claim back."""
        (made,) = placed.made
        failpoints.reach("move.claimed")
        here = moves.placement_of(request, move.instance)
        if here is not None:
            await self._submit(here, MarkMoving(here.claim, move.asked_ms, move.by, move.why))
        size = move.resources or (here.resources if here else {})
        new = msgspec.structs.replace(made.placement, resources=size, by=move.by, why=move.why)

        def named(now: Request, held: Move) -> dict[str, Any]:
            return {"moves": moves.replaced(now, held, msgspec.structs.replace(held, new=new))}

        stored = await self._change(request, move, named, f"to {new.host_name}")
        if here is not None:
            await self._show(here.cell, here.host, here.claim)
        if moves.move_to(stored, new.claim) is None:
            metrics.outcomes_lost.inc()
            self._releasing.give_back([made])
            return stored
        failpoints.reach("move.named")
        self._acknowledge(stored, made)
        if moves.may_build(stored, new.claim):
            self._tell(made.cell, made.row, made.record)
        return stored

    def _acknowledge(self, request: Request, made: Made) -> None:
        self._history.add(
            Acknowledged(
                process=self._history.process,
                cell=made.cell,
                host=made.row.host,
                claim=made.record.id,
                request=request.id,
                at_us=now_us(),
                of=request.spec.count + len(request.moves),
            )
        )

    async def _fence(
        self, request: Request, move: Move, new: Placement, here: Placement
    ) -> Request:
        """Take the claim from the host that is down; a host that is back keeps it."""
        result = await self._submit(here, Fence(here.claim))
        if result is None:
            return request
        if isinstance(result, Refusal) and result.reason == HOST_UP:
            return await self._end(request, move, f"{here.host_name} is not down")
        failpoints.reach("move.fenced")

        def fenced(now: Request, held: Move) -> dict[str, Any]:
            return {"moves": moves.replaced(now, held, msgspec.structs.replace(held, fenced=True))}

        stored = await self._change(request, move, fenced, f"{here.host_name} is fenced")
        if moves.may_build(stored, new.claim):
            await self._tell_again(new)
        return stored

    async def _await_build(self, request: Request, move: Move, new: Placement) -> Request:
        """The agent's turn. One that was not told is told; one that cannot build is not waited for."""
        try:
            row = await (await self._stores.cell(new.cell)).read_row(new.host)
        except StoreError as error:
            log.info("move_waits", request=request.id, instance=move.instance, why=str(error))
            return request
        record = row.find(new.claim) if row else None
        if row is None or record is None:
            return await self._again(request, move, new, f"the claim on {new.host_name} is gone")
        if record.state is ClaimState.CLAIMED:
            self._tell(new.cell, row, record)
        elif row.status is HostStatus.DOWN and record.state is not ClaimState.BUILT:
            return await self._again(request, move, new, f"{new.host_name} is down")
        if self._requests.now_ms >= move.deadline_ms and not move.fenced:
            return await self._end(request, move, f"{new.host_name} did not build it in time")
        return request

    async def _leave(self, request: Request, move: Move, old: Placement) -> Request:
        """Give up the old claim; the request forgets it once nothing can bring it back."""
        result = await self._submit(old, Release(old.claim))
        if result is None:
            return request
        failpoints.reach("move.left")
        record = result.find(old.claim) if isinstance(result, HostRow) else None
        if isinstance(result, HostRow) and record is not None:
            self._tell(old.cell, result, record)
        elif record is None:
            try:
                await self._releasing.shares_back(old.claim)
            except PlacerError as error:
                log.info("group_not_left", claim=old.claim, why=str(error))

        def left(now: Request, held: Move) -> dict[str, Any]:
            return {"moves": moves.replaced(now, held, None)}

        return await self._change(request, move, left, f"left {old.host_name}")

    async def _delete(self, request: Request, move: Move, here: Placement) -> Request:
        """Give the claim up for good. The agent's word that the instance is gone ends the move."""
        result = await self._submit(here, Release(here.claim))
        record = result.find(here.claim) if isinstance(result, HostRow) else None
        if result is None:
            return request
        if isinstance(result, HostRow) and record is not None:
            self._tell(here.cell, result, record)
            return request
        await self._releasing.shares_back(here.claim)
        return await self._change(
            request,
            move,
            lambda now, held: moves.dropped(now, msgspec.structs.replace(held, fenced=True)),
            "deleted",
        )

    async def _resize_here(self, request: Request, move: Move, here: Placement) -> Request | None:
        """Give the claim its new size where it is; None if it has no room there, or the project none.

        Before, the project's quota is asked for what is more; afterwards, what is less is given back.
        """
        try:
            if not await self._quotas.grow(request, here, move.resources):
                return None
            failpoints.reach("move.grown")
            demand = moves.demand_of(request, move.resources)
            result = await self._submit(here, Resize(here.claim, demand))
            if result is None:
                return request
            if isinstance(result, Refusal):
                log.info("resized_elsewhere", claim=here.claim, why=result.reason)
                await self._quotas.ungrow(request, here, move.resources)
                return None
            failpoints.reach("move.resized")
            await self._quotas.shrink(request, here, move.resources)
        except PlacerError as error:
            log.info("move_waits", claim=here.claim, why=str(error))
            return request
        record = result.find(here.claim)
        if record is None:
            return request  # it is on its way out; who takes it out tells the request

        def resized(now: Request, held: Move) -> dict[str, Any]:
            new = msgspec.structs.replace(
                here,
                resources=move.resources,
                units=record.units,
                built=True,
                by=move.by,
                why=move.why,
                resizes=here.resizes + 1,
            )
            placements = tuple(new if p.claim == here.claim else p for p in now.placements)
            return {"placements": placements, "moves": moves.replaced(now, held, None)}

        stored = await self._change(request, move, resized, f"resized on {here.host_name}")
        self._tell(here.cell, result, record)
        return stored

    # -- how a move goes on or ends

    async def _again(self, request: Request, move: Move, new: Placement, why: str) -> Request:
        """Forget the new claim and let another host be tried."""
        stored = await self._change(
            request, move, lambda now, held: moves.forgotten(now, held, new.host), why
        )
        await self._give_up(new, stored)
        await self.stays(stored, move.instance)
        return stored

    async def _end(self, request: Request, move: Move, why: str) -> Request:
        """The instance stays where it is; if it was fenced it is lost, which lists must know first:
        once the request does not name it nobody would tell them."""
        if not await self._lost(request, move, InstanceState.FAILED, f"given up: {why}"):
            return request
        fields: Fields = moves.dropped
        stored = await self._change(request, move, fields, f"given up: {why}")
        if move.new is not None:
            await self._give_up(move.new, stored)
        await self.stays(stored, move.instance)
        return stored

    async def cancel(self, request: Request) -> bool:
        """Have lists show the end of what ``request`` (cancelling) has no claim for any more; False:
        not now. Safe to repeat."""
        ends = [
            self._lost(request, move, InstanceState.DELETED, "its request was cancelled")
            for move in request.moves
        ]
        return all(await asyncio.gather(*ends))

    async def _lost(self, request: Request, move: Move, state: InstanceState, why: str) -> bool:
        """Have lists show that a fenced instance has come to its end, if it has; False: not now."""
        here = moves.placement_of(request, move.instance)
        if here is None or not move.fenced:
            return True
        lost = LostInstance(request, here, move.epoch + 1, state, move.by, moves.told(move, why))
        return await self._lose(lost)

    async def stays(self, request: Request, instance: str) -> None:
        """Have lists show an instance that moves nowhere any more as what it was, if it is there."""
        here = moves.placement_of(request, instance)
        if here is not None and moves.move_of(request, instance) is None:
            await self._show(here.cell, here.host, here.claim)

    async def _give_up(self, new: Placement, stored: Request) -> None:
        """Release a claim that the request does not name any more; what fails here, its lease or
        the agent's word that it is built ends."""
        if any(held.claim == new.claim for held in stored.held):
            return
        try:
            await self._releasing.release(new.cell, new.host, new.claim)
        except PlacerError as error:
            log.info("claim_not_released", claim=new.claim, why=str(error))

    async def _change(self, request: Request, move: Move, fields: Fields, why: str) -> Request:
        """Have the request say so, if it still has ``move`` as it was; what the log says then."""
        for _ in range(_TRIES_MAX):
            held = moves.move_of(request, move.instance)
            if held != move or request.stage not in moves.GOES_ON:
                break
            new = fields(request, held)
            stage = moves.stage_with(
                request, new.get("placements", request.placements), new["moves"]
            )
            changed = await self._requests.change(request, stage, moves.told(move, why), **new)
            request = changed.request
            if changed.stands:
                break
        return request

    async def _submit(self, where: Placement, operation: Operation) -> HostRow | Refusal | None:
        """What the row says; None if it cannot be said now."""
        try:
            writer = await self._writer(where.cell)
            result = await writer.submit(
                where.host, operation, deadline_s=self._settings.cluster.claim_deadline_s
            )
        except PlacerError as error:
            log.info("move_waits", claim=where.claim, why=str(error))
            return None
        tagged = isinstance(result, Refusal) and result.reason == TAGGED
        return None if tagged else result

    async def _tell_again(self, placement: Placement) -> None:
        """Tell the agent of a claim that it may build now; lost, the next look tells it."""
        try:
            row = await (await self._stores.cell(placement.cell)).read_row(placement.host)
        except StoreError:
            return
        record = row.find(placement.claim) if row else None
        if row is not None and record is not None:
            self._tell(placement.cell, row, record)
