"""What agents report, brought into the request's log: built, failed, gone, never adopted.

Each report is written to the request before the claim may leave its row, so that a crash in between
loses nothing: the agent asks again, or the next report of its host brings the claim again. All four
are safe to repeat.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import structlog

from placer import failpoints
from placer.claims.operations import NoteBuild
from placer.errors import Conflict, PlacerError, UnknownCell
from placer.model import moves
from placer.model.instance import InstanceState
from placer.model.messages import GuestState
from placer.model.records import HostRow, Record
from placer.model.request import Move, MoveKind, Placement, Request, Stage
from placer.scheduler import refusals
from placer.scheduler.background import Background
from placer.scheduler.claimer import Writer
from placer.scheduler.hosts import seen_of
from placer.scheduler.listing import Listing
from placer.scheduler.moves_shown import MovesShown, moving_since_ms
from placer.scheduler.moving import Moving
from placer.scheduler.releasing import Releasing
from placer.scheduler.worklog import Opened, RequestLog
from placer.settings import Settings

log = structlog.get_logger(__name__)

#: Changes of one request that may be lost to others before the agent is asked to come again.
_TRIES_MAX: Final = 8

#: Have somebody of the request's home cell work on it now. Fire and forget: the scan finds it.
Wake = Callable[[Opened], None]


class Lifecycle:
    """The hub's callbacks: each is told of a row of the own cell and one of its claims."""

    def __init__(
        self,
        settings: Settings,
        requests: RequestLog,
        releasing: Releasing,
        moving: Moving,
        listing: Listing,
        shown: MovesShown,
        writer: Writer,
        background: Background,
        wake: Wake,
    ) -> None:
        self._settings = settings
        self._requests = requests
        self._releasing = releasing
        self._moving = moving
        self._listing = listing
        self._shown = shown
        self._writer = writer
        self._background = background
        self._wake = wake

    async def confirmed(self, record: Record) -> bool:
        """Whether the claim's request names it and wants it built. Raises StoreError."""
        request = await self._request(record)
        return (
            request is not None
            and request.stage is not Stage.CANCELLING
            and moves.may_build(request, record.id)
        )

    async def named(self, record: Record) -> bool:
        """Whether the claim's request names it, for whatever purpose. Raises StoreError."""
        request = await self._request(record)
        return request is not None and any(held.claim == record.id for held in request.held)

    def adopted(self, row: HostRow, record: Record) -> None:
        """The build begins; one that takes long is listed as such."""
        self._listing.building(row, record, lambda: self._remembered(record))

    async def built(self, row: HostRow, record: Record) -> None:
        """The instance runs. One that no request names (any more) is given up again."""
        request = await self._remembered(record)
        here = next((h for h in request.held if h.claim == record.id), None) if request else None
        since_ms = moving_since_ms(record)
        listed = self._listing.place(
            row,
            record,
            InstanceState.MOVING if since_ms else InstanceState.RUNNING,
            request=request,
            by=here.by if here else "",
            why=here.why if here else "",
            turn=since_ms or (here.resizes if here else 0),
        )
        await asyncio.gather(self._each_try(record, self._mark_built, row), listed)
        failpoints.reach("request.built")
        if row.health.failures:
            self._background.start("note_build", self._note_build(row.host, ok=True))

    def marked(self, row: HostRow, record: Record) -> None:
        """The claim is marked as moving: have lists show how far it is."""
        self._background.start("show_move", self._shown.look(row.host, record.id))

    async def failed(self, row: HostRow, record: Record, why: str) -> None:
        """The build failed; its claim is ``deleting``. Another host is looked for at once."""
        self._background.start("note_build", self._note_build(row.host, ok=False))
        await self._releasing.comes_to_nothing(record)
        await self._each_try(record, self._replace, row, f"build failed on {row.name}: {why}")
        request = await self._request(record)
        if request is None or not moves.elsewhere(request, record.consumer, record.id):
            await self._listing.place(row, record, InstanceState.FAILED, request=request, why=why)

    async def lapsed(self, row: HostRow, record: Record) -> None:
        """No agent adopted the claim in time and none can now; it is about to leave the row."""
        await self._releasing.comes_to_nothing(record)
        why = f"no agent took it on {row.name}"
        await self._each_try(record, self._bar, row, why, fresh=True)

    async def gone(self, row: HostRow, record: Record) -> None:
        """The instance is destroyed; the claim is about to leave the row."""
        before = await self._request(record)
        move = moves.move_of(before, record.consumer) if before else None
        await self._each_try(record, self._take_out, row)
        failpoints.reach("request.left")
        request = await self._request(record)
        failed = request is not None and row.host in request.tried
        state = InstanceState.FAILED if failed else InstanceState.DELETED
        by, why = (move.by, move.why) if move else ("", "")
        await self._listing.place(row, record, state, request=request, by=by, why=why)

    async def host(self, row: HostRow) -> None:
        """The host is up again, or down: so is what lists say of all that is on it."""
        await self._listing.host(row, seen_of(row), why=row.health.reason)

    async def refused(self, row: HostRow, agent: str, why: str) -> None:
        """An agent may not serve the host."""
        await self._listing.refused(row, agent, why)

    async def turned_away(self, who: str, why: str) -> None:
        """Somebody may not be an agent of this cell."""
        await self._listing.turned_away(who, why)

    async def guest(self, row: HostRow, state: GuestState) -> None:
        """The instance stopped, runs again, or was lost."""
        log.info("guest", host=row.name, claim=state.claim, state=state.state, why=state.why)
        record = row.find(state.claim)
        if record is not None:
            await self._listing.guest(row, record, state, by=state.by)

    # -- changes of the request; each returns whether it is done, else it is tried on what is stored

    async def _each_try(
        self,
        record: Record,
        change: Callable[..., Awaitable[bool]],
        *more: object,
        fresh: bool = False,
    ) -> None:
        """Apply ``change`` to the request until it stands or is not needed. Raises Conflict.

        The first try may rest on what this process remembers, unless it is to be ``fresh``; a lost
        one reads again.
        """
        if not record.request:
            return
        try:
            if fresh:
                request = await self._requests.read(record.request, serial=True)
            else:
                request = await self._requests.latest(record.request)
            for _ in range(_TRIES_MAX):
                if request is None or await change(request, record, *more):
                    return
                request = await self._requests.read(record.request, serial=True)
        except UnknownCell:
            return
        raise Conflict(f"Request {record.request} is changed too often.", remedy="Ask again.")

    async def _mark_built(self, request: Request, record: Record, row: HostRow) -> bool:
        move = moves.move_to(request, record.id)
        if move is not None:
            return await self._mark_moved(request, move)
        placement = _find(request, record.id)
        if placement is None:
            return await self._disown(record, row)
        if placement.built or request.stage is Stage.CANCELLING:
            return True
        placements = tuple(
            msgspec.structs.replace(p, built=True) if p is placement else p
            for p in request.placements
        )
        stage = moves.stage_with(request, placements, request.moves)
        return (await self._requests.change(request, stage, placements=placements)).stands

    async def _mark_moved(self, request: Request, move: Move) -> bool:
        """The instance is where ``move`` brings it; the claim it had is given up next."""
        if request.stage is Stage.CANCELLING:
            return True
        fields = moves.swapped(request, move)
        stage = moves.stage_with(request, fields["placements"], fields["moves"])
        changed = await self._requests.change(request, stage, moves.told(move, "built"), **fields)
        if changed.stands:
            failpoints.reach("move.swapped")
            self._background.start("leave", self._moving.leave(changed.request, move.instance))
        return changed.stands

    async def _disown(self, record: Record, row: HostRow) -> bool:
        """A claim that its request does not name: have it destroyed, if that is still so."""
        stored = await self._requests.read(record.request, serial=True)
        if stored is not None and any(held.claim == record.id for held in stored.held):
            # What is named is what it moved away from, or what this process remembers is old.
            return _find(stored, record.id) is None and moves.move_to(stored, record.id) is None
        log.warning("claim_disowned", claim=record.id, request=record.request)
        await self._releasing.release(self._settings.cell, row.host, record.id)
        return True

    async def _replace(self, request: Request, record: Record, row: HostRow, why: str) -> bool:
        """Take the placement out and have the request placed again, elsewhere.

        A claim that an instance was to move to is forgotten; the instance is where it was.
        """
        move = moves.move_to(request, record.id)
        if move is not None and request.stage in moves.GOES_ON:
            fields = moves.forgotten(request, move, row.host)
            placements = fields.get("placements", request.placements)
            stage = moves.stage_with(request, placements, fields["moves"])
            words = moves.told(move, why)
            told = await self._requests.change(request, stage, words, **fields)
            if told.stands:
                self._background.start("stays", self._moving.stays(told.request, move.instance))
            return told.stands
        if _find(request, record.id) is None or request.stage is Stage.CANCELLING:
            return not self._is_guess(request)
        changed = {
            "placements": tuple(p for p in request.placements if p.claim != record.id),
            "tried": tuple(dict.fromkeys((*request.tried, row.host))),
            "reason": refusals.not_built(why),
        }
        if request.stage is Stage.ACCEPTED:
            return (await self._requests.change(request, Stage.ACCEPTED, why, **changed)).stands
        failpoints.reach("request.reopening")
        opened = await self._requests.reopen(request, Stage.ACCEPTED, why, **changed)
        if opened is None:
            return False
        failpoints.reach("request.reopened")
        self._wake(opened)
        return True

    async def _bar(self, request: Request, record: Record, row: HostRow, why: str) -> bool:
        """``_replace``; and whoever claimed it, slow or thought dead, must not name it afterwards."""
        named = any(held.claim == record.id for held in request.held)
        if not named and request.stage in (Stage.ACCEPTED, Stage.MOVING):
            return (await self._requests.change(request, request.stage, why)).stands
        return await self._replace(request, record, row, why)

    async def _take_out(self, request: Request, record: Record, row: HostRow) -> bool:
        if moves.move_to(request, record.id) is not None and request.stage in moves.GOES_ON:
            return await self._replace(request, record, row, f"build failed on {row.name}")
        placement = _find(request, record.id)
        if placement is None:
            return not self._is_guess(request)
        if request.stage is Stage.CANCELLING:
            stored = await self._releasing.without(request, {record.id})
            return _find(stored, record.id) is None
        move = moves.move_of(request, record.consumer)
        if move is not None:
            return await self._note_gone(request, move)
        if not placement.built:
            return await self._replace(request, record, row, f"build failed on {row.name}")
        left = tuple(p for p in request.placements if p is not placement)
        stage = moves.stage_with(request, left, request.moves)
        done = await self._requests.change(
            request, stage, "instance gone", placements=left, ended=request.ended + 1
        )
        return done.stands

    async def _note_gone(self, request: Request, move: Move) -> bool:
        """The claim that a moving instance had is destroyed before it has another one."""
        fenced = msgspec.structs.replace(move, fenced=True)
        if move.kind is MoveKind.DELETE:
            fields = moves.dropped(request, fenced)
        elif move.fenced:
            return True
        else:
            fields = {"moves": moves.replaced(request, move, fenced)}
        stage = moves.stage_with(
            request, fields.get("placements", request.placements), fields["moves"]
        )
        words = moves.told(move, "deleted" if move.kind is MoveKind.DELETE else "its host lost it")
        return (await self._requests.change(request, stage, words, **fields)).stands

    # -- helpers

    def _is_guess(self, request: Request) -> bool:
        """Whether ``request`` is what this process remembers, which may be old."""
        return self._requests.remembers(request)

    async def _request(self, record: Record) -> Request | None:
        try:
            return await self._requests.read(record.request) if record.request else None
        except UnknownCell:
            return None

    async def _note_build(self, host: str, *, ok: bool) -> None:
        writer = await self._writer(self._settings.cell)
        try:
            await writer.submit(
                host,
                NoteBuild(ok, self._requests.now_ms),
                deadline_s=self._settings.cluster.claim_deadline_s,
            )
        except PlacerError as error:
            log.info("build_not_noted", host=host, why=str(error))

    async def _remembered(self, record: Record) -> Request | None:
        """The request as this process wrote it last, else as stored: for what never changes in it."""
        try:
            return await self._requests.latest(record.request) if record.request else None
        except UnknownCell:
            return None


def _find(request: Request, claim: str) -> Placement | None:
    return next((p for p in request.placements if p.claim == claim), None)
